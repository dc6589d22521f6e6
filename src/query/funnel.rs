//! Funnels: how far users got through steps, and how long that took.
//!
//! A plain funnel is answered step by step over all users at once (`funnel_plain`), any other user by user
//! (`funnel_units`): for each the highest level and the told attempt, in order (`funnel_walk`, `funnel_told`), in any order
//! (`funnel_any`), or all attempts one after the other (`funnel_attempts`).

use std::collections::{BTreeMap, BTreeSet};

use super::funnel_hold::HeldProperty;
use super::funnel_partial::{FunnelGroup, FunnelPartial, Progress, Times, bins};
use super::funnel_plain::{Plain, PlainOutcomes};
use super::funnel_rules::{Rules, UNBOUNDED_MS};
use super::funnel_units::Units;
use super::funnel_values::{Values, smaller};
use super::{
    Analysis, Binder, BreakdownPlan, Calendar, Codes, Fold, NULL_CODE, Rows, Scan, Selection, Split, Task,
    key_time, key_user,
};
use hashbrown::HashMap;

use crate::api::{
    Attribution, Cell, ColumnType, Filter, FunnelCount, FunnelHistogram, FunnelOrder, FunnelQuery, Interval,
    Problem, Scope, Table,
};
use crate::limits::RESULT_ROW_COUNT_MAX;
use crate::model::{DurationMs, TimeMs};

/// A funnel, bound to a snapshot.
#[derive(Debug)]
pub struct Funnel {
    pub(super) steps: Vec<Step>,
    way: Way,
    pub(super) breakdowns: Vec<SplitProperty>,
    /// The buckets that starts are told in: one without an interval.
    pub(super) calendar: Calendar,
    pub(super) has_interval: bool,
    /// Whether a user may count in several buckets.
    is_per_bucket: bool,
    pub(super) histogram: Option<FunnelHistogram>,
    /// Which values have rows of their own, where a cell needs to know.
    pub(super) kept: Option<Split>,
}

/// How the attempts are found.
#[derive(Debug)]
enum Way {
    Plain(Plain),
    General(Box<Units>),
}

#[derive(Debug)]
pub(super) struct Step {
    label: String,
    selection: Selection,
    is_optional: bool,
}

/// One property to split by.
#[derive(Debug)]
pub(super) struct SplitProperty {
    pub plan: BreakdownPlan,
    limit: usize,
    /// By code: its place in the ascending order of labels; and back.
    ranks: Vec<u32>,
    codes: Vec<u32>,
}

impl SplitProperty {
    fn new(plan: BreakdownPlan, limit: usize) -> SplitProperty {
        let mut codes: Vec<u32> = (0..plan.labels().len() as u32).collect();
        codes.sort_unstable_by(|a, b| plan.labels()[*a as usize].cmp(&plan.labels()[*b as usize]));
        let mut ranks = vec![0; codes.len()];
        codes.iter().zip(0..).for_each(|(code, rank)| ranks[*code as usize] = rank);
        SplitProperty { plan, limit, ranks, codes }
    }

    /// The place of a code in the order of rows: null last.
    fn rank(&self, code: u32) -> u32 {
        self.ranks.get(code as usize).copied().unwrap_or(NULL_CODE)
    }

    /// The code at a place.
    pub fn code(&self, rank: u32) -> u32 {
        self.codes.get(rank as usize).copied().unwrap_or(NULL_CODE)
    }
}

/// What became of a user, or of what else is counted.
#[derive(Debug)]
pub(super) struct Outcome {
    pub user: u16,
    /// Of two outcomes of one that is counted, the second is not the first.
    is_first: bool,
    pub level: usize,
    pub is_in_progress: bool,
    /// Steps from 0 and their times, in order.
    pub stops: Vec<(u8, TimeMs)>,
    /// `None`: in no row.
    pub values: Option<Values>,
}

