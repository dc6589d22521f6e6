//! Transitions: in which state each user is in an interval, and from which it came.
//!
//! A state is the first that holds of a list, so every user is in one. All that decides it lies in the interval itself,
//! but whether the user was there before. So each user's activity, invitations and activation are noted as buckets, and
//! then followed from the first told interval to the last.

use std::ops::Range;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::attainment::{Attainment, Outcome};
use super::grid::{Grid, too_many_rows};
use super::revenue::Revenue;
use super::revenue_book::Rate;
use super::visits::Visits;
use super::{
    Analysis, Binder, BreakdownPlan, Calendar, Partial, Scan, Selection, Split, Task, TaskSet, key_time,
    key_user,
};
use crate::api::{
    ActivationQuery, Cell, ColumnType, Filter, Interval, OverviewQuery, Problem, RevenueQuery, Scope,
    Selector, Table,
};
use crate::limits::RESULT_ROW_COUNT_MAX;
use crate::model::{Entity, Number, TimeMs};

/// What a user is in an interval: the first that holds, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It pays at the end of the interval.
    Paying,
    /// It invited somebody in it.
    Referring,
    /// It met the definition of activation in it.
    Activated,
    /// It did something, and in the interval before.
    Retained,
    /// It did something for the first time ever.
    New,
    /// It did something.
    Resurrected,
    /// It did something before.
    Churned,
    Absent,
}

impl State {
    /// By name, which is the order of rows.
    pub const NAMES: [(&'static str, State); 8] = [
        ("absent", State::Absent),
        ("activated", State::Activated),
        ("churned", State::Churned),
        ("new", State::New),
        ("paying", State::Paying),
        ("referring", State::Referring),
        ("resurrected", State::Resurrected),
        ("retained", State::Retained),
    ];

    /// The place of the name.
    fn rank(self) -> usize {
        State::NAMES.iter().position(|(_, state)| *state == self).expect("every state has a name")
    }
}

const STATE_COUNT: usize = State::NAMES.len();
const PAIR_COUNT: usize = STATE_COUNT * STATE_COUNT;

/// A query of transitions, bound to a snapshot.
#[derive(Debug)]
pub struct Transitions {
    /// Bucket 0 is two intervals before the first one that is told: who is retained in the one before was active in it.
    calendar: Calendar,
    /// Any event.
    visits: Visits,
    invites: Option<Selection>,
    activation: Option<Attainment>,
    payers: Option<Payers>,
    /// All history up to the end of the last interval.
    looked_at: Range<TimeMs>,
}

/// Who pays.
#[derive(Debug)]
enum Payers {
    /// Those who are counted themselves.
    Own { revenue: Revenue },
    /// Accounts, where users are counted: whoever acted for one that pays is paying.
    Accounts { revenue: Revenue, rates: HashMap<u32, Vec<Rate>>, ignored_count: u64 },
}

/// Intervals before the first told one.
const EARLIER_COUNT: usize = 2;

impl Transitions {
    /// `told` begins with the interval before those that are told.
    pub fn bind(
        query: &OverviewQuery,
        filter: Option<&Filter>,
        told: &Calendar,
        binder: &mut Binder<'_>,
    ) -> Result<Transitions, Problem> {
        let (scope, scan) = (binder.scope(), binder.scan());
        let mut calendar = told.clone();
        if told.bucket_count() > 0 {
            let range = told.start(0) - 1..told.span().end;
            calendar = Calendar::new(query.interval, &scope.zone, scope.week_start, range)?;
        }
        let end = if told.bucket_count() > 0 { told.span().end } else { scope.history().start };
        let looked_at = scope.seen(scope.history().start..end);
        let model = binder.growth_model(&query.model)?;
        let mut select = |selector: Option<&Selector>| {
            selector.map(|selector| binder.selection(selector, filter)).transpose()
        };
        let invites = select(model.invite().ok())?;
        let every_event = binder.selection(&Selector::any(), filter)?;
        let plans = query.breakdowns.iter().map(|breakdown| BreakdownPlan::new(breakdown, binder));
        let plans = plans.collect::<Result<Vec<_>, _>>()?;
        // Whoever signed up at any time may be activated, and whoever pays may do so since long ago.
        let all = Scope { range: looked_at.clone(), has_from: false, ..scope.clone() };
        let activation = if model.signup().is_ok() && model.activate().is_ok() {
            let (parts, interval) = (query.model.clone(), Interval::Total);
            let activation = ActivationQuery { parts, interval, is_curve: false, breakdowns: Vec::new() };
            let mut inner = binder.inside(scan, &all);
            let bound = Attainment::of_activation(&activation, filter, &mut inner)?;
            let part_count = inner.part_count();
            binder.count_parts(part_count);
            Some(bound)
        } else {
            None
        };
        let payers = match model.subscription().ok() {
            Some(part) => {
                let is_of_accounts = scan.entity() == Entity::User && part.entity == Some(Entity::Account);
                let entity = if is_of_accounts { Entity::Account } else { scan.entity() };
                let scan = scan.counting(entity);
                let mut inner = binder.inside(&scan, &all);
                let revenue = RevenueQuery {
                    model: query.model.clone(),
                    interval: Interval::Total,
                    currency: None,
                    trailing: None,
                    breakdowns: Vec::new(),
                };
                let revenue = Revenue::bind(&revenue, filter, &mut inner)?;
                let part_count = inner.part_count();
                binder.count_parts(part_count);
                Some(match is_of_accounts {
                    true => Payers::Accounts { revenue, rates: HashMap::new(), ignored_count: 0 },
                    false => Payers::Own { revenue },
                })
            }
            None => None,
        };
        let visits = Visits::new(every_event, &query.breakdowns, plans)?;
        Ok(Transitions { calendar, visits, invites, activation, payers, looked_at })
    }

