#![no_main]

use std::sync::LazyLock;

use flywheeldb::Store;
use flywheeldb::ingest::{BodyForm, OnError, parse_events};

/// A store of a few events, in a directory that outlives the process: fuzzers end by signals.
static STORE: LazyLock<Store> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a temporary directory").keep();
    let store = Store::open(&directory).expect("a new store opens");
    let events = include_bytes!("../corpus/events/shop.ndjson");
    let parsed = parse_events(events, BodyForm::Ndjson, OnError::Reject, 0).expect("the seed is sound");
    store.ingest(parsed.batch).expect("the seed is stored");
    store
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flywheeldb::fuzzing::query(&STORE, bytes));
