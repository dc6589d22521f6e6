//! Whose value a told attempt has: attribution, and which event it is where several tie in time.

use std::cmp::Ordering;

use super::births::combined;
use super::funnel_any::can_be;
use super::funnel_rules::{Hit, Moments, Rules, Run, Told, bits};
use super::funnel_seats::{Matching, are_covered};
use crate::api::Attribution;
use crate::model::TimeMs;

/// For each property the values of an event or an attempt, by their places in the order of rows, ascending.
pub(super) type Values = Vec<Vec<u32>>;

/// Orders values as their combinations are ordered.
fn compare(a: &Values, b: &Values) -> Ordering {
    if let ([a], [b]) = (a.as_slice(), b.as_slice()) {
        return a.cmp(b);
    }
    combinations(a).cmp(&combinations(b))
}

/// The rows that values make. Who is in none of the cohorts of a breakdown is in no row, but the values of its other
/// properties are counted: they order it all the same.
fn combinations(values: &Values) -> Vec<Vec<u32>> {
    combined(values, u32::MAX)
}

/// The values that two have in common. `None` if of one property there are none.
fn common(a: &Values, b: &Values) -> Option<Values> {
    let of_property = |(a, b): (&Vec<u32>, &Vec<u32>)| -> Option<Vec<u32>> {
        let both: Vec<u32> = a.iter().filter(|value| b.contains(value)).copied().collect();
        (!both.is_empty()).then_some(both)
    };
    a.iter().zip(b).map(of_property).collect()
}

/// Keeps the smaller.
pub(super) fn smaller(best: &mut Option<Values>, values: Values) {
    if best.as_ref().is_none_or(|best| compare(&values, best).is_lt()) {
        *best = Some(values);
    }
}

/// The events of a user, and what values each has.
pub(super) struct Chooser<'a> {
    pub rules: &'a Rules,
    /// In order.
    pub hits: &'a [Hit],
    pub attribution: Attribution,
    pub values: &'a dyn Fn(&Hit) -> Values,
}

/// A step that an event of a moment is taken for, and which event if that is settled.
#[derive(Clone, Copy)]
struct Seat {
    attempt: usize,
    step: u8,
    hit: Option<usize>,
}

