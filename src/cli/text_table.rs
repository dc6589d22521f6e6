//! Tables as people read them: aligned columns of plain text.

use unicode_width::UnicodeWidthStr;

use crate::api::{Cell, ColumnType, Table, write_float};
use crate::model::Value;

/// Decimals of shares and averages. Whoever needs them all takes another format.
const DECIMAL_COUNT: f64 = 10_000.0;

/// Rows of text under a header.
#[derive(Debug, Default)]
pub(super) struct TextTable {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Whether a column's text ends where the column does, as that of numbers.
    is_right: Vec<bool>,
}

impl TextTable {
    /// A table whose columns are named, and told whether they hold numbers.
    pub fn new(columns: impl IntoIterator<Item = (String, bool)>) -> TextTable {
        let (header, is_right): (Vec<String>, Vec<bool>) = columns.into_iter().unzip();
        TextTable { header: header.iter().map(|name| harmless(name)).collect(), rows: Vec::new(), is_right }
    }

    /// A table of texts alone.
    pub fn of_texts(columns: &[&str], rows: Vec<Vec<String>>) -> TextTable {
        let mut table = TextTable::new(columns.iter().map(|name| ((*name).to_owned(), false)));
        rows.into_iter().for_each(|row| table.push(row));
        table
    }

    pub fn push(&mut self, row: Vec<String>) {
        debug_assert_eq!(row.len(), self.header.len(), "a row has a cell for each column");
        self.rows.push(row.iter().map(|text| harmless(text)).collect());
    }

    pub fn render(&self) -> String {
        let widths: Vec<usize> = (0..self.header.len())
            .map(|index| {
                let cells = self.rows.iter().map(|row| row[index].width());
                cells.chain([self.header[index].width()]).max().unwrap_or(0)
            })
            .collect();
        let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        let mut out = String::new();
        for row in [&self.header, &rules].into_iter().chain(&self.rows) {
            self.render_row(&mut out, row, &widths);
        }
        out
    }

    fn render_row(&self, out: &mut String, row: &[String], widths: &[usize]) {
        let row_start = out.len();
        for (index, text) in row.iter().enumerate() {
            let padding = " ".repeat(widths[index] - text.width());
            let (before, after) =
                if self.is_right[index] { (padding.as_str(), "") } else { ("", padding.as_str()) };
            out.push_str(if index > 0 { "  " } else { "" });
            out.extend([before, text, after]);
        }
        let text_end = row_start + out[row_start..].trim_end_matches(' ').len();
        out.truncate(text_end);
        out.push('\n');
    }
}

impl From<&Table> for TextTable {
    fn from(table: &Table) -> TextTable {
        let is_number = |column_type| {
            use ColumnType::{Decimal, Float64, UInt32, UInt64};
            matches!(column_type, UInt32 | UInt64 | Float64 | Decimal)
        };
        let columns = table.columns().iter();
        let mut text =
            TextTable::new(columns.map(|column| (column.name.clone(), is_number(column.column_type))));
        for row in table.rows() {
            text.push(row.iter().map(cell_text).collect());
        }
        text
    }
}

fn cell_text(cell: &Cell) -> String {
    match cell {
        Cell::Null => "null".to_owned(),
        Cell::Bool(truth) => truth.to_string(),
        Cell::UInt(number) => number.to_string(),
        Cell::Float(number) if !number.is_finite() => "null".to_owned(),
        Cell::Float(number) => {
            let mut text = String::new();
            write_float(&mut text, (number * DECIMAL_COUNT).round() / DECIMAL_COUNT);
            text
        }
        Cell::Decimal(number) => number.to_string(),
        Cell::Text(text) | Cell::Value(Value::String(text)) => text.clone(),
        Cell::Value(value) => value.to_string(),
        Cell::List(elements) => elements.join(" > "),
    }
}

/// Shows control characters instead of sending them to the terminal, which would obey them.
fn harmless(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new([
            ("step", ColumnType::UInt32),
            ("event", ColumnType::String),
            ("from_first", ColumnType::Float64),
            ("path", ColumnType::StringList),
        ]);
        table.push([Cell::UInt(1), Cell::Text("サインアップ".into()), Cell::Null, Cell::Null]);
        let path = Cell::List(vec!["a".into(), "b".into()]);
        table.push([Cell::UInt(12), Cell::Text("a\u{1b}[2J".into()), Cell::Float(2.0 / 3.0), path]);
        let expected = "\
step  event         from_first  path
----  ------------  ----------  -----
   1  サインアップ        null  null
  12  a\\u{1b}[2J        0.6667  a > b
";
        assert_eq!(TextTable::from(&table).render(), expected);
    }
}
