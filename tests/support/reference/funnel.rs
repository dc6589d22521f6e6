//! Funnels: how many users reach each step, and how fast.

use std::collections::{BTreeMap, BTreeSet};

use flywheeldb::api::Json;
use flywheeldb::model::{DAY_MS, Event, MINUTE_MS, Number};

use super::Refusal;
use super::attempts::{Attempt, Exclusion, Rules, Step, Stop, Timeline, level, sessions};
use super::calendar::{Bucket, Interval, duration};
use super::filter::Selector;
use super::measure::{cell, percentile, share, sum, whole};
use super::question::{Question, count, field, items};
use super::split::{Key, Split};
use super::successive;
use crate::support::reading;
use crate::support::tables::Row;

/// What became of one user, session or held value.
struct Outcome {
    owner: String,
    level: usize,
    /// The bucket of the told attempt's first event.
    bucket: usize,
    in_progress: bool,
    /// For each step that the told attempt has: the moment.
    moments: BTreeMap<usize, i64>,
    keys: BTreeSet<Key>,
}

#[derive(Clone, Copy)]
enum Attribution {
    First,
    Last,
    /// Counted from 0.
    Step(usize),
    All,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Owner,
    Session,
    Held,
}

const KNOWN_FIELDS: [&str; 13] = [
    "steps",
    "window",
    "strict_time",
    "within_range",
    "order",
    "strict_over",
    "exclude",
    "hold",
    "count",
    "session_gap",
    "interval",
    "per_bucket",
    "histogram",
];

