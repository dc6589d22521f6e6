//! Opening a store: the manifest, the files that it names, and the changes since.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use parking_lot::{Condvar, Mutex, RwLock};

use super::backup::{BACKUP_NAME, RESTORING_NAME};
use super::bounds::Bounds;
use super::clock::BelievedClock;
use super::dictionary::{Dictionary, IdFile};
use super::effect::{Base, Effect};
use super::health::{MissingFile, Watch};
use super::manifest::{
    FileEntry, MANIFEST_NAME, Manifest, SegmentEntry, ids_name, log_name, parse_name, segment_name,
};
use super::view::{Chunk, DiskSegment, LiveSegment, View};
use super::{Background, Inner, StoreOptions, StoreTelemetry, Writer, io_problem};
use crate::api::{Problem, ProblemClass};
use crate::io::{Directory, publish};
use crate::model::TimeMs;
use crate::segment::{Form, RowKind, Segment};
use crate::wal::{Change, LogError, read_log};

pub(super) fn corrupt(file: &str, what: impl std::fmt::Display) -> Problem {
    Problem::new(ProblemClass::Corrupt, format!("{file} is damaged: {what}"))
}

/// Opens the store in a directory, and makes an empty one if there is none.
pub(super) fn open(
    directory: Arc<dyn Directory>,
    options: &StoreOptions,
    background: Option<Background>,
) -> Result<Inner, Problem> {
    let lock = directory.lock().map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => {
            Problem::new(ProblemClass::Conflict, "the data directory is in use by another process")
                .hint("stop the server that has it open, or talk to it with --url")
        }
        _ => io_problem("lock the data directory", &error),
    })?;
    // Names that are seen now may not be on the disk; they are before anything is removed because of them.
    directory.sync_directory().map_err(|error| io_problem("sync the data directory", &error))?;
    let files = directory.list().map_err(|error| io_problem("list the data directory", &error))?;
    let mut manifest = match read_manifest(&*directory, &files)? {
        Some(manifest) => manifest,
        None => {
            let manifest = Manifest {
                store: new_store_id(),
                clock: options.clock.now(),
                ..Manifest::of_an_empty_store()
            };
            publish(&*directory, MANIFEST_NAME, &[&manifest.encode()])
                .map_err(|error| io_problem("write the first manifest", &error.error))?;
            manifest
        }
    };
    if manifest.store == 0 {
        manifest.store = new_store_id(); // version 1 had none
    }
    if let Some(name) = manifest.log.map(log_name).filter(|name| files.iter().all(|(known, _)| known != name))
    {
        return Err(corrupt(&name, "the file is missing"));
    }
    let _ = directory.remove(RESTORING_NAME); // left by a restore that ended: the manifest came last

    let (disk, missing) = open_segments(&*directory, &manifest, options.degraded)?;
    let users = open_ids(&*directory, &manifest.users)?;
    let accounts = open_ids(&*directory, &manifest.accounts)?;
    let users = Dictionary::open(users, manifest.deleted_users.clone());
    let accounts = Dictionary::open(accounts, Default::default());

    let last_file = files.iter().filter_map(|(name, _)| parse_name(name)).map(|(number, _)| number + 1).max();
    let mut bounds = Bounds::default();
    disk.iter().for_each(|disk| bounds.learn_segment(&disk.live.segment));
    let view = View {
        number: manifest.checkpoint,
        disk: Arc::new(disk),
        identities: Arc::new(manifest.identities.clone()),
        documents: Arc::new(manifest.documents.clone()),
        tombstones: Arc::new(manifest.tombstones.clone()),
        expired_before: manifest.expired_before,
        ..View::default()
    };
    let clock = BelievedClock::new(
        Arc::clone(&options.clock),
        manifest.clock,
        options.trust_clock || options.expire_after.is_none(),
    );
    let writer = Writer {
        number: manifest.checkpoint,
        next_arrival: manifest.next_arrival.max(1),
        next_file: manifest.next_file.max(last_file.unwrap_or(0)),
        log: None,
        older_logs: Vec::new(),
        manifest,
        marks: HashSet::new(),
        frozen_marks: HashSet::new(),
        frozen_dead: HashMap::new(),
        unnamed: HashSet::new(),
        bounds,
        failed: None,
        loaded: 0,
    };
    let inner = Inner {
        directory,
        users,
        accounts,
        queue: Mutex::default(),
        joining: Mutex::default(),
        sealing: Mutex::default(),
        writer: Mutex::new(writer),
        sorting: Mutex::default(),
        view: RwLock::new(view),
        head_size: AtomicU64::new(0),
        frozen_size: AtomicU64::new(0),
        sealed: (Mutex::default(), Condvar::new()),
        stopping: AtomicBool::new(false),
        is_loading: AtomicBool::new(false),
        telemetry: StoreTelemetry::default(),
        background,
        missing: missing.into(),
        clock,
        disk_reserve: options.disk_reserve,
        form: if options.small_segments { Form::Small } else { Form::Fast },
        expire_after: options.expire_after.map(|age| age.as_millis().min(i64::MAX as u128) as i64),
        _lock: lock,
    };
    inner.replay(log_names(&files))?;
    Ok(inner)
}

