//! Rows of results, and whether two are the same.

use flywheeldb::api::{Cell, Json, Table};
use flywheeldb::model::Number;

use super::reading;

/// One row: its columns in order.
pub type Row = Vec<(String, Json)>;

/// Numbers this close are equal; large ones relative to their size.
const TOLERANCE: f64 = 1e-9;

/// Columns of money, which is equal or not.
const MONEY: [&str; 7] = ["starting", "new", "expansion", "contraction", "churn", "reactivation", "ending"];

/// The rows of a result of the library.
pub fn rows(table: &Table) -> Vec<Row> {
    let names: Vec<&str> = table.columns().iter().map(|column| column.name.as_str()).collect();
    table
        .rows()
        .map(|cells| names.iter().zip(cells).map(|(name, cell)| ((*name).to_owned(), json(cell))).collect())
        .collect()
}

fn json(cell: &Cell) -> Json {
    let number = |text: String| Json::Number(Number::parse(&text).expect("a number prints as one"));
    match cell {
        Cell::Null => Json::Null,
        Cell::Bool(truth) => Json::Bool(*truth),
        Cell::UInt(count) => number(count.to_string()),
        Cell::Float(float) => Json::Number(Number::from_f64(*float).expect("results are finite")),
        Cell::Decimal(decimal) => number(decimal.to_string()),
        Cell::Text(text) => Json::String(text.clone()),
        Cell::Value(value) => reading::json(value),
        Cell::List(texts) => Json::Array(texts.iter().cloned().map(Json::String).collect()),
    }
}

/// Whether two tables have the same columns, rows and cells.
pub fn same(expected: &[Row], found: &[Row]) -> bool {
    expected.len() == found.len()
        && expected.iter().zip(found).all(|(expected, found)| {
            expected.len() == found.len()
                && expected.iter().zip(found).all(|(a, b)| {
                    let is_money = MONEY.contains(&a.0.as_str());
                    a.0 == b.0 && if is_money { a.1 == b.1 } else { same_cell(&a.1, &b.1) }
                })
        })
}

/// Whether each row of `found` has the cells that the row of `expected` names; other columns do not matter.
pub fn covers(expected: &[Row], found: &[Row]) -> bool {
    expected.len() == found.len()
        && expected.iter().zip(found).all(|(expected, found)| {
            expected.iter().all(|(name, cell)| {
                found.iter().any(|(known, other)| known == name && same_cell(cell, other))
            })
        })
}

fn same_cell(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => {
            let (a, b) = (a.to_f64(), b.to_f64());
            (a - b).abs() <= TOLERANCE * a.abs().max(1.0)
        }
        _ => a == b,
    }
}

/// The rows as text, one a line, for a failing test to print.
pub fn print(rows: &[Row]) -> String {
    let line = |row: &Row| Json::Object(row.clone()).to_string();
    if rows.is_empty() {
        return "  (no rows)".to_owned();
    }
    rows.iter().map(|row| format!("  {}", line(row))).collect::<Vec<_>>().join("\n")
}
