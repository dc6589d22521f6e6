//! Drivers: which early behaviour goes with an outcome.
//!
//! In one pass over the users: who was born, who of them came to the outcome, and for each candidate event in how many
//! there are of it in the window after each birth. That is one read of the candidates' rows, whatever the number of
//! thresholds; everything that is told follows from four counts (`driver_table`).
//!
//! Behaviour counts only before the outcome's own window begins: what somebody does there may be what the outcome is
//! made of, and would predict nothing.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::births::Founding;
use super::cell_name::{SlotName, read_bucket};
use super::cohort::CohortPlan;
use super::driver_table::{self, Counts, Strength};
use super::grid::{Grid, too_many_rows};
use super::signups::{Found, Signups};
use super::{
    Analysis, Binder, Partial, RowRef, Scan, Selection, TASK_USER_COUNT, Task, TaskSet, key, key_time,
    key_user,
};
use crate::api::{
    DriverOutcome, DriversQuery, EventName, EventSelector, Fields, Filter, Interval, Problem, Selector, Table,
};
use crate::limits::{DRIVER_CANDIDATE_COUNT_MAX, RESULT_ROW_COUNT_MAX};
use crate::model::TimeMs;
use crate::segment::RowKind;

/// Drivers, bound to a snapshot.
#[derive(Debug)]
pub struct Drivers {
    pub(super) births: Signups,
    pub(super) has_interval: bool,
    /// From the birth to the last moment at which behaviour counts; negative if there is none.
    window: i64,
    outcome: Outcome,
    pub(super) candidates: Vec<Candidate>,
    pub(super) thresholds: Vec<u64>,
    as_of: TimeMs,
}

#[derive(Debug)]
pub(super) struct Candidate {
    pub label: String,
    selection: Selection,
    /// Only then may a birth be an event of the candidate.
    is_overlapping: bool,
}

#[derive(Debug)]
enum Outcome {
    Cohort(CohortPlan),
    /// From `after` to before `before`, counted from the birth.
    Did {
        selection: Selection,
        at_least: u64,
        after: i64,
        before: i64,
        is_absence: bool,
    },
}

/// The births of a task whose outcome is decided.
struct Decided<'a> {
    found: &'a Found,
    births: Vec<&'a Founding>,
    /// By user: its place among the births, or [`NOBODY`].
    place_by_user: Vec<u32>,
    /// By place.
    has_outcome: Vec<bool>,
    /// Where behaviour may lie that counts for any of them.
    window_span: Range<TimeMs>,
}

const NOBODY: u32 = u32::MAX;

impl Drivers {
    pub fn bind(
        query: &DriversQuery,
        filter: Option<&Filter>,
        binder: &mut Binder<'_>,
    ) -> Result<Drivers, Problem> {
        let model = binder.growth_model(&query.parts)?;
        let birth = match &query.birth {
            Some(birth) => binder.selection(birth, filter)?,
            None => binder.selection(model.signup()?, filter)?,
        };
        let mut window = query.window.as_ms();
        let outcome = match &query.outcome {
            DriverOutcome::Cohort(cohort) => Outcome::Cohort(binder.cohort(cohort)?),
            DriverOutcome::Did { selector, at_least, after, before, is_absence } => {
                window = window.min(after.as_ms() - 1);
                Outcome::Did {
                    selection: binder.selection(selector, filter)?,
                    at_least: *at_least,
                    after: after.as_ms(),
                    before: before.as_ms(),
                    is_absence: *is_absence,
                }
            }
        };
        let mut candidates = Vec::new();
        let mut add = |label: &str, selection: Selection| {
            let is_overlapping = selection.overlaps(&birth);
            candidates.push(Candidate { label: label.to_owned(), selection, is_overlapping });
        };
        match &query.candidates {
            Some(selectors) => {
                for selector in selectors {
                    add(&selector.label, binder.selection(selector, filter)?);
                }
            }
            None => {
                for name in event_names(binder.scan())? {
                    let selector = named(name);
                    add(name, binder.selection(&selector, filter)?);
                }
            }
        }
        let interval = query.interval.unwrap_or(Interval::Total);
        let as_of = binder.scope().as_of;
        let drivers = Drivers {
            births: Signups::new(birth, interval, &query.breakdowns, binder)?,
            has_interval: query.interval.is_some(),
            window,
            outcome,
            candidates,
            thresholds: query.thresholds.clone(),
            as_of,
        };
        let row_count = drivers.births.calendar.bucket_count() * drivers.candidates.len();
        if row_count * drivers.thresholds.len() > RESULT_ROW_COUNT_MAX {
            return Err(too_many_rows());
        }
        Ok(drivers)
    }

