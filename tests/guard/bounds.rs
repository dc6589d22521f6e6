//! How much of what stays for good a store takes, asked of the program itself, which is killed and started again.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};

use super::program::Server;
use super::server::Answer;

const TEXT_COUNT_MAX: usize = 5;
const USER_COUNT_MAX: usize = 4;
const BOUNDS: [&str; 6] = ["--max-property-values", "5", "--max-users", "4", "--max-accounts", "2"];

fn post(server: &Server, target: &str, body: &Value) -> Answer {
    send(server, "POST", target, &body.to_string())
}

fn send(server: &Server, method: &str, target: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let size = body.len();
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n{body}"
    )
    .unwrap();
    Answer::read(&mut stream)
}

fn event(user: &str, text: &str) -> Value {
    json!({"event": "seen", "user": user, "time": "2024-03-01", "properties": {"page": text, "count": 1}})
}

/// How many events and which pages there are.
fn pages(server: &Server) -> (u64, Vec<String>) {
    let query = json!({"series": [{"event": "seen"}], "interval": "total", "from": "2024-01-01",
        "breakdown": {"property": "page", "limit": 1000}});
    let answer = post(server, "/v1/query/segmentation", &query).json();
    let rows = answer["data"].as_array().unwrap();
    let texts = rows.iter().filter_map(|row| row["breakdown"].as_str().map(str::to_owned));
    (rows.iter().map(|row| row["value"].as_u64().unwrap()).sum(), texts.collect())
}

