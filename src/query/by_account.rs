//! Events in the order of accounts: what queries with `"entity": "account"` walk.
//!
//! Segments are in the order of users, and an account's events are those that carry it, whoever sent them. So the
//! rows of a selection are read user by user once, with all conditions on users in their place, dealt out to tasks of
//! accounts, and sorted there. That is linear in the rows read (docs/architecture.md, "Accounts are found in two ways").

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex};

use super::scan::Scan;
use super::{RowRef, Rows, Selection, TASK_USER_COUNT, Task, key, key_time, key_user};
use crate::api::Problem;
use crate::model::{Entity, TimeMs};

/// A row as it is dealt: its key, of its account within the task and its time, and its place where that is asked for.
trait Entry: Copy + Default + Send + Sync {
    fn new(key: u64, place: RowRef) -> Self;

    fn key(&self) -> u64;

    /// Sorts rows of one account by time and place.
    fn sort(entries: &mut [Self]);

    fn into_rows(sorted: Vec<Self>) -> Rows;
}

impl Entry for u64 {
    fn new(key: u64, _: RowRef) -> u64 {
        key
    }

    fn key(&self) -> u64 {
        *self
    }

    fn sort(entries: &mut [u64]) {
        entries.sort_unstable();
    }

    fn into_rows(sorted: Vec<u64>) -> Rows {
        Rows { keys: sorted, ..Rows::default() }
    }
}

impl Entry for (u64, RowRef) {
    fn new(key: u64, place: RowRef) -> (u64, RowRef) {
        (key, place)
    }

    fn key(&self) -> u64 {
        self.0
    }

    fn sort(entries: &mut [(u64, RowRef)]) {
        entries.sort_unstable_by_key(|(key, row)| (*key, row.segment, row.group, row.row));
    }

    fn into_rows(sorted: Vec<(u64, RowRef)>) -> Rows {
        let (keys, refs) = sorted.into_iter().unzip();
        Rows { keys, refs, ..Rows::default() }
    }
}

/// What was dealt out for a query so far: each selection and range once, by all threads that ask for it, with places and
/// without.
#[derive(Debug, Default)]
pub(super) struct AccountRows {
    keys: Deals<u64>,
    rows: Deals<(u64, RowRef)>,
}

/// What was dealt of selections, by their numbers, in ranges.
type Deals<E> = Mutex<HashMap<(u64, Range<TimeMs>), Arc<Deal<E>>>>;

/// The rows of one selection, dealt out to tasks of accounts. Whoever needs them before all are dealt helps.
#[derive(Debug, Default)]
struct Deal<E> {
    /// The next task of users that nobody deals yet.
    next: AtomicU32,
    under_way: Mutex<UnderWay<E>>,
    is_over: Condvar,
    /// By task of accounts.
    tasks: OnceLock<Result<Vec<DealtTask<E>>, Problem>>,
}

#[derive(Debug, Default)]
struct UnderWay<E> {
    helper_count: usize,
    /// What each helper dealt, by task of accounts.
    parts: Vec<Vec<Vec<E>>>,
    problem: Option<Problem>,
}

/// The rows of one task of accounts: as they were dealt, until somebody asks for them.
#[derive(Debug, Default)]
struct DealtTask<E> {
    dealt: Mutex<Vec<Vec<E>>>,
    sorted: OnceLock<Result<Rows, Problem>>,
}

impl AccountRows {
    /// The rows of a selection in one task of accounts, sorted by account, then time.
    pub fn of_task(
        &self,
        scan: &Scan<'_>,
        index: u32,
        selection: &Selection,
        range: Range<TimeMs>,
        with_refs: bool,
    ) -> Result<Rows, Problem> {
        match with_refs {
            true => of_task(&self.rows, scan, index, selection, range),
            false => of_task(&self.keys, scan, index, selection, range),
        }
    }
}

fn of_task<E: Entry>(
    known: &Deals<E>,
    scan: &Scan<'_>,
    index: u32,
    selection: &Selection,
    range: Range<TimeMs>,
) -> Result<Rows, Problem> {
    let deal = Arc::clone(known.lock().entry((selection.id(), range.clone())).or_default());
    match deal.finish(scan, selection, range) {
        Ok(tasks) => tasks
            .get(index as usize)
            .map_or_else(|| Ok(Rows::default()), |task| task.sorted.get_or_init(|| task.sort(scan)).clone()),
        Err(problem) => Err(problem.clone()),
    }
}

