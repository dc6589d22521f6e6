//! One change after the other: worked out, logged, synced, seen, acknowledged.
//!
//! Whoever comes first commits for all that wait, so that a hundred clients share one sync.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crossbeam::channel::Sender;
use hashbrown::HashSet;
use parking_lot::{Mutex, MutexGuard};
use roaring::RoaringBitmap;

use super::documents::Document;
use super::effect::{Base, Deletion, Effect};
use super::health::Watch;
use super::turn::read_only;
use super::view::Chunk;
use super::{Inner, Receipt, Signal, Writer, io_problem};
use crate::api::{Problem, ProblemClass};
use crate::limits::{DISK_RESERVE_PART, DOCUMENT_COUNT_MAX, HEAD_SIZE_MAX, MEMORY_WAIT_TIME_MAX};
use crate::model::{DocumentKind, Entity, EventBatch, IdentityMerge, ProfileWrite};
use crate::segment::{Form, RowKind};
use crate::wal::{Change, DocumentContent};

/// What is asked for.
#[derive(Debug)]
pub(super) enum Request {
    Events(EventBatch),
    /// Events that go into no log.
    Load(EventBatch),
    Profiles(Entity, Vec<ProfileWrite>),
    Merges(Vec<IdentityMerge>),
    Deletion(String),
    Document(DocumentKind, String, NewDocument),
}

impl Request {
    /// Whether it makes the store larger: what takes something away goes on where the disk is nearly full.
    fn adds(&self) -> bool {
        match self {
            Request::Events(_) | Request::Load(_) | Request::Profiles(..) | Request::Merges(_) => true,
            Request::Deletion(_) => false,
            Request::Document(_, _, new) => !matches!(new, NewDocument::Removed),
        }
    }
}

/// What is to become of a document.
#[derive(Debug)]
pub(super) enum NewDocument {
    Removed,
    Text(String),
    /// Users by ordinal, as of some snapshot.
    Members(RoaringBitmap),
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    pub receipt: Receipt,
    pub found: bool,
}

/// A request in the queue, and where its outcome is put.
#[derive(Debug)]
pub(super) struct Waiting {
    request: Request,
    ticket: Arc<Ticket>,
}

#[derive(Debug, Default)]
struct Ticket(Mutex<Option<Result<Outcome, Problem>>>);

impl Ticket {
    fn put(&self, outcome: Result<Outcome, Problem>) {
        *self.0.lock() = Some(outcome);
    }
}

/// A change that is logged but not synced yet.
struct Pending {
    effect: Effect,
    number: u64,
    outcome: Outcome,
    ticket: Arc<Ticket>,
}

/// Tells a background thread, unless it has been told already.
fn tell(thread: &Sender<Signal>) {
    if thread.is_empty() {
        // A closing store needs no signal.
        let _ = thread.send(Signal::Work);
    }
}

impl Inner {
    /// Makes a change durable and seen, together with all others that wait.
    pub(super) fn submit(&self, request: Request) -> Result<Outcome, Problem> {
        self.check_writable()?;
        self.wait_for_memory()?;
        let ticket = Arc::new(Ticket::default());
        self.queue.lock().push(Waiting { request, ticket: Arc::clone(&ticket) });
        {
            let mut writer = self.writer.lock();
            // Whoever had the lock before may have committed this request with its own.
            if let Some(outcome) = ticket.0.lock().take() {
                return outcome;
            }
            let waiting = std::mem::take(&mut *self.queue.lock());
            self.commit_all(&mut writer, waiting);
        }
        self.tell_if_full();
        ticket.0.lock().take().expect("the commit answered every request that waited")
    }

    fn tell_if_full(&self) {
        if self.head_size.load(Ordering::Relaxed) > HEAD_SIZE_MAX {
            self.background.as_ref().inspect(|background| tell(&background.sealing));
        }
    }

    /// Tells the thread that joins segments, if there is one, that there may be some.
    pub(super) fn tell_joining(&self) {
        self.background.as_ref().inspect(|background| tell(&background.joining));
    }

    /// Holds writers back while memory is twice as full as it should get, and refuses them when that does not end.
    fn wait_for_memory(&self) -> Result<(), Problem> {
        let is_over = |times: u64| {
            let size = self.head_size.load(Ordering::Relaxed) + self.frozen_size.load(Ordering::Relaxed);
            size > times * HEAD_SIZE_MAX
        };
        if self.background.is_none() {
            return if is_over(1) { self.seal() } else { Ok(()) };
        }
        let deadline = Instant::now() + MEMORY_WAIT_TIME_MAX;
        let mut sealed = self.sealed.0.lock();
        while is_over(2) {
            self.tell_if_full();
            if self.sealed.1.wait_until(&mut sealed, deadline).timed_out() {
                let detail =
                    "events arrive faster than they can be sealed; nothing of this request was stored";
                return Err(
                    Problem::new(ProblemClass::Busy, detail).hint("try again; if this stays, see the log")
                );
            }
        }
        Ok(())
    }

