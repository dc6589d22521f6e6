//! Cohorts: sets of users by what they did, what they are, or by name.

use std::collections::{BTreeMap, BTreeSet};

use flywheeldb::api::Json;
use flywheeldb::model::{Entity, Event, TimeMs};

use super::filter::{Filter, On, Selector};
use super::question::{Question, count, field, items, text};
use super::{Refusal, attainment, drivers, funnel, pql, retention};
use crate::support::reading;
use crate::support::tables::Row;

type Members = BTreeSet<String>;

pub fn answer(question: &Question) -> Result<Vec<Row>, Refusal> {
    question.check_fields(&["cohort", "select", "limit", "after"], &[])?;
    let cohort = question.field("cohort").ok_or_else(|| Refusal::Invalid("no cohort".to_owned()))?;
    let members = members(question, cohort)?;
    match question.text("select")? {
        None | Some("count") => Ok(vec![vec![("users".to_owned(), reading::count(members.len()))]]),
        Some("members") => {
            let after = question.text("after")?;
            let limit = question.field("limit").map(count).transpose()?.unwrap_or(usize::MAX);
            let told = members.into_iter().filter(|id| after.is_none_or(|after| id.as_str() > after));
            let row = |id| vec![(question.entity.name().to_owned(), Json::String(id))];
            Ok(told.take(limit).map(row).collect())
        }
        Some(other) => Err(Refusal::Invalid(format!("{other:?} cannot be selected"))),
    }
}

/// The members of a cohort, which looks at all history unless it has a range of its own.
pub fn members(question: &Question, json: &Json) -> Result<Members, Refusal> {
    let everyone = question.everyone();
    if let Some(selector) = field(json, "did") {
        let number = |name| field(json, name).map(count).transpose();
        let (least, most) = (number("at_least")?.unwrap_or(1), number("at_most")?.unwrap_or(usize::MAX));
        let done = done(question, selector)?;
        let range = Range::read(question, json)?;
        let times = |id: &String| {
            done.get(id).map_or(0, |events| events.iter().filter(|event| range.holds(event.time)).count())
        };
        Ok(everyone.into_iter().filter(|id| (least..=most).contains(&times(id))).collect())
    } else if let Some(selector) = field(json, "did_not") {
        let done = done(question, selector)?;
        let range = Range::read(question, json)?;
        let did = |id: &String| {
            done.get(id).is_some_and(|events| events.iter().any(|event| range.holds(event.time)))
        };
        Ok(everyone.into_iter().filter(|id| !did(id)).collect())
    } else if let Some(selector) = field(json, "first_did") {
        let done = done(question, selector)?;
        let range = Range::read(question, json)?;
        let first = |id: &String| done.get(id).and_then(|events| events.iter().map(|event| event.time).min());
        Ok(everyone.into_iter().filter(|id| first(id).is_some_and(|time| range.holds(time))).collect())
    } else if let Some(filter) = field(json, "profile") {
        let on = if question.entity == Entity::User { On::User } else { On::Account };
        let filter = Filter::read_on(question, filter, on)?;
        Ok(everyone.into_iter().filter(|id| filter.holds_for_profile(question, id)).collect())
    } else if let Some(ids) = field(json, "users") {
        let named: Members =
            items(ids)?.iter().map(|id| question.reference.name_of(&reading::string(id))).collect();
        Ok(&named & &everyone)
    } else if let Some(list) = field(json, "all") {
        let each = items(list)?.iter().map(|cohort| members(question, cohort));
        each.collect::<Result<Vec<_>, _>>().map(|sets| sets.iter().fold(everyone, |all, set| &all & set))
    } else if let Some(list) = field(json, "any") {
        let each = items(list)?.iter().map(|cohort| members(question, cohort));
        each.collect::<Result<Vec<_>, _>>().map(|sets| sets.into_iter().flatten().collect())
    } else if let Some(cohort) = field(json, "not") {
        Ok(&everyone - &members(question, cohort)?)
    } else if field(json, "sequence").is_some() {
        sequence(question, json)
    } else if let Some(result) = field(json, "result") {
        cell(question, result)
    } else {
        Err(Refusal::NotCovered(format!("the cohort {json}")))
    }
}

/// All events that a selector takes, by user; the query's `where` does not matter.
fn done<'a>(question: &'a Question, selector: &Json) -> Result<BTreeMap<String, Vec<&'a Event>>, Refusal> {
    let selector = Selector::read(question, selector)?;
    let mut done: BTreeMap<String, Vec<&Event>> = BTreeMap::new();
    for event in question.events.iter().filter(|event| selector.takes(question, event)) {
        if let Some(owner) = question.owner(event) {
            done.entry(owner.to_owned()).or_default().push(event);
        }
    }
    Ok(done)
}

