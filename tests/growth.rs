//! The stories of the demo's history, found again by the queries that growth teams ask.
//!
//! What was planted is in the constants of `demo`, and counted in its summary: the queries must tell the same, to the
//! last user.

use flywheeldb::Store;
use flywheeldb::api::{Json, Table};
use flywheeldb::demo::{DemoPlan, DemoSummary, END, GROWTH_MODEL, generate, profiles};
use flywheeldb::model::Entity;
use tempfile::TempDir;

const PLAN: DemoPlan = DemoPlan { seed: 1, events: 300_000 };

/// The demo's history in a store, with the model of its product.
struct Demo {
    store: Store,
    summary: DemoSummary,
    _directory: TempDir,
}

impl Demo {
    fn new() -> Demo {
        let directory = TempDir::new().expect("a temporary directory");
        let store = Store::open(&directory.path().join("store")).expect("a new store opens");
        let summary = generate(&PLAN, &mut |batch| store.ingest(batch).map(|_| ())).expect("it is stored");
        let known = profiles(&PLAN);
        store.write_profiles(Entity::User, known.users).expect("they are stored");
        store.write_profiles(Entity::Account, known.accounts).expect("they are stored");
        let (_, warnings) = store.put_growth_model(&json(GROWTH_MODEL)).expect("it is a model");
        assert_eq!(warnings, [], "the product has all of these events");
        Demo { store, summary, _directory: directory }
    }

    /// Asks a query as of the end of the history, unless it says otherwise.
    fn ask(&self, body: &str) -> Table {
        self.store.query_at(&json(body), END).expect("the store answers").table
    }

    /// The cells of a row, by column.
    fn row(&self, table: &Table, index: usize, column: &str) -> String {
        let cell =
            table.column(column).expect("the table has the column").nth(index).expect("it has the row");
        match cell {
            flywheeldb::api::Cell::UInt(count) => count.to_string(),
            flywheeldb::api::Cell::Float(share) => share.to_string(),
            flywheeldb::api::Cell::Text(text) => text.clone(),
            other => format!("{other:?}"),
        }
    }

    fn count(&self, cohort: &str) -> u64 {
        let table = self.ask(&format!(r#"{{"kind": "cohort", "entity": "account", "cohort": {cohort}}}"#));
        self.row(&table, 0, "users").parse().expect("a count")
    }
}

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).expect("it is JSON")
}

#[test]
fn the_planted_activation_event_drives_retention_most() {
    let demo = Demo::new();
    let drivers =
        demo.ask(r#"{"kind": "drivers", "outcome": {"did": "*", "after": "28d", "before": "35d"}}"#);
    for index in 0..drivers.row_count().min(8) {
        let columns = ["event", "at_least", "users", "rate_did", "rate_did_not", "lift", "recall", "phi"];
        println!("{:?}", columns.map(|column| demo.row(&drivers, index, column)));
    }
    let first = |column: &str| demo.row(&drivers, 0, column);
    let (activated, others) = (demo.summary.activated, demo.summary.not_activated);
    assert_eq!([first("event"), first("at_least")], ["project_created", "1"]);
    assert_eq!(first("users"), activated.decided.to_string());
    assert_eq!(first("rate_did"), activated.rate().to_string());
    assert_eq!(first("rate_did_not"), others.rate().to_string());
    let recall = activated.retained as f64 / (activated.retained + others.retained) as f64;
    assert_eq!(first("recall"), recall.to_string());
}

#[test]
fn activation_is_what_the_generator_counted() {
    let demo = Demo::new();
    let table = demo.ask(r#"{"kind": "activation", "interval": "total"}"#);
    let summary = &demo.summary;
    assert_eq!(demo.row(&table, 0, "signups"), summary.users.to_string());
    assert_eq!(demo.row(&table, 0, "activated"), summary.activated.users.to_string());
    let curve = demo.ask(r#"{"kind": "activation", "curve": true}"#);
    let share = |day: usize| demo.row(&curve, day, "share").parse::<f64>().expect("a share");
    assert!((1..curve.row_count()).all(|day| share(day) >= share(day - 1)), "who is activated stays so");
    // Recent sign-ups have had less time, so that the plain rate is below the share.
    let rate: f64 = demo.row(&table, 0, "rate").parse().expect("a share");
    let last = share(curve.row_count() - 1);
    assert!(last >= rate && last - rate < 0.05, "{last} and {rate}");
}

#[test]
fn the_top_leads_buy_by_far_more_often() {
    let demo = Demo::new();
    // Accounts that have not bought by the first of August, by how near they come to the limit of the free plan.
    let leads = r#"{"as_of": "2026-08-01", "threshold": 0.8,
        "where": {"cohort": {"did_not": "plan_upgraded"}},
        "signals": [{"name": "exports", "volume": {"event": "export_used", "window": "30d"}, "scale": [0, 5]}]}"#;
    let cell = |qualified: bool| {
        format!(r#"{{"result": {{"kind": "pql", "query": {leads}, "qualified": {qualified}}}}}"#)
    };
    let bought = r#"{"first_did": "plan_upgraded", "from": "2026-08-01", "to": "2026-10-01"}"#;
    let share = |qualified: bool| {
        let all = demo.count(&cell(qualified));
        let buyers = demo.count(&format!(r#"{{"all": [{}, {bought}]}}"#, cell(qualified)));
        println!("qualified {qualified}: {buyers} of {all}");
        buyers as f64 / all as f64
    };
    let (top, rest) = (share(true), share(false));
    assert!(top > 4.0 * rest, "{top} against {rest}");
}

#[test]
fn who_is_activated_pays_more_often_and_the_split_does_not_know_the_future() {
    let demo = Demo::new();
    let split = |within: &str| {
        let table = demo.ask(&format!(
            r#"{{"kind": "conversion", "entity": "account", "interval": "total", "within": "90d",
                 "breakdown": {{"cohorts": {{"invited": {{"did": "invite_sent"}}, "not": {{"did_not": "invite_sent"}}}}
                 {within}}}}}"#
        ));
        [0, 1].map(|index| demo.row(&table, index, "rate").parse::<f64>().expect("a share"))
    };
    let (early, ever) = (split(r#", "within": "7d""#), split(""));
    println!("judged on the first week {early:?}, on everything {ever:?}");
    assert!(early[0] > early[1], "who invites early pays more often");
    assert!(
        ever[0] / ever[1] > early[0] / early[1],
        "what comes later makes the split look better than it is"
    );
}
