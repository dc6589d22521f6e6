//! A law of named cells: the set of a cell has as many users as the cell tells.

use super::bound::Bound;
use super::{Binder, Scan, TASK_USER_COUNT, Task, TaskSet};
use crate::Store;
use crate::api::{Cell, Json, Problem, QueryRequest, Table};
use crate::dice::Dice;
use crate::model::{DAY_MS, Entity, Event, EventBatch, HOUR_MS, Number, ProfileWrite, Value};

/// Users who came on many days, some with a plan, and some of whom wrote from a country.
fn store(path: &std::path::Path) -> Store {
    let store = Store::open(path).unwrap();
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mut below = |bound: u64| dice.below(bound);
    let mut batch = EventBatch::new();
    for user in 0..40_u64 {
        for _ in 0..below(30) {
            let country = ["de", "fr", "it", "at"].get(below(5) as usize);
            let event = Event {
                event: ["join", "use"][below(2) as usize].to_owned(),
                user: format!("u{user}"),
                time: 19_700 * DAY_MS + below(40 * 24) as i64 * HOUR_MS,
                id: None,
                account: None,
                properties: country
                    .map(|country| ("country".to_owned(), Value::from(*country)))
                    .into_iter()
                    .chain([
                        ("by".to_owned(), Value::from(format!("u{}", below(40)).as_str())),
                        ("mrr".to_owned(), Value::Number(Number::from([0, 10, 25][below(3) as usize]))),
                    ])
                    .collect(),
            };
            batch.push(&event).unwrap();
        }
    }
    store.ingest(batch).unwrap();
    let write = |user: u64| ProfileWrite {
        id: format!("u{user}"),
        set: vec![
            ("plan".to_owned(), Value::from(["free", "pro", "team"][user as usize % 3])),
            ("cap".to_owned(), Value::Number(Number::from(user as i64 % 9))),
        ],
        ..ProfileWrite::default()
    };
    store.write_profiles(Entity::User, (0..30).map(write).collect()).unwrap();
    store
}

/// A row as an object, which names a cell, and the number of users that the cell tells.
type Named = (Json, u64);

fn named(table: &Table, extra: Option<(&str, &str)>, number: &str) -> Vec<Named> {
    let names: Vec<&str> = table.columns().iter().map(|column| column.name.as_str()).collect();
    let json = |cell: &Cell| match cell {
        Cell::Text(text) => Json::String(text.clone()),
        Cell::UInt(count) => Json::Number(Number::from(*count as i64)),
        Cell::Value(value) => Json::parse(value.to_string().as_bytes()).unwrap(),
        _ => Json::Null,
    };
    let rows = table.rows().map(|row| {
        let mut fields: Vec<(String, Json)> =
            names.iter().zip(row).map(|(name, cell)| ((*name).to_owned(), json(cell))).collect();
        fields.extend(extra.map(|(name, word)| (name.to_owned(), Json::String(word.to_owned()))));
        let at = names.iter().position(|name| *name == number).unwrap();
        let Cell::UInt(count) = &row[at] else { panic!("{number} is a count") };
        (Json::Object(fields), *count)
    });
    rows.collect()
}

/// Checks every row, and returns how many users they have together.
fn check(rows: Vec<Named>, members: impl Fn(&Json) -> Result<TaskSet, Problem>) -> u64 {
    for (name, count) in &rows {
        assert_eq!(members(name).unwrap().len() as u64, *count, "{name}");
    }
    rows.iter().map(|(_, count)| count).sum()
}

/// Checks all cells of a query, and returns how many users they have together.
fn law(body: &str) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder.path().join("store"));
    let request = QueryRequest::parse(&Json::parse(body.as_bytes()).unwrap()).unwrap();
    let scope = request.common.resolve(19_745 * DAY_MS).unwrap();
    let snapshot = store.snapshot();
    assert!(snapshot.ordinal_count(Entity::User) <= TASK_USER_COUNT);
    let scan = Scan::new(&snapshot, request.common.entity, scope.history());
    let task = Task::new(&scan, 0);
    let mut bound = Bound::new(&request, &mut Binder::new(&scan, &scope)).unwrap();
    bound.prepare_cells(&scan).unwrap();
    let table = bound.run(&scan).unwrap();
    match &bound {
        Bound::Retention(retention) => check(named(&table, None, "users"), |name| {
            retention.members(&task, &retention.cell(&mut name.root().object()?)?)
        }),
        Bound::Lifecycle(lifecycle) => {
            let states = ["new", "retained", "resurrected", "churned", "active"];
            let counts = states.map(|state| {
                check(named(&table, Some(("state", state)), state), |name| {
                    lifecycle.members(&task, &lifecycle.cell(&mut name.root().object()?)?)
                })
            });
            counts.into_iter().min().unwrap()
        }
        Bound::Stickiness(stickiness) => {
            let is_histogram = table.column("users").is_some();
            let counts = if is_histogram { vec!["users"] } else { vec!["active", "active_in_period"] };
            let counts = counts.into_iter().map(|count| {
                let extra = (!is_histogram).then_some(("state", count));
                check(named(&table, extra, count), |name| {
                    stickiness.members(&task, &stickiness.cell(&mut name.root().object()?)?)
                })
            });
            counts.min().unwrap()
        }
        Bound::Revenue(revenue) => check(named(&table, Some(("state", "customers")), "customers"), |name| {
            revenue.members(&task, &revenue.cell(&mut name.root().object()?)?)
        }),
        Bound::Virality(virality) => {
            let is_tree = table.column("generation").is_some();
            let states = ["new_users", "invited_users", "organic_users", "active_users", "inviters"];
            let counts = if is_tree { vec!["users"] } else { states.to_vec() };
            let counts = counts.into_iter().map(|count| {
                let extra = (!is_tree).then_some(("state", count));
                check(named(&table, extra, count), |name| {
                    virality.members(&task, &virality.cell(&mut name.root().object()?)?)
                })
            });
            counts.max().unwrap()
        }
        Bound::UsageLimits(limits) => {
            let counts = ["reached", "upgraded"].map(|count| {
                check(named(&table, Some(("state", count)), count), |name| {
                    limits.members(&task, &limits.cell(&mut name.root().object()?)?)
                })
            });
            counts.into_iter().min().unwrap()
        }
        Bound::Overview(overview) => {
            let is_of_moves = table.column("to_state").is_some();
            let states =
                ["new_users", "activated", "active_users", "retained_users", "inviters", "customers"];
            let counts = if is_of_moves { vec!["users"] } else { states.to_vec() };
            let counts = counts.into_iter().map(|count| {
                let extra = (!is_of_moves).then_some(("state", count));
                check(named(&table, extra, count), |name| {
                    overview.members(&task, &overview.cell(&mut name.root().object()?)?)
                })
            });
            counts.min().unwrap()
        }
        _ => panic!("{body} is of another part"),
    }
}

