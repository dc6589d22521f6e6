//! How much of what stays for good a store takes: names, users, accounts, and texts of a property.
//!
//! Each name of an event is a run of rows in each segment, each name of a property a column, each id an entry of the ids
//! files: a client that puts ids into names, or makes up users, would make all of it slow, for good. So there are bounds.
//! What is over one is refused; what is there goes on working.
//!
//! What a change would store is worked out first, and that is compared with the bounds: duplicates and events that have
//! expired bring nothing. What it brings counts from the moment when it is logged, so that the next change of the same
//! group sees it, and no more if the log fails. Replayed changes are let in as they are.

use std::hash::{BuildHasher, RandomState};

use hashbrown::{HashMap, HashSet};

use super::admission::{Admission, Admitted, KnownIds};
use super::commit::OverBound;
use super::effect::{NewIds, Parts};
use super::health::Watch;
use super::{Inner, View};
use crate::api::{Problem, ProblemClass};
use crate::limits::{
    ENTITY_COUNT_MAX, EVENT_NAME_COUNT_MAX, PROPERTY_NAME_COUNT_MAX, PROPERTY_VALUE_COUNT_MAX,
};
use crate::model::{CellRef, Entity, EventBatch, EventRef, Value};
use crate::segment::{BatchRow, Damage, RowKind, Segment};

/// How much a store takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreBounds {
    pub event_names: usize,
    /// Of events and profiles together.
    pub property_names: usize,
    /// Distinct texts of one property; of events, of users' profiles and of accounts' profiles each for itself. 0 for as
    /// many as there are.
    pub property_values: usize,
    /// Ids of users, those merged into others included.
    pub users: usize,
    /// Ids of accounts.
    pub accounts: usize,
}

impl Default for StoreBounds {
    fn default() -> StoreBounds {
        StoreBounds {
            event_names: EVENT_NAME_COUNT_MAX,
            property_names: PROPERTY_NAME_COUNT_MAX,
            property_values: PROPERTY_VALUE_COUNT_MAX,
            users: ENTITY_COUNT_MAX,
            accounts: ENTITY_COUNT_MAX,
        }
    }
}

/// One of the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    EventNames,
    PropertyNames,
    PropertyValues,
    Users,
    Accounts,
}

impl Bound {
    pub const ALL: [Bound; 5] =
        [Bound::EventNames, Bound::PropertyNames, Bound::PropertyValues, Bound::Users, Bound::Accounts];

    pub fn name(self) -> &'static str {
        match self {
            Bound::EventNames => "event_names",
            Bound::PropertyNames => "property_names",
            Bound::PropertyValues => "property_values",
            Bound::Users => "users",
            Bound::Accounts => "accounts",
        }
    }

    /// Why something is refused for it: `what` is what it would be one more of.
    pub(super) fn problem(self, count_max: usize, what: &str) -> Problem {
        let (detail, hint) = match self {
            Bound::EventNames | Bound::PropertyNames => {
                let things = if self == Bound::EventNames { "events" } else { "properties" };
                let detail = format!(
                    "the store has {count_max} names of {things} and takes no new ones, such as {what:?}"
                );
                let hint = "names are for kinds of things; put ids and addresses into values, or raise the \
                            bound if it is meant so";
                (detail, hint)
            }
            Bound::PropertyValues => {
                let detail =
                    format!("the property {what:?} has {count_max} distinct texts and takes no new ones");
                (detail, "texts that it has go on; raise the bound --max-property-values if it is meant so")
            }
            Bound::Users | Bound::Accounts => {
                let detail = format!("the store knows {count_max} {} and takes no new ones", self.name());
                (detail, "those that it knows go on; raise the bound if there are more")
            }
        };
        Problem::new(ProblemClass::Invalid, detail).hint(hint)
    }
}

/// Why a part of a change is not stored: it brings something new, and there is no room for it.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The place in the request of the event, the write to a profile or the merge.
    pub part: usize,
    pub bound: Bound,
    /// With the path within the part.
    pub problem: Problem,
}

