//! A store that was exported and read back answers every query as the first one does.

use std::path::Path;

use flywheeldb::Store;
use flywheeldb::api::Json;
use flywheeldb::export::{EventChoice, ExportFormat, Part, export};
use flywheeldb::io::write_outside;
use flywheeldb::model::{Entity, EventBatch};

use super::{Imported, file};
use crate::support::dice::Dice;
use crate::support::histories::{self, Act};
use crate::support::queries::Asker;
use crate::support::tables;

const FORMATS: [ExportFormat; 3] = [ExportFormat::Ndjson, ExportFormat::Csv, ExportFormat::Parquet];

fn does(store: &Store, act: &Act) {
    match act {
        Act::Events(events) => {
            let mut batch = EventBatch::new();
            events.iter().try_for_each(|event| batch.push(event)).unwrap();
            store.ingest(batch).unwrap();
        }
        Act::Profiles(entity, writes) => store.write_profiles(*entity, writes.clone()).unwrap(),
        Act::Merge(merges) => store.merge_identities(merges.clone()).unwrap(),
        Act::Delete(user) => {
            store.delete_user(user).unwrap();
        }
        Act::Model(model) => {
            store.put_growth_model(model).unwrap();
        }
        Act::Seal => store.seal().unwrap(),
        Act::Compact => store.compact().unwrap(),
        Act::Reopen | Act::Ask(_) => {}
    }
}

/// Writes all parts of a store to a directory.
fn export_all(store: &Store, format: ExportFormat, directory: &Path) {
    let parts = [
        ("identities", Part::Identities),
        ("users", Part::Profiles(Entity::User)),
        ("accounts", Part::Profiles(Entity::Account)),
        ("events", Part::Events),
    ];
    for (name, part) in parts {
        let path = directory.join(format!("{name}.{}", format.extension()));
        export(store, part, &EventChoice::default(), format, Box::new(write_outside(&path).unwrap()))
            .unwrap();
    }
}

#[test]
fn a_store_read_back_answers_as_the_one_that_was_exported() {
    const QUERY_COUNT: usize = 12;
    for seed in 7_000..7_060 {
        let mut dice = Dice::new(seed);
        let history = histories::history(&mut dice);
        let mut asker = Asker { dice: &mut dice, moments: &history.moments };
        let model = asker.growth_model();
        let queries: Vec<Json> = (0..QUERY_COUNT).map(|_| asker.query()).collect();
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        history.acts.iter().for_each(|act| does(&store, act));
        store.put_growth_model(&model).unwrap();
        if dice.percent(50) {
            store.seal().unwrap();
        }
        for format in FORMATS {
            let exported = tempfile::tempdir().unwrap();
            export_all(&store, format, exported.path());
            let again = Imported::of(&[exported.path()], &[]);
            again.outcome.as_ref().unwrap();
            assert_eq!(again.rejects(), "", "seed {seed}, {format:?}");
            again.store.put_growth_model(&model).unwrap();
            for query in &queries {
                let (expected, found) = (store.query(query).unwrap(), again.store.query(query).unwrap());
                let (expected, found) = (tables::rows(&expected.table), tables::rows(&found.table));
                assert!(
                    tables::same(&expected, &found),
                    "seed {seed}, {format:?}: {query}\nexpected\n{}\nfound\n{}",
                    tables::print(&expected),
                    tables::print(&found)
                );
            }
            for user in histories::USERS {
                let told = |store: &Store| {
                    let mut told = super::told(store.user(user, 1_000, None));
                    // Events of one name and moment without ids are told in no order.
                    if let Some(events) = told["events"].as_array_mut() {
                        events.sort_by_key(|event| (event["time"].to_string(), event.to_string()));
                    }
                    told
                };
                assert_eq!(told(&store), told(&again.store), "seed {seed}, {format:?}: {user}");
            }
        }
    }
}

/// Of whom nothing is set any more, and who did nothing, was in no file, and among nobody's others after that.
#[test]
fn who_has_an_empty_profile_is_known_still() {
    let directory = tempfile::tempdir().unwrap();
    let write = |user: &str, change: &str| format!("{{\"user\":\"{user}\",{change}}}\n");
    let lines = [
        write("bare", r#""set":{"plan":"free","seats":3}"#),
        write("bare", r#""unset":["plan","seats"]"#),
        write("other", r#""set":{"plan":"pro","tags":[]}"#),
    ];
    let imported =
        Imported::of(&[&file(&directory, "users.ndjson", lines.concat().as_bytes())], &["--what", "users"]);
    let query = Json::parse(br#"{"kind":"cohort","cohort":{"did_not":"a"},"select":"members"}"#).unwrap();
    let members = |store: &Store| tables::rows(&store.query(&query).unwrap().table).len();
    assert_eq!(members(&imported.store), 2);
    for format in FORMATS {
        let exported = tempfile::tempdir().unwrap();
        export_all(&imported.store, format, exported.path());
        let again = Imported::of(&[exported.path()], &[]);
        assert_eq!(members(&again.store), 2, "{format:?}: {}", again.rejects());
        for user in ["bare", "other"] {
            assert_eq!(again.user(user), imported.user(user), "{format:?}");
        }
        assert_eq!(again.store.schema().unwrap(), imported.store.schema().unwrap(), "{format:?}");
    }
}

#[test]
fn every_kind_of_value_survives_every_format() {
    let directory = tempfile::tempdir().unwrap();
    let line = r#"{"event":"e \"1\"","user":"u,\n'","time":"1969-12-31T23:59:59.999Z","id":"i;","account":"a b","properties":{"n":-0.50,"big":12345678901234567890.123456789,"t":true,"l":["x",1,false],"a":{"b":"c"},"s":"007","empty":"","text":"{\"a\":1}","properties":"p"}}"#;
    let path = file(&directory, "one.ndjson", format!("{line}\n").as_bytes());
    let imported = Imported::of(&[&path], &[]);
    let expected = imported.user("u,\n'");
    assert_eq!(expected["event_count"], 1);
    for format in FORMATS {
        let exported = tempfile::tempdir().unwrap();
        export_all(&imported.store, format, exported.path());
        let again = Imported::of(&[exported.path()], &[]);
        assert_eq!(again.user("u,\n'"), expected, "{format:?}: {}", again.rejects());
    }
}

#[test]
fn a_choice_of_events_is_all_that_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let lines: String = (1..=9)
        .map(|day| format!("{{\"event\":\"e{}\",\"user\":\"u\",\"time\":\"2026-03-0{day}\"}}\n", day % 2))
        .collect();
    let imported = Imported::of(&[&file(&directory, "days.ndjson", lines.as_bytes())], &[]);
    let count = |choice: &EventChoice| {
        export(
            &imported.store,
            Part::Events,
            choice,
            ExportFormat::Csv,
            Box::new(write_outside(Path::new("/dev/null")).unwrap()),
        )
        .unwrap()
    };
    let day = |day: i64| Some(1_772_323_200_000 + (day - 1) * 86_400_000);
    assert_eq!(count(&EventChoice::default()), 9);
    assert_eq!(count(&EventChoice { from: day(3), to: day(5), ..EventChoice::default() }), 2);
    assert_eq!(count(&EventChoice { events: vec!["e0".into()], ..EventChoice::default() }), 4);
    assert_eq!(count(&EventChoice { events: vec!["e0".into()], from: day(5), ..EventChoice::default() }), 2);
}
