//! Segmentation: how often, by how many users, how much; for each bucket, series and value of a breakdown.
//!
//! A series is counted in a [`Grid`] of a row for each value and a cell for each bucket. Which values have rows
//! of their own is only known once the whole range was looked at, and distinct users of the rest cannot be
//! added up. So where a property has more values than are told, [`SegmentationTotals`] looks first, and the
//! segmentation itself counts with the folds that it finds.
//!
//! Users are told apart by comparing each row with the one before in its cell, as rows come sorted by user
//! and time. A rolling window adds to the first and takes from the last bucket that an activity counts in.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::activity::visit_active_days;
use super::grid::{Grid, too_many_rows};
use super::rolling::{Rolling, count_buckets};
use super::split::slots_of;
use super::{
    Analysis, BreakdownPlan, Calendar, Codes, Fold, Partial, Rows, SegmentationTotals, Selection, Split,
    TASK_USER_COUNT, Task, key_time, key_user,
};
use crate::api::{Cell, ColumnType, Measure, Problem, Scope, SegmentationQuery, Table};
use crate::limits::RESULT_ROW_COUNT_MAX;
use crate::model::{DAY_MS, Decimal, ExactSum, Number, TimeMs};

/// A segmentation, bound to a snapshot.
#[derive(Debug)]
pub struct Segmentation {
    pub(super) series: Vec<Series>,
    calendar: Calendar,
    rolling: Option<Rolling>,
    /// The told range, up to `as_of`.
    pub(super) range: Range<TimeMs>,
    pub(super) breakdowns: Vec<BreakdownPlan>,
    /// How many values of each breakdown are told.
    pub(super) limits: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct Series {
    name: String,
    pub(super) selection: Selection,
    pub(super) measure: Measure,
    split: Split,
}

impl Segmentation {
    /// `selections` are those of the series, with the query's `where`; `first_event` is the time of the first
    /// event that is seen, of any name.
    pub fn new(
        query: &SegmentationQuery,
        scope: &Scope,
        first_event: Option<TimeMs>,
        selections: Vec<Selection>,
        breakdowns: Vec<BreakdownPlan>,
    ) -> Result<Segmentation, Problem> {
        let told = scope.told_range(first_event);
        let calendar = Calendar::new(query.interval, &scope.zone, scope.week_start, told.clone())?;
        let rolling = query.rolling_days.map(|days| Rolling::new(&calendar, &scope.zone, days));
        let limits: Vec<usize> = query.breakdowns.iter().map(|breakdown| breakdown.limit).collect();
        let series = query.series.iter().zip(selections).map(|(series, selection)| {
            let (name, measure) = (series.name.clone(), series.measure.clone());
            Series { name, selection, measure, split: Split::default() }
        });
        let mut segmentation = Segmentation {
            series: series.collect(),
            calendar,
            rolling,
            range: scope.seen(told),
            breakdowns,
            limits,
        };
        if !segmentation.needs_totals() {
            let folds = || segmentation.breakdowns.iter().map(|plan| Fold::keep_all(plan.labels())).collect();
            let split = Split::new(folds())?;
            segmentation.series.iter_mut().for_each(|series| series.split = split.clone());
        }
        Ok(segmentation)
    }

    /// What has to be asked first, if a property has more values than are told; the answer goes to
    /// [`Segmentation::fold`].
    pub fn totals(&self) -> Option<SegmentationTotals<'_>> {
        self.needs_totals().then(|| SegmentationTotals::new(self))
    }

    fn needs_totals(&self) -> bool {
        self.breakdowns.iter().zip(&self.limits).any(|(plan, limit)| plan.labels().len() > *limit)
    }

    /// Sets which values of each series have rows of their own.
    pub fn fold(&mut self, splits: Vec<Split>) {
        debug_assert_eq!(splits.len(), self.series.len());
        self.series.iter_mut().zip(splits).for_each(|(series, split)| series.split = split);
    }

    /// All that is looked at: the range, and before it what the first rolling window holds.
    pub(super) fn looked_at(&self) -> Range<TimeMs> {
        let start = self.rolling.as_ref().and_then(Rolling::start).unwrap_or(self.range.start);
        start.min(self.range.end)..self.range.end
    }

    /// Whether facts by day of UTC are enough, for series of every event.
    fn is_of_utc_days(&self) -> bool {
        self.calendar.is_of_utc_days() && self.rolling.as_ref().is_none_or(Rolling::is_of_utc_days)
    }

