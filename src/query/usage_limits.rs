//! Limits: what of its allowance each user or account has used, when it reached it, and whether it paid after that.
//!
//! An allowance is a number in a profile, and given anew for each period of the calendar. It is reached with the event
//! that makes what is used in the period no less than it. One that is no number, or negative, is none: whoever has it
//! is not listed. A condition of `where` that is about the listed themselves decides who is, too.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cell_name::{SlotName, read_bucket};
use super::cohort::CohortBinder;
use super::durations::Durations;
use super::grid::{Grid, too_many_rows};
use super::profile_numbers::profile_numbers;
use super::selection::UserFilter;
use super::split::slots_of;
use super::usage_standing::{STATUSES, Standing, Status, reached_at};
use super::value_totals::BreakdownTotals;
use super::{
    Analysis, Binder, BreakdownPlan, Calendar, Codes, Fold, Partial, Rows, Selection, Split, Task, TaskSet,
    format_instant, key, key_time,
};
use crate::api::{
    BreakdownSource, Cell, ColumnType, Fields, Filter, Problem, Table, UsageLimitsQuery, UsageLimitsTold,
};
use crate::limits::RESULT_ROW_COUNT_MAX;
use crate::model::{Decimal, Entity, Number, TimeMs};

/// A query of limits, bound to a snapshot.
#[derive(Debug)]
pub struct UsageLimits {
    entity: Entity,
    usage: Selection,
    /// Absent if nobody says what it is.
    paid: Option<Selection>,
    /// The property of profiles that says how much is allowed.
    allowance: String,
    /// Conditions that the listed satisfy.
    conditions: Vec<Arc<UserFilter>>,
    plans: Vec<BreakdownPlan>,
    limits: Vec<usize>,
    split: Split,
    told: UsageLimitsTold,
    /// The last period, or for an outcome all that the range touches.
    periods: Calendar,
    /// The rows of an outcome.
    calendar: Calendar,
    range: Range<TimeMs>,
    history: Range<TimeMs>,
    as_of: TimeMs,
}

impl UsageLimits {
    /// Binds a query to the binder's snapshot, whose entities have allowances.
    pub fn bind(
        query: &UsageLimitsQuery,
        filter: Option<&Filter>,
        binder: &mut Binder<'_>,
    ) -> Result<UsageLimits, Problem> {
        let (scope, scan) = (binder.scope(), binder.scan());
        let entity = scan.entity();
        let model = binder.growth_model(&query.model)?;
        let limit = model.limit()?;
        if limit.on.is_some_and(|on| on != entity) {
            let detail = format!(
                "the allowance is one of the {}",
                if entity == Entity::User { "account" } else { "user" }
            );
            return Err(Problem::invalid(detail).at("/entity").hint("count those who have the allowance"));
        }
        let range = scope.told_range(scan.first_event()?);
        let calendar = |interval, range| Calendar::new(interval, &scope.zone, scope.week_start, range);
        let periods = match query.told {
            UsageLimitsTold::Standing { .. } => calendar(limit.per, scope.range.end - 1..scope.range.end)?,
            UsageLimitsTold::Outcome => calendar(limit.per, range.clone())?,
        };
        let is_outcome = query.told == UsageLimitsTold::Outcome;
        let paid = if is_outcome { Some(model.paid()?) } else { model.paid().ok() };
        let paid = paid.map(|paid| binder.selection(paid, filter)).transpose()?;
        let conditions = filter.map_or(Vec::new(), |filter| filter.conditions_on(entity));
        let conditions = conditions.into_iter().map(|condition| binder.profile(condition).map(Arc::new));
        let conditions = conditions.collect::<Result<Vec<_>, _>>()?;
        let is_of_others = query.breakdowns.iter().any(|breakdown| match &breakdown.source {
            BreakdownSource::Property(_) => !breakdown.on.is_of(entity),
            BreakdownSource::Cohorts(_) => false,
        });
        if is_of_others {
            let detail = format!("limits of {0}s are split by what {0}s are", entity.name());
            return Err(Problem::invalid(detail)
                .at("/breakdown")
                .hint(format!("split by a property \"on\": {:?}, or by cohorts", entity.name())));
        }
        let usage = binder.selection(&limit.usage, filter)?;
        let plans = query.breakdowns.iter().map(|breakdown| BreakdownPlan::new(breakdown, binder));
        let mut limits = UsageLimits {
            entity,
            usage,
            paid,
            allowance: limit.allowance.clone(),
            conditions,
            plans: plans.collect::<Result<Vec<_>, _>>()?,
            limits: query.breakdowns.iter().map(|breakdown| breakdown.limit).collect(),
            split: Split::default(),
            told: query.told,
            periods,
            calendar: calendar(query.interval, range.clone())?,
            range,
            history: scope.history(),
            as_of: scope.as_of,
        };
        if !limits.needs_totals() {
            let folds = limits.plans.iter().map(|plan| Fold::keep_all(plan.labels())).collect();
            limits.split = Split::new(folds)?;
        }
        Ok(limits)
    }

