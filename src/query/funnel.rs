//! Funnels: how far users got through ordered steps, and how long that took.
//!
//! Step by step, over all users of a task at once: the events of a step that follow one of the step before in time,
//! within the window of that one's start, are its *arrivals*. Of the arrivals before an event the latest has the latest
//! start, so it alone decides; what it came from, and so on back to the start, is the attempt that is told. Where an
//! event may match several steps, events of one moment are matched to steps in `funnel_ties` instead.

use std::ops::Range;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::funnel_ties::{TiedSteps, arrive_by_moments};
use super::{
    Analysis, BreakdownPlan, Codes, Fold, NULL_CODE, Partial, RowRef, Rows, Selection, Split,
    TASK_USER_COUNT, Task, key_user,
};
use crate::api::{Cell, ColumnType, FunnelQuery, Problem, Scope, Table};
use crate::limits::BREAKDOWN_VALUE_COUNT_MAX;
use crate::model::{SECOND_MS, TimeMs};

/// A funnel, bound to a snapshot.
#[derive(Debug)]
pub struct Funnel {
    steps: Vec<Step>,
    window: u64,
    is_strict: bool,
    /// Where the first step lies.
    starts: Range<TimeMs>,
    /// Where the later steps lie.
    followers: Range<TimeMs>,
    /// Users who can still go on then have not dropped off. `None` if nobody can, as the range is over.
    pending_at: Option<TimeMs>,
    /// The last moment that a later step may have, whatever the window.
    follower_max: TimeMs,
    /// Whether one event may match several steps, so that ties in time need care.
    has_overlaps: bool,
    breakdowns: Vec<Split1>,
}

#[derive(Debug)]
struct Step {
    label: String,
    selection: Selection,
}

/// One property to split by.
#[derive(Debug)]
struct Split1 {
    plan: BreakdownPlan,
    limit: usize,
    /// By code: its place in the ascending order of labels.
    ranks: Vec<u32>,
}

impl Split1 {
    /// The place of a code in the order of rows: null last.
    fn rank(&self, code: u32) -> u32 {
        self.ranks.get(code as usize).copied().unwrap_or(u32::MAX)
    }
}

/// The events that reached a step, by user and time.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    pub keys: Vec<u64>,
    /// The key of the latest first event that each can have started from.
    pub starts: Vec<u64>,
    /// The arrival at the step before that each came from, by place.
    pub origins: Vec<u32>,
}

impl Arrivals {
    fn len(&self) -> usize {
        self.keys.len()
    }
}

impl Funnel {
    /// `selections` are those of the steps, with the query's `where`.
    pub fn new(
        query: &FunnelQuery,
        scope: &Scope,
        selections: Vec<Selection>,
        plans: Vec<BreakdownPlan>,
    ) -> Funnel {
        let history = scope.history();
        let follower_end = if query.within_range { scope.range.end.min(history.end) } else { history.end };
        let has_overlaps = !query.strict_time
            && selections.iter().enumerate().any(|(i, a)| selections[i + 1..].iter().any(|b| a.overlaps(b)));
        let follower_max = if query.within_range { scope.range.end - 1 } else { TimeMs::MAX };
        let breakdowns = plans.into_iter().zip(&query.breakdowns).map(|(plan, breakdown)| {
            let mut sorted: Vec<u32> = (0..plan.labels().len() as u32).collect();
            sorted.sort_unstable_by(|a, b| plan.labels()[*a as usize].cmp(&plan.labels()[*b as usize]));
            let mut ranks = vec![0; sorted.len()];
            sorted.into_iter().zip(0..).for_each(|(code, rank)| ranks[code as usize] = rank);
            Split1 { plan, limit: breakdown.limit, ranks }
        });
        Funnel {
            breakdowns: breakdowns.collect(),
            steps: query
                .steps
                .iter()
                .zip(selections)
                .map(|(step, selection)| Step { label: step.label.clone(), selection })
                .collect(),
            window: query.window.as_ms() as u64,
            is_strict: query.strict_time,
            starts: scope.seen(scope.range.clone()),
            followers: scope.range.start.max(history.start)..follower_end.max(scope.range.start),
            pending_at: (follower_max >= scope.as_of).then_some(scope.as_of),
            follower_max,
            has_overlaps,
        }
    }

    pub(super) fn step_count(&self) -> usize {
        self.steps.len()
    }

    /// Whether there is no breakdown.
    pub(super) fn is_whole(&self) -> bool {
        self.breakdowns.is_empty()
    }

