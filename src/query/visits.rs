//! Visits: the activity of users in order of time, for analyses that follow each user from interval to interval.
//!
//! Where all events count and there is no breakdown, days are visited by the day sets, all users of a day at
//! once; else events by their rows, all of a user at once. Either way the times of a user ascend, so that a
//! small state of each user ([`States`]) is enough to follow it.

use std::ops::Range;

use super::activity::visit_active_days;
use super::split::slots_of;
use super::value_totals::BreakdownTotals;
use super::{
    Analysis, BreakdownPlan, Codes, Fold, Partial, Rows, Selection, Split, TASK_USER_COUNT, Task, key_time,
    key_user,
};
use crate::api::{Breakdown, Problem};
use crate::model::{DAY_MS, TimeMs};

/// The events that count, and how they are split. A user counts in the rows of its events' values.
#[derive(Debug)]
pub struct Visits {
    selection: Selection,
    breakdowns: Vec<BreakdownPlan>,
    /// How many values of each breakdown are told.
    limits: Vec<usize>,
    split: Split,
}

impl Visits {
    pub fn new(
        selection: Selection,
        breakdowns: &[Breakdown],
        plans: Vec<BreakdownPlan>,
    ) -> Result<Visits, Problem> {
        debug_assert_eq!(breakdowns.len(), plans.len());
        let limits = breakdowns.iter().map(|breakdown| breakdown.limit).collect();
        let mut visits = Visits { selection, breakdowns: plans, limits, split: Split::default() };
        if !visits.needs_totals() {
            let folds = visits.breakdowns.iter().map(|plan| Fold::keep_all(plan.labels())).collect();
            visits.split = Split::new(folds)?;
        }
        Ok(visits)
    }

    /// Whether a property has more values than are told, so that [`VisitTotals`] has to look first.
    pub fn needs_totals(&self) -> bool {
        self.breakdowns.iter().zip(&self.limits).any(|(plan, limit)| plan.labels().len() > *limit)
    }

    /// Sets which values have rows of their own.
    pub fn fold(&mut self, split: Split) {
        self.split = split;
    }

    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    pub fn split(&self) -> &Split {
        &self.split
    }

    pub fn breakdown_count(&self) -> usize {
        self.breakdowns.len()
    }

    /// States of the users of a task.
    pub fn states<S: Copy + Default>(&self) -> States<S> {
        if self.split.is_none() {
            States::ByUser(vec![S::default(); TASK_USER_COUNT as usize])
        } else {
            States::BySlot(Vec::new())
        }
    }

    /// Calls `visit` with the slot, the users and the time of events in `range`. The times of a user ascend.
    ///
    /// With `are_days_enough` an event's time may be told as the midnight of UTC before it, and events of a day
    /// at once.
    pub fn each(
        &self,
        task: &Task<'_>,
        range: Range<TimeMs>,
        are_days_enough: bool,
        mut visit: impl FnMut(u32, &[u16], TimeMs) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        if range.is_empty() {
            return Ok(());
        }
        if are_days_enough && self.selection.is_every_event() && self.split.is_none() {
            let mut outcome = Ok(());
            visit_active_days(task, &self.selection, range, &mut |day, users| {
                let time = i64::from(day) * DAY_MS;
                if outcome.is_ok() {
                    outcome = visit(0, users, time);
                }
            })?;
            return outcome;
        }
        let rows = task.rows(&self.selection, range, !self.split.is_none())?;
        let slots = self.split.slots(self.codes(task, &rows)?);
        for (row, key) in rows.keys.iter().enumerate() {
            for slot in slots_of(slots.as_ref(), row) {
                visit(*slot, &[key_user(*key)], key_time(*key))?;
            }
        }
        Ok(())
    }

    fn codes(&self, task: &Task<'_>, rows: &Rows) -> Result<Vec<Codes>, Problem> {
        self.breakdowns.iter().map(|breakdown| task.breakdown_codes(breakdown, rows)).collect()
    }
}

/// A state of each user of a task, in each slot, which begins as the default.
#[derive(Debug)]
pub enum States<S> {
    /// There is one slot.
    ByUser(Vec<S>),
    /// For each slot the user visited last and its state: all visits of a user come together.
    BySlot(Vec<(u16, S)>),
}

/// No user of a task.
const NOBODY: u16 = u16::MAX;
const _: () = assert!(TASK_USER_COUNT <= NOBODY as u32);

impl<S: Copy + Default> States<S> {
    #[inline]
    pub fn of(&mut self, slot: u32, user: u16) -> &mut S {
        match self {
            States::ByUser(states) => &mut states[usize::from(user)],
            States::BySlot(states) => {
                let slot = slot as usize;
                if states.len() <= slot {
                    states.resize(slot + 1, (NOBODY, S::default()));
                }
                let (last_user, state) = &mut states[slot];
                if *last_user != user {
                    (*last_user, *state) = (user, S::default());
                }
                state
            }
        }
    }
}

/// The first look at visits: how many users have each value.
#[derive(Debug)]
pub struct VisitTotals<'a> {
    pub visits: &'a Visits,
    /// Where values come from.
    pub looked_at: Range<TimeMs>,
    /// Where users count for the rank of their values.
    pub counted: Range<TimeMs>,
    /// Values of others that are told beside them, which nobody counts for.
    pub noted: BreakdownTotals,
}

impl Analysis for VisitTotals<'_> {
    type Partial = BreakdownTotals;
    type Output = Split;

    fn empty(&self) -> BreakdownTotals {
        BreakdownTotals::new(self.visits.breakdowns.len())
    }

    fn observe(&self, task: &Task<'_>, partial: &mut BreakdownTotals) -> Result<(), Problem> {
        let rows = task.rows(&self.visits.selection, self.looked_at.clone(), true)?;
        let codes = self.visits.codes(task, &rows)?;
        for (codes, totals) in codes.iter().zip(partial.properties_mut()) {
            for (row, key) in rows.keys.iter().enumerate() {
                let user = task.user_base() + u32::from(key_user(*key));
                let is_counted = self.counted.contains(&key_time(*key));
                codes.of(row).iter().for_each(|code| totals.count(*code, user, is_counted));
            }
        }
        Ok(())
    }

    /// The values that have rows of their own.
    fn finish(&self, mut partial: BreakdownTotals) -> Result<Split, Problem> {
        partial.merge(self.noted.clone());
        partial.split(&self.visits.breakdowns, &self.visits.limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_one_slot_outlast_other_users_and_those_of_many_do_not_mix() {
        let mut by_user: States<u32> = States::ByUser(vec![0; TASK_USER_COUNT as usize]);
        *by_user.of(0, 3) = 7;
        *by_user.of(0, 4) = 8;
        assert_eq!((*by_user.of(0, 3), *by_user.of(0, 4)), (7, 8));
        let mut by_slot: States<u32> = States::BySlot(Vec::new());
        *by_slot.of(2, 3) = 7;
        *by_slot.of(5, 3) = 9;
        assert_eq!((*by_slot.of(2, 3), *by_slot.of(5, 3), *by_slot.of(2, 4)), (7, 9, 0));
    }
}
