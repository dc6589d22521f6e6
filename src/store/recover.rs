//! Opening a store: the manifest, the files that it names, and the changes since.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use crossbeam::channel::Sender;
use hashbrown::HashSet;
use parking_lot::{Condvar, Mutex, RwLock};

use super::dictionary::{Dictionary, IdFile};
use super::effect::{Base, Effect};
use super::manifest::{IdsEntry, MANIFEST_NAME, Manifest, ids_name, log_name, parse_name, segment_name};
use super::names::Names;
use super::view::{Chunk, DiskSegment, LiveSegment, View};
use super::{Inner, Signal, StoreTelemetry, Writer, io_problem};
use crate::api::{Problem, ProblemClass};
use crate::io::{Directory, publish};
use crate::segment::{RowKind, Segment};
use crate::wal::{Change, LogWriter, read_log};

fn corrupt(file: &str, what: impl std::fmt::Display) -> Problem {
    Problem::new(ProblemClass::Corrupt, format!("{file} is damaged: {what}"))
}

/// Opens the store in a directory, and makes an empty one if there is none.
pub(super) fn open(
    directory: Arc<dyn Directory>,
    background: Option<Sender<Signal>>,
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
    let is_there = |name: &str| files.iter().any(|(known, _)| known == name);
    let manifest = if is_there(MANIFEST_NAME) {
        let bytes = directory.read(MANIFEST_NAME).map_err(|error| io_problem("read the manifest", &error))?;
        Manifest::decode(&bytes).map_err(|error| corrupt(MANIFEST_NAME, error))?
    } else {
        // The first manifest is made before any other file, so that none of them can be taken for a new store.
        if let Some((name, _)) = files.iter().find(|(name, _)| parse_name(name).is_some()) {
            return Err(corrupt(MANIFEST_NAME, format!("it is missing, although {name} is there")));
        }
        let manifest = Manifest { next_arrival: 1, ..Manifest::default() };
        publish(&*directory, MANIFEST_NAME, &[&manifest.encode()])
            .map_err(|error| io_problem("write the first manifest", &error))?;
        manifest
    };

    let map = |name: String, size: u64| {
        let bytes = directory.map(&name).map_err(|error| match error.kind() {
            ErrorKind::NotFound => corrupt(&name, "the file is missing"),
            _ => io_problem(&format!("map {name}"), &error),
        })?;
        match bytes.len() as u64 == size {
            true => Ok((name, bytes)),
            false => Err(corrupt(&name, format!("it has {} bytes, {size} were written", bytes.len()))),
        }
    };
    let mut disk = Vec::new();
    for entry in &manifest.segments {
        let (name, bytes) = map(segment_name(entry.file), entry.size)?;
        let dead = Arc::new(entry.dead.clone());
        let live = LiveSegment { segment: Arc::new(Segment::open(&name, bytes)?), dead: Arc::clone(&dead) };
        disk.push(DiskSegment { live, file: entry.file, checkpoint_dead: dead });
    }
    let id_files = |entries: &[IdsEntry]| -> Result<Vec<Arc<IdFile>>, Problem> {
        let mut id_files: Vec<Arc<IdFile>> = Vec::new();
        for entry in entries {
            let (name, bytes) = map(ids_name(entry.file), entry.size)?;
            let file = IdFile::open(&name, bytes)?;
            let end = id_files.last().map_or(0, |before| before.first + before.count());
            if file.first != end {
                return Err(corrupt(&name, "its ordinals do not follow those before"));
            }
            id_files.push(Arc::new(file));
        }
        Ok(id_files)
    };
    let users = Dictionary::open(id_files(&manifest.users)?, manifest.deleted_users.clone());
    let accounts = Dictionary::open(id_files(&manifest.accounts)?, Default::default());

    let last_file = files.iter().filter_map(|(name, _)| parse_name(name)).map(|(number, _)| number + 1).max();
    let identities = Arc::new(manifest.identities.clone());
    let documents = Arc::new(manifest.documents.clone());
    let mut names = Names::default();
    disk.iter().for_each(|disk| names.learn(&disk.live.segment));
    let view =
        View { number: manifest.checkpoint, disk: Arc::new(disk), identities, documents, ..View::default() };
    let writer = Writer {
        number: manifest.checkpoint,
        next_arrival: manifest.next_arrival.max(1),
        next_file: manifest.next_file.max(last_file.unwrap_or(0)),
        log: None,
        older_logs: Vec::new(),
        manifest,
        marks: HashSet::new(),
        frozen_marks: HashSet::new(),
        names,
        failed: None,
    };
    let inner = Inner {
        directory,
        users,
        accounts,
        queue: Mutex::default(),
        maintenance: Mutex::default(),
        writer: Mutex::new(writer),
        sorting: Mutex::default(),
        view: RwLock::new(view),
        head_size: AtomicU64::new(0),
        frozen_size: AtomicU64::new(0),
        sealed: (Mutex::default(), Condvar::new()),
        stopping: AtomicBool::new(false),
        telemetry: StoreTelemetry::default(),
        background,
        _lock: lock,
    };
    let mut logs: Vec<String> = files.into_iter().map(|(name, _)| name).filter(|name| is_log(name)).collect();
    logs.sort_by_key(|name| parse_name(name).map(|(number, _)| number));
    inner.replay(logs)?;
    Ok(inner)
}

