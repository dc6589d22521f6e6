//! Events that are sent again and again count once: connections are cut in the middle of requests and of answers, many
//! send one event at the same moment, and the server is sealed, compacted, killed and started again meanwhile.
//!
//! `FLYWHEEL_RETRIES` says how many events (6,000). Each is sent 1.3 times on average; those that many send at once come on
//! top.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::built::flywheel;
use super::dice::Dice;
use super::program::{Connection, Server};
use super::seed;

const CLIENT_COUNT: usize = 8;
/// Connections that send the same events at one moment.
const CROWD_SIZE: usize = 50;
const CROWD_EVENT_COUNT: usize = 5;
const USER_COUNT: usize = 5_000;
/// How often of a hundred times a request is disturbed, and so sent again: 1 / (1 - 0.23) is 1.3.
const DISTURBED_PERCENT: usize = 23;
/// Bytes of an answer that are read at most before it is cut off: fewer than its head has.
const ANSWER_CUT_MAX: usize = 60;
/// Events for which the server is killed once, in a long run.
const EVENTS_PER_KILL: usize = 20_000;
const KILL_COUNT_MIN: usize = 4;

fn body(events: Range<usize>) -> String {
    let event = |number: usize| {
        format!(
            r#"{{"event":"e{}","user":"u{}","id":"id-{number}","time":{},"properties":{{"n":{number},"text":"text {}"}}}}"#,
            number % 5,
            number % USER_COUNT,
            1_700_000_000_000 + number as i64 * 5_000,
            number % 90,
        )
    };
    format!("[{}]", events.map(event).collect::<Vec<_>>().join(","))
}

fn request(body: &str) -> Vec<u8> {
    let size = body.len();
    let head = "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    format!("{head}Content-Length: {size}\r\n\r\n{body}").into_bytes()
}

/// What is still to be sent, and what became of the rest.
struct Sending {
    batches: Mutex<VecDeque<Range<usize>>>,
    acknowledged: AtomicUsize,
    /// Times that an event was sent, or begun to be.
    sent: AtomicU64,
    cut_requests: AtomicUsize,
    cut_answers: AtomicUsize,
    repeats: AtomicUsize,
}

impl Sending {
    /// Sends batch after batch until there are none, or the server is gone.
    fn client(&self, address: SocketAddr, is_over: &AtomicBool, mut dice: Dice) {
        while !is_over.load(Ordering::Relaxed) {
            let Some(batch) = self.batches.lock().unwrap().pop_front() else { return };
            match self.send(address, batch.clone(), &mut dice) {
                Ok(()) => {
                    self.acknowledged.fetch_add(batch.len(), Ordering::Relaxed);
                }
                Err(_) => self.batches.lock().unwrap().push_back(batch),
            }
        }
    }

    /// Sends a batch until it is acknowledged. An error is a connection that broke.
    fn send(&self, address: SocketAddr, batch: Range<usize>, dice: &mut Dice) -> std::io::Result<()> {
        let body = body(batch.clone());
        let count = || self.sent.fetch_add(batch.len() as u64, Ordering::Relaxed);
        while dice.percent(DISTURBED_PERCENT) {
            let request = request(&body);
            let mut stream = TcpStream::connect(address)?;
            count();
            match dice.below(3) {
                0 => {
                    self.cut_requests.fetch_add(1, Ordering::Relaxed);
                    stream.write_all(&request[..dice.below(request.len())])?;
                    if dice.percent(50) {
                        stream.shutdown(Shutdown::Write)?;
                    }
                }
                1 => {
                    self.cut_answers.fetch_add(1, Ordering::Relaxed);
                    stream.write_all(&request)?;
                    let _ = stream.read_exact(&mut vec![0; dice.below(ANSWER_CUT_MAX)]);
                }
                _ => {
                    self.repeats.fetch_add(1, Ordering::Relaxed);
                    acknowledge(&mut Connection::open(address)?, &body, batch.len())?;
                }
            }
        }
        let mut connection = Connection::open(address)?;
        count();
        acknowledge(&mut connection, &body, batch.len()).map(drop)
    }
}

/// Sends events until an answer comes. Returns how many of them were new.
fn acknowledge(connection: &mut Connection, body: &str, count: usize) -> std::io::Result<u64> {
    let answer = connection.post("/v1/events", body)?.expect_success();
    let [accepted, duplicates] = ["accepted", "duplicates"].map(|name| answer[name].as_u64().unwrap());
    assert_eq!(accepted + duplicates, count as u64, "{answer}");
    Ok(accepted)
}

/// Sends the same events on many connections at the same moment. Returns whether all were answered.
fn crowd(address: SocketAddr, events: Range<usize>, is_first_time: bool) -> bool {
    let (body, barrier) = (body(events.clone()), Barrier::new(CROWD_SIZE));
    let one = || {
        let connection = Connection::open(address);
        barrier.wait();
        acknowledge(&mut connection.ok()?, &body, CROWD_EVENT_COUNT).ok()
    };
    let answers: Vec<Option<u64>> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..CROWD_SIZE).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let accepted: u64 = answers.iter().flatten().sum();
    let is_answered = answers.iter().all(Option::is_some);
    match is_first_time && is_answered {
        true => assert_eq!(accepted, CROWD_EVENT_COUNT as u64, "{answers:?}"),
        false => assert!(accepted <= CROWD_EVENT_COUNT as u64, "{answers:?}"),
    }
    is_answered
}

