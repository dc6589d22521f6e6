//! One query on one snapshot: the segments, who is in them, and the work on all cores.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::account_order::forget_account_orders;
use super::budget::Meter;
use super::by_account::AccountRows;
use super::columns::{KnownNumbers, WholeColumns};
use super::weight::weigh;
use super::{Analysis, Budget, Charge, Partial, Selection, TASK_USER_COUNT, Task};
use crate::api::Problem;
use crate::memory::return_memory;
use crate::model::{Entity, TimeMs};
use crate::segment::{Column, Damage, Group, RowKind};
use crate::store::{LiveSegment, Snapshot};
use crate::threads::step_back;

/// A snapshot, as a query with its `as_of` sees it.
#[derive(Debug)]
pub struct Scan<'s> {
    snapshot: &'s Snapshot<'s>,
    /// Who is counted.
    entity: Entity,
    /// All times that are seen.
    history: Range<TimeMs>,
    rows_scanned: Arc<AtomicU64>,
    /// Events that the answer could not use; `None` if it is one that uses all.
    ignored: OnceLock<u64>,
    by_account: Arc<AccountRows>,
    numbers_by_code: Arc<KnownNumbers>,
    whole_columns: Arc<WholeColumns>,
    every_event: OnceLock<Selection>,
    /// The events of segments whose days of accounts have to be found from their rows.
    without_account_days: OnceLock<Selection>,
    meter: Meter,
}