impl Funnel {
    /// Binds a query, with its `where`, to a snapshot.
    pub fn bind(
        query: &FunnelQuery,
        filter: Option<&Filter>,
        scope: &Scope,
        scan: &Scan<'_>,
        binder: &mut Binder<'_>,
    ) -> Result<Funnel, Problem> {
        let mut steps = Vec::with_capacity(query.steps.len());
        for step in &query.steps {
            let selection = binder.selection(&step.selector, filter)?;
            steps.push(Step { label: step.selector.label.clone(), selection, is_optional: step.is_optional });
        }
        let mut breakdowns = Vec::with_capacity(query.breakdowns.len());
        for breakdown in &query.breakdowns {
            breakdowns.push(SplitProperty::new(BreakdownPlan::new(breakdown, binder)?, breakdown.limit));
        }
        let interval = query.interval.unwrap_or(Interval::Total);
        let range = scope.told_range(scan.first_event()?);
        let calendar = Calendar::new(interval, &scope.zone, scope.week_start, range)?;
        let way = match Funnel::is_plain(query, &steps) {
            true => Way::Plain(Funnel::plain(query, scope)),
            false => Way::General(Box::new(Funnel::general(
                query,
                &steps,
                filter,
                scope,
                scan,
                binder,
                calendar.clone(),
            )?)),
        };
        Ok(Funnel {
            steps,
            way,
            breakdowns,
            calendar,
            has_interval: query.interval.is_some(),
            is_per_bucket: query.per_bucket && query.count != FunnelCount::Attempts,
            histogram: query.histogram,
            kept: None,
        })
    }

    /// Whether nothing is asked that needs to look at users one by one.
    fn is_plain(query: &FunnelQuery, steps: &[Step]) -> bool {
        let has_overlaps = || {
            let mut rest = steps;
            std::iter::from_fn(|| rest.split_off_first().map(|step| (step, rest)))
                .any(|(step, rest)| rest.iter().any(|other| step.selection.overlaps(&other.selection)))
        };
        matches!(query.order, FunnelOrder::Ordered)
            && query.count == FunnelCount::Users
            && query.exclusions.is_empty()
            && query.hold.is_empty()
            && !query.per_bucket
            && query.steps.iter().all(|step| step.within.is_none() && !step.is_optional)
            && (query.breakdowns.is_empty() || query.attribution == Attribution::First)
            && (query.strict_time || !has_overlaps())
    }

    /// Where later steps lie.
    fn followers(query: &FunnelQuery, scope: &Scope) -> std::ops::Range<TimeMs> {
        let history = scope.history();
        let end = if query.within_range { scope.range.end.min(history.end) } else { history.end };
        scope.range.start.max(history.start)..end.max(scope.range.start)
    }

    fn plain(query: &FunnelQuery, scope: &Scope) -> Plain {
        let follower_max = if query.within_range { scope.range.end - 1 } else { TimeMs::MAX };
        let starts = scope.seen(scope.range.clone());
        let window_end = starts.end.saturating_sub(1).saturating_add(query.window.as_ms());
        Plain {
            window: query.window.as_ms() as u64,
            is_strict: query.strict_time,
            starts,
            followers: Funnel::followers(query, scope),
            pending_at: (follower_max.min(window_end) >= scope.as_of).then_some(scope.as_of),
            follower_max,
        }
    }

