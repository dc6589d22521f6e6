//! Results as text: JSON, NDJSON and CSV; and back from JSON, for who asks a server. `arrow` tells them as bytes.
//!
//! Numbers are told exactly in all three texts: decimals with all their digits, doubles in the shortest form that
//! reads back, and a double that is no number as null.

use std::fmt::Write;

use super::arrow::arrow_stream;
use super::json::{Json, Node};
use super::problem::Problem;
use super::table::{Answer, Cell, ColumnType, Statistics, Table, write_float};
use crate::model::Value;

/// An encoding of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// One object with `meta`, `data`, `rows` and `statistics`.
    #[default]
    Json,
    /// An object a row, a row a line.
    Ndjson,
    /// RFC 4180 with a header line. A null is an empty cell.
    Csv,
    /// The stream of Arrow's IPC: typed columns, in batches of rows.
    Arrow,
}

impl Format {
    /// Every format and the word that asks for it.
    pub const WORDS: [(&'static str, Format); 4] =
        [("json", Format::Json), ("ndjson", Format::Ndjson), ("csv", Format::Csv), ("arrow", Format::Arrow)];

    /// The word that asks for the format.
    pub fn word(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Ndjson => "ndjson",
            Format::Csv => "csv",
            Format::Arrow => "arrow",
        }
    }

    /// The value of a `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Ndjson => "application/x-ndjson",
            Format::Csv => "text/csv; charset=utf-8; header=present",
            Format::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// Writes the answer in the format. Only JSON tells the statistics.
pub fn encode(answer: &Answer, format: Format) -> Vec<u8> {
    match format {
        Format::Json => json(answer).into_bytes(),
        Format::Ndjson => ndjson(&answer.table).into_bytes(),
        Format::Csv => csv(&answer.table),
        Format::Arrow => arrow_stream(&answer.table),
    }
}

/// A row a line, so that a person reads it as easily as a program.
fn json(answer: &Answer) -> String {
    let table = &answer.table;
    let mut out = String::from("{\"meta\": [");
    for (index, column) in table.columns().iter().enumerate() {
        out.push_str(if index > 0 { ", " } else { "" });
        out.push_str("{\"name\": ");
        push_string(&mut out, &column.name);
        write!(out, ", \"type\": \"{}\"}}", column.column_type.name()).expect("strings take writes");
    }
    out.push_str("],\n \"data\": [");
    let names = member_names(table);
    for (index, row) in table.rows().enumerate() {
        out.push_str(if index > 0 { ",\n  " } else { "\n  " });
        push_row(&mut out, &names, row);
    }
    let statistics = &answer.statistics;
    write!(out, "],\n \"rows\": {},\n \"statistics\": {{\"elapsed_ms\": ", table.row_count())
        .expect("strings take writes");
    write_float(&mut out, round_to_micros(statistics.elapsed_ms));
    write!(
        out,
        ", \"events_scanned\": {}, \"segments\": {}, \"users\": {}, \"snapshot\": {}",
        statistics.events_scanned, statistics.segments, statistics.users, statistics.snapshot
    )
    .expect("strings take writes");
    if let Some(ignored) = statistics.ignored {
        write!(out, ", \"ignored\": {ignored}").expect("strings take writes");
    }
    if !statistics.degraded.is_empty() {
        out.push_str(", \"degraded\": [");
        for (index, file) in statistics.degraded.iter().enumerate() {
            out.push_str(if index > 0 { ", " } else { "" });
            push_string(&mut out, file);
        }
        out.push(']');
    }
    out.push_str("}}\n");
    out
}

fn ndjson(table: &Table) -> String {
    let mut out = String::new();
    let names = member_names(table);
    for row in table.rows() {
        push_row(&mut out, &names, row);
        out.push('\n');
    }
    out
}

fn csv(table: &Table) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let mut text = String::new();
    for column in table.columns() {
        text.clear();
        push_harmless(&mut text, &column.name);
        writer.write_field(&text).expect("memory takes writes");
    }
    writer.write_record(None::<&[u8]>).expect("memory takes writes");
    for row in table.rows() {
        for cell in row {
            text.clear();
            push_csv_cell(&mut text, cell);
            writer.write_field(&text).expect("memory takes writes");
        }
        writer.write_record(None::<&[u8]>).expect("memory takes writes");
    }
    writer.into_inner().expect("memory takes writes")
}

/// The columns' names as the beginnings of members, `"name": `, made once for all rows.
fn member_names(table: &Table) -> Vec<String> {
    let columns = table.columns().iter();
    columns
        .map(|column| {
            let mut name = String::new();
            push_string(&mut name, &column.name);
            name.push_str(": ");
            name
        })
        .collect()
}

fn push_row(out: &mut String, names: &[String], row: &[Cell]) {
    for (index, (name, cell)) in names.iter().zip(row).enumerate() {
        out.push_str(if index > 0 { ", " } else { "{" });
        out.push_str(name);
        push_json_cell(out, cell);
    }
    out.push('}');
}

fn push_json_cell(out: &mut String, cell: &Cell) {
    match cell {
        Cell::Null => out.push_str("null"),
        Cell::Text(text) => push_string(out, text),
        Cell::Value(value) => write!(out, "{value}").expect("strings take writes"),
        Cell::List(elements) => push_list(out, elements),
        Cell::Float(number) if !number.is_finite() => out.push_str("null"),
        Cell::Bool(_) | Cell::UInt(_) | Cell::Float(_) | Cell::Decimal(_) => push_plain(out, cell),
    }
}

fn push_csv_cell(out: &mut String, cell: &Cell) {
    match cell {
        Cell::Null => {}
        Cell::Text(text) | Cell::Value(Value::String(text)) => push_harmless(out, text),
        Cell::Value(value) => write!(out, "{value}").expect("strings take writes"),
        Cell::List(elements) => push_list(out, elements),
        Cell::Float(number) if !number.is_finite() => {}
        Cell::Bool(_) | Cell::UInt(_) | Cell::Float(_) | Cell::Decimal(_) => push_plain(out, cell),
    }
}

/// Writes a cell that looks the same in every format.
fn push_plain(out: &mut String, cell: &Cell) {
    match cell {
        Cell::Bool(truth) => write!(out, "{truth}"),
        Cell::UInt(number) => write!(out, "{number}"),
        Cell::Decimal(number) => write!(out, "{number}"),
        Cell::Float(number) => {
            write_float(out, *number);
            Ok(())
        }
        Cell::Null | Cell::Text(_) | Cell::Value(_) | Cell::List(_) => {
            unreachable!("each format writes these in its own way")
        }
    }
    .expect("strings take writes");
}

/// Writes text so that no spreadsheet takes it for a formula: names and values are the asker's customers', and
/// `=HYPERLINK(…)` as a plan's name must stay a name.
fn push_harmless(out: &mut String, text: &str) {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        out.push('\'');
    }
    out.push_str(text);
}

