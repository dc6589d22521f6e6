//! What queries with `"entity": "account"` walk: the rows of an event in the order of accounts, and which of them are meant.
//!
//! The order of a group is an index that many queries share (`account_order`). What a query leaves out of it, by a
//! condition or because somebody is gone, is decided in the order of users, where it is decided for anybody, and is a bit
//! for each row.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use parking_lot::Mutex;

use super::account_order::{self, AccountOrder, Making};
use super::scan::Scan;
use super::selection::{BoundGroup, RowFilter};
use super::together::Together;
use super::{Charge, RowRef, Rows, TASK_USER_COUNT, Task, key_time};
use crate::api::Problem;
use crate::model::{Entity, TimeMs};

/// A group, by its segment's place in the snapshot and its own.
type Place = (u32, u32);

/// All rows of a group are put in order where at least one part in so many of its time is asked about, and kept.
const WHOLE_PART: i64 = 4;

type Orders = HashMap<(Place, Range<TimeMs>), Arc<Order>>;

/// What a query has of the orders so far. Every thread that needs the same helps to make it.
#[derive(Debug, Default)]
pub(super) struct AccountRows {
    /// By group and the range of times that is in order, which is all there is if it is most of it.
    orders: Mutex<Orders>,
    /// By group and the place of the condition in memory, 0 without one: the conditions stay there.
    meant: Mutex<HashMap<(Place, usize), Arc<Meant>>>,
}

#[derive(Debug, Default)]
struct Order {
    making: Making,
    found: OnceLock<(Arc<AccountOrder>, Charge)>,
}

/// Which rows of a group a query means, whatever their times.
#[derive(Debug)]
struct Meant {
    /// A bit for each row.
    bits: Vec<AtomicU64>,
    deciding: Together<(), ()>,
    /// Stays as long as its place is known.
    _filter: Option<Arc<RowFilter>>,
    _charge: Charge,
}

impl Meant {
    fn contains(&self, row: u32) -> bool {
        self.bits[row as usize / 64].load(Ordering::Relaxed) >> (row % 64) & 1 == 1
    }
}

impl AccountRows {
    /// Appends the rows of a group in a task of accounts, sorted by key; their places too if `with_refs`.
    pub fn read(
        &self,
        scan: &Scan<'_>,
        task: u32,
        bound: &BoundGroup,
        range: &Range<TimeMs>,
        with_refs: bool,
        out: &mut Rows,
    ) -> Result<(), Problem> {
        let place = (bound.segment, bound.group);
        let meta = scan.group(bound.segment, bound.group).meta();
        let range = range.start.max(scan.snapshot().expired_before)..range.end;
        if range.is_empty() || meta.time_max < range.start || meta.time_min >= range.end {
            return Ok(());
        }
        let order = self.order(scan, place, &range)?;
        let Some(run) = order.run(task).filter(|run| !run.keys.is_empty()) else { return Ok(()) };
        let reference = |row: &u32| RowRef { segment: bound.segment, group: bound.group, row: *row };
        let is_whole = range.start <= meta.time_min && meta.time_max < range.end;
        let is_everybody = scan.snapshot().segments[bound.segment as usize].dead.is_empty();
        if bound.filter.is_none() && is_everybody && is_whole {
            out.keys.extend_from_slice(&run.keys);
            if with_refs {
                out.refs.extend(run.rows.iter().map(reference));
            }
            return Ok(());
        }
        let meant = match &bound.filter {
            None if is_everybody => None,
            _ => Some(self.meant(scan, bound)?),
        };
        for (key, row) in run.keys.iter().zip(&run.rows) {
            if range.contains(&key_time(*key)) && meant.as_ref().is_none_or(|meant| meant.contains(*row)) {
                out.keys.push(*key);
                if with_refs {
                    out.refs.push(reference(row));
                }
            }
        }
        Ok(())
    }

    /// The order of a group in which all rows of a range are, and maybe others.
    fn order(
        &self,
        scan: &Scan<'_>,
        place: Place,
        range: &Range<TimeMs>,
    ) -> Result<Arc<AccountOrder>, Problem> {
        let group = scan.group(place.0, place.1);
        let whole = group.meta().time_min..group.meta().time_max.saturating_add(1);
        let asked = range.start.max(whole.start)..range.end.min(whole.end);
        let length = |range: &Range<TimeMs>| range.end.saturating_sub(range.start);
        let segment = &scan.snapshot().segments[place.0 as usize].segment;
        // What was kept is not read from the file, which may be unreadable meanwhile.
        segment.check_mapped()?;
        let kept = account_order::known(segment, place.1);
        let is_whole = kept.is_some() || length(&asked).saturating_mul(WHOLE_PART) >= length(&whole);
        let range = if is_whole { whole } else { asked };
        let order = Arc::clone(self.orders.lock().entry((place, range.clone())).or_default());
        if let Some((found, _)) = order.found.get() {
            return Ok(Arc::clone(found));
        }
        let made = match kept {
            Some(kept) => kept,
            None => order.making.finish(&group, &range, scan.meter())?,
        };
        segment.check_mapped()?;
        let charge = scan.meter().charge(made.size())?;
        let is_new = order.found.set((Arc::clone(&made), charge)).is_ok();
        if is_new && is_whole {
            account_order::keep(segment, place.1, Arc::clone(&made));
        }
        Ok(made)
    }

    /// Which rows of a group satisfy its condition, and belong to somebody who is not gone.
    fn meant(&self, scan: &Scan<'_>, bound: &BoundGroup) -> Result<Arc<Meant>, Problem> {
        let row_count = scan.group(bound.segment, bound.group).row_count();
        let word_count = row_count.div_ceil(64);
        let condition = bound.filter.as_ref().map_or(0, |filter| Arc::as_ptr(filter) as usize);
        let meant = match self.meant.lock().entry(((bound.segment, bound.group), condition)) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(place) => {
                let charge = scan.meter().charge((word_count * size_of::<u64>()) as u64)?;
                let meant = Meant {
                    bits: (0..word_count).map(|_| AtomicU64::new(0)).collect(),
                    deciding: Together::default(),
                    _filter: bound.filter.clone(),
                    _charge: charge,
                };
                Arc::clone(place.insert(Arc::new(meant)))
            }
        };
        let user_task_count = scan.snapshot().ordinal_count(Entity::User).div_ceil(TASK_USER_COUNT);
        let decide = |task: usize, (): &mut ()| {
            scan.meter().check()?;
            let (rows, is_meant) = Task::of_users(scan, task as u32).meant_rows(bound)?;
            for (row, _) in rows.zip(is_meant).filter(|(_, is_meant)| *is_meant) {
                meant.bits[row / 64].fetch_or(1 << (row % 64), Ordering::Relaxed);
            }
            Ok(())
        };
        meant.deciding.finish(user_task_count as usize, decide, |_| ())?;
        Ok(meant)
    }
}