    fn general(
        query: &FunnelQuery,
        steps: &[Step],
        filter: Option<&Filter>,
        scope: &Scope,
        scan: &Scan<'_>,
        binder: &mut Binder<'_>,
        calendar: Calendar,
    ) -> Result<Units, Problem> {
        let step_count = query.steps.len();
        let mut spans = Vec::new(); // the steps that each exclusion lies between
        let mut exclusions = Vec::new();
        for exclusion in &query.exclusions {
            spans.push(exclusion.after_step..exclusion.before_step);
            exclusions.push(vec![binder.selection(&exclusion.selector, filter)?]);
        }
        if let FunnelOrder::Strict(over) = &query.order {
            spans.push(1..step_count);
            let selections = over.iter().map(|selector| binder.selection(selector, filter));
            exclusions.push(selections.collect::<Result<_, _>>()?);
        }
        let watching = |is_meant: &dyn Fn(&std::ops::Range<usize>, usize) -> bool| -> Vec<u64> {
            let of_level = |level: usize| {
                let meant = spans.iter().enumerate().filter(|(_, span)| is_meant(span, level));
                meant.fold(0, |set, (index, _)| set | 1 << index)
            };
            (0..=step_count).map(of_level).collect()
        };
        let hold = query.hold.iter().map(|property| HeldProperty::new(property, scan));
        let optional = query.steps.iter().enumerate().filter(|(_, step)| step.is_optional);
        let followers = Funnel::followers(query, scope);
        Ok(Units {
            rules: Rules {
                step_count,
                window: query.window.as_ms(),
                within: query
                    .steps
                    .iter()
                    .map(|step| step.within.map_or(UNBOUNDED_MS, DurationMs::as_ms))
                    .collect(),
                optional: optional.fold(0, |set, (index, _)| set | 1 << index),
                is_strict: query.strict_time,
                begun: watching(&|span, level| span.start <= level),
                open: watching(&|span, level| level < span.end),
                as_of: scope.as_of,
                follower_end: if query.within_range { scope.range.end } else { UNBOUNDED_MS },
            },
            matching: Selection::shared(&steps.iter().map(|step| &step.selection).collect::<Vec<_>>()),
            is_any_order: matches!(query.order, FunnelOrder::Any),
            count: query.count,
            exclusions,
            every_event: matches!(query.count, FunnelCount::Sessions { .. })
                .then(|| scan.every_event().clone()),
            hold: hold.collect::<Result<_, _>>()?,
            starts: scope.seen(scope.range.clone()),
            watched: followers.start..scope.history().end.max(followers.start),
            followers,
            buckets: query.per_bucket.then_some(calendar),
            attribution: query.attribution,
        })
    }

    /// What became of each user of a task.
    pub(super) fn outcomes(&self, task: &Task<'_>) -> Result<Vec<Outcome>, Problem> {
        match &self.way {
            Way::Plain(plain) => {
                let steps: Vec<&Selection> = self.steps.iter().map(|step| &step.selection).collect();
                let (found, first) = plain.outcomes(task, &steps, !self.breakdowns.is_empty())?;
                let values = self.first_values(task, &found, &first)?;
                let outcome = |attempt: usize| Outcome {
                    user: key_user(found.keys[0][attempt]),
                    is_first: true,
                    level: found.level(attempt),
                    is_in_progress: found.is_in_progress(attempt),
                    stops: (0..)
                        .zip(&found.keys[..found.level(attempt)])
                        .map(|(step, of_step)| (step, key_time(of_step[attempt])))
                        .collect(),
                    values: Some(values.of(attempt)),
                };
                Ok((0..found.len()).map(outcome).collect())
            }
            Way::General(units) => {
                let values = |rows: &Rows| -> Result<Option<Vec<Values>>, Problem> {
                    let is_needed = !self.breakdowns.is_empty();
                    is_needed.then(|| self.values_of(task, rows)).transpose()
                };
                let found = units.outcomes(task, &values)?;
                let outcome = found.into_iter().map(|outcome| Outcome {
                    user: outcome.user,
                    is_first: outcome.is_first,
                    level: outcome.told.level,
                    is_in_progress: outcome.told.is_in_progress,
                    stops: outcome.told.seats().zip(outcome.told.times()).collect(),
                    values: if self.breakdowns.is_empty() { Some(Vec::new()) } else { outcome.values },
                });
                Ok(outcome.collect())
            }
        }
    }

    /// The values of each row.
    fn values_of(&self, task: &Task<'_>, rows: &Rows) -> Result<Vec<Values>, Problem> {
        let codes = self.codes_of(task, rows)?;
        Ok((0..rows.keys.len()).map(|row| self.values_at(&codes, row)).collect())
    }

    /// For each property the codes of each row.
    fn codes_of(&self, task: &Task<'_>, rows: &Rows) -> Result<Vec<Codes>, Problem> {
        self.breakdowns.iter().map(|split| task.breakdown_codes(&split.plan, rows)).collect()
    }

