//! Counting rows in the buckets of a stretch: events, users, and numbers.

use serde::{Deserialize, Serialize};

use super::amount::{NumberAmount, PerUser};
use super::grid::Grid;
use super::split::slots_of;
use super::stretch::Stretch;
use super::tally::Tally;
use super::{Codes, Rows, Task, key_time, key_user};
use crate::api::{Measure, Problem};

/// Rows that are counted in the buckets of a stretch.
pub(super) struct Counting<'a> {
    pub stretch: &'a Stretch,
    /// Whether a user is new to a slot instead of to its bucket.
    pub is_cumulative: bool,
    pub keys: &'a [u64],
    pub slots: Option<&'a Codes>,
}

impl Counting<'_> {
    /// Calls `add` with each cell that a row counts in.
    #[inline]
    pub fn add<T: Clone + Default>(
        &self,
        row: usize,
        grid: &mut Grid<T>,
        mut add: impl FnMut(&mut T),
    ) -> Result<(), Problem> {
        let bucket = self.stretch.bucket(self.keys[row]);
        for slot in slots_of(self.slots, row) {
            let start = grid.row_start(*slot)?;
            add(&mut grid.cells_mut()[start + bucket]);
        }
        Ok(())
    }

    pub fn add_numbers<T: NumberAmount>(
        &self,
        task: &Task<'_>,
        measure: &Measure,
        rows: &Rows,
        grid: &mut Grid<T>,
    ) -> Result<(), Problem> {
        let property = measure.property().expect("numbers are those of a property");
        let bucket = |row: usize| self.stretch.bucket(self.keys[row]);
        let Some(slots) = self.slots else {
            let start = grid.row_start(0)?;
            let cells = &mut grid.cells_mut()[start..];
            return task.numbers(property, rows, |row, term| cells[bucket(row)].add(term));
        };
        if let Some(slots) = slots.singles() {
            let (starts, cells) = grid.rows_of(slots)?;
            return task.numbers(property, rows, |row, term| {
                cells[starts[slots[row] as usize] + bucket(row)].add(term);
            });
        }
        let mut failed = Ok(());
        task.numbers(property, rows, |row, term| {
            if failed.is_ok() {
                failed = self.add(row, grid, |cell| cell.add(term));
            }
        })?;
        failed
    }

    pub fn count_events(&self, grid: &mut Grid<u64>) -> Result<(), Problem> {
        let times = self.keys.iter().map(|key| key_time(*key)).enumerate();
        let Some(slots) = self.slots else {
            let start = grid.row_start(0)?;
            let cells = &mut grid.cells_mut()[start..];
            self.stretch.calendar.for_each_bucket(times, |_, bucket| cells[bucket] += 1);
            return Ok(());
        };
        if let Some(slots) = slots.singles() {
            let (starts, cells) = grid.rows_of(slots)?;
            let count = |row: usize, bucket: usize| cells[starts[slots[row] as usize] + bucket] += 1;
            self.stretch.calendar.for_each_bucket(times, count);
            return Ok(());
        }
        (0..self.keys.len()).try_for_each(|row| self.add(row, grid, |cell| *cell += 1))
    }

    pub fn count_users(
        &self,
        first_user: u32,
        last_seen: &mut Vec<LastSeen>,
        grid: &mut Grid<u64>,
    ) -> Result<(), Problem> {
        if self.slots.is_none() {
            let start = grid.row_start(0)?;
            let cells = &mut grid.cells_mut()[start..];
            let mut last = None;
            for key in self.keys {
                let bucket = self.stretch.bucket(*key);
                let seen = (key_user(*key), if self.is_cumulative { 0 } else { bucket });
                cells[bucket] += u64::from(last != Some(seen));
                last = Some(seen);
            }
            return Ok(());
        }
        self.visit_users(first_user, last_seen, |slot, bucket, is_new| {
            let start = grid.row_start(slot)?;
            grid.cells_mut()[start + bucket] += u64::from(is_new);
            Ok(())
        })
    }

    pub fn count_per_user(
        &self,
        first_user: u32,
        last_seen: &mut Vec<LastSeen>,
        grid: &mut Grid<PerUser>,
    ) -> Result<(), Problem> {
        self.visit_users(first_user, last_seen, |slot, bucket, is_new| {
            let start = grid.row_start(slot)?;
            let cell = &mut grid.cells_mut()[start + bucket];
            cell.events += 1;
            cell.users += u64::from(is_new);
            Ok(())
        })
    }

    /// Calls `visit` with the slots and the bucket of each row, and whether its user is new there: to the bucket, or
    /// in a running total to the slot.
    #[inline]
    fn visit_users(
        &self,
        first_user: u32,
        last_seen: &mut Vec<LastSeen>,
        mut visit: impl FnMut(u32, usize, bool) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        for (row, key) in self.keys.iter().enumerate() {
            let bucket = self.stretch.bucket(*key);
            let user = first_user + u32::from(key_user(*key));
            let seen = LastSeen { user, bucket: if self.is_cumulative { 0 } else { bucket as u32 } };
            for slot in slots_of(self.slots, row) {
                let last = last_seen_of(last_seen, *slot);
                let is_new = *last != seen;
                *last = seen;
                visit(*slot, bucket, is_new)?;
            }
        }
        Ok(())
    }

    pub fn count_rolling(
        &self,
        first_user: u32,
        last_seen: &mut Vec<LastSeen>,
        grid: &mut Grid<i64>,
    ) -> Result<(), Problem> {
        let rolling = self.stretch.rolling.as_ref().expect("a rolling tally has a window");
        for (row, key) in self.keys.iter().enumerate() {
            let user = first_user + u32::from(key_user(*key));
            for slot in slots_of(self.slots, row) {
                let start = grid.row_start(*slot)?;
                let last = last_seen_of(last_seen, *slot);
                let counted_to = if last.user == user { last.bucket } else { 0 };
                let differences = &mut grid.cells_mut()[start..];
                let bucket = rolling.count(&self.stretch.calendar, key_time(*key), counted_to, differences);
                *last = LastSeen { user, bucket };
            }
        }
        Ok(())
    }
}

