//! A deleted user is gone down to the bytes, and does not come back.

use std::fs;
use std::path::Path;

use flywheeldb::Store;
use flywheeldb::io::Disk;
use flywheeldb::model::{Entity, EventBatch, IdentityMerge, Number, ProfileWrite, Value};
use flywheeldb::store::{backup, restore};

use super::{DAY, START, counts, json, one, open};

/// In no other text.
const TOKEN: &str = "q7Zk-unique-token-of-the-deleted";

/// The files in which the bytes of the token are, raw.
fn files_with_token(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            let bytes = fs::read(entry.path()).unwrap();
            if bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()) {
                found.push(entry.file_name().into_string().unwrap());
            }
        }
    }
    found
}

fn token_events(user: &str, first: i64) -> EventBatch {
    let mut batch = EventBatch::new();
    for index in 0..40 {
        let id = format!("{TOKEN}-event-{index}");
        let name = if index % 5 == 0 { format!("{TOKEN} clicked") } else { "viewed".to_owned() };
        let time = START + (first + index) * DAY;
        batch.push_event(&name, user, time, Some(&id), Some("acme")).unwrap();
        batch.push_property("page", &Value::from(format!("/{TOKEN}/{index}").as_str())).unwrap();
        batch.push_property(&format!("{TOKEN} name"), &Value::from(index)).unwrap();
        batch.push_property("tags", &Value::List(vec![TOKEN.into(), "shared".into()])).unwrap();
        batch.push_property("amount", &Number::parse(&format!("{index}.25")).unwrap().into()).unwrap();
    }
    batch
}

/// A property that is kept as numbers, of one user only.
fn many_numbers(user: &str) -> EventBatch {
    let mut batch = EventBatch::new();
    for index in 0..400_i64 {
        batch.push_event("scrolled", user, START + index, None, None).unwrap();
        batch.push_property(&format!("{TOKEN} offset"), &Value::from(index * 7)).unwrap();
    }
    batch
}

/// A store of others and of one user under three ids, with the token wherever text may be; parts of it sealed.
fn fill(store: &Store) {
    let (user, alias) = (format!("{TOKEN}-user"), format!("{TOKEN}-alias"));
    let late = format!("{TOKEN}-late");
    for other in 0..30 {
        store.ingest(one("viewed", &format!("user-{other}"), START + other * DAY, "e")).unwrap();
        store.ingest(one("scrolled", &format!("user-{other}"), START + other * DAY, "s")).unwrap();
    }
    store.ingest(token_events(&user, 0)).unwrap();
    store.ingest(many_numbers(&user)).unwrap();
    store.seal().unwrap();
    store.ingest(token_events(&alias, 50)).unwrap();
    let write = ProfileWrite {
        id: user.clone(),
        set: vec![("name".to_owned(), TOKEN.into()), (format!("{TOKEN} key"), true.into())],
        ..ProfileWrite::default()
    };
    store.write_profiles(Entity::User, vec![write]).unwrap();
    store.merge_identities(vec![IdentityMerge { from: alias, into: user.clone() }]).unwrap();
    let members = json(&format!(r#"{{"users": ["{user}", "user-1"], "static": true}}"#));
    store.put_cohort("fixed", &members).unwrap();
    store.seal().unwrap();
    store.ingest(token_events(&late, 100)).unwrap();
    store.merge_identities(vec![IdentityMerge { from: user, into: late }]).unwrap();
}

#[test]
fn no_byte_of_a_deleted_user_stays_in_any_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    fill(&store);
    let others = counts(&store, "*").unwrap().1 - 1;
    assert!(files_with_token(folder.path()).len() >= 3, "{:?}", files_with_token(folder.path()));

    assert!(store.delete_user(&format!("{TOKEN}-alias")).unwrap());
    assert_eq!(counts(&store, "*").unwrap(), (60, others), "gone at once");
    store.compact().unwrap();
    assert_eq!(files_with_token(folder.path()), Vec::<String>::new());
    assert_eq!(counts(&store, "*").unwrap(), (60, others));
    assert!(!store.schema().unwrap().to_string().contains(TOKEN));
    assert!(!store.list_cohorts().unwrap().to_string().contains(TOKEN));
    assert!(store.check().unwrap().is_sound());
    store.close().unwrap();
    assert_eq!(files_with_token(folder.path()), Vec::<String>::new());
}

#[test]
fn what_was_deleted_before_a_kill_goes_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    fill(&store);
    store.delete_user(&format!("{TOKEN}-user")).unwrap();
    drop(store); // as a kill leaves it: the deletion is in the log
    let store = open(folder.path());
    assert_eq!(counts(&store, "*").unwrap().0, 60, "replay does not bring it back");
    store.compact().unwrap();
    assert_eq!(files_with_token(folder.path()), Vec::<String>::new());
}

#[test]
fn a_late_retry_brings_nobody_back_and_a_new_event_is_somebody_new() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    fill(&store);
    store.delete_user(&format!("{TOKEN}-late")).unwrap();
    for step in 0..3 {
        for (user, first) in [("user", 0), ("alias", 50), ("late", 100)] {
            let receipt = store.ingest(token_events(&format!("{TOKEN}-{user}"), first)).unwrap();
            assert_eq!((receipt.accepted, receipt.duplicates), (0, 40), "step {step}, {user}");
        }
        assert_eq!(counts(&store, "*").unwrap().0, 60);
        // Retried again after the next of: in memory, compacted, reopened.
        match step {
            0 => store.compact().unwrap(),
            _ => {
                drop(store);
                store = open(folder.path());
            }
        }
    }
    let user = format!("{TOKEN}-user");
    assert_eq!(store.ingest(one("viewed", &user, START, "another id")).unwrap().accepted, 1);
    assert_eq!(counts(&store, "*").unwrap().0, 61);
    store.delete_user(&user).unwrap();
    store.compact().unwrap();
    assert_eq!(files_with_token(folder.path()), Vec::<String>::new());
    assert_eq!(store.ingest(one("viewed", &user, START, "another id")).unwrap().duplicates, 1);
    store.close().unwrap();
    assert_eq!(
        files_with_token(folder.path()),
        Vec::<String>::new(),
        "a retry that is left out leaves nothing"
    );
}

#[test]
fn the_next_backup_has_nothing_of_the_deleted_and_what_is_restored_of_it_neither() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let store = open(&at("data"));
    fill(&store);
    let target = Disk::open(&at("backup")).unwrap();
    store.backup(&target).unwrap();
    assert!(!files_with_token(&at("backup")).is_empty());
    store.delete_user(&format!("{TOKEN}-user")).unwrap();
    store.compact().unwrap();
    backup(&Disk::open(&at("data")).unwrap(), &target, START).unwrap();
    assert_eq!(files_with_token(&at("backup")), Vec::<String>::new());
    restore(&target, &Disk::open(&at("restored")).unwrap()).unwrap();
    assert_eq!(files_with_token(&at("restored")), Vec::<String>::new());
    let restored = open(&at("restored"));
    assert_eq!(counts(&restored, "*").unwrap(), counts(&store, "*").unwrap());
    let receipt = restored.ingest(token_events(&format!("{TOKEN}-user"), 0)).unwrap();
    assert_eq!((receipt.accepted, receipt.duplicates), (0, 40));
}
