//! What is promised of bytes: that those of the deleted and the expired go, that damage under a running store ends no
//! process, and that copies are what was copied.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests look at files from outside of the store, and damage them"
)]

mod copies;
mod deletion;
mod expiry;
mod mapped;
#[path = "../support/program.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod program;

use std::path::Path;
use std::time::Duration;

use flywheeldb::Store;
use flywheeldb::api::{Cell, Json, Problem};
use flywheeldb::model::EventBatch;
use flywheeldb::store::StoreOptions;

const DAY: i64 = 86_400_000;
/// 2024-01-01.
const START: i64 = 1_704_067_200_000;

fn options() -> StoreOptions {
    StoreOptions { background: false, ..StoreOptions::default() }
}

fn open(path: &Path) -> Store {
    Store::open_with(path, options()).unwrap()
}

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

/// The events that there are, and the users who have any; those of one event name, or of all.
fn counts(store: &Store, event: &str) -> Result<(u64, u64), Problem> {
    let query = format!(
        r#"{{"kind": "segmentation", "interval": "total", "series": [{{"event": "{event}"}},
            {{"event": "{event}", "measure": "users"}}]}}"#
    );
    let answer = store.query(&json(&query))?;
    let mut values = answer.table.column("value").unwrap().map(|cell| match cell {
        Cell::UInt(count) => *count,
        other => panic!("a count, found {other:?}"),
    });
    Ok((values.next().unwrap(), values.next().unwrap()))
}

fn one(event: &str, user: &str, time: i64, id: &str) -> EventBatch {
    let mut batch = EventBatch::new();
    batch.push_event(event, user, time, Some(id), None).unwrap();
    batch
}

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}