fn push_list(out: &mut String, elements: &[String]) {
    out.push('[');
    for (index, element) in elements.iter().enumerate() {
        out.push_str(if index > 0 { "," } else { "" });
        push_string(out, element);
    }
    out.push(']');
}

fn push_string(out: &mut String, text: &str) {
    out.push_str(&serde_json::to_string(text).expect("a string is JSON"));
}

/// A clock is no better than that, and more digits only hide the ones that matter.
fn round_to_micros(ms: f64) -> f64 {
    (ms * 1_000.0).round() / 1_000.0
}

/// Reads an answer that [`encode`] wrote as JSON. Statistics that a newer server adds are passed over.
pub fn decode(body: &Json) -> Result<Answer, Problem> {
    let mut fields = body.root().object()?;
    let columns: Vec<(String, ColumnType)> = fields
        .required("meta")?
        .array()?
        .iter()
        .map(|column| {
            let mut fields = column.object()?;
            let name = fields.required("name")?.string()?.to_owned();
            Ok((name, fields.required("type")?.word(&COLUMN_TYPES)?))
        })
        .collect::<Result<_, Problem>>()?;
    let mut table = Table::new(columns.iter().map(|(name, column_type)| (name.as_str(), *column_type)));
    for row in fields.required("data")?.array()? {
        let cells = columns.iter().map(|(name, column_type)| match row.json().get(name) {
            Some(cell) => decode_cell(&cell.root(), *column_type),
            None => Err(row.problem(format!("the row has no {name:?}"))),
        });
        table.push(cells.collect::<Result<Vec<Cell>, Problem>>()?);
    }
    let statistics = fields.required("statistics")?;
    let count = |name| statistics.json().get(name).map_or(Ok(0), |count| decode_count(&count.root()));
    let elapsed =
        statistics.json().get("elapsed_ms").map_or(Ok(0.0), |ms| ms.root().number().map(|ms| ms.to_f64()));
    let statistics = Statistics {
        elapsed_ms: elapsed?,
        events_scanned: count("events_scanned")?,
        segments: count("segments")?,
        users: count("users")?,
        snapshot: count("snapshot")?,
        ignored: statistics.json().get("ignored").map(|count| decode_count(&count.root())).transpose()?,
        degraded: decode_names(statistics.json().get("degraded"))?,
    };
    Ok(Answer { table, statistics })
}

