//! Random numbers that are the same for a seed on every machine, for good.
//!
//! The generator is xoshiro256** and its state is filled by SplitMix64, both written down from: David Blackman
//! and Sebastiano Vigna, "Scrambled Linear Pseudorandom Number Generators", ACM Transactions on Mathematical
//! Software 47 (2021). Only operations that IEEE 754 defines to the last bit are used, so no logarithm.

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub(super) struct Random {
    state: [u64; 4],
}

/// The step of SplitMix64 that spreads a counter over all numbers; no two counters give one number.
pub(super) fn mixed(counter: u64) -> u64 {
    let mut mixed = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Random {
    /// The stream number `stream` of a seed.
    pub fn new(seed: u64, stream: u64) -> Random {
        let start = mixed(seed).wrapping_add(mixed(stream.wrapping_add(1)).rotate_left(32));
        Random { state: [1, 2, 3, 4].map(|step| mixed(start.wrapping_add(step))) }
    }

    pub fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number of `0..end`, each as likely as the other but for one part in 2^32. `end` is at least 1.
    pub fn below(&mut self, end: u32) -> u32 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u32
    }

    /// A number of `start..end`.
    pub fn between(&mut self, start: i64, end: i64) -> i64 {
        debug_assert!(start < end);
        start + ((u128::from(self.next()) * (end - start) as u128) >> 64) as i64
    }

    /// A number of `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True once in `1 / probability` times.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A place in `weights`, by its share of their sum.
    pub fn weighted(&mut self, weights: impl Iterator<Item = f64> + Clone) -> usize {
        let mut left = self.unit() * weights.clone().sum::<f64>();
        let mut chosen = 0;
        for (index, weight) in weights.enumerate() {
            chosen = index;
            if left < weight {
                break;
            }
            left -= weight;
        }
        chosen
    }

    /// How long until something happens that happens once in `mean` on average (exponential distribution).
    ///
    /// John von Neumann's method, "Various techniques used in connection with random digits" (1951): it only
    /// compares uniform numbers, where a logarithm would differ between machines in its last bit.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        let mut whole = 0.0;
        loop {
            let first = self.unit();
            let (mut last, mut run) = (first, 1);
            loop {
                let next = self.unit();
                if next >= last {
                    break;
                }
                last = next;
                run += 1;
            }
            if run % 2 == 1 {
                return (whole + first) * mean;
            }
            whole += 1.0;
        }
    }

    /// How often that happens in a time in which it happens `mean` times on average (Poisson distribution).
    pub fn count(&mut self, mean: f64) -> u32 {
        let (mut count, mut at) = (0, self.exponential(1.0));
        while at < mean {
            count += 1;
            at += self.exponential(1.0);
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_good() {
        let mut random = Random::new(1, 0);
        let first = [random.next(), random.next(), random.next()];
        let mut again = Random::new(1, 0);
        assert_eq!(first, [again.next(), again.next(), again.next()]);
        assert_ne!(first[0], Random::new(2, 0).next());
        assert_ne!(first[0], Random::new(1, 1).next());
    }

    #[test]
    fn the_generator_is_xoshiro256_starstar() {
        // The first numbers that follow by hand from the state 1, 2, 3, 4.
        let mut random = Random { state: [1, 2, 3, 4] };
        assert_eq!([random.next(), random.next(), random.next()], [11_520, 0, 1_509_978_240]);
    }

    #[test]
    fn the_distributions_have_their_means() {
        let mut random = Random::new(7, 0);
        let mean = |draw: &mut dyn FnMut() -> f64| (0..20_000).map(|_| draw()).sum::<f64>() / 20_000.0;
        assert!((mean(&mut || random.exponential(3.0)) - 3.0).abs() < 0.1);
        assert!((mean(&mut || f64::from(random.count(2.5))) - 2.5).abs() < 0.1);
        assert!((mean(&mut || f64::from(random.below(11))) - 5.0).abs() < 0.1);
        assert!((mean(&mut || random.between(-5, 6) as f64)).abs() < 0.1);
        assert!((mean(&mut || random.weighted([1.0, 3.0].into_iter()) as f64) - 0.75).abs() < 0.02);
        assert!((mean(&mut || f64::from(u8::from(random.chance(0.2)))) - 0.2).abs() < 0.02);
    }
}
