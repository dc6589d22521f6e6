//! Opening a store: the manifest, the files that it names, and the changes since.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use crossbeam::channel::Sender;
use hashbrown::HashSet;
use parking_lot::{Condvar, Mutex, RwLock};

use super::dictionary::{Dictionary, IdFile};
use super::effect::{Base, Effect};
use super::manifest::{IdsEntry, MANIFEST_NAME, Manifest, ids_name, log_name, parse_name, segment_name};
use super::view::{Chunk, DiskSegment, LiveSegment, View};
use super::{Inner, Signal, Writer, io_problem};
use crate::api::{Problem, ProblemClass};
use crate::io::Directory;
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
    let files = directory.list().map_err(|error| io_problem("list the data directory", &error))?;
    let is_there = |name: &str| files.iter().any(|(known, _)| known == name);
    let manifest = if is_there(MANIFEST_NAME) {
        let bytes = directory.read(MANIFEST_NAME).map_err(|error| io_problem("read the manifest", &error))?;
        Manifest::decode(&bytes).map_err(|error| corrupt(MANIFEST_NAME, error))?
    } else {
        let segment = files.iter().find(|(name, _)| {
            matches!(parse_name(name), Some((_, "segment" | "ids"))) && !name.ends_with(".new")
        });
        // Without a manifest only a log can be there: a store is young until its first checkpoint.
        if let Some((name, _)) = segment
            && !is_leftover_of_first_checkpoint(&files)
        {
            return Err(corrupt(MANIFEST_NAME, format!("it is missing, although {name} is there")));
        }
        Manifest::default()
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
    let view = View { number: manifest.checkpoint, disk, identities, ..View::default() };
    let writer = Writer {
        number: manifest.checkpoint,
        next_arrival: manifest.next_arrival.max(1),
        next_file: manifest.next_file.max(last_file.unwrap_or(0)),
        log: None,
        older_logs: Vec::new(),
        manifest,
        marks: HashSet::new(),
        frozen_marks: HashSet::new(),
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

/// Whether files without a manifest can be those of a first checkpoint that did not get as far as the manifest: then
/// the log that it was made from is still there.
fn is_leftover_of_first_checkpoint(files: &[(String, u64)]) -> bool {
    let first = |ending: &str| {
        files
            .iter()
            .filter_map(|(name, _)| parse_name(name))
            .filter(|(_, known)| *known == ending)
            .map(|(n, _)| n)
            .min()
    };
    first("log")
        .is_some_and(|log| [first("segment"), first("ids")].into_iter().flatten().all(|file| log < file))
}

impl Inner {
    /// Applies the changes of the logs, and writes them to a new log before anybody sees them: what the page cache
    /// gave us may not be on the disk.
    fn replay(&self, logs: Vec<String>) -> Result<(), Problem> {
        let mut writer = self.writer.lock();
        let mut records: Vec<(u64, Vec<u8>)> = Vec::new();
        for name in &logs {
            let bytes =
                self.directory.read(name).map_err(|error| io_problem(&format!("read {name}"), &error))?;
            let contents = read_log(&bytes).map_err(|error| corrupt(name, error))?;
            for (number, change) in contents.records {
                if number <= writer.number {
                    continue;
                }
                if number != writer.number + 1 {
                    let gap = format!("change {number} follows change {}", writer.number);
                    return Err(corrupt(name, gap));
                }
                let decoded = Change::decode(change).map_err(|error| corrupt(name, error))?;
                let effect = self.redo(&mut writer, decoded)?;
                self.install(&mut writer, effect);
                writer.number = number;
                self.view.write().number = number;
                records.push((number, change.to_vec()));
            }
            if contents.torn_size > 0 {
                let (bytes, change) = (contents.torn_size, writer.number);
                tracing::warn!(log = %name, bytes, change, "the end of the log was cut short; it was never acknowledged");
            }
        }
        if !records.is_empty() {
            let name = log_name(Inner::new_file(&mut writer));
            let durable = writer.manifest.checkpoint;
            let records: Vec<(u64, &[u8])> =
                records.iter().map(|(number, change)| (*number, &**change)).collect();
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
        let view = self.view.read().clone();
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
        })
    }
}
