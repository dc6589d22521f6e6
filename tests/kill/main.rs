//! The program, killed with SIGKILL at random moments while it writes, has everything that it acknowledged, once.
//!
//! Processes are killed, not machines: the page cache survives. What a power cut may take is the matter of
//! tests/crash. `FLYWHEEL_KILLS` says how often to kill (10), `FLYWHEEL_SEED` repeats the moments and the batches, as
//! far as the machine plays along.
#![allow(clippy::disallowed_methods, reason = "tests write the files that users bring")]

#[path = "../support/program.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod built;
#[path = "../support/dice.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod dice;
mod import;
mod program;
mod recovery;
mod retries;
mod writer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dice::Dice;
use program::{Connection, Server};
use writer::Writer;

const WRITER_COUNT: usize = 8;

/// How often to kill.
fn kill_count() -> usize {
    let asked = std::env::var("FLYWHEEL_KILLS").ok();
    asked.map_or(10, |text| text.parse().expect("FLYWHEEL_KILLS is a number"))
}

/// The seed of this run, told so that a failure can be repeated.
fn seed() -> u64 {
    let asked = std::env::var("FLYWHEEL_SEED").ok();
    let now = || std::time::UNIX_EPOCH.elapsed().expect("it is after 1970").as_nanos() as u64;
    let seed = asked.map_or_else(now, |text| text.parse().expect("FLYWHEEL_SEED is a number"));
    println!("FLYWHEEL_SEED={seed}");
    seed
}

#[test]
fn a_killed_server_has_every_acknowledged_event_once() {
    let mut dice = Dice::new(seed());
    let directory = tempfile::tempdir().unwrap();
    let mut writers: Vec<Writer> = (0..WRITER_COUNT).map(Writer::new).collect();
    let mut ready_times = Vec::new();
    for kill in 0..kill_count() {
        if dice.percent(20) {
            // While it opens: what recovery has done so far must do no harm to the next.
            Server::kill_while_starting(directory.path(), Duration::from_millis(dice.below(40) as u64));
        }
        let (server, time) = Server::start_timed(directory.path());
        ready_times.push(time);
        settle(&server, &mut writers);
        let life = Duration::from_millis(dice.between(5, 700) as u64);
        serve(server, &mut writers, &mut dice, |server| {
            std::thread::sleep(life);
            server.kill();
        });
        let told = writers.iter().map(|writer| writer.acknowledged_batch_count()).sum::<usize>();
        println!("kill {}: {told} batches are acknowledged", kill + 1);
    }
    let server = Server::start(directory.path());
    settle(&server, &mut writers);
    check_all(&server, &writers);
    // The same again after everything has moved to segments, and from what a clean stop leaves.
    server.connect().post("/v1/admin/compact", "").unwrap().expect_success();
    check_all(&server, &writers);
    server.stop();
    check_all(&Server::start(directory.path()), &writers);
    ready_times.sort();
    let at = |percent: usize| ready_times[(ready_times.len() * percent).div_ceil(100).max(1) - 1];
    let events = writers.iter().map(Writer::event_count).sum::<u64>();
    println!(
        "{} kills, {events} events: 0 lost, 0 twice, 0 made up; ready again after {:?} (median), {:?} (99 %), {:?} (longest)",
        ready_times.len(),
        at(50),
        at(99),
        at(100)
    );
}

/// Finds out what became of the requests that were under way, and sends them again.
fn settle(server: &Server, writers: &mut [Writer]) {
    std::thread::scope(|scope| {
        for writer in writers {
            scope.spawn(|| writer.settle(&mut server.connect()));
        }
    });
}

fn check_all(server: &Server, writers: &[Writer]) {
    let mut connection = server.connect();
    for writer in writers {
        writer.check(&mut connection);
    }
    let acknowledged: u64 = writers.iter().map(Writer::event_count).sum();
    assert_eq!(connection.count_events(None), acknowledged, "phantoms");
}

/// Lets writers write, and seals and compactions happen, until `end` has ended the server.
fn serve(server: Server, writers: &mut [Writer], dice: &mut Dice, end: impl FnOnce(Server)) {
    let is_over = AtomicBool::new(false);
    let address = server.address();
    let mut maintenance = Dice::new(dice.below(usize::MAX) as u64);
    std::thread::scope(|scope| {
        for writer in writers.iter_mut() {
            scope.spawn(|| {
                // An error is the server's end.
                if let Ok(mut connection) = Connection::open(address) {
                    let mut is_alive = true;
                    while is_alive && !is_over.load(Ordering::Relaxed) {
                        is_alive = writer.step(&mut connection).is_ok();
                    }
                }
            });
        }
        scope.spawn(|| {
            let Ok(mut connection) = Connection::open(address) else { return };
            while !is_over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(maintenance.below(120) as u64));
                let path = if maintenance.percent(70) { "/v1/admin/seal" } else { "/v1/admin/compact" };
                match connection.post(path, "") {
                    Ok(answer) => answer.expect_success(),
                    Err(_) => return,
                };
            }
        });
        end(server);
        is_over.store(true, Ordering::Relaxed);
    });
}
