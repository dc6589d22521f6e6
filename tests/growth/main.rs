//! The stories of the demo's history, found again by the queries that growth teams ask.
//!
//! What was planted is in the constants of `demo`, and counted in its summary: the queries must tell the same, to the
//! last user.

mod money;
mod pages;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use flywheeldb::Store;
use flywheeldb::api::{Cell, Json, Table};
use flywheeldb::demo::{
    DEAD_CHANNEL, DemoPlan, DemoSummary, END, GROWTH_MODEL, VIRAL_CHANNEL, generate, profiles,
};
use flywheeldb::model::{Entity, Value};
use tempfile::TempDir;

const PLAN: DemoPlan = DemoPlan { seed: 1, events: 300_000 };

/// The demo's history in a store, with the model of its product.
struct Demo {
    store: Store,
    summary: DemoSummary,
    _directory: TempDir,
}

/// The demo that tests running at the same time share.
static SHARED: Mutex<Weak<Demo>> = Mutex::new(Weak::new());

impl Demo {
    fn shared() -> Arc<Demo> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let demo = Arc::new(Demo::new(PLAN));
            *shared = Arc::downgrade(&demo);
            demo
        })
    }

    fn new(plan: DemoPlan) -> Demo {
        let directory = TempDir::new().expect("a temporary directory");
        let store = Store::open(&directory.path().join("store")).expect("a new store opens");
        let summary = generate(&plan, &mut |batch| store.ingest(batch).map(|_| ())).expect("it is stored");
        let known = profiles(&plan);
        store.write_profiles(Entity::User, known.users).expect("they are stored");
        store.write_profiles(Entity::Account, known.accounts).expect("they are stored");
        store.merge_identities(known.identities).expect("they are stored");
        let (_, warnings) = store.put_growth_model(&json(GROWTH_MODEL)).expect("it is a model");
        assert_eq!(warnings, [], "the product has all of these events");
        Demo { store, summary, _directory: directory }
    }

    /// Asks a query as of the end of the history, unless it says otherwise.
    fn ask(&self, body: &str) -> Table {
        self.store.query_at(&json(body), END).expect("the store answers").table
    }

    /// A cell, as text.
    fn row(&self, table: &Table, index: usize, column: &str) -> String {
        match cell(table, index, column) {
            Cell::UInt(count) => count.to_string(),
            Cell::Float(share) => share.to_string(),
            Cell::Text(text) => text.clone(),
            other => format!("{other:?}"),
        }
    }

    fn count(&self, cohort: &str) -> u64 {
        let table = self.ask(&format!(r#"{{"kind": "cohort", "entity": "account", "cohort": {cohort}}}"#));
        self.row(&table, 0, "users").parse().expect("a count")
    }
}

fn cell<'a>(table: &'a Table, index: usize, column: &str) -> &'a Cell {
    table.column(column).expect("the table has the column").nth(index).expect("it has the row")
}

fn count(table: &Table, index: usize, column: &str) -> u64 {
    match cell(table, index, column) {
        Cell::UInt(count) => *count,
        other => panic!("{column} is no count: {other:?}"),
    }
}

/// A time in a row, in milliseconds. `None` where there is none.
fn milliseconds(table: &Table, index: usize, column: &str) -> Option<i64> {
    match cell(table, index, column) {
        Cell::Float(seconds) => Some((seconds * 1000.0).round() as i64),
        Cell::Null => None,
        other => panic!("{column} is no time: {other:?}"),
    }
}

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).expect("it is JSON")
}