impl Refused {
    /// The refusal of the whole request for this part of it.
    pub(super) fn of_request(self) -> Problem {
        let path = self.problem.path.clone().unwrap_or_default();
        self.problem.at(format!("/{}{path}", self.part))
    }
}

/// The texts of each property, as 64 bits of a hash whose seed nobody can know. Two texts of one hash count as one.
#[derive(Debug, Default)]
pub(super) struct KnownTexts {
    seed: RandomState,
    by_kind: HashMap<RowKind, HashMap<Box<str>, HashSet<u64>>>,
}

impl KnownTexts {
    /// The texts of a view, those of rows that are gone included as long as their segment has them.
    fn of(view: &View) -> Result<KnownTexts, Damage> {
        let mut texts = KnownTexts::default();
        for segment in view.live().map(|live| &*live.segment) {
            for (property, name) in segment.properties().enumerate() {
                let Some(values) = segment.values(property as u32)? else { continue };
                for index in 0..values.len() {
                    let value = values.get(index).map_err(|error| segment.wrap(error))?;
                    let hashes: Vec<u64> = value
                        .elements()
                        .iter()
                        .filter_map(Value::as_str)
                        .map(|text| texts.hash(text))
                        .collect();
                    texts.learn(segment.kind(), name, hashes);
                }
            }
        }
        for chunk in &view.tail {
            for property in chunk.batch.iter().flat_map(EventRef::properties) {
                let mut hashes = Vec::new();
                texts.hashes_of(&property.value(), &mut |hash| hashes.push(hash));
                texts.learn(chunk.kind, property.name(), hashes);
            }
        }
        Ok(texts)
    }

    fn hash(&self, text: &str) -> u64 {
        self.seed.hash_one(text)
    }

    /// The texts of a value: itself, or those in a list.
    pub fn hashes_of(&self, value: &CellRef<'_>, tell: &mut impl FnMut(u64)) {
        match value {
            CellRef::Text(text) => tell(self.hash(text)),
            CellRef::List(elements) => elements.iter().for_each(|element| self.hashes_of(element, tell)),
            CellRef::Bool(_) | CellRef::Number(_) => {}
        }
    }

    pub fn of_property(&self, kind: RowKind, property: &str) -> Option<&HashSet<u64>> {
        self.by_kind.get(&kind)?.get(property)
    }

    fn learn(&mut self, kind: RowKind, property: &str, hashes: impl IntoIterator<Item = u64>) {
        let mut hashes = hashes.into_iter().peekable();
        if hashes.peek().is_some() {
            self.by_kind.entry(kind).or_default().entry_ref(property).or_default().extend(hashes);
        }
    }
}

/// What a store has of what is bounded, ids apart, and the bounds.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    pub most: StoreBounds,
    pub events: HashSet<Box<str>>,
    pub properties: HashSet<Box<str>>,
    /// Only where they are bounded.
    pub texts: Option<KnownTexts>,
}

/// What a change brings.
#[derive(Debug, Default)]
pub(super) struct News {
    pub events: Vec<Box<str>>,
    pub properties: Vec<Box<str>>,
    pub texts: Vec<(RowKind, Box<str>, HashSet<u64>)>,
}

impl Bounds {
    /// Learns the names of a segment.
    pub fn learn_segment(&mut self, segment: &Segment) {
        if segment.kind() == RowKind::Events {
            self.events.extend(segment.groups().map(|group| group.name().into()));
        }
        self.properties.extend(segment.properties().map(Box::from));
    }

    /// Learns the names of rows that are stored already.
    pub fn learn_batch(&mut self, kind: RowKind, batch: &EventBatch) {
        let mut is_met = vec![[false; 2]; batch.names().len()];
        for event in batch.iter() {
            if kind == RowKind::Events && !std::mem::replace(&mut is_met[event.event_index()][0], true) {
                self.events.get_or_insert_with(event.event(), |name| name.into());
            }
            for property in event.properties() {
                if !std::mem::replace(&mut is_met[property.name_index()][1], true) {
                    self.properties.get_or_insert_with(property.name(), |name| name.into());
                }
            }
        }
    }

