//! What a change does to the state, worked out before it is logged, so that nothing can fail after that.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use xxhash_rust::xxh3::Xxh3Default;

use super::dictionary::{Dictionary, FreshIds};
use super::documents::Document;
use super::rows::{FullRow, UserRows, find_event, profile_cells, rows_of};
use super::view::{Chunk, View};
use crate::api::{Problem, ProblemClass};
use crate::model::{
    DocumentKind, Entity, EventBatch, EventRef, ExactSum, IdentityMerge, Number, ProfileWrite, TextMemo,
    TextPlace, TimeMs, Value, checked_time,
};
use crate::segment::{BatchRow, Damage, RowKind};
use crate::wal::DocumentContent;

/// What a change does.
#[derive(Debug, Default)]
pub struct Effect {
    pub chunks: Vec<Chunk>,
    /// Users whose rows in every segment so far are gone.
    pub buried: Vec<u32>,
    pub merges: Vec<RootedMerge>,
    /// A user to forget.
    pub deleted: Option<Deletion>,
    /// A document to store, or to take away.
    pub document: Option<(DocumentKind, String, Option<Document>)>,
    /// To be added to the dictionaries as soon as the change is logged, so that changes behind it know them.
    pub new_ids: NewIds,
}

/// Ids that a change brings.
#[derive(Debug, Default)]
pub struct NewIds {
    pub users: FreshIds,
    pub accounts: FreshIds,
}

/// The parts of a change that can be left out of it one by one: writes to profiles, or merges.
#[derive(Debug, Default)]
pub struct Parts {
    /// The ordinals of the ids that the parts name, in order.
    pub ordinals: Vec<u32>,
    /// For each row of the change, the part that it is of.
    pub of_rows: Vec<u32>,
}

/// What goes with a user.
#[derive(Debug)]
pub struct Deletion {
    pub user: u32,
    /// The ids that led to it, by ordinal.
    pub ids: Vec<u32>,
    /// The marks of its events that had an id.
    pub marks: Vec<EventMark>,
}

/// Two users that become one, and which of their ordinals stays.
#[derive(Clone, Copy, Debug)]
pub struct RootedMerge {
    pub from: u32,
    pub into: u32,
    pub root: u32,
}

/// A mark of an event with an id: two events with one id, name, user and time are one event.
pub type EventMark = u128;

/// The mark of an event. 128 bits of a hash of everything that makes it the same event.
pub fn event_mark(event: &str, user: u32, time: TimeMs, id: &[u8]) -> EventMark {
    let mut hasher = Xxh3Default::new();
    hasher.update(&user.to_le_bytes());
    hasher.update(&time.to_le_bytes());
    hasher.update(&(event.len() as u32).to_le_bytes());
    hasher.update(event.as_bytes());
    hasher.update(id);
    hasher.digest128()
}

/// The state that effects are worked out from.
pub struct Base<'a> {
    pub view: &'a View,
    pub users: &'a Dictionary,
    pub accounts: &'a Dictionary,
    /// Marks of the events in memory.
    pub marks: [&'a HashSet<EventMark>; 2],
    /// Earlier events are expired.
    pub expired_before: TimeMs,
}

/// A batch of events without those that are there already.
#[derive(Debug)]
pub struct NewEvents {
    /// `None` if all of the batch stays.
    pub kept: Option<KeptEvents>,
    pub rows: Vec<BatchRow>,
    pub new_ids: NewIds,
    pub marks: Vec<EventMark>,
    pub duplicates: u64,
    /// Events that had expired when they came.
    pub expired: u64,
}

/// Some events of a batch.
#[derive(Debug, Default)]
pub struct KeptEvents {
    pub batch: EventBatch,
    /// Where each was in the batch that they are of.
    pub places: Vec<u32>,
}

impl KeptEvents {
    /// Those of a batch at these places, which ascend.
    pub fn of(batch: &EventBatch, places: impl Iterator<Item = usize>) -> KeptEvents {
        let mut kept = KeptEvents::default();
        for place in places {
            kept.batch.push_from(batch.get(place));
            kept.places.push(place as u32);
        }
        kept
    }

    /// The same events, told by where they were in a batch of which `outer` kept some.
    pub fn within(mut self, outer: &KeptEvents) -> KeptEvents {
        self.places.iter_mut().for_each(|place| *place = outer.places[*place as usize]);
        self
    }
}

