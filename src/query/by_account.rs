//! Events in the order of accounts: what queries with `"entity": "account"` walk.
//!
//! Segments are in the order of users, and an account's events are those that carry it, whoever sent them. So the
//! rows of a selection are read user by user once, with all conditions on users in their place, dealt out to tasks of
//! accounts, and sorted there. That is linear in the rows read; an index of rows in account order would save the
//! sort, and cost as many bytes again as the times do (docs/architecture.md, "Accounts").

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::scan::Scan;
use super::{RowRef, Rows, Selection, TASK_USER_COUNT, Task, key, key_time};
use crate::api::Problem;
use crate::model::{Entity, TimeMs};

/// The rows of one selection, by task of accounts.
type Dealt = Result<Vec<DealtTask>, Problem>;

/// The rows of one task of accounts: as they were dealt, until somebody asks for them.
#[derive(Debug, Default)]
struct DealtTask {
    dealt: Mutex<Vec<(u64, RowRef)>>,
    sorted: OnceLock<Result<Rows, Problem>>,
}

/// What was dealt out for a query so far: each selection and range once, by whichever thread asks first.
#[derive(Debug, Default)]
pub(super) struct AccountRows {
    known: Mutex<HashMap<Key, Arc<OnceLock<Dealt>>>>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Key {
    selection: u64,
    range: Range<TimeMs>,
    with_refs: bool,
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
        let dealt = Arc::clone(self.known.lock().entry(key).or_default());
        match dealt.get_or_init(|| deal(scan, selection, range)) {
            Ok(tasks) => tasks.get(index as usize).map_or_else(
                || Ok(Rows::default()),
                |task| task.sorted.get_or_init(|| task.sort(scan, with_refs)).clone(),
            ),
            Err(problem) => Err(problem.clone()),
        }
    }
}

impl DealtTask {
    fn sort(&self, scan: &Scan<'_>, with_refs: bool) -> Result<Rows, Problem> {
        let mut dealt = std::mem::take(&mut *self.dealt.lock());
        dealt.sort_unstable_by_key(|(key, row)| (*key, row.segment, row.group, row.row));
        let keys = dealt.iter().map(|(key, _)| *key).collect();
        let refs = dealt.into_iter().filter(|_| with_refs).map(|(_, row)| row).collect();
        let mut rows = Rows { keys, refs, ..Rows::default() };
        rows.charge = scan.meter().charge(rows.size())?;
        Ok(rows)
    }
}

fn deal(scan: &Scan<'_>, selection: &Selection, range: Range<TimeMs>) -> Dealt {
    let snapshot = scan.snapshot();
    let task_count = snapshot.ordinal_count(Entity::Account).div_ceil(TASK_USER_COUNT);
    let mut tasks: Vec<Vec<(u64, RowRef)>> = vec![Vec::new(); task_count as usize];
    let mut dealt_size = 0;
    for index in 0..snapshot.ordinal_count(Entity::User).div_ceil(TASK_USER_COUNT) {
        scan.meter().check_room(dealt_size)?;
        let task = Task::of_users(scan, index);
        task.for_each_piece(selection, range.clone(), true, &mut |rows| {
            dealt_size += (rows.keys.len() * size_of::<(u64, RowRef)>()) as u64;
            task.accounts(rows, &mut |row, account| {
                // An account that came after the snapshot was counted has no place in it.
                if let Some(task) = tasks.get_mut((account / TASK_USER_COUNT) as usize) {
                    let time = key_time(rows.keys[row]);
                    task.push((key((account % TASK_USER_COUNT) as u16, time), rows.refs[row]));
                }
            })
        })?;
    }
    let dealt = |task| DealtTask { dealt: Mutex::new(task), sorted: OnceLock::new() };
    Ok(tasks.into_iter().map(dealt).collect())
}
