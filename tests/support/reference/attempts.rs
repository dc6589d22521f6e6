//! Every attempt of one user at a funnel, by brute force over all choices of events.

use std::collections::BTreeSet;

use flywheeldb::model::{Event, TimeMs, Value};

use super::calendar::Bucket;
use super::filter::{On, Selector, value_of};
use super::question::Question;

pub struct Step {
    pub selector: Selector,
    /// The longest time since the event before.
    pub within: Option<i64>,
    pub optional: bool,
}

/// Events that end an attempt between two steps, counted from 1.
pub struct Exclusion {
    pub selector: Selector,
    pub after_step: usize,
    pub before_step: usize,
}

/// What makes events an attempt.
pub struct Rules {
    pub steps: Vec<Step>,
    pub window: i64,
    /// Steps come in any order: an attempt's level is how many it has.
    pub in_any_order: bool,
    pub strict_time: bool,
    /// The end that later steps may not reach.
    pub end: Option<TimeMs>,
    pub exclusions: Vec<Exclusion>,
    /// With a strict order, the events that break an attempt.
    pub breakers: Option<Vec<Selector>>,
    pub hold: Vec<String>,
}

/// The events of one user, or one session of one, that `where` takes, in order of time.
pub struct Timeline<'a> {
    pub events: Vec<&'a Event>,
    /// The last moment at which the session goes on, if attempts end with it.
    pub open_until: Option<TimeMs>,
}

/// A step taken: both count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    pub step: usize,
    pub event: usize,
}

/// The stops of one attempt, in order of steps. Skipped optional steps have none.
pub type Attempt = Vec<Stop>;

/// The highest step reached, counted from 1.
pub fn level(attempt: &Attempt) -> usize {
    attempt.last().expect("an attempt has its first event").step + 1
}

impl Rules {
    /// The highest step reached, or in any order how many were, counted from 1.
    pub fn level(&self, attempt: &Attempt) -> usize {
        if self.in_any_order { attempt.len() } else { level(attempt) }
    }

