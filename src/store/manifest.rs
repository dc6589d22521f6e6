//! The one file that says which files are live: everything up to a checkpoint, in one atomic step.
//! docs/format.md, "Manifest".

use roaring::RoaringBitmap;

use super::documents::Documents;
use super::identity::Identities;
use super::tombstones::Tombstones;
use crate::format::{ByteReader, ByteWriter, DecodeError, FileKind};
use crate::model::TimeMs;

pub const MANIFEST_NAME: &str = "MANIFEST";
const STRUCTURE: &str = "manifest";
const FILE_KIND: FileKind = FileKind { magic: b"FLYWMANI", version: 2, structure: STRUCTURE };

/// A live file, and how it is told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Its number.
    pub file: u64,
    /// In bytes.
    pub size: u64,
    /// What the file's own fingerprint must be; `None` where version 1 named it.
    pub fingerprint: Option<u32>,
}

/// A live segment.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentEntry {
    pub at: FileEntry,
    /// Ordinals whose rows in it are gone.
    pub dead: RoaringBitmap,
}

/// Everything that the changes up to `checkpoint` made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    /// Tells this store from others; 0 where version 1 wrote the manifest.
    pub store: u128,
    /// The number of the last change that is in the files.
    pub checkpoint: u64,
    /// The number that the next row gets in order of arrival.
    pub next_arrival: u64,
    /// Files with this number or a higher one are not in use.
    pub next_file: u64,
    /// The number of the newest log. It must be there, for what it holds may be nowhere else.
    pub log: Option<u64>,
    /// Events before this moment are expired: of some the bytes are gone already.
    pub expired_before: TimeMs,
    /// What the clock showed when the manifest was written, as far as it was believed; 0 where version 1 wrote it.
    pub clock: TimeMs,
    pub segments: Vec<SegmentEntry>,
    pub users: Vec<FileEntry>,
    pub accounts: Vec<FileEntry>,
    pub deleted_users: RoaringBitmap,
    pub identities: Identities,
    pub documents: Documents,
    pub tombstones: Tombstones,
}

pub(super) fn write_set(set: &RoaringBitmap, out: &mut ByteWriter) {
    let mut bytes = Vec::with_capacity(set.serialized_size());
    set.serialize_into(&mut bytes).expect("a vector takes all writes");
    out.sized(&bytes);
}

pub(super) fn read_set(reader: &mut ByteReader<'_>) -> Result<RoaringBitmap, DecodeError> {
    let bytes = reader.sized()?;
    RoaringBitmap::deserialize_from(bytes).map_err(|_| reader.malformed("a set cannot be read"))
}

fn write_pairs(pairs: &[(u32, u32)], out: &mut ByteWriter) {
    out.varint(pairs.len() as u64);
    for (a, b) in pairs {
        out.u32(*a);
        out.u32(*b);
    }
}

fn read_pairs(reader: &mut ByteReader<'_>) -> Result<Vec<(u32, u32)>, DecodeError> {
    let count = reader.count(8)?;
    let pairs: Vec<(u32, u32)> =
        (0..count).map(|_| Ok((reader.u32()?, reader.u32()?))).collect::<Result<_, _>>()?;
    match pairs.is_sorted_by(|before, next| before.0 < next.0) {
        true => Ok(pairs),
        false => Err(reader.malformed("ordinals are not in order")),
    }
}

fn write_entry(entry: &FileEntry, out: &mut ByteWriter) {
    out.u64(entry.file);
    out.u64(entry.size);
    out.u8(u8::from(entry.fingerprint.is_some()));
    out.u32(entry.fingerprint.unwrap_or(0));
}

fn read_entry(reader: &mut ByteReader<'_>, version: u16) -> Result<FileEntry, DecodeError> {
    let (file, size) = (reader.u64()?, reader.u64()?);
    let fingerprint = match version {
        1 => None,
        _ => match (reader.u8()?, reader.u32()?) {
            (0, _) => None,
            (1, fingerprint) => Some(fingerprint),
            _ => return Err(reader.malformed("a flag is neither 0 nor 1")),
        },
    };
    Ok(FileEntry { file, size, fingerprint })
}

impl Manifest {
    /// Nothing so far.
    pub fn of_an_empty_store() -> Manifest {
        Manifest { next_arrival: 1, expired_before: TimeMs::MIN, ..Manifest::default() }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut body = ByteWriter::new();
        body.raw(&self.store.to_le_bytes());
        body.u64(self.checkpoint);
        body.u64(self.next_arrival);
        body.u64(self.next_file);
        body.u64(self.log.map_or(0, |log| log + 1));
        body.i64(self.expired_before);
        body.i64(self.clock);
        body.varint(self.segments.len() as u64);
        for segment in &self.segments {
            write_entry(&segment.at, &mut body);
            write_set(&segment.dead, &mut body);
        }
        for files in [&self.users, &self.accounts] {
            body.varint(files.len() as u64);
            files.iter().for_each(|file| write_entry(file, &mut body));
        }
        write_set(&self.deleted_users, &mut body);
        let (parents, names) = self.identities.entries();
        write_pairs(&parents, &mut body);
        write_pairs(&names, &mut body);
        self.documents.encode(&mut body);
        self.tombstones.encode(&mut body);
        FILE_KIND.seal(body.as_slice())
    }

