//! Stickiness: on how many intervals of a period users are active, and how many of a period's users are on one.
//!
//! Users are followed from interval to interval. In a histogram a user moves up by one with every further
//! active interval of the period; in a ratio it counts in the interval and, by differences, in all windows that
//! hold the interval and that it does not count in yet.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::cell_name::{SlotName, read_bucket};
use super::grid::{Grid, too_many_rows};
use super::rolling::count_buckets;
use super::stickiness_plan::{Groups, Periods, Plan, Windows};
use super::value_totals::BreakdownTotals;
use super::visits::{States, VisitTotals, Visits};
use super::{Analysis, BreakdownPlan, Partial, Selection, Split, TASK_USER_COUNT, Task, TaskSet};
use crate::api::{
    Cell, ColumnType, Fields, Problem, Scope, StickinessQuery, StickinessTold, Table, TimeExpr,
};
use crate::limits::RESULT_ROW_COUNT_MAX;
use crate::model::TimeMs;

/// A stickiness, bound to a snapshot.
#[derive(Debug)]
pub struct Stickiness {
    visits: Visits,
    plan: Plan,
    at_least: u32,
    told: StickinessTold,
    looked_at: Range<TimeMs>,
    as_of: TimeMs,
}

impl Stickiness {
    /// `selection` is that of the query's events, with its `where`; `first_event` is the time of the first event
    /// that is seen, of any name.
    pub fn new(
        query: &StickinessQuery,
        scope: &Scope,
        first_event: Option<TimeMs>,
        selection: Selection,
        plans: Vec<BreakdownPlan>,
    ) -> Result<Stickiness, Problem> {
        let plan = Plan::new(query, scope, first_event)?;
        let looked_at =
            plan.calendar.start(plan.first_bucket)..plan.calendar.start(plan.calendar.bucket_count());
        Ok(Stickiness {
            visits: Visits::new(selection, &query.breakdowns, plans)?,
            plan,
            at_least: query.at_least,
            told: query.told,
            looked_at: scope.seen(looked_at),
            as_of: scope.as_of,
        })
    }

    /// What has to be asked first, if a property has more values than are told; the answer goes to
    /// [`Stickiness::fold`].
    pub fn totals(&self) -> Option<VisitTotals<'_>> {
        let counted_from = match &self.plan.groups {
            Groups::Periods(_) => self.looked_at.start,
            Groups::Windows(windows) => self.plan.calendar.start(windows.first_told).min(self.looked_at.end),
        };
        self.visits.needs_totals().then(|| VisitTotals {
            visits: &self.visits,
            looked_at: self.looked_at.clone(),
            counted: counted_from..self.looked_at.end,
            noted: BreakdownTotals::default(),
        })
    }

    /// Sets which values have rows of their own.
    pub fn fold(&mut self, split: Split) {
        self.visits.fold(split);
    }

    /// Calls `visit` with the slot, the user and the bucket of each event in `range`, counted from the first bucket
    /// that is looked at, and whether it is the event that makes the user active in the bucket.
    fn each(
        &self,
        task: &Task<'_>,
        range: Range<TimeMs>,
        mut visit: impl FnMut(u32, u16, usize, bool) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let calendar = &self.plan.calendar;
        let mut states: States<Activity> = self.visits.states();
        let are_days_enough = self.at_least == 1 && calendar.is_of_utc_days();
        self.visits.each(task, range, are_days_enough, |slot, users, time| {
            let bucket = calendar.bucket_of(time).expect("what is looked at lies in the calendar");
            let bucket = bucket - self.plan.first_bucket;
            users.iter().try_for_each(|user| {
                let activity = states.of(slot, *user);
                visit(slot, *user, bucket, activity.add(bucket as u32, self.at_least))
            })
        })
    }

    fn count_periods(&self, task: &Task<'_>, periods: &Periods, grid: &mut Grid<i64>) -> Result<(), Problem> {
        let mut states: States<InPeriod> = self.visits.states();
        self.each(task, self.looked_at.clone(), |slot, user, bucket, is_active_now| {
            let start = grid.row_start(slot)?;
            if is_active_now {
                let period = periods.by_bucket[bucket];
                let first_cell = start + periods.first_buckets[period as usize] - self.plan.first_bucket;
                let active_count = states.of(slot, user).add(period) as usize;
                let cells = &mut grid.cells_mut()[first_cell..];
                cells[active_count - 1] += 1;
                if active_count > 1 {
                    cells[active_count - 2] -= 1;
                }
            }
            Ok(())
        })
    }

    fn count_windows(&self, task: &Task<'_>, windows: &Windows, grid: &mut Grid<i64>) -> Result<(), Problem> {
        let told_count = self.plan.calendar.bucket_count() - windows.first_told;
        let lookback = windows.first_told - self.plan.first_bucket;
        let mut counted_to: States<u32> = self.visits.states();
        self.each(task, self.looked_at.clone(), |slot, user, bucket, is_active_now| {
            let start = grid.row_start(slot)?;
            if is_active_now {
                let (active, differences) = grid.cells_mut()[start..].split_at_mut(told_count);
                if bucket >= lookback {
                    active[bucket - lookback] += 1;
                }
                let counted_to = counted_to.of(slot, user);
                *counted_to = count_buckets(windows.held_by[bucket], *counted_to, differences);
            }
            Ok(())
        })
    }
}

