//! Random histories: the store answers as the reference does, cell by cell, whatever state it is in.
//!
//! `FLYWHEEL_CASES` says how many queries to throw, and `FLYWHEEL_SEED` where to begin. A failure prints its seed, and
//! the smallest history and query that still differ.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::support::dice::Dice;
use crate::support::histories::{self, Act};
use crate::support::queries::Asker;
use crate::support::reading;
use crate::support::reference::{Reference, Refusal};
use crate::support::tables::{self, Row};
use flywheeldb::Store;
use flywheeldb::api::{Json, Problem};
use flywheeldb::model::EventBatch;
use tempfile::TempDir;

/// Queries that each history is asked, in each of its states.
const QUERY_COUNT: usize = 8;
const CASE_COUNT: u64 = 1_500;
const GROWTH_CASE_COUNT: u64 = 800;
pub const SEED: u64 = 20_240_331;

/// Throws a history with its queries: some along the way, and all of them when everything has arrived, after
/// a seal, after a compaction, and after the store was opened again.
pub fn acts(seed: u64) -> Vec<Act> {
    acts_with(seed, |asker| asker.query())
}

fn acts_with(seed: u64, throw: impl Fn(&mut Asker<'_>) -> Json) -> Vec<Act> {
    let mut dice = Dice::new(seed);
    let history = histories::history(&mut dice);
    let mut asker = Asker { dice: &mut dice, moments: &history.moments };
    let mut acts = vec![Act::Model(asker.growth_model())];
    let queries: Vec<Act> = (0..QUERY_COUNT).map(|_| Act::Ask(throw(&mut asker))).collect();
    for act in history.acts {
        acts.push(act);
        if dice.percent(40) {
            acts.push(dice.pick(&queries));
        }
    }
    for state in [None, Some(Act::Seal), Some(Act::Compact), Some(Act::Reopen)] {
        acts.extend(state);
        acts.extend(queries.iter().cloned());
    }
    acts
}

/// Does an act to the reference, which knows no states. A query gets rows, unless it is beyond the reference.
pub fn reference_does(reference: &mut Reference, act: &Act) -> Option<Vec<Row>> {
    match act {
        Act::Events(events) => events.iter().for_each(|event| reference.arrive(event.clone())),
        Act::Profiles(entity, writes) => {
            writes.iter().for_each(|write| reference.write_profile(*entity, write));
        }
        Act::Merge(merges) => merges.iter().for_each(|merge| reference.merge(merge)),
        Act::Delete(user) => reference.delete(user),
        Act::Model(model) => reference.set_growth_model(model.clone()),
        Act::Seal | Act::Compact | Act::Reopen => {}
        Act::Ask(query) => {
            return match reference.answer(query) {
                Ok(rows) => Some(rows),
                Err(Refusal::TooMany) => None,
                Err(refusal) => panic!("{refusal:?} refuses {query}"),
            };
        }
    }
    None
}

/// A store in a directory that goes with it.
pub struct OwnStore {
    /// `None` only while it is closed.
    store: Option<Store>,
    path: PathBuf,
    _directory: TempDir,
}

impl OwnStore {
    pub fn open() -> OwnStore {
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path().join("store");
        let store = Some(Store::open(&path).expect("a new store opens"));
        OwnStore { store, path, _directory: directory }
    }

    /// Does an act. A query gets rows.
    pub fn does(&mut self, act: &Act) -> Result<Option<Vec<Row>>, Problem> {
        if let Act::Reopen = act {
            self.store.take().expect("it is open between acts").close()?;
            self.store = Some(Store::open(&self.path)?);
        }
        let store = self.store.as_ref().expect("it is open between acts");
        match act {
            Act::Events(events) => {
                let mut batch = EventBatch::new();
                events.iter().try_for_each(|event| batch.push(event)).expect("the events are valid");
                store.ingest(batch)?;
            }
            Act::Profiles(entity, writes) => store.write_profiles(*entity, writes.clone())?,
            Act::Merge(merges) => store.merge_identities(merges.clone())?,
            Act::Delete(user) => {
                store.delete_user(user)?;
            }
            Act::Model(model) => {
                store.put_growth_model(model)?;
            }
            Act::Seal => store.seal()?,
            Act::Compact => store.compact()?,
            Act::Reopen => {}
            Act::Ask(query) => return Ok(Some(tables::rows(&store.query(query)?.table))),
        }
        Ok(None)
    }
}

/// Where the two part.
struct Difference {
    /// The act that showed it.
    at: usize,
    manner: Manner,
    story: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    OtherRows,
    Refusal,
    Panic,
}

/// Does all acts to a new store and a new reference, up to the first that shows a difference.
fn difference(acts: &[Act]) -> Option<Difference> {
    let mut reference = Reference::default();
    let mut store = OwnStore::open();
    for (at, act) in acts.iter().enumerate() {
        let expected = reference_does(&mut reference, act);
        let (manner, found) = match catch_unwind(AssertUnwindSafe(|| store.does(act))) {
            Err(_) => (Manner::Panic, "the store panics".to_owned()),
            Ok(Err(problem)) => (Manner::Refusal, format!("the store refuses: {problem}")),
            Ok(Ok(found)) => match (&expected, &found) {
                (Some(expected), Some(found)) if !tables::same(expected, found) => {
                    (Manner::OtherRows, format!("the store says\n{}", tables::print(found)))
                }
                _ => continue,
            },
        };
        let expected = expected.map(|rows| format!("the reference says\n{}\n", tables::print(&rows)));
        return Some(Difference { at, manner, story: expected.unwrap_or_default() + &found });
    }
    None
}

/// Fields that a query can do without.
const OPTIONAL_FIELDS: &[&str] = &[
    "where",
    "breakdown",
    "timezone",
    "week_start",
    "return",
    "cohorts",
    "alignment",
    "at_least",
    "measure",
    "summary",
    "window",
    "strict_time",
    "within_range",
    "order",
    "strict_over",
    "exclude",
    "hold",
    "per_bucket",
    "cumulative",
    "event",
    "ratio",
    "after",
    "start",
    "end",
    "events",
    "session_gap",
    "limit",
    "repeats",
    "whole",
    "compare",
    "rolling",
    "formula",
    "curve",
    "within",
    "candidates",
    "thresholds",
    "interval",
    "hand_raise",
    "qualified_at",
    "signup",
    "invite",
    "accept",
    "subscription",
    "currency",
    "trailing",
    "near",
    "activate",
    "transitions",
    "entity",
];

/// Leaves out acts, events and fields of the query one by one, as long as the last act shows a difference of
/// the same manner.
fn shrink(mut acts: Vec<Act>, manner: Manner) -> Vec<Act> {
    let still_differs = |acts: &Vec<Act>| {
        difference(acts).is_some_and(|found| found.at + 1 == acts.len() && found.manner == manner)
    };
    while let Some(fewer) = with_one_less(&acts).into_iter().find(still_differs) {
        acts = fewer;
    }
    acts
}

/// Every list of acts with one thing less. The last act stays, and the model that queries leave parts to.
fn with_one_less(acts: &[Act]) -> Vec<Vec<Act>> {
    let with = |index: usize, act: Option<Act>| -> Vec<Act> {
        acts[..index].iter().cloned().chain(act).chain(acts[index + 1..].iter().cloned()).collect()
    };
    let last = acts.len() - 1;
    let may_go = |index: &usize| !matches!(acts[*index], Act::Model(_));
    let mut fewer: Vec<Vec<Act>> = (0..last).filter(may_go).map(|index| with(index, None)).collect();
    for (index, act) in acts.iter().enumerate() {
        let smaller: Vec<Act> = match act {
            Act::Events(events) => each_without_one(events).map(Act::Events).collect(),
            Act::Merge(merges) => each_without_one(merges).map(Act::Merge).collect(),
            Act::Profiles(entity, writes) => {
                each_without_one(writes).map(|writes| Act::Profiles(*entity, writes)).collect()
            }
            Act::Ask(Json::Object(fields)) if index == last => {
                let is_valid = |fewer: &Vec<(String, Json)>| {
                    let left_out =
                        fields.iter().find(|(name, _)| fewer.iter().all(|(known, _)| known != name));
                    left_out.is_some_and(|(name, _)| OPTIONAL_FIELDS.contains(&name.as_str()))
                };
                let queries = each_without_one(fields).filter(is_valid).chain(with_shorter_lists(fields));
                queries.map(|fields| Act::Ask(Json::Object(fields))).collect()
            }
            _ => Vec::new(),
        };
        fewer.extend(smaller.into_iter().map(|act| with(index, Some(act))));
    }
    fewer
}

/// Every query with one step or series less.
fn with_shorter_lists(fields: &[(String, Json)]) -> Vec<Vec<(String, Json)>> {
    let mut shorter = Vec::new();
    for (index, (name, value)) in fields.iter().enumerate() {
        let count_min = match name.as_str() {
            "steps" => 2,
            "series" | "signals" => 1,
            _ => continue,
        };
        // Of paths, the steps are a number.
        let Json::Array(items) = value else { continue };
        for fewer in each_without_one(items).filter(|fewer| fewer.len() >= count_min) {
            let mut fields = fields.to_vec();
            fields[index].1 = Json::Array(fewer);
            shorter.push(fields);
        }
    }
    shorter
}

/// The list without its first thing, without its second, and so on. Never empty.
fn each_without_one<T: Clone>(things: &[T]) -> impl Iterator<Item = Vec<T>> {
    let indexes = if things.len() > 1 { 0..things.len() } else { 0..0 };
    indexes.map(|index| [&things[..index], &things[index + 1..]].concat())
}

pub fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}")))
}