/// Reads the manifest; `None` where there is no store yet.
pub(super) fn read_manifest(
    directory: &dyn Directory,
    files: &[(String, u64)],
) -> Result<Option<Manifest>, Problem> {
    let is_there = |name: &str| files.iter().any(|(known, _)| known == name);
    if is_there(MANIFEST_NAME) {
        let bytes = directory.read(MANIFEST_NAME).map_err(|error| io_problem("read the manifest", &error))?;
        return Manifest::decode(&bytes).map(Some).map_err(|error| corrupt(MANIFEST_NAME, error));
    }
    if is_there(RESTORING_NAME) {
        let problem = Problem::new(ProblemClass::Corrupt, "a restore into this directory did not end");
        return Err(problem.hint("run it again: flywheel restore"));
    }
    if is_there(BACKUP_NAME) {
        let problem = Problem::new(ProblemClass::Conflict, "this directory is a backup and not a store");
        return Err(problem.hint("restore it into an empty directory: flywheel restore"));
    }
    // The first manifest is made before any other file, so that none of them can be taken for a new store.
    match files.iter().find(|(name, _)| parse_name(name).is_some()) {
        Some((name, _)) => Err(corrupt(MANIFEST_NAME, format!("it is missing, although {name} is there"))),
        None => Ok(None),
    }
}

/// A number that no other store has.
pub(super) fn new_store_id() -> u128 {
    // The standard library's seeds come from the system's randomness.
    let random = || u128::from(RandomState::new().build_hasher().finish());
    ((random() << 64) | random()).max(1)
}

/// Maps a file that the manifest names, and checks its size.
pub(super) fn map_named(directory: &dyn Directory, name: &str, entry: &FileEntry) -> Result<Bytes, Problem> {
    let bytes = directory.map(name).map_err(|error| match error.kind() {
        ErrorKind::NotFound => corrupt(name, "the file is missing"),
        _ => io_problem(&format!("map {name}"), &error),
    })?;
    match bytes.len() as u64 == entry.size {
        true => Ok(bytes),
        false => Err(corrupt(name, format!("it has {} bytes, {} were written", bytes.len(), entry.size))),
    }
}

/// Checks that a file is the one that the manifest names, and not another, or an older one, in its place.
pub(super) fn check_fingerprint(name: &str, entry: &FileEntry, found: u32) -> Result<(), Problem> {
    match entry.fingerprint {
        Some(expected) if expected != found => Err(corrupt(
            name,
            format!(
                "it is not the file that was written: its fingerprint is {found:#010x}, expected {expected:#010x}"
            ),
        )),
        _ => Ok(()),
    }
}

