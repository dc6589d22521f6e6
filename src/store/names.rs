//! Names of events and properties, which must stay few.
//!
//! Each name of an event is a run of rows in each segment, each name of a property a column: a client that puts ids into
//! names would make all of it slow, for good. So a store has so many names and no more. What is over the bound is
//! refused; names that are there go on working.

use hashbrown::HashSet;

use crate::api::{Problem, ProblemClass};
use crate::limits::{EVENT_NAME_COUNT_MAX, PROPERTY_NAME_COUNT_MAX};
use crate::model::{EventBatch, ProfileWrite};
use crate::segment::{RowKind, Segment};

/// Why an event of a batch is not stored: it has a new name, and there is no room for one.
#[derive(Clone, Debug)]
pub struct RefusedName {
    /// The place of the event in the batch.
    pub row: usize,
    /// With the path within the event.
    pub problem: Problem,
}

/// The names that a store has met since it was opened, with those in its segments.
#[derive(Debug)]
pub(super) struct Names {
    events: HashSet<Box<str>>,
    properties: HashSet<Box<str>>,
    event_count_max: usize,
    property_count_max: usize,
}

impl Default for Names {
    fn default() -> Names {
        Names {
            events: HashSet::new(),
            properties: HashSet::new(),
            event_count_max: EVENT_NAME_COUNT_MAX,
            property_count_max: PROPERTY_NAME_COUNT_MAX,
        }
    }
}

impl Names {
    /// Sets other bounds. Names that are there stay.
    pub fn bound(&mut self, event_count_max: usize, property_count_max: usize) {
        (self.event_count_max, self.property_count_max) = (event_count_max, property_count_max);
    }

    /// Learns the names of a segment.
    pub fn learn(&mut self, segment: &Segment) {
        if segment.kind() == RowKind::Events {
            self.events.extend(segment.groups().map(|group| group.name().into()));
        }
        self.properties.extend(segment.properties().map(Box::from));
    }

    /// Learns the names of rows that are stored already.
    pub fn learn_batch(&mut self, kind: RowKind, batch: &EventBatch) {
        let used = UsedNames::of(batch);
        if kind == RowKind::Events {
            used.events.into_iter().for_each(|(name, _)| insert(&mut self.events, name));
        }
        used.properties.into_iter().for_each(|(name, _)| insert(&mut self.properties, name));
    }

    /// Fails if the batch has names that are new and for which there is no room; else learns them.
    pub fn admit_batch(&mut self, batch: &EventBatch) -> Result<(), RefusedName> {
        let UsedNames { mut events, mut properties } = UsedNames::of(batch);
        events.retain(|(name, _)| !self.events.contains(*name));
        properties.retain(|(name, _)| !self.properties.contains(*name));
        if let Some((name, row)) = events.get(self.event_count_max.saturating_sub(self.events.len())) {
            let problem = too_many("events", self.event_count_max, name).at("/event");
            return Err(RefusedName { row: *row, problem });
        }
        if let Some((name, row)) =
            properties.get(self.property_count_max.saturating_sub(self.properties.len()))
        {
            let problem = too_many("properties", self.property_count_max, name).at("/properties");
            return Err(RefusedName { row: *row, problem });
        }
        self.events.extend(events.into_iter().map(|(name, _)| Box::from(name)));
        self.properties.extend(properties.into_iter().map(|(name, _)| Box::from(name)));
        Ok(())
    }

    /// Learns the new names of the events for which there is room, one event after the other, and tells the others.
    pub fn admit_each(&mut self, batch: &EventBatch) -> Vec<RefusedName> {
        if self.admit_batch(batch).is_ok() {
            return Vec::new();
        }
        let mut refused = Vec::new();
        for (row, event) in batch.iter().enumerate() {
            let mut one = EventBatch::new();
            one.push_from(event);
            refused.extend(self.admit_batch(&one).err().map(|refusal| RefusedName { row, ..refusal }));
        }
        refused
    }