    /// Learns what a change brings that is logged.
    pub fn learn(&mut self, news: &News) {
        self.events.extend(news.events.iter().cloned());
        self.properties.extend(news.properties.iter().cloned());
        if let Some(known) = &mut self.texts {
            for (kind, property, hashes) in &news.texts {
                known.learn(*kind, property, hashes.iter().copied());
            }
        }
    }

    /// Forgets what a change would have brought that could not be logged.
    pub fn forget(&mut self, news: &News) {
        for name in &news.events {
            self.events.remove(name);
        }
        for name in &news.properties {
            self.properties.remove(name);
        }
        for (kind, property, hashes) in &news.texts {
            let known = self.texts.as_mut().and_then(|known| known.by_kind.get_mut(kind)?.get_mut(property));
            if let Some(known) = known {
                known.retain(|hash| !hashes.contains(hash));
            }
        }
    }

    /// Judges events, each of which is a row.
    pub fn admit_events(
        &self,
        batch: &EventBatch,
        rows: &[BatchRow],
        new_ids: &NewIds,
        known: KnownIds,
        over: OverBound,
    ) -> Admitted {
        let mut admission = Admission::new(self, RowKind::Events, batch, known);
        admission.each(rows.len(), over, |admission, part| {
            let (event, row) = (batch.get(part), &rows[part]);
            admission.want_user(new_ids, row.user, "/user");
            if let Some(account) = row.account.checked_sub(1) {
                admission.want_account(new_ids, account);
            }
            admission.want_event(event);
            admission.want_properties(event, "/properties");
        })
    }

    /// Judges writes to profiles; `batch` has their rows.
    pub fn admit_profiles(
        &self,
        entity: Entity,
        batch: &EventBatch,
        new_ids: &NewIds,
        parts: &Parts,
        known: KnownIds,
        over: OverBound,
    ) -> Admitted {
        let kind = match entity {
            Entity::User => RowKind::UserProfiles,
            Entity::Account => RowKind::AccountProfiles,
        };
        let mut rows = parts.of_rows.iter().zip(batch.iter()).peekable();
        Admission::new(self, kind, batch, known).each(parts.ordinals.len(), over, |admission, part| {
            match entity {
                Entity::User => admission.want_user(new_ids, parts.ordinals[part], "/user"),
                Entity::Account => admission.want_account(new_ids, parts.ordinals[part]),
            }
            while let Some((_, row)) = rows.next_if(|(of, _)| **of as usize == part) {
                admission.want_properties(row, "");
            }
        })
    }

    /// Judges merges, each of two ids.
    pub fn admit_merges(
        &self,
        new_ids: &NewIds,
        parts: &Parts,
        known: KnownIds,
        over: OverBound,
    ) -> Admitted {
        let no_rows = EventBatch::new();
        let mut admission = Admission::new(self, RowKind::Events, &no_rows, known);
        admission.each(parts.ordinals.len() / 2, over, |admission, part| {
            admission.want_user(new_ids, parts.ordinals[2 * part], "/from");
            admission.want_user(new_ids, parts.ordinals[2 * part + 1], "/into");
        })
    }
}

impl Inner {
    pub(super) fn bound(&self, most: StoreBounds) -> Result<(), Problem> {
        // With the lock no change is logged that the view does not show.
        let mut writer = self.writer.lock();
        let view = self.view.read().clone();
        let watch = Watch::begin();
        let texts = (most.property_values > 0).then(|| KnownTexts::of(&view)).transpose();
        let texts = self.checked(watch, texts.map_err(Problem::from))?;
        (writer.bounds.most, writer.bounds.texts) = (most, texts);
        Ok(())
    }

