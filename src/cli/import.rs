//! `flywheel import`: files of events into a store or a running server.
//!
//! Two threads: one reads and parses, one stores, with a few chunks between them, so that memory stays bounded
//! whatever the files hold. Chunks are stored in the order of their rows and each of them as a whole: what is
//! told as stored is every good row up to a line.

mod rejects;
mod sink;
mod source;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use self::rejects::Rejects;
use self::sink::Sink;
use self::source::Source;
use crate::api::{Problem, ProblemClass};
use crate::export::{PARTS, Part};
use crate::ingest::Chunk;
use crate::io::{is_directory_outside, size_outside};
use crate::model::Entity;

/// Chunks between the two threads.
const QUEUE_SIZE: usize = 2;

const MORE_HELP: &str = "\
Bad rows do not stop an import: they go to FILE.rejects.ndjson, each with its line and the reason.

An import that was stopped half way can be run again. Rows with an `id` are stored once however often they are \
read. For rows without one, run the import with --id-from-line from the start: each row then gets an id made of \
the file's first 64 KiB and the number of its line, and running the same import again adds nothing twice. The \
file may be renamed in between, or have rows added to its end if it was longer than 64 KiB.

Examples:
  flywheel import events.ndjson.gz
  flywheel import orders.csv --map user=customer_id,time=ordered_at,event=:purchase --id-from-line
  flywheel import events.parquet --map user=user_id,time=timestamp
  flywheel import customers.csv --what users --map user=email
  flywheel import export.zip --from amplitude
  flywheel import cdnow.txt --no-header --map user=1,time=2,cds=3,amount=4,event=:purchase
  zcat events.gz | flywheel import - --url http://127.0.0.1:7070";

/// Import events, profiles and identities from NDJSON, CSV and Parquet files
#[derive(Args, Clone, Debug)]
#[command(after_long_help = MORE_HELP)]
pub struct ImportArgs {
    /// Files to read, gzip or zstd or plain, or a directory that `flywheel export` made; `-` is the standard input
    ///
    /// Also s3:// and file:// addresses, in a program built with the feature object-store.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// What columns or fields become: user=customer_id, or event=:purchase for the same text in every event
    ///
    /// Targets are event, user, time, id and account; any other target is a property of that name. Sources are
    /// columns of a table (by number with --no-header) or fields of JSON objects (dotted where they are nested).
    /// Columns that no target names become what their own name says: a field of the event, or else a property.
    #[arg(long = "map", value_name = "TARGET=SOURCE", value_delimiter = ',')]
    pub map: Vec<String>,

    /// What the rows are
    ///
    /// Profiles and identities come as the API takes them in NDJSON; in tables a column `user` or `account` says whose
    /// profile a row is, and all other columns are its properties; identities have the columns `from` and `into`.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    pub what: What,

    /// The product whose export the files are; its identities and profiles are taken, too
    #[arg(long, value_name = "PRODUCT", conflicts_with_all = ["map", "what", "input", "only_mapped", "id_from_line"])]
    pub from: Option<Product>,

    /// Form of the files, if neither their names nor their first lines tell
    #[arg(long, value_name = "FORM")]
    pub input: Option<Input>,

    /// The first row of a table is data: its columns are called 1, 2, …
    #[arg(long)]
    pub no_header: bool,

    /// What separates the columns of a table: one character, `tab` or `blanks` [default: guessed]
    #[arg(long, value_name = "CHARACTER")]
    pub delimiter: Option<String>,

    /// Leave out columns and fields that --map does not name
    #[arg(long)]
    pub only_mapped: bool,

    /// Columns whose values stay text even where they look like numbers
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub strings: Vec<String>,

    /// Time zone of dates and of times without an offset
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub timezone: String,

    /// What numbers in the time column count since 1970: seconds, milliseconds or microseconds
    #[arg(long, value_name = "UNIT")]
    pub time_unit: Option<Unit>,

    /// Where bad rows go [default: FILE.rejects.ndjson]
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,

    /// Stop at the first bad row
    #[arg(long)]
    pub strict: bool,

    /// Give rows without an id one made of their line, so that running the import again adds nothing twice
    #[arg(long)]
    pub id_from_line: bool,

    /// Send the events to a running server instead of a directory
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// Key of the server, if it asks for one
    #[arg(long, value_name = "KEY", env = "FLYWHEEL_KEY", hide_env_values = true)]
    pub key: Option<String>,
}

/// What the lines of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Input {
    Ndjson,
    Csv,
    Parquet,
}

/// What the rows of files are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum What {
    #[default]
    Events,
    /// Profiles of users
    Users,
    /// Profiles of accounts
    Accounts,
    /// Pairs of ids that are one user
    Identities,
}

impl From<Part> for What {
    fn from(part: Part) -> What {
        match part {
            Part::Events => What::Events,
            Part::Profiles(Entity::User) => What::Users,
            Part::Profiles(Entity::Account) => What::Accounts,
            Part::Identities => What::Identities,
        }
    }
}

