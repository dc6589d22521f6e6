//! What is counted in one cell of a segmentation, for each measure, and what it tells.

use std::cmp::Ordering;

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use super::columns::Term;
use crate::api::Measure;
use crate::model::{Decimal, ExactSum, Number};

/// A count that adds up exactly, whatever was counted where. The default is that of nothing.
pub trait Amount: Clone + Default {
    /// Adds what was counted elsewhere.
    fn merge(&mut self, other: &Self);

    fn told(&self, measure: &Measure) -> Measured;
}

/// An amount of the numbers of a property.
pub trait NumberAmount: Amount {
    fn add(&mut self, term: Term);
}

/// An amount that sums of numbers are enough for.
pub trait SumAmount: Amount {
    /// Adds `count` numbers, which are `mantissa × 10^exponent` together.
    fn add_sum(&mut self, mantissa: i128, exponent: i32, count: u64);
}

/// The value of a measure.
#[derive(Clone, Debug, PartialEq)]
pub enum Measured {
    /// There is nothing to tell.
    Null,
    Count(u64),
    Exact(Decimal),
    /// `total / count`, of which `count` is not 0.
    Share {
        total: Decimal,
        count: u64,
    },
}

impl Measured {
    fn share(total: Decimal, count: u64) -> Measured {
        if count == 0 { Measured::Null } else { Measured::Share { total, count } }
    }

    fn number(number: Option<Number>) -> Measured {
        number.map_or(Measured::Null, |number| Measured::Exact(Decimal::from(number)))
    }

    /// The nearest double.
    pub fn to_f64(&self) -> Option<f64> {
        match self {
            Measured::Null => None,
            Measured::Count(count) => Some(*count as f64),
            Measured::Exact(decimal) => Some(decimal.to_f64()),
            Measured::Share { total, count } => Some(total.to_f64() / *count as f64),
        }
    }
}

/// A value of one measure among others of it: shares as they are told, null below all.
#[derive(Debug)]
pub struct Rank(pub Measured);

impl Ord for Rank {
    fn cmp(&self, other: &Rank) -> Ordering {
        match (&self.0, &other.0) {
            (Measured::Count(a), Measured::Count(b)) => a.cmp(b),
            (Measured::Exact(a), Measured::Exact(b)) => a.cmp(b),
            (a, b) => {
                let (a, b) = (a.to_f64(), b.to_f64());
                a.is_some().cmp(&b.is_some()).then_with(|| a.unwrap_or(0.0).total_cmp(&b.unwrap_or(0.0)))
            }
        }
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Rank) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Rank) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rank {}

impl Amount for u64 {
    fn merge(&mut self, other: &u64) {
        *self += other;
    }

    fn told(&self, _: &Measure) -> Measured {
        Measured::Count(*self)
    }
}

/// A difference from one count to the next; a sum of differences from the first on is never negative.
impl Amount for i64 {
    fn merge(&mut self, other: &i64) {
        *self += other;
    }

    fn told(&self, _: &Measure) -> Measured {
        Measured::Count(u64::try_from(*self).expect("a sum of differences is a count"))
    }
}

/// Events, and distinct users who did them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PerUser {
    pub events: u64,
    pub users: u64,
}

impl Amount for PerUser {
    fn merge(&mut self, other: &PerUser) {
        self.events += other.events;
        self.users += other.users;
    }

    fn told(&self, _: &Measure) -> Measured {
        let events = i64::try_from(self.events).expect("rows of a store are fewer");
        Measured::share(Decimal::from(Number::from(events)), self.users)
    }
}

impl Amount for ExactSum {
    fn merge(&mut self, other: &ExactSum) {
        ExactSum::merge(self, other);
    }

    fn told(&self, _: &Measure) -> Measured {
        Measured::Exact(self.total())
    }
}

impl NumberAmount for ExactSum {
    #[inline]
    fn add(&mut self, term: Term) {
        self.add_scaled(term.mantissa, term.exponent);
    }
}

impl SumAmount for ExactSum {
    fn add_sum(&mut self, mantissa: i128, exponent: i32, _count: u64) {
        self.add_scaled(mantissa, exponent);
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Average {
    sum: ExactSum,
    count: u64,
}

impl Amount for Average {
    fn merge(&mut self, other: &Average) {
        self.sum.merge(&other.sum);
        self.count += other.count;
    }

    fn told(&self, _: &Measure) -> Measured {
        Measured::share(self.sum.total(), self.count)
    }
}

impl NumberAmount for Average {
    #[inline]
    fn add(&mut self, term: Term) {
        NumberAmount::add(&mut self.sum, term);
        self.count += 1;
    }
}

impl SumAmount for Average {
    fn add_sum(&mut self, mantissa: i128, exponent: i32, count: u64) {
        self.sum.add_scaled(mantissa, exponent);
        self.count += count;
    }
}

/// The least and the greatest number, if there is any.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Extremes {
    bounds: Option<(Number, Number)>,
}

impl Amount for Extremes {
    fn merge(&mut self, other: &Extremes) {
        if let Some((least, greatest)) = other.bounds {
            self.cover(least);
            self.cover(greatest);
        }
    }

    fn told(&self, measure: &Measure) -> Measured {
        Measured::number(self.bounds.map(|(least, greatest)| match measure {
            Measure::Least(_) => least,
            _ => greatest,
        }))
    }
}

impl Extremes {
    #[inline]
    fn cover(&mut self, number: Number) {
        self.bounds = Some(match self.bounds {
            None => (number, number),
            Some((least, greatest)) => (least.min(number), greatest.max(number)),
        });
    }
}

impl NumberAmount for Extremes {
    #[inline]
    fn add(&mut self, term: Term) {
        self.cover(term.number());
    }
}

/// All numbers, each distinct one with how often it came.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Values {
    /// Ascending.
    counts: Vec<(Number, u64)>,
    /// Numbers that are not among the counts yet, in any order: fewer than there are counts, or few.
    recent: Vec<Number>,
}

