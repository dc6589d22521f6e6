//! What all queries share: the moment, the zone, the range, `where`, and the events they see.

use std::collections::BTreeSet;
use std::rc::Rc;

use flywheeldb::api::Json;
use flywheeldb::model::{Entity, Event, TimeMs};
use jiff::civil::Weekday;

use super::calendar::{Calendar, Interval};
use super::filter::{Filter, Selector};
use super::history::Reference;
use super::{Refusal, cohort, revenue, usage_limits};

/// A query on a history, with its shared fields read.
pub struct Question<'a> {
    pub reference: &'a Reference,
    pub query: &'a Json,
    pub calendar: Calendar,
    pub as_of: TimeMs,
    /// `None`: all history.
    from: Option<TimeMs>,
    /// The end of the range, which `as_of` does not cut.
    pub to: TimeMs,
    pub entity: Entity,
    /// Every event seen at `as_of`, in order of arrival.
    pub events: Vec<Event>,
    condition: Option<Rc<Filter>>,
}

const SHARED_FIELDS: [&str; 9] =
    ["kind", "from", "to", "timezone", "week_start", "as_of", "where", "entity", "breakdown"];

/// What the clock says where the query does not: later than all histories of the tests.
const CLOCK_MS: TimeMs = 1_767_225_600_000;

