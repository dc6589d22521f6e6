//! Bodies that are larger, deeper or stranger than they look.

use std::io::{Read, Write};

use flywheeldb::limits::JSON_VALUE_COUNT_MAX;
use flywheeldb::settings::Settings;
use serde_json::json;

use super::server::{Answer, TestServer};

fn gzip(bytes: &mut dyn Read) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::copy(bytes, &mut encoder).unwrap();
    encoder.finish().unwrap()
}

fn small() -> Settings {
    Settings {
        max_body_size: 1 << 20,
        max_decoded_size: 2 << 20,
        body_memory: 8 << 20,
        ..Settings::default()
    }
}

#[test]
fn what_unpacks_to_more_than_is_let_in_is_refused() {
    let server = TestServer::start_as(small(), |_| ());
    let zeros = || std::io::repeat(b' ').take(100 << 20);
    let send = |encoding: &str, body: &[u8]| {
        server.send("POST", "/v1/events", &[("Content-Encoding", encoding)], body)
    };
    send("gzip", &gzip(&mut zeros())).problem(413);
    send("zstd", &zstd::encode_all(zeros(), 1).unwrap()).problem(413);
    let event = br#"{"event": "a", "user": "u"}"#;
    let twice = gzip(&mut &gzip(&mut &event[..])[..]);
    send("gzip, gzip", &twice).problem(415);
    send("gzip", &twice).problem(400);
    send("deflate", event).problem(415);
    let headers = [("Content-Encoding", "gzip"), ("Content-Encoding", "gzip")];
    server.send("POST", "/v1/events", &headers, &twice).problem(415);
    // Members one after the other are one body, and bounded as one.
    let members = gzip(&mut std::io::repeat(b' ').take(1 << 20)).repeat(5);
    send("gzip", &members).problem(413);
    let empty_members = gzip(&mut std::io::empty()).repeat(50_000);
    send("gzip", &empty_members[..1_000_000]).problem(400);
    // A window larger than the format's for HTTP would be as much memory.
    let mut long = zstd::Encoder::new(Vec::new(), 1).unwrap();
    long.window_log(27).unwrap();
    long.write_all(event).unwrap();
    send("zstd", &long.finish().unwrap()).problem(400);
    assert_eq!(send("gzip", &gzip(&mut &event[..])).json()["accepted"], 1);
}