#[test]
fn the_store_answers_as_the_reference_does() {
    compare(CASE_COUNT, acts);
}

#[test]
fn the_store_answers_growth_queries_as_the_reference_does() {
    compare(GROWTH_CASE_COUNT, |seed| acts_with(seed, |asker| asker.growth()));
}

#[test]
fn the_store_answers_queries_about_flows_as_the_reference_does() {
    compare(GROWTH_CASE_COUNT, |seed| acts_with(seed, |asker| asker.growth_flows()));
}

/// Throws so many queries, and tells the smallest history that shows a difference.
fn compare(case_count: u64, throw: impl Fn(u64) -> Vec<Act>) {
    let case_count = setting("FLYWHEEL_CASES").unwrap_or(case_count);
    let first_seed = setting("FLYWHEEL_SEED").unwrap_or(SEED);
    for seed in first_seed..first_seed + case_count.div_ceil(QUERY_COUNT as u64) {
        let mut acts = throw(seed);
        let Some(found) = difference(&acts) else { continue };
        acts.truncate(found.at + 1);
        let text = |acts: &[Act]| acts.iter().map(|act| format!("  {act}")).collect::<String>();
        let whole = format!("FLYWHEEL_SEED={seed}\nthe whole history:\n{}\n{}", text(&acts), found.story);
        let smallest = shrink(acts, found.manner);
        let story = difference(&smallest).map_or(found.story, |difference| difference.story);
        panic!("{whole}\n\nthe smallest that differs:\n{}\n{story}", text(&smallest));
    }
}

