//! Damaged stores: what is broken is named, the exit code is 3, and what is not broken still answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use flywheeldb::Store;
use flywheeldb::model::EventBatch;
use flywheeldb::store::StoreOptions;

use super::{Server, flywheel, stderr};

const COUNT: &str = r#"{"kind":"segmentation","interval":"total","series":[{"event":"*"}]}"#;
const BY_PLAN: &str = r#"{"kind":"segmentation","interval":"total","series":[{"event":"viewed"}],"breakdown":{"property":"plan"}}"#;

/// A store in a folder of its own, and the folder.
struct Damaged {
    folder: tempfile::TempDir,
}

impl Damaged {
    /// A store of two batches. Only the first is sealed; with the second's log it is as a kill leaves it.
    fn new() -> Damaged {
        let damaged = Damaged { folder: tempfile::tempdir().unwrap() };
        let store =
            Store::open_with(&damaged.data(), StoreOptions { background: false, ..StoreOptions::default() })
                .unwrap();
        store.ingest(batch("ada", "a plan that is easy to find")).unwrap();
        store.seal().unwrap();
        store.ingest(batch("bo", "another plan")).unwrap();
        store.ingest(batch("cy", "third plan")).unwrap();
        damaged
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The only file with the ending.
    fn file(&self, ending: &str) -> PathBuf {
        let files = fs::read_dir(self.data()).unwrap().map(|entry| entry.unwrap().path());
        let found: Vec<PathBuf> =
            files.filter(|path| path.extension().is_some_and(|known| known == ending)).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().unwrap()
    }

    /// Changes one byte, where the needle begins or so far from the file's end.
    fn flip(file: &Path, place: impl FnOnce(&[u8]) -> usize) {
        let mut bytes = fs::read(file).unwrap();
        let at = place(&bytes);
        bytes[at] ^= 1;
        fs::write(file, bytes).unwrap();
    }

    fn query(&self, query: &str) -> Output {
        let file = self.folder.path().join("query.json");
        fs::write(&file, query).unwrap();
        flywheel(&self.data()).args(["query", "--format", "csv"]).arg(file).output().unwrap()
    }

    /// Checks that nothing can be asked, because of this file, and that nothing changed.
    fn expect_damage(&self, name: &str, reason: &str) {
        let before = self.names();
        let output = self.query(COUNT);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{told}");
        assert!(told.starts_with("flywheel: ") && told.contains(name) && told.contains(reason), "{told}");
        let served = flywheel(&self.data()).args(["serve", "--listen", "127.0.0.1:0"]).output().unwrap();
        assert_eq!((served.status.code(), served.stdout.len()), (Some(3), 0), "{}", stderr(&served));
        assert_eq!(self.names(), before);
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.data()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn batch(user: &str, plan: &str) -> EventBatch {
    let mut batch = EventBatch::new();
    for time in 0..3 {
        batch.push_event("viewed", user, 1_704_067_200_000 + time, None, None).unwrap();
        batch.push_property("plan", &plan.into()).unwrap();
    }
    batch
}

fn position(bytes: &[u8], needle: &str) -> usize {
    bytes.windows(needle.len()).position(|window| window == needle.as_bytes()).unwrap()
}

fn name(file: &Path) -> &str {
    file.file_name().unwrap().to_str().unwrap()
}

#[test]
fn a_damaged_column_fails_the_queries_that_read_it_and_no_others() {
    let damaged = Damaged::new();
    let segment = damaged.file("segment");
    Damaged::flip(&segment, |bytes| position(bytes, "easy to find"));
    let output = damaged.query(BY_PLAN);
    assert_eq!(output.status.code(), Some(3));
    let told = stderr(&output);
    assert!(told.contains(&format!("{} is damaged: checksum of ", name(&segment))), "{told}");
    let output = damaged.query(COUNT);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(String::from_utf8(output.stdout).unwrap().trim().ends_with(",9"));
}

#[test]
fn a_damaged_directory_of_a_segment_fails_the_open() {
    let damaged = Damaged::new();
    let segment = damaged.file("segment");
    Damaged::flip(&segment, |bytes| bytes.len() - 30);
    damaged.expect_damage(name(&segment), "checksum of segment directory");
}

#[test]
fn a_segment_cut_short_or_gone_fails_the_open() {
    let damaged = Damaged::new();
    let segment = damaged.file("segment");
    let bytes = fs::read(&segment).unwrap();
    fs::write(&segment, &bytes[..bytes.len() - 1]).unwrap();
    damaged.expect_damage(name(&segment), "were written");
    fs::remove_file(&segment).unwrap();
    damaged.expect_damage(name(&segment), "the file is missing");
}

#[test]
fn damaged_ids_fail_the_open() {
    let damaged = Damaged::new();
    let ids = damaged.file("ids");
    Damaged::flip(&ids, |bytes| position(bytes, "ada"));
    damaged.expect_damage(name(&ids), "checksum of ids");
}

#[test]
fn a_manifest_cut_short_damaged_or_gone_fails_the_open() {
    let damaged = Damaged::new();
    let manifest = damaged.data().join("MANIFEST");
    let bytes = fs::read(&manifest).unwrap();
    for cut in [0, 10, bytes.len() - 1] {
        fs::write(&manifest, &bytes[..cut]).unwrap();
        damaged.expect_damage("MANIFEST", "is damaged");
    }
    fs::write(&manifest, &bytes).unwrap();
    Damaged::flip(&manifest, |bytes| bytes.len() - 1);
    damaged.expect_damage("MANIFEST", "checksum of manifest");
    fs::remove_file(&manifest).unwrap();
    damaged.expect_damage("MANIFEST", "is missing");
}

#[test]
fn a_damaged_log_is_told_apart_from_one_cut_short() {
    let damaged = Damaged::new();
    let log = damaged.file("log");
    let bytes = fs::read(&log).unwrap();
    // The first change was durable when the second was written.
    Damaged::flip(&log, |bytes| position(bytes, "another plan"));
    damaged.expect_damage(name(&log), "is damaged although change");
    // The end of the second may be what a crash left of a request that nobody was answered.
    fs::write(&log, &bytes[..bytes.len() - 5]).unwrap();
    let output = damaged.query(COUNT);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).trim().ends_with(",6"));
    assert!(stderr(&output).contains("the end of a log was cut short"), "{}", stderr(&output));
}

#[test]
fn a_directory_in_use_is_told_with_what_to_do_instead() {
    let damaged = Damaged::new();
    let server = Server::of(&damaged.data(), &[]);
    let file = damaged.folder.path().join("events.ndjson");
    fs::write(&file, "{\"event\":\"viewed\",\"user\":\"ada\"}\n").unwrap();
    let file = file.to_str().unwrap();
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["schema"], &["import", file]] {
        let output = flywheel(&damaged.data()).args(arguments).output().unwrap();
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("the data directory is in use by another process\n  hint: "), "{told}");
        assert!(told.contains("--url"), "{told}");
        assert!(output.stdout.is_empty());
    }
    drop(server);
    assert_eq!(damaged.query(COUNT).status.code(), Some(0), "the lock went with its process");
}