    /// What has to be asked first, if a property has more values than are told; the answer goes to
    /// [`UsageLimits::fold`].
    pub fn totals(&self) -> Option<UsageLimitTotals<'_>> {
        self.needs_totals().then_some(UsageLimitTotals { limits: self })
    }

    fn needs_totals(&self) -> bool {
        self.plans.iter().zip(&self.limits).any(|(plan, limit)| plan.labels().len() > *limit)
    }

    /// Sets which values have rows of their own.
    pub fn fold(&mut self, split: Split) {
        self.split = split;
    }

    /// Those of a task who have an allowance, ascending, and how much.
    fn allowed(&self, task: &Task<'_>) -> Result<Vec<(u16, Number)>, Problem> {
        let conditions = self.conditions.iter().map(|condition| task.users_of(condition));
        let conditions = conditions.collect::<Result<Vec<_>, _>>()?;
        let allowances = profile_numbers(task, &self.allowance)?;
        let allowed = (0..).zip(allowances).filter_map(|(user, allowance)| Some((user, allowance?)));
        Ok(allowed
            .filter(|(_, allowance)| !allowance.is_negative())
            .filter(|(user, _)| conditions.iter().all(|set| set.contains(*user)))
            .collect())
    }

    fn codes(&self, task: &Task<'_>, allowed: &[(u16, Number)]) -> Result<Vec<Codes>, Problem> {
        let users: Vec<u16> = allowed.iter().map(|(user, _)| *user).collect();
        self.plans.iter().map(|plan| plan.codes_of_users(task, &users)).collect()
    }

    /// What each of the allowed has used in the last period.
    fn standings(&self, task: &Task<'_>, allowed: &[(u16, Number)]) -> Result<Vec<Standing>, Problem> {
        let usage = task.rows(&self.usage, self.seen(self.periods.span()), false)?;
        let paid = self.paid_rows(task)?;
        let standings = allowed.iter().map(|(user, allowance)| {
            let used = rows_of(&usage, *user, self.periods.span());
            let reached = reached_at(used, *allowance);
            let upgraded = reached.and_then(|reached| self.upgraded_at(&paid, *user, reached));
            Standing { user: *user, used: used.len() as u64, allowance: *allowance, reached, upgraded }
        });
        Ok(standings.collect())
    }

    /// Calls `visit` with the place of each of the allowed, the first moment in each bucket at which it reached its
    /// allowance, and when it paid after that.
    fn each_reach(
        &self,
        task: &Task<'_>,
        allowed: &[(u16, Number)],
        mut visit: impl FnMut(usize, usize, TimeMs, Option<TimeMs>) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let usage = task.rows(&self.usage, self.seen(self.periods.span()), false)?;
        let paid = self.paid_rows(task)?;
        for (place, (user, allowance)) in allowed.iter().enumerate() {
            let mut last_bucket = None;
            let mut used = rows_of(&usage, *user, self.periods.span());
            while let Some(first) = used.first() {
                let period = self.periods.bucket_of(key_time(*first)).expect("usage is of these periods");
                let end = key(*user, self.periods.end(period));
                let (of_period, rest) = used.split_at(used.partition_point(|known| *known < end));
                used = rest;
                let Some(reached) = reached_at(of_period, *allowance) else { continue };
                let bucket =
                    self.range.contains(&reached).then(|| self.calendar.bucket_of(reached)).flatten();
                if let Some(bucket) = bucket.filter(|bucket| last_bucket != Some(*bucket)) {
                    last_bucket = Some(bucket);
                    visit(place, bucket, reached, self.upgraded_at(&paid, *user, reached))?;
                }
            }
        }
        Ok(())
    }

    fn seen(&self, range: Range<TimeMs>) -> Range<TimeMs> {
        range.start.min(self.history.end)..range.end.min(self.history.end)
    }

    fn paid_rows(&self, task: &Task<'_>) -> Result<Rows, Problem> {
        match &self.paid {
            Some(paid) => task.rows(paid, self.seen(self.periods.span().start..TimeMs::MAX), false),
            None => Ok(Rows::default()),
        }
    }

    /// The first payment after a moment.
    fn upgraded_at(&self, paid: &Rows, user: u16, reached: TimeMs) -> Option<TimeMs> {
        let after = rows_of(paid, user, reached + 1..self.history.end);
        after.first().map(|first| key_time(*first))
    }
}

