//! A directory on a simulated disk: it counts and logs every operation, fails where it is told to, and can be
//! looked at as a power cut would leave it.
//!
//! What a cut may leave is in `disk_state.rs`. Cloning gives another handle to the same disk.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use flywheeldb::io::{AppendFile, Directory, Space};
use parking_lot::Mutex;
use rustix::io::Errno;

use super::disk_state::{Change, DiskState, FileIndex, Outcome};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    Lock,
    Create,
    Append,
    Sync,
    Read,
    Map,
    Rename,
    Remove,
    SyncDirectory,
    List,
}

/// An entry of the operation log.
#[derive(Clone, Debug)]
pub struct Operation {
    pub kind: OperationKind,
    /// The file's name; of a file being written, the one it was created under.
    pub name: String,
    /// What the disk made of it. A failed append may have written a part.
    pub change: Option<Change>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// The operation with that number fails, later ones work.
    Once,
    /// It and every later one that the same cause would stop fail, until [`SimDisk::heal`].
    Sticky,
}

#[derive(Clone, Debug)]
struct Fault {
    operation: usize,
    errno: Errno,
    persistence: Persistence,
    /// Known once the fault struck.
    kind: Option<OperationKind>,
}

impl Fault {
    fn strikes(&mut self, operation: usize, kind: OperationKind) -> bool {
        if operation == self.operation {
            self.kind = Some(kind);
            return true;
        }
        let writes = [OperationKind::Append, OperationKind::Create];
        let has_same_cause = |struck: OperationKind| {
            kind == struck
                || (self.errno == Errno::NOSPC && writes.contains(&kind) && writes.contains(&struck))
        };
        self.persistence == Persistence::Sticky && self.kind.is_some_and(has_same_cause)
    }
}

#[derive(Clone)]
pub struct SimDisk {
    core: Arc<Mutex<Core>>,
}

#[derive(Default)]
struct Core {
    initial: DiskState,
    state: DiskState,
    log: Vec<Operation>,
    faults: Vec<Fault>,
    crash_at: Option<usize>,
    is_locked: bool,
    mapped: BTreeSet<FileIndex>,
}

impl SimDisk {
    pub fn new() -> SimDisk {
        SimDisk::holding(DiskState::default())
    }