/// The throws are worth making: the reference answers every query, and often with something to compare.
#[test]
fn random_queries_have_something_to_tell() {
    let mut told: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for seed in 0..150 {
        let mut reference = Reference::default();
        for act in acts(seed) {
            let rows = reference_does(&mut reference, &act);
            if let (Act::Ask(query), Some(rows)) = (&act, rows) {
                let kind = query.get("kind").expect("a query has a kind").to_string();
                let (all, telling) = told.entry(kind).or_default();
                *all += 1;
                *telling += usize::from(has_something_to_tell(&rows));
            }
        }
    }
    println!("queries thrown, and those with something to tell: {told:#?}");
    assert_eq!(told.len(), 15, "every kind is thrown");
    for (kind, (all, telling)) in told {
        assert!(telling * 6 > all, "only {telling} of {all} answers to {kind} have something to tell");
    }
}

/// The columns that name or count somebody.
const COUNTS: [&str; 12] = [
    "value",
    "users",
    "user",
    "account",
    "active",
    "activated",
    "converted",
    "ending",
    "active_users",
    "invites",
    "used",
    "reached",
];

/// Whether somebody is counted, or named: in a funnel behind step 1, in retention after period 0.
fn has_something_to_tell(rows: &[Row]) -> bool {
    let is_zero = |cell: &Json| matches!(cell, Json::Number(number) if number.mantissa() == 0);
    let is_first = |row: &Row| {
        row.iter().any(|(name, cell)| match name.as_str() {
            "step" => *cell == reading::count(1),
            "period" => is_zero(cell),
            _ => false,
        })
    };
    let told = rows.iter().filter(|row| !is_first(row)).flatten();
    told.filter(|(name, _)| COUNTS.contains(&name.as_str()))
        .any(|(_, cell)| *cell != Json::Null && !is_zero(cell))
}
