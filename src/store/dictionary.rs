//! Ids to dense ordinals and back, for millions of ids that are not held on the heap.
//!
//! Ordinals are given in order of first appearance and never change (`dense-ordinals`). Ids that are in a checkpoint
//! lie in immutable files, each for a range of ordinals; newer ones are in memory. Files of similar size are joined
//! when the next is written, so that there are few. Layout: docs/format.md, "Ids".

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashTable;
use parking_lot::{Mutex, RwLock};
use roaring::RoaringBitmap;

use super::recent_ids::RecentIds;
use crate::format::{ByteWriter, DecodeError, FileKind, PackedInts, encode_ints};
use crate::io;
use crate::segment::Damage;

const STRUCTURE: &str = "ids";
const FILE_KIND: FileKind = FileKind { magic: b"FLYWHIDS", version: 1, structure: STRUCTURE };

/// Ids that are looked for together: as many as memory answers at once, and some more.
const LOOKUP_GROUP_SIZE: usize = 32;

/// Slots of a file's hash table for each id, in quarters: a load of four fifths keeps probes short.
const SLOTS_PER_FOUR_IDS: usize = 5;

fn hash_of(id: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(id)
}

/// The ids of users, or of accounts.
#[derive(Debug, Default)]
pub struct Dictionary {
    state: RwLock<State>,
    /// What was looked up lately, while a history is loaded. Taken before the state, by whoever resolves or changes.
    recent: Mutex<Option<RecentIds>>,
}

#[derive(Debug, Default)]
struct State {
    /// By first ordinal; together they hold the ordinals below `fresh.first`.
    files: Vec<Arc<IdFile>>,
    fresh: FreshIds,
    /// Ordinals whose ids are forgotten.
    deleted: RoaringBitmap,
}

/// Ids that are in no file yet, or not even in a dictionary.
#[derive(Debug, Default)]
pub struct FreshIds {
    /// The ordinal of the first.
    first: u32,
    ends: Vec<u64>,
    text: Vec<u8>,
    by_id: HashTable<u32>,
}

impl FreshIds {
    fn id(&self, index: u32) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index as usize - 1] };
        &self.text[start as usize..self.ends[index as usize] as usize]
    }

    /// The ordinal of an id. A deleted id may be there under several ordinals.
    fn find(&self, id: &[u8], hash: u64, deleted: &RoaringBitmap) -> Option<u32> {
        let is_it = |index: &u32| self.id(*index) == id && !deleted.contains(self.first + *index);
        self.by_id.find(hash, is_it).map(|index| self.first + *index)
    }

    fn insert(&mut self, id: &[u8], hash: u64) -> u32 {
        let index = self.ends.len() as u32;
        self.text.extend_from_slice(id);
        self.ends.push(self.text.len() as u64);
        let (ends, text) = (&self.ends, &self.text);
        self.by_id.insert_unique(hash, index, |other| {
            let start = if *other == 0 { 0 } else { ends[*other as usize - 1] };
            hash_of(&text[start as usize..ends[*other as usize] as usize])
        });
        self.first + index
    }

    fn end(&self) -> u32 {
        self.first + self.count()
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.ends.len() as u32
    }

    /// Whether an ordinal is of one of these, or of a later one.
    pub fn is_fresh(&self, ordinal: u32) -> bool {
        ordinal >= self.first
    }
}

/// An id that is looked for, and what was found.
struct Wanted<'i> {
    id: &'i [u8],
    hash: u64,
    /// Which one it is of all that are looked for.
    place: usize,
    ordinal: Option<u32>,
}

/// Puts the ordinals of ids that were looked up lately into their places, and returns the others.
fn find_recent<'i>(recent: Option<&RecentIds>, ids: &[&'i str], ordinals: &mut [u32]) -> Vec<Wanted<'i>> {
    let wanted = |place: usize, hash| Wanted { id: ids[place].as_bytes(), hash, place, ordinal: None };
    let Some(recent) = recent else {
        return (0..ids.len()).map(|place| wanted(place, hash_of(ids[place].as_bytes()))).collect();
    };
    let mut rest = Vec::new();
    let mut hashes = [0; LOOKUP_GROUP_SIZE];
    for (start, group) in (0..).step_by(LOOKUP_GROUP_SIZE).zip(ids.chunks(LOOKUP_GROUP_SIZE)) {
        for (hash, id) in hashes.iter_mut().zip(group) {
            *hash = hash_of(id.as_bytes());
        }
        recent.touch(&hashes[..group.len()]);
        for ((place, id), hash) in (start..).zip(group).zip(hashes) {
            match recent.get(id.as_bytes(), hash) {
                Some(ordinal) => ordinals[place] = ordinal,
                None => rest.push(wanted(place, hash)),
            }
        }
    }
    rest
}

