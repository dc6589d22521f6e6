//! Which segments are live, and what is new.
//!
//! A store is a manifest that names immutable files, a log of the changes since, and those changes in memory. A
//! change is worked out, logged, synced, and only then seen and acknowledged (`acknowledged-is-durable`). Changes that
//! wait at the same time share one sync.
//!
//! Locks, in the order in which they may be taken: `joining` (one compaction at a time), `sealing` (one seal at a time,
//! beside which segments are joined), `writer` (the log and what only changes touch), `sorting` (who may replace runs
//! in memory), `view` (what readers see; never held while anything is read, written or sorted). No lock is held while a
//! query runs.

mod admission;
mod backup;
mod bounds;
mod check;
mod clock;
mod commit;
mod compact;
mod dictionary;
mod documents;
mod effect;
mod expire;
mod health;
mod identity;
#[cfg(test)]
mod join_laws;
mod manifest;
mod recent_ids;
mod recover;
mod rows;
mod seal;
mod sizes;
mod snapshot;
mod status;
mod tombstones;
mod turn;
mod view;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender};
use hashbrown::{HashMap, HashSet};
use parking_lot::{Condvar, Mutex, RwLock};
use roaring::RoaringBitmap;

use crate::api::{Problem, ProblemClass};
use crate::io::{Directory, Disk};
use crate::limits::{DISK_RESERVE_SIZE, EXPIRY_PAUSE, UNJOINED_SEGMENT_COUNT_MAX};
use crate::memory::return_memory;
use crate::model::{DocumentKind, Entity, EventBatch, IdentityMerge, ProfileWrite, TimeMs};
use crate::segment::Form;
use crate::threads::step_back;
use crate::wal::LogWriter;

use bounds::Bounds;
use clock::BelievedClock;
use commit::{NewDocument, Outcome, OverBound, Request, Waiting};
pub(crate) use dictionary::Dictionary;
use effect::EventMark;
pub(crate) use manifest::Manifest;
use view::View;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use backup::BackupList;
pub use backup::{BackupReport, backup, restore};
pub use bounds::{Bound, Refused, StoreBounds};
pub use check::{CheckReport, Finding, check};
pub use clock::{Clock, SystemClock};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use dictionary::IdFile;
pub use documents::{Document, Documents};
pub use health::{Health, MissingFile};
pub use rows::{FullRow, UserRows, profile_cells, rows_of};
pub use sizes::{PartSize, StoreSizes};
pub use snapshot::{Identity, Snapshot};
pub use status::{StoreSize, StoreTelemetry};
pub use view::LiveSegment;

/// How a store works.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Whether sealing and compaction happen on a thread of their own. If not, they happen only when called, and when
    /// memory is full.
    pub background: bool,
    /// Whether to open without the segments that are damaged, and to take no writes then.
    pub degraded: bool,
    /// The age from which events are expired; none is if `None`.
    pub expire_after: Option<Duration>,
    /// Whether to believe the clock although the store was closed for long by it.
    pub trust_clock: bool,
    /// Bytes of the disk that writes leave free, at most a twentieth of it.
    pub disk_reserve: u64,
    /// Whether segments are written in the fewest bytes, at the price of the time that queries take to read them.
    pub small_segments: bool,
    /// Whether somebody waits until segments are joined, as an import does: that is then done no later than the rest.
    /// If not, it lets all others go first.
    pub waits_for_joins: bool,
    /// By which events expire.
    pub clock: Arc<dyn Clock>,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            background: true,
            degraded: false,
            expire_after: None,
            trust_clock: false,
            disk_reserve: DISK_RESERVE_SIZE,
            small_segments: false,
            waits_for_joins: false,
            clock: Arc::new(SystemClock),
        }
    }
}

/// How long nothing is to do before a background thread gives back what it freed. While there is, the next seal takes as
/// much again, and memory that comes from the system has to be cleared first: a fifth of the processor time of a load.
const QUIET_TIME: Duration = Duration::from_secs(2);

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Receipt {
    pub accepted: u64,
    /// Events that were there already, or twice in the batch.
    pub duplicates: u64,
    /// Events older than the store keeps them, which were not stored.
    pub expired: u64,
}

/// An open store: the one owner of its directory. To be shared between threads by `Arc`.
#[derive(Debug)]
pub struct Store {
    inner: Arc<Inner>,
    background: Vec<JoinHandle<()>>,
}

/// What a background thread is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Work,
    Stop,
}

