//! Retention: who came back in which period after their birth event.
//!
//! A user founds a member of a cohort with the birth event that the rule asks for. Each of the user's return
//! events then counts in the cell of its cohort and period, once for each period. The calendar spans the
//! cohorts' intervals and as many more as the periods take, so that with periods of the calendar, an interval
//! each, period `n` of cohort `c` is bucket `c + n`. That plain case has a path of its own; all others follow
//! the members, as [`returns`](super::returns) tells.

use std::ops::Range;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::activity::visit_active_days;
use super::births::{Births, Founding, Member, ReturnTally, find_foundings};
use super::grid::{Grid, too_many_rows};
use super::returns::{Change, Followers, Moment, Periods, Returns, cumulate};
use super::split::slots_of;
use super::value_totals::BreakdownTotals;
use super::{
    Analysis, BreakdownPlan, Calendar, Codes, Fold, Partial, Rows, Selection, Split, TASK_USER_COUNT, Task,
    key_time, key_user,
};
use crate::api::{
    Alignment, Cell, CohortRule, ColumnType, Problem, RetentionQuery, ReturnMeasure, ReturnMode, Scope, Table,
};
use crate::limits::{RESULT_ROW_COUNT_MAX, RETENTION_CELL_COUNT_MAX};
use crate::model::{DAY_MS, ExactSum, TimeMs};

/// A retention, bound to a snapshot.
#[derive(Debug)]
pub struct Retention {
    birth: Selection,
    returns: Selection,
    rule: CohortRule,
    pub(super) calendar: Calendar,
    pub(super) periods: Periods,
    pub(super) mode: ReturnMode,
    pub(super) at_least: u32,
    pub(super) measure: ReturnMeasure,
    pub(super) is_summary: bool,
    /// Where births are looked for: up to the end of the range, and never after `as_of`.
    birth_range: Range<TimeMs>,
    /// The told range: births outside it found no cohort.
    range: Range<TimeMs>,
    pub(super) as_of: TimeMs,
    pub(super) breakdowns: Vec<BreakdownPlan>,
    limits: Vec<usize>,
    pub(super) split: Split,
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
        let periods = Periods::new(query.alignment, &query.widths);
        let more_count = match query.alignment {
            Alignment::Calendar => periods.interval_count() - 1,
            Alignment::Rolling { .. } => 0,
        };
        let (zone, week_start) = (&scope.zone, scope.week_start);
        let calendar =
            Calendar::with_more_buckets(query.interval, zone, week_start, range.clone(), more_count)?;
        let cell_count = calendar.range_bucket_count() * periods.count();
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
        // Of the same events the same selection: what a task has of it is then read once.
        let returns = if query.returns_by_births { birth.clone() } else { returns };
        let mut retention = Retention {
            birth,
            returns,
            rule: query.cohorts,
            calendar,
            periods,
            mode: query.mode,
            at_least: query.at_least,
            measure: query.measure.clone(),
            is_summary: query.is_summary,
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
        self.periods.count()
    }

    /// Whether members count in each calendar interval with a return event, and nothing else is asked.
    fn is_plain(&self) -> bool {
        self.mode == ReturnMode::On
            && self.at_least == 1
            && self.periods.alignment() == Alignment::Calendar
            && self.periods.are_single()
    }

    /// The members of cohorts among the users of a task, by the rows of their birth events, and the codes of
    /// those rows for each property.
    pub(super) fn foundings(&self, task: &Task<'_>, seen: &Seen) -> Result<Foundings, Problem> {
        let rows = &seen.births;
        let codes = self.codes(task, rows)?;
        let cohort_of =
            |time: TimeMs| self.range.contains(&time).then(|| self.calendar.bucket_of(time)).flatten();
        let labels: Vec<_> = self.breakdowns.iter().map(BreakdownPlan::labels).collect();
        Ok((find_foundings(self.rule, &rows.keys, cohort_of, &codes, &labels), codes))
    }

