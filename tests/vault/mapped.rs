//! Files are cut short under a running store: the query that meets it fails and names the file, the process lives,
//! and what does not need the file goes on.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use flywheeldb::Store;
use flywheeldb::api::ProblemClass;
use flywheeldb::model::EventBatch;
use flywheeldb::store::StoreOptions;

use super::{START, counts, json, one, open, options};

fn segments(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "segment")).collect();
    found.sort();
    found
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn cut(path: &Path, size: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(size).unwrap();
}

/// Two segments of one event name each; the second is several pages long.
fn fill(store: &Store) {
    let mut batch = EventBatch::new();
    for user in 0..50 {
        batch.push_event("signed up", &format!("user-{user}"), START, Some("s"), None).unwrap();
    }
    store.ingest(batch).unwrap();
    store.seal().unwrap();
    let mut batch = EventBatch::new();
    for index in 0..6_000_i64 {
        let user = format!("user-{}", index % 50);
        batch
            .push_event("viewed", &user, START + index * 60_000, Some(&format!("id-{index}")), None)
            .unwrap();
        batch.push_property("page", &format!("/page/{}", index * 7919 % 3000).as_str().into()).unwrap();
    }
    store.ingest(batch).unwrap();
    store.seal().unwrap();
}

#[test]
fn a_segment_that_is_cut_fails_the_queries_that_need_it_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    fill(&store);
    let signed_up = counts(&store, "signed up").unwrap();
    assert_eq!((signed_up, counts(&store, "viewed").unwrap()), ((50, 50), (6_000, 50)));
    let victim = segments(folder.path()).pop().unwrap();
    cut(&victim, 5_000);

    let problem = counts(&store, "viewed").unwrap_err();
    assert_eq!(problem.class, ProblemClass::Corrupt);
    assert!(problem.detail.contains(name(&victim)) && problem.detail.contains("cut short"), "{problem}");
    assert_eq!(counts(&store, "signed up").unwrap(), signed_up, "the others go on answering");
    assert_eq!(store.health().damaged, [name(&victim)]);

    // What would need it to know whether it is new is not stored; the rest is, and survives.
    assert!(store.ingest(one("viewed", "user-1", START + 60_000, "id-1")).is_err());
    assert_eq!(store.ingest(one("signed up", "user-1", START, "s")).unwrap().duplicates, 1);
    assert_eq!(store.ingest(one("signed up", "somebody new", START, "s")).unwrap().accepted, 1);
    store.seal().unwrap();
    assert!(
        store.compact().unwrap_err().detail.contains(name(&victim)),
        "not all bytes that should be gone are"
    );
    assert_eq!(counts(&store, "signed up").unwrap(), (51, 51));
    assert!(victim.exists(), "what may be mended is not written away");
    let findings = store.check().unwrap().findings;
    assert!(findings.iter().all(|finding| finding.file == name(&victim)) && !findings.is_empty());
}

/// Cuts a file at every page's edge, just behind it, and within the last page, each time under another query.
#[test]
fn wherever_a_file_is_cut_an_answer_is_right_or_names_it() {
    let original = tempfile::tempdir().unwrap();
    let store = open(original.path());
    fill(&store);
    store.close().unwrap();
    let size = fs::metadata(segments(original.path()).pop().unwrap()).unwrap().len();
    let page = 4096;
    let sizes =
        (0..=size / page).flat_map(|index| [index * page, index * page + 1]).chain([size - 1, size - 30]);
    let queries = [
        r#"{"kind": "segmentation", "interval": "month", "series": [{"event": "viewed"}], "breakdown": {"property": "page", "limit": 5}}"#,
        r#"{"kind": "funnel", "steps": ["signed up", "viewed", "viewed"], "window": "60d"}"#,
        r#"{"kind": "retention", "birth": "signed up", "interval": "week", "periods": 4}"#,
    ];
    let (mut trials, mut failed) = (0, 0);
    for (index, cut_to) in sizes.filter(|cut_to| *cut_to < size).enumerate() {
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(original.path()).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        let store = open(folder.path());
        let query = json(queries[index % queries.len()]);
        // Half of the time every section was proved before.
        let expected = open(original.path()).query(&query).unwrap().table;
        if index % 2 == 0 {
            assert_eq!(store.query(&query).unwrap().table, expected);
        }
        let victim = segments(folder.path()).pop().unwrap();
        let answers = std::thread::scope(|scope| {
            let asking = scope.spawn(|| (0..3).map(|_| store.query(&query)).collect::<Vec<_>>());
            cut(&victim, cut_to);
            let mut answers = vec![store.query(&query)];
            answers.extend(asking.join().unwrap());
            answers
        });
        for answer in answers {
            trials += 1;
            match answer {
                Ok(answer) => assert_eq!(answer.table, expected, "cut to {cut_to}"),
                Err(problem) => {
                    failed += 1;
                    assert!(problem.detail.contains(name(&victim)), "cut to {cut_to}: {problem}");
                }
            }
        }
        assert!(counts(&store, "signed up").is_ok());
    }
    println!("{trials} queries while a segment was cut, {failed} of them failed, each naming it");
}

