//! Stored cohorts, queries and keys, by name.
//!
//! A definition is kept as the text that it came in; what it means is decided by who reads it. A static cohort is kept
//! as the ordinals that its members had when it was stored. Ordinals are never given twice, so nothing has to be kept
//! up: a reader asks which user an ordinal belongs to by then, and those of deleted users belong to nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::format::{ByteReader, ByteWriter, DecodeError};
use crate::model::DocumentKind;

const COHORT: u8 = 1;
const QUERY: u8 = 2;
const GROWTH_MODEL: u8 = 3;
const KEY: u8 = 16;

const TEXT: u8 = 1;
const MEMBERS: u8 = 2;

/// What is stored under a name.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// A definition, as JSON.
    Text(Arc<str>),
    /// The ordinals of users at the time of storing.
    Members(Arc<RoaringBitmap>),
}

impl Document {
    /// Bytes that it takes in memory, roughly.
    pub(super) fn size(&self) -> u64 {
        match self {
            Document::Text(text) => text.len() as u64,
            Document::Members(members) => members.serialized_size() as u64,
        }
    }
}

/// All documents of a store. Names are distinct within a kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Documents {
    by_name: BTreeMap<(DocumentKind, String), Document>,
}

impl Documents {
    pub fn get(&self, kind: DocumentKind, name: &str) -> Option<&Document> {
        self.by_name.get(&(kind, name.to_owned()))
    }

    /// The documents of a kind in order of their names.
    pub fn of_kind(&self, kind: DocumentKind) -> impl Iterator<Item = (&str, &Document)> {
        let all = self.by_name.range((kind, String::new())..);
        all.take_while(move |((other, _), _)| *other == kind).map(|((_, name), document)| (&**name, document))
    }

    /// How many there are of all kinds.
    pub fn count(&self) -> u64 {
        self.by_name.len() as u64
    }

    /// Stores a document in the place of the one of this name, or takes that away.
    pub fn set(&mut self, kind: DocumentKind, name: String, document: Option<Document>) {
        match document {
            Some(document) => self.by_name.insert((kind, name), document),
            None => self.by_name.remove(&(kind, name)),
        };
    }

    /// docs/format.md, "Manifest".
    pub(super) fn encode(&self, out: &mut ByteWriter) {
        out.varint(self.by_name.len() as u64);
        for ((kind, name), document) in &self.by_name {
            out.u8(kind_code(*kind));
            out.text(name);
            match document {
                Document::Text(text) => {
                    out.u8(TEXT);
                    out.text(text);
                }
                Document::Members(members) => {
                    out.u8(MEMBERS);
                    super::manifest::write_set(members, out);
                }
            }
        }
    }

    pub(super) fn decode(reader: &mut ByteReader<'_>) -> Result<Documents, DecodeError> {
        let mut documents = Documents::default();
        for _ in 0..reader.count(4)? {
            let kind = match reader.u8()? {
                COHORT => DocumentKind::Cohort,
                QUERY => DocumentKind::Query,
                GROWTH_MODEL => DocumentKind::GrowthModel,
                KEY => DocumentKind::Key,
                _ => return Err(reader.malformed("the kind of a document is unknown")),
            };
            let name = reader.text()?.to_owned();
            let document = match reader.u8()? {
                TEXT => Document::Text(reader.text()?.into()),
                MEMBERS => Document::Members(Arc::new(super::manifest::read_set(reader)?)),
                _ => return Err(reader.malformed("the form of a document is unknown")),
            };
            documents.set(kind, name, Some(document));
        }
        Ok(documents)
    }
}

fn kind_code(kind: DocumentKind) -> u8 {
    match kind {
        DocumentKind::Cohort => COHORT,
        DocumentKind::Query => QUERY,
        DocumentKind::GrowthModel => GROWTH_MODEL,
        DocumentKind::Key => KEY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_a_kind_and_in_order() {
        let mut documents = Documents::default();
        let text = |text: &str| Some(Document::Text(text.into()));
        documents.set(DocumentKind::Query, "b".to_owned(), text("1"));
        documents.set(DocumentKind::Cohort, "b".to_owned(), text("2"));
        documents.set(DocumentKind::Cohort, "a".to_owned(), text("3"));
        let names = |documents: &Documents, kind| -> Vec<String> {
            documents.of_kind(kind).map(|(name, _)| name.to_owned()).collect()
        };
        assert_eq!(names(&documents, DocumentKind::Cohort), ["a", "b"]);
        documents.set(DocumentKind::Cohort, "b".to_owned(), None);
        assert_eq!(names(&documents, DocumentKind::Cohort), ["a"]);
        assert_eq!(names(&documents, DocumentKind::Query), ["b"]);
        assert_eq!(documents.get(DocumentKind::Cohort, "b"), None);
    }
}
