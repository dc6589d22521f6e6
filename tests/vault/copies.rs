//! Backups and restores with the program, while a server works.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::program::{Server, flywheel};
use super::{counts, open};

fn run(data: &Path, arguments: &[&str]) -> Output {
    flywheel(data).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Sends a request. Returns the head and the body of the answer.
fn ask(server: &Server, method: &str, path: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let size = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {size}\r\nConnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Sets a flag when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn event(index: u64) -> String {
    format!(r#"{{"event": "viewed", "user": "user-{}", "time": "2024-03-01", "id": "e{index}"}}"#, index % 7)
}

#[test]
fn a_backup_made_while_events_come_in_is_an_exact_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let server = Server::of(&at("data"), &[]);
    let (acknowledged, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        // However this ends, the writer does.
        let _over = Over(&is_over);
        scope.spawn(|| {
            for index in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let (head, _) = ask(&server, "POST", "/v1/events", &event(index));
                assert!(head.starts_with("HTTP/1.1 200"), "{head}");
                acknowledged.store(index + 1, Ordering::SeqCst);
                if index % 5 == 4 {
                    ask(&server, "POST", "/v1/admin/seal", "");
                }
                if index % 20 == 19 {
                    ask(&server, "POST", "/v1/admin/compact", "");
                }
            }
        });
        let mut copied = Vec::new();
        for round in 0..6 {
            let before = acknowledged.load(Ordering::SeqCst);
            // From within, by the route, and from outside, by the command.
            if round % 2 == 0 {
                let (head, body) = ask(&server, "POST", "/v1/admin/backup", r#"{"name": "nightly"}"#);
                assert!(head.starts_with("HTTP/1.1 200"), "{head}\n{body}");
                copied.push(body);
            } else {
                let target = at("data.backups").join("nightly");
                let output = run(&at("data"), &["backup", target.to_str().unwrap()]);
                assert!(output.status.success(), "{}", text(&output.stderr));
            }
            let after = acknowledged.load(Ordering::SeqCst) + 1;
            let restored = at(&format!("restored-{round}"));
            let source = at("data.backups").join("nightly");
            let output = run(&restored, &["restore", source.to_str().unwrap()]);
            assert!(output.status.success(), "{}", text(&output.stderr));
            let store = open(&restored);
            let (events, _) = counts(&store, "viewed").unwrap();
            assert!((before..=after).contains(&events), "{before} <= {events} <= {after}");
            // Those of the prefix, and no others: each of them is there already, and the next one is not.
            let parsed = |index| {
                let mut batch = flywheeldb::model::EventBatch::new();
                let (user, id) = (format!("user-{}", index % 7), format!("e{index}"));
                batch.push_event("viewed", &user, 1_709_251_200_000, Some(&id), None).unwrap();
                batch
            };
            for index in 0..events {
                assert_eq!(store.ingest(parsed(index)).unwrap().duplicates, 1, "event {index} of {events}");
            }
            assert_eq!(store.ingest(parsed(events)).unwrap().accepted, 1, "writing goes on, exactly once");
        }
        assert!(!copied[2].contains("\"files\":0"), "files come and go meanwhile: {copied:?}");
    });
    let source = at("data.backups").join("nightly");
    let checked = flywheel(&source).arg("check").output().unwrap();
    assert!(checked.status.success(), "{}{}", text(&checked.stdout), text(&checked.stderr));
    let checked = run(&at("data"), &["check"]);
    assert!(
        checked.status.success() && text(&checked.stdout).contains("in use"),
        "{}",
        text(&checked.stdout)
    );
}

#[test]
fn what_is_there_is_not_copied_again_and_what_rotted_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let events = at("events.ndjson");
    fs::write(&events, (0..50).map(event).collect::<Vec<_>>().join("\n")).unwrap();
    assert!(run(&at("data"), &["import", events.to_str().unwrap()]).status.success());
    let target = at("backup");
    let backup = || {
        let output = run(&at("data"), &["backup", target.to_str().unwrap()]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    assert!(!backup().contains("of which 0 of"), "the first copies all");
    let again = backup();
    assert!(again.contains("of which 0 of 0 bytes are new"), "{again}");
    let segment = fs::read_dir(&target)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|ending| ending == "segment"))
        .unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&segment, &bytes).unwrap();
    let checked = flywheel(&target).arg("check").output().unwrap();
    assert_eq!(checked.status.code(), Some(3));
    let name = segment.file_name().unwrap().to_str().unwrap();
    assert!(text(&checked.stdout).contains(&format!("DAMAGED  {name}")), "{}", text(&checked.stdout));
    let refused = run(&at("restored"), &["restore", target.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains(name));
    let output = run(&at("restored"), &["schema"]);
    assert!(
        text(&output.stderr).contains("a restore into this directory did not end"),
        "half of one is no store"
    );
    assert!(backup().contains("of which 1 of"), "the rotten file is copied again");
    assert!(run(&at("restored"), &["restore", target.to_str().unwrap()]).status.success());
    assert_eq!(counts(&open(&at("restored")), "viewed").unwrap(), (50, 7));
}

