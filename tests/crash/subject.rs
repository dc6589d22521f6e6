//! What is tested: a store behind the few calls that the script makes.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use flywheeldb::Store;
use flywheeldb::api::{Json, Problem, ProblemClass};
use flywheeldb::io::Directory;
use flywheeldb::keys::{KEY_RANDOM_SIZE, NewKey, Scope};
use flywheeldb::model::{Event, EventBatch};
use flywheeldb::store::StoreOptions;

use super::sim_disk::SimDisk;
use super::workload::{self, Call, KEY_COUNT, MarksByUser, YEAR_START};

pub trait Subject: Sized {
    /// Makes a call other than [`Call::Reopen`].
    fn call(&self, call: &Call) -> Result<(), Problem>;

    /// The marks of the events in each user's timeline.
    fn marks_by_user(&self) -> Result<MarksByUser, Problem>;

    /// The numbers of the script's keys that open it.
    fn open_keys(&self) -> Result<BTreeSet<u8>, Problem>;

    /// The answers to the fixed set of queries, as text.
    fn answers(&self) -> Result<Vec<String>, Problem>;

    fn close(self) -> Result<(), Problem>;
}

/// Opens the subject, on whichever disk.
pub type Open<'a, S> = &'a (dyn Fn(Arc<dyn Directory>) -> Result<S, Problem> + Sync);

/// Opens the store without background work, so that every run makes the same operations.
pub fn open_store(directory: Arc<dyn Directory>) -> Result<Store, Problem> {
    #[allow(
        clippy::needless_update,
        reason = "the test says what it needs, whatever other options there are"
    )]
    let options = StoreOptions { background: false, ..StoreOptions::default() };
    Store::open_on(directory, options)
}

fn batch_of(events: &[Event]) -> EventBatch {
    let mut batch = EventBatch::new();
    for event in events {
        batch.push(event).expect("the script's events are within all limits");
    }
    batch
}

/// Makes a key as the program and the server do, but for chance.
fn create_key(store: &Store, number: u8) -> Result<NewKey, Problem> {
    let scope = Scope::WORDS[usize::from(number)].1;
    store.create_key(scope, "of the script", YEAR_START, &[number; KEY_RANDOM_SIZE])
}

/// The texts of the script's keys, which a store tells once and does not keep.
static KEY_TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let store = open_store(Arc::new(SimDisk::new())).expect("an empty disk can be opened");
    (0..KEY_COUNT)
        .map(|number| create_key(&store, number).expect("nothing fails on this disk").text)
        .collect()
});

/// Events that a user's timeline may hold at the most.
const TIMELINE_EVENT_COUNT_MAX: usize = 1_000;

/// All the time that the script knows of.
const RANGE: &str = r#""from": "2025-10-01", "to": "2026-05-01""#;
/// A moment after it, so that no answer depends on the day of the test.
const AS_OF: &str = r#""as_of": "2026-05-01""#;

const QUERIES: [&str; 9] = [
    r#""kind": "segmentation", "series": [{"event": "*"}, {"event": "*", "measure": "users"}], "interval": "month""#,
    r#""kind": "segmentation", "series": [{"event": "purchase", "measure": {"sum": "amount"}}], "interval": "week""#,
    r#""kind": "segmentation", "series": [{"event": "*"}], "interval": "total",
       "breakdown": {"property": "plan", "on": "user"}"#,
    r#""kind": "segmentation", "series": [{"event": "*"}], "interval": "total",
       "where": {"property": "industry", "on": "account", "op": "eq", "value": "toys"}"#,
    r#""kind": "funnel", "steps": ["signup", "project_created", "purchase"], "window": "60d""#,
    r#""kind": "retention", "birth": "signup", "interval": "week", "periods": 6"#,
    r#""kind": "cohort", "cohort": {"did": "purchase"}, "select": "members""#,
    r#""kind": "cohort", "cohort": {"profile": {"property": "plan", "op": "eq", "value": "pro"}}, "select": "members""#,
    r#""kind": "cohort", "cohort": {"not": {"did": "signup"}}, "select": "count""#,
];