    fn values_at(&self, codes: &[Codes], row: usize) -> Values {
        let of_property = |(codes, split): (&Codes, &SplitProperty)| {
            let mut ranks: Vec<u32> = codes.of(row).iter().map(|code| split.rank(*code)).collect();
            ranks.sort_unstable();
            ranks
        };
        codes.iter().zip(&self.breakdowns).map(of_property).collect()
    }

    /// The values of the event that each plain attempt is told to have started with.
    fn first_values(
        &self,
        task: &Task<'_>,
        found: &PlainOutcomes,
        first: &Rows,
    ) -> Result<FirstValues, Problem> {
        if self.breakdowns.is_empty() {
            let places = vec![0; found.len()];
            return Ok(FirstValues { distinct: vec![Values::new()], places, ..Default::default() });
        }
        let rows = Rows {
            keys: found.keys[0].clone(),
            refs: found.firsts.iter().map(|place| first.place_of(*place as usize)).collect(),
            ..Rows::default()
        };
        let codes = self.codes_of(task, &rows)?;
        let mut values = FirstValues::default();
        let mut by_code = match codes.as_slice() {
            [codes] if codes.singles().is_some() => vec![u32::MAX; self.breakdowns[0].codes.len() + 1],
            _ => Vec::new(),
        };
        for attempt in 0..found.len() {
            let candidates = found.first_rows(attempt, first);
            let place = if candidates.len() > 1 {
                let tied = Rows {
                    keys: first.keys[candidates.clone()].to_vec(),
                    refs: candidates.map(|row| first.place_of(row)).collect(),
                    ..Rows::default()
                };
                let mut best = None;
                // Events of one moment: the smallest value is told.
                self.values_of(task, &tied)?.into_iter().for_each(|values| smaller(&mut best, values));
                values.place(best.expect("an attempt has a first event"))
            } else if by_code.is_empty() {
                values.place(self.values_at(&codes, attempt))
            } else {
                let code = codes[0].of(attempt)[0] as usize;
                let null = by_code.len() - 1;
                let known = &mut by_code[code.min(null)];
                if *known == u32::MAX {
                    *known = values.place(self.values_at(&codes, attempt));
                }
                *known
            };
            values.places.push(place);
        }
        Ok(values)
    }

    /// Adds what became of the users of a task in a plain funnel.
    fn observe_plain(
        &self,
        plain: &Plain,
        task: &Task<'_>,
        partial: &mut FunnelPartial,
    ) -> Result<(), Problem> {
        let steps: Vec<&Selection> = self.steps.iter().map(|step| &step.selection).collect();
        let (found, first) = plain.outcomes(task, &steps, !self.breakdowns.is_empty())?;
        if found.len() == 0 {
            return Ok(());
        }
        if self.breakdowns.is_empty() && !self.has_interval {
            let group = partial.place(0, &Values::new())?;
            partial.groups[group].add_all(&found, self.histogram);
            return Ok(());
        }
        let values = self.first_values(task, &found, &first)?;
        // By bucket, then by place of values: most tasks have few of either.
        let mut known: HashMap<u32, Vec<Option<u32>>> = HashMap::new();
        let mut groups = Vec::with_capacity(found.len());
        for (key, place) in found.keys[0].iter().zip(&values.places) {
            let bucket = self.bucket(key_time(*key));
            let of_bucket = known.entry(bucket).or_insert_with(|| vec![None; values.distinct.len()]);
            let group = match of_bucket[*place as usize] {
                Some(group) => group,
                None => {
                    let group = partial.place(bucket, &values.distinct[*place as usize])? as u32;
                    *of_bucket[*place as usize].insert(group)
                }
            };
            groups.push(group);
        }
        partial.add_each(&found, &groups, self.histogram);
        Ok(())
    }