/// The events of a user in the last bucket it had any.
#[derive(Clone, Copy, Debug, Default)]
struct Activity {
    /// One more than the bucket; 0 for none.
    bucket: u32,
    count: u32,
}

impl Activity {
    /// Adds an event, and tells whether it is the one that makes the bucket active.
    #[inline]
    fn add(&mut self, bucket: u32, at_least: u32) -> bool {
        if self.bucket != bucket + 1 {
            *self = Activity { bucket: bucket + 1, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count == at_least
    }
}

/// The active intervals of a user in the last period it had any.
#[derive(Clone, Copy, Debug, Default)]
struct InPeriod {
    period: u32,
    count: u32,
}

impl InPeriod {
    /// Adds an active interval, and tells how many there are now.
    #[inline]
    fn add(&mut self, period: u32) -> u32 {
        if self.period != period {
            *self = InPeriod { period, count: 0 };
        }
        self.count += 1;
        self.count
    }
}

/// What was counted: a row for each slot.
///
/// For periods, users by how many intervals they were active on, a cell for each interval of each period. For
/// windows, users active in each told bucket, then those of the windows as differences from one to the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StickinessPartial {
    cells: Grid<i64>,
}

impl Partial for StickinessPartial {
    fn merge(&mut self, other: StickinessPartial) {
        self.cells.merge(&other.cells, |cell, term| *cell += term);
    }
}

impl Analysis for Stickiness {
    type Partial = StickinessPartial;
    type Output = Table;

    fn empty(&self) -> StickinessPartial {
        StickinessPartial { cells: Grid::new(self.plan.width()) }
    }

    fn observe(&self, task: &Task<'_>, partial: &mut StickinessPartial) -> Result<(), Problem> {
        match &self.plan.groups {
            Groups::Periods(periods) => self.count_periods(task, periods, &mut partial.cells),
            Groups::Windows(windows) => self.count_windows(task, windows, &mut partial.cells),
        }
    }

    fn finish(&self, partial: StickinessPartial) -> Result<Table, Problem> {
        let split = self.visits.split();
        let nobody = vec![0; self.plan.width()];
        let mut rows = partial.cells.rows();
        if rows.is_empty() && split.is_none() {
            rows.push((0, &nobody));
        }
        let rows_of_each = match &self.plan.groups {
            Groups::Periods(_) => self.plan.width(),
            Groups::Windows(_) => self.plan.width() / 2,
        };
        if rows.len() * rows_of_each > RESULT_ROW_COUNT_MAX {
            return Err(too_many_rows());
        }
        let rows: Vec<Line<'_>> = rows.into_iter().map(|(slot, cells)| (split.cells(slot), cells)).collect();
        Ok(match &self.plan.groups {
            Groups::Periods(periods) => self.table_of_periods(periods, &rows),
            Groups::Windows(windows) => self.table_of_windows(windows, &rows),
        })
    }
}

/// The names of a row's values, and its cells.
type Line<'a> = (Vec<Cell>, &'a [i64]);

impl Stickiness {
    fn empty_table(&self, numbers: &[(&str, ColumnType)]) -> Table {
        let columns =
            [("time".to_owned(), ColumnType::Time)].into_iter().chain(self.visits.split().columns());
        Table::new(columns.chain(numbers.iter().map(|(name, kind)| ((*name).to_owned(), *kind))))
    }

