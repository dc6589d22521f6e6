//! Retention: who of a cohort comes back in each period after it.

use std::collections::{BTreeMap, BTreeSet};

use flywheeldb::api::Json;
use flywheeldb::model::{Event, Number, TimeMs};

use super::Refusal;
use super::calendar::{Bucket, Interval};
use super::filter::Selector;
use super::measure::{cell, numbers, real, share, sum, whole};
use super::question::{Question, count, field, items};
use super::split::{Key, Split};
use crate::support::reading;
use crate::support::tables::Row;

/// A user in a cohort.
struct Member<'a> {
    owner: &'a str,
    cohort: usize,
    birth: TimeMs,
    keys: BTreeSet<Key>,
}

/// A cohort: its bucket, and the latest moment at which a member may be born.
struct Cohort {
    bucket: Bucket,
    latest_birth: TimeMs,
}

enum Mode {
    On,
    OnOrAfter,
    OnOrBefore,
    Streak,
}

enum Measure {
    Users,
    Sum(String),
    Average(String),
}

struct Retention<'a> {
    question: &'a Question<'a>,
    interval: Interval,
    rolling: bool,
    mode: Mode,
    /// For each period after period 0: how many intervals it is wide.
    widths: Vec<usize>,
    at_least: usize,
    measure: Measure,
    returns: BTreeMap<&'a str, Vec<&'a Event>>,
}

const KNOWN_FIELDS: [&str; 10] = [
    "birth",
    "return",
    "interval",
    "periods",
    "cohorts",
    "alignment",
    "mode",
    "at_least",
    "measure",
    "summary",
];

