//! What operators see and set.

use std::io::Write;
use std::process::Command;

use serde_json::{Value, json};

use super::program::{Server, flywheel, output_of, stderr};
use super::server::{Answer, TestServer};

const EVENT: &str = r#"{"event": "a", "user": "u", "time": "2024-03-01", "id": "1"}"#;

/// The value of a sample.
fn sample(text: &str, name: &str) -> f64 {
    let line =
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {text}"));
    line.trim().parse().unwrap()
}

#[test]
fn metrics_tell_what_happened() {
    let server = TestServer::start();
    for _ in 0..2 {
        assert_eq!(server.post("/v1/events", EVENT).status, 200);
    }
    assert_eq!(server.post("/v1/events?on_error=skip", "[{}]").status, 200);
    server.post("/v1/events", "{").problem(400);
    assert_eq!(server.post("/v1/query/funnel", r#"{"steps": ["a", "b"]}"#).status, 200);
    server.post("/v1/query/funnel", r#"{"steps": ["a"]}"#).problem(400);
    assert_eq!(server.get("/v1/users/u").status, 200);
    assert_eq!(server.post("/v1/admin/seal", "").status, 200);
    let metrics = server.get("/metrics");
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = metrics.text();
    assert!(text.ends_with("# EOF\n"));
    for (name, value) in [
        ("flywheel_events_total{outcome=\"accepted\"}", 1.0),
        ("flywheel_events_total{outcome=\"duplicate\"}", 1.0),
        ("flywheel_events_total{outcome=\"rejected\"}", 1.0),
        ("flywheel_requests_total{method=\"POST\",route=\"/v1/events\",status=\"200\"}", 3.0),
        ("flywheel_requests_total{method=\"GET\",route=\"/v1/users/{user}\",status=\"200\"}", 1.0),
        ("flywheel_refused_total{reason=\"invalid\"}", 2.0),
        ("flywheel_queries_total{kind=\"funnel\",outcome=\"answered\"}", 1.0),
        ("flywheel_queries_total{kind=\"funnel\",outcome=\"invalid\"}", 1.0),
        ("flywheel_query_seconds_count{kind=\"funnel\"}", 2.0),
        ("flywheel_log_sync_seconds_count", 1.0),
        ("flywheel_seals_total{outcome=\"done\"}", 1.0),
        ("flywheel_segments", 1.0),
        ("flywheel_ready", 1.0),
        ("flywheel_takes_writes", 1.0),
        ("flywheel_requests_in_flight", 1.0),
    ] {
        assert_eq!(sample(text, &format!("{name} ")), value, "{name}");
    }
    for name in ["flywheel_segments_bytes", "process_resident_memory_bytes", "process_max_fds"] {
        assert!(sample(text, &format!("{name} ")) > 0.0, "{name}");
    }
    // Each family is told once, and each sample is of the family before it.
    let mut families: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().unwrap();
            assert!(!families.contains(&name), "{name} twice");
            families.push(name);
        } else if !line.starts_with('#') {
            assert!(line.starts_with(families.last().unwrap()), "{line}");
        }
    }
}

#[test]
fn every_answer_has_the_id_of_its_request() {
    let server = TestServer::start();
    let own = server.send("GET", "/nothing", &[("X-Request-Id", "trace-7")], b"");
    assert_eq!((own.status, own.header("x-request-id")), (404, Some("trace-7")));
    let strange = server.send("GET", "/healthz", &[("X-Request-Id", "a b\"c")], b"");
    assert_eq!(strange.header("x-request-id").unwrap().len(), 16);
    assert_ne!(server.get("/healthz").header("x-request-id"), server.get("/healthz").header("x-request-id"));
}

#[test]
fn settings_are_told_with_where_they_come_from() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.toml");
    std::fs::write(&file, "max-writes = 7\nkeep-alive = \"5s\"\nlog = \"error\"\n").unwrap();
    let config = |arguments: &[&str]| {
        let mut command = flywheel(folder.path());
        command.arg("config").args(arguments).arg("--config").arg(&file).env("FLYWHEEL_KEEP_ALIVE", "7s");
        command
    };
    let shown = output_of(&mut config(&["--format", "json", "--max-body-size", "3MiB"]));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let of = |name: &str| {
        let rows = shown.as_array().unwrap().iter();
        let row = rows.into_iter().find(|row| row["setting"] == name).unwrap();
        (row["value"].as_str().unwrap().to_owned(), row["from"].as_str().unwrap().to_owned())
    };
    assert_eq!(of("max-body-size"), ("3MiB".to_owned(), "flag --max-body-size".to_owned()));
    assert_eq!(of("keep-alive"), ("7s".to_owned(), "environment FLYWHEEL_KEEP_ALIVE".to_owned()));
    assert_eq!(of("max-writes"), ("7".to_owned(), format!("file {}", file.display())));
    assert_eq!(of("query-timeout"), ("30s".to_owned(), "default".to_owned()));
    assert_eq!(of("data").1, "flag --data");

    // What it writes says the same when it is read.
    let written = output_of(&mut config(&["--format", "toml"]));
    let again = folder.path().join("again.toml");
    std::fs::write(&again, &written).unwrap();
    let mut command = flywheel(folder.path());
    command.args(["config", "--format", "toml", "--config"]).arg(&again);
    assert_eq!(output_of(&mut command), written);

    std::fs::write(&file, "max-write = 7\n").unwrap();
    let wrong = config(&[]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("did you mean \"max-writes\"?"), "{}", stderr(&wrong));
    let wrong = flywheel(folder.path()).args(["serve", "--max-writes", "0"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("--max-writes is \"0\""), "{}", stderr(&wrong));
}

#[test]
fn a_stop_finishes_what_is_under_way_and_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = flywheel(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--log", "error", "--log-format", "json"]);
    let mut server = Server::start(&mut command);
    let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
    let (first, rest) = EVENT.split_at(20);
    write!(
        stream,
        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{first}",
        EVENT.len()
    )
    .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300)); // for the head to be read
    assert!(Command::new("kill").args(["-TERM", &server.child.id().to_string()]).status().unwrap().success());
    std::thread::sleep(std::time::Duration::from_millis(300)); // for the stop to be seen
    assert!(std::net::TcpStream::connect(server.address()).is_err(), "it takes no more connections");
    stream.write_all(rest.as_bytes()).unwrap();
    assert_eq!(Answer::read(&mut stream).json(), json!({"accepted": 1, "duplicates": 0, "rejected": []}));
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let user = output_of(flywheel(folder.path()).args(["user", "u", "--format", "json"]));
    assert_eq!(serde_json::from_str::<Value>(&user).unwrap()["event_count"], 1);
}

#[test]
fn a_stop_does_not_wait_for_those_who_never_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = flywheel(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--log", "error", "--stop-timeout", "500ms"]);
    let mut server = Server::start(&mut command);
    let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
    let head = "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n[";
    stream.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300)); // for the head to be read
    assert!(Command::new("kill").args(["-TERM", &server.child.id().to_string()]).status().unwrap().success());
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}
