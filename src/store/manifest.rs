//! The one file that says which files are live: everything up to a checkpoint, in one atomic step.
//! docs/format.md, "Manifest".

use roaring::RoaringBitmap;

use super::documents::Documents;
use super::identity::Identities;
use crate::format::{ByteReader, ByteWriter, DecodeError, checksum};

pub const MANIFEST_NAME: &str = "MANIFEST";
const MAGIC: &[u8; 8] = b"FLYWMANI";
const VERSION: u16 = 1;
const HEADER_SIZE: usize = 16;
const STRUCTURE: &str = "manifest";

/// A live segment.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentEntry {
    pub file: u64,
    pub size: u64,
    /// Ordinals whose rows in it are gone.
    pub dead: RoaringBitmap,
}

/// A live file of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdsEntry {
    pub file: u64,
    pub size: u64,
}

/// Everything that the changes up to `checkpoint` made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    /// The number of the last change that is in the files.
    pub checkpoint: u64,
    /// The number that the next row gets in order of arrival.
    pub next_arrival: u64,
    /// Files with this number or a higher one are not in use.
    pub next_file: u64,
    pub segments: Vec<SegmentEntry>,
    pub users: Vec<IdsEntry>,
    pub accounts: Vec<IdsEntry>,
    pub deleted_users: RoaringBitmap,
    pub identities: Identities,
    pub documents: Documents,
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

impl Manifest {
    pub fn encode(&self) -> Vec<u8> {
        let mut body = ByteWriter::new();
        body.u64(self.checkpoint);
        body.u64(self.next_arrival);
        body.u64(self.next_file);
        body.varint(self.segments.len() as u64);
        for segment in &self.segments {
            body.u64(segment.file);
            body.u64(segment.size);
            write_set(&segment.dead, &mut body);
        }
        for files in [&self.users, &self.accounts] {
            body.varint(files.len() as u64);
            for file in files {
                body.u64(file.file);
                body.u64(file.size);
            }
        }
        write_set(&self.deleted_users, &mut body);
        let (parents, names) = self.identities.entries();
        write_pairs(&parents, &mut body);
        write_pairs(&names, &mut body);
        self.documents.encode(&mut body);

        let mut out = ByteWriter::new();
        out.raw(MAGIC);
        out.u16(VERSION);
        out.raw(&[0; HEADER_SIZE - MAGIC.len() - 2]);
        out.u32(checksum(body.as_slice()));
        out.raw(body.as_slice());
        out.into_bytes()
    }

    pub fn decode(bytes: &[u8]) -> Result<Manifest, DecodeError> {
        let mut reader = ByteReader::new(STRUCTURE, bytes);
        if reader.raw(MAGIC.len())? != MAGIC {
            return Err(DecodeError::Magic { structure: STRUCTURE });
        }
        let version = reader.u16()?;
        if version != VERSION {
            return Err(DecodeError::UnknownVersion {
                structure: STRUCTURE,
                found: version,
                newest_known: VERSION,
            });
        }
        if reader.raw(HEADER_SIZE - MAGIC.len() - 2)?.iter().any(|byte| *byte != 0) {
            return Err(reader.malformed("reserved bytes are not zero"));
        }
        let expected = reader.u32()?;
        let found = checksum(reader.rest());
        if expected != found {
            return Err(DecodeError::Checksum {
                structure: STRUCTURE,
                offset: HEADER_SIZE as u64,
                expected,
                found,
            });
        }
        let (checkpoint, next_arrival, next_file) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let mut segments = Vec::new();
        for _ in 0..reader.count(17)? {
            segments.push(SegmentEntry {
                file: reader.u64()?,
                size: reader.u64()?,
                dead: read_set(&mut reader)?,
            });
        }
        let mut ids = || -> Result<Vec<IdsEntry>, DecodeError> {
            let count = reader.count(16)?;
            (0..count).map(|_| Ok(IdsEntry { file: reader.u64()?, size: reader.u64()? })).collect()
        };
        let (users, accounts) = (ids()?, ids()?);
        let deleted_users = read_set(&mut reader)?;
        let identities = Identities::from_entries(read_pairs(&mut reader)?, read_pairs(&mut reader)?);
        let documents = Documents::decode(&mut reader)?;
        reader.finish()?;
        Ok(Manifest {
            checkpoint,
            next_arrival,
            next_file,
            segments,
            users,
            accounts,
            deleted_users,
            identities,
            documents,
        })
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
        let manifest = Manifest {
            checkpoint: 17,
            next_arrival: 1000,
            next_file: 9,
            segments: vec![SegmentEntry { file: 5, size: 4096, dead: [1, 70_000].into_iter().collect() }],
            users: vec![IdsEntry { file: 6, size: 100 }],
            accounts: vec![],
            deleted_users: [2].into_iter().collect(),
            identities,
            documents,
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
