//! Funnels in which one event may match several steps: events of one moment are matched to steps.
//!
//! Steps have different events. Between moments that needs no care, as time rises; but at one moment a run of
//! consecutive steps is reached only if it can be matched to different events, in whatever order they arrived. So a user's
//! events are walked moment by moment, and inside a moment a bipartite matching decides (augmenting paths, Kuhn 1955).

use super::funnel::{Outcome, row_identity};
use super::{RowRef, Rows, key_user};

pub(super) struct TiedSteps {
    pub window: u64,
    pub step_count: usize,
}

/// An event that matches at least one step.
#[derive(Clone, Copy)]
struct Hit {
    key: u64,
    row: (u32, u32, u32),
    /// A bit for each step that it matches.
    steps: u64,
    /// Its place in the first step's rows, if it matches that.
    first_row: u32,
}

/// What became of each user, given the rows of the first step and of the later ones.
pub(super) fn arrive_by_moments(
    tied: &TiedSteps,
    first: &Rows,
    later: &[Rows],
    can_go_on: &dyn Fn(u64, u64) -> bool,
) -> Vec<Outcome> {
    let mut hits: Vec<Hit> = Vec::new();
    let mut add = |rows: &Rows, step: usize| {
        for (place, (key, row)) in rows.keys.iter().zip(&rows.refs).enumerate() {
            let first_row = if step == 0 { place as u32 } else { u32::MAX };
            hits.push(Hit { key: *key, row: identity(*row), steps: 1 << step, first_row });
        }
    };
    add(first, 0);
    later.iter().zip(1..).for_each(|(rows, step)| add(rows, step));
    hits.sort_unstable_by_key(|hit| (hit.key, hit.row));
    hits.dedup_by(|next, kept| {
        let is_same = (next.key, next.row) == (kept.key, kept.row);
        if is_same {
            kept.steps |= next.steps;
            kept.first_row = kept.first_row.min(next.first_row);
        }
        is_same
    });
    let by_user = hits.chunk_by(|a, b| key_user(a.key) == key_user(b.key));
    by_user.filter_map(|hits| Walk::new(tied, hits).outcome(can_go_on)).collect()
}

fn identity(row: RowRef) -> (u32, u32, u32) {
    row_identity(row)
}

/// The walk over one user's events.
struct Walk<'a> {
    tied: &'a TiedSteps,
    moments: Vec<&'a [Hit]>,
    /// By step less one and moment: the latest start of an attempt that reaches the step in this moment.
    arrivals: Vec<Vec<Option<u64>>>,
}

impl<'a> Walk<'a> {
    fn new(tied: &'a TiedSteps, hits: &'a [Hit]) -> Walk<'a> {
        let moments: Vec<&[Hit]> = hits.chunk_by(|a, b| a.key == b.key).collect();
        let mut walk = Walk { tied, arrivals: vec![vec![None; moments.len()]; tied.step_count], moments };
        let mut latest: Vec<Option<u64>> = vec![None; tied.step_count];
        for moment in 0..walk.moments.len() {
            let key = walk.moments[moment][0].key;
            for from in (0..tied.step_count).rev() {
                let start = match from.checked_sub(1) {
                    None => Some(key),
                    Some(before) => latest[before].filter(|start| key - start <= tied.window),
                };
                let Some(start) = start else { continue };
                let matched = matched_steps(walk.moments[moment], from, tied.step_count, None);
                for step in from..from + matched {
                    let known = &mut walk.arrivals[step][moment];
                    *known = (*known).max(Some(start));
                }
            }
            for (latest, of_step) in latest.iter_mut().zip(&walk.arrivals) {
                *latest = (*latest).max(of_step[moment]);
            }
        }
        walk
    }

    fn outcome(&self, can_go_on: &dyn Fn(u64, u64) -> bool) -> Option<Outcome> {
        let level = (1..=self.tied.step_count)
            .rev()
            .find(|level| self.arrivals[level - 1].iter().any(Option::is_some))?;
        let of_level = &self.arrivals[level - 1];
        let last = of_level.iter().position(Option::is_some).expect("the level was reached");
        let start = of_level[last].expect("the level was reached");
        let is_in_progress = level < self.tied.step_count
            && of_level.iter().enumerate().any(|(moment, start)| {
                start.is_some_and(|start| can_go_on(self.moments[moment][0].key, start))
            });
        let first =
            self.moments.iter().position(|hits| hits[0].key == start).expect("attempts start with an event");
        let (moments, run) = self.told(level, first, last);
        let keys = moments.iter().map(|moment| self.moments[*moment][0].key).collect();
        let hits = self.moments[first];
        let can_start = |hit: &&Hit| hit.steps & 1 != 0 && matched_steps(hits, 0, run, Some(hit.row)) == run;
        let first_rows = hits.iter().filter(can_start).map(|hit| hit.first_row as usize).collect();
        Some(Outcome { keys, first_rows: Some(first_rows), is_in_progress })
    }

    /// The moments of the attempt's events, from `first` to `last`: each step's as late as can be, the earlier
    /// steps before the later; and how many steps share the first moment.
    fn told(&self, level: usize, first: usize, last: usize) -> (Vec<usize>, usize) {
        // ends[step][moment]: the fewest steps that can lie in this moment from this step on, so that the rest can
        // still follow up to the last step in the last moment.
        let mut ends: Vec<Vec<Option<usize>>> = vec![vec![None; self.moments.len()]; level];
        for step in (0..level).rev() {
            for moment in first..=last {
                let matched = matched_steps(self.moments[moment], step, level, None);
                ends[step][moment] = (1..=matched).find(|run| match step + run {
                    end if end == level => moment == last,
                    end => ends[end][moment + 1..=last].iter().any(Option::is_some),
                });
            }
        }
        let mut moments = Vec::with_capacity(level);
        let (mut step, mut moment) = (0, first);
        let first_run = ends[0][first].expect("the level was reached from here");
        while let Some(run) = ends[step][moment] {
            moments.extend(std::iter::repeat_n(moment, run));
            step += run;
            if step == level {
                break;
            }
            let next = (moment + 1..=last).rev().find(|later| ends[step][*later].is_some());
            moment = next.expect("the rest can follow");
        }
        (moments, first_run)
    }
}

