//! The bytes on disk are those that docs/format.md tells of, and stores written by earlier versions still open.
//!
//! The page prints a whole small store; here it is written again from the same events and compared, and the
//! printed bytes are opened and read. `tests/golden/v1` is a store of format version 1 with everything that the
//! format can hold, and `tests/golden/v1.txt` what it must read as; so are `v2`, the first with a manifest of version 2, and
//! `v3` and `v4`, the first with segments of versions 2 and 3. While they are not released, a change to bytes is followed by
//!
//! ```sh
//! cargo test --test format -- --ignored
//! ```
//!
//! which writes the golden store anew. After a release it stays as it is for good.
#![allow(clippy::disallowed_methods, reason = "this test looks at files from outside of the store")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flywheeldb::Store;
use flywheeldb::api::{Cell, Json};
use flywheeldb::model::{
    DAY_MS, DocumentKind, Entity, EventBatch, IdentityMerge, Number, ProfileWrite, TimeMs, Value,
};
use flywheeldb::segment::{RowKind, Segment};
use flywheeldb::store::{Clock, Document, Snapshot, StoreOptions, profile_cells, rows_of};
use tempfile::TempDir;

type Files = BTreeMap<String, Vec<u8>>;

fn open(path: &Path) -> Store {
    try_open(path).unwrap()
}

fn try_open(path: &Path) -> Result<Store, flywheeldb::api::Problem> {
    Store::open_with(path, StoreOptions { background: false, ..StoreOptions::default() })
}

/// All files of a directory but the lock, which is empty.
fn files(path: &Path) -> Files {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    let read = entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .filter(|(name, _)| name != "LOCK");
    read.collect()
}

fn directory_of(files: &Files) -> TempDir {
    let directory = TempDir::new().unwrap();
    for (name, bytes) in files {
        fs::write(directory.path().join(name), bytes).unwrap();
    }
    directory
}

/// The files that the page prints, by stage and name: blocks of lines `offset  bytes  ; meaning`, where `00*12` is twelve zeros.
fn printed_files() -> Files {
    let page = include_str!("../docs/format.md");
    let mut files = Files::new();
    let mut open: Option<(&str, Vec<u8>)> = None;
    for line in page.lines() {
        if let Some(name) = line.strip_prefix("```hex ") {
            open = Some((name, Vec::new()));
        } else if line == "```" {
            files.extend(open.take().map(|(name, bytes)| (name.to_owned(), bytes)));
        } else if let Some((name, bytes)) = &mut open {
            let fields = line.split(';').next().expect("there is a first part");
            let (offset, fields) = fields.split_at(fields.len().min(4));
            if !offset.trim().is_empty() {
                assert_eq!(usize::from_str_radix(offset, 16), Ok(bytes.len()), "{name}: {line}");
            }
            for field in fields.split_whitespace() {
                let (byte, count) = field.split_once('*').unwrap_or((field, "1"));
                let byte = u8::from_str_radix(byte, 16).unwrap();
                bytes.resize(bytes.len() + count.parse::<usize>().unwrap(), byte);
            }
        }
    }
    files
}

/// The example of the page.
fn example() -> EventBatch {
    let mut batch = EventBatch::new();
    // 2026-11-02T09:30:00Z, 12:00:00Z, and 2026-11-03T10:00:00Z.
    batch.push_event("signup", "ada", 1_793_611_800_000, None, Some("acme")).unwrap();
    batch.push_event("signup", "bo", 1_793_620_800_000, None, None).unwrap();
    batch.push_event("purchase", "ada", 1_793_700_000_000, Some("e3"), Some("acme")).unwrap();
    batch.push_property("amount", &number("19.90")).unwrap();
    batch
}

/// It is 2026-11-03T10:05:00Z.
#[derive(Debug)]
struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> TimeMs {
        1_793_700_300_000
    }

    fn uptime(&self) -> Duration {
        Duration::ZERO
    }
}

/// The manifest, with the identity of its store, which is random, replaced by the one that the page prints.
fn with_printed_identity(mut manifest: Vec<u8>) -> Vec<u8> {
    for (index, byte) in manifest[20..36].iter_mut().enumerate() {
        *byte = 0xa0 + index as u8;
    }
    let checksum = crc32c::crc32c(&manifest[20..]);
    manifest[16..20].copy_from_slice(&checksum.to_le_bytes());
    manifest
}

const EXAMPLE_TEXT: &str = "\
user ada
  purchase 1793700000000 account=acme id=e3 amount=19.9
  signup 1793611800000 account=acme
user bo
  signup 1793620800000
account acme
";

