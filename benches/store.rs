//! The ways in, compaction, open, and a question for each kernel of the queries, on the demo's history of a quarter of a million events (seed 1).
//!
//! Ingest is measured without the disk's sync, on a directory in memory where there is one (`/dev/shm`), so that it
//! tells of our own work; the others read what a sealed and compacted store has mapped.

use std::hint::black_box;
use std::path::PathBuf;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use flywheeldb::Store;
use flywheeldb::api::{Json, Problem};
use flywheeldb::demo::{DemoPlan, generate};
use flywheeldb::model::EventBatch;
use flywheeldb::store::{Receipt, StoreOptions};

const PLAN: DemoPlan = DemoPlan { seed: 1, events: 250_000 };

fn directory() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    directory.expect("a directory can be made")
}

fn batches() -> Vec<EventBatch> {
    let mut batches = Vec::new();
    generate(&PLAN, &mut |batch| {
        batches.push(batch);
        Ok(())
    })
    .expect("the sink takes every batch");
    batches
}

/// How a store takes a batch.
type Take = fn(&Store, EventBatch) -> Result<Receipt, Problem>;

/// A store without background work, so that nothing else runs while it is measured.
fn open(directory: &tempfile::TempDir) -> Store {
    Store::open_with(directory.path(), StoreOptions { background: false, ..StoreOptions::default() })
        .expect("it can be opened")
}

fn query(store: &Store, body: &str) {
    let body = Json::parse(body.as_bytes()).expect("it is JSON");
    black_box(store.query(&body).expect("it is a query"));
}

fn benchmarks(criterion: &mut Criterion) {
    let batches = batches();
    let event_count: usize = batches.iter().map(EventBatch::len).sum();

    let mut group = criterion.benchmark_group("ingest");
    group.throughput(Throughput::Elements(event_count as u64)).sample_size(10);
    let ways: [(&str, Take); 2] = [
        ("logged batches of 20,000, then seal", Store::ingest),
        ("a load in batches of 20,000, then seal", Store::load),
    ];
    for (name, take) in ways {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || (directory(), batches.clone()),
                |(directory, batches)| {
                    let store = open(&directory);
                    for batch in batches {
                        take(&store, batch).expect("there is room");
                    }
                    store.seal().expect("there is room");
                    directory
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.bench_function("compaction of a segment for each batch", |bencher| {
        bencher.iter_batched(
            || {
                let directory = directory();
                let store = open(&directory);
                for batch in batches.clone() {
                    store.load(batch).expect("there is room");
                    store.seal().expect("there is room");
                }
                (store, directory)
            },
            |(store, directory)| {
                store.compact().expect("there is room");
                directory
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();

    let directory = directory();
    let store = open(&directory);
    let parts = batches.clone();
    for batch in batches {
        store.ingest(batch).expect("there is room");
    }
    store.compact().expect("there is room");
    store.close().expect("there is room");

    criterion.bench_function("open", |bencher| bencher.iter(|| open(&directory)));

    let store = open(&directory);
    let range = r#""from": "2025-11-01", "to": "2026-11-01", "as_of": "2026-11-01""#;
    let questions = [
        (
            "funnel of 3 steps",
            r#""kind": "funnel", "steps": ["signup", "project_created", "invite_sent"], "window": "14d""#,
        ),
        (
            "funnel of 3 steps by country",
            r#""kind": "funnel", "steps": ["signup", "project_created", "invite_sent"], "window": "14d",
               "breakdown": {"property": "country", "on": "user"}"#,
        ),
        (
            "retention by day, any return",
            r#""kind": "retention", "birth": "signup", "interval": "day", "periods": 30"#,
        ),
        (
            "retention by week, one return event",
            r#""kind": "retention", "birth": "signup", "return": "report_viewed", "interval": "week", "periods": 12"#,
        ),
        (
            "daily users over a trailing month",
            r#""kind": "segmentation", "series": [{"event": "*", "measure": "users"}], "interval": "day", "rolling": "30d""#,
        ),
        (
            "daily accounts over a trailing month",
            r#""kind": "segmentation", "series": [{"event": "*", "measure": "users"}], "interval": "day", "rolling": "30d",
               "entity": "account""#,
        ),
        (
            "events by day and plan",
            r#""kind": "segmentation", "series": [{"event": "*"}], "interval": "day",
               "breakdown": {"property": "plan", "on": "user"}"#,
        ),
        (
            "events per user by month",
            r#""kind": "segmentation", "series": [{"event": "*", "measure": "per_user"}], "interval": "month""#,
        ),
        (
            "funnel of 3 steps of accounts",
            r#""kind": "funnel", "steps": ["signup", "project_created", "invite_sent"], "window": "14d", "entity": "account""#,
        ),
        (
            "funnel of 4 steps in any order, one left out",
            r#""kind": "funnel", "steps": ["signup", "project_created", "invite_sent", "report_viewed"], "window": "14d",
               "order": "any", "exclude": [{"event": "plan_upgraded"}]"#,
        ),
        ("lifecycle by week", r#""kind": "lifecycle", "interval": "week""#),
        ("stickiness by week", r#""kind": "stickiness", "period": "week""#),
        ("paths of 5 moves", r#""kind": "paths", "start": "signup", "steps": 5"#),
        (
            "users of a cohort of two conditions",
            r#""kind": "segmentation", "series": [{"event": "*", "measure": "users"}], "interval": "total",
               "where": {"cohort": {"all": [{"did": "project_created", "at_least": 3}, {"not": {"did": "plan_upgraded"}}]}}"#,
        ),
    ];
    for (name, question) in &questions {
        let body = format!("{{{question}, {range}}}");
        criterion.bench_function(name, |bencher| bencher.iter(|| query(&store, &body)));
    }
    drop(store);
    // The first to ask about accounts makes the orders of the events that it names.
    let (name, question) =
        questions.iter().find(|(name, _)| name.ends_with("of accounts")).expect("it is one");
    let (name, body) = (format!("{name}, asked for first"), format!("{{{question}, {range}}}"));
    criterion.bench_function(&name, |bencher| {
        bencher.iter_batched_ref(|| open(&directory), |store| query(store, &body), BatchSize::PerIteration);
    });

    let directory = in_segments(&parts, 500);
    let store = open(&directory);
    for (name, question) in &questions[..4] {
        let (name, body) = (format!("{name}, in 500 segments"), format!("{{{question}, {range}}}"));
        criterion.bench_function(&name, |bencher| bencher.iter(|| query(&store, &body)));
    }
}

/// A store that has these events in so many segments, as many in each.
fn in_segments(batches: &[EventBatch], count: usize) -> tempfile::TempDir {
    let directory = directory();
    let store = open(&directory);
    let size = batches.iter().map(EventBatch::len).sum::<usize>().div_ceil(count);
    let mut part = EventBatch::new();
    for event in batches.iter().flat_map(EventBatch::iter) {
        part.push_from(event);
        if part.len() == size {
            store.ingest(std::mem::replace(&mut part, EventBatch::new())).expect("there is room");
            store.seal().expect("there is room");
        }
    }
    store.ingest(part).expect("there is room");
    store.close().expect("there is room");
    directory
}

criterion_group!(all, benchmarks);
criterion_main!(all);
