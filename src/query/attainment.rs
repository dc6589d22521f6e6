//! Activation and conversion: who reached a milestone after the sign-up, and how soon.
//!
//! The milestone is so many of its events from the instant of the sign-up on, up to and including the end of the
//! window. A user has reached it, is still inside the window, or has failed: these three are told apart. The curve over
//! the days from the sign-up is in `attainment_curve`.

use serde::{Deserialize, Serialize};

use super::attainment_curve::AttainmentCurve;
use super::births::Founding;
use super::cell_name::{SlotName, read_bucket};
use super::durations::Durations;
use super::grid::{Grid, too_many_rows};
use super::signups::{Found, Signups};
use super::{Analysis, Binder, Partial, RowRef, Rows, Selection, Task, TaskSet, key, key_time, key_user};
use crate::api::{ActivationQuery, Cell, ColumnType, ConversionQuery, Fields, Filter, Problem, Table};
use crate::limits::RESULT_ROW_COUNT_MAX;
use crate::model::{DAY_MS, DurationMs, SECOND_MS, TimeMs};

/// An activation or a conversion, bound to a snapshot.
#[derive(Debug)]
pub struct Attainment {
    pub(super) signups: Signups,
    milestone: Selection,
    /// Events that make up the milestone. At least 1.
    at_least: u64,
    /// From the sign-up to the last moment that counts; without it, any later moment does.
    pub(super) within: Option<i64>,
    kind: Kind,
    pub(super) as_of: TimeMs,
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Activation,
    ActivationCurve,
    Conversion,
}

/// What became of a user who signed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// So many milliseconds after the sign-up.
    Reached(i64),
    /// Not yet, and the window is open.
    Open,
    Failed,
}

/// Users who signed up, who reached the milestone, and who still can.
const SIGNUPS: usize = 0;
const REACHED: usize = 1;
const OPEN: usize = 2;
const COUNT_COUNT: usize = 3;

impl Attainment {
    pub fn of_activation(
        query: &ActivationQuery,
        filter: Option<&Filter>,
        binder: &mut Binder<'_>,
    ) -> Result<Attainment, Problem> {
        let model = binder.growth_model(&query.parts)?;
        let signup = binder.selection(model.signup()?, filter)?;
        let activate = model.activate()?;
        Ok(Attainment {
            milestone: binder.selection(&activate.selector, filter)?,
            at_least: activate.at_least,
            within: activate.within.map(DurationMs::as_ms),
            kind: if query.is_curve { Kind::ActivationCurve } else { Kind::Activation },
            as_of: binder.scope().as_of,
            signups: Signups::new(signup, query.interval, &query.breakdowns, binder)?,
        })
    }

    pub fn of_conversion(
        query: &ConversionQuery,
        filter: Option<&Filter>,
        binder: &mut Binder<'_>,
    ) -> Result<Attainment, Problem> {
        let model = binder.growth_model(&query.parts)?;
        let signup = binder.selection(model.signup()?, filter)?;
        Ok(Attainment {
            milestone: binder.selection(model.paid()?, filter)?,
            at_least: 1,
            within: query.within.map(DurationMs::as_ms),
            kind: Kind::Conversion,
            as_of: binder.scope().as_of,
            signups: Signups::new(signup, query.interval, &query.breakdowns, binder)?,
        })
    }

    pub(super) fn signups_mut(&mut self) -> &mut Signups {
        &mut self.signups
    }

    /// The curve, if that is what is told.
    pub(super) fn curve(&self) -> Option<AttainmentCurve<'_>> {
        (self.kind == Kind::ActivationCurve).then_some(AttainmentCurve { attainment: self })
    }

    /// Whether the window of who signed up at `time` may still bring an event that counts.
    fn is_open(&self, time: TimeMs) -> bool {
        self.within.is_none_or(|within| self.as_of <= time + within)
    }

    /// Calls `visit` with each sign-up among the users of a task, and what became of the user.
    pub(super) fn each(
        &self,
        task: &Task<'_>,
        mut visit: impl FnMut(&Found, &Founding, Outcome) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let found = self.signups.find(task)?;
        // Only then may a sign-up be an event of the milestone.
        let is_overlapping = self.milestone.overlaps(self.signups.selection());
        let span = found.span(self.within, self.as_of + 1);
        let rows = task.rows(&self.milestone, span, is_overlapping)?;
        for signup in &found.signups {
            let own_rows: Vec<RowRef> =
                if is_overlapping { found.own_rows(task, signup).collect() } else { Vec::new() };
            let outcome = match self.reached_at(&rows, signup, &own_rows) {
                Some(time) => Outcome::Reached(time - signup.time),
                None if self.is_open(signup.time) => Outcome::Open,
                None => Outcome::Failed,
            };
            visit(&found, signup, outcome)?;
        }
        Ok(())
    }

    /// When the user did the event that met the milestone. The sign-up itself, one of `own_rows`, does not count.
    fn reached_at(&self, rows: &Rows, signup: &Founding, own_rows: &[RowRef]) -> Option<TimeMs> {
        let birth = key(signup.user, signup.time);
        let start = rows.keys.partition_point(|key| *key < birth);
        let at_birth = || rows.keys[start..].iter().take_while(|key| **key == birth).count();
        let has_own = !own_rows.is_empty()
            && rows.refs[start..start + at_birth()].iter().any(|row| own_rows.contains(row));
        let before = usize::try_from(self.at_least).ok()? - 1 + usize::from(has_own);
        let met = *rows.keys.get(start.checked_add(before)?)?;
        let time = key_time(met);
        let is_in_time = self.within.is_none_or(|within| time <= signup.time + within);
        (key_user(met) == signup.user && is_in_time).then_some(time)
    }
}

