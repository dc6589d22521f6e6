//! The growth model of the settings: in a file of them, or in one of its own.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use super::{Server, flywheel, get, stderr};

const EVENTS: &str = r#"{"event": "signup", "user": "ada", "time": "2024-01-01"}
{"event": "project", "user": "ada", "time": "2024-01-02"}
{"event": "signup", "user": "bob", "time": "2024-01-01"}
"#;

const ACTIVATION: &str =
    r#"{"kind": "activation", "interval": "total", "from": "2024-01-01", "as_of": "2024-02-01"}"#;

/// Runs a command with something on stdin.
fn run(data: &Path, arguments: &[&str], stdin: &str) -> Output {
    let mut command = flywheel(data);
    let child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn the_settings_may_name_the_growth_model() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    assert!(run(&data, &["import", "-"], EVENTS).status.success());
    let without = run(&data, &["query", "-"], ACTIVATION);
    assert_eq!(without.status.code(), Some(2), "nobody says what a sign-up is");

    let settings = folder.path().join("flywheel.toml");
    let settings_text = settings.to_str().unwrap();
    std::fs::write(
        &settings,
        "[growth-model]\nsignup = \"signup\"\nactivate = { event = \"project\", within = \"7d\" }\npaid = \"sign_up\"\n",
    )
    .unwrap();
    let told = run(&data, &["--config", settings_text, "query", "-", "--format", "csv"], ACTIVATION);
    let table = String::from_utf8(told.stdout.clone()).unwrap();
    assert!(table.contains("2024-01-01,2,1,0.5,86400,86400,0,false"), "{table}{}", stderr(&told));
    assert!(stderr(&told).contains(r#"did you mean \"signup\"?"#), "{}", stderr(&told));

    // The store has it from then on, and a server of other settings puts its own in the place of it.
    assert!(run(&data, &["query", "-"], ACTIVATION).status.success());
    let model = folder.path().join("model.json");
    std::fs::write(&model, r#"{"signup": "signup", "activate": "signup"}"#).unwrap();
    let server = Server::of(&data, &["--growth-model", model.to_str().unwrap()]);
    let told = get(&server, "/v1/growth-model");
    assert!(told.trim_end().ends_with(r#"{"signup":"signup","activate":"signup"}"#), "{told}");
}

#[test]
fn a_growth_model_that_is_none_stops_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    assert!(run(&data, &["import", "-"], EVENTS).status.success());
    let wrong = run(&data, &["--growth-model", r#"{"sign_up": "signup"}"#, "query", "-"], ACTIVATION);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("the growth model of the settings"), "{}", stderr(&wrong));
    assert!(stderr(&wrong).contains("  at /sign_up\n  hint: did you mean \"signup\"?"), "{}", stderr(&wrong));
    let missing = run(&data, &["--growth-model", "no/such.json", "query", "-"], ACTIVATION);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("cannot read the growth model no/such.json"), "{}", stderr(&missing));
}
