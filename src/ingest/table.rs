//! Reads the rows of a table as events: CSV with any delimiter, or columns separated by blanks.

use std::io::{self, Read};

use csv::ByteRecord;
use serde_json::value::RawValue;

use super::dialect::{Delimiter, blank_separated};
use super::fault::Fault;
use super::lines::{Block, Lines};
use super::mapping::{HeadField, Mapping, Source};
use super::properties::{Properties, check_name, check_value_text};
use super::rows::{Filling, Head, RowIds, Text, overlong};
use super::times::TimeReader;
use crate::api::{Problem, ProblemClass, nearest};
use crate::limits::{EVENT_SIZE_MAX, PROPERTY_COUNT_MAX};
use crate::model::{CellRef, EventBatch, Number};

/// A table and what its columns become.
pub(super) struct Table {
    records: Records,
    record: ByteRecord,
    /// The first row was read to count the columns, and is still to be taken as an event.
    first_line: Option<u64>,
    /// None if there is no row, not even a header.
    plan: Option<Plan>,
}

enum Records {
    Delimited(csv::Reader<Budgeted>, u8),
    Blanks(Lines<Text>),
}

/// What reading on gave.
enum Next {
    /// A row, in the record, that began at this line.
    Row(u64),
    /// A row that is too long, of which only the start is told.
    Overlong(u64, Vec<u8>),
    End,
}

impl Table {
    pub fn new(
        text: Text,
        delimiter: Delimiter,
        has_header: bool,
        mapping: &Mapping,
    ) -> Result<Table, Problem> {
        let mut records = Records::new(text, delimiter);
        let mut record = ByteRecord::new();
        let first = records.next(&mut record);
        let first =
            first.map_err(|e| Problem::new(ProblemClass::Io, format!("cannot read the first row: {e}")))?;
        let (first_line, columns) = match first {
            Next::End => return Ok(Table { records, record, first_line: None, plan: None }),
            Next::Overlong(..) => return Err(Problem::invalid(overlong().detail)),
            Next::Row(_) if has_header => (None, header(&record)?),
            Next::Row(line) => (Some(line), (1..=record.len()).map(|number| number.to_string()).collect()),
        };
        let plan = Some(Plan::new(columns, mapping)?);
        Ok(Table { records, record, first_line, plan })
    }

    /// Reads rows until the chunk is full or the table ends.
    pub fn fill(&mut self, filling: &mut Filling, row_ids: &mut Option<RowIds>) -> io::Result<()> {
        let Some(plan) = &self.plan else { return Ok(()) };
        while !filling.is_full() {
            let next = match self.first_line.take() {
                Some(line) => Next::Row(line),
                None => self.records.next(&mut self.record)?,
            };
            match next {
                Next::End => break,
                Next::Overlong(line, start) => filling.reject(line, &overlong(), &start),
                Next::Row(line) => {
                    let id = row_ids.as_mut().map(|ids| ids.id(line));
                    if let Err(fault) = plan.read(&self.record, id, &mut filling.chunk.batch) {
                        filling.reject(line, &fault, &self.records.shown(&self.record));
                    }
                }
            }
            filling.chunk.line = self.records.line_count();
        }
        Ok(())
    }
}

fn header(record: &ByteRecord) -> Result<Vec<String>, Problem> {
    let names: Result<Vec<String>, _> =
        record.iter().map(|name| std::str::from_utf8(name).map(|name| name.trim().to_owned())).collect();
    let names = names.map_err(|_| Problem::invalid("the header row is not UTF-8"))?;
    let twice = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name));
    match twice {
        Some((_, name)) if !name.is_empty() => {
            Err(Problem::invalid(format!("two columns have the name {name:?}"))
                .hint("rename one, or use --no-header and map columns by number"))
        }
        _ => Ok(names),
    }
}

impl Records {
    fn new(text: Text, delimiter: Delimiter) -> Records {
        match delimiter {
            Delimiter::Blanks => Records::Blanks(Lines::new(text)),
            Delimiter::Byte(byte) => {
                let mut builder = csv::ReaderBuilder::new();
                builder.delimiter(byte).has_headers(false).flexible(true).buffer_capacity(CSV_BUFFER_SIZE);
                Records::Delimited(builder.from_reader(Budgeted { text, left: ROW_BUDGET }), byte)
            }
        }
    }

