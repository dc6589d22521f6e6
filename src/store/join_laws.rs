//! What joins of segments owe to what happens beside them.

use std::path::Path;

use super::seal::Written;
use super::{Store, StoreOptions};
use crate::api::{Cell, Json};
use crate::model::{EventBatch, IdentityMerge};

fn open(directory: &Path) -> Store {
    Store::open_with(directory, StoreOptions { background: false, ..StoreOptions::default() }).unwrap()
}

fn ingest(store: &Store, user: &str) {
    let mut batch = EventBatch::new();
    batch.push_event("signup", user, 1_700_000_000_000, Some(user), None).unwrap();
    store.ingest(batch).unwrap();
}

/// How many events there are, and of how many users.
fn counts(store: &Store) -> [Cell; 2] {
    ["events", "users"].map(|measure| {
        let query = format!(
            r#"{{"kind": "segmentation", "interval": "total", "series": [{{"event": "signup", "measure": "{measure}"}}]}}"#
        );
        let answer = store.query(&Json::parse(query.as_bytes()).unwrap()).unwrap();
        answer.table.column("value").unwrap().next().cloned().unwrap()
    })
}

/// Two segments, and in memory what takes rows out of them: a user who is deleted, and one who becomes another.
fn with_changes(store: &Store) {
    for user in ["anonymous", "ada", "bob", "eve"] {
        ingest(store, user);
        store.seal().unwrap();
    }
    go(store, "bob", "anonymous");
    ingest(store, "new");
}

fn go(store: &Store, deleted: &str, merged: &str) {
    assert!(store.delete_user(deleted).unwrap());
    store.merge_identities(vec![IdentityMerge { from: merged.into(), into: "ada".into() }]).unwrap();
}

/// What a crash leaves must say the same, and so must it once everything is joined.
fn assert_lasting(store: Store, directory: &Path, expected: [Cell; 2]) {
    assert_eq!(counts(&store), expected);
    drop(store);
    let store = open(directory);
    assert_eq!(counts(&store), expected);
    store.compact().unwrap();
    assert_eq!(counts(&store), expected);
    drop(store);
    assert_eq!(counts(&open(directory)), expected);
}

#[test]
fn parts_of_a_load_are_joined_once_at_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let segment_count = |store: &Store| store.inner.disk_by_time().len();
    for user in ["ada", "bob", "eve", "ida", "joe", "ada"] {
        let mut batch = EventBatch::new();
        batch.push_event("signup", user, 1_700_000_000_000, None, None).unwrap();
        store.load(batch).unwrap();
        store.inner.seal().unwrap();
        store.compact_where_due().unwrap();
    }
    assert_eq!(segment_count(&store), 6, "more may come, and make a better join");
    store.seal().unwrap();
    store.compact_where_due().unwrap();
    assert_eq!(segment_count(&store), 1);
    assert_lasting(store, directory.path(), [Cell::UInt(6), Cell::UInt(5)]);
}

#[test]
fn a_seal_within_a_join_loses_and_doubles_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    with_changes(&store);
    let begun = store.inner.disk_by_time();
    store.seal().unwrap();
    store.inner.join(begun).unwrap();
    // Events of anonymous and ada are ada's; eve's and new's.
    assert_lasting(store, directory.path(), [Cell::UInt(4), Cell::UInt(3)]);
}

#[test]
fn a_join_within_a_seal_loses_and_doubles_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    with_changes(&store);
    let inner = &store.inner;
    let freeze = inner.freeze().unwrap().unwrap();
    // These come after the checkpoint, and their rows are in the segments that are joined.
    go(&store, "eve", "new");
    let mut written = Written::default();
    inner.write_frozen(&freeze, &mut written).unwrap();
    inner.join(inner.disk_by_time()).unwrap();
    inner.publish_frozen(&freeze, &written).unwrap();
    assert_lasting(store, directory.path(), [Cell::UInt(3), Cell::UInt(1)]);
}

/// Users were merged between the seal with which a compaction begins and its choice of segments; it dropped the
/// rows of one of them, whose new place was in memory only, and a crash then lost them.
#[test]
fn a_merge_of_users_during_a_compaction_outlives_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for user in ["anonymous", "ada"] {
        ingest(&store, user);
        store.seal().unwrap();
    }
    store.merge_identities(vec![IdentityMerge { from: "anonymous".into(), into: "ada".into() }]).unwrap();
    store.inner.join(store.inner.disk_by_time()).unwrap();
    assert_lasting(store, directory.path(), [Cell::UInt(2), Cell::UInt(1)]);
}
