//! Old events go at their moment, not before and not after, and a clock that jumps takes nothing with it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use flywheeldb::Store;
use flywheeldb::store::{Clock, StoreOptions};

use super::{DAY, START, counts, days, json, one, open, options};

/// A clock that a test moves. Its uptime goes with it, but for what it is set ahead.
#[derive(Debug, Default)]
struct SetClock {
    passed: AtomicI64,
    ahead: AtomicI64,
}

impl SetClock {
    fn pass(&self, ms: i64) {
        self.passed.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> i64 {
        START + self.passed.load(Ordering::Relaxed) + self.ahead.load(Ordering::Relaxed)
    }

    fn uptime(&self) -> Duration {
        Duration::from_millis(self.passed.load(Ordering::Relaxed) as u64)
    }
}

fn open_keeping(path: &Path, count: u64, clock: &Arc<SetClock>) -> Store {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
    Store::open_with(path, StoreOptions { expire_after: Some(days(count)), clock, ..options() }).unwrap()
}

/// Every way to count all events.
fn seen(store: &Store) -> u64 {
    let (events, _) = counts(store, "*").unwrap();
    let schema = store.schema().unwrap().to_string();
    let in_schema = schema.split("\"event\"").nth(1).map_or(0, |text| {
        let count = text.split("\"count\":").nth(1).unwrap();
        count.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    });
    assert_eq!(events, in_schema, "{schema}");
    let timeline = store.user("ada", 1000, None).unwrap();
    let told = timeline.map_or(0, |user| match user.get("events") {
        Some(flywheeldb::api::Json::Array(events)) => events.len() as u64,
        _ => panic!("a timeline has events"),
    });
    assert_eq!(events, told);
    let members = store.query(&json(r#"{"kind": "cohort", "cohort": {"did": "*"}}"#)).unwrap();
    let members = members.table.column("users").unwrap().next().cloned().unwrap();
    assert_eq!(members, flywheeldb::api::Cell::UInt(u64::from(events > 0)));
    events
}

#[test]
fn an_event_is_seen_up_to_its_last_millisecond_wherever_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let store = open_keeping(folder.path(), 30, &clock);
    // Half of them sealed, half in memory: one expires each hour, from now on.
    const HOUR: i64 = DAY / 24;
    for half in 0..2 {
        for index in 0..24 {
            let time = START - 30 * DAY + (index * 2 + half) * HOUR;
            store.ingest(one("viewed", "ada", time, &format!("{index}-{half}"))).unwrap();
        }
        if half == 0 {
            store.seal().unwrap();
        }
    }
    for gone in 0..48 {
        assert_eq!(seen(&store), 48 - gone, "at the very moment, the event is still there");
        clock.pass(1);
        assert_eq!(seen(&store), 47 - gone, "a millisecond later it is not");
        if gone % 10 == 9 {
            store.expire().unwrap();
            store.seal().unwrap();
            assert_eq!(seen(&store), 47 - gone, "the bytes going changes nothing");
        }
        clock.pass(HOUR - 1);
    }
    store.compact().unwrap();
    assert_eq!(store.snapshot().segments.len(), 0, "all bytes are gone");
    let receipt = store.ingest(one("viewed", "ada", START - 30 * DAY, "0-0")).unwrap();
    assert_eq!((receipt.accepted, receipt.expired), (0, 1), "a late retry is told that it is too late");
}

#[test]
fn a_clock_that_jumps_deletes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let store = open_keeping(folder.path(), 365, &clock);
    for index in 0..10 {
        store.ingest(one("viewed", "ada", START - index * 30 * DAY, &index.to_string())).unwrap();
    }
    store.seal().unwrap();
    clock.ahead.store(3_650 * DAY, Ordering::Relaxed);
    store.expire().unwrap();
    store.compact().unwrap();
    assert!(store.health().expiry_halted.is_some());
    assert_eq!(store.user("ada", 100, None).unwrap().unwrap().get("event_count"), Some(&json("10")));
    drop(store);

    // Nor does a start under the wrong clock, nor one ten years back.
    let store = open_keeping(folder.path(), 365, &clock);
    store.expire().unwrap();
    assert!(store.health().expiry_halted.unwrap().contains("--trust-clock"));
    drop(store);
    clock.ahead.store(-3_650 * DAY, Ordering::Relaxed);
    let store = open_keeping(folder.path(), 365, &clock);
    store.expire().unwrap();
    drop(store);
    clock.ahead.store(0, Ordering::Relaxed);
    let store = open_keeping(folder.path(), 365, &clock);
    assert_eq!(store.health().expiry_halted, None);
    assert_eq!(seen(&store), 10);
}

#[test]
fn a_clock_that_is_far_ahead_and_right_is_believed_when_somebody_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let store = open_keeping(folder.path(), 365, &clock);
    store.ingest(one("viewed", "ada", START, "e")).unwrap();
    store.close().unwrap();
    clock.ahead.store(800 * DAY, Ordering::Relaxed); // two years in a drawer
    let store = open_keeping(folder.path(), 365, &clock);
    assert_eq!(seen(&store), 1);
    drop(store);
    let clock: Arc<dyn Clock> = clock;
    let options = StoreOptions { expire_after: Some(days(365)), clock, trust_clock: true, ..options() };
    let store = Store::open_with(folder.path(), options).unwrap();
    assert_eq!(seen(&store), 0);
    store.expire().unwrap();
    drop(store);
    assert_eq!(seen(&open(folder.path())), 0, "what is gone does not come back without the setting");
}

#[test]
fn without_the_setting_nothing_expires_and_half_of_a_day_never_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let store = open(folder.path());
    for index in 0..10 {
        store.ingest(one("viewed", "ada", START - index * DAY / 4, &index.to_string())).unwrap();
    }
    store.seal().unwrap();
    store.compact().unwrap();
    assert_eq!(seen(&store), 10);
    drop(store);
    let store = open_keeping(folder.path(), 1, &clock);
    assert_eq!(seen(&store), 5);
    store.expire().unwrap();
    assert!(store.check().unwrap().is_sound());
    drop(store);
    assert_eq!(seen(&open(folder.path())), 5);
}