    pub fn fold(&mut self, split: &Split) {
        self.visits.fold(split.clone());
    }

    /// Finds out which accounts pay, where those are not counted themselves.
    pub fn prepare(&mut self, scan: &Scan<'_>) -> Result<(), Problem> {
        match &mut self.payers {
            Some(Payers::Accounts { revenue, rates, ignored_count }) => {
                let found = scan.counting(Entity::Account).run(&AccountRates { revenue })?;
                *rates = found.rates.into_iter().collect();
                *ignored_count = found.ignored_count;
            }
            Some(Payers::Own { .. }) | None => {}
        }
        Ok(())
    }

    /// Whether anybody says what is paid.
    pub fn has_payers(&self) -> bool {
        self.payers.is_some()
    }

    /// The buckets that are told.
    fn told(&self) -> Range<usize> {
        EARLIER_COUNT.min(self.calendar.bucket_count())..self.calendar.bucket_count()
    }

    /// What is known of the users of a task.
    fn facts(&self, task: &Task<'_>) -> Result<Facts, Problem> {
        let mut facts = Facts::default();
        let is_of_days = self.calendar.is_of_utc_days();
        self.visits.each(task, self.looked_at.clone(), is_of_days, |slot, users, time| {
            let mark = match self.calendar.bucket_of(time) {
                Some(bucket) => Mark::At(bucket as u32),
                None => Mark::Earlier,
            };
            facts.active.extend(users.iter().map(|user| (slot, *user, mark)));
            Ok(())
        })?;
        if let Some(invites) = &self.invites {
            let span = self.calendar.span();
            let range = span.start.min(self.looked_at.end)..span.end.min(self.looked_at.end);
            let rows = task.rows(invites, range, false)?;
            let at = |key: &u64| Some((key_user(*key), self.calendar.bucket_of(key_time(*key))? as u32));
            facts.invited.extend(rows.keys.iter().filter_map(at));
        }
        if let Some(activation) = &self.activation {
            activation.each(task, |_, signup, outcome| {
                if let Outcome::Reached(after) = outcome
                    && let Some(bucket) = self.calendar.bucket_of(signup.time + after)
                {
                    facts.activated.push((signup.user, bucket as u32));
                }
                Ok(())
            })?;
        }
        (facts.paying, facts.ignored_count) = self.paying(task)?;
        facts.sort();
        Ok(facts)
    }