    /// The bucket that an attempt with this start is told in.
    pub(super) fn bucket(&self, start: TimeMs) -> u32 {
        if !self.has_interval {
            return 0;
        }
        self.calendar.bucket_of(start).expect("starts lie in the range") as u32
    }
}

/// What attempts are split by.
#[derive(Debug, Default)]
struct FirstValues {
    distinct: Vec<Values>,
    known: HashMap<Values, u32>,
    /// By attempt: the place of its values.
    places: Vec<u32>,
}

impl FirstValues {
    /// The place of values among the distinct ones.
    fn place(&mut self, values: Values) -> u32 {
        *self.known.entry(values).or_insert_with_key(|values| {
            self.distinct.push(values.clone());
            self.distinct.len() as u32 - 1
        })
    }

    fn of(&self, attempt: usize) -> Values {
        self.distinct[self.places[attempt] as usize].clone()
    }
}

impl Outcome {
    pub fn start(&self) -> TimeMs {
        self.stops[0].1
    }
}

impl Analysis for Funnel {
    type Partial = FunnelPartial;
    type Output = Table;

    fn empty(&self) -> FunnelPartial {
        FunnelPartial::new(self.steps.len())
    }

    fn observe(&self, task: &Task<'_>, partial: &mut FunnelPartial) -> Result<(), Problem> {
        if let Way::Plain(plain) = &self.way {
            return self.observe_plain(plain, task, partial);
        }
        let outcomes = self.outcomes(task)?;
        if self.is_per_bucket && !self.breakdowns.is_empty() {
            let mut rest = outcomes.as_slice();
            while !rest.is_empty() {
                let count = 1 + rest[1..].iter().take_while(|outcome| !outcome.is_first).count();
                let mut seen = vec![BTreeSet::new(); self.breakdowns.len()];
                for values in rest[..count].iter().filter_map(|outcome| outcome.values.as_ref()) {
                    seen.iter_mut()
                        .zip(values)
                        .for_each(|(seen, values)| seen.extend(values.iter().copied()));
                }
                let seen: Values = seen.into_iter().map(|seen| seen.into_iter().collect()).collect();
                partial.rank(&seen);
                rest = &rest[count..];
            }
        }
        for outcome in outcomes {
            let bucket = self.bucket(outcome.start());
            let Some(values) = outcome.values else { continue };
            let group = partial.place(bucket, &values)?;
            partial.groups[group].add(&Progress {
                level: outcome.level,
                is_in_progress: outcome.is_in_progress,
                stops: &outcome.stops,
                histogram: self.histogram,
            });
        }
        Ok(())
    }

    fn finish(&self, partial: FunnelPartial) -> Result<Table, Problem> {
        if let Some(histogram) = self.histogram {
            let columns = [
                ("bin_start_seconds", ColumnType::Float64),
                ("bin_end_seconds", ColumnType::Float64),
                ("users", ColumnType::UInt64),
            ];
            let mut table = Table::new(columns);
            let spans: Vec<i64> = partial.groups.into_iter().flat_map(|group| group.spans).collect();
            for (start, end, users) in bins(&spans, histogram.bin_count) {
                table.push([Cell::Float(start), Cell::Float(end), Cell::UInt(users)]);
            }
            return Ok(table);
        }
        let split = self.split(&partial)?;
        let time = self.has_interval.then(|| ("time".to_owned(), ColumnType::Time));
        let mut columns: Vec<(String, ColumnType)> = time.into_iter().chain(split.columns()).collect();
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
        let mut by_slot = self.by_slot(&split, partial);
        let slots: BTreeSet<u32> = match self.breakdowns.is_empty() {
            true => BTreeSet::from([0]),
            false => by_slot.keys().map(|(_, slot)| *slot).collect(),
        };
        let bucket_count = if self.has_interval { self.calendar.range_bucket_count() } else { 1 };
        if bucket_count.saturating_mul(slots.len()).saturating_mul(self.steps.len()) > RESULT_ROW_COUNT_MAX {
            let detail = format!("the funnel has more than {RESULT_ROW_COUNT_MAX} rows");
            return Err(Problem::invalid(detail).at("/interval").hint("ask for a longer interval"));
        }
        for bucket in 0..bucket_count {
            for slot in &slots {
                let time = self.has_interval.then(|| Cell::Text(self.calendar.label(bucket)));
                let labels: Vec<Cell> = time.into_iter().chain(split.cells(*slot)).collect();
                let group = by_slot.remove(&(bucket as u32, *slot));
                self.tell(&labels, group.unwrap_or_else(|| FunnelGroup::new(self.steps.len())), &mut table);
            }
        }
        Ok(table)
    }
}