/// What was counted: for each slot, [`COUNT_COUNT`] cells for each bucket, and how long it took those who reached the
/// milestone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttainmentPartial {
    counts: Grid<u64>,
    durations: Grid<Durations>,
    /// By bucket, whether the window of any sign-up is open.
    is_open: Vec<bool>,
}

impl Partial for AttainmentPartial {
    fn merge(&mut self, other: AttainmentPartial) {
        self.counts.merge(&other.counts, |count, term| *count += term);
        self.durations.merge(&other.durations, |all, more| all.merge(more.clone()));
        self.is_open.iter_mut().zip(&other.is_open).for_each(|(any, other)| *any |= other);
    }
}

impl Analysis for Attainment {
    type Partial = AttainmentPartial;
    type Output = Table;

    fn empty(&self) -> AttainmentPartial {
        let bucket_count = self.signups.calendar.bucket_count();
        AttainmentPartial {
            counts: Grid::new(bucket_count * COUNT_COUNT),
            durations: Grid::new(bucket_count),
            is_open: vec![false; bucket_count],
        }
    }

    fn observe(&self, task: &Task<'_>, partial: &mut AttainmentPartial) -> Result<(), Problem> {
        self.each(task, |found, signup, outcome| {
            let bucket = signup.cohort as usize;
            partial.is_open[bucket] |= self.is_open(signup.time);
            for slot in found.slots(signup) {
                let start = partial.counts.row_start(*slot)? + bucket * COUNT_COUNT;
                let counts = &mut partial.counts.cells_mut()[start..start + COUNT_COUNT];
                counts[SIGNUPS] += 1;
                match outcome {
                    Outcome::Reached(after) => {
                        counts[REACHED] += 1;
                        let start = partial.durations.row_start(*slot)?;
                        partial.durations.cells_mut()[start + bucket].push(after as u64);
                    }
                    Outcome::Open => counts[OPEN] += 1,
                    Outcome::Failed => {}
                }
            }
            Ok(())
        })
    }

    fn finish(&self, partial: AttainmentPartial) -> Result<Table, Problem> {
        let (calendar, split) = (&self.signups.calendar, self.signups.split());
        let bucket_count = calendar.bucket_count();
        let nobody = vec![0; bucket_count * COUNT_COUNT];
        let mut rows = partial.counts.rows();
        if rows.is_empty() && split.is_none() {
            rows.push((0, &nobody));
        }
        if rows.len() * bucket_count > RESULT_ROW_COUNT_MAX {
            return Err(too_many_rows());
        }
        let mut lines: Vec<(Vec<Cell>, &[u64], Vec<Durations>)> = rows
            .into_iter()
            .map(|(slot, counts)| {
                let durations = partial.durations.row(slot).map(<[Durations]>::to_vec);
                (
                    split.cells(slot),
                    counts,
                    durations.unwrap_or_else(|| vec![Durations::default(); bucket_count]),
                )
            })
            .collect();
        let mut table = self.empty_table();
        for bucket in 0..bucket_count {
            let time = Cell::Text(calendar.label(bucket));
            let is_over = calendar.end(bucket).min(self.signups.range().end) <= self.as_of;
            let is_complete = Cell::Bool(is_over && !partial.is_open[bucket]);
            for (labels, counts, durations) in &mut lines {
                let counts = &counts[bucket * COUNT_COUNT..(bucket + 1) * COUNT_COUNT];
                let rate = match counts[SIGNUPS] {
                    0 => Cell::Null,
                    signups => Cell::Float(counts[REACHED] as f64 / signups as f64),
                };
                let mut seconds = |percent: usize| match durations[bucket].percentile(percent) {
                    Some(ms) => Cell::Float(ms as f64 / SECOND_MS as f64),
                    None => Cell::Null,
                };
                let median = seconds(50);
                let p90 = (self.kind != Kind::Conversion).then(|| seconds(90));
                let row = [time.clone()].into_iter().chain(labels.iter().cloned());
                let row = row.chain([Cell::UInt(counts[SIGNUPS]), Cell::UInt(counts[REACHED]), rate, median]);
                table.push(row.chain(p90).chain([Cell::UInt(counts[OPEN]), is_complete.clone()]));
            }
        }
        Ok(table)
    }
}