    /// What the users of a task did that founds a cohort; and what counts as back, where that is the same events.
    pub(super) fn see(&self, task: &Task<'_>) -> Result<Seen, Problem> {
        if self.calendar.range_bucket_count() == 0 {
            return Ok(Seen { births: Rc::default(), returns: None });
        }
        let with_refs = !self.breakdowns.is_empty();
        let are_days_enough = self.are_days_enough() && self.measure == ReturnMeasure::Users;
        if self.birth.id() != self.returns.id() || are_days_enough {
            let births = Rc::new(task.rows(&self.birth, self.birth_range.clone(), with_refs)?);
            return Ok(Seen { births, returns: None });
        }
        let interval_count = self.periods.interval_count();
        let end = match self.periods.alignment() {
            Alignment::Calendar => self.calendar.end(self.calendar.range_bucket_count() + interval_count - 2),
            Alignment::Rolling { interval_ms } => self.birth_range.end + interval_ms * interval_count as i64,
        };
        let end = end.min(self.as_of + 1).max(self.birth_range.end);
        let with_refs = with_refs || self.measure != ReturnMeasure::Users;
        let returns = Rc::new(task.rows(&self.returns, self.birth_range.start..end, with_refs)?);
        let births = if end == self.birth_range.end {
            Rc::clone(&returns)
        } else {
            Rc::new(returns.within(&self.birth_range, task.scan().meter())?)
        };
        Ok(Seen { births, returns: Some(returns) })
    }

    /// The events that count as back, of which those outside of the range are to be passed over.
    fn returns_of(
        &self,
        task: &Task<'_>,
        seen: &Seen,
        range: Range<TimeMs>,
        with_refs: bool,
    ) -> Result<Rc<Rows>, Problem> {
        match &seen.returns {
            Some(returns) => Ok(Rc::clone(returns)),
            None => Ok(Rc::new(task.rows(&self.returns, range, with_refs)?)),
        }
    }

    fn codes(&self, task: &Task<'_>, rows: &Rows) -> Result<Vec<Codes>, Problem> {
        self.breakdowns.iter().map(|breakdown| task.breakdown_codes(breakdown, rows)).collect()
    }

    /// Makes every founding a member of the rows of its values, and counts it there.
    fn count_members(
        &self,
        foundings: &[Founding],
        codes: Vec<Codes>,
        partial: &mut RetentionPartial,
    ) -> Result<Vec<Member>, Problem> {
        let slots = self.split.slots(codes);
        let mut members = Vec::with_capacity(foundings.len());
        for Founding { user, cohort, time, row } in foundings {
            for slot in slots_of(slots.as_ref(), *row) {
                let row_start = partial.cells.row_start(*slot)?;
                if let Some(sums) = &mut partial.sums {
                    let start = sums.row_start(*slot)?;
                    debug_assert_eq!(start, row_start, "both grids get their rows together");
                }
                let first_cell = row_start + *cohort as usize * self.width();
                partial.cells.cells_mut()[first_cell] += 1;
                let first_cell = first_cell as u32;
                members.push(Member { user: *user, cohort: *cohort, birth: *time, first_cell });
            }
        }
        Ok(members)
    }

    /// Where return events are looked for: from the first one that can count for any of the members to the end
    /// of the last one's last period.
    pub(super) fn return_range(&self, members: &[Member]) -> Range<TimeMs> {
        let counts_births = self.measure != ReturnMeasure::Users;
        if self.width() == 1 && !counts_births {
            return 0..0;
        }
        if members.is_empty() {
            return 0..0;
        }
        let (mut first, mut last) = (TimeMs::MAX, TimeMs::MIN);
        let (mut first_cohort, mut last_cohort) = (u32::MAX, 0);
        for member in members {
            (first, last) = (first.min(member.birth), last.max(member.birth));
            (first_cohort, last_cohort) = (first_cohort.min(member.cohort), last_cohort.max(member.cohort));
        }
        let (first_cohort, last_cohort) = (first_cohort as usize, last_cohort as usize);
        let interval_count = self.periods.interval_count();
        let (start, end) = match self.periods.alignment() {
            Alignment::Calendar => {
                (self.calendar.start(first_cohort + 1), self.calendar.end(last_cohort + interval_count - 1))
            }
            Alignment::Rolling { interval_ms } => {
                (first + interval_ms, last + interval_ms * interval_count as i64)
            }
        };
        let end = end.min(self.as_of + 1);
        let start = if counts_births { first } else { start };
        start.min(end)..end
    }