    fn table_of_periods(&self, periods: &Periods, rows: &[Line<'_>]) -> Table {
        let mut table = self.empty_table(&[
            ("intervals", ColumnType::UInt32),
            ("users", ColumnType::UInt64),
            ("share", ColumnType::Float64),
        ]);
        for (period, label) in periods.labels.iter().enumerate() {
            let bounds = periods.first_buckets[period]..periods.first_buckets[period + 1];
            let of_period = bounds.start - self.plan.first_bucket..bounds.end - self.plan.first_bucket;
            for (labels, cells) in rows {
                let exactly = &cells[of_period.clone()];
                let all: i64 = exactly.iter().sum();
                let mut at_least = all;
                for (intervals, users) in (1..).zip(exactly) {
                    let users = if self.told == StickinessTold::AtLeast { at_least } else { *users };
                    at_least -= exactly[intervals as usize - 1];
                    let numbers = [Cell::UInt(intervals), Cell::UInt(users as u64), share(users, all)];
                    let name = [Cell::Text(label.clone())].into_iter().chain(labels.iter().cloned());
                    table.push(name.chain(numbers));
                }
            }
        }
        table
    }

    fn table_of_windows(&self, windows: &Windows, rows: &[Line<'_>]) -> Table {
        let mut table = self.empty_table(&[
            ("active", ColumnType::UInt64),
            ("active_in_period", ColumnType::UInt64),
            ("ratio", ColumnType::Float64),
        ]);
        let told_count = self.plan.calendar.bucket_count() - windows.first_told;
        let mut in_period = vec![0; rows.len()];
        for told in 0..told_count {
            let time = Cell::Text(self.plan.calendar.label(windows.first_told + told));
            for ((labels, cells), in_period) in rows.iter().zip(&mut in_period) {
                let active = cells[told];
                *in_period += cells[told_count + told];
                let numbers =
                    [Cell::UInt(active as u64), Cell::UInt(*in_period as u64), share(active, *in_period)];
                table.push([time.clone()].into_iter().chain(labels.iter().cloned()).chain(numbers));
            }
        }
        table
    }
}

fn share(part: i64, all: i64) -> Cell {
    if all > 0 { Cell::Float(part as f64 / all as f64) } else { Cell::Null }
}

/// A cell of a stickiness: users by what they were active on.
#[derive(Clone, Debug)]
pub struct StickinessCell {
    /// The buckets that are looked at, counted as the calendar does.
    buckets: Range<usize>,
    /// On how many of them the users were active.
    active: std::ops::RangeInclusive<u32>,
    slot: Vec<SlotName>,
}

impl Stickiness {
    /// Reads the name of a cell: `time`, `intervals`, and the value of each breakdown. A ratio has no
    /// `intervals` but a `state`: `active` or `active_in_period`.
    pub fn cell(&self, fields: &mut Fields<'_>) -> Result<StickinessCell, Problem> {
        let time = fields.required("time")?;
        let calendar = &self.plan.calendar;
        let (buckets, active) = match &self.plan.groups {
            Groups::Windows(windows) => {
                let told = windows.first_told..calendar.bucket_count();
                let bucket = read_bucket(&time, calendar, told, self.as_of)?;
                let is_of_window =
                    fields.required("state")?.word(&[("active", false), ("active_in_period", true)])?;
                let window = (bucket - windows.first_told) as u32;
                let is_held = |held_by: &(u32, u32)| (held_by.0..held_by.1).contains(&window);
                let first_of_window = windows.held_by.iter().position(is_held);
                let first_of_window = first_of_window.expect("a window holds its last bucket");
                let first = if is_of_window { self.plan.first_bucket + first_of_window } else { bucket };
                (first..bucket + 1, 1..=u32::MAX)
            }
            Groups::Periods(periods) => {
                let moment = TimeExpr::parse(&time)?.resolve(self.as_of, calendar.zone());
                let date = super::local_date(moment, calendar.zone()).to_string();
                let label =
                    |period: &String| *period == date || time.string().is_ok_and(|text| text == period);
                let period = periods.labels.iter().position(label).ok_or_else(|| {
                    let problem = time.problem("no row of the result has this time");
                    match periods.labels.as_slice() {
                        [] => problem,
                        [first, .., last] => problem.hint(format!("its rows go from {first} to {last}")),
                        [only] => problem.hint(format!("its rows are of {only}")),
                    }
                })?;
                let buckets = periods.first_buckets[period]..periods.first_buckets[period + 1];
                let intervals = fields.required("intervals")?.integer(1..=buckets.len() as i64)? as u32;
                let most = if self.told == StickinessTold::AtLeast { u32::MAX } else { intervals };
                (buckets, intervals..=most)
            }
        };
        Ok(StickinessCell {
            buckets,
            active,
            slot: SlotName::read_all(fields, self.visits.breakdown_count())?,
        })
    }

    /// The users of a cell: as many as it tells.
    pub fn members(&self, task: &Task<'_>, cell: &StickinessCell) -> Result<TaskSet, Problem> {
        let Some(meant) = self.visits.split().slot_named(&cell.slot) else { return Ok(TaskSet::new()) };
        let calendar = &self.plan.calendar;
        let end = calendar.start(cell.buckets.end).min(self.looked_at.end);
        let mut active_counts = vec![0_u32; TASK_USER_COUNT as usize];
        self.each(task, calendar.start(cell.buckets.start).min(end)..end, |slot, user, _, is_active_now| {
            active_counts[usize::from(user)] += u32::from(slot == meant && is_active_now);
            Ok(())
        })?;
        let users = (0..).zip(active_counts);
        Ok(users.filter(|(_, count)| cell.active.contains(count)).map(|(user, _)| user).collect())
    }
}
