//! Any JSON as people read it: fields as lines, lists of objects as tables.

use serde_json::{Map, Value};

use super::text_table::TextTable;

/// Fields that say what an object is, and so come first.
const NAMING_FIELDS: [&str; 7] = ["user", "account", "event", "name", "property", "id", "time"];

/// Writes the value, every list of objects under a heading of its own.
pub(super) fn outline(value: &Value) -> String {
    let mut out = String::new();
    write_section(&mut out, "", value);
    out
}

fn write_section(out: &mut String, title: &str, value: &Value) {
    match value {
        Value::Object(fields) => write_fields(out, title, fields),
        Value::Array(items) if is_table(value) => write_table(out, title, items),
        other => write_block(out, title, &format!("{}\n", cell_text(other))),
    }
}

fn write_fields(out: &mut String, title: &str, fields: &Map<String, Value>) {
    let ordered = ordered_names(fields.keys().map(String::as_str));
    let is_line = |name: &&str| !fields[*name].is_object() && !is_table(&fields[*name]);
    let lines: Vec<&str> = ordered.iter().copied().filter(is_line).collect();
    if !lines.is_empty() {
        let mut table = TextTable::new([("field".to_owned(), false), ("value".to_owned(), false)]);
        for name in lines {
            table.push(vec![name.to_owned(), cell_text(&fields[name])]);
        }
        write_block(out, title, &table.render());
    }
    for name in ordered.iter().filter(|name| !is_line(name)) {
        write_section(out, &below(title, name), &fields[*name]);
    }
}

/// Writes a list of objects: a row each, and what does not fit into a row below.
fn write_table(out: &mut String, title: &str, items: &[Value]) {
    let rows: Vec<&Map<String, Value>> = items.iter().filter_map(Value::as_object).collect();
    let names = ordered_names(rows.iter().flat_map(|row| row.keys().map(String::as_str)));
    let is_column = |name: &&&str| !rows.iter().any(|row| row.get(**name).is_some_and(is_table));
    let columns: Vec<&str> = names.iter().filter(is_column).copied().collect();
    let is_number = |name: &str| rows.iter().all(|row| row.get(name).is_none_or(Value::is_number));
    let mut table = TextTable::new(columns.iter().map(|name| ((*name).to_owned(), is_number(name))));
    for row in &rows {
        table.push(columns.iter().map(|name| row.get(*name).map_or_else(String::new, cell_text)).collect());
    }
    write_block(out, title, &table.render());
    for row in &rows {
        let row_title = columns.first().and_then(|name| row.get(*name)).map_or_else(String::new, cell_text);
        for name in names.iter().filter(|name| !columns.contains(name)) {
            if let Some(value) = row.get(*name) {
                write_section(out, &below(&row_title, name), value);
            }
        }
    }
}

fn write_block(out: &mut String, title: &str, text: &str) {
    if !out.is_empty() {
        out.push('\n');
    }
    if !title.is_empty() {
        out.push_str(&format!("{title}:\n"));
    }
    out.push_str(text);
}

fn below(title: &str, name: &str) -> String {
    if title.is_empty() { name.to_owned() } else { format!("{title}, {name}") }
}

/// Each name once: those that name things first, the others as they come.
fn ordered_names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut ordered: Vec<&str> = Vec::new();
    for name in names {
        if !ordered.contains(&name) {
            ordered.push(name);
        }
    }
    let rank =
        |name: &&str| NAMING_FIELDS.iter().position(|known| known == name).unwrap_or(NAMING_FIELDS.len());
    ordered.sort_by_key(rank);
    ordered
}

fn is_table(value: &Value) -> bool {
    value.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(Value::is_object))
}

fn cell_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if !items.iter().any(|item| item.is_object() || item.is_array()) => {
            items.iter().map(cell_text).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_reads_as_tables() {
        let schema = json!({"events": [
            {"event": "signup", "count": 1200, "properties": [{"name": "plan", "types": ["string", "number"]}]},
            {"event": "login", "count": 7, "properties": []},
        ]});
        let expected = "\
events:
event   count
------  -----
signup   1200
login       7

signup, properties:
name  types
----  --------------
plan  string, number

login, properties:

";
        assert_eq!(outline(&schema), expected);
    }

    #[test]
    fn a_user_reads_as_fields_and_tables() {
        let user = json!({"user": "ada", "ids": ["a1", "a2"], "profile": {"plan": "free"},
            "events": [{"event": "signup", "time": "2024-03-01", "properties": {"a": 1}}]});
        let expected = "\
field  value
-----  ------
user   ada
ids    a1, a2

events:
event   time        properties
------  ----------  ----------
signup  2024-03-01  {\"a\":1}

profile:
field  value
-----  -----
plan   free
";
        assert_eq!(outline(&user), expected);
    }
}
