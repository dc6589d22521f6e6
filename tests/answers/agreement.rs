//! Random histories: the store answers as the reference does, cell by cell, whatever state it is in.
//!
//! `FLYWHEEL_CASES` says how many queries to throw, `FLYWHEEL_SEED` where to begin, and
//! `FLYWHEEL_SCOPE=everything` asks also for what the engine does not answer yet. A failure prints its seed,
//! and the smallest history and query that still differ.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::support::dice::Dice;
use crate::support::histories::{self, Act};
use crate::support::queries::{Asker, Scope};
use crate::support::reading;
use crate::support::reference::Reference;
use crate::support::tables::{self, Row};
use flywheeldb::Store;
use flywheeldb::api::{Json, Problem};
use flywheeldb::model::{Event, EventBatch};
use tempfile::TempDir;

/// Queries that each history is asked, in each of its states.
const QUERY_COUNT: usize = 8;
const CASE_COUNT: u64 = 1_500;
const GROWTH_CASE_COUNT: u64 = 800;
const SEED: u64 = 20_240_331;

/// Throws a history with its queries: some along the way, and all of them when everything has arrived, after
/// a seal, after a compaction, and after the store was opened again.
fn acts(seed: u64, scope: Scope) -> Vec<Act> {
    acts_with(seed, scope, |asker| asker.query())
}

fn acts_with(seed: u64, scope: Scope, throw: impl Fn(&mut Asker<'_>) -> Json) -> Vec<Act> {
    let mut dice = Dice::new(seed);
    let history = histories::history(&mut dice);
    let mut asker = Asker { dice: &mut dice, scope, moments: &history.moments };
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

/// Does an act to the reference, which knows no states. A query gets rows.
fn reference_does(reference: &mut Reference, act: &Act) -> Option<Vec<Row>> {
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
            let answer = reference.answer(query);
            return Some(answer.unwrap_or_else(|refusal| panic!("{refusal:?} refuses {query}")));
        }
    }
    None
}

/// A store in a directory that goes with it.
struct OwnStore {
    /// `None` only while it is closed.
    store: Option<Store>,
    path: PathBuf,
    _directory: TempDir,
}

impl OwnStore {
    fn open() -> OwnStore {
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path().join("store");
        let store = Some(Store::open(&path).expect("a new store opens"));
        OwnStore { store, path, _directory: directory }
    }

    /// Does an act. A query gets rows.
    fn does(&mut self, act: &Act) -> Result<Option<Vec<Row>>, Problem> {
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

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}")))
}

#[test]
fn the_store_answers_as_the_reference_does() {
    compare(CASE_COUNT, acts);
}

#[test]
fn the_store_answers_growth_queries_as_the_reference_does() {
    compare(GROWTH_CASE_COUNT, |seed, scope| acts_with(seed, scope, |asker| asker.growth()));
}

#[test]
fn the_store_answers_queries_about_flows_as_the_reference_does() {
    compare(GROWTH_CASE_COUNT, |seed, scope| acts_with(seed, scope, |asker| asker.growth_flows()));
}

/// Throws so many queries, and tells the smallest history that shows a difference.
fn compare(case_count: u64, throw: impl Fn(u64, Scope) -> Vec<Act>) {
    let case_count = setting("FLYWHEEL_CASES").unwrap_or(case_count);
    let first_seed = setting("FLYWHEEL_SEED").unwrap_or(SEED);
    let scope =
        Scope { everything: std::env::var("FLYWHEEL_SCOPE").is_ok_and(|scope| scope == "everything") };
    for seed in first_seed..first_seed + case_count.div_ceil(QUERY_COUNT as u64) {
        let mut acts = throw(seed, scope);
        let Some(found) = difference(&acts) else { continue };
        acts.truncate(found.at + 1);
        let text = |acts: &[Act]| acts.iter().map(|act| format!("  {act}")).collect::<String>();
        let whole = format!("FLYWHEEL_SEED={seed}\nthe whole history:\n{}\n{}", text(&acts), found.story);
        let smallest = shrink(acts, found.manner);
        let story = difference(&smallest).map_or(found.story, |difference| difference.story);
        panic!("{whole}\n\nthe smallest that differs:\n{}\n{story}", text(&smallest));
    }
}

/// A law of the contract that the reference must keep too: without duplicates no answer depends on the order
/// in which events arrived.
#[test]
fn the_order_of_arrival_does_not_matter_to_the_reference() {
    for seed in 0..150 {
        let (mut forward, mut backward) = (Reference::default(), Reference::default());
        let acts = acts(seed, Scope { everything: true });
        let events =
            acts.iter().filter_map(|act| if let Act::Events(events) = act { Some(events) } else { None });
        let mut events: Vec<Event> = events.flatten().cloned().collect();
        events.iter_mut().for_each(|event| event.id = None);
        events.iter().for_each(|event| forward.arrive(event.clone()));
        events.iter().rev().for_each(|event| backward.arrive(event.clone()));
        for act in acts.iter().filter(|act| !matches!(act, Act::Events(_))) {
            let (forward, backward) = (reference_does(&mut forward, act), reference_does(&mut backward, act));
            assert_eq!(forward, backward, "seed {seed}: {act}");
        }
    }
}

