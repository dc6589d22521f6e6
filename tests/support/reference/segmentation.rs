//! Segmentation: a measure of events for each bucket, series and value.

use std::collections::{BTreeMap, BTreeSet};

use flywheeldb::api::Json;
use flywheeldb::model::{Event, TimeMs};

use super::Refusal;
use super::calendar::{Bucket, Interval, calendar_days};
use super::filter::Selector;
use super::formula;
use super::measure::{Measure, cell, real};
use super::question::{Question, field, items, text};
use super::split::{Key, Split};
use crate::support::reading;
use crate::support::tables::Row;

/// One series and all its events, those outside the range included.
struct Series<'a> {
    name: String,
    measure: Measure,
    events: Vec<&'a Event>,
}

/// A range that is told: the asked one, or that before it. `[from, to)` in buckets.
struct Range {
    from: TimeMs,
    to: TimeMs,
    buckets: Vec<Bucket>,
}

pub fn answer(question: &Question) -> Result<Vec<Row>, Refusal> {
    question
        .check_fields(&["series", "interval", "rolling", "cumulative", "formula", "as", "compare"], &[])?;
    let split = Split::read(question)?;
    let interval = question.interval()?.unwrap_or(Interval::Day);
    let ranges = ranges(question, interval)?;
    let list = question.field("series").map(items).transpose()?.unwrap_or_default();
    let series: Vec<Series> = list
        .iter()
        .zip('A'..='Z')
        .map(|(json, letter)| Series::read(question, &split, json, letter))
        .collect::<Result<_, _>>()?;
    let formula = question.text("formula")?;
    let lines: Vec<Line> = match formula {
        Some(_) => vec![Line::new(question, &split, &ranges, series.iter().collect())?],
        None => {
            let line = |series| Line::new(question, &split, &ranges, vec![series]);
            series.iter().map(line).collect::<Result<_, _>>()?
        }
    };
    let mut rows = Vec::new();
    for (index, bucket) in ranges[0].buckets.iter().enumerate() {
        for line in &lines {
            let name = match formula {
                Some(_) => question.text("as")?.unwrap_or("formula"),
                None => &line.series[0].name,
            };
            for key in &line.keys {
                for (compare, range) in ranges.iter().enumerate() {
                    let mut row = vec![
                        ("time".to_owned(), question.calendar.told(interval, bucket.start)),
                        ("series".to_owned(), Json::String(name.to_owned())),
                    ];
                    row.extend(split.columns(key));
                    if ranges.len() > 1 {
                        row.push(("compare".to_owned(), reading::count(compare)));
                    }
                    let value = match range.buckets.get(index) {
                        Some(bucket) => line.value(question, range, *bucket, key, formula)?,
                        // The range before has fewer buckets: there is nothing beside this one.
                        None => Json::Null,
                    };
                    row.push(("value".to_owned(), value));
                    rows.push(row);
                }
            }
        }
    }
    Ok(rows)
}

/// The asked range, and with `compare` the same so long before.
fn ranges(question: &Question, interval: Interval) -> Result<Vec<Range>, Refusal> {
    let range =
        |from: TimeMs, to: TimeMs| Range { from, to, buckets: question.calendar.buckets(interval, from, to) };
    let mut ranges = vec![range(question.from(), question.to)];
    if let Some(back) = question.field("compare") {
        let from = question.calendar.time(back, question.from())?;
        let to = question.calendar.time(back, question.to)?;
        ranges.push(range(from, to.max(from)));
    }
    Ok(ranges)
}

impl Range {
    fn holds(&self, time: TimeMs) -> bool {
        self.from <= time && time < self.to
    }

    /// Where the events that count for a bucket lie: in it, in a trailing window that ends with it, or so far.
    fn counted(&self, question: &Question, bucket: Bucket) -> Result<Bucket, Refusal> {
        let cumulative = question.flag("cumulative")?;
        let start = match question.field("rolling") {
            Some(_) if cumulative => return Err(Refusal::Invalid("rolling and cumulative".to_owned())),
            Some(days) => question.calendar.days_before(bucket.end, calendar_days(days)?),
            None if cumulative => self.from,
            None => bucket.start.max(self.from),
        };
        Ok(Bucket { start, end: bucket.end.min(self.to) })
    }

