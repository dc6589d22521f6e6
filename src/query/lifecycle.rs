//! Lifecycle: who is new, still there, back again or gone, interval by interval.
//!
//! Each user is followed through all history by one number: the bucket it was active in last. What an active
//! user is in a bucket follows from that number alone; who is gone from it, from how many were active in the one
//! before. The calendar begins with the interval before the range, which the first row is compared with.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::cell_name::{SlotName, read_bucket};
use super::grid::{Grid, too_many_rows};
use super::value_totals::BreakdownTotals;
use super::visits::{VisitTotals, Visits};
use super::{Analysis, BreakdownPlan, Calendar, Partial, Selection, Split, Task, TaskSet};
use crate::api::{Cell, ColumnType, Fields, LifecycleQuery, Problem, Scope, Table};
use crate::limits::RESULT_ROW_COUNT_MAX;
use crate::model::TimeMs;

/// A lifecycle, bound to a snapshot.
#[derive(Debug)]
pub struct Lifecycle {
    visits: Visits,
    /// Bucket 0 is the interval before the first one that is told; there is none if none is told.
    calendar: Calendar,
    /// All history up to the end of the last interval.
    looked_at: Range<TimeMs>,
    as_of: TimeMs,
}

/// What active users of a bucket are. Each kind has a cell.
const NEW: usize = 0;
const RETAINED: usize = 1;
const RESURRECTED: usize = 2;
const KIND_COUNT: usize = 3;

/// The bucket that a user was active in last, as a number.
const NEVER: u32 = 0;
/// Before all buckets.
const EARLIER: u32 = 1;
/// The number of bucket 0; those of the others follow. Nothing comes just before it: who was there earlier is not there in
/// the bucket before.
const FIRST_BUCKET: u32 = 3;

impl Lifecycle {
    /// `selection` is that of the query's events, with its `where`; `first_event` is the time of the first event
    /// that is seen, of any name.
    pub fn new(
        query: &LifecycleQuery,
        scope: &Scope,
        first_event: Option<TimeMs>,
        selection: Selection,
        plans: Vec<BreakdownPlan>,
    ) -> Result<Lifecycle, Problem> {
        let calendar = |range| Calendar::new(query.interval, &scope.zone, scope.week_start, range);
        let told = scope.told_range(first_event);
        let mut buckets = calendar(told.clone())?;
        if buckets.bucket_count() > 0 {
            buckets = calendar(buckets.start(0) - 1..told.end)?;
        }
        let end = if buckets.bucket_count() > 0 { buckets.span().end } else { scope.history().start };
        let looked_at = scope.seen(scope.history().start..end);
        let visits = Visits::new(selection, &query.breakdowns, plans)?;
        Ok(Lifecycle { visits, calendar: buckets, looked_at, as_of: scope.as_of })
    }

    /// What has to be asked first, if a property has more values than are told; the answer goes to
    /// [`Lifecycle::fold`].
    pub fn totals(&self) -> Option<VisitTotals<'_>> {
        let end = self.looked_at.end;
        let first_told = if self.calendar.bucket_count() > 0 { self.calendar.start(1) } else { end };
        self.visits.needs_totals().then(|| VisitTotals {
            visits: &self.visits,
            looked_at: self.calendar.start(0).min(end)..end,
            counted: first_told.min(end)..end,
            noted: BreakdownTotals::default(),
        })
    }

    /// Sets which values have rows of their own.
    pub fn fold(&mut self, split: Split) {
        self.visits.fold(split);
    }

    /// Calls `visit` with the slot, the users and the bucket of each activity, `None` for those before all
    /// buckets, up to `end`.
    fn each(
        &self,
        task: &Task<'_>,
        end: TimeMs,
        mut visit: impl FnMut(u32, &[u16], Option<usize>) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let range = self.looked_at.start..end.min(self.looked_at.end);
        self.visits.each(task, range, self.calendar.is_of_utc_days(), |slot, users, time| {
            visit(slot, users, self.calendar.bucket_of(time))
        })
    }
}

/// What the active users of each bucket are: a row for each slot, [`KIND_COUNT`] cells for each bucket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LifecyclePartial {
    cells: Grid<u64>,
}

impl Partial for LifecyclePartial {
    fn merge(&mut self, other: LifecyclePartial) {
        self.cells.merge(&other.cells, |cell, term| *cell += term);
    }
}

impl Analysis for Lifecycle {
    type Partial = LifecyclePartial;
    type Output = Table;

    fn empty(&self) -> LifecyclePartial {
        LifecyclePartial { cells: Grid::new(self.calendar.bucket_count() * KIND_COUNT) }
    }

