//! Replays what the unmodified SDKs sent, as `tests/sdks/record.py` recorded it, and compares all that the store then
//! tells of the story's users and accounts with what it told when a person looked at it last.
//!
//! `RECORD=1` writes the expected answers anew.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::prelude::*;
use flywheeldb::keys::{KEY_RANDOM_SIZE, Scope};
use serde_json::{Value, json};

use crate::support::server::TestServer;

/// Each SDK with the users and accounts of its story.
const STORIES: [(&str, &[&str], &[&str]); 19] = [
    ("segment", &["segment-ada"], &["segment-acme"]),
    ("rudder", &["rudder-ada"], &["rudder-acme"]),
    ("segment_node", &["segmentnode-ada"], &["segmentnode-acme"]),
    ("rudder_node", &["ruddernode-ada"], &["ruddernode-acme"]),
    ("posthog", &["posthog-old"], &["posthog-acme"]),
    ("posthog_v1", &["posthogv1-old"], &["posthogv1-acme"]),
    ("posthog_node", &["posthognode-ada"], &["posthognode-acme"]),
    ("posthog_js", &["posthogjs-ada"], &["posthogjs-acme"]),
    ("mixpanel", &["mixpanel-ada"], &["mixpanel-acme"]),
    ("mixpanel_node", &["mixpanelnode-ada"], &["mixpanelnode-acme"]),
    ("mixpanel_js", &["mixpaneljs-ada"], &[]),
    ("amplitude", &["amplitude-ada"], &["amplitude-acme"]),
    ("amplitude_node", &["amplitudenode-ada"], &["amplitudenode-acme"]),
    ("amplitude_batch", &["amplitudebatch-bo"], &[]),
    ("snowplow", &["snowplow-ada"], &[]),
    ("snowplow_get", &["snowplowget-ada"], &[]),
    ("snowplow_node", &["snowplownode-ada"], &[]),
    ("cloudevents", &["cloudevents-ada"], &[]),
    ("cloudevents_node", &["cloudeventsnode-ada"], &[]),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/doors/exchange/recorded")
}

/// A request as it was recorded.
struct Recorded {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Recorded {
    fn parse(bytes: &[u8]) -> Recorded {
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let (first, headers) = head.split_once('\n').unwrap_or((head, ""));
        let (method, target) = first.split_once(' ').unwrap();
        let header =
            |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        Recorded {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: headers.lines().filter_map(header).collect(),
            body: bytes[end + 2..].to_vec(),
        }
    }

    /// All requests of an SDK, in order.
    fn all(name: &str) -> Vec<Recorded> {
        let path = |number: usize| folder().join(format!("{name}-{number:03}.http"));
        let requests: Vec<Recorded> = (1..)
            .map_while(|number| std::fs::read(path(number)).ok())
            .map(|bytes| Recorded::parse(&bytes))
            .collect();
        assert!(!requests.is_empty(), "there are no recordings of {name}");
        requests
    }

    fn replay(&self, server: &TestServer) {
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = server.send(&self.method, &self.target, &headers, &self.body);
        assert_eq!(answer.status, 200, "{}: {answer:?}", self.target);
    }

