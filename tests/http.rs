//! The server over a real socket: what clients send, byte by byte, and what they get.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flywheeldb::Store;
use flywheeldb::api::Problem;
use flywheeldb::http::Server;
use flywheeldb::limits::BODY_SIZE_MAX;
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// A server of an empty store, which stops when dropped.
struct TestServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), Problem>>>,
    _directory: tempfile::TempDir,
}

impl TestServer {
    fn start() -> TestServer {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = server.address();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            server.run_until(store, async {
                let _ = stopped.await;
            })
        });
        TestServer { address, stop: Some(stop), thread: Some(thread), _directory: directory }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends one request on a connection of its own, and reads the answer.
    fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        let mut head =
            format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        Answer::read(&mut stream)
    }

    fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], b"")
    }

    fn post(&self, target: &str, body: &str) -> Answer {
        self.send("POST", target, &[("Content-Type", "application/json")], body.as_bytes())
    }

    fn stop(mut self) -> Result<(), Problem> {
        self.stop.take().unwrap().send(()).unwrap();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    /// Reads one answer, which tells its length.
    fn read(stream: &mut TcpStream) -> Answer {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            assert_eq!(stream.read(&mut byte).unwrap(), 1, "the head breaks off: {bytes:?}");
            bytes.push(byte[0]);
        }
        let head = String::from_utf8(bytes).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: String::new() };
        let mut body = vec![0; answer.header("content-length").unwrap().parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        answer.body = String::from_utf8(body).unwrap();
        answer
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Checks that this is a problem of the status, and returns it.
    fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["status"], json!(status));
        problem
    }
}

#[test]
fn health_and_readiness_are_told() {
    let server = TestServer::start();
    let health = server.get("/healthz");
    assert_eq!((health.status, health.json()), (200, json!({"status": "ok"})));
    assert_eq!(server.get("/readyz").json(), json!({"status": "ready"}));
}

#[test]
fn every_answer_forbids_sniffing() {
    let server = TestServer::start();
    for target in ["/healthz", "/nothing", "/v1/schema"] {
        assert_eq!(server.get(target).header("x-content-type-options"), Some("nosniff"), "{target}");
    }
}

#[test]
fn a_wrong_address_method_or_parameter_says_what_is_right() {
    let server = TestServer::start();
    assert_eq!(server.get("/v1/shema").problem(404)["hint"], "did you mean /v1/schema?");
    let wrong_method = server.get("/v1/events");
    assert_eq!(wrong_method.problem(405)["hint"], "it takes POST");
    assert_eq!(wrong_method.header("allow"), Some("POST"));
    let unknown = server.post("/v1/events?on_eror=skip", "[]").problem(400);
    assert_eq!(unknown["detail"], "unknown query parameter \"on_eror\"");
    assert_eq!(unknown["hint"], "did you mean \"on_error\"?");
    server.post("/v1/events?on_error=ignore", "[]").problem(400);
    server.get("/v1/users/ada?limit=0").problem(400);
    server.get("/v1/users/%ff").problem(400);
}

