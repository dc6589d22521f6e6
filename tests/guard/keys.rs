//! Keys over the wire and on the command line.

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};

use super::program::{self, flywheel, output_of, stderr};
use super::server::{Answer, TestServer};

const EVENT: &str = r#"{"event": "a", "user": "u", "time": "2024-03-01"}"#;
const QUERY: &str = r#"{"series": [{"event": "*"}], "interval": "total"}"#;

/// Asks with a key.
fn ask(server: &TestServer, method: &str, target: &str, key: &str, body: &str) -> Answer {
    let authorization = format!("Bearer {key}");
    server.send(method, target, &[("Authorization", &authorization)], body.as_bytes())
}

/// Makes a key through the server; the first one with no key to show.
fn make(server: &TestServer, admin: &str, scope: &str) -> (String, String) {
    let answer =
        ask(server, "POST", "/v1/admin/keys", admin, &json!({"scope": scope, "name": "x"}).to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
    let text = |name: &str| answer.json()[name].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

#[test]
fn the_first_key_closes_the_door_and_the_next_ones_open_parts_of_it() {
    let server = TestServer::start();
    assert_eq!(server.post("/v1/events", EVENT).status, 200, "without keys this machine may do all");
    server.post("/v1/admin/keys", r#"{"scope": "write"}"#).problem(409);
    server.post("/v1/admin/keys", r#"{"scope": "writer"}"#).problem(400);
    server.post("/v1/admin/keys", r#"{"scope": "admin", "nme": "x"}"#).problem(400);
    let (_, admin) = make(&server, "", "admin");
    let unauthorized = server.post("/v1/events", EVENT);
    unauthorized.problem(401);
    assert_eq!(unauthorized.header("www-authenticate"), Some("Bearer realm=\"flywheel\""));
    server.send("POST", "/v1/admin/keys", &[], br#"{"scope": "admin"}"#).problem(401);
    let (_, write) = make(&server, &admin, "write");
    let (_, read) = make(&server, &admin, "read");
    let status =
        |method: &str, target: &str, key: &str, body: &str| ask(&server, method, target, key, body).status;
    let query = "/v1/query/segmentation";
    assert_eq!(status("POST", "/v1/events", &write, EVENT), 200);
    assert_eq!(status("POST", query, &write, QUERY), 403);
    assert_eq!(status("POST", query, &read, QUERY), 200);
    assert_eq!(status("POST", "/v1/events", &read, EVENT), 403);
    assert_eq!(status("DELETE", "/v1/users/u", &write, ""), 403);
    assert_eq!(status("PUT", "/v1/cohorts/c", &read, r#"{"did": "a"}"#), 403);
    assert_eq!(status("PUT", "/v1/cohorts/c", &admin, r#"{"did": "a"}"#), 201);
    assert_eq!(status("GET", "/v1/cohorts/c", &read, ""), 200);
    for target in ["/v1/admin/seal", "/v1/admin/compact"] {
        assert_eq!((status("POST", target, &read, ""), status("POST", target, &admin, "")), (403, 200));
    }
    assert_eq!((server.get("/healthz").status, server.get("/readyz").status), (200, 200));
    // Whether there is what is asked for makes no difference to who may not ask.
    let answers = ["/v1/users/u", "/v1/users/nobody"].map(|target| ask(&server, "GET", target, &write, ""));
    assert_eq!((answers[0].status, answers[0].text()), (403, answers[1].text()));

    let listed = ask(&server, "GET", "/v1/admin/keys", &admin, "");
    let scopes: Vec<Value> =
        listed.json()["keys"].as_array().unwrap().iter().map(|key| key["scope"].clone()).collect();
    assert_eq!(scopes.len(), 3);
    for key in [&admin, &write, &read] {
        assert!(!listed.text().contains(key.rsplit('_').next().unwrap()), "a list of keys tells no key");
    }
}

#[test]
fn a_revoked_key_opens_nothing_on_a_connection_that_is_open() {
    let server = TestServer::start();
    let (_, admin) = make(&server, "", "admin");
    let (id, write) = make(&server, &admin, "write");
    let mut stream = server.connect();
    let send = |stream: &mut TcpStream| {
        write!(
            stream,
            "POST /v1/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {write}\r\nContent-Length: {}\r\n\r\n{EVENT}",
            EVENT.len()
        )
        .unwrap();
        Answer::read(stream).status
    };
    assert_eq!((send(&mut stream), send(&mut stream)), (200, 200));
    let revoked = ask(&server, "DELETE", &format!("/v1/admin/keys/{id}"), &admin, "");
    assert_eq!(revoked.json(), json!({"revoked": true}));
    assert_eq!(send(&mut stream), 401);
    ask(&server, "DELETE", &format!("/v1/admin/keys/{id}"), &admin, "").problem(404);
}

#[test]
fn revoking_the_last_key_opens_the_store_to_nobody() {
    let server = TestServer::start();
    let (id, admin) = make(&server, "", "admin");
    assert_eq!(ask(&server, "DELETE", &format!("/v1/admin/keys/{id}"), &admin, "").status, 200);
    server.post("/v1/events", EVENT).problem(401);
    ask(&server, "GET", "/v1/admin/keys", &admin, "").problem(401);
}

#[test]
fn pages_of_elsewhere_may_write_with_a_key_and_read_only_where_they_are_listed() {
    let settings = flywheeldb::settings::Settings {
        cors_origin: vec!["https://app.example".to_owned()],
        ..flywheeldb::settings::Settings::default()
    };
    let server = TestServer::start_as(settings, |_| ());
    let (_, admin) = make(&server, "", "admin");
    let (_, write) = make(&server, &admin, "write");
    let preflight = |target: &str, origin: &str, method: &str| {
        let asked = [
            ("Origin", origin),
            ("Access-Control-Request-Method", method),
            ("Access-Control-Request-Headers", "authorization,content-type"),
        ];
        let answer = server.send("OPTIONS", target, &asked, b"");
        answer.header("access-control-allow-origin").map(str::to_owned)
    };
    let (stranger, listed) = ("https://elsewhere.example", "https://app.example");
    assert_eq!(preflight("/v1/events", stranger, "POST").as_deref(), Some("*"));
    assert_eq!(preflight("/v1/events", listed, "POST").as_deref(), Some(listed));
    assert_eq!(preflight("/v1/query/funnel", stranger, "POST"), None);
    assert_eq!(preflight("/v1/query/funnel", listed, "POST").as_deref(), Some(listed));
    for (target, method) in [
        ("/v1/admin/keys", "GET"),
        ("/v1/users/u", "DELETE"),
        ("/v1/cohorts/c", "PUT"),
        ("/v1/admin/seal", "POST"),
    ] {
        assert_eq!(preflight(target, listed, method), None, "{target}");
    }
    // As a page's beacon does it: no headers of its own, the key in the address.
    let target = format!("/v1/events?key={write}");
    let headers = [("Origin", stranger), ("Content-Type", "text/plain;charset=UTF-8")];
    let sent = server.send("POST", &target, &headers, EVENT.as_bytes());
    assert_eq!((sent.status, sent.header("access-control-allow-origin")), (200, Some("*")));
    assert_eq!(sent.header("access-control-allow-credentials"), None);
    // A refusal may be read too, and a query's key is never taken from the address.
    let refused = server.send("POST", "/v1/events", &headers, EVENT.as_bytes());
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some("*")));
    assert_eq!(server.get(&format!("/v1/schema?key={admin}")).status, 401);
}

#[test]
fn the_command_makes_lists_and_revokes_keys_with_and_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("store");
    let keys = |arguments: &[&str]| output_of(flywheel(&data).arg("keys").args(arguments));
    let admin = keys(&["create", "--scope", "admin", "--name", "ops"]).trim().to_owned();
    assert!(admin.starts_with("fw_admin_") && !admin.contains(char::is_whitespace), "{admin}");
    assert!(keys(&["list"]).contains("ops"));

    // With keys other machines may come in.
    let mut serve = flywheel(&data);
    serve.args(["serve", "--listen", "0.0.0.0:0", "--log", "debug"]).stderr(std::process::Stdio::piped());
    let mut server = program::Server::start(&mut serve);
    let url = format!("http://127.0.0.1:{}", server.address().port());
    let in_use = flywheel(&data).args(["keys", "list"]).output().unwrap();
    assert!(!in_use.status.success() && stderr(&in_use).contains("--url"), "{}", stderr(&in_use));
    let remote = |arguments: &[&str], key: &str| {
        flywheel(&data)
            .arg("keys")
            .args(arguments)
            .args(["--url", &url])
            .env("FLYWHEEL_KEY", key)
            .output()
            .unwrap()
    };
    let made = remote(&["create", "--scope", "read"], &admin);
    let read = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    assert!(read.starts_with("fw_read_"), "{read}");
    assert!(stderr(&remote(&["list"], &read)).contains("scope"), "a read key lists no keys");
    let id = read.split('_').nth(2).unwrap();
    assert!(remote(&["revoke", id], &admin).status.success());
    let told_twice = remote(&["revoke", id], &admin);
    assert!(
        !told_twice.status.success() && stderr(&told_twice).contains("no key"),
        "{}",
        stderr(&told_twice)
    );
    let mut query = flywheel(&data);
    query.args(["query", "-", "--url", &url, "--key", &read]).stdin(std::process::Stdio::piped());
    let mut child = query.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let body = QUERY.replacen('{', "{\"kind\": \"segmentation\", ", 1);
    child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success() && stderr(&output).contains("not valid"), "{}", stderr(&output));

    server.child.kill().unwrap();
    let mut log = String::new();
    std::io::Read::read_to_string(&mut server.child.stderr.take().unwrap(), &mut log).unwrap();
    assert!(log.contains("/v1/admin/keys"), "requests are logged: {log}");
    for key in [&admin, &read] {
        assert!(!log.contains(key.rsplit('_').next().unwrap()), "no log has a key");
    }
    drop(server);
    // What was made and revoked through the server is so in its directory, without a clean stop.
    let listed: Value = serde_json::from_str(&keys(&["list", "--format", "json"])).unwrap();
    let scopes: Vec<&Value> = listed["keys"].as_array().unwrap().iter().map(|key| &key["scope"]).collect();
    assert_eq!(scopes, ["admin"]);
    keys(&["revoke", listed["keys"][0]["id"].as_str().unwrap()]);
    let closed = flywheel(&data).args(["serve", "--listen", "0.0.0.0:0"]).output().unwrap();
    assert!(!closed.status.success() && stderr(&closed).contains("keys create"), "{}", stderr(&closed));
}

/// Whoever shows no key that is valid is told so before any of the body is there, unless their SDK puts it into the body;
/// then little of it is decoded.
#[test]
fn an_sdk_is_told_about_its_key_before_its_body_is_read() {
    let server = TestServer::start();
    let (_, admin) = make(&server, "", "admin");
    let (_, write) = make(&server, &admin, "write");
    let (_, read) = make(&server, &admin, "read");
    let announce = |target: &str, header: &str| {
        let mut stream = server.connect();
        write!(stream, "POST {target} HTTP/1.1\r\nHost: a\r\n{header}Content-Length: 100000\r\n\r\n")
            .unwrap();
        stream
    };
    let wrong = write.replace('_', "_x").replace("fw_x", "fw_").replace("write_x", "write_");
    let targets = [
        "/v1/batch",
        "/v1/t",
        "/capture",
        "/i/v0/e",
        "/batch",
        "/track",
        "/import",
        "/engage",
        "/2/httpapi",
        "/v1/cloudevents",
    ];
    for target in targets {
        for (key, status) in [(&wrong, 401), (&read, 403)] {
            let told = Answer::read(&mut announce(target, &format!("Authorization: Bearer {key}\r\n")));
            assert_eq!(told.status, status, "{target}: {told:?}");
            let told = Answer::read(&mut announce(
                &format!("{target}?token={key}&api_key={key}&writeKey={key}"),
                "",
            ));
            let expected = if target == "/v1/cloudevents" { [401, 403] } else { [status, status] };
            assert!(expected.contains(&told.status), "{target}: {told:?}");
        }
    }
    assert_eq!(
        Answer::read(&mut announce("/v1/cloudevents", "")).status,
        401,
        "its key is never in the body"
    );

    // Nobody knows yet whose it is.
    let mut body =
        json!({"api_key": write, "batch": [{"event": "a", "distinct_id": "u", "type": "capture"}]})
            .to_string();
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let send =
        |headers: &[(&str, &str)], body: &str| server.send("POST", "/capture", headers, &gzip(body)).status;
    assert_eq!(send(&[], &body), 200);
    assert_eq!(send(&[], &body.replace("fw_write", "fw_read")), 401);
    body += &" ".repeat(30 << 20);
    assert_eq!(send(&[], &body), 413);
    assert_eq!(send(&[("Authorization", &format!("Bearer {write}"))], &body), 200, "it is known whose it is");
}
