//! Turns a file into batches of events, row by row, and tells the rows that are none.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::sync::atomic::Ordering;

use super::changes::Said;
use super::dialect::Delimiter;
use super::event::{Defaults, EventReader, check_size};
use super::fault::Fault;
use super::files::{InputFile, InputFormat};
use super::lines::{Block, Lines};
use super::mapping::Mapping;
use super::objects::ObjectReader;
use super::parquet::ParquetTable;
use super::table::Table;
use crate::api::{Problem, ProblemClass};
use crate::limits::{ENTITY_ID_SIZE_MAX, EVENT_ID_SIZE_MAX, EVENT_NAME_SIZE_MAX, EVENT_SIZE_MAX};
use crate::model::{BatchRoom, EventBatch, TimeMs};

/// Bytes of events in a chunk, so that memory stays bounded when events are large.
const CHUNK_SIZE_MAX: usize = 16 << 20;
/// Rejected rows in a chunk, for the same reason.
const CHUNK_REJECTED_COUNT_MAX: usize = 1_000;
/// Bytes of a rejected row that are kept to show it.
const REJECTED_INPUT_SIZE_MAX: usize = 4 << 10;

/// How the rows of one file are read.
#[derive(Clone, Debug)]
pub struct RowOptions {
    /// If it asks for nothing, lines of JSON are events as `POST /v1/events` takes them.
    pub mapping: Mapping,
    /// Whether the first row of a table names its columns; else they are called 1, 2, …
    pub has_header: bool,
    /// Guessed if not given.
    pub delimiter: Option<Delimiter>,
    /// Gives each event without an id one that is the same whenever this file is read.
    pub id_from_line: bool,
    /// When events happened that do not say so. Events with an id made of their line must say so.
    pub now: TimeMs,
    /// Events in a chunk, at most.
    pub chunk_event_count: usize,
    /// Ends a chunk at the first rejected row, for those who go no further.
    pub ends_chunk_at_reject: bool,
}

/// A piece of a file, in order.
#[derive(Debug, Default)]
pub struct Chunk {
    pub batch: EventBatch,
    /// What is said beside the events, and done before they are stored.
    pub said: Said,
    pub rejected: Vec<RejectedRow>,
    /// The last line that was read, from 1; 0 before the first.
    pub line: u64,
}

/// A row that is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRow {
    /// The row's first line, from 1.
    pub line: u64,
    pub reason: String,
    /// A JSON pointer into the event that the row would have become.
    pub path: String,
    /// The row, or its start if it is long.
    pub input: String,
}

/// Reads one file.
pub struct RowReader {
    rows: Rows,
    name: String,
    row_ids: Option<RowIds>,
    now: TimeMs,
    chunk_event_count: usize,
    chunk_rejected_count: usize,
    /// What the last chunk held, for the next to begin with.
    room: BatchRoom,
    /// Why the file cannot be read on; told after all rows before it.
    failure: Option<Problem>,
    line: u64,
}

/// What `read` of the text gives.
pub(super) type Text = Box<dyn Read + Send>;

enum Rows {
    Events(Lines<Text>),
    Objects(Lines<Text>, ObjectReader),
    Table(Table),
    Parquet(Box<ParquetTable>),
}

impl RowReader {
    /// Gets ready to read `file`. Fails if the mapping asks for columns that a table does not have, or leaves an
    /// event without a name, a user or a time.
    pub fn new(file: InputFile, format: InputFormat, options: RowOptions) -> Result<RowReader, Problem> {
        let name = file.name.clone();
        let row_ids = options.id_from_line.then(|| RowIds::new(file.fingerprint()));
        let rows = match format {
            InputFormat::Ndjson if options.mapping.is_default() => Rows::Events(Lines::new(file.into_text())),
            InputFormat::Ndjson => {
                Rows::Objects(Lines::new(file.into_text()), ObjectReader::new(options.mapping.clone()))
            }
            InputFormat::Csv => {
                let delimiter = options.delimiter.unwrap_or_else(|| file.guess_delimiter());
                let table = Table::new(file.into_text(), delimiter, options.has_header, &options.mapping);
                Rows::Table(table.map_err(|problem| in_file(problem, &name))?)
            }
            InputFormat::Parquet => {
                let consumed = file.consumed();
                // Its first bytes were read to know it; from here on row groups are counted.
                consumed.store(0, Ordering::Relaxed);
                let table = ParquetTable::open(&file.path, &options.mapping, consumed);
                Rows::Parquet(Box::new(table.map_err(|problem| in_file(problem, &name))?))
            }
        };
        Ok(RowReader::of(rows, name, row_ids, &options))
    }