#[test]
fn a_head_is_a_get_without_its_body() {
    let server = TestServer::start();
    let mut stream = server.connect();
    write!(stream, "HEAD /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn the_kind_of_a_query_is_checked_at_the_door() {
    let server = TestServer::start();
    assert_eq!(server.post("/v1/query/funel", "{}").problem(404)["hint"], "did you mean \"funnel\"?");
    let other = server.post("/v1/query/funnel", r#"{"kind": "retention"}"#).problem(400);
    assert_eq!(other["path"], "/kind");
    server.post("/v1/query/funnel", "").problem(400);
    server.post("/v1/query/funnel", "{").problem(400);
    server.post("/v1/query/funnel", "[]").problem(400);
    server.get("/v1/query/funnel").problem(400);
    server.get("/v1/query/funnel?q=%7B").problem(400);
}

#[test]
fn only_known_media_types_pass() {
    let server = TestServer::start();
    let query = |headers: &[(&str, &str)]| server.send("POST", "/v1/query/funnel", headers, b"{}");
    query(&[("Accept", "application/xml")]).problem(406);
    query(&[("Content-Type", "application/xml")]).problem(415);
    query(&[("Content-Encoding", "br")]).problem(415);
    server.post("/v1/query/funnel?format=xml", "{}").problem(400);
}

#[test]
fn a_body_announced_too_large_is_refused_before_it_is_sent() {
    let server = TestServer::start();
    let mut stream = server.connect();
    let size = BODY_SIZE_MAX + 1;
    write!(
        stream,
        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {size}\r\n\r\n"
    )
    .unwrap();
    Answer::read(&mut stream).problem(413);
}

#[test]
fn a_client_that_sends_too_much_still_reads_why_it_was_refused() {
    let server = TestServer::start();
    let mut stream = server.connect();
    write!(stream, "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    let chunk = vec![b' '; 1 << 20];
    for _ in 0..=(BODY_SIZE_MAX >> 20) {
        write!(stream, "{:x}\r\n", chunk.len()).unwrap();
        stream.write_all(&chunk).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    Answer::read(&mut stream).problem(413);
}

#[test]
fn requests_follow_one_another_on_a_connection() {
    let server = TestServer::start();
    let mut stream = server.connect();
    for (target, status) in [("/healthz", 200), ("/nothing", 404), ("/readyz", 200)] {
        write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert_eq!(Answer::read(&mut stream).status, status);
    }
    // A refused body is read to its end, so that the next request begins where it does.
    write!(stream, "POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    assert_eq!(Answer::read(&mut stream).status, 404);
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_eq!(Answer::read(&mut stream).status, 200);
}

#[test]
fn web_pages_of_elsewhere_are_kept_out() {
    let server = TestServer::start();
    server.send("POST", "/v1/events", &[("Origin", "https://evil.example")], b"[]").problem(403);
    let mut stream = server.connect();
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n").unwrap();
    Answer::read(&mut stream).problem(403);
}

#[test]
fn what_is_no_http_ends_the_connection_and_not_the_server() {
    let server = TestServer::start();
    for nonsense in
        ["\x16\x03\x01\x02\x00", "GET\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\r\n\r\n\r\n"]
    {
        let mut stream = server.connect();
        stream.write_all(nonsense.as_bytes()).unwrap();
    }
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn a_stop_lets_idle_connections_go_at_once() {
    let server = TestServer::start();
    let address = server.address;
    let mut idle = server.connect();
    write!(idle, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_eq!(Answer::read(&mut idle).status, 200);
    let begun = Instant::now();
    server.stop().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn a_stop_finishes_what_is_in_flight() {
    let server = TestServer::start();
    let mut busy = server.connect();
    write!(busy, "POST /v1/query/funnel HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n[").unwrap();
    std::thread::sleep(Duration::from_millis(200)); // for the head to be read
    let stopping = std::thread::spawn(move || server.stop());
    std::thread::sleep(Duration::from_millis(200)); // for the stop to be seen
    busy.write_all(b"]").unwrap();
    assert_eq!(Answer::read(&mut busy).problem(400)["detail"], "the query is not a JSON object");
    stopping.join().unwrap().unwrap();
}

#[test]
fn cohorts_and_queries_are_stored_and_used_by_name() {
    let server = TestServer::start();
    let events = json!([
        {"event": "buy", "user": "ada", "time": "2024-01-05"},
        {"event": "view", "user": "bo", "time": "2024-01-07"},
    ]);
    assert_eq!(server.post("/v1/events", &events.to_string()).status, 200);
    let put = |target: &str, body: &str| server.send("PUT", target, &[], body.as_bytes());

    let created = put("/v1/cohorts/buyers", r#"{"did": "buy"}"#);
    assert_eq!((created.status, created.json()["name"].as_str()), (201, Some("buyers")));
    assert_eq!(put("/v1/cohorts/buyers", r#"{"cohort": {"did": "buy"}, "static": true}"#).status, 200);
    assert_eq!(
        server.get("/v1/cohorts/buyers").json(),
        json!({"name": "buyers", "static": true, "users": 1})
    );
    assert_eq!(server.get("/v1/cohorts").json()["cohorts"].as_array().unwrap().len(), 1);
    let unknown = server.get("/v1/cohorts/buyer");
    assert_eq!((unknown.status, unknown.json()["hint"].as_str()), (404, Some("did you mean \"buyers\"?")));
    assert_eq!(put("/v1/cohorts/bad", r#"{"dit": "buy"}"#).status, 400);
    assert_eq!(put("/v1/cohorts/bad.csv", r#"{"did": "buy"}"#).status, 400);

    let query = r#"{"kind": "segmentation", "series": [{"event": "*", "measure": "users"}], "interval": "total",
        "where": {"not": {"cohort": "buyers"}}}"#;
    assert_eq!(put("/v1/queries/others", query).status, 201);
    assert_eq!(server.get("/v1/queries/others").json()["query"]["kind"], "segmentation");
    assert_eq!(server.get("/v1/queries").json()["queries"][0]["name"], "others");
    let csv = server.get("/v1/queries/others.csv?from=2024-01-01&to=2024-02-01");
    assert!(csv.header("content-type").unwrap().starts_with("text/csv"));
    assert_eq!(csv.body.lines().collect::<Vec<_>>(), ["time,series,value", "2024-01-01,A,1"]);
    let run = server.post("/v1/queries/others/run", r#"{"from": "2024-01-01", "to": "2024-01-06"}"#);
    assert_eq!(run.json()["data"], json!([{"time": "2024-01-01", "series": "A", "value": 0}]));
    let run = server.post("/v1/queries/others/run?format=ndjson", "");
    assert_eq!((run.status, run.body.lines().count()), (200, 1), "{run:?}");
    assert_eq!(server.get("/v1/queries/others.json?interval=dy").status, 400);
    assert_eq!(server.get("/v1/queries/others.json?form=2024-01-01").status, 400);
    assert_eq!(server.get("/v1/queries/others?from=-30d").status, 400);
    assert_eq!(server.get("/v1/queries/other.json").status, 404);

    for (target, status) in
        [("/v1/cohorts/buyers", 200), ("/v1/cohorts/buyers", 404), ("/v1/queries/others", 200)]
    {
        assert_eq!(server.send("DELETE", target, &[], b"").status, status, "{target}");
    }
}
