//! Exports of other products arrive with their users, accounts and identities, and once however often they are read.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::{Imported, file};

#[test]
fn a_mixpanel_export_arrives() {
    let directory = tempfile::tempdir().unwrap();
    let lines = concat!(
        r#"{"event":"Visited","properties":{"time":1772357400,"distinct_id":"$device:d1","$insert_id":"1","$device_id":"d1","path":"/"}}"#,
        "\n",
        r#"{"event":"Signed Up","properties":{"time":1772357460,"distinct_id":"ada","$insert_id":"2","$device_id":"d1","$user_id":"ada","company":"acme","mp_processing_time_ms":1772357461000}}"#,
        "\n",
        r#"{"event":"Other","properties":{"time":1772357470,"distinct_id":"bo","$insert_id":"3","$device_id":"d1","$user_id":"bo"}}"#,
        "\n",
        r#"{"event":"Broken","properties":{"time":"soon","distinct_id":"bo"}}"#,
        "\n",
    );
    let path = file(&directory, "export.json", lines.as_bytes());
    let imported = Imported::of(&[&path, &path], &["--from", "mixpanel"]);
    imported.outcome.as_ref().unwrap();
    assert_eq!((imported.summary.accepted, imported.summary.duplicates), (3, 3));
    assert!(imported.rejects().contains("\"line\":4"), "{}", imported.rejects());
    let ada = imported.user("ada");
    assert_eq!(ada["ids"], json!(["$device:d1", "ada"]));
    assert_eq!(ada["events"][0]["event"], "Signed Up");
    assert_eq!(ada["events"][0]["account"], "acme");
    assert_eq!(ada["events"][1]["time"], "2026-03-01T09:30:00Z");
    assert_eq!(imported.user("bo")["event_count"], 1, "two users of one device stay two");
    let berlin = Imported::of(&[&path], &["--from", "mixpanel", "--timezone", "Europe/Berlin"]);
    assert_eq!(berlin.user("ada")["events"][1]["time"], "2026-03-01T08:30:00Z");
}

#[test]
fn an_amplitude_export_arrives_out_of_its_zip() {
    let hour = |lines: &[&str]| {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(lines.join("\n").as_bytes()).unwrap();
        gzip.finish().unwrap()
    };
    let event = |id: &str, kind: &str, time: &str, user: &str, plan: &str| {
        format!(
            r#"{{"$insert_id":"{id}","event_type":"{kind}","event_time":"{time}","user_id":{user},"device_id":"d1","uuid":"x{id}","amplitude_id":7,"event_properties":{{"n":{id}}},"user_properties":{{"plan":"{plan}"}},"groups":{{"company":["acme"]}},"server_upload_time":"2026-03-01 10:00:00.000000","platform":"Web"}}"#
        )
    };
    let first = event("1", "Visited", "2026-03-01 09:30:00.250000", "null", "free");
    let second = event("2", "Signed Up", "2026-03-01 09:31:00.000000", "\"ada\"", "free");
    let third = event("3", "Upgraded", "2026-03-01 10:31:00.000000", "\"ada\"", "pro");
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    zip.add_directory("7", options).unwrap();
    // Out of order, as archives may be.
    for (name, text) in [
        ("7/7_2026-03-01_10#1.json.gz", hour(&[&third])),
        ("7/7_2026-03-01_09#1.json.gz", hour(&[&first, &second])),
    ] {
        zip.start_file(name, options).unwrap();
        zip.write_all(&text).unwrap();
    }
    let bytes = zip.finish().unwrap().into_inner();
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, "export.zip", &bytes);
    let imported = Imported::of(&[&path, &path], &["--from", "amplitude"]);
    imported.outcome.as_ref().unwrap();
    assert_eq!((imported.summary.accepted, imported.summary.duplicates), (3, 3), "{}", imported.rejects());
    let ada = imported.user("ada");
    assert_eq!(ada["ids"], json!(["ada", "d1"]));
    assert_eq!(ada["profile"], json!({"plan": "pro"}));
    let visited = &ada["events"][2];
    assert_eq!((&visited["time"], &visited["account"]), (&json!("2026-03-01T09:30:00.250Z"), &json!("acme")));
    assert_eq!(visited["id"], "1");
    let properties = json!({"n": 1, "device_id": "d1", "groups.company": ["acme"], "platform": "Web"});
    assert_eq!(visited["properties"], properties);
}

