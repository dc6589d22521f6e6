//! Every attempt of one user, one after the other: `count: attempts`.
//!
//! The events of one moment are taken for the steps that are due, of the open attempt and of those that follow it, as
//! far as they go.

use std::ops::Range;

use super::funnel_rules::{Ground, Rules, Run, Told, span, union};
use super::funnel_seats::{Matching, are_covered};
use crate::model::TimeMs;

pub(super) fn attempts(rules: &Rules, ground: &Ground<'_>, starts: &Range<TimeMs>) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::new();
    let mut open: Option<Told> = None;
    // Attempts may need any number of alike events.
    for hits in ground.hits.chunk_by(|a, b| a.time == b.time) {
        let (time, (steps, ends)) = (hits[0].time, union(hits));
        if let Some(attempt) = open.take_if(|attempt| time - attempt.start() > rules.window) {
            told.push(attempt);
        }
        let can_start = starts.contains(&time);
        if open.is_none() && (!can_start || steps & 1 == 0) {
            continue;
        }
        let joins = |step: usize, hit: usize| hits[hit].steps >> (step % rules.step_count) & 1 == 1;
        let mut matching = Matching::new(hits.len());
        let mut seat_base = 0; // seats of other attempts are others, though they are for the same steps
        loop {
            let level_before = open.as_ref().map_or(0, |attempt| attempt.level);
            if level_before == 0 && !can_start {
                break;
            }
            let level_max = if rules.is_strict { level_before + 1 } else { rules.step_count };
            let mut level = level_before;
            while level < level_max && matching.add(seat_base + level, &joins) {
                level += 1;
            }
            if level == 0 {
                break;
            }
            seat_base += rules.step_count;
            let watched = ends & rules.ends_between(level_before, level);
            let is_excluded = level < rules.step_count
                && time < rules.as_of
                && watched != 0
                && !are_covered(hits, watched, span(level_before..level));
            let attempt = open.get_or_insert_with(|| Told { level, is_in_progress: false, runs: Vec::new() });
            attempt.level = level;
            if level > level_before {
                let is_open = level < rules.step_count && !is_excluded && time < rules.as_of;
                let seats = (level_before..level).map(|step| step as u8).collect();
                attempt.runs.push(Run { time, seats, ends: if is_open { watched } else { 0 } });
            }
            if level < rules.step_count && !is_excluded {
                break;
            }
            told.extend(open.take());
        }
    }
    if let Some(mut attempt) = open {
        attempt.is_in_progress =
            rules.has_time_left(attempt.level, attempt.start(), attempt.end(), ground.open_until);
        told.push(attempt);
    }
    told
}
