//! On which day a lead was qualified first.
//!
//! The score at the end of a day is that of its last moment; of the day of `as_of`, which is not over, that of `as_of`. A
//! score changes on few days only: when an event comes, and when one leaves a window. Those are looked at, from the
//! day of the first event on, and nothing in between.

use std::ops::Range;

use super::binder::Decided;
use super::cohort::CohortPlan;
use super::pql_score::{KnownScores, Raw, Scorer};
use super::pql_signal::{Loaded, Signal, is_lasting};
use super::{Binder, Calendar, Scan, Selection, Task, TaskSet, key_time, key_user};
use crate::api::{CohortExpr, Filter, GrowthModel, PqlSignal, Problem, Scope, Selector, SignalSource};
use crate::limits::PQL_DAY_COUNT_MAX;
use crate::model::TimeMs;

/// The days of a query, and what behaviours were on each of them.
#[derive(Debug)]
pub(super) struct Days {
    calendar: Calendar,
    as_of: TimeMs,
    /// By signal, of those that have to be judged day by day.
    behaviours: Vec<Option<DailyBehaviour>>,
    every_event: Selection,
}

/// Who shows a behaviour, or what a signal is, day by day.
#[derive(Debug)]
enum DailyBehaviour {
    /// Those who did it so often, from then on.
    Lasting { selection: Selection, at_least: u64 },
    /// A cohort of its own for each day, and what is seen by the end of it.
    Daily(Vec<(CohortPlan, Range<TimeMs>)>),
    /// A signal of its own for each day: who is in the cohorts that its events ask for is judged by the end of it.
    Signals(Vec<(Signal, Range<TimeMs>)>),
}

