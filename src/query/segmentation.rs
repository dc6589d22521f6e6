//! Segmentation: how often, by how many users, how much; for each bucket, series and value of a breakdown.
//!
//! A series is counted in a [`Tally`]: a row for each value and a cell for each bucket. Which values have rows of
//! their own is only known once the whole range was looked at. Where counts of values just add up, all values are
//! counted and then folded. Distinct users do not add up, nor do events in several values: there
//! [`SegmentationTotals`] looks first, and the segmentation itself counts with the folds that it finds.
//!
//! Users are told apart by comparing each row with the one before in its cell, as rows come sorted by user
//! and time. A rolling window adds to the first and takes from the last bucket that an activity counts in.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::activity::visit_active_days;
use super::amount::Accounts;
use super::births::find_foundings;
use super::columns::numbers_of_neighbours;
use super::neighbours::{NeighbourCode, Neighbours};
use super::rolling::count_buckets;
use super::segmentation_counting::{Counted, Counting};
use super::selection::{BoundGroup, unknown_code};
use super::stretch::Stretch;
use super::tally::Tally;
use super::{
    Analysis, BreakdownPlan, Codes, Fold, NULL_CODE, Partial, Rows, SegmentationTotals, Selection, Split,
    TASK_USER_COUNT, Task, key_time, key_user,
};
use crate::api::{CohortRule, Formula, Measure, Problem, Scope, SegmentationQuery, Table};
use crate::limits::UNFOLDED_CELL_COUNT_MAX;
use crate::model::{DAY_MS, Entity, TimeMs};

