//! One task of a query: its users, and the access paths to what they did, from plain lists in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::{Codes, NULL_CODE, RowRef, Rows, TaskSet, key};
use crate::api::{Breakdown, CohortRef, EventName, Filter, On, Problem, Selector};
use crate::model::{DAY_MS, Event, Number, TimeMs, Value};

/// Events and profiles of the users of one task.
#[derive(Debug, Default)]
pub struct Memory {
    pub users: Vec<String>,
    pub events: Vec<Event>,
    pub profiles: BTreeMap<String, Vec<(String, Value)>>,
    pub account_profiles: BTreeMap<String, Vec<(String, Value)>>,
    pub as_of: TimeMs,
}

/// One task of a query.
#[derive(Debug)]
pub struct Task<'a> {
    pub memory: &'a Memory,
    /// Which users of the memory it has.
    pub users: Range<usize>,
}

/// The events that a selector and the query's `where` mean.
#[derive(Clone, Debug)]
pub struct Selection {
    pub selector: Selector,
    pub filter: Option<Filter>,
}

impl Selection {
    /// Whether it is every event, without conditions.
    pub fn is_every_event(&self) -> bool {
        self.selector.is_every_event() && self.filter.is_none()
    }
}

/// A property to split by, and the values it has.
#[derive(Clone, Debug)]
pub struct BreakdownPlan {
    breakdown: Breakdown,
    labels: Vec<Value>,
}

impl BreakdownPlan {
    pub fn new(breakdown: Breakdown, memory: &Memory) -> BreakdownPlan {
        let values = memory.events.iter().filter_map(|e| memory.value(e, breakdown.on, &breakdown.property));
        let distinct: BTreeSet<Value> = values.flat_map(|value| value.elements().to_vec()).collect();
        // Not in order of the values: nobody may rely on that.
        let labels = distinct.into_iter().rev().collect();
        BreakdownPlan { breakdown, labels }
    }

    /// The value of each code. No two are equal; they are in no particular order.
    pub fn labels(&self) -> &[Value] {
        &self.labels
    }
}

impl Memory {
    fn ordinal(&self, user: &str) -> usize {
        self.users.iter().position(|known| known == user).expect("events are of known users")
    }

    fn value<'e>(&'e self, event: &'e Event, on: On, property: &str) -> Option<&'e Value> {
        let properties = match on {
            On::Event => &event.properties,
            On::User => self.profiles.get(&event.user)?,
            On::Account => self.account_profiles.get(event.account.as_ref()?)?,
        };
        properties.iter().find(|(name, _)| name == property).map(|(_, value)| value)
    }

    fn holds(&self, filter: &Filter, event: &Event) -> bool {
        match filter {
            Filter::Property { property, op, on } => op.holds(self.value(event, *on, property)),
            Filter::All(all) => all.iter().all(|filter| self.holds(filter, event)),
            Filter::Any(any) => any.iter().any(|filter| self.holds(filter, event)),
            Filter::Not(not) => !self.holds(not, event),
            Filter::Cohort(CohortRef::Named { .. } | CohortRef::Defined(_)) => false,
        }
    }

    fn matches(&self, selection: &Selection, event: &Event) -> bool {
        let part = |name: &EventName| match name {
            EventName::Any => true,
            EventName::Named(name) => *name == event.event,
        };
        let holds = |filter: &Option<Filter>| filter.as_ref().is_none_or(|filter| self.holds(filter, event));
        holds(&selection.filter)
            && selection.selector.any_of.iter().any(|s| part(&s.event) && holds(&s.filter))
    }
}