/// Why an event is not stored although it is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    Expired,
    Deleted,
}

fn out_of_ordinals() -> Problem {
    Problem::new(ProblemClass::TooLarge, "the store holds as many ids as it can")
}

fn resolve(dictionary: &Dictionary, ids: &[&str]) -> Result<(Vec<u32>, FreshIds), Problem> {
    dictionary.resolve(ids).ok_or_else(out_of_ordinals)
}

/// Ids of a batch that are known by their place, as a power of two: a few thousand stay in the cache.
const KNOWN_BITS_MAX: u32 = 14;

/// Resolves ids of a batch, of which many may be one text: that is looked up once.
fn resolve_shared<'b>(
    dictionary: &Dictionary,
    batch_size: usize,
    ids: impl Iterator<Item = (TextPlace, impl FnOnce() -> &'b str)>,
) -> Result<(Vec<u32>, FreshIds), Problem> {
    let mut known = TextMemo::new(batch_size.max(2).ilog2().min(KNOWN_BITS_MAX));
    let (mut distinct, mut indexes) = (Vec::new(), Vec::new());
    for (place, text) in ids {
        let index = known.get(0, place).unwrap_or_else(|| {
            distinct.push(text());
            known.put(0, place, distinct.len() as u32 - 1);
            distinct.len() as u32 - 1
        });
        indexes.push(index);
    }
    let (ordinals, new) = resolve(dictionary, &distinct)?;
    Ok((indexes.into_iter().map(|index| ordinals[index as usize]).collect(), new))
}