    /// The arrivals at each step, and the rows of the first.
    fn arrivals(&self, task: &Task<'_>) -> Result<(Vec<Arrivals>, Rows), Problem> {
        let with_refs = !self.breakdowns.is_empty();
        let first = task.rows(&self.steps[0].selection, self.starts.clone(), with_refs)?;
        let mut all = Vec::with_capacity(self.steps.len());
        all.push(Arrivals { keys: first.keys.clone(), starts: first.keys.clone(), origins: Vec::new() });
        for step in &self.steps[1..] {
            let before = all.last().expect("the first step is there");
            if before.len() == 0 {
                all.push(Arrivals::default());
                continue;
            }
            let rows = task.rows(&step.selection, self.followers.clone(), false)?;
            all.push(self.follow(before, &rows.keys));
        }
        Ok((all, first))
    }

    /// The events of a step that follow an arrival at the step before, within the window.
    fn follow(&self, before: &Arrivals, keys: &[u64]) -> Arrivals {
        let mut arrivals = Arrivals::default();
        let mut next = 0; // the first arrival before that is too late for this event
        let latest = u64::from(!self.is_strict); // 1: an arrival at the same moment counts
        for key in keys {
            while next < before.len() && before.keys[next] < key + latest {
                next += 1;
            }
            let Some(origin) = next.checked_sub(1) else { continue };
            // Another user's start is farther away than any window.
            if key - before.starts[origin] <= self.window {
                arrivals.keys.push(*key);
                arrivals.starts.push(before.starts[origin]);
                arrivals.origins.push(origin as u32);
            }
        }
        arrivals
    }

    /// Whether an attempt at this event can still reach another step.
    fn can_go_on(&self, key: u64, start: u64) -> bool {
        let Some(as_of) = self.pending_at else { return false };
        let time = super::key_time(key);
        let last = super::key_time(start).saturating_add(self.window as i64).min(self.follower_max);
        last >= as_of && (!self.is_strict || last > time)
    }

    /// What became of each user of a task.
    pub(super) fn outcomes(&self, task: &Task<'_>) -> Result<(Vec<Outcome>, Rows), Problem> {
        if self.has_overlaps {
            let rows = |range: &Range<TimeMs>, step: &Step| task.rows(&step.selection, range.clone(), true);
            let first = rows(&self.starts, &self.steps[0])?;
            let later = self.steps[1..].iter().map(|step| rows(&self.followers, step));
            let later = later.collect::<Result<Vec<_>, _>>()?;
            let tied = TiedSteps { window: self.window, step_count: self.steps.len() };
            let can_go_on = |key, start| self.can_go_on(key, start);
            return Ok((arrive_by_moments(&tied, &first, &later, &can_go_on), first));
        }
        let (arrivals, first) = self.arrivals(task)?;
        Ok((self.told(&arrivals), first))
    }

    fn told(&self, arrivals: &[Arrivals]) -> Vec<Outcome> {
        // By user: the level, and the first arrival at it.
        let mut reached = vec![(0_u8, 0_u32); TASK_USER_COUNT as usize];
        for (level, of_step) in (1_u8..).zip(arrivals) {
            let mut last = None;
            for (place, key) in of_step.keys.iter().enumerate() {
                let user = key_user(*key);
                if last != Some(user) {
                    reached[usize::from(user)] = (level, place as u32);
                    last = Some(user);
                }
            }
        }
        let mut outcomes = Vec::new();
        for (user, (level, place)) in reached.into_iter().enumerate().filter(|(_, (level, _))| *level > 0) {
            let (level, mut place) = (usize::from(level), place as usize);
            let of_level = &arrivals[level - 1];
            let is_in_progress = level < self.steps.len() && self.pending_at.is_some() && {
                let own = (place..of_level.len())
                    .take_while(|at| usize::from(key_user(of_level.keys[*at])) == user);
                own.into_iter().any(|at| self.can_go_on(of_level.keys[at], of_level.starts[at]))
            };
            let mut keys = vec![0; level];
            for step in (0..level).rev() {
                keys[step] = arrivals[step].keys[place];
                if step > 0 {
                    place = arrivals[step].origins[place] as usize;
                }
            }
            outcomes.push(Outcome { keys, first_rows: None, is_in_progress });
        }
        outcomes
    }

    /// The places, in the rows of the first step, of the events that an attempt can have started with.
    fn first_rows(outcome: &Outcome, first: &Rows) -> Range<usize> {
        let start = first.keys.partition_point(|key| *key < outcome.keys[0]);
        let count = first.keys[start..].iter().take_while(|key| **key == outcome.keys[0]).count();
        start..start + count
    }