#[test]
fn a_posthog_export_arrives_with_persons_as_users() {
    let directory = tempfile::tempdir().unwrap();
    let event = |uuid: &str, name: &str, id: &str, person: &str, properties: &str| {
        json!({"uuid": uuid, "event": name, "distinct_id": id, "person_id": person, "team_id": 1,
            "timestamp": "2026-03-01 09:30:00.250000", "properties": properties,
            "person_properties": "{\"plan\":\"free\"}", "created_at": "2026-03-01 09:31:00"})
        .to_string()
    };
    let lines = [
        event("1", "$pageview", "anon", "p1", r#"{"$current_url":"/"}"#),
        event("2", "$identify", "ada", "p1", r#"{"$anon_distinct_id":"anon"}"#),
        event("3", "signed_up", "ada", "p1", r#"{"$groups":{"company":"acme"},"n":1}"#),
        event(
            "4",
            "$groupidentify",
            "ada",
            "p1",
            r#"{"$group_type":"company","$group_key":"acme","$group_set":{"name":"Acme"}}"#,
        ),
        event("5", "opened", "ada-phone", "p1", "{}"),
        event("6", "opened", "bo", "p2", "{}"),
    ];
    let path = file(&directory, "events.jsonl", (lines.join("\n") + "\n").as_bytes());
    let imported = Imported::of(&[&path, &path], &["--from", "posthog"]);
    imported.outcome.as_ref().unwrap();
    assert_eq!((imported.summary.accepted, imported.summary.duplicates), (4, 4), "{}", imported.rejects());
    let ada = imported.user("ada");
    assert_eq!(ada["ids"], json!(["ada", "ada-phone", "anon"]));
    assert_eq!((&ada["profile"], &ada["event_count"]), (&json!({"plan": "free"}), &json!(3)));
    assert_eq!(imported.account("acme")["profile"], json!({"name": "Acme"}));
    assert_eq!(imported.user("bo")["event_count"], 1);
}

#[test]
fn profiles_and_identities_come_as_tables_and_as_lines() {
    let directory = tempfile::tempdir().unwrap();
    let customers =
        file(&directory, "customers.csv", b"email,plan,seats\nada@x.example,pro,3\nbo@x.example,,\n");
    let users = Imported::of(&[&customers], &["--what", "users", "--map", "user=email"]);
    users.outcome.as_ref().unwrap();
    assert_eq!(users.user("ada@x.example")["profile"], json!({"plan": "pro", "seats": 3}));
    assert_eq!(users.summary.changes, 2);
    let lines =
        concat!(r#"{"account":"acme","set":{"size":5},"add":{"n":1}}"#, "\n", r#"{"account":7}"#, "\n");
    let accounts = file(&directory, "accounts.ndjson", lines.as_bytes());
    let accounts = Imported::of(&[&accounts], &["--what", "accounts"]);
    assert_eq!(accounts.account("acme")["profile"], json!({"n": 1, "size": 5}));
    assert!(
        accounts.rejects().contains("\"line\":2,\"reason\":\"expected account to be a string"),
        "{}",
        accounts.rejects()
    );
    let pairs = file(&directory, "pairs.csv", b"old,new\nanon,ada\n");
    let pairs = Imported::of(&[&pairs], &["--what", "identities", "--map", "from=old,into=new"]);
    pairs.outcome.as_ref().unwrap();
    let is_same =
        pairs.store.identity("anon").map(|id| id.user) == pairs.store.identity("ada").map(|id| id.user);
    assert!(is_same && pairs.store.identity("ada").is_some());
}