/// The range of a cohort, all history unless said.
struct Range {
    from: Option<TimeMs>,
    to: Option<TimeMs>,
}

impl Range {
    fn read(question: &Question, json: &Json) -> Result<Range, Refusal> {
        let time =
            |name| field(json, name).map(|time| question.calendar.time(time, question.as_of)).transpose();
        Ok(Range { from: time("from")?, to: time("to")? })
    }

    fn holds(&self, time: TimeMs) -> bool {
        self.from.is_none_or(|from| from <= time) && self.to.is_none_or(|to| time < to)
    }
}

/// Those who convert in a funnel of these steps.
fn sequence(question: &Question, json: &Json) -> Result<Members, Refusal> {
    let mut fields = vec![("kind".to_owned(), Json::String("funnel".to_owned()))];
    let renamed = [("sequence", "steps"), ("window", "window"), ("from", "from"), ("to", "to")];
    for (name, funnel_name) in renamed {
        fields.extend(field(json, name).map(|value| (funnel_name.to_owned(), value.clone())));
    }
    let step_count = field(json, "sequence").map(items).transpose()?.unwrap_or_default().len();
    let outcomes = inner_outcomes(question, fields)?;
    Ok(outcomes.into_iter().filter(|(_, level, _)| *level == step_count).map(|(id, _, _)| id).collect())
}

/// A cell of another result as a set.
fn cell(question: &Question, result: &Json) -> Result<Members, Refusal> {
    let (Some(kind), Some(Json::Object(query))) = (text(result, "kind")?, field(result, "query")) else {
        return Err(Refusal::Invalid("a cell is one of a result".to_owned()));
    };
    match kind {
        "funnel" => {}
        "retention" => {
            return inner(question, query.clone(), kind, |inner| retention::members_of_cell(inner, result));
        }
        "cohort" => {
            return inner(question, query.clone(), kind, |inner| {
                inner.field("cohort").map_or(Ok(Members::new()), |cohort| members(inner, cohort))
            });
        }
        "activation" | "conversion" => {
            return inner(question, query.clone(), kind, |inner| attainment::members_of_cell(inner, result));
        }
        "drivers" => {
            return inner(question, query.clone(), kind, |inner| drivers::members_of_cell(inner, result));
        }
        "pql" => return inner(question, query.clone(), kind, |inner| pql::members_of_cell(inner, result)),
        _ => return Err(Refusal::NotCovered(format!("a cell of a result of the kind {kind:?}"))),
    }
    let step = field(result, "step").map(count).transpose()?;
    let step = step.ok_or_else(|| Refusal::Invalid("a cell of a funnel has a step".to_owned()))?;
    let outcomes = inner_outcomes(question, query.clone())?;
    let is_in_cell = |level: usize, in_progress: bool| match text(result, "outcome")? {
        None | Some("converted") => Ok(level >= step),
        Some("dropped") => Ok(level + 1 == step && !in_progress),
        Some(other) => Err(Refusal::Invalid(format!("{other:?} is no outcome"))),
    };
    let mut members = Members::new();
    for (id, level, in_progress) in outcomes {
        if is_in_cell(level, in_progress)? {
            members.insert(id);
        }
    }
    Ok(members)
}

/// Who reached which level of a funnel inside this question, and whether they may still go on.
fn inner_outcomes(
    question: &Question,
    fields: Vec<(String, Json)>,
) -> Result<Vec<(String, usize, bool)>, Refusal> {
    inner(question, fields, "funnel", funnel::outcomes_by_owner)
}

/// Asks a query inside this question, which it takes its moment and its calendar from.
fn inner<T>(
    question: &Question,
    mut fields: Vec<(String, Json)>,
    kind: &str,
    ask: impl Fn(&Question) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    fields.retain(|(name, _)| name != "kind");
    fields.push(("kind".to_owned(), Json::String(kind.to_owned())));
    if !fields.iter().any(|(known, _)| known == "entity") {
        fields.push(("entity".to_owned(), Json::String(question.entity.name().to_owned())));
    }
    for name in ["timezone", "week_start", "as_of"] {
        if !fields.iter().any(|(known, _)| known == name) {
            fields.extend(question.field(name).map(|value| (name.to_owned(), value.clone())));
        }
    }
    let query = Json::Object(fields);
    ask(&Question::new(question.reference, &query)?)
}
