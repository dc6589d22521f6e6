//! Virality: how many users were invited, how many invitations an active user sends and how many of those bring
//! somebody, and how long it takes.
//!
//! Users are counted where they signed up, events in their own interval, or with `by: signup` in that of the signup of
//! who sent the invitations. Whom an accept names may be in any task, so [`Invitations`] are found first.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::births::{Founding, find_foundings};
use super::durations::Durations;
use super::grid::{Grid, too_many_rows};
use super::invitations::{InvitationEvents, Invitations};
use super::split::slots_of;
use super::value_totals::BreakdownTotals;
use super::visits::{VisitTotals, Visits};
use super::{
    Analysis, Binder, BreakdownPlan, Calendar, Codes, Partial, RowRef, Rows, Selection, Split, Task, TaskSet,
    key, key_time, key_user,
};
use crate::api::{
    Breakdown, Cell, CohortRule, ColumnType, Filter, Interval, Problem, Selector, Table, ViralityQuery,
    ViralityTold,
};
use crate::limits::RESULT_ROW_COUNT_MAX;
use crate::model::{DurationMs, TimeMs};

/// A virality, bound to a snapshot.
#[derive(Debug)]
pub struct Virality {
    /// Any event: who is active.
    pub(super) visits: Visits,
    pub(super) events: InvitationEvents,
    invites: Selection,
    plans: Vec<BreakdownPlan>,
    /// Where events are counted, with `by: signup` those of a user: so long after its signup.
    window: Option<DurationMs>,
    is_tree: bool,
    pub(super) calendar: Calendar,
    /// As told: signups outside it found nothing.
    range: Range<TimeMs>,
    /// The part of it that is seen.
    seen: Range<TimeMs>,
    pub(super) as_of: TimeMs,
    /// Found by [`Virality::prepare`].
    pub(super) invitations: Option<Invitations>,
    /// The generation of users who signed up, by ordinal, if that is asked.
    pub(super) generations: Vec<(u32, u32)>,
}

/// What is counted in each row. Each has a cell.
pub(super) const NEW: usize = 0;
pub(super) const INVITED: usize = 1;
pub(super) const ACTIVE: usize = 2;
pub(super) const INVITERS: usize = 3;
const INVITES: usize = 4;
const ACCEPTED: usize = 5;
const COUNT_COUNT: usize = 6;

/// What is counted of each generation.
const USERS: usize = 0;
const TREE_INVITES: usize = 1;
const TREE_ACCEPTED: usize = 2;
const TREE_COUNT: usize = 3;

impl Virality {
    /// Binds a query to the binder's snapshot.
    pub fn bind(
        query: &ViralityQuery,
        filter: Option<&Filter>,
        binder: &mut Binder<'_>,
    ) -> Result<Virality, Problem> {
        let (scope, scan) = (binder.scope(), binder.scan());
        let range = scope.told_range(scan.first_event()?);
        let (interval, window) = match query.told {
            ViralityTold::ByEvent { interval } => (interval, None),
            ViralityTold::BySignup { interval, window } => (interval, Some(window)),
            // Generations are of the whole range.
            ViralityTold::Tree => (Interval::Total, None),
        };
        let calendar = Calendar::new(interval, &scope.zone, scope.week_start, range.clone())?;
        let model = binder.growth_model(&query.model)?;
        let accept = model.accept()?;
        let signups = binder.selection(model.signup()?, filter)?;
        let invites = binder.selection(model.invite()?, filter)?;
        let accepts = binder.selection(&accept.selector, filter)?;
        let inviter = BreakdownPlan::new(&Breakdown::by_all_values(&accept.inviter), binder)?;
        let plans = query.breakdowns.iter().map(|breakdown| BreakdownPlan::new(breakdown, binder));
        let plans = plans.collect::<Result<Vec<_>, _>>()?;
        let every_event = binder.selection(&Selector::any(), filter)?;
        Ok(Virality {
            visits: Visits::new(every_event, &query.breakdowns, plans.clone())?,
            events: InvitationEvents::new(signups, accepts, inviter, scan),
            invites,
            plans,
            window,
            is_tree: query.told == ViralityTold::Tree,
            calendar,
            seen: scope.seen(range.clone()),
            range,
            as_of: scope.as_of,
            invitations: None,
            generations: Vec::new(),
        })
    }