    /// Whether every interval with an event founds a cohort, to which those with later ones come back.
    fn is_plainly_recurring(&self) -> bool {
        self.is_plain()
            && self.rule == CohortRule::Recurring
            && self.measure == ReturnMeasure::Users
            && self.breakdowns.is_empty()
    }

    /// Counts each interval with an event of a user, and those after it, from all events by user and time.
    fn count_recurring(&self, keys: &[u64], cells: &mut [u64]) {
        let width = self.width();
        // The intervals of one user, and how many of them have births.
        let mut buckets: Vec<u32> = Vec::new();
        let mut birth_count = 0;
        let mut count = |buckets: &[u32], birth_count: usize| {
            for (at, cohort) in buckets[..birth_count].iter().enumerate() {
                let row = &mut cells[*cohort as usize * width..][..width];
                for bucket in &buckets[at..] {
                    match row.get_mut((bucket - cohort) as usize) {
                        Some(cell) => *cell += 1,
                        None => break,
                    }
                }
            }
        };
        let mut last_user = None;
        for key in keys {
            let (user, time) = (key_user(*key), key_time(*key));
            if last_user.replace(user) != Some(user) {
                count(&buckets, birth_count);
                buckets.clear();
                birth_count = 0;
            }
            let bucket = self.bucket(time);
            if buckets.last() != Some(&bucket) {
                buckets.push(bucket);
                // Births come before whatever lies behind their range.
                birth_count += usize::from(time < self.birth_range.end);
            }
        }
        count(&buckets, birth_count);
    }

    fn count_plainly(
        &self,
        task: &Task<'_>,
        seen: &Seen,
        births: &Births,
        range: Range<TimeMs>,
        cells: &mut [u64],
    ) -> Result<(), Problem> {
        let period_count = self.width() as u32 - 1;
        if self.are_days_enough() {
            if let Births::Few(births) = births {
                let mut tally = ReturnTally::new(births, period_count, !self.calendar.is_daily());
                visit_active_days(task, &self.returns, range, &mut |day, users| {
                    tally.add(users, self.bucket(i64::from(day) * DAY_MS), cells);
                })?;
                tally.flush(cells);
                return Ok(());
            }
            let mut last_buckets = vec![u32::MAX; TASK_USER_COUNT as usize];
            return visit_active_days(task, &self.returns, range, &mut |day, users| {
                let bucket = self.bucket(i64::from(day) * DAY_MS);
                for user in users {
                    let last_bucket = &mut last_buckets[usize::from(*user)];
                    if *last_bucket != bucket {
                        *last_bucket = bucket;
                        births.count_return(*user, bucket, period_count, cells);
                    }
                }
            });
        }
        let rows = self.returns_of(task, seen, range.clone(), false)?;
        let mut last = None;
        for key in rows.keys.iter().filter(|key| range.contains(&key_time(**key))) {
            let bucket = self.bucket(key_time(*key));
            let seen = Some((key_user(*key), bucket));
            if last != seen {
                last = seen;
                births.count_return(key_user(*key), bucket, period_count, cells);
            }
        }
        Ok(())
    }

    /// Whether facts by day of UTC are enough to know the intervals with return events.
    fn are_days_enough(&self) -> bool {
        self.returns.is_every_event()
            && self.at_least == 1
            && self.periods.alignment() == Alignment::Calendar
            && self.calendar.is_of_utc_days()
    }

    fn bucket(&self, time: TimeMs) -> u32 {
        self.calendar.bucket_of(time).expect("returns lie in the span of the calendar") as u32
    }

    /// When a return event was. Only periods of the calendar need to know the bucket.
    fn moment(&self, time: TimeMs) -> Moment {
        let bucket = match self.periods.alignment() {
            Alignment::Calendar => self.bucket(time),
            Alignment::Rolling { .. } => 0,
        };
        Moment { time, bucket }
    }

