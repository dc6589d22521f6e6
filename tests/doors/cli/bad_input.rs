//! What is wrong with files and requests is told with its place, and nothing of it is half stored.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use super::{Server, flywheel, stderr};

const GOOD: &str = concat!(
    r#"{"event":"viewed","user":"ada","time":"2024-03-01"}"#,
    "\n",
    r#"{"event":"viewed","user":"bo","time":"2024-03-02"}"#,
    "\n",
);

fn event_count(data: &Path) -> String {
    let query = data.with_extension("query.json");
    fs::write(&query, r#"{"kind":"segmentation","interval":"total","series":[{"event":"*"}]}"#).unwrap();
    let output = flywheel(data).args(["query", "--format", "csv"]).arg(&query).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap().trim().rsplit(',').next().unwrap().to_owned()
}

#[test]
fn a_bad_row_of_a_file_is_told_with_its_line_and_reason() {
    let bad_rows = [
        (r#"{"event":"viewed","user""#, "not valid JSON", ""),
        (r#"{"event":"viewed","time":"2024-03-01"}"#, "the field \\\"user\\\" is missing", "/user"),
        (r#"{"event":"viewed","user":"ada","time":"yesterday"}"#, "\\\"yesterday\\\" is not a time", "/time"),
        (
            r#"{"event":"viewed","user":"ada","tiem":"2024-03-01"}"#,
            "unknown field \\\"tiem\\\"; did you mean \\\"time\\\"?",
            "/tiem",
        ),
    ];
    for (row, reason, path) in bad_rows {
        let folder = tempfile::tempdir().unwrap();
        let (file, data) = (folder.path().join("events.ndjson"), folder.path().join("data"));
        fs::write(&file, format!("{}{row}\n{GOOD}", GOOD.repeat(3))).unwrap();
        let output = flywheel(&data).arg("import").arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(
            String::from_utf8_lossy(&output.stdout)
                .starts_with("imported 8 events (0 duplicates, 1 rejected)")
        );
        let rejects = fs::read_to_string(folder.path().join("events.ndjson.rejects.ndjson")).unwrap();
        assert!(rejects.starts_with(&format!(r#"{{"line":7,"reason":"{reason}"#)), "{rejects}");
        assert!(rejects.contains(&format!(r#""path":"{path}""#)), "{rejects}");

        let output = flywheel(&data).args(["import", "--strict"]).arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("events.ndjson, line 7: "), "{}", stderr(&output));
        assert_eq!(event_count(&data), "14");
    }
}

#[test]
fn a_file_of_bad_rows_alone_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.ndjson");
    fs::write(&file, "{}\n").unwrap();
    let data = folder.path().join("data");
    let output = flywheel(&data).arg("import").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("flywheel: every row was bad\n  hint: "), "{}", stderr(&output));
    assert_eq!(event_count(&data), "0");
}

#[test]
fn a_compressed_file_that_breaks_off_says_after_which_line() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("events.ndjson.gz"), folder.path().join("data"));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(GOOD.as_bytes()).unwrap();
    let whole = encoder.finish().unwrap();
    fs::write(&file, &whole[..whole.len() - 20]).unwrap();
    let output = flywheel(&data).arg("import").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output)
            .contains("events.ndjson.gz is cut short: its compressed data ends too early, after line 1"),
        "{}",
        stderr(&output)
    );
    assert_eq!(event_count(&data), "1");
}

#[test]
fn a_bad_event_of_a_request_is_told_with_its_place_and_nothing_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::of(folder.path(), &[]);
    let good = r#"{"event":"viewed","user":"ada","time":"2024-03-01"}"#;
    let bad_bodies = [
        (format!("[{good},{{\"event\":\"viewed\"}}]"), r#""path":"/1/user""#),
        (
            format!("[{good},{{\"event\":\"viewed\",\"user\":\"bo\",\"time\":\"yesterday\"}}]"),
            r#""path":"/1/time""#,
        ),
        (
            format!("[{good},{{\"event\":\"viewed\",\"user\":\"bo\",\"tiem\":1}}]"),
            r#"did you mean \"time\"?"#,
        ),
        (format!("[{good},{{\"event\":\"viewed\""), "not valid JSON"),
    ];
    for (body, expected) in &bad_bodies {
        let answer = post(&server, "/v1/events", body);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains(expected), "{answer}");
    }
    let answer = post(
        &server,
        "/v1/query/segmentation",
        r#"{"interval":"total","series":[{"event":"*"}],"from":"2024-01-01","to":"2025-01-01"}"#,
    );
    assert!(answer.contains(r#""value": 0"#), "{answer}");
}

/// The whole answer to a request on a connection of its own.
fn post(server: &Server, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