    /// The bucket of a row of the range.
    #[inline]
    fn bucket(&self, key: u64) -> usize {
        self.calendar.bucket_of(key_time(key)).expect("rows lie in the range, and the calendar spans it")
    }

    fn codes(&self, task: &Task<'_>, rows: &Rows) -> Result<Vec<Codes>, Problem> {
        self.breakdowns.iter().map(|breakdown| task.breakdown_codes(breakdown, rows)).collect()
    }

    fn observe_series(&self, task: &Task<'_>, series: &Series, tally: &mut Tally) -> Result<(), Problem> {
        let counts_users = series.measure == Measure::Users;
        if counts_users
            && series.selection.is_every_event()
            && series.split.is_none()
            && self.is_of_utc_days()
        {
            return self.observe_days(task, series, tally);
        }
        let needs_refs = !series.split.is_none() || matches!(series.measure, Measure::Sum(_));
        let rows = task.rows(&series.selection, self.looked_at(), needs_refs)?;
        let slots = series.split.slots(self.codes(task, &rows)?);
        let first_user = task.user_base();
        match tally {
            Tally::Events(grid) => self.count_events(&rows.keys, slots.as_ref(), grid),
            Tally::Users { grid, last_seen } => {
                self.count_users(&rows.keys, slots.as_ref(), first_user, grid, last_seen)
            }
            Tally::Rolling { grid, last_seen } => {
                self.count_rolling(&rows.keys, slots.as_ref(), first_user, grid, last_seen)
            }
            Tally::Sum(grid) => {
                // A value whose events have no number is there, with a sum of 0.
                for slot in (0..rows.keys.len()).filter_map(|row| Some(slots.as_ref()?.of(row))).flatten() {
                    grid.row_start(*slot)?;
                }
                let Measure::Sum(property) = &series.measure else { unreachable!("sums are of a property") };
                let mut failed = None;
                task.numbers(property, &rows, &mut |row, number| {
                    let bucket = self.bucket(rows.keys[row]);
                    for slot in slots_of(slots.as_ref(), row) {
                        match grid.row_start(*slot) {
                            Ok(start) => grid.cells_mut()[start + bucket].add(number),
                            Err(problem) => failed = Some(problem),
                        }
                    }
                })?;
                failed.map_or(Ok(()), Err)
            }
        }
    }

    /// Counts users by whole days: without looking at a row but at the ends of the range.
    fn observe_days(&self, task: &Task<'_>, series: &Series, tally: &mut Tally) -> Result<(), Problem> {
        let range = self.looked_at();
        let first_day = range.start.div_euclid(DAY_MS) as i32;
        let days = first_day..-(-range.end).div_euclid(DAY_MS) as i32;
        // For each user up to which bucket it was counted.
        let mut counted_to = vec![0_u32; TASK_USER_COUNT as usize];
        match (tally, &self.rolling) {
            (Tally::Rolling { grid, .. }, Some(rolling)) => {
                let buckets_by_day = rolling.buckets_by_day(&self.calendar, days);
                let start = grid.row_start(0)?;
                let differences = &mut grid.cells_mut()[start..];
                visit_active_days(task, &series.selection, range, &mut |day, users| {
                    let buckets = buckets_by_day[(day - first_day) as usize];
                    for user in users {
                        let counted_to = &mut counted_to[usize::from(*user)];
                        *counted_to = count_buckets(buckets, *counted_to, differences);
                    }
                })
            }
            (Tally::Users { grid, .. }, None) => {
                let start = grid.row_start(0)?;
                let counts = &mut grid.cells_mut()[start..];
                visit_active_days(task, &series.selection, range.clone(), &mut |day, users| {
                    let moment = (i64::from(day) * DAY_MS).max(range.start);
                    let bucket = self.calendar.bucket_of(moment).expect("days lie in the range");
                    let counted = bucket as u32 + 1;
                    let mut new_count = 0;
                    for user in users {
                        let counted_to = &mut counted_to[usize::from(*user)];
                        new_count += u64::from(*counted_to != counted);
                        *counted_to = counted;
                    }
                    counts[bucket] += new_count;
                })
            }
            _ => unreachable!("only users are counted by day"),
        }
    }