    /// Follows the members through their periods, and calls `tell` with each change of where a member, by index,
    /// is told.
    pub(super) fn follow(
        &self,
        task: &Task<'_>,
        seen: &Seen,
        members: &[Member],
        mut tell: impl FnMut(usize, Change),
    ) -> Result<(), Problem> {
        let mut followers = Followers::new(&self.periods, members);
        let mut returns = Returns::new(self.mode, self.at_least, members.len());
        let range = self.return_range(members);
        let mut visit = |user: u16, moment: Moment| {
            followers.at(user, moment, |member, _, period| {
                if period > 0
                    && let Some(change) = returns.add(member, period)
                {
                    tell(member, change);
                }
            });
        };
        if self.are_days_enough() {
            return visit_active_days(task, &self.returns, range, &mut |day, users| {
                let moment = self.moment(i64::from(day) * DAY_MS);
                users.iter().for_each(|user| visit(*user, moment));
            });
        }
        let rows = self.returns_of(task, seen, range.clone(), false)?;
        let returns = rows.keys.iter().filter(|key| range.contains(&key_time(**key)));
        returns.for_each(|key| visit(key_user(*key), self.moment(key_time(*key))));
        Ok(())
    }

    /// Adds a property of the return events from each birth on.
    fn add_up(
        &self,
        task: &Task<'_>,
        seen: &Seen,
        property: &str,
        members: &[Member],
        sums: &mut [ExactSum],
    ) -> Result<(), Problem> {
        let mut followers = Followers::new(&self.periods, members);
        let range = self.return_range(members);
        let rows = self.returns_of(task, seen, range.clone(), true)?;
        task.numbers(property, &rows, |row, term| {
            let (user, time) = (key_user(rows.keys[row]), key_time(rows.keys[row]));
            if !range.contains(&time) {
                return;
            }
            let moment = self.moment(time);
            followers.at(user, moment, |_, member, period| {
                if member.birth <= moment.time {
                    sums[(member.first_cell + period) as usize].add_scaled(term.mantissa, term.exponent);
                }
            });
        })
    }

    /// Whether a period is over for every member that the cohort could have.
    pub(super) fn is_complete(&self, cohort: usize, period: usize) -> bool {
        let period = if self.mode == ReturnMode::OnOrAfter { self.width() - 1 } else { period };
        let interval_count = self.periods.end(period);
        let end = match self.periods.alignment() {
            Alignment::Calendar => self.calendar.end(cohort + interval_count - 1),
            Alignment::Rolling { interval_ms } => {
                let last_birth = self.calendar.end(cohort).min(self.range.end) - 1;
                last_birth + interval_ms * interval_count as i64
            }
        };
        end <= self.as_of
    }

    /// What is counted and summed of one cohort, by period.
    fn curve(&self, cells: &[u64], sums: Option<&[ExactSum]>) -> Curve {
        let size = cells[0];
        let mut users = cells.to_vec();
        cumulate(self.mode, &mut users[1..], |sum, term| *sum += term);
        let sums = sums.map(|sums| {
            let mut sums = sums.to_vec();
            cumulate(self.mode, &mut sums, ExactSum::merge);
            sums
        });
        Curve { size, users, sums }
    }

    /// The cells from `period` to `rate`.
    fn numbers(&self, period: usize, size: u64, users: u64, sum: Option<&ExactSum>) -> [Cell; 4] {
        let share = |part: f64| if size > 0 { Cell::Float(part / size as f64) } else { Cell::Null };
        let (value, rate) = match (&self.measure, sum) {
            (ReturnMeasure::Average(_), Some(sum)) => {
                let average = sum.total().to_f64() / size as f64;
                (share(sum.total().to_f64()), share(average))
            }
            (_, Some(sum)) => (Cell::Decimal(sum.total()), share(sum.total().to_f64())),
            (_, None) => (Cell::UInt(users), share(users as f64)),
        };
        [Cell::UInt(period as u64), Cell::UInt(size), value, rate]
    }
}

