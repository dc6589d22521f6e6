//! The ways to ask a store, all behind one trait: the library, and the reference beside it.

use flywheeldb::Store;
use flywheeldb::api::Json;
use flywheeldb::model::{Entity, EventBatch};
use tempfile::TempDir;

use super::reading;
use super::reference::{Reference, Refusal};
use super::tables::{self, Row};

/// Bodies in, rows or a refusal out.
pub trait Door {
    /// Stores the events as one batch.
    fn ingest(&mut self, events: &[Json]);
    fn write_profiles(&mut self, entity: Entity, writes: &[Json]);
    fn merge_identities(&mut self, merges: &[Json]);
    fn query(&self, query: &Json) -> Result<Vec<Row>, Refused>;
}

/// Why a query got no rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub status: u16,
    /// The place in the query, if one was told.
    pub path: String,
    pub detail: String,
}

/// The status with which the reference says that it does not cover a question.
pub const NOT_COVERED: u16 = 501;

/// A new store in a directory that goes with it.
pub struct Library {
    store: Store,
    _directory: TempDir,
}

impl Library {
    pub fn open() -> Library {
        let directory = TempDir::new().expect("a temporary directory");
        let store = Store::open(&directory.path().join("store")).expect("a new store opens");
        Library { store, _directory: directory }
    }
}

impl Door for Library {
    fn ingest(&mut self, events: &[Json]) {
        let mut batch = EventBatch::new();
        for event in events {
            batch.push(&reading::event(event)).expect("the cases have valid events");
        }
        self.store.ingest(batch).expect("a valid batch is stored");
    }

    fn write_profiles(&mut self, entity: Entity, writes: &[Json]) {
        let writes = writes.iter().map(|write| reading::profile_write(write, entity.name())).collect();
        self.store.write_profiles(entity, writes).expect("valid profiles are stored");
    }

    fn merge_identities(&mut self, merges: &[Json]) {
        let merges = merges.iter().map(reading::identity_merge).collect();
        self.store.merge_identities(merges).expect("valid merges are stored");
    }

    fn query(&self, query: &Json) -> Result<Vec<Row>, Refused> {
        match self.store.query(query) {
            Ok(answer) => Ok(tables::rows(&answer.table)),
            Err(problem) => Err(Refused {
                status: problem.status(),
                path: problem.path.clone().unwrap_or_default(),
                detail: problem.to_string(),
            }),
        }
    }
}

impl Door for Reference {
    fn ingest(&mut self, events: &[Json]) {
        for event in events {
            self.arrive(reading::event(event));
        }
    }

    fn write_profiles(&mut self, entity: Entity, writes: &[Json]) {
        for write in writes {
            self.write_profile(entity, &reading::profile_write(write, entity.name()));
        }
    }

    fn merge_identities(&mut self, merges: &[Json]) {
        for merge in merges {
            self.merge(&reading::identity_merge(merge));
        }
    }

    fn query(&self, query: &Json) -> Result<Vec<Row>, Refused> {
        self.answer(query).map_err(|refusal| match refusal {
            Refusal::Invalid(detail) => Refused { status: 400, path: String::new(), detail },
            Refusal::NotCovered(detail) => Refused { status: NOT_COVERED, path: String::new(), detail },
        })
    }
}
