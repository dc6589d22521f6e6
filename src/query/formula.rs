//! Works out formulas without rounding: what is told is the double nearest to the true value.

use super::amount::Measured;
use super::ratio::Ratio;
use crate::api::{Formula, Operator};

/// The value of a formula, given that of each series. What has a null in it, and x/0, is null.
pub fn evaluate(formula: &Formula, series: &[Measured]) -> Option<f64> {
    ratio(formula, series)?.to_f64()
}

fn ratio(formula: &Formula, series: &[Measured]) -> Option<Ratio> {
    Some(match formula {
        Formula::Number(number) => Ratio::from(*number),
        Formula::Series(index) => match &series[*index] {
            Measured::Null => return None,
            Measured::Count(count) => Ratio::new(*count, 1),
            Measured::Exact(decimal) => Ratio::from(decimal),
            Measured::Share { total, count } => Ratio::from(total).times(Ratio::new(1, *count)),
        },
        Formula::Negated(inner) => -ratio(inner, series)?,
        Formula::Pair(a, operator, b) => {
            let (a, b) = (ratio(a, series)?, ratio(b, series)?);
            match operator {
                Operator::Plus => a.plus(b),
                Operator::Minus => a.minus(b),
                Operator::Times => a.times(b),
                Operator::Over => a.over(b)?,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Decimal, Number};

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