#[test]
fn the_planted_activation_event_drives_retention_most() {
    let demo = Demo::shared();
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
    let demo = Demo::shared();
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
    let demo = Demo::shared();
    // Accounts that are there and have not bought by the first of August, by how near they come to the limit of the
    // free plan.
    let leads = r#"{"as_of": "2026-08-01", "threshold": 0.8,
        "where": {"cohort": {"all": [{"did": "signup"}, {"did_not": "plan_upgraded"}]}},
        "signals": [{"name": "exports", "volume": {"event": "export_used", "window": "30d"}, "scale": [0, 5]}]}"#;
    let cell = |qualified: bool| {
        format!(r#"{{"result": {{"kind": "pql", "query": {leads}, "qualified": {qualified}}}}}"#)
    };
    let bought = r#"{"first_did": "plan_upgraded", "from": "2026-08-01", "to": "2026-10-01"}"#;
    for (qualified, counted) in [(true, demo.summary.top_leads), (false, demo.summary.other_leads)] {
        let all = demo.count(&cell(qualified));
        let buyers = demo.count(&format!(r#"{{"all": [{}, {bought}]}}"#, cell(qualified)));
        println!("qualified {qualified}: {buyers} of {all}");
        assert_eq!((all, buyers), (counted.accounts, counted.bought));
    }
    let (top, rest) = (demo.summary.top_leads.rate(), demo.summary.other_leads.rate());
    assert!(top > 4.0 * rest, "{top} against {rest}");
}

#[test]
fn the_limit_of_the_free_plan_makes_accounts_buy() {
    let demo = Demo::shared();
    // Exports carry the plan of their moment, and the allowance is that of the free plan, whatever came later.
    let outcome = demo.ask(
        r#"{"kind": "limits", "outcome": true, "interval": "month", "from": "2025-11-01", "to": "2026-11-01",
            "limit": {"usage": {"event": "export_used", "where": {"property": "plan", "op": "eq", "value": "free"},
                                "per": "month"},
                      "allowance": {"property": "free_export_limit", "on": "account"}}}"#,
    );
    assert_eq!(outcome.row_count(), demo.summary.free_limit_by_month.len());
    let (mut reached, mut upgraded) = (0, 0);
    for (month, counted) in demo.summary.free_limit_by_month.iter().enumerate() {
        let told = (count(&outcome, month, "reached"), count(&outcome, month, "upgraded"));
        println!("{}: {told:?} in {:?} ms", demo.row(&outcome, month, "time"), counted.median_ms);
        assert_eq!(told, (counted.reached, counted.upgraded));
        assert_eq!(milliseconds(&outcome, month, "median_seconds"), counted.median_ms);
        reached += counted.reached;
        upgraded += counted.upgraded;
    }
    assert!(reached > 200 && upgraded * 2 > reached, "{upgraded} of {reached}");
}

#[test]
fn who_is_activated_pays_more_often_and_the_split_does_not_know_the_future() {
    let demo = Demo::shared();
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

/// The text of a value.
fn label(table: &Table, row: usize, column: &str) -> String {
    match cell(table, row, column) {
        Cell::Value(Value::String(text)) | Cell::Text(text) => text.clone(),
        other => panic!("{other:?} is no text"),
    }
}

#[test]
fn invitations_are_what_the_generator_counted() {
    let demo = Demo::shared();
    // Visitors who never signed up are active, too; those who did are one with their users.
    let summary = &demo.summary;
    let active = summary.users + summary.visitors - summary.accounts;
    for (channel, counted) in &summary.invites_by_channel {
        let virality = demo.ask(&format!(
            r#"{{"kind": "virality", "interval": "total", "where": {{"any": [
                {{"property": "channel", "op": "eq", "value": "{channel}"}},
                {{"property": "channel", "op": "is_not_set"}}]}}}}"#
        ));
        println!("{channel}: {counted:?}");
        assert_eq!(count(&virality, 0, "invites"), counted.sent);
        assert_eq!(count(&virality, 0, "accepted"), counted.accepted);
        assert_eq!(count(&virality, 0, "active_users"), active);
        let ratio = |column: &str| demo.row(&virality, 0, column).parse::<f64>().expect("a ratio");
        assert_eq!(ratio("acceptance_rate"), counted.accepted as f64 / counted.sent as f64);
        assert_eq!(ratio("k_factor"), counted.accepted as f64 / active as f64);
    }
}

#[test]
fn one_channel_is_viral_and_one_is_dead() {
    let demo = Demo::shared();
    let by_channel = demo.ask(
        r#"{"kind": "virality", "by": "signup", "window": "30d", "interval": "total",
            "breakdown": {"property": "channel", "on": "user"}}"#,
    );
    let mut k_factors = BTreeMap::new();
    let counted = &demo.summary.spread_by_channel;
    for row in 0..by_channel.row_count() {
        let channel = match cell(&by_channel, row, "breakdown") {
            Cell::Null => None,
            _ => Some(label(&by_channel, row, "breakdown")),
        };
        let spread = counted[&channel.as_deref()];
        println!("{channel:?}: {spread:?}");
        assert_eq!(count(&by_channel, row, "new_users"), spread.users);
        assert_eq!(count(&by_channel, row, "invites"), spread.invites);
        assert_eq!(count(&by_channel, row, "accepted"), spread.accepted);
        assert_eq!(milliseconds(&by_channel, row, "median_cycle_seconds"), spread.cycle_median_ms);
        let k_factor: f64 = demo.row(&by_channel, row, "k_factor").parse().expect("a ratio");
        assert_eq!(k_factor, spread.accepted as f64 / spread.users as f64);
        k_factors.insert(channel, k_factor);
    }
    assert_eq!(k_factors.len(), counted.len());
    let of = |channel: &str| k_factors[&Some(channel.to_owned())];
    let users = |channel: &str| counted[&Some(channel)].users;
    assert!(of(VIRAL_CHANNEL) > 1.2 * of("email"), "who came by it brings more");
    assert!(users(DEAD_CHANNEL) * 20 < users(VIRAL_CHANNEL), "next to nobody came by it");
}