pub fn answer(question: &Question) -> Result<Vec<Row>, Refusal> {
    let split = Split::read(question)?;
    let outcomes = outcomes(question, &split)?;
    let rules = rules(question)?;
    if let Some(histogram) = question.field("histogram") {
        return self::histogram(histogram, &outcomes);
    }
    let keys = split.fold(
        &outcomes,
        |outcome| outcome.keys.clone(),
        |outcomes| Some(whole(outcomes.iter().map(|outcome| &outcome.owner).collect::<BTreeSet<_>>().len())),
    );
    let mut rows = Vec::new();
    for (index, bucket) in buckets(question)?.into_iter().enumerate() {
        for key in split.rows(keys.iter()) {
            let of_row = outcomes.iter().zip(&keys);
            let of_row = of_row.filter(|(outcome, keys)| outcome.bucket == index && keys.contains(&key));
            let of_row: Vec<&Outcome> = of_row.map(|(outcome, _)| outcome).collect();
            for step in 0..rules.steps.len() {
                let mut row = Row::new();
                if let Some(interval) = question.interval()? {
                    row.push(("time".to_owned(), question.calendar.told(interval, bucket.start)));
                }
                row.extend(split.columns(&key));
                row.extend(step_cells(&rules.steps, step, &of_row));
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

/// Each user's or account's level, and whether it is in progress.
pub fn outcomes_by_owner(question: &Question) -> Result<Vec<(String, usize, bool)>, Refusal> {
    let outcomes = outcomes(question, &Split::read(question)?)?;
    Ok(outcomes.into_iter().map(|outcome| (outcome.owner, outcome.level, outcome.in_progress)).collect())
}

/// The cells of one step: from `step` to `p90_seconds`.
fn step_cells(steps: &[Step], step: usize, outcomes: &[&Outcome]) -> Row {
    let users_at = |step: usize| outcomes.iter().filter(|o| o.moments.contains_key(&step)).count();
    let users = users_at(step);
    let required_before = (0..step).rev().find(|before| !steps[*before].optional);
    let in_progress = outcomes.iter().filter(|o| o.in_progress && o.level == step + 1).count();
    let seconds: Vec<Number> = outcomes
        .iter()
        .filter_map(|outcome| {
            let moment = outcome.moments.get(&step)?;
            let (_, before) = outcome.moments.range(..step).next_back()?;
            Some(Number::new(i128::from(moment - before), -3).expect("seconds fit"))
        })
        .collect();
    vec![
        ("step".to_owned(), reading::count(step + 1)),
        ("event".to_owned(), Json::String(steps[step].selector.label.clone())),
        ("users".to_owned(), reading::count(users)),
        (
            "from_previous".to_owned(),
            cell(required_before.and_then(|before| share(whole(users), users_at(before)))),
        ),
        ("from_first".to_owned(), cell(share(whole(users), users_at(0)))),
        ("in_progress".to_owned(), reading::count(in_progress)),
        ("median_seconds".to_owned(), cell(percentile(50, seconds.clone()))),
        ("average_seconds".to_owned(), cell(share(sum(&seconds), seconds.len()))),
        ("p90_seconds".to_owned(), cell(percentile(90, seconds))),
    ]
}

/// Equal widths from the least to the greatest time between two steps, the last bin closed.
fn histogram(json: &Json, outcomes: &[Outcome]) -> Result<Vec<Row>, Refusal> {
    let number = |name: &str| {
        let number = field(json, name).map(count).transpose()?;
        number.ok_or_else(|| Refusal::NotCovered(format!("a histogram without {name}")))
    };
    let (from_step, to_step, bin_count) = (number("from_step")?, number("to_step")?, number("bins")?);
    let between = |outcome: &Outcome| {
        let (start, end) = (outcome.moments.get(&(from_step - 1))?, outcome.moments.get(&(to_step - 1))?);
        Some((end - start) as f64 / 1000.0)
    };
    let seconds: Vec<f64> = outcomes.iter().filter_map(between).collect();
    let least = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = seconds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let bin_count = match seconds.len() {
        0 => 0,
        _ if least == greatest => 1,
        _ => bin_count,
    };
    let width = (greatest - least) / bin_count as f64;
    let bin_of = |seconds: f64| (((seconds - least) / width) as usize).min(bin_count - 1);
    let row = |bin: usize| {
        let start = least + width * bin as f64;
        let end = if bin + 1 == bin_count { greatest } else { least + width * (bin + 1) as f64 };
        let users = seconds.iter().filter(|seconds| width == 0.0 || bin_of(**seconds) == bin).count();
        vec![
            ("bin_start_seconds".to_owned(), cell(Number::from_f64(start))),
            ("bin_end_seconds".to_owned(), cell(Number::from_f64(end))),
            ("users".to_owned(), reading::count(users)),
        ]
    };
    Ok((0..bin_count).map(row).collect())
}

/// The buckets of the first events; without an interval the whole range.
fn buckets(question: &Question) -> Result<Vec<Bucket>, Refusal> {
    let interval = question.interval()?.unwrap_or(Interval::Total);
    Ok(question.calendar.buckets(interval, question.from(), question.to))
}

fn outcomes(question: &Question, split: &Split) -> Result<Vec<Outcome>, Refusal> {
    question.check_fields(&KNOWN_FIELDS, &[])?;
    let rules = rules(question)?;
    let attribution = attribution(question)?;
    let buckets = buckets(question)?;
    let range = Bucket { start: question.from(), end: question.to };
    let starts: Vec<Bucket> = if question.flag("per_bucket")? { buckets.clone() } else { vec![range] };
    let mut outcomes = Vec::new();
    for (owner, timeline) in units(question, &rules)? {
        for (place, starts) in starts.iter().enumerate() {
            let starts = Bucket { start: starts.start.max(range.start), end: starts.end.min(range.end) };
            let moment = |event: usize| timeline.events[event].time;
            let mut add = |owner: String, told: &[Attempt], reached: usize, in_progress: bool, keys| {
                let first = moment(told[0][0].event);
                outcomes.push(Outcome {
                    owner,
                    level: reached,
                    bucket: buckets
                        .iter()
                        .position(|bucket| bucket.holds(first))
                        .expect("it is in the range"),
                    in_progress,
                    moments: told[0].iter().map(|stop| (stop.step, moment(stop.event))).collect(),
                    keys,
                });
            };
            if question.text("count")? == Some("attempts") {
                let choices = successive::choices(question, &rules, &timeline, starts)?;
                let keys_of = |attempts: &Vec<successive::Successive>| -> Vec<BTreeSet<Key>> {
                    let one =
                        |attempt: &successive::Successive| std::slice::from_ref(&attempt.attempt).to_vec();
                    let keys = |attempt| keys(question, split, attribution, &timeline, &one(attempt));
                    attempts.iter().map(keys).collect()
                };
                // An attempt in no row comes after those in one.
                let in_order = |keys: &Vec<BTreeSet<Key>>| -> Vec<(bool, BTreeSet<Key>)> {
                    keys.iter().map(|keys| (keys.is_empty(), keys.clone())).collect()
                };
                let chosen = choices
                    .iter()
                    .map(|choice| (in_order(&keys_of(choice)), choice))
                    .min_by(|a, b| a.0.cmp(&b.0));
                let Some((keys, chosen)) = chosen else { continue };
                for (number, (attempt, (_, keys))) in chosen.iter().zip(keys).enumerate() {
                    let (reached, in_progress) = (level(&attempt.attempt), attempt.in_progress);
                    let owner = format!("{owner} {place} {number}");
                    add(owner, std::slice::from_ref(&attempt.attempt), reached, in_progress, keys);
                }
                continue;
            }
            let attempts = rules.attempts(question, &timeline, starts);
            let told = rules.told(&timeline, &attempts);
            let Some(attempt) = told.first() else { continue };
            let reached = rules.level(attempt);
            let in_progress = attempts.iter().any(|attempt| {
                rules.level(attempt) == reached && rules.is_in_progress(question, &timeline, attempt)
            });
            let keys = keys(question, split, attribution, &timeline, &told);
            if rules.in_any_order {
                // The k-th event is told under the name of step k.
                let numbered: Attempt =
                    attempt.iter().enumerate().map(|(step, stop)| Stop { step, ..*stop }).collect();
                add(owner.clone(), &[numbered], reached, in_progress, keys);
            } else {
                add(owner.clone(), &told, reached, in_progress, keys);
            }
        }
    }
    Ok(outcomes)
}

/// The rows of the told attempt; of several that tie, the smallest.
fn keys(
    question: &Question,
    split: &Split,
    attribution: Attribution,
    timeline: &Timeline,
    told: &[Attempt],
) -> BTreeSet<Key> {
    let keys_of = |attempt: &Attempt| -> BTreeSet<Key> {
        let at = |event: usize| split.keys(question, timeline.events[event]);
        match attribution {
            Attribution::First => at(attempt[0].event),
            Attribution::Last => at(attempt[attempt.len() - 1].event),
            Attribution::Step(step) => {
                let stop = match question.text("order") {
                    Ok(Some("any")) => attempt.get(step),
                    _ => attempt.iter().find(|stop| stop.step == step),
                };
                stop.map(|stop| at(stop.event)).unwrap_or_default()
            }
            Attribution::All => attempt
                .iter()
                .map(|stop| at(stop.event))
                .reduce(|all, keys| &all & &keys)
                .expect("an attempt has its first event"),
        }
    };
    told.iter().map(keys_of).filter(|keys| !keys.is_empty()).min().unwrap_or_default()
}

/// Those who can make attempts, each with a name and what they did.
fn units<'a>(question: &'a Question, rules: &Rules) -> Result<Vec<(String, Timeline<'a>)>, Refusal> {
    let gap = question.field("session_gap").map(duration).transpose()?.unwrap_or(30 * MINUTE_MS);
    let unit = match question.text("count")? {
        None | Some("users" | "accounts" | "attempts") => Unit::Owner,
        Some("sessions") => Unit::Session,
        Some("held") => Unit::Held,
        Some(other) => return Err(Refusal::NotCovered(format!("counting {other}"))),
    };
    let mut by_owner: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in &question.events {
        if let Some(owner) = question.owner(event) {
            by_owner.entry(owner).or_default().push(event);
        }
    }
    let mut units = Vec::new();
    for (owner, mut events) in by_owner {
        events.sort_by_key(|event| event.time);
        let taken = |events: &[&'a Event]| -> Vec<&'a Event> {
            events.iter().filter(|event| question.takes(event)).copied().collect()
        };
        match unit {
            Unit::Owner => {
                units.push((owner.to_owned(), Timeline { events: taken(&events), open_until: None }));
            }
            Unit::Session => {
                for (index, session) in sessions(&events, gap).into_iter().enumerate() {
                    let last = session[session.len() - 1].time;
                    let timeline = Timeline { events: taken(&session), open_until: Some(last + gap) };
                    units.push((format!("{owner} {index}"), timeline));
                }
            }
            Unit::Held => {
                let held: BTreeSet<_> = events.iter().map(|event| rules.held(question, event)).collect();
                for (index, values) in held.into_iter().enumerate() {
                    // Events that lack a held property can still exclude and break.
                    let concerned = events.iter().filter(|event| {
                        let of_event = rules.held(question, event);
                        of_event.iter().zip(&values).all(|(a, b)| a.is_none() || a == b)
                    });
                    let events = taken(&concerned.copied().collect::<Vec<_>>());
                    if values.iter().all(Option::is_some) {
                        units.push((format!("{owner} {index}"), Timeline { events, open_until: None }));
                    }
                }
            }
        }
    }
    Ok(units)
}

fn rules(question: &Question) -> Result<Rules, Refusal> {
    let steps = question.field("steps").map(items).transpose()?.unwrap_or_default();
    if !(2..=64).contains(&steps.len()) {
        return Err(Refusal::Invalid("a funnel has 2 to 64 steps".to_owned()));
    }
    let step = |json: &Json| {
        Ok(Step {
            selector: Selector::read(question, json)?,
            within: field(json, "within").map(duration).transpose()?,
            optional: field(json, "optional") == Some(&Json::Bool(true)),
        })
    };
    let each = |name: &str| question.field(name).map(items).transpose().map(Option::unwrap_or_default);
    let exclusion = |json: &Json| {
        let step = |name: &str| field(json, name).map(count).transpose();
        Ok(Exclusion {
            selector: Selector::read(question, json)?,
            after_step: step("after_step")?.unwrap_or(1),
            before_step: step("before_step")?.unwrap_or(steps.len()),
        })
    };
    let breakers = match question.text("order")? {
        None | Some("ordered" | "any") => None,
        Some("strict") if question.field("strict_over").is_none() => {
            Some(vec![Selector::read(question, &Json::String("*".to_owned()))?])
        }
        Some("strict") => Some(
            each("strict_over")?
                .iter()
                .map(|json| Selector::read(question, json))
                .collect::<Result<_, _>>()?,
        ),
        Some(other) => return Err(Refusal::NotCovered(format!("the order {other}"))),
    };
    Ok(Rules {
        steps: steps.iter().map(step).collect::<Result<_, _>>()?,
        window: question.field("window").map(duration).transpose()?.unwrap_or(14 * DAY_MS),
        in_any_order: question.text("order")? == Some("any"),
        strict_time: question.flag("strict_time")?,
        end: question.flag("within_range")?.then_some(question.to),
        exclusions: each("exclude")?.iter().map(exclusion).collect::<Result<_, _>>()?,
        breakers,
        hold: each("hold")?.iter().map(reading::string).collect(),
    })
}

fn attribution(question: &Question) -> Result<Attribution, Refusal> {
    let breakdown = match question.field("breakdown") {
        Some(Json::Array(parts)) => parts.first(),
        breakdown => breakdown,
    };
    match breakdown.and_then(|breakdown| field(breakdown, "attribution")) {
        None => Ok(Attribution::First),
        Some(Json::String(word)) if word == "first" => Ok(Attribution::First),
        Some(Json::String(word)) if word == "last" => Ok(Attribution::Last),
        Some(Json::String(word)) if word == "all" => Ok(Attribution::All),
        Some(json) => {
            let step = field(json, "step").map(count).transpose()?;
            let step = step.ok_or_else(|| Refusal::Invalid(format!("{json} is no attribution")))?;
            Ok(Attribution::Step(step - 1))
        }
    }
}
