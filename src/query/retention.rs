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
use super::births::{Births, FewBirths, Founding, Member, ReturnTally, find_foundings};
use super::grid::Grid;
use super::recurring::Recurring;
use super::returns::{Change, Followers, Moment, Periods, Returns};
use super::split::slots_of;
use super::value_totals::BreakdownTotals;
use super::{
    Analysis, BreakdownPlan, Calendar, Codes, Fold, Partial, Rows, Selection, Split, TASK_USER_COUNT, Task,
    key_time, key_user,
};
use crate::api::{Alignment, CohortRule, Problem, RetentionQuery, ReturnMeasure, ReturnMode, Scope, Table};
use crate::limits::RETENTION_CELL_COUNT_MAX;
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
    pub(super) fn width(&self) -> usize {
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
        let range = self.seen_range();
        let with_refs = with_refs || self.measure != ReturnMeasure::Users;
        let returns = Rc::new(task.rows(&self.returns, range.clone(), with_refs)?);
        let births = if range.end == self.birth_range.end {
            Rc::clone(&returns)
        } else {
            Rc::new(returns.within(&self.birth_range, task.scan().meter())?)
        };
        Ok(Seen { births, returns: Some(returns) })
    }

    /// From the first birth to the end of the last period, as far as it is seen.
    fn seen_range(&self) -> Range<TimeMs> {
        let interval_count = self.periods.interval_count();
        let end = match self.periods.alignment() {
            Alignment::Calendar => self.calendar.end(self.calendar.range_bucket_count() + interval_count - 2),
            Alignment::Rolling { interval_ms } => self.birth_range.end + interval_ms * interval_count as i64,
        };
        self.birth_range.start..end.min(self.as_of + 1).max(self.birth_range.end)
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
        let cohorts = first_cohort as usize..last_cohort as usize + 1;
        let range = match self.periods.alignment() {
            Alignment::Calendar => self.return_range_of(cohorts),
            Alignment::Rolling { interval_ms } => {
                let end = last + interval_ms * self.periods.interval_count() as i64;
                first + interval_ms..end.min(self.as_of + 1)
            }
        };
        let start = if counts_births { first } else { range.start };
        start.min(range.end)..range.end
    }

    /// Where return events are looked for that can count for members of cohorts, in periods of the calendar.
    fn return_range_of(&self, cohorts: Range<usize>) -> Range<TimeMs> {
        let start = self.calendar.start(cohorts.start + 1);
        let end = self.calendar.end(cohorts.end + self.periods.interval_count() - 2).min(self.as_of + 1);
        start.min(end)..end
    }

    /// The members that first births make, where nothing else decides and few cohorts are counted, and where to look for
    /// what they return with. They are counted in `cells`.
    fn first_births(&self, seen: &Seen, cells: &mut [u64]) -> Option<(Births, Range<TimeMs>)> {
        let cohort_count = self.calendar.range_bucket_count();
        let (keys, width) = (&seen.births.keys, self.width());
        let mut buckets = vec![0; keys.len()];
        self.calendar.buckets_of(keys.iter().map(|key| key_time(*key)), &mut buckets);
        let cohort_of = |(key, bucket): (&u64, &u32)| match self.range.contains(&key_time(*key)) {
            true => *bucket,
            false => cohort_count as u32,
        };
        let births =
            FewBirths::of_firsts(keys, keys.iter().zip(&buckets).map(cohort_of), cohort_count, width)?;
        let sizes = births.sizes();
        for (cohort, size) in sizes.iter().enumerate() {
            cells[cohort * width] += size;
        }
        let has_members = |size: &u64| *size > 0;
        let founded = sizes.iter().position(has_members).zip(sizes.iter().rposition(has_members));
        let range = match founded {
            Some((first, last)) if width > 1 => self.return_range_of(first..last + 1),
            _ => 0..0,
        };
        Some((Births::Few(births), range))
    }

    /// What to count by, if every interval with an event founds a cohort to which those with later ones come back.
    fn recurring(&self, task: &Task<'_>) -> Option<Recurring<'_>> {
        let is_recurring = self.is_plain()
            && self.rule == CohortRule::Recurring
            && self.birth.id() == self.returns.id()
            && self.breakdowns.is_empty()
            && !task.is_clipped();
        is_recurring.then(|| Recurring {
            calendar: &self.calendar,
            birth_end: self.birth_range.end,
            width: self.width(),
        })
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
}

/// The members of cohorts, and the codes of their rows for each property.
pub(super) type Foundings = (Vec<Founding>, Vec<Codes>);

/// What the users of a task did.
pub(super) struct Seen {
    births: Rc<Rows>,
    /// Of all periods, where the birth events are what counts as back.
    returns: Option<Rc<Rows>>,
}

/// What was counted: a row for each slot, in which the periods of a cohort follow one another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RetentionPartial {
    /// In period 0 the members, in the others who is told there.
    pub(super) cells: Grid<u64>,
    /// The measure, where it is not the users. Its rows are those of `cells`.
    pub(super) sums: Option<Grid<ExactSum>>,
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
        let recurring = self.recurring(task).filter(|_| self.calendar.range_bucket_count() > 0);
        if let (Some(recurring), Some(property), Some(sums)) =
            (&recurring, self.measure.property(), &mut partial.sums)
        {
            let (first_cell, first_sum) = (partial.cells.row_start(0)?, sums.row_start(0)?);
            let cells = &mut partial.cells.cells_mut()[first_cell..];
            let sums = &mut sums.cells_mut()[first_sum..];
            if recurring.add_up(task, &self.returns, self.seen_range(), property, cells, sums)? {
                return Ok(());
            }
        }
        let seen = self.see(task)?;
        if let (Some(recurring), Some(returns), None) = (recurring, &seen.returns, &partial.sums) {
            let first_cell = partial.cells.row_start(0)?;
            recurring.count(&returns.keys, &mut partial.cells.cells_mut()[first_cell..]);
            return Ok(());
        }
        let decides_first = self.is_plain()
            && self.rule != CohortRule::Recurring
            && self.measure == ReturnMeasure::Users
            && self.breakdowns.is_empty();
        if decides_first && self.calendar.range_bucket_count() > 0 {
            let first_cell = partial.cells.row_start(0)?;
            let cells = &mut partial.cells.cells_mut()[first_cell..];
            if let Some((births, range)) = self.first_births(&seen, cells) {
                return match range.is_empty() {
                    true => Ok(()),
                    false => self.count_plainly(task, &seen, &births, range, cells),
                };
            }
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
        self.tell(&partial)
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