/// Whose export a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Product {
    /// JSON lines of the raw export API
    Mixpanel,
    /// The zip of the export API, or files of it
    Amplitude,
    /// Batch exports, as JSON lines or Parquet
    Posthog,
}

/// What a time given as a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Unit {
    S,
    Ms,
    Us,
}

/// What became of the rows of all files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportSummary {
    pub accepted: u64,
    /// Rows that the store had already.
    pub duplicates: u64,
    /// Rows older than the store keeps them, which are not stored.
    pub expired: u64,
    pub rejected: u64,
    /// Changes to profiles, and pairs of ids.
    pub changes: u64,
    /// Whether not all of the rows may be stored, because the store could not be closed.
    pub is_uncertain: bool,
    /// The files that hold the rejected rows.
    pub rejects: Vec<PathBuf>,
    pub elapsed: Duration,
}

/// Imports the files, and prints what became of them.
///
/// Fails if a file cannot be read to its end, and if there were rows and every one of them was bad.
pub fn run(args: ImportArgs, data: &Path) -> Result<(), Problem> {
    let mut summary = ImportSummary::default();
    let imported = import(&args, data, &mut summary);
    let is_untouched = summary.accepted + summary.duplicates + summary.changes + summary.rejected == 0;
    // A command that was wrong from the start has nothing to sum up.
    if imported.is_ok() || !is_untouched {
        println!("{summary}");
    }
    imported?;
    if summary.rejected > 0 && summary.accepted + summary.duplicates + summary.changes == 0 {
        // The files are wrong, not the command: the exit code is that of a failure.
        return Err(
            Problem::new(ProblemClass::Io, "every row was bad").hint("see the reasons in the rejects")
        );
    }
    Ok(())
}

/// Imports the files. `summary` tells what was stored, also after an error.
pub fn import(args: &ImportArgs, data: &Path, summary: &mut ImportSummary) -> Result<(), Problem> {
    let started = Instant::now();
    let done = import_files(args, data, summary);
    summary.elapsed = started.elapsed();
    done
}

fn import_files(args: &ImportArgs, data: &Path, summary: &mut ImportSummary) -> Result<(), Problem> {
    // What is wrong with the arguments is told before anything is opened.
    source::row_options(args, args.what, 0)?;
    let mut sink = Sink::open(args.url.as_deref(), args.key.as_deref(), data)?;
    let mut shared_rejects =
        args.rejects.as_ref().map(|path| Rejects::new(path.clone(), args.files.len() > 1));
    let mut done = Ok(());
    for (path, what) in inputs(args)? {
        let mut own_rejects = Rejects::new(Rejects::path_beside(&path), false);
        let rejects = shared_rejects.as_mut().unwrap_or(&mut own_rejects);
        let chunk_event_count = sink.chunk_event_count();
        let source = Source::open(&path, what, args, chunk_event_count);
        done = source.and_then(|source| import_file(source, args, &mut sink, rejects, summary));
        done = done.and(own_rejects.finish().map(|written| summary.rejects.extend(written)));
        if done.is_err() {
            break;
        }
    }
    if let Some(rejects) = shared_rejects {
        done = done.and(rejects.finish().map(|written| summary.rejects.extend(written)));
    }
    let closed = sink.close();
    summary.is_uncertain = closed.is_err();
    closed.and(done)
}

/// The files to read, and what the rows of each are: those of a directory that `flywheel export` made, in the order in
/// which they are best read.
fn inputs(args: &ImportArgs) -> Result<Vec<(PathBuf, What)>, Problem> {
    let mut inputs = Vec::new();
    for path in &args.files {
        if !is_directory_outside(path) {
            inputs.push((path.clone(), args.what));
            continue;
        }
        let before = inputs.len();
        for (stem, part) in PARTS {
            let named = ["ndjson", "csv", "parquet"].map(|end| path.join(format!("{stem}.{end}")));
            let found = named.into_iter().filter(|path| size_outside(path).is_some());
            inputs.extend(found.map(|path| (path, What::from(part))));
        }
        if inputs.len() == before {
            let detail = format!("{} is a directory without the files of an export", path.display());
            return Err(Problem::new(ProblemClass::NotFound, detail).hint("name the files to import"));
        }
    }
    Ok(inputs)
}

