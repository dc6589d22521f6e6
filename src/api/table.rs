//! The one shape of every result.

use crate::model::{Decimal, Value};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    Bool,
    UInt32,
    UInt64,
    Float64,
    /// An exact decimal: a JSON number with all its decimals.
    Decimal,
    String,
    /// The start of a bucket or an instant, as text in the query's time zone.
    Time,
    /// A property's value, of whatever type it has.
    Value,
    /// A list of strings.
    StringList,
}

impl ColumnType {
    /// The name that `meta` uses.
    pub const fn name(self) -> &'static str {
        match self {
            ColumnType::Bool => "bool",
            ColumnType::UInt32 => "uint32",
            ColumnType::UInt64 => "uint64",
            ColumnType::Float64 => "float64",
            ColumnType::Decimal => "decimal",
            ColumnType::String => "string",
            ColumnType::Time => "time",
            ColumnType::Value => "value",
            ColumnType::StringList => "list<string>",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub column_type: ColumnType,
}

/// One value of a result.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Bool(bool),
    UInt(u64),
    Float(f64),
    Decimal(Decimal),
    Text(String),
    Value(Value),
    List(Vec<String>),
}

/// Rows in a fixed order, with named and typed columns.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Table {
    columns: Vec<Column>,
    cells: Vec<Cell>,
}

impl Table {
    pub fn new(columns: impl IntoIterator<Item = (impl Into<String>, ColumnType)>) -> Table {
        let columns =
            columns.into_iter().map(|(name, column_type)| Column { name: name.into(), column_type });
        Table { columns: columns.collect(), cells: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If it has another number of cells than the table has columns.
    pub fn push(&mut self, row: impl IntoIterator<Item = Cell>) {
        let before = self.cells.len();
        self.cells.extend(row);
        assert_eq!(self.cells.len() - before, self.columns.len(), "a row has a cell for each column");
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[Cell]> {
        self.cells.chunks_exact(self.columns.len())
    }

    pub fn row_count(&self) -> usize {
        self.cells.len() / self.columns.len().max(1)
    }

    /// The cells of the column of this name.
    pub fn column(&self, name: &str) -> Option<impl Iterator<Item = &Cell>> {
        let index = self.columns.iter().position(|column| column.name == name)?;
        Some(self.rows().map(move |row| &row[index]))
    }
}

/// What answering took.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Statistics {
    pub elapsed_ms: f64,
    /// Rows of events looked at. An answer from sets alone looks at none.
    pub events_scanned: u64,
    /// Segments that the snapshot has, those in memory included.
    pub segments: u64,
    /// Users that the store knows.
    pub users: u64,
    /// The number of the last change that the answer saw.
    pub snapshot: u64,
    /// Events that say nothing that the query could use, where such may be: subscription events without a valid
    /// `mrr`.
    pub ignored: Option<u64>,
    /// Damaged files that the store is open without, whose rows the answer therefore lacks.
    pub degraded: Vec<String>,
}

/// A result and what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub table: Table,
    pub statistics: Statistics,
}

/// Writes a double as JSON does: whole numbers without a point, others in the shortest form that reads back.
pub fn write_float(out: &mut String, value: f64) {
    use std::fmt::Write;
    if value == value.trunc() && value.abs() < 1e15 {
        write!(out, "{}", value as i64).expect("strings take writes");
    } else {
        out.push_str(&serde_json::to_string(&value).expect("finite doubles are JSON"));
    }
}