/// A law of the contract: a cell of a result, taken as a cohort, has as many users as the cell tells.
#[test]
fn a_cell_is_a_set_of_as_many_users_as_it_tells() {
    let mut checked_count = 0;
    for seed in 0..60 {
        let mut store = OwnStore::open();
        for act in acts(seed, Scope { everything: false }) {
            let rows = store.does(&act).expect("the store answers");
            let (Act::Ask(Json::Object(fields)), Some(rows)) = (&act, rows) else { continue };
            let query = Json::Object(fields.clone());
            let kind = query.get("kind").map(reading::string).expect("a query has a kind");
            let is_split = query.get("breakdown").is_some();
            let has_cells =
                ["funnel", "retention", "activation", "conversion", "drivers"].contains(&kind.as_str());
            if !has_cells || is_split || tells_other_numbers(&query) {
                continue;
            }
            for (index, row) in rows.iter().enumerate().take(20) {
                for (cell, told) in cells_of(row, index.checked_sub(1).map(|before| &rows[before])) {
                    let found = members_of_cell(&mut store, fields, cell.clone());
                    assert_eq!(found, told, "seed {seed}: the cell {} of {query}", Json::Object(cell));
                    checked_count += 1;
                }
            }
        }
    }
    assert!(checked_count > 1_000, "only {checked_count} cells were looked at");
}

/// Whether the rows of a funnel or a retention count something else than users, or users more than once, or do not say
/// how many dropped off.
fn tells_other_numbers(query: &Json) -> bool {
    let has_optional_steps = match query.get("steps") {
        Some(Json::Array(steps)) => steps.iter().any(|step| step.get("optional").is_some()),
        _ => false,
    };
    let options = ["count", "histogram", "measure", "summary"];
    has_optional_steps || options.iter().any(|option| query.get(option).is_some())
}

/// The cells of a row that are sets of users, each by its name, and how many users it tells.
fn cells_of(row: &Row, before: Option<&Row>) -> Vec<(Row, i64)> {
    let value = |row: &Row, name: &str| row.iter().find(|(known, _)| known == name).map(|(_, v)| v.clone());
    let count = |row: &Row, name: &str| match value(row, name) {
        Some(Json::Number(number)) => number.mantissa_at(0).expect("counts are whole") as i64,
        other => panic!("{name} is no count: {other:?}"),
    };
    let named = |names: &[&str]| -> Row {
        names.iter().map(|name| ((*name).to_owned(), value(row, name).expect("a column"))).collect()
    };
    if value(row, "period").is_some() {
        return vec![(named(&["cohort", "period"]), count(row, "users"))];
    }
    let has_time = value(row, "time").is_some();
    if value(row, "phi").is_some() {
        let names = if has_time { vec!["time", "event", "at_least"] } else { vec!["event", "at_least"] };
        return vec![(named(&names), count(row, "users"))];
    }
    if value(row, "day").is_some() || value(row, "signups").is_some() {
        let place = if has_time { named(&["time"]) } else { named(&["day"]) };
        let states = ["signups", "activated", "converted", "in_progress", "at_risk"];
        let told = states.iter().filter(|state| value(row, state).is_some());
        let cell = |state: &&str| {
            let state_field = ("state".to_owned(), Json::String((**state).to_owned()));
            (place.iter().cloned().chain([state_field]).collect(), count(row, state))
        };
        return told.map(cell).collect();
    }
    let names = if has_time { vec!["time", "step"] } else { vec!["step"] };
    let mut cells = vec![(named(&names), count(row, "users"))];
    if let Some(before) = before.filter(|_| count(row, "step") > 1) {
        let outcome = ("outcome".to_owned(), Json::String("dropped".to_owned()));
        let dropped = count(before, "users") - count(before, "in_progress") - count(row, "users");
        cells.push((named(&names).into_iter().chain([outcome]).collect(), dropped));
    }
    cells
}

/// How many members the cell of a query has as a cohort.
fn members_of_cell(store: &mut OwnStore, query: &[(String, Json)], mut cell: Row) -> i64 {
    let shared = |name: &str| ["as_of", "timezone", "week_start", "entity"].contains(&name);
    let kind = query.iter().find(|(name, _)| name == "kind").expect("a query has a kind");
    cell.push(kind.clone());
    let inner = query.iter().filter(|(name, _)| name != "kind" && !shared(name));
    cell.push(("query".to_owned(), Json::Object(inner.cloned().collect())));
    let mut cohort: Row = query.iter().filter(|(name, _)| shared(name)).cloned().collect();
    let result = Json::Object(vec![("result".to_owned(), Json::Object(cell))]);
    cohort.push(("kind".to_owned(), Json::String("cohort".to_owned())));
    cohort.push(("cohort".to_owned(), result));
    let rows = store.does(&Act::Ask(Json::Object(cohort))).expect("the store answers");
    match rows.as_deref() {
        Some([row]) => match &row[0].1 {
            Json::Number(count) => count.mantissa_at(0).expect("counts are whole") as i64,
            other => panic!("{other} is no count"),
        },
        other => panic!("{other:?} is no count of users"),
    }
}

/// The throws are worth making: the reference answers every query, and often with something to compare.
#[test]
fn random_queries_have_something_to_tell() {
    let mut told: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for seed in 0..150 {
        let mut reference = Reference::default();
        for act in acts(seed, Scope { everything: true }) {
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
