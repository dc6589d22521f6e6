//! `flywheel export`: everything in a store, as files that other programs read and `flywheel import` reads back.

use std::fmt::{Display, Formatter};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;

use super::output::{note, thousands};
use super::with_store;
use crate::api::{Problem, ProblemClass};
use crate::export::{Destination, EventChoice, ExportFormat, PARTS, Part, export};
use crate::http::{Client, percent_encode};
use crate::io::{make_outside, write_outside};
use crate::model::{TimeMs, parse_time};
use crate::store::Store;

const MORE_HELP: &str = "\
DEST is a directory, which gets the files events, users, accounts and identities, or one file for the events alone, \
whose name ends in .parquet, .ndjson or .csv; `-` is the standard output. Either may be an s3:// or file:// address, in \
a program built with the feature object-store. `flywheel import DEST` reads a directory back: \
the store that it goes to then answers every query as this one does.

Examples:
  flywheel export ./out                                  all of it, as Parquet
  flywheel export march.csv --from 2026-03-01 --to 2026-04-01
  flywheel export ./out --url http://127.0.0.1:7070      the same of a running server
  flywheel export - --event purchase | jq .properties.amount";

/// Where an export goes, and what is in it.
#[derive(Args, Debug)]
#[command(after_long_help = MORE_HELP)]
pub(super) struct ExportArgs {
    /// A directory, or a file for the events alone; `-` is the standard output
    #[arg(value_name = "DEST")]
    dest: PathBuf,

    /// Form of the files [default: as the file is named, Parquet in a directory, NDJSON on the standard output]
    #[arg(long, value_name = "FORM")]
    format: Option<Form>,

    /// Only these events
    #[arg(long = "event", value_name = "NAME")]
    events: Vec<String>,

    /// Only events from this time on: RFC 3339, or a date (UTC)
    #[arg(long, value_name = "TIME")]
    from: Option<String>,

    /// Only events before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,

    /// Export the store of a running server, such as http://127.0.0.1:7070, instead of opening one
    #[arg(long, value_name = "URL", env = "FLYWHEEL_URL")]
    url: Option<String>,

    /// A key of the server of scope read, where it asks for one
    #[arg(long, value_name = "KEY", env = "FLYWHEEL_KEY", hide_env_values = true)]
    key: Option<String>,
}

/// The form of exported files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Parquet,
    Ndjson,
    Csv,
}

impl From<Form> for ExportFormat {
    fn from(form: Form) -> ExportFormat {
        match form {
            Form::Parquet => ExportFormat::Parquet,
            Form::Ndjson => ExportFormat::Ndjson,
            Form::Csv => ExportFormat::Csv,
        }
    }
}

pub(super) fn run(args: ExportArgs, data: &Path) -> Result<(), Problem> {
    let choice = EventChoice {
        events: args.events.clone(),
        from: args.from.as_deref().map(|text| moment("--from", text)).transpose()?,
        to: args.to.as_deref().map(|text| moment("--to", text)).transpose()?,
    };
    let asked = args.format.map(ExportFormat::from);
    match &args.url {
        Some(url) => {
            write(&args, asked, &Origin::Server(Box::new(Client::new(url, args.key.as_deref())?)), &choice)
        }
        None => with_store(data, |store| write(&args, asked, &Origin::Store(store), &choice)),
    }
}

/// Where the rows come from.
enum Origin<'a> {
    Store(&'a Store),
    Server(Box<Client>),
}

/// How much of a part was written.
enum Written {
    Rows(u64),
    Bytes(u64),
}

impl Origin<'_> {
    fn write(
        &self,
        part: (&str, Part),
        choice: &EventChoice,
        format: ExportFormat,
        mut destination: Box<dyn Destination>,
    ) -> Result<Written, Problem> {
        let client = match self {
            Origin::Store(store) => {
                return export(store, part.1, choice, format, destination).map(Written::Rows);
            }
            Origin::Server(client) => client,
        };
        let mut path = format!("/v1/export?part={}&format={}", part.0, format.extension());
        if part.1 == Part::Events {
            let moments = [("from", choice.from), ("to", choice.to)];
            let moments = moments.into_iter().filter_map(|(name, time)| Some(format!("&{name}={}", time?)));
            path.extend(moments);
            if !choice.events.is_empty() {
                let names = serde_json::to_string(&choice.events).expect("texts are JSON");
                path += &format!("&events={}", percent_encode(&names));
            }
        }
        let size = client.get_into(&path, &mut destination)?;
        let ended = destination.finish();
        ended.map_err(|e| Problem::new(ProblemClass::Io, format!("cannot write the export: {e}")))?;
        Ok(Written::Bytes(size))
    }
}

impl Display for Written {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Written::Rows(count) => f.write_str(&thousands(*count)),
            Written::Bytes(size) => write!(f, "{} bytes of", thousands(*size)),
        }
    }
}

fn write(
    args: &ExportArgs,
    asked: Option<ExportFormat>,
    origin: &Origin<'_>,
    choice: &EventChoice,
) -> Result<(), Problem> {
    let dest = &args.dest;
    let events = ("events", Part::Events);
    if dest == Path::new("-") {
        let stdout = Box::new(BufWriter::new(std::io::stdout()));
        return origin.write(events, choice, asked.unwrap_or(ExportFormat::Ndjson), stdout).map(|_| ());
    }
    if let Some(named) = dest.extension().and_then(|end| end.to_str()).and_then(format_by_extension) {
        let written = origin.write(events, choice, asked.unwrap_or(named), created(dest)?)?;
        note(&format!("exported {written} events to {}\n", dest.display()));
        return Ok(());
    }
    let cannot = |error| Problem::new(ProblemClass::Io, format!("cannot make {}: {error}", dest.display()));
    make_outside(dest).map_err(cannot)?;
    let format = asked.unwrap_or(ExportFormat::Parquet);
    let mut told = Vec::new();
    for part in PARTS {
        let path = dest.join(format!("{}.{}", part.0, format.extension()));
        let written = origin.write(part, choice, format, created(&path)?)?;
        told.push(format!("{written} {}", part.0));
    }
    note(&format!("exported {} to {}\n", told.join(", "), dest.display()));
    Ok(())
}

fn created(path: &Path) -> Result<Box<dyn Destination>, Problem> {
    let file = write_outside(path).map_err(|error| {
        Problem::new(ProblemClass::Io, format!("cannot write {}: {error}", path.display()))
    })?;
    Ok(Box::new(file))
}

fn format_by_extension(extension: &str) -> Option<ExportFormat> {
    match extension.to_ascii_lowercase().as_str() {
        "parquet" | "pq" => Some(ExportFormat::Parquet),
        "ndjson" | "jsonl" => Some(ExportFormat::Ndjson),
        "csv" => Some(ExportFormat::Csv),
        _ => None,
    }
}

fn moment(flag: &str, text: &str) -> Result<TimeMs, Problem> {
    parse_time(text, &TimeZone::UTC).map_err(|error| Problem::invalid(format!("{flag}: {error}")))
}
