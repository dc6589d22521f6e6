//! Copies of a store: made while it is written to, added to, and made a store again.
//!
//! A backup is a directory with the files that one manifest names, and a list of them, `BACKUP`, with that manifest, a
//! checksum of each file, and the changes that were in the log. The list is replaced last, in one step, so a backup is
//! always the last one that ended; files are never written twice under one name, so what is there already is not
//! copied again.
//!
//! The source is read as any other program could read it, so it does not matter whether this process has the store
//! open, or another one, or nobody: a manifest, all its files, opened at once, so that they stay although they may be
//! removed, and the logs; and if the manifest is another one by then, again. What was acknowledged before that is in
//! them, up to one change.
//!
//! A restored store is another store than the one that was backed up: it gets an identity of its own, so that the
//! two are never mixed in one backup. Layout: docs/format.md, "Backup".

use std::io::ErrorKind;

use bytes::Bytes;
use hashbrown::HashSet;

use super::dictionary::IdFile;
use super::health::Watch;
use super::manifest::{FileEntry, MANIFEST_NAME, Manifest, log_name, parse_name};
use super::recover::{
    check_fingerprint, corrupt, log_names, map_named, new_store_id, read_logs, read_manifest,
};
use super::{Store, io_problem};
use crate::api::{Problem, ProblemClass};
use crate::format::{ByteReader, ByteWriter, DecodeError, FileKind, checksum};
use crate::io::{Directory, publish};
use crate::model::TimeMs;
use crate::segment::Segment;
use crate::wal::{encode_log, read_log};

/// The list of a backup's files.
pub const BACKUP_NAME: &str = "BACKUP";
/// In a directory into which a restore did not end.
pub const RESTORING_NAME: &str = "RESTORING";

/// Times that a store which changes while it is taken hold of is taken hold of again.
pub(super) const TRY_COUNT_MAX: usize = 20;

const STRUCTURE: &str = "backup";
const FILE_KIND: FileKind = FileKind { magic: b"FLYWBACK", version: 1, structure: STRUCTURE };

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackedFile {
    pub name: String,
    /// Of all its bytes.
    pub checksum: u32,
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq)]
pub struct BackupList {
    /// When it ended; `None` while the first backup into a directory is under way.
    pub made_at: Option<TimeMs>,
    /// Those that the manifest names, in its order.
    pub files: Vec<BackedFile>,
    pub manifest: Manifest,
    /// The changes after the manifest's checkpoint, as a log file has them.
    pub log: Vec<u8>,
}

impl BackupList {
    pub fn encode(&self) -> Vec<u8> {
        let mut body = ByteWriter::new();
        body.u8(u8::from(self.made_at.is_some()));
        body.i64(self.made_at.unwrap_or(0));
        body.varint(self.files.len() as u64);
        for file in &self.files {
            body.text(&file.name);
            body.u32(file.checksum);
        }
        body.sized(&self.manifest.encode());
        body.sized(&self.log);
        FILE_KIND.seal(body.as_slice())
    }

    pub fn decode(bytes: &[u8]) -> Result<BackupList, DecodeError> {
        let (_, _, mut reader) = FILE_KIND.unseal(bytes)?;
        let made_at = match (reader.u8()?, reader.i64()?) {
            (0, _) => None,
            (1, made_at) => Some(made_at),
            _ => return Err(reader.malformed("a flag is neither 0 nor 1")),
        };
        let file = |reader: &mut ByteReader<'_>| {
            Ok(BackedFile { name: reader.text()?.to_owned(), checksum: reader.u32()? })
        };
        let count = reader.count(5)?;
        let files = (0..count).map(|_| file(&mut reader)).collect::<Result<Vec<_>, DecodeError>>()?;
        let manifest = Manifest::decode(reader.sized()?)?;
        let log = reader.sized()?.to_vec();
        if !manifest.files().map(|(name, _)| name).eq(files.iter().map(|file| file.name.clone())) {
            return Err(reader.malformed("its files are not those of its manifest"));
        }
        reader.finish()?;
        Ok(BackupList { made_at, files, manifest, log })
    }

    /// Reads the list of a backup; `None` if there is none.
    pub fn read(directory: &dyn Directory) -> Result<Option<BackupList>, Problem> {
        match directory.read(BACKUP_NAME) {
            Ok(bytes) => BackupList::decode(&bytes).map(Some).map_err(|error| corrupt(BACKUP_NAME, error)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_problem("read the list of the backup", &error)),
        }
    }

    /// The number of the last change.
    pub fn change(&self) -> Result<u64, Problem> {
        let checkpoint = self.manifest.checkpoint;
        let contents = read_log(&self.log, checkpoint).map_err(|error| corrupt(BACKUP_NAME, error))?;
        let last = contents.records.last().map_or(checkpoint, |(number, _)| *number);
        contents.expect_begun_by(last).map_err(|error| corrupt(BACKUP_NAME, error))?;
        Ok(last)
    }

    fn write(&self, directory: &dyn Directory) -> Result<(), Problem> {
        let published = publish(directory, BACKUP_NAME, &[&self.encode()]);
        published.map(drop).map_err(|error| io_problem("write the list of the backup", &error.error))
    }
}

