//! How long it takes until a server is ready that was killed with a long log.
//!
//! `FLYWHEEL_LOG_MIB` says how long (8). Past what memory holds of changes (192 MiB, about a third of that in the log)
//! they are sealed, so that no log is much longer.

use std::time::Duration;

use super::program::{Connection, Server};

/// Events of one request, and the bytes of text in each.
const BATCH_SIZE: usize = 2_000;
const NOTE_SIZE: usize = 200;

fn batch(number: usize) -> String {
    let event = |index: usize| {
        let time = 1_700_000_000_000_usize + number * 1_000 + index;
        let note = format!("{number}-{index} ").repeat(NOTE_SIZE / 4);
        format!(
            r#"{{"event":"e{}","user":"u{}","id":"{number}-{index}","time":{time},"properties":{{"note":"{}"}}}}"#,
            index % 7,
            (number * 31 + index) % 5_000,
            &note[..NOTE_SIZE]
        )
    };
    format!("[{}]", (0..BATCH_SIZE).map(event).collect::<Vec<_>>().join(","))
}

/// Bytes of all logs of a store.
fn log_size(data: &std::path::Path) -> u64 {
    let files = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap());
    let logs = files.filter(|file| file.path().extension().is_some_and(|ending| ending == "log"));
    logs.map(|log| log.metadata().unwrap().len()).sum()
}

#[test]
fn a_server_with_a_long_log_is_ready_soon_and_has_all_of_it() {
    let asked = std::env::var("FLYWHEEL_LOG_MIB").ok();
    let size = asked.map_or(8, |text| text.parse::<u64>().expect("FLYWHEEL_LOG_MIB is a number")) << 20;
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let mut connection: Connection = server.connect();
    let mut batch_count = 0;
    while log_size(directory.path()) < size {
        connection.post("/v1/events", &batch(batch_count)).unwrap().expect_success();
        batch_count += 1;
    }
    server.kill();
    let (log, begun_with) = (log_size(directory.path()), batch_count * BATCH_SIZE);
    let (server, time): (Server, Duration) = Server::start_timed(directory.path());
    assert_eq!(server.connect().count_events(None), begun_with as u64);
    println!(
        "a log of {:.0} MiB, {begun_with} events: ready after {time:.1?}, {:.1} s a GiB",
        log as f64 / f64::from(1 << 20),
        time.as_secs_f64() / (log as f64 / f64::from(1 << 30))
    );
}