impl Subject for Store {
    fn call(&self, call: &Call) -> Result<(), Problem> {
        match call {
            Call::Ingest(events) => self.ingest(batch_of(events)).map(drop),
            Call::Load(events) => {
                let (first, rest) = events.split_at(events.len() / 2);
                self.load(batch_of(first))?;
                self.load(batch_of(rest))?;
                self.seal()
            }
            Call::WriteProfiles(entity, writes) => self.write_profiles(*entity, writes.clone()),
            Call::MergeIdentities(merges) => self.merge_identities(merges.clone()),
            Call::DeleteUser(user) => self.delete_user(user).map(drop),
            Call::PutCohort(name, body) => self.put_cohort(name, &Json::parse(body.as_bytes())?).map(drop),
            Call::DeleteCohort(name) => match self.delete_cohort(name) {
                // It went with the call before, of which nobody knew what became.
                Err(problem) if problem.class == ProblemClass::NotFound => Ok(()),
                other => other,
            },
            Call::CreateKey(number) => match create_key(self, *number) {
                // It was made by the call before, of which nobody knew what became.
                Err(problem) if problem.class == ProblemClass::Conflict => Ok(()),
                other => other.map(drop),
            },
            Call::RevokeKey(number) => {
                let id = KEY_TEXTS[usize::from(*number)].split('_').nth(2).expect("the id is in the key");
                match self.revoke_key(id) {
                    Err(problem) if problem.class == ProblemClass::NotFound => Ok(()),
                    other => other,
                }
            }
            Call::Seal => self.seal(),
            Call::Compact => self.compact(),
            Call::Reopen => unreachable!("reopening needs the directory"),
        }
    }

    fn marks_by_user(&self) -> Result<MarksByUser, Problem> {
        let mut marks_by_user = MarksByUser::new();
        for user in workload::users() {
            let mut marks = Vec::new();
            if let Some(found) = self.user(&user, TIMELINE_EVENT_COUNT_MAX, None)? {
                // An id merged into another's leads to that user, who is asked for too.
                if found.get("user") == Some(&Json::String(user.clone())) {
                    collect_marks(&found, &mut marks);
                }
            }
            if !marks.is_empty() {
                marks.sort();
                marks_by_user.insert(user, marks);
            }
        }
        Ok(marks_by_user)
    }

    fn open_keys(&self) -> Result<BTreeSet<u8>, Problem> {
        let mut open = BTreeSet::new();
        for (number, text) in (0..).zip(&*KEY_TEXTS) {
            if self.find_key(text)?.is_some() {
                open.insert(number);
            }
        }
        Ok(open)
    }

    fn answers(&self) -> Result<Vec<String>, Problem> {
        let answer = |query: &&str| {
            let range =
                if query.contains("\"cohort\"") { AS_OF.to_owned() } else { format!("{RANGE}, {AS_OF}") };
            let body = format!("{{{query}, {range}}}");
            let table = self.query(&Json::parse(body.as_bytes())?)?.table;
            let rows: Vec<String> = table.rows().map(|row| format!("{row:?}")).collect();
            Ok(format!("{query}\n{}", rows.join("\n")))
        };
        let cohorts = std::iter::once_with(|| Ok(self.list_cohorts()?.to_string()));
        QUERIES.iter().map(answer).chain(cohorts).collect()
    }

    fn close(self) -> Result<(), Problem> {
        Store::close(self)
    }
}

/// Finds marks wherever they stand in a body.
fn collect_marks(body: &Json, marks: &mut Vec<String>) {
    match body {
        Json::String(text) if text.starts_with("mark-") => marks.push(text.clone()),
        Json::Array(elements) => elements.iter().for_each(|body| collect_marks(body, marks)),
        Json::Object(fields) => fields.iter().for_each(|(_, body)| collect_marks(body, marks)),
        _ => {}
    }
}
