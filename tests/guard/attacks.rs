//! Clients that mean no good, byte by byte.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use flywheeldb::settings::Settings;

use super::server::{Answer, TestServer};

/// Sends bytes, and returns all that comes back until the connection is closed.
fn exchange(server: &TestServer, bytes: &[u8]) -> String {
    let mut stream = server.connect();
    stream.write_all(bytes).unwrap();
    read_to_close(&mut stream)
}

fn read_to_close(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset after the answer is a closed connection as well.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn a_request_whose_end_is_in_doubt_is_refused_and_nothing_behind_it_is_read() {
    let server = TestServer::start();
    let smuggled = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 0\r\nContent-Length: 44",
        "Content-Length: 0\r\nContent-Length: 0",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding : chunked",
        "Content-Length: +0",
        "Host: other",
    ] {
        let request =
            format!("POST /v1/events HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n0\r\n\r\n{smuggled}");
        let told = exchange(&server, request.as_bytes());
        assert!(told.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{headers}: {told}");
        assert!(told.contains("application/problem+json") && told.contains("connection: close"), "{told}");
        assert_eq!(told.matches("HTTP/1.1").count(), 1, "{headers}: {told}");
    }
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn a_head_without_end_is_refused_by_size_and_by_time() {
    let settings = Settings { head_timeout: Duration::from_millis(300), ..Settings::default() };
    let server = TestServer::start_as(settings, |_| ());
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(70_000));
    let told = exchange(&server, long.as_bytes());
    assert!(told.starts_with("HTTP/1.1 431 "), "{told}");
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(200));
    assert!(exchange(&server, many.as_bytes()).starts_with("HTTP/1.1 431 "));
    let told = exchange(&server, b"GET /healthz HTTP/1.1\r\nHost: ");
    assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
    assert_eq!(exchange(&server, b""), "", "a connection that says nothing is closed");
}

#[test]
fn a_body_that_stands_still_or_drips_is_refused() {
    let settings = Settings { body_timeout: Duration::from_millis(300), ..Settings::default() };
    let server = TestServer::start_as(settings, |_| ());
    let head = "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n[";
    let mut still = server.connect();
    still.write_all(head.as_bytes()).unwrap();
    Answer::read(&mut still).problem(408);
    let mut dripping = server.connect();
    dripping.write_all(head.as_bytes()).unwrap();
    let mut writer = dripping.try_clone().unwrap();
    let dripper = std::thread::spawn(move || {
        // Fewer than a kibibyte a second, with no pause as long as the bound on pauses.
        while writer.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let problem = Answer::read(&mut dripping).problem(408);
    assert!(problem["detail"].as_str().unwrap().contains("bytes a second"), "{problem}");
    drop(dripping);
    dripper.join().unwrap();
}

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    let settings = Settings { max_connections: 8, ..Settings::default() };
    let server = TestServer::start_as(settings, |_| ());
    let silent: Vec<TcpStream> = (0..50)
        .map(|index| {
            let mut stream = server.connect();
            if index % 2 == 0 {
                stream.write_all(b"GET /healthz HTTP/1.1\r\nX: ").unwrap();
            }
            stream
        })
        .collect();
    for _ in 0..5 {
        assert_eq!(server.get("/healthz").status, 200);
    }
    let metrics = server.get("/metrics");
    let evicted =
        metrics.text().lines().find_map(|line| line.strip_prefix("flywheel_connections_evicted_total "));
    assert!(evicted.unwrap().parse::<u64>().unwrap() >= 42, "{}", metrics.text());
    drop(silent);
}

#[test]
fn connections_that_all_have_a_request_under_way_make_the_next_one_wait_for_its_turn() {
    let settings = Settings { max_connections: 3, ..Settings::default() };
    let server = TestServer::start_as(settings, |_| ());
    let mut busy: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut stream = server.connect();
            let head = "POST /v1/query/funnel HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n[";
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    // Until the heads are read the connections wait, and one of them would be closed.
    std::thread::sleep(Duration::from_millis(500));
    let told = exchange(&server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("retry-after: 1"), "{told}");
    for stream in &mut busy {
        stream.write_all(b"]").unwrap();
        Answer::read(stream).problem(400);
    }
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn nobody_without_a_key_has_a_body_decoded_or_even_read() {
    let server = TestServer::start_with(|store| {
        store
            .create_key(flywheeldb::keys::Scope::Admin, "", 0, &[1; flywheeldb::keys::KEY_RANDOM_SIZE])
            .unwrap();
    });
    let mut stream = server.connect();
    let head = "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\
        Content-Encoding: zstd\r\nContent-Length: 30000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    // Not a single byte of it is asked for.
    Answer::read(&mut stream).problem(401);
}

#[test]
fn a_server_with_few_files_serves_with_few_connections() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 320; exec \"$0\" serve --listen 127.0.0.1:0 --log error"]);
    command.arg(env!("CARGO_BIN_EXE_flywheel")).env("FLYWHEEL_DATA", folder.path());
    let server = super::program::Server::start(&mut command);
    let connections: Vec<TcpStream> =
        (0..400).map_while(|_| TcpStream::connect(server.address()).ok()).collect();
    assert_eq!(connections.len(), 400);
    let body = r#"{"event": "a", "user": "u", "time": "2024-03-01"}"#;
    for _ in 0..3 {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        write!(
            stream,
            "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        assert_eq!(Answer::read(&mut stream).status, 200, "the log has its files");
    }
}
