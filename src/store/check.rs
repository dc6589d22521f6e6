//! Whether every file of a store, or of a backup, is sound.
//!
//! Nothing is written, and no lock is needed: a store that is being served can be checked too. Files that a seal or a
//! compaction removes meanwhile are not missed, as the manifest is then another one and is gone through again. Of the
//! log of a running store only what was written when it was read is looked at.
//!
//! Beyond checksums it proves what the store relies on: that rows are in order, that ordinals, codes and numbers have
//! something behind them, that every id is found, that the log goes on where the checkpoint ends.

use std::io::ErrorKind;

use super::Store;
use super::backup::{BACKUP_NAME, BackupList, TRY_COUNT_MAX};
use super::dictionary::Dictionary;
use super::health::Watch;
use super::manifest::{FileEntry, MANIFEST_NAME, Manifest, ids_name, log_name, segment_name};
use super::recover::{check_fingerprint, corrupt, log_names, map_named, open_ids, read_logs, read_manifest};
use crate::api::{Problem, ProblemClass};
use crate::format::checksum;
use crate::io::{Directory, check_mappings};
use crate::segment::{Bounds, Segment};
use crate::wal::Change;

/// A file that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedFile {
    pub name: String,
    /// In bytes; of a file that cannot be read, those that it should have.
    pub size: u64,
    /// What it holds, in words.
    pub holds: String,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub file: String,
    /// What is wrong with it, and where.
    pub what: String,
}

/// What was looked at, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Everything up to this change is in segments.
    pub checkpoint: u64,
    /// The last change, with those of the logs.
    pub change: u64,
    pub is_backup: bool,
    /// Whether another process had the store open.
    pub is_in_use: bool,
    pub files: Vec<CheckedFile>,
    pub findings: Vec<Finding>,
}

impl CheckReport {
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, file: &str, problem: Problem) {
        self.findings.push(Finding { file: file.to_owned(), what: problem.detail });
    }

    fn note(&mut self, name: &str, size: u64, holds: String) {
        self.files.push(CheckedFile { name: name.to_owned(), size, holds });
    }
}

/// Checks the store, or the backup, in a directory. Fails only if there is none, or if the system does not let it look.
pub fn check(directory: &dyn Directory) -> Result<CheckReport, Problem> {
    let lock = directory.lock();
    // On a medium that cannot be written to there is nobody to lock out.
    let is_in_use = matches!(&lock, Err(error) if error.kind() == ErrorKind::WouldBlock);
    check_as(directory, is_in_use)
}

impl Store {
    /// Checks every file of the store as it is on the disk, while the store goes on.
    pub fn check(&self) -> Result<CheckReport, Problem> {
        check_as(&*self.inner.directory, true)
    }
}

fn check_as(directory: &dyn Directory, is_in_use: bool) -> Result<CheckReport, Problem> {
    let io = |error| super::io_problem("list the data directory", &error);
    for attempt in 1.. {
        let files = directory.list().map_err(io)?;
        let is_backup = files.iter().any(|(name, _)| name == BACKUP_NAME);
        let list_name = if is_backup { BACKUP_NAME } else { MANIFEST_NAME };
        let before = directory.read(list_name).ok();
        let mut report = CheckReport { is_backup, is_in_use, ..CheckReport::default() };
        let checked = match is_backup {
            true => check_backup(directory, &mut report),
            false => check_store(directory, &files, &mut report),
        };
        let is_changed = is_in_use && directory.read(list_name).ok() != before;
        match checked {
            Ok(()) if report.is_sound() => return Ok(report),
            _ if is_changed && attempt < TRY_COUNT_MAX => {}
            checked => return checked.map(|()| report),
        }
    }
    unreachable!("the last attempt returns")
}

fn check_store(
    directory: &dyn Directory,
    files: &[(String, u64)],
    report: &mut CheckReport,
) -> Result<(), Problem> {
    let manifest = match read_manifest(directory, files) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Err(Problem::new(ProblemClass::NotFound, "there is no store in the directory")),
        Err(problem) if problem.class == ProblemClass::Corrupt => {
            report.find(MANIFEST_NAME, problem);
            return Ok(());
        }
        Err(problem) => return Err(problem),
    };
    let size = files.iter().find(|(name, _)| name == MANIFEST_NAME).map_or(0, |(_, size)| *size);
    report.note(MANIFEST_NAME, size, format!("everything up to change {}", manifest.checkpoint));
    check_named(directory, &manifest, report)?;
    check_logs(directory, files, &manifest, report)
}

fn check_backup(directory: &dyn Directory, report: &mut CheckReport) -> Result<(), Problem> {
    let list = match BackupList::read(directory) {
        Ok(list) => list.expect("the directory was seen to hold it"),
        Err(problem) if problem.class == ProblemClass::Corrupt => {
            report.find(BACKUP_NAME, problem);
            return Ok(());
        }
        Err(problem) => return Err(problem),
    };
    let checkpoint = list.manifest.checkpoint;
    report.note(BACKUP_NAME, 0, format!("a backup of everything up to change {checkpoint}"));
    match list.change() {
        Ok(change) => report.change = change,
        Err(problem) => report.find(BACKUP_NAME, problem),
    }
    if list.made_at.is_none() {
        report.find(BACKUP_NAME, corrupt(BACKUP_NAME, "the first backup into this directory did not end"));
    }
    for ((name, entry), file) in list.manifest.files().zip(&list.files) {
        // What else is wrong with the file is found below.
        if let Ok(bytes) = map_named(directory, &name, &entry)
            && checksum(&bytes) != file.checksum
        {
            report.find(&name, corrupt(&name, "its checksum is not that of the file that was backed up"));
        }
    }
    check_named(directory, &list.manifest, report)
}

