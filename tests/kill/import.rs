//! `flywheel import`, killed at random moments and run again.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::built::flywheel;
use super::dice::Dice;
use super::program::Server;
use super::{kill_count, seed};

const EVENT_COUNT: usize = 50_000;
const MINUTE_COUNT: usize = 100;

fn write_events(file: &Path, with_id: bool) {
    let mut lines = String::new();
    for serial in 0..EVENT_COUNT {
        let mut event = json!({
            "event": "imported",
            "user": format!("user-{}", serial % 997),
            "time": 1_704_067_200_000_i64 + (serial % MINUTE_COUNT) as i64 * 60_000,
            "properties": {"serial": serial},
        });
        if with_id {
            event["id"] = json!(format!("id-{serial}"));
        }
        lines += &event.to_string();
        lines.push('\n');
    }
    fs::write(file, lines).unwrap();
}

fn import_and_kill(with_id: bool) {
    let mut dice = Dice::new(seed());
    let directory = tempfile::tempdir().unwrap();
    let (file, data) = (directory.path().join("events.ndjson"), directory.path().join("data"));
    write_events(&file, with_id);
    let mut import = flywheel(&data);
    import.arg("import").arg(&file).stdout(Stdio::null());
    if !with_id {
        import.arg("--id-from-line");
    }
    // The first import, elsewhere, tells how long one takes: most kills shall meet a working one.
    let begun = Instant::now();
    let mut first = flywheel(&directory.path().join("other"));
    assert!(first.args(import.get_args().skip(2)).stdout(Stdio::null()).status().unwrap().success());
    let duration = begun.elapsed().as_millis() as usize;
    for kill in 0..kill_count().div_ceil(2) {
        let mut child = import.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(dice.below(duration + duration / 4) as u64));
        let is_over = child.try_wait().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        println!("kill {}: the import was {}", kill + 1, if is_over.is_some() { "over" } else { "working" });
    }
    assert!(import.status().unwrap().success());

    let server = Server::start(&data);
    let body = json!({
        "series": [
            {"event": "*", "as": "events"},
            {"event": "*", "measure": {"sum": "serial"}, "as": "serials"},
        ],
        "interval": "minute",
        "from": "2024-01-01",
        "to": 1_704_067_200_000_i64 + MINUTE_COUNT as i64 * 60_000,
    });
    let rows = server.connect().query("segmentation", &body);
    let told: Vec<u64> = rows.iter().map(|row| row["value"].as_u64().unwrap()).collect();
    let expected = (0..MINUTE_COUNT).flat_map(|minute| {
        let of_minute = (minute..EVENT_COUNT).step_by(MINUTE_COUNT);
        [of_minute.clone().count() as u64, of_minute.sum::<usize>() as u64]
    });
    assert_eq!(told, expected.collect::<Vec<u64>>());
    assert_eq!(server.connect().count_events(None), EVENT_COUNT as u64);
    let users = json!({"cohort": {"did": "*"}, "select": "count"});
    assert_eq!(server.connect().query("cohort", &users)[0]["users"], Value::from(997));
}

#[test]
fn a_killed_import_run_again_stores_rows_with_ids_once() {
    import_and_kill(true);
}

#[test]
fn a_killed_import_run_again_stores_rows_without_ids_once_if_asked_to() {
    import_and_kill(false);
}