/// What a backup or a restore did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// Everything up to this change is in it.
    pub change: u64,
    pub file_count: usize,
    pub size_bytes: u64,
    /// Of these, the files that were not there yet.
    pub copied_count: usize,
    pub copied_bytes: u64,
}

/// A moment of a store, held on to.
struct Moment {
    manifest: Manifest,
    /// Those that the manifest names, in its order. A mapping outlives the removal of its file.
    files: Vec<(String, FileEntry, Bytes)>,
    log: Vec<u8>,
    change: u64,
}

impl Moment {
    /// Takes hold of the store in a directory, whoever has it open.
    fn of(directory: &dyn Directory) -> Result<Moment, Problem> {
        for attempt in 1.. {
            let before = directory.read(MANIFEST_NAME).ok();
            let taken = Moment::take(directory);
            let is_changed = directory.read(MANIFEST_NAME).ok() != before;
            if !is_changed || attempt == TRY_COUNT_MAX {
                return taken;
            }
        }
        unreachable!("the last attempt returns")
    }

    fn take(directory: &dyn Directory) -> Result<Moment, Problem> {
        let io = |error| io_problem("list the data directory", &error);
        let files = directory.list().map_err(io)?;
        let manifest = read_manifest(directory, &files)?.ok_or_else(|| {
            Problem::new(ProblemClass::NotFound, "there is no store in the directory")
                .hint("name its directory with --data")
        })?;
        let map = |(name, entry): (String, FileEntry)| {
            let bytes = map_named(directory, &name, &entry)?;
            Ok((name, entry, bytes))
        };
        let mapped = manifest.files().map(map).collect::<Result<Vec<_>, Problem>>()?;
        let logs = log_names(&directory.list().map_err(io)?);
        let records = read_logs(directory, &logs, manifest.checkpoint)?;
        let change = records.last_key_value().map_or(manifest.checkpoint, |(number, _)| *number);
        let records: Vec<(u64, &[u8])> =
            records.iter().map(|(number, (change, _))| (*number, &**change)).collect();
        let log = encode_log(manifest.checkpoint, &records);
        let manifest = Manifest { log: None, ..manifest };
        Ok(Moment { manifest, files: mapped, log, change })
    }
}

/// Makes or brings up to date a backup in `target` of the store in `source`, while that goes on. `now` is what the
/// clock shows.
///
/// It holds everything that was acknowledged before the call, and nothing of what begins after it returns. When
/// it returns, the backup is durable, and every file of it was read back.
pub fn backup(source: &dyn Directory, target: &dyn Directory, now: TimeMs) -> Result<BackupReport, Problem> {
    let _lock = lock(target, "another backup into this directory, or a restore from it, is under way")?;
    let watch = Watch::begin();
    let Moment { manifest, files, log, change } = Moment::of(source)?;
    let known = known_backup(target, manifest.store)?;
    let mut report = BackupReport { change, ..BackupReport::default() };
    let mut listed = Vec::new();
    for (name, entry, bytes) in files {
        report.file_count += 1;
        report.size_bytes += entry.size;
        let there = known.files.iter().find(|file| file.name == name);
        let checksum = match there.filter(|file| is_whole(target, &entry, file)) {
            Some(file) => file.checksum,
            None => {
                report.copied_count += 1;
                report.copied_bytes += entry.size;
                copy(&bytes, target, &name, &entry, watch)?
            }
        };
        listed.push(BackedFile { name, checksum });
    }
    let named: HashSet<String> = listed.iter().map(|file| file.name.clone()).collect();
    BackupList { made_at: Some(now), files: listed, manifest, log }.write(target)?;
    // What is left of earlier backups, and of any that did not end. What cannot be removed goes with the next.
    remove_others(target, &named);
    Ok(report)
}