    /// What has to be asked first, if a property has more values than are told; the answer goes to
    /// [`Virality::fold`].
    pub fn totals(&self) -> Option<VisitTotals<'_>> {
        self.visits.needs_totals().then(|| VisitTotals {
            visits: &self.visits,
            looked_at: self.seen.clone(),
            counted: self.seen.clone(),
            noted: BreakdownTotals::default(),
        })
    }

    /// Sets which values have rows of their own.
    pub fn fold(&mut self, split: Split) {
        self.visits.fold(split);
    }

    /// What has to be asked always; the answer goes to [`Virality::prepare`].
    pub fn events(&self) -> &InvitationEvents {
        &self.events
    }

    /// Sets who invited whom.
    pub fn prepare(&mut self, invitations: Invitations) {
        if self.is_tree {
            self.generations = invitations.generations();
        }
        self.invitations = Some(invitations);
    }

    pub(super) fn window(&self) -> Option<DurationMs> {
        self.window
    }

    pub(super) fn is_tree(&self) -> bool {
        self.is_tree
    }

    fn invitations(&self) -> &Invitations {
        self.invitations.as_ref().expect("they are found before anything is counted")
    }

    /// Rows of a selection, and the slots that each counts in.
    pub(super) fn rows(
        &self,
        task: &Task<'_>,
        selection: &Selection,
        range: Range<TimeMs>,
        with_refs: bool,
    ) -> Result<(Rows, Vec<Codes>), Problem> {
        let rows = task.rows(selection, range, with_refs || !self.plans.is_empty())?;
        let codes = self.plans.iter().map(|plan| task.breakdown_codes(plan, &rows));
        let codes = codes.collect::<Result<Vec<_>, _>>()?;
        Ok((rows, codes))
    }

    /// The users of a task who signed up in the range, and their slots by row.
    pub(super) fn foundings(&self, task: &Task<'_>) -> Result<(Vec<Founding>, Option<Codes>), Problem> {
        let until = self.events.history.start..self.seen.end;
        let (rows, codes) = self.rows(task, &self.events.signups, until, false)?;
        let cohort_of =
            |time: TimeMs| self.range.contains(&time).then(|| self.calendar.bucket_of(time)).flatten();
        let labels: Vec<_> = self.plans.iter().map(BreakdownPlan::labels).collect();
        let foundings = find_foundings(CohortRule::FirstTime, &rows.keys, cohort_of, &codes, &labels);
        Ok((foundings, self.visits.split().slots(codes)))
    }

    /// The users of a task who ever accepted an invitation.
    pub(super) fn invited(&self, task: &Task<'_>) -> Result<TaskSet, Problem> {
        let rows = task.rows(&self.events.accepts, self.events.history.clone(), false)?;
        Ok(rows.keys.iter().map(|key| key_user(*key)).collect())
    }

    /// Calls `visit` with each slot, user and bucket that the user was active in.
    pub(super) fn each_active(
        &self,
        task: &Task<'_>,
        mut visit: impl FnMut(u32, u16, usize) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        // One more than the bucket that the user was counted in last.
        let mut states = self.visits.states::<u32>();
        self.visits.each(task, self.seen.clone(), self.calendar.is_of_utc_days(), |slot, users, time| {
            let Some(bucket) = self.calendar.bucket_of(time) else { return Ok(()) };
            users.iter().try_for_each(|user| {
                let last = states.of(slot, *user);
                if *last != bucket as u32 + 1 {
                    *last = bucket as u32 + 1;
                    visit(slot, *user, bucket)?;
                }
                Ok(())
            })
        })
    }

    /// Calls `visit` with each slot, user and bucket of an invitation sent in the range, and whether it is the user's
    /// first there.
    pub(super) fn each_invite(
        &self,
        task: &Task<'_>,
        mut visit: impl FnMut(u32, u16, usize, bool) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let (rows, codes) = self.rows(task, &self.invites, self.seen.clone(), false)?;
        let slots = self.visits.split().slots(codes);
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

    /// How many invitations each of the users sent within the window of its signup, the signup itself left out.
    pub(super) fn invites_after_signup(
        &self,
        task: &Task<'_>,
        foundings: &[Founding],
        window: DurationMs,
    ) -> Result<Vec<u64>, Problem> {
        let until = self.events.history.clone();
        let may_be_signup = self.invites.overlaps(&self.events.signups);
        let invites = task.rows(&self.invites, until.clone(), may_be_signup)?;
        let signups = match may_be_signup {
            true => task.rows(&self.events.signups, until, true)?,
            false => Rows::default(),
        };
        let between = |rows: &Rows, user: u16, from: TimeMs, to: TimeMs| -> Range<usize> {
            let start = rows.keys.partition_point(|known| *known < key(user, from));
            start..rows.keys.partition_point(|known| *known <= key(user, to)).max(start)
        };
        let last_time = self.events.history.end;
        let count = |founding: &Founding| {
            let (user, signup) = (founding.user, founding.time);
            let end = signup.saturating_add(window.as_ms()).min(last_time);
            let sent = between(&invites, user, signup, end).len() as u64;
            let own = own_rows(task, &signups.refs[between(&signups, user, signup, signup)]);
            let at_signup = between(&invites, user, signup, signup);
            let is_both =
                may_be_signup && own.iter().any(|row| invites.refs[at_signup.clone()].contains(row));
            sent - u64::from(is_both)
        };
        Ok(foundings.iter().map(count).collect())
    }

    fn width(&self) -> usize {
        match self.is_tree {
            true => self.generation_count() * TREE_COUNT,
            false => self.calendar.bucket_count() * COUNT_COUNT,
        }
    }

    /// Generations of all users, told or not.
    pub(super) fn generation_count(&self) -> usize {
        self.generations.iter().map(|(_, generation)| *generation as usize + 1).max().unwrap_or(0)
    }

    pub(super) fn generation_of(&self, user: u32) -> usize {
        let index = self.generations.binary_search_by_key(&user, |(known, _)| *known);
        self.generations[index.expect("whoever signed up has a generation")].1 as usize
    }

    fn observe_tree(&self, task: &Task<'_>, partial: &mut ViralityPartial) -> Result<(), Problem> {
        let (foundings, slots) = self.foundings(task)?;
        let (rows, _) = self.rows(task, &self.invites, self.seen.clone(), false)?;
        for founding in &foundings {
            let ordinal = task.user_base() + u32::from(founding.user);
            let first = self.generation_of(ordinal) * TREE_COUNT;
            let sent = rows.keys.partition_point(|known| key_user(*known) <= founding.user)
                - rows.keys.partition_point(|known| key_user(*known) < founding.user);
            let accepted = self.invitations().accepted_from(ordinal, self.seen.clone());
            for slot in slots_of(slots.as_ref(), founding.row) {
                let start = partial.counts.row_start(*slot)? + first;
                let cells = partial.counts.cells_mut();
                cells[start + USERS] += 1;
                cells[start + TREE_INVITES] += sent as u64;
                cells[start + TREE_ACCEPTED] += accepted;
            }
        }
        Ok(())
    }

    /// Counts users who signed up and, by signup, what they sent.
    fn observe_signups(&self, task: &Task<'_>, partial: &mut ViralityPartial) -> Result<(), Problem> {
        let (foundings, slots) = self.foundings(task)?;
        let invited = self.invited(task)?;
        let sent = match self.window {
            Some(window) => Some((window, self.invites_after_signup(task, &foundings, window)?)),
            None => None,
        };
        for (index, founding) in foundings.iter().enumerate() {
            let ordinal = task.user_base() + u32::from(founding.user);
            let bucket = founding.cohort as usize;
            let cycle = self.invitations().cycle_ms(ordinal);
            for slot in slots_of(slots.as_ref(), founding.row) {
                let start = partial.counts.row_start(*slot)? + bucket * COUNT_COUNT;
                let cells = partial.counts.cells_mut();
                cells[start + NEW] += 1;
                cells[start + INVITED] += u64::from(invited.contains(founding.user));
                if let Some((window, sent)) = &sent {
                    let until = founding.time.saturating_add(window.as_ms()).saturating_add(1);
                    cells[start + INVITES] += sent[index];
                    cells[start + INVITERS] += u64::from(sent[index] > 0);
                    cells[start + ACCEPTED] +=
                        self.invitations().accepted_from(ordinal, founding.time..until);
                }
                if let Some(cycle) = cycle {
                    let start = partial.cycles.row_start(*slot)?;
                    partial.cycles.cells_mut()[start + bucket].push(cycle);
                }
            }
        }
        Ok(())
    }

    /// Counts invitations and accepts in their own intervals.
    fn observe_events(&self, task: &Task<'_>, partial: &mut ViralityPartial) -> Result<(), Problem> {
        self.each_invite(task, |slot, _, bucket, is_first| {
            let start = partial.counts.row_start(slot)? + bucket * COUNT_COUNT;
            let cells = partial.counts.cells_mut();
            cells[start + INVITES] += 1;
            cells[start + INVITERS] += u64::from(is_first);
            Ok(())
        })?;
        let (rows, codes) = self.rows(task, &self.events.accepts, self.seen.clone(), false)?;
        let slots = self.visits.split().slots(codes);
        for (row, key) in rows.keys.iter().enumerate() {
            let Some(bucket) = self.calendar.bucket_of(key_time(*key)) else { continue };
            for slot in slots_of(slots.as_ref(), row) {
                let start = partial.counts.row_start(*slot)? + bucket * COUNT_COUNT;
                partial.counts.cells_mut()[start + ACCEPTED] += 1;
            }
        }
        Ok(())
    }
}

