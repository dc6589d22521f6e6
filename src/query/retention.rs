//! Retention: who came back in which interval after their birth event.
//!
//! A user founds a member of a cohort with the birth event that the rule asks for. Each of the user's return
//! events then counts in the cell of its cohort and period, once for each interval. The calendar spans the
//! cohorts' intervals and as many more as there are periods, so that period `n` of cohort `c` is bucket `c + n`.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::activity::visit_active_days;
use super::births::{Births, Founding, Member, find_foundings};
use super::grid::{Grid, too_many_rows};
use super::split::slots_of;
use super::value_totals::UserTotals;
use super::{
    Analysis, BreakdownPlan, Calendar, Codes, Fold, Partial, Rows, Selection, Split, TASK_USER_COUNT, Task,
    TaskSet, key_time, key_user,
};
use crate::api::{Cell, CohortRule, ColumnType, Problem, RetentionQuery, Scope, Table};
use crate::limits::{RESULT_ROW_COUNT_MAX, RETENTION_CELL_COUNT_MAX};
use crate::model::{DAY_MS, TimeMs};

/// A retention, bound to a snapshot.
#[derive(Debug)]
pub struct Retention {
    birth: Selection,
    returns: Selection,
    rule: CohortRule,
    calendar: Calendar,
    period_count: usize,
    /// Where births are looked for: up to the end of the range, and never after `as_of`.
    birth_range: Range<TimeMs>,
    /// The told range: births outside it found no cohort.
    range: Range<TimeMs>,
    as_of: TimeMs,
    breakdowns: Vec<BreakdownPlan>,
    limits: Vec<usize>,
    split: Split,
}

impl Retention {
    /// `birth` and `returns` are the selections with the query's `where`; `first_event` is the time of the
    /// first event that is seen, of any name.
    pub fn new(
        query: &RetentionQuery,
        scope: &Scope,
        first_event: Option<TimeMs>,
        birth: Selection,
        returns: Selection,
        breakdowns: Vec<BreakdownPlan>,
    ) -> Result<Retention, Problem> {
        let range = scope.told_range(first_event);
        let period_count = query.period_count as usize;
        let (zone, week_start) = (&scope.zone, scope.week_start);
        let calendar =
            Calendar::with_more_buckets(query.interval, zone, week_start, range.clone(), period_count)?;
        let cell_count = calendar.range_bucket_count() * (period_count + 1);
        if cell_count > RETENTION_CELL_COUNT_MAX {
            return Err(Problem::invalid(format!(
                "the table has {cell_count} cohorts times periods; at most {RETENTION_CELL_COUNT_MAX} are allowed"
            ))
            .at("/periods")
            .hint("ask for fewer periods, a longer interval or a shorter range"));
        }
        let seen = scope.seen(range.clone());
        let birth_range = match query.cohorts {
            CohortRule::FirstTime => scope.history().start..seen.end,
            CohortRule::FirstInRange | CohortRule::Recurring => seen,
        };
        let mut retention = Retention {
            birth,
            returns,
            rule: query.cohorts,
            calendar,
            period_count,
            birth_range,
            range,
            as_of: scope.as_of,
            limits: query.breakdowns.iter().map(|breakdown| breakdown.limit).collect(),
            breakdowns,
            split: Split::default(),
        };
        if !retention.needs_totals() {
            let folds = retention.breakdowns.iter().map(|plan| Fold::keep_all(plan.labels())).collect();
            retention.split = Split::new(folds)?;
        }
        Ok(retention)
    }