/// The members of cohorts, and the codes of their rows for each property.
pub(super) type Foundings = (Vec<Founding>, Vec<Codes>);

/// What the users of a task did.
pub(super) struct Seen {
    births: Rc<Rows>,
    /// Of all periods, where the birth events are what counts as back.
    returns: Option<Rc<Rows>>,
}

/// What one cohort has of one value, by period.
struct Curve {
    size: u64,
    users: Vec<u64>,
    sums: Option<Vec<ExactSum>>,
}

/// What was counted: a row for each slot, in which the periods of a cohort follow one another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RetentionPartial {
    /// In period 0 the members, in the others who is told there.
    cells: Grid<u64>,
    /// The measure, where it is not the users. Its rows are those of `cells`.
    sums: Option<Grid<ExactSum>>,
}

impl Partial for RetentionPartial {
    fn merge(&mut self, other: RetentionPartial) {
        self.cells.merge(&other.cells, |cell, term| *cell += term);
        if let (Some(sums), Some(other)) = (&mut self.sums, &other.sums) {
            sums.merge(other, ExactSum::merge);
        }
    }
}

impl Analysis for Retention {
    type Partial = RetentionPartial;
    type Output = Table;

    fn empty(&self) -> RetentionPartial {
        let width = self.calendar.range_bucket_count() * self.width();
        let sums = (self.measure != ReturnMeasure::Users).then(|| Grid::new(width));
        RetentionPartial { cells: Grid::new(width), sums }
    }

    fn observe(&self, task: &Task<'_>, partial: &mut RetentionPartial) -> Result<(), Problem> {
        let seen = self.see(task)?;
        if let (true, Some(returns)) = (self.is_plainly_recurring(), &seen.returns) {
            let first_cell = partial.cells.row_start(0)?;
            self.count_recurring(&returns.keys, &mut partial.cells.cells_mut()[first_cell..]);
            return Ok(());
        }
        let (foundings, codes) = self.foundings(task, &seen)?;
        let members = self.count_members(&foundings, codes, partial)?;
        let range = self.return_range(&members);
        if range.is_empty() {
            return Ok(());
        }
        match (&self.measure, &mut partial.sums) {
            (ReturnMeasure::Sum(property) | ReturnMeasure::Average(property), Some(sums)) => {
                self.add_up(task, &seen, property, &members, sums.cells_mut())
            }
            _ if self.is_plain() => {
                self.count_plainly(task, &seen, &Births::new(members), range, partial.cells.cells_mut())
            }
            _ => {
                let cells = partial.cells.cells_mut();
                self.follow(task, &seen, &members, |member, change| {
                    let first_cell = members[member].first_cell;
                    match change {
                        Change::One(period) => cells[(first_cell + period) as usize] += 1,
                        Change::Moved(from, to) => {
                            cells[(first_cell + from) as usize] -= 1;
                            cells[(first_cell + to) as usize] += 1;
                        }
                    }
                })
            }
        }
    }

    fn finish(&self, partial: RetentionPartial) -> Result<Table, Problem> {
        let (cohort_count, width) = (self.calendar.range_bucket_count(), self.width());
        let nobody = vec![0; cohort_count * width];
        let nothing = vec![ExactSum::default(); if partial.sums.is_some() { nobody.len() } else { 0 }];
        let mut rows = partial.cells.rows();
        let mut sums = partial.sums.as_ref().map(Grid::rows);
        if rows.is_empty() && self.split.is_none() {
            rows.push((0, &nobody));
            if let Some(sums) = &mut sums {
                sums.push((0, &nothing));
            }
        }
        if rows.len() * cohort_count * width > RESULT_ROW_COUNT_MAX {
            return Err(too_many_rows());
        }
        let lines: Vec<(Vec<Cell>, Vec<Curve>)> = rows
            .iter()
            .enumerate()
            .map(|(row, (slot, cells))| {
                let curve = |cohort: usize| {
                    let of_cohort = cohort * width..(cohort + 1) * width;
                    let sums = sums.as_ref().map(|sums| &sums[row].1[of_cohort.clone()]);
                    self.curve(&cells[of_cohort], sums)
                };
                (self.split.cells(*slot), (0..cohort_count).map(curve).collect())
            })
            .collect();
        Ok(if self.is_summary { self.summary(&lines) } else { self.table(&lines) })
    }
}