    fn count_events(&self, keys: &[u64], slots: Option<&Codes>, grid: &mut Grid<u64>) -> Result<(), Problem> {
        let Some(slots) = slots else {
            let start = grid.row_start(0)?;
            let cells = &mut grid.cells_mut()[start..];
            keys.iter().for_each(|key| cells[self.bucket(*key)] += 1);
            return Ok(());
        };
        for (row, key) in keys.iter().enumerate() {
            let bucket = self.bucket(*key);
            for slot in slots.of(row) {
                let start = grid.row_start(*slot)?;
                grid.cells_mut()[start + bucket] += 1;
            }
        }
        Ok(())
    }

    fn count_users(
        &self,
        keys: &[u64],
        slots: Option<&Codes>,
        first_user: u32,
        grid: &mut Grid<u64>,
        last_seen: &mut Vec<LastSeen>,
    ) -> Result<(), Problem> {
        let Some(slots) = slots else {
            let start = grid.row_start(0)?;
            let cells = &mut grid.cells_mut()[start..];
            let mut last = None;
            for key in keys {
                let bucket = self.bucket(*key);
                let seen = Some((key_user(*key), bucket));
                cells[bucket] += u64::from(last != seen);
                last = seen;
            }
            return Ok(());
        };
        for (row, key) in keys.iter().enumerate() {
            let seen =
                LastSeen { user: first_user + u32::from(key_user(*key)), bucket: self.bucket(*key) as u32 };
            for slot in slots.of(row) {
                let last = last_seen_of(last_seen, *slot);
                let is_new = *last != seen;
                *last = seen;
                let start = grid.row_start(*slot)?;
                grid.cells_mut()[start + seen.bucket as usize] += u64::from(is_new);
            }
        }
        Ok(())
    }