    pub(super) fn births_mut(&mut self) -> &mut Signups {
        &mut self.births
    }

    /// Whether it is decided if who was born at `birth` comes to the outcome.
    fn is_decided(&self, birth: TimeMs) -> bool {
        match &self.outcome {
            Outcome::Cohort(_) => true,
            Outcome::Did { before, .. } => birth + before <= self.as_of,
        }
    }

    /// The births of a task, and who of them came to the outcome.
    fn decide<'a>(&self, task: &Task<'_>, found: &'a Found) -> Result<Decided<'a>, Problem> {
        let births: Vec<&Founding> =
            found.signups.iter().filter(|birth| self.is_decided(birth.time)).collect();
        let mut place_by_user = vec![NOBODY; TASK_USER_COUNT as usize];
        births.iter().zip(0..).for_each(|(birth, place)| place_by_user[usize::from(birth.user)] = place);
        let has_outcome = match &self.outcome {
            Outcome::Cohort(plan) if !births.is_empty() => {
                let members = plan.members(task)?;
                births.iter().map(|birth| members.contains(birth.user)).collect()
            }
            Outcome::Cohort(_) => Vec::new(),
            Outcome::Did { selection, at_least, after, before, is_absence } => {
                let mut counts = vec![0_u64; births.len()];
                let span = self.span(&births, *after..*before);
                for key in &task.rows(selection, span, false)?.keys {
                    let place = place_by_user[usize::from(key_user(*key))];
                    if let Some(birth) = births.get(place as usize) {
                        let since = key_time(*key) - birth.time;
                        counts[place as usize] += u64::from((*after..*before).contains(&since));
                    }
                }
                counts.iter().map(|count| (count >= at_least) != *is_absence).collect()
            }
        };
        let window_span = self.span(&births, 0..self.window + 1);
        Ok(Decided { found, births, place_by_user, has_outcome, window_span })
    }

    /// Where to look for what happened so long after any of the births.
    fn span(&self, births: &[&Founding], since: Range<i64>) -> Range<TimeMs> {
        let times = || births.iter().map(|birth| birth.time);
        let Some((first, last)) = times().min().zip(times().max()) else { return 0..0 };
        let end = (last + since.end).min(self.as_of + 1);
        (first + since.start).min(end)..end
    }

    /// Calls `visit` with the place of each birth that has events of the candidate in its window, and how many.
    fn count_candidate(
        &self,
        task: &Task<'_>,
        candidate: &Candidate,
        decided: &Decided<'_>,
        mut visit: impl FnMut(u32, u64),
    ) -> Result<(), Problem> {
        let span = decided.window_span.clone();
        let rows = task.rows(&candidate.selection, span, candidate.is_overlapping)?;
        let mut at = 0;
        while let Some(first) = rows.keys.get(at) {
            let user = key_user(*first);
            let run_start = at;
            at += rows.keys[at..].iter().take_while(|key| key_user(**key) == user).count();
            let place = decided.place_by_user[usize::from(user)];
            let Some(birth) = decided.births.get(place as usize) else { continue };
            let (from, to) = (key(user, birth.time), key(user, birth.time + self.window));
            let run = &rows.keys[run_start..at];
            let mut count = run.iter().filter(|key| (from..=to).contains(*key)).count() as u64;
            if candidate.is_overlapping && count > 0 {
                let own: Vec<RowRef> = decided.found.own_rows(task, birth).collect();
                let refs = rows.keys.iter().zip(&rows.refs).skip(run_start).take(run.len());
                count -= u64::from(refs.into_iter().any(|(key, row)| *key == from && own.contains(row)));
            }
            if count > 0 {
                visit(place, count);
            }
        }
        Ok(())
    }

