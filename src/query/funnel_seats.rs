//! Which events of one moment are taken for which steps: bipartite matching by augmenting paths (Kuhn 1955).
//!
//! An attempt must fill certain steps and, where exclusions watch, use certain events. A matching that does the one and a
//! matching that does the other prove that there is one which does both (Mendelsohn and Dulmage 1958), so each is
//! asked for alone.

use super::funnel_rules::{Hit, Rules, bits, span};

const NOBODY: u32 = u32::MAX;

/// Things on the left, matched to things on the right.
#[derive(Clone, Debug)]
pub(super) struct Matching {
    owners: Vec<u32>,
}

impl Matching {
    pub fn new(right_count: usize) -> Matching {
        Matching { owners: vec![NOBODY; right_count] }
    }

    /// Matches one more on the left, moving others if that helps. Without success nothing changes.
    pub fn add(&mut self, left: usize, joins: &impl Fn(usize, usize) -> bool) -> bool {
        self.augment(left, joins, &mut vec![false; self.owners.len()])
    }

    fn augment(&mut self, left: usize, joins: &impl Fn(usize, usize) -> bool, tried: &mut [bool]) -> bool {
        for right in 0..self.owners.len() {
            if tried[right] || !joins(left, right) {
                continue;
            }
            tried[right] = true;
            let owner = self.owners[right];
            if owner == NOBODY || self.augment(owner as usize, joins, tried) {
                self.owners[right] = left as u32;
                return true;
            }
        }
        false
    }
}

/// How many of the seats can be filled at once.
pub(super) fn filled_count(hits: &[Hit], seats: impl IntoIterator<Item = usize>) -> usize {
    let mut matching = Matching::new(hits.len());
    let joins = |step: usize, hit: usize| hits[hit].steps >> step & 1 == 1;
    seats.into_iter().filter(|step| matching.add(*step, &joins)).count()
}

/// Whether all events that match one of the exclusions can be taken for steps.
pub(super) fn are_covered(hits: &[Hit], ends: u64, steps: u64) -> bool {
    let needed = || hits.iter().filter(|hit| hit.ends & ends != 0);
    if needed().any(|hit| hit.steps & steps == 0) {
        return false;
    }
    let count = needed().count();
    if count <= 1 {
        return true;
    }
    if count > steps.count_ones() as usize {
        return false;
    }
    let needed: Vec<&Hit> = needed().collect();
    let rights: Vec<usize> = bits(steps).collect();
    let mut matching = Matching::new(rights.len());
    let joins = |hit: usize, right: usize| needed[hit].steps >> rights[right] & 1 == 1;
    (0..needed.len()).all(|hit| matching.add(hit, &joins))
}

/// The steps that stops at one moment can end with, if they begin with `first`, which one of the hits matches.
pub(super) fn last_steps(rules: &Rules, hits: &[Hit], first: usize) -> u64 {
    let mut last = 1 << first;
    if rules.is_strict || hits.len() == 1 {
        return last;
    }
    let joins = |step: usize, hit: usize| hits[hit].steps >> step & 1 == 1;
    let mut matching = Matching::new(hits.len());
    matching.add(first, &joins);
    for step in first + 1..rules.step_count {
        if rules.is_optional(step) {
            last |= u64::from(matching.clone().add(step, &joins)) << step;
        } else if matching.add(step, &joins) {
            last |= 1 << step;
        } else {
            break;
        }
    }
    last
}

/// The steps that are not optional among those from `first` to `last`.
fn required(rules: &Rules, first: usize, last: usize) -> u64 {
    span(first..last + 1) & !rules.optional
}

/// The most optional steps that stops at one moment, from `first` to `last`, can have. They can be made.
pub(super) fn optional_count(rules: &Rules, hits: &[Hit], first: usize, last: usize) -> usize {
    if rules.optional == 0 {
        return 0;
    }
    if first == last {
        return usize::from(rules.is_optional(first));
    }
    let all = filled_count(hits, first..last + 1);
    all - required(rules, first, last).count_ones() as usize
}

/// The steps of the stops at one moment that have the most optional steps; of such sets the earliest steps.
pub(super) fn seats(rules: &Rules, hits: &[Hit], first: usize, last: usize) -> Vec<u8> {
    let mut taken = required(rules, first, last) | 1 << first | 1 << last;
    for step in bits(span(first..last + 1) & rules.optional & !taken) {
        let with = taken | 1 << step;
        if filled_count(hits, bits(with)) == with.count_ones() as usize {
            taken = with;
        }
    }
    bits(taken).map(|step| step as u8).collect()
}