fn number(text: &str) -> Value {
    Number::parse(text).unwrap().into()
}

/// Everything that a snapshot holds, as text.
fn told(snapshot: &Snapshot<'_>) -> String {
    let mut text = String::new();
    for (entity, kind) in [(Entity::User, RowKind::UserProfiles), (Entity::Account, RowKind::AccountProfiles)]
    {
        for ordinal in 0..snapshot.ordinal_count(entity) {
            let Some(name) = snapshot.name(entity, ordinal) else { continue };
            if snapshot.find(entity, &name) != Some(ordinal) {
                continue; // merged into another
            }
            writeln!(text, "{} {name}", entity.name()).unwrap();
            if entity == Entity::User {
                for id in snapshot.ids_of_user(ordinal).iter().filter(|id| **id != name) {
                    writeln!(text, "  also {id}").unwrap();
                }
            }
            let cells: BTreeMap<_, _> =
                profile_cells(snapshot.segments.iter(), kind, ordinal).unwrap().into_iter().collect();
            for (property, (_, value)) in cells {
                let value = value.map_or("unset".to_owned(), |value| value.to_string());
                writeln!(text, "  profile {property}={value}").unwrap();
            }
            if entity == Entity::User {
                tell_events(snapshot, ordinal, &mut text);
            }
        }
    }
    for kind in [DocumentKind::Cohort, DocumentKind::Query] {
        for (name, document) in snapshot.documents.of_kind(kind) {
            let told = match document {
                Document::Text(json) => json.to_string(),
                Document::Members(ordinals) => {
                    let names = ordinals.iter().map(|o| snapshot.name(Entity::User, snapshot.user(o)));
                    names.map(Option::unwrap_or_default).collect::<Vec<_>>().join(" ")
                }
            };
            writeln!(text, "{} {name} {told}", kind.name()).unwrap();
        }
    }
    text
}

fn tell_events(snapshot: &Snapshot<'_>, user: u32, text: &mut String) {
    let mut lines = Vec::new();
    for rows in rows_of(snapshot.segments.iter(), RowKind::Events, user).unwrap() {
        for row in rows.read().unwrap() {
            let mut line = format!("  {} {}", rows.group.name(), row.time);
            if let Some(account) = row.account.checked_sub(1) {
                write!(line, " account={}", snapshot.name(Entity::Account, account).unwrap()).unwrap();
            }
            if !row.id.is_empty() {
                write!(line, " id={}", String::from_utf8(row.id).unwrap()).unwrap();
            }
            for (property, value) in row.properties {
                write!(line, " {property}={value}").unwrap();
            }
            lines.push(line);
        }
    }
    lines.sort();
    for line in lines {
        writeln!(text, "{line}").unwrap();
    }
}

#[test]
fn the_page_prints_the_bytes_that_a_store_writes() {
    let directory = TempDir::new().unwrap();
    let options =
        StoreOptions { background: false, clock: Arc::new(StoppedClock), ..StoreOptions::default() };
    let store = Store::open_with(directory.path(), options).unwrap();
    store.ingest(example()).unwrap();
    let mut written = Files::new();
    let mut note = |stage: &str| {
        let files = files(directory.path()).into_iter();
        written.extend(files.map(|(name, bytes)| {
            let bytes = if name == "MANIFEST" { with_printed_identity(bytes) } else { bytes };
            (format!("{stage}/{name}"), bytes)
        }));
    };
    note("stored");
    store.seal().unwrap();
    note("sealed");

    let printed = printed_files();
    assert_eq!(printed.keys().collect::<Vec<_>>(), written.keys().collect::<Vec<_>>());
    for (name, bytes) in &written {
        let differs = bytes.iter().zip(&printed[name]).position(|(a, b)| a != b);
        let at = differs.unwrap_or(bytes.len().min(printed[name].len()));
        assert!(*bytes == printed[name], "{name} differs from byte {at:#06x} on:\n{}", hex(bytes));
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (row, bytes) in bytes.chunks(16).enumerate() {
        let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "{:04x}  {}", row * 16, bytes.join(" ")).unwrap();
    }
    text
}

#[test]
fn the_printed_bytes_read_back() {
    let printed = printed_files();
    let stage = |stage: &'static str| {
        let files = printed.iter().filter_map(move |(name, bytes)| Some((name.strip_prefix(stage)?, bytes)));
        files.map(|(name, bytes)| (name.to_owned(), bytes.clone())).collect::<Files>()
    };
    let (stored, sealed) = (stage("stored/"), stage("sealed/"));
    // A crash may leave the first log behind although the manifest has its changes.
    let mut with_a_log_left_over = stored.clone();
    with_a_log_left_over.extend(sealed.clone());
    for files in [stored, sealed, with_a_log_left_over] {
        let directory = directory_of(&files);
        assert_eq!(told(&open(directory.path()).snapshot()), EXAMPLE_TEXT);
    }
}