    /// All attempts, finished or not, whose first event lies in `starts`.
    pub fn attempts(&self, question: &Question, timeline: &Timeline, starts: Bucket) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        for event in 0..timeline.events.len() {
            let first = timeline.events[event];
            let may_start = starts.holds(first.time) && self.has_held_values(question, first);
            let step_count = if self.in_any_order { self.steps.len() } else { 1 };
            for step in 0..step_count {
                if may_start && self.steps[step].selector.takes(question, first) {
                    self.extend(question, timeline, &mut vec![Stop { step, event }], &mut attempts);
                }
            }
        }
        attempts
    }

    /// Adds an attempt and all that it can become.
    fn extend(
        &self,
        question: &Question,
        timeline: &Timeline,
        attempt: &mut Attempt,
        found: &mut Vec<Attempt>,
    ) {
        found.push(attempt.clone());
        for step in self.next_steps(attempt) {
            for event in 0..timeline.events.len() {
                let stop = Stop { step, event };
                if self.can_stop(question, timeline, attempt, stop) {
                    attempt.push(stop);
                    self.extend(question, timeline, attempt, found);
                    attempt.pop();
                }
            }
        }
    }

    /// The steps that may come after an attempt's: the next, and while those are optional, the ones behind. In any
    /// order all that it has not.
    fn next_steps(&self, attempt: &Attempt) -> Vec<usize> {
        if self.in_any_order {
            let is_left = |step: &usize| attempt.iter().all(|stop| stop.step != *step);
            return (0..self.steps.len()).filter(is_left).collect();
        }
        let level = level(attempt);
        let mut steps = Vec::new();
        for step in level..self.steps.len() {
            steps.push(step);
            if !self.steps[step].optional {
                break;
            }
        }
        steps
    }

    fn can_stop(&self, question: &Question, timeline: &Timeline, attempt: &Attempt, stop: Stop) -> bool {
        let event = timeline.events[stop.event];
        !attempt.iter().any(|earlier| earlier.event == stop.event)
            && self.steps[stop.step].selector.takes(question, event)
            && self.is_in_time(timeline, attempt, stop.step, event.time)
            && self.holds_same(question, timeline, attempt, event)
            && !self.is_ended(question, timeline, attempt, Some(stop), event.time)
    }

    /// Whether the attempt may take this step at this time.
    pub fn is_in_time(&self, timeline: &Timeline, attempt: &Attempt, step: usize, time: TimeMs) -> bool {
        let first = timeline.events[attempt[0].event].time;
        let last = timeline.events[attempt[attempt.len() - 1].event].time;
        let in_order = if self.strict_time { last < time } else { last <= time };
        in_order
            && time - first <= self.window
            && self.steps[step].within.is_none_or(|within| time - last <= within)
            && self.end.is_none_or(|end| time < end)
    }

    /// Whether an event before `until`, and not of the attempt, excludes or breaks it.
    pub fn is_ended(
        &self,
        question: &Question,
        timeline: &Timeline,
        attempt: &Attempt,
        next: Option<Stop>,
        until: TimeMs,
    ) -> bool {
        let time_of = |stop: &Stop| timeline.events[stop.event].time;
        let level = self.level(attempt);
        let is_part = |index: usize| attempt.iter().chain(&next).any(|stop| stop.event == index);
        let strangers_after = |start: TimeMs| {
            let events = timeline.events.iter().enumerate();
            events.filter(move |(index, event)| {
                start < event.time
                    && event.time < until
                    && !is_part(*index)
                    && self.concerns(question, timeline, attempt, event)
            })
        };
        let is_excluded = self.exclusions.iter().any(|exclusion| {
            let is_after = |stop: &&Stop| self.in_any_order || stop.step + 1 >= exclusion.after_step;
            let reached = attempt.iter().find(is_after);
            reached.is_some_and(|stop| {
                level < exclusion.before_step
                    && strangers_after(time_of(stop))
                        .any(|(_, event)| exclusion.selector.takes(question, event))
            })
        });
        let is_broken = self.breakers.as_ref().is_some_and(|breakers| {
            strangers_after(time_of(&attempt[0]))
                .any(|(_, event)| breakers.iter().any(|breaker| breaker.takes(question, event)))
        });
        is_excluded || is_broken
    }

    /// Whether an attempt below the last step can still take its next step at `as_of`.
    pub fn is_in_progress(&self, question: &Question, timeline: &Timeline, attempt: &Attempt) -> bool {
        let last = timeline.events[attempt[attempt.len() - 1].event].time;
        let soonest = if self.strict_time { question.as_of.max(last + 1) } else { question.as_of };
        let steps = self.next_steps(attempt);
        steps.into_iter().any(|step| self.is_in_time(timeline, attempt, step, soonest))
            && timeline.open_until.is_none_or(|end| soonest <= end)
            && !self.is_ended(question, timeline, attempt, None, question.as_of)
    }

    /// The told attempts of those that reach the user's level: the one that reaches it earliest, of those the
    /// one with the latest first event, with more optional steps, with the latest second event, and so on.
    /// Several if they tie in every time.
    pub fn told(&self, timeline: &Timeline, attempts: &[Attempt]) -> Vec<Attempt> {
        let Some(level_reached) = attempts.iter().map(|attempt| self.level(attempt)).max() else {
            return Vec::new();
        };
        let preference = |attempt: &Attempt| {
            let times: Vec<TimeMs> = attempt.iter().map(|stop| timeline.events[stop.event].time).collect();
            let optional = attempt.iter().filter(|stop| self.steps[stop.step].optional).count();
            // Greater is better. Last, of those that took other optional steps at the same times, the earlier steps.
            let steps: Vec<usize> = attempt.iter().map(|stop| stop.step).collect();
            let earlier = (!self.in_any_order).then_some(std::cmp::Reverse(steps));
            (-times[times.len() - 1], times[0], optional, times, earlier)
        };
        let reaching: Vec<&Attempt> =
            attempts.iter().filter(|attempt| self.level(attempt) == level_reached).collect();
        let best = reaching.iter().map(|attempt| preference(attempt)).max();
        let told = reaching.into_iter().filter(|attempt| Some(preference(attempt)) == best);
        told.cloned().collect()
    }

    /// The held values of an event; a missing one is no value.
    pub fn held<'e>(&self, question: &'e Question, event: &'e Event) -> Vec<Option<&'e Value>> {
        self.hold.iter().map(|property| value_of(question, On::Event, property, event)).collect()
    }

    fn has_held_values(&self, question: &Question, event: &Event) -> bool {
        self.held(question, event).iter().all(Option::is_some)
    }

    fn holds_same(&self, question: &Question, timeline: &Timeline, attempt: &Attempt, event: &Event) -> bool {
        self.held(question, event) == self.held(question, timeline.events[attempt[0].event])
    }

    /// Whether an event could exclude or break the attempt: it has the same held values, or lacks one.
    fn concerns(&self, question: &Question, timeline: &Timeline, attempt: &Attempt, event: &Event) -> bool {
        let first = self.held(question, timeline.events[attempt[0].event]);
        let held = self.held(question, event);
        held.iter().zip(&first).all(|(value, held)| value.is_none() || value == held)
    }
}

/// The sessions of a user's events, cut where two neighbours are further apart than the gap.
pub fn sessions<'a>(events: &[&'a Event], gap: i64) -> Vec<Vec<&'a Event>> {
    let times: BTreeSet<TimeMs> = events.iter().map(|event| event.time).collect();
    let mut sessions: Vec<Vec<&Event>> = Vec::new();
    let mut before: Option<TimeMs> = None;
    for time in times {
        if before.is_none_or(|before| time - before > gap) {
            sessions.push(Vec::new());
        }
        before = Some(time);
        let session = sessions.last_mut().expect("the first time opens one");
        session.extend(events.iter().filter(|event| event.time == time));
    }
    sessions
}
