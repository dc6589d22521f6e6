//! Money: decimals that add up, to the last hundredth, in every row and at any size.

use std::collections::BTreeMap;

use flywheeldb::Store;
use flywheeldb::api::{Cell, Table};
use flywheeldb::demo::EXPANDING_INDUSTRY;
use flywheeldb::model::{Event, EventBatch, Number, Value};
use tempfile::TempDir;

use super::{Demo, json, label};

/// The cells of each row that are money, in millionths.
fn money(table: &Table) -> Vec<[i128; 7]> {
    let columns = ["starting", "new", "expansion", "contraction", "churn", "reactivation", "ending"];
    let cells: Vec<Vec<i128>> = columns
        .iter()
        .map(|name| {
            let column = table.column(name).expect("revenue has the column");
            let exact = |cell: &Cell| match cell {
                Cell::Decimal(money) => money.mantissa_at(-6).expect("it has few decimals"),
                other => panic!("{other:?} is no money"),
            };
            column.map(exact).collect()
        })
        .collect();
    (0..table.row_count()).map(|row| std::array::from_fn(|column| cells[column][row])).collect()
}

fn adds_up([starting, new, expansion, contraction, churn, reactivation, ending]: [i128; 7]) -> bool {
    starting + new + expansion + reactivation - contraction - churn == ending
}

/// What each account paid last, in cents, and whether it ever did.
struct Plain {
    amounts: Vec<i128>,
    has_paid: Vec<bool>,
}

impl Plain {
    /// The seven sums of the accounts of a currency, between what was paid before and what is now, in millionths.
    fn compare(&self, before: &Plain, accounts: impl Iterator<Item = usize>) -> [i128; 7] {
        let mut sums = [0; 7];
        for account in accounts {
            let (start, end) = (before.amounts[account], self.amounts[account]);
            let moved = match (start, end) {
                (0, 0) => None,
                (0, _) if before.has_paid[account] => Some(5),
                (0, _) => Some(1),
                (_, 0) => Some(4),
                _ if end > start => Some(2),
                _ => Some(3),
            };
            sums[0] += start;
            sums[6] += end;
            moved.into_iter().for_each(|column| sums[column] += (end - start).abs());
        }
        sums.map(|cents| cents * 10_000)
    }
}

#[test]
fn a_million_subscription_changes_in_three_currencies_sum_to_the_cent() {
    const CHANGE_COUNT: usize = 1_000_000;
    const ACCOUNT_COUNT: usize = 30_000;
    const CURRENCIES: [&str; 3] = ["CHF", "EUR", "USD"];
    const MONTH_COUNT: usize = 12;
    let directory = TempDir::new().expect("a temporary directory");
    let store = Store::open(&directory.path().join("store")).expect("a new store opens");
    let mut state = 7_u64;
    let mut below = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    // One change a moment, the last one of each month at its very end.
    let starts: Vec<i64> = (0..=MONTH_COUNT)
        .map(|month| {
            let date = jiff::civil::date(2024 + (month / 12) as i16, (month % 12) as i8 + 1, 1);
            let start = date.to_zoned(jiff::tz::TimeZone::UTC).expect("it is a date");
            start.timestamp().as_millisecond()
        })
        .collect();
    let changes_of_month = CHANGE_COUNT / MONTH_COUNT + 1;
    let mut plain = Plain { amounts: vec![0; ACCOUNT_COUNT], has_paid: vec![false; ACCOUNT_COUNT] };
    let mut expected: Vec<[i128; 7]> = Vec::new();
    let mut change_count = 0;
    for month in 0..MONTH_COUNT {
        let before = Plain { amounts: plain.amounts.clone(), has_paid: plain.has_paid.clone() };
        let mut batch = EventBatch::new();
        for change in 0..changes_of_month {
            let account = below(ACCOUNT_COUNT as u64) as usize;
            let cents = if below(5) == 0 { 0 } else { i128::from(below(1_000_000)) };
            plain.amounts[account] = cents;
            plain.has_paid[account] |= cents > 0;
            let amount = Number::new(cents, -2).expect("it has few digits");
            let event = Event {
                event: "plan".to_owned(),
                user: format!("u{account}"),
                time: starts[month + 1] - (changes_of_month - change) as i64,
                id: None,
                account: Some(format!("a{account}")),
                properties: vec![
                    ("mrr".to_owned(), Value::Number(amount)),
                    ("currency".to_owned(), Value::from(CURRENCIES[account % 3])),
                ],
            };
            batch.push(&event).expect("it is valid");
            change_count += 1;
        }
        store.ingest(batch).expect("it is stored");
        for currency in 0..3 {
            let accounts = (0..ACCOUNT_COUNT).filter(|account| account % 3 == currency);
            expected.push(plain.compare(&before, accounts));
        }
    }
    assert!(change_count >= CHANGE_COUNT);
    let query = json(
        r#"{"kind": "revenue", "subscription": {"event": "plan", "mrr": "mrr", "entity": "account"},
            "currency": "currency", "interval": "month", "from": "2024-01-01", "to": "2025-01-01"}"#,
    );
    for _ in 0..2 {
        let found = money(&store.query(&query).expect("the store answers").table);
        assert_eq!(found, expected);
        assert!(found.into_iter().all(adds_up));
        store.seal().expect("it is sealed");
    }
}