impl<'a> Question<'a> {
    pub fn new(reference: &'a Reference, query: &'a Json) -> Result<Question<'a>, Refusal> {
        let week_start = match text(query, "week_start")? {
            None | Some("monday") => Weekday::Monday,
            Some("sunday") => Weekday::Sunday,
            Some(other) => return Err(Refusal::Invalid(format!("a week does not start on {other:?}"))),
        };
        let calendar = Calendar::new(text(query, "timezone")?.unwrap_or("UTC"), week_start)?;
        let as_of = match field(query, "as_of") {
            Some(time) => calendar.time(time, CLOCK_MS)?,
            None => CLOCK_MS,
        };
        let from = field(query, "from").map(|time| calendar.time(time, as_of)).transpose()?;
        let to = match field(query, "to") {
            Some(time) => calendar.time(time, as_of)?,
            None => as_of + 1,
        };
        let said = match (text(query, "entity")?, text(query, "kind")?) {
            (Some(said), _) => Some(said),
            (None, Some("revenue")) => revenue::entity(reference, query),
            (None, Some("limits")) => usage_limits::entity(reference, query),
            (None, _) => None,
        };
        let entity = match said {
            // A funnel that counts accounts is asked of accounts.
            None if query.get("count") == Some(&Json::String("accounts".to_owned())) => Entity::Account,
            None | Some("user") => Entity::User,
            Some("account") => Entity::Account,
            Some(other) => return Err(Refusal::Invalid(format!("{other:?} is no entity"))),
        };
        let events = reference.events_until(as_of);
        let mut question =
            Question { reference, query, calendar, as_of, from, to, entity, events, condition: None };
        question.condition =
            field(query, "where").map(|filter| Filter::read(&question, filter).map(Rc::new)).transpose()?;
        Ok(question)
    }

    /// Refuses fields that neither all queries nor this kind know. Those in `uncovered` are of the contract,
    /// but the reference does not answer them yet.
    pub fn check_fields(&self, known: &[&str], uncovered: &[&str]) -> Result<(), Refusal> {
        let Json::Object(fields) = self.query else {
            return Err(Refusal::Invalid("a query is an object".to_owned()));
        };
        for (name, _) in fields {
            if uncovered.contains(&name.as_str()) {
                return Err(Refusal::NotCovered(name.clone()));
            }
            if !SHARED_FIELDS.contains(&name.as_str()) && !known.contains(&name.as_str()) {
                return Err(Refusal::Invalid(format!("unknown field {name:?}")));
            }
        }
        Ok(())
    }

    /// A field of the query that is there and not null.
    pub fn field(&self, name: &str) -> Option<&'a Json> {
        field(self.query, name)
    }

    pub fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        text(self.query, name)
    }

    pub fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.field(name) {
            None => Ok(false),
            Some(Json::Bool(truth)) => Ok(*truth),
            Some(other) => Err(Refusal::Invalid(format!("{other} is neither true nor false"))),
        }
    }

    pub fn interval(&self) -> Result<Option<Interval>, Refusal> {
        self.text("interval")?.map(Interval::read).transpose()
    }

    /// The start of the range; without `from`, the earliest event there is, or of an empty history its end.
    pub fn from(&self) -> TimeMs {
        let earliest = || {
            let first = self.events.iter().map(|event| event.time).min();
            first.unwrap_or(self.as_of).min(self.to)
        };
        self.from.unwrap_or_else(earliest)
    }

    /// Whether a time lies in the query's range.
    pub fn in_range(&self, time: TimeMs) -> bool {
        self.from.is_none_or(|from| from <= time) && time < self.to
    }

    /// Whether an event is of the query: `where` holds for it.
    pub fn takes(&self, event: &Event) -> bool {
        self.condition.as_ref().is_none_or(|condition| condition.holds_for_event(self, event))
    }

    /// The same question with the `where` of another, as that was decided there.
    pub fn with_condition_of(self, other: &Question) -> Question<'a> {
        Question { condition: other.condition.clone(), ..self }
    }

    /// Whether those conditions of `where` hold for somebody that are about whom the query counts, not about events.
    pub fn lists(&self, id: &str) -> bool {
        let conditions = match self.field("where") {
            None => Vec::new(),
            Some(filter) => conjuncts(filter),
        };
        let about = conditions.into_iter().filter(|json| usage_limits::is_about(json, self.entity));
        about.into_iter().all(|json| {
            let filter = Filter::read(self, json).expect("it was read before");
            filter.holds_for_profile(self, id)
        })
    }

    /// All events that a selector and `where` take, over all history.
    pub fn matching(&self, selector: &Selector) -> Vec<&Event> {
        self.events.iter().filter(|event| self.takes(event) && selector.takes(self, event)).collect()
    }

    /// Who an event counts for.
    pub fn owner<'e>(&self, event: &'e Event) -> Option<&'e str> {
        match self.entity {
            Entity::User => Some(&event.user),
            Entity::Account => event.account.as_deref(),
        }
    }

    /// All users, or accounts, that have an event or a profile.
    pub fn everyone(&self) -> BTreeSet<String> {
        let mut everyone = self.reference.with_profile(self.entity);
        everyone.extend(self.events.iter().filter_map(|event| self.owner(event)).map(str::to_owned));
        everyone
    }

    /// The members of a cohort. Neither the range nor `where` of the query matter to it.
    pub fn members(&self, cohort: &Json) -> Result<BTreeSet<String>, Refusal> {
        cohort::members(self, cohort)
    }
}

/// The conditions that must all hold.
fn conjuncts(filter: &Json) -> Vec<&Json> {
    match field(filter, "all") {
        Some(Json::Array(list)) => list.iter().flat_map(conjuncts).collect(),
        _ => vec![filter],
    }
}

/// A field that is there and not null.
pub fn field<'a>(json: &'a Json, name: &str) -> Option<&'a Json> {
    json.get(name).filter(|value| **value != Json::Null)
}

pub fn text<'a>(json: &'a Json, name: &str) -> Result<Option<&'a str>, Refusal> {
    match field(json, name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(other) => Err(Refusal::Invalid(format!("{name} is no string: {other}"))),
    }
}

/// A whole number that is not negative.
pub fn count(json: &Json) -> Result<usize, Refusal> {
    let wrong = || Refusal::Invalid(format!("{json} is no count"));
    let Json::Number(number) = json else { return Err(wrong()) };
    number.mantissa_at(0).and_then(|count| usize::try_from(count).ok()).ok_or_else(wrong)
}

/// The elements of an array.
pub fn items(json: &Json) -> Result<&[Json], Refusal> {
    match json {
        Json::Array(items) => Ok(items),
        other => Err(Refusal::Invalid(format!("{other} is no array"))),
    }
}
