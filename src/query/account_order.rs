//! The rows of an event in the order of accounts: an index of one group of a segment.
//!
//! A segment is in the order of users, and an account's events are those that carry it, whoever sent them. The first query
//! that asks about accounts and an event has its rows dealt out to tasks of accounts and sorted there, by all threads. A
//! segment never changes, so neither does that order: it is kept for the queries that come, as long as there is memory
//! for it (docs/architecture.md, "Accounts are found in two ways").

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;

use super::budget::{Charge, Meter};
use super::together::Together;
use super::{TASK_USER_COUNT, key, key_user};
use crate::api::Problem;
use crate::limits::ACCOUNT_ORDERS_SIZE_MAX;
use crate::model::TimeMs;
use crate::segment::{Group, Segment};

/// Rows that a thread deals at once.
const PART_ROW_COUNT: usize = 1 << 15;

/// So many rows are sorted as they are; more are dealt to their accounts first.
const SORTED_AT_ONCE_MAX: usize = 1 << 12;

/// Rows of a group that have an account, by account, time and row: all of them, or those of a range of times.
#[derive(Debug, Default)]
pub(super) struct AccountOrder {
    /// By task of accounts.
    tasks: Box<[AccountRun]>,
}

/// The rows of one task of accounts.
#[derive(Debug, Default)]
pub(super) struct AccountRun {
    /// Account within the task and time, packed by [`key`].
    pub keys: Vec<u64>,
    /// The row of each in its group.
    pub rows: Vec<u32>,
}

/// A row as it is dealt: its key, and its place in the group.
type Entry = (u64, u32);

/// What a thread dealt.
#[derive(Debug, Default)]
struct Dealt {
    /// By task of accounts, of as many as came up.
    tasks: Vec<Vec<Entry>>,
    charge: Charge,
}

/// An order that is being made.
#[derive(Debug, Default)]
pub(super) struct Making {
    /// By task of accounts what each thread dealt to it.
    dealing: Together<Dealt, Vec<Mutex<Vec<Vec<Entry>>>>>,
    sorting: Together<Vec<(usize, AccountRun)>, Arc<AccountOrder>>,
}

impl AccountOrder {
    pub fn run(&self, task: u32) -> Option<&AccountRun> {
        self.tasks.get(task as usize)
    }

    /// Bytes of memory.
    pub fn size(&self) -> u64 {
        let of_run =
            |run: &AccountRun| size_of::<AccountRun>() + size_of_val(&*run.keys) + size_of_val(&*run.rows);
        self.tasks.iter().map(of_run).sum::<usize>() as u64
    }
}

impl Making {
    /// Makes the order of a group's rows in a range of times, together with whoever else calls this.
    pub fn finish(
        &self,
        group: &Group<'_>,
        range: &Range<TimeMs>,
        meter: &Meter,
    ) -> Result<Arc<AccountOrder>, Problem> {
        let row_count = group.row_count();
        let deal = |part: usize, dealt: &mut Dealt| {
            meter.check()?;
            let start = part * PART_ROW_COUNT;
            deal(group, start..row_count.min(start + PART_ROW_COUNT), range, &mut dealt.tasks)?;
            dealt.charge = meter.charge(dealt.tasks.iter().map(|task| size_of_val(&**task) as u64).sum())?;
            Ok(())
        };
        let parts = self.dealing.finish(row_count.div_ceil(PART_ROW_COUNT), deal, |found| {
            let task_count = found.iter().map(|dealt| dealt.tasks.len()).max().unwrap_or(0);
            let mut tasks: Vec<Vec<Vec<Entry>>> = vec![Vec::new(); task_count];
            for (task, entries) in found.into_iter().flat_map(|dealt| dealt.tasks.into_iter().enumerate()) {
                tasks[task].push(entries);
            }
            tasks.into_iter().map(Mutex::new).collect()
        })?;
        let sort = |task: usize, runs: &mut Vec<(usize, AccountRun)>| {
            meter.check()?;
            let dealt = std::mem::take(&mut *parts[task].lock());
            runs.push((task, sorted(dealt)));
            Ok(())
        };
        let order = self.sorting.finish(parts.len(), sort, |found| {
            let mut runs: Vec<(usize, AccountRun)> = found.into_iter().flatten().collect();
            runs.sort_unstable_by_key(|(task, _)| *task);
            Arc::new(AccountOrder { tasks: runs.into_iter().map(|(_, run)| run).collect() })
        })?;
        Ok(Arc::clone(order))
    }
}