/// What a task has of it.
#[derive(Debug)]
pub(super) enum LoadedDays<'d> {
    /// By user: the first day, beyond all days if there is none.
    Since(Vec<usize>),
    /// By day.
    Members(Vec<TaskSet>),
    /// By day.
    Signals(Vec<(&'d Signal, Loaded)>),
}

impl Days {
    /// `calendar` has the days from the first event to `as_of`.
    pub fn bind(
        signals: &[PqlSignal],
        calendar: Calendar,
        model: &GrowthModel,
        filter: Option<&Filter>,
        binder: &mut Binder<'_>,
    ) -> Result<Days, Problem> {
        let (scan, scope) = (binder.scan(), binder.scope());
        let mut days = Days {
            calendar,
            as_of: scope.as_of,
            behaviours: Vec::new(),
            every_event: scan.every_event().clone(),
        };
        // Who is told is judged as of the end, and so are those of the filter's conditions that say it.
        let of_events = filter.map(|filter| filter.without_conditions_on(scan.entity()));
        let decided = match &of_events {
            Some(filter) => binder.decide(filter)?,
            None => Decided::default(),
        };
        for (index, signal) in signals.iter().enumerate() {
            let behaviour = match &signal.source {
                SignalSource::Behaviour(CohortExpr::Did { selector, at_least, .. })
                    if is_lasting_of(signal) =>
                {
                    let selector: &Selector = selector;
                    let selection = binder.selection(selector, None)?;
                    Some(DailyBehaviour::Lasting { selection, at_least: *at_least })
                }
                SignalSource::Behaviour(cohort) => {
                    let bind = |mut binder: Binder<'_>| binder.cohort(cohort);
                    let plans = days.of_each_day(index, scan, scope, bind)?;
                    Some(DailyBehaviour::Daily(plans))
                }
                _ if Signal::depends_on_moment(signal, model) => {
                    let filter = of_events.as_ref();
                    let bind = |binder: Binder<'_>| {
                        Signal::bind(index, signal, model, filter, &mut binder.knowing(&decided))
                    };
                    Some(DailyBehaviour::Signals(days.of_each_day(index, scan, scope, bind)?))
                }
                _ => None,
            };
            days.behaviours.push(behaviour);
        }
        Ok(days)
    }

    /// Binds something as of the end of each day, together with what is seen by then.
    fn of_each_day<T>(
        &self,
        index: usize,
        scan: &Scan<'_>,
        scope: &Scope,
        bind: impl Fn(Binder<'_>) -> Result<T, Problem>,
    ) -> Result<Vec<(T, Range<TimeMs>)>, Problem> {
        let count = self.calendar.bucket_count();
        if count > PQL_DAY_COUNT_MAX {
            let detail =
                format!("the signal would be judged on {count} days; at most {PQL_DAY_COUNT_MAX} are");
            return Err(Problem::invalid(detail).at(format!("/signals/{index}")).hint(
                "leave out \"qualified_at\", or use a signal that lasts: a behaviour {\"did\": …} without a range and without cohorts",
            ));
        }
        let mut plans = Vec::with_capacity(count);
        for day in 0..count {
            scan.meter().check()?;
            let scope = Scope { as_of: self.moment(day), ..scope.clone() };
            let scan = scan.seeing(scope.history());
            plans.push((bind(Binder::new(&scan, &scope))?, scope.history()));
        }
        Ok(plans)
    }

    /// The last moment of a day that is seen.
    fn moment(&self, day: usize) -> TimeMs {
        (self.calendar.end(day) - 1).min(self.as_of)
    }

    /// The date of a day.
    pub fn label(&self, day: usize) -> String {
        self.calendar.label(day)
    }

    fn last_day(&self) -> usize {
        self.calendar.bucket_count() - 1
    }

    /// What signals were on each day, of those that have to be judged so.
    pub fn load(&self, task: &Task<'_>) -> Result<Vec<Option<LoadedDays<'_>>>, Problem> {
        let behaviours = self.behaviours.iter();
        behaviours.map(|behaviour| behaviour.as_ref().map(|it| self.load_one(it, task)).transpose()).collect()
    }

    fn load_one<'d>(
        &self,
        behaviour: &'d DailyBehaviour,
        task: &Task<'_>,
    ) -> Result<LoadedDays<'d>, Problem> {
        match behaviour {
            DailyBehaviour::Lasting { selection, at_least } => {
                let mut since = vec![usize::MAX; super::TASK_USER_COUNT as usize];
                let rows = task.rows(selection, task.scan().history(), false)?;
                for run in rows.keys.chunk_by(|a, b| key_user(*a) == key_user(*b)) {
                    if let Some(key) = run.get((*at_least - 1) as usize) {
                        since[usize::from(key_user(*key))] = self.day_of(key_time(*key));
                    }
                }
                Ok(LoadedDays::Since(since))
            }
            DailyBehaviour::Daily(plans) => {
                let of_day = |(plan, history): &(CohortPlan, Range<TimeMs>)| {
                    let scan = task.scan().seeing(history.clone());
                    plan.members(&task.on(&scan))
                };
                Ok(LoadedDays::Members(plans.iter().map(of_day).collect::<Result<_, _>>()?))
            }
            DailyBehaviour::Signals(signals) => {
                let mut days = Vec::with_capacity(signals.len());
                for (signal, history) in signals {
                    let scan = task.scan().seeing(history.clone());
                    days.push((signal, signal.load(&task.on(&scan), history.clone(), &self.calendar)?));
                }
                Ok(LoadedDays::Signals(days))
            }
        }
    }

    /// By user of a task: the day of its first event; of who has none, that of `as_of`.
    pub fn first_days(&self, task: &Task<'_>) -> Result<Vec<usize>, Problem> {
        let mut first = vec![self.last_day(); super::TASK_USER_COUNT as usize];
        let rows = task.rows(&self.every_event, task.scan().history(), false)?;
        for run in rows.keys.chunk_by(|a, b| key_user(*a) == key_user(*b)) {
            first[usize::from(key_user(run[0]))] = self.day_of(key_time(run[0]));
        }
        Ok(first)
    }

    fn day_of(&self, time: TimeMs) -> usize {
        self.calendar.bucket_of(time).expect("days span all events that are seen")
    }

    /// The first day from `first_day` on at whose end the score of a user reached the threshold.
    pub fn qualified_at(
        &self,
        user: u16,
        first_day: usize,
        signals: &[(&Signal, &Loaded, Option<&LoadedDays<'_>>)],
        scorer: &Scorer,
        known: &mut KnownScores,
    ) -> Option<usize> {
        let mut days = vec![first_day];
        for (signal, loaded, daily) in signals {
            let delays = signal.delays();
            for time in loaded.times(user) {
                let left = delays.iter().map(|delay| time + delay);
                let moments = [time].into_iter().chain(left.filter(|moment| *moment <= self.as_of));
                days.extend(moments.map(|moment| self.day_of(moment)));
            }
            match daily {
                Some(LoadedDays::Since(since)) => days.push(since[usize::from(user)]),
                Some(LoadedDays::Members(members)) => {
                    let changes = members.windows(2).zip(1..);
                    let changes =
                        changes.filter(|(pair, _)| pair[0].contains(user) != pair[1].contains(user));
                    days.extend(changes.map(|(_, day)| day));
                }
                Some(LoadedDays::Signals(_)) => days.extend(first_day..=self.last_day()),
                None => {}
            }
        }
        days.retain(|day| (first_day..=self.last_day()).contains(day));
        days.sort_unstable();
        days.dedup();
        let mut raws = Vec::with_capacity(signals.len());
        days.into_iter().find(|day| {
            raws.clear();
            raws.extend(signals.iter().map(|(signal, loaded, daily)| match daily {
                Some(LoadedDays::Since(since)) => Raw::of_truth(since[usize::from(user)] <= *day),
                Some(LoadedDays::Members(members)) => Raw::of_truth(members[*day].contains(user)),
                Some(LoadedDays::Signals(of_days)) => {
                    let (signal, loaded) = &of_days[*day];
                    signal.raw(loaded, user, self.moment(*day))
                }
                None => signal.raw(loaded, user, self.moment(*day)),
            }));
            known.of(scorer, &raws).is_qualified
        })
    }
}

fn is_lasting_of(signal: &PqlSignal) -> bool {
    matches!(&signal.source, SignalSource::Behaviour(cohort) if is_lasting(cohort))
}
