//! Drivers: which early behaviour goes with an outcome.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use flywheeldb::api::Json;
use flywheeldb::model::{Event, WEEK_MS};

use super::Refusal;
use super::calendar::{Interval, duration};
use super::filter::Selector;
use super::growth_model::{PARTS, part};
use super::measure::{cell, real, share, whole};
use super::question::{Question, count, field, items};
use super::signups::{Signup, signups};
use super::split::{Key, Split};
use crate::support::reading;
use crate::support::tables::Row;

struct Birth<'a> {
    signup: Signup<'a>,
    has_outcome: bool,
    /// By candidate: how many events.
    counts: Vec<usize>,
    keys: BTreeSet<Key>,
}

struct Study<'a> {
    split: Split,
    candidates: Vec<(String, Selector)>,
    births: Vec<Birth<'a>>,
}

pub fn answer(question: &Question) -> Result<Vec<Row>, Refusal> {
    let study = read(question)?;
    let thresholds: BTreeSet<usize> = match question.field("thresholds") {
        Some(list) => items(list)?.iter().map(count).collect::<Result<_, _>>()?,
        None => BTreeSet::from([1, 2, 3, 5, 10]),
    };
    let row_keys = study.split.rows(study.births.iter().map(|birth| &birth.keys));
    let interval = question.interval()?;
    let buckets =
        question.calendar.buckets(interval.unwrap_or(Interval::Total), question.from(), question.to);
    let mut rows = Vec::new();
    for bucket in buckets {
        for key in &row_keys {
            let births = study.births.iter().filter(|b| bucket.holds(b.signup.time) && b.keys.contains(key));
            let births: Vec<&Birth> = births.collect();
            let mut found: Vec<(Four, &str, usize)> = Vec::new();
            for (index, (label, _)) in study.candidates.iter().enumerate() {
                for threshold in &thresholds {
                    let did = |birth: &&&Birth| birth.counts[index] >= *threshold;
                    let with = |birth: &&&Birth| birth.has_outcome;
                    let four = Four {
                        all: births.len(),
                        with: births.iter().filter(with).count(),
                        did: births.iter().filter(did).count(),
                        both: births.iter().filter(did).filter(with).count(),
                    };
                    if four.did > 0 {
                        found.push((four, label, *threshold));
                    }
                }
            }
            found.sort_by(|a, b| a.0.before(&b.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
            for (four, label, threshold) in found {
                let time = interval
                    .map(|interval| ("time".to_owned(), question.calendar.told(interval, bucket.start)));
                let mut row: Row = time.into_iter().collect();
                row.extend(study.split.columns(key));
                row.push(("event".to_owned(), Json::String(label.to_owned())));
                row.push(("at_least".to_owned(), reading::count(threshold)));
                row.extend(four.cells());
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

/// Those whom a cell of a table without a breakdown or interval counts.
pub fn members_of_cell(question: &Question, meant: &Json) -> Result<BTreeSet<String>, Refusal> {
    let study = read(question)?;
    let event = field(meant, "event").map(reading::string);
    let index = study.candidates.iter().position(|(label, _)| Some(label) == event.as_ref());
    let index = index.ok_or_else(|| Refusal::Invalid("no such candidate".to_owned()))?;
    let at_least = field(meant, "at_least").map(count).transpose()?;
    let at_least = at_least.ok_or_else(|| Refusal::Invalid("no threshold".to_owned()))?;
    let did = field(meant, "state").is_none_or(|state| reading::string(state) == "did");
    let births = study.births.iter().filter(|birth| (birth.counts[index] >= at_least) == did);
    Ok(births.map(|birth| birth.signup.owner.to_owned()).collect())
}

fn read<'a>(question: &'a Question) -> Result<Study<'a>, Refusal> {
    let own = ["birth", "window", "outcome", "candidates", "thresholds", "interval"];
    question.check_fields(&[&PARTS[..], &own].concat(), &[])?;
    let birth = question.field("birth").map_or_else(|| part(question, "signup"), Ok)?;
    let window = question.field("window").map(duration).transpose()?.unwrap_or(WEEK_MS);
    let outcome = question.field("outcome").ok_or_else(|| Refusal::Invalid("no outcome".to_owned()))?;
    let candidates: Vec<Json> = match question.field("candidates") {
        Some(list) => items(list)?.to_vec(),
        None => {
            let names: BTreeSet<&String> = question.events.iter().map(|event| &event.event).collect();
            names.into_iter().cloned().map(Json::String).collect()
        }
    };
    let candidates: Vec<(String, Selector)> = candidates
        .iter()
        .map(|json| Selector::read(question, json).map(|selector| (selector.label.clone(), selector)))
        .collect::<Result<_, _>>()?;
    let signups = signups(question, &Selector::read(question, birth)?);
    let split = Split::read_of_signups(question, &signups)?;
    // From the birth, when the outcome lies; `None` for a cohort.
    let span = match (field(outcome, "after"), field(outcome, "before")) {
        (None, None) => None,
        (after, before) => Some((
            after.map(duration).transpose()?.unwrap_or(window),
            before.map(duration).transpose()?.expect("an outcome has an end"),
        )),
    };
    let members = if span.is_none() { question.members(outcome)? } else { BTreeSet::new() };
    let mut births = Vec::new();
    for signup in signups {
        if span.is_some_and(|(_, before)| signup.time + before > question.as_of) {
            continue;
        }
        let has_outcome = match span {
            None => members.contains(signup.owner),
            Some((after, before)) => {
                let absence = field(outcome, "did_not");
                let selector = Selector::read(question, absence.or(field(outcome, "did")).expect("events"))?;
                let lies_there = |event: &&Event| {
                    question.owner(event) == Some(signup.owner)
                        && (signup.time + after..signup.time + before).contains(&event.time)
                };
                let found = question.matching(&selector).into_iter().filter(lies_there).count();
                let at_least = field(outcome, "at_least").map(count).transpose()?.unwrap_or(1);
                (found >= at_least) != absence.is_some()
            }
        };
        // What is told of the outcome is no behaviour that came before it.
        let is_early = |event: &&&Event| {
            event.time <= signup.time + window
                && span.is_none_or(|(after, _)| event.time < signup.time + after)
        };
        let counts = candidates
            .iter()
            .map(|(_, selector)| signup.later(question, selector).iter().filter(is_early).count())
            .collect();
        let keys = split.smallest_keys(question, &signup.tied);
        births.push(Birth { signup, has_outcome, counts, keys });
    }
    // The values that are kept are those of most births, decided or not.
    let all = self::signups(question, &Selector::read(question, birth)?);
    let all_keys: Vec<(&str, BTreeSet<Key>)> =
        all.iter().map(|signup| (signup.owner, split.smallest_keys(question, &signup.tied))).collect();
    let folded = split.fold(&all_keys, |(_, keys)| keys.clone(), |things| Some(whole(things.len())));
    for birth in &mut births {
        let place = all_keys.iter().position(|(owner, _)| *owner == birth.signup.owner);
        birth.keys = folded[place.expect("a birth is one of all")].clone();
    }
    Ok(Study { split, candidates, births })
}

/// How births fall.
struct Four {
    all: usize,
    with: usize,
    did: usize,
    both: usize,
}

impl Four {
    /// Numerator of phi, and the square of its denominator.
    fn phi(&self) -> Option<(i128, i128)> {
        let [all, with, did, both] = [self.all, self.with, self.did, self.both].map(|count| count as i128);
        let square = did * (all - did) * with * (all - with);
        (square > 0).then_some((all * both - did * with, square))
    }

    /// Highest phi first, null last. Counts of tests are small enough to multiply.
    fn before(&self, other: &Four) -> Ordering {
        match (self.phi(), other.phi()) {
            (Some((a, x)), Some((b, y))) => (b * b.abs() * x).cmp(&(a * a.abs() * y)),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }

    fn cells(&self) -> Row {
        let rate = |part: usize, of: usize| cell(share(whole(part), of));
        let lift = (self.with > 0)
            .then(|| real((self.both as f64 / self.did as f64) / (self.with as f64 / self.all as f64)));
        let phi = self.phi().map(|(numerator, square)| real(numerator as f64 / (square as f64).sqrt()));
        [
            ("users", reading::count(self.did)),
            ("rate_did", rate(self.both, self.did)),
            ("rate_did_not", rate(self.with - self.both, self.all - self.did)),
            ("lift", cell(lift)),
            ("precision", rate(self.both, self.did)),
            ("recall", rate(self.both, self.with)),
            ("phi", cell(phi)),
        ]
        .map(|(name, cell)| (name.to_owned(), cell))
        .to_vec()
    }
}
