//! Queries beside one another.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flywheeldb::Store;
use flywheeldb::model::EventBatch;
use flywheeldb::settings::Settings;

use super::server::{Answer, TestServer};

/// Users with twenty events each, over a year.
fn fill(store: &Store, user_count: i64) {
    for first in (0..user_count).step_by(5_000) {
        let mut batch = EventBatch::new();
        for user in first..(first + 5_000).min(user_count) {
            for step in 0..20 {
                let name = ["view", "search", "cart", "buy"][step as usize % 4];
                let time = 1_700_000_000_000 + (user * 7_919 + step * 1_500_450_271) % 31_536_000_000;
                batch.push_event(name, &format!("u{user}"), time, None, None).unwrap();
            }
        }
        store.ingest(batch).unwrap();
    }
    store.seal().unwrap();
}

const QUICK: &str = r#"{"kind": "segmentation", "series": [{"event": "cart", "measure": "users"}],
    "interval": "total", "from": "2023-11-14", "to": "2023-11-16", "as_of": "2024-12-01"}"#;
const HEAVY: &str = r#"{"kind": "funnel", "steps": ["view", "search", "cart", "buy", "view", "buy"],
    "window": "300d", "count": "attempts", "as_of": "2024-12-01"}"#;

/// Sends a query, and does not wait for its answer.
fn send(server: &TestServer, query: &str) -> TcpStream {
    let kind = if query == QUICK { "segmentation" } else { "funnel" };
    let mut stream = server.connect();
    stream.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
    write!(
        stream,
        "POST /v1/query/{kind} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{query}",
        query.len()
    )
    .unwrap();
    stream
}

fn data(answer: &Answer) -> serde_json::Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["data"].clone()
}

fn slowed(server: &TestServer) -> u64 {
    let metrics = server.get("/metrics");
    let line = metrics.text().lines().find_map(|line| line.strip_prefix("flywheel_queries_slowed_total "));
    line.unwrap().parse().unwrap()
}

#[test]
fn a_query_that_makes_way_answers_as_it_would_have() {
    let answers = [3_600_000, 1].map(|quick_ms| {
        let settings = Settings { quick_query_time: Duration::from_millis(quick_ms), ..Settings::default() };
        let server = TestServer::start_as(settings, |store| fill(store, 20_000));
        let mut crowd: Vec<TcpStream> = (0..8).map(|_| send(&server, HEAVY)).collect();
        let answers: Vec<_> = crowd.iter_mut().map(|asked| data(&Answer::read(asked))).collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]));
        (answers[0].clone(), slowed(&server) > 0)
    });
    assert_eq!(answers[0].0, answers[1].0);
    assert_eq!((answers[0].1, answers[1].1), (false, true));
}

#[test]
fn quick_queries_and_writes_pass_the_slow_ones() {
    let server = TestServer::start_with(|store| fill(store, 60_000));
    let expected = data(&Answer::read(&mut send(&server, QUICK)));
    let is_over = AtomicBool::new(false);
    let mut quick_times = Vec::new();
    std::thread::scope(|scope| {
        // More than have a thread, again and again.
        let heavy: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let mut times = Vec::new();
                    while !is_over.load(Ordering::Relaxed) {
                        let begun = Instant::now();
                        data(&Answer::read(&mut send(&server, HEAVY)));
                        times.push(begun.elapsed());
                    }
                    times
                })
            })
            .collect();
        while slowed(&server) < 2 {
            std::thread::sleep(Duration::from_millis(20));
        }
        for index in 0..40 {
            let begun = Instant::now();
            assert_eq!(data(&Answer::read(&mut send(&server, QUICK))), expected);
            quick_times.push(begun.elapsed());
            let event = format!(r#"{{"event": "x", "user": "new{index}", "time": "2024-03-01"}}"#);
            assert_eq!(server.post("/v1/events", &event).status, 200);
        }
        is_over.store(true, Ordering::Relaxed);
        let mut heavy_times: Vec<Duration> =
            heavy.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let median = |times: &mut Vec<Duration>| {
            times.sort();
            times[times.len() / 2]
        };
        let (quick, heavy) = (median(&mut quick_times), median(&mut heavy_times));
        let (worst, count) = (quick_times[quick_times.len() - 1], heavy_times.len());
        println!("beside {count} heavy queries of {heavy:?}: quick ones {quick:?}, at worst {worst:?}");
        // Six heavy ones queue for two places: were the quick ones among them, they would take as long.
        assert!(quick < heavy / 4, "quick queries take {quick:?} beside heavy ones of {heavy:?}");
    });
}

#[test]
fn past_those_that_may_wait_queries_are_told_to_come_again() {
    let settings = Settings {
        quick_query_time: Duration::from_millis(1),
        max_slow_queries: 1,
        max_waiting_queries: 2,
        ..Settings::default()
    };
    let server = TestServer::start_as(settings, |store| fill(store, 40_000));
    let mut asked: Vec<TcpStream> = (0..16).map(|_| send(&server, HEAVY)).collect();
    let answers: Vec<Answer> = asked.iter_mut().map(Answer::read).collect();
    let (answered, refused): (Vec<&Answer>, Vec<&Answer>) =
        answers.iter().partition(|answer| answer.status == 200);
    assert!(!answered.is_empty() && !refused.is_empty(), "{} answered", answered.len());
    for answer in refused {
        answer.problem(429);
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
}

#[test]
fn a_query_whose_asker_leaves_stops() {
    let server = TestServer::start_with(|store| fill(store, 60_000));
    // How many queries run, and how many were answered so far.
    let state = || {
        let metrics = server.get("/metrics");
        let value = |name: &str| {
            let line = metrics.text().lines().find_map(|line| line.strip_prefix(name));
            line.map_or(0, |value| value.trim().parse::<u64>().unwrap())
        };
        let running =
            ["quick", "slow"].map(|lane| value(&format!("flywheel_reads_running{{lane=\"{lane}\"}}")));
        (running[0] + running[1], value("flywheel_queries_total{kind=\"funnel\",outcome=\"answered\"}"))
    };
    for _ in 0..200 {
        let (_, answered_before) = state();
        let asker = send(&server, HEAVY);
        let was_seen = loop {
            match state() {
                (0, answered) if answered == answered_before => {}
                (running, _) => break running > 0,
            }
        };
        drop(asker);
        while state().0 > 0 {}
        if was_seen && state().1 == answered_before {
            return;
        }
    }
    panic!("no query was ever seen to stop: each was answered, although its asker had left");
}
