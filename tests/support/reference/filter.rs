//! Filters and event selectors.

use std::collections::BTreeSet;

use flywheeldb::api::Json;
use flywheeldb::model::{Entity, Event, Value};

use super::Refusal;
use super::question::{Question, field, items, text};
use crate::support::reading;

/// Whose property is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Event,
    User,
    Account,
}

impl On {
    /// Reads `on`, or takes what it is unless said.
    pub fn read(json: &Json, unless_said: On) -> Result<On, Refusal> {
        match text(json, "on")? {
            None => Ok(unless_said),
            Some("event") => Ok(On::Event),
            Some("user") => Ok(On::User),
            Some("account") => Ok(On::Account),
            Some(other) => Err(Refusal::Invalid(format!("{other:?} has no properties"))),
        }
    }
}

/// What the value of a property of an event is. `None`: missing; an empty list is missing too.
pub fn value_of<'a>(question: &'a Question, on: On, property: &str, event: &'a Event) -> Option<&'a Value> {
    let value = match on {
        On::Event => event.properties.iter().rev().find(|(name, _)| name == property).map(|(_, v)| v),
        On::User => question.reference.profile_value(Entity::User, &event.user, property),
        On::Account => {
            let account = event.account.as_ref()?;
            question.reference.profile_value(Entity::Account, account, property)
        }
    };
    value.filter(|value| !value.elements().is_empty())
}

/// A condition on an event, or on a profile.
pub enum Filter {
    Property { on: On, property: String, test: Test },
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Cohort(BTreeSet<String>),
}

impl Filter {
    pub fn read(question: &Question, json: &Json) -> Result<Filter, Refusal> {
        Filter::read_on(question, json, On::Event)
    }

    /// Reads a filter whose properties are those of a profile unless said otherwise.
    pub fn read_on(question: &Question, json: &Json, unless_said: On) -> Result<Filter, Refusal> {
        let each = |list: &Json| -> Result<Vec<Filter>, Refusal> {
            items(list)?.iter().map(|filter| Filter::read_on(question, filter, unless_said)).collect()
        };
        if let Some(list) = field(json, "all") {
            Ok(Filter::All(each(list)?))
        } else if let Some(list) = field(json, "any") {
            Ok(Filter::Any(each(list)?))
        } else if let Some(filter) = field(json, "not") {
            Ok(Filter::Not(Box::new(Filter::read_on(question, filter, unless_said)?)))
        } else if let Some(cohort) = field(json, "cohort") {
            Ok(Filter::Cohort(question.members(cohort)?))
        } else if let Some(property) = text(json, "property")? {
            let on = On::read(json, unless_said)?;
            Ok(Filter::Property { on, property: property.to_owned(), test: Test::read(json)? })
        } else {
            Err(Refusal::Invalid(format!("{json} is no filter")))
        }
    }

    pub fn holds_for_event(&self, question: &Question, event: &Event) -> bool {
        self.holds(
            &|on, property| value_of(question, on, property, event),
            question.owner(event).unwrap_or_default(),
        )
    }

    /// Whether the profile of a user, or account, satisfies the filter.
    pub fn holds_for_profile(&self, question: &Question, id: &str) -> bool {
        let value = |_, property: &str| question.reference.profile_value(question.entity, id, property);
        self.holds(&|on, property| value(on, property).filter(|value| !value.elements().is_empty()), id)
    }

    fn holds<'a>(&self, value: &dyn Fn(On, &str) -> Option<&'a Value>, owner: &str) -> bool {
        match self {
            Filter::Property { on, property, test } => test.holds(value(*on, property)),
            Filter::All(filters) => filters.iter().all(|filter| filter.holds(value, owner)),
            Filter::Any(filters) => filters.iter().any(|filter| filter.holds(value, owner)),
            Filter::Not(filter) => !filter.holds(value, owner),
            Filter::Cohort(members) => members.contains(owner),
        }
    }
}

/// An operator and what it compares with.
pub struct Test {
    operator: String,
    operands: Vec<Value>,
}

