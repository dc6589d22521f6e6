//! Writes rows as NDJSON, CSV or Parquet. The columns are the same in all of them.
//!
//! | part | columns |
//! | --- | --- |
//! | events | `event`, `user`, `time`, `id`, `account`, `properties` |
//! | profiles | `user` or `account`, `properties` (`set` in NDJSON) |
//! | identities | `from`, `into` |
//!
//! In CSV and Parquet `properties` is a JSON object as text: values keep their types, and numbers all their decimals.

use std::sync::Arc;

use arrow_array::builder::{StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use jiff::Timestamp;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::{Destination, Part};
use crate::api::{Problem, ProblemClass};
use crate::ingest::{write_event, write_properties, write_string};
use crate::model::{Entity, EventBatch, EventRef};

/// Rows of one row group: few enough to be held in memory by whoever reads it.
const ROW_GROUP_ROW_COUNT: usize = 128 << 10;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// Lines that the API takes: events, profile writes, identities.
    Ndjson,
    Csv,
    Parquet,
}

impl ExportFormat {
    /// What HTTP calls it.
    pub fn content_type(self) -> &'static str {
        match self {
            ExportFormat::Parquet => "application/vnd.apache.parquet",
            ExportFormat::Ndjson => "application/x-ndjson",
            ExportFormat::Csv => "text/csv; charset=utf-8",
        }
    }

    /// The end of names of such files.
    pub fn extension(self) -> &'static str {
        match self {
            ExportFormat::Ndjson => "ndjson",
            ExportFormat::Csv => "csv",
            ExportFormat::Parquet => "parquet",
        }
    }
}

/// Writes rows of one part to one file.
pub struct RowWriter {
    part: Part,
    form: Form,
    text: Vec<u8>,
}

enum Form {
    Ndjson(Box<dyn Destination>),
    Csv(Box<csv::Writer<Box<dyn Destination>>>),
    Parquet(Box<ArrowWriter<Box<dyn Destination>>>),
}

impl RowWriter {
    /// Begins a file.
    pub fn new(
        part: Part,
        format: ExportFormat,
        destination: Box<dyn Destination>,
    ) -> Result<RowWriter, Problem> {
        let form = match format {
            ExportFormat::Ndjson => Form::Ndjson(destination),
            ExportFormat::Csv => {
                let mut writer = csv::Writer::from_writer(destination);
                writer.write_record(columns(part)).map_err(|error| failed(&error))?;
                Form::Csv(Box::new(writer))
            }
            ExportFormat::Parquet => {
                let level = ZstdLevel::try_new(3).expect("3 is a level of zstd");
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(level))
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROW_COUNT))
                    .build();
                let writer = ArrowWriter::try_new(destination, Arc::new(schema(part)), Some(properties));
                Form::Parquet(Box::new(writer.map_err(|error| failed(&error))?))
            }
        };
        Ok(RowWriter { part, form, text: Vec::new() })
    }

    /// Writes the rows of a batch, of which profiles and identities use the fields that they need.
    pub fn write(&mut self, batch: &EventBatch) -> Result<(), Problem> {
        let part = self.part;
        match &mut self.form {
            Form::Ndjson(destination) => {
                self.text.clear();
                batch.iter().for_each(|row| write_line(&mut self.text, part, row));
                destination.write_all(&self.text).map_err(|error| failed(&error))
            }
            Form::Csv(writer) => batch.iter().try_for_each(|row| {
                let properties = properties_text(row);
                let time = instant(row);
                let record: Vec<&str> = match part {
                    Part::Events => vec![
                        row.event(),
                        row.user(),
                        &time,
                        row.id().unwrap_or_default(),
                        row.account().unwrap_or_default(),
                        &properties,
                    ],
                    Part::Profiles(_) => vec![row.user(), &properties],
                    Part::Identities => vec![row.user(), row.account().unwrap_or_default()],
                };
                writer.write_record(record).map_err(|error| failed(&error))
            }),
            Form::Parquet(writer) => writer.write(&record_batch(part, batch)).map_err(|error| failed(&error)),
        }
    }

    /// Ends the file.
    pub fn finish(self) -> Result<(), Problem> {
        let destination = match self.form {
            Form::Ndjson(destination) => destination,
            Form::Csv(writer) => writer.into_inner().map_err(|error| failed(error.error()))?,
            Form::Parquet(writer) => writer.into_inner().map_err(|error| failed(&error))?,
        };
        destination.finish().map_err(|error| failed(&error))
    }
}

