//! What readers see: live segments on disk and in memory, and the newest rows.

use std::sync::Arc;

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::documents::Documents;
use super::effect::{EventMark, event_mark};
use super::identity::Identities;
use super::tombstones::Tombstones;
use crate::model::{DAY_MS, EventBatch, TimeMs};
use crate::segment::{BatchRow, Form, MergeSource, RowKind, Segment, build, merge};

/// A segment and the ordinals whose rows in it are gone.
#[derive(Clone, Debug)]
pub struct LiveSegment {
    pub segment: Arc<Segment>,
    pub dead: Arc<RoaringBitmap>,
}

impl LiveSegment {
    fn new(segment: Segment) -> LiveSegment {
        LiveSegment { segment: Arc::new(segment), dead: Arc::default() }
    }

    /// Whether the days on which accounts had events are those that the segment tells.
    pub fn knows_account_days(&self) -> bool {
        self.dead.is_empty() && self.segment.knows_account_days()
    }

    pub fn as_source(&self) -> MergeSource<'_> {
        MergeSource { segment: &self.segment, dead: &self.dead, from: TimeMs::MIN }
    }
}

/// A live segment that the manifest names.
#[derive(Clone, Debug)]
pub struct DiskSegment {
    pub live: LiveSegment,
    pub file: u64,
    /// The dead of the last checkpoint: those that the manifest names.
    pub checkpoint_dead: Arc<RoaringBitmap>,
}

impl DiskSegment {
    /// The segment as it was at the last checkpoint, without the events that are expired.
    pub fn as_checkpoint_source(&self, expired_before: TimeMs) -> MergeSource<'_> {
        MergeSource { segment: &self.live.segment, dead: &self.checkpoint_dead, from: expired_before }
    }
}

/// Which rows may share a segment when they leave memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Partition {
    /// Events of a calendar month (UTC), counted from year 0.
    Month(i32),
    UserProfiles,
    AccountProfiles,
}

impl Partition {
    pub fn kind(self) -> RowKind {
        match self {
            Partition::Month(_) => RowKind::Events,
            Partition::UserProfiles => RowKind::UserProfiles,
            Partition::AccountProfiles => RowKind::AccountProfiles,
        }
    }

    fn of(kind: RowKind, time: i64) -> Partition {
        match kind {
            RowKind::Events => Partition::Month(month_of(time)),
            RowKind::UserProfiles => Partition::UserProfiles,
            RowKind::AccountProfiles => Partition::AccountProfiles,
        }
    }
}

/// The calendar month (UTC) of a moment, by Hinnant's `civil_from_days` (2013): March-based years of whole days.
fn month_of(time: i64) -> i32 {
    let days = time.div_euclid(DAY_MS) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    // January and February belong to the March-based year before: counting months from March keeps them in order.
    ((era * 400 + year_of_era) * 12 + month_from_march + 2) as i32
}

/// Rows of one change, not sorted yet.
#[derive(Debug)]
pub struct Chunk {
    pub kind: RowKind,
    pub batch: Arc<EventBatch>,
    /// Their `batch` is 0.
    pub rows: Vec<BatchRow>,
}

impl Chunk {
    /// Bytes that it takes, roughly.
    pub fn size(&self) -> u64 {
        (self.batch.size() + std::mem::size_of_val(&*self.rows)) as u64
    }

    /// The marks of its events that have an id.
    pub fn marks(&self) -> impl Iterator<Item = EventMark> {
        let rows = self.rows.iter().filter(|_| self.kind == RowKind::Events);
        rows.filter_map(|row| {
            let event = self.batch.get(row.row as usize);
            Some(event_mark(event.event(), row.user, row.time, event.id()?.as_bytes()))
        })
    }
}

/// A segment in memory.
#[derive(Clone, Debug)]
pub struct Run {
    pub live: LiveSegment,
    pub partition: Partition,
    /// The form of its segment.
    pub form: Form,
    /// While the run is being sealed: its dead when that began.
    pub frozen: Option<Arc<RoaringBitmap>>,
}

impl Run {
    fn row_count(&self) -> u64 {
        self.live.segment.row_count()
    }
}

/// The state of the store after a change.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The last change in it.
    pub number: u64,
    pub disk: Arc<Vec<DiskSegment>>,
    pub runs: Arc<Vec<Run>>,
    /// Newer than the runs.
    pub tail: Vec<Arc<Chunk>>,
    /// The last change that is not in the tail, if there is one.
    pub sorted_number: u64,
    pub identities: Arc<Identities>,
    pub documents: Arc<Documents>,
    pub tombstones: Arc<Tombstones>,
    /// Of earlier events bytes may be gone already.
    pub expired_before: TimeMs,
}

impl View {
    /// The view without its newest rows: cheap to take, however many segments and new rows there are.
    pub fn without_tail(&self) -> View {
        View {
            number: self.number,
            disk: Arc::clone(&self.disk),
            runs: Arc::clone(&self.runs),
            tail: Vec::new(),
            sorted_number: self.number,
            identities: Arc::clone(&self.identities),
            documents: Arc::clone(&self.documents),
            tombstones: Arc::clone(&self.tombstones),
            expired_before: self.expired_before,
        }
    }

