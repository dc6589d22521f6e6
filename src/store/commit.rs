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

use super::admission::Admitted;
use super::bounds::{News, Refused};
use super::documents::Document;
use super::effect::{Base, Deletion, Effect, KeptEvents, NewIds};
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
    Events(EventBatch, OverBound),
    /// Events that go into no log.
    Load(EventBatch),
    Profiles(Entity, Vec<ProfileWrite>, OverBound),
    Merges(Vec<IdentityMerge>, OverBound),
    Deletion(String),
    Document(DocumentKind, String, NewDocument),
}

impl Request {
    /// Whether it makes the store larger: what takes something away goes on where the disk is nearly full.
    fn adds(&self) -> bool {
        match self {
            Request::Events(..) | Request::Load(_) | Request::Profiles(..) | Request::Merges(..) => true,
            Request::Deletion(_) => false,
            Request::Document(_, _, new) => !matches!(new, NewDocument::Removed),
        }
    }
}

/// What becomes of a request of which some parts are over a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OverBound {
    /// All of it is refused.
    Refuse,
    /// Those parts are left out, and told.
    LeaveOut,
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
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub receipt: Receipt,
    pub found: bool,
    /// What was left out of it, in order.
    pub refused: Vec<Refused>,
}

/// A request that is worked out. Without a change there is nothing to log.
struct Prepared {
    change: Option<Change>,
    effect: Effect,
    news: News,
    outcome: Outcome,
}

impl Prepared {
    /// A change that brings nothing that is bounded.
    fn new(change: Option<Change>, effect: Effect, outcome: Outcome) -> Prepared {
        Prepared { change, effect, news: News::default(), outcome }
    }
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
    news: News,
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
            if !matches!(request, Request::Load(_)) && !writer.is_loading() {
                self.end_load();
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
                Request::Events(batch, over) => self.prepare_events(writer, batch, over, &mut marks),
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
                Ok(Prepared { change, effect, news, outcome }) => {
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
                        self.add_ids(&effect.new_ids);
                        writer.bounds.learn(&news);
                    }
                    let alone = !matches!(change, None | Some(Change::Events { .. }));
                    pending.push(Pending { effect, news, number, outcome, ticket });
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
        over: OverBound,
        marks: &mut HashSet<u128>,
    ) -> Result<Prepared, Problem> {
        let arrival = writer.next_arrival;
        let view = self.view.read().without_tail();
        let base = self.base(writer, &view);
        let mut refused: Vec<Refused> = Vec::new();
        // Once some of the batch are refused: the others. What those do is worked out anew.
        let mut rest: Option<KeptEvents> = None;
        let (new, news) = loop {
            let offered = rest.as_ref().map_or(&batch, |rest| &rest.batch);
            let new = base.new_events(offered, arrival, marks)?;
            let stored = new.kept.as_ref().map_or(offered, |kept| &kept.batch);
            let known = self.known_ids();
            let admitted = writer.bounds.admit_events(stored, &new.rows, &new.new_ids, known, over);
            if admitted.refused.is_empty() {
                break (new, admitted.news);
            }
            let outer = [new.kept.as_ref(), rest.as_ref()];
            let place = |part| outer.into_iter().flatten().fold(part, |at, kept| kept.places[at] as usize);
            let found = admitted.refused.into_iter();
            self.refuse(&mut refused, found.map(|found| Refused { part: place(found.part), ..found }), over)?;
            let is_refused = |at: &usize| refused.binary_search_by_key(at, |refused| refused.part).is_ok();
            rest = Some(KeptEvents::of(&batch, (0..batch.len()).filter(|at| !is_refused(at))));
        };
        let receipt =
            Receipt { accepted: new.rows.len() as u64, duplicates: new.duplicates, expired: new.expired };
        let outcome = Outcome { receipt, found: true, refused };
        if new.rows.is_empty() {
            return Ok(Prepared::new(None, Effect::default(), outcome));
        }
        marks.extend(new.marks);
        writer.next_arrival += new.rows.len() as u64;
        let batch = Arc::new(new.kept.or(rest).map_or(batch, |kept| kept.batch));
        let chunk = Chunk { kind: RowKind::Events, batch: Arc::clone(&batch), rows: new.rows };
        let effect = Effect { chunks: vec![chunk], new_ids: new.new_ids, ..Effect::default() };
        Ok(Prepared { change: Some(Change::Events { arrival, batch }), effect, news, outcome })
    }

    /// Adds what was refused to what was before, in order; fails with the first if that refuses the whole request.
    fn refuse(
        &self,
        refused: &mut Vec<Refused>,
        found: impl Iterator<Item = Refused>,
        over: OverBound,
    ) -> Result<(), Problem> {
        let found = found.inspect(|found| self.telemetry.over_bound[found.bound as usize].add(1));
        refused.extend(found);
        refused.sort_by_key(|refused| refused.part);
        match over {
            OverBound::Refuse => Err(refused.swap_remove(0).of_request()),
            OverBound::LeaveOut => Ok(()),
        }
    }

