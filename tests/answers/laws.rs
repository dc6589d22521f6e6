//! Laws that hold on any data: what does not depend on what, and numbers that must fit each other.
//!
//! `FLYWHEEL_SEED` says where to begin, and `FLYWHEEL_LAWS` how many histories each law is held against.

use std::io::Write;
use std::process::Stdio;

use flywheeldb::Store;
use flywheeldb::api::Json;
use flywheeldb::model::{Event, EventBatch, ExactSum};

use super::agreement::{OwnStore, SEED, acts, reference_does, setting};
use crate::support::dice::Dice;
use crate::support::histories::{self, Act};
use crate::support::program::flywheel;
use crate::support::queries::Asker;
use crate::support::reading;
use crate::support::reference::Reference;
use crate::support::tables::{self, Row};

/// The seeds of so many histories, or of as many as are asked for.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let first = setting("FLYWHEEL_SEED").unwrap_or(SEED);
    first..first + setting("FLYWHEEL_LAWS").unwrap_or(count)
}

/// The queries of acts, each once, that are of these kinds; all if there are none.
fn queries<'a>(acts: &'a [Act], kinds: &[&str]) -> Vec<&'a Json> {
    let mut queries = Vec::new();
    for act in acts {
        let Act::Ask(query) = act else { continue };
        let kind = query.get("kind").map(reading::string).expect("a query has a kind");
        if (kinds.is_empty() || kinds.contains(&kind.as_str())) && !queries.contains(&query) {
            queries.push(query);
        }
    }
    queries
}

/// A store to which everything was done that changes it.
fn store_after(acts: &[Act]) -> OwnStore {
    let mut store = OwnStore::open();
    for act in acts.iter().filter(|act| !matches!(act, Act::Ask(_))) {
        store.does(act).expect("the store does it");
    }
    store
}

fn ask(store: &mut OwnStore, query: &Json) -> Vec<Row> {
    let answer = store.does(&Act::Ask(query.clone()));
    answer.unwrap_or_else(|problem| panic!("{problem}: {query}")).expect("a query has rows")
}

/// The query with one field more, or another value of it.
fn with(query: &Json, name: &str, value: Json) -> Json {
    let Json::Object(fields) = query else { panic!("{query} is no object") };
    let others = fields.iter().filter(|(known, _)| known != name).cloned();
    Json::Object(others.chain([(name.to_owned(), value)]).collect())
}

fn text(word: &str) -> Json {
    Json::String(word.to_owned())
}

fn cell<'a>(row: &'a Row, name: &str) -> &'a Json {
    &row.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no {name} in {row:?}")).1
}

fn count(row: &Row, name: &str) -> i64 {
    match cell(row, name) {
        Json::Number(number) => number.mantissa_at(0).expect("counts are whole") as i64,
        other => panic!("{name} is no count: {other}"),
    }
}

/// What a row is called: all but the columns that are numbers about it.
fn name_of(row: &Row, numbers: &[&str]) -> Row {
    row.iter().filter(|(name, _)| !numbers.contains(&name.as_str())).cloned().collect()
}

/// Events in any order, in batches of any size, in memory, sealed and compacted in between: the answers are the same.
#[test]
fn order_of_arrival_batches_and_segments_change_nothing() {
    let mut asked_count = 0;
    for seed in seeds(100) {
        let acts = acts(seed);
        let mut events: Vec<Event> = Vec::new();
        let mut others: Vec<Act> = Vec::new();
        for act in &acts {
            match act {
                Act::Events(batch) => events.extend(batch.iter().cloned()),
                // Whether an event came before its user was deleted is a matter of order.
                Act::Delete(_) | Act::Ask(_) | Act::Seal | Act::Compact | Act::Reopen => {}
                _ => others.push(act.clone()),
            }
        }
        // Of two events with one id the one that came first stays.
        events.iter_mut().for_each(|event| event.id = None);
        let mut dice = Dice::new(seed ^ 0x5eed);
        let at_once: Vec<Act> = others.iter().cloned().chain([Act::Events(events.clone())]).collect();
        let mut scattered = Vec::new();
        let mut others = others.into_iter();
        while !events.is_empty() {
            let size = dice.between(1, 4).min(events.len());
            let batch = (0..size).map(|_| events.swap_remove(dice.below(events.len()))).collect();
            scattered.push(Act::Events(batch));
            match dice.below(6) {
                0 | 1 => scattered.push(Act::Seal),
                2 => scattered.push(Act::Compact),
                3 => scattered.push(Act::Reopen),
                4 => scattered.extend(others.next()),
                _ => {}
            }
        }
        scattered.extend(others);
        let (mut one, mut other) = (store_after(&at_once), store_after(&scattered));
        for query in queries(&acts, &[]) {
            let (expected, found) = (ask(&mut one, query), ask(&mut other, query));
            assert!(
                tables::same(&expected, &found),
                "seed {seed}: {query}\nat once\n{}\nscattered\n{}",
                tables::print(&expected),
                tables::print(&found)
            );
            asked_count += 1;
        }
    }
    println!("{asked_count} queries");
}