/// Of signups at one instant those that are the user's, any of which is it: those of the smallest name.
fn own_rows(task: &Task<'_>, tied: &[RowRef]) -> Vec<RowRef> {
    let name = |row: &RowRef| task.scan().group(row.segment, row.group).name();
    let first = tied.iter().map(name).min();
    tied.iter().filter(|row| Some(name(row)) == first).copied().collect()
}

/// Counts of each slot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ViralityPartial {
    /// [`COUNT_COUNT`] cells for each bucket, or [`TREE_COUNT`] for each generation.
    counts: Grid<u64>,
    /// How long it took to bring those who signed up in each bucket.
    cycles: Grid<Durations>,
}

impl Partial for ViralityPartial {
    fn merge(&mut self, other: ViralityPartial) {
        self.counts.merge(&other.counts, |cell, term| *cell += term);
        self.cycles.merge(&other.cycles, |cell, term| cell.merge(term.clone()));
    }
}

impl Analysis for Virality {
    type Partial = ViralityPartial;
    type Output = Table;

    fn empty(&self) -> ViralityPartial {
        ViralityPartial { counts: Grid::new(self.width()), cycles: Grid::new(self.calendar.bucket_count()) }
    }

    fn observe(&self, task: &Task<'_>, partial: &mut ViralityPartial) -> Result<(), Problem> {
        if self.is_tree {
            return self.observe_tree(task, partial);
        }
        self.each_active(task, |slot, _, bucket| {
            let start = partial.counts.row_start(slot)? + bucket * COUNT_COUNT;
            partial.counts.cells_mut()[start + ACTIVE] += 1;
            Ok(())
        })?;
        self.observe_signups(task, partial)?;
        if self.window.is_none() {
            self.observe_events(task, partial)?;
        }
        Ok(())
    }

