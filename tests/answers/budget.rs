//! What a query may take of the library: time, memory, and whether its answer is still wanted.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use flywheeldb::Store;
use flywheeldb::api::{Json, Problem};
use flywheeldb::model::{Event, EventBatch};
use flywheeldb::query::{Budget, QueryOptions};

/// Users of ten tasks.
const USER_COUNT: usize = 150_000;

fn store() -> (Store, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let mut batch = EventBatch::new();
    for user in 0..USER_COUNT {
        let event = Event {
            event: if user % 2 == 0 { "signup" } else { "visit" }.to_owned(),
            user: format!("a user with a name of some length, number {user}"),
            time: user as i64,
            id: None,
            account: None,
            properties: Vec::new(),
        };
        batch.push(&event).unwrap();
    }
    store.ingest(batch).unwrap();
    (store, directory)
}

fn ask(store: &Store, query: &str, budget: Budget) -> Result<usize, Problem> {
    let query = Json::parse(query.as_bytes()).unwrap();
    let options = QueryOptions { now: None, budget };
    store.query_with(&query, &options).map(|answer| answer.table.row_count())
}

const FUNNEL: &str = r#"{"kind": "funnel", "steps": ["signup", "visit"]}"#;
const MEMBERS: &str =
    r#"{"kind": "cohort", "cohort": {"users": ["nobody"]}, "select": "members", "limit": 10}"#;

#[test]
fn a_query_ends_at_its_deadline_and_when_nobody_wants_it() {
    let (store, _directory) = store();
    let over = Budget { deadline: Some(Instant::now()), ..Budget::default() };
    assert_eq!(ask(&store, FUNNEL, over).unwrap_err().status(), 504);
    let cancelled = Budget::default();
    cancelled.cancelled.store(true, Ordering::Relaxed);
    for query in [FUNNEL, MEMBERS] {
        assert!(ask(&store, query, cancelled.clone()).unwrap_err().detail.contains("cancelled"));
    }
    let ample = Budget { deadline: Some(Instant::now() + Duration::from_secs(60)), ..Budget::default() };
    assert_eq!(ask(&store, FUNNEL, ample), Ok(2));
}

#[test]
fn a_query_that_holds_too_many_rows_is_told_how_to_be_smaller() {
    let (store, _directory) = store();
    let tight = Budget { memory_max: 10_000, ..Budget::default() };
    let problem = ask(&store, FUNNEL, tight.clone()).unwrap_err();
    assert_eq!(problem.status(), 400);
    assert!(problem.hint.unwrap().contains("shorter range"));
    let short = r#"{"kind": "funnel", "steps": ["signup", "visit"], "from": 0, "to": 300,
        "within_range": true}"#;
    assert_eq!(ask(&store, short, tight), Ok(2), "a shorter range fits");
}

#[test]
fn a_partial_result_that_grows_too_large_ends_its_query() {
    let (store, _directory) = store();
    // The ids of all users are held at once, some eight megabytes; the rows of one task are far fewer.
    let members = r#"{"kind": "cohort", "cohort": {"did": "*", "at_least": 1}, "select": "members"}"#;
    let budget = |memory_max| Budget { memory_max, ..Budget::default() };
    assert_eq!(ask(&store, members, budget(2 << 20)).unwrap_err().status(), 400);
    assert_eq!(ask(&store, members, budget(1 << 30)), Ok(USER_COUNT));
}