fn import_file(
    source: Source,
    args: &ImportArgs,
    sink: &mut Sink,
    rejects: &mut Rejects,
    summary: &mut ImportSummary,
) -> Result<(), Problem> {
    let Source { name, size, consumed, mut next_chunk } = source;
    let progress = Progress::new(&name, size, consumed);
    let (sender, receiver) = crossbeam::channel::bounded::<Result<Chunk, Problem>>(QUEUE_SIZE);
    let done = std::thread::scope(|scope| {
        scope.spawn(move || {
            while let Some(next) = next_chunk().transpose() {
                let is_last = next.is_err();
                // Nobody listens any more when storing failed.
                if sender.send(next).is_err() || is_last {
                    break;
                }
            }
        });
        let mut stored_line = 0;
        for chunk in receiver {
            // A file that breaks off is an error after all that could be read of it was stored.
            let Chunk { batch, said, rejected, line } =
                chunk.map_err(|problem| stored_before(problem, args))?;
            let stored_so_far = |mut problem: Problem| {
                let stored = format!("; the rows of {name} up to line {stored_line} are stored");
                problem.detail.push_str(&stored);
                problem
            };
            summary.changes += said.len() as u64;
            sink.apply(said).map_err(stored_so_far)?;
            if !batch.is_empty() {
                let receipt = sink.ingest(batch).map_err(stored_so_far)?;
                summary.accepted += receipt.accepted;
                summary.duplicates += receipt.duplicates;
                summary.expired += receipt.expired;
            }
            summary.rejected += rejected.len() as u64;
            rejected.iter().try_for_each(|row| rejects.write(&name, row))?;
            progress.tell(summary.accepted + summary.duplicates);
            if let Some(row) = rejected.first().filter(|_| args.strict) {
                let (line, reason, place) = (row.line, &row.reason, &row.path);
                let place = if place.is_empty() { String::new() } else { format!(" (at {place})") };
                let detail = format!("{name}, line {line}: {reason}{place}");
                return Err(stored_before(Problem::new(ProblemClass::Io, detail), args));
            }
            stored_line = line;
        }
        Ok(())
    });
    progress.bar.finish_and_clear();
    done
}

/// The problem of a file, with what became of the rows before it and how to go on.
fn stored_before(mut problem: Problem, args: &ImportArgs) -> Problem {
    problem.detail.push_str("; everything before it is stored");
    match args.id_from_line {
        true => problem.hint("the same import, run again, adds nothing twice"),
        false => problem
            .hint("rows with an id are not added twice when the import is run again; see --id-from-line"),
    }
}

/// The bar on the terminal, if there is one.
struct Progress {
    bar: ProgressBar,
    consumed: Arc<AtomicU64>,
    started: Instant,
}

impl Progress {
    fn new(name: &str, size: Option<u64>, consumed: Arc<AtomicU64>) -> Progress {
        let (bar, template) = match size {
            Some(size) => (ProgressBar::new(size), "{prefix} {bar:30} {bytes}/{total_bytes} {msg}"),
            None => (ProgressBar::no_length(), "{prefix} {spinner} {bytes} {msg}"),
        };
        let style = ProgressStyle::with_template(template).expect("the templates are well formed");
        bar.set_style(style);
        bar.set_prefix(name.to_owned());
        Progress { bar, consumed, started: Instant::now() }
    }

    fn tell(&self, event_count: u64) {
        self.bar.set_position(self.consumed.load(Ordering::Relaxed));
        let rate = event_count as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        self.bar.set_message(format!("{} events, {} events/s", grouped(event_count), grouped(rounded(rate))));
    }
}

impl std::fmt::Display for ImportSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let rate = (self.accepted + self.duplicates) as f64 / seconds.max(0.001);
        let done = if self.is_uncertain { "read, and not all stored," } else { "imported" };
        write!(
            f,
            "{done} {} events ({} duplicates, {} rejected) in {seconds:.1} s, {} events/s",
            grouped(self.accepted),
            grouped(self.duplicates),
            grouped(self.rejected),
            grouped(rounded(rate)),
        )?;
        if self.changes > 0 {
            write!(f, "; {} profiles and identities", grouped(self.changes))?;
        }
        if self.expired > 0 {
            write!(f, "; {} had expired and are not stored", grouped(self.expired))?;
        }
        for (index, path) in self.rejects.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "; rejects in " } else { ", " }, path.display())?;
        }
        Ok(())
    }
}

/// A rate to three significant digits: more would be noise.
fn rounded(rate: f64) -> u64 {
    let rate = rate as u64;
    let unit = 10_u64.pow(rate.checked_ilog10().map_or(0, |log| log.saturating_sub(2)));
    rate / unit * unit
}

/// A count with a comma after each three digits.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_sound() {
        ImportArgs::augment_args(clap::Command::new("import")).debug_assert();
    }

    #[test]
    fn the_summary_is_one_line() {
        let mut summary = ImportSummary {
            accepted: 69_659,
            elapsed: Duration::from_millis(407),
            ..ImportSummary::default()
        };
        let line = "imported 69,659 events (0 duplicates, 0 rejected) in 0.4 s, 171,000 events/s";
        assert_eq!(summary.to_string(), line);
        summary.rejects.push("a.rejects.ndjson".into());
        assert!(summary.to_string().ends_with("; rejects in a.rejects.ndjson"));
        summary.is_uncertain = true;
        assert!(summary.to_string().starts_with("read, and not all stored, 69,659 events"));
        assert_eq!(ImportSummary::default().to_string().lines().count(), 1);
    }
}