    fn finish(&self, partial: ViralityPartial) -> Result<Table, Problem> {
        if self.is_tree { self.table_of_generations(&partial) } else { self.table_of_intervals(&partial) }
    }
}

impl Virality {
    fn table_of_intervals(&self, partial: &ViralityPartial) -> Result<Table, Problem> {
        let split = self.visits.split();
        let counts = [
            "new_users",
            "invited_users",
            "organic_users",
            "active_users",
            "inviters",
            "invites",
            "accepted",
        ];
        let ratios = ["invites_per_user", "acceptance_rate", "k_factor", "median_cycle_seconds"];
        let numbers = counts.into_iter().map(|name| (name, ColumnType::UInt64));
        let numbers = numbers.chain(ratios.into_iter().map(|name| (name, ColumnType::Float64)));
        let columns = [("time".to_owned(), ColumnType::Time)].into_iter().chain(split.columns());
        let mut table = Table::new(columns.chain(numbers.map(|(name, kind)| (name.to_owned(), kind))));
        let bucket_count = self.calendar.bucket_count();
        let nobody = vec![0; bucket_count * COUNT_COUNT];
        let mut rows = partial.counts.rows();
        if rows.is_empty() && split.is_none() {
            rows.push((0, &nobody));
        }
        if rows.len() * bucket_count > RESULT_ROW_COUNT_MAX {
            return Err(too_many_rows());
        }
        for bucket in 0..bucket_count {
            for (slot, cells) in &rows {
                let cells = &cells[bucket * COUNT_COUNT..(bucket + 1) * COUNT_COUNT];
                let cycles = partial.cycles.row(*slot).map(|of_slot| of_slot[bucket].clone());
                let median = cycles.and_then(|mut cycles| cycles.median());
                let senders = if self.window.is_some() { cells[NEW] } else { cells[ACTIVE] };
                let both = cells[INVITES] > 0;
                let counts = [
                    cells[NEW],
                    cells[INVITED],
                    cells[NEW] - cells[INVITED],
                    cells[ACTIVE],
                    cells[INVITERS],
                    cells[INVITES],
                    cells[ACCEPTED],
                ];
                let ratios = [
                    share(cells[INVITES], senders),
                    share(cells[ACCEPTED], cells[INVITES]),
                    if both { share(cells[ACCEPTED], senders) } else { Cell::Null },
                    median.map_or(Cell::Null, |ms| Cell::Float(ms as f64 / 1000.0)),
                ];
                let name = [Cell::Text(self.calendar.label(bucket))].into_iter().chain(split.cells(*slot));
                table.push(name.chain(counts.map(Cell::UInt)).chain(ratios));
            }
        }
        Ok(table)
    }

