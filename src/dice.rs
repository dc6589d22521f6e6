//! Chance for tests: the same seed gives the same numbers.

/// A linear congruential generator (Knuth, MMIX).
pub(crate) struct Dice(pub u64);

impl Dice {
    /// The next number, of 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0
    }

    /// A number below `end`, which is less than 2³¹.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 33) % end
    }
}