    /// The users of a task and the buckets at whose end they pay; and how many of their events say nothing of it.
    fn paying(&self, task: &Task<'_>) -> Result<(Vec<(u16, u32)>, u64), Problem> {
        let (mut paying, mut ignored_count) = (Vec::new(), 0);
        let mut add = |user: u16, rates: &[Rate], from: TimeMs| {
            for bucket in 0..self.calendar.bucket_count() {
                let end = self.calendar.end(bucket);
                let count = rates.partition_point(|rate| rate.from < end);
                let amount = count.checked_sub(1).map_or(Number::ZERO, |last| rates[last].amount);
                if from < end && amount > Number::ZERO {
                    paying.push((user, bucket as u32));
                }
            }
        };
        match &self.payers {
            None => {}
            Some(Payers::Own { revenue }) => {
                let found = revenue.rates(task)?;
                ignored_count = found.ignored_count;
                found.by_user.iter().for_each(|(user, rates)| add(*user, rates, TimeMs::MIN));
            }
            Some(Payers::Accounts { rates, .. }) => {
                let every_event = self.visits.selection();
                let rows = task.rows(every_event, self.looked_at.clone(), true)?;
                // From when on each user acts for each account.
                let mut first_acts: HashMap<(u16, u32), TimeMs> = HashMap::new();
                task.accounts(&rows, &mut |row, account| {
                    let key = rows.keys[row];
                    first_acts.entry((key_user(key), account)).or_insert(key_time(key));
                })?;
                for ((user, account), first) in first_acts {
                    if let Some(rates) = rates.get(&account) {
                        add(user, rates, first);
                    }
                }
            }
        }
        Ok((paying, ignored_count))
    }

    /// Calls `visit` with each slot and user, and the states that the user is in there: in the interval before the first
    /// told one, and in each told one.
    fn each_user(
        &self,
        facts: &Facts,
        mut visit: impl FnMut(u32, u16, &[State]) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let bucket_count = self.calendar.bucket_count();
        if self.told().is_empty() {
            return Ok(());
        }
        let mut states: Vec<State> = Vec::new();
        for of_user in facts.active.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let (slot, user, first) = of_user[0];
            let mut active = of_user.iter().map(|(_, _, mark)| *mark).peekable();
            let mut last = None;
            while active.next_if(|mark| *mark == Mark::Earlier).is_some() {}
            states.clear();
            for bucket in 0..bucket_count as u32 {
                let is_active = active.next_if_eq(&Mark::At(bucket)).is_some();
                let was_active = bucket > 0 && last == Some(bucket - 1);
                let has = |list: &[(u16, u32)]| list.binary_search(&(user, bucket)).is_ok();
                states.push(if has(&facts.paying) {
                    State::Paying
                } else if has(&facts.invited) {
                    State::Referring
                } else if has(&facts.activated) {
                    State::Activated
                } else if is_active && was_active {
                    State::Retained
                } else if is_active && first == Mark::At(bucket) {
                    State::New
                } else if is_active {
                    State::Resurrected
                } else if first < Mark::At(bucket) {
                    State::Churned
                } else {
                    State::Absent
                });
                if is_active {
                    last = Some(bucket);
                }
            }
            visit(slot, user, &states[EARLIER_COUNT - 1..])?;
        }
        Ok(())
    }

    /// The users who moved so in an interval, which is counted as the caller's calendar does: from the one before the first
    /// told.
    pub fn members(
        &self,
        task: &Task<'_>,
        slot: u32,
        bucket: usize,
        from: State,
        to: State,
    ) -> Result<TaskSet, Problem> {
        let mut members = TaskSet::new();
        // To be absent is told of nobody.
        if (from, to) != (State::Absent, State::Absent) {
            self.each_user(&self.facts(task)?, |of, user, states| {
                if of == slot && (states[bucket - 1], states[bucket]) == (from, to) {
                    members.insert(user);
                }
                Ok(())
            })?;
        }
        Ok(members)
    }