impl Test {
    fn read(json: &Json) -> Result<Test, Refusal> {
        let operator = text(json, "op")?.ok_or_else(|| Refusal::Invalid("a filter has an op".to_owned()))?;
        let operands = match field(json, "value") {
            None => Vec::new(),
            Some(Json::Array(values)) => values.iter().filter_map(reading::value).collect(),
            Some(value) => reading::value(value).into_iter().collect(),
        };
        Ok(Test { operator: operator.to_owned(), operands })
    }

    /// A list satisfies an operator when one element does, and its negative when none does. A missing value
    /// has no elements.
    fn holds(&self, value: Option<&Value>) -> bool {
        let elements = value.map_or(&[][..], Value::elements);
        let one = |operator: &str| elements.iter().any(|element| self.element_holds(operator, element));
        match self.operator.as_str() {
            "ne" => !one("eq"),
            "not_in" => !one("in"),
            "not_contains" => !one("contains"),
            "is_not_set" => !one("is_set"),
            operator => one(operator),
        }
    }

    fn element_holds(&self, operator: &str, element: &Value) -> bool {
        let operand = |index: usize| &self.operands[index];
        // Values of different types are neither less nor greater.
        let order = |index: usize| same_type(element, operand(index)).then(|| element.cmp(operand(index)));
        let text = |holds: &dyn Fn(&str, &str) -> bool| match (element.as_str(), operand(0).as_str()) {
            (Some(element), Some(operand)) => holds(element, operand),
            _ => false,
        };
        match operator {
            "is_set" => true,
            "eq" => element == operand(0),
            "in" => self.operands.contains(element),
            "lt" => order(0).is_some_and(|order| order.is_lt()),
            "lte" => order(0).is_some_and(|order| order.is_le()),
            "gt" => order(0).is_some_and(|order| order.is_gt()),
            "gte" => order(0).is_some_and(|order| order.is_ge()),
            "between" => {
                order(0).is_some_and(|order| order.is_ge()) && order(1).is_some_and(|order| order.is_le())
            }
            "contains" => text(&|element, part| element.contains(part)),
            "starts_with" => text(&|element, part| element.starts_with(part)),
            "ends_with" => text(&|element, part| element.ends_with(part)),
            "matches" => text(&|element, pattern| {
                regex::Regex::new(pattern).expect("the tests have valid patterns").is_match(element)
            }),
            other => panic!("{other:?} is no operator"),
        }
    }
}

fn same_type(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// Which events are meant, and what they are called.
pub struct Selector {
    pub label: String,
    alternatives: Vec<Alternative>,
}

/// An event's name (`None`: any) with a condition.
struct Alternative {
    name: Option<String>,
    condition: Option<Filter>,
}

impl Selector {
    pub fn read(question: &Question, json: &Json) -> Result<Selector, Refusal> {
        let mut selector = if let Json::String(name) = json {
            let name_meant = (name != "*").then(|| name.clone());
            let alternatives = vec![Alternative { name: name_meant, condition: None }];
            Selector { label: name.clone(), alternatives }
        } else if let Some(list) = field(json, "any_of") {
            let each: Vec<Selector> =
                items(list)?.iter().map(|one| Selector::read(question, one)).collect::<Result<_, _>>()?;
            let labels: Vec<&str> = each.iter().map(|one| one.label.as_str()).collect();
            let label = labels.join(" or ");
            Selector { label, alternatives: each.into_iter().flat_map(|one| one.alternatives).collect() }
        } else if let Some(name) = field(json, "event") {
            let mut selector = Selector::read(question, name)?;
            if let Some(filter) = field(json, "where") {
                selector.alternatives[0].condition = Some(Filter::read(question, filter)?);
            }
            selector
        } else {
            return Err(Refusal::Invalid(format!("{json} selects no event")));
        };
        if let Some(label) = text(json, "as")? {
            selector.label = label.to_owned();
        }
        Ok(selector)
    }

    pub fn takes(&self, question: &Question, event: &Event) -> bool {
        self.alternatives.iter().any(|alternative| {
            alternative.name.as_ref().is_none_or(|name| *name == event.event)
                && alternative.condition.as_ref().is_none_or(|filter| filter.holds_for_event(question, event))
        })
    }
}