    fn next(&mut self, record: &mut ByteRecord) -> io::Result<Next> {
        match self {
            Records::Delimited(reader, _) => {
                reader.get_mut().left = ROW_BUDGET;
                let is_row = reader.read_byte_record(record).map_err(io_error)?;
                let line = record.position().map_or(0, csv::Position::line);
                Ok(if is_row { Next::Row(line) } else { Next::End })
            }
            Records::Blanks(lines) => loop {
                let line = lines.line_count() + 1;
                match lines.block()? {
                    None => return Ok(Next::End),
                    Some(Block::Overlong(start)) => {
                        let start = start[..CSV_BUFFER_SIZE.min(start.len())].to_vec();
                        lines.take_overlong();
                        return Ok(Next::Overlong(line, start));
                    }
                    Some(Block::Lines(block)) => {
                        let size = memchr::memchr(b'\n', block).map_or(block.len(), |feed| feed + 1);
                        record.clear();
                        blank_separated(&block[..size]).for_each(|column| record.push_field(column));
                        lines.take(size, 1);
                        if !record.is_empty() {
                            return Ok(Next::Row(line));
                        }
                    }
                }
            },
        }
    }

    /// Lines that were read so far.
    fn line_count(&self) -> u64 {
        match self {
            Records::Delimited(reader, _) => reader.position().line().saturating_sub(1),
            Records::Blanks(lines) => lines.line_count(),
        }
    }

    /// The row as a line of the table, for those who look for it there.
    fn shown(&self, record: &ByteRecord) -> Vec<u8> {
        let delimiter = match self {
            Records::Delimited(_, byte) => *byte,
            Records::Blanks(_) => b' ',
        };
        let mut writer =
            csv::WriterBuilder::new().delimiter(delimiter).flexible(true).from_writer(Vec::new());
        writer.write_byte_record(record).expect("memory takes every write");
        let mut line = writer.into_inner().expect("memory takes every write");
        line.truncate(line.trim_ascii_end().len());
        line
    }
}

fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        kind => io::Error::other(format!("{kind:?}")),
    }
}

const CSV_BUFFER_SIZE: usize = 64 << 10;
/// Bytes that may be read for one row: a whole buffer may hold what comes after it.
const ROW_BUDGET: usize = EVENT_SIZE_MAX + CSV_BUFFER_SIZE;

/// Text that ends with an error when one row takes too much of it, as after a quote that is never closed.
struct Budgeted {
    text: Text,
    left: usize,
}

impl Read for Budgeted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let detail = format!("a row has more than {EVENT_SIZE_MAX} bytes; is a quote left open?");
            return Err(io::Error::other(detail));
        }
        let size_max = self.left.min(buffer.len());
        let size = self.text.read(&mut buffer[..size_max])?;
        self.left -= size;
        Ok(size)
    }
}

/// What each column of a table becomes.
#[derive(Debug)]
pub(super) struct Plan {
    pub columns: Vec<String>,
    pub heads: [Option<Cell>; HeadField::ALL.len()],
    pub properties: Vec<PropertyPlan>,
    pub times: TimeReader,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Column(usize),
    Constant(String),
}

#[derive(Debug)]
pub(super) struct PropertyPlan {
    pub name: String,
    pub cell: Cell,
    pub is_text: bool,
    /// A text that is a JSON object is not a value but properties, as exports write them.
    pub may_be_object: bool,
}

/// The column in which exports keep all properties of an event.
const PROPERTIES_COLUMN: &str = "properties";

impl Plan {
    pub fn new(columns: Vec<String>, mapping: &Mapping) -> Result<Plan, Problem> {
        let find = |name: &str| columns.iter().position(|column| column == name);
        let all = || columns.join(", ");
        if let Some(missing) = mapping.columns().find(|name| find(name).is_none()) {
            let problem =
                Problem::invalid(format!("there is no column {missing:?}; the columns are: {}", all()));
            return Err(match nearest(missing, columns.iter().map(String::as_str)) {
                Some(near) => problem.hint(format!("did you mean {near:?}?")),
                None => problem,
            });
        }
        let cell = |source: Source| match source {
            Source::Constant(text) => Some(Cell::Constant(text)),
            Source::Named(name) => find(&name).map(Cell::Column),
        };
        let heads = HeadField::ALL.map(|field| mapping.head_source(field).and_then(cell));
        for field in HeadField::ALL.iter().filter(|field| field.is_required()) {
            if heads[*field as usize].is_none() {
                let name = field.name();
                let detail = format!("no column gives the event's {name:?}; the columns are: {}", all());
                let hint = match field {
                    HeadField::Event => {
                        "map one with --map event=COLUMN, or name all events with event=:NAME"
                    }
                    HeadField::User => "map one with --map user=COLUMN",
                    _ => "map one with --map time=COLUMN",
                };
                return Err(Problem::invalid(detail).hint(hint));
            }
        }
        let mut properties: Vec<PropertyPlan> = Vec::new();
        for (name, source) in mapping.properties() {
            let column = if let Source::Named(column) = source { column } else { name };
            let is_text = mapping.is_text(name) || mapping.is_text(column);
            let cell = cell(source.clone()).expect("missing columns are told above");
            properties.push(PropertyPlan { name: name.to_owned(), cell, is_text, may_be_object: false });
        }
        let taken: Vec<usize> = heads
            .iter()
            .flatten()
            .filter_map(|cell| if let Cell::Column(index) = cell { Some(*index) } else { None })
            .collect();
        if !mapping.only_mapped {
            for (index, name) in columns.iter().enumerate() {
                let is_free = !taken.contains(&index) && !mapping.uses(name);
                let is_named = !name.is_empty() && properties.iter().all(|property| property.name != *name);
                if is_free && is_named {
                    let is_text = mapping.is_text(name);
                    let may_be_object = name == PROPERTIES_COLUMN && !is_text;
                    let (name, cell) = (name.clone(), Cell::Column(index));
                    properties.push(PropertyPlan { name, cell, is_text, may_be_object });
                }
            }
        }
        for property in &properties {
            check_name(&property.name).map_err(|fault| Problem::invalid(fault.detail))?;
        }
        if properties.len() > PROPERTY_COUNT_MAX {
            let detail = format!(
                "{} columns would be properties; at most {PROPERTY_COUNT_MAX} are allowed",
                properties.len()
            );
            return Err(Problem::invalid(detail).hint("choose with --map and --only-mapped"));
        }
        Ok(Plan { columns, heads, properties, times: mapping.times.clone() })
    }

