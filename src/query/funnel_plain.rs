//! Plain funnels: steps in order, no event matching two of them, and nothing else asked.
//!
//! Step by step, over all users of a task at once: the events of a step that follow one of the step before in time,
//! within the window of that one's start, are its *arrivals*. Of the arrivals before an event the latest has the latest
//! start, so it alone decides; what it came from, and so on back to the start, is the attempt that is told.

use std::ops::Range;

use super::{Rows, Selection, TASK_USER_COUNT, Task, key_time, key_user};
use crate::api::Problem;
use crate::model::TimeMs;

/// What a plain funnel asks for.
#[derive(Debug)]
pub(super) struct Plain {
    pub window: u64,
    pub is_strict: bool,
    /// Where the first step lies.
    pub starts: Range<TimeMs>,
    /// Where the later steps lie.
    pub followers: Range<TimeMs>,
    /// Users who can still go on then have not dropped off. `None` if nobody can, as the range is over.
    pub pending_at: Option<TimeMs>,
    /// The last moment that a later step may have, whatever the window.
    pub follower_max: TimeMs,
}

/// The told attempt of a user.
#[derive(Clone, Debug)]
pub(super) struct PlainOutcome {
    /// The key of each step's event, as far as it got.
    pub keys: Vec<u64>,
    pub is_in_progress: bool,
}

/// The events that reached a step, by user and time.
#[derive(Debug, Default)]
struct Arrivals {
    keys: Vec<u64>,
    /// The key of the latest first event that each can have started from.
    starts: Vec<u64>,
    /// The arrival at the step before that each came from, by place.
    origins: Vec<u32>,
}

impl Arrivals {
    fn len(&self) -> usize {
        self.keys.len()
    }
}

impl Plain {
    /// What became of each user of a task, and the rows of the first step, with refs if asked for.
    pub fn outcomes(
        &self,
        task: &Task<'_>,
        steps: &[&Selection],
        with_refs: bool,
    ) -> Result<(Vec<PlainOutcome>, Rows), Problem> {
        let first = task.rows(steps[0], self.starts.clone(), with_refs)?;
        let mut all = Vec::with_capacity(steps.len());
        all.push(Arrivals { keys: first.keys.clone(), starts: first.keys.clone(), origins: Vec::new() });
        for selection in &steps[1..] {
            let before = all.last().expect("the first step is there");
            if before.len() == 0 {
                all.push(Arrivals::default());
                continue;
            }
            let rows = task.rows(selection, self.followers.clone(), false)?;
            all.push(self.follow(before, &rows.keys));
        }
        Ok((self.told(&all), first))
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
        let time = key_time(key);
        let last = key_time(start).saturating_add(self.window as i64).min(self.follower_max);
        last >= as_of && (!self.is_strict || last > time)
    }

    fn told(&self, arrivals: &[Arrivals]) -> Vec<PlainOutcome> {
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
            let is_in_progress = level < arrivals.len() && self.pending_at.is_some() && {
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
            outcomes.push(PlainOutcome { keys, is_in_progress });
        }
        outcomes
    }
}

/// The places, in the rows of the first step, of the events that an attempt can have started with.
pub(super) fn first_rows(outcome: &PlainOutcome, first: &Rows) -> Range<usize> {
    let start = first.keys.partition_point(|key| *key < outcome.keys[0]);
    let count = first.keys[start..].iter().take_while(|key| **key == outcome.keys[0]).count();
    start..start + count
}
