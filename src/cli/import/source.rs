//! Where imported rows come from: a file, read by whoever understands it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{ImportArgs, Input, Product, Unit, What};
use crate::api::Problem;
use crate::ingest::dialects::ExportedBy;
use crate::ingest::{
    ChangeKind, ChangeReader, Chunk, Delimiter, ForeignReader, InputFile, InputFormat, Mapping, RowOptions,
    RowReader, TimeReader, TimeUnit,
};
use crate::model::Entity;

/// Hands out the rows of a file, in order.
type NextChunk = Box<dyn FnMut() -> Result<Option<Chunk>, Problem> + Send>;

/// A file that is open, and how it is read.
pub(super) struct Source {
    pub name: String,
    /// Bytes on the disk, if that is known, and how many of them were read.
    pub size: Option<u64>,
    pub consumed: Arc<AtomicU64>,
    pub next_chunk: NextChunk,
}

impl Source {
    /// Opens a file whose rows are `what`.
    pub fn open(
        path: &Path,
        what: What,
        args: &ImportArgs,
        chunk_event_count: usize,
    ) -> Result<Source, Problem> {
        let options = row_options(args, what, chunk_event_count)?;
        let file = InputFile::open(path)?;
        let (name, size, consumed) = (file.name.clone(), file.size, file.consumed());
        let next_chunk: NextChunk = if let Some(product) = args.from {
            let (zone, now) = (options.mapping.times.zone.clone(), options.now);
            let mut reader = ForeignReader::new(product.into(), file, zone, now, chunk_event_count)?;
            Box::new(move || reader.next_chunk())
        } else {
            let format = match args.input {
                Some(Input::Ndjson) => InputFormat::Ndjson,
                Some(Input::Csv) => InputFormat::Csv,
                Some(Input::Parquet) => InputFormat::Parquet,
                None => file.format()?,
            };
            match change_kind(what) {
                Some(kind) => {
                    let mut reader = ChangeReader::new(kind, file, format, options)?;
                    Box::new(move || reader.next_chunk())
                }
                None => {
                    let mut reader = RowReader::new(file, format, options)?;
                    Box::new(move || reader.next_chunk())
                }
            }
        };
        Ok(Source { name, size, consumed, next_chunk })
    }
}

fn change_kind(what: What) -> Option<ChangeKind> {
    match what {
        What::Events => None,
        What::Users => Some(ChangeKind::Profiles(Entity::User)),
        What::Accounts => Some(ChangeKind::Profiles(Entity::Account)),
        What::Identities => Some(ChangeKind::Identities),
    }
}

impl From<Product> for ExportedBy {
    fn from(product: Product) -> ExportedBy {
        match product {
            Product::Mixpanel => ExportedBy::Mixpanel,
            Product::Amplitude => ExportedBy::Amplitude,
            Product::Posthog => ExportedBy::PostHog,
        }
    }
}

/// What the arguments say of rows.
pub(super) fn row_options(
    args: &ImportArgs,
    what: What,
    chunk_event_count: usize,
) -> Result<RowOptions, Problem> {
    let zone = TimeZone::get(&args.timezone).map_err(|_| {
        Problem::invalid(format!("{:?} is no time zone", args.timezone))
            .hint("give an IANA name, as Europe/Berlin")
    })?;
    let unit = args.time_unit.map(|unit| match unit {
        Unit::S => TimeUnit::Seconds,
        Unit::Ms => TimeUnit::Milliseconds,
        Unit::Us => TimeUnit::Microseconds,
    });
    let targets = change_kind(what).map_or_else(|| args.map.clone(), |kind| kind.targets(&args.map));
    let mut mapping = Mapping::new(&targets, TimeReader { zone, unit })?;
    mapping.only_mapped = args.only_mapped;
    mapping.strings = args.strings.clone();
    Ok(RowOptions {
        mapping,
        has_header: !args.no_header,
        delimiter: args.delimiter.as_deref().map(Delimiter::parse).transpose()?,
        id_from_line: args.id_from_line,
        now: Timestamp::now().as_millisecond(),
        chunk_event_count,
        ends_chunk_at_reject: args.strict,
    })
}