impl Store {
    /// Makes or brings up to date a backup in `target`, while the store goes on: see [`backup`].
    pub fn backup(&self, target: &dyn Directory) -> Result<BackupReport, Problem> {
        backup(&*self.inner.directory, target, self.inner.clock.now())
    }
}

fn lock(directory: &dyn Directory, in_use: &str) -> Result<Box<dyn Send + Sync>, Problem> {
    directory.lock().map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => Problem::new(ProblemClass::Conflict, in_use),
        _ => io_problem("lock the directory", &error),
    })
}

/// The backup that is there already, made an empty one that is not finished if there is none.
fn known_backup(target: &dyn Directory, store: u128) -> Result<BackupList, Problem> {
    if let Some(list) = BackupList::read(target)? {
        return match list.manifest.store == store {
            true => Ok(list),
            false => Err(Problem::new(
                ProblemClass::Conflict,
                "the directory holds a backup of another store, or of this one before it was restored",
            )
            .hint("choose an empty directory")),
        };
    }
    let files = target.list().map_err(|error| io_problem("list the directory", &error))?;
    if let Some((name, _)) = files.iter().find(|(name, _)| !is_lock(name) && *name != aside(BACKUP_NAME)) {
        let detail = format!("the directory holds no backup, but it holds {name}");
        return Err(Problem::new(ProblemClass::Conflict, detail).hint("choose an empty directory"));
    }
    let manifest = Manifest { store, ..Manifest::of_an_empty_store() };
    let list = BackupList { made_at: None, files: Vec::new(), manifest, log: encode_log(0, &[]) };
    list.write(target)?;
    Ok(list)
}

fn is_lock(name: &str) -> bool {
    name == "LOCK"
}

fn aside(name: &str) -> String {
    format!("{name}.new")
}

/// Whether a file is there with all the bytes that the list tells of.
fn is_whole(target: &dyn Directory, entry: &FileEntry, file: &BackedFile) -> bool {
    read_back(target, &file.name, entry).is_ok_and(|found| found == file.checksum)
}

/// The checksum of a file that must be there with its size.
fn read_back(directory: &dyn Directory, name: &str, entry: &FileEntry) -> Result<u32, Problem> {
    let watch = Watch::begin();
    let bytes = map_named(directory, name, entry)?;
    let found = checksum(&bytes);
    watch.check_bytes(name, &bytes)?;
    Ok(found)
}

/// Copies a file once it is proved sound, durably, and reads it back. Returns its checksum.
fn copy(
    bytes: &Bytes,
    target: &dyn Directory,
    name: &str,
    entry: &FileEntry,
    watch: Watch,
) -> Result<u32, Problem> {
    prove(name, bytes, entry)?;
    let sum = checksum(bytes);
    let published = publish(target, name, &[bytes]);
    published.map_err(|error| io_problem(&format!("write the copy of {name}"), &error.error))?;
    watch.check_bytes(name, bytes)?;
    match read_back(target, name, entry)? == sum {
        true => Ok(sum),
        false => Err(corrupt(name, "its copy does not read back as it was written")),
    }
}

/// Checks every checksum in a segment or a file of ids.
fn prove(name: &str, bytes: &Bytes, entry: &FileEntry) -> Result<(), Problem> {
    let found = match parse_name(name) {
        Some((_, "segment")) => {
            let segment = Segment::open(name, bytes.clone())?;
            segment.verify()?;
            segment.fingerprint()
        }
        _ => IdFile::open(name, bytes.clone())?.fingerprint(),
    };
    check_fingerprint(name, entry, found)
}

