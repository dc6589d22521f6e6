//! What an overview tells of users: who signed up, was activated, is active, came back, invited and paid.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::attainment::{Attainment, Outcome};
use super::grid::Grid;
use super::overview::share;
use super::signups::Signups;
use super::split::slots_of;
use super::value_totals::BreakdownTotals;
use super::visits::{VisitTotals, Visits};
use super::{
    Analysis, Binder, BreakdownPlan, Calendar, Partial, Selection, Split, Task, TaskSet, key_time, key_user,
};
use crate::api::{ActivationQuery, Cell, ConversionQuery, Filter, OverviewQuery, Problem, Selector};
use crate::model::{Entity, TimeMs};

/// The users of an overview, bound to a snapshot.
#[derive(Debug)]
pub struct OverviewUsers {
    entity: Entity,
    /// Bucket 0 is the interval before the first one that is told.
    calendar: Calendar,
    /// Any event: who is active.
    visits: Visits,
    signups: Option<Signups>,
    activation: Option<Attainment>,
    conversion: Option<Attainment>,
    invites: Option<Selection>,
    accepts: Option<Selection>,
    plans: Vec<BreakdownPlan>,
    /// What is seen of all buckets.
    seen: Range<TimeMs>,
    history: Range<TimeMs>,
}

/// The parts of the growth model that are there.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    pub signup: bool,
    /// Beside the signup.
    pub activate: bool,
    pub invite: bool,
    /// Beside invite.
    pub accept: bool,
    /// Beside the signup.
    pub paid: bool,
}

/// What is counted in each bucket. Each has a cell.
const NEW: usize = 0;
const ACTIVATED: usize = 1;
const CONVERTED: usize = 2;
const ACTIVE: usize = 3;
const RETAINED: usize = 4;
const INVITERS: usize = 5;
const INVITES: usize = 6;
const ACCEPTED: usize = 7;
const COUNT_COUNT: usize = 8;

/// What a user is in an interval: the columns of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserState {
    New,
    Activated,
    Active,
    Retained,
    Inviter,
}

impl OverviewUsers {
    /// `calendar` begins with the interval before those that are told, which are the range of the binder's scope.
    pub fn bind(
        query: &OverviewQuery,
        filter: Option<&Filter>,
        calendar: Calendar,
        binder: &mut Binder<'_>,
    ) -> Result<OverviewUsers, Problem> {
        let scope = binder.scope();
        let model = binder.growth_model(&query.model)?;
        let (parts, interval, breakdowns) = (&query.model, query.interval, &query.breakdowns);
        let mut of_signups = None;
        let (mut activation, mut conversion) = (None, None);
        if let Ok(signup) = model.signup() {
            let selection = binder.selection(signup, filter)?;
            of_signups = Some(Signups::new(selection, interval, breakdowns, binder)?);
            if model.activate().is_ok() {
                let (parts, breakdowns) = (parts.clone(), breakdowns.clone());
                let query = ActivationQuery { parts, interval, is_curve: false, breakdowns };
                activation = Some(Attainment::of_activation(&query, filter, binder)?);
            }
            if model.paid().is_ok() {
                let (parts, breakdowns) = (parts.clone(), breakdowns.clone());
                let query = ConversionQuery { parts, interval, within: None, breakdowns };
                conversion = Some(Attainment::of_conversion(&query, filter, binder)?);
            }
        }
        let mut select = |selector: Option<&Selector>| {
            selector.map(|selector| binder.selection(selector, filter)).transpose()
        };
        let invites = select(model.invite().ok())?;
        let accepts = select(model.accept().ok().map(|accept| &accept.selector))?;
        let every_event = binder.selection(&Selector::any(), filter)?;
        let plans = breakdowns.iter().map(|breakdown| BreakdownPlan::new(breakdown, binder));
        let plans = plans.collect::<Result<Vec<_>, _>>()?;
        let end = if calendar.bucket_count() > 0 { calendar.span().end } else { calendar.start(0) };
        Ok(OverviewUsers {
            entity: binder.scan().entity(),
            visits: Visits::new(every_event, breakdowns, plans.clone())?,
            signups: of_signups,
            activation,
            conversion,
            invites,
            accepts,
            plans,
            seen: scope.seen(calendar.start(0)..end),
            history: scope.history(),
            calendar,
        })
    }

    pub fn entity(&self) -> Entity {
        self.entity
    }

    pub fn parts(&self) -> Parts {
        let invite = self.invites.is_some();
        Parts {
            signup: self.signups.is_some(),
            activate: self.activation.is_some(),
            invite,
            accept: invite && self.accepts.is_some(),
            paid: self.conversion.is_some(),
        }
    }