fn failed(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(ProblemClass::Io, format!("cannot write the export: {error}"))
}

fn columns(part: Part) -> &'static [&'static str] {
    match part {
        Part::Events => &["event", "user", "time", "id", "account", "properties"],
        Part::Profiles(Entity::User) => &["user", "properties"],
        Part::Profiles(Entity::Account) => &["account", "properties"],
        Part::Identities => &["from", "into"],
    }
}

fn instant(row: EventRef<'_>) -> String {
    Timestamp::from_millisecond(row.time()).expect("stored times lie in 1900 to 2200").to_string()
}

/// The properties as a JSON object; nothing if there are none.
fn properties_text(row: EventRef<'_>) -> String {
    if row.properties().len() == 0 {
        return String::new();
    }
    let mut text = Vec::new();
    write_properties(&mut text, row);
    String::from_utf8(text).expect("JSON is UTF-8")
}

fn write_line(out: &mut Vec<u8>, part: Part, row: EventRef<'_>) {
    let field = |out: &mut Vec<u8>, start: &str, text: &str| {
        out.extend_from_slice(start.as_bytes());
        write_string(out, text);
    };
    match part {
        Part::Events => return write_event(out, row),
        Part::Profiles(entity) => {
            field(out, &format!("{{\"{}\":", entity.name()), row.user());
            out.extend_from_slice(b",\"set\":");
            write_properties(out, row);
        }
        Part::Identities => {
            field(out, "{\"from\":", row.user());
            field(out, ",\"into\":", row.account().unwrap_or_default());
        }
    }
    out.extend_from_slice(b"}\n");
}

fn schema(part: Part) -> Schema {
    let field = |name: &&'static str| {
        let is_optional =
            matches!(*name, "id" | "properties") || (*name == "account" && part == Part::Events);
        let data_type = match *name {
            "time" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            _ => DataType::Utf8,
        };
        Field::new(*name, data_type, is_optional)
    };
    Schema::new(columns(part).iter().map(field).collect::<Vec<_>>())
}

fn record_batch(part: Part, batch: &EventBatch) -> RecordBatch {
    let texts = |text: &dyn Fn(EventRef<'_>) -> Option<String>| -> ArrayRef {
        let mut builder = StringBuilder::new();
        batch.iter().for_each(|row| builder.append_option(text(row)));
        Arc::new(builder.finish())
    };
    let user = || texts(&|row| Some(row.user().to_owned()));
    let account = || texts(&|row| row.account().map(str::to_owned));
    let properties = || texts(&|row| Some(properties_text(row)).filter(|text| !text.is_empty()));
    let arrays: Vec<ArrayRef> = match part {
        Part::Events => {
            let mut times = TimestampMicrosecondBuilder::new().with_timezone("UTC");
            batch.iter().for_each(|row| times.append_value(row.time() * 1_000));
            let event = texts(&|row| Some(row.event().to_owned()));
            let id = texts(&|row| row.id().map(str::to_owned));
            vec![event, user(), Arc::new(times.finish()), id, account(), properties()]
        }
        Part::Profiles(_) => vec![user(), properties()],
        Part::Identities => vec![user(), account()],
    };
    RecordBatch::try_new(Arc::new(schema(part)), arrays).expect("each column has a value for each row")
}