impl State {
    fn find(&self, id: &[u8]) -> Option<u32> {
        let hash = hash_of(id);
        // The newest ordinal of an id is the only one that is not deleted.
        let fresh = self.fresh.find(id, hash, &self.deleted);
        fresh.or_else(|| self.files.iter().rev().find_map(|file| file.find(id, hash, &self.deleted)))
    }
}

impl Dictionary {
    /// A dictionary of the ids in `files`, which hold consecutive ranges from 0.
    pub fn open(files: Vec<Arc<IdFile>>, deleted: RoaringBitmap) -> Dictionary {
        let first = files.last().map_or(0, |file| file.first + file.count());
        let fresh = FreshIds { first, ..FreshIds::default() };
        Dictionary { state: RwLock::new(State { files, fresh, deleted }), recent: Mutex::default() }
    }

    /// Ordinals given so far, those of deleted ids included.
    pub fn len(&self) -> u32 {
        self.state.read().fresh.end()
    }

    /// The ordinal of an id.
    pub fn find(&self, id: &str) -> Option<u32> {
        self.state.read().find(id.as_bytes())
    }

    /// The ordinals of ids, and the new ones among them with the ordinals that they have once they are
    /// [added](Dictionary::add). `None` if there are no ordinals left.
    pub fn resolve(&self, ids: &[&str]) -> Option<(Vec<u32>, FreshIds)> {
        let mut recent = self.recent.lock();
        let state = self.state.read();
        let mut ordinals = vec![0; ids.len()];
        let mut rest = find_recent(recent.as_ref(), ids, &mut ordinals);
        let mut files = state.files.clone();
        // Most ids are in the largest file.
        files.sort_by_key(|file| std::cmp::Reverse(file.count()));
        for group in rest.chunks_mut(LOOKUP_GROUP_SIZE) {
            for wanted in &mut *group {
                wanted.ordinal = state.fresh.find(wanted.id, wanted.hash, &state.deleted);
            }
            for file in &files {
                file.find_group(group, &state.deleted);
            }
        }
        let mut new = FreshIds { first: state.fresh.end(), ..FreshIds::default() };
        for Wanted { id, hash, place, ordinal } in rest {
            ordinals[place] = match ordinal {
                Some(ordinal) => {
                    if let Some(recent) = &mut *recent {
                        recent.put(id, hash, ordinal);
                    }
                    ordinal
                }
                // One before may have been the first of its id.
                None => match new.find(id, hash, &state.deleted) {
                    Some(ordinal) => ordinal,
                    // The last ordinal stays free, so that one more than any ordinal is a u32.
                    None if new.end() == u32::MAX - 1 => return None,
                    None => new.insert(id, hash),
                },
            };
        }
        Some((ordinals, new))
    }

    /// Adds ids that were new when they were resolved. None may have been added since.
    pub fn add(&self, new: &FreshIds) {
        if new.count() == 0 {
            return; // and nothing is locked for it
        }
        let mut recent = self.recent.lock();
        let mut state = self.state.write();
        debug_assert_eq!(new.first, state.fresh.end(), "dense-ordinals");
        for index in 0..new.count() {
            let id = new.id(index);
            let hash = hash_of(id);
            let ordinal = state.fresh.insert(id, hash);
            if let Some(recent) = &mut *recent {
                recent.put(id, hash, ordinal);
            }
        }
    }

    /// Keeps ids that are looked up at hand, for as long as most of those that come were there before: until
    /// [`Dictionary::forget_recent`].
    pub fn keep_recent(&self) {
        self.recent.lock().get_or_insert_with(|| RecentIds::new(hash_of));
    }

    /// Gives back what [`Dictionary::keep_recent`] took.
    pub fn forget_recent(&self) {
        *self.recent.lock() = None;
    }