    /// How many of the thresholds a count reaches.
    fn reached_count(&self, count: u64) -> usize {
        self.thresholds.partition_point(|threshold| *threshold <= count)
    }

    /// Where in a row of the grid the counts of the candidate and threshold lie: those who did, and of them those with
    /// the outcome. Candidate and threshold none is everybody.
    fn cell(&self, candidate: usize, threshold: usize) -> usize {
        2 + 2 * (candidate * self.thresholds.len() + threshold)
    }

    fn row_width(&self) -> usize {
        self.cell(self.candidates.len(), 0)
    }

    /// The row of the grid for each bucket of a slot.
    fn grid_row(&self, slot: u32, bucket: usize) -> u32 {
        slot * self.births.calendar.bucket_count() as u32 + bucket as u32
    }
}

/// The names of all events that a snapshot has, ascending.
fn event_names<'s>(scan: &Scan<'s>) -> Result<BTreeSet<&'s str>, Problem> {
    let mut names = BTreeSet::new();
    for (_, live) in scan.segments(RowKind::Events) {
        names.extend(live.segment.groups().map(|group| group.name()));
    }
    if names.len() > DRIVER_CANDIDATE_COUNT_MAX {
        let detail = format!("the store has {} events, more than can be candidates", names.len());
        return Err(Problem::invalid(detail)
            .at("")
            .hint(format!("name up to {DRIVER_CANDIDATE_COUNT_MAX} of them as \"candidates\"")));
    }
    Ok(names)
}

/// Events of a name.
fn named(name: &str) -> Selector {
    let event = EventSelector { event: EventName::Named(name.to_owned()), filter: None };
    Selector { any_of: vec![event], label: name.to_owned() }
}

/// For each slot and bucket: births, those with the outcome, and for each candidate the same of those whose count
/// reached so many thresholds and no more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DriversPartial {
    counts: Grid<u64>,
}

impl Partial for DriversPartial {
    fn merge(&mut self, other: DriversPartial) {
        self.counts.merge(&other.counts, |count, term| *count += term);
    }
}

impl Analysis for Drivers {
    type Partial = DriversPartial;
    type Output = Table;

    fn empty(&self) -> DriversPartial {
        DriversPartial { counts: Grid::new(self.row_width()) }
    }

    fn observe(&self, task: &Task<'_>, partial: &mut DriversPartial) -> Result<(), Problem> {
        let found = self.births.find(task)?;
        let decided = self.decide(task, &found)?;
        // Where the counts of each birth start, for each slot that it is in.
        let (mut starts, mut offsets) = (Vec::with_capacity(decided.births.len()), vec![0]);
        for (birth, has_outcome) in decided.births.iter().zip(&decided.has_outcome) {
            for slot in found.slots(birth) {
                let start = partial.counts.row_start(self.grid_row(*slot, birth.cohort as usize))?;
                let counts = &mut partial.counts.cells_mut()[start..start + 2];
                counts[0] += 1;
                counts[1] += u64::from(*has_outcome);
                starts.push(start);
            }
            offsets.push(starts.len());
        }
        if starts.is_empty() {
            return Ok(());
        }
        let counts = partial.counts.cells_mut();
        for (index, candidate) in self.candidates.iter().enumerate() {
            self.count_candidate(task, candidate, &decided, |place, count| {
                let Some(threshold) = self.reached_count(count).checked_sub(1) else { return };
                let (cell, place) = (self.cell(index, threshold), place as usize);
                let has_outcome = u64::from(decided.has_outcome[place]);
                for start in &starts[offsets[place]..offsets[place + 1]] {
                    counts[start + cell] += 1;
                    counts[start + cell + 1] += has_outcome;
                }
            })?;
        }
        Ok(())
    }