    /// Fails if less of the disk is free than writes leave.
    pub(super) fn check_disk(&self) -> Result<(), Problem> {
        // Where nobody can say how full it is, it says so itself when it is.
        let Ok(space) = self.directory.space() else { return Ok(()) };
        let reserve = self.disk_reserve.min(space.size / DISK_RESERVE_PART);
        if space.free >= reserve {
            return Ok(());
        }
        let [free, reserve] = [space.free, reserve].map(|size| size >> 10);
        let detail =
            format!("the disk has {free} KiB left, fewer than the {reserve} KiB that writes leave free");
        Err(Problem::new(ProblemClass::ReadOnly, detail)
            .hint(
            "nothing of this request was stored; make room on the disk: deletion, expiry, compaction and queries go on",
        ))
    }

    /// Fails if a file of so many bytes would leave less of the disk than `reserve`, or a twentieth of it: before it is
    /// begun, since for as long as the disk is full nothing else can be written either.
    pub(super) fn check_room(&self, size: u64, reserve: u64) -> Result<(), Problem> {
        let Ok(space) = self.directory.space() else { return Ok(()) };
        let reserve = reserve.min(space.size / DISK_RESERVE_PART);
        if space.free >= size.saturating_add(reserve) {
            return Ok(());
        }
        let [free, size] = [space.free, size].map(|size| size >> 10);
        let detail = format!("the disk has {free} KiB left, and the joined segment takes {size} KiB");
        Err(Problem::new(ProblemClass::ReadOnly, detail)
            .hint("make room on the disk; what is stored is as it was"))
    }

    fn commit_all(&self, writer: &mut Writer, waiting: Vec<Waiting>) {
        // Whatever it says, the reason for which writes are refused is told to each below.
        let _ = self.resume(writer);
        let mut pending: Vec<Pending> = Vec::new();
        // Marks of events that are pending: the next request of the same group must know them.
        let mut marks = HashSet::new();
        let disk_is_full = self.check_disk().err();
        for Waiting { request, ticket } in waiting {
            if let Some(problem) = disk_is_full.as_ref().filter(|_| request.adds()) {
                ticket.put(Err(problem.clone()));
                continue;
            }
            if let Some(reason) = &writer.failed {
                ticket.put(Err(read_only(reason)));
                continue;
            }
            let watch = Watch::begin();
            let prepared = match request {
                Request::Load(batch) => {
                    self.commit_pending(writer, &mut pending);
                    marks.clear();
                    ticket.put(self.load(writer, batch));
                    continue;
                }
                _ if writer.is_loading() => {
                    let problem = Problem::new(ProblemClass::Conflict, "a load into the store has not ended");
                    ticket.put(Err(problem.hint("seal what was loaded first")));
                    continue;
                }
                Request::Events(batch) => self.prepare_events(writer, batch, &mut marks),
                other => {
                    // It is worked out from the state that those before it made.
                    self.commit_pending(writer, &mut pending);
                    marks.clear();
                    if let Some(reason) = &writer.failed {
                        ticket.put(Err(read_only(reason)));
                        continue;
                    }
                    self.prepare(writer, other)
                }
            };
            match self.checked(watch, prepared) {
                Err(problem) => ticket.put(Err(problem)),
                Ok((change, effect, outcome)) => {
                    // Requests without a change carry the number of the change that they wait for.
                    let mut number = pending.last().map_or(writer.number, |before| before.number);
                    if let Some(change) = &change {
                        number += 1;
                        if let Err(problem) = self.log(writer, number, change) {
                            // There is no log, so no change of this group is in one: none is there to be repeated.
                            marks.clear();
                            ticket.put(Err(problem));
                            continue;
                        }
                    }
                    let alone = !matches!(change, None | Some(Change::Events { .. }));
                    pending.push(Pending { effect, number, outcome, ticket });
                    if alone {
                        self.commit_pending(writer, &mut pending);
                        marks.clear();
                    }
                }
            }
        }
        self.commit_pending(writer, &mut pending);
    }

