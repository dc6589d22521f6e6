//! Limits: usage in a period against an allowance in a profile.

use std::collections::BTreeSet;

use flywheeldb::api::Json;
use flywheeldb::model::{Entity, Event, Number, TimeMs};

use super::Refusal;
use super::calendar::{Bucket, Interval};
use super::filter::Selector;
use super::growth_model::part;
use super::history::Reference;
use super::measure::{cell, percentile, real, share, whole};
use super::question::{Question, field, text};
use super::split::{Key, Split};
use crate::support::reading;
use crate::support::tables::Row;

/// Whoever has an allowance.
struct Allowed {
    id: String,
    allowance: Number,
    keys: BTreeSet<Key>,
}

pub fn answer(question: &Question) -> Result<Vec<Row>, Refusal> {
    question.check_fields(&["limit", "paid", "interval", "near", "outcome"], &[])?;
    let missing = || Refusal::Invalid("what the limit is, is not said".to_owned());
    let limit = part(question, "limit")?;
    let usage_part = field(limit, "usage").ok_or_else(missing)?;
    let per = Interval::read(text(usage_part, "per")?.ok_or_else(missing)?)?;
    let allowance = field(limit, "allowance").ok_or_else(missing)?;
    let property = text(allowance, "property")?.ok_or_else(missing)?;
    let usage = question.matching(&Selector::read(question, usage_part)?);
    let paid = match part(question, "paid") {
        Ok(paid) => Some(question.matching(&Selector::read(question, paid)?)),
        Err(_) => None,
    };
    let split = Split::read(question)?;
    let mut allowed: Vec<Allowed> = Vec::new();
    for id in question.everyone() {
        let value = question.reference.profile_value(question.entity, &id, property);
        let Some(allowance) = value.and_then(|value| value.as_number()) else { continue };
        if allowance >= Number::ZERO && question.lists(&id) {
            let keys = split.keys_of_profile(question, &id);
            allowed.push(Allowed { id, allowance, keys });
        }
    }
    let folded = split.fold(&allowed, |allowed| allowed.keys.clone(), |allowed| Some(whole(allowed.len())));
    allowed.iter_mut().zip(folded).for_each(|(allowed, keys)| allowed.keys = keys);
    let times = |events: &[&Event], id: &str| -> Vec<TimeMs> {
        let own = events.iter().filter(|event| question.owner(event) == Some(id));
        let mut times: Vec<TimeMs> = own.map(|event| event.time).collect();
        times.sort_unstable();
        times
    };
    let upgraded = |id: &str, reached: TimeMs| {
        let paid = times(paid.as_deref().unwrap_or_default(), id);
        paid.into_iter().find(|time| *time > reached)
    };
    if question.flag("outcome")? {
        if paid.is_none() {
            return Err(Refusal::Invalid("what paid is, is not said".to_owned()));
        }
        let reaches = |allowed: &Allowed| -> Vec<TimeMs> {
            let used = times(&usage, &allowed.id);
            let periods: BTreeSet<Bucket> =
                used.iter().map(|time| question.calendar.bucket_of(per, *time)).collect();
            periods.into_iter().filter_map(|period| reached(&used, period, allowed.allowance)).collect()
        };
        return outcome(question, &split, &allowed, reaches, upgraded);
    }
    let near = match question.field("near") {
        Some(Json::Number(near)) => *near,
        _ => real(0.8),
    };
    let period = question.calendar.bucket_of(per, question.to - 1);
    let mut lines: Vec<(Option<Number>, String, Key, Row)> = Vec::new();
    for allowed in &allowed {
        let used = times(&usage, &allowed.id);
        let count = used.iter().filter(|time| period.holds(**time)).count();
        let reached = reached(&used, period, allowed.allowance);
        let quotient = (allowed.allowance != Number::ZERO)
            .then(|| real(whole(count).to_f64() / allowed.allowance.to_f64()));
        let status = match quotient {
            None => "over",
            Some(share) if share >= Number::from(1) => "over",
            Some(share) if share >= near => "near",
            Some(_) => "ok",
        };
        let instant = |time: Option<TimeMs>| time.map_or(Json::Null, |time| question.calendar.instant(time));
        for key in &allowed.keys {
            let mut row = vec![(question.entity.name().to_owned(), Json::String(allowed.id.clone()))];
            row.extend(split.columns(key));
            row.push(("used".to_owned(), reading::count(count)));
            row.push(("allowance".to_owned(), Json::Number(allowed.allowance)));
            row.push(("share".to_owned(), cell(quotient)));
            row.push(("status".to_owned(), Json::String(status.to_owned())));
            row.push(("reached_at".to_owned(), instant(reached)));
            if paid.is_some() {
                let upgraded = reached.and_then(|reached| upgraded(&allowed.id, reached));
                row.push(("upgraded_at".to_owned(), instant(upgraded)));
            }
            lines.push((quotient, allowed.id.clone(), key.clone(), row));
        }
    }
    lines.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| (&a.1, &a.2).cmp(&(&b.1, &b.2))));
    Ok(lines.into_iter().map(|(_, _, _, row)| row).collect())
}

