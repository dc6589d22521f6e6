//! The server over a real socket: what clients send, byte by byte, and what they get.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::server::{Answer, TestServer};
use flywheeldb::limits::BODY_SIZE_MAX;
use serde_json::json;

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
    server.get("/v1/export?part=event").problem(400);
    server.get("/v1/export?part=users&from=0").problem(400);
    server.get("/v1/export?events=signup").problem(400);
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
    let page = [("Origin", "https://shop.example")];
    server.send("POST", "/v1/query/funnel", &page, b"{}").problem(403);
    server.send("POST", "/v1/admin/seal", &page, b"").problem(403);
    let written = server.send("POST", "/v1/events", &page, b"[]");
    assert_eq!((written.status, written.header("access-control-allow-origin")), (200, Some("*")));
    let mut stream = server.connect();
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n").unwrap();
    Answer::read(&mut stream).problem(403);
}

#[test]
fn a_page_of_a_timeline_parts_no_moment() {
    let server = TestServer::start();
    let event = |minute: u32, number: u32| json!({"event": "e", "user": "u", "time": format!("2024-03-01T09:0{minute}:00Z"), "properties": {"n": number}});
    let events: Vec<_> = [(0, 3), (1, 5), (2, 1)]
        .iter()
        .flat_map(|(minute, count)| (0..*count).map(move |number| event(*minute, number)))
        .collect();
    server.post("/v1/events", &json!(events).to_string());
    let page = |before: &str| server.get(&format!("/v1/users/u?limit=2{before}")).json()["events"].clone();
    let first = page("");
    assert_eq!(first.as_array().unwrap().len(), 6);
    assert_eq!(page("&before=2024-03-01T09:01:00Z").as_array().unwrap().len(), 3);
}

/// Whether a query is right depended on whether there were events to hold it against.
#[test]
fn a_cohort_that_is_not_stored_is_told_of_an_empty_store_too() {
    let server = TestServer::start();
    for events in ["[]", r#"[{"event": "a", "user": "u"}]"#] {
        server.post("/v1/events", events);
        for query in [
            r#"{"series": [{"event": "a"}], "where": {"cohort": "none"}}"#,
            r#"{"series": [{"event": "other"}], "where": {"all": [{"not": {"cohort": "none"}}]}}"#,
            r#"{"series": [{"event": {"event": "other", "where": {"cohort": "none"}}}]}"#,
        ] {
            let problem = server.post("/v1/query/segmentation", query).problem(400);
            assert_eq!(problem["code"], "invalid", "{query}");
            assert!(problem["detail"].as_str().unwrap().contains("no stored cohort \"none\""), "{problem}");
        }
    }
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

/// Three users and what they did in March 2024.
const HISTORY: &str = r#"[
    {"event": "signup", "user": "ada", "time": "2024-03-01T09:00:00Z", "id": "e1", "account": "acme",
     "properties": {"plan": "free", "price": 10.10}},
    {"event": "purchase", "user": "ada", "time": "2024-03-02T09:00:00Z", "id": "e2", "account": "acme",
     "properties": {"price": 20.05, "items": {"count": 2}}},
    {"event": "signup", "user": "bo", "time": "2024-03-01T10:00:00Z", "id": "e3", "account": "acme"},
    {"event": "signup", "user": "cy", "time": "2024-03-03T10:00:00Z", "id": "e4", "account": "other"}
]"#;

const FUNNEL: &str = r#"{"steps": ["signup", "purchase"], "from": "2024-03-01", "to": "2024-04-01",
    "as_of": "2024-05-01"}"#;

fn with_history() -> TestServer {
    let server = TestServer::start();
    let answer = server.post("/v1/events", HISTORY);
    assert_eq!(answer.json(), json!({"accepted": 4, "duplicates": 0, "rejected": []}));
    server
}