/// The user, by ordinal, that was counted last in a slot, and the bucket it was counted in or, with a rolling
/// window, up to. Ordinals are the store's, so that what another task left behind is never taken for ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastSeen {
    user: u32,
    bucket: u32,
}

impl LastSeen {
    const NOBODY: LastSeen = LastSeen { user: u32::MAX, bucket: 0 };
}

#[inline]
fn last_seen_of(last_seen: &mut Vec<LastSeen>, slot: u32) -> &mut LastSeen {
    if last_seen.len() <= slot as usize {
        last_seen.resize(slot as usize + 1, LastSeen::NOBODY);
    }
    &mut last_seen[slot as usize]
}

/// What was counted of one series in one stretch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counted {
    pub tally: Tally,
    /// By slot: only of use to whoever is counting.
    #[serde(skip)]
    pub(super) last_seen: Vec<LastSeen>,
}

impl Counted {
    pub fn new(measure: &Measure, stretch: &Stretch) -> Counted {
        let tally = Tally::new(measure, stretch.rolling.is_some(), stretch.calendar.bucket_count());
        Counted::of(tally)
    }

    pub fn of(tally: Tally) -> Counted {
        Counted { tally, last_seen: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::super::amount::Measured;
    use super::super::rolling::Rolling;
    use super::super::segmentation::SegmentationPartial;
    use super::super::{Calendar, Fold, NULL_CODE, Partial, Split, TASK_USER_COUNT, key};
    use super::*;
    use crate::api::{Interval, WeekStart};
    use crate::model::{DAY_MS, Number, Value};

    /// Four days.
    fn days(rolling_days: Option<u32>) -> Stretch {
        let range = 0..4 * DAY_MS;
        let calendar =
            Calendar::new(Interval::Day, &TimeZone::UTC, WeekStart::Monday, range.clone()).unwrap();
        let rolling = rolling_days.map(|days| Rolling::new(&calendar, &TimeZone::UTC, days));
        Stretch { calendar, rolling, range }
    }

    fn counting<'a>(stretch: &'a Stretch, keys: &'a [u64], slots: Option<&'a Codes>) -> Counting<'a> {
        Counting { stretch, is_cumulative: false, keys, slots }
    }

    /// Events of users by day, in order, each at a later hour.
    fn keys(events: &[(u16, i64)]) -> Vec<u64> {
        events.iter().zip(0..).map(|((user, day), hour)| key(*user, day * DAY_MS + hour * 1_000)).collect()
    }

    /// Slots of the values a, which is kept, b and c, which are folded.
    fn slots(codes: &[u32]) -> Option<Codes> {
        let labels = [Value::from("a"), Value::from("b"), Value::from("c")];
        let split = Split::new(vec![Fold::keep_top(&labels, 1, |code| Some(-i64::from(code)))]).unwrap();
        split.slots(vec![Codes::one_per_row(codes.to_vec())])
    }

    #[test]
    fn users_count_once_in_each_bucket_and_each_folded_value() {
        let (days, mut grid, mut last_seen) = (days(None), Grid::new(4), Vec::new());
        let keys = keys(&[(1, 0), (1, 0), (1, 2), (2, 0), (2, 0), (2, 0)]);
        counting(&days, &keys, None).count_users(0, &mut last_seen, &mut grid).unwrap();
        assert_eq!(grid.rows(), [(0, &[2, 0, 1, 0][..])]);

        // Values b and c are both told as `$other`, slot 1; null is slot 2.
        let mut grid = Grid::new(4);
        let slots = slots(&[1, 2, 0, 0, 1, NULL_CODE]);
        counting(&days, &keys, slots.as_ref()).count_users(0, &mut last_seen, &mut grid).unwrap();
        assert_eq!(grid.rows(), [(0, &[1, 0, 1, 0][..]), (1, &[2, 0, 0, 0]), (2, &[1, 0, 0, 0])]);
    }