    fn observe(&self, task: &Task<'_>, partial: &mut LifecyclePartial) -> Result<(), Problem> {
        let mut states = self.visits.states();
        self.each(task, self.looked_at.end, |slot, users, bucket| {
            let Some(bucket) = bucket else {
                users.iter().for_each(|user| *states.of(slot, *user) = EARLIER);
                return Ok(());
            };
            let now = FIRST_BUCKET + bucket as u32;
            let (mut again, mut new, mut retained) = (0, 0, 0);
            for user in users {
                let last = std::mem::replace(states.of(slot, *user), now);
                again += u64::from(last == now);
                new += u64::from(last == NEVER);
                retained += u64::from(last + 1 == now);
            }
            let active = users.len() as u64 - again;
            if active > 0 {
                let start = partial.cells.row_start(slot)? + bucket * KIND_COUNT;
                let kinds = &mut partial.cells.cells_mut()[start..start + KIND_COUNT];
                kinds[NEW] += new;
                kinds[RETAINED] += retained;
                kinds[RESURRECTED] += active - new - retained;
            }
            Ok(())
        })
    }

    fn finish(&self, partial: LifecyclePartial) -> Result<Table, Problem> {
        let split = self.visits.split();
        let columns = [("time".to_owned(), ColumnType::Time)].into_iter().chain(split.columns());
        let counts = ["new", "retained", "resurrected", "churned", "active"];
        let numbers = counts
            .into_iter()
            .map(|name| (name, ColumnType::UInt64))
            .chain([("quick_ratio", ColumnType::Float64), ("complete", ColumnType::Bool)]);
        let mut table = Table::new(columns.chain(numbers.map(|(name, kind)| (name.to_owned(), kind))));
        let bucket_count = self.calendar.bucket_count();
        let nobody = vec![0; bucket_count * KIND_COUNT];
        let mut rows = partial.cells.rows();
        if rows.is_empty() && split.is_none() {
            rows.push((0, &nobody));
        }
        if rows.len() * bucket_count > RESULT_ROW_COUNT_MAX {
            return Err(too_many_rows());
        }
        let rows: Vec<(Vec<Cell>, &[u64])> =
            rows.into_iter().map(|(slot, cells)| (split.cells(slot), cells)).collect();
        for bucket in 1..bucket_count {
            let time = Cell::Text(self.calendar.label(bucket));
            let is_complete = self.calendar.end(bucket) <= self.as_of;
            for (labels, cells) in &rows {
                let kinds = |bucket: usize| &cells[bucket * KIND_COUNT..(bucket + 1) * KIND_COUNT];
                let (before, now) = (kinds(bucket - 1), kinds(bucket));
                let churned = before.iter().sum::<u64>() - now[RETAINED];
                let come = now[NEW] + now[RESURRECTED];
                let quick_ratio =
                    if churned > 0 { Cell::Float(come as f64 / churned as f64) } else { Cell::Null };
                let counts = [now[NEW], now[RETAINED], now[RESURRECTED], churned, now.iter().sum()];
                let name = [time.clone()].into_iter().chain(labels.iter().cloned());
                let numbers =
                    counts.map(Cell::UInt).into_iter().chain([quick_ratio, Cell::Bool(is_complete)]);
                table.push(name.chain(numbers));
            }
        }
        Ok(table)
    }
}

/// A cell of a lifecycle: who is what in an interval.
#[derive(Clone, Debug)]
pub struct LifecycleCell {
    bucket: usize,
    state: State,
    slot: Vec<SlotName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Retained,
    Resurrected,
    Churned,
    Active,
}

impl Lifecycle {
    /// Reads the name of a cell: `time`, `state` (the name of a column), and the value of each breakdown.
    pub fn cell(&self, fields: &mut Fields<'_>) -> Result<LifecycleCell, Problem> {
        let told = 1..self.calendar.bucket_count().max(1);
        let bucket = read_bucket(&fields.required("time")?, &self.calendar, told, self.as_of)?;
        let state = fields.required("state")?.word(&[
            ("new", State::New),
            ("retained", State::Retained),
            ("resurrected", State::Resurrected),
            ("churned", State::Churned),
            ("active", State::Active),
        ])?;
        Ok(LifecycleCell { bucket, state, slot: SlotName::read_all(fields, self.visits.breakdown_count())? })
    }

    /// The users of a cell: as many as it tells.
    pub fn members(&self, task: &Task<'_>, cell: &LifecycleCell) -> Result<TaskSet, Problem> {
        let Some(meant) = self.visits.split().slot_named(&cell.slot) else { return Ok(TaskSet::new()) };
        let (mut earlier, mut before, mut now) = (TaskSet::new(), TaskSet::new(), TaskSet::new());
        self.each(task, self.calendar.end(cell.bucket), |slot, users, bucket| {
            if slot == meant {
                let set = match bucket {
                    Some(bucket) if bucket == cell.bucket => &mut now,
                    Some(bucket) if bucket + 1 == cell.bucket => &mut before,
                    _ => &mut earlier,
                };
                users.iter().for_each(|user| set.insert(*user));
            }
            Ok(())
        })?;
        match cell.state {
            State::New => {
                now.subtract(&before);
                now.subtract(&earlier);
            }
            State::Retained => now.intersect(&before),
            State::Resurrected => {
                now.subtract(&before);
                now.intersect(&earlier);
            }
            State::Churned => {
                before.subtract(&now);
                return Ok(before);
            }
            State::Active => {}
        }
        Ok(now)
    }
}
