//! `flywheel schema`, `flywheel user` and `flywheel account`: what is in the store.

use std::path::Path;

use clap::{Args, ValueEnum};

use super::outline::outline;
use super::{output, with_store};
use crate::api::{Json, Problem, ProblemClass};
use crate::limits::{TIMELINE_EVENT_COUNT_DEFAULT, TIMELINE_EVENT_COUNT_MAX};

/// How to show what was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum LookFormat {
    /// Aligned text.
    #[default]
    Table,
    /// The body of the HTTP answer.
    Json,
}

#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// How to show it.
    #[arg(long, value_enum, default_value_t)]
    format: LookFormat,
}

#[derive(Debug, Args)]
pub(super) struct UserArgs {
    /// The user's id, or one merged into it.
    #[arg(value_name = "ID")]
    user: String,

    /// How many of the newest events to show.
    #[arg(long, value_name = "N", default_value_t = TIMELINE_EVENT_COUNT_DEFAULT as u64,
        value_parser = clap::value_parser!(u64).range(1..=TIMELINE_EVENT_COUNT_MAX as u64))]
    limit: u64,

    /// How to show it.
    #[arg(long, value_enum, default_value_t)]
    format: LookFormat,
}

#[derive(Debug, Args)]
pub(super) struct AccountArgs {
    /// The account's id.
    #[arg(value_name = "ID")]
    account: String,

    /// How many of the newest events to show.
    #[arg(long, value_name = "N", default_value_t = TIMELINE_EVENT_COUNT_DEFAULT as u64,
        value_parser = clap::value_parser!(u64).range(1..=TIMELINE_EVENT_COUNT_MAX as u64))]
    limit: u64,

    /// How to show it.
    #[arg(long, value_enum, default_value_t)]
    format: LookFormat,
}

pub(super) fn schema(args: SchemaArgs, data: &Path) -> Result<(), Problem> {
    show(&with_store(data, |store| store.schema())?, args.format)
}

pub(super) fn user(args: UserArgs, data: &Path) -> Result<(), Problem> {
    let limit = usize::try_from(args.limit).expect("at most TIMELINE_EVENT_COUNT_MAX");
    let found = with_store(data, |store| store.user(&args.user, limit, None))?;
    let none = || Problem::new(ProblemClass::NotFound, format!("there is no user {:?}", args.user));
    show(&found.ok_or_else(none)?, args.format)
}

pub(super) fn account(args: AccountArgs, data: &Path) -> Result<(), Problem> {
    let limit = usize::try_from(args.limit).expect("at most TIMELINE_EVENT_COUNT_MAX");
    let found = with_store(data, |store| store.account(&args.account, limit, None))?;
    let none = || Problem::new(ProblemClass::NotFound, format!("there is no account {:?}", args.account));
    show(&found.ok_or_else(none)?, args.format)
}

fn show(found: &Json, format: LookFormat) -> Result<(), Problem> {
    let text = match format {
        LookFormat::Table => outline(&serde_json::to_value(found).expect("it writes itself as JSON")),
        LookFormat::Json => format!("{found}\n"),
    };
    output::print(text.as_bytes())
}