    #[test]
    fn a_running_total_counts_users_when_they_come_first() {
        let (days, keys) = (days(None), keys(&[(1, 0), (1, 2), (2, 2), (2, 2), (2, 3)]));
        for slots in [None, slots(&[0; 5])] {
            let (mut grid, mut last_seen) = (Grid::new(4), Vec::new());
            let counting =
                Counting { stretch: &days, is_cumulative: true, keys: &keys, slots: slots.as_ref() };
            counting.count_users(0, &mut last_seen, &mut grid).unwrap();
            assert_eq!(grid.rows(), [(0, &[1, 0, 1, 0][..])]);
        }
    }

    #[test]
    fn a_user_of_another_task_is_another_user() {
        let (days, mut grid, mut last_seen) = (days(None), Grid::new(4), Vec::new());
        for first_user in [0, TASK_USER_COUNT] {
            let (keys, slots) = (keys(&[(7, 1)]), slots(&[0]));
            counting(&days, &keys, slots.as_ref())
                .count_users(first_user, &mut last_seen, &mut grid)
                .unwrap();
        }
        assert_eq!(grid.rows(), [(0, &[0, 2, 0, 0][..])]);
    }

    #[test]
    fn rolling_windows_of_values_are_apart() {
        let (days, mut grid, mut last_seen) = (days(Some(2)), Grid::new(5), Vec::new());
        let keys = keys(&[(1, -1), (1, 0), (1, 3), (2, 1)]);
        let slots = slots(&[0, 1, 0, 0]);
        counting(&days, &keys, slots.as_ref()).count_rolling(0, &mut last_seen, &mut grid).unwrap();
        assert_eq!(grid.rows(), [(0, &[1, 0, 0, 0, -1][..]), (1, &[1, 0, -1, 0, 0])]);
    }

    /// What is counted of a few users by each kind of measure.
    fn partial(first_user: u32, events: &[(u16, i64)]) -> SegmentationPartial {
        let (plain, rolling, keys) = (days(None), days(Some(3)), keys(events));
        let mut counted = Vec::new();
        for (measure, stretch) in [
            (Measure::Events, &plain),
            (Measure::Users, &plain),
            (Measure::Users, &rolling),
            (Measure::PerUser, &plain),
        ] {
            let mut of_measure = Counted::new(&measure, stretch);
            let (counting, last_seen) = (counting(stretch, &keys, None), &mut of_measure.last_seen);
            match &mut of_measure.tally {
                Tally::Count(grid) if measure == Measure::Events => counting.count_events(grid),
                Tally::Count(grid) => counting.count_users(first_user, last_seen, grid),
                Tally::Rolling(grid) => counting.count_rolling(first_user, last_seen, grid),
                Tally::PerUser(grid) => counting.count_per_user(first_user, last_seen, grid),
                _ => unreachable!("no other measure is counted here"),
            }
            .unwrap();
            counted.push(of_measure);
        }
        for measure in [Measure::Sum, Measure::Average, Measure::Least, |p| Measure::Percentile(50, p)] {
            let mut of_measure = Counted::new(&measure("p".to_owned()), &plain);
            fn add<T: NumberAmount>(grid: &mut Grid<T>) {
                let start = grid.row_start(0).unwrap();
                grid.cells_mut()[start].add(Number::parse("0.1").unwrap().into());
            }
            match &mut of_measure.tally {
                Tally::Sum(grid) => add(grid),
                Tally::Average(grid) => add(grid),
                Tally::Extremes(grid) => add(grid),
                Tally::Values(grid) => add(grid),
                _ => unreachable!("these are measures of numbers"),
            }
            counted.push(of_measure);
        }
        SegmentationPartial { series: vec![counted] }
    }

    fn told(partial: &SegmentationPartial) -> String {
        let measures = [
            Measure::Events,
            Measure::Users,
            Measure::Users,
            Measure::PerUser,
            Measure::Sum(String::new()),
            Measure::Average(String::new()),
            Measure::Least(String::new()),
            Measure::Percentile(50, String::new()),
        ];
        let told = partial.series[0].iter().zip(&measures).map(|(counted, measure)| {
            let values = counted.tally.told(0, measure, 4, false);
            format!("{:?}", values.iter().map(Measured::to_f64).collect::<Vec<_>>())
        });
        told.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn merging_is_associative_commutative_and_survives_serialisation() {
        let parts = || [partial(0, &[(1, 0), (1, 1)]), partial(9, &[(1, 1), (2, 3)]), partial(99, &[(5, 2)])];
        let sum = |order: [usize; 3]| {
            let parts = parts();
            let mut sum = parts[order[0]].clone();
            for part in &order[1..] {
                let text = serde_json::to_string(&parts[*part]).unwrap();
                sum.merge(serde_json::from_str(&text).unwrap());
            }
            told(&sum)
        };
        let [a, mut b, c] = parts();
        b.merge(c);
        let mut right = a;
        right.merge(b);
        assert_eq!(sum([0, 1, 2]), told(&right));
        assert_eq!(sum([2, 0, 1]), told(&right));
        assert!(told(&right).contains("[Some(0.3), "), "{}", told(&right));
    }
}