    /// The names of cells that are sets of users.
    pub fn states(&self) -> Vec<(&'static str, UserState)> {
        let parts = self.parts();
        let all = [
            ("new_users", UserState::New, parts.signup),
            ("activated", UserState::Activated, parts.activate),
            ("active_users", UserState::Active, true),
            ("retained_users", UserState::Retained, true),
            ("inviters", UserState::Inviter, parts.invite),
        ];
        all.into_iter().filter(|(_, _, is_told)| *is_told).map(|(name, state, _)| (name, state)).collect()
    }

    /// Whether a first look has to find which values are told.
    pub fn needs_totals(&self) -> bool {
        self.visits.needs_totals()
    }

    /// That look. `noted` are the values of those who pay, where they are not those who are counted.
    pub fn totals(&self, noted: BreakdownTotals) -> VisitTotals<'_> {
        let end = self.seen.end;
        let first_told = if self.calendar.bucket_count() > 0 { self.calendar.start(1) } else { end };
        VisitTotals {
            visits: &self.visits,
            // Who pays may have done nothing for long.
            looked_at: self.history.start..end,
            counted: first_told.min(end)..end,
            noted,
        }
    }

    pub fn fold(&mut self, split: Split) {
        let attainments = [&mut self.activation, &mut self.conversion];
        let of_attainments = attainments.into_iter().flatten().map(Attainment::signups_mut);
        self.signups.iter_mut().chain(of_attainments).for_each(|signups| signups.fold(split.clone()));
        self.visits.fold(split);
    }

    pub fn split(&self) -> &Split {
        self.visits.split()
    }

    pub fn breakdown_count(&self) -> usize {
        self.visits.breakdown_count()
    }

    /// Calls `visit` with each slot, user and bucket that the user was active in, and whether it was in the bucket
    /// before too.
    fn each_active(
        &self,
        task: &Task<'_>,
        mut visit: impl FnMut(u32, u16, usize, bool) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        // Two more than the bucket that the user was active in last, 0 for none.
        let mut states = self.visits.states::<u32>();
        self.visits.each(task, self.seen.clone(), self.calendar.is_of_utc_days(), |slot, users, time| {
            let Some(bucket) = self.calendar.bucket_of(time) else { return Ok(()) };
            let now = bucket as u32 + 2;
            users.iter().try_for_each(|user| {
                let last = states.of(slot, *user);
                if *last != now {
                    let is_retained = *last + 1 == now;
                    *last = now;
                    visit(slot, *user, bucket, is_retained)?;
                }
                Ok(())
            })
        })
    }

    /// Calls `visit` with each slot, user and bucket of an event of a selection, and whether it is the user's first there.
    fn each_event(
        &self,
        task: &Task<'_>,
        selection: &Selection,
        mut visit: impl FnMut(u32, u16, usize, bool) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let rows = task.rows(selection, self.seen.clone(), !self.plans.is_empty())?;
        let codes = self.plans.iter().map(|plan| task.breakdown_codes(plan, &rows));
        let slots = self.split().slots(codes.collect::<Result<_, _>>()?);
        let mut states = self.visits.states::<u32>();
        for (row, key) in rows.keys.iter().enumerate() {
            let Some(bucket) = self.calendar.bucket_of(key_time(*key)) else { continue };
            for slot in slots_of(slots.as_ref(), row) {
                let last = states.of(*slot, key_user(*key));
                let is_first = *last != bucket as u32 + 1;
                *last = bucket as u32 + 1;
                visit(*slot, key_user(*key), bucket, is_first)?;
            }
        }
        Ok(())
    }

    /// The users of a cell.
    pub fn members(
        &self,
        task: &Task<'_>,
        slot: u32,
        bucket: usize,
        state: UserState,
    ) -> Result<TaskSet, Problem> {
        let mut members = TaskSet::new();
        match state {
            UserState::Active | UserState::Retained => {
                self.each_active(task, |of, user, at, is_retained| {
                    if (of, at) == (slot, bucket) && (is_retained || state == UserState::Active) {
                        members.insert(user);
                    }
                    Ok(())
                })?;
            }
            UserState::New => {
                let signups = self.signups.as_ref().expect("it has a column");
                let found = signups.find(task)?;
                for signup in &found.signups {
                    if signup.cohort as usize + 1 == bucket && found.slots(signup).contains(&slot) {
                        members.insert(signup.user);
                    }
                }
            }
            UserState::Activated => {
                let activation = self.activation.as_ref().expect("it has a column");
                activation.each(task, |found, signup, outcome| {
                    let is_here = signup.cohort as usize + 1 == bucket && found.slots(signup).contains(&slot);
                    if is_here && matches!(outcome, Outcome::Reached(_)) {
                        members.insert(signup.user);
                    }
                    Ok(())
                })?;
            }
            UserState::Inviter => {
                let invites = self.invites.as_ref().expect("it has a column");
                self.each_event(task, invites, |of, user, at, _| {
                    if (of, at) == (slot, bucket) {
                        members.insert(user);
                    }
                    Ok(())
                })?;
            }
        }
        Ok(members)
    }
}