#[test]
fn a_backup_goes_nowhere_where_it_would_harm() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (data, index) in [("one", 1), ("two", 2)] {
        let events = at("events.ndjson");
        fs::write(&events, event(index)).unwrap();
        assert!(run(&at(data), &["import", events.to_str().unwrap()]).status.success());
    }
    let refused = |data: &str, arguments: &[&str], words: &str| {
        let output = run(&at(data), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stdout));
        assert!(text(&output.stderr).contains(words), "{arguments:?}: {}", text(&output.stderr));
    };
    let backup = at("backup");
    let backup = backup.to_str().unwrap();
    assert!(run(&at("one"), &["backup", backup]).status.success());
    refused("two", &["backup", backup], "another store");
    refused("one", &["backup", at("two").to_str().unwrap()], "holds no backup");
    refused("one", &["restore", backup], "not empty");
    refused("new", &["restore", at("two").to_str().unwrap()], "no backup");
    refused("missing", &["backup", backup], "no store");
    refused("backup", &["schema"], "backup and not a store");
    assert!(run(&at("new"), &["restore", backup]).status.success());
    refused("new", &["backup", backup], "another store");
    assert_eq!(counts(&open(&at("new")), "viewed").unwrap(), (1, 1));
}

#[test]
fn a_degraded_server_says_what_it_is_without() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let events = folder.path().join("events.ndjson");
    fs::write(&events, event(1)).unwrap();
    assert!(run(&data, &["import", events.to_str().unwrap()]).status.success());
    let segment = fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|ending| ending == "segment"))
        .unwrap();
    let name = segment.file_name().unwrap().to_str().unwrap().to_owned();
    fs::remove_file(&segment).unwrap();
    let checked = run(&data, &["check"]);
    assert_eq!(checked.status.code(), Some(3));
    assert!(text(&checked.stdout).contains(&name) && text(&checked.stderr).contains("is missing"));
    let server = Server::of(&data, &["--degraded"]);
    let (head, body) = ask(&server, "GET", "/readyz", "");
    assert!(
        head.starts_with("HTTP/1.1 200") && body.contains("\"degraded\"") && body.contains(&name),
        "{body}"
    );
    let query = r#"{"series": [{"event": "*"}], "interval": "total"}"#;
    for format in ["json", "csv"] {
        let (head, body) = ask(&server, "POST", &format!("/v1/query/segmentation?format={format}"), query);
        assert!(head.to_lowercase().contains(&format!("flywheel-degraded: {name}")), "{head}\n{body}");
        assert_eq!(body.contains(&format!("\"degraded\": [\"{name}\"]")), format == "json", "{body}");
    }
    let (head, body) = ask(&server, "POST", "/v1/events", &event(2));
    assert!(head.starts_with("HTTP/1.1 503"), "{head}\n{body}");
}