/// The ways to the background threads.
#[derive(Clone, Debug)]
struct Background {
    /// Memory is filling up.
    sealing: Sender<Signal>,
    /// There may be segments to join, or something expired.
    joining: Sender<Signal>,
}

struct Inner {
    directory: Arc<dyn Directory>,
    users: Dictionary,
    accounts: Dictionary,
    queue: Mutex<Vec<Waiting>>,
    /// Held while segments are joined, dropped or written anew.
    joining: Mutex<()>,
    /// Held while memory is sealed, or id files are written anew.
    sealing: Mutex<()>,
    writer: Mutex<Writer>,
    sorting: Mutex<()>,
    view: RwLock<View>,
    /// Bytes of changes in memory that are not being sealed.
    head_size: AtomicU64,
    /// Bytes of changes in memory that are.
    frozen_size: AtomicU64,
    /// Told when a seal ended.
    sealed: (Mutex<()>, Condvar),
    /// Whether compaction should stop half way, because the store is closing.
    stopping: AtomicBool,
    /// Whether parts of a history are being loaded, of which more may come.
    is_loading: AtomicBool,
    telemetry: StoreTelemetry,
    background: Option<Background>,
    /// Segments that the manifest names and that are left out.
    missing: Arc<[MissingFile]>,
    clock: BelievedClock,
    disk_reserve: u64,
    /// In which segments on the disk are written.
    form: Form,
    /// In milliseconds.
    expire_after: Option<TimeMs>,
    /// Released last, when everything that could write is gone.
    _lock: Box<dyn Send + Sync>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// What only changes touch.
struct Writer {
    /// The last change.
    number: u64,
    next_arrival: u64,
    next_file: u64,
    /// Opened with the first change.
    log: Option<LogWriter>,
    /// Log files whose changes are in memory, the open one apart.
    older_logs: Vec<String>,
    /// What is on disk: the state of the last checkpoint.
    manifest: Manifest,
    /// Marks of the events in memory with an id, those being sealed apart.
    marks: HashSet<EventMark>,
    frozen_marks: HashSet<EventMark>,
    /// While a seal is under way, the dead that its checkpoint will name, of each segment on disk.
    frozen_dead: HashMap<u64, Arc<RoaringBitmap>>,
    /// Files that are being written, for a manifest to come.
    unnamed: HashSet<String>,
    bounds: Bounds,
    /// Why the store takes no more writes.
    failed: Option<String>,
    /// The last change of a load: it is in no log.
    loaded: u64,
}

impl Writer {
    /// Whether something in memory is in no log.
    fn is_loading(&self) -> bool {
        self.loaded > self.manifest.checkpoint
    }
}

impl Store {
    /// Opens the store at `path`, and makes an empty one if there is none.
    pub fn open(path: &Path) -> Result<Store, Problem> {
        Store::open_with(path, StoreOptions::default())
    }

    /// Opens the store at `path` with options.
    pub fn open_with(path: &Path, options: StoreOptions) -> Result<Store, Problem> {
        let disk =
            Disk::open(path).map_err(|error| io_problem(&format!("open {}", path.display()), &error))?;
        let named = |problem: Problem| Problem {
            detail: format!("{}: {}", path.display(), problem.detail),
            ..problem
        };
        Store::open_on(Arc::new(disk), options).map_err(named)
    }

    /// Opens the store in `directory`, and makes an empty one if there is none.
    pub fn open_on(directory: Arc<dyn Directory>, options: StoreOptions) -> Result<Store, Problem> {
        if !options.background {
            return Ok(Store {
                inner: Arc::new(recover::open(directory, &options, None)?),
                background: Vec::new(),
            });
        }
        let ((sealing, to_seal), (joining, to_join)) = (channel::unbounded(), channel::unbounded());
        // What an earlier process left unjoined is joined even if nobody writes.
        let _ = joining.send(Signal::Work);
        let background = Background { sealing, joining };
        let mut store = Store {
            inner: Arc::new(recover::open(directory, &options, Some(background))?),
            background: Vec::new(),
        };
        store.work("sealing", move |inner| inner.seal_when_told(&to_seal))?;
        store.work("joining", move |inner| {
            if !options.waits_for_joins {
                step_back();
            }
            inner.join_when_told(&to_join);
        })?;
        Ok(store)
    }

