//! Sums that are exact whatever the order of their terms.

use std::cmp::Ordering;
use std::fmt;

use num_bigint::BigInt;
use serde::{Deserialize, Serialize};

use super::{Number, write_decimal};

/// A sum of [`Number`]s without rounding: decimals, never floats.
///
/// Sums stay in an `i128` at the finest exponent seen while they fit, and move to big integers when they do
/// not, so no order of additions and no split over cores can change the result (`exact-merge`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactSum {
    mantissa: i128,
    exponent: i16,
    /// What did not fit, by exponent.
    overflow: Option<Box<BigSum>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct BigSum {
    /// Decimal digits of the mantissa: the serialised form of a big integer.
    digits: String,
    exponent: i32,
}

impl ExactSum {
    pub fn add(&mut self, number: Number) {
        self.add_scaled(number.mantissa(), number.exponent());
    }

    /// Adds `mantissa × 10^exponent`.
    #[inline]
    pub fn add_scaled(&mut self, mantissa: i128, exponent: i32) {
        if i32::from(self.exponent) == exponent
            && let Some(sum) = self.mantissa.checked_add(mantissa)
        {
            self.mantissa = sum;
            return;
        }
        self.add_at_finest(mantissa, exponent);
    }

    fn add_at_finest(&mut self, mantissa: i128, exponent: i32) {
        if mantissa == 0 {
            return;
        }
        if self.mantissa == 0 {
            (self.mantissa, self.exponent) = (mantissa, exponent as i16);
            return;
        }
        let finest = i32::from(self.exponent).min(exponent);
        let sum = scale(self.mantissa, i32::from(self.exponent) - finest)
            .zip(scale(mantissa, exponent - finest))
            .and_then(|(a, b)| a.checked_add(b));
        match sum {
            Some(sum) => (self.mantissa, self.exponent) = (sum, finest as i16),
            None => self.spill(mantissa, exponent),
        }
    }

    pub fn merge(&mut self, other: &ExactSum) {
        self.add_scaled(other.mantissa, i32::from(other.exponent));
        if let Some(big) = &other.overflow {
            self.add_big(big.value(), big.exponent);
        }
    }

    /// Takes another sum away.
    pub fn subtract(&mut self, other: &ExactSum) {
        let mut negated = other.clone();
        // Of the mantissas only the least has no opposite; a sum that reached it is halved without loss.
        match negated.mantissa.checked_neg() {
            Some(mantissa) => negated.mantissa = mantissa,
            None => {
                self.add_scaled(-(negated.mantissa / 2), i32::from(negated.exponent));
                negated.mantissa = -(negated.mantissa / 2);
            }
        }
        if let Some(big) = &mut negated.overflow {
            big.digits = (-big.value()).to_string();
        }
        self.merge(&negated);
    }

    /// The sum, with all its decimals.
    pub fn total(&self) -> Decimal {
        let mut total = Decimal { mantissa: BigInt::from(self.mantissa), exponent: i32::from(self.exponent) };
        if let Some(big) = &self.overflow {
            total = total.plus(&Decimal { mantissa: big.value(), exponent: big.exponent });
        }
        total.normalized()
    }

    fn spill(&mut self, mantissa: i128, exponent: i32) {
        self.add_big(BigInt::from(mantissa), exponent);
    }

    fn add_big(&mut self, mantissa: BigInt, exponent: i32) {
        let term = Decimal { mantissa, exponent };
        let sum = match &self.overflow {
            Some(big) => Decimal { mantissa: big.value(), exponent: big.exponent }.plus(&term),
            None => term,
        };
        self.overflow = Some(Box::new(BigSum { digits: sum.mantissa.to_string(), exponent: sum.exponent }));
    }
}

impl BigSum {
    fn value(&self) -> BigInt {
        self.digits.parse().expect("digits were written from a big integer")
    }
}

fn scale(mantissa: i128, shift: i32) -> Option<i128> {
    mantissa.checked_mul(10_i128.checked_pow(shift as u32)?)
}

/// A decimal of any size: the result of a sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    mantissa: BigInt,
    exponent: i32,
}

