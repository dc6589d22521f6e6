//! `flywheel query`: asks a question of the store, or of a server.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::text_table::TextTable;
use super::{growth_model, output, with_store};
use crate::api::{Answer, Format, Json, Problem, ProblemClass, decode, encode};
use crate::http::Client;
use crate::io::read_outside;
use crate::limits::BODY_SIZE_MAX;
use crate::settings::Settings;

#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    /// The file with the query's JSON, or - for stdin.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// How to show the result. The table rounds shares and averages to four decimals; the others are exact.
    #[arg(long, value_enum, default_value_t)]
    format: QueryFormat,

    /// Asks a running server, such as http://127.0.0.1:7070, instead of opening the store.
    #[arg(long, value_name = "URL", env = "FLYWHEEL_URL")]
    url: Option<String>,

    /// A key of the server of scope read, where it asks for one.
    #[arg(long, value_name = "KEY", env = "FLYWHEEL_KEY", hide_env_values = true)]
    key: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum QueryFormat {
    /// Aligned text.
    #[default]
    Table,
    /// The body of the HTTP answer.
    Json,
    /// RFC 4180 with a header line.
    Csv,
    /// An object a row, a row a line.
    Ndjson,
    /// The stream of Arrow's IPC, for other programs.
    Arrow,
}

pub(super) fn run(args: QueryArgs, settings: &Settings) -> Result<(), Problem> {
    let query = Json::parse(&read_query(&args.file)?)?;
    let encoded_format = match args.format {
        QueryFormat::Table => return show_table(&answer(&query, &args, settings)?),
        QueryFormat::Json => Format::Json,
        QueryFormat::Csv => Format::Csv,
        QueryFormat::Ndjson => Format::Ndjson,
        QueryFormat::Arrow => Format::Arrow,
    };
    let encoded = match &args.url {
        Some(url) => ask(url, args.key.as_deref(), &query, encoded_format)?,
        None => encode(&answer_here(&query, settings)?, encoded_format),
    };
    output::print(&encoded)
}

fn answer(query: &Json, args: &QueryArgs, settings: &Settings) -> Result<Answer, Problem> {
    match &args.url {
        Some(url) => {
            let body = Json::parse(&ask(url, args.key.as_deref(), query, Format::Json)?)?;
            decode(&body)
        }
        None => answer_here(query, settings),
    }
}

/// Asks the store of the settings.
fn answer_here(query: &Json, settings: &Settings) -> Result<Answer, Problem> {
    with_store(&settings.data, |store| {
        growth_model::keep(store, settings)?;
        store.query(query)
    })
}

/// Asks a server. Returns the result as it told it.
fn ask(url: &str, key: Option<&str>, query: &Json, format: Format) -> Result<Vec<u8>, Problem> {
    let kind = query.root().object()?.required("kind")?.string()?;
    Client::new(url, key)?.query(kind, format, query.to_string())
}

fn show_table(answer: &Answer) -> Result<(), Problem> {
    output::print(TextTable::from(&answer.table).render().as_bytes())?;
    if std::io::stderr().is_terminal() {
        let (rows, milliseconds) = (answer.table.row_count() as u64, answer.statistics.elapsed_ms);
        output::note(&format!("{} rows in {milliseconds:.1} ms\n", output::thousands(rows)));
    }
    Ok(())
}

fn read_query(file: &Path) -> Result<Vec<u8>, Problem> {
    let is_stdin = file == Path::new("-");
    let io = |e: std::io::Error| {
        let name = if is_stdin { "stdin".to_owned() } else { file.display().to_string() };
        Problem::new(ProblemClass::Io, format!("cannot read {name}: {e}"))
    };
    let mut text = Vec::new();
    let size_max = BODY_SIZE_MAX as u64 + 1;
    if is_stdin {
        std::io::stdin().lock().take(size_max).read_to_end(&mut text).map_err(io)?;
    } else {
        read_outside(file).and_then(|file| file.take(size_max).read_to_end(&mut text)).map_err(io)?;
    }
    if text.len() > BODY_SIZE_MAX {
        let detail = format!("the query is larger than {} MiB", BODY_SIZE_MAX >> 20);
        return Err(Problem::new(ProblemClass::TooLarge, detail));
    }
    Ok(text)
}