    /// The codes, for each property, of the event that each attempt is told to have started with.
    fn codes_of(
        &self,
        task: &Task<'_>,
        outcomes: &[Outcome],
        first: &Rows,
    ) -> Result<Vec<Vec<Vec<u32>>>, Problem> {
        let mut candidates = Rows::default();
        let mut ends = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            let places = match &outcome.first_rows {
                Some(places) => places.clone(),
                None => Funnel::first_rows(outcome, first).collect(),
            };
            for place in places {
                candidates.keys.push(first.keys[place]);
                candidates.refs.push(first.refs[place]);
            }
            ends.push(candidates.keys.len());
        }
        let codes: Vec<Codes> = self
            .breakdowns
            .iter()
            .map(|split| task.breakdown_codes(&split.plan, &candidates))
            .collect::<Result<_, _>>()?;
        let mut start = 0;
        let mut chosen = Vec::with_capacity(outcomes.len());
        for end in ends {
            let of_row = |row: usize| -> Vec<Vec<u32>> {
                let sorted = |(split, codes): (&Split1, &Codes)| {
                    let mut codes = codes.of(row).to_vec();
                    codes.sort_unstable_by_key(|code| split.rank(*code));
                    codes
                };
                self.breakdowns.iter().zip(&codes).map(sorted).collect()
            };
            let rank = |codes: &Vec<Vec<u32>>| -> Vec<Vec<u32>> {
                let ranks = |(split, codes): (&Split1, &Vec<u32>)| {
                    codes.iter().map(|code| split.rank(*code)).collect()
                };
                self.breakdowns.iter().zip(codes).map(ranks).collect()
            };
            // Events of one moment: the smallest value is told.
            chosen.push((start..end).map(of_row).min_by_key(rank).expect("an attempt has a first event"));
            start = end;
        }
        Ok(chosen)
    }
}

/// What became of a user: the told attempt.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// The key of each step's event, as far as it got.
    pub keys: Vec<u64>,
    /// The places, in the first step's rows, of the events that it can have started with; `None` for all of that moment.
    pub first_rows: Option<Vec<usize>>,
    pub is_in_progress: bool,
}

/// Users by what they had in common in their first event, and how far they got.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FunnelPartial {
    step_count: usize,
    /// The codes of each property: what users of one place in `groups` have in common.
    codes: Vec<Vec<Vec<u32>>>,
    groups: Vec<FunnelGroup>,
    #[serde(skip)]
    places: HashMap<Vec<Vec<u32>>, usize>,
}

/// Users who started alike.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct FunnelGroup {
    /// By step: who reached exactly that step.
    levels: Vec<u64>,
    in_progress: Vec<u64>,
    /// By step: milliseconds since the step before, in no order.
    durations: Vec<Vec<i64>>,
}

impl FunnelPartial {
    fn group(&mut self, codes: Vec<Vec<u32>>) -> Result<&mut FunnelGroup, Problem> {
        if self.places.len() != self.codes.len() {
            self.places = self.codes.iter().cloned().zip(0..).collect();
        }
        let place = match self.places.get(&codes) {
            Some(place) => *place,
            None if self.codes.len() == BREAKDOWN_VALUE_COUNT_MAX => {
                let detail =
                    format!("the breakdown has more than {BREAKDOWN_VALUE_COUNT_MAX} combinations of values");
                return Err(Problem::invalid(detail)
                    .at("/breakdown")
                    .hint("split by properties with fewer values"));
            }
            None => {
                self.places.insert(codes.clone(), self.codes.len());
                self.codes.push(codes);
                self.groups.push(FunnelGroup::new(self.step_count));
                self.codes.len() - 1
            }
        };
        Ok(&mut self.groups[place])
    }
}

impl FunnelGroup {
    fn new(step_count: usize) -> FunnelGroup {
        FunnelGroup {
            levels: vec![0; step_count],
            in_progress: vec![0; step_count],
            durations: vec![Vec::new(); step_count],
        }
    }

    fn add(&mut self, outcome: &Outcome) {
        let level = outcome.keys.len() - 1;
        self.levels[level] += 1;
        self.in_progress[level] += u64::from(outcome.is_in_progress);
        for (step, pair) in outcome.keys.windows(2).enumerate() {
            self.durations[step + 1].push((pair[1] - pair[0]) as i64);
        }
    }