/// The users of each step of the funnel.
fn steps(server: &TestServer) -> Vec<u64> {
    let answer = server.post("/v1/query/funnel", FUNNEL).json();
    answer["data"].as_array().unwrap().iter().map(|row| row["users"].as_u64().unwrap()).collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_result_is_told_in_every_format() {
    let server = with_history();
    let query = r#"{"series": [{"event": "*", "measure": {"sum": "price"}}], "from": "2024-03-01",
        "to": "2024-03-03"}"#;
    let told = |format: &str| {
        let by_parameter = server.post(&format!("/v1/query/segmentation?format={format}"), query);
        assert_eq!(by_parameter.status, 200, "{by_parameter:?}");
        by_parameter
    };
    let data = json!([{"time": "2024-03-01", "series": "A", "value": 10.1},
        {"time": "2024-03-02", "series": "A", "value": 20.05}]);
    let json = told("json").json();
    assert_eq!((&json["data"], &json["rows"]), (&data, &json!(2)));
    assert_eq!(json["meta"][2], json!({"name": "value", "type": "decimal"}));
    assert_eq!(told("csv").text(), "time,series,value\r\n2024-03-01,A,10.1\r\n2024-03-02,A,20.05\r\n");
    let lines = told("ndjson");
    let rows: Vec<serde_json::Value> =
        lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!(rows), data);

    let accept = [("Accept", "application/vnd.apache.arrow.stream")];
    let arrow = server.send("POST", "/v1/query/segmentation", &accept, query.as_bytes());
    assert_eq!(arrow.header("content-type"), Some("application/vnd.apache.arrow.stream"));
    let reader = arrow_ipc::reader::StreamReader::try_new(arrow.body.as_slice(), None).unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    assert_eq!(batches.len(), 1);
    assert_eq!((batches[0].num_rows(), batches[0].num_columns()), (2, 3));
    assert_eq!(batches[0].column(2).data_type(), &arrow_schema::DataType::Decimal128(38, 2));
}

#[test]
fn a_query_in_the_address_is_the_same_query() {
    let server = with_history();
    let query = FUNNEL.replace(char::is_whitespace, "").replace('"', "%22");
    let answer = server.get(&format!("/v1/query/funnel?q={query}&format=csv"));
    let posted = server.post("/v1/query/funnel?format=csv", FUNNEL);
    assert_eq!((answer.status, answer.text()), (200, posted.text()));
}