    pub fn decode(bytes: &[u8]) -> Result<Manifest, DecodeError> {
        let (version, _, mut reader) = FILE_KIND.unseal(bytes)?;
        let mut manifest = Manifest::of_an_empty_store();
        if version > 1 {
            manifest.store = u128::from_le_bytes(reader.raw(16)?.try_into().expect("16 bytes were read"));
        }
        manifest.checkpoint = reader.u64()?;
        manifest.next_arrival = reader.u64()?;
        manifest.next_file = reader.u64()?;
        if version > 1 {
            manifest.log = reader.u64()?.checked_sub(1);
            manifest.expired_before = reader.i64()?;
            manifest.clock = reader.i64()?;
        }
        for _ in 0..reader.count(17)? {
            let at = read_entry(&mut reader, version)?;
            manifest.segments.push(SegmentEntry { at, dead: read_set(&mut reader)? });
        }
        let mut ids = || -> Result<Vec<FileEntry>, DecodeError> {
            let count = reader.count(16)?;
            (0..count).map(|_| read_entry(&mut reader, version)).collect()
        };
        (manifest.users, manifest.accounts) = (ids()?, ids()?);
        manifest.deleted_users = read_set(&mut reader)?;
        manifest.identities = Identities::from_entries(read_pairs(&mut reader)?, read_pairs(&mut reader)?);
        manifest.documents = Documents::decode(&mut reader)?;
        if version > 1 {
            manifest.tombstones = Tombstones::decode(&mut reader)?;
        }
        reader.finish()?;
        Ok(manifest)
    }

    /// The names and entries of all segments and ids files.
    pub fn files(&self) -> impl Iterator<Item = (String, FileEntry)> {
        let ids = self.users.iter().chain(&self.accounts).map(|entry| (ids_name(entry.file), *entry));
        self.segments.iter().map(|segment| (segment_name(segment.at.file), segment.at)).chain(ids)
    }
}

/// The names of a store's files.
pub fn segment_name(file: u64) -> String {
    format!("{file:08}.segment")
}

pub fn ids_name(file: u64) -> String {
    format!("{file:08}.ids")
}

pub fn log_name(file: u64) -> String {
    format!("{file:08}.log")
}

/// The number and the ending of a name of ours, written aside or not.
pub fn parse_name(name: &str) -> Option<(u64, &str)> {
    let (number, ending) = name.strip_suffix(".new").unwrap_or(name).split_once('.')?;
    let number = (number.len() >= 8).then(|| number.parse().ok()).flatten()?;
    ["segment", "ids", "log"].contains(&ending).then_some((number, ending))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::documents::Document;
    use super::*;
    use crate::model::DocumentKind;

    #[test]
    fn a_manifest_reads_back_and_no_bit_of_it_can_change_unnoticed() {
        let mut identities = Identities::default();
        identities.merge(3, 4, 4);
        let mut documents = Documents::default();
        let members = Document::Members(Arc::new([1, 90_000].into_iter().collect()));
        documents.set(DocumentKind::Cohort, "power".to_owned(), Some(members));
        documents.set(DocumentKind::Query, "weekly".to_owned(), Some(Document::Text("{}".into())));
        let mut tombstones = Tombstones::default();
        tombstones.add(2, ["ada", "anon"], [1, u128::MAX]);
        let entry = |file, fingerprint| FileEntry { file, size: 4096, fingerprint };
        let manifest = Manifest {
            store: 0x1234_5678 << 64,
            checkpoint: 17,
            next_arrival: 1000,
            next_file: 9,
            log: Some(8),
            expired_before: -5,
            clock: 1_793_611_800_000,
            segments: vec![SegmentEntry { at: entry(5, Some(7)), dead: [1, 70_000].into_iter().collect() }],
            users: vec![entry(6, Some(0))],
            accounts: vec![entry(7, None)],
            deleted_users: [2].into_iter().collect(),
            identities,
            documents,
            tombstones,
        };
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes), Ok(manifest));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(Manifest::decode(&damaged).is_err(), "byte {at} bit {bit}");
            }
            assert!(Manifest::decode(&bytes[..at]).is_err());
        }
    }

    #[test]
    fn only_our_names_are_ours() {
        assert_eq!(parse_name("00000012.segment"), Some((12, "segment")));
        assert_eq!(parse_name("00000012.log.new"), Some((12, "log")));
        for name in ["MANIFEST", "LOCK", "notes.txt", "12.segment", "00000012.segment.bak", "a.b"] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}