impl<'s> Scan<'s> {
    pub fn new(snapshot: &'s Snapshot<'s>, entity: Entity, history: Range<TimeMs>) -> Scan<'s> {
        Scan {
            snapshot,
            entity,
            history,
            rows_scanned: Arc::default(),
            ignored: OnceLock::new(),
            by_account: Arc::default(),
            numbers_by_code: Arc::default(),
            whole_columns: Arc::default(),
            every_event: OnceLock::new(),
            without_account_days: OnceLock::new(),
            meter: Meter::default(),
        }
    }

    /// Bounds what the scan may take from now on.
    pub fn within(self, budget: Budget) -> Scan<'s> {
        Scan { meter: Meter::new(budget), ..self }
    }

    /// The same query, with its budget and what it has read, seeing the events of another history.
    pub(super) fn seeing(&self, history: Range<TimeMs>) -> Scan<'s> {
        Scan {
            snapshot: self.snapshot,
            entity: self.entity,
            history,
            rows_scanned: Arc::clone(&self.rows_scanned),
            ignored: OnceLock::new(),
            by_account: Arc::clone(&self.by_account),
            numbers_by_code: Arc::clone(&self.numbers_by_code),
            whole_columns: Arc::clone(&self.whole_columns),
            every_event: self.every_event.clone(),
            without_account_days: self.without_account_days.clone(),
            meter: self.meter.clone(),
        }
    }

    /// The same query, asked of others.
    pub(super) fn counting(&self, entity: Entity) -> Scan<'s> {
        Scan { entity, ..self.seeing(self.history()) }
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Who is counted: whom tasks have, and whose profiles and names are meant.
    pub fn entity(&self) -> Entity {
        self.entity
    }

    pub(super) fn numbers_by_code(&self) -> &KnownNumbers {
        &self.numbers_by_code
    }

    pub(super) fn whole_columns(&self) -> &WholeColumns {
        &self.whole_columns
    }

    pub(super) fn by_account(&self) -> &AccountRows {
        &self.by_account
    }

    pub fn snapshot(&self) -> &'s Snapshot<'s> {
        self.snapshot
    }

    pub fn history(&self) -> Range<TimeMs> {
        self.history.clone()
    }

    /// Rows of events read so far.
    pub fn rows_scanned(&self) -> u64 {
        self.rows_scanned.load(Ordering::Relaxed)
    }

    /// Events that the answer could not use, where it may meet such.
    pub fn ignored(&self) -> Option<u64> {
        self.ignored.get().copied()
    }

    /// Says how many events the answer could not use, once.
    pub(super) fn tell_ignored(&self, count: u64) {
        self.ignored.get_or_init(|| count);
    }

    pub(super) fn count_rows(&self, count: usize) {
        self.rows_scanned.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// The segments of a kind, with their places in the snapshot.
    pub(super) fn segments(&self, kind: RowKind) -> impl Iterator<Item = (u32, &'s LiveSegment)> {
        let segments: &'s [LiveSegment] = &self.snapshot.segments;
        segments
            .iter()
            .enumerate()
            .filter(move |(_, live)| live.segment.kind() == kind)
            .map(|(i, l)| (i as u32, l))
    }

    /// Every event, without conditions.
    pub(super) fn every_event(&self) -> &Selection {
        self.every_event.get_or_init(|| Selection::every_event_of(self, |_| true))
    }

    /// Every event of the segments whose days of accounts do not hold: whose events are gone is not in them.
    pub(super) fn without_account_days(&self) -> &Selection {
        let is_without = |live: &LiveSegment| !live.knows_account_days();
        self.without_account_days.get_or_init(|| Selection::every_event_of(self, is_without))
    }

    pub(super) fn group(&self, segment: u32, group: u32) -> Group<'s> {
        let segments: &'s [LiveSegment] = &self.snapshot.segments;
        segments[segment as usize].segment.group_at(group as usize)
    }

    /// The time of the first event that is seen.
    pub fn first_event(&self) -> Result<Option<TimeMs>, Problem> {
        let start = self.history.start.max(self.snapshot.expired_before);
        let segments = self.segments(RowKind::Events);
        let mut groups: Vec<(Group<'_>, &LiveSegment)> = segments
            .flat_map(|(_, live)| live.segment.groups().map(move |group| (group, live)))
            .filter(|(group, _)| group.meta().time_max >= start)
            .collect();
        // Of the group that begins first, nearly always, and of no other.
        groups.sort_by_key(|(group, _)| group.meta().time_min);
        let mut first = self.history.end;
        for (group, live) in groups {
            let begins = group.meta().time_min;
            if begins >= first {
                break;
            }
            let is_whole = live.dead.is_empty() && begins >= start;
            first = if is_whole { begins } else { first.min(first_seen(&group, live, start..first)?) };
        }
        Ok((first < self.history.end).then_some(first))
    }

    pub(super) fn task_count(&self) -> u32 {
        self.snapshot.ordinal_count(self.entity).div_ceil(TASK_USER_COUNT)
    }

    /// Observes all tasks on all cores, and finishes.
    pub fn run<A: Analysis>(&self, analysis: &A) -> Result<A::Output, Problem> {
        let task_count = self.task_count();
        let next = AtomicU32::new(0);
        let work = || -> Result<(A::Partial, Charge), Problem> {
            let mut partial = analysis.empty();
            let (mut observed_count, mut charge) = (0_u32, Charge::default());
            loop {
                self.meter.check()?;
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= task_count {
                    return Ok((partial, charge));
                }
                analysis.observe(&Task::new(self, index), &mut partial)?;
                observed_count += 1;
                if observed_count.is_power_of_two() {
                    drop(charge);
                    charge = self.meter.charge(weigh(&partial))?;
                }
            }
        };
        let pool = pool(self.meter.makes_way());
        let helpers = pool.current_num_threads().min(task_count as usize).saturating_sub(1);
        let merged: Mutex<Result<_, Problem>> = Mutex::new(Ok(None::<(A::Partial, Charge)>));
        let add = |outcome: Result<(A::Partial, Charge), Problem>| {
            let mut merged = merged.lock();
            match (outcome, &mut *merged) {
                (Ok((partial, _)), Ok(Some((all, _)))) => all.merge(partial),
                (Ok(first), Ok(none)) => *none = Some(first),
                (Err(problem), _) => {
                    // The others need not go on.
                    next.store(task_count, Ordering::Relaxed);
                    *merged = Err(problem);
                }
                (Ok(_), Err(_)) => {}
            }
        };
        pool.in_place_scope(|scope| {
            for _ in 0..helpers {
                scope.spawn(|_| add(work()));
            }
            add(work());
        });
        let (partial, _charge) = merged.into_inner()?.expect("this thread worked too");
        analysis.finish(partial)
    }
}