/// The formats that there ever were, each with another version of some kind of file.
const VERSIONS: [&str; 4] = ["v1", "v2", "v3", "v4"];

/// The golden store of the version that is written.
fn golden() -> PathBuf {
    golden_of(VERSIONS.last().unwrap())
}

fn golden_of(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version)
}

/// Writes what the golden store holds: every kind of change, value and column, on disk and in the log.
fn write_golden_history(store: &Store) {
    const FEBRUARY: TimeMs = 1_706_745_600_000; // 2024-02-01T00:00:00Z
    let user = |index: i64| format!("user-{index}");

    // Months of their own segments, columns of several blocks, numbers that are kept as numbers.
    let mut batch = EventBatch::new();
    for index in 0..320_i64 {
        let time = FEBRUARY + (index / 8 - 9) * DAY_MS + index * 61_003;
        let account = (index % 3 != 0).then(|| format!("account-{}", index % 5));
        let id = (index % 2 == 0).then(|| format!("id-{index}"));
        batch.push_event("view", &user(index / 8), time, id.as_deref(), account.as_deref()).unwrap();
        if index % 7 != 0 {
            batch
                .push_property("depth", &Number::new(i128::from(index * 37 - 500), -2).unwrap().into())
                .unwrap();
        }
        batch.push_property("page", &Value::from(["home", "pricing", "docs"][index as usize % 3])).unwrap();
    }
    // One column of 300 numbers with a missing one, in one month.
    for index in 0..300_i64 {
        batch.push_event("scroll", &user(index / 100), FEBRUARY + index, None, None).unwrap();
        if index != 150 {
            batch.push_property("offset", &Value::from(index * 1_000 + 1)).unwrap();
        }
    }
    store.ingest(batch).unwrap();

    // Every type of value in one property.
    let mut batch = EventBatch::new();
    let values = [
        number("-12.5"),
        number("12345678901234567890123456789012345678"),
        number("1e-300"),
        Value::from("ünï"),
        Value::from(""),
        Value::Bool(false),
        Value::Bool(true),
        Value::List(vec![Value::from("a"), Value::Bool(true), number("0.5")]),
        Value::List(Vec::new()),
    ];
    for (index, value) in values.iter().enumerate() {
        batch.push_event("mixed", "everything", FEBRUARY + index as i64, None, None).unwrap();
        batch.push_property("value", value).unwrap();
    }
    batch.push_event("mixed", "long ago", -86_400_001, None, None).unwrap();
    store.ingest(batch).unwrap();

    let write = |id: &str| ProfileWrite {
        id: id.to_owned(),
        set: vec![("plan".to_owned(), Value::from("pro"))],
        set_once: vec![("source".to_owned(), Value::from("ads"))],
        add: vec![("logins".to_owned(), Number::parse("1.5").unwrap())],
        unset: vec!["trial".to_owned()],
    };
    let merge = |from: &str, into: &str| IdentityMerge { from: from.to_owned(), into: into.to_owned() };
    store.write_profiles(Entity::User, vec![write("user-1"), write("user-2")]).unwrap();
    store.write_profiles(Entity::Account, vec![write("account-1")]).unwrap();
    store.seal().unwrap();

    // Rows that are gone from segments, and users called by another id than their ordinal's.
    store.merge_identities(vec![merge("user-1", "renamed")]).unwrap();
    store.merge_identities(vec![merge("user-3", "user-4"), merge("user-5", "user-4")]).unwrap();
    assert!(store.delete_user("user-6").unwrap());
    let json = |text: &str| Json::parse(text.as_bytes()).unwrap();
    let members = json(r#"{"users": ["user-1", "user-2", "user-3"], "static": true}"#);
    store.put_cohort("fixed", &members).unwrap();
    store.put_cohort("mixed", &json(r#"{"did": "mixed"}"#)).unwrap();
    store.put_query("views", &json(r#"{"kind": "segmentation", "series": [{"event": "view"}]}"#)).unwrap();
    store.seal().unwrap();

    // And one change of each kind that is only in the log.
    let mut batch = EventBatch::new();
    batch.push_event("view", "user-6", FEBRUARY, Some("again"), Some("account-9")).unwrap();
    batch.push_property("page", &Value::from("home")).unwrap();
    store.ingest(batch).unwrap();
    store.write_profiles(Entity::User, vec![write("user-1")]).unwrap();
    store.write_profiles(Entity::Account, vec![write("account-9")]).unwrap();
    store.merge_identities(vec![merge("user-8", "user-7")]).unwrap();
    assert!(store.delete_user("user-9").unwrap());
    store.put_cohort("late", &members).unwrap();
    store.put_query("mixed", &json(r#"{"kind": "cohort", "cohort": "mixed"}"#)).unwrap();
    store.delete_query("views").unwrap();
}

#[test]
#[ignore = "writes the golden store anew; only while its version is not released"]
fn write_the_golden_store() {
    let directory = TempDir::new().unwrap();
    // Small segments have everything that the others have, and more.
    let options = StoreOptions { background: false, small_segments: true, ..StoreOptions::default() };
    let store = Store::open_with(directory.path(), options).unwrap();
    write_golden_history(&store);
    let text = told(&store.snapshot());
    drop(store); // and not closed, which would empty the log
    let _ = fs::remove_dir_all(golden()); // not there the first time
    fs::create_dir_all(golden()).unwrap();
    for (name, bytes) in files(directory.path()) {
        fs::write(golden().join(name), bytes).unwrap();
    }
    fs::write(golden().with_extension("txt"), text).unwrap();
}

fn count(cell: &Cell) -> u64 {
    match cell {
        Cell::UInt(count) => *count,
        other => panic!("a count, found {other:?}"),
    }
}

/// All events, and all users who have any, as a query counts them.
fn counted(store: &Store) -> [u64; 2] {
    let query = br#"{"kind": "segmentation", "interval": "total", "as_of": "2026-01-01",
        "series": [{"event": "*"}, {"event": "*", "measure": "users"}]}"#;
    let answer = store.query(&Json::parse(query).unwrap()).unwrap();
    let values: Vec<u64> = answer.table.column("value").unwrap().map(count).collect();
    values.try_into().unwrap()
}

#[test]
fn the_golden_store_reads_as_it_did() {
    VERSIONS.into_iter().for_each(|version| reads_as_it_did(&golden_of(version)));
}

fn reads_as_it_did(golden: &Path) {
    let text = fs::read_to_string(golden.with_extension("txt")).unwrap();
    let directory = directory_of(&files(golden));
    let store = open(directory.path());
    assert_eq!(told(&store.snapshot()), text);
    let is_event =
        |line: &&str| line.starts_with("  ") && !line.starts_with("  profile") && !line.starts_with("  also");
    let events = text.lines().filter(is_event).count() as u64;
    let users = text.split("user ").filter(|user| user.lines().any(|line| is_event(&line))).count() as u64;
    assert_eq!(counted(&store), [events, users]);
    store.compact().unwrap();
    assert_eq!(told(&store.snapshot()), text);
    store.close().unwrap();
    assert_eq!(told(&open(directory.path()).snapshot()), text);
}

#[test]
fn no_byte_of_a_golden_segment_can_change_unnoticed() {
    for (name, bytes) in files(&golden()).into_iter().filter(|(name, _)| name.ends_with(".segment")) {
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x5a;
            let verified = Segment::open(&name, damaged.into()).and_then(|segment| segment.verify());
            // Reserved bytes and the padding between sections are never read.
            assert!(verified.is_err() || bytes[at] == 0, "byte {at} of {name}");
        }
    }
}

#[test]
fn a_store_with_a_damaged_manifest_or_id_file_does_not_open() {
    let golden = files(&golden());
    let directory = directory_of(&golden);
    for (name, bytes) in golden.iter().filter(|(name, _)| *name == "MANIFEST" || name.ends_with(".ids")) {
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x5a;
            fs::write(directory.path().join(name), &damaged).unwrap();
            let problem = try_open(directory.path()).expect_err(&format!("byte {at} of {name}"));
            assert_eq!(problem.exit_code(), 3, "byte {at} of {name}: {problem}");
        }
        fs::write(directory.path().join(name), bytes).unwrap();
    }
}

/// Writes the version into the header of every file of the golden store in turn.
#[test]
fn a_newer_version_of_any_file_is_refused_and_nothing_is_written() {
    let golden = files(&golden());
    for (name, bytes) in &golden {
        let directory = directory_of(&golden);
        fs::write(directory.path().join("LOCK"), "").unwrap();
        let mut newer = bytes.clone();
        newer[8..10].copy_from_slice(&900_u16.to_le_bytes());
        fs::write(directory.path().join(name), &newer).unwrap();
        let before = files(directory.path());
        let problem = try_open(directory.path()).unwrap_err();
        assert!(problem.detail.contains("format version 900"), "{name}: {problem}");
        assert_eq!(files(directory.path()), before, "{name}");
    }
}