/// The program answers the same on one thread, on two and on seven, from more users than one task has.
#[test]
fn the_number_of_threads_changes_nothing() {
    const HISTORY_COUNT: u64 = 9_000;
    let first_seed = seeds(1).start;
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let path = directory.path().join("store");
    let store = Store::open(&path).expect("a new store opens");
    let mut asked = Vec::new();
    for seed in first_seed..first_seed + HISTORY_COUNT {
        let mut dice = Dice::new(seed);
        let history = histories::history(&mut dice);
        let mut batch = EventBatch::new();
        for act in &history.acts {
            let Act::Events(events) = act else { continue };
            for event in events {
                let user = format!("{}-{seed}", event.user);
                batch.push(&Event { user, id: None, ..event.clone() }).expect("the events are valid");
            }
        }
        store.ingest(batch).expect("the store takes events");
        if seed % (HISTORY_COUNT / 24) == 0 {
            let mut asker = Asker { dice: &mut dice, moments: &history.moments };
            asked.push(asker.query());
        }
        if seed % (HISTORY_COUNT / 3) == 0 {
            store.seal().expect("the store seals");
        }
    }
    store.put_growth_model(&growth_model(first_seed)).expect("the model is valid");
    store.close().expect("the store closes");
    for query in asked {
        let answer = |thread_count: &str| {
            let mut asking = flywheel(&path)
                .args(["query", "--format", "csv", "-"])
                .env("RAYON_NUM_THREADS", thread_count)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the program runs");
            let mut stdin = asking.stdin.take().expect("it is piped");
            stdin.write_all(query.to_string().as_bytes()).expect("the query is read");
            drop(stdin);
            let asked = asking.wait_with_output().expect("the program ends");
            let complaint = String::from_utf8_lossy(&asked.stderr).into_owned();
            assert!(asked.status.success(), "seed {first_seed}: {query}: {complaint}");
            asked.stdout
        };
        let one = answer("1");
        for thread_count in ["2", "7"] {
            assert_eq!(one, answer(thread_count), "seed {first_seed}, {thread_count} threads: {query}");
        }
    }
}

fn growth_model(seed: u64) -> Json {
    Asker { dice: &mut Dice::new(seed), moments: &[0] }.growth_model()
}

/// Whoever converts within a window converts within a wider one.
#[test]
fn a_wider_window_never_loses_conversions() {
    let mut compared_count = 0;
    for seed in seeds(400) {
        let acts = acts(seed);
        let mut store = store_after(&acts);
        for query in queries(&acts, &["funnel"]) {
            // These tell attempts by where they begin, or how long they took.
            let told_apart = ["interval", "histogram", "breakdown", "count"];
            let has_optional_steps = query.to_string().contains("\"optional\"");
            if told_apart.iter().any(|name| query.get(name).is_some()) || has_optional_steps {
                continue;
            }
            let mut before: Option<Vec<i64>> = None;
            for window in ["0s", "1m", "1h", "24h", "2d", "7d", "14d", "60d", "400d"] {
                let rows = ask(&mut store, &with(query, "window", text(window)));
                let users: Vec<i64> = rows.iter().map(|row| count(row, "users")).collect();
                if let Some(before) = &before {
                    let is_kept = before.iter().zip(&users).all(|(narrow, wide)| narrow <= wide);
                    assert!(is_kept, "seed {seed}: {before:?}, and {users:?} within {window}: {query}");
                    compared_count += 1;
                }
                before = Some(users);
            }
        }
    }
    assert!(compared_count > 500 || setting("FLYWHEEL_LAWS").is_some(), "only {compared_count} pairs");
}

