//! More is sent than can be stored.
//!
//! Requests are sent at a fixed pace, whether answers come or not, and each one's time counts from the moment when it
//! was due: a sender that waits for answers would slow down with the server and see nothing of it (coordinated
//! omission). A small run checks what must hold at any pace; `FLYWHEEL_LOAD=full` takes longer and prints figures worth
//! keeping.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flywheeldb::settings::Settings;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::server::{Answer, TestServer};

/// Events of one request.
const BATCH_SIZE: usize = 500;
/// Connections that send: more than the server stores at once, so that a pace above its own is held.
const SENDER_COUNT: usize = 192;

/// What became of the requests of one pace.
#[derive(Default)]
struct Outcome {
    accepted: Vec<Duration>,
    refused: Vec<Duration>,
    events: u64,
    elapsed: Duration,
}

impl Outcome {
    /// Requests stored a second.
    fn goodput(&self) -> f64 {
        self.accepted.len() as f64 / self.elapsed.as_secs_f64()
    }

    fn p99(times: &mut [Duration]) -> Duration {
        times.sort();
        times.get(times.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default()
    }
}

/// A request, of which each copy gets a number of its own: making it anew each time would take the senders longer than
/// the server takes to refuse it.
#[derive(Clone)]
struct Request {
    text: Vec<u8>,
    /// Where the digits of the number stand, those of the user, and those of the number again, as seconds.
    digits: Vec<[usize; 3]>,
}

const NUMBER_DIGIT_COUNT: usize = 8;
const USER_DIGIT_COUNT: usize = 4;

impl Request {
    fn new() -> Request {
        let (mut body, mut digits) = (String::from("["), Vec::new());
        for index in 0..BATCH_SIZE {
            body += if index > 0 { r#",{"id": ""# } else { r#"{"id": ""# };
            let number_at = body.len();
            body += &format!("{:NUMBER_DIGIT_COUNT$}-{index}\", \"user\": \"u", "");
            let user_at = body.len();
            body += &format!(r#"{:USER_DIGIT_COUNT$}", "event": "view", "time": 17"#, "");
            digits.push([number_at, user_at, body.len()]);
            // Each request has its second, as time goes on for everybody who sends: else users would do more and more at
            // one moment, and a store that is asked the most at the end would have the most to look through by then.
            body += &format!(
                r#"{:NUMBER_DIGIT_COUNT$}000, "properties": {{"page": "/p/{}", "price": {}.5}}}}"#,
                "",
                index % 50,
                index % 100
            );
        }
        body += "]";
        let head =
            format!("POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        digits.iter_mut().flatten().for_each(|place| *place += head.len());
        Request { text: (head + &body).into_bytes(), digits }
    }

    fn numbered(&mut self, number: usize) -> &[u8] {
        let write = |text: &mut [u8], mut number: usize| {
            for digit in text.iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        for (index, [number_at, user_at, second_at]) in self.digits.iter().enumerate() {
            write(&mut self.text[*number_at..][..NUMBER_DIGIT_COUNT], number);
            write(&mut self.text[*user_at..][..USER_DIGIT_COUNT], number * 31 + index * 7);
            write(&mut self.text[*second_at..][..NUMBER_DIGIT_COUNT], number);
        }
        &self.text
    }
}

/// A connection of a sender, of which an answer is read at once: senders are to cost as little as they can.
fn connect(server: &TestServer) -> BufReader<TcpStream> {
    BufReader::new(server.connect())
}

/// Sends the request on the connection, and reads its answer.
fn post(stream: &mut BufReader<TcpStream>, request: &[u8]) -> Answer {
    // Whoever is refused may find the rest of its body unread; the answer is there all the same.
    let _ = stream.get_mut().write_all(request);
    Answer::read(stream)
}

/// Senders stand for other machines, which take no time of this one: where there are two processors, one is theirs and the
/// other the server's; else they get what the server leaves.
fn be_elsewhere() {
    rustix::process::nice(19).unwrap();
    run_on(1);
}

/// Keeps this thread, and those that it starts, to one of the processors.
fn run_on(processor: usize) {
    let mut all = CpuSet::new();
    all.set(processor);
    // Where there are not as many, it runs where it did.
    let _ = sched_setaffinity(None, &all);
}

/// Sends `count` requests, one each `pause`.
fn send(server: &TestServer, numbers: &AtomicUsize, count: usize, pause: Duration) -> Outcome {
    let (begun, request) = (Instant::now(), Request::new());
    let next = AtomicUsize::new(0);
    let parts: Vec<Outcome> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDER_COUNT.min(count))
            .map(|_| {
                scope.spawn(|| {
                    be_elsewhere();
                    let (mut part, mut request) = (Outcome::default(), request.clone());
                    let mut stream = connect(server);
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= count {
                            return part;
                        }
                        let request = request.numbered(numbers.fetch_add(1, Ordering::Relaxed));
                        let due = begun + pause * index as u32;
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                        let sent = Instant::now();
                        let answer = post(&mut stream, request);
                        match answer.status {
                            200 => {
                                part.events += answer.json()["accepted"].as_u64().unwrap();
                                part.accepted.push(due.elapsed());
                            }
                            status => {
                                assert!([429, 503].contains(&status), "{answer:?}");
                                assert!(answer.header("retry-after").is_some(), "{answer:?}");
                                part.refused.push(sent.elapsed());
                                // A client keeps its connection if it may.
                                if answer.header("connection") == Some("close") {
                                    stream = connect(server);
                                }
                            }
                        }
                    }
                })
            })
            .collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    let mut all = Outcome { elapsed: begun.elapsed(), ..Outcome::default() };
    for part in parts {
        all.accepted.extend(part.accepted);
        all.refused.extend(part.refused);
        all.events += part.events;
    }
    all
}

/// A store that knows nothing yet, and lets fewer wait than there are senders: what is beyond waits outside, in the clients.
fn new_server() -> TestServer {
    TestServer::start_as(Settings { max_waiting_writes: 32, ..Settings::default() }, |_| ())
}

/// What the server can do: requests a second of eight clients that wait for their answers.
fn capacity(server: &TestServer, numbers: &AtomicUsize, seconds: f64) -> Outcome {
    let begun = Instant::now();
    let count: u64 = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    be_elsewhere();
                    let (mut stream, mut request, mut count) = (connect(server), Request::new(), 0);
                    while begun.elapsed().as_secs_f64() < seconds {
                        let answer =
                            post(&mut stream, request.numbered(numbers.fetch_add(1, Ordering::Relaxed)));
                        assert_eq!(answer.status, 200, "{answer:?}");
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    let elapsed = begun.elapsed();
    let accepted = vec![elapsed / count as u32; count as usize];
    Outcome { accepted, refused: Vec::new(), events: count * BATCH_SIZE as u64, elapsed }
}

fn assert_all_there(server: &TestServer, outcome: &Outcome) {
    assert_eq!(outcome.events, (outcome.accepted.len() * BATCH_SIZE) as u64, "each is stored as a whole");
    let query = r#"{"series": [{"event": "view"}], "interval": "total"}"#;
    let counted = server.post("/v1/query/segmentation", query).json()["data"][0]["value"].clone();
    assert_eq!(counted, outcome.events, "all that was accepted is there, once");
}

#[test]
fn what_is_let_in_is_stored_and_what_is_not_is_told_so_at_any_pace() {
    let is_full = std::env::var("FLYWHEEL_LOAD").is_ok_and(|size| size == "full");
    let seconds = if is_full { 10.0 } else { 0.7 };
    let numbers = AtomicUsize::new(0);
    run_on(0);
    let capacity = {
        let server = new_server();
        let outcome = capacity(&server, &numbers, seconds);
        assert_all_there(&server, &outcome);
        outcome.goodput()
    };
    println!("capacity: {capacity:.0} requests/s of {BATCH_SIZE} events");
    let mut goodputs = Vec::new();
    for times in [0.5, 1.0, 2.0, 5.0, 10.0] {
        // Each pace has a store of its own: what is in one by then is to be sealed and joined beside what comes.
        let server = new_server();
        let rate = (capacity * times).max(1.0);
        let count = (rate * seconds).ceil() as usize;
        let mut outcome = send(&server, &numbers, count, Duration::from_secs_f64(1.0 / rate));
        assert_all_there(&server, &outcome);
        goodputs.push(outcome.goodput());
        println!(
            "{times:>4}x: stored {:>6.0}/s, p99 {:>9.1?}; refused {:>6}, p99 {:>9.1?}; in {:.1?}",
            outcome.goodput(),
            Outcome::p99(&mut outcome.accepted),
            outcome.refused.len(),
            Outcome::p99(&mut outcome.refused),
            outcome.elapsed,
        );
    }
    if is_full {
        let best = goodputs.iter().copied().fold(0.0, f64::max);
        let share = goodputs[goodputs.len() - 1] / best;
        println!("goodput at 10x: {:.0} % of the best", share * 100.0);
    }
}