    fn finish(&self, partial: DriversPartial) -> Result<Table, Problem> {
        let bucket_count = self.births.calendar.bucket_count() as u32;
        let mut table = driver_table::empty(self);
        let mut rows = partial.counts.rows();
        // Rows of the result go by bucket, then slot.
        rows.sort_by_key(|(row, _)| (row % bucket_count, row / bucket_count));
        for (row, counts) in rows {
            let (slot, bucket) = (row / bucket_count, (row % bucket_count) as usize);
            driver_table::push(self, &mut table, bucket, slot, &self.strengths(counts));
        }
        Ok(table)
    }
}

impl Drivers {
    /// The candidates and thresholds that anybody reached, the strongest first.
    fn strengths(&self, counts: &[u64]) -> Vec<Strength> {
        let mut strengths = Vec::new();
        for candidate in 0..self.candidates.len() {
            let (mut did, mut did_with_outcome) = (0, 0);
            for threshold in (0..self.thresholds.len()).rev() {
                let cell = self.cell(candidate, threshold);
                did += counts[cell];
                did_with_outcome += counts[cell + 1];
                if did > 0 {
                    let counts = Counts { births: counts[0], with_outcome: counts[1], did, did_with_outcome };
                    strengths.push(Strength { candidate, threshold, counts });
                }
            }
        }
        let label = |strength: &Strength| &self.candidates[strength.candidate].label;
        strengths.sort_by(|a, b| {
            let by_phi = driver_table::strongest_first(&a.counts, &b.counts);
            by_phi.then_with(|| label(a).cmp(label(b))).then(a.threshold.cmp(&b.threshold))
        });
        strengths
    }
}

/// A cell of drivers: who of the births did a candidate often enough, or did not.
#[derive(Clone, Debug)]
pub struct DriversCell {
    bucket: Option<usize>,
    candidate: usize,
    at_least: u64,
    did: bool,
    /// Only those with, or without, the outcome.
    outcome: Option<bool>,
    slot: Vec<SlotName>,
}

impl Drivers {
    /// Reads the name of a cell: `time`, if the query has an interval; `event` and `at_least`; `state`, `did` unless
    /// given or `did_not`; `outcome`, true or false, if only some are meant; and the value of each breakdown.
    pub fn read_cell(&self, fields: &mut Fields<'_>) -> Result<DriversCell, Problem> {
        let calendar = &self.births.calendar;
        let bucket = match self.has_interval {
            true => {
                let time = fields.required("time")?;
                Some(read_bucket(&time, calendar, 0..calendar.bucket_count(), self.as_of)?)
            }
            false => None,
        };
        let event = fields.required("event")?;
        let label = event.string()?;
        let candidate = self.candidates.iter().position(|candidate| candidate.label == label);
        let candidate =
            candidate.ok_or_else(|| event.problem(format!("{label:?} is none of the candidates")))?;
        let at_least = fields.required("at_least")?.integer(1..=i64::MAX)? as u64;
        let did = match fields.optional("state") {
            Some(state) => state.word(&[("did", true), ("did_not", false)])?,
            None => true,
        };
        let outcome = fields.optional("outcome").map(|outcome| outcome.bool()).transpose()?;
        let slot = SlotName::read_all(fields, self.births.breakdown_count())?;
        Ok(DriversCell { bucket, candidate, at_least, did, outcome, slot })
    }

    /// The users of a cell: as many as it tells.
    pub fn members(&self, task: &Task<'_>, cell: &DriversCell) -> Result<TaskSet, Problem> {
        let Some(slot) = self.births.split().slot_named(&cell.slot) else { return Ok(TaskSet::new()) };
        let found = self.births.find(task)?;
        let decided = self.decide(task, &found)?;
        let mut counts = vec![0; decided.births.len()];
        self.count_candidate(task, &self.candidates[cell.candidate], &decided, |place, count| {
            counts[place as usize] = count;
        })?;
        let births = decided.births.iter().zip(&decided.has_outcome).zip(&counts);
        let meant = births.filter(|((birth, has_outcome), count)| {
            cell.bucket.is_none_or(|bucket| bucket == birth.cohort as usize)
                && cell.outcome.is_none_or(|outcome| outcome == **has_outcome)
                && (**count >= cell.at_least) == cell.did
                && found.slots(birth).contains(&slot)
        });
        Ok(meant.map(|((birth, _), _)| birth.user).collect())
    }
}