    fn base<'a>(&'a self, writer: &'a Writer, view: &'a super::View) -> Base<'a> {
        Base {
            view,
            users: &self.users,
            accounts: &self.accounts,
            marks: [&writer.marks, &writer.frozen_marks],
            expired_before: self.expired_before(),
        }
    }

    /// Works out a batch of events. Without new events there is no change, but the answer still waits for the group:
    /// what they duplicate may be pending.
    fn prepare_events(
        &self,
        writer: &mut Writer,
        batch: EventBatch,
        marks: &mut HashSet<u128>,
    ) -> Result<(Option<Change>, Effect, Outcome), Problem> {
        let arrival = writer.next_arrival;
        writer.names.admit_batch(&batch).map_err(|refusal| {
            let path = refusal.problem.path.clone().unwrap_or_default();
            refusal.problem.at(format!("/{}{path}", refusal.row))
        })?;
        let view = self.view.read().without_tail();
        let new = self.base(writer, &view).new_events(&batch, arrival, marks)?;
        let receipt =
            Receipt { accepted: new.rows.len() as u64, duplicates: new.duplicates, expired: new.expired };
        let outcome = Outcome { receipt, found: true };
        if new.rows.is_empty() {
            return Ok((None, Effect::default(), outcome));
        }
        marks.extend(new.marks);
        writer.next_arrival += new.rows.len() as u64;
        let batch = Arc::new(new.batch.unwrap_or(batch));
        let chunk = Chunk { kind: RowKind::Events, batch: Arc::clone(&batch), rows: new.rows };
        let effect = Effect { chunks: vec![chunk], ..Effect::default() };
        Ok((Some(Change::Events { arrival, batch }), effect, outcome))
    }

    /// Takes a batch of events without a log.
    fn load(&self, writer: &mut Writer, batch: EventBatch) -> Result<Outcome, Problem> {
        if let Some(reason) = &writer.failed {
            return Err(read_only(reason));
        }
        let watch = Watch::begin();
        let prepared = self.prepare_events(writer, batch, &mut HashSet::new());
        let (change, effect, outcome) = self.checked(watch, prepared)?;
        if change.is_some() {
            writer.number += 1;
            writer.loaded = writer.number;
            self.install(writer, effect);
            self.view.write().number = writer.number;
        }
        Ok(outcome)
    }

    /// Works out any other change. All changes before it are in the view.
    fn prepare(
        &self,
        writer: &mut Writer,
        request: Request,
    ) -> Result<(Option<Change>, Effect, Outcome), Problem> {
        if let Request::Profiles(_, writes) = &request {
            writer.names.admit_profiles(writes)?;
        }
        let _sorting = self.sorting.lock();
        self.sort_tail(Form::Quick);
        let view = self.view.read().without_tail();
        let base = self.base(writer, &view);
        let arrival = writer.next_arrival;
        let done = Outcome { found: true, ..Outcome::default() };
        Ok(match request {
            Request::Events(_) | Request::Load(_) => unreachable!("events are prepared apart"),
            Request::Profiles(entity, writes) => {
                let effect = base.profile_writes(entity, &writes, arrival)?;
                writer.next_arrival += effect.chunks.iter().map(|chunk| chunk.rows.len() as u64).sum::<u64>();
                (Some(Change::Profiles { arrival, entity, writes }), effect, done)
            }
            Request::Merges(merges) => {
                let effect = base.merges(&merges)?;
                if effect.merges.is_empty() {
                    (None, effect, done)
                } else {
                    (Some(Change::Merges { merges }), effect, done)
                }
            }
            Request::Deletion(user) => match base.deletion(&user) {
                Some(effect) => (Some(Change::Deletion { user }), effect, done),
                None => (None, Effect::default(), Outcome::default()),
            },
            Request::Document(kind, name, new) => {
                let found = view.documents.get(kind, &name).is_some();
                let outcome = Outcome { found, ..Outcome::default() };
                let content = match new {
                    NewDocument::Removed if !found => return Ok((None, Effect::default(), outcome)),
                    NewDocument::Removed => DocumentContent::Removed,
                    _ if !found && view.documents.of_kind(kind).count() == DOCUMENT_COUNT_MAX => {
                        let word = kind.name();
                        let detail =
                            format!("{DOCUMENT_COUNT_MAX} documents of the kind {word} are stored already");
                        let problem = Problem::new(ProblemClass::Conflict, detail);
                        return Err(problem.hint("delete one that is not used any more"));
                    }
                    NewDocument::Text(text) => DocumentContent::Text(text),
                    // Whoever was deleted since has no id; who was merged is found by any of the ids.
                    NewDocument::Members(users) => DocumentContent::Members(
                        users.iter().filter_map(|user| self.users.id(user)).collect(),
                    ),
                };
                let effect = base.document(kind, name.clone(), content.clone());
                (Some(Change::Document { kind, name, content }), effect, outcome)
            }
        })
    }

    fn log(&self, writer: &mut Writer, number: u64, change: &Change) -> Result<(), Problem> {
        if writer.log.is_none() {
            // Nothing of the change is stored if that fails: a log that could not be made holds no record.
            self.begin_log(writer, &[])?;
        }
        writer.log.as_mut().expect("it was opened above").push(number, change);
        Ok(())
    }

    /// Syncs what was logged, shows it, and answers.
    fn commit_pending(&self, writer: &mut Writer, pending: &mut Vec<Pending>) {
        let pending = std::mem::take(pending);
        let Some(last) = pending.iter().map(|pending| pending.number).max() else { return };
        if last > writer.number {
            let log = writer.log.as_mut().expect("there are changes in it");
            let begun = Instant::now();
            let committed = log.commit(last);
            self.telemetry.log_sync.observe(begun.elapsed());
            if let Err(error) = committed {
                let problem = io_problem(&format!("write the log {}", log.name()), &error).hint(
                    "whether this request was stored is unknown; sending it again with the same ids is safe",
                );
                writer.failed = Some(problem.detail.clone());
                for pending in pending {
                    pending.ticket.put(Err(problem.clone()));
                }
                return;
            }
        }
        for Pending { effect, number, outcome, ticket } in pending {
            self.install(writer, effect);
            writer.number = number.max(writer.number);
            self.view.write().number = writer.number;
            ticket.put(Ok(outcome));
        }
    }

    /// Shows what a change did.
    pub(super) fn install(&self, writer: &mut Writer, effect: Effect) {
        // Burying needs an empty tail, and runs must not be sorted meanwhile from rows before and after.
        let sorting: Option<MutexGuard<'_, ()>> =
            (!effect.buried.is_empty() || !effect.merges.is_empty()).then(|| self.sorting.lock());
        if sorting.is_some() {
            self.sort_tail(Form::Quick);
        }
        let mut size = 0;
        for chunk in &effect.chunks {
            writer.marks.extend(chunk.marks());
        }
        let mut view = self.view.write();
        if !effect.buried.is_empty() {
            view.bury(&effect.buried);
        }
        if !effect.merges.is_empty() || effect.deleted.is_some() {
            let identities = Arc::make_mut(&mut view.identities);
            for merge in &effect.merges {
                identities.merge(merge.from, merge.into, merge.root);
            }
            if let Some(deletion) = &effect.deleted {
                identities.delete(deletion.user);
            }
        }
        if let Some(Deletion { user, ids, marks }) = effect.deleted {
            let names: Vec<String> = ids.iter().filter_map(|id| self.users.id(*id)).collect();
            Arc::make_mut(&mut view.tombstones).add(user, names.iter().map(String::as_str), marks);
            self.users.delete(ids);
        }
        if let Some((kind, name, document)) = effect.document {
            size += document.as_ref().map_or(0, Document::size);
            Arc::make_mut(&mut view.documents).set(kind, name, document);
        }
        for chunk in effect.chunks {
            size += chunk.size();
            view.tail.push(Arc::new(chunk));
        }
        drop(view);
        self.head_size.fetch_add(size, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, StoreOptions};

    fn batch(ids: &[&str]) -> EventBatch {
        let mut batch = EventBatch::new();
        for id in ids {
            batch.push_event("signup", "ada", 1_700_000_000_000, Some(id), None).unwrap();
        }
        batch
    }

    fn waiting(ids: &[&str]) -> Waiting {
        Waiting { request: Request::Events(batch(ids)), ticket: Arc::default() }
    }

    /// A repeated batch between two new ones that shared its sync made a gap in the numbers of the log, which then
    /// could not be replayed.
    #[test]
    fn changes_of_one_group_are_numbered_without_gaps() {
        let directory = tempfile::tempdir().unwrap();
        let open = || {
            Store::open_with(directory.path(), StoreOptions { background: false, ..StoreOptions::default() })
                .unwrap()
        };
        let store = open();
        let group =
            vec![waiting(&["a"]), waiting(&["a"]), waiting(&["b", "a"]), waiting(&["b"]), waiting(&["c"])];
        let tickets: Vec<Arc<Ticket>> = group.iter().map(|waiting| Arc::clone(&waiting.ticket)).collect();
        store.inner.commit_all(&mut store.inner.writer.lock(), group);
        let receipt = |ticket: &Arc<Ticket>| ticket.0.lock().take().unwrap().unwrap().receipt;
        let told: Vec<(u64, u64)> =
            tickets.iter().map(receipt).map(|receipt| (receipt.accepted, receipt.duplicates)).collect();
        assert_eq!(told, [(1, 0), (0, 1), (1, 1), (0, 1), (1, 0)]);
        drop(store);
        let store = open();
        assert_eq!(store.inner.writer.lock().number, 3);
        assert_eq!(store.ingest(batch(&["a", "b", "c", "d"])).unwrap().accepted, 1);
    }
}
