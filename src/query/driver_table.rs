//! What drivers tell of one behaviour: rates, lift, precision, recall and phi, from four counts.

use std::cmp::Ordering;

use super::Drivers;
use crate::api::{Cell, ColumnType, Table};

/// How births fall by behaviour and outcome.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub births: u64,
    pub with_outcome: u64,
    /// Births with the behaviour, and of those the ones with the outcome. At least one has the behaviour.
    pub did: u64,
    pub did_with_outcome: u64,
}

/// One behaviour, by the index of its candidate and threshold.
#[derive(Debug)]
pub(super) struct Strength {
    pub candidate: usize,
    pub threshold: usize,
    pub counts: Counts,
}

impl Counts {
    /// Numerator, and the square of the denominator, of phi: the correlation of two yes-or-no variables (Yule 1912;
    /// Matthews 1975). `None` if a side is empty.
    fn phi_parts(&self) -> Option<(i128, u128)> {
        let Counts { births, with_outcome, did, did_with_outcome } = *self;
        let numerator =
            i128::from(births) * i128::from(did_with_outcome) - i128::from(did) * i128::from(with_outcome);
        let sides = [did, births - did, with_outcome, births - with_outcome];
        // Users are counted in a u32, so that the product of the four fits.
        let square: u128 = sides.into_iter().map(u128::from).product();
        (square > 0).then_some((numerator, square))
    }

    fn phi(&self) -> Option<f64> {
        self.phi_parts().map(|(numerator, square)| numerator as f64 / (square as f64).sqrt())
    }
}

/// Orders by phi, the highest first and null last, without rounding: equal ones are equal, whatever their counts.
pub(super) fn strongest_first(a: &Counts, b: &Counts) -> Ordering {
    let (a, b) = match (a.phi_parts(), b.phi_parts()) {
        (Some(a), Some(b)) => (a, b),
        (a, b) => return b.is_some().cmp(&a.is_some()),
    };
    let by_sign = b.0.signum().cmp(&a.0.signum());
    let square = |(numerator, square): (i128, u128)| (numerator.unsigned_abs().pow(2), square);
    by_sign.then_with(|| match a.0.signum() {
        1 => compare_fractions(square(b), square(a)),
        _ => compare_fractions(square(a), square(b)),
    })
}

/// Compares two fractions of whole numbers, whose denominators are above 0, by their continued fractions.
fn compare_fractions(a: (u128, u128), b: (u128, u128)) -> Ordering {
    let (whole_a, rest_a) = (a.0 / a.1, a.0 % a.1);
    let (whole_b, rest_b) = (b.0 / b.1, b.0 % b.1);
    whole_a.cmp(&whole_b).then_with(|| match (rest_a, rest_b) {
        (0, 0) => Ordering::Equal,
        (0, _) => Ordering::Less,
        (_, 0) => Ordering::Greater,
        // What is left of a is less than what is left of b where its inverse is greater.
        _ => compare_fractions((b.1, rest_b), (a.1, rest_a)),
    })
}

/// A table of no rows.
pub(super) fn empty(drivers: &Drivers) -> Table {
    let time = drivers.has_interval.then_some(("time".to_owned(), ColumnType::Time));
    let numbers = [
        ("event", ColumnType::String),
        ("at_least", ColumnType::UInt64),
        ("users", ColumnType::UInt64),
        ("rate_did", ColumnType::Float64),
        ("rate_did_not", ColumnType::Float64),
        ("lift", ColumnType::Float64),
        ("precision", ColumnType::Float64),
        ("recall", ColumnType::Float64),
        ("phi", ColumnType::Float64),
    ];
    let numbers = numbers.map(|(name, kind)| (name.to_owned(), kind));
    Table::new(time.into_iter().chain(drivers.births.split().columns()).chain(numbers))
}

/// Adds the rows of one bucket and slot.
pub(super) fn push(drivers: &Drivers, table: &mut Table, bucket: usize, slot: u32, strengths: &[Strength]) {
    let time = drivers.has_interval.then(|| Cell::Text(drivers.births.calendar.label(bucket)));
    let labels = drivers.births.split().cells(slot);
    let share = |part: u64, all: u64| match all {
        0 => Cell::Null,
        _ => Cell::Float(part as f64 / all as f64),
    };
    for Strength { candidate, threshold, counts } in strengths {
        let Counts { births, with_outcome, did, did_with_outcome } = *counts;
        // The ratio of two shares as one division, so that it is rounded once.
        let lift = match with_outcome {
            0 => Cell::Null,
            _ => {
                let part = u128::from(did_with_outcome) * u128::from(births);
                Cell::Float(part as f64 / (u128::from(did) * u128::from(with_outcome)) as f64)
            }
        };
        let row = [
            Cell::Text(drivers.candidates[*candidate].label.clone()),
            Cell::UInt(drivers.thresholds[*threshold]),
            Cell::UInt(did),
            share(did_with_outcome, did),
            share(with_outcome - did_with_outcome, births - did),
            lift,
            share(did_with_outcome, did),
            share(did_with_outcome, with_outcome),
            counts.phi().map_or(Cell::Null, Cell::Float),
        ];
        table.push(time.iter().cloned().chain(labels.iter().cloned()).chain(row));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(births: u64, with_outcome: u64, did: u64, did_with_outcome: u64) -> Counts {
        Counts { births, with_outcome, did, did_with_outcome }
    }

    #[test]
    fn phi_is_the_correlation() {
        assert_eq!(counts(8, 4, 4, 3).phi(), Some(0.5));
        assert_eq!(counts(8, 4, 4, 4).phi(), Some(1.0));
        assert_eq!(counts(8, 4, 4, 0).phi(), Some(-1.0));
        assert_eq!(counts(8, 4, 8, 4).phi(), None);
        assert_eq!(counts(8, 0, 4, 0).phi(), None);
    }

    #[test]
    fn the_order_is_that_of_phi_and_equal_ones_are_equal_at_any_size() {
        let all = [
            counts(8, 4, 4, 4),
            counts(9, 3, 4, 3),
            counts(8, 4, 4, 3),
            counts(8, 4, 4, 2),
            counts(8, 4, 4, 1),
            counts(8, 4, 4, 0),
            counts(8, 4, 8, 4),
        ];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!(strongest_first(a, b), i.cmp(&j), "{a:?} {b:?}");
            }
        }
        let times = |factor: u64| counts(9 * factor, 3 * factor, 4 * factor, 3 * factor);
        assert_eq!(strongest_first(&times(1), &times(400_000_000)), Ordering::Equal);
        let most = u64::from(u32::MAX);
        let (a, b) =
            (counts(most, most / 2, most / 3, most / 4), counts(most, most / 2, most / 3, most / 4 - 1));
        assert_eq!(strongest_first(&a, &b), Ordering::Less);
    }
}
