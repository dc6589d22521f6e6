//! `s3://` and `file://` addresses in the place of files: the program, and a store that speaks S3.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::bucket::Bucket;

/// Events of a file of several megabytes, so that it is read in blocks and written in parts.
const EVENT_COUNT: usize = 60_000;

struct Program {
    bucket: Bucket,
    directory: TempDir,
}

impl Program {
    fn new() -> Program {
        Program { bucket: Bucket::start(), directory: tempfile::tempdir().unwrap() }
    }

    /// Runs the program on the store `data`.
    fn run(&self, data: &str, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_flywheel"))
            .current_dir(self.directory.path())
            .args(["--data", data])
            .args(words)
            .env("AWS_ENDPOINT_URL", &self.bucket.url)
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "eu-central-1")
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .output()
            .unwrap()
    }

    fn done(&self, data: &str, words: &[&str]) -> String {
        let output = self.run(data, words);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Events and users of a store.
    fn counts(&self, data: &str) -> Vec<u64> {
        let query = r#"{"kind": "segmentation", "interval": "total", "series": [{"event": "*"}, {"event": "*", "measure": "users"}]}"#;
        let file = self.directory.path().join("query.json");
        std::fs::write(&file, query).unwrap();
        let told = self.done(data, &["query", file.to_str().unwrap(), "--format", "json"]);
        let answer: Value = serde_json::from_str(&told).unwrap();
        answer["data"].as_array().unwrap().iter().map(|row| row["value"].as_u64().unwrap()).collect()
    }
}

fn lines() -> String {
    let line = |number: usize| {
        let noise = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        format!(
            "{{\"event\":\"viewed\",\"user\":\"u{}\",\"time\":{},\"id\":\"e{number}\",\"properties\":{{\"noise\":\"{noise:x}\"}}}}\n",
            number % 997,
            1_790_000_000_000_usize + number
        )
    };
    (0..EVENT_COUNT).map(line).collect()
}

#[test]
fn objects_of_s3_are_imported_and_exported() {
    let program = Program::new();
    program.bucket.put("/lake/in/events.ndjson", lines().into_bytes());
    program.done("one", &["import", "s3://lake/in/events.ndjson"]);
    let expected = vec![EVENT_COUNT as u64, 997];
    assert_eq!(program.counts("one"), expected);

    for (form, target) in [("parquet", "s3://lake/out"), ("ndjson", "s3://lake/lines")] {
        program.done("one", &["export", target, "--format", form]);
        let (_, folder) = target.rsplit_once('/').unwrap();
        let written = program.bucket.get(&format!("/lake/{folder}/events.{form}")).unwrap();
        assert!(!written.is_empty(), "{target}");
        program.done(form, &["import", target]);
        assert_eq!(program.counts(form), expected, "{target}");
    }
    program.done("one", &["export", "s3://lake/march.csv", "--to", "2026-09-22"]);
    assert!(program.bucket.get("/lake/march.csv").unwrap().starts_with(b"event,user,time"));
    assert_eq!(program.bucket.part_count(), 0, "every upload was completed");
    let most = program.bucket.answer_size_max();
    assert!(most <= 4 << 20, "an object is read in blocks, not in {most} bytes");
}

#[test]
fn what_is_not_there_is_told_with_its_address() {
    let program = Program::new();
    let output = program.run("one", &["import", "s3://lake/nothing.ndjson"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("s3://lake/nothing.ndjson"), "{told}");
    let told = program.run("one", &["import", "gs://lake/events.ndjson"]);
    assert!(String::from_utf8_lossy(&told.stderr).contains("not from gs://"), "{told:?}");
}

#[test]
fn bad_rows_of_an_object_are_kept_on_this_machine() {
    let program = Program::new();
    program.bucket.put(
        "/lake/rows.ndjson",
        b"{\"event\":\"a\",\"user\":\"ada\",\"time\":\"2024-01-01\"}\nno row\n".to_vec(),
    );
    program.done("one", &["import", "s3://lake/rows.ndjson"]);
    let rejects = program.directory.path().join("rows.ndjson.rejects.ndjson");
    assert!(std::fs::read_to_string(rejects).unwrap().contains("\"line\":2"));
}

#[test]
fn a_file_may_be_told_by_its_address() {
    let program = Program::new();
    let address = |path: &Path| format!("file://{}", path.display().to_string().replace(' ', "%20"));
    let (file, out) = (program.directory.path().join("a b.ndjson"), program.directory.path().join("out dir"));
    std::fs::write(&file, lines()).unwrap();
    program.done("one", &["import", &address(&file)]);
    program.done("one", &["export", &address(&out)]);
    assert!(out.join("events.parquet").is_file());
    program.done("two", &["import", &address(&out)]);
    assert_eq!(program.counts("two"), [EVENT_COUNT as u64, 997]);
}