/// Looks at the files that a manifest names.
fn check_named(
    directory: &dyn Directory,
    manifest: &Manifest,
    report: &mut CheckReport,
) -> Result<(), Problem> {
    report.checkpoint = manifest.checkpoint;
    let mut counts = [0, 0];
    let mut is_known = true;
    for (place, entries) in [&manifest.users, &manifest.accounts].into_iter().enumerate() {
        let whose = ["users", "accounts"][place];
        match open_ids(directory, entries) {
            Ok(files) => {
                for (entry, file) in entries.iter().zip(&files) {
                    let (name, count) = (ids_name(entry.file), file.count());
                    report.note(&name, entry.size, format!("ids of {count} {whose}"));
                }
                let deleted = if place == 0 { manifest.deleted_users.clone() } else { Default::default() };
                let dictionary = Dictionary::open(files.clone(), deleted);
                counts[place] = dictionary.len();
                for (entry, file) in entries.iter().zip(&files) {
                    let name = ids_name(entry.file);
                    let proved = dictionary.prove(file);
                    check_mappings();
                    if let Err(damage) = file.check_mapped() {
                        report.find(&name, damage.into());
                    } else if let Err(what) = proved {
                        report.find(&name, corrupt(&name, what));
                    }
                }
            }
            Err(problem) => {
                // The files that are wrong, each by itself.
                is_known = false;
                let before = report.findings.len();
                for entry in entries {
                    if let Err(problem) = open_ids_alone(directory, entry) {
                        report.find(&ids_name(entry.file), system_or_damage(problem)?);
                    }
                }
                if report.findings.len() == before {
                    report.find(MANIFEST_NAME, system_or_damage(problem)?);
                }
            }
        }
    }
    let bounds = Bounds {
        user_count: if is_known { counts[0] } else { u32::MAX },
        account_count: if is_known { counts[1] } else { u32::MAX - 1 },
        next_arrival: manifest.next_arrival,
    };
    for entry in &manifest.segments {
        let name = segment_name(entry.at.file);
        match check_segment(directory, &name, &entry.at, bounds) {
            Ok(holds) => report.note(&name, entry.at.size, holds),
            Err(problem) => report.find(&name, system_or_damage(problem)?),
        }
        if is_known && entry.dead.max().is_some_and(|last| last >= bounds.user_count) {
            let what = format!("rows of somebody are gone from {name} who is not there");
            report.find(MANIFEST_NAME, corrupt(MANIFEST_NAME, what));
        }
    }
    let (parents, names) = manifest.identities.entries();
    let ordinals = parents.iter().chain(&names).flat_map(|(a, b)| [*a, *b]);
    if is_known && ordinals.max().is_some_and(|last| last >= bounds.user_count) {
        report.find(MANIFEST_NAME, corrupt(MANIFEST_NAME, "somebody was merged who is not there"));
    }
    if parents.iter().any(|(_, user)| manifest.identities.user(*user) != *user) {
        report.find(MANIFEST_NAME, corrupt(MANIFEST_NAME, "a merge does not lead to a user"));
    }
    Ok(())
}

/// A problem of the system ends the check; damage is told.
fn system_or_damage(problem: Problem) -> Result<Problem, Problem> {
    if problem.class == ProblemClass::Corrupt { Ok(problem) } else { Err(problem) }
}

fn open_ids_alone(directory: &dyn Directory, entry: &FileEntry) -> Result<(), Problem> {
    let name = ids_name(entry.file);
    let file = super::dictionary::IdFile::open(&name, map_named(directory, &name, entry)?)?;
    check_fingerprint(&name, entry, file.fingerprint())
}

fn check_segment(
    directory: &dyn Directory,
    name: &str,
    entry: &FileEntry,
    bounds: Bounds,
) -> Result<String, Problem> {
    let bytes = map_named(directory, name, entry)?;
    let watch = Watch::begin();
    let segment = Segment::open(name, bytes.clone())?;
    check_fingerprint(name, entry, segment.fingerprint())?;
    let proved = segment.prove(bounds);
    watch.check_bytes(name, &bytes)?;
    proved?;
    Ok(format!("{} rows of {}", segment.row_count(), segment.kind().name()))
}

fn check_logs(
    directory: &dyn Directory,
    files: &[(String, u64)],
    manifest: &Manifest,
    report: &mut CheckReport,
) -> Result<(), Problem> {
    let logs = log_names(files);
    report.change = manifest.checkpoint;
    if let Some(name) = manifest.log.map(log_name).filter(|name| !logs.contains(name)) {
        report.find(&name, corrupt(&name, "the file is missing"));
        return Ok(());
    }
    let newest = logs.last().cloned().unwrap_or_default();
    match read_logs(directory, &logs, manifest.checkpoint) {
        Ok(records) => {
            report.change = records.last_key_value().map_or(manifest.checkpoint, |(number, _)| *number);
            for (number, (change, name)) in &records {
                if let Err(error) = Change::decode(change) {
                    report.find(name, corrupt(name, format!("change {number}: {error}")));
                }
            }
            for name in &logs {
                let count = records.values().filter(|(_, log)| log == name).count();
                let size = files.iter().find(|(known, _)| known == name).map_or(0, |(_, size)| *size);
                report.note(name, size, format!("{count} changes"));
            }
        }
        // The problem names the file; which one that was is in its words.
        Err(problem) => {
            let problem = system_or_damage(problem)?;
            let named = logs.iter().find(|name| problem.detail.starts_with(name.as_str()));
            let name = named.cloned().unwrap_or(newest);
            report.find(&name, problem);
        }
    }
    Ok(())
}
