//! Steps in any order: as many different ones as fit into one window.
//!
//! Events that can be taken for different steps at once are independent, in the sense of a matroid. So of the events up to a
//! moment the latest independent ones are kept, at most one for each step, and how many of them lie in a window is how many
//! steps any choice in that window has. What excludes must itself be part, which is judged for each start alone.

use std::ops::Range;

use super::funnel_rules::{Ground, Hit, Moments, Rules, Run, Told, bits, union};
use super::funnel_seats::Matching;
use crate::model::TimeMs;

/// Events that are taken for different steps.
#[derive(Clone, Debug)]
struct Independent {
    matching: Matching,
    /// The steps that each matches.
    masks: Vec<u64>,
}

impl Independent {
    fn new(step_count: usize) -> Independent {
        Independent { matching: Matching::new(step_count), masks: Vec::new() }
    }

    /// Adds an event, if a step is left for it.
    fn add(&mut self, steps: u64) -> bool {
        self.masks.push(steps);
        let masks = &self.masks;
        let joins = |event: usize, step: usize| masks[event] >> step & 1 == 1;
        let is_added = self.matching.add(masks.len() - 1, &joins);
        if !is_added {
            self.masks.pop();
        }
        is_added
    }

    fn len(&self) -> usize {
        self.masks.len()
    }
}

/// The events of a moment as they can be taken: each alone, or with strict times one for the whole moment.
fn nodes(rules: &Rules, hits: &[Hit]) -> Vec<u64> {
    if rules.is_strict {
        return vec![union(hits).0];
    }
    hits.iter().map(|hit| hit.steps).collect()
}

/// The same at a moment inside the attempt, where events that exclude must be taken. `None` if they cannot.
fn inner_nodes(rules: &Rules, hits: &[Hit]) -> Option<Vec<u64>> {
    let mut needed = hits.iter().filter(|hit| hit.ends != 0);
    match (needed.next(), needed.next()) {
        (Some(only), None) if rules.is_strict => Some(vec![only.steps]),
        (Some(_), Some(_)) if rules.is_strict => None,
        _ => Some(nodes(rules, hits)),
    }
}

/// The best attempt so far: its level, where it ends and where it starts.
#[derive(Clone, Copy, Debug)]
struct Best {
    level: usize,
    end: TimeMs,
    start: TimeMs,
}

impl Best {
    fn is_better_than(&self, other: &Best) -> bool {
        (self.level, -self.end, self.start) > (other.level, -other.end, other.start)
    }
}

pub(super) fn told(
    rules: &Rules,
    ground: &Ground<'_>,
    moments: &Moments,
    starts: &Range<TimeMs>,
) -> Option<Told> {
    let is_watched = ground.hits.iter().any(|hit| hit.ends != 0);
    let (best, is_in_progress) = match is_watched {
        true => each_start(rules, ground, moments, starts)?,
        false => all_starts(rules, ground, moments, starts)?,
    };
    let latest = latest_times(rules, moments, &best, None);
    let mut runs: Vec<Run> = Vec::new();
    for (seat, time) in latest.into_iter().enumerate() {
        match runs.last_mut() {
            Some(run) if run.time == time => run.seats.push(seat as u8),
            _ => runs.push(Run { time, seats: vec![seat as u8], ends: 0 }),
        }
    }
    Some(Told { level: best.level, is_in_progress, runs })
}

/// Of the events so far the latest independent ones.
struct Basis {
    /// By step: the event that is taken for it.
    taken: Vec<Option<(TimeMs, u64)>>,
}

impl Basis {
    /// Adds the latest event, in place of the earliest whose place it can take.
    fn add(&mut self, time: TimeMs, steps: u64) {
        let mut tried = 0;
        if self.augment((time, steps), &mut tried) {
            return;
        }
        let earliest = bits(tried).min_by_key(|step| self.taken[*step]);
        if let Some(step) = earliest {
            self.taken[step] = None;
            self.augment((time, steps), &mut 0);
        }
    }

    fn augment(&mut self, event: (TimeMs, u64), tried: &mut u64) -> bool {
        for step in bits(event.1) {
            if *tried >> step & 1 == 1 {
                continue;
            }
            *tried |= 1 << step;
            let is_free = match self.taken[step] {
                None => true,
                Some(other) => self.augment(other, tried),
            };
            if is_free {
                self.taken[step] = Some(event);
                return true;
            }
        }
        false
    }