    /// What has to be asked first, if a property has more values than are told; the answer goes to
    /// [`Retention::fold`].
    pub fn totals(&self) -> Option<RetentionTotals<'_>> {
        self.needs_totals().then_some(RetentionTotals { retention: self })
    }

    fn needs_totals(&self) -> bool {
        self.breakdowns.iter().zip(&self.limits).any(|(plan, limit)| plan.labels().len() > *limit)
    }

    /// Sets which values have rows of their own.
    pub fn fold(&mut self, split: Split) {
        self.split = split;
    }

    /// Periods of a cohort, the birth's own included.
    fn width(&self) -> usize {
        self.period_count + 1
    }

    pub(super) fn period_count(&self) -> usize {
        self.period_count
    }

    /// Whether there is no breakdown.
    pub(super) fn is_whole(&self) -> bool {
        self.breakdowns.is_empty()
    }

    /// The cohort that the table tells under this name.
    pub(super) fn cohort_named(&self, name: &str) -> Option<usize> {
        (0..self.calendar.range_bucket_count()).find(|cohort| self.calendar.label(*cohort) == name)
    }

    /// The users of a task that are members of a cohort.
    pub(super) fn founders(&self, task: &Task<'_>, cohort: usize) -> Result<TaskSet, Problem> {
        let (foundings, _) = self.foundings(task)?;
        let of_cohort = foundings.iter().filter(|founding| founding.cohort as usize == cohort);
        Ok(of_cohort.map(|founding| founding.user).collect())
    }

    /// The users of a task with a return event in a bucket.
    pub(super) fn active_in(&self, task: &Task<'_>, bucket: usize) -> Result<TaskSet, Problem> {
        let range = self.calendar.start(bucket)..self.calendar.end(bucket).min(self.as_of + 1);
        let rows = task.rows(&self.returns, range, false)?;
        Ok(rows.keys.iter().map(|key| key_user(*key)).collect())
    }

    /// The members of cohorts among the users of a task, by the rows of their birth events, and the codes of
    /// those rows for each property.
    fn foundings(&self, task: &Task<'_>) -> Result<(Vec<Founding>, Vec<Codes>), Problem> {
        let rows = task.rows(&self.birth, self.birth_range.clone(), !self.breakdowns.is_empty())?;
        let codes = self.codes(task, &rows)?;
        let cohort_of =
            |time: TimeMs| self.range.contains(&time).then(|| self.calendar.bucket_of(time)).flatten();
        let labels: Vec<_> = self.breakdowns.iter().map(BreakdownPlan::labels).collect();
        Ok((find_foundings(self.rule, &rows.keys, cohort_of, &codes, &labels), codes))
    }

    fn codes(&self, task: &Task<'_>, rows: &Rows) -> Result<Vec<Codes>, Problem> {
        self.breakdowns.iter().map(|breakdown| task.breakdown_codes(breakdown, rows)).collect()
    }

    /// Makes every founding a member of the rows of its values, and counts it there.
    fn births(
        &self,
        foundings: &[Founding],
        codes: Vec<Codes>,
        cells: &mut Grid<u64>,
    ) -> Result<Births, Problem> {
        let slots = self.split.slots(codes);
        let mut members = Vec::with_capacity(foundings.len());
        for Founding { user, cohort, row } in foundings {
            for slot in slots_of(slots.as_ref(), *row) {
                let first_cell = cells.row_start(*slot)? + *cohort as usize * self.width();
                cells.cells_mut()[first_cell] += 1;
                members.push(Member { user: *user, cohort: *cohort, first_cell: first_cell as u32 });
            }
        }
        Ok(Births::new(members))
    }

    /// Where return events are looked for: from the period after the first founded cohort to the last period
    /// of the last one.
    fn return_range(&self, foundings: &[Founding]) -> Range<TimeMs> {
        let cohorts = || foundings.iter().map(|founding| founding.cohort as usize);
        match cohorts().min().zip(cohorts().max()) {
            Some((first, last)) if self.period_count > 0 => {
                let end = self.calendar.end(last + self.period_count).min(self.as_of + 1);
                self.calendar.start(first + 1)..end
            }
            _ => 0..0,
        }
    }

    fn count_returns(
        &self,
        task: &Task<'_>,
        births: &Births,
        range: Range<TimeMs>,
        cells: &mut [u64],
    ) -> Result<(), Problem> {
        if range.is_empty() {
            return Ok(());
        }
        let period_count = self.period_count as u32;
        if self.returns.is_every_event() && self.calendar.is_of_utc_days() {
            let mut last_buckets = vec![u32::MAX; TASK_USER_COUNT as usize];
            return visit_active_days(task, &self.returns, range, &mut |day, users| {
                let bucket =
                    self.calendar.bucket_of(i64::from(day) * DAY_MS).expect("days lie in the range") as u32;
                for user in users {
                    let last_bucket = &mut last_buckets[usize::from(*user)];
                    if *last_bucket != bucket {
                        *last_bucket = bucket;
                        births.count_return(*user, bucket, period_count, cells);
                    }
                }
            });
        }
        let rows = task.rows(&self.returns, range, false)?;
        let mut last = None;
        for key in &rows.keys {
            let bucket = self.calendar.bucket_of(key_time(*key)).expect("rows lie in the range") as u32;
            let seen = Some((key_user(*key), bucket));
            if last != seen {
                last = seen;
                births.count_return(key_user(*key), bucket, period_count, cells);
            }
        }
        Ok(())
    }
}

/// Members of each cohort by period: a row for each slot, in which the cells of a cohort follow one another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RetentionPartial {
    cells: Grid<u64>,
}

