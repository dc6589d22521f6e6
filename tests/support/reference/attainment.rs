//! Activation and conversion: who reached a milestone after the sign-up.

use std::collections::BTreeSet;

use flywheeldb::api::Json;
use flywheeldb::model::{DAY_MS, Number, TimeMs};

use super::Refusal;
use super::calendar::{Interval, duration};
use super::filter::Selector;
use super::growth_model::{PARTS, part, selector};
use super::measure::{cell, percentile, real, share, whole};
use super::question::{Question, count, field};
use super::signups::{Signup, signups};
use super::split::{Key, Split};
use crate::support::reading;
use crate::support::tables::Row;

/// What became of somebody who signed up.
struct Attempt<'a> {
    owner: &'a str,
    signup: TimeMs,
    /// How long the milestone took.
    reached: Option<i64>,
    is_window_open: bool,
    keys: BTreeSet<Key>,
}

pub fn answer(question: &Question) -> Result<Vec<Row>, Refusal> {
    let (split, attempts) = attempts(question)?;
    let row_keys = split.rows(attempts.iter().map(|attempt| &attempt.keys));
    if question.flag("curve")? {
        return Ok(row_keys.iter().flat_map(|key| curve(question, &split, key, &attempts)).collect());
    }
    let (reached_name, has_p90) = match is_conversion(question)? {
        true => ("converted", false),
        false => ("activated", true),
    };
    let interval = question.interval()?.unwrap_or(Interval::Day);
    let mut rows = Vec::new();
    for bucket in question.calendar.buckets(interval, question.from(), question.to) {
        let in_bucket: Vec<&Attempt> = attempts.iter().filter(|a| bucket.holds(a.signup)).collect();
        let is_over = bucket.end.min(question.to) <= question.as_of;
        let is_complete = is_over && !in_bucket.iter().any(|attempt| attempt.is_window_open);
        for key in &row_keys {
            let there: Vec<&&Attempt> = in_bucket.iter().filter(|a| a.keys.contains(key)).collect();
            let took: Vec<Number> = there.iter().filter_map(|a| a.reached).map(Number::from).collect();
            let seconds =
                |percent| cell(percentile(percent, took.clone()).map(|ms| real(ms.to_f64() / 1000.0)));
            let open = there.iter().filter(|a| a.reached.is_none() && a.is_window_open).count();
            let mut row = vec![("time".to_owned(), question.calendar.told(interval, bucket.start))];
            row.extend(split.columns(key));
            row.push(("signups".to_owned(), reading::count(there.len())));
            row.push((reached_name.to_owned(), reading::count(took.len())));
            row.push(("rate".to_owned(), cell(share(whole(took.len()), there.len()))));
            row.push(("median_seconds".to_owned(), seconds(50)));
            if has_p90 {
                row.push(("p90_seconds".to_owned(), seconds(90)));
            }
            row.push(("in_progress".to_owned(), reading::count(open)));
            row.push(("complete".to_owned(), Json::Bool(is_complete)));
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Those whom a cell of a table without a breakdown counts.
pub fn members_of_cell(question: &Question, meant: &Json) -> Result<BTreeSet<String>, Refusal> {
    let (_, attempts) = attempts(question)?;
    let interval = question.interval()?.unwrap_or(Interval::Day);
    let buckets = question.calendar.buckets(interval, question.from(), question.to);
    let told = |attempt: &Attempt| {
        let bucket = buckets.iter().find(|bucket| bucket.holds(attempt.signup)).expect("it is in the range");
        question.calendar.told(interval, bucket.start)
    };
    let state = field(meant, "state").map_or("reached".to_owned(), reading::string);
    let is_meant = |attempt: &&Attempt| {
        let is_state = match state.as_str() {
            "signups" => true,
            "in_progress" => attempt.reached.is_none() && attempt.is_window_open,
            "failed" => attempt.reached.is_none() && !attempt.is_window_open,
            _ => attempt.reached.is_some(),
        };
        is_state && field(meant, "time").is_none_or(|time| *time == told(attempt))
    };
    Ok(attempts.iter().filter(is_meant).map(|attempt| attempt.owner.to_owned()).collect())
}

fn is_conversion(question: &Question) -> Result<bool, Refusal> {
    Ok(question.text("kind")? == Some("conversion"))
}

fn attempts<'a>(question: &'a Question) -> Result<(Split, Vec<Attempt<'a>>), Refusal> {
    let own: &[&str] =
        if is_conversion(question)? { &["interval", "within"] } else { &["interval", "curve"] };
    question.check_fields(&[&PARTS[..], own].concat(), &[])?;
    let signup = selector(question, "signup")?;
    let (milestone, at_least, within) = match is_conversion(question)? {
        true => (part(question, "paid")?, 1, question.field("within")),
        false => {
            let activate = part(question, "activate")?;
            let is_name = matches!(activate, Json::String(_));
            let option = |name| if is_name { None } else { field(activate, name) };
            (activate, option("at_least").map(count).transpose()?.unwrap_or(1), option("within"))
        }
    };
    let milestone = Selector::read(question, milestone)?;
    let within = within.map(duration).transpose()?;
    let signups = signups(question, &signup);
    let split = Split::read_of_signups(question, &signups)?;
    let attempt = |signup: &Signup<'a>| {
        let met = signup.later(question, &milestone).get(at_least - 1).map(|event| event.time - signup.time);
        Attempt {
            owner: signup.owner,
            signup: signup.time,
            reached: met.filter(|took| within.is_none_or(|within| *took <= within)),
            is_window_open: within.is_none_or(|within| question.as_of <= signup.time + within),
            keys: split.smallest_keys(question, &signup.tied),
        }
    };
    let mut attempts: Vec<Attempt> = signups.iter().map(attempt).collect();
    let keys = split.fold(&attempts, |attempt| attempt.keys.clone(), |attempts| Some(whole(attempts.len())));
    attempts.iter_mut().zip(keys).for_each(|(attempt, keys)| attempt.keys = keys);
    Ok((split, attempts))
}

/// The rows of the curve, up to the first day with nobody at risk.
fn curve(question: &Question, split: &Split, key: &Key, attempts: &[Attempt]) -> Vec<Row> {
    let attempts: Vec<&Attempt> = attempts.iter().filter(|attempt| attempt.keys.contains(key)).collect();
    let mut rows = Vec::new();
    // The share that is left, as a fraction: tests have few sign-ups.
    let mut left = (1_u128, 1_u128);
    for day in 0.. {
        let starts_at = |attempt: &Attempt| attempt.signup + day * DAY_MS;
        let is_within = is_day_within(question, day);
        let at_risk: Vec<&&Attempt> = attempts
            .iter()
            .filter(|attempt| {
                let was_reached =
                    attempt.reached.is_some_and(|took| attempt.signup + took < starts_at(attempt));
                is_within && !was_reached && starts_at(attempt) + DAY_MS <= question.as_of
            })
            .collect();
        if at_risk.is_empty() {
            return rows;
        }
        let on_the_day = |attempt: &&&&Attempt| {
            attempt.reached.is_some_and(|took| attempt.signup + took < starts_at(attempt) + DAY_MS)
        };
        let activated = at_risk.iter().filter(on_the_day).count();
        left = reduced(left.0 * (at_risk.len() - activated) as u128, left.1 * at_risk.len() as u128);
        let share = real((left.1 - left.0) as f64 / left.1 as f64);
        let mut row = split.columns(key);
        row.push(("day".to_owned(), reading::count(day as usize)));
        row.push(("at_risk".to_owned(), reading::count(at_risk.len())));
        row.push(("activated".to_owned(), reading::count(activated)));
        row.push(("share".to_owned(), cell(Some(share))));
        rows.push(row);
    }
    rows
}

fn reduced(numerator: u128, denominator: u128) -> (u128, u128) {
    let (mut a, mut b) = (numerator, denominator);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    (numerator / a, denominator / a)
}

/// Whether a day has a moment of the window.
fn is_day_within(question: &Question, day: i64) -> bool {
    let activate = part(question, "activate").expect("it was there before");
    let within = if let Json::String(_) = activate { None } else { field(activate, "within") };
    let within = within.map(|within| duration(within).expect("it was read before"));
    within.is_none_or(|within| day * DAY_MS <= within)
}
