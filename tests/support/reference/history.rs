//! What arrived: events in order, profiles, and which ids are one user.

use std::collections::{BTreeMap, BTreeSet};

use flywheeldb::api::Json;
use flywheeldb::model::{Entity, Event, ExactSum, IdentityMerge, Number, ProfileWrite, TimeMs, Value};

/// A store as a list.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    /// In order of arrival, with the ids that were sent.
    arrivals: Vec<Event>,
    /// Each merged id and the id that it was merged into.
    merged_into: BTreeMap<String, String>,
    profiles: BTreeMap<(Entity, String), Profile>,
    /// Counts profile writes, to tell the later of two.
    write_count: u64,
    growth_model: Option<Json>,
    /// Events that had an id, of users who were deleted: the ids of the user, and the event's name, time and id.
    gone: Vec<(BTreeSet<String>, String, TimeMs, String)>,
    /// Who is known though their events are left out.
    also_known: BTreeSet<(Entity, String)>,
}

/// The properties of a user or account; a removed one is there without a value.
#[derive(Clone, Debug, Default)]
struct Profile {
    properties: BTreeMap<String, Written>,
}

#[derive(Clone, Debug)]
struct Written {
    value: Option<Value>,
    /// The number of the write that made it so.
    write: u64,
}

impl Reference {
    pub fn set_growth_model(&mut self, model: Json) {
        self.growth_model = Some(model);
    }

    pub fn growth_model(&self) -> Option<&Json> {
        self.growth_model.as_ref()
    }

    /// The same with these events alone; others are known as before.
    pub fn with_first_days_only(
        &self,
        events: Vec<Event>,
        (entity, known): (Entity, BTreeSet<String>),
    ) -> Reference {
        let known = known.into_iter().map(|id| (entity, id));
        Reference {
            arrivals: events,
            also_known: self.also_known.iter().cloned().chain(known).collect(),
            ..self.clone()
        }
    }

    pub fn arrive(&mut self, event: Event) {
        // A late retry does not bring back who was deleted.
        let is_gone = self.gone.iter().any(|(ids, name, time, id)| {
            ids.contains(&event.user)
                && (name, *time, Some(id)) == (&event.event, event.time, event.id.as_ref())
        });
        if !is_gone {
            self.arrivals.push(event);
        }
    }

    /// Applies `set`, `set_once`, `add` and `unset`, in this order.
    pub fn write_profile(&mut self, entity: Entity, write: &ProfileWrite) {
        let id = match entity {
            Entity::User => self.name_of(&write.id),
            Entity::Account => write.id.clone(),
        };
        let is_empty = write.set.is_empty()
            && write.set_once.is_empty()
            && write.add.is_empty()
            && write.unset.is_empty();
        if is_empty {
            return; // a profile is what was written, and this writes nothing
        }
        self.write_count += 1;
        let number = self.write_count;
        let properties = &mut self.profiles.entry((entity, id)).or_default().properties;
        for (name, value) in &write.set {
            properties.insert(name.clone(), Written { value: Some(value.clone()), write: number });
        }
        for (name, value) in &write.set_once {
            if properties.get(name).is_none_or(|known| known.value.is_none()) {
                properties.insert(name.clone(), Written { value: Some(value.clone()), write: number });
            }
        }
        for (name, term) in &write.add {
            let known = properties.get(name).and_then(|known| known.value.as_ref()?.as_number());
            let value = Some(Value::Number(plus(known.unwrap_or(Number::ZERO), *term)));
            properties.insert(name.clone(), Written { value, write: number });
        }
        for name in &write.unset {
            properties.insert(name.clone(), Written { value: None, write: number });
        }
    }

    /// Makes two ids one user, called by the last `into` of its chain. For ids that are one user already,
    /// as in a repeat or a cycle, nothing changes. Of each profile property the later write holds.
    pub fn merge(&mut self, merge: &IdentityMerge) {
        let (from, into) = (self.name_of(&merge.from), self.name_of(&merge.into));
        if from == into {
            return;
        }
        if let Some(moved) = self.profiles.remove(&(Entity::User, from.clone())) {
            let kept = &mut self.profiles.entry((Entity::User, into.clone())).or_default().properties;
            for (name, written) in moved.properties {
                if kept.get(&name).is_none_or(|known| known.write < written.write) {
                    kept.insert(name, written);
                }
            }
        }
        self.merged_into.insert(from, into);
    }

    /// Forgets the user: events, profile, and all ids, which are strangers to each other from now on.
    /// Any of its ids names it.
    pub fn delete(&mut self, user: &str) {
        let name = self.name_of(user);
        let ids: BTreeSet<String> =
            self.merged_into.keys().filter(|id| self.name_of(id) == name).cloned().collect();
        let of_user: BTreeSet<String> = ids.iter().cloned().chain([name.clone()]).collect();
        for event in self.arrivals.extract_if(.., |event| of_user.contains(&event.user)) {
            if let Some(id) = event.id {
                self.gone.push((of_user.clone(), event.event, event.time, id));
            }
        }
        self.merged_into.retain(|id, _| !ids.contains(id));
        self.profiles.remove(&(Entity::User, name));
    }

    /// The id that the user is called by.
    pub fn name_of(&self, id: &str) -> String {
        match self.merged_into.get(id) {
            Some(into) => self.name_of(into),
            None => id.to_owned(),
        }
    }

    /// The events up to and including `as_of`, under the names of their users, each once: of two with one
    /// id, event, user and time the first that arrived.
    pub fn events_until(&self, as_of: TimeMs) -> Vec<Event> {
        let mut seen = BTreeSet::new();
        let mut events = Vec::new();
        for arrival in &self.arrivals {
            let event = Event { user: self.name_of(&arrival.user), ..arrival.clone() };
            let is_new = match &event.id {
                Some(id) => seen.insert((id.clone(), event.event.clone(), event.user.clone(), event.time)),
                None => true,
            };
            if is_new && event.time <= as_of {
                events.push(event);
            }
        }
        events
    }

    /// A property of the profile of a user, by the user's name, or of an account.
    pub fn profile_value(&self, entity: Entity, name: &str, property: &str) -> Option<&Value> {
        let profile = self.profiles.get(&(entity, name.to_owned()))?;
        profile.properties.get(property)?.value.as_ref()
    }

    /// The users, or accounts, that have a profile.
    pub fn with_profile(&self, entity: Entity) -> BTreeSet<String> {
        let known = self.profiles.keys().chain(&self.also_known);
        known.filter(|(kind, _)| *kind == entity).map(|(_, id)| id.clone()).collect()
    }
}

fn plus(a: Number, b: Number) -> Number {
    let mut sum = ExactSum::default();
    sum.add(a);
    sum.add(b);
    Number::parse(&sum.total().to_string()).expect("sums of profile numbers stay small in tests")
}