    /// As [`Names::admit_batch`], for writes to profiles.
    pub fn admit_profiles(&mut self, writes: &[ProfileWrite]) -> Result<(), Problem> {
        let mut properties = HashSet::new();
        for (index, write) in writes.iter().enumerate() {
            let values = write.set.iter().chain(&write.set_once).map(|(name, _)| name);
            for name in values.chain(write.add.iter().map(|(name, _)| name)) {
                let is_new = !self.properties.contains(name.as_str()) && properties.insert(name.as_str());
                if is_new && self.properties.len() + properties.len() > self.property_count_max {
                    let problem = too_many("properties", self.property_count_max, name);
                    return Err(problem.at(format!("/{index}")));
                }
            }
        }
        self.properties.extend(properties.into_iter().map(Box::from));
        Ok(())
    }
}

/// The names that a batch uses, each once, and the event that does first.
struct UsedNames<'a> {
    events: Vec<(&'a str, usize)>,
    properties: Vec<(&'a str, usize)>,
}

impl<'a> UsedNames<'a> {
    /// Without a look at the texts but for the first time that each is met.
    fn of(batch: &'a EventBatch) -> UsedNames<'a> {
        let mut used = UsedNames { events: Vec::new(), properties: Vec::new() };
        let mut is_met = vec![[false; 2]; batch.names().len()];
        for (index, event) in batch.iter().enumerate() {
            if !std::mem::replace(&mut is_met[event.event_index()][0], true) {
                used.events.push((event.event(), index));
            }
            for property in event.properties() {
                if !std::mem::replace(&mut is_met[property.name_index()][1], true) {
                    used.properties.push((property.name(), index));
                }
            }
        }
        used
    }
}

fn insert(names: &mut HashSet<Box<str>>, name: &str) {
    if !names.contains(name) {
        names.insert(name.into());
    }
}

fn too_many(things: &str, count_max: usize, name: &str) -> Problem {
    let detail =
        format!("the store has {count_max} names of {things} and takes no new ones, such as {name:?}");
    Problem::new(ProblemClass::Invalid, detail).hint(
        "names are for kinds of things; put ids and addresses into values, or raise the bound if it is meant so",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use crate::model::{Entity, Value};

    fn batch(events: &[(&str, &str)]) -> EventBatch {
        let mut batch = EventBatch::new();
        for (event, property) in events {
            batch.push_event(event, "ada", 1_700_000_000_000, None, None).unwrap();
            batch.push_property(property, &Value::from(true)).unwrap();
        }
        batch
    }

    #[test]
    fn names_past_the_bound_are_refused_and_those_that_are_there_go_on() {
        let folder = tempfile::tempdir().unwrap();
        for round in ["fresh", "replayed", "sealed"] {
            let store = Store::open(folder.path()).unwrap();
            store.bound_names(2, 3);
            store.ingest(batch(&[("a", "p"), ("b", "q"), ("a", "p")])).unwrap();
            let path = |events: &[(&str, &str)]| store.ingest(batch(events)).unwrap_err().path.unwrap();
            let (kept, refused) = store.admissible(batch(&[("c", "p"), ("a", "q"), ("c", "q"), ("b", "p")]));
            let rows: Vec<usize> = refused.iter().map(|refusal| refusal.row).collect();
            assert_eq!((store.ingest(kept).unwrap().accepted, rows), (2, vec![0, 2]), "{round}");
            assert_eq!(refused[1].problem.path.as_deref(), Some("/event"));
            assert_eq!(path(&[("a", "p"), ("c", "p")]), "/1/event", "{round}");
            let profile = |name: &str| ProfileWrite {
                id: "ada".to_owned(),
                set: vec![(name.to_owned(), Value::from(true))],
                ..ProfileWrite::default()
            };
            store.write_profiles(Entity::User, vec![profile("r"), profile("p")]).unwrap();
            let refused = store.write_profiles(Entity::User, vec![profile("p"), profile("s")]).unwrap_err();
            assert_eq!((refused.status(), refused.path.as_deref()), (400, Some("/1")), "{round}");
            assert_eq!(path(&[("a", "s")]), "/0/properties", "{round}");
            store.ingest(batch(&[("b", "p"), ("a", "r")])).unwrap();
            if round == "replayed" {
                store.close().unwrap();
            }
        }
    }
}
