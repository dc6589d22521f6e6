//! Stickiness: on how many intervals of a period users are active.

use std::collections::{BTreeMap, BTreeSet};

use flywheeldb::api::Json;

use super::Refusal;
use super::calendar::{Bucket, Interval, trailing_count};
use super::filter::Selector;
use super::measure::{cell, share, whole};
use super::question::{Question, count};
use super::split::{Key, Split};
use super::visits::{Visit, split_visits};
use crate::support::reading;
use crate::support::tables::Row;

/// Some intervals that are looked at together, and how they are told.
struct Group {
    told: Json,
    intervals: Vec<Bucket>,
}

enum Period {
    Calendar(Interval),
    Trailing(usize),
}

const KNOWN_FIELDS: [&str; 6] = ["event", "interval", "period", "cumulative", "at_least", "ratio"];

pub fn answer(question: &Question) -> Result<Vec<Row>, Refusal> {
    question.check_fields(&KNOWN_FIELDS, &[])?;
    let interval = question.interval()?.unwrap_or(Interval::Day);
    let period = match question.text("period")? {
        None => Period::Calendar(Interval::Month),
        Some(text) => match Interval::read(text) {
            Ok(unit) => Period::Calendar(unit),
            Err(_) => Period::Trailing(trailing_count(text, interval)?),
        },
    };
    let is_ratio = question.flag("ratio")?;
    let groups = match period {
        _ if is_ratio => windows(question, interval, &period),
        Period::Calendar(unit) => periods(question, interval, unit),
        Period::Trailing(count) => {
            let last = question.calendar.bucket_of(interval, question.to - 1);
            let intervals = ending_with(question, interval, last, count);
            let told = question.calendar.told(interval, intervals[0].start);
            vec![Group { told, intervals }]
        }
    };
    let all: BTreeSet<Bucket> = groups.iter().flat_map(|group| &group.intervals).copied().collect();
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return Ok(Vec::new()) };
    let looked_at = Bucket { start: first.start, end: last.end };
    let first_counted = match groups.first() {
        Some(group) if is_ratio => group.intervals[group.intervals.len() - 1],
        _ => *first,
    };
    let counted = Bucket { start: first_counted.start, end: last.end };
    let any = Json::String("*".to_owned());
    let selector = Selector::read(question, question.field("event").unwrap_or(&any))?;
    let (split, visits) = split_visits(question, &selector, looked_at, counted)?;
    let visits: Vec<Visit> = visits.into_iter().filter(|visit| looked_at.holds(visit.time)).collect();
    let row_keys = split.rows(visits.iter().map(|visit| &visit.keys));
    let at_least = question.field("at_least").map(count).transpose()?.unwrap_or(1);
    let mut rows = Vec::new();
    for group in &groups {
        for key in &row_keys {
            let active = active(&visits, key, &group.intervals, at_least);
            let name = || name(&split, group, key);
            if is_ratio {
                rows.push(name().into_iter().chain(ratio(&active, group)).collect());
            } else {
                let is_cumulative = question.flag("cumulative")?;
                rows.extend(
                    histogram(&active, group, is_cumulative)
                        .map(|row| name().into_iter().chain(row).collect()),
                );
            }
        }
    }
    Ok(rows)
}

fn name(split: &Split, group: &Group, key: &Key) -> Row {
    let mut name = vec![("time".to_owned(), group.told.clone())];
    name.extend(split.columns(key));
    name
}

/// The calendar periods that the range touches. An interval belongs to the one it starts in.
fn periods(question: &Question, interval: Interval, unit: Interval) -> Vec<Group> {
    let calendar = &question.calendar;
    let group = |period: Bucket| {
        let intervals = calendar.buckets(interval, period.start, period.end);
        let intervals = intervals.into_iter().filter(|bucket| period.holds(bucket.start)).collect();
        Group { told: calendar.told(unit, period.start), intervals }
    };
    calendar.buckets(unit, question.from(), question.to).into_iter().map(group).collect()
}

/// For each interval of the range the period that ends with it.
fn windows(question: &Question, interval: Interval, period: &Period) -> Vec<Group> {
    let calendar = &question.calendar;
    let group = |told: Bucket| {
        let intervals = match period {
            Period::Trailing(count) => ending_with(question, interval, told, *count),
            Period::Calendar(unit) => {
                let start = calendar.unit_before(*unit, told.end);
                let intervals = calendar.buckets(interval, start, told.end);
                intervals.into_iter().filter(|bucket| start <= bucket.start || *bucket == told).collect()
            }
        };
        Group { told: calendar.told(interval, told.start), intervals }
    };
    calendar.buckets(interval, question.from(), question.to).into_iter().map(group).collect()
}

/// So many intervals up to a last one.
fn ending_with(question: &Question, interval: Interval, last: Bucket, count: usize) -> Vec<Bucket> {
    let mut intervals = vec![last];
    while intervals.len() < count {
        intervals.push(question.calendar.bucket_of(interval, intervals[intervals.len() - 1].start - 1));
    }
    intervals.reverse();
    intervals
}

/// The intervals that each user of a row is active on.
fn active<'a>(
    visits: &[Visit<'a>],
    key: &Key,
    intervals: &[Bucket],
    at_least: usize,
) -> BTreeMap<&'a str, BTreeSet<Bucket>> {
    let mut events: BTreeMap<(&str, Bucket), usize> = BTreeMap::new();
    for visit in visits.iter().filter(|visit| visit.keys.contains(key)) {
        if let Some(interval) = intervals.iter().find(|interval| interval.holds(visit.time)) {
            *events.entry((visit.owner, *interval)).or_default() += 1;
        }
    }
    let mut active: BTreeMap<&str, BTreeSet<Bucket>> = BTreeMap::new();
    for ((owner, interval), _) in events.into_iter().filter(|(_, count)| *count >= at_least) {
        active.entry(owner).or_default().insert(interval);
    }
    active
}

fn histogram<'a>(
    active: &'a BTreeMap<&str, BTreeSet<Bucket>>,
    group: &Group,
    is_cumulative: bool,
) -> impl Iterator<Item = Row> + 'a {
    (1..=group.intervals.len()).map(move |intervals| {
        let counts = active.values().map(BTreeSet::len);
        let meant =
            counts.filter(|count| if is_cumulative { *count >= intervals } else { *count == intervals });
        let users = meant.count();
        vec![
            ("intervals".to_owned(), reading::count(intervals)),
            ("users".to_owned(), reading::count(users)),
            ("share".to_owned(), cell(share(whole(users), active.len()))),
        ]
    })
}

fn ratio(active: &BTreeMap<&str, BTreeSet<Bucket>>, group: &Group) -> Row {
    let last = group.intervals[group.intervals.len() - 1];
    let now = active.values().filter(|intervals| intervals.contains(&last)).count();
    vec![
        ("active".to_owned(), reading::count(now)),
        ("active_in_period".to_owned(), reading::count(active.len())),
        ("ratio".to_owned(), cell(share(whole(now), active.len()))),
    ]
}