/// A segmentation, bound to a snapshot.
#[derive(Debug)]
pub struct Segmentation {
    pub(super) series: Vec<Series>,
    /// The asked range, then the one that it is compared with, if any.
    pub(super) stretches: Vec<Stretch>,
    /// Whether each bucket tells all up to its end.
    pub(super) is_cumulative: bool,
    /// What is told instead of the series, and its name. All series then have the same split.
    pub(super) formula: Option<(String, Formula)>,
    pub(super) breakdowns: Vec<BreakdownPlan>,
    /// How many values of each breakdown are told.
    pub(super) limits: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct Series {
    pub name: String,
    pub selection: Selection,
    pub measure: Measure,
    pub split: Split,
    pub folding: Folding,
}

/// When it is decided which values of a series have rows of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folding {
    /// The split says so.
    Decided,
    /// A first look has to find it.
    ByFirstLook,
    /// The split keeps every value under its code, and what was counted says it.
    AfterCounting,
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
        let stretch = |range| Stretch::new(query.interval, query.rolling_days, scope, range);
        let mut stretches = vec![stretch(told.clone())?];
        if let Some(back) = query.compare {
            let [start, end] = [told.start, told.end].map(|time| back.resolve(time, &scope.zone));
            stretches.push(stretch(start..end.max(start))?);
        }
        let series = query.series.iter().zip(selections).map(|(series, selection)| Series {
            name: series.name.clone(),
            selection,
            measure: series.measure.clone(),
            split: Split::default(),
            folding: Folding::Decided,
        });
        let mut segmentation = Segmentation {
            series: series.collect(),
            stretches,
            is_cumulative: query.cumulative,
            formula: query.formula.clone(),
            breakdowns,
            limits: query.breakdowns.iter().map(|breakdown| breakdown.limit).collect(),
        };
        segmentation.plan_folds()?;
        Ok(segmentation)
    }

    fn plan_folds(&mut self) -> Result<(), Problem> {
        let split = |fold: fn(&[crate::model::Value]) -> Fold| {
            Split::new(self.breakdowns.iter().map(|plan| fold(plan.labels())).collect())
        };
        let has_few_values =
            self.breakdowns.iter().zip(&self.limits).all(|(plan, limit)| plan.labels().len() <= *limit);
        if has_few_values {
            let split = split(Fold::keep_all)?;
            self.series.iter_mut().for_each(|series| series.split = split.clone());
            return Ok(());
        }
        let buckets = self.stretches[0].calendar.bucket_count().max(1);
        let cells = self
            .breakdowns
            .iter()
            .try_fold(buckets, |cells, plan| cells.checked_mul(plan.labels().len() + 2))
            .filter(|cells| *cells <= UNFOLDED_CELL_COUNT_MAX);
        let adds_up = cells.is_some()
            && self.formula.is_none()
            && !self.breakdowns.iter().any(BreakdownPlan::has_lists);
        let by_code = if adds_up { split(Fold::by_code)? } else { Split::default() };
        for series in &mut self.series {
            if adds_up && !matches!(series.measure, Measure::Users | Measure::PerUser) {
                series.split = by_code.clone();
                series.folding = Folding::AfterCounting;
            } else {
                series.folding = Folding::ByFirstLook;
            }
        }
        Ok(())
    }

    /// Makes cells ready to be asked for their members: which rows there are has then to be known before anything is
    /// counted.
    pub fn for_members(&mut self) {
        let is_late = |series: &&mut Series| series.folding == Folding::AfterCounting;
        for series in self.series.iter_mut().filter(is_late) {
            series.folding = Folding::ByFirstLook;
        }
    }

    /// What has to be asked first, if a property has more values than are told; the answer goes to
    /// [`Segmentation::fold`].
    pub fn totals(&self) -> Option<SegmentationTotals<'_>> {
        let needs_it = self.series.iter().any(|series| series.folding == Folding::ByFirstLook);
        needs_it.then(|| SegmentationTotals::new(self))
    }

    /// Sets which values of each series have rows of their own, where a first look had to find it.
    pub fn fold(&mut self, splits: Vec<Option<Split>>) {
        debug_assert_eq!(splits.len(), self.series.len());
        for (series, split) in self.series.iter_mut().zip(splits) {
            if let Some(split) = split {
                (series.split, series.folding) = (split, Folding::Decided);
            }
        }
    }

    pub(super) fn codes(&self, task: &Task<'_>, rows: &Rows) -> Result<Vec<Codes>, Problem> {
        self.breakdowns.iter().map(|breakdown| task.breakdown_codes(breakdown, rows)).collect()
    }

    /// The rows that count for a series in a range: all, or each user's first ever. Of first ones that tie in time
    /// the one whose values come first in the order of rows.
    pub(super) fn rows(
        &self,
        task: &Task<'_>,
        series: &Series,
        range: Range<TimeMs>,
        with_refs: bool,
    ) -> Result<Rows, Problem> {
        if series.measure != Measure::FirstTimeUsers {
            return task.rows(&series.selection, range, with_refs);
        }
        // What comes after the range is nobody's first in it.
        let history = task.scan().history().start..range.end;
        let rows = task.rows(&series.selection, history, with_refs)?;
        let mut firsts = Rows::default();
        let mut last_first = None;
        for (index, key) in rows.keys.iter().enumerate() {
            let is_new = last_first.is_none_or(|first| key_user(first) != key_user(*key));
            if is_new {
                last_first = Some(*key);
            }
            if (is_new || last_first == Some(*key) && with_refs) && range.contains(&key_time(*key)) {
                firsts.keys.push(*key);
                firsts.refs.extend(rows.refs.get(index));
            }
        }
        // They take no more memory than the rows that they are taken from.
        firsts.charge = rows.charge;
        if !with_refs {
            return Ok(firsts);
        }
        let codes = self.codes(task, &firsts)?;
        let labels: Vec<_> = self.breakdowns.iter().map(BreakdownPlan::labels).collect();
        let chosen = find_foundings(CohortRule::FirstInRange, &firsts.keys, |_| Some(0), &codes, &labels);
        Ok(Rows {
            keys: chosen.iter().map(|first| firsts.keys[first.row]).collect(),
            refs: chosen.iter().map(|first| firsts.refs[first.row]).collect(),
            charge: firsts.charge,
            ..Rows::default()
        })
    }

    /// Whether the properties of rows matter.
    fn needs_refs(&self, series: &Series) -> bool {
        let is_of_columns = series.measure == Measure::Accounts || series.measure.property().is_some();
        !self.breakdowns.is_empty() || is_of_columns
    }

    fn observe_series(
        &self,
        task: &Task<'_>,
        series: &Series,
        stretch: &Stretch,
        counted: &mut Counted,
    ) -> Result<(), Problem> {
        if stretch.calendar.bucket_count() == 0 {
            return Ok(());
        }
        let counts_users = series.measure == Measure::Users;
        if counts_users
            && series.selection.is_every_event()
            && series.split.is_none()
            && stretch.is_of_utc_days()
        {
            return self.observe_days(task, series, stretch, &mut counted.tally);
        }
        let needs_refs = self.needs_refs(series);
        match series.measure {
            Measure::Users | Measure::PerUser | Measure::FirstTimeUsers => {
                let rows = self.rows(task, series, stretch.looked_at(), needs_refs)?;
                self.count_all(task, series, stretch, &rows, counted)
            }
            Measure::Events | Measure::Sum(_) | Measure::Average(_)
                if task.scan().entity() == Entity::User && !task.is_clipped() =>
            {
                for bound in &series.selection.groups {
                    if !self.count_neighbours(task, series, stretch, bound, &mut counted.tally)? {
                        let rows = task.piece(bound, &stretch.looked_at(), needs_refs)?;
                        self.count_all(task, series, stretch, &rows, counted)?;
                    }
                }
                Ok(())
            }
            _ => task.for_each_piece(&series.selection, stretch.looked_at(), needs_refs, &mut |rows| {
                self.count_all(task, series, stretch, rows, counted)
            }),
        }
    }

    /// Counts rows of a series in the slots of their values.
    fn count_all(
        &self,
        task: &Task<'_>,
        series: &Series,
        stretch: &Stretch,
        rows: &Rows,
        counted: &mut Counted,
    ) -> Result<(), Problem> {
        let slots = series.split.slots(self.codes(task, rows)?);
        self.count(task, &series.measure, stretch, rows, slots.as_ref(), counted)
    }

    /// Counts the events of a group, or adds up their numbers, by its columns as they are, without making rows of them.
    /// Whether that could be done.
    fn count_neighbours(
        &self,
        task: &Task<'_>,
        series: &Series,
        stretch: &Stretch,
        bound: &BoundGroup,
        tally: &mut Tally,
    ) -> Result<bool, Problem> {
        if self.breakdowns.len() > 1 {
            return Ok(false);
        }
        let Some(rows) = task.neighbours(bound)? else { return Ok(false) };
        let numbers = match series.measure.property() {
            Some(property) => match numbers_of_neighbours(task.scan(), property, &rows)? {
                Some(numbers) => Some(numbers),
                None => return Ok(false),
            },
            None => None,
        };
        let group = task.scan().group(bound.segment, bound.group);
        let (first, last) = (group.meta().time_min, group.meta().time_max);
        let range = stretch.looked_at();
        if rows.rows.is_empty() || range.is_empty() || last < range.start || first >= range.end {
            return Ok(true);
        }
        let split = match self.breakdowns.first() {
            Some(breakdown) => match breakdown.split_of_neighbours(task.scan(), &rows)? {
                Some(split) => Some(split),
                None => return Ok(false),
            },
            None => None,
        };
        let slot_of = |code: NeighbourCode| match code {
            NeighbourCode::All => Ok(0),
            NeighbourCode::Label(code) => Ok(series.split.slot_of(&[code])),
            NeighbourCode::Null => Ok(series.split.slot_of(&[NULL_CODE])),
            NeighbourCode::Unknown => Err(unknown_code(task.scan(), bound.segment)),
        };
        let (times, calendar, rows) = (group.times()?, &stretch.calendar, rows.rows);
        let neighbours = Neighbours { times, rows, first, last, range, calendar, split };
        if !neighbours.are_cells_few() {
            return Ok(false);
        }
        task.scan().count_rows(neighbours.rows.len());
        match (tally, &numbers) {
            (Tally::Count(grid), None) => neighbours.count(slot_of, grid)?,
            (Tally::Sum(grid), Some(numbers)) => neighbours.add_up(numbers, slot_of, grid)?,
            (Tally::Average(grid), Some(numbers)) => neighbours.add_up(numbers, slot_of, grid)?,
            _ => unreachable!("only events, sums and averages are counted by columns"),
        }
        Ok(true)
    }

    /// Counts rows of a stretch.
    pub(super) fn count(
        &self,
        task: &Task<'_>,
        measure: &Measure,
        stretch: &Stretch,
        rows: &Rows,
        slots: Option<&Codes>,
        counted: &mut Counted,
    ) -> Result<(), Problem> {
        let all_slots = || (0..rows.keys.len()).filter_map(|row| Some(slots?.of(row))).flatten();
        let counting = Counting { stretch, is_cumulative: self.is_cumulative, keys: &rows.keys, slots };
        let (first_user, last_seen) = (task.user_base(), &mut counted.last_seen);
        // A value whose events have no account, or no number, is there all the same. The numbers of rows with one value each
        // make the rows of their slots first.
        let is_noted = measure.property().is_none() || slots.is_none_or(|slots| slots.singles().is_some());
        if *measure == Measure::Accounts || !is_noted {
            counted.tally.note(all_slots())?;
        }
        match &mut counted.tally {
            Tally::Count(grid) if *measure == Measure::Users => {
                counting.count_users(first_user, last_seen, grid)
            }
            Tally::Count(grid) => counting.count_events(grid),
            Tally::Rolling(grid) => counting.count_rolling(first_user, last_seen, grid),
            Tally::PerUser(grid) => counting.count_per_user(first_user, last_seen, grid),
            Tally::Accounts(grid) => {
                let add = |accounts: &mut Accounts, ordinal| {
                    accounts.ordinals.insert(ordinal);
                };
                let mut failed = Ok(());
                task.accounts(rows, &mut |row, account| {
                    if failed.is_ok() {
                        failed = counting.add(row, grid, |cell| add(cell, account));
                    }
                })?;
                failed
            }
            Tally::Sum(grid) => counting.add_numbers(task, measure, rows, grid),
            Tally::Average(grid) => counting.add_numbers(task, measure, rows, grid),
            Tally::Extremes(grid) => counting.add_numbers(task, measure, rows, grid),
            Tally::Values(grid) => counting.add_numbers(task, measure, rows, grid),
        }
    }

    /// Counts users by whole days: without looking at a row but at the ends of the range.
    fn observe_days(
        &self,
        task: &Task<'_>,
        series: &Series,
        stretch: &Stretch,
        tally: &mut Tally,
    ) -> Result<(), Problem> {
        let range = stretch.looked_at();
        let first_day = range.start.div_euclid(DAY_MS) as i32;
        let days = first_day..-(-range.end).div_euclid(DAY_MS) as i32;
        // For each user up to which bucket it was counted.
        let mut counted_to = vec![0_u32; TASK_USER_COUNT as usize];
        match (tally, &stretch.rolling) {
            (Tally::Rolling(grid), Some(rolling)) => {
                let buckets_by_day = rolling.buckets_by_day(&stretch.calendar, days);
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
            (Tally::Count(grid), None) => {
                let start = grid.row_start(0)?;
                let counts = &mut grid.cells_mut()[start..];
                // Whoever was counted in a running total is counted in the rest of it.
                let counted_after = |bucket: u32| if self.is_cumulative { u32::MAX } else { bucket + 1 };
                visit_active_days(task, &series.selection, range.clone(), &mut |day, users| {
                    let moment = (i64::from(day) * DAY_MS).max(range.start);
                    let bucket = stretch.calendar.bucket_of(moment).expect("days lie in the range");
                    let counted = counted_after(bucket as u32);
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
}

/// What was counted so far of each series, in each stretch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SegmentationPartial {
    pub(super) series: Vec<Vec<Counted>>,
}

impl Partial for SegmentationPartial {
    fn merge(&mut self, other: SegmentationPartial) {
        for (counted, other) in self.series.iter_mut().flatten().zip(other.series.into_iter().flatten()) {
            counted.tally.merge(&other.tally);
        }
    }
}

impl Analysis for Segmentation {
    type Partial = SegmentationPartial;
    type Output = Table;

    fn empty(&self) -> SegmentationPartial {
        let counted = |series: &Series| {
            self.stretches.iter().map(|stretch| Counted::new(&series.measure, stretch)).collect()
        };
        SegmentationPartial { series: self.series.iter().map(counted).collect() }
    }

    fn observe(&self, task: &Task<'_>, partial: &mut SegmentationPartial) -> Result<(), Problem> {
        for (series, counted) in self.series.iter().zip(&mut partial.series) {
            for (stretch, counted) in self.stretches.iter().zip(counted) {
                self.observe_series(task, series, stretch, counted)?;
            }
        }
        Ok(())
    }

    fn finish(&self, partial: SegmentationPartial) -> Result<Table, Problem> {
        self.table(partial)
    }
}