static POOLS: [OnceLock<rayon::ThreadPool>; 2] = [OnceLock::new(), OnceLock::new()];

/// Forgets what was kept for further queries, and has each of their threads give back what it freed, as soon as it has
/// nothing else to do.
pub(crate) fn return_memory_of_queries() {
    forget_account_orders();
    for pool in POOLS.iter().filter_map(OnceLock::get) {
        pool.spawn_broadcast(|_| return_memory());
    }
}

/// The threads that queries share: one for each core, and as many again for queries that make way. Were they the same,
/// a quick query would wait for the tasks of a slow one.
fn pool(makes_way: bool) -> &'static rayon::ThreadPool {
    POOLS[usize::from(makes_way)].get_or_init(|| {
        let word = if makes_way { "slow" } else { "query" };
        let threads =
            rayon::ThreadPoolBuilder::new().thread_name(move |index| format!("flywheel-{word}-{index}"));
        let threads = if makes_way { threads.start_handler(|_| step_back()) } else { threads };
        threads.build().expect("threads can be started")
    })
}

/// The time of the first event of a group in a range of times that is not gone; the range's end if there is none.
fn first_seen(group: &Group<'_>, live: &LiveSegment, range: Range<TimeMs>) -> Result<TimeMs, Damage> {
    let (users, times) = (group.users()?, group.times()?);
    let (mut first, mut row) = (range.end, 0);
    times.for_each_block(0..group.row_count(), |block| {
        for time in block {
            let time = group.meta().time_min + *time as i64;
            // Whose event it is has to be found only each time that one is earlier than all before it.
            if time < first && time >= range.start && !live.dead.contains(users.get(row) as u32) {
                first = time;
            }
            row += 1;
        }
    });
    Ok(first)
}

/// Where the value of a property lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CellPlace {
    Missing,
    /// A code into the values of the property in a segment.
    Code {
        segment: u32,
        code: u32,
    },
    /// A mantissa at an exponent.
    Number {
        mantissa: i64,
        exponent: i32,
    },
}

/// The current values of a property in the profiles of a range of ordinals.
pub(super) fn profile_cells(
    scan: &Scan<'_>,
    kind: RowKind,
    property: &str,
    ordinals: Range<u32>,
) -> Result<Vec<CellPlace>, Damage> {
    let mut cells = vec![(TimeMs::MIN, CellPlace::Missing); ordinals.len()];
    for (index, live) in scan.segments(kind) {
        let Some(group) = live.segment.group(property) else { continue };
        let users = group.users()?;
        let rows = group.user_rows(&users, ordinals.start, u64::from(ordinals.end));
        let (mut owners, mut times) = (Vec::new(), Vec::new());
        users.read_u32(rows.clone(), &mut owners);
        group.times()?.read(rows.clone(), &mut times);
        let column = match live.segment.property(property) {
            Some(place) => group.column(place)?,
            None => None,
        };
        for ((row, owner), time) in rows.zip(owners).zip(times) {
            let cell = &mut cells[(owner - ordinals.start) as usize];
            let time = group.meta().time_min + time as i64;
            if time > cell.0 && !live.dead.contains(owner) {
                *cell =
                    (time, column.as_ref().map_or(CellPlace::Missing, |column| cell_at(column, index, row)));
            }
        }
    }
    Ok(cells.into_iter().map(|(_, cell)| cell).collect())
}

/// What a column holds in a row.
pub(super) fn cell_at(column: &Column<'_>, segment: u32, row: usize) -> CellPlace {
    match column {
        Column::Codes { codes, .. } => match codes.get(row) {
            0 => CellPlace::Missing,
            code => CellPlace::Code { segment, code: code as u32 },
        },
        Column::Numbers { exponent, mantissa_min, mantissas, presence, .. } => {
            if presence.is_some_and(|presence| presence.get(row) == 0) {
                return CellPlace::Missing;
            }
            let mantissa = mantissa_min.wrapping_add(mantissas.get(row) as i64);
            CellPlace::Number { mantissa, exponent: *exponent }
        }
    }
}