    fn merge(&mut self, other: FunnelGroup) {
        let add = |a: &mut Vec<u64>, b: &[u64]| a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        add(&mut self.levels, &other.levels);
        add(&mut self.in_progress, &other.in_progress);
        self.durations.iter_mut().zip(other.durations).for_each(|(all, more)| all.extend(more));
    }
}

impl Partial for FunnelPartial {
    fn merge(&mut self, other: FunnelPartial) {
        for (codes, group) in other.codes.into_iter().zip(other.groups) {
            // A sum of two partials that are within bounds may pass them a little; the table is bounded again.
            if self.places.len() != self.codes.len() {
                self.places = self.codes.iter().cloned().zip(0..).collect();
            }
            match self.places.get(&codes) {
                Some(place) => self.groups[*place].merge(group),
                None => {
                    self.places.insert(codes.clone(), self.codes.len());
                    self.codes.push(codes);
                    self.groups.push(group);
                }
            }
        }
    }
}

impl Analysis for Funnel {
    type Partial = FunnelPartial;
    type Output = Table;

    fn empty(&self) -> FunnelPartial {
        FunnelPartial { step_count: self.steps.len(), ..FunnelPartial::default() }
    }

    fn observe(&self, task: &Task<'_>, partial: &mut FunnelPartial) -> Result<(), Problem> {
        let (outcomes, first) = self.outcomes(task)?;
        if self.breakdowns.is_empty() {
            let group = partial.group(Vec::new())?;
            outcomes.iter().for_each(|outcome| group.add(outcome));
            return Ok(());
        }
        let codes = self.codes_of(task, &outcomes, &first)?;
        for (outcome, codes) in outcomes.iter().zip(codes) {
            partial.group(codes)?.add(outcome);
        }
        Ok(())
    }

    fn finish(&self, partial: FunnelPartial) -> Result<Table, Problem> {
        let split = self.split(&partial)?;
        let mut columns: Vec<(String, ColumnType)> = split.columns().collect();
        let numbers = [
            ("step", ColumnType::UInt32),
            ("event", ColumnType::String),
            ("users", ColumnType::UInt64),
            ("from_previous", ColumnType::Float64),
            ("from_first", ColumnType::Float64),
            ("in_progress", ColumnType::UInt64),
            ("median_seconds", ColumnType::Float64),
            ("average_seconds", ColumnType::Float64),
            ("p90_seconds", ColumnType::Float64),
        ];
        columns.extend(numbers.map(|(name, column_type)| (name.to_owned(), column_type)));
        let mut table = Table::new(columns);
        if self.breakdowns.is_empty() {
            let group =
                partial.groups.into_iter().next().unwrap_or_else(|| FunnelGroup::new(self.steps.len()));
            self.tell(&[], group, &mut table);
            return Ok(table);
        }
        for (slot, group) in self.by_slot(&split, partial) {
            self.tell(&split.cells(slot), group, &mut table);
        }
        Ok(table)
    }
}

impl Funnel {
    /// Which values have rows of their own: for each property those with most users at step 1.
    fn split(&self, partial: &FunnelPartial) -> Result<Split, Problem> {
        let mut folds = Vec::with_capacity(self.breakdowns.len());
        for (property, breakdown) in self.breakdowns.iter().enumerate() {
            let mut users = vec![0_u64; breakdown.plan.labels().len()];
            for (codes, group) in partial.codes.iter().zip(&partial.groups) {
                let count: u64 = group.levels.iter().sum();
                codes[property]
                    .iter()
                    .filter(|code| **code != NULL_CODE)
                    .for_each(|code| users[*code as usize] += count);
            }
            let rank = |code: u32| Some(users[code as usize]).filter(|users| *users > 0);
            folds.push(Fold::keep_top(breakdown.plan.labels(), breakdown.limit, rank));
        }
        Split::new(folds)
    }

    /// The groups by the rows that they count in, in the order of rows.
    fn by_slot(&self, split: &Split, partial: FunnelPartial) -> Vec<(u32, FunnelGroup)> {
        let of_property = |property: usize| {
            let (mut codes, mut offsets) = (Vec::new(), vec![0]);
            for of_group in &partial.codes {
                codes.extend_from_slice(&of_group[property]);
                offsets.push(codes.len() as u32);
            }
            Codes::lists(codes, offsets)
        };
        let slots = split.slots((0..self.breakdowns.len()).map(of_property).collect());
        let slots = slots.expect("there is a breakdown");
        let mut by_slot: std::collections::BTreeMap<u32, FunnelGroup> = std::collections::BTreeMap::new();
        for (index, group) in partial.groups.into_iter().enumerate() {
            for slot in slots.of(index) {
                let all = by_slot.entry(*slot).or_insert_with(|| FunnelGroup::new(self.steps.len()));
                all.merge(group.clone());
            }
        }
        by_slot.into_iter().collect()
    }