impl<E: Entry> Deal<E> {
    /// Deals until all is dealt, and waits for those who deal the last of it.
    fn finish(
        &self,
        scan: &Scan<'_>,
        selection: &Selection,
        range: Range<TimeMs>,
    ) -> &Result<Vec<DealtTask<E>>, Problem> {
        if let Some(tasks) = self.tasks.get() {
            return tasks;
        }
        let helping = Helping::begin(&self.under_way, &self.is_over);
        let user_task_count = scan.snapshot().ordinal_count(Entity::User).div_ceil(TASK_USER_COUNT);
        let part = self.deal(scan, selection, range, user_task_count);
        match part {
            Ok(part) => self.under_way.lock().parts.push(part),
            Err(problem) => {
                // The others need not go on.
                self.next.store(user_task_count, Ordering::Relaxed);
                self.under_way.lock().problem = Some(problem);
            }
        }
        drop(helping);
        let mut under_way = self.under_way.lock();
        while under_way.helper_count > 0 && self.tasks.get().is_none() {
            self.is_over.wait(&mut under_way);
        }
        let tasks = self.tasks.get_or_init(|| match under_way.problem.take() {
            Some(problem) => Err(problem),
            None => {
                let mut parts = std::mem::take(&mut under_way.parts);
                let of_task =
                    |task: usize| parts.iter_mut().map(|part| std::mem::take(&mut part[task])).collect();
                let dealt = (0..task_count(scan)).map(of_task);
                Ok(dealt
                    .map(|dealt| DealtTask { dealt: Mutex::new(dealt), sorted: OnceLock::new() })
                    .collect())
            }
        });
        self.is_over.notify_all();
        tasks
    }

    /// Deals the rows of tasks of users that nobody else deals.
    fn deal(
        &self,
        scan: &Scan<'_>,
        selection: &Selection,
        range: Range<TimeMs>,
        user_task_count: u32,
    ) -> Result<Vec<Vec<E>>, Problem> {
        let mut tasks: Vec<Vec<E>> = vec![Vec::new(); task_count(scan)];
        let mut dealt_size = 0;
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= user_task_count {
                return Ok(tasks);
            }
            scan.meter().check_room(dealt_size)?;
            let task = Task::of_users(scan, index);
            task.for_each_piece(selection, range.clone(), true, &mut |rows| {
                dealt_size += (rows.keys.len() * size_of::<E>()) as u64;
                task.accounts(rows, &mut |row, account| {
                    // An account that came after the snapshot was counted has no place in it.
                    if let Some(task) = tasks.get_mut((account / TASK_USER_COUNT) as usize) {
                        let time = key_time(rows.keys[row]);
                        task.push(E::new(key((account % TASK_USER_COUNT) as u16, time), rows.refs[row]));
                    }
                })
            })?;
        }
    }
}

/// A thread that deals. If it fails by a panic, which ends the query, others do not wait for it forever.
struct Helping<'d, E> {
    under_way: &'d Mutex<UnderWay<E>>,
    is_over: &'d Condvar,
}

impl<'d, E> Helping<'d, E> {
    fn begin(under_way: &'d Mutex<UnderWay<E>>, is_over: &'d Condvar) -> Helping<'d, E> {
        under_way.lock().helper_count += 1;
        Helping { under_way, is_over }
    }
}

impl<E> Drop for Helping<'_, E> {
    fn drop(&mut self) {
        self.under_way.lock().helper_count -= 1;
        self.is_over.notify_all();
    }
}

/// Tasks of accounts.
fn task_count(scan: &Scan<'_>) -> usize {
    scan.snapshot().ordinal_count(Entity::Account).div_ceil(TASK_USER_COUNT) as usize
}

impl<E: Entry> DealtTask<E> {
    fn sort(&self, scan: &Scan<'_>) -> Result<Rows, Problem> {
        let dealt = std::mem::take(&mut *self.dealt.lock());
        let mut rows = E::into_rows(sorted(&dealt));
        rows.charge = scan.meter().charge(rows.size())?;
        Ok(rows)
    }
}

/// All entries by account, time and place: dealt once more, to their accounts, and sorted there.
fn sorted<E: Entry>(dealt: &[Vec<E>]) -> Vec<E> {
    let mut ends = vec![0_u32; TASK_USER_COUNT as usize + 1];
    let entries = || dealt.iter().flatten();
    entries().for_each(|entry| ends[usize::from(key_user(entry.key())) + 1] += 1);
    for account in 0..TASK_USER_COUNT as usize {
        ends[account + 1] += ends[account];
    }
    let mut sorted = vec![E::default(); *ends.last().expect("there is an end") as usize];
    for entry in entries() {
        // The end of the account before moves on to become the account's own.
        let end = &mut ends[usize::from(key_user(entry.key()))];
        sorted[*end as usize] = *entry;
        *end += 1;
    }
    let mut start = 0;
    for end in &ends[..TASK_USER_COUNT as usize] {
        E::sort(&mut sorted[start..*end as usize]);
        start = *end as usize;
    }
    sorted
}