/// The keys of a user's rows in a range of time.
fn rows_of(rows: &Rows, user: u16, range: Range<TimeMs>) -> &[u64] {
    let before = |time: TimeMs| rows.keys.partition_point(|known| *known < key(user, time));
    let start = before(range.start);
    &rows.keys[start..before(range.end).max(start)]
}

/// A row of the list, to be told.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Line {
    id: String,
    slot: u32,
    used: u64,
    allowance: Number,
    share: Option<f64>,
    status: Status,
    reached: Option<TimeMs>,
    upgraded: Option<TimeMs>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UsageLimitsPartial {
    lines: Vec<Line>,
    /// Of each slot [`OUTCOME_COUNT`] cells for each bucket.
    outcomes: Grid<u64>,
    /// From reaching the allowance to paying, for each bucket.
    durations: Grid<Durations>,
}

const REACHED: usize = 0;
const UPGRADED: usize = 1;
const OUTCOME_COUNT: usize = 2;

impl Partial for UsageLimitsPartial {
    fn merge(&mut self, other: UsageLimitsPartial) {
        self.lines.extend(other.lines);
        self.outcomes.merge(&other.outcomes, |cell, term| *cell += term);
        self.durations.merge(&other.durations, |cell, term| cell.merge(term.clone()));
    }
}

impl Analysis for UsageLimits {
    type Partial = UsageLimitsPartial;
    type Output = Table;

    fn empty(&self) -> UsageLimitsPartial {
        let bucket_count = self.calendar.bucket_count();
        UsageLimitsPartial {
            lines: Vec::new(),
            outcomes: Grid::new(bucket_count * OUTCOME_COUNT),
            durations: Grid::new(bucket_count),
        }
    }

    fn observe(&self, task: &Task<'_>, partial: &mut UsageLimitsPartial) -> Result<(), Problem> {
        let allowed = self.allowed(task)?;
        let slots = self.split.slots(self.codes(task, &allowed)?);
        let UsageLimitsTold::Standing { near } = self.told else {
            return self.each_reach(task, &allowed, |place, bucket, reached, upgraded| {
                for slot in slots_of(slots.as_ref(), place) {
                    let start = partial.outcomes.row_start(*slot)? + bucket * OUTCOME_COUNT;
                    let cells = partial.outcomes.cells_mut();
                    cells[start + REACHED] += 1;
                    if let Some(upgraded) = upgraded {
                        cells[start + UPGRADED] += 1;
                        let start = partial.durations.row_start(*slot)?;
                        partial.durations.cells_mut()[start + bucket].push((upgraded - reached) as u64);
                    }
                }
                Ok(())
            });
        };
        for (place, standing) in self.standings(task, &allowed)?.iter().enumerate() {
            let Some(id) = task.user_name(standing.user) else { continue };
            for slot in slots_of(slots.as_ref(), place) {
                partial.lines.push(Line {
                    id: id.clone(),
                    slot: *slot,
                    used: standing.used,
                    allowance: standing.allowance,
                    share: standing.share(),
                    status: standing.status(near),
                    reached: standing.reached,
                    upgraded: standing.upgraded,
                });
            }
        }
        if partial.lines.len() > RESULT_ROW_COUNT_MAX {
            return Err(too_many_rows().hint("say by \"where\" whom to list"));
        }
        Ok(())
    }