    /// Mixpanel's changes to profiles carry no id, so that sending one again is another change.
    fn is_repeatable(&self) -> bool {
        !self.target.starts_with("/engage")
    }
}

fn told(server: &TestServer, users: &[&str], accounts: &[&str]) -> Value {
    let get = |path: String| server.get(&path).json();
    let users: BTreeMap<_, _> =
        users.iter().map(|user| (*user, get(format!("/v1/users/{user}?limit=1000")))).collect();
    let accounts: BTreeMap<_, _> =
        accounts.iter().map(|account| (*account, get(format!("/v1/accounts/{account}?limit=1")))).collect();
    json!({"users": users, "accounts": accounts})
}

#[test]
fn what_the_sdks_send_arrives_once_however_often_it_is_sent() {
    for (name, users, accounts) in STORIES {
        let server = TestServer::start();
        let requests = Recorded::all(name);
        requests.iter().for_each(|request| request.replay(&server));
        let first = told(&server, users, accounts);
        requests.iter().filter(|request| request.is_repeatable()).for_each(|request| request.replay(&server));
        assert_eq!(told(&server, users, accounts), first, "{name}: sent again");

        let path = folder().join(format!("{name}.expected.json"));
        if std::env::var_os("RECORD").is_some() {
            std::fs::write(&path, serde_json::to_string_pretty(&first).unwrap() + "\n").unwrap();
        }
        let expected: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(first, expected, "{name}");
    }
}

#[test]
fn each_sdk_is_answered_in_its_own_words() {
    let server = TestServer::start();
    let post = |path: &str, body: &str| server.post(path, body);
    let cases = [
        ("/v1/track", r#"{"userId":"u","event":"e"}"#, 200, json!({"success": true})),
        ("/v1/t/", r#"{"anonymousId":"a","event":"e"}"#, 200, json!({"success": true})),
        ("/capture/", r#"{"api_key":"k","distinct_id":"u","event":"e"}"#, 200, json!({"status": "Ok"})),
        (
            "/track?verbose=1",
            r#"{"event":"e","properties":{"distinct_id":"u"}}"#,
            200,
            json!({"status": 1, "error": null}),
        ),
        ("/track", r#"{"event":"e","properties":{"distinct_id":"u"}}"#, 200, json!(1)),
        (
            "/import?strict=1",
            r#"[{"event":"e","properties":{"distinct_id":"u","time":1772357400,"$insert_id":"1"}}]"#,
            200,
            json!({"code": 200, "num_records_imported": 1, "status": "OK"}),
        ),
        (
            "/v1/cloudevents",
            r#"{"specversion":"1.0","id":"1","source":"s","type":"e","subject":"u"}"#,
            200,
            json!({"accepted": 1}),
        ),
        (
            "/v1/batch",
            r#"{"batch":[{"type":"track","event":"e"}]}"#,
            400,
            json!({"success": false, "code": "invalid", "message": "the call has neither a userId nor an anonymousId"}),
        ),
        (
            "/batch/",
            r#"{"batch":[{"event":"e"}]}"#,
            400,
            json!({"type": "validation_error", "code": "invalid_input",
            "detail": "the field \"distinct_id\" is missing", "attr": null}),
        ),
        (
            "/2/httpapi",
            r#"{"api_key":"k","events":[{"event_type":"e"},{"user_id":"u"}]}"#,
            400,
            json!({"code": 400, "error": "Request has missing or invalid fields: the field \"user_id\" is missing",
                "events_with_invalid_fields": {}, "events_with_missing_fields": {"user_id": [0], "event_type": [1]},
                "silenced_events": [], "silenced_devices": []}),
        ),
    ];
    for (path, body, status, expected) in cases {
        let answer = post(path, body);
        assert_eq!((answer.status, answer.json()), (status, expected), "{path} {body}");
    }
    let answer = post("/2/httpapi", r#"{"events":[{"event_type":"e","user_id":"u"}]}"#).json();
    assert_eq!((&answer["code"], &answer["events_ingested"]), (&json!(200), &json!(1)));
    let body = r#"{"batch":[{"event":"e","uuid":"1","distinct_id":"u"},{"uuid":"2","distinct_id":"u"}]}"#;
    let results = &post("/i/v1/analytics/events", body).json()["results"];
    assert_eq!((&results["1"]["result"], &results["2"]["result"]), (&json!("ok"), &json!("drop")));
    let body =
        "{\"event\":\"e\",\"properties\":{\"distinct_id\":\"u\"}}\n{\"event\":\"e\",\"properties\":{}}";
    let answer = server.send("POST", "/import", &[("Content-Type", "application/x-ndjson")], body.as_bytes());
    let told = answer.json();
    assert_eq!((answer.status, &told["num_records_imported"]), (400, &json!(1)));
    assert_eq!(told["failed_records"][0]["index"], json!(1));
    assert_eq!(server.get("/i?e=pv&duid=d&eid=1").header("content-type"), Some("image/gif"));
    assert_eq!(post("/flags/?v=2", "{}").json()["flags"], json!({}));
    assert_eq!(server.get("/array/phc_1/config").json()["analytics"]["endpoint"], json!("/e/"));
    assert_eq!(server.get("/batch").status, 405);
}

#[test]
fn a_retry_without_a_time_does_not_move_the_event() {
    let server = TestServer::start();
    let body = r#"{"api_key":"k","event":"e","distinct_id":"u","uuid":"1"}"#;
    for _ in 0..3 {
        assert_eq!(server.post("/capture", body).status, 200);
        std::thread::sleep(std::time::Duration::from_millis(3));
    }
    assert_eq!(server.get("/v1/users/u").json()["event_count"], json!(1));
}

#[test]
fn values_past_the_limits_do_not_cost_the_event() {
    let server = TestServer::start();
    let long = "x".repeat(70_000);
    let body = format!(
        r#"{{"userId":"u","event":"e","properties":{{"long":"{long}","half":"\ud83d","huge":1e999,"list":[{{"a":1}}]}}}}"#
    );
    assert_eq!(server.post("/v1/track", &body).status, 200);
    let properties = server.get("/v1/users/u").json()["events"][0]["properties"].clone();
    assert_eq!(properties["long"].as_str().map(str::len), Some(65_536));
    assert_eq!(properties["half"], json!("\u{FFFD}"));
    assert_eq!(properties["huge"], json!("1e999"));
    assert_eq!(properties["list"], json!(["{\"a\":1}"]));
    assert_eq!(properties["$truncated"], json!(["long"]));
}

#[test]
fn an_sdk_writes_with_the_key_it_carries_and_without_one_not_at_all() {
    let mut keys = Vec::new();
    let server = TestServer::start_with(|store| {
        for (scope, seed) in [(Scope::Write, 1), (Scope::Read, 2)] {
            keys.push(store.create_key(scope, "", 0, &[seed; KEY_RANDOM_SIZE]).unwrap().text);
        }
    });
    // Each place where some SDK puts its key.
    let places: [(&str, Option<&str>, &str); 9] = [
        ("/v1/track", Some("Basic"), r#"{"userId":"u","event":"e"}"#),
        ("/v1/batch", None, r#"{"writeKey":"KEY","batch":[{"type":"track","userId":"u","event":"e"}]}"#),
        (
            "/i/v1/analytics/events",
            Some("Bearer"),
            r#"{"batch":[{"event":"e","uuid":"1","distinct_id":"u"}]}"#,
        ),
        ("/batch/", None, r#"{"api_key":"KEY","batch":[{"event":"e","distinct_id":"u"}]}"#),
        ("/track?verbose=1", None, r#"[{"event":"e","properties":{"distinct_id":"u","token":"KEY"}}]"#),
        ("/engage?verbose=1", None, r#"{"$token":"KEY","$distinct_id":"u","$set":{"a":1}}"#),
        ("/2/httpapi", None, r#"{"api_key":"KEY","events":[{"event_type":"e","user_id":"u"}]}"#),
        ("/com.snowplowanalytics.snowplow/tp2", None, r#"{"data":[{"e":"pv","duid":"d","aid":"KEY"}]}"#),
        ("/i/v0/e/?api_key=KEY", None, r#"{"event":"e","distinct_id":"u"}"#),
    ];
    for (path, scheme, body) in places {
        let send = |key: &str| {
            let encoded = match scheme {
                Some("Basic") => format!("Basic {}", BASE64_STANDARD.encode(format!("{key}:"))),
                Some(scheme) => format!("{scheme} {key}"),
                None => String::new(),
            };
            let mut headers = vec![("Content-Type", "application/json")];
            if scheme.is_some() {
                headers.push(("Authorization", &encoded));
            }
            server.send("POST", &path.replace("KEY", key), &headers, body.replace("KEY", key).as_bytes())
        };
        assert_eq!(send(&keys[0]).status, 200, "{path}");
        assert_eq!(send("wrong").status, 401, "{path}");
        assert_eq!(send(&keys[1]).status, 403, "{path}");
        assert_eq!(send("").status, 401, "{path}");
    }
    let refused = server.post("/2/httpapi", r#"{"api_key":"x","events":[]}"#);
    assert!(refused.json()["error"].as_str().unwrap().starts_with("Invalid API key"), "{refused:?}");
    assert_eq!(server.post("/flags/?v=2", "{}").status, 200, "there is nothing to guard");
}

#[test]
fn pages_of_any_origin_may_send_with_a_key() {
    let mut key = String::new();
    let server = TestServer::start_with(|store| {
        key = store.create_key(Scope::Write, "", 0, &[1; KEY_RANDOM_SIZE]).unwrap().text;
    });
    let page = ("Origin", "https://shop.example");
    let asks =
        [page, ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "content-type")];
    let preflight = server.send("OPTIONS", "/e/", &asks, b"");
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://shop.example"));
    assert_eq!(preflight.header("access-control-allow-headers"), Some("content-type"));
    let body = format!(r#"{{"api_key":"{key}","batch":[{{"event":"e","distinct_id":"u"}}]}}"#);
    let answer = server.send("POST", "/e/", &[page], body.as_bytes());
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, Some("https://shop.example"))
    );
    // A page under development sends to its own machine without one.
    let open = TestServer::start();
    let answer = open.send("POST", "/e/", &[page], body.as_bytes());
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(page.1)));
}

/// As older SDKs send them: JSON in a field of a form, which is not called `data` here.
#[test]
fn the_forms_of_amplitudes_first_protocol_are_read() {
    let server = TestServer::start();
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let send = |path: &str, body: &str| server.send("POST", path, &form, body.as_bytes()).status;
    let one = "%7B%22user_id%22%3A%22ada%22%2C%22event_type%22%3A%22e%22%2C%22time%22%3A1717236000000%7D";
    assert_eq!(send("/httpapi", &format!("api_key=k&event={one}")), 200);
    assert_eq!(send("/httpapi", &format!("api_key=k&event=%5B{one}%2C{}%5D", one.replace("ada", "bo"))), 200);
    let set = "%22%24set%22%3A%7B%22plan%22%3A%22free%22%7D";
    let user = format!("%5B%7B%22user_id%22%3A%22ada%22%2C%22user_properties%22%3A%7B{set}%7D%7D%5D");
    assert_eq!(send("/identify", &format!("api_key=k&identification={user}")), 200);
    let group = format!("%5B%7B%22group_value%22%3A%22acme%22%2C%22group_properties%22%3A%7B{set}%7D%7D%5D");
    assert_eq!(send("/groupidentify", &format!("api_key=k&identification={group}")), 200);
    assert_eq!(server.get("/v1/users/ada").json()["profile"], json!({"plan": "free"}));
    assert_eq!(server.get("/v1/accounts/acme").json()["profile"], json!({"plan": "free"}));
    let count = |user: &str| server.get(&format!("/v1/users/{user}")).json()["event_count"].clone();
    assert_eq!((count("ada"), count("bo")), (json!(2), json!(1)));
    let told = server.post("/2/httpapi", r#"{"api_key":"k"}"#);
    assert_eq!((told.status, &told.json()["missing_field"]), (400, &json!("events")));
}

#[test]
fn what_is_thrown_away_is_not_read_first() {
    let server = TestServer::start();
    for path in ["/s/", "/record/?ip=1", "/v1/m"] {
        let answer = server.send("POST", path, &[], b"\x00 no JSON");
        assert_eq!((answer.status, answer.json()), (200, json!({})), "{path}");
    }
}

#[test]
fn a_profile_is_taken_from_beside_the_event_and_from_within_it() {
    let server = TestServer::start();
    let event = r#"{"api_key":"k","batch":[{"event":"e","distinct_id":"ada","$set":{"a":1,"b":1},"$unset":["x"],
        "properties":{"$set":{"b":2,"c":3,"x":1},"$set_once":{"d":4},"$unset":["y"]}}]}"#;
    assert_eq!(server.post("/batch/", event).status, 200);
    assert_eq!(server.get("/v1/users/ada").json()["profile"], json!({"a": 1, "b": 1, "c": 3, "d": 4}));
}

#[test]
fn an_event_of_posthogs_is_known_by_what_it_has_at_mixpanels_address() {
    let server = TestServer::start();
    let event =
        r#"[{"event":"e","timestamp":"2024-06-01T10:00:00Z","uuid":"1","properties":{"distinct_id":"u"}}]"#;
    assert_eq!(server.post("/track/", event).json(), json!({"status": "Ok"}));
    assert_eq!(server.get("/v1/users/u").json()["first_seen"], json!("2024-06-01T10:00:00Z"));
}

#[test]
fn browsers_are_told_how_to_behave() {
    let server = TestServer::start();
    let settings = server.get("/v1/projects/my%20key/settings").json();
    let own = &settings["integrations"]["Segment.io"];
    assert_eq!((&own["apiKey"], &own["protocol"]), (&json!("my key"), &json!("http")));
    let config = server.get("/array/phc_1/config").json();
    let script = server.get("/array/phc_1/config.js");
    assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
    let (start, rest) = script.text().split_once("{config: ").unwrap();
    assert!(start.contains("window._POSTHOG_REMOTE_CONFIG") && start.contains(r#"["phc_1"]"#), "{start}");
    let told: Value = serde_json::from_str(rest.strip_suffix(", siteApps: []};\n").unwrap()).unwrap();
    assert_eq!(told, config);
}
