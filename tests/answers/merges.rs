//! Ids that are one user are one whatever the order in which that is said, how often, and in how many requests.

use std::time::Instant;

use flywheeldb::Store;
use flywheeldb::api::{Cell, Json};
use flywheeldb::model::{EventBatch, IdentityMerge};

use super::support::dice::Dice;

const ID_COUNT: usize = 14;
const LINK_COUNT: usize = 110_000;

fn name(id: usize) -> String {
    format!("id-{id}")
}

fn merge(from: usize, into: usize) -> IdentityMerge {
    IdentityMerge { from: name(from), into: name(into) }
}

/// An event of each id.
fn events(ids: std::ops::Range<usize>) -> EventBatch {
    let mut batch = EventBatch::new();
    for id in ids {
        batch.push_event("seen", &name(id), 1_700_000_000_000 + id as i64, Some(&name(id)), None).unwrap();
    }
    batch
}

/// Which ids are one, worked out by union-find: for each the least of its set.
fn union_find(pairs: &[(usize, usize)]) -> Vec<usize> {
    let mut parents: Vec<usize> = (0..ID_COUNT).collect();
    fn root(parents: &[usize], mut id: usize) -> usize {
        while parents[id] != id {
            id = parents[id];
        }
        id
    }
    for (from, into) in pairs {
        let (a, b) = (root(&parents, *from), root(&parents, *into));
        parents[a.max(b)] = a.min(b);
    }
    (0..ID_COUNT).map(|id| root(&parents, id)).collect()
}

/// The same of a store: for each id the least that is the same user.
fn sets_of(store: &Store) -> Vec<usize> {
    let users: Vec<_> =
        (0..ID_COUNT).map(|id| store.identity(&name(id)).map(|identity| identity.user)).collect();
    (0..ID_COUNT).map(|id| users.iter().position(|user| *user == users[id]).unwrap()).collect()
}

fn user_count(store: &Store) -> Cell {
    let body = r#"{"kind": "segmentation", "interval": "total", "from": "2023-01-01", "to": "2025-01-01", "as_of": "2026-01-01",
        "series": [{"event": "*", "measure": "users"}]}"#;
    store
        .query(&Json::parse(body.as_bytes()).unwrap())
        .unwrap()
        .table
        .column("value")
        .unwrap()
        .next()
        .unwrap()
        .clone()
}

#[test]
fn merges_are_those_of_union_find_in_any_order() {
    let setting =
        |name: &str, unset| std::env::var(name).map_or(unset, |text| text.parse().expect("a number"));
    let (case_count, seed) = (setting("FLYWHEEL_MERGES", 40), setting("FLYWHEEL_SEED", 1));
    let mut dice = Dice::new(seed);
    for case in 0..case_count {
        let mut pairs: Vec<(usize, usize)> =
            (0..dice.below(24)).map(|_| (dice.below(ID_COUNT), dice.below(ID_COUNT))).collect();
        let expected = union_find(&pairs);
        let count = (0..ID_COUNT).filter(|id| expected[*id] == *id).count() as u64;
        for order in 0..3 {
            let directory = tempfile::tempdir().unwrap();
            let mut store = Store::open(directory.path()).unwrap();
            let (early, late) = (events(0..ID_COUNT / 2), events(ID_COUNT / 2..ID_COUNT));
            store.ingest(early).unwrap();
            for part in pairs.chunks(1 + dice.below(6)) {
                store
                    .merge_identities(part.iter().map(|(from, into)| merge(*from, *into)).collect())
                    .unwrap();
                match dice.below(8) {
                    0 => store.seal().unwrap(),
                    1 => store.compact().unwrap(),
                    2 => {
                        drop(store);
                        store = Store::open(directory.path()).unwrap();
                    }
                    _ => {}
                }
            }
            store.ingest(late).unwrap();
            assert_eq!(sets_of(&store), expected, "case {case}, order {order}: {pairs:?}");
            assert_eq!(user_count(&store), Cell::UInt(count), "case {case}, order {order}: {pairs:?}");
            // Said again, nothing changes; and in another order, it is the same.
            store.merge_identities(pairs.iter().map(|(from, into)| merge(*from, *into)).collect()).unwrap();
            assert_eq!(sets_of(&store), expected, "case {case}, order {order}: {pairs:?}");
            for last in (1..pairs.len()).rev() {
                pairs.swap(last, dice.below(last + 1));
            }
            pairs.iter_mut().for_each(|(from, into)| {
                if dice.below(2) == 0 {
                    std::mem::swap(from, into);
                }
            });
        }
    }
    println!("{case_count} sets of merges in three orders each, seed {seed}: 0 differences from union-find");
}

#[test]
fn a_chain_of_a_hundred_thousand_ids_is_one_user() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    for first in (0..LINK_COUNT).step_by(10_000) {
        store.ingest(events(first..(first + 10_000).min(LINK_COUNT))).unwrap();
    }
    let begun = Instant::now();
    for first in (1..LINK_COUNT).step_by(10_000) {
        let links = first..(first + 10_000).min(LINK_COUNT);
        store.merge_identities(links.map(|id| merge(id - 1, id)).collect()).unwrap();
    }
    println!("a chain of {LINK_COUNT} ids: {:.1?}", begun.elapsed());
    assert_eq!(user_count(&store), Cell::UInt(1));
    assert_eq!(store.identity(&name(0)), store.identity(&name(LINK_COUNT - 1)));
    store.close().unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(user_count(&store), Cell::UInt(1));
}