/// Waits until bodies hold so much memory.
fn wait_for_body_memory(server: &TestServer, size: u64) {
    loop {
        let metrics = server.get("/metrics");
        let line = metrics.text().lines().find_map(|line| line.strip_prefix("flywheel_body_memory_bytes "));
        if line.unwrap().parse::<f64>().unwrap() as u64 == size {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn memory_for_bodies_is_taken_before_they_are_there_and_given_back() {
    // Bodies that stand still, and are waited for as long as this test takes.
    let settings = Settings { body_timeout: std::time::Duration::from_secs(3600), ..small() };
    let server = TestServer::start_as(settings, |_| ());
    let announce = |size: usize| {
        let mut stream = server.connect();
        let head = format!("POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n[");
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let held: Vec<_> = (0..4).map(|_| announce(1_000_000)).collect();
    wait_for_body_memory(&server, 8_000_000);
    let refused = Answer::read(&mut announce(900_000));
    refused.problem(429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(held);
    wait_for_body_memory(&server, 0);
    let event = format!("[{{\"event\": \"a\", \"user\": \"u\"}}{}]", " ".repeat(900_000));
    assert_eq!(server.post("/v1/events", &event).status, 200);
}

#[test]
fn strange_texts_are_errors_of_their_place_or_mean_what_they_should() {
    let server = TestServer::start();
    let ndjson = [("Content-Type", "application/x-ndjson")];
    let send = |body: &[u8]| server.send("POST", "/v1/events?on_error=skip", &ndjson, body).json();
    let good = r#"{"event": "a", "user": "u", "time": "2024-03-01", "id": "1"}"#;
    let deep = format!(
        r#"{{"event": "a", "user": "u", "properties": {{"p": {}1{}}}}}"#,
        r#"{"q": "#.repeat(40),
        "}".repeat(40)
    );
    let abyss = format!(r#"{{"event": "a", "user": "u", "properties": {{"p": {}"#, "[".repeat(500_000));
    let bad: [&[u8]; 14] = [
        b"{\"event\": \"a\", \"user\": \"\xff\xfe\"}",
        br#"{"event": "a", "user": "\ud800"}"#,
        br#"{"event": "a", "user": "\udc00\ud800"}"#,
        br#"{"event": "a", "user": "u", "properties": {"n": 1e400}}"#,
        br#"{"event": "a", "user": "u", "properties": {"n": NaN}}"#,
        br#"{"event": "a", "user": "u", "properties": {"n": -Infinity}}"#,
        br#"{"event": "a", "user": "u", "properties": {"n": 123456789012345678901234567890123456789}}"#,
        br#"{"event": "a", "user": "u", "time": 99999999999999999999}"#,
        br#"{"event": "a", "user": 7}"#,
        br#"{"event": "a", "user": "u"} {"event": "b", "user": "u"}"#,
        br#"{"event": "a", "user": "u", "properties": [1]}"#,
        deep.as_bytes(),
        abyss.as_bytes(),
        b"\0",
    ];
    for line in bad {
        let body = [good.as_bytes(), b"\n", line, b"\n", good.as_bytes()].concat();
        let told = send(&body);
        let shown = String::from_utf8_lossy(&line[..line.len().min(120)]);
        assert_eq!(told["rejected"].as_array().unwrap().len(), 1, "{shown}: {told}");
        assert_eq!(told["rejected"][0]["index"], 1, "{shown}: {told}");
    }
    // The mark that editors put first, their line ends, and no line end at the end.
    let friendly =
        format!("\u{feff}{}\r\n{}", good.replace("\"1\"", "\"2\""), good.replace("\"1\"", "\"3\""));
    assert_eq!(send(friendly.as_bytes())["accepted"], 2);
    let pair = br#"{"event": "\ud83d\ude00", "user": "u", "time": "2024-03-01", "id": "4"}"#;
    assert_eq!(send(pair)["accepted"], 1);
    assert_eq!(server.get("/v1/schema").json()["events"][1]["event"], "\u{1f600}");
    // Exact, however large.
    let exact =
        br#"{"event": "b", "user": "u", "properties": {"n": 12345678901234567890123456789012345678}}"#;
    assert_eq!(send(exact)["accepted"], 1);

    let queries = [
        format!(r#"{{"steps": {}"#, "[".repeat(1_000_000)),
        r#"{"steps": ["a", "b"], "steps": ["a", "c"]}"#.to_owned(),
        r#"{"steps": ["a", "\ud800"]}"#.to_owned(),
        r#"{"steps": ["a", "b"], "window": 1e999}"#.to_owned(),
        r#"{"steps": ["a", "b"], "window": "99999999999999999999d"}"#.to_owned(),
        "\u{feff}[]".to_owned(),
    ];
    for query in queries {
        server.post("/v1/query/funnel", &query).problem(400);
    }
}

#[test]
fn an_operator_may_let_in_less() {
    let settings = Settings {
        max_batch_events: 3,
        max_event_size: 1 << 10,
        max_event_properties: 2,
        max_value_size: 64,
        ..Settings::default()
    };
    let server = TestServer::start_as(settings, |_| ());
    let event = |properties: serde_json::Value| json!({"event": "a", "user": "u", "time": "2024-03-01", "properties": properties});
    let send = |events: &[serde_json::Value]| server.post("/v1/events", &json!(events).to_string());
    assert_eq!(send(&[event(json!({"p": "x".repeat(64), "q": 1}))]).status, 200);
    let good = event(json!({}));
    send(&[good.clone(), good.clone(), good.clone(), good.clone()]).problem(413);
    // So for all that is many in one request.
    let lists = [
        ("/v1/users", json!({"user": "u", "set": {"p": 1}})),
        ("/v1/accounts", json!({"account": "a", "set": {"p": 1}})),
        ("/v1/identities", json!({"from": "v", "into": "u"})),
    ];
    for (target, one) in lists {
        assert_eq!(server.post(target, &json!(vec![&one; 3]).to_string()).status, 200, "{target}");
        server.post(target, &json!(vec![&one; 4]).to_string()).problem(413);
        let lines = format!("{one}\n").repeat(4);
        let ndjson = [("Content-Type", "application/x-ndjson")];
        server.send("POST", target, &ndjson, lines.as_bytes()).problem(413);
    }
    let refused = [
        (json!({"p": 1, "q": 2, "r": 3}), "more than 2 properties"),
        (json!({"p": "x".repeat(65)}), "has 65 bytes; at most 64"),
        (json!({"p": ["x", "x".repeat(65)]}), "has 65 bytes; at most 64"),
        (json!({"p": " ".repeat(2000)}), "at most 1024"),
    ];
    for (properties, told) in refused {
        let problem = send(&[good.clone(), event(properties)]).problem(400);
        assert!(problem["detail"].as_str().unwrap().contains(told), "{problem}");
        assert!(problem["path"].as_str().unwrap().starts_with("/1"), "{problem}");
    }
}

#[test]
fn new_names_past_the_bound_are_refused_and_old_ones_go_on() {
    let settings = Settings { max_event_names: 3, max_property_names: 3, ..Settings::default() };
    let server = TestServer::start_as(settings, |_| ());
    let event = |name: &str, property: &str| {
        let event = json!([{"event": name, "user": "u", "time": "2024-03-01", "properties": {property: 1}}]);
        server.post("/v1/events", &event.to_string())
    };
    for index in 0..3 {
        assert_eq!(event(&format!("e{index}"), &format!("p{index}")).status, 200);
    }
    let problem = event("e3", "p0").problem(400);
    assert_eq!(problem["path"], "/0/event");
    let alone = r#"{"event": "e4", "user": "u", "time": "2024-03-01"}"#;
    assert_eq!(server.post("/v1/events", alone).problem(400)["path"], "/event");
    // A bad event beside good ones, as every other.
    let lines = format!(
        "{}\n\n{alone}\n{{\n{}",
        r#"{"event": "e0", "user": "v", "time": "2024-03-02"}"#,
        r#"{"event": "e1", "user": "v", "time": "2024-03-02", "properties": {"p9": 1}}"#
    );
    let ndjson = [("Content-Type", "application/x-ndjson")];
    let told = server.send("POST", "/v1/events?on_error=skip", &ndjson, lines.as_bytes()).json();
    assert_eq!(told["accepted"], 1);
    let paths: Vec<&str> =
        told["rejected"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/2/event", "/3", "/4/properties"]);
    assert!(problem["detail"].as_str().unwrap().contains("\"e3\""), "{problem}");
    assert_eq!(event("e0", "p3").problem(400)["path"], "/0/properties");
    assert_eq!(event("e2", "p1").status, 200);
}

/// Two bytes of text were two hundred of memory: a body of 120 kB took 13 GiB.
#[test]
fn what_is_made_of_a_body_takes_its_memory_from_that_of_bodies() {
    let server = TestServer::start();
    let times = |text: &[u8], count: usize| {
        [b"[", &text.repeat(count)[..], text.strip_suffix(b",").unwrap(), b"]"].concat()
    };
    let many = |text: &[u8]| gzip(&mut &times(text, JSON_VALUE_COUNT_MAX)[..]);
    let bombs = [many(b"1,"), many(b"{},")];
    let fields: Vec<String> = (0..20_000).map(|name| format!("\"{name}\":null")).collect();
    let fields = format!("{{{}}}", fields.join(","));
    let forms = gzip(&mut format!("data=1{}", "&a=1".repeat(1 << 20)).as_bytes());
    let headers = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")];
    // One of each dialect.
    let targets = ["/v1/batch", "/capture", "/engage", "/2/httpapi", "/v1/cloudevents", "/v1/query/funnel"];
    for target in targets {
        for bomb in &bombs {
            let answer = server.send("POST", target, &headers, bomb);
            assert!([400, 413].contains(&answer.status), "{target}: {answer:?}");
        }
        if !target.starts_with("/v1/query") {
            let status = server.send("POST", target, &headers, &forms).status;
            assert!([400, 413].contains(&status), "{target}: {status}");
        }
        // Names are compared with one another, and not each with each.
        for body in [
            fields.clone(),
            format!(r#"[{{"event":"a","type":"track","userId":"u","properties":{fields},"$set":{fields}}}]"#),
        ] {
            let status = server.post(target, &body).status;
            assert!([200, 400].contains(&status), "{target}: {status}");
        }
    }
    wait_for_body_memory(&server, 0);
}