/// The time of the event of a period with which an allowance is used up.
fn reached(used: &[TimeMs], period: Bucket, allowance: Number) -> Option<TimeMs> {
    let in_period = used.iter().filter(|time| period.holds(**time));
    let mut counted = (1..).zip(in_period);
    counted.find(|(count, _)| whole(*count) >= allowance && allowance > Number::ZERO).map(|(_, time)| *time)
}

fn outcome(
    question: &Question,
    split: &Split,
    allowed: &[Allowed],
    reaches: impl Fn(&Allowed) -> Vec<TimeMs>,
    upgraded: impl Fn(&str, TimeMs) -> Option<TimeMs>,
) -> Result<Vec<Row>, Refusal> {
    let interval = question.interval()?.unwrap_or(Interval::Day);
    let buckets = question.calendar.buckets(interval, question.from(), question.to);
    let first_in = |allowed: &Allowed, bucket: &Bucket| {
        let reaches = reaches(allowed).into_iter();
        reaches.filter(|time| bucket.holds(*time) && question.in_range(*time)).min()
    };
    let reached_at_all =
        |allowed: &&Allowed| buckets.iter().any(|bucket| first_in(allowed, bucket).is_some());
    let keys: Vec<BTreeSet<Key>> =
        allowed.iter().filter(reached_at_all).map(|allowed| allowed.keys.clone()).collect();
    let rows = split.rows(keys.iter());
    let mut told = Vec::new();
    for bucket in &buckets {
        for key in &rows {
            let here: Vec<(&Allowed, TimeMs)> = allowed
                .iter()
                .filter(|allowed| allowed.keys.contains(key))
                .filter_map(|allowed| Some((allowed, first_in(allowed, bucket)?)))
                .collect();
            let took: Vec<Number> = here
                .iter()
                .filter_map(|(allowed, reached)| Some(upgraded(&allowed.id, *reached)? - reached))
                .map(|ms| real(ms as f64 / 1000.0))
                .collect();
            let mut row = vec![("time".to_owned(), question.calendar.told(interval, bucket.start))];
            row.extend(split.columns(key));
            row.push(("reached".to_owned(), reading::count(here.len())));
            row.push(("upgraded".to_owned(), reading::count(took.len())));
            row.push(("rate".to_owned(), cell(share(whole(took.len()), here.len()))));
            row.push(("median_seconds".to_owned(), cell(percentile(50, took))));
            told.push(row);
        }
    }
    Ok(told)
}

/// Who is counted in a query that does not say it: whose the allowance is.
pub fn entity<'a>(reference: &'a Reference, query: &'a Json) -> Option<&'a str> {
    let of_model = || field(reference.growth_model()?, "limit");
    text(field(field(query, "limit").or_else(of_model)?, "allowance")?, "on").ok()?
}

/// Whether a condition is about those who are counted, and not about their events.
pub fn is_about(json: &Json, entity: Entity) -> bool {
    let each = |list: &Json| match list {
        Json::Array(list) => list.iter().all(|filter| is_about(filter, entity)),
        _ => false,
    };
    if let Some(list) = field(json, "all").or_else(|| field(json, "any")) {
        each(list)
    } else if let Some(filter) = field(json, "not") {
        is_about(filter, entity)
    } else if field(json, "cohort").is_some() {
        true
    } else {
        matches!(text(json, "on"), Ok(Some(on)) if on == entity.name())
    }
}