impl Base<'_> {
    /// Resolves the ids of a batch. Rows are numbered from `arrival` on.
    pub fn rows(&self, batch: &EventBatch, arrival: u64) -> Result<(Vec<BatchRow>, NewIds), Problem> {
        let (mut rows, users) = self.rows_of_users(batch, arrival)?;
        let accounts = self.resolve_accounts(batch, &mut rows)?;
        Ok((rows, NewIds { users, accounts }))
    }

    /// The rows of a batch without their accounts.
    fn rows_of_users(&self, batch: &EventBatch, arrival: u64) -> Result<(Vec<BatchRow>, FreshIds), Problem> {
        let (users, new) = resolve_shared(
            self.users,
            batch.len(),
            batch.iter().map(|e| (e.user_place(), move || e.user())),
        )?;
        let identities = &self.view.identities;
        let row = |(index, (event, ordinal)): (usize, (EventRef<'_>, u32))| BatchRow {
            batch: 0,
            row: index as u32,
            user: identities.user(ordinal),
            account: 0,
            time: event.time(),
            arrival: arrival + index as u64,
        };
        Ok((batch.iter().zip(users).enumerate().map(row).collect(), new))
    }

    /// Puts the accounts of a batch into its rows, one for each event.
    fn resolve_accounts(&self, batch: &EventBatch, rows: &mut [BatchRow]) -> Result<FreshIds, Problem> {
        let accounts = batch
            .iter()
            .filter_map(|e| Some((e.account_place()?, move || e.account().expect("it has a place"))));
        let (accounts, new) = resolve_shared(self.accounts, batch.len(), accounts)?;
        let with_account = batch.iter().zip(rows).filter(|(event, _)| event.account_place().is_some());
        for ((_, row), account) in with_account.zip(accounts) {
            row.account = account + 1;
        }
        Ok(new)
    }

    /// Resolves the ids of a batch and leaves out the events that the store has, that `pending` has, or that come
    /// twice. Rows are numbered from `arrival` on.
    pub fn new_events(
        &self,
        batch: &EventBatch,
        arrival: u64,
        pending: &HashSet<EventMark>,
    ) -> Result<NewEvents, Problem> {
        if let Some(index) = batch.iter().position(|event| checked_time(event.time()).is_none()) {
            let problem = Problem::invalid("a time lies outside 1900-01-01 to 2200-01-01");
            return Err(problem.at(format!("/{index}/time")));
        }
        if let Some(gone) = self.gone(batch) {
            return self.new_events_but(batch, &gone, arrival, pending);
        }
        let (all, users) = self.rows_of_users(batch, arrival)?;
        let row_count = all.len();
        let on_disk = || self.view.disk.iter().map(|disk| (&*disk.live.segment, &*disk.live.dead));
        let mut rows = Vec::with_capacity(row_count);
        let mut marks = Vec::new();
        let mut in_batch: HashSet<EventMark> = HashSet::new();
        for row in all {
            let event = batch.get(row.row as usize);
            if let Some(id) = event.id() {
                let mark = event_mark(event.event(), row.user, row.time, id.as_bytes());
                let in_memory =
                    self.marks.iter().any(|marks| marks.contains(&mark)) || pending.contains(&mark);
                if in_memory
                    || !in_batch.insert(mark)
                    || find_event(on_disk(), event.event(), row.user, row.time, id.as_bytes())?.is_some()
                {
                    continue;
                }
                marks.push(mark);
            }
            rows.push(BatchRow { arrival: arrival + rows.len() as u64, ..row });
        }
        let duplicates = (row_count - rows.len()) as u64;
        let kept = (duplicates > 0).then(|| KeptEvents::of(batch, rows.iter().map(|row| row.row as usize)));
        rows.iter_mut().zip(0..).for_each(|(row, place)| row.row = place);
        let accounts = self.resolve_accounts(kept.as_ref().map_or(batch, |kept| &kept.batch), &mut rows)?;
        let new_ids = NewIds { users, accounts };
        Ok(NewEvents { kept, rows, new_ids, marks, duplicates, expired: 0 })
    }

    /// Which events of a batch have expired, or were a deleted user's; `None` if none is. They are found before any id
    /// is resolved, which would remember it.
    fn gone(&self, batch: &EventBatch) -> Option<Vec<Option<Gone>>> {
        let gone = |event: EventRef<'_>| {
            let tombstones = &self.view.tombstones;
            let is_deleted =
                |id: &str| tombstones.has(event.event(), event.user(), event.time(), id.as_bytes());
            if event.time() < self.expired_before {
                Some(Gone::Expired)
            } else {
                event.id().filter(|id| is_deleted(id)).map(|_| Gone::Deleted)
            }
        };
        let all: Vec<Option<Gone>> = batch.iter().map(gone).collect();
        all.iter().any(Option::is_some).then_some(all)
    }

    /// The new events of a batch without those that are gone.
    fn new_events_but(
        &self,
        batch: &EventBatch,
        gone: &[Option<Gone>],
        arrival: u64,
        pending: &HashSet<EventMark>,
    ) -> Result<NewEvents, Problem> {
        let kept = KeptEvents::of(batch, (0..gone.len()).filter(|place| gone[*place].is_none()));
        let count = |what| gone.iter().filter(|gone| **gone == Some(what)).count() as u64;
        let mut new = self.new_events(&kept.batch, arrival, pending)?;
        new.kept = Some(match new.kept {
            Some(inner) => inner.within(&kept),
            None => kept,
        });
        new.duplicates += count(Gone::Deleted);
        new.expired = count(Gone::Expired);
        Ok(new)
    }

    /// Resolves writes to profiles to one value for each property written. The tail must be empty.
    pub fn profile_writes(
        &self,
        entity: Entity,
        writes: &[ProfileWrite],
        arrival: u64,
    ) -> Result<(Effect, Parts), Problem> {
        let (dictionary, kind) = match entity {
            Entity::User => (self.users, RowKind::UserProfiles),
            Entity::Account => (self.accounts, RowKind::AccountProfiles),
        };
        let (ordinals, new) =
            resolve(dictionary, &writes.iter().map(|write| write.id.as_str()).collect::<Vec<_>>())?;
        let new_ids = match entity {
            Entity::User => NewIds { users: new, ..NewIds::default() },
            Entity::Account => NewIds { accounts: new, ..NewIds::default() },
        };
        // The values as these writes leave them, so that each sees those before it.
        let mut written: HashMap<(u32, &str), Option<Value>> = HashMap::new();
        let mut stored: HashMap<u32, HashMap<String, (TimeMs, Option<Value>)>> = HashMap::new();
        // Each place as often as it is written.
        let mut order: Vec<(u32, &str, u32)> = Vec::new();
        for ((write, ordinal), part) in writes.iter().zip(&ordinals).zip(0..) {
            let owner = match entity {
                Entity::User => self.view.identities.user(*ordinal),
                Entity::Account => *ordinal,
            };
            let must_read = !write.set_once.is_empty() || !write.add.is_empty();
            if must_read && !stored.contains_key(&owner) {
                stored.insert(owner, profile_cells(self.view.live(), kind, owner)?);
            }
            let mut put = |name, value: Option<Value>| {
                written.insert((owner, name), value);
                order.push((owner, name, part));
            };
            for (name, value) in &write.set {
                put(name.as_str(), Some(value.clone()));
            }
            let current = |written: &HashMap<(u32, &str), Option<Value>>, name: &str| match written
                .get(&(owner, name))
            {
                Some(value) => value.clone(),
                None => {
                    stored.get(&owner).and_then(|cells| cells.get(name)).and_then(|(_, value)| value.clone())
                }
            };
            for (name, value) in &write.set_once {
                if current(&written, name).is_none() {
                    written.insert((owner, name), Some(value.clone()));
                    order.push((owner, name, part));
                }
            }
            for (name, addend) in &write.add {
                let before =
                    current(&written, name).and_then(|value| value.as_number()).unwrap_or(Number::ZERO);
                let sum = sum_of(before, *addend)?;
                written.insert((owner, name), Some(sum.into()));
                order.push((owner, name, part));
            }
            for name in &write.unset {
                written.insert((owner, name), None);
                order.push((owner, name, part));
            }
        }
        // The last write of a place is the one that merges compare with those of other users.
        let mut is_placed: HashSet<(u32, &str)> = HashSet::new();
        order.reverse();
        order.retain(|(owner, name, _)| is_placed.insert((*owner, *name)));
        order.reverse();
        let mut batch = EventBatch::new();
        let mut rows = Vec::with_capacity(order.len());
        let mut of_rows = Vec::with_capacity(order.len());
        for (owner, name, part) in order {
            let number = arrival + rows.len() as u64;
            push_row(&mut batch, name, 0, None)?;
            if let Some(value) = &written[&(owner, name)] {
                batch.push_property(name, value).map_err(|error| Problem::invalid(error.to_string()))?;
            }
            let (row, time) = (rows.len() as u32, number as TimeMs);
            rows.push(BatchRow { batch: 0, row, user: owner, account: 0, time, arrival: number });
            of_rows.push(part);
        }
        let chunks = vec![Chunk { kind, batch: batch.into(), rows }];
        Ok((Effect { chunks, new_ids, ..Effect::default() }, Parts { ordinals, of_rows }))
    }

    /// Joins users. The tail must be empty.
    pub fn merges(&self, merges: &[IdentityMerge]) -> Result<(Effect, Parts), Problem> {
        let ids: Vec<&str> =
            merges.iter().flat_map(|merge| [merge.from.as_str(), merge.into.as_str()]).collect();
        let (ordinals, users) = resolve(self.users, &ids)?;
        let mut union = Union { base: self, roots: HashMap::new(), weights: HashMap::new() };
        let new_ids = NewIds { users, ..NewIds::default() };
        let mut effect = Effect { new_ids, ..Effect::default() };
        for pair in ordinals.chunks_exact(2) {
            let (from, into) = (union.user(pair[0]), union.user(pair[1]));
            if from != into {
                let root = union.join(from, into)?;
                effect.merges.push(RootedMerge { from, into, root });
            }
        }
        let mut joined: HashMap<u32, Vec<u32>> = HashMap::new();
        for merge in &effect.merges {
            // A user stops being one in exactly one merge.
            let gone = if merge.root == merge.from { merge.into } else { merge.from };
            joined.entry(union.user(gone)).or_default().push(gone);
        }
        let mut joined: Vec<(u32, Vec<u32>)> = joined.into_iter().collect();
        joined.sort_unstable();
        for (root, others) in joined {
            self.move_rows(root, others, &mut effect)?;
        }
        Ok((effect, Parts { ordinals, of_rows: Vec::new() }))
    }

    /// Moves the rows of `others` to `root`, and of two events that are now one keeps the one that arrived first.
    fn move_rows(&self, root: u32, others: Vec<u32>, effect: &mut Effect) -> Result<(), Problem> {
        let all = |user| rows_of(self.view.live(), RowKind::Events, user);
        // By name, time and id: the least number of arrival among the rows that move.
        let mut first: HashMap<(String, TimeMs, Vec<u8>), u64> = HashMap::new();
        let mut moving: Vec<(String, FullRow)> = Vec::new();
        for other in &others {
            for rows in all(*other)? {
                moving.extend(rows.read()?.into_iter().map(|row| (rows.group.name().to_owned(), row)));
            }
        }
        let mark = |name: &str, row: &FullRow| (name.to_owned(), row.time, row.id.clone());
        for (name, row) in moving.iter().filter(|(_, row)| !row.id.is_empty()) {
            let arrival = first.entry(mark(name, row)).or_insert(row.arrival);
            *arrival = row.arrival.min(*arrival);
        }
        let segments = || self.view.live().filter(|live| live.segment.kind() == RowKind::Events);
        let mut moves_root = false;
        for ((name, time, id), arrival) in &first {
            let known = segments().map(|live| (&*live.segment, &*live.dead));
            moves_root |= find_event(known, name, root, *time, id)?.is_some_and(|known| known > *arrival);
        }
        if moves_root {
            for rows in all(root)? {
                moving.extend(rows.read()?.into_iter().map(|row| (rows.group.name().to_owned(), row)));
            }
            for (name, row) in moving.iter().filter(|(_, row)| !row.id.is_empty()) {
                let arrival = first.entry(mark(name, row)).or_insert(row.arrival);
                *arrival = row.arrival.min(*arrival);
            }
        }

        let mut batch = EventBatch::new();
        let mut rows = Vec::new();
        for (name, row) in moving {
            if !row.id.is_empty() {
                // Taken out at its first use, so that the rest of its copies are left behind.
                let is_first = first.get(&mark(&name, &row)) == Some(&row.arrival);
                let known = segments().map(|live| (&*live.segment, &*live.dead));
                let is_there = !moves_root && find_event(known, &name, root, row.time, &row.id)?.is_some();
                if !is_first || is_there {
                    continue;
                }
            }
            let id = std::str::from_utf8(&row.id).ok().filter(|id| !id.is_empty());
            push_row(&mut batch, &name, row.time, id)?;
            for (property, value) in &row.properties {
                batch.push_property(property, value).map_err(|error| Problem::invalid(error.to_string()))?;
            }
            let (place, time, arrival) = (rows.len() as u32, row.time, row.arrival);
            rows.push(BatchRow { batch: 0, row: place, user: root, account: row.account, time, arrival });
        }
        if !rows.is_empty() {
            effect.chunks.push(Chunk { kind: RowKind::Events, batch: batch.into(), rows });
        }

        let mut batch = EventBatch::new();
        let mut rows = Vec::new();
        let moved_profiles = others.iter().chain(moves_root.then_some(&root));
        for user in moved_profiles {
            for UserRows { group, rows: range } in rows_of(self.view.live(), RowKind::UserProfiles, *user)? {
                for row in (UserRows { group, rows: range }).read()? {
                    push_row(&mut batch, group.name(), 0, None)?;
                    for (property, value) in &row.properties {
                        batch
                            .push_property(property, value)
                            .map_err(|error| Problem::invalid(error.to_string()))?;
                    }
                    let (place, time, arrival) = (rows.len() as u32, row.time, row.arrival);
                    rows.push(BatchRow { batch: 0, row: place, user: root, account: 0, time, arrival });
                }
            }
        }
        if !rows.is_empty() {
            effect.chunks.push(Chunk { kind: RowKind::UserProfiles, batch: batch.into(), rows });
        }
        effect.buried.extend(others);
        effect.buried.extend(moves_root.then_some(root));
        Ok(())
    }

    /// Deletes a user with all its ids; `None` if there is none. The tail must be empty.
    pub fn deletion(&self, user: &str) -> Option<Effect> {
        let user = self.view.identities.user(self.users.find(user)?);
        let mut ids = self.view.identities.members(user).to_vec();
        ids.push(user);
        let marks = self.marks_of(user);
        Some(Effect { buried: vec![user], deleted: Some(Deletion { user, ids, marks }), ..Effect::default() })
    }

    /// The marks of a user's events that have an id. Those in a segment that cannot be read are left out: a user can
    /// be deleted from a damaged store, too.
    fn marks_of(&self, user: u32) -> Vec<EventMark> {
        let mut marks = Vec::new();
        for live in self.view.live() {
            let mut read = || -> Result<(), Damage> {
                for rows in rows_of(std::iter::once(live), RowKind::Events, user)? {
                    let event = rows.group.name();
                    if let Some(ids) = rows.group.ids()? {
                        for (row, time) in rows.rows.clone().zip(rows.times()?) {
                            let id = ids.get(row).map_err(|error| live.segment.wrap(error))?;
                            if !id.is_empty() {
                                marks.push(event_mark(event, user, time, id));
                            }
                        }
                    }
                }
                Ok(())
            };
            if let Err(damage) = read() {
                tracing::warn!(%damage, "a retry of a deleted user's events in this segment will not be recognised");
            }
        }
        marks
    }

    /// Stores a document, or takes it away.
    pub fn document(&self, kind: DocumentKind, name: String, content: DocumentContent) -> Effect {
        let document = match content {
            DocumentContent::Removed => None,
            DocumentContent::Text(text) => Some(Document::Text(text.into())),
            DocumentContent::Members(ids) => {
                let ordinals = ids.iter().filter_map(|id| self.users.find(id));
                Some(Document::Members(Arc::new(ordinals.collect())))
            }
        };
        Effect { document: Some((kind, name, document)), ..Effect::default() }
    }
}