    /// Whether an event counts for any bucket.
    fn looks_at(&self, question: &Question, time: TimeMs) -> Result<bool, Refusal> {
        let first = self.buckets.first().map(|first| self.counted(question, *first)).transpose()?;
        let start = first.map_or(self.from, |first| first.start.min(self.from));
        Ok(start <= time && time < self.to)
    }
}

impl<'a> Series<'a> {
    fn read(question: &'a Question, split: &Split, json: &Json, letter: char) -> Result<Series<'a>, Refusal> {
        let selector =
            field(json, "event").ok_or_else(|| Refusal::Invalid("a series has an event".into()))?;
        let selector = Selector::read(question, selector)?;
        let measure = Measure::read(field(json, "measure"))?;
        let mut events = question.matching(&selector);
        events.retain(|event| question.owner(event).is_some());
        if matches!(measure, Measure::FirstTimeUsers) {
            events = firsts(question, split, events);
        }
        let name = text(json, "as")?.map_or(letter.to_string(), str::to_owned);
        Ok(Series { name, measure, events })
    }
}

/// The first event of each user; of several at that time the one with the smallest value of the breakdown.
fn firsts<'a>(question: &Question, split: &Split, events: Vec<&'a Event>) -> Vec<&'a Event> {
    let mut by_user: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events {
        by_user.entry(question.owner(event).expect("others were left out")).or_default().push(event);
    }
    let first = |events: Vec<&'a Event>| {
        events.into_iter().min_by_key(|event| (event.time, split.keys(question, event)))
    };
    by_user.into_values().filter_map(first).collect()
}

/// What is told under one name: a series, or with a formula all of them.
struct Line<'a> {
    series: Vec<&'a Series<'a>>,
    /// The rows to tell.
    keys: BTreeSet<Key>,
    /// Each event that is looked at: the index of its series, and its rows.
    events: Vec<(usize, &'a Event, BTreeSet<Key>)>,
}

impl<'a> Line<'a> {
    /// The values kept are those with most of the first series' measure in the asked range.
    fn new(
        question: &Question,
        split: &Split,
        ranges: &[Range],
        series: Vec<&'a Series<'a>>,
    ) -> Result<Line<'a>, Refusal> {
        let mut events: Vec<(usize, &Event)> = Vec::new();
        for (index, series) in series.iter().enumerate() {
            for event in &series.events {
                let looks = ranges.iter().map(|range| range.looks_at(question, event.time));
                if looks.collect::<Result<Vec<_>, _>>()?.contains(&true) {
                    events.push((index, event));
                }
            }
        }
        let keys = split.fold(
            &events,
            |(_, event)| split.keys(question, event),
            |events| {
                let ranked =
                    events.iter().filter(|(index, event)| *index == 0 && ranges[0].holds(event.time));
                let ranked: Vec<&Event> = ranked.map(|(_, event)| *event).collect();
                series[0].measure.of(question, &ranked)
            },
        );
        let rows = split.rows(keys.iter());
        let events = events.into_iter().zip(keys).map(|((index, event), keys)| (index, event, keys));
        Ok(Line { series, keys: rows, events: events.collect() })
    }

    fn value(
        &self,
        question: &Question,
        range: &Range,
        bucket: Bucket,
        key: &Key,
        formula: Option<&str>,
    ) -> Result<Json, Refusal> {
        let window = range.counted(question, bucket)?;
        let value = |index: usize| {
            let events = self
                .events
                .iter()
                .filter(|(of, event, keys)| *of == index && window.holds(event.time) && keys.contains(key));
            let events: Vec<&Event> = events.map(|(_, event, _)| *event).collect();
            self.series[index].measure.of(question, &events)
        };
        let Some(formula) = formula else { return Ok(cell(value(0))) };
        let letter = |letter: char| {
            let index = ('A'..='Z').position(|known| known == letter).expect("a letter");
            (index < self.series.len()).then(|| value(index)).flatten().map(|number| number.to_f64())
        };
        Ok(cell(formula::evaluate(formula, &letter)?.map(real)))
    }
}
