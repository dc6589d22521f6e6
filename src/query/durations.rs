//! Many durations, of which a percentile is asked in the end.

use serde::{Deserialize, Serialize};

/// Milliseconds, none negative, in no order. Most take 4 bytes: what is shorter than 49 days.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Durations {
    short: Vec<u32>,
    /// Those that are too long for a `u32`.
    long: Vec<u64>,
}

impl Durations {
    pub fn push(&mut self, ms: u64) {
        match u32::try_from(ms) {
            Ok(short) => self.short.push(short),
            Err(_) => self.long.push(ms),
        }
    }

    pub fn merge(&mut self, other: Durations) {
        let Durations { short, long } = other;
        // The longer list stays where it is.
        if self.short.len() < short.len() {
            let few = std::mem::replace(&mut self.short, short);
            self.short.extend(few);
        } else {
            self.short.extend(short);
        }
        self.long.extend(long);
    }

    /// The smallest with at least half of all at or below it (nearest rank), in milliseconds.
    pub fn median(&mut self) -> Option<u64> {
        self.percentile(50)
    }

    /// The smallest with at least `percent` of all at or below it (nearest rank), in milliseconds.
    pub fn percentile(&mut self, percent: usize) -> Option<u64> {
        let rank = ((self.short.len() + self.long.len()) * percent).div_ceil(100).checked_sub(1)?;
        Some(match rank.checked_sub(self.short.len()) {
            None => u64::from(*self.short.select_nth_unstable(rank).1),
            Some(rank) => *self.long.select_nth_unstable(rank).1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_by_nearest_rank_across_both_widths() {
        let median = |list: &[u64]| {
            let mut durations = Durations::default();
            list.iter().for_each(|ms| durations.push(*ms));
            durations.median()
        };
        const LONG: u64 = 1 << 32;
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[7]), Some(7));
        assert_eq!(median(&[9, 3]), Some(3));
        assert_eq!(median(&[LONG, 5, 3]), Some(5));
        assert_eq!(median(&[LONG + 1, LONG, LONG + 2, 3]), Some(LONG));
        assert_eq!(median(&[LONG + 1, LONG, LONG + 2, 3, u64::MAX]), Some(LONG + 1));
    }

    #[test]
    fn a_percentile_is_by_nearest_rank() {
        let mut durations = Durations::default();
        (1..=11).for_each(|ms| durations.push(ms));
        assert_eq!(durations.percentile(90), Some(10));
        assert_eq!(durations.percentile(91), Some(11));
        assert_eq!(durations.percentile(1), Some(1));
    }

    #[test]
    fn merging_loses_none() {
        let mut few = Durations { short: vec![1], long: vec![1 << 40] };
        few.merge(Durations { short: vec![4, 2, 3], long: vec![] });
        assert_eq!((few.short.len(), few.long.len()), (4, 1));
        assert_eq!(few.median(), Some(3));
    }
}
