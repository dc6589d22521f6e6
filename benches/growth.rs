//! Drivers of 2,000 candidate events among a million users (seed 7), and the other growth queries on the same history.
//!
//! The question: does trying every event that a product has, at five thresholds each, stay under a second on two cores?
//! `FLYWHEEL_BENCH_USERS` makes a smaller history for a slower machine. Each user signs up in one of 60 days and does
//! twelve things in the days after, of which few names are frequent and most are rare, as in products that name every
//! button.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use flywheeldb::Store;
use flywheeldb::api::Json;
use flywheeldb::model::{DAY_MS, EventBatch, HOUR_MS};
use flywheeldb::store::StoreOptions;

const USER_COUNT: u64 = 1_000_000;
const CANDIDATE_COUNT: usize = 2_000;
const EVENTS_PER_USER: u64 = 12;
const BATCH_EVENT_COUNT: usize = 100_000;

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000;

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn fill(store: &Store, user_count: u64) {
    let mut random = Random(7);
    let mut batch = EventBatch::new();
    let names: Vec<String> = (0..CANDIDATE_COUNT).map(|index| format!("event_{index:04}")).collect();
    for user in 0..user_count {
        let id = format!("u{user:07}");
        let signup = START + (random.unit() * (60 * DAY_MS) as f64) as i64;
        let mut push = |name: &str, time: i64| {
            batch.push_event(name, &id, time, None, None).expect("the events are valid");
        };
        push("signup", signup);
        for _ in 0..EVENTS_PER_USER {
            // The cube of a uniform number: half of the events have the first eighth of the names.
            let name = (random.unit().powi(3) * CANDIDATE_COUNT as f64) as usize;
            push(&names[name], signup + HOUR_MS + (random.unit() * (30 * DAY_MS) as f64) as i64);
        }
        if batch.len() >= BATCH_EVENT_COUNT - EVENTS_PER_USER as usize {
            store.ingest(std::mem::take(&mut batch)).expect("there is room");
        }
    }
    store.ingest(batch).expect("there is room");
    store.seal().expect("there is room");
    store.compact().expect("there is room");
}

fn benchmarks(criterion: &mut Criterion) {
    let user_count = std::env::var("FLYWHEEL_BENCH_USERS").ok();
    let user_count = user_count.map_or(USER_COUNT, |count| count.parse().expect("a number of users"));
    let directory = tempfile::tempdir().expect("a directory can be made");
    let store =
        Store::open_with(directory.path(), StoreOptions { background: false, ..StoreOptions::default() });
    let store = store.expect("it can be opened");
    fill(&store, user_count);
    let as_of = r#""as_of": "2026-06-01""#;
    let questions = [
        (
            "drivers, every event",
            r#""kind": "drivers", "birth": "signup", "outcome": {"did": "*", "after": "14d", "before": "21d"}"#,
        ),
        (
            "activation by week",
            r#""kind": "activation", "signup": "signup", "interval": "week",
               "activate": {"event": "event_0000", "within": "7d"}"#,
        ),
        (
            "conversion, split by the first week",
            r#""kind": "conversion", "signup": "signup", "paid": "event_0001", "interval": "total",
               "breakdown": {"cohorts": {"did": {"did": "event_0002"}}, "within": "7d"}"#,
        ),
        (
            "leads of three signals, as a cohort",
            r#""kind": "cohort", "cohort": {"result": {"kind": "pql", "query": {"threshold": 0.5, "signals": [
               {"name": "a", "volume": {"event": "*", "window": "90d"}, "scale": [0, 10]},
               {"name": "b", "behaviour": {"did": "event_0003"}},
               {"name": "c", "breadth": {"of": "active_days", "window": "90d"}, "scale": [0, 10]}]}}}"#,
        ),
    ];
    let mut group = criterion.benchmark_group(format!("growth, {user_count} users"));
    group.sample_size(10);
    for (name, question) in questions {
        let body = Json::parse(format!("{{{question}, {as_of}}}").as_bytes()).expect("it is JSON");
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(store.query(&body).expect("it is a query")));
        });
    }
    group.finish();
}

criterion_group!(all, benchmarks);
criterion_main!(all);