fn open_segment(directory: &dyn Directory, entry: &SegmentEntry) -> Result<DiskSegment, Problem> {
    let name = segment_name(entry.at.file);
    let segment = Segment::open(&name, map_named(directory, &name, &entry.at)?)?;
    check_fingerprint(&name, &entry.at, segment.fingerprint())?;
    let dead = Arc::new(entry.dead.clone());
    let live = LiveSegment { segment: Arc::new(segment), dead: Arc::clone(&dead) };
    Ok(DiskSegment { live, file: entry.at.file, checkpoint_dead: dead })
}

/// Opens all segments; with `degraded` those that are damaged are left out, and told.
fn open_segments(
    directory: &dyn Directory,
    manifest: &Manifest,
    degraded: bool,
) -> Result<(Vec<DiskSegment>, Vec<MissingFile>), Problem> {
    let (mut disk, mut missing) = (Vec::new(), Vec::new());
    for entry in &manifest.segments {
        match open_segment(directory, entry) {
            Ok(segment) => disk.push(segment),
            Err(problem) if degraded && problem.class == ProblemClass::Corrupt => {
                tracing::error!(%problem, "a segment is left out of every answer");
                missing.push(MissingFile { name: segment_name(entry.at.file), reason: problem.detail });
            }
            Err(problem) if problem.class == ProblemClass::Corrupt && problem.hint.is_none() => {
                return Err(problem.hint(
                    "restore this file from a backup; flywheel check names all that is damaged, and \
                     flywheel serve --degraded answers without it",
                ));
            }
            Err(problem) => return Err(problem),
        }
    }
    Ok((disk, missing))
}

pub(super) fn open_ids(
    directory: &dyn Directory,
    entries: &[FileEntry],
) -> Result<Vec<Arc<IdFile>>, Problem> {
    let mut id_files: Vec<Arc<IdFile>> = Vec::new();
    for entry in entries {
        let name = ids_name(entry.file);
        let file = IdFile::open(&name, map_named(directory, &name, entry)?)?;
        check_fingerprint(&name, entry, file.fingerprint())?;
        let end = id_files.last().map_or(0, |before| before.first + before.count());
        if file.first != end {
            return Err(corrupt(&name, "its ordinals do not follow those before"));
        }
        id_files.push(Arc::new(file));
    }
    Ok(id_files)
}

/// The changes after the checkpoint, by number, each with the name of its log.
pub(super) type Records<'a> = BTreeMap<u64, (Vec<u8>, &'a str)>;

/// Reads the changes after the checkpoint from all logs, which are in order of their numbers.
///
/// A log that replay wrote holds again what older ones hold, whose removal may be lost one by one. What older logs
/// have after the change with which a log begins was given up when it was begun.
pub(super) fn read_logs<'a>(
    directory: &dyn Directory,
    logs: &'a [String],
    checkpoint: u64,
) -> Result<Records<'a>, Problem> {
    let mut records = Records::new();
    let mut begun: Option<(&str, u64)> = None;
    for name in logs {
        let bytes = directory.read(name).map_err(|error| io_problem(&format!("read {name}"), &error))?;
        let known = records.last_key_value().map_or(checkpoint, |(number, _)| *number);
        let contents = read_log(&bytes, known).map_err(|error| corrupt(name, error))?;
        if let Some(durable) = contents.begun_after {
            drop(records.split_off(&durable.saturating_add(1)));
            // Of older logs, each may be gone, or be left over, as long as what they had is there at the end.
            begun = begun.filter(|(_, most)| *most >= durable).or(Some((name, durable)));
        }
        let later = contents.records.iter().filter(|(number, _)| *number > checkpoint);
        records.extend(later.map(|(number, change)| (*number, (change.to_vec(), name.as_str()))));
        if contents.torn_size > 0 {
            let bytes = contents.torn_size;
            tracing::warn!(log = %name, bytes, "the end of a log was cut short; it was never acknowledged");
        }
    }
    let last = records.last_key_value().map_or(checkpoint, |(number, _)| *number);
    if let Some((name, durable)) = begun.filter(|(_, durable)| *durable > last) {
        return Err(corrupt(name, LogError::Gap { after: last, durable }));
    }
    let numbers = records.keys().zip(checkpoint + 1..);
    if let Some((number, expected)) = numbers.into_iter().find(|(number, expected)| *number != expected) {
        let before = expected - 1;
        return Err(corrupt(records[number].1, format!("change {number} follows change {before}")));
    }
    Ok(records)
}

