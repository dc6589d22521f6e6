//! The ways to ask a store, all behind one trait: the library, the server, and the reference beside them.

use flywheeldb::Store;
use flywheeldb::api::Json;
use flywheeldb::model::{Entity, EventBatch};
use tempfile::TempDir;

use super::reading;
use super::reference::{Reference, Refusal};
use super::server::{Answer, TestServer};
use super::tables::{self, Row};

/// Bodies in, rows or a refusal out.
pub trait Door {
    /// Stores the events as one batch.
    fn ingest(&mut self, events: &[Json]);
    fn write_profiles(&mut self, entity: Entity, writes: &[Json]);
    fn merge_identities(&mut self, merges: &[Json]);
    fn put_growth_model(&mut self, model: &Json);
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

    fn put_growth_model(&mut self, model: &Json) {
        self.store.put_growth_model(model).expect("a valid model is stored");
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

/// A new server on a port of its own, asked as clients ask it.
pub struct Http {
    server: TestServer,
}

impl Http {
    pub fn start() -> Http {
        Http { server: TestServer::start() }
    }

    /// Sends a write, which must be taken.
    fn write(&self, target: &str, items: &[Json]) {
        let answer = self.server.post(target, &Json::Array(items.to_vec()).to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

impl Door for Http {
    fn ingest(&mut self, events: &[Json]) {
        self.write("/v1/events", events);
    }

    fn write_profiles(&mut self, entity: Entity, writes: &[Json]) {
        let target = match entity {
            Entity::User => "/v1/users",
            Entity::Account => "/v1/accounts",
        };
        self.write(target, writes);
    }

    fn merge_identities(&mut self, merges: &[Json]) {
        self.write("/v1/identities", merges);
    }

    fn put_growth_model(&mut self, model: &Json) {
        let headers = [("Content-Type", "application/json")];
        let answer = self.server.send("PUT", "/v1/growth-model", &headers, model.to_string().as_bytes());
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    fn query(&self, query: &Json) -> Result<Vec<Row>, Refused> {
        let kind = reading::string(query.get("kind").expect("a query has a kind"));
        let answer = self.server.post(&format!("/v1/query/{kind}"), &query.to_string());
        let body = Json::parse(&answer.body).expect("answers are JSON");
        if answer.status != 200 {
            return Err(refused(&answer, &body));
        }
        let row = |row: &Json| match row {
            Json::Object(fields) => fields.clone(),
            other => panic!("{other} is no row"),
        };
        Ok(reading::items(body.get("data")).iter().map(row).collect())
    }
}

fn refused(answer: &Answer, body: &Json) -> Refused {
    let text = |name| body.get(name).map(reading::string).unwrap_or_default();
    Refused { status: answer.status, path: text("path"), detail: text("detail") }
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

    fn put_growth_model(&mut self, model: &Json) {
        self.set_growth_model(model.clone());
    }

    fn query(&self, query: &Json) -> Result<Vec<Row>, Refused> {
        self.answer(query).map_err(|refusal| match refusal {
            Refusal::Invalid(detail) => Refused { status: 400, path: String::new(), detail },
            Refusal::NotCovered(detail) => Refused { status: NOT_COVERED, path: String::new(), detail },
            Refusal::TooMany => {
                Refused { status: NOT_COVERED, path: String::new(), detail: "too many ways".to_owned() }
            }
        })
    }
}