    /// The answer, with the names of the rows of a split.
    pub fn table(&self, moves: &Moves, split: &Split) -> Result<Table, Problem> {
        let names = [("from_state", ColumnType::String), ("to_state", ColumnType::String)];
        let columns = [("time".to_owned(), ColumnType::Time)].into_iter().chain(split.columns());
        let numbers = names.into_iter().chain([("users", ColumnType::UInt64)]);
        let mut table = Table::new(columns.chain(numbers.map(|(name, kind)| (name.to_owned(), kind))));
        let rows = moves.counts.rows();
        let absent = State::Absent.rank();
        for (told, bucket) in self.told().enumerate() {
            let time = Cell::Text(self.calendar.label(bucket));
            for (slot, cells) in &rows {
                let cells = &cells[told * PAIR_COUNT..(told + 1) * PAIR_COUNT];
                for (pair, users) in cells.iter().enumerate() {
                    let (from, to) = (pair / STATE_COUNT, pair % STATE_COUNT);
                    if *users == 0 || (from, to) == (absent, absent) {
                        continue;
                    }
                    let name = |rank: usize| Cell::Text(State::NAMES[rank].0.to_owned());
                    let row = [time.clone()].into_iter().chain(split.cells(*slot));
                    table.push(row.chain([name(from), name(to), Cell::UInt(*users)]));
                    if table.row_count() > RESULT_ROW_COUNT_MAX {
                        return Err(too_many_rows());
                    }
                }
            }
        }
        Ok(table)
    }
}

/// When a user was active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    /// Before all buckets.
    Earlier,
    At(u32),
}

/// What users of a task did, sorted and each once.
#[derive(Debug, Default)]
struct Facts {
    active: Vec<(u32, u16, Mark)>,
    invited: Vec<(u16, u32)>,
    activated: Vec<(u16, u32)>,
    paying: Vec<(u16, u32)>,
    ignored_count: u64,
}

impl Facts {
    fn sort(&mut self) {
        self.active.sort_unstable();
        self.active.dedup();
        for list in [&mut self.invited, &mut self.activated, &mut self.paying] {
            list.sort_unstable();
            list.dedup();
        }
    }
}

/// How many users moved from one state to another: of each slot [`PAIR_COUNT`] cells for each told interval.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Moves {
    counts: Grid<u64>,
    /// Subscription events without a valid amount.
    pub ignored_count: u64,
}

impl Partial for Moves {
    fn merge(&mut self, other: Moves) {
        self.counts.merge(&other.counts, |cell, term| *cell += term);
        self.ignored_count += other.ignored_count;
    }
}

impl Analysis for Transitions {
    type Partial = Moves;
    type Output = Moves;

    fn empty(&self) -> Moves {
        Moves { counts: Grid::new(self.told().len() * PAIR_COUNT), ignored_count: 0 }
    }

    fn observe(&self, task: &Task<'_>, partial: &mut Moves) -> Result<(), Problem> {
        let facts = self.facts(task)?;
        partial.ignored_count += facts.ignored_count;
        self.each_user(&facts, |slot, _, states| {
            let start = partial.counts.row_start(slot)?;
            let cells = partial.counts.cells_mut();
            for (told, pair) in states.windows(2).enumerate() {
                cells[start + told * PAIR_COUNT + pair[0].rank() * STATE_COUNT + pair[1].rank()] += 1;
            }
            Ok(())
        })
    }

    fn finish(&self, mut partial: Moves) -> Result<Moves, Problem> {
        if let Some(Payers::Accounts { ignored_count, .. }) = &self.payers {
            partial.ignored_count += ignored_count;
        }
        Ok(partial)
    }
}

/// What each account pays from which moments on.
#[derive(Debug)]
struct AccountRates<'a> {
    revenue: &'a Revenue,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct FoundRates {
    rates: Vec<(u32, Vec<Rate>)>,
    ignored_count: u64,
}

impl Partial for FoundRates {
    fn merge(&mut self, other: FoundRates) {
        self.rates.extend(other.rates);
        self.ignored_count += other.ignored_count;
    }
}

impl Analysis for AccountRates<'_> {
    type Partial = FoundRates;
    type Output = FoundRates;

    fn empty(&self) -> FoundRates {
        FoundRates::default()
    }

    fn observe(&self, task: &Task<'_>, partial: &mut FoundRates) -> Result<(), Problem> {
        let found = self.revenue.rates(task)?;
        partial.ignored_count += found.ignored_count;
        let rates = found.by_user.into_iter();
        partial.rates.extend(rates.map(|(account, rates)| (task.user_base() + u32::from(account), rates)));
        Ok(())
    }

    fn finish(&self, partial: FoundRates) -> Result<FoundRates, Problem> {
        Ok(partial)
    }
}