#[test]
fn what_is_wrong_with_a_query_has_its_place_and_a_hint() {
    let server = TestServer::start();
    let unknown = server.post("/v1/query/funnel", r#"{"steps": ["a", "b"], "windw": "7d"}"#).problem(400);
    assert_eq!((&unknown["path"], &unknown["hint"]), (&json!("/windw"), &json!("did you mean \"window\"?")));
    let deep = r#"{"steps": ["a", {"event": "b", "where": {"property": "p", "op": "eqq", "value": 1}}]}"#;
    let deep = server.post("/v1/query/funnel", deep).problem(400);
    assert_eq!((&deep["path"], &deep["hint"]), (&json!("/steps/1/where/op"), &json!("did you mean \"eq\"?")));
    server.post("/v1/query/funnel?timeout_ms=0", FUNNEL).problem(400);
}

#[test]
fn an_answer_that_still_holds_is_not_told_again() {
    let server = with_history();
    let ask = |target: &str, query: &str, tag: &str| {
        server.send("POST", target, &[("If-None-Match", tag)], query.as_bytes())
    };
    let first = server.post("/v1/query/funnel", FUNNEL);
    assert_eq!(first.header("cache-control"), Some("private, max-age=0, must-revalidate"));
    assert_eq!(first.header("vary"), Some("accept"));
    let tag = first.header("etag").unwrap();
    let again = FUNNEL.replace("{\"steps\"", "{ \"steps\"");
    let held = ask("/v1/query/funnel", &again, tag);
    assert_eq!((held.status, held.body.len()), (304, 0));
    assert_eq!((held.header("etag"), held.header("content-type")), (Some(tag), None));
    assert_eq!(ask("/v1/query/funnel", &again, &format!("\"x\", {tag}")).status, 304);
    assert_eq!(ask("/v1/query/funnel?format=csv", FUNNEL, tag).status, 200, "in another format");
    let other = FUNNEL.replace("purchase", "signup");
    assert_eq!(ask("/v1/query/funnel", &other, tag).status, 200, "another query");
    let relative = FUNNEL.replace("2024-05-01", "now");
    assert_eq!(server.post("/v1/query/funnel", &relative).header("etag"), None, "of its moment");

    assert_eq!(server.send("DELETE", "/v1/users/bo", &[], b"").status, 200);
    let changed = ask("/v1/query/funnel", FUNNEL, tag);
    assert_eq!(changed.status, 200, "the data changed");
    assert_ne!(changed.header("etag"), Some(tag));
}

#[test]
fn a_batch_that_is_sent_again_is_stored_once() {
    let server = with_history();
    let again = server.post("/v1/events", HISTORY);
    assert_eq!(again.json(), json!({"accepted": 0, "duplicates": 4, "rejected": []}));
    assert_eq!(steps(&server), [3, 1]);
}

#[test]
fn a_bad_event_refuses_its_batch_or_is_skipped() {
    let server = TestServer::start();
    let batch = r#"[{"event": "signup", "user": "ada", "time": "2024-03-01"},
        {"event": "signup", "time": "2024-03-01"},
        {"event": "signup", "user": "bo", "time": "yesterday"},
        {"event": "signup", "user": "cy", "time": "2024-03-01", "propertys": {}},
        {"event": "signup", "user": "dee", "time": "2024-03-01"}]"#;
    server.post("/v1/events", batch).problem(400);
    assert_eq!(steps(&server), [0, 0]);
    let skipped = server.post("/v1/events?on_error=skip", batch).json();
    assert_eq!((&skipped["accepted"], &skipped["duplicates"]), (&json!(2), &json!(0)));
    let rejected = skipped["rejected"].as_array().unwrap();
    let places: Vec<_> = rejected.iter().map(|event| (event["index"].as_u64(), &event["path"])).collect();
    let paths = [json!("/1/user"), json!("/2/time"), json!("/3/propertys")];
    assert_eq!(places, [(Some(1), &paths[0]), (Some(2), &paths[1]), (Some(3), &paths[2])]);
    assert_eq!(steps(&server), [2, 0]);
}