impl Chooser<'_> {
    /// The values of attempts that are told side by side, in order; `None` if one is in no row.
    pub fn choose(&self, attempts: &[Told]) -> Vec<Option<Values>> {
        // Seats of all attempts by moment: attempts share no event.
        let mut tables: Vec<(TimeMs, u64, Vec<Seat>)> = Vec::new();
        for (attempt, told) in attempts.iter().enumerate() {
            for Run { time, seats, ends } in &told.runs {
                let seats = seats.iter().map(|step| Seat { attempt, step: *step, hit: None });
                match tables.last_mut().filter(|(other, ..)| other == time) {
                    Some((_, all_ends, all)) => {
                        *all_ends |= ends;
                        all.extend(seats);
                    }
                    None => tables.push((*time, *ends, seats.collect())),
                }
            }
        }
        let mut chosen = Vec::with_capacity(attempts.len());
        for (attempt, told) in attempts.iter().enumerate() {
            let step = match self.attribution {
                Attribution::First => told.seats().next(),
                Attribution::Last => told.seats().last(),
                Attribution::Step(step) => told.seats().find(|seat| usize::from(*seat) + 1 == step),
                Attribution::All => {
                    chosen.push(self.of_all(attempt, &mut tables));
                    continue;
                }
            };
            chosen.push(step.and_then(|step| self.of_step(attempt, step, &mut tables)));
        }
        chosen
    }

    fn at(&self, time: TimeMs) -> &[Hit] {
        let start = self.hits.partition_point(|hit| hit.time < time);
        let count = self.hits[start..].partition_point(|hit| hit.time == time);
        &self.hits[start..start + count]
    }

    /// The smallest values that the event of one step can have.
    fn of_step(&self, attempt: usize, step: u8, tables: &mut [(TimeMs, u64, Vec<Seat>)]) -> Option<Values> {
        let is_meant = |seat: &Seat| (seat.attempt, seat.step) == (attempt, step);
        let (time, ends, seats) = tables.iter_mut().find(|(.., seats)| seats.iter().any(is_meant))?;
        let place = seats.iter().position(is_meant)?;
        let hits = self.at(*time);
        let mut best: Option<(Values, usize)> = None;
        // Alike events can be taken for the same.
        let mut judged: Option<(&Hit, bool)> = None;
        for (index, hit) in hits.iter().enumerate() {
            if seats.iter().any(|seat| seat.hit == Some(index)) {
                continue;
            }
            let alike = judged.filter(|(other, _)| (other.steps, other.ends) == (hit.steps, hit.ends));
            let can = match alike {
                Some((_, can)) => can,
                None => {
                    seats[place].hit = Some(index);
                    is_possible(hits, seats, *ends)
                }
            };
            judged = Some((hit, can));
            if can {
                let values = (self.values)(hit);
                if best.as_ref().is_none_or(|(best, _)| compare(&values, best).is_lt()) {
                    best = Some((values, index));
                }
            }
        }
        seats[place].hit = best.as_ref().map(|(_, index)| *index);
        best.map(|(values, _)| values)
    }

    /// The smallest values that all events of the attempt can have in common.
    fn of_all(&self, attempt: usize, tables: &mut [(TimeMs, u64, Vec<Seat>)]) -> Option<Values> {
        let mut places = Vec::new();
        for (table, (.., seats)) in tables.iter().enumerate() {
            let own = seats.iter().enumerate().filter(|(_, seat)| seat.attempt == attempt);
            places.extend(own.map(|(seat, _)| (table, seat)));
        }
        let mut best: Option<(Values, Vec<usize>)> = None;
        self.take(&places, None, &mut Vec::new(), tables, &mut best);
        let (values, taken) = best?;
        for ((table, seat), hit) in places.into_iter().zip(taken) {
            tables[table].2[seat].hit = Some(hit);
        }
        Some(values)
    }

    /// Takes an event for each of the seats in turn, as long as all have a value in common.
    fn take(
        &self,
        places: &[(usize, usize)],
        so_far: Option<Values>,
        taken: &mut Vec<usize>,
        tables: &mut [(TimeMs, u64, Vec<Seat>)],
        best: &mut Option<(Values, Vec<usize>)>,
    ) {
        let Some(((table, seat), rest)) = places.split_first() else {
            let values = so_far.expect("an attempt has a first event");
            if best.as_ref().is_none_or(|(best, _)| compare(&values, best).is_lt()) {
                *best = Some((values, taken.clone()));
            }
            return;
        };
        let hits = self.at(tables[*table].0);
        let mut tried: Vec<(u64, u64, Values)> = Vec::new();
        for (index, hit) in hits.iter().enumerate() {
            if tables[*table].2.iter().any(|seat| seat.hit == Some(index)) {
                continue;
            }
            let alike = (hit.steps, hit.ends, (self.values)(hit));
            if tried.contains(&alike) {
                continue;
            }
            let shared = match &so_far {
                Some(values) => common(values, &alike.2),
                None => Some(alike.2.clone()),
            };
            tried.push(alike);
            let Some(shared) = shared else { continue };
            let (_, ends, seats) = &mut tables[*table];
            seats[*seat].hit = Some(index);
            if is_possible(hits, seats, *ends) {
                taken.push(index);
                self.take(rest, Some(shared), taken, tables, best);
                taken.pop();
            }
            tables[*table].2[*seat].hit = None;
        }
    }

    /// The same where steps come in any order: an event counts for one step, whichever.
    pub fn choose_in_any_order(&self, told: &Told) -> Option<Values> {
        let count = told.seats().count();
        let number = match self.attribution {
            Attribution::First => 0,
            Attribution::Last => count - 1,
            Attribution::Step(step) => step - 1,
            Attribution::All => return self.of_all_in_any_order(told),
        };
        let time = told.times().nth(number)?;
        let moments = Moments::new(self.hits);
        let mut best = None;
        let mut judged: Option<(&Hit, bool)> = None;
        for hit in self.at(time) {
            let alike = judged.filter(|(other, _)| (other.steps, other.ends) == (hit.steps, hit.ends));
            let can = alike.map_or_else(|| can_be(self.rules, &moments, told, number, hit), |(_, can)| can);
            judged = Some((hit, can));
            if can {
                smaller(&mut best, (self.values)(hit));
            }
        }
        best
    }

    fn of_all_in_any_order(&self, told: &Told) -> Option<Values> {
        let mut best = None;
        let times: Vec<TimeMs> = told.times().collect();
        self.take_in_any_order(&times, None, &mut Vec::new(), &mut best);
        best
    }

    fn take_in_any_order(
        &self,
        times: &[TimeMs],
        so_far: Option<Values>,
        taken: &mut Vec<Hit>,
        best: &mut Option<Values>,
    ) {
        let Some((time, rest)) = times.split_first() else {
            if self.includes_what_excludes(taken)
                && let Some(values) = so_far
            {
                smaller(best, values);
            }
            return;
        };
        let mut tried: Vec<(u64, u64, Values)> = Vec::new();
        for hit in self.at(*time) {
            // Events of one moment are taken in their order, so that no choice is made twice.
            let is_next = taken.last().is_none_or(|last| last < hit);
            let alike = (hit.steps, hit.ends, (self.values)(hit));
            if !is_next || tried.contains(&alike) {
                continue;
            }
            let shared = match &so_far {
                Some(values) => common(values, &alike.2),
                None => Some(alike.2.clone()),
            };
            tried.push(alike);
            let Some(shared) = shared else { continue };
            taken.push(*hit);
            if are_independent(self.rules, taken) {
                self.take_in_any_order(rest, Some(shared), taken, best);
            }
            taken.pop();
        }
    }

    /// Whether every event between the first and the last that excludes is one of those taken.
    fn includes_what_excludes(&self, taken: &[Hit]) -> bool {
        let (Some(first), Some(last)) = (taken.first(), taken.last()) else { return false };
        let between = self.hits.iter().filter(|hit| first.time < hit.time && hit.time < last.time);
        between.filter(|hit| hit.ends != 0).all(|hit| taken.contains(hit))
    }
}

