//! `flywheel check`, `flywheel backup` and `flywheel restore`: whether a store is sound, and copies of it.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::output;
use crate::api::{Problem, ProblemClass};
use crate::io::Disk;
use crate::store::{BackupReport, CheckReport, Clock, SystemClock, backup, check, restore};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// How to show what was found.
    #[arg(long, value_enum, default_value_t)]
    format: CheckFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum CheckFormat {
    /// A line for each file.
    #[default]
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// The directory of the backup: an empty one, or one that holds an earlier backup of this store.
    #[arg(value_name = "DEST")]
    target: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The directory of the backup.
    #[arg(value_name = "SRC")]
    source: PathBuf,
}

pub(super) fn run_check(args: &CheckArgs, data: &Path) -> Result<(), Problem> {
    let report = check(&existing(data, "store")?)?;
    let text = match args.format {
        CheckFormat::Text => told(&report),
        CheckFormat::Json => json(&report),
    };
    output::print(text.as_bytes())?;
    match report.findings.as_slice() {
        [] => Ok(()),
        [first, rest @ ..] => {
            let others = match rest.len() {
                0 => String::new(),
                count => format!(", and {count} more findings"),
            };
            let detail = format!("{}: {}{others}", data.display(), first.what);
            Err(Problem::new(ProblemClass::Corrupt, detail).hint(
                "restore from a backup, or serve the rest with flywheel serve --degraded if segments are damaged",
            ))
        }
    }
}

pub(super) fn run_backup(args: &BackupArgs, data: &Path) -> Result<(), Problem> {
    let source = existing(data, "store")?;
    let report = backup(&source, &opened(&args.target)?, SystemClock.now())?;
    let BackupReport { change, file_count, size_bytes, copied_count, copied_bytes } = report;
    output::print(
        format!(
            "backed up to {}: everything up to change {change}, {file_count} files of {} bytes, of which \
             {copied_count} of {} bytes are new\n",
            args.target.display(),
            output::thousands(size_bytes),
            output::thousands(copied_bytes),
        )
        .as_bytes(),
    )
}

pub(super) fn run_restore(args: &RestoreArgs, data: &Path) -> Result<(), Problem> {
    let source = existing(&args.source, "backup")?;
    let report = restore(&source, &opened(data)?)?;
    output::print(
        format!(
            "restored to {}: everything up to change {}, {} files of {} bytes\n",
            data.display(),
            report.change,
            report.file_count,
            output::thousands(report.size_bytes),
        )
        .as_bytes(),
    )
}

fn existing(path: &Path, what: &str) -> Result<Disk, Problem> {
    match path.is_dir() {
        true => opened(path),
        false => {
            let detail = format!("there is no {what} at {}", path.display());
            Err(Problem::new(ProblemClass::NotFound, detail).hint("is the directory right?"))
        }
    }
}

fn opened(path: &Path) -> Result<Disk, Problem> {
    Disk::open(path)
        .map_err(|error| Problem::new(ProblemClass::Io, format!("cannot open {}: {error}", path.display())))
}

fn told(report: &CheckReport) -> String {
    let mut text = String::new();
    for file in &report.files {
        text.push_str(&format!("sound    {:<20} {}\n", file.name, file.holds));
    }
    for finding in &report.findings {
        text.push_str(&format!("DAMAGED  {:<20} {}\n", finding.file, finding.what));
    }
    let what = if report.is_backup { "backup" } else { "store" };
    let in_use = if report.is_in_use { ", which is in use" } else { "" };
    let verdict = match report.findings.len() {
        0 => "sound".to_owned(),
        1 => "damaged in 1 place".to_owned(),
        count => format!("damaged in {count} places"),
    };
    text.push_str(&format!("The {what}{in_use} is {verdict}, up to change {}.\n", report.change));
    text
}

fn json(report: &CheckReport) -> String {
    let files = report
        .files
        .iter()
        .map(|file| serde_json::json!({"file": file.name, "size": file.size, "holds": file.holds}));
    let findings = report
        .findings
        .iter()
        .map(|finding| serde_json::json!({"file": finding.file, "detail": finding.what}));
    let told = serde_json::json!({
        "sound": report.is_sound(),
        "change": report.change,
        "backup": report.is_backup,
        "in_use": report.is_in_use,
        "files": files.collect::<Vec<_>>(),
        "findings": findings.collect::<Vec<_>>(),
    });
    format!("{told}\n")
}
