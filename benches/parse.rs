//! How many events a second does one core read from a request?
//!
//! 20,000 events of the demo's history (seed 1), as NDJSON and as an array: `cargo bench --bench parse`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flywheeldb::demo::{DemoPlan, generate};
use flywheeldb::ingest::{BodyForm, OnError, parse_events, write_event};

const EVENT_COUNT: usize = 20_000;

fn lines() -> Vec<u8> {
    let (mut text, mut count) = (Vec::new(), 0);
    let plan = DemoPlan { seed: 1, events: 2 * EVENT_COUNT as u64 };
    generate(&plan, &mut |batch| {
        for event in batch.iter().take(EVENT_COUNT - count) {
            write_event(&mut text, event);
            count += 1;
        }
        Ok(())
    })
    .expect("the sink takes every batch");
    assert_eq!(count, EVENT_COUNT);
    text
}

fn parse(criterion: &mut Criterion) {
    let lines = lines();
    let mut array = vec![b'['];
    array.extend(lines.trim_ascii_end().iter().map(|byte| if *byte == b'\n' { b',' } else { *byte }));
    array.push(b']');
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Elements(EVENT_COUNT as u64));
    for (name, form, body) in [("ndjson", BodyForm::Ndjson, &lines), ("array", BodyForm::Json, &array)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                parse_events(black_box(body), form, OnError::Reject, 0).expect("the events are sound")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