/// The names of all logs, in order of their numbers.
pub(super) fn log_names(files: &[(String, u64)]) -> Vec<String> {
    let mut logs: Vec<String> =
        files.iter().map(|(name, _)| name.clone()).filter(|name| is_log(name)).collect();
    logs.sort_by_key(|name| parse_name(name).map(|(number, _)| number));
    logs
}

fn is_log(name: &str) -> bool {
    matches!(parse_name(name), Some((_, "log"))) && !name.ends_with(".new")
}

impl Inner {
    /// Applies the changes of the logs, and writes them to a new log before anybody sees them: what the page cache
    /// gave us may not be on the disk.
    fn replay(&self, logs: Vec<String>) -> Result<(), Problem> {
        let mut writer = self.writer.lock();
        let records = read_logs(&*self.directory, &logs, writer.number)?;
        let watch = Watch::begin();
        for (number, (change, name)) in &records {
            let decoded = Change::decode(change).map_err(|error| corrupt(name, error))?;
            let effect = self.redo(&mut writer, decoded)?;
            effect.chunks.iter().for_each(|chunk| writer.bounds.learn_batch(chunk.kind, &chunk.batch));
            self.add_ids(&effect.new_ids);
            self.install(&mut writer, effect);
            writer.number = *number;
            self.view.write().number = *number;
        }
        self.checked(watch, Ok(()))?;
        if !self.missing.is_empty() {
            return Ok(()); // all stays as it was found
        }
        // A newer log than the named one gave up what that has after it, and would be removed: it stays given up.
        let named = writer.manifest.log.map(log_name);
        let is_newest_named = logs.last() == named.as_ref();
        if !records.is_empty() || !is_newest_named {
            let records: Vec<(u64, &[u8])> =
                records.iter().map(|(number, (change, _))| (*number, &**change)).collect();
            self.begin_log(&mut writer, &records)?;
        }
        self.remove_unnamed(&writer);
        Ok(())
    }

    /// Works out a logged change again, from the state that it was worked out from before.
    fn redo(&self, writer: &mut Writer, change: Change) -> Result<Effect, Problem> {
        let _sorting = self.sorting.lock();
        if !matches!(change, Change::Events { .. }) {
            self.sort_tail(Form::Quick);
        }
        let view = self.view.read().without_tail();
        let base = Base {
            view: &view,
            users: &self.users,
            accounts: &self.accounts,
            marks: [&HashSet::new(), &HashSet::new()],
            expired_before: TimeMs::MIN,
        };
        Ok(match change {
            Change::Events { arrival, batch } => {
                let (rows, new_ids) = base.rows(&batch, arrival)?;
                writer.next_arrival = arrival + rows.len() as u64;
                let chunks = vec![Chunk { kind: RowKind::Events, batch, rows }];
                Effect { chunks, new_ids, ..Effect::default() }
            }
            Change::Profiles { arrival, entity, writes } => {
                let (effect, _) = base.profile_writes(entity, &writes, arrival)?;
                writer.next_arrival =
                    arrival + effect.chunks.iter().map(|chunk| chunk.rows.len() as u64).sum::<u64>();
                effect
            }
            Change::Merges { merges } => base.merges(&merges)?.0,
            Change::Deletion { user } => base.deletion(&user).unwrap_or_default(),
            Change::Document { kind, name, content } => base.document(kind, name, content),
        })
    }
}
