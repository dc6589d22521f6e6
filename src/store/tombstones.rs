//! What is remembered of deleted users, so that a late retry does not bring them back.
//!
//! An event is the same event however often it is sent (docs/queries.md), also when its user was deleted meanwhile. The
//! user's ids and events are gone from every file; what stays is a hash of each id, and a mark
//! of each event that had an id. An event that comes again is left out as a duplicate; a new event of the same id is
//! somebody new. The oldest marks are forgotten when there are too many.
//!
//! Layout: docs/format.md, "Manifest".

use std::collections::VecDeque;

use hashbrown::{HashMap, HashSet};
use xxhash_rust::xxh3::Xxh3Default;

use super::effect::{EventMark, event_mark};
use crate::format::{ByteReader, ByteWriter, DecodeError};
use crate::limits::DELETED_EVENT_MARK_COUNT_MAX;
use crate::model::TimeMs;

/// The hash of a deleted id.
type IdHash = u64;

/// Deleted ids and events, as hashes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tombstones {
    /// The ordinals of the users that an id led to when they were deleted.
    users_by_id: HashMap<IdHash, Vec<u32>>,
    marks: HashSet<EventMark>,
    /// In the order in which they came.
    order: VecDeque<EventMark>,
}

fn id_hash(id: &str) -> IdHash {
    let mut hasher = Xxh3Default::new();
    hasher.update(b"a deleted id");
    hasher.update(id.as_bytes());
    hasher.digest()
}

impl Tombstones {
    /// Remembers a deleted user by its ids and the marks of its events.
    pub fn add<'a>(
        &mut self,
        user: u32,
        ids: impl IntoIterator<Item = &'a str>,
        marks: impl IntoIterator<Item = EventMark>,
    ) {
        let before = self.order.len();
        for mark in marks {
            if self.marks.insert(mark) {
                self.order.push_back(mark);
            }
        }
        if self.order.len() == before {
            return; // nothing of the user could come again
        }
        for id in ids {
            self.users_by_id.entry(id_hash(id)).or_default().push(user);
        }
        while self.order.len() > DELETED_EVENT_MARK_COUNT_MAX {
            let oldest = self.order.pop_front().expect("there are many");
            self.marks.remove(&oldest);
        }
    }

    /// Whether the event, with this id of its own, was one of a user of this id who was deleted.
    pub fn has(&self, event: &str, user: &str, time: TimeMs, id: &[u8]) -> bool {
        if self.marks.is_empty() {
            return false; // by far the most common
        }
        let users = self.users_by_id.get(&id_hash(user));
        users.is_some_and(|users| {
            users.iter().any(|user| self.marks.contains(&event_mark(event, *user, time, id)))
        })
    }

    pub(super) fn encode(&self, out: &mut ByteWriter) {
        let mut ids: Vec<(IdHash, u32)> =
            self.users_by_id.iter().flat_map(|(id, users)| users.iter().map(|user| (*id, *user))).collect();
        ids.sort_unstable();
        out.varint(ids.len() as u64);
        for (id, user) in ids {
            out.u64(id);
            out.u32(user);
        }
        out.varint(self.order.len() as u64);
        for mark in &self.order {
            out.raw(&mark.to_le_bytes());
        }
    }

    pub(super) fn decode(reader: &mut ByteReader<'_>) -> Result<Tombstones, DecodeError> {
        let mut tombstones = Tombstones::default();
        for _ in 0..reader.count(12)? {
            let (id, user) = (reader.u64()?, reader.u32()?);
            tombstones.users_by_id.entry(id).or_default().push(user);
        }
        for _ in 0..reader.count(16)? {
            let mark = EventMark::from_le_bytes(reader.raw(16)?.try_into().expect("16 bytes were read"));
            if !tombstones.marks.insert(mark) {
                return Err(reader.malformed("a mark is there twice"));
            }
            tombstones.order.push_back(mark);
        }
        Ok(tombstones)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_event_is_known_under_every_id_of_the_user_and_no_other_is() {
        let mut tombstones = Tombstones::default();
        assert!(!tombstones.has("signup", "ada", 5, b"e1"));
        tombstones.add(7, ["ada", "anon"], [event_mark("signup", 7, 5, b"e1")]);
        assert!(tombstones.has("signup", "ada", 5, b"e1") && tombstones.has("signup", "anon", 5, b"e1"));
        assert!(!tombstones.has("signup", "bo", 5, b"e1"));
        assert!(!tombstones.has("signup", "ada", 6, b"e1") && !tombstones.has("signup", "ada", 5, b"e2"));
    }

    #[test]
    fn the_oldest_marks_go_first() {
        let mut tombstones = Tombstones::default();
        let first = event_mark("signup", 1, 5, b"e1");
        tombstones.add(1, ["ada"], [first]);
        tombstones.add(2, ["bo"], (0..DELETED_EVENT_MARK_COUNT_MAX as u128).map(|mark| mark << 1));
        assert_eq!(tombstones.order.len(), DELETED_EVENT_MARK_COUNT_MAX);
        assert!(!tombstones.has("signup", "ada", 5, b"e1"));
    }
}
