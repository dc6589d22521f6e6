//! The program as people run it.
#![allow(clippy::disallowed_methods, reason = "tests write what users bring, and damage it")]

mod bad_input;
mod damage;
mod growth_model;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::program::{Server, flywheel, stderr};

/// The whole answer to a GET.
fn get(server: &Server, target: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn sizes_add_up_to_the_files_of_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("events.ndjson"));
    let line = |user: usize, minute: usize| {
        let time = format!("2026-03-0{}T10:{minute:02}:00Z", 1 + user % 5);
        format!(
            r#"{{"event":"view","user":"u{user}","time":"{time}","properties":{{"country":"C{}"}}}}"#,
            user % 9
        )
    };
    let lines: Vec<String> = (0..50).flat_map(|user| (0..40).map(move |m| line(user, m))).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    assert!(flywheel(&data).arg("import").arg(&file).output().unwrap().status.success());
    let output = flywheel(&data).args(["schema", "--sizes", "--format", "json"]).output().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |part: &str| {
        let found = told["parts"].as_array().unwrap().iter().find(|told| told["part"] == part);
        found.unwrap_or_else(|| panic!("{part} is told: {told}"))["bytes"].as_u64().unwrap()
    };
    assert_eq!(told["events"], 2000);
    let on_disk: u64 =
        std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(told["bytes"], on_disk);
    assert!(of("times of events") > of("property country"), "a country is kept once for each user: {told}");
    assert!(of("ids of users") > 0 && of("manifest") > 0 && of("days of activity") > 0);
    let table =
        String::from_utf8(flywheel(&data).args(["schema", "--sizes"]).output().unwrap().stdout).unwrap();
    assert!(table.contains("bytes an event") && table.contains("2000 events"), "{table}");
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let code = |arguments: &[&str]| flywheel(&data).args(arguments).output().unwrap().status.code();
    assert_eq!(code(&["serv"]), Some(2));
    assert_eq!(code(&["serve", "--listen", "7070"]), Some(2));
    assert_eq!(code(&["schema", "--log", "flywheeldb=loud"]), Some(2));
    assert_eq!(code(&["schema"]), Some(1));
    assert_eq!(code(&["--help"]), Some(0));
    assert_eq!(code(&["completions", "bash"]), Some(0));
    assert!(!data.exists(), "looking makes no store");
}

#[test]
fn an_error_has_its_hint_on_a_line_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let output = flywheel(&folder.path().join("data")).args(["user", "ada"]).output().unwrap();
    let text = stderr(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("flywheel: there is no store at "), "{text}");
    assert!(lines[1].starts_with("  hint: "), "{text}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_port_in_use_and_an_open_address_are_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = flywheel(folder.path()).args(["serve", "--listen", &address]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is in use by another program"), "{}", stderr(&output));
    let output = flywheel(folder.path()).args(["serve", "--listen", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("keys"), "{}", stderr(&output));
}

#[test]
fn a_running_server_is_exported_as_its_store_is() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::of(&data, &[]);
    let done = |data: &Path, words: &[&str]| {
        let output = flywheel(data).args(words).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        output.stdout
    };
    // Some megabytes, so that they are sent in pieces.
    let event = |number: usize| {
        let (event, user, time) = (number % 3, number % 97, 1_772_323_200_000 + number * 1_000);
        format!(
            "{{\"event\":\"e{event}\",\"user\":\"u{user}\",\"time\":{time},\"properties\":{{\"text\":\"{number:040}\"}}}}\n"
        )
    };
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    write("events.ndjson", (0..20_000).map(event).collect());
    write("users.ndjson", "{\"user\":\"u1\",\"set\":{\"plan\":\"free\"}}\n".to_owned());
    write("identities.ndjson", "{\"from\":\"u2\",\"into\":\"u3\"}\n".to_owned());
    for what in ["events", "users", "identities"] {
        let file = format!("{what}.ndjson");
        done(&data, &["import", &file, "--what", what, "--url", &server.url]);
    }
    let elsewhere = folder.path().join("no-store");
    for form in ["ndjson", "parquet"] {
        done(&elsewhere, &["export", &format!("served-{form}"), "--format", form, "--url", &server.url]);
    }
    let chosen = done(
        &elsewhere,
        &["export", "-", "--event", "e1", "--to", "2026-03-01T02:30:00Z", "--url", &server.url],
    );
    assert_eq!(chosen.iter().filter(|byte| **byte == b'\n').count(), 3_000);
    drop(server);

    done(&data, &["export", "stored", "--format", "ndjson"]);
    let again = folder.path().join("again");
    done(&again, &["import", "served-parquet"]);
    done(&again, &["export", "again-ndjson", "--format", "ndjson"]);
    for part in ["events", "users", "accounts", "identities"] {
        let lines = |from: &str| {
            let text =
                std::fs::read_to_string(folder.path().join(from).join(format!("{part}.ndjson"))).unwrap();
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(lines("served-ndjson"), lines("stored"), "{part}");
        assert_eq!(lines("again-ndjson"), lines("stored"), "{part}");
    }
    assert!(!elsewhere.exists(), "nothing is made of a store that is elsewhere");
}