#[test]
fn revenue_adds_up_in_every_row_of_the_demo() {
    let demo = Demo::shared();
    let subscription = r#""subscription": {"event": {"any_of": ["plan_upgraded", "plan_downgraded",
        "subscription_cancelled"]}, "mrr": "mrr", "entity": "account"}"#;
    let mut row_count = 0;
    for rest in [
        r#""interval": "month""#,
        r#""interval": "week", "breakdown": {"property": "plan", "on": "account"}"#,
        r#""interval": "month", "trailing": "3mo""#,
    ] {
        let rows = money(&demo.ask(&format!(r#"{{"kind": "revenue", {subscription}, {rest}}}"#)));
        assert!(rows.iter().any(|row| row[6] > 0), "somebody pays");
        row_count += rows.len();
        assert!(rows.into_iter().all(adds_up), "{rest}");
    }
    println!("{row_count} rows add up");
}

#[test]
fn revenue_is_what_the_generator_counted() {
    let demo = Demo::shared();
    let subscription = r#""subscription": {"event": {"any_of": ["plan_upgraded", "plan_downgraded",
        "subscription_cancelled"]}, "mrr": "mrr", "entity": "account"}"#;
    let revenue = demo.ask(&format!(
        r#"{{"kind": "revenue", {subscription}, "currency": "currency", "interval": "total"}}"#
    ));
    let endings: Vec<i128> =
        money(&revenue).into_iter().map(|row| row[6]).filter(|ending| *ending > 0).collect();
    let ledger: Vec<i128> = demo
        .summary
        .mrr_by_currency
        .values()
        .filter_map(|mrr| mrr.mantissa_at(-6))
        .filter(|mrr| *mrr > 0)
        .collect();
    assert_eq!(endings, ledger);
    let customers: u64 = (0..revenue.row_count())
        .map(|row| demo.row(&revenue, row, "customers").parse::<u64>().unwrap())
        .sum();
    assert_eq!(customers, demo.summary.customers);
}

#[test]
fn one_industry_expands() {
    let demo = Demo::shared();
    let by_industry = demo.ask(
        r#"{"kind": "revenue", "interval": "total", "trailing": "6mo", "from": "2026-10-01", "to": "2026-11-01",
            "breakdown": {"property": "industry", "on": "account"}}"#,
    );
    let mut told = BTreeMap::new();
    for (row, sums) in money(&by_industry).into_iter().enumerate() {
        assert!(adds_up(sums));
        let [starting, _, expansion, contraction, churn, _, _] = sums;
        let name = (label(&by_industry, row, "breakdown"), label(&by_industry, row, "currency"));
        let kept = starting + expansion - contraction - churn;
        if starting > 0 {
            let nrr: f64 = demo.row(&by_industry, row, "nrr").parse().expect("a share");
            assert_eq!(nrr, kept as f64 / starting as f64, "{name:?}");
            told.insert(name, (starting / 10_000, kept / 10_000));
        }
    }
    let counted: BTreeMap<(String, String), (i128, i128)> = demo
        .summary
        .kept_revenue
        .iter()
        .map(|((industry, currency), kept)| {
            let cents = (i128::from(kept.then_cents), i128::from(kept.now_cents));
            (((*industry).to_owned(), (*currency).to_owned()), cents)
        })
        .collect();
    assert_eq!(told, counted);
    // Shares may be put together over currencies where money may not.
    for ((industry, currency), (then, now)) in &told {
        println!("{industry}, {currency}: {then} cents became {now}");
        let is_expanding = now > then;
        assert!(is_expanding || industry != EXPANDING_INDUSTRY, "{industry}, {currency}");
    }
}