#[test]
fn each_wrong_event_is_told_its_place() {
    let server = TestServer::start();
    let path = |event: &str| server.post("/v1/events", event).problem(400)["path"].clone();
    assert_eq!(path(r#"[{"event": "a", "time": "2024-03-01"}]"#), "/0/user");
    assert_eq!(path(r#"[{"event": "a", "user": ""}]"#), "/0/user");
    assert_eq!(path(r#"[{"event": "a", "user": "u", "time": "yesterday"}]"#), "/0/time");
    assert_eq!(path(r#"[{"event": "a", "user": "u", "proprties": {}}]"#), "/0/proprties");
    assert_eq!(path(r#"[{"event": "a", "user": "u", "properties": {"p": [[1]]}}]"#), "/0/properties/p/0");
}

#[test]
fn broken_json_in_a_line_is_told_by_the_line() {
    let server = TestServer::start();
    let mut lines: Vec<String> = (1..=9).map(|n| format!(r#"{{"event": "a", "user": "u{n}"}}"#)).collect();
    lines[6] = r#"{"event": "a", "user": "u7", "#.to_owned();
    let body = lines.join("\n");
    let headers = [("Content-Type", "application/x-ndjson")];
    let send = |target: &str| server.send("POST", target, &headers, body.as_bytes());
    let problem = send("/v1/events").problem(400);
    assert!(problem["detail"].as_str().unwrap().contains("line 7"), "{problem}");
    assert_eq!(problem["path"], "/6");
    let skipped = send("/v1/events?on_error=skip").json();
    assert_eq!((&skipped["accepted"], &skipped["rejected"][0]["index"]), (&json!(8), &json!(6)));
}

#[test]
fn bodies_may_be_compressed_and_must_be_whole() {
    let server = TestServer::start();
    let gzipped = gzip(HISTORY);
    let send = |encoding: &str, body: &[u8]| {
        server.send("POST", "/v1/events", &[("Content-Encoding", encoding)], body)
    };
    send("gzip", &gzipped[..gzipped.len() - 9]).problem(400);
    send("gzip", &gzipped[..20]).problem(400);
    send("gzip", HISTORY.as_bytes()).problem(400);
    assert_eq!(steps(&server), [0, 0], "nothing of a broken body is stored");
    assert_eq!(send("gzip", &gzipped).json()["accepted"], 4);
    let zstd = zstd::encode_all(HISTORY.as_bytes(), 0).unwrap();
    send("zstd", &zstd[..zstd.len() - 5]).problem(400);
    assert_eq!(send("zstd", &zstd).json()["duplicates"], 4);
    let query = server.send("POST", "/v1/query/funnel", &[("Content-Encoding", "gzip")], &gzip(FUNNEL));
    assert_eq!((query.status, query.json()["data"][0]["users"].as_u64()), (200, Some(3)));
}

#[test]
fn a_deleted_user_is_gone_at_once() {
    let server = with_history();
    assert_eq!(server.get("/v1/users/ada").json()["event_count"], 2);
    assert_eq!(server.send("DELETE", "/v1/users/ada", &[], b"").json(), json!({"deleted": true}));
    assert_eq!(steps(&server), [2, 0]);
    server.get("/v1/users/ada").problem(404);
    server.send("DELETE", "/v1/users/ada", &[], b"").problem(404);
}

#[test]
fn merged_ids_are_one_user_with_both_histories() {
    let server = with_history();
    let purchase = r#"{"event": "purchase", "user": "anon-7f", "time": "2024-03-04"}"#;
    assert_eq!(server.post("/v1/events", purchase).status, 200);
    assert_eq!(steps(&server), [3, 1]);
    let merge = r#"[{"from": "anon-7f", "into": "bo"}]"#;
    assert_eq!(server.post("/v1/identities", merge).json(), json!({"accepted": 1}));
    assert_eq!(server.post("/v1/identities", merge).status, 200, "a repeat is harmless");
    assert_eq!(steps(&server), [3, 2]);
    let user = server.get("/v1/users/anon-7f").json();
    assert_eq!((&user["user"], &user["ids"]), (&json!("bo"), &json!(["anon-7f", "bo"])));
}

#[test]
fn an_account_is_told_with_who_acted_for_it() {
    let server = with_history();
    let profile = r#"[{"account": "acme", "set": {"seats": 5}}, {"account": "quiet", "set": {"seats": 1}}]"#;
    assert_eq!(server.post("/v1/accounts", profile).status, 200);
    let account = server.get("/v1/accounts/acme?limit=2").json();
    assert_eq!(account["profile"], json!({"seats": 5}));
    assert_eq!((&account["user_count"], &account["users"]), (&json!(2), &json!(["ada", "bo"])));
    assert_eq!(account["event_count"], 3);
    assert_eq!(account["first_seen"], "2024-03-01T09:00:00Z");
    assert_eq!(account["last_seen"], "2024-03-02T09:00:00Z");
    let events = account["events"].as_array().unwrap();
    let told: Vec<_> = events.iter().map(|event| (&event["event"], &event["user"], &event["id"])).collect();
    let (purchase, signup) = (json!("purchase"), json!("signup"));
    let names = [json!("ada"), json!("bo"), json!("e2"), json!("e3")];
    assert_eq!(told, [(&purchase, &names[0], &names[2]), (&signup, &names[1], &names[3])]);
    let earlier = server.get("/v1/accounts/acme?before=2024-03-01T10:00:00Z").json();
    assert_eq!((&earlier["events"][0]["id"], &earlier["event_count"]), (&json!("e1"), &json!(3)));

    assert_eq!(server.get("/v1/accounts/quiet").json()["event_count"], 0);
    server.get("/v1/accounts/nobody").problem(404);
    assert_eq!(server.send("DELETE", "/v1/users/cy", &[], b"").status, 200);
    server.get("/v1/accounts/other").problem(404);
}

#[test]
fn a_query_that_may_not_take_its_time_is_told_so() {
    let server = TestServer::start_with(|store| {
        let mut batch = flywheeldb::model::EventBatch::new();
        for user in 0..100_000 {
            let event = flywheeldb::model::Event {
                event: "signup".to_owned(),
                user: format!("u{user}"),
                time: user,
                id: None,
                account: None,
                properties: Vec::new(),
            };
            batch.push(&event).unwrap();
        }
        store.ingest(batch).unwrap();
    });
    // The first query sorts what was just stored, which takes longer than a millisecond.
    let late = server.post("/v1/query/funnel?timeout_ms=1", FUNNEL).problem(504);
    assert_eq!(late["title"], "The query took too long");
    assert!(late["hint"].is_string());
    assert_eq!(server.post("/v1/query/funnel?timeout_ms=30000", FUNNEL).status, 200);
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
    assert_eq!(csv.text().lines().collect::<Vec<_>>(), ["time,series,value", "2024-01-01,A,1"]);
    let run = server.post("/v1/queries/others/run", r#"{"from": "2024-01-01", "to": "2024-01-06"}"#);
    assert_eq!(run.json()["data"], json!([{"time": "2024-01-01", "series": "A", "value": 0}]));
    let run = server.post("/v1/queries/others/run?format=ndjson", "");
    assert_eq!((run.status, run.text().lines().count()), (200, 1), "{run:?}");
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

#[test]
fn a_growth_model_is_stored_and_queries_take_from_it_what_they_do_not_say() {
    let server = with_history();
    let put = |body: &str| server.send("PUT", "/v1/growth-model", &[], body.as_bytes());
    assert_eq!(server.get("/v1/growth-model").status, 404);
    let activation =
        r#"{"interval": "total", "from": "2024-03-01", "to": "2024-04-01", "as_of": "2024-05-01"}"#;
    let refused = server.post("/v1/query/activation", activation).problem(400);
    assert!(refused["detail"].as_str().unwrap().contains("\"signup\""), "{refused}");

    let model = r#"{"signup": "signup", "activate": {"event": "purchaze", "within": "7d"}}"#;
    let created = put(model);
    assert_eq!(created.status, 201);
    let warnings = &created.json()["warnings"];
    assert_eq!(
        (&warnings[0]["path"], &warnings[0]["nearest"]),
        (&json!("/activate"), &json!(["purchase"])),
        "{warnings}"
    );
    let first = server.post("/v1/query/activation", activation);
    assert_eq!(first.json()["data"][0]["activated"], 0);
    let replaced = put(&model.replace("purchaze", "purchase"));
    assert_eq!((replaced.status, &replaced.json()["warnings"]), (200, &json!([])));
    assert_eq!(server.get("/v1/growth-model").json()["activate"]["event"], "purchase");

    let changed = server.post("/v1/query/activation", activation);
    assert_ne!(first.header("etag"), changed.header("etag"), "the model is data");
    let row = &changed.json()["data"][0];
    assert_eq!((&row["signups"], &row["activated"]), (&json!(3), &json!(1)));
    let own = activation.replacen('{', r#"{"activate": "signup", "#, 1);
    assert_eq!(server.post("/v1/query/activation", &own).json()["data"][0]["activated"], 0);
    let cell = r#"{"cohort": {"result": {"kind": "activation", "query": {}}}, "select": "members"}"#;
    assert_eq!(server.post("/v1/query/cohort", cell).json()["data"], json!([{"user": "ada"}]));
    let stored = server.send("PUT", "/v1/queries/first-value", &[], br#"{"kind": "activation"}"#);
    assert_eq!(stored.status, 201);
    let csv = server.get("/v1/queries/first-value.csv?interval=total&from=2024-03-01&to=2024-04-01");
    assert_eq!(csv.text().lines().nth(1), Some("2024-03-01,3,1,0.3333333333333333,86400,86400,0,true"));

    let wrong = put(r#"{"signup": "signup", "activte": "purchase"}"#).problem(400);
    assert_eq!((&wrong["path"], &wrong["hint"]), (&json!("/activte"), &json!("did you mean \"activate\"?")));
    for status in [200, 404] {
        assert_eq!(server.send("DELETE", "/v1/growth-model", &[], b"").status, status);
    }
}
