//! `flywheel schema`, `flywheel user` and `flywheel account`: what is in the store.

use std::path::Path;

use clap::{Args, ValueEnum};

use super::outline::outline;
use super::text_table::TextTable;
use super::{output, with_store};
use crate::api::{Json, Problem, ProblemClass};
use crate::limits::{TIMELINE_EVENT_COUNT_DEFAULT, TIMELINE_EVENT_COUNT_MAX};
use crate::store::{PartSize, StoreSizes};

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
    /// Tell the bytes on disk instead: of every column, of ids, and of everything else.
    #[arg(long)]
    sizes: bool,

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
    if args.sizes {
        return show_sizes(&with_store(data, |store| store.sizes())?, args.format);
    }
    show(&with_store(data, |store| store.schema())?, args.format)
}

fn show_sizes(sizes: &StoreSizes, format: LookFormat) -> Result<(), Problem> {
    let total = PartSize { part: "total".to_owned(), bytes: sizes.total() };
    let per_event = |bytes: u64| bytes as f64 / sizes.event_count.max(1) as f64;
    let rows = sizes.parts.iter().chain([&total]);
    let text = match format {
        LookFormat::Table => {
            let columns = [("part", false), ("bytes", true), ("bytes an event", true)];
            let mut table = TextTable::new(columns.map(|(name, is_right)| (name.to_owned(), is_right)));
            for PartSize { part, bytes } in rows {
                table.push(vec![part.clone(), bytes.to_string(), format!("{:.3}", per_event(*bytes))]);
            }
            format!("{}{} events\n", table.render(), sizes.event_count)
        }
        LookFormat::Json => {
            let part = |size: &PartSize| serde_json::json!({"part": size.part, "bytes": size.bytes});
            let parts: Vec<serde_json::Value> = sizes.parts.iter().map(part).collect();
            let told = serde_json::json!({"events": sizes.event_count, "bytes": total.bytes, "parts": parts});
            format!("{told}\n")
        }
    };
    output::print(text.as_bytes())
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