    /// Marks ordinals of users as gone from every segment. The tail must be empty.
    pub fn bury(&mut self, users: &[u32]) {
        debug_assert!(self.tail.is_empty(), "rows in the tail cannot be buried");
        let disk = Arc::make_mut(&mut self.disk).iter_mut().map(|disk| &mut disk.live);
        for live in disk.chain(Arc::make_mut(&mut self.runs).iter_mut().map(|run| &mut run.live)) {
            if live.segment.kind() == RowKind::AccountProfiles {
                continue;
            }
            let ranges = user_ranges(&live.segment);
            let may_have = |user: &u32| {
                let before = ranges.partition_point(|(start, _)| start <= user);
                before > 0 && *user <= ranges[before - 1].1
            };
            let gone = users.iter().filter(|user| may_have(user) && !live.dead.contains(**user));
            let gone: Vec<u32> = gone.copied().collect();
            if !gone.is_empty() {
                Arc::make_mut(&mut live.dead).extend(gone);
            }
        }
    }

    pub fn live(&self) -> impl Iterator<Item = &LiveSegment> {
        self.disk.iter().map(|disk| &disk.live).chain(self.runs.iter().map(|run| &run.live))
    }
}

/// The ordinals that a segment may have rows of, as ranges apart from one another, their ends included.
fn user_ranges(segment: &Segment) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> =
        segment.groups().map(|group| (group.meta().user_min, group.meta().user_max)).collect();
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let overlaps = next.0 <= kept.1;
        if overlaps {
            kept.1 = kept.1.max(next.1);
        }
        overlaps
    });
    ranges
}

/// Turns chunks into sorted runs of a form, one for each partition.
pub fn sorted_runs(chunks: &[Arc<Chunk>], form: Form) -> Vec<Run> {
    let mut by_partition: Vec<(Partition, Vec<BatchRow>)> = Vec::new();
    let mut places: HashMap<Partition, usize> = HashMap::new();
    let row_count = chunks.iter().map(|chunk| chunk.rows.len()).sum();
    for (index, chunk) in chunks.iter().enumerate() {
        // Neighbours are mostly of one day.
        let mut last = None;
        for row in &chunk.rows {
            let day = row.time.div_euclid(DAY_MS);
            let place = match last {
                Some((known, place)) if known == day => place,
                _ => {
                    let partition = Partition::of(chunk.kind, row.time);
                    *places.entry(partition).or_insert_with(|| {
                        let capacity = if by_partition.is_empty() { row_count } else { 0 };
                        by_partition.push((partition, Vec::with_capacity(capacity)));
                        by_partition.len() - 1
                    })
                }
            };
            last = Some((day, place));
            by_partition[place].1.push(BatchRow { batch: index as u32, ..*row });
        }
    }
    by_partition.sort_unstable_by_key(|(partition, _)| *partition);
    let batches: Vec<&EventBatch> = chunks.iter().map(|chunk| &*chunk.batch).collect();
    let run_of = |(partition, rows): (Partition, Vec<BatchRow>)| {
        let bytes = build(partition.kind(), &batches, &rows, form, Vec::new());
        run(partition, form, bytes.expect("a vector takes all writes"))
    };
    by_partition.into_iter().map(run_of).collect()
}

fn run(partition: Partition, form: Form, bytes: Vec<u8>) -> Run {
    let segment = Segment::open("a segment in memory", bytes.into()).expect("it was written just now");
    Run { live: LiveSegment::new(segment), partition, form, frozen: None }
}

/// Adds a run behind the others, and joins the newest of its partition while they are no more than twice as large,
/// so that there are few and every row is copied only a logarithmic number of times.
pub fn add_run(runs: &mut Vec<Run>, mut added: Run) {
    while let Some(at) = runs.iter().rposition(|run| {
        run.partition == added.partition && run.frozen.is_none() && run.row_count() <= 2 * added.row_count()
    }) {
        let older = runs.remove(at);
        let sources = [older.live.as_source(), added.live.as_source()];
        let bytes = merge(added.partition.kind(), &sources, Form::Quick, Vec::new())
            .expect("runs in memory are sound");
        added = run(added.partition, Form::Quick, bytes);
    }
    if added.row_count() > 0 {
        runs.push(added);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::parse_time;
    use jiff::tz::TimeZone;

    #[test]
    fn months_are_those_of_the_calendar() {
        let month = |date: &str| month_of(parse_time(date, &TimeZone::UTC).unwrap());
        assert_eq!(month("1970-01-31T23:59:59.999Z") + 1, month("1970-02-01"));
        assert_eq!(month("2023-12-31T23:59:59.999Z") + 1, month("2024-01-01"));
        assert_eq!(month("2024-02-01"), month("2024-02-29T23:00:00Z"));
        assert_eq!(month("2024-02-01") + 12, month("2025-02-28"));
        assert_eq!(month("1969-12-31") + 1, month("1970-01-01"));
    }
}