impl Task<'_> {
    /// The first ordinal of the task.
    pub fn user_base(&self) -> u32 {
        self.users.start as u32
    }

    fn user(&self, id: &str) -> Option<u16> {
        let ordinal = self.memory.ordinal(id);
        self.users.contains(&ordinal).then(|| (ordinal - self.users.start) as u16)
    }

    /// The id of a user of the task.
    pub fn user_name(&self, user: u16) -> &str {
        &self.memory.users[self.users.start + usize::from(user)]
    }

    /// Rows of all events that match, in `range`, sorted by key; `refs` filled if `with_refs`.
    pub fn rows(
        &self,
        selection: &Selection,
        range: Range<TimeMs>,
        with_refs: bool,
    ) -> Result<Rows, Problem> {
        let memory = self.memory;
        let mut found: Vec<(u64, u32)> = memory
            .events
            .iter()
            .zip(0..)
            .filter(|(event, _)| range.contains(&event.time) && memory.matches(selection, event))
            .filter_map(|(event, row)| Some((key(self.user(&event.user)?, event.time), row)))
            .collect();
        found.sort_by_key(|(key, _)| *key);
        let refs =
            found.iter().filter(|_| with_refs).map(|(_, row)| RowRef { segment: 0, group: 0, row: *row });
        Ok(Rows { refs: refs.collect(), keys: found.iter().map(|(key, _)| *key).collect() })
    }

    /// Users active on days of UTC since 1970, any event. Days ascend; a user may come again for a day.
    pub fn active_days(&self, days: Range<i32>, f: &mut dyn FnMut(i32, &[u16])) -> Result<(), Problem> {
        for day in days {
            // As two segments with the same users would.
            for _ in 0..2 {
                let of_day =
                    self.memory.events.iter().filter(|e| e.time.div_euclid(DAY_MS) == i64::from(day));
                let users: BTreeSet<u16> = of_day.filter_map(|event| self.user(&event.user)).collect();
                f(day, &users.into_iter().collect::<Vec<_>>());
            }
        }
        Ok(())
    }

    /// The codes of each row.
    pub fn breakdown_codes(&self, breakdown: &BreakdownPlan, rows: &Rows) -> Result<Codes, Problem> {
        let (mut codes, mut offsets) = (Vec::new(), vec![0]);
        for row in &rows.refs {
            let event = &self.memory.events[row.row as usize];
            let value = self.memory.value(event, breakdown.breakdown.on, &breakdown.breakdown.property);
            let elements: BTreeSet<&Value> = value.into_iter().flat_map(Value::elements).collect();
            let code =
                |value: &&Value| breakdown.labels.iter().position(|label| label == *value).unwrap() as u32;
            codes.extend(elements.iter().map(code));
            if elements.is_empty() {
                codes.push(NULL_CODE);
            }
            offsets.push(codes.len() as u32);
        }
        Ok(if codes.len() == rows.refs.len() {
            Codes::one_per_row(codes)
        } else {
            Codes::lists(codes, offsets)
        })
    }

    /// The numbers of a property of the rows.
    pub fn numbers(
        &self,
        property: &str,
        rows: &Rows,
        f: &mut dyn FnMut(usize, Number),
    ) -> Result<(), Problem> {
        for (index, row) in rows.refs.iter().enumerate() {
            let event = &self.memory.events[row.row as usize];
            if let Some(number) = self.memory.value(event, On::Event, property).and_then(Value::as_number) {
                f(index, number);
            }
        }
        Ok(())
    }

    /// Users that have an event, as of the query, or a profile.
    pub fn known_users(&self) -> Result<Vec<u16>, Problem> {
        let memory = self.memory;
        let active = memory.events.iter().filter(|event| event.time <= memory.as_of).map(|event| &event.user);
        let known: BTreeSet<u16> =
            active.chain(memory.profiles.keys()).filter_map(|id| self.user(id)).collect();
        Ok(known.into_iter().collect())
    }

    /// Users whose profile satisfies the filter.
    pub fn users_where(&self, filter: &Filter) -> Result<TaskSet, Problem> {
        let event = |user: &String| Event {
            event: String::new(),
            user: user.clone(),
            time: 0,
            id: None,
            account: None,
            properties: Vec::new(),
        };
        let holds = |user: &String| self.memory.holds(filter, &event(user));
        let users = self.memory.users[self.users.clone()].iter().zip(0..);
        Ok(users.filter(|(user, _)| holds(user)).map(|(_, user)| user).collect())
    }
}
