//! The conformance cases, through every door: the library, the server, and the reference that the random tests
//! lean on.
//!
//! tests/conformance/README.md tells what a case is. The examples of docs/queries.md and docs/growth.md are run, too.

#![allow(clippy::disallowed_methods, reason = "the cases are read from the source tree")]

use std::fmt::Write;
use std::path::Path;

use crate::support::doors::{Door, Http, Library};
use crate::support::examples::{self, Example};
use crate::support::reading::{items, string};
use crate::support::reference::Reference;
use crate::support::tables::{self, Row};
use flywheeldb::api::Json;
use flywheeldb::model::Entity;

/// Cases with fewer events than this are also sent one event a batch.
const SINGLE_BATCH_EVENT_COUNT: usize = 20;

struct Case {
    name: String,
    json: Json,
}

/// What a door made of a case.
enum Verdict {
    Passed,
    Failed(String),
}

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance"))
}

/// Stores what `fields` have under the names of requests, with so many events in a batch.
fn store(door: &mut dyn Door, fields: &dyn Fn(&str) -> Option<Json>, batch_size: usize) {
    for batch in items(fields("events").as_ref()).chunks(batch_size) {
        door.ingest(batch);
    }
    for (field, entity) in [("users", Entity::User), ("accounts", Entity::Account)] {
        if let Some(writes) = fields(field) {
            door.write_profiles(entity, items(Some(&writes)));
        }
    }
    if let Some(merges) = fields("identities") {
        door.merge_identities(items(Some(&merges)));
    }
    if let Some(model) = fields("growth-model") {
        door.put_growth_model(&model);
    }
}

/// All cases, by file and in order.
fn cases() -> Vec<Case> {
    let files = std::fs::read_dir(directory().join("cases")).expect("the directory of cases");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    let mut cases = Vec::new();
    for path in paths {
        let text = std::fs::read(&path).expect("a file of cases");
        let list = Json::parse(&text).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()));
        for json in items(Some(&list)) {
            let name = string(json.get("name").expect("a case has a name"));
            cases.push(Case { name, json: json.clone() });
        }
    }
    cases
}

impl Case {
    /// Sends the case through a new door, `batch_size` events at a time.
    fn run(&self, door: &mut dyn Door, batch_size: usize) -> Verdict {
        store(door, &|field| self.json.get(field).cloned(), batch_size);
        let answer = door.query(&self.query());
        match (answer, self.json.get("expect_error")) {
            (Ok(found), None) => {
                let expected = self.expected();
                if tables::covers(&expected, &found) {
                    return Verdict::Passed;
                }
                let (expected, found) = (tables::print(&expected), tables::print(&found));
                Verdict::Failed(format!("expected\n{expected}\nfound\n{found}"))
            }
            (Ok(found), Some(error)) => {
                Verdict::Failed(format!("expected {error}, found\n{}", tables::print(&found)))
            }
            (Err(refused), None) => Verdict::Failed(format!("refused: {refused:?}")),
            (Err(refused), Some(error)) => {
                let status = error.get("status").is_none_or(|s| s.to_string() == refused.status.to_string());
                let path = error.get("path").is_none_or(|path| refused.path.starts_with(&string(path)));
                let as_expected = status && path;
                if as_expected { Verdict::Passed } else { Verdict::Failed(format!("{error}: {refused:?}")) }
            }
        }
    }

    /// The query, asked as of `now`.
    fn query(&self) -> Json {
        let query = self.json.get("query").expect("a case has a query");
        let Json::Object(mut fields) = query.clone() else { panic!("a query is an object") };
        fields.extend(self.json.get("now").map(|now| ("as_of".to_owned(), now.clone())));
        Json::Object(fields)
    }

    fn expected(&self) -> Vec<Row> {
        let row = |json: &Json| match json {
            Json::Object(fields) => fields.clone(),
            other => panic!("{other} is no row"),
        };
        items(self.json.get("expect")).iter().map(row).collect()
    }

    /// All events in one batch, and for a short case one by one.
    fn batch_sizes(&self) -> Vec<usize> {
        let count = items(self.json.get("events")).len();
        if count < SINGLE_BATCH_EVENT_COUNT { vec![count.max(1), 1] } else { vec![count] }
    }
}

/// Sends every case through doors of one kind, in batches of the sizes asked for.
fn check_cases<D: Door>(open: impl Fn() -> D, batch_sizes: impl Fn(&Case) -> Vec<usize>) {
    let mut failures = String::new();
    for case in cases() {
        for batch_size in batch_sizes(&case) {
            if let Verdict::Failed(why) = case.run(&mut open(), batch_size) {
                writeln!(failures, "{} in batches of {batch_size}: {why}", case.name)
                    .expect("strings take writes");
            }
        }
    }
    assert!(failures.is_empty(), "of the cases fail\n{failures}");
}

#[test]
fn the_reference_passes_all_cases() {
    check_cases(Reference::default, |_| vec![usize::MAX]);
}

#[test]
fn the_library_passes_all_cases() {
    check_cases(Library::open, Case::batch_sizes);
}

#[test]
fn the_examples_of_the_documentation_are_true() {
    for page in ["queries.md", "growth.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
        let examples = examples::read(&std::fs::read_to_string(path).expect("a page of the documentation"));
        assert!(!examples.is_empty(), "{page} has examples");
        examples.into_iter().for_each(|example| check_example(page, &example));
    }
}

/// Asks a question of a page through each door.
fn check_example(page: &str, example: &Example) {
    let field =
        |name: &str| example.stored.iter().find(|(known, _)| known == name).map(|(_, body)| body.clone());
    for door in [&mut Library::open() as &mut dyn Door, &mut Http::start(), &mut Reference::default()] {
        store(door, &field, usize::MAX);
        let rows = door.query(&example.query);
        let rows = rows.unwrap_or_else(|refused| panic!("{page}, line {}: {refused:?}", example.line));
        assert_eq!(
            examples::written(&rows),
            example.table,
            "{page}, line {}: {}",
            example.line,
            example.query
        );
    }
}

#[test]
fn the_server_passes_all_cases() {
    check_cases(Http::start, |_| vec![usize::MAX]);
}