impl Attainment {
    /// The name of the column of those who reached the milestone.
    fn reached_name(&self) -> &'static str {
        if self.kind == Kind::Conversion { "converted" } else { "activated" }
    }

    fn empty_table(&self) -> Table {
        let columns =
            [("time".to_owned(), ColumnType::Time)].into_iter().chain(self.signups.split().columns());
        let p90 = (self.kind != Kind::Conversion).then_some(("p90_seconds", ColumnType::Float64));
        let numbers = [
            ("signups", ColumnType::UInt64),
            (self.reached_name(), ColumnType::UInt64),
            ("rate", ColumnType::Float64),
            ("median_seconds", ColumnType::Float64),
        ];
        let rest = [("in_progress", ColumnType::UInt64), ("complete", ColumnType::Bool)];
        let numbers = numbers.into_iter().chain(p90).chain(rest);
        Table::new(columns.chain(numbers.map(|(name, kind)| (name.to_owned(), kind))))
    }
}

/// A cell of an activation or a conversion: who signed up in a bucket, and what became of them.
#[derive(Clone, Debug)]
pub struct AttainmentCell {
    place: Place,
    slot: Vec<SlotName>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// Without a bucket, those of the whole range.
    Bucket(Option<usize>, State),
    /// A day of the curve, and whether only those who were activated on it.
    Day { day: i64, is_reached: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Signups,
    Reached,
    Open,
    Failed,
}

impl Attainment {
    /// Reads the name of a cell: `time`, of the whole range without it; `state`, the name of a column or `failed`, those
    /// who reached the milestone unless given; of a curve `day`, and `state`; and the value of each breakdown.
    pub fn cell(&self, fields: &mut Fields<'_>) -> Result<AttainmentCell, Problem> {
        let state = fields.optional("state");
        let place = if self.curve().is_some() {
            let last_day = self.curve_day_count().max(1) - 1;
            let day = fields.required("day")?.integer(0..=last_day)?;
            let words = [("at_risk", false), ("activated", true)];
            Place::Day { day, is_reached: state.map_or(Ok(true), |state| state.word(&words))? }
        } else {
            let words = [
                ("signups", State::Signups),
                (self.reached_name(), State::Reached),
                ("in_progress", State::Open),
                ("failed", State::Failed),
            ];
            let state = state.map_or(Ok(State::Reached), |state| state.word(&words))?;
            let calendar = &self.signups.calendar;
            let bucket = match fields.optional("time") {
                None => None,
                Some(time) => Some(read_bucket(&time, calendar, 0..calendar.bucket_count(), self.as_of)?),
            };
            Place::Bucket(bucket, state)
        };
        Ok(AttainmentCell { place, slot: SlotName::read_all(fields, self.signups.breakdown_count())? })
    }

    /// The users of a cell: as many as it tells.
    pub fn members(&self, task: &Task<'_>, cell: &AttainmentCell) -> Result<TaskSet, Problem> {
        let Some(slot) = self.signups.split().slot_named(&cell.slot) else { return Ok(TaskSet::new()) };
        let mut members = TaskSet::new();
        self.each(task, |found, signup, outcome| {
            let is_meant = match cell.place {
                Place::Bucket(bucket, state) => {
                    let is_state = match state {
                        State::Signups => true,
                        State::Reached => matches!(outcome, Outcome::Reached(_)),
                        State::Open => outcome == Outcome::Open,
                        State::Failed => outcome == Outcome::Failed,
                    };
                    is_state && bucket.is_none_or(|bucket| bucket == signup.cohort as usize)
                }
                Place::Day { day, is_reached } => {
                    let reached_on = match outcome {
                        Outcome::Reached(after) => Some(after / DAY_MS),
                        Outcome::Open | Outcome::Failed => None,
                    };
                    let is_at_risk =
                        day < self.days_over(signup.time) && reached_on.is_none_or(|reached| reached >= day);
                    is_at_risk && (!is_reached || reached_on == Some(day))
                }
            };
            if is_meant && found.slots(signup).contains(&slot) {
                members.insert(signup.user);
            }
            Ok(())
        })?;
        Ok(members)
    }
}