    fn table_of_generations(&self, partial: &ViralityPartial) -> Result<Table, Problem> {
        let split = self.visits.split();
        let numbers = [
            ("users", ColumnType::UInt64),
            ("invites", ColumnType::UInt64),
            ("accepted", ColumnType::UInt64),
            ("k_factor", ColumnType::Float64),
        ];
        let columns = [("generation".to_owned(), ColumnType::UInt32)].into_iter().chain(split.columns());
        let mut table = Table::new(columns.chain(numbers.map(|(name, kind)| (name.to_owned(), kind))));
        let rows = partial.counts.rows();
        let has_users =
            |generation: &usize| rows.iter().any(|(_, cells)| cells[generation * TREE_COUNT + USERS] > 0);
        let told_count = (0..self.generation_count()).rev().find(has_users).map_or(0, |last| last + 1);
        if rows.len() * told_count > RESULT_ROW_COUNT_MAX {
            return Err(too_many_rows());
        }
        for generation in 0..told_count {
            for (slot, cells) in &rows {
                let cells = &cells[generation * TREE_COUNT..(generation + 1) * TREE_COUNT];
                let counts = [USERS, TREE_INVITES, TREE_ACCEPTED].map(|count| Cell::UInt(cells[count]));
                let name = [Cell::UInt(generation as u64)].into_iter().chain(split.cells(*slot));
                let k_factor = share(cells[TREE_ACCEPTED], cells[USERS]);
                table.push(name.chain(counts).chain([k_factor]));
            }
        }
        Ok(table)
    }
}

/// A share, null of nobody.
fn share(part: u64, all: u64) -> Cell {
    if all > 0 { Cell::Float(part as f64 / all as f64) } else { Cell::Null }
}
