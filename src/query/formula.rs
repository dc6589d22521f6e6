//! Works out formulas without rounding: what is told is the double nearest to the true value.

use num_bigint::BigInt;

use super::amount::Measured;
use crate::api::{Formula, Operator};
use crate::model::Decimal;

/// Digits of a quotient that are worked out: more than a double tells apart.
const QUOTIENT_DIGIT_COUNT: i64 = 30;

/// A ratio of whole numbers, of which the second is above 0. It is not reduced: a formula is short.
#[derive(Clone, Debug)]
struct Ratio {
    numerator: BigInt,
    denominator: BigInt,
}

/// The value of a formula, given that of each series. What has a null in it, and x/0, is null.
pub fn evaluate(formula: &Formula, series: &[Measured]) -> Option<f64> {
    ratio(formula, series)?.to_f64()
}

/// The double nearest to `numerator / denominator`; `None` over zero.
pub fn quotient(numerator: &Decimal, denominator: &Decimal) -> Option<f64> {
    Ratio::from(numerator).over(Ratio::from(denominator))?.to_f64()
}

fn ratio(formula: &Formula, series: &[Measured]) -> Option<Ratio> {
    Some(match formula {
        Formula::Number(number) => Ratio::from(&Decimal::from(*number)),
        Formula::Series(index) => match &series[*index] {
            Measured::Null => return None,
            Measured::Count(count) => Ratio { numerator: BigInt::from(*count), denominator: BigInt::from(1) },
            Measured::Exact(decimal) => Ratio::from(decimal),
            Measured::Share { total, count } => {
                let total = Ratio::from(total);
                Ratio { denominator: total.denominator * BigInt::from(*count), ..total }
            }
        },
        Formula::Negated(inner) => {
            let inner = ratio(inner, series)?;
            Ratio { numerator: -inner.numerator, ..inner }
        }
        Formula::Pair(a, operator, b) => {
            let (a, b) = (ratio(a, series)?, ratio(b, series)?);
            match operator {
                Operator::Plus => a.plus(b),
                Operator::Minus => a.plus(Ratio { numerator: -b.numerator, ..b }),
                Operator::Times => {
                    Ratio { numerator: a.numerator * b.numerator, denominator: a.denominator * b.denominator }
                }
                Operator::Over => a.over(b)?,
            }
        }
    })
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

impl Ratio {
    fn plus(self, other: Ratio) -> Ratio {
        Ratio {
            numerator: &self.numerator * &other.denominator + &other.numerator * &self.denominator,
            denominator: self.denominator * other.denominator,
        }
    }

    fn over(self, other: Ratio) -> Option<Ratio> {
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

    /// `None` beyond the magnitudes of a double.
    fn to_f64(&self) -> Option<f64> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Number;

    fn series(index: usize) -> Box<Formula> {
        Box::new(Formula::Series(index))
    }

    fn exact(text: &str) -> Measured {
        Measured::Exact(Decimal::from(Number::parse(text).unwrap()))
    }

    #[test]
    fn decimals_do_not_become_crooked() {
        let difference = Formula::Pair(series(0), Operator::Minus, series(1));
        assert_eq!(evaluate(&difference, &[exact("0.3"), exact("0.1")]), Some(0.2));
        assert_eq!(
            evaluate(&difference, &[exact("12345678901234567.89"), exact("12345678901234567.8")]),
            Some(0.09)
        );
        assert_eq!(evaluate(&difference, &[exact("1e300"), exact("-1e-300")]), Some(1e300));
    }

    #[test]
    fn nothing_is_divided_by_zero_and_null_goes_through() {
        let share = Formula::Pair(series(0), Operator::Over, series(1));
        assert_eq!(evaluate(&share, &[Measured::Count(1), Measured::Count(4)]), Some(0.25));
        assert_eq!(evaluate(&share, &[Measured::Count(1), Measured::Count(0)]), None);
        assert_eq!(evaluate(&share, &[Measured::Null, Measured::Count(4)]), None);
        assert_eq!(evaluate(&share, &[Measured::Count(2), exact("-3")]), Some(-2.0 / 3.0));
        let third = Measured::Share { total: Decimal::from(Number::from(1)), count: 3 };
        let product = Formula::Pair(series(0), Operator::Times, series(1));
        assert_eq!(evaluate(&product, &[third, Measured::Count(3)]), Some(1.0));
        assert_eq!(evaluate(&Formula::Negated(series(0)), &[Measured::Count(0)]), Some(0.0));
    }
}