/// Whoever came back in a period came back then or later.
#[test]
fn on_or_after_is_never_below_on() {
    let mut compared_count = 0;
    for seed in seeds(150) {
        let acts = acts(seed);
        let mut store = store_after(&acts);
        for query in queries(&acts, &["retention"]) {
            // A summary is of the cohorts that are complete, which more are for `on`.
            let told_apart = ["measure", "summary"];
            if query.get("periods").is_none() || told_apart.iter().any(|name| query.get(name).is_some()) {
                continue;
            }
            let mut of_mode = |mode: &str| ask(&mut store, &with(query, "mode", text(mode)));
            let (on, after) = (of_mode("on"), of_mode("on_or_after"));
            assert_eq!(on.len(), after.len(), "seed {seed}: {query}");
            for (on, after) in on.iter().zip(&after) {
                let numbers = ["size", "users", "value", "rate", "complete"];
                assert_eq!(name_of(on, &numbers), name_of(after, &numbers), "seed {seed}: {query}");
                assert!(
                    count(on, "users") <= count(after, "users"),
                    "seed {seed}: {query}\n{on:?}\n{after:?}"
                );
                compared_count += 1;
            }
        }
    }
    assert!(compared_count > 500 || setting("FLYWHEEL_LAWS").is_some(), "only {compared_count} cells");
}

/// Who is active is new, retained or resurrected, and who is not retained of those before has churned.
#[test]
fn a_lifecycle_adds_up() {
    let mut checked_count = 0;
    for seed in seeds(250) {
        let acts = acts(seed);
        let mut store = store_after(&acts);
        for query in queries(&acts, &["lifecycle"]) {
            let numbers =
                ["time", "new", "retained", "resurrected", "churned", "active", "quick_ratio", "complete"];
            let rows = ask(&mut store, query);
            for row in &rows {
                let of = |name| count(row, name);
                let parts = of("new") + of("retained") + of("resurrected");
                assert_eq!(of("active"), parts, "seed {seed}: {query}: {row:?}");
            }
            let mut names: Vec<Row> = Vec::new();
            for row in &rows {
                if !names.contains(&name_of(row, &numbers)) {
                    names.push(name_of(row, &numbers));
                }
            }
            for name in names {
                let of_name: Vec<&Row> = rows.iter().filter(|row| name_of(row, &numbers) == name).collect();
                for pair in of_name.windows(2) {
                    let gone = count(pair[0], "active") - count(pair[1], "retained");
                    assert_eq!(count(pair[1], "churned"), gone, "seed {seed}: {query}: {pair:?}");
                    checked_count += 1;
                }
            }
        }
    }
    assert!(checked_count > 200 || setting("FLYWHEEL_LAWS").is_some(), "only {checked_count} rows");
}

/// What was paid, and every movement, make what is paid then; to the last digit.
#[test]
fn revenue_adds_up() {
    let mut checked_count = 0;
    for seed in seeds(250) {
        let acts = acts(seed);
        let mut store = store_after(&acts);
        for query in queries(&acts, &["revenue"]) {
            for row in ask(&mut store, query) {
                let mut sum = ExactSum::default();
                let mut add = |name: &str, sign: i128| match cell(&row, name) {
                    Json::Number(number) => sum.add_scaled(sign * number.mantissa(), number.exponent()),
                    other => panic!("{name} is no money: {other}"),
                };
                ["starting", "new", "expansion", "reactivation"].into_iter().for_each(|name| add(name, 1));
                ["contraction", "churn", "ending"].into_iter().for_each(|name| add(name, -1));
                assert!(sum.total().is_zero(), "seed {seed}: {} is left: {query}: {row:?}", sum.total());
                checked_count += 1;
            }
        }
    }
    assert!(checked_count > 200 || setting("FLYWHEEL_LAWS").is_some(), "only {checked_count} rows");
}

/// A law of the contract that the reference must keep too: without duplicates no answer depends on the order
/// in which events arrived.
#[test]
fn the_order_of_arrival_does_not_matter_to_the_reference() {
    for seed in seeds(150) {
        let (mut forward, mut backward) = (Reference::default(), Reference::default());
        let acts = acts(seed);
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
    for seed in seeds(60) {
        let mut store = OwnStore::open();
        for act in acts(seed) {
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