impl Partial for RetentionPartial {
    fn merge(&mut self, other: RetentionPartial) {
        self.cells.merge(&other.cells, |cell, term| *cell += term);
    }
}

impl Analysis for Retention {
    type Partial = RetentionPartial;
    type Output = Table;

    fn empty(&self) -> RetentionPartial {
        RetentionPartial { cells: Grid::new(self.calendar.range_bucket_count() * self.width()) }
    }

    fn observe(&self, task: &Task<'_>, partial: &mut RetentionPartial) -> Result<(), Problem> {
        let (foundings, codes) = self.foundings(task)?;
        let births = self.births(&foundings, codes, &mut partial.cells)?;
        self.count_returns(task, &births, self.return_range(&foundings), partial.cells.cells_mut())
    }

    fn finish(&self, partial: RetentionPartial) -> Result<Table, Problem> {
        let columns = [("cohort".to_owned(), ColumnType::Time)].into_iter().chain(self.split.columns());
        let numbers = [
            ("period", ColumnType::UInt32),
            ("size", ColumnType::UInt64),
            ("users", ColumnType::UInt64),
            ("rate", ColumnType::Float64),
            ("complete", ColumnType::Bool),
        ];
        let mut table = Table::new(columns.chain(numbers.map(|(name, kind)| (name.to_owned(), kind))));
        let (cohort_count, width) = (self.calendar.range_bucket_count(), self.width());
        let nobody = vec![0; cohort_count * width];
        let mut rows = partial.cells.rows();
        if rows.is_empty() && self.split.is_none() {
            rows.push((0, &nobody));
        }
        if rows.len() * cohort_count * width > RESULT_ROW_COUNT_MAX {
            return Err(too_many_rows());
        }
        let rows: Vec<(Vec<Cell>, &[u64])> =
            rows.into_iter().map(|(slot, cells)| (self.split.cells(slot), cells)).collect();
        for cohort in 0..cohort_count {
            let time = Cell::Text(self.calendar.label(cohort));
            for (labels, cells) in &rows {
                let cells = &cells[cohort * width..(cohort + 1) * width];
                let size = cells[0];
                for (period, users) in cells.iter().enumerate() {
                    let rate = if size > 0 { Cell::Float(*users as f64 / size as f64) } else { Cell::Null };
                    let is_complete = self.calendar.end(cohort + period) <= self.as_of;
                    let numbers = [
                        Cell::UInt(period as u64),
                        Cell::UInt(size),
                        Cell::UInt(*users),
                        rate,
                        Cell::Bool(is_complete),
                    ];
                    table.push([time.clone()].into_iter().chain(labels.iter().cloned()).chain(numbers));
                }
            }
        }
        Ok(table)
    }
}

/// The first look of a retention: how many users of its cohorts have each value.
#[derive(Debug)]
pub struct RetentionTotals<'a> {
    retention: &'a Retention,
}

/// The users of each value, for each property of the breakdown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RetentionTotalsPartial {
    properties: Vec<UserTotals>,
}

impl Partial for RetentionTotalsPartial {
    fn merge(&mut self, other: RetentionTotalsPartial) {
        self.properties.iter_mut().zip(other.properties).for_each(|(totals, other)| totals.merge(other));
    }
}

impl Analysis for RetentionTotals<'_> {
    type Partial = RetentionTotalsPartial;
    type Output = Split;

    fn empty(&self) -> RetentionTotalsPartial {
        RetentionTotalsPartial { properties: vec![UserTotals::default(); self.retention.breakdowns.len()] }
    }

    fn observe(&self, task: &Task<'_>, partial: &mut RetentionTotalsPartial) -> Result<(), Problem> {
        let (foundings, codes) = self.retention.foundings(task)?;
        for (codes, totals) in codes.iter().zip(&mut partial.properties) {
            for founding in &foundings {
                let user = task.user_base() + u32::from(founding.user);
                codes.of(founding.row).iter().for_each(|code| totals.count(*code, user, true));
            }
        }
        Ok(())
    }

    /// The values that have rows of their own.
    fn finish(&self, partial: RetentionTotalsPartial) -> Result<Split, Problem> {
        let plans = self.retention.breakdowns.iter().zip(&self.retention.limits);
        let fold = |((plan, limit), totals): ((&BreakdownPlan, &usize), &UserTotals)| {
            Fold::keep_top(plan.labels(), *limit, |code| totals.get(code))
        };
        Split::new(plans.zip(&partial.properties).map(fold).collect())
    }
}