/// Deals rows of a group that lie in a range of times to the tasks of their accounts.
fn deal(
    group: &Group<'_>,
    rows: Range<usize>,
    range: &Range<TimeMs>,
    tasks: &mut Vec<Vec<Entry>>,
) -> Result<(), Problem> {
    let Some(accounts) = group.accounts()? else { return Ok(()) };
    let mut times = Vec::with_capacity(rows.len());
    group.times()?.read(rows.clone(), &mut times);
    let time_min = group.meta().time_min;
    let mut at = 0;
    accounts.for_each_block(rows.clone(), |block| {
        for account in block {
            let time = time_min.wrapping_add(times[at] as i64);
            // One more than the ordinal; 0 has none.
            if let Some(account) = account.checked_sub(1).filter(|_| range.contains(&time)) {
                let task = (account / u64::from(TASK_USER_COUNT)) as usize;
                if task >= tasks.len() {
                    tasks.resize_with(task + 1, Vec::new);
                }
                let within = (account % u64::from(TASK_USER_COUNT)) as u16;
                tasks[task].push((key(within, time), (rows.start + at) as u32));
            }
            at += 1;
        }
    });
    Ok(())
}

/// All entries of a task, sorted: many are dealt to their accounts first.
fn sorted(dealt: Vec<Vec<Entry>>) -> AccountRun {
    let count = dealt.iter().map(Vec::len).sum();
    let mut entries: Vec<Entry>;
    if count <= SORTED_AT_ONCE_MAX {
        entries = dealt.into_iter().flatten().collect();
        entries.sort_unstable();
    } else {
        let mut ends = vec![0_u32; TASK_USER_COUNT as usize + 1];
        let of_account = |entry: &Entry| usize::from(key_user(entry.0));
        dealt.iter().flatten().for_each(|entry| ends[of_account(entry) + 1] += 1);
        for account in 0..TASK_USER_COUNT as usize {
            ends[account + 1] += ends[account];
        }
        entries = vec![Entry::default(); count];
        for entry in dealt.iter().flatten() {
            // The end of the account before moves on to become the account's own.
            let end = &mut ends[of_account(entry)];
            entries[*end as usize] = *entry;
            *end += 1;
        }
        let mut start = 0;
        for end in &ends[..TASK_USER_COUNT as usize] {
            entries[start..*end as usize].sort_unstable();
            start = *end as usize;
        }
    }
    let (keys, rows) = entries.into_iter().unzip();
    AccountRun { keys, rows }
}

/// Which segments keep orders of whole groups, by the segment's place in memory and the group's in it.
static KNOWN: Mutex<KnownOrders> = Mutex::new(KnownOrders::new());

type KnownOrders = BTreeMap<(usize, u32), KnownOrder>;

#[derive(Debug)]
struct KnownOrder {
    /// As long as this is there, no other segment has its place.
    segment: Weak<Segment>,
    size: u64,
    last_use: Instant,
}

/// The order of a group, if it was kept.
pub(super) fn known(segment: &Arc<Segment>, group: u32) -> Option<Arc<AccountOrder>> {
    let order = segment.kept(group)?;
    if let Some(known) = KNOWN.lock().get_mut(&(Arc::as_ptr(segment) as usize, group)) {
        known.last_use = Instant::now();
    }
    Some(order)
}