    /// The id of an ordinal; `None` if it is deleted or was never given.
    pub fn id(&self, ordinal: u32) -> Option<String> {
        let state = self.state.read();
        if state.deleted.contains(ordinal) {
            return None;
        }
        let bytes = if ordinal >= state.fresh.first {
            let index = ordinal - state.fresh.first;
            if index as usize >= state.fresh.ends.len() {
                return None;
            }
            state.fresh.id(index)
        } else {
            let file = state.files.iter().rev().find(|file| file.first <= ordinal)?;
            file.id(ordinal - file.first)?
        };
        String::from_utf8(bytes.to_vec()).ok()
    }

    /// Forgets ids. Their ordinals are never given again.
    pub fn delete(&self, ordinals: impl IntoIterator<Item = u32>) {
        self.forget_recent();
        self.state.write().deleted.extend(ordinals);
    }

    pub fn deleted_count(&self) -> u64 {
        self.state.read().deleted.len()
    }

    /// Ids that are known, deleted ones left out.
    pub fn known_count(&self) -> u64 {
        let state = self.state.read();
        u64::from(state.fresh.end()) - state.deleted.len()
    }

    pub fn deleted(&self) -> RoaringBitmap {
        self.state.read().deleted.clone()
    }

    pub fn files(&self) -> Vec<Arc<IdFile>> {
        self.state.read().files.clone()
    }

    /// Writes the ids below `end` that are in no file, joined with files that are no larger, as one file.
    ///
    /// The ids of `deleted` are left out: those that the checkpoint's manifest knows to be deleted. An id deleted
    /// later must stay, for the replay of the log to find whom to delete.
    ///
    /// With `purge`, files that hold deleted ids are written anew without them, too. Returns the first ordinal and
    /// the bytes of the new file, which replaces all files from that ordinal on; `None` if there is nothing to write.
    pub fn checkpoint(&self, end: u32, purge: bool, deleted: &RoaringBitmap) -> Option<(u32, Vec<u8>)> {
        let state = self.state.read();
        let fresh_count = end.saturating_sub(state.fresh.first);
        let mut keep = state.files.len();
        let mut joined = fresh_count;
        while keep > 0 && joined > 0 && state.files[keep - 1].count() <= joined.saturating_mul(2) {
            keep -= 1;
            joined += state.files[keep].count();
        }
        if purge {
            let is_stale = |file: &Arc<IdFile>| {
                deleted.range_cardinality(file.first..file.first + file.count()) > file.deleted
            };
            keep = state.files.iter().position(is_stale).map_or(keep, |stale| stale.min(keep));
        }
        let first = state.files.get(keep).map_or(state.fresh.first, |file| file.first);
        if first == end {
            return None;
        }
        let mut builder = IdFileBuilder::new(first);
        for file in &state.files[keep..] {
            for index in 0..file.count() {
                let is_deleted = deleted.contains(file.first + index);
                builder.push(if is_deleted { b"" } else { file.id(index).unwrap_or_default() });
            }
        }
        for index in 0..fresh_count {
            let is_deleted = deleted.contains(state.fresh.first + index);
            builder.push(if is_deleted { b"" } else { state.fresh.id(index) });
        }
        Some((first, builder.finish()))
    }

    /// Checks that every id of a file is found under its ordinal, and that blank ones are those of the deleted.
    pub fn prove(&self, file: &IdFile) -> Result<(), &'static str> {
        let state = self.state.read();
        let mut blank_count = 0;
        for index in 0..file.count() {
            let ordinal = file.first + index;
            let id = file.id(index).ok_or("an id lies outside the text")?;
            if std::str::from_utf8(id).is_err() {
                return Err("an id is not UTF-8");
            }
            blank_count += u64::from(id.is_empty());
            match state.deleted.contains(ordinal) {
                true => {}
                false if id.is_empty() => return Err("an id is blank whose user was not deleted"),
                false if state.find(id) != Some(ordinal) => return Err("an id is not found by its hash"),
                false => {}
            }
        }
        (blank_count == file.deleted).then_some(()).ok_or("the count of blank ids is not as told")
    }

    /// Puts a file that [`Dictionary::checkpoint`] made in the place of what it holds.
    pub fn install(&self, file: Arc<IdFile>) {
        let mut state = self.state.write();
        let end = file.first + file.count();
        debug_assert!(end >= state.fresh.first && end <= state.fresh.end());
        let mut rest = FreshIds { first: end, ..FreshIds::default() };
        for index in end - state.fresh.first..state.fresh.ends.len() as u32 {
            let id = state.fresh.id(index);
            rest.insert(id, hash_of(id));
        }
        state.files.retain(|known| known.first < file.first);
        state.files.push(file);
        state.fresh = rest;
    }
}