    fn of(rows: Rows, name: String, row_ids: Option<RowIds>, options: &RowOptions) -> RowReader {
        RowReader {
            rows,
            name,
            row_ids,
            now: options.now,
            chunk_event_count: options.chunk_event_count,
            chunk_rejected_count: if options.ends_chunk_at_reject { 1 } else { CHUNK_REJECTED_COUNT_MAX },
            room: BatchRoom::default(),
            failure: None,
            line: 0,
        }
    }

    /// The next rows, or none after the last. Fails where the file breaks off, after all rows before that.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, Problem> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let mut filling = Filling {
            chunk: Chunk { batch: EventBatch::with_room(self.room), line: self.line, ..Chunk::default() },
            event_count_max: self.chunk_event_count,
            rejected_count_max: self.chunk_rejected_count,
        };
        let read = match &mut self.rows {
            Rows::Events(lines) => {
                let defaults = self.row_ids.is_none().then_some(self.now);
                fill_from_lines(lines, &mut filling, &mut self.row_ids, |block, first, filling, ids| {
                    let mut reader = EventReader::default();
                    filling.take_lines(block, first, ids, |line, id, batch| {
                        reader.read(line, Defaults { time: defaults, id }, batch)
                    })
                })
            }
            Rows::Objects(lines, objects) => {
                fill_from_lines(lines, &mut filling, &mut self.row_ids, |block, first, filling, ids| {
                    let mut properties = Default::default();
                    filling.take_lines(block, first, ids, |line, id, batch| {
                        objects.read(line, id, &mut properties, batch)
                    })
                })
            }
            Rows::Table(table) => table.fill(&mut filling, &mut self.row_ids),
            Rows::Parquet(table) => table.fill(&mut filling, &mut self.row_ids),
        };
        let chunk = filling.chunk;
        self.room = chunk.batch.room();
        self.line = chunk.line;
        self.failure = read.err().map(|error| self.broken(&error));
        let is_empty = chunk.batch.is_empty() && chunk.rejected.is_empty();
        match self.failure.take() {
            Some(failure) if is_empty => Err(failure),
            failure => {
                self.failure = failure;
                Ok((!is_empty).then_some(chunk))
            }
        }
    }

    fn broken(&self, error: &io::Error) -> Problem {
        let (name, line) = (&self.name, self.line);
        let what = match error.kind() {
            io::ErrorKind::UnexpectedEof => "is cut short: its compressed data ends too early".to_owned(),
            _ => format!("cannot be read on: {error}"),
        };
        Problem::new(ProblemClass::Io, format!("{name} {what}, after line {line}"))
    }
}

/// The problem with the file's name before it.
fn in_file(mut problem: Problem, name: &str) -> Problem {
    problem.detail.insert_str(0, &format!("{name}: "));
    problem
}

/// Ids of rows that have none: made of what the file begins with and the line's number, so that reading the file
/// again gives the same ids, whatever its name.
pub(super) struct RowIds {
    prefix: String,
    id: String,
}

impl RowIds {
    fn new(fingerprint: u64) -> RowIds {
        RowIds { prefix: format!("{fingerprint:016x}:"), id: String::new() }
    }

    pub fn id(&mut self, line: u64) -> &str {
        self.id.clear();
        write!(self.id, "{}{line}", self.prefix).expect("memory takes every write");
        &self.id
    }
}