/// Starts a row whose user and account are known by ordinal, so that the texts in the batch are never read.
fn push_row(batch: &mut EventBatch, name: &str, time: TimeMs, id: Option<&str>) -> Result<(), Problem> {
    batch.push_event(name, "-", time, id, None).map_err(|error| Problem::invalid(error.to_string()))
}

fn sum_of(a: Number, b: Number) -> Result<Number, Problem> {
    let mut sum = ExactSum::default();
    sum.add(a);
    sum.add(b);
    Number::parse(&sum.total().to_string())
        .map_err(|error| Problem::invalid(format!("a sum of a profile's property cannot be kept: {error}")))
}

/// The joins of one change, on top of those that are there.
struct Union<'a> {
    base: &'a Base<'a>,
    roots: HashMap<u32, u32>,
    weights: HashMap<u32, usize>,
}

impl Union<'_> {
    fn user(&mut self, ordinal: u32) -> u32 {
        let mut user = self.base.view.identities.user(ordinal);
        while let Some(parent) = self.roots.get(&user) {
            user = *parent;
        }
        user
    }

    /// Joins two different users under the one with more rows and ids, so that few are moved, and a long chain of
    /// merges takes no longer than as many pairs.
    fn join(&mut self, a: u32, b: u32) -> Result<u32, Problem> {
        let (weight_a, weight_b) = (self.weight(a)?, self.weight(b)?);
        let (root, other) = if weight_a > weight_b { (a, b) } else { (b, a) };
        self.roots.insert(other, root);
        self.weights.insert(root, weight_a + weight_b);
        Ok(root)
    }

    /// Rows and ids of a user.
    fn weight(&mut self, user: u32) -> Result<usize, Problem> {
        if let Some(weight) = self.weights.get(&user) {
            return Ok(*weight);
        }
        let mut count = 1 + self.base.view.identities.members(user).len();
        for kind in [RowKind::Events, RowKind::UserProfiles] {
            count +=
                rows_of(self.base.view.live(), kind, user)?.iter().map(|rows| rows.rows.len()).sum::<usize>();
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use crate::Store;
    use crate::api::{Cell, Json};
    use crate::model::{Entity, IdentityMerge, ProfileWrite};

    /// Random histories found it: the second write of Ann's plan had the rank of the first, so that Bob's held.
    #[test]
    fn a_merge_keeps_the_later_of_two_writes_also_within_a_batch() {
        let directory = tempfile::TempDir::new().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let plan = |id: &str, plan: &str| ProfileWrite {
            id: id.to_owned(),
            set: vec![("plan".to_owned(), plan.into())],
            ..ProfileWrite::default()
        };
        let writes = vec![plan("ann", "free"), plan("bob", "team"), plan("ann", "pro")];
        store.write_profiles(Entity::User, writes).unwrap();
        let merge = IdentityMerge { from: "ann".to_owned(), into: "bob".to_owned() };
        store.merge_identities(vec![merge]).unwrap();
        let query = br#"{"kind": "cohort",
            "cohort": {"profile": {"property": "plan", "op": "eq", "value": "pro"}}}"#;
        let answer = store.query(&Json::parse(query).unwrap()).unwrap();
        assert_eq!(answer.table.rows().next().unwrap(), [Cell::UInt(1)]);
    }
}