/// Counts of each slot: [`COUNT_COUNT`] cells for each bucket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OverviewPartial {
    counts: Grid<u64>,
}

impl Partial for OverviewPartial {
    fn merge(&mut self, other: OverviewPartial) {
        self.counts.merge(&other.counts, |cell, term| *cell += term);
    }
}

impl OverviewPartial {
    fn add(&mut self, slot: u32, bucket: usize, count: usize) -> Result<(), Problem> {
        let start = self.counts.row_start(slot)? + bucket * COUNT_COUNT;
        self.counts.cells_mut()[start + count] += 1;
        Ok(())
    }
}

impl Analysis for OverviewUsers {
    type Partial = OverviewPartial;
    type Output = OverviewCounts;

    fn empty(&self) -> OverviewPartial {
        OverviewPartial { counts: Grid::new(self.calendar.bucket_count() * COUNT_COUNT) }
    }

    fn observe(&self, task: &Task<'_>, partial: &mut OverviewPartial) -> Result<(), Problem> {
        self.each_active(task, |slot, _, bucket, is_retained| {
            partial.add(slot, bucket, ACTIVE)?;
            if is_retained { partial.add(slot, bucket, RETAINED) } else { Ok(()) }
        })?;
        if let Some(signups) = &self.signups {
            let found = signups.find(task)?;
            for signup in &found.signups {
                for slot in found.slots(signup) {
                    partial.add(*slot, signup.cohort as usize + 1, NEW)?;
                }
            }
        }
        for (attainment, count) in [(&self.activation, ACTIVATED), (&self.conversion, CONVERTED)] {
            let Some(attainment) = attainment else { continue };
            attainment.each(task, |found, signup, outcome| {
                let slots = match outcome {
                    Outcome::Reached(_) => found.slots(signup),
                    Outcome::Open | Outcome::Failed => &[],
                };
                slots.iter().try_for_each(|slot| partial.add(*slot, signup.cohort as usize + 1, count))
            })?;
        }
        if let Some(invites) = &self.invites {
            self.each_event(task, invites, |slot, _, bucket, is_first| {
                partial.add(slot, bucket, INVITES)?;
                if is_first { partial.add(slot, bucket, INVITERS) } else { Ok(()) }
            })?;
        }
        if let Some(accepts) = &self.accepts {
            self.each_event(task, accepts, |slot, _, bucket, _| partial.add(slot, bucket, ACCEPTED))?;
        }
        Ok(())
    }

    fn finish(&self, partial: OverviewPartial) -> Result<OverviewCounts, Problem> {
        Ok(OverviewCounts { counts: partial.counts })
    }
}

/// What users did, by slot and bucket.
#[derive(Debug)]
pub struct OverviewCounts {
    counts: Grid<u64>,
}

impl OverviewCounts {
    /// The slots in which anybody did anything.
    pub fn slots(&self) -> Vec<u32> {
        self.counts.rows().into_iter().map(|(slot, _)| slot).collect()
    }

    /// The cells of a row, in the order of columns, with those of its revenue: `customers`, `mrr` and `nrr`.
    pub fn cells(&self, slot: u32, bucket: usize, [customers, mrr, nrr]: [Cell; 3]) -> [Cell; 12] {
        let count = |bucket: usize, count: usize| {
            self.counts.row(slot).map_or(0, |cells| cells[bucket * COUNT_COUNT + count])
        };
        let now = |counted: usize| count(bucket, counted);
        let k_factor = match now(INVITES) {
            0 => Cell::Null,
            _ => share(now(ACCEPTED), now(ACTIVE)),
        };
        [
            Cell::UInt(now(NEW)),
            Cell::UInt(now(ACTIVATED)),
            share(now(ACTIVATED), now(NEW)),
            Cell::UInt(now(ACTIVE)),
            Cell::UInt(now(RETAINED)),
            share(now(RETAINED), count(bucket - 1, ACTIVE)),
            Cell::UInt(now(INVITERS)),
            k_factor,
            customers,
            share(now(CONVERTED), now(NEW)),
            mrr,
            nrr,
        ]
    }
}
