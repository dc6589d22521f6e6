//! The changes that a store is made of, as bytes. docs/format.md, "Change".

use std::sync::Arc;

use crate::format::{ByteReader, ByteWriter, DecodeError, decode_value, encode_cell, encode_value};
use crate::model::{DocumentKind, Entity, EventBatch, IdentityMerge, Number, ProfileWrite, Value};

const EVENTS: u8 = 1;
const USER_PROFILES: u8 = 2;
const ACCOUNT_PROFILES: u8 = 3;
const MERGES: u8 = 4;
const DELETION: u8 = 5;
const COHORT: u8 = 6;
const QUERY: u8 = 7;
const GROWTH_MODEL: u8 = 8;
const KEY: u8 = 16;

const REMOVED: u8 = 1;
const TEXT: u8 = 2;
const MEMBERS: u8 = 3;

const HAS_ACCOUNT: u8 = 1;
const HAS_ID: u8 = 2;

/// One change: all of it happens, or nothing.
///
/// `arrival` is the number of its first row in order of arrival over the life of the store.
#[derive(Clone, Debug)]
pub enum Change {
    Events { arrival: u64, batch: Arc<EventBatch> },
    Profiles { arrival: u64, entity: Entity, writes: Vec<ProfileWrite> },
    Merges { merges: Vec<IdentityMerge> },
    Deletion { user: String },
    Document { kind: DocumentKind, name: String, content: DocumentContent },
}

/// What a change makes of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentContent {
    Removed,
    /// A definition, as JSON.
    Text(String),
    /// A static cohort: an id of each member, any that leads to it.
    Members(Vec<String>),
}

impl Change {
    pub fn encode(&self, out: &mut ByteWriter) {
        match self {
            Change::Events { arrival, batch } => {
                out.u8(EVENTS);
                out.varint(*arrival);
                encode_batch(batch, out);
            }
            Change::Profiles { arrival, entity, writes } => {
                out.u8(if *entity == Entity::User { USER_PROFILES } else { ACCOUNT_PROFILES });
                out.varint(*arrival);
                out.varint(writes.len() as u64);
                for write in writes {
                    encode_profile_write(write, out);
                }
            }
            Change::Merges { merges } => {
                out.u8(MERGES);
                out.varint(merges.len() as u64);
                for merge in merges {
                    out.text(&merge.from);
                    out.text(&merge.into);
                }
            }
            Change::Deletion { user } => {
                out.u8(DELETION);
                out.text(user);
            }
            Change::Document { kind, name, content } => {
                out.u8(match kind {
                    DocumentKind::Cohort => COHORT,
                    DocumentKind::Query => QUERY,
                    DocumentKind::GrowthModel => GROWTH_MODEL,
                    DocumentKind::Key => KEY,
                });
                out.text(name);
                encode_content(content, out);
            }
        }
    }

    pub fn decode(bytes: &[u8]) -> Result<Change, DecodeError> {
        let mut reader = ByteReader::new("log record", bytes);
        let change = match reader.u8()? {
            EVENTS => Change::Events { arrival: reader.varint()?, batch: decode_batch(&mut reader)?.into() },
            kind @ (USER_PROFILES | ACCOUNT_PROFILES) => {
                let entity = if kind == USER_PROFILES { Entity::User } else { Entity::Account };
                let arrival = reader.varint()?;
                let count = reader.count(5)?;
                let writes =
                    (0..count).map(|_| decode_profile_write(&mut reader)).collect::<Result<_, _>>()?;
                Change::Profiles { arrival, entity, writes }
            }
            MERGES => {
                let count = reader.count(2)?;
                let merge = |reader: &mut ByteReader<'_>| {
                    Ok(IdentityMerge { from: reader.text()?.to_owned(), into: reader.text()?.to_owned() })
                };
                Change::Merges {
                    merges: (0..count).map(|_| merge(&mut reader)).collect::<Result<_, DecodeError>>()?,
                }
            }
            DELETION => Change::Deletion { user: reader.text()?.to_owned() },
            kind @ (COHORT | QUERY | GROWTH_MODEL | KEY) => {
                let kind = match kind {
                    COHORT => DocumentKind::Cohort,
                    QUERY => DocumentKind::Query,
                    GROWTH_MODEL => DocumentKind::GrowthModel,
                    _ => DocumentKind::Key,
                };
                let name = reader.text()?.to_owned();
                Change::Document { kind, name, content: decode_content(&mut reader)? }
            }
            _ => return Err(reader.malformed("the kind of change is unknown")),
        };
        reader.finish()?;
        Ok(change)
    }
}

fn encode_content(content: &DocumentContent, out: &mut ByteWriter) {
    match content {
        DocumentContent::Removed => out.u8(REMOVED),
        DocumentContent::Text(text) => {
            out.u8(TEXT);
            out.text(text);
        }
        DocumentContent::Members(ids) => {
            out.u8(MEMBERS);
            out.varint(ids.len() as u64);
            ids.iter().for_each(|id| out.text(id));
        }
    }
}

fn decode_content(reader: &mut ByteReader<'_>) -> Result<DocumentContent, DecodeError> {
    Ok(match reader.u8()? {
        REMOVED => DocumentContent::Removed,
        TEXT => DocumentContent::Text(reader.text()?.to_owned()),
        MEMBERS => {
            let count = reader.count(1)?;
            let ids = (0..count).map(|_| Ok(reader.text()?.to_owned()));
            DocumentContent::Members(ids.collect::<Result<_, DecodeError>>()?)
        }
        _ => return Err(reader.malformed("what becomes of a document is unknown")),
    })
}

