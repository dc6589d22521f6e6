//! Every attempt of one user, one after the other, as `count: attempts` asks: by all choices of events for each moment.

use std::collections::BTreeSet;

use flywheeldb::model::TimeMs;

use super::Refusal;
use super::attempts::{Attempt, Rules, Stop, Timeline, level};
use super::calendar::Bucket;
use super::question::Question;

/// One of a user's attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Successive {
    pub attempt: Attempt,
    pub in_progress: bool,
}

/// What has happened up to a moment.
#[derive(Clone, Default)]
struct State {
    done: Vec<Successive>,
    open: Option<Attempt>,
}

/// Ways through one moment that are written out. A dozen events that tie have more than fit in memory.
const WAY_COUNT_MAX: usize = 200_000;

/// The attempts, in order; a list for every choice among events that tie.
pub fn choices(
    question: &Question,
    rules: &Rules,
    timeline: &Timeline,
    starts: Bucket,
) -> Result<Vec<Vec<Successive>>, Refusal> {
    let times: BTreeSet<TimeMs> = timeline.events.iter().map(|event| event.time).collect();
    let mut states = vec![State::default()];
    for time in times {
        // How far the attempts get in this moment comes before which events they take.
        let mut after: Vec<(Vec<(usize, bool)>, State)> = Vec::new();
        for state in &states {
            let walk = Walk { question, rules, timeline, starts, time };
            walk.moment(state.clone(), &mut Vec::new(), Vec::new(), &mut after);
        }
        if after.len() >= WAY_COUNT_MAX {
            return Err(Refusal::TooMany);
        }
        let best = after.iter().map(|(progress, _)| progress.clone()).max().expect("a moment has an outcome");
        states =
            after.into_iter().filter(|(progress, _)| *progress == best).map(|(_, state)| state).collect();
    }
    let finish = |state: State| {
        let open = state.open.map(|attempt| {
            let in_progress = rules.is_in_progress(question, timeline, &attempt);
            Successive { attempt, in_progress }
        });
        state.done.into_iter().chain(open).collect::<Vec<_>>()
    };
    Ok(states.into_iter().map(finish).filter(|attempts| !attempts.is_empty()).collect())
}

struct Walk<'a> {
    question: &'a Question<'a>,
    rules: &'a Rules,
    timeline: &'a Timeline<'a>,
    starts: Bucket,
    time: TimeMs,
}

impl Walk<'_> {
    /// Adds everything that can come of a moment. `progress` has, for each attempt so far, the steps it had at the end
    /// of its stops here, and whether nothing excluded it.
    fn moment(
        &self,
        mut state: State,
        used: &mut Vec<usize>,
        progress: Vec<(usize, bool)>,
        found: &mut Vec<(Vec<(usize, bool)>, State)>,
    ) {
        if found.len() >= WAY_COUNT_MAX {
            return;
        }
        let first_time = |attempt: &Attempt| self.timeline.events[attempt[0].event].time;
        if let Some(attempt) =
            state.open.take_if(|attempt| self.time - first_time(attempt) > self.rules.window)
        {
            state.done.push(Successive { attempt, in_progress: false });
        }
        let before = state.open.clone().unwrap_or_default();
        let mut runs = Vec::new();
        self.runs(&before, used, &mut runs);
        for (attempt, used_here) in runs {
            if attempt.is_empty() {
                found.push((progress.clone(), state.clone()));
                continue;
            }
            let has_converted = level(&attempt) == self.rules.steps.len();
            // It ends if it would be ended before whatever comes next.
            let is_excluded = !has_converted
                && self.time < self.question.as_of
                && self.rules.is_ended(self.question, self.timeline, &attempt, None, self.time + 1);
            let mut progress = progress.clone();
            progress.push((level(&attempt), !is_excluded));
            let mut next = state.clone();
            if has_converted || is_excluded {
                next.open = None;
                next.done.push(Successive { attempt, in_progress: false });
                self.moment(next, &mut used_here.clone(), progress, found);
            } else {
                next.open = Some(attempt);
                found.push((progress, next));
            }
        }
    }

    /// Every way to take next steps at this moment, none included, with the events that are used up then.
    fn runs(&self, attempt: &Attempt, used: &mut Vec<usize>, found: &mut Vec<(Attempt, Vec<usize>)>) {
        found.push((attempt.clone(), used.clone()));
        let step = attempt.last().map_or(0, |stop| stop.step + 1);
        let Some(wanted) = self.rules.steps.get(step) else { return };
        for (event, candidate) in self.timeline.events.iter().enumerate() {
            let can = candidate.time == self.time
                && !used.contains(&event)
                && wanted.selector.takes(self.question, candidate)
                && match attempt.is_empty() {
                    true => self.starts.holds(self.time),
                    false => self.rules.is_in_time(self.timeline, attempt, step, self.time),
                };
            if can {
                let mut longer = attempt.clone();
                longer.push(Stop { step, event });
                used.push(event);
                self.runs(&longer, used, found);
                used.pop();
            }
        }
    }
}
