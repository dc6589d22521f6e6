//! `flywheel export`: everything in a store, as files that other programs read and `flywheel import` reads back.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;

use super::output::{note, thousands};
use super::with_store;
use crate::api::{Problem, ProblemClass};
use crate::export::{Destination, EventChoice, ExportFormat, Part, export};
use crate::io::{make_outside, write_outside};
use crate::model::{Entity, TimeMs, parse_time};
use crate::store::Store;

const MORE_HELP: &str = "\
DEST is a directory, which gets the files events, users, accounts and identities, or one file for the events alone, \
whose name ends in .parquet, .ndjson or .csv; `-` is the standard output. `flywheel import DEST` reads a directory back: \
the store that it goes to then answers every query as this one does.

Examples:
  flywheel export ./out                                  all of it, as Parquet
  flywheel export march.csv --from 2026-03-01 --to 2026-04-01
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

/// The files of a directory, in the order in which they are best read back: who is who before what they did.
pub(super) const PARTS: [(&str, Part); 4] = [
    ("identities", Part::Identities),
    ("users", Part::Profiles(Entity::User)),
    ("accounts", Part::Profiles(Entity::Account)),
    ("events", Part::Events),
];

pub(super) fn run(args: ExportArgs, data: &Path) -> Result<(), Problem> {
    let choice = EventChoice {
        events: args.events.clone(),
        from: args.from.as_deref().map(|text| moment("--from", text)).transpose()?,
        to: args.to.as_deref().map(|text| moment("--to", text)).transpose()?,
    };
    let asked = args.format.map(ExportFormat::from);
    let is_stdout = args.dest == Path::new("-");
    let by_name = args.dest.extension().and_then(|end| end.to_str()).and_then(format_by_extension);
    with_store(data, |store| {
        if is_stdout {
            let stdout: Destination = Box::new(BufWriter::new(std::io::stdout()));
            let format = asked.unwrap_or(ExportFormat::Ndjson);
            return export(store, Part::Events, &choice, format, stdout).map(|_| ());
        }
        match by_name {
            Some(named) => {
                let count = to_file(store, Part::Events, &choice, asked.unwrap_or(named), &args.dest)?;
                note(&format!("exported {} events to {}\n", thousands(count), args.dest.display()));
                Ok(())
            }
            None => to_directory(store, &choice, asked.unwrap_or(ExportFormat::Parquet), &args.dest),
        }
    })
}

fn to_directory(
    store: &Store,
    choice: &EventChoice,
    format: ExportFormat,
    dest: &Path,
) -> Result<(), Problem> {
    let cannot = |error| Problem::new(ProblemClass::Io, format!("cannot make {}: {error}", dest.display()));
    make_outside(dest).map_err(cannot)?;
    let mut told = Vec::new();
    for (name, part) in PARTS {
        let path = dest.join(format!("{name}.{}", format.extension()));
        let count = to_file(store, part, choice, format, &path)?;
        told.push(format!("{} {name}", thousands(count)));
    }
    note(&format!("exported {} to {}\n", told.join(", "), dest.display()));
    Ok(())
}

fn to_file(
    store: &Store,
    part: Part,
    choice: &EventChoice,
    format: ExportFormat,
    path: &Path,
) -> Result<u64, Problem> {
    let file = write_outside(path).map_err(|error| {
        Problem::new(ProblemClass::Io, format!("cannot write {}: {error}", path.display()))
    })?;
    export(store, part, choice, format, Box::new(BufWriter::new(file)))
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