    /// Starts a background thread.
    fn work(&mut self, name: &str, work: impl FnOnce(&Inner) + Send + 'static) -> Result<(), Problem> {
        let inner = Arc::clone(&self.inner);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&inner));
        self.background.push(thread.map_err(|error| io_problem("start a thread", &error))?);
        Ok(())
    }

    /// Stores the batch, all or nothing. Returns after it is durable; every later query sees it.
    pub fn ingest(&self, batch: EventBatch) -> Result<Receipt, Problem> {
        Ok(self.take(Request::Events(batch, OverBound::Refuse))?.0)
    }

    /// As [`Store::ingest`], but leaves out events that bring more than the store has [bounds](Store::bound) for, and
    /// tells them.
    pub fn ingest_what_fits(&self, batch: EventBatch) -> Result<(Receipt, Vec<Refused>), Problem> {
        self.take(Request::Events(batch, OverBound::LeaveOut))
    }

    /// Takes a part of a history that can be read again, such as a file that is imported: as [`Store::ingest`] does, but
    /// without a log, so that nothing of it is durable before the next [`Store::seal`] succeeded. Until then all other
    /// changes are refused, because they could not be told to come after it.
    pub fn load(&self, batch: EventBatch) -> Result<Receipt, Problem> {
        Ok(self.take(Request::Load(batch))?.0)
    }

    fn take(&self, request: Request) -> Result<(Receipt, Vec<Refused>), Problem> {
        let Outcome { receipt, refused, .. } = self.inner.submit(request)?;
        self.inner.telemetry.events_accepted.add(receipt.accepted);
        self.inner.telemetry.events_duplicate.add(receipt.duplicates);
        Ok((receipt, refused))
    }

    /// Applies changes to profiles, all or nothing and durably.
    pub fn write_profiles(&self, entity: Entity, writes: Vec<ProfileWrite>) -> Result<(), Problem> {
        self.inner.submit(Request::Profiles(entity, writes, OverBound::Refuse)).map(|_| ())
    }

    /// As [`Store::write_profiles`], but leaves out writes for which the store has no room, and tells them.
    pub fn write_profiles_that_fit(
        &self,
        entity: Entity,
        writes: Vec<ProfileWrite>,
    ) -> Result<Vec<Refused>, Problem> {
        self.inner.submit(Request::Profiles(entity, writes, OverBound::LeaveOut)).map(|done| done.refused)
    }

    /// Bounds how much of what stays for good the store takes. Unless told, it has [`StoreBounds::default`]. What is
    /// there already stays, and goes on working. With a bound on values, all of them are read.
    pub fn bound(&self, bounds: StoreBounds) -> Result<(), Problem> {
        self.inner.bound(bounds)
    }

    /// Makes pairs of ids one user each, retroactively and durably.
    pub fn merge_identities(&self, merges: Vec<IdentityMerge>) -> Result<(), Problem> {
        self.inner.submit(Request::Merges(merges, OverBound::Refuse)).map(|_| ())
    }

    /// As [`Store::merge_identities`], but leaves out pairs with new ids for which there is no room, and tells them.
    pub fn merge_identities_that_fit(&self, merges: Vec<IdentityMerge>) -> Result<Vec<Refused>, Problem> {
        self.inner.submit(Request::Merges(merges, OverBound::LeaveOut)).map(|done| done.refused)
    }

    /// Deletes a user with all ids merged into it. Returns whether there was one.
    pub fn delete_user(&self, user: &str) -> Result<bool, Problem> {
        self.inner.submit(Request::Deletion(user.to_owned())).map(|outcome| outcome.found)
    }

    /// Stores a definition under a name, durably. Returns whether it took the place of another document.
    pub(crate) fn put_text(&self, kind: DocumentKind, name: &str, text: String) -> Result<bool, Problem> {
        self.change_document(kind, name, NewDocument::Text(text))
    }

    /// Stores a static cohort under a name, durably: users by their ordinals in a snapshot of this store. Returns
    /// whether it took the place of another document.
    pub(crate) fn put_members(&self, name: &str, users: RoaringBitmap) -> Result<bool, Problem> {
        self.change_document(DocumentKind::Cohort, name, NewDocument::Members(users))
    }

    /// Takes a document away, durably. Returns whether there was one.
    pub(crate) fn remove_document(&self, kind: DocumentKind, name: &str) -> Result<bool, Problem> {
        self.change_document(kind, name, NewDocument::Removed)
    }

    fn change_document(&self, kind: DocumentKind, name: &str, new: NewDocument) -> Result<bool, Problem> {
        self.inner.submit(Request::Document(kind, name.to_owned(), new)).map(|outcome| outcome.found)
    }

    /// Everything that was acknowledged before the call, and nothing half done, whatever happens after.
    pub fn snapshot(&self) -> Snapshot<'_> {
        self.inner.snapshot()
    }

    /// Moves everything in memory into segments on disk.
    ///
    /// Background work joins them with others where that is due.
    pub fn seal(&self) -> Result<(), Problem> {
        self.inner.end_load();
        self.inner.seal()?;
        self.inner.tell_joining();
        Ok(())
    }

    /// Merges segments until there is nothing left to merge, and drops the bytes of what was deleted.
    pub fn compact(&self) -> Result<(), Problem> {
        self.inner.compact_all()
    }

    /// Joins neighbours of similar size until there are none: what background work does after each seal.
    pub fn compact_where_due(&self) -> Result<(), Problem> {
        self.inner.compact_where_due()
    }

    /// Moves everything in memory into segments, so that the next open has nothing to replay, and stops background
    /// work. Dropping the store only stops background work: nothing that was acknowledged is lost by that.
    pub fn close(mut self) -> Result<(), Problem> {
        self.stop_background();
        if self.inner.missing.is_empty() { self.inner.seal() } else { Ok(()) }
    }

    fn stop_background(&mut self) {
        let Some(background) = &self.inner.background else { return };
        self.inner.stopping.store(true, Ordering::Relaxed);
        // A thread is gone already if it panicked; its panic was told when it happened.
        let _ = background.sealing.send(Signal::Stop);
        let _ = background.joining.send(Signal::Stop);
        for thread in self.background.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop_background();
    }
}