impl Funnel {
    /// Which values have rows of their own: for each property those with most users at step 1.
    pub(super) fn split(&self, partial: &FunnelPartial) -> Result<Split, Problem> {
        let mut folds = Vec::with_capacity(self.breakdowns.len());
        for (property, breakdown) in self.breakdowns.iter().enumerate() {
            let mut users = vec![0_u64; breakdown.plan.labels().len()];
            let mut add = |rank: u32, count: u64| {
                if let Some(users) = users.get_mut(breakdown.code(rank) as usize) {
                    *users += count;
                }
            };
            if self.is_per_bucket {
                let ranks = partial.ranks.get(property).into_iter().flatten();
                ranks.for_each(|(rank, count)| add(*rank, *count));
            } else {
                for ((_, values), group) in partial.names.iter().zip(&partial.groups) {
                    values[property].iter().for_each(|rank| add(*rank, group.reached[0]));
                }
            }
            let rank = |code: u32| Some(users[code as usize]).filter(|users| *users > 0);
            folds.push(Fold::keep_top(breakdown.plan.labels(), breakdown.limit, rank));
        }
        Split::new(folds)
    }

    /// The slots that each of several things counts in, from their values.
    pub(super) fn slots<'v>(
        &self,
        split: &Split,
        all: impl Iterator<Item = &'v Values> + Clone,
    ) -> Option<Codes> {
        let of_property = |property: usize| {
            let (mut codes, mut offsets) = (Vec::new(), vec![0]);
            for values in all.clone() {
                codes.extend(values[property].iter().map(|rank| self.breakdowns[property].code(*rank)));
                offsets.push(codes.len() as u32);
            }
            Codes::lists(codes, offsets)
        };
        split.slots((0..self.breakdowns.len()).map(of_property).collect())
    }

    /// The groups by bucket and slot.
    fn by_slot(&self, split: &Split, partial: FunnelPartial) -> BTreeMap<(u32, u32), FunnelGroup> {
        let slots = self.slots(split, partial.names.iter().map(|(_, values)| values));
        let mut by_slot: BTreeMap<(u32, u32), FunnelGroup> = BTreeMap::new();
        for (index, ((bucket, _), group)) in partial.names.iter().zip(partial.groups).enumerate() {
            for slot in super::split::slots_of(slots.as_ref(), index) {
                let all = by_slot.entry((*bucket, *slot));
                all.or_insert_with(|| FunnelGroup::new(self.steps.len())).merge(group.clone());
            }
        }
        by_slot
    }

    /// Adds the rows of one group.
    fn tell(&self, labels: &[Cell], mut group: FunnelGroup, table: &mut Table) {
        let share = |part: u64, whole: u64| match whole {
            0 => Cell::Null,
            _ => Cell::Float(part as f64 / whole as f64),
        };
        for (index, step) in self.steps.iter().enumerate() {
            let times = Times::of(&mut group.durations[index]);
            let users = group.reached[index];
            let previous = (0..index).rev().find(|before| !self.steps[*before].is_optional);
            let from_previous = previous.map_or(Cell::Null, |before| share(users, group.reached[before]));
            table.push(labels.iter().cloned().chain([
                Cell::UInt(index as u64 + 1),
                Cell::Text(step.label.clone()),
                Cell::UInt(users),
                from_previous,
                share(users, group.reached[0]),
                Cell::UInt(group.in_progress[index]),
                times.median,
                times.average,
                times.p90,
            ]));
        }
    }
}