/// A chunk that is being filled.
pub(super) struct Filling {
    pub chunk: Chunk,
    event_count_max: usize,
    rejected_count_max: usize,
}

impl Filling {
    pub fn is_full(&self) -> bool {
        self.chunk.batch.len() >= self.event_count_max
            || self.chunk.batch.size() >= CHUNK_SIZE_MAX
            || self.chunk.rejected.len() >= self.rejected_count_max
    }

    pub fn reject(&mut self, line: u64, fault: &Fault, input: &[u8]) {
        let input = shown(input);
        self.chunk.rejected.push(RejectedRow {
            line,
            reason: fault.sentence(),
            path: fault.path.clone(),
            input,
        });
    }

    /// Reads the lines of a block until the chunk is full, and returns how many bytes and lines that took.
    fn take_lines<'b>(
        &mut self,
        block: &'b [u8],
        first_line: u64,
        row_ids: &mut Option<RowIds>,
        mut read: impl FnMut(&'b [u8], Option<&str>, &mut EventBatch) -> Result<(), Fault>,
    ) -> (usize, u64) {
        let (mut at, mut line_count) = (0, 0);
        while at < block.len() && !self.is_full() {
            let size = memchr::memchr(b'\n', &block[at..]).map_or(block.len() - at, |feed| feed + 1);
            let text = block[at..at + size].trim_ascii();
            let line = first_line + line_count;
            at += size;
            line_count += 1;
            if text.is_empty() {
                continue;
            }
            let id = row_ids.as_mut().map(|ids| ids.id(line));
            if let Err(fault) = read(text, id, &mut self.chunk.batch) {
                self.reject(line, &fault, text);
            }
        }
        (at, line_count)
    }
}

/// The start of a rejected row.
pub(super) fn shown(input: &[u8]) -> String {
    String::from_utf8_lossy(&input[..input.len().min(REJECTED_INPUT_SIZE_MAX)]).into_owned()
}

/// Fills a chunk from lines; `take` reads some of a block and tells how many bytes and lines that were.
fn fill_from_lines(
    lines: &mut Lines<Text>,
    filling: &mut Filling,
    row_ids: &mut Option<RowIds>,
    mut take: impl FnMut(&[u8], u64, &mut Filling, &mut Option<RowIds>) -> (usize, u64),
) -> io::Result<()> {
    while !filling.is_full() {
        let line = lines.line_count() + 1;
        match lines.block()? {
            None => break,
            Some(Block::Overlong(start)) => {
                filling.reject(line, &overlong(), start);
                lines.take_overlong();
            }
            Some(Block::Lines(block)) => {
                let (size, line_count) = take(block, line, filling, row_ids);
                lines.take(size, line_count);
            }
        }
        filling.chunk.line = lines.line_count();
    }
    Ok(())
}

pub(super) fn overlong() -> Fault {
    Fault::new(format!("the line has more than {EVENT_SIZE_MAX} bytes"))
}

/// The fields of an event that are not properties, as a row gave them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub event: &'a str,
    pub user: &'a str,
    pub time: TimeMs,
    pub id: Option<&'a str>,
    pub account: Option<&'a str>,
}

impl Head<'_> {
    /// Adds the event to the batch, without properties so far, or changes nothing in it.
    pub fn push(self, batch: &mut EventBatch) -> Result<(), Fault> {
        let check = |field, text: &str, size_max| check_size(field, text, size_max).map_err(|f| f.at(field));
        check("event", self.event, EVENT_NAME_SIZE_MAX)?;
        check("user", self.user, ENTITY_ID_SIZE_MAX)?;
        self.account.map_or(Ok(()), |account| check("account", account, ENTITY_ID_SIZE_MAX))?;
        self.id.map_or(Ok(()), |id| check("id", id, EVENT_ID_SIZE_MAX))?;
        batch
            .push_event(self.event, self.user, self.time, self.id, self.account)
            .map_err(|error| Fault::new(error.to_string()))
    }
}