    pub(super) fn known_ids(&self) -> KnownIds {
        KnownIds { users: self.users.known_count(), accounts: self.accounts.known_count() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use crate::model::{IdentityMerge, ProfileWrite};

    const TIME: i64 = 1_700_000_000_000;

    /// Events by name, user and the value of their property, with an id each.
    fn batch(events: &[(&str, &str, Value)]) -> EventBatch {
        let mut batch = EventBatch::new();
        for (name, user, value) in events {
            batch.push_event(name, user, TIME, Some("1"), Some(user)).unwrap();
            batch.push_property("p", value).unwrap();
        }
        batch
    }

    fn named(events: &[(&str, &str)]) -> EventBatch {
        let mut batch = EventBatch::new();
        for (event, property) in events {
            batch.push_event(event, "ada", TIME, None, None).unwrap();
            batch.push_property(property, &Value::from(true)).unwrap();
        }
        batch
    }

    fn texts(texts: &[&str]) -> Value {
        Value::List(texts.iter().map(|text| Value::from(*text)).collect())
    }

    fn profile(id: &str, name: &str, value: Value) -> ProfileWrite {
        ProfileWrite { id: id.to_owned(), set: vec![(name.to_owned(), value)], ..ProfileWrite::default() }
    }

    /// Where it was refused.
    fn path<T: std::fmt::Debug>(outcome: Result<T, Problem>) -> String {
        let problem = outcome.unwrap_err();
        assert_eq!(problem.status(), 400, "{problem}");
        problem.path.unwrap()
    }

    /// Does the same in a new store, and in one that is opened again from its log, and from its segments.
    fn in_each_state(test: impl Fn(&Store, &str)) {
        let folder = tempfile::tempdir().unwrap();
        for state in ["fresh", "replayed", "sealed"] {
            let store = Store::open(folder.path()).unwrap();
            test(&store, state);
            if state == "replayed" {
                store.close().unwrap();
            }
        }
    }

    #[test]
    fn names_past_the_bound_are_refused_and_those_that_are_there_go_on() {
        in_each_state(|store, state| {
            let bounds = StoreBounds { event_names: 2, property_names: 3, ..StoreBounds::default() };
            store.bound(bounds).unwrap();
            store.ingest(named(&[("a", "p"), ("b", "q"), ("a", "p")])).unwrap();
            let many = named(&[("c", "p"), ("a", "q"), ("c", "q"), ("b", "p")]);
            let (receipt, refused) = store.ingest_what_fits(many).unwrap();
            let parts: Vec<usize> = refused.iter().map(|refused| refused.part).collect();
            assert_eq!((receipt.accepted, parts), (2, vec![0, 2]), "{state}");
            assert_eq!(refused[1].problem.path.as_deref(), Some("/event"));
            assert_eq!(path(store.ingest(named(&[("a", "p"), ("c", "p")]))), "/1/event", "{state}");
            let flag = |name| profile("ada", name, true.into());
            store.write_profiles(Entity::User, vec![flag("r"), flag("p")]).unwrap();
            assert_eq!(path(store.write_profiles(Entity::User, vec![flag("p"), flag("s")])), "/1", "{state}");
            assert_eq!(path(store.ingest(named(&[("a", "s")]))), "/0/properties", "{state}");
            store.ingest(named(&[("b", "p"), ("a", "r")])).unwrap();
        });
    }

    #[test]
    fn users_past_the_bound_are_refused_and_those_that_are_there_go_on() {
        in_each_state(|store, state| {
            store.bound(StoreBounds { users: 3, accounts: 2, ..StoreBounds::default() }).unwrap();
            let did = |user: &str| batch(&[("a", user, true.into())]);
            store.ingest(did("ada")).unwrap();
            let pair = |from: &str, into: &str| IdentityMerge { from: from.into(), into: into.into() };
            store.merge_identities(vec![pair("anon", "ada")]).unwrap();
            let two = batch(&[("a", "ada", true.into()), ("a", "bo", true.into()), ("a", "cy", true.into())]);
            assert_eq!(path(store.ingest(two.clone())), "/2/user", "{state}");
            let mut all = two.clone();
            all.push_event("a", "anon", TIME, Some("2"), Some("new")).unwrap();
            let (_, refused) = store.ingest_what_fits(all).unwrap();
            let refused: Vec<_> = refused.iter().map(|one| (one.part, one.bound)).collect();
            assert_eq!(refused, [(2, Bound::Users), (3, Bound::Accounts)], "{state}");
            assert_eq!(path(store.merge_identities(vec![pair("bo", "bo"), pair("bo", "dee")])), "/1/into");
            let merges = vec![pair("dee", "bo"), pair("anon", "ada"), pair("bo", "eve")];
            assert_eq!(store.merge_identities_that_fit(merges).unwrap().len(), 2);
            let named = |id: &str| profile(id, "p", true.into());
            let writes = vec![named("ada"), named("cy")];
            assert_eq!(path(store.write_profiles(Entity::User, writes.clone())), "/1/user");
            assert_eq!(store.write_profiles_that_fit(Entity::User, writes).unwrap()[0].part, 1);
            assert_eq!(path(store.write_profiles(Entity::Account, vec![named("new")])), "/0/account");
            assert_eq!((store.size().user_id_count, store.size().account_id_count), (3, 2), "{state}");
            for gone in ["cy", "dee", "eve"] {
                assert!(store.identity(gone).is_none(), "a refused id is not kept");
            }
        });
    }

    #[test]
    fn a_deleted_user_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.bound(StoreBounds { users: 1, ..StoreBounds::default() }).unwrap();
        let did = |user: &str| store.ingest(batch(&[("a", user, true.into())]));
        did("ada").unwrap();
        assert_eq!(path(did("bo")), "/0/user");
        store.delete_user("ada").unwrap();
        // What was sent of a deleted user is no user again.
        assert_eq!(did("ada").unwrap().duplicates, 1);
        did("bo").unwrap();
    }

    #[test]
    fn texts_past_the_bound_are_refused_and_those_that_are_there_go_on() {
        in_each_state(|store, state| {
            store.bound(StoreBounds { property_values: 3, ..StoreBounds::default() }).unwrap();
            let did = |value: Value| store.ingest(batch(&[("a", &value.to_string(), value)]));
            did("x".into()).unwrap();
            did(7.into()).unwrap();
            did(texts(&["x", "y", "y"])).unwrap();
            assert_eq!(path(did(texts(&["u", "v"]))), "/0/properties", "{state}: one place for two");
            let last = [("a", "1", "z".into()), ("a", "2", "w".into()), ("a", "3", "x".into())];
            assert_eq!(path(store.ingest(batch(&last))), "/1/properties", "{state}");
            let (_, refused) = store.ingest_what_fits(batch(&last)).unwrap();
            assert_eq!(
                refused.iter().map(|one| (one.part, one.bound)).collect::<Vec<_>>(),
                [(1, Bound::PropertyValues)]
            );
            assert_eq!(path(did("w".into())), "/0/properties", "{state}");
            did(texts(&["z", "y", "x"])).unwrap();
            did(8.into()).unwrap();
            // What is not stored brings nothing: an event that is there already, with another value.
            assert_eq!(store.ingest(batch(&[("a", "1", "w".into())])).unwrap().duplicates, 1, "{state}");
            // Profiles have texts of their own.
            let plan = |plan: &str| profile("ada", "p", plan.into());
            let once = |plan: &str| ProfileWrite {
                id: "ada".to_owned(),
                set_once: vec![("p".to_owned(), plan.into())],
                ..ProfileWrite::default()
            };
            store.write_profiles(Entity::User, vec![plan("a"), plan("b"), plan("c")]).unwrap();
            store.write_profiles(Entity::User, vec![once("d")]).unwrap();
            store.write_profiles(Entity::User, vec![plan("d"), plan("a")]).unwrap();
            store.write_profiles(Entity::User, vec![plan("e")]).unwrap();
            assert_eq!(path(store.write_profiles(Entity::User, vec![plan("f")])), "/0", "{state}");
            store.compact().unwrap();
            assert_eq!(path(did("w".into())), "/0/properties", "{state}");
        });
    }
}