    fn count_since(&self, time: TimeMs) -> usize {
        self.taken.iter().flatten().filter(|(other, _)| *other >= time).count()
    }

    /// The latest moment since which there are this many.
    fn latest_since(&self, count: usize) -> TimeMs {
        let mut times: Vec<TimeMs> = self.taken.iter().flatten().map(|(time, _)| *time).collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        times[count - 1]
    }
}

/// Where nothing excludes: one pass over the moments.
fn all_starts(
    rules: &Rules,
    ground: &Ground<'_>,
    moments: &Moments,
    starts: &Range<TimeMs>,
) -> Option<(Best, bool)> {
    let mut basis = Basis { taken: vec![None; rules.step_count] };
    let mut best: Option<Best> = None;
    let mut last_start: Option<TimeMs> = None;
    let mut pending = 0; // the highest level of an attempt that can still go on
    let level_in = |basis: &Basis, since: TimeMs, last_start: Option<TimeMs>| {
        let since = since.max(starts.start);
        last_start.filter(|start| *start >= since).map_or(0, |_| basis.count_since(since))
    };
    let still_open = |basis: &Basis, last: TimeMs, last_start: Option<TimeMs>| {
        let soonest = if rules.is_strict { rules.as_of.max(last + 1) } else { rules.as_of };
        let is_open = soonest < rules.follower_end && soonest <= ground.open_until;
        if is_open { level_in(basis, soonest - rules.window, last_start) } else { 0 }
    };
    for moment in 0..moments.count() {
        let time = moments.time(moment);
        if time == rules.as_of {
            pending = still_open(&basis, time - 1, last_start);
        }
        let hits = moments.at(moment);
        if time >= starts.start {
            nodes(rules, hits).into_iter().for_each(|steps| basis.add(time, steps));
        }
        if starts.contains(&time) && union(hits).0 != 0 {
            last_start = Some(time);
        }
        let level = level_in(&basis, time - rules.window, last_start);
        if level > best.map_or(0, |best| best.level) {
            let since = basis.latest_since(level);
            let earlier = ground.hits.partition_point(|hit| hit.time <= since && hit.time < starts.end);
            let start = ground.hits[..earlier].iter().rev().find(|hit| hit.steps != 0);
            best = start.map(|start| Best { level, end: time, start: start.time });
        }
    }
    let best = best?;
    let last = ground.hits.last().map_or(TimeMs::MIN, |hit| hit.time);
    pending = pending.max(still_open(&basis, last, last_start));
    Some((best, best.level < rules.step_count && pending == best.level))
}

/// Where events exclude: from each start on, as far as it goes.
fn each_start(
    rules: &Rules,
    ground: &Ground<'_>,
    moments: &Moments,
    starts: &Range<TimeMs>,
) -> Option<(Best, bool)> {
    let mut best: Option<Best> = None;
    let mut pending = 0;
    for first in 0..moments.count() {
        let start = moments.time(first);
        if !starts.contains(&start) || union(moments.at(first)).0 == 0 {
            continue;
        }
        // Each event that the attempt can start with, and what excludes after it.
        let mut held: Vec<Independent> = nodes(rules, moments.at(first))
            .into_iter()
            .filter(|steps| *steps != 0)
            .map(|steps| {
                let mut held = Independent::new(rules.step_count);
                held.add(steps);
                held
            })
            .collect();
        let mut all = Independent::new(rules.step_count);
        let mut left_at = start;
        let mut is_over = false;
        for moment in first..moments.count() {
            let (time, hits) = (moments.time(moment), moments.at(moment));
            if time - start > rules.window {
                is_over = true;
                break;
            }
            if time == rules.as_of && rules.has_time_in_any(start, time - 1, ground) && moment > first {
                pending = pending.max(all.len());
            }
            let mut with = all.clone();
            for steps in nodes(rules, hits) {
                with.add(steps);
            }
            let found = Best { level: with.len(), end: time, start };
            if best.is_none_or(|best| found.is_better_than(&best)) {
                best = Some(found);
            }
            left_at = time;
            if moment == first || time == rules.as_of {
                all = with;
                continue;
            }
            let needed: Vec<u64> = hits.iter().filter(|hit| hit.ends != 0).map(|hit| hit.steps).collect();
            held.retain_mut(|held| needed.iter().all(|steps| held.add(*steps)));
            match inner_nodes(rules, hits) {
                Some(nodes) if !held.is_empty() => nodes.into_iter().for_each(|steps| {
                    all.add(steps);
                }),
                _ => {
                    is_over = true;
                    break;
                }
            }
        }
        if !is_over && rules.has_time_in_any(start, left_at, ground) {
            pending = pending.max(all.len());
        }
    }
    let best = best?;
    Some((best, best.level < rules.step_count && pending == best.level))
}

