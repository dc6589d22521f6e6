//! How far one user got through ordered steps, and the earliest moment at which.
//!
//! The moments are walked once. For each level the attempts that can still go on are known by their last moment and
//! their start; of two such the one that is later in both is always the better, so few are kept. What excludes drops the
//! attempts whose last moment lies before.

use std::collections::VecDeque;
use std::ops::Range;

use super::funnel_rules::{Ground, Moments, Rules, bits, span, union};
use super::funnel_seats::{are_covered, last_steps};
use crate::model::TimeMs;

/// The highest level of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    pub level: usize,
    /// The moment of the last event of the attempt that reaches it first, and the latest start of such an attempt.
    pub moment: usize,
    pub start: TimeMs,
    pub is_in_progress: bool,
}

/// Attempts of one level that none of the others beats: last moments rise, starts fall.
#[derive(Debug, Default)]
struct Front {
    attempts: VecDeque<(TimeMs, TimeMs)>,
}

impl Front {
    /// The latest start of those whose last event is no earlier than this.
    fn start(&self, last_min: TimeMs) -> Option<TimeMs> {
        let first = self.attempts.partition_point(|(last, _)| *last < last_min);
        self.attempts.get(first).map(|(_, start)| *start)
    }

    /// Of attempts that started no later, those whose last event was earlier can do nothing more: but take a step at the
    /// moment of this one, if there is no other after it.
    fn add(&mut self, last: TimeMs, start: TimeMs, is_end: bool) {
        while !is_end && self.attempts.back().is_some_and(|(_, other)| *other <= start) {
            self.attempts.pop_back();
        }
        self.attempts.push_back((last, start));
    }

    /// Drops what is too old to go on.
    fn forget(&mut self, last_min: TimeMs, start_min: TimeMs) {
        while self.attempts.front().is_some_and(|(last, start)| *last < last_min || *start < start_min) {
            self.attempts.pop_front();
        }
    }
}

/// Walks over users with the memory of the last one.
#[derive(Debug)]
pub(super) struct Walk<'r> {
    rules: &'r Rules,
    fronts: Vec<Front>,
    /// By level: the longest time until a next step.
    patience: Vec<i64>,
    /// By level, at the moment that is looked at: the latest start of an attempt that reaches it, and of one that can go on.
    arrivals: Vec<(Option<TimeMs>, Option<TimeMs>)>,
}

impl<'r> Walk<'r> {
    pub fn new(rules: &'r Rules) -> Walk<'r> {
        let patience = |level| rules.next_steps(level).map(|step| rules.within[step]).max().unwrap_or(0);
        Walk {
            rules,
            fronts: (0..=rules.step_count).map(|_| Front::default()).collect(),
            patience: (0..=rules.step_count).map(patience).collect(),
            arrivals: vec![(None, None); rules.step_count + 1],
        }
    }

    pub fn reach(&mut self, ground: &Ground<'_>, moments: &Moments, starts: &Range<TimeMs>) -> Option<Reach> {
        let rules = self.rules;
        self.fronts.iter_mut().for_each(|front| front.attempts.clear());
        let mut alive = 0_u64; // a bit for each level that attempts stand at
        let mut best: Option<Reach> = None;
        for moment in 0..moments.count() {
            let time = moments.time(moment);
            let (steps, ends) = union(moments.at(moment));
            let can_start = steps & 1 == 1 && starts.contains(&time);
            if alive == 0 && !can_start {
                continue;
            }
            let arrived = self.arrive(moments, moment, steps, ends, can_start);
            if ends != 0 && time < rules.as_of {
                for level in bits(alive) {
                    if ends & rules.ends_between(level, level) != 0 {
                        self.fronts[level].attempts.clear();
                        alive &= !(1 << level);
                    }
                }
            }
            for level in bits(arrived) {
                let (reached, left) = std::mem::take(&mut self.arrivals[level]);
                if let Some(start) = left {
                    self.fronts[level].forget(time - self.patience[level], time - rules.window);
                    self.fronts[level].add(time, start, rules.is_strict && time == rules.as_of);
                    alive |= 1 << level;
                }
                if let Some(start) = reached.filter(|_| best.is_none_or(|best| best.level < level)) {
                    best = Some(Reach { level, moment, start, is_in_progress: false });
                }
            }
            // The last level has no bit: nothing follows it.
            let (reached, _) = std::mem::take(&mut self.arrivals[rules.step_count]);
            if let Some(start) = reached {
                return Some(Reach { level: rules.step_count, moment, start, is_in_progress: false });
            }
        }
        let mut best = best?;
        let mut standing = self.fronts[best.level].attempts.iter();
        best.is_in_progress =
            standing.any(|(last, start)| rules.has_time_left(best.level, *start, *last, ground.open_until));
        Some(best)
    }

    /// Finds what is reached at a moment. Returns a bit for each level but the last.
    fn arrive(&mut self, moments: &Moments, moment: usize, steps: u64, ends: u64, can_start: bool) -> u64 {
        let rules = self.rules;
        let hits = moments.at(moment);
        let time = hits[0].time;
        let mut arrived = 0;
        for first in bits(steps) {
            let mut lasts = None;
            let mut level = first;
            loop {
                let start = match level {
                    0 => Some(time).filter(|_| can_start),
                    _ => self.fronts[level].start(time - rules.within[first]),
                };
                if let Some(start) = start.filter(|start| time - start <= rules.window) {
                    for last in bits(*lasts.get_or_insert_with(|| last_steps(rules, hits, first))) {
                        let after = last + 1;
                        let (reached, left) = &mut self.arrivals[after];
                        *reached = (*reached).max(Some(start));
                        let watched = ends & rules.ends_between(level, after);
                        if *left < Some(start)
                            && (watched == 0
                                || time == rules.as_of
                                || are_covered(hits, watched, span(first..after)))
                        {
                            *left = Some(start);
                        }
                        if after < rules.step_count {
                            arrived |= 1 << after;
                        }
                    }
                }
                if level < 2 || !rules.is_optional(level - 1) {
                    break;
                }
                level -= 1;
            }
        }
        arrived
    }
}
