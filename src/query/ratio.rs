//! Ratios of whole numbers: what is worked out with them is not rounded before it is told.

use std::cmp::Ordering;

use num_bigint::BigInt;

use crate::model::{Decimal, Number};

/// Digits of a quotient that are worked out: more than a double tells apart.
const QUOTIENT_DIGIT_COUNT: i64 = 30;

/// A ratio of whole numbers, of which the second is above 0. It is not reduced: terms are few.
#[derive(Clone, Debug)]
pub(super) struct Ratio {
    numerator: BigInt,
    denominator: BigInt,
}

impl Ratio {
    /// `denominator` is above 0.
    pub fn new(numerator: impl Into<BigInt>, denominator: impl Into<BigInt>) -> Ratio {
        let ratio = Ratio { numerator: numerator.into(), denominator: denominator.into() };
        debug_assert!(ratio.denominator > BigInt::ZERO);
        ratio
    }

    pub fn plus(self, other: Ratio) -> Ratio {
        Ratio {
            numerator: &self.numerator * &other.denominator + &other.numerator * &self.denominator,
            denominator: self.denominator * other.denominator,
        }
    }

    pub fn minus(self, other: Ratio) -> Ratio {
        self.plus(-other)
    }

    pub fn times(self, other: Ratio) -> Ratio {
        Ratio {
            numerator: self.numerator * other.numerator,
            denominator: self.denominator * other.denominator,
        }
    }

    /// `None` if `other` is 0.
    pub fn over(self, other: Ratio) -> Option<Ratio> {
        if other.numerator == BigInt::ZERO {
            return None;
        }
        let (numerator, denominator) =
            (self.numerator * other.denominator, self.denominator * other.numerator);
        let is_negative = denominator < BigInt::ZERO;
        Some(match is_negative {
            true => Ratio { numerator: -numerator, denominator: -denominator },
            false => Ratio { numerator, denominator },
        })
    }

    pub fn compare(&self, other: &Ratio) -> Ordering {
        (&self.numerator * &other.denominator).cmp(&(&other.numerator * &self.denominator))
    }

    /// The nearest double; `None` beyond the magnitudes of one.
    pub fn to_f64(&self) -> Option<f64> {
        let digit_count = |number: &BigInt| (number.bits() as f64 * std::f64::consts::LOG10_2) as i64;
        let quotient_digits = digit_count(&self.numerator) - digit_count(&self.denominator);
        let shift = QUOTIENT_DIGIT_COUNT - quotient_digits;
        let scale = BigInt::from(10).pow(shift.unsigned_abs() as u32);
        let quotient = match shift > 0 {
            true => &self.numerator * scale / &self.denominator,
            false => &self.numerator / (&self.denominator * scale),
        };
        let nearest: f64 = format!("{quotient}e{}", -shift).parse().expect("a decimal reads as a double");
        nearest.is_finite().then_some(nearest)
    }
}

impl std::ops::Neg for Ratio {
    type Output = Ratio;

    fn neg(self) -> Ratio {
        Ratio { numerator: -self.numerator, ..self }
    }
}

impl From<&Decimal> for Ratio {
    fn from(decimal: &Decimal) -> Ratio {
        let (mantissa, exponent) = decimal.parts();
        let scale = BigInt::from(10).pow(exponent.unsigned_abs());
        match exponent < 0 {
            true => Ratio { numerator: mantissa.clone(), denominator: scale },
            false => Ratio { numerator: mantissa * scale, denominator: BigInt::from(1) },
        }
    }
}

impl From<Number> for Ratio {
    fn from(number: Number) -> Ratio {
        Ratio::from(&Decimal::from(number))
    }
}

/// The double nearest to `numerator / denominator`; `None` over zero.
pub(super) fn quotient(numerator: &Decimal, denominator: &Decimal) -> Option<f64> {
    Ratio::from(numerator).over(Ratio::from(denominator))?.to_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirds_add_up_to_one() {
        let third = || Ratio::new(1, 3);
        let one = third().plus(third()).plus(third());
        assert_eq!(one.compare(&Ratio::new(7, 7)), Ordering::Equal);
        assert_eq!(one.minus(third()).to_f64(), Some(2.0 / 3.0));
        assert_eq!(third().times(Ratio::new(-3, 1)).to_f64(), Some(-1.0));
        assert_eq!(third().compare(&Ratio::new(333_333, 1_000_000)), Ordering::Greater);
    }

    #[test]
    fn a_negative_divisor_turns_the_sign() {
        let half = Ratio::new(1, 1).over(Ratio::new(-2, 1)).unwrap();
        assert_eq!(half.to_f64(), Some(-0.5));
        assert_eq!(half.compare(&Ratio::new(0, 1)), Ordering::Less);
        assert!(half.over(Ratio::new(0, 5)).is_none());
    }
}