pub fn answer(question: &Question) -> Result<Vec<Row>, Refusal> {
    question.check_fields(&KNOWN_FIELDS, &[])?;
    let split = Split::read(question)?;
    let retention = Retention::read(question)?;
    let cohorts = retention.cohorts();
    let members = retention.members(&split, &cohorts)?;
    let keys = split.fold(
        &members,
        |member| member.keys.clone(),
        |members| Some(whole(members.iter().map(|member| member.owner).collect::<BTreeSet<_>>().len())),
    );
    let row_keys = split.rows(keys.iter());
    let members_of = |cohort: usize, key: &Key| -> Vec<&Member> {
        let members = members.iter().zip(&keys);
        let members = members.filter(|(member, keys)| member.cohort == cohort && keys.contains(key));
        members.map(|(member, _)| member).collect()
    };
    let mut rows = Vec::new();
    if question.flag("summary")? {
        for key in &row_keys {
            for period in 0..=retention.widths.len() {
                let complete = (0..cohorts.len()).filter(|c| retention.is_complete(&cohorts[*c], period));
                let members: Vec<&Member> = complete.flat_map(|cohort| members_of(cohort, key)).collect();
                let mut row = split.columns(key);
                row.extend(retention.cells(&cohorts, period, &members));
                rows.push(row);
            }
        }
        return Ok(rows);
    }
    for (index, cohort) in cohorts.iter().enumerate() {
        for key in &row_keys {
            let members = members_of(index, key);
            for period in 0..=retention.widths.len() {
                let start = question.calendar.told(retention.interval, cohort.bucket.start);
                let mut row = vec![("cohort".to_owned(), start)];
                row.extend(split.columns(key));
                row.extend(retention.cells(&cohorts, period, &members));
                row.push(("complete".to_owned(), Json::Bool(retention.is_complete(cohort, period))));
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

/// Those whom the cell of a table without a breakdown counts.
pub fn members_of_cell(question: &Question, cell: &Json) -> Result<BTreeSet<String>, Refusal> {
    let retention = Retention::read(question)?;
    let cohorts = retention.cohorts();
    let told = |cohort: &Cohort| question.calendar.told(retention.interval, cohort.bucket.start);
    let cohort = cohorts.iter().position(|cohort| Some(&told(cohort)) == field(cell, "cohort"));
    let cohort = cohort.ok_or_else(|| Refusal::Invalid("no such cohort".to_owned()))?;
    let period = field(cell, "period").map(count).transpose()?;
    let period = period.ok_or_else(|| Refusal::Invalid("a cell of a retention has a period".to_owned()))?;
    let members = retention.members(&Split::read(question)?, &cohorts)?;
    let of_cell =
        members.iter().filter(|m| m.cohort == cohort && retention.is_back(&cohorts[cohort], m, period));
    Ok(of_cell.map(|member| member.owner.to_owned()).collect())
}

impl<'a> Retention<'a> {
    fn read(question: &'a Question) -> Result<Retention<'a>, Refusal> {
        let interval = question.interval()?.unwrap_or(Interval::Day);
        if interval == Interval::Total {
            return Err(Refusal::Invalid("retention has no total".to_owned()));
        }
        let (mode, widths) = match question.field("mode") {
            Some(brackets) if field(brackets, "brackets").is_some() => {
                let widths = field(brackets, "brackets").map(items).transpose()?.unwrap_or_default();
                (Mode::On, widths.iter().map(count).collect::<Result<_, _>>()?)
            }
            mode => {
                let mode = match mode {
                    None => Mode::On,
                    Some(Json::String(word)) => match word.as_str() {
                        "on" => Mode::On,
                        "on_or_after" => Mode::OnOrAfter,
                        "on_or_before" => Mode::OnOrBefore,
                        "streak" => Mode::Streak,
                        _ => return Err(Refusal::Invalid(format!("{word:?} is no mode"))),
                    },
                    Some(other) => return Err(Refusal::Invalid(format!("{other} is no mode"))),
                };
                let periods = question.field("periods").map(count).transpose()?;
                let periods = periods.ok_or_else(|| Refusal::NotCovered("no periods".to_owned()))?;
                (mode, vec![1; periods])
            }
        };
        let measure = match question.field("measure") {
            None => Measure::Users,
            Some(Json::String(word)) if word == "users" => Measure::Users,
            Some(json) => match (field(json, "sum"), field(json, "average")) {
                (Some(property), None) => Measure::Sum(reading::string(property)),
                (None, Some(property)) => Measure::Average(reading::string(property)),
                _ => return Err(Refusal::Invalid(format!("{json} is no measure"))),
            },
        };
        let any = Json::String("*".to_owned());
        let selector = Selector::read(question, question.field("return").unwrap_or(&any))?;
        Ok(Retention {
            question,
            interval,
            rolling: question.text("alignment")? == Some("rolling"),
            mode,
            widths,
            at_least: question.field("at_least").map(count).transpose()?.unwrap_or(1),
            measure,
            returns: by_owner(question, &selector),
        })
    }

    fn cohorts(&self) -> Vec<Cohort> {
        let buckets = self.question.calendar.buckets(self.interval, self.question.from(), self.question.to);
        let cohort = |bucket: Bucket| Cohort { bucket, latest_birth: bucket.end.min(self.question.to) - 1 };
        buckets.into_iter().map(cohort).collect()
    }

    fn members(&self, split: &Split, cohorts: &[Cohort]) -> Result<Vec<Member<'a>>, Refusal> {
        let question = self.question;
        let birth = question.field("birth").ok_or_else(|| Refusal::Invalid("no birth".to_owned()))?;
        let births = by_owner(question, &Selector::read(question, birth)?);
        let mut members = Vec::new();
        for (owner, events) in births {
            // A user whose first birth ever lies outside the range founds no cohort of first times.
            let founding: Vec<&Event> = match question.text("cohorts")? {
                None | Some("first_time") => {
                    let first = earliest(&events);
                    first.into_iter().filter(|event| question.in_range(event.time)).collect()
                }
                Some("first_in_range") => earliest(&in_range(question, &events)),
                Some("recurring") => in_range(question, &events),
                Some(other) => return Err(Refusal::Invalid(format!("{other:?} are no cohorts"))),
            };
            for (index, cohort) in cohorts.iter().enumerate() {
                let of_cohort = founding.iter().filter(|event| cohort.bucket.holds(event.time)).copied();
                let tied = earliest(&of_cohort.collect::<Vec<_>>());
                if let Some(first) = tied.first() {
                    let keys = split.smallest_keys(question, &tied);
                    members.push(Member { owner, cohort: index, birth: first.time, keys });
                }
            }
        }
        Ok(members)
    }

    /// The cells from `period` to `rate`.
    fn cells(&self, cohorts: &[Cohort], period: usize, members: &[&Member]) -> Row {
        let size = members.len();
        let mut cells =
            vec![("period".to_owned(), reading::count(period)), ("size".to_owned(), reading::count(size))];
        if matches!(self.measure, Measure::Users) {
            let users = members.iter().filter(|m| self.is_back(&cohorts[m.cohort], m, period)).count();
            cells.push(("users".to_owned(), reading::count(users)));
            cells.push(("rate".to_owned(), cell(share(whole(users), size))));
            return cells;
        }
        let (Measure::Sum(property) | Measure::Average(property)) = &self.measure else {
            unreachable!("users are counted above")
        };
        let amounts: Vec<Number> = members
            .iter()
            .flat_map(|member| self.counted(&cohorts[member.cohort], member, period))
            .flat_map(|event| numbers(&[event], property))
            .collect();
        let value = match self.measure {
            Measure::Average(_) => share(sum(&amounts), size),
            _ => Some(sum(&amounts)),
        };
        let rate = value.filter(|_| size > 0).map(|value| real(value.to_f64() / size as f64));
        cells.push(("value".to_owned(), cell(value)));
        cells.push(("rate".to_owned(), cell(rate)));
        cells
    }

    /// Whether a member counts for a period.
    fn is_back(&self, cohort: &Cohort, member: &Member, period: usize) -> bool {
        let returned = |period: usize| {
            let bounds = self.period(cohort, member.birth, period);
            let returns = self.returns_of(member).iter().filter(|event| bounds.holds(event.time));
            returns.count() >= self.at_least
        };
        let last = self.widths.len();
        period == 0
            || match self.mode {
                Mode::On => returned(period),
                Mode::OnOrAfter => (period..=last).any(returned),
                Mode::OnOrBefore => (1..=period).any(returned),
                Mode::Streak => (1..=period).all(returned),
            }
    }

    /// The return events, from the birth on, whose amounts are told for a period.
    fn counted(&self, cohort: &Cohort, member: &Member, period: usize) -> Vec<&'a Event> {
        let periods = match self.mode {
            Mode::On | Mode::Streak => period..=period,
            Mode::OnOrAfter => period..=self.widths.len(),
            Mode::OnOrBefore => 0..=period,
        };
        let bounds: Vec<Bucket> = periods.map(|period| self.period(cohort, member.birth, period)).collect();
        let is_counted = |event: &&&Event| {
            member.birth <= event.time && bounds.iter().any(|bounds| bounds.holds(event.time))
        };
        self.returns_of(member).iter().filter(is_counted).copied().collect()
    }

    fn returns_of(&self, member: &Member) -> &[&'a Event] {
        self.returns.get(member.owner).map_or(&[], Vec::as_slice)
    }

    /// When a period is, for a member born at `birth`.
    fn period(&self, cohort: &Cohort, birth: TimeMs, period: usize) -> Bucket {
        let (start, width) = match period {
            0 => (0, 1),
            _ => (1 + self.widths[..period - 1].iter().sum::<usize>(), self.widths[period - 1]),
        };
        if self.rolling {
            let length = self.interval.rolling_ms().expect("checked when the first period was asked for");
            let at = |count: usize| birth + length * i64::try_from(count).expect("periods are few");
            Bucket { start: at(start), end: at(start + width) }
        } else {
            let first = self.question.calendar.later(self.interval, cohort.bucket, start);
            let last = self.question.calendar.later(self.interval, first, width - 1);
            Bucket { start: first.start, end: last.end }
        }
    }

    /// Whether a period, or with `on_or_after` the last one, is over for every member that there could be.
    fn is_complete(&self, cohort: &Cohort, period: usize) -> bool {
        let period = if matches!(self.mode, Mode::OnOrAfter) { self.widths.len() } else { period };
        self.period(cohort, cohort.latest_birth, period).end <= self.question.as_of
    }
}

/// The events that a selector and `where` take, by user or account.
fn by_owner<'a>(question: &'a Question, selector: &Selector) -> BTreeMap<&'a str, Vec<&'a Event>> {
    let mut by_owner: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in question.matching(selector) {
        if let Some(owner) = question.owner(event) {
            by_owner.entry(owner).or_default().push(event);
        }
    }
    by_owner
}

/// The events at the earliest time.
fn earliest<'a>(events: &[&'a Event]) -> Vec<&'a Event> {
    let first = events.iter().map(|event| event.time).min();
    events.iter().filter(|event| Some(event.time) == first).copied().collect()
}

fn in_range<'a>(question: &Question, events: &[&'a Event]) -> Vec<&'a Event> {
    events.iter().filter(|event| question.in_range(event.time)).copied().collect()
}