/// The ids of a range of ordinals, mapped.
#[derive(Debug)]
pub struct IdFile {
    name: String,
    pub first: u32,
    /// How many of its ids are blank because they were deleted.
    deleted: u64,
    fingerprint: u32,
    bytes: Bytes,
    count: u32,
    /// Where the parts lie in `bytes`.
    ends: std::ops::Range<usize>,
    text: std::ops::Range<usize>,
    table: std::ops::Range<usize>,
}

impl IdFile {
    /// Opens a file and proves it sound.
    pub fn open(name: &str, bytes: Bytes) -> Result<IdFile, Damage> {
        Self::parse(name.to_owned(), bytes).map_err(|error| Damage { file: name.to_owned(), error })
    }

    fn parse(name: String, bytes: Bytes) -> Result<IdFile, DecodeError> {
        let (_, fingerprint, mut reader) = FILE_KIND.unseal(&bytes)?;
        let (first, count) = (reader.u32()?, reader.u32()?);
        let deleted = reader.u64()?;
        let mut part = || -> Result<std::ops::Range<usize>, DecodeError> {
            let size = usize::try_from(reader.u64()?).unwrap_or(usize::MAX);
            reader.raw(size)?;
            let end = bytes.len() - reader.remaining();
            Ok(end - size..end)
        };
        let (ends, text, table) = (part()?, part()?, part()?);
        let malformed = |what| Err(DecodeError::Malformed { structure: STRUCTURE, what });
        if first.checked_add(count).is_none() {
            return malformed("ordinals overflow");
        }
        let column = PackedInts::open(&bytes[ends.clone()], count as usize)?;
        let last = column.len().checked_sub(1).map_or(0, |last| column.get(last));
        if column.len() != count as usize || last != text.len() as u64 {
            return malformed("the ids do not fill their part");
        }
        if table.len() % 4 != 0 || (table.len() / 4) <= count as usize {
            return malformed("the table is too small for the ids");
        }
        Ok(IdFile { name, first, deleted, fingerprint, bytes: bytes.clone(), count, ends, text, table })
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Tells this file from others: its checksum.
    pub fn fingerprint(&self) -> u32 {
        self.fingerprint
    }

    /// Fails if the system could not read a part of the file that is mapped here.
    pub fn check_mapped(&self) -> Result<(), Damage> {
        let error = DecodeError::Unreadable { structure: STRUCTURE };
        io::is_intact(&self.bytes).then_some(()).ok_or_else(|| Damage { file: self.name.clone(), error })
    }

    fn id(&self, index: u32) -> Option<&[u8]> {
        let ends = PackedInts::reopen(&self.bytes[self.ends.clone()], self.count as usize).ok()?;
        let start = if index == 0 { 0 } else { ends.get(index as usize - 1) };
        let end = ends.get(index as usize);
        self.bytes[self.text.clone()].get(start as usize..end as usize)
    }

    fn find(&self, id: &[u8], hash: u64, deleted: &RoaringBitmap) -> Option<u32> {
        let mut candidates = self.candidates(hash);
        let is_it = |index: &u32| !deleted.contains(self.first + index) && self.id(*index) == Some(id);
        candidates.find(is_it).map(|index| self.first + index)
    }

    /// The ids that may have a hash, by index.
    fn candidates(&self, hash: u64) -> impl Iterator<Item = u32> {
        let table = &self.bytes[self.table.clone()];
        let slots = Slots::new(self.count, table.len() / 4);
        let start = slots.start(hash);
        let around = (start..slots.count).chain(0..start);
        let entries = around.map(|slot| entry_at(table, slot)).take_while(|entry| *entry != 0);
        entries.filter_map(move |entry| slots.index(entry, hash)).filter(|index| *index < self.count)
    }

    /// Finds those of the ids that are here and not found yet.
    ///
    /// A lookup waits for memory three times: for the table, for where the id lies, and for the id. So all of a group take
    /// each step before any takes the next, and wait at the same time.
    fn find_group(&self, wanted: &mut [Wanted<'_>], deleted: &RoaringBitmap) {
        debug_assert!(wanted.len() <= LOOKUP_GROUP_SIZE);
        let Ok(ends) = PackedInts::reopen(&self.bytes[self.ends.clone()], self.count as usize) else {
            return;
        };
        let (table, text) = (&self.bytes[self.table.clone()], &self.bytes[self.text.clone()]);
        let slots = Slots::new(self.count, table.len() / 4);
        let mut first_entries = [0; LOOKUP_GROUP_SIZE];
        for (entry, wanted) in
            first_entries.iter_mut().zip(&*wanted).filter(|(_, wanted)| wanted.ordinal.is_none())
        {
            *entry = entry_at(table, slots.start(wanted.hash));
        }
        let mut spans = [(0, 0); LOOKUP_GROUP_SIZE];
        let mut found = [None; LOOKUP_GROUP_SIZE];
        for (at, wanted) in wanted.iter().enumerate().filter(|(_, wanted)| wanted.ordinal.is_none()) {
            if first_entries[at] != 0
                && let Some(index) = self.candidates(wanted.hash).next()
            {
                let start = index.checked_sub(1).map_or(0, |before| ends.get(before as usize));
                spans[at] = (start as usize, ends.get(index as usize) as usize);
                found[at] = Some(index);
            }
        }
        let mut first_bytes = [0; LOOKUP_GROUP_SIZE];
        for (byte, (start, _)) in first_bytes.iter_mut().zip(&spans) {
            *byte = text.get(*start).copied().unwrap_or(0);
        }
        for (at, wanted) in wanted.iter_mut().enumerate() {
            let Some(index) = found[at] else { continue };
            let (start, end) = spans[at];
            let is_it = wanted.id.first() == Some(&first_bytes[at])
                && text.get(start..end) == Some(wanted.id)
                && !deleted.contains(self.first + index);
            wanted.ordinal = match is_it {
                true => Some(self.first + index),
                // Another one with some bits of the hash in common, or a deleted one: rare enough to begin again.
                false => self.find(wanted.id, wanted.hash, deleted),
            };
        }
    }
}

fn entry_at(table: &[u8], slot: usize) -> u32 {
    u32::from_le_bytes(table[slot * 4..slot * 4 + 4].try_into().expect("four bytes"))
}

/// An open-addressing table whose entries hold one more than an index, and bits of the hash in what is left of 32.
struct Slots {
    count: usize,
    index_bits: u32,
}

impl Slots {
    fn new(id_count: u32, count: usize) -> Slots {
        Slots { count, index_bits: u32::BITS - id_count.leading_zeros() }
    }

    /// Multiply-shift instead of a remainder (Lemire, "Fast random integer generation in an interval", 2019).
    fn start(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.count as u128) >> 64) as usize
    }