/// Seals and compacts now and then, for a fourth of the time.
fn maintain(address: SocketAddr, is_over: &AtomicBool, mut dice: Dice) {
    let Ok(mut connection) = Connection::open(address) else { return };
    while !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(dice.below(120) as u64));
        let begun = Instant::now();
        let path = if dice.percent(70) { "/v1/admin/seal" } else { "/v1/admin/compact" };
        match connection.post(path, "") {
            Ok(answer) => answer.expect_success(),
            Err(_) => return,
        };
        let pause = 3 * begun.elapsed();
        while begun.elapsed() < pause && !is_over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Each event is there once: in counts, in sums, and by its id in an export.
fn check(server: &Server, data: &Path, event_count: usize) {
    let mut connection = server.connect();
    let body = json!({
        "series": [{"event": "*"}, {"event": "*", "measure": {"sum": "n"}}, {"event": "*", "measure": "users"}],
        "interval": "total",
    });
    let rows = connection.query("segmentation", &body);
    let told: Vec<Option<u64>> = rows.iter().map(|row| row["value"].as_u64()).collect();
    let count = event_count as u64;
    let users = event_count.min(USER_COUNT) as u64;
    assert_eq!(told, [Some(count), Some(count * (count - 1) / 2), Some(users)]);

    let mut command = flywheel(data);
    let url = format!("http://{}", server.address());
    let mut exporting = command.args(["export", "-", "--url", &url]).stdout(Stdio::piped()).spawn().unwrap();
    let mut is_there = vec![false; event_count];
    let lines = std::io::BufReader::new(exporting.stdout.take().unwrap());
    for line in std::io::BufRead::lines(lines) {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let number = event["properties"]["n"].as_u64().unwrap() as usize;
        assert_eq!(event["id"], format!("id-{number}"));
        assert!(!std::mem::replace(&mut is_there[number], true), "twice in the export: {event}");
    }
    assert!(exporting.wait().unwrap().success());
    assert!(is_there.iter().all(|is_there| *is_there), "lost from the export");
}

#[test]
fn an_event_counts_once_however_often_and_through_whichever_connection_it_is_sent() {
    let asked = std::env::var("FLYWHEEL_RETRIES").ok();
    let event_count = asked.map_or(6_000, |text| text.parse().expect("FLYWHEEL_RETRIES is a number"));
    let kill_count = (event_count / EVENTS_PER_KILL).max(KILL_COUNT_MIN);
    let batch_size = (event_count / 2_000).clamp(10, 200);
    let mut dice = Dice::new(seed());
    let directory = tempfile::tempdir().unwrap();
    let batches = (0..event_count).step_by(batch_size);
    let sending = Sending {
        batches: Mutex::new(batches.map(|first| first..(first + batch_size).min(event_count)).collect()),
        acknowledged: AtomicUsize::new(0),
        sent: AtomicU64::new(0),
        cut_requests: AtomicUsize::new(0),
        cut_answers: AtomicUsize::new(0),
        repeats: AtomicUsize::new(0),
    };
    let begun = Instant::now();
    let mut crowded = event_count;
    for life in 1..=kill_count {
        let server = Server::start(directory.path());
        let address = server.address();
        let is_over = AtomicBool::new(false);
        let mut dice = || Dice::new(dice.below(usize::MAX) as u64);
        let is_crowd_done = std::thread::scope(|scope| {
            let (sending, is_over, maintenance) = (&sending, &is_over, dice());
            for dice in std::iter::repeat_with(&mut dice).take(CLIENT_COUNT) {
                scope.spawn(move || sending.client(address, is_over, dice));
            }
            scope.spawn(move || maintain(address, is_over, maintenance));
            let crowding = scope.spawn(move || crowd(address, crowded..crowded + CROWD_EVENT_COUNT, true));
            let enough = event_count * life / kill_count;
            while sending.acknowledged.load(Ordering::Relaxed) < enough {
                std::thread::sleep(Duration::from_millis(1));
            }
            server.kill();
            is_over.store(true, Ordering::Relaxed);
            crowding.join().unwrap()
        });
        if !is_crowd_done {
            let server = Server::start(directory.path());
            assert!(crowd(server.address(), crowded..crowded + CROWD_EVENT_COUNT, false));
            server.kill();
        }
        crowded += CROWD_EVENT_COUNT;
    }
    let time = begun.elapsed();
    let server = Server::start(directory.path());
    check(&server, directory.path(), crowded);
    server.connect().post("/v1/admin/compact", "").unwrap().expect_success();
    check(&server, directory.path(), crowded);
    server.stop();
    check(&Server::start(directory.path()), directory.path(), crowded);
    let figure = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    println!(
        "{event_count} events sent {:.2} times each, and {} by {CROWD_SIZE} connections at once, in {time:.0?}: {} \
         requests and {} answers cut, {} repeated unasked, {kill_count} kills; each is there once",
        sending.sent.load(Ordering::Relaxed) as f64 / event_count as f64,
        crowded - event_count,
        figure(&sending.cut_requests),
        figure(&sending.cut_answers),
        figure(&sending.repeats),
    );
}
