//! One query sees one state, whatever else happens at the same time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flywheeldb::Store;
use flywheeldb::api::{Cell, Json};
use flywheeldb::model::{EventBatch, IdentityMerge};

const DAY_MS: i64 = 86_400_000;
const BATCH_COUNT: u64 = 400;
const PAIR_COUNT: u64 = 25;

/// A batch of pairs: everybody in it does `left` and `right`, at moments months apart.
fn pairs(batch: u64) -> EventBatch {
    let mut events = EventBatch::new();
    for pair in 0..PAIR_COUNT {
        let number = batch * PAIR_COUNT + pair;
        let (user, id) = (format!("user-{}", number % 997), format!("e{number}"));
        let time = 1_700_000_000_000 + (number as i64 % 300) * DAY_MS;
        events.push_event("left", &user, time, Some(&id), None).unwrap();
        events.push_event("right", &user, time + 1, Some(&id), None).unwrap();
    }
    events
}

/// How many events of both kinds there are, how many users, and the number of the snapshot.
fn count(store: &Store) -> ([u64; 3], u64) {
    let body = r#"{"kind": "segmentation", "interval": "total", "from": "2023-01-01", "to": "2025-01-01", "as_of": "2026-01-01",
        "series": [{"event": "left"}, {"event": "right"}, {"event": "*", "measure": "users"}]}"#;
    let answer = store.query(&Json::parse(body.as_bytes()).unwrap()).unwrap();
    let values: Vec<u64> = answer
        .table
        .column("value")
        .unwrap()
        .map(|cell| match cell {
            Cell::UInt(value) => *value,
            other => panic!("{other:?} is no count"),
        })
        .collect();
    (values.try_into().unwrap(), answer.statistics.snapshot)
}

#[test]
fn queries_see_whole_batches_and_never_less_than_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let (acknowledged, started) = (AtomicU64::new(0), AtomicU64::new(0));
    let (is_done, query_count) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (store, acknowledged, started, is_done) = (&store, &acknowledged, &started, &is_done);
            scope.spawn(move || {
                for batch in (0..BATCH_COUNT).filter(|batch| batch % 2 == writer) {
                    started.fetch_add(PAIR_COUNT, Ordering::SeqCst);
                    let receipt = store.ingest(pairs(batch)).unwrap();
                    assert_eq!(receipt.accepted, 2 * PAIR_COUNT);
                    acknowledged.fetch_add(PAIR_COUNT, Ordering::SeqCst);
                }
                is_done.store(true, Ordering::SeqCst);
            });
        }
        scope.spawn(|| {
            let mut round = 0;
            while !is_done.load(Ordering::SeqCst) {
                store.seal().unwrap();
                // Two who are there become one: no event is lost or seen twice meanwhile.
                let id = |number: u64| format!("user-{}", number % 997);
                let merge = IdentityMerge { from: id(round), into: id(round + 500) };
                store.merge_identities(vec![merge]).unwrap();
                round += 1;
                if round % 5 == 0 {
                    store.compact().unwrap();
                }
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen_before = (0, 0);
                while !is_done.load(Ordering::SeqCst) {
                    let least = acknowledged.load(Ordering::SeqCst);
                    let ([left, right, _], snapshot) = count(&store);
                    let most = started.load(Ordering::SeqCst);
                    assert_eq!(left, right, "half a batch was seen");
                    assert!(
                        (least..=most).contains(&left),
                        "{left} pairs, acknowledged {least}, started {most}"
                    );
                    assert!((left, snapshot) >= seen_before, "time went backwards");
                    seen_before = (left, snapshot);
                    query_count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    println!("{} queries during writes, seals, merges and compactions: 0 wrong", query_count.into_inner());
    let all = BATCH_COUNT * PAIR_COUNT;
    assert_eq!(count(&store).0[..2], [all, all]);
    for batch in 0..BATCH_COUNT {
        assert_eq!(store.ingest(pairs(batch)).unwrap().duplicates, 2 * PAIR_COUNT, "a retry changes nothing");
    }
    store.close().unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(count(&store).0[..2], [all, all]);
}
