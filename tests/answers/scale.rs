//! Large merges and deletions of users, whose time is told: `cargo test --test answers scale -- --ignored --nocapture`.
//!
//! A figure that grows faster than the size of its work is a defect. `FLYWHEEL_SCALE=0.1` does a tenth of the work.

use std::time::Instant;

use flywheeldb::Store;
use flywheeldb::api::{Cell, Json};
use flywheeldb::model::{EventBatch, IdentityMerge};
use flywheeldb::store::StoreOptions;

const START_MS: i64 = 1_704_067_200_000;

fn scaled(size: usize) -> usize {
    let scale = std::env::var("FLYWHEEL_SCALE").map_or(1.0, |text| text.parse().expect("it is a number"));
    (size as f64 * scale) as usize
}

struct Timed {
    store: Store,
    _directory: tempfile::TempDir,
}

impl Timed {
    fn new() -> Timed {
        let directory = tempfile::tempdir().unwrap();
        let store =
            Store::open_with(directory.path(), StoreOptions { background: false, ..StoreOptions::default() })
                .unwrap();
        Timed { store, _directory: directory }
    }

    fn run<T>(&self, what: &str, work: impl FnOnce(&Store) -> T) -> T {
        let begun = Instant::now();
        let done = work(&self.store);
        println!("{:>9.2} s  {what}", begun.elapsed().as_secs_f64());
        done
    }

    fn count(&self, measure: &str) -> u64 {
        let query = format!(
            r#"{{"kind": "segmentation", "interval": "total", "series": [{{"event": "*", "measure": "{measure}"}}]}}"#
        );
        let answer = self.store.query(&Json::parse(query.as_bytes()).unwrap()).unwrap();
        match answer.table.column("value").unwrap().next() {
            Some(Cell::UInt(count)) => *count,
            other => panic!("{other:?}"),
        }
    }
}

fn merge(from: impl Into<String>, into: impl Into<String>) -> IdentityMerge {
    IdentityMerge { from: from.into(), into: into.into() }
}

/// One event of each of `count` users.
fn users(count: usize) -> EventBatch {
    let mut batch = EventBatch::new();
    for user in 0..count {
        let id = format!("{user}");
        batch.push_event("viewed", &format!("id-{user}"), START_MS, Some(&id), None).unwrap();
    }
    batch
}

/// Events of one user, with ids and properties.
fn events(store: &Store, user: &str, count: usize) {
    for begin in (0..count).step_by(100_000) {
        let mut batch = EventBatch::new();
        for serial in begin..count.min(begin + 100_000) {
            let time = START_MS + serial as i64;
            batch.push_event("viewed", user, time, Some(&format!("{user}-{serial}")), None).unwrap();
            batch.push_property("page", &format!("page {}", serial % 50_000).as_str().into()).unwrap();
            batch.push_property("serial", &(serial as i64).into()).unwrap();
        }
        store.ingest(batch).unwrap();
    }
}

#[test]
#[ignore = "takes a minute; it tells times"]
fn long_chains_of_ids_become_one_user() {
    let count = scaled(100_000);
    for order in ["forward", "backward", "star"] {
        for is_one_request in [true, false] {
            let timed = Timed::new();
            timed.store.ingest(users(count)).unwrap();
            let mut merges: Vec<IdentityMerge> = match order {
                "star" => (1..count).map(|id| merge("id-0", format!("id-{id}"))).collect(),
                _ => (1..count).map(|id| merge(format!("id-{}", id - 1), format!("id-{id}"))).collect(),
            };
            if order == "backward" {
                merges.reverse();
            }
            if is_one_request {
                timed.run(&format!("{order}: {count} ids in one request"), |store| {
                    store.merge_identities(merges).unwrap();
                });
            } else {
                merges.truncate(merges.len() / 10);
                timed.run(&format!("{order}: {} ids one by one", merges.len()), |store| {
                    for merge in merges.clone() {
                        store.merge_identities(vec![merge]).unwrap();
                    }
                });
            }
            let merged = if is_one_request { count - 1 } else { (count - 1) / 10 };
            timed.run("a query", |_| assert_eq!(timed.count("users") as usize, count - merged));
            timed.run("a seal", |store| store.seal().unwrap());
            assert_eq!(timed.count("events") as usize, count);
        }
    }
}

#[test]
#[ignore = "takes a minute; it tells times"]
fn users_with_a_million_events_are_merged_and_deleted() {
    let count = scaled(1_000_000);
    for is_sealed in [false, true] {
        let timed = Timed::new();
        timed.run(&format!("{count} events of one user"), |store| events(store, "large", count));
        timed.run(&format!("{count} events of another"), |store| events(store, "larger", count + 1));
        if is_sealed {
            timed.run("a seal", |store| store.seal().unwrap());
            timed.run("the same events again", |store| events(store, "large", count));
        }
        timed.run("their merge", |store| store.merge_identities(vec![merge("large", "larger")]).unwrap());
        timed.run("a query", |_| {
            assert_eq!((timed.count("events"), timed.count("users")), (2 * count as u64 + 1, 1))
        });
        timed.run("their deletion", |store| assert!(store.delete_user("large").unwrap()));
        timed.run("a query", |_| assert_eq!(timed.count("events"), 0));
        timed.run("a compaction", |store| store.compact().unwrap());
    }
}

#[test]
#[ignore = "takes a minute; it tells times"]
fn small_batches_come_in_among_many_segments_and_many_new_rows() {
    for segment_count in [1, scaled(500)] {
        let timed = Timed::new();
        for segment in 0..segment_count {
            let mut batch = EventBatch::new();
            for user in 0..10 {
                let user = format!("user-{user}");
                batch.push_event("viewed", &user, START_MS + segment as i64, None, None).unwrap();
            }
            timed.store.ingest(batch).unwrap();
            timed.store.seal().unwrap();
        }
        for round in 0..4 {
            let count = scaled(5_000);
            timed.run(
                &format!("{count} batches of one event, {segment_count} segments, round {round}"),
                |store| {
                    for serial in 0..count {
                        let mut batch = EventBatch::new();
                        let id = format!("{round}-{serial}");
                        batch.push_event("viewed", "user-1", START_MS, Some(&id), None).unwrap();
                        store.ingest(batch).unwrap();
                    }
                },
            );
        }
        assert_eq!(timed.count("events") as usize, segment_count * 10 + 4 * scaled(5_000));
        timed.run("compaction where due", |store| store.compact_where_due().unwrap());
    }
}