impl Retention {
    /// A table of these columns, those of the breakdown after the first ones.
    fn empty_table<'a>(&self, before: &[&str], after: &'a [(&'a str, ColumnType)]) -> Table {
        let (name, kind) = match &self.measure {
            ReturnMeasure::Users => ("users", ColumnType::UInt64),
            ReturnMeasure::Sum(_) => ("value", ColumnType::Decimal),
            ReturnMeasure::Average(_) => ("value", ColumnType::Float64),
        };
        let numbers = [
            ("period", ColumnType::UInt32),
            ("size", ColumnType::UInt64),
            (name, kind),
            ("rate", ColumnType::Float64),
        ];
        let before = before.iter().map(|name| ((*name).to_owned(), ColumnType::Time));
        let numbers = numbers.iter().chain(after).map(|(name, kind)| ((*name).to_owned(), *kind));
        Table::new(before.chain(self.split.columns()).chain(numbers))
    }

    fn table(&self, lines: &[(Vec<Cell>, Vec<Curve>)]) -> Table {
        let mut table = self.empty_table(&["cohort"], &[("complete", ColumnType::Bool)]);
        for cohort in 0..self.calendar.range_bucket_count() {
            let time = Cell::Text(self.calendar.label(cohort));
            for (labels, curves) in lines {
                let curve = &curves[cohort];
                for period in 0..self.width() {
                    let sum = curve.sums.as_ref().map(|sums| &sums[period]);
                    let numbers = self.numbers(period, curve.size, curve.users[period], sum);
                    let complete = Cell::Bool(self.is_complete(cohort, period));
                    let name = [time.clone()].into_iter().chain(labels.iter().cloned());
                    table.push(name.chain(numbers).chain([complete]));
                }
            }
        }
        table
    }

    /// One curve over all cohorts: each period over those for which it is complete.
    fn summary(&self, lines: &[(Vec<Cell>, Vec<Curve>)]) -> Table {
        let mut table = self.empty_table(&[], &[]);
        for (labels, curves) in lines {
            for period in 0..self.width() {
                let (mut size, mut users) = (0, 0);
                let mut sum = (self.measure != ReturnMeasure::Users).then(ExactSum::default);
                for (cohort, curve) in curves.iter().enumerate() {
                    if self.is_complete(cohort, period) {
                        size += curve.size;
                        users += curve.users[period];
                        if let (Some(sum), Some(sums)) = (&mut sum, &curve.sums) {
                            sum.merge(&sums[period]);
                        }
                    }
                }
                let numbers = self.numbers(period, size, users, sum.as_ref());
                table.push(labels.iter().cloned().chain(numbers));
            }
        }
        table
    }
}

/// The first look of a retention: how many users of its cohorts have each value.
#[derive(Debug)]
pub struct RetentionTotals<'a> {
    retention: &'a Retention,
}

impl Analysis for RetentionTotals<'_> {
    type Partial = BreakdownTotals;
    type Output = Split;

    fn empty(&self) -> BreakdownTotals {
        BreakdownTotals::new(self.retention.breakdowns.len())
    }

    fn observe(&self, task: &Task<'_>, partial: &mut BreakdownTotals) -> Result<(), Problem> {
        let (foundings, codes) = self.retention.foundings(task, &self.retention.see(task)?)?;
        for (codes, totals) in codes.iter().zip(partial.properties_mut()) {
            for founding in &foundings {
                let user = task.user_base() + u32::from(founding.user);
                codes.of(founding.row).iter().for_each(|code| totals.count(*code, user, true));
            }
        }
        Ok(())
    }

    /// The values that have rows of their own.
    fn finish(&self, partial: BreakdownTotals) -> Result<Split, Problem> {
        partial.split(&self.retention.breakdowns, &self.retention.limits)
    }
}