impl Decimal {
    fn plus(&self, other: &Decimal) -> Decimal {
        let exponent = self.exponent.min(other.exponent);
        let scaled = |d: &Decimal| &d.mantissa * BigInt::from(10).pow((d.exponent - exponent) as u32);
        Decimal { mantissa: scaled(self) + scaled(other), exponent }
    }

    fn normalized(mut self) -> Decimal {
        let ten = BigInt::from(10);
        while self.mantissa != BigInt::ZERO && &self.mantissa % &ten == BigInt::ZERO {
            self.mantissa /= &ten;
            self.exponent += 1;
        }
        if self.mantissa == BigInt::ZERO {
            self.exponent = 0;
        }
        self
    }

    /// The digits as an integer, and the power of ten that they are multiplied by.
    pub fn parts(&self) -> (&BigInt, i32) {
        (&self.mantissa, self.exponent)
    }

    pub fn is_zero(&self) -> bool {
        self.mantissa == BigInt::ZERO
    }

    /// The power of ten that the mantissa counts.
    pub fn exponent(&self) -> i32 {
        self.exponent
    }

    /// The number as so many `10^exponent`. `None` if it has finer decimals or does not fit.
    pub fn mantissa_at(&self, exponent: i32) -> Option<i128> {
        if self.is_zero() {
            return Some(0);
        }
        let shift = u32::try_from(self.exponent.checked_sub(exponent)?).ok()?;
        i128::try_from(&self.mantissa).ok()?.checked_mul(10_i128.checked_pow(shift)?)
    }

    /// The nearest double.
    pub fn to_f64(&self) -> f64 {
        format!("{}e{}", self.mantissa, self.exponent).parse().expect("a decimal reads as a double")
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Decimal) -> Ordering {
        let exponent = self.exponent.min(other.exponent);
        let scaled = |d: &Decimal| &d.mantissa * BigInt::from(10).pow((d.exponent - exponent) as u32);
        scaled(self).cmp(&scaled(other))
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<Number> for Decimal {
    fn from(number: Number) -> Decimal {
        Decimal { mantissa: BigInt::from(number.mantissa()), exponent: number.exponent() }
    }
}

/// Writes the decimal as JSON does, with all its decimals.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.mantissa.magnitude().to_string();
        write_decimal(f, &digits, self.mantissa < BigInt::ZERO, self.exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum_of(terms: &[&str]) -> ExactSum {
        let mut sum = ExactSum::default();
        for term in terms {
            sum.add(Number::parse(term).unwrap());
        }
        sum
    }

    #[test]
    fn tenths_add_up() {
        assert_eq!(sum_of(&["0.1"; 10]).total().to_string(), "1");
        assert_eq!(sum_of(&["0.1", "0.2"]).total().to_string(), "0.3");
        assert_eq!(sum_of(&["2500000", "315.63"]).total().to_string(), "2500315.63");
        assert_eq!(sum_of(&[]).total().to_string(), "0");
        assert_eq!(sum_of(&["5", "-5"]).total().to_string(), "0");
    }

    #[test]
    fn what_was_added_can_be_taken_away() {
        let terms = ["1e300", "0.01", "-7", "99999999999999999999999999999999999999"];
        let mut sum = sum_of(&terms);
        sum.add_scaled(i128::MIN, 0);
        let mut rest = sum_of(&["0.5"]);
        rest.merge(&sum);
        rest.subtract(&sum);
        assert_eq!(rest.total().to_string(), "0.5");
    }

    #[test]
    fn sums_are_ordered_by_value() {
        let ascending = ["-1e30", "-2.5", "0", "0.1", "7", "10", "1e30"];
        for pair in ascending.windows(2) {
            assert!(sum_of(&[pair[0]]).total() < sum_of(&[pair[1]]).total(), "{pair:?}");
        }
    }

    #[test]
    fn huge_and_tiny_terms_are_not_lost_in_any_order() {
        let terms = ["1e300", "0.01", "-1e300", "7"];
        for shift in 0..terms.len() {
            let mut turned = terms;
            turned.rotate_left(shift);
            assert_eq!(sum_of(&turned).total().to_string(), "7.01");
            let (left, right) = turned.split_at(2);
            let mut merged = sum_of(left);
            merged.merge(&sum_of(right));
            assert_eq!(merged.total().to_string(), "7.01");
        }
    }
}