impl Inner {
    fn seal_when_told(&self, signals: &Receiver<Signal>) {
        loop {
            match next_signal(signals) {
                Ok(Signal::Work) => {}
                Err(RecvTimeoutError::Timeout) => continue,
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.view.read().disk.len() > UNJOINED_SEGMENT_COUNT_MAX {
                // Joining has fallen behind. Writers are held while it catches up, once memory is full.
                drop(self.joining.lock());
            }
            if let Err(problem) = self.seal() {
                tracing::error!(%problem, "sealing failed and will be tried again");
            }
            self.tell_joining();
            // With the lock, so that nobody who saw memory full misses this before waiting.
            let _waiting = self.sealed.0.lock();
            self.sealed.1.notify_all();
        }
    }

    fn join_when_told(&self, signals: &Receiver<Signal>) {
        loop {
            match next_signal(signals) {
                Ok(Signal::Work) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Err(problem) = self.compact_where_due() {
                tracing::error!(%problem, "joining segments failed and will be tried again");
            }
        }
    }

    /// Does what is only worth it while a history is loaded: keeps the ids of late at hand, and leaves segments apart
    /// until they are many.
    fn begin_load(&self) {
        if !self.is_loading.swap(true, Ordering::Relaxed) {
            self.users.keep_recent();
            self.accounts.keep_recent();
        }
    }

    fn end_load(&self) {
        if self.is_loading.swap(false, Ordering::Relaxed) {
            self.users.forget_recent();
            self.accounts.forget_recent();
        }
    }

    /// Takes a number for a file of the writer's own.
    fn new_file(writer: &mut Writer) -> u64 {
        writer.next_file += 1;
        writer.next_file - 1
    }

    /// Takes a number and a name for a file that a manifest to come will name: it is not removed meanwhile.
    fn new_unnamed_file(&self, name: fn(u64) -> String) -> (u64, String) {
        let mut writer = self.writer.lock();
        let file = Inner::new_file(&mut writer);
        let name = name(file);
        writer.unnamed.insert(name.clone());
        (file, name)
    }
}

/// Waits for what a background thread is told next, until it is time to look for what has expired.
fn next_signal(signals: &Receiver<Signal>) -> Result<Signal, RecvTimeoutError> {
    signals.recv_timeout(QUIET_TIME).or_else(|error| match error {
        RecvTimeoutError::Timeout => {
            return_memory();
            signals.recv_timeout(EXPIRY_PAUSE)
        }
        RecvTimeoutError::Disconnected => Err(error),
    })
}

/// A failure of the system, told with what was being done.
fn io_problem(doing: &str, error: &std::io::Error) -> Problem {
    Problem::new(ProblemClass::Io, format!("cannot {doing}: {error}"))
}