    /// A disk with these files, all safe.
    pub fn of_files(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> SimDisk {
        SimDisk::holding(DiskState::of_files(files))
    }

    fn holding(state: DiskState) -> SimDisk {
        let core = Core { initial: state.clone(), state, ..Core::default() };
        SimDisk { core: Arc::new(Mutex::new(core)) }
    }

    /// The operations so far, failed ones included, in order.
    pub fn log(&self) -> Vec<Operation> {
        self.core.lock().log.clone()
    }

    pub fn operation_count(&self) -> usize {
        self.core.lock().log.len()
    }

    /// Lets the operation with this number (from 0) and all later ones fail and change nothing.
    pub fn crash_at(&self, operation: usize) {
        self.core.lock().crash_at = Some(operation);
    }

    /// Lets the operation with this number (from 0) fail. A failing append writes the first half of its bytes.
    pub fn fail(&self, operation: usize, errno: Errno, persistence: Persistence) {
        self.core.lock().faults.push(Fault { operation, errno, persistence, kind: None });
    }

    /// Takes every fault away.
    pub fn heal(&self) {
        self.core.lock().faults.clear();
    }

    /// Whether a fault struck an operation that reads, and was not taken away.
    pub fn fails_reads(&self) -> bool {
        let reads = [OperationKind::Read, OperationKind::Map, OperationKind::List];
        self.core.lock().faults.iter().any(|fault| fault.kind.is_some_and(|kind| reads.contains(&kind)))
    }

    /// The disk before each operation in turn, and after the last: one more than there are operations.
    pub fn history(&self) -> Vec<DiskState> {
        let core = self.core.lock();
        let mut state = core.initial.clone();
        let mut history = vec![state.clone()];
        for operation in &core.log {
            if let Some(change) = &operation.change {
                state.apply(change);
            }
            history.push(state.clone());
        }
        history
    }

    /// The disks that a power cut at this moment may leave, with what was kept, as [`DiskState::outcomes`].
    pub fn states(&self, limit: usize, seed: u64) -> Vec<(Outcome, SimDisk)> {
        let state = self.core.lock().state.clone();
        let outcomes = state.outcomes(limit, seed).into_iter();
        outcomes.map(|outcome| (outcome.clone(), SimDisk::after_power_cut(&state, &outcome))).collect()
    }

    pub fn after_power_cut(state: &DiskState, outcome: &Outcome) -> SimDisk {
        SimDisk::holding(state.after(outcome))
    }

    /// The disk as the next process finds it when only the process died: all is readable, and what was not
    /// synced is still not safe.
    pub fn after_kill(state: &DiskState) -> SimDisk {
        SimDisk::holding(state.clone())
    }

    /// The disk as it is now, for [`SimDisk::after_kill`] and [`DiskState::outcomes`].
    pub fn state(&self) -> DiskState {
        self.core.lock().state.clone()
    }

    /// Logs an operation and carries it out, or fails as told. `make` looks at the disk and returns what
    /// changes on it and what the caller gets.
    fn operate<T>(
        &self,
        kind: OperationKind,
        name: &str,
        make: impl FnOnce(&Core) -> io::Result<(Option<Change>, T)>,
    ) -> io::Result<T> {
        let mut core = self.core.lock();
        let number = core.log.len();
        let is_gone = core.crash_at.is_some_and(|crash_at| number >= crash_at);
        let strike =
            core.faults.iter_mut().find_map(|fault| fault.strikes(number, kind).then_some(fault.errno));
        let (change, result) = if is_gone {
            (None, Err(Errno::IO.into()))
        } else {
            match (make(&core), strike) {
                (Ok((change, _)), Some(errno)) => (change.and_then(what_a_failure_leaves), Err(errno.into())),
                (Ok((change, value)), None) => (change, Ok(value)),
                (Err(error), _) => (None, Err(error)),
            }
        };
        if let Some(change) = &change {
            core.state.apply(change);
        }
        core.log.push(Operation { kind, name: name.to_owned(), change });
        result
    }
}

/// The part of a change that is made although the operation fails.
fn what_a_failure_leaves(change: Change) -> Option<Change> {
    match change {
        Change::Append { file, mut bytes } => {
            bytes.truncate(bytes.len() / 2);
            Some(Change::Append { file, bytes })
        }
        Change::Sync { file } => Some(Change::SyncFailed { file }),
        _ => None,
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").field("files", &self.core.lock().state.list()).finish_non_exhaustive()
    }
}

impl Directory for SimDisk {
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        self.operate(OperationKind::Lock, "", |core| {
            if core.is_locked { Err(io::ErrorKind::WouldBlock.into()) } else { Ok((None, ())) }
        })?;
        self.core.lock().is_locked = true;
        Ok(Box::new(LockGuard { core: self.core.clone() }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        assert!(!name.contains('/'), "names, not paths: {name}");
        let file = self.operate(OperationKind::Create, name, |core| match core.state.find(name) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => Ok((Some(Change::Create { name: name.to_owned() }), core.state.file_count())),
        })?;
        Ok(Box::new(SimFile { disk: self.clone(), name: name.to_owned(), file }))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.operate(OperationKind::Read, name, |core| {
            Ok((None, core.state.bytes(core.state.find(name)?).to_vec()))
        })
    }

    fn map(&self, name: &str) -> io::Result<Bytes> {
        let (file, bytes) = self.operate(OperationKind::Map, name, |core| {
            let file = core.state.find(name)?;
            Ok((None, (file, Bytes::copy_from_slice(core.state.bytes(file)))))
        })?;
        self.core.lock().mapped.insert(file);
        Ok(bytes)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.operate(OperationKind::Rename, from, |core| {
            core.state.find(from)?;
            Ok((Some(Change::Rename { from: from.to_owned(), to: to.to_owned() }), ()))
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.operate(OperationKind::Remove, name, |core| {
            core.state.find(name)?;
            Ok((Some(Change::Remove { name: name.to_owned() }), ()))
        })
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.operate(OperationKind::SyncDirectory, "", |_| Ok((Some(Change::SyncDirectory), ())))
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.operate(OperationKind::List, "", |core| Ok((None, core.state.list())))
    }

    /// Without bounds: a full disk is one whose operations fail.
    fn space(&self) -> io::Result<Space> {
        Ok(Space { size: u64::MAX, free: u64::MAX })
    }
}

struct LockGuard {
    core: Arc<Mutex<Core>>,
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.core.lock().is_locked = false;
    }
}

struct SimFile {
    disk: SimDisk,
    name: String,
    file: FileIndex,
}

impl AppendFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = self.file;
        self.disk.operate(OperationKind::Append, &self.name, |core| {
            assert!(!core.mapped.contains(&file), "{} is mapped and must not change", self.name);
            Ok((Some(Change::Append { file, bytes: bytes.to_vec() }), ()))
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        let file = self.file;
        self.disk.operate(OperationKind::Sync, &self.name, |_| Ok((Some(Change::Sync { file }), ())))
    }
}
