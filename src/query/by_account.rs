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

/// A row, by its account within the task and its time.
type Entry = (u64, RowRef);

/// What was dealt out for a query so far: each selection and range once, by all threads that ask for it.
#[derive(Debug, Default)]
pub(super) struct AccountRows {
    known: Mutex<HashMap<Key, Arc<Deal>>>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Key {
    selection: u64,
    range: Range<TimeMs>,
    with_refs: bool,
}

/// The rows of one selection, dealt out to tasks of accounts. Whoever needs them before all are dealt helps.
#[derive(Debug, Default)]
struct Deal {
    /// The next task of users that nobody deals yet.
    next: AtomicU32,
    under_way: Mutex<UnderWay>,
    is_over: Condvar,
    /// By task of accounts.
    tasks: OnceLock<Result<Vec<DealtTask>, Problem>>,
}

#[derive(Debug, Default)]
struct UnderWay {
    helper_count: usize,
    /// What each helper dealt, by task of accounts.
    parts: Vec<Vec<Vec<Entry>>>,
    problem: Option<Problem>,
}

/// The rows of one task of accounts: as they were dealt, until somebody asks for them.
#[derive(Debug, Default)]
struct DealtTask {
    dealt: Mutex<Vec<Vec<Entry>>>,
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
        let key = Key { selection: selection.id(), range: range.clone(), with_refs };
        let deal = Arc::clone(self.known.lock().entry(key).or_default());
        match deal.finish(scan, selection, range) {
            Ok(tasks) => tasks.get(index as usize).map_or_else(
                || Ok(Rows::default()),
                |task| task.sorted.get_or_init(|| task.sort(scan, with_refs)).clone(),
            ),
            Err(problem) => Err(problem.clone()),
        }
    }
}

impl Deal {
    /// Deals until all is dealt, and waits for those who deal the last of it.
    fn finish(
        &self,
        scan: &Scan<'_>,
        selection: &Selection,
        range: Range<TimeMs>,
    ) -> &Result<Vec<DealtTask>, Problem> {
        if let Some(tasks) = self.tasks.get() {
            return tasks;
        }
        let helping = Helping::begin(self);
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
    ) -> Result<Vec<Vec<Entry>>, Problem> {
        let mut tasks: Vec<Vec<Entry>> = vec![Vec::new(); task_count(scan)];
        let mut dealt_size = 0;
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= user_task_count {
                return Ok(tasks);
            }
            scan.meter().check_room(dealt_size)?;
            let task = Task::of_users(scan, index);
            task.for_each_piece(selection, range.clone(), true, &mut |rows| {
                dealt_size += (rows.keys.len() * size_of::<Entry>()) as u64;
                task.accounts(rows, &mut |row, account| {
                    // An account that came after the snapshot was counted has no place in it.
                    if let Some(task) = tasks.get_mut((account / TASK_USER_COUNT) as usize) {
                        let time = key_time(rows.keys[row]);
                        task.push((key((account % TASK_USER_COUNT) as u16, time), rows.refs[row]));
                    }
                })
            })?;
        }
    }
}

/// A thread that deals. If it fails by a panic, which ends the query, others do not wait for it forever.
struct Helping<'d>(&'d Deal);

impl<'d> Helping<'d> {
    fn begin(deal: &'d Deal) -> Helping<'d> {
        deal.under_way.lock().helper_count += 1;
        Helping(deal)
    }
}

impl Drop for Helping<'_> {
    fn drop(&mut self) {
        self.0.under_way.lock().helper_count -= 1;
        self.0.is_over.notify_all();
    }
}

/// Tasks of accounts.
fn task_count(scan: &Scan<'_>) -> usize {
    scan.snapshot().ordinal_count(Entity::Account).div_ceil(TASK_USER_COUNT) as usize
}

impl DealtTask {
    fn sort(&self, scan: &Scan<'_>, with_refs: bool) -> Result<Rows, Problem> {
        let dealt = std::mem::take(&mut *self.dealt.lock());
        let sorted = sorted(&dealt);
        let keys = sorted.iter().map(|(key, _)| *key).collect();
        let refs = sorted.into_iter().filter(|_| with_refs).map(|(_, row)| row).collect();
        let mut rows = Rows { keys, refs, ..Rows::default() };
        rows.charge = scan.meter().charge(rows.size())?;
        Ok(rows)
    }
}

/// All entries by account, time and place: dealt once more, to their accounts, and sorted there.
fn sorted(dealt: &[Vec<Entry>]) -> Vec<Entry> {
    let mut ends = vec![0_u32; TASK_USER_COUNT as usize + 1];
    let entries = || dealt.iter().flatten();
    entries().for_each(|(key, _)| ends[usize::from(key_user(*key)) + 1] += 1);
    for account in 0..TASK_USER_COUNT as usize {
        ends[account + 1] += ends[account];
    }
    let nowhere = RowRef { segment: 0, group: 0, row: 0 };
    let mut sorted = vec![(0, nowhere); *ends.last().expect("there is an end") as usize];
    for entry in entries() {
        // The end of the account before moves on to become the account's own.
        let end = &mut ends[usize::from(key_user(entry.0))];
        sorted[*end as usize] = *entry;
        *end += 1;
    }
    let mut start = 0;
    for end in &ends[..TASK_USER_COUNT as usize] {
        sorted[start..*end as usize]
            .sort_unstable_by_key(|(key, row)| (*key, row.segment, row.group, row.row));
        start = *end as usize;
    }
    sorted
}
