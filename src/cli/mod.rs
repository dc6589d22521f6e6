//! The command line: `flywheel --help` tells what it does.
//!
//! A command is a file here: its arguments, and `run`. Results go to stdout, everything else to stderr. Exit
//! codes: 0 well, 1 failed, 2 wrong usage, 3 damaged store.

mod config;
mod demo;
mod export;
mod growth_model;
pub mod import;
mod keys;
mod log;
mod look;
mod manual;
mod outline;
mod output;
mod query;
mod serve;
mod text_table;
mod vault;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::api::{Problem, ProblemClass};
use crate::settings::{FileSettings, GlobalSettings, resolve};
use crate::store::{Store, StoreOptions};

/// An embedded, self-hosted product-analytics event store and server.
#[derive(Debug, Parser)]
#[command(name = "flywheel", version)]
#[command(after_help = "Exit codes: 0 well, 1 failed, 2 wrong usage, 3 damaged store.")]
struct Cli {
    #[command(flatten)]
    settings: GlobalSettings,

    /// A file of settings, as TOML. flywheel config --format toml writes one.
    #[arg(long, global = true, value_name = "FILE", env = "FLYWHEEL_CONFIG")]
    #[arg(help_heading = "Global options", hide_env_values = true)]
    config: Option<PathBuf>,

    /// Logs more, whatever --log says: -v is info, -vv debug, -vvv trace.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes a product's history, loads it, serves it, and prints lines to try.
    Demo(demo::DemoArgs),
    /// Serves the store over HTTP, until SIGINT or SIGTERM.
    Serve(serve::ServeArgs),
    /// Imports events from files.
    Import(import::ImportArgs),
    /// Exports events, profiles and identities to files.
    Export(export::ExportArgs),
    /// Answers a query: a body of POST /v1/query/{kind} with its "kind".
    Query(query::QueryArgs),
    /// Shows the events there are, and their properties.
    Schema(look::SchemaArgs),
    /// Shows a user: profile, ids merged into it, newest events.
    User(look::UserArgs),
    /// Shows an account: profile, who acted for it, newest events.
    Account(look::AccountArgs),
    /// Moves everything in memory into segments on disk.
    Seal,
    /// Merges segments, and drops the bytes of what was deleted or has expired.
    Compact(serve::CompactArgs),
    /// Proves every file of a store, or of a backup, sound, or names what is not.
    Check(vault::CheckArgs),
    /// Copies the store as it is at a moment, also while a server has it open.
    Backup(vault::BackupArgs),
    /// Makes a store of a backup, in a directory that is empty or not there.
    Restore(vault::RestoreArgs),
    /// Makes, lists and revokes keys.
    Keys(keys::KeysArgs),
    /// Shows which settings hold, and where each comes from.
    Config(config::ConfigArgs),
    /// Prints a script that completes commands in a shell.
    Completions(manual::CompletionsArgs),
    /// Prints a page of the manual: flywheel man serve | man -l -
    Man(manual::ManArgs),
}

/// Runs the program: reads its arguments, does what they ask, and tells how it went.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            output::tell(&problem);
            ExitCode::from(problem.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<(), Problem> {
    let default_level = if matches!(cli.command, Command::Serve(_)) { "info" } else { "warn" };
    let file = FileSettings::read(cli.config.as_deref())?;
    let of_command = match &cli.command {
        Command::Serve(args) => vec![&args.settings.0, &args.keeping.0],
        Command::Demo(args) => vec![&args.settings.0],
        Command::Config(args) => vec![&args.settings.0, &args.keeping.0],
        Command::Compact(args) => vec![&args.keeping.0],
        _ => Vec::new(),
    };
    let given: Vec<_> = [&cli.settings.0].into_iter().chain(of_command).collect();
    let resolved = resolve(&given, &file)?;
    let settings = &resolved.settings;
    log::start(settings.log.as_deref(), settings.log_format, cli.verbose, default_level)?;
    let data = settings.data.as_path();
    match cli.command {
        Command::Demo(args) => demo::run(args, settings),
        Command::Serve(_) => serve::run(settings),
        Command::Import(args) => import::run(args, data),
        Command::Export(args) => export::run(args, data),
        Command::Query(args) => query::run(args, settings),
        Command::Schema(args) => look::schema(args, data),
        Command::User(args) => look::user(args, data),
        Command::Account(args) => look::account(args, data),
        Command::Seal => with_store(data, Store::seal),
        Command::Compact(_) => with_store_as(data, serve::store_options(settings), Store::compact),
        Command::Check(args) => vault::run_check(&args, data),
        Command::Backup(args) => vault::run_backup(&args, data),
        Command::Restore(args) => vault::run_restore(&args, data),
        Command::Keys(args) => keys::run(args, data),
        Command::Config(args) => config::run(args, &resolved),
        Command::Completions(args) => manual::completions(args),
        Command::Man(args) => manual::man(args),
    }
}

/// Opens the store, which must be there, for the time of `work`.
fn with_store<T>(data: &Path, work: impl FnOnce(&Store) -> Result<T, Problem>) -> Result<T, Problem> {
    with_store_as(data, StoreOptions::default(), work)
}

/// Opens the store, which must be there, with options, for the time of `work`.
fn with_store_as<T>(
    data: &Path,
    options: StoreOptions,
    work: impl FnOnce(&Store) -> Result<T, Problem>,
) -> Result<T, Problem> {
    if !data.is_dir() {
        let detail = format!("there is no store at {}", data.display());
        return Err(Problem::new(ProblemClass::NotFound, detail)
            .hint("name its directory with --data; flywheel demo, serve and import make one"));
    }
    // Whoever asks one thing does not wait for segments to be joined.
    let store = Store::open_with(data, StoreOptions { background: false, ..options })?;
    let found = work(&store)?;
    store.close()?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_store_that_is_looked_at_must_be_there() {
        let problem = with_store(Path::new("no/such/directory"), |_| Ok(())).unwrap_err();
        assert_eq!(problem.class, ProblemClass::NotFound);
        assert!(problem.detail.contains("no/such/directory"));
    }
}
