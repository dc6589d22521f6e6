//! The told attempt of one user: where it made its stops.
//!
//! Its level, its end and its start are known. From the end back, every moment and level learns how many optional
//! steps an attempt can still have from there; then, from the start on, those attempts that keep the most are followed,
//! each next event as late as can be.

use super::funnel_rules::{Moments, Rules, Run, Told, union};
use super::funnel_rules::{bits, span};
use super::funnel_seats::{are_covered, last_steps, optional_count, seats};
use super::funnel_walk::Reach;

/// The mark of a level from which the end cannot be reached.
const NEVER: u8 = u8::MAX;

struct Search<'a> {
    rules: &'a Rules,
    moments: &'a Moments,
    /// The moments of the start and of the end, and the level reached there.
    first: usize,
    last: usize,
    level: usize,
    /// By moment from the first, and level: the most optional steps that can follow, or [`NEVER`].
    follows: Vec<u8>,
}

/// An attempt on its way.
#[derive(Clone)]
struct Way {
    level: usize,
    moment: usize,
    /// Optional steps that are to come.
    optional_left: u8,
    runs: Vec<Run>,
}

/// Stops at one moment: from one step to another, and how many optional steps they and all that follows have at the most.
struct Stops {
    first: usize,
    last: usize,
    own: u8,
    total: u8,
}

/// The attempt that is told of those that reach a level as the walk found.
pub(super) fn told(rules: &Rules, moments: &Moments, reach: &Reach) -> Told {
    let first = moments.find(reach.start);
    let width = rules.step_count + 1;
    let follows = vec![NEVER; (reach.moment - first + 1) * width];
    let mut search = Search { rules, moments, first, last: reach.moment, level: reach.level, follows };
    search.look_back();
    let runs = search.look_ahead();
    Told { level: reach.level, is_in_progress: reach.is_in_progress, runs }
}