    /// Adds the rows of one group.
    fn tell(&self, labels: &[Cell], mut group: FunnelGroup, table: &mut Table) {
        let mut users = group.levels.clone();
        for step in (0..users.len() - 1).rev() {
            users[step] += users[step + 1];
        }
        let share = |part: u64, whole: u64| match whole {
            0 => Cell::Null,
            _ => Cell::Float(part as f64 / whole as f64),
        };
        for (index, step) in self.steps.iter().enumerate() {
            let times = Times::of(&mut group.durations[index]);
            let from_previous = if index == 0 { Cell::Null } else { share(users[index], users[index - 1]) };
            table.push(labels.iter().cloned().chain([
                Cell::UInt(index as u64 + 1),
                Cell::Text(step.label.clone()),
                Cell::UInt(users[index]),
                from_previous,
                share(users[index], users[0]),
                Cell::UInt(group.in_progress[index]),
                times.median,
                times.average,
                times.p90,
            ]));
        }
    }
}

/// How long a step took those who reached it, in seconds; null if nobody did.
struct Times {
    median: Cell,
    average: Cell,
    p90: Cell,
}

impl Times {
    fn of(durations: &mut [i64]) -> Times {
        if durations.is_empty() {
            return Times { median: Cell::Null, average: Cell::Null, p90: Cell::Null };
        }
        let seconds = |ms: i64| Cell::Float(ms as f64 / SECOND_MS as f64);
        let total: i128 = durations.iter().map(|ms| i128::from(*ms)).sum();
        let average = total as f64 / durations.len() as f64 / SECOND_MS as f64;
        let median = nearest_rank(durations, 50);
        let p90 = nearest_rank(durations, 90);
        Times { median: seconds(median), average: Cell::Float(average), p90: seconds(p90) }
    }
}

/// The smallest value with at least `percent` of the values at or below it.
fn nearest_rank(values: &mut [i64], percent: usize) -> i64 {
    let rank = (values.len() * percent).div_ceil(100).max(1);
    *values.select_nth_unstable(rank - 1).1
}

/// The identity of a row, for telling events apart.
pub(super) fn row_identity(row: RowRef) -> (u32, u32, u32) {
    (row.segment, row.group, row.row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut values: Vec<i64> = (1..=10).rev().collect();
        assert_eq!(nearest_rank(&mut values, 50), 5);
        assert_eq!(nearest_rank(&mut values, 90), 9);
        assert_eq!(nearest_rank(&mut [7], 90), 7);
    }

    #[test]
    fn partials_merge_in_any_order_and_survive_being_written() {
        let outcome = |level: usize| Outcome {
            keys: (0..level as u64).map(|step| step * 1000).collect(),
            first_rows: None,
            is_in_progress: level == 1,
        };
        let partial = |levels: &[(u32, usize)]| {
            let mut partial = FunnelPartial { step_count: 3, ..FunnelPartial::default() };
            for (code, level) in levels {
                partial.group(vec![vec![*code]]).unwrap().add(&outcome(*level));
            }
            partial
        };
        let told = |mut partial: FunnelPartial| {
            let mut told: Vec<String> = Vec::new();
            for (codes, group) in partial.codes.iter().zip(&mut partial.groups) {
                group.durations.iter_mut().for_each(|durations| durations.sort_unstable());
                told.push(format!("{codes:?} {group:?}"));
            }
            told.sort();
            told
        };
        let parts = [partial(&[(1, 3), (2, 1)]), partial(&[(2, 2)]), partial(&[(3, 1), (1, 1)])];
        let sum = |order: [usize; 3]| {
            let mut all = FunnelPartial { step_count: 3, ..FunnelPartial::default() };
            for index in order {
                let written = serde_json::to_string(&parts[index]).unwrap();
                all.merge(serde_json::from_str(&written).unwrap());
            }
            told(all)
        };
        assert_eq!(sum([0, 1, 2]), sum([2, 0, 1]));
        assert_eq!(sum([0, 1, 2]), told(partial(&[(1, 3), (2, 1), (2, 2), (3, 1), (1, 1)])));
    }
}