    fn finish(&self, partial: UsageLimitsPartial) -> Result<Table, Problem> {
        match self.told {
            UsageLimitsTold::Standing { .. } => self.table_of_standings(partial.lines),
            UsageLimitsTold::Outcome => self.table_of_outcomes(partial),
        }
    }
}

impl UsageLimits {
    fn table_of_standings(&self, mut lines: Vec<Line>) -> Result<Table, Problem> {
        if lines.len() > RESULT_ROW_COUNT_MAX {
            return Err(too_many_rows().hint("say by \"where\" whom to list"));
        }
        // Highest share first, and what is no share last.
        let rank = |share: Option<f64>| share.unwrap_or(-1.0);
        lines.sort_by(|a, b| {
            let shares = rank(b.share).total_cmp(&rank(a.share));
            shares.then_with(|| (&a.id, a.slot).cmp(&(&b.id, b.slot)))
        });
        let columns = [(self.entity.name().to_owned(), ColumnType::String)];
        let numbers = [
            ("used", ColumnType::UInt64),
            ("allowance", ColumnType::Decimal),
            ("share", ColumnType::Float64),
            ("status", ColumnType::String),
            ("reached_at", ColumnType::Time),
        ];
        let upgraded = self.paid.as_ref().map(|_| ("upgraded_at", ColumnType::Time));
        let numbers = numbers.into_iter().chain(upgraded).map(|(name, kind)| (name.to_owned(), kind));
        let mut table = Table::new(columns.into_iter().chain(self.split.columns()).chain(numbers));
        let instant = |time: Option<TimeMs>| {
            time.map_or(Cell::Null, |time| Cell::Text(format_instant(time, self.calendar.zone())))
        };
        for line in lines {
            let numbers = [
                Cell::UInt(line.used),
                Cell::Decimal(Decimal::from(line.allowance)),
                line.share.map_or(Cell::Null, Cell::Float),
                Cell::Text(line.status.name().to_owned()),
                instant(line.reached),
            ];
            let upgraded = self.paid.as_ref().map(|_| instant(line.upgraded));
            let name = [Cell::Text(line.id)].into_iter().chain(self.split.cells(line.slot));
            table.push(name.chain(numbers).chain(upgraded));
        }
        Ok(table)
    }

    fn table_of_outcomes(&self, partial: UsageLimitsPartial) -> Result<Table, Problem> {
        let columns = [("time".to_owned(), ColumnType::Time)].into_iter().chain(self.split.columns());
        let numbers = [
            ("reached", ColumnType::UInt64),
            ("upgraded", ColumnType::UInt64),
            ("rate", ColumnType::Float64),
            ("median_seconds", ColumnType::Float64),
        ];
        let mut table = Table::new(columns.chain(numbers.map(|(name, kind)| (name.to_owned(), kind))));
        let bucket_count = self.calendar.bucket_count();
        let nobody = vec![0; bucket_count * OUTCOME_COUNT];
        let mut rows = partial.outcomes.rows();
        if rows.is_empty() && self.split.is_none() {
            rows.push((0, &nobody));
        }
        if rows.len() * bucket_count > RESULT_ROW_COUNT_MAX {
            return Err(too_many_rows());
        }
        for bucket in 0..bucket_count {
            for (slot, cells) in &rows {
                let (reached, upgraded) =
                    (cells[bucket * OUTCOME_COUNT + REACHED], cells[bucket * OUTCOME_COUNT + UPGRADED]);
                let durations = partial.durations.row(*slot).map(|of_slot| of_slot[bucket].clone());
                let median = durations.and_then(|mut durations| durations.median());
                let rate =
                    if reached > 0 { Cell::Float(upgraded as f64 / reached as f64) } else { Cell::Null };
                let name =
                    [Cell::Text(self.calendar.label(bucket))].into_iter().chain(self.split.cells(*slot));
                let median = median.map_or(Cell::Null, |ms| Cell::Float(ms as f64 / 1000.0));
                table.push(name.chain([Cell::UInt(reached), Cell::UInt(upgraded), rate, median]));
            }
        }
        Ok(table)
    }
}