/// Whether each can be taken for another step.
fn are_independent(rules: &Rules, hits: &[Hit]) -> bool {
    let mut matching = Matching::new(rules.step_count);
    (0..hits.len()).all(|hit| matching.add(hit, &|hit: usize, step| hits[hit].steps >> step & 1 == 1))
}

/// Whether the seats that are not settled can be filled with other events, and what excludes is among those that are taken.
fn is_possible(hits: &[Hit], seats: &[Seat], ends: u64) -> bool {
    let settled = |index: usize| seats.iter().any(|seat| seat.hit == Some(index));
    let fits = |seat: &Seat| seat.hit.is_none_or(|hit| hits[hit].steps >> seat.step & 1 == 1);
    if !seats.iter().all(fits) {
        return false;
    }
    let left: Vec<Hit> =
        hits.iter().enumerate().filter(|(index, _)| !settled(*index)).map(|(_, hit)| *hit).collect();
    let open: Vec<u8> = seats.iter().filter(|seat| seat.hit.is_none()).map(|seat| seat.step).collect();
    let mut matching = Matching::new(left.len());
    let joins = |seat: usize, hit: usize| left[hit].steps >> open[seat] & 1 == 1;
    if !(0..open.len()).all(|seat| matching.add(seat, &joins)) {
        return false;
    }
    // Where something excludes there is one attempt, which fills no step twice.
    let steps = open.iter().fold(0, |steps, step| steps | 1 << step);
    ends == 0 || are_covered(&left, ends, steps) && bits(steps).count() == open.len()
}