fn decode_names(names: Option<&Json>) -> Result<Vec<String>, Problem> {
    let Some(names) = names else { return Ok(Vec::new()) };
    names.root().array()?.iter().map(|name| name.string().map(str::to_owned)).collect()
}

/// Every column type and its name.
const COLUMN_TYPES: [(&str, ColumnType); 9] = {
    use ColumnType::{Bool, Decimal, Float64, String, StringList, Time, UInt32, UInt64, Value};
    [
        (Bool.name(), Bool),
        (UInt32.name(), UInt32),
        (UInt64.name(), UInt64),
        (Float64.name(), Float64),
        (Decimal.name(), Decimal),
        (String.name(), String),
        (Time.name(), Time),
        (Value.name(), Value),
        (StringList.name(), StringList),
    ]
};

fn decode_cell(cell: &Node<'_>, column_type: ColumnType) -> Result<Cell, Problem> {
    if *cell.json() == Json::Null {
        return Ok(Cell::Null);
    }
    Ok(match column_type {
        ColumnType::Bool => Cell::Bool(cell.bool()?),
        ColumnType::UInt32 | ColumnType::UInt64 => Cell::UInt(decode_count(cell)?),
        ColumnType::Float64 => Cell::Float(cell.number()?.to_f64()),
        ColumnType::Decimal => Cell::Decimal(cell.number()?.into()),
        ColumnType::String | ColumnType::Time => Cell::Text(cell.string()?.to_owned()),
        ColumnType::Value => Cell::Value(cell.value()?),
        ColumnType::StringList => Cell::List(cell.strings()?),
    })
}