    /// Adds the row to `batch` as an event, or changes nothing in it. `id` is for rows that have none.
    fn read(&self, record: &ByteRecord, id: Option<&str>, batch: &mut EventBatch) -> Result<(), Fault> {
        let (found, expected) = (record.len(), self.columns.len());
        if found != expected {
            return Err(Fault::new(format!("the row has {found} columns, the table {expected}")));
        }
        let head = |field: HeadField| match &self.heads[field as usize] {
            Some(cell) => self.text(record, cell).map_err(|fault| fault.at(field.name())),
            None => Ok(""),
        };
        let time = head(HeadField::Time)?;
        let time = self.times.read(time).map_err(|fault| self.in_column(HeadField::Time, fault))?;
        let own_id = Some(head(HeadField::Id)?).filter(|id| !id.is_empty());
        let account = Some(head(HeadField::Account)?).filter(|account| !account.is_empty());
        let (event, user) = (head(HeadField::Event)?, head(HeadField::User)?);
        Head { event, user, time, id: own_id.or(id), account }.push(batch)?;
        for property in &self.properties {
            let pushed = self.text(record, &property.cell).and_then(|text| {
                if property.may_be_object && text.starts_with('{') {
                    return push_object(text, batch);
                }
                check_value_text(text)?;
                if let Some(cell) = typed(text, property.is_text) {
                    batch.push_property_ref(&property.name, &cell).expect("names are checked with the plan");
                }
                Ok(())
            });
            if let Err(fault) = pushed {
                batch.pop_event();
                return Err(fault.at(&property.name).under("properties"));
            }
        }
        Ok(())
    }

    fn text<'a>(&'a self, record: &'a ByteRecord, cell: &'a Cell) -> Result<&'a str, Fault> {
        match cell {
            Cell::Constant(text) => Ok(text),
            Cell::Column(index) => std::str::from_utf8(&record[*index])
                .map(str::trim)
                .map_err(|_| Fault::new(format!("column {:?} is not UTF-8", self.columns[*index]))),
        }
    }

    /// The fault with the name of the column that the field comes from.
    fn in_column(&self, field: HeadField, mut fault: Fault) -> Fault {
        if let Some(Cell::Column(index)) = &self.heads[field as usize] {
            fault.detail.insert_str(0, &format!("column {:?}: ", self.columns[*index]));
        }
        fault.at(field.name())
    }
}

/// Adds the properties of a JSON object to the last event.
pub(super) fn push_object(text: &str, batch: &mut EventBatch) -> Result<(), Fault> {
    let raw: &RawValue =
        serde_json::from_str(text).map_err(|error| Fault::syntax(&error, text.as_bytes()))?;
    let mut properties = Properties::default();
    properties.read(raw.get())?;
    properties.push_to(batch).map_err(|error| Fault::new(error.to_string()))
}

/// The value that a text in a table stands for: a number where it is one in JSON, so that leading zeros stay
/// text; `true` and `false`; nothing where it is empty.
pub(super) fn typed(text: &str, is_text: bool) -> Option<CellRef<'_>> {
    match text.as_bytes().first()? {
        _ if is_text => Some(CellRef::Text(text)),
        b'-' | b'0'..=b'9' => Some(Number::parse(text).map_or(CellRef::Text(text), CellRef::Number)),
        _ if text == "true" => Some(CellRef::Bool(true)),
        _ if text == "false" => Some(CellRef::Bool(false)),
        _ => Some(CellRef::Text(text)),
    }
}