fn encode_batch(batch: &EventBatch, out: &mut ByteWriter) {
    out.varint(batch.names().len() as u64);
    for name in batch.names() {
        out.text(name);
    }
    out.varint(batch.len() as u64);
    let mut time_before = 0;
    for event in batch.iter() {
        out.varint(event.event_index() as u64);
        out.text(event.user());
        out.zigzag(event.time() - time_before);
        time_before = event.time();
        let has = |flag: u8, part: Option<&str>| if part.is_some() { flag } else { 0 };
        out.u8(has(HAS_ACCOUNT, event.account()) | has(HAS_ID, event.id()));
        for part in [event.account(), event.id()].into_iter().flatten() {
            out.text(part);
        }
        let properties = event.properties();
        out.varint(properties.len() as u64);
        for property in properties {
            out.varint(property.name_index() as u64);
            encode_cell(&property.value(), out);
        }
    }
}

fn decode_batch(reader: &mut ByteReader<'_>) -> Result<EventBatch, DecodeError> {
    let name_count = reader.count(1)?;
    let names: Vec<&str> = (0..name_count).map(|_| reader.text()).collect::<Result<_, _>>()?;
    let name = |reader: &mut ByteReader<'_>| -> Result<&str, DecodeError> {
        let index = reader.varint()?;
        names.get(index as usize).copied().ok_or_else(|| reader.malformed("a name is missing"))
    };
    let mut batch = EventBatch::new();
    let mut time = 0_i64;
    for _ in 0..reader.count(5)? {
        let event = name(reader)?;
        let user = reader.text()?;
        time = time.wrapping_add(reader.zigzag()?);
        let flags = reader.u8()?;
        let account = if flags & HAS_ACCOUNT != 0 { Some(reader.text()?) } else { None };
        let id = if flags & HAS_ID != 0 { Some(reader.text()?) } else { None };
        batch
            .push_event(event, user, time, id, account)
            .map_err(|_| reader.malformed("an event is out of bounds"))?;
        for _ in 0..reader.count(2)? {
            let name = name(reader)?;
            let value = decode_value(reader)?;
            batch.push_property(name, &value).map_err(|_| reader.malformed("a property is out of bounds"))?;
        }
    }
    Ok(batch)
}

fn encode_profile_write(write: &ProfileWrite, out: &mut ByteWriter) {
    out.text(&write.id);
    for part in [&write.set, &write.set_once] {
        out.varint(part.len() as u64);
        for (name, value) in part {
            out.text(name);
            encode_value(value, out);
        }
    }
    out.varint(write.add.len() as u64);
    for (name, number) in &write.add {
        out.text(name);
        encode_value(&Value::Number(*number), out);
    }
    out.varint(write.unset.len() as u64);
    for name in &write.unset {
        out.text(name);
    }
}

fn decode_profile_write(reader: &mut ByteReader<'_>) -> Result<ProfileWrite, DecodeError> {
    let id = reader.text()?.to_owned();
    let values = |reader: &mut ByteReader<'_>| -> Result<Vec<(String, Value)>, DecodeError> {
        let count = reader.count(2)?;
        (0..count).map(|_| Ok((reader.text()?.to_owned(), decode_value(reader)?))).collect()
    };
    let (set, set_once) = (values(reader)?, values(reader)?);
    let number =
        |reader: &ByteReader<'_>, (name, value): (String, Value)| -> Result<(String, Number), DecodeError> {
            let number = value.as_number().ok_or_else(|| reader.malformed("an addend is no number"))?;
            Ok((name, number))
        };
    let added = values(reader)?;
    let add = added.into_iter().map(|pair| number(reader, pair)).collect::<Result<_, _>>()?;
    let unset_count = reader.count(1)?;
    let unset =
        (0..unset_count).map(|_| Ok(reader.text()?.to_owned())).collect::<Result<_, DecodeError>>()?;
    Ok(ProfileWrite { id, set, set_once, add, unset })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_reads_back_and_no_cut_of_it_does() {
        let mut batch = EventBatch::new();
        for (user, account, id) in [("ada", Some("acme"), None), ("bo", None, Some("e2"))] {
            batch.push_event("buy", user, 1_700_000_000_123, id, account).unwrap();
            batch.push_property("amount", &Number::parse("12.5").unwrap().into()).unwrap();
            batch.push_property("tags", &Value::List(vec!["x".into(), true.into()])).unwrap();
        }
        let write = ProfileWrite {
            id: "ada".into(),
            set: vec![("plan".into(), "pro".into())],
            set_once: vec![("source".into(), "ads".into())],
            add: vec![("logins".into(), 1.into())],
            unset: vec!["trial".into()],
        };
        let merges = vec![IdentityMerge { from: "anon".into(), into: "ada".into() }];
        let document = |kind, content| Change::Document { kind, name: "power".into(), content };
        for change in [
            document(DocumentKind::Cohort, DocumentContent::Members(vec!["ada".into(), "bo".into()])),
            document(DocumentKind::Query, DocumentContent::Text("{}".into())),
            document(DocumentKind::Cohort, DocumentContent::Removed),
            document(DocumentKind::GrowthModel, DocumentContent::Text("{}".into())),
            document(DocumentKind::Key, DocumentContent::Text("{}".into())),
            Change::Events { arrival: 7, batch: batch.into() },
            Change::Profiles { arrival: 9, entity: Entity::Account, writes: vec![write] },
            Change::Merges { merges },
            Change::Deletion { user: "bo".into() },
        ] {
            let mut out = ByteWriter::new();
            change.encode(&mut out);
            let bytes = out.into_bytes();
            let mut again = ByteWriter::new();
            Change::decode(&bytes).unwrap().encode(&mut again);
            assert_eq!(again.into_bytes(), bytes);
            for cut in 0..bytes.len() {
                assert!(Change::decode(&bytes[..cut]).is_err(), "cut at {cut}");
            }
        }
    }
}