fn is_log(name: &str) -> bool {
    matches!(parse_name(name), Some((_, "log"))) && !name.ends_with(".new")
}

impl Inner {
    /// Applies the changes of the logs, and writes them to a new log before anybody sees them: what the page cache
    /// gave us may not be on the disk.
    fn replay(&self, logs: Vec<String>) -> Result<(), Problem> {
        let mut writer = self.writer.lock();
        // By number. A log that replay wrote holds again what older ones hold, whose removal may be lost one by one.
        let mut records: BTreeMap<u64, (Vec<u8>, &str)> = BTreeMap::new();
        for name in &logs {
            let bytes =
                self.directory.read(name).map_err(|error| io_problem(&format!("read {name}"), &error))?;
            let known = records.last_key_value().map_or(writer.number, |(number, _)| *number);
            let contents = read_log(&bytes, known).map_err(|error| corrupt(name, error))?;
            let later = contents.records.into_iter().filter(|(number, _)| *number > writer.number);
            records.extend(later.map(|(number, change)| (number, (change.to_vec(), name.as_str()))));
            if contents.torn_size > 0 {
                let bytes = contents.torn_size;
                tracing::warn!(log = %name, bytes, "the end of a log was cut short; it was never acknowledged");
            }
        }
        for (number, (change, name)) in &records {
            if *number != writer.number + 1 {
                return Err(corrupt(name, format!("change {number} follows change {}", writer.number)));
            }
            let decoded = Change::decode(change).map_err(|error| corrupt(name, error))?;
            let effect = self.redo(&mut writer, decoded)?;
            effect.chunks.iter().for_each(|chunk| writer.names.learn_batch(chunk.kind, &chunk.batch));
            self.install(&mut writer, effect);
            writer.number = *number;
            self.view.write().number = *number;
        }
        if !records.is_empty() {
            let name = log_name(Inner::new_file(&mut writer));
            let durable = writer.manifest.checkpoint;
            let records: Vec<(u64, &[u8])> =
                records.iter().map(|(number, (change, _))| (*number, &**change)).collect();
            let log = LogWriter::create(&*self.directory, &name, durable, &records);
            writer.log = Some(log.map_err(|error| io_problem(&format!("write {name}"), &error))?);
        }
        self.remove_unnamed(&writer);
        Ok(())
    }

    /// Works out a logged change again, from the state that it was worked out from before.
    fn redo(&self, writer: &mut Writer, change: Change) -> Result<Effect, Problem> {
        let _sorting = self.sorting.lock();
        if !matches!(change, Change::Events { .. }) {
            self.sort_tail();
        }
        let view = self.view.read().without_tail();
        let base = Base {
            view: &view,
            users: &self.users,
            accounts: &self.accounts,
            marks: [&HashSet::new(), &HashSet::new()],
        };
        Ok(match change {
            Change::Events { arrival, batch } => {
                let rows = base.rows(&batch, arrival)?;
                writer.next_arrival = arrival + rows.len() as u64;
                Effect { chunks: vec![Chunk { kind: RowKind::Events, batch, rows }], ..Effect::default() }
            }
            Change::Profiles { arrival, entity, writes } => {
                let effect = base.profile_writes(entity, &writes, arrival)?;
                writer.next_arrival =
                    arrival + effect.chunks.iter().map(|chunk| chunk.rows.len() as u64).sum::<u64>();
                effect
            }
            Change::Merges { merges } => base.merges(&merges)?,
            Change::Deletion { user } => base.deletion(&user).unwrap_or_default(),
            Change::Document { kind, name, content } => base.document(kind, name, content),
        })
    }
}