/// Keeps the order of a group with its segment, for queries that come. Those that were not used for longest make room.
pub(super) fn keep(segment: &Arc<Segment>, group: u32, order: Arc<AccountOrder>) {
    let size = order.size();
    if size > ACCOUNT_ORDERS_SIZE_MAX {
        return;
    }
    let mut known = KNOWN.lock();
    make_room(&mut known, size, ACCOUNT_ORDERS_SIZE_MAX);
    segment.keep(group, order);
    let kept = KnownOrder { segment: Arc::downgrade(segment), size, last_use: Instant::now() };
    known.insert((Arc::as_ptr(segment) as usize, group), kept);
}

/// Forgets orders that were not used for longest until `size` more bytes of `size_max` are free.
fn make_room(known: &mut KnownOrders, size: u64, size_max: u64) {
    known.retain(|_, known| known.segment.strong_count() > 0);
    let mut taken: u64 = known.values().map(|known| known.size).sum();
    while taken + size > size_max {
        let Some((place, _)) = known.iter().min_by_key(|(_, known)| known.last_use) else { return };
        let place = *place;
        taken -= forget(known, place);
    }
}

/// Returns how many bytes are free by it.
fn forget(known: &mut KnownOrders, place: (usize, u32)) -> u64 {
    let Some(gone) = known.remove(&place) else { return 0 };
    if let Some(segment) = gone.segment.upgrade() {
        segment.forget(place.1);
    }
    gone.size
}

/// Forgets all orders, for when nobody asks for a while.
pub(crate) fn forget_account_orders() {
    let mut known = KNOWN.lock();
    while let Some(place) = known.keys().next().copied() {
        forget(&mut known, place);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::segment::{Form, RowKind, build};

    #[test]
    fn orders_not_used_for_longest_make_room_and_those_of_gone_segments_before() {
        let bytes = build(RowKind::Events, &[], &[], Form::Quick, Vec::new()).unwrap();
        let [here, gone] = [(); 2].map(|()| Arc::new(Segment::open("a", bytes.clone().into()).unwrap()));
        let (mut known, start) = (KnownOrders::new(), Instant::now());
        for (group, segment, use_count) in [(0, &here, 2), (1, &here, 1), (2, &gone, 0), (3, &here, 3)] {
            segment.keep(group, Arc::new(AccountOrder::default()));
            let last_use = start + Duration::from_secs(use_count);
            let order = KnownOrder { segment: Arc::downgrade(segment), size: 10, last_use };
            known.insert((Arc::as_ptr(segment) as usize, group), order);
        }
        drop(gone);
        let kept = || (0..4).filter(|group| here.kept::<AccountOrder>(*group).is_some()).collect::<Vec<_>>();
        make_room(&mut known, 10, 40);
        assert_eq!((known.len(), kept()), (3, vec![0, 1, 3]));
        make_room(&mut known, 15, 40);
        assert_eq!((known.len(), kept()), (2, vec![0, 3]));
        make_room(&mut known, 40, 40);
        assert_eq!((known.len(), kept()), (0, vec![]));
    }

    #[test]
    fn many_rows_are_sorted_as_few_are() {
        let mut dice = crate::dice::Dice(7);
        for count in [0, 1, SORTED_AT_ONCE_MAX, SORTED_AT_ONCE_MAX + 1, 3 * SORTED_AT_ONCE_MAX] {
            let entry = |row| (key(dice.below(u64::from(TASK_USER_COUNT)) as u16, dice.below(9) as i64), row);
            let entries: Vec<Entry> = (0..count as u32).map(entry).collect();
            let mut expected = entries.clone();
            expected.sort_unstable();
            let run = sorted(entries.chunks(1_000).map(<[Entry]>::to_vec).collect());
            assert_eq!(run.keys.into_iter().zip(run.rows).collect::<Vec<_>>(), expected);
        }
    }
}