impl Search<'_> {
    fn follow(&mut self, moment: usize, level: usize) -> &mut u8 {
        &mut self.follows[(moment - self.first) * (self.rules.step_count + 1) + level]
    }

    fn follows(&self, moment: usize, level: usize) -> u8 {
        self.follows[(moment - self.first) * (self.rules.step_count + 1) + level]
    }

    /// The stops that an attempt of this level can make at a moment, beginning with this step, and go on to the end.
    fn stops(&self, moment: usize, level: usize, first: usize, found: &mut dyn FnMut(Stops)) {
        let hits = self.moments.at(moment);
        let (steps, ends) = union(hits);
        if steps >> first & 1 == 0 {
            return;
        }
        for last in bits(last_steps(self.rules, hits, first) & span(0..self.level)) {
            let after = last + 1;
            let follows = match (moment == self.last, after == self.level) {
                (true, true) => 0,
                (true, false) | (false, true) => continue,
                (false, false) => self.follows(moment, after),
            };
            if follows == NEVER {
                continue;
            }
            let watched = ends & self.rules.ends_between(level, after);
            if moment != self.last && watched != 0 && !are_covered(hits, watched, span(first..after)) {
                continue;
            }
            let own = optional_count(self.rules, hits, first, last) as u8;
            found(Stops { first, last, own, total: own + follows });
        }
    }

    fn best(&self, moment: usize, level: usize, first: usize) -> Option<u8> {
        let mut best = None;
        self.stops(moment, level, first, &mut |stops| best = best.max(Some(stops.total)));
        best
    }

    /// Fills `follows`, from the end back.
    fn look_back(&mut self) {
        let (rules, moments) = (self.rules, self.moments);
        let pairs: Vec<(usize, usize)> = (1..self.level)
            .flat_map(|level| rules.next_steps(level).map(move |step| (level, step)))
            .collect();
        let by_level: Vec<std::ops::Range<usize>> = (0..=self.level)
            .map(|level| {
                let of = |level: usize| pairs.partition_point(|(other, _)| *other < level);
                of(level)..of(level + 1)
            })
            .collect();
        let most = rules.optional.count_ones() as usize + 1;
        // By pair and number of optional steps: the nearest moment at which that many or more follow.
        let mut nearest: Vec<Option<usize>> = vec![None; pairs.len() * most];
        let mut by_step: Vec<Vec<usize>> = vec![Vec::new(); rules.step_count];
        pairs.iter().enumerate().for_each(|(place, (_, step))| by_step[*step].push(place));
        // By level: the nearest moment with something that excludes.
        let mut ended_at = vec![self.last; self.level + 1];
        for moment in (self.first..=self.last).rev() {
            let time = moments.time(moment);
            let (steps, ends) = union(moments.at(moment));
            for step in bits(steps & span(0..self.level)) {
                let level = step + 1;
                if level >= self.level || moment == self.last {
                    continue;
                }
                let reaches = |place: usize, count: usize| {
                    nearest[place * most + count].is_some_and(|next| {
                        next <= ended_at[level] && moments.time(next) - time <= rules.within[pairs[place].1]
                    })
                };
                let counts = by_level[level].clone();
                let best =
                    counts.filter_map(|place| (0..most).rev().find(|count| reaches(place, *count))).max();
                if let Some(best) = best {
                    *self.follow(moment, level) = best as u8;
                }
            }
            for step in bits(steps & span(0..self.level)) {
                for place in &by_step[step] {
                    if let Some(best) = self.best(moment, pairs[*place].0, step) {
                        nearest[place * most..place * most + usize::from(best) + 1].fill(Some(moment));
                    }
                }
            }
            if ends != 0 {
                for (level, ended) in ended_at.iter_mut().enumerate().skip(1) {
                    if ends & rules.ends_between(level, level) != 0 {
                        *ended = moment;
                    }
                }
            }
        }
    }

    /// Follows the best attempts to the end, and returns the stops of the one to tell.
    fn look_ahead(&self) -> Vec<Run> {
        let optional_left = self.best(self.first, 0, 0).expect("the walk came from here to the end");
        let seed = Way { level: 0, moment: self.first, optional_left, runs: Vec::new() };
        let mut ways = self.step(vec![seed], self.first);
        loop {
            if ways[0].moment == self.last {
                let earliest = ways.into_iter().min_by(|a, b| seats_of(a).cmp(seats_of(b)));
                return earliest.expect("there is a way").runs;
            }
            let next = ways.iter().filter_map(|way| self.latest(way)).max();
            ways = self.step(ways, next.expect("the end can be reached"));
        }
    }

    /// The latest moment at which an attempt can make its next stop.
    fn latest(&self, way: &Way) -> Option<usize> {
        let left_at = self.moments.time(way.moment);
        let mut latest = None;
        for moment in way.moment + 1..=self.last {
            let waited = self.moments.time(moment) - left_at;
            let can = |step: usize| {
                waited <= self.rules.within[step]
                    && self.best(moment, way.level, step) == Some(way.optional_left)
            };
            if self.rules.next_steps(way.level).any(can) {
                latest = Some(moment);
            }
            let (_, ends) = union(self.moments.at(moment));
            if ends & self.rules.ends_between(way.level, way.level) != 0 {
                break;
            }
        }
        latest
    }

    /// Takes the stops at a moment: as few as can be, so that the next event is later. Of ways that come to one level with
    /// as many optional steps ahead, the one with the earliest steps stays.
    fn step(&self, ways: Vec<Way>, moment: usize) -> Vec<Way> {
        let hits = self.moments.at(moment);
        let (time, (_, ends)) = (hits[0].time, union(hits));
        let mut fewest = usize::MAX;
        let mut found: Vec<Way> = Vec::new();
        for way in ways.iter().filter(|way| way.level == 0 || self.can_go(way, moment)) {
            let waited = time - self.moments.time(way.moment);
            let steps = if way.level == 0 { 0..1 } else { self.rules.next_steps(way.level) };
            for first in steps.filter(|step| waited <= self.rules.within[*step]) {
                self.stops(moment, way.level, first, &mut |stops| {
                    if stops.total != way.optional_left {
                        return;
                    }
                    let seats = seats(self.rules, hits, stops.first, stops.last);
                    if seats.len() > fewest {
                        return;
                    }
                    if seats.len() < fewest {
                        fewest = seats.len();
                        found.clear();
                    }
                    let after = stops.last + 1;
                    let is_end = moment == self.last;
                    let ends = if is_end { 0 } else { ends & self.rules.ends_between(way.level, after) };
                    let mut runs = way.runs.clone();
                    runs.push(Run { time, seats, ends });
                    let next =
                        Way { level: after, moment, optional_left: way.optional_left - stops.own, runs };
                    let alike = found
                        .iter_mut()
                        .find(|other| (other.level, other.optional_left) == (next.level, next.optional_left));
                    match alike {
                        Some(other) if seats_of(&next).lt(seats_of(other)) => *other = next,
                        Some(_) => {}
                        None => found.push(next),
                    }
                });
            }
        }
        found
    }

    /// Whether nothing ends an attempt before a moment.
    fn can_go(&self, way: &Way, moment: usize) -> bool {
        let between = way.moment + 1..moment;
        let watched = self.rules.ends_between(way.level, way.level);
        watched == 0 || between.into_iter().all(|moment| union(self.moments.at(moment)).1 & watched == 0)
    }
}

fn seats_of(way: &Way) -> impl Iterator<Item = u8> + '_ {
    way.runs.iter().flat_map(|run| run.seats.iter().copied())
}