/// Removes the files of ours that are not named, as far as that is possible.
fn remove_others(directory: &dyn Directory, named: &HashSet<String>) {
    for (name, _) in directory.list().unwrap_or_default() {
        if parse_name(&name).is_some() && !named.contains(&name) {
            let _ = directory.remove(&name);
        }
    }
    let _ = directory.sync_directory();
}

/// Makes a store of a backup, in a directory that is empty. All of it, or nothing: until the last step the directory
/// holds no store, and a restore that did not end can be run again.
pub fn restore(source: &dyn Directory, target: &dyn Directory) -> Result<BackupReport, Problem> {
    let Some(list) = BackupList::read(source)? else {
        return Err(Problem::new(ProblemClass::NotFound, "the directory holds no backup")
            .hint("a backup is a directory that flywheel backup wrote"));
    };
    if list.made_at.is_none() {
        return Err(Problem::new(ProblemClass::Corrupt, "the first backup into this directory did not end"));
    }
    // On a medium that cannot be written to there is nobody to lock out.
    let _source_lock = match source.lock() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            return Err(Problem::new(ProblemClass::Conflict, "a backup into this directory is under way"));
        }
        locked => locked.ok(),
    };
    let _lock = lock(target, "the data directory is in use by another process")?;
    let files = target.list().map_err(|error| io_problem("list the data directory", &error))?;
    let is_restoring = files.iter().any(|(name, _)| name == RESTORING_NAME);
    let is_ours = |name: &str| {
        is_lock(name)
            || name.ends_with(".new")
            || is_restoring && (name == RESTORING_NAME || parse_name(name).is_some())
    };
    if let Some((name, _)) = files.iter().find(|(name, _)| !is_ours(name)) {
        let detail = format!("the data directory is not empty: it holds {name}");
        return Err(Problem::new(ProblemClass::Conflict, detail)
            .hint("name a new directory with --data, or move the old one away"));
    }
    let io = |error: std::io::Error| io_problem("write the data directory", &error);
    publish(target, RESTORING_NAME, &[]).map_err(|error| io(error.error))?;
    remove_others(target, &HashSet::new());

    let mut report = BackupReport { change: list.change()?, ..BackupReport::default() };
    let mut copy_all = || -> Result<(), Problem> {
        for ((name, entry), file) in list.manifest.files().zip(&list.files) {
            let watch = Watch::begin();
            let bytes = map_named(source, &name, &entry)?;
            if copy(&bytes, target, &name, &entry, watch)? != file.checksum {
                return Err(corrupt(&name, "its checksum is not that of the file that was backed up"));
            }
            report.file_count += 1;
            report.copied_count += 1;
            report.size_bytes += entry.size;
            report.copied_bytes += entry.size;
        }
        let log = list.manifest.next_file;
        publish(target, &log_name(log), &[&list.log]).map_err(|error| io(error.error))?;
        let manifest =
            Manifest { store: new_store_id(), log: Some(log), next_file: log + 1, ..list.manifest.clone() };
        publish(target, MANIFEST_NAME, &[&manifest.encode()]).map_err(|error| io(error.error))?;
        Ok(())
    };
    copy_all()?;
    // The next open removes the mark if this does not.
    let _ = target.remove(RESTORING_NAME);
    target.sync_directory().map_err(io)?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::manifest::SegmentEntry;

    #[test]
    fn a_list_reads_back_and_no_bit_of_it_can_change_unnoticed() {
        let at = FileEntry { file: 3, size: 100, fingerprint: Some(9) };
        let segments = vec![SegmentEntry { at, dead: Default::default() }];
        let manifest = Manifest { store: 5, segments, ..Manifest::of_an_empty_store() };
        let files = vec![BackedFile { name: "00000003.segment".to_owned(), checksum: 7 }];
        let list = BackupList { made_at: Some(12), files, manifest, log: encode_log(0, &[]) };
        let bytes = list.encode();
        assert_eq!(BackupList::decode(&bytes), Ok(list.clone()));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            assert!(BackupList::decode(&damaged).is_err(), "byte {at}");
            assert!(BackupList::decode(&bytes[..at]).is_err(), "{at} bytes");
        }
        let other = BackupList { files: Vec::new(), ..list };
        assert!(
            BackupList::decode(&other.encode()).is_err(),
            "the manifest names a file that it does not list"
        );
    }
}