#[test]
fn a_file_of_ids_that_is_cut_fails_everything_and_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    fill(&store);
    let entries = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let ids = entries.filter(|path| path.extension().is_some_and(|ending| ending == "ids")).min().unwrap();
    cut(&ids, 0);
    for outcome in [
        counts(&store, "viewed").map(drop),
        store.user("user-1", 10, None).map(drop),
        store.ingest(one("signed up", "user-1", START, "t")).map(drop),
        store.ingest(one("signed up", "nobody yet", START, "t")).map(drop),
    ] {
        let problem = outcome.unwrap_err();
        assert!(problem.class == ProblemClass::Corrupt && problem.detail.contains(name(&ids)), "{problem}");
    }
}

#[test]
fn a_store_opens_without_a_damaged_segment_only_if_asked_to_and_then_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    fill(&store);
    store.ingest(one("signed up", "in the log", START, "l")).unwrap();
    drop(store);
    let victim = segments(folder.path()).pop().unwrap();
    let whole = fs::read(&victim).unwrap();
    let degraded = || Store::open_with(folder.path(), StoreOptions { degraded: true, ..options() });
    let listed = || {
        let entries = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<_> =
            entries.map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap())).collect();
        files.sort();
        files
    };
    let damages: [&dyn Fn(); 3] =
        [&|| cut(&victim, whole.len() as u64 - 1), &|| fs::write(&victim, b"FLYSEGMT").unwrap(), &|| {
            fs::remove_file(&victim).unwrap()
        }];
    for damage in damages {
        damage();
        let problem = Store::open_with(folder.path(), options()).unwrap_err();
        assert!(problem.detail.contains(name(&victim)), "{problem}");
        assert!(problem.hint.unwrap().contains("--degraded"));
        let before = listed();
        let store = degraded().unwrap();
        assert_eq!(store.health().missing[0].name, name(&victim));
        let query = json(r#"{"kind": "segmentation", "interval": "total", "series": [{"event": "*"}]}"#);
        let answer = store.query(&query).unwrap();
        assert_eq!(answer.statistics.degraded, [name(&victim)]);
        assert_eq!(counts(&store, "signed up").unwrap(), (51, 51), "what the log has is there, too");
        assert_eq!(counts(&store, "viewed").unwrap().0, 0);
        let refused = store.ingest(one("signed up", "ada", START, "e")).unwrap_err();
        assert_eq!(refused.class, ProblemClass::ReadOnly);
        assert!(store.compact().is_err() && store.seal().is_err() && store.expire().is_err());
        store.close().unwrap();
        assert_eq!(listed(), before, "nothing was written");
        fs::write(&victim, &whole).unwrap();
    }
    let store = degraded().unwrap();
    assert!(store.health().is_whole(), "with the file in its place all is well");
    assert_eq!(counts(&store, "viewed").unwrap(), (6_000, 50));
    store.ingest(one("signed up", "ada", START, "e")).unwrap();
}