/// Numbers that are kept as they come before they are counted.
const RECENT_COUNT_MIN: usize = 256;

impl Values {
    #[inline]
    fn keep(&mut self, number: Number) {
        self.recent.push(number);
        if self.recent.len() >= self.counts.len().max(RECENT_COUNT_MIN) {
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.recent.sort_unstable();
        let mut counts: Vec<(Number, u64)> = Vec::new();
        for same in self.recent.chunk_by(|a, b| a == b) {
            counts.push((same[0], same.len() as u64));
        }
        self.recent.clear();
        self.counts = merge_counts(&self.counts, &counts);
    }

    /// The smallest number with at least `percent` of the numbers at or below it.
    fn percentile(mut self, percent: u8) -> Option<Number> {
        self.settle();
        let total: u64 = self.counts.iter().map(|(_, count)| count).sum();
        let wanted = (u128::from(total) * u128::from(percent)).div_ceil(100) as u64;
        let mut below = 0;
        let found = self.counts.iter().find(|(_, count)| {
            below += count;
            below >= wanted
        });
        found.map(|(number, _)| *number)
    }
}

fn merge_counts(a: &[(Number, u64)], b: &[(Number, u64)]) -> Vec<(Number, u64)> {
    let mut merged = Vec::with_capacity(a.len() + b.len());
    let (mut at_a, mut at_b) = (0, 0);
    while let (Some(in_a), Some(in_b)) = (a.get(at_a), b.get(at_b)) {
        let order = in_a.0.cmp(&in_b.0);
        merged.push(match order {
            Ordering::Less => *in_a,
            Ordering::Equal => (in_a.0, in_a.1 + in_b.1),
            Ordering::Greater => *in_b,
        });
        at_a += usize::from(order.is_le());
        at_b += usize::from(order.is_ge());
    }
    merged.extend_from_slice(&a[at_a..]);
    merged.extend_from_slice(&b[at_b..]);
    merged
}

impl Amount for Values {
    fn merge(&mut self, other: &Values) {
        self.counts = merge_counts(&self.counts, &other.counts);
        other.recent.iter().for_each(|number| self.keep(*number));
    }

    fn told(&self, measure: &Measure) -> Measured {
        let Measure::Percentile(percent, _) = measure else { unreachable!("only percentiles keep values") };
        Measured::number(self.clone().percentile(*percent))
    }
}

impl NumberAmount for Values {
    #[inline]
    fn add(&mut self, term: Term) {
        self.keep(term.number());
    }
}

/// Distinct accounts, by ordinal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Accounts {
    pub ordinals: RoaringBitmap,
}

impl Amount for Accounts {
    fn merge(&mut self, other: &Accounts) {
        self.ordinals |= &other.ordinals;
    }

    fn told(&self, _: &Measure) -> Measured {
        Measured::Count(self.ordinals.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    #[test]
    fn a_percentile_is_the_smallest_value_with_that_share_at_or_below_it() {
        let percentile = |percent, numbers: &[i64]| {
            let mut values = Values::default();
            numbers.iter().for_each(|number| values.keep(Number::from(*number)));
            values.percentile(percent)
        };
        assert_eq!(percentile(50, &[]), None);
        assert_eq!(percentile(50, &[7]), Some(Number::from(7)));
        assert_eq!(percentile(50, &[4, 1, 3, 2]), Some(Number::from(2)));
        assert_eq!(percentile(50, &[5, 1, 4, 3, 2]), Some(Number::from(3)));
        let hundred: Vec<i64> = (1..=100).rev().collect();
        assert_eq!(percentile(99, &hundred), Some(Number::from(99)));
        let thousands: Vec<i64> = (0..5_000).map(|n| n * 7 % 1_000).collect();
        assert_eq!(percentile(90, &thousands), Some(Number::from(899)));
    }

    #[test]
    fn amounts_merge_in_any_order_and_survive_serialisation() {
        let parts: Vec<Values> = [&["0.1", "2"][..], &["2.0", "-3"], &["1e20"]]
            .iter()
            .map(|texts| {
                let mut values = Values::default();
                texts.iter().for_each(|text| values.keep(number(text)));
                serde_json::from_str(&serde_json::to_string(&values).unwrap()).unwrap()
            })
            .collect();
        let median = |order: [usize; 3]| {
            let mut all = Values::default();
            order.into_iter().for_each(|part| all.merge(&parts[part]));
            all.percentile(50)
        };
        assert_eq!(median([0, 1, 2]), Some(number("2")));
        assert_eq!(median([2, 1, 0]), median([0, 1, 2]));
        let accounts = Accounts { ordinals: [3, 900_000].into_iter().collect() };
        let read: Accounts = serde_json::from_str(&serde_json::to_string(&accounts).unwrap()).unwrap();
        assert_eq!(read.ordinals, accounts.ordinals);
    }

    #[test]
    fn null_ranks_below_every_value() {
        let exact = |text: &str| Rank(Measured::Exact(Decimal::from(number(text))));
        assert!(Rank(Measured::Null) < exact("-5"));
        assert!(exact("12345678901234567.8") < exact("12345678901234567.9"));
        assert_eq!(Rank(Measured::Null), Rank(Measured::Null));
    }
}