impl Rules {
    fn has_time_in_any(&self, start: TimeMs, last: TimeMs, ground: &Ground<'_>) -> bool {
        let soonest = if self.is_strict { self.as_of.max(last + 1) } else { self.as_of };
        soonest - start <= self.window && soonest < self.follower_end && soonest <= ground.open_until
    }
}

/// The times of the attempt that is told, ascending; with a pin, of the best one that has this event at this time.
///
/// Empty if there is none.
fn latest_times(rules: &Rules, moments: &Moments, best: &Best, pin: Option<(TimeMs, u64)>) -> Vec<TimeMs> {
    let first = moments.find(best.start);
    let inner = |moment: usize| moment > first && moments.time(moment) < best.end;
    let nodes_at = |moment: usize| match (inner(moment), pin) {
        (_, Some((time, steps))) if rules.is_strict && time == moments.time(moment) => Some(vec![steps]),
        (true, _) => inner_nodes(rules, moments.at(moment)),
        (false, _) => Some(nodes(rules, moments.at(moment))),
    };
    let mut latest: Vec<TimeMs> = Vec::new();
    let firsts = match pin {
        Some((time, steps)) if time == best.start => vec![steps],
        _ => nodes(rules, moments.at(first)),
    };
    'first: for steps in firsts {
        let mut chosen = Independent::new(rules.step_count);
        let mut times = Vec::new();
        if !chosen.add(steps) {
            continue;
        }
        times.push(best.start);
        // An event that is taken already is left out of its moment, so that it is not taken twice.
        let mut used: Vec<(TimeMs, u64)> = vec![(best.start, steps)];
        let mut forced: Vec<(TimeMs, u64)> = Vec::new();
        forced.extend(pin.filter(|(time, _)| *time != best.start));
        let mut moment = first + 1;
        while moment < moments.count() && moments.time(moment) < best.end {
            let time = moments.time(moment);
            let mut needed: Vec<u64> =
                moments.at(moment).iter().filter(|hit| hit.ends != 0).map(|hit| hit.steps).collect();
            if let Some((_, pinned)) = pin.filter(|(at, _)| *at == time) {
                // The pinned event may be one of those that are needed.
                let is_needed = moments.at(moment).iter().any(|hit| hit.ends != 0 && hit.steps == pinned);
                if is_needed {
                    needed.retain({
                        let mut is_left = true;
                        move |steps| !(*steps == pinned && std::mem::take(&mut is_left))
                    });
                }
                if rules.is_strict && !needed.is_empty() {
                    continue 'first;
                }
            }
            forced.extend(needed.into_iter().map(|steps| (time, steps)));
            moment += 1;
        }
        for (time, steps) in forced {
            if !chosen.add(steps) {
                continue 'first;
            }
            times.push(time);
            used.push((time, steps));
        }
        let end = moments.find(best.end);
        for moment in (first..=end).rev() {
            let time = moments.time(moment);
            let Some(mut nodes) = nodes_at(moment) else { continue 'first };
            if rules.is_strict && used.iter().any(|(at, _)| *at == time) {
                continue;
            }
            for (_, taken) in used.iter().filter(|(at, _)| *at == time) {
                if let Some(place) = nodes.iter().position(|steps| steps == taken) {
                    nodes.swap_remove(place);
                }
            }
            for steps in nodes {
                if chosen.len() < best.level && chosen.add(steps) {
                    times.push(time);
                }
            }
        }
        times.sort_unstable();
        if times.len() == best.level && (latest.is_empty() || times > latest) {
            latest = times;
        }
    }
    latest
}

/// Whether an event can be the one of this number, from 0, in an attempt with the told times.
pub(super) fn can_be(rules: &Rules, moments: &Moments, told: &Told, number: usize, hit: &Hit) -> bool {
    let times: Vec<TimeMs> = told.times().collect();
    let best = Best { level: told.level, end: told.end(), start: told.start() };
    hit.time == times[number]
        && hit.steps != 0
        && latest_times(rules, moments, &best, Some((hit.time, hit.steps))) == times
}