    fn tag(&self, hash: u64) -> u32 {
        (hash as u32).checked_shl(self.index_bits).unwrap_or(0)
    }

    fn entry(&self, index: u32, hash: u64) -> u32 {
        self.tag(hash) | (index + 1)
    }

    fn index(&self, entry: u32, hash: u64) -> Option<u32> {
        let mask = u32::MAX.checked_shr(u32::BITS - self.index_bits).unwrap_or(0);
        (entry & !mask == self.tag(hash)).then(|| (entry & mask).wrapping_sub(1))
    }
}

struct IdFileBuilder {
    first: u32,
    ends: Vec<u64>,
    text: Vec<u8>,
}

impl IdFileBuilder {
    fn new(first: u32) -> IdFileBuilder {
        IdFileBuilder { first, ends: Vec::new(), text: Vec::new() }
    }

    fn push(&mut self, id: &[u8]) {
        self.text.extend_from_slice(id);
        self.ends.push(self.text.len() as u64);
    }

    fn finish(self) -> Vec<u8> {
        let count = self.ends.len() as u32;
        let slots = Slots::new(count, self.ends.len() * SLOTS_PER_FOUR_IDS / 4 + 1);
        let mut table = vec![0_u32; slots.count];
        let (mut start, mut deleted) = (0, 0);
        for (index, end) in self.ends.iter().enumerate() {
            let id = &self.text[start as usize..*end as usize];
            start = *end;
            if id.is_empty() {
                deleted += 1;
                continue;
            }
            let hash = hash_of(id);
            let mut slot = slots.start(hash);
            while table[slot] != 0 {
                slot = if slot + 1 == slots.count { 0 } else { slot + 1 };
            }
            table[slot] = slots.entry(index as u32, hash);
        }

        let mut body = ByteWriter::new();
        body.u32(self.first);
        body.u32(count);
        body.u64(deleted);
        let ends = encode_ints(&self.ends); // any is read by itself, which sorted ones are not
        body.u64(ends.len() as u64);
        body.raw(&ends);
        body.u64(self.text.len() as u64);
        body.raw(&self.text);
        body.u64(table.len() as u64 * 4);
        for entry in table {
            body.u32(entry);
        }
        FILE_KIND.seal(body.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(dictionary: &Dictionary, ids: &[&str]) -> Vec<u32> {
        let (ordinals, new) = dictionary.resolve(ids).unwrap();
        dictionary.add(&new);
        ordinals
    }

    fn checkpoint(dictionary: &Dictionary, purge: bool) {
        if let Some((_, bytes)) = dictionary.checkpoint(dictionary.len(), purge, &dictionary.deleted()) {
            dictionary.install(Arc::new(IdFile::open("ids", bytes.into()).unwrap()));
        }
    }

    /// A dictionary into which a history is loaded, and one into which none is.
    fn dictionaries() -> [Dictionary; 2] {
        let [loaded, other] = [(); 2].map(|()| Dictionary::default());
        loaded.keep_recent();
        [loaded, other]
    }

    #[test]
    fn ordinals_are_dense_and_outlive_checkpoints() {
        dictionaries().into_iter().for_each(assert_dense);
    }

    fn assert_dense(dictionary: Dictionary) {
        let ids: Vec<String> = (0..5000).map(|i| format!("user-{}", i * 7919 % 5000)).collect();
        for (step, part) in ids.chunks(300).enumerate() {
            resolve(&dictionary, &part.iter().map(String::as_str).collect::<Vec<_>>());
            if step % 2 == 0 {
                checkpoint(&dictionary, false);
            }
        }
        for (ordinal, id) in ids.iter().enumerate() {
            assert_eq!(dictionary.find(id), Some(ordinal as u32));
            assert_eq!(dictionary.id(ordinal as u32).as_ref(), Some(id));
        }
        let all: Vec<&str> = ids.iter().map(String::as_str).collect();
        assert_eq!(resolve(&dictionary, &all), (0..5000).collect::<Vec<u32>>());
        assert_eq!(dictionary.find("user-5000"), None);
        assert!(dictionary.files().len() <= 5, "{} files", dictionary.files().len());
        let again = Dictionary::open(dictionary.files(), RoaringBitmap::new());
        let in_files = dictionary.files().last().map_or(0, |file| file.first + file.count());
        assert_eq!(again.len(), in_files);
        assert_eq!(resolve(&again, &["user-0", "brand-new"]), [0, in_files]);
    }

    #[test]
    fn a_deleted_id_comes_back_as_someone_else_and_its_bytes_go() {
        dictionaries().into_iter().for_each(assert_forgetful);
    }

    fn assert_forgetful(dictionary: Dictionary) {
        assert_eq!(resolve(&dictionary, &["ada", "bo", "ada"]), [0, 1, 0]);
        checkpoint(&dictionary, false);
        dictionary.delete([0]);
        assert_eq!(dictionary.find("ada"), None);
        assert_eq!(dictionary.id(0), None);
        assert_eq!(resolve(&dictionary, &["ada", "bo", "ada"]), [2, 1, 2]);
        dictionary.delete([2]);
        checkpoint(&dictionary, true);
        let files = dictionary.files();
        assert!(files.iter().all(|file| !file.bytes.windows(3).any(|window| window == b"ada")));
        assert_eq!(resolve(&dictionary, &["bo", "ada"]), [1, 3]);
        dictionary.delete([3]);
        assert_eq!(resolve(&dictionary, &["ada", "ada"]), [4, 4], "both ordinals are in memory");
        checkpoint(&dictionary, true);
        assert!(
            dictionary.checkpoint(dictionary.len(), true, &dictionary.deleted()).is_none(),
            "nothing is left to purge"
        );
    }

    #[test]
    fn no_bit_of_a_file_can_change_unnoticed() {
        let dictionary = Dictionary::default();
        resolve(&dictionary, &["ada", "bo", "cy"]);
        let (_, bytes) = dictionary.checkpoint(3, false, &RoaringBitmap::new()).unwrap();
        for at in (0..8).chain(16..bytes.len()) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(IdFile::open("ids", damaged.into()).is_err(), "byte {at}");
        }
    }
}