#[test]
fn a_cell_of_a_retention_has_as_many_users_as_it_tells() {
    let modes = [r#""mode": "on", "periods": 4"#, r#""mode": "on_or_after", "periods": 4, "at_least": 2"#];
    let more = [
        r#""mode": "on_or_before", "periods": 4, "cohorts": "recurring", "interval": "week""#,
        r#""mode": "streak", "periods": 4, "alignment": "rolling", "interval": "week""#,
        r#""mode": {"brackets": [1, 3, 7]}, "breakdown": {"property": "country", "limit": 2}"#,
        r#""periods": 3, "summary": true, "interval": "week", "breakdown": {"property": "plan", "on": "user"}"#,
    ];
    for rest in modes.into_iter().chain(more) {
        assert!(law(&format!(r#"{{"kind": "retention", "birth": "join", {rest}}}"#)) > 40, "{rest}");
    }
}

#[test]
fn a_cell_of_a_lifecycle_has_as_many_users_as_it_tells() {
    for rest in [
        r#""event": "*""#,
        r#""event": "use", "interval": "week", "from": "2023-12-20", "to": "2024-01-10""#,
        r#""event": "*", "timezone": "Asia/Kolkata", "breakdown": {"property": "plan", "on": "user", "limit": 1}"#,
    ] {
        assert!(law(&format!(r#"{{"kind": "lifecycle", {rest}}}"#)) > 5, "{rest}");
    }
}

#[test]
fn a_cell_of_a_stickiness_has_as_many_users_as_it_tells() {
    for rest in [
        r#""event": "*""#,
        r#""event": "use", "period": "7d", "to": "2024-01-12", "cumulative": true"#,
        r#""event": "*", "period": "7d", "ratio": true"#,
        r#""interval": "week", "period": "month", "ratio": true, "at_least": 2"#,
        r#""period": "week", "breakdown": {"property": "plan", "on": "user"}"#,
    ] {
        assert!(law(&format!(r#"{{"kind": "stickiness", {rest}}}"#)) > 30, "{rest}");
    }
}

/// The parts of a growth model, of what the users of these tests do.
const PARTS: &str = r#""signup": "join", "activate": {"event": "use", "within": "7d"}, "invite": "use",
    "accept": {"event": "join", "inviter": "by"}, "subscription": {"event": "use", "mrr": "mrr"}"#;

#[test]
fn customers_are_a_set_of_as_many_as_revenue_tells() {
    for rest in [
        r#""interval": "week""#,
        r#""interval": "week", "currency": "country", "breakdown": {"property": "plan", "on": "user", "limit": 1}"#,
        r#""interval": "month", "trailing": "1w""#,
    ] {
        assert!(law(&format!(r#"{{"kind": "revenue", {PARTS}, {rest}}}"#)) > 20, "{rest}");
    }
}

#[test]
fn a_cell_of_a_virality_has_as_many_users_as_it_tells() {
    for rest in [
        r#""interval": "week""#,
        r#""interval": "week", "by": "signup", "breakdown": {"property": "plan", "on": "user"}"#,
        r#""tree": true"#,
    ] {
        assert!(law(&format!(r#"{{"kind": "virality", {PARTS}, {rest}}}"#)) > 20, "{rest}");
    }
}

#[test]
fn a_cell_of_an_outcome_of_limits_has_as_many_as_it_tells() {
    let limit = r#""limit": {"usage": {"event": "use", "per": "month"}, "allowance": {"property": "cap"}}"#;
    for rest in [
        r#""interval": "week""#,
        r#""interval": "month", "breakdown": {"property": "plan", "on": "user", "limit": 1}"#,
    ] {
        let body = format!(r#"{{"kind": "limits", {limit}, "paid": "join", "outcome": true, {rest}}}"#);
        assert!(law(&body) > 5, "{rest}");
    }
}

#[test]
fn a_cell_of_an_overview_has_as_many_users_as_it_tells() {
    for rest in [
        r#""interval": "week""#,
        r#""interval": "week", "breakdown": {"property": "plan", "on": "user", "limit": 1}"#,
        r#""interval": "week", "transitions": true"#,
    ] {
        assert!(law(&format!(r#"{{"kind": "overview", {PARTS}, {rest}}}"#)) > 5, "{rest}");
    }
}