/// The first look at limits: how many have an allowance, of each value.
#[derive(Debug)]
pub struct UsageLimitTotals<'a> {
    limits: &'a UsageLimits,
}

impl Analysis for UsageLimitTotals<'_> {
    type Partial = BreakdownTotals;
    type Output = Split;

    fn empty(&self) -> BreakdownTotals {
        BreakdownTotals::new(self.limits.plans.len())
    }

    fn observe(&self, task: &Task<'_>, partial: &mut BreakdownTotals) -> Result<(), Problem> {
        let allowed = self.limits.allowed(task)?;
        let codes = self.limits.codes(task, &allowed)?;
        for (codes, totals) in codes.iter().zip(partial.properties_mut()) {
            for (place, (user, _)) in allowed.iter().enumerate() {
                let user = task.user_base() + u32::from(*user);
                codes.of(place).iter().for_each(|code| totals.count(*code, user, true));
            }
        }
        Ok(())
    }

    /// The values that have rows of their own.
    fn finish(&self, partial: BreakdownTotals) -> Result<Split, Problem> {
        partial.split(&self.limits.plans, &self.limits.limits)
    }
}

/// A cell of a query of limits: those of a status, or who reached their allowance in an interval.
#[derive(Clone, Debug)]
pub struct UsageLimitsCell {
    which: Which,
    slot: Vec<SlotName>,
}

#[derive(Clone, Copy, Debug)]
enum Which {
    /// `None`: all that are listed.
    Standing {
        near: Number,
        status: Option<Status>,
    },
    Outcome {
        bucket: usize,
        has_upgraded: bool,
    },
}

impl UsageLimits {
    /// Reads the name of a cell: `status` (all that are listed without it), or of an outcome `time` and `state`
    /// (`reached` or `upgraded`); and the value of each breakdown.
    pub fn cell(&self, fields: &mut Fields<'_>) -> Result<UsageLimitsCell, Problem> {
        let which = match self.told {
            UsageLimitsTold::Standing { near } => {
                let status = fields.optional("status").map(|status| status.word(&STATUSES)).transpose()?;
                Which::Standing { near, status }
            }
            UsageLimitsTold::Outcome => {
                let buckets = 0..self.calendar.bucket_count();
                let bucket = read_bucket(&fields.required("time")?, &self.calendar, buckets, self.as_of)?;
                let states = [("reached", false), ("upgraded", true)];
                Which::Outcome { bucket, has_upgraded: fields.required("state")?.word(&states)? }
            }
        };
        Ok(UsageLimitsCell { which, slot: SlotName::read_all(fields, self.plans.len())? })
    }

    /// Those of a cell: as many as it tells.
    pub fn members(&self, task: &Task<'_>, cell: &UsageLimitsCell) -> Result<TaskSet, Problem> {
        let mut members = TaskSet::new();
        let Some(meant) = self.split.slot_named(&cell.slot) else { return Ok(members) };
        let allowed = self.allowed(task)?;
        let slots = self.split.slots(self.codes(task, &allowed)?);
        let is_here = |place: usize| slots_of(slots.as_ref(), place).contains(&meant);
        match cell.which {
            Which::Standing { near, status } => {
                for (place, standing) in self.standings(task, &allowed)?.iter().enumerate() {
                    if is_here(place) && status.is_none_or(|status| status == standing.status(near)) {
                        members.insert(standing.user);
                    }
                }
            }
            Which::Outcome { bucket, has_upgraded } => {
                self.each_reach(task, &allowed, |place, at, _, upgraded| {
                    if is_here(place) && at == bucket && (upgraded.is_some() || !has_upgraded) {
                        members.insert(allowed[place].0);
                    }
                    Ok(())
                })?;
            }
        }
        Ok(members)
    }
}
