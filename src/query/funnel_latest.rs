//! Ordered funnels of one user where of all attempts the one with the latest start is the best.
//!
//! For each level the latest start is known, and an event carries it on to the level of each step that it matches: one
//! pass, however many steps there are. The told attempt is found from its end back, each event as late as it can be:
//! that leaves the most room to those before, so that all of them are the latest at once.

use std::ops::Range;

use super::funnel_rules::{Ground, Moments, Rules, Run, Told, span, union};
use crate::model::TimeMs;

/// An attempt of some level, told by its start.
#[derive(Clone, Copy)]
struct Standing {
    start: TimeMs,
    /// The moment of its last event, the earliest if there are several such attempts.
    last: TimeMs,
}

/// The told attempt. [`Rules::is_latest_best`] holds.
pub(super) fn told(
    rules: &Rules,
    ground: &Ground<'_>,
    moments: &Moments,
    starts: &Range<TimeMs>,
) -> Option<Told> {
    // By level. Behind the highest so far there are none yet.
    let mut standing = vec![Standing { start: TimeMs::MIN, last: TimeMs::MIN }; rules.step_count + 1];
    let (mut level, mut end) = (0, 0);
    let mut before = None;
    for moment in 0..moments.count() {
        let (steps, _) = union(moments.at(moment));
        let time = moments.time(moment);
        // Whoever stood there before may take another step at this moment still, unlike who comes there at it.
        if rules.is_strict && time == rules.as_of {
            before = Some((level, standing[level]));
        }
        let mut left = steps & span(0..level + 1);
        // From the last step down, so that no event counts for two.
        while left != 0 {
            let step = left.ilog2() as usize;
            left &= !(1 << step);
            let start = match step {
                0 if starts.contains(&time) => time,
                0 => continue,
                _ => standing[step].start,
            };
            if time - start > rules.window {
                continue;
            }
            if standing[step + 1].start != start {
                standing[step + 1] = Standing { start, last: time };
            }
            if level == step {
                (level, end) = (step + 1, moment);
            }
        }
        if level == rules.step_count {
            break;
        }
    }
    if level == 0 {
        return None;
    }
    let Standing { start, last } = standing[level];
    let before = before.filter(|(level_before, _)| *level_before == level).map(|(_, standing)| standing);
    let is_in_progress = level < rules.step_count
        && [Some(Standing { start, last }), before]
            .iter()
            .flatten()
            .any(|standing| rules.has_time_left(level, standing.start, standing.last, ground.open_until));
    Some(Told { level, is_in_progress, runs: runs(moments, starts, level, end) })
}

/// The stops of the attempt of a level that ends at a moment.
fn runs(moments: &Moments, starts: &Range<TimeMs>, level: usize, end: usize) -> Vec<Run> {
    let run =
        |moment: usize, step: usize| Run { time: moments.time(moment), seats: vec![step as u8], ends: 0 };
    let mut runs = vec![run(end, level - 1)];
    let mut before = (0..end).rev();
    for step in (0..level - 1).rev() {
        let is_meant = |moment: &usize| {
            union(moments.at(*moment)).0 >> step & 1 == 1
                && (step > 0 || starts.contains(&moments.time(*moment)))
        };
        runs.push(run(before.find(is_meant).expect("an attempt led here"), step));
    }
    runs.reverse();
    runs
}
