//! Ids that were looked up lately and their ordinals, in front of a dictionary while a history is loaded.
//!
//! A dictionary waits for memory in four places for each id, in each of its files. A load asks for some twenty million ids,
//! most of them again and again: here one place tells whether an id is known, and by which ordinal. What is not found may
//! still be in the dictionary.

use crate::limits::LOADED_ID_COUNT_MAX;

/// Bytes of an id that is kept. With its ordinal it fills what memory hands out at once.
const ID_SIZE_MAX: usize = 59;
/// Places of the table at first.
const SLOT_COUNT_MIN: usize = 1 << 12;

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Slot {
    ordinal: u32,
    /// 0 where nothing is kept: no id is empty.
    size: u8,
    id: [u8; ID_SIZE_MAX],
}

const _: () = assert!(LOADED_ID_COUNT_MAX.is_power_of_two(), "a hash says the place by its upper bits");
const _: () = assert!(size_of::<Slot>() == 64, "an id is one line of the cache");

impl Slot {
    const EMPTY: Slot = Slot { ordinal: 0, size: 0, id: [0; ID_SIZE_MAX] };

    fn id(&self) -> &[u8] {
        &self.id[..usize::from(self.size)]
    }
}

/// A table in which an id has two places beside each other; the one that was put there longer ago makes way.
#[derive(Debug)]
pub(super) struct RecentIds {
    slots: Vec<Slot>,
    /// Places that are taken.
    count: usize,
    hash_of: fn(&[u8]) -> u64,
}

impl RecentIds {
    /// An empty table; `hash_of` is what its callers hash ids with.
    pub fn new(hash_of: fn(&[u8]) -> u64) -> RecentIds {
        RecentIds { slots: vec![Slot::EMPTY; SLOT_COUNT_MIN], count: 0, hash_of }
    }

    /// The first of the two places of a hash: the upper bits say which.
    fn place(&self, hash: u64) -> usize {
        (hash >> (u64::BITS - self.slots.len().ilog2())) as usize & !1
    }

    /// Looks at where ids of these hashes would be, so that they wait for memory together and not one after the other.
    pub fn touch(&self, hashes: &[u64]) {
        let sizes = hashes.iter().map(|hash| u32::from(self.slots[self.place(*hash)].size));
        std::hint::black_box(sizes.sum::<u32>());
    }

    /// The ordinal of an id, if it is here.
    pub fn get(&self, id: &[u8], hash: u64) -> Option<u32> {
        let place = self.place(hash);
        self.slots[place..place + 2].iter().find(|slot| slot.id() == id).map(|slot| slot.ordinal)
    }

    /// Keeps the ordinal of an id, if it is no longer than most.
    pub fn put(&mut self, id: &[u8], hash: u64, ordinal: u32) {
        if id.len() > ID_SIZE_MAX || id.is_empty() || self.get(id, hash).is_some() {
            return;
        }
        // At half of its places few ids push out others.
        if self.count * 2 > self.slots.len() && self.slots.len() < LOADED_ID_COUNT_MAX {
            self.grow();
        }
        let mut slot = Slot { ordinal, size: id.len() as u8, id: [0; ID_SIZE_MAX] };
        slot.id[..id.len()].copy_from_slice(id);
        self.insert(slot, hash);
    }

    fn insert(&mut self, slot: Slot, hash: u64) {
        let place = self.place(hash);
        let [first, second] = &mut self.slots[place..place + 2] else { unreachable!("places come in pairs") };
        self.count += usize::from(second.size == 0);
        (*second, *first) = (*first, slot);
    }

    fn grow(&mut self) {
        let larger = vec![Slot::EMPTY; self.slots.len() * 2];
        let smaller = std::mem::replace(&mut self.slots, larger);
        self.count = 0;
        // Of two the later one stands first.
        for pair in smaller.chunks_exact(2) {
            for slot in pair.iter().rev().filter(|slot| slot.size > 0) {
                self.insert(*slot, (self.hash_of)(slot.id()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(id: &[u8]) -> u64 {
        xxhash_rust::xxh3::xxh3_64(id)
    }

    #[test]
    fn what_is_found_is_true_however_much_is_pushed_out() {
        let mut recent = RecentIds::new(hash_of);
        let id = |ordinal: u32| match ordinal % 3 {
            0 => format!("{ordinal}"),
            1 => format!("{ordinal}{}", "-".repeat(ID_SIZE_MAX - ordinal.to_string().len())),
            _ => format!("{ordinal}{}", "-".repeat(ID_SIZE_MAX + 1)),
        };
        let ordinals = 0..30_000;
        for ordinal in ordinals.clone() {
            let id = id(ordinal);
            assert_eq!(recent.get(id.as_bytes(), hash_of(id.as_bytes())), None);
            recent.put(id.as_bytes(), hash_of(id.as_bytes()), ordinal);
        }
        let mut found = 0;
        for ordinal in ordinals {
            let id = id(ordinal);
            let known = recent.get(id.as_bytes(), hash_of(id.as_bytes()));
            assert!(known.is_none_or(|known| known == ordinal && known % 3 < 2), "{id} is {known:?}");
            found += usize::from(known.is_some());
        }
        assert!(found > 15_000, "of 20,000 that are short enough only {found} are found");
    }
}