#[test]
fn the_server_says_when_it_is_ready_and_stops_when_it_is_told() {
    for signal in ["-TERM", "-INT"] {
        let folder = tempfile::tempdir().unwrap();
        let mut server = flywheel(folder.path())
            .args(["serve", "--listen", "127.0.0.1:0", "--log", "warn"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(server.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let rest = line.strip_prefix("flywheel is ready on http://").unwrap();
        let (address, place) = rest.split_once(" (data in ").unwrap();
        assert_eq!(place, format!("{})\n", folder.path().display()));

        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");

        let kill = Command::new("kill").args([signal, &server.id().to_string()]).status().unwrap();
        assert!(kill.success());
        assert_eq!(server.wait().unwrap().code(), Some(0), "{signal}");
        line.clear();
        stdout.read_to_string(&mut line).unwrap();
        assert_eq!(line, "", "there is exactly one line");
    }
}

#[test]
fn a_query_of_a_server_brings_its_problems_here() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::of(folder.path(), &[]);
    let url = server.url.clone();
    let ask = |query: &str| {
        let mut asking = flywheel(folder.path())
            .args(["query", "-", "--url", &url])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        asking.stdin.take().unwrap().write_all(query.as_bytes()).unwrap();
        asking.wait_with_output().unwrap()
    };
    let output = ask(r#"{"kind": "funel"}"#);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        "flywheel: there is no kind of query \"funel\"\n  hint: did you mean \"funnel\"?\n"
    );
    assert_eq!(ask("{").status.code(), Some(2));
    assert_eq!(ask("{}").status.code(), Some(2));
    drop(server);
    assert!(stderr(&ask(r#"{"kind": "funnel"}"#)).contains("is the server running?"));
}

#[test]
fn a_reader_who_leaves_early_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let mut shell =
        flywheel(folder.path()).args(["completions", "zsh"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(shell.stdout.take());
    assert_eq!(shell.wait().unwrap().code(), Some(0));
}

#[test]
#[allow(clippy::disallowed_methods, reason = "tests write the files that the program reads")]
fn an_account_is_shown_and_a_result_written_as_arrow() {
    let folder = tempfile::tempdir().unwrap();
    let events = folder.path().join("events.ndjson");
    let event = r#"{"event": "signup", "user": "ada", "account": "acme", "time": "2024-03-01", "id": "e1"}"#;
    std::fs::write(&events, event).unwrap();
    let data = folder.path().join("data");
    let imported = flywheel(&data).arg("import").arg(&events).output().unwrap();
    assert_eq!(imported.status.code(), Some(0), "{}", stderr(&imported));

    let account = flywheel(&data).args(["account", "acme", "--format", "json"]).output().unwrap();
    let account: serde_json::Value = serde_json::from_slice(&account.stdout).unwrap();
    assert_eq!((&account["account"], &account["users"][0]), (&"acme".into(), &"ada".into()));
    let nobody = flywheel(&data).args(["account", "ada"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    assert!(stderr(&nobody).contains("there is no account \"ada\""));

    let query = folder.path().join("query.json");
    std::fs::write(&query, r#"{"kind": "funnel", "steps": ["signup", "purchase"]}"#).unwrap();
    let result = flywheel(&data).arg("query").arg(&query).args(["--format", "arrow"]).output().unwrap();
    let reader = arrow_ipc::reader::StreamReader::try_new(result.stdout.as_slice(), None).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).collect::<Vec<_>>(), [2]);
}