/// How many consecutive steps, from `from` on and before `end`, can be matched to different events of one moment.
///
/// With `pinned`, step `from` is matched to that event.
fn matched_steps(hits: &[Hit], from: usize, end: usize, pinned: Option<(u32, u32, u32)>) -> usize {
    if let [hit] = hits {
        return usize::from(from < end && hit.steps >> from & 1 == 1);
    }
    let mut owner: Vec<Option<usize>> = vec![None; hits.len()];
    for step in from..end {
        let mut tried = vec![false; hits.len()];
        if !augment(hits, step, from, pinned, &mut owner, &mut tried) {
            return step - from;
        }
    }
    end - from
}

fn augment(
    hits: &[Hit],
    step: usize,
    from: usize,
    pinned: Option<(u32, u32, u32)>,
    owner: &mut [Option<usize>],
    tried: &mut [bool],
) -> bool {
    for (index, hit) in hits.iter().enumerate() {
        let is_allowed = match pinned {
            Some(row) if step == from => hit.row == row,
            _ => hit.steps >> step & 1 == 1,
        };
        if !is_allowed || tried[index] {
            continue;
        }
        tried[index] = true;
        let is_free = match owner[index] {
            None => true,
            Some(other) => augment(hits, other, from, pinned, owner, tried),
        };
        if is_free {
            owner[index] = Some(step);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::key;

    /// Rows of one user: for each step its events as (time, number of the event).
    fn outcome(steps: &[&[(i64, u32)]], window: u64) -> Option<Outcome> {
        let rows = |step: &&[(i64, u32)]| Rows {
            keys: step.iter().map(|(time, _)| key(7, *time)).collect(),
            refs: step.iter().map(|(_, row)| RowRef { segment: 0, group: 0, row: *row }).collect(),
            ..Rows::default()
        };
        let all: Vec<Rows> = steps.iter().map(rows).collect();
        let tied = TiedSteps { window, step_count: steps.len() };
        arrive_by_moments(&tied, &all[0], &all[1..], &|_, _| false).into_iter().next()
    }

    fn times(steps: &[&[(i64, u32)]], window: u64) -> Vec<i64> {
        let keys = outcome(steps, window).map_or(Vec::new(), |outcome| outcome.keys);
        keys.into_iter().map(crate::query::key_time).collect()
    }

    #[test]
    fn one_event_fills_one_step() {
        let a: &[(i64, u32)] = &[(10, 0)];
        assert_eq!(times(&[a, a], 100), [10]);
        let two: &[(i64, u32)] = &[(10, 0), (10, 1)];
        assert_eq!(times(&[two, two], 100), [10, 10]);
        assert_eq!(times(&[two, two, two], 100), [10, 10]);
    }

    #[test]
    fn events_of_one_moment_are_given_to_the_steps_that_need_them() {
        // Event 0 matches both steps, event 1 only the first: the second step needs event 0.
        assert_eq!(times(&[&[(10, 0), (10, 1)], &[(10, 0)]], 0), [10, 10]);
    }

    #[test]
    fn the_told_attempt_is_the_earliest_and_then_each_step_as_late_as_can_be() {
        let steps: [&[(i64, u32)]; 3] = [&[(1, 0), (2, 1)], &[(2, 1), (3, 2)], &[(3, 2), (5, 3)]];
        // Level 3 is reached first at 3, where event 2 is needed: the second step is event 1, the first event 0.
        assert_eq!(times(&steps, 100), [1, 2, 3]);
    }
}