/// Sends one event after the other by eight clients at once, and returns those that were taken.
fn all_at_once(server: &Server, event: impl Fn(usize) -> Value + Sync) -> Vec<Value> {
    let client = |client: usize| {
        let events = (0..10).map(|index| event(client * 10 + index));
        let taken = |event: &Value| match post(server, "/v1/events", event).status {
            200 => true,
            400 => false,
            other => panic!("{other}"),
        };
        events.filter(taken).collect::<Vec<_>>()
    };
    let client = &client;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|number| scope.spawn(move || client(number))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

/// What must hold once a store is full, in whichever state its rows are.
fn full_store_refuses_what_is_new(server: &Server, known: &[Value], state: &str) {
    let (event_count, texts) = pages(server);
    assert_eq!(texts.len(), TEXT_COUNT_MAX, "{state}: {texts:?}");
    let user = known[0]["user"].as_str().unwrap();
    for new in [event(user, "new"), event("new", &texts[0])] {
        let refused = post(server, "/v1/events", &new).problem(400);
        assert!(["/user", "/properties"].contains(&refused["path"].as_str().unwrap()), "{state}: {refused}");
        // Nothing of a batch with one of them stays.
        let batch = json!([event(user, &texts[1]), new]);
        let refused = post(server, "/v1/events", &batch).problem(400);
        assert!(refused["path"].as_str().unwrap().starts_with("/1/"), "{state}: {refused}");
        assert!(refused["hint"].is_string(), "{state}: {refused}");
    }
    assert_eq!(pages(server).0, event_count, "{state}");

    let list = |elements: [&str; 2]| {
        let mut event = event(user, "");
        event["properties"]["page"] = json!(elements);
        event
    };
    let mixed = json!([
        event(user, &texts[0]),
        event(user, "new"),
        event("new", "new"),
        list([&texts[1], &texts[2]]),
        list([&texts[1], "newer"]),
        json!({"event": "seen", "user": user, "time": "2024-03-01", "properties": {"page": 12}}),
    ]);
    let told = post(server, "/v1/events?on_error=skip", &mixed).json();
    let rejected: Vec<(u64, &str)> = told["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["index"].as_u64().unwrap(), one["path"].as_str().unwrap()))
        .collect();
    assert_eq!(rejected, [(1, "/1/properties"), (2, "/2/user"), (4, "/4/properties")], "{state}");
    assert_eq!(told["accepted"], 3, "{state}");

    let merges = json!([{"from": user, "into": user}, {"from": user, "into": "new"}]);
    assert_eq!(post(server, "/v1/identities", &merges).problem(400)["path"], "/1/into", "{state}");
    let profiles = json!([{"user": user, "set": {"plan": "pro"}}, {"user": "new", "set": {"plan": "pro"}}]);
    assert_eq!(post(server, "/v1/users", &profiles).problem(400)["path"], "/1/user", "{state}");
    let accounts = json!([{"account": "a"}, {"account": "b"}, {"account": "c"}]);
    assert_eq!(post(server, "/v1/accounts", &accounts).problem(400)["path"], "/2/account", "{state}");

    // What an SDK sends is stored but for what cannot be.
    let message = |kind: &str, user: &str| json!({"type": kind, "userId": user, "event": "sent", "messageId": format!("{state}-{kind}-{user}")});
    let batch =
        json!({"batch": [message("identify", "new"), message("track", "new"), message("track", user)]});
    assert_eq!(post(server, "/v1/batch", &batch).status, 200, "{state}");
    assert_eq!(send(server, "GET", "/v1/users/new", "").status, 404, "{state}");
}

fn sample(server: &Server, name: &str) -> f64 {
    let metrics = send(server, "GET", "/metrics", "");
    let line =
        metrics.text().lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}"));
    line.trim().parse().unwrap()
}

fn start(data: &Path) -> Server {
    Server::of(data, &BOUNDS)
}

#[test]
fn a_store_takes_so_many_users_and_texts_and_no_more_through_restarts_seals_and_compaction() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("store");
    let server = start(&data);
    let texts = all_at_once(&server, |index| event("user", &format!("page {index}")));
    assert_eq!(texts.len(), TEXT_COUNT_MAX, "each of them new");
    let text = texts[0]["properties"]["page"].as_str().unwrap().to_owned();
    let users = all_at_once(&server, |index| event(&format!("user {index}"), &text));
    assert_eq!(users.len(), USER_COUNT_MAX - 1, "each of them new, beside the first");
    assert_eq!(pages(&server).0 as usize, TEXT_COUNT_MAX + USER_COUNT_MAX - 1);
    assert_eq!(sample(&server, "flywheel_over_bound_total{bound=\"property_values\"} "), 75.0);
    assert_eq!(sample(&server, "flywheel_over_bound_total{bound=\"users\"} "), 77.0);
    full_store_refuses_what_is_new(&server, &users, "in memory");
    drop(server); // killed

    let server = start(&data);
    full_store_refuses_what_is_new(&server, &users, "replayed");
    for step in ["seal", "compact"] {
        assert_eq!(post(&server, &format!("/v1/admin/{step}"), &Value::Null).status, 200);
        full_store_refuses_what_is_new(&server, &users, step);
    }
    assert_eq!(sample(&server, "flywheel_known_ids{entity=\"user\"} ") as usize, USER_COUNT_MAX);
    drop(server);

    let server = start(&data);
    full_store_refuses_what_is_new(&server, &users, "from segments");
    // Who is deleted makes room for another.
    let gone = users[0]["user"].as_str().unwrap().replace(' ', "%20");
    assert_eq!(send(&server, "DELETE", &format!("/v1/users/{gone}"), "").status, 200);
    assert_eq!(post(&server, "/v1/events", &event("late", &text)).status, 200);
    post(&server, "/v1/events", &event("later", &text)).problem(400);
    drop(server);

    // What is there already goes on under a lower bound, too.
    let server = Server::of(&data, &["--max-property-values", "2", "--max-users", "1"]);
    assert_eq!(post(&server, "/v1/events", &event("late", &text)).status, 200);
    post(&server, "/v1/events", &event("late", "new")).problem(400);
    drop(server);
    let server = Server::of(&data, &[]);
    assert_eq!(post(&server, "/v1/events", &event("new", "new")).status, 200);
}
