//! Segmentation: a measure of events for each bucket, series and value.

use std::collections::BTreeMap;

use flywheeldb::api::Json;
use flywheeldb::model::{Entity, Event};

use super::Refusal;
use super::calendar::{Bucket, Interval, calendar_days};
use super::filter::Selector;
use super::formula;
use super::measure::{Measure, cell, real};
use super::question::{Question, field, items, text};
use super::split::{Key, Split};
use crate::support::tables::Row;

/// One series and all its events, those outside the range included.
struct Series<'a> {
    name: String,
    measure: Measure,
    events: Vec<&'a Event>,
}

pub fn answer(question: &Question) -> Result<Vec<Row>, Refusal> {
    question.check_fields(&["series", "interval", "rolling", "cumulative", "formula", "as"], &["compare"])?;
    if question.entity == Entity::Account {
        return Err(Refusal::NotCovered("segmentation of accounts".to_owned()));
    }
    let split = Split::read(question)?;
    let interval = question.interval()?.unwrap_or(Interval::Day);
    let buckets = question.calendar.buckets(interval, question.from(), question.to);
    let list = question.field("series").map(items).transpose()?.unwrap_or_default();
    let series: Vec<Series> = list
        .iter()
        .zip('A'..='Z')
        .map(|(json, letter)| Series::read(question, &split, json, letter))
        .collect::<Result<_, _>>()?;
    if let Some(formula) = question.text("formula")? {
        return formula_rows(question, interval, &buckets, &series, formula);
    }
    let columns: Vec<Vec<Column>> =
        series.iter().map(|series| columns(question, &split, series)).collect::<Result<_, _>>()?;
    let mut rows = Vec::new();
    for bucket in &buckets {
        for (series, columns) in series.iter().zip(&columns) {
            for column in columns {
                let mut row = vec![
                    ("time".to_owned(), question.calendar.told(interval, bucket.start)),
                    ("series".to_owned(), Json::String(series.name.clone())),
                ];
                row.extend(split.columns(&column.key));
                let counted = counted(question, &column.events, *bucket)?;
                row.push(("value".to_owned(), cell(series.measure.of(&counted))));
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

impl<'a> Series<'a> {
    fn read(question: &'a Question, split: &Split, json: &Json, letter: char) -> Result<Series<'a>, Refusal> {
        let selector =
            field(json, "event").ok_or_else(|| Refusal::Invalid("a series has an event".into()))?;
        let selector = Selector::read(question, selector)?;
        let measure = Measure::read(field(json, "measure"))?;
        let mut events = question.matching(&selector);
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
        by_user.entry(&event.user).or_default().push(event);
    }
    let first = |events: Vec<&'a Event>| {
        events.into_iter().min_by_key(|event| (event.time, split.keys(question, event)))
    };
    by_user.into_values().filter_map(first).collect()
}

/// The events of one series that are in one row of the breakdown.
struct Column<'a> {
    key: Key,
    events: Vec<&'a Event>,
}

/// The rows of one series. The values kept are those with most of the measure over the whole range.
fn columns<'a>(question: &Question, split: &Split, series: &Series<'a>) -> Result<Vec<Column<'a>>, Refusal> {
    if split.is_none() {
        return Ok(vec![Column { key: Key::new(), events: series.events.clone() }]);
    }
    if question.field("rolling").is_some() {
        return Err(Refusal::NotCovered("a rolling window with a breakdown".to_owned()));
    }
    let in_range: Vec<&Event> =
        series.events.iter().filter(|event| question.in_range(event.time)).copied().collect();
    let keys = split.fold(
        &in_range,
        |event| split.keys(question, event),
        |events| series.measure.of(&events.iter().map(|event| **event).collect::<Vec<_>>()),
    );
    let column = |key: Key| {
        let events = in_range.iter().zip(&keys).filter(|(_, keys)| keys.contains(&key));
        Column { events: events.map(|(event, _)| *event).collect(), key }
    };
    Ok(split.rows(keys.iter()).into_iter().map(column).collect())
}

/// The events that count for a bucket: those in it, in a trailing window that ends with it, or so far.
fn counted<'a>(question: &Question, events: &[&'a Event], bucket: Bucket) -> Result<Vec<&'a Event>, Refusal> {
    let cumulative = question.flag("cumulative")?;
    let end = bucket.end.min(question.to);
    let start = match question.field("rolling") {
        Some(_) if cumulative => return Err(Refusal::NotCovered("rolling and cumulative".to_owned())),
        Some(days) => question.calendar.days_before(bucket.end, calendar_days(days)?),
        None if cumulative => question.from(),
        None => bucket.start.max(question.from()),
    };
    Ok(events.iter().filter(|event| start <= event.time && event.time < end).copied().collect())
}

/// With a formula only its rows are told.
fn formula_rows(
    question: &Question,
    interval: Interval,
    buckets: &[Bucket],
    series: &[Series],
    formula: &str,
) -> Result<Vec<Row>, Refusal> {
    if question.field("breakdown").is_some() {
        return Err(Refusal::NotCovered("a formula with a breakdown".to_owned()));
    }
    let name = question.text("as")?.unwrap_or("formula");
    let mut rows = Vec::new();
    for bucket in buckets {
        let mut values = BTreeMap::new();
        for (series, letter) in series.iter().zip('A'..='Z') {
            let counted = counted(question, &series.events, *bucket)?;
            values.insert(letter, series.measure.of(&counted).map(|number| number.to_f64()));
        }
        let value = formula::evaluate(formula, &|letter| values.get(&letter).copied().flatten())?;
        rows.push(vec![
            ("time".to_owned(), question.calendar.told(interval, bucket.start)),
            ("series".to_owned(), Json::String(name.to_owned())),
            ("value".to_owned(), cell(value.map(real))),
        ]);
    }
    Ok(rows)
}