    fn count_rolling(
        &self,
        keys: &[u64],
        slots: Option<&Codes>,
        first_user: u32,
        grid: &mut Grid<i64>,
        last_seen: &mut Vec<LastSeen>,
    ) -> Result<(), Problem> {
        let rolling = self.rolling.as_ref().expect("a rolling tally has a window");
        for (row, key) in keys.iter().enumerate() {
            let user = first_user + u32::from(key_user(*key));
            for slot in slots_of(slots, row) {
                let start = grid.row_start(*slot)?;
                let last = last_seen_of(last_seen, *slot);
                let counted_to = if last.user == user { last.bucket } else { 0 };
                let differences = &mut grid.cells_mut()[start..];
                let bucket = rolling.count(&self.calendar, key_time(*key), counted_to, differences);
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

/// What was counted of one series: a row for each slot, a cell for each bucket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Tally {
    Events(Grid<u64>),
    Users {
        grid: Grid<u64>,
        #[serde(skip)]
        last_seen: Vec<LastSeen>,
    },
    /// Users of trailing windows, as differences from bucket to bucket; one more cell than buckets.
    Rolling {
        grid: Grid<i64>,
        #[serde(skip)]
        last_seen: Vec<LastSeen>,
    },
    Sum(Grid<ExactSum>),
}

/// What was counted so far, a tally for each series.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SegmentationPartial {
    series: Vec<Tally>,
}

impl Partial for SegmentationPartial {
    fn merge(&mut self, other: SegmentationPartial) {
        for (tally, other) in self.series.iter_mut().zip(other.series) {
            match (tally, other) {
                (Tally::Events(grid), Tally::Events(other))
                | (Tally::Users { grid, .. }, Tally::Users { grid: other, .. }) => {
                    grid.merge(&other, |cell, term| *cell += term);
                }
                (Tally::Rolling { grid, .. }, Tally::Rolling { grid: other, .. }) => {
                    grid.merge(&other, |cell, term| *cell += term);
                }
                (Tally::Sum(grid), Tally::Sum(other)) => grid.merge(&other, ExactSum::merge),
                _ => unreachable!("partial results of one query have tallies of the same kinds"),
            }
        }
    }
}

impl Analysis for Segmentation {
    type Partial = SegmentationPartial;
    type Output = Table;

    fn empty(&self) -> SegmentationPartial {
        let width = self.calendar.bucket_count();
        let tally = |series: &Series| match &series.measure {
            Measure::Events => Tally::Events(Grid::new(width)),
            Measure::Users if self.rolling.is_some() => {
                Tally::Rolling { grid: Grid::new(width + 1), last_seen: Vec::new() }
            }
            Measure::Users => Tally::Users { grid: Grid::new(width), last_seen: Vec::new() },
            Measure::Sum(_) => Tally::Sum(Grid::new(width)),
        };
        SegmentationPartial { series: self.series.iter().map(tally).collect() }
    }

    fn observe(&self, task: &Task<'_>, partial: &mut SegmentationPartial) -> Result<(), Problem> {
        if self.calendar.bucket_count() == 0 {
            return Ok(());
        }
        self.series
            .iter()
            .zip(&mut partial.series)
            .try_for_each(|(series, tally)| self.observe_series(task, series, tally))
    }

    fn finish(&self, partial: SegmentationPartial) -> Result<Table, Problem> {
        let has_sums = partial.series.iter().any(|tally| matches!(tally, Tally::Sum(_)));
        let value_type = if has_sums { ColumnType::Decimal } else { ColumnType::UInt64 };
        let split_columns: Vec<_> =
            self.series.first().map(|series| series.split.columns().collect()).unwrap_or_default();
        let columns = [("time".to_owned(), ColumnType::Time), ("series".to_owned(), ColumnType::String)];
        let mut table =
            Table::new(columns.into_iter().chain(split_columns).chain([("value".to_owned(), value_type)]));
        let bucket_count = self.calendar.bucket_count();
        let series: Vec<Vec<Line>> = self
            .series
            .iter()
            .zip(&partial.series)
            .map(|(series, tally)| lines(series, tally, bucket_count))
            .collect();
        let line_count: usize = series.iter().map(Vec::len).sum();
        if line_count * bucket_count > RESULT_ROW_COUNT_MAX {
            return Err(too_many_rows());
        }
        for bucket in 0..bucket_count {
            let time = self.calendar.label(bucket);
            for line in series.iter().flatten() {
                let value = match (&line.values[bucket], has_sums) {
                    (Cell::UInt(count), true) => Cell::Decimal(Decimal::from(Number::from(*count as i64))),
                    (value, _) => value.clone(),
                };
                let name = [Cell::Text(time.clone()), Cell::Text(line.series.clone())];
                table.push(name.into_iter().chain(line.labels.iter().cloned()).chain([value]));
            }
        }
        Ok(table)
    }
}

/// The values of one row of a tally, by bucket.
struct Line {
    series: String,
    labels: Vec<Cell>,
    values: Vec<Cell>,
}

/// The lines of a series in the order of their slots. Without a breakdown there is one, whatever was counted.
fn lines(series: &Series, tally: &Tally, bucket_count: usize) -> Vec<Line> {
    let line = |slot: u32, values: Vec<Cell>| Line {
        series: series.name.clone(),
        labels: series.split.cells(slot),
        values,
    };
    let counts = |counts: &[u64]| counts.iter().map(|count| Cell::UInt(*count)).collect();
    let windows = |differences: &[i64]| {
        let sums = differences.iter().scan(0_i64, |sum, difference| {
            *sum += difference;
            Some(*sum)
        });
        sums.take(bucket_count).map(|users| Cell::UInt(users as u64)).collect()
    };
    let sums = |sums: &[ExactSum]| sums.iter().map(|sum| Cell::Decimal(sum.total())).collect();
    let lines: Vec<Line> = match tally {
        Tally::Events(grid) | Tally::Users { grid, .. } => {
            grid.rows().into_iter().map(|(slot, cells)| line(slot, counts(cells))).collect()
        }
        Tally::Rolling { grid, .. } => {
            grid.rows().into_iter().map(|(slot, cells)| line(slot, windows(cells))).collect()
        }
        Tally::Sum(grid) => grid.rows().into_iter().map(|(slot, cells)| line(slot, sums(cells))).collect(),
    };
    if !series.split.is_none() || !lines.is_empty() {
        return lines;
    }
    let nothing = match tally {
        Tally::Sum(_) => Cell::Decimal(Decimal::from(Number::ZERO)),
        _ => Cell::UInt(0),
    };
    vec![line(0, vec![nothing; bucket_count])]
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::super::{NULL_CODE, key};
    use super::*;
    use crate::api::{Interval, WeekStart};
    use crate::model::Value;

    /// Four days without series, for the counting alone.
    fn days(rolling_days: Option<u32>) -> Segmentation {
        let range = 0..4 * DAY_MS;
        let calendar =
            Calendar::new(Interval::Day, &TimeZone::UTC, WeekStart::Monday, range.clone()).unwrap();
        let rolling = rolling_days.map(|days| Rolling::new(&calendar, &TimeZone::UTC, days));
        Segmentation {
            series: Vec::new(),
            calendar,
            rolling,
            range,
            breakdowns: Vec::new(),
            limits: Vec::new(),
        }
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
        let (segmentation, mut grid, mut last_seen) = (days(None), Grid::new(4), Vec::new());
        let keys = keys(&[(1, 0), (1, 0), (1, 2), (2, 0), (2, 0), (2, 0)]);
        segmentation.count_users(&keys, None, 0, &mut grid, &mut last_seen).unwrap();
        assert_eq!(grid.rows(), [(0, &[2, 0, 1, 0][..])]);

        // Values b and c are both told as `$other`, slot 1; null is slot 2.
        let mut grid = Grid::new(4);
        let slots = slots(&[1, 2, 0, 0, 1, NULL_CODE]);
        segmentation.count_users(&keys, slots.as_ref(), 0, &mut grid, &mut last_seen).unwrap();
        assert_eq!(grid.rows(), [(0, &[1, 0, 1, 0][..]), (1, &[2, 0, 0, 0]), (2, &[1, 0, 0, 0])]);
    }

    #[test]
    fn a_user_of_another_task_is_another_user() {
        let (segmentation, mut grid, mut last_seen) = (days(None), Grid::new(4), Vec::new());
        for first_user in [0, TASK_USER_COUNT] {
            let slots = slots(&[0]);
            segmentation
                .count_users(&keys(&[(7, 1)]), slots.as_ref(), first_user, &mut grid, &mut last_seen)
                .unwrap();
        }
        assert_eq!(grid.rows(), [(0, &[0, 2, 0, 0][..])]);
    }

    #[test]
    fn rolling_windows_of_values_are_apart() {
        let (segmentation, mut grid, mut last_seen) = (days(Some(2)), Grid::new(5), Vec::new());
        let keys = keys(&[(1, -1), (1, 0), (1, 3), (2, 1)]);
        let slots = slots(&[0, 1, 0, 0]);
        segmentation.count_rolling(&keys, slots.as_ref(), 0, &mut grid, &mut last_seen).unwrap();
        assert_eq!(grid.rows(), [(0, &[1, 0, 0, 0, -1][..]), (1, &[1, 0, -1, 0, 0])]);
    }

    /// Tallies of all kinds of a few users.
    fn partial(first_user: u32, events: &[(u16, i64)]) -> SegmentationPartial {
        let (plain, rolling, keys) = (days(None), days(Some(3)), keys(events));
        let (mut events, mut users, mut windows) = (Grid::new(4), Grid::new(4), Grid::new(5));
        let (mut last_seen, mut last_window) = (Vec::new(), Vec::new());
        plain.count_events(&keys, None, &mut events).unwrap();
        plain.count_users(&keys, None, first_user, &mut users, &mut last_seen).unwrap();
        rolling.count_rolling(&keys, None, first_user, &mut windows, &mut last_window).unwrap();
        let mut sums: Grid<ExactSum> = Grid::new(4);
        let start = sums.row_start(0).unwrap();
        sums.cells_mut()[start].add(Number::parse("0.1").unwrap());
        SegmentationPartial {
            series: vec![
                Tally::Events(events),
                Tally::Users { grid: users, last_seen },
                Tally::Rolling { grid: windows, last_seen: last_window },
                Tally::Sum(sums),
            ],
        }
    }

    fn told(partial: &SegmentationPartial) -> String {
        let sums = partial.series.iter().map(|tally| match tally {
            Tally::Events(grid) | Tally::Users { grid, .. } => format!("{:?}", grid.rows()),
            Tally::Rolling { grid, .. } => format!("{:?}", grid.rows()),
            Tally::Sum(grid) => {
                let total = |(slot, cells): (u32, &[ExactSum])| {
                    (slot, cells.iter().map(|sum| sum.total().to_string()).collect::<Vec<_>>())
                };
                format!("{:?}", grid.rows().into_iter().map(total).collect::<Vec<_>>())
            }
        });
        sums.collect::<Vec<_>>().join(" ")
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
        assert!(told(&right).contains("0.3"), "{}", told(&right));
    }
}