fn decode_count(count: &Node<'_>) -> Result<u64, Problem> {
    let whole = count.number()?.mantissa_at(0).and_then(|whole| u64::try_from(whole).ok());
    whole.ok_or_else(|| count.problem(format!("expected a count, found {}", count.json())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Decimal, Number};

    fn decimal(text: &str) -> Decimal {
        Number::parse(text).unwrap().into()
    }

    fn answer() -> Answer {
        let mut table = Table::new([
            ("time", ColumnType::Time),
            ("breakdown", ColumnType::Value),
            ("path", ColumnType::StringList),
            ("users", ColumnType::UInt64),
            ("value", ColumnType::Decimal),
            ("rate", ColumnType::Float64),
            ("complete", ColumnType::Bool),
        ]);
        table.push([
            Cell::Text("2024-03-01".into()),
            Cell::Value(Value::from("say \"hi\", =1")),
            Cell::List(vec!["a".into(), "b,\"c".into()]),
            Cell::UInt(18_446_744_073_709_551_615),
            Cell::Decimal(decimal("12345678901234567890.05")),
            Cell::Float(1.0 / 3.0),
            Cell::Bool(true),
        ]);
        table.push([
            Cell::Text("2024-03-02".into()),
            Cell::Null,
            Cell::Null,
            Cell::UInt(0),
            Cell::Decimal(decimal("-0.10")),
            Cell::Float(f64::NAN),
            Cell::Bool(false),
        ]);
        let statistics = Statistics {
            elapsed_ms: 1.900_04,
            events_scanned: 7,
            segments: 2,
            users: 3,
            snapshot: 9,
            ..Statistics::default()
        };
        Answer { table, statistics }
    }

    fn text(format: Format) -> String {
        String::from_utf8(encode(&answer(), format)).unwrap()
    }

    #[test]
    fn json_tells_meta_rows_and_statistics() {
        let expected = r#"{"meta": [{"name": "time", "type": "time"}, {"name": "breakdown", "type": "value"}, {"name": "path", "type": "list<string>"}, {"name": "users", "type": "uint64"}, {"name": "value", "type": "decimal"}, {"name": "rate", "type": "float64"}, {"name": "complete", "type": "bool"}],
 "data": [
  {"time": "2024-03-01", "breakdown": "say \"hi\", =1", "path": ["a","b,\"c"], "users": 18446744073709551615, "value": 12345678901234567890.05, "rate": 0.3333333333333333, "complete": true},
  {"time": "2024-03-02", "breakdown": null, "path": null, "users": 0, "value": -0.1, "rate": null, "complete": false}],
 "rows": 2,
 "statistics": {"elapsed_ms": 1.9, "events_scanned": 7, "segments": 2, "users": 3, "snapshot": 9}}
"#;
        assert_eq!(text(Format::Json), expected);
        serde_json::from_str::<serde_json::Value>(expected).unwrap();
    }

    #[test]
    fn json_reads_back_as_it_was_told() {
        let told = text(Format::Json);
        let read = decode(&Json::parse(told.as_bytes()).unwrap()).unwrap();
        assert_eq!(String::from_utf8(encode(&read, Format::Json)).unwrap(), told);
        assert!(decode(&Json::parse(b"{\"rows\": 3}").unwrap()).is_err());
    }

    #[test]
    fn an_empty_result_is_json_and_csv_too() {
        let table = Table::new([("users", ColumnType::UInt64)]);
        let answer = Answer { table, statistics: Statistics::default() };
        let json: serde_json::Value = serde_json::from_slice(&encode(&answer, Format::Json)).unwrap();
        assert_eq!(json["data"], serde_json::json!([]));
        assert_eq!(encode(&answer, Format::Ndjson), b"");
        assert_eq!(encode(&answer, Format::Csv), b"users\r\n");
    }

    #[test]
    fn ndjson_has_a_row_a_line() {
        let lines = text(Format::Ndjson);
        assert_eq!(lines.lines().count(), 2);
        assert!(lines.ends_with("}\n"));
        for line in lines.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }

    #[test]
    fn csv_quotes_what_needs_it_and_leaves_nulls_empty() {
        let expected = "time,breakdown,path,users,value,rate,complete\r\n\
            2024-03-01,\"say \"\"hi\"\", =1\",\"[\"\"a\"\",\"\"b,\\\"\"c\"\"]\",18446744073709551615,\
            12345678901234567890.05,0.3333333333333333,true\r\n\
            2024-03-02,,,0,-0.1,,false\r\n";
        assert_eq!(text(Format::Csv), expected);
    }

    #[test]
    fn no_spreadsheet_takes_text_for_a_formula() {
        let mut table = Table::new([("=name", ColumnType::Value), ("number", ColumnType::Decimal)]);
        for start in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"] {
            table.push([Cell::Value(start.into()), Cell::Decimal(decimal("-1"))]);
        }
        let answer = Answer { table, statistics: Statistics::default() };
        let text = String::from_utf8(encode(&answer, Format::Csv)).unwrap();
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 7);
        assert!(rows.iter().all(|row| row[0].starts_with('\'')));
        assert!(rows[1..].iter().all(|row| &row[1] == "-1"), "numbers are left alone");
    }
}