    /// Works out a change of parts without those that are over a bound. `work_out` tells what some parts do, and which
    /// of them are refused. Returns the parts that are left.
    fn work_out_parts<T>(
        &self,
        parts: Vec<T>,
        over: OverBound,
        work_out: impl Fn(&[T]) -> Result<(Effect, Admitted), Problem>,
    ) -> Result<(Vec<T>, Effect, News, Vec<Refused>), Problem> {
        let (mut places, mut parts): (Vec<usize>, Vec<T>) = parts.into_iter().enumerate().unzip();
        let mut refused: Vec<Refused> = Vec::new();
        loop {
            let (effect, admitted) = work_out(&parts)?;
            if admitted.refused.is_empty() {
                return Ok((parts, effect, admitted.news, refused));
            }
            let found = admitted.refused.into_iter();
            let found = found.map(|found| Refused { part: places[found.part], ..found });
            self.refuse(&mut refused, found, over)?;
            let is_left = |(place, _): &(usize, T)| {
                refused.binary_search_by_key(place, |refused| refused.part).is_err()
            };
            (places, parts) = places.into_iter().zip(parts).filter(is_left).unzip();
        }
    }

    /// Makes ids known to the changes that come next.
    pub(super) fn add_ids(&self, new: &NewIds) {
        self.users.add(&new.users);
        self.accounts.add(&new.accounts);
    }

    /// Takes a batch of events without a log.
    fn load(&self, writer: &mut Writer, batch: EventBatch) -> Result<Outcome, Problem> {
        if let Some(reason) = &writer.failed {
            return Err(read_only(reason));
        }
        self.begin_load();
        let watch = Watch::begin();
        let prepared = self.prepare_events(writer, batch, OverBound::Refuse, &mut HashSet::new());
        let Prepared { change, effect, news, outcome } = self.checked(watch, prepared)?;
        if change.is_some() {
            self.add_ids(&effect.new_ids);
            writer.bounds.learn(&news);
            writer.number += 1;
            writer.loaded = writer.number;
            self.install(writer, effect);
            self.view.write().number = writer.number;
        }
        Ok(outcome)
    }

    /// Works out any other change. All changes before it are in the view.
    fn prepare(&self, writer: &mut Writer, request: Request) -> Result<Prepared, Problem> {
        let _sorting = self.sorting.lock();
        self.sort_tail(Form::Quick);
        let view = self.view.read().without_tail();
        let base = self.base(writer, &view);
        let arrival = writer.next_arrival;
        let done = Outcome { found: true, ..Outcome::default() };
        Ok(match request {
            Request::Events(..) | Request::Load(_) => unreachable!("events are prepared apart"),
            Request::Profiles(entity, writes, over) => {
                let (bounds, known) = (&writer.bounds, self.known_ids());
                let (writes, effect, news, refused) = self.work_out_parts(writes, over, |writes| {
                    let (effect, parts) = base.profile_writes(entity, writes, arrival)?;
                    let (batch, new) = (&effect.chunks[0].batch, &effect.new_ids);
                    let admitted = bounds.admit_profiles(entity, batch, new, &parts, known, over);
                    Ok((effect, admitted))
                })?;
                writer.next_arrival += effect.chunks.iter().map(|chunk| chunk.rows.len() as u64).sum::<u64>();
                let change = (!writes.is_empty()).then_some(Change::Profiles { arrival, entity, writes });
                Prepared { change, effect, news, outcome: Outcome { refused, ..done } }
            }
            Request::Merges(merges, over) => {
                let (bounds, known) = (&writer.bounds, self.known_ids());
                let (merges, effect, news, refused) = self.work_out_parts(merges, over, |merges| {
                    let (effect, parts) = base.merges(merges)?;
                    let admitted = bounds.admit_merges(&effect.new_ids, &parts, known, over);
                    Ok((effect, admitted))
                })?;
                let change = (!effect.merges.is_empty()).then_some(Change::Merges { merges });
                Prepared { change, effect, news, outcome: Outcome { refused, ..done } }
            }
            Request::Deletion(user) => match base.deletion(&user) {
                Some(effect) => Prepared::new(Some(Change::Deletion { user }), effect, done),
                None => Prepared::new(None, Effect::default(), Outcome::default()),
            },
            Request::Document(kind, name, new) => {
                let found = view.documents.get(kind, &name).is_some();
                let outcome = Outcome { found, ..Outcome::default() };
                let content = match new {
                    NewDocument::Removed if !found => {
                        return Ok(Prepared::new(None, Effect::default(), outcome));
                    }
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
                Prepared::new(Some(Change::Document { kind, name, content }), effect, outcome)
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
                    writer.bounds.forget(&pending.news);
                    pending.ticket.put(Err(problem.clone()));
                }
                return;
            }
        }
        for Pending { effect, number, outcome, ticket, .. } in pending {
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
        Waiting { request: Request::Events(batch(ids), OverBound::Refuse), ticket: Arc::default() }
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
