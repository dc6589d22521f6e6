//! Many segments to few.
//!
//! Segments are kept in order of their earliest event. Neighbours of similar size are joined, so that every row is
//! copied a logarithmic number of times; and since neighbours in time may be months apart, sealed history grows long:
//! funnels over one long segment are faster than over many short ones (docs/benchmarks.md).

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::expire::with_cutoff;
use super::health::Watch;
use super::manifest::{Manifest, SegmentEntry};
use super::seal::{entry_of, with_ids};
use super::view::{DiskSegment, LiveSegment};
use super::{Inner, io_problem};
use crate::api::Problem;
use crate::limits::{COMPACTION_FAN_IN, COMPACTION_FAN_IN_MAX, SEGMENT_ROW_COUNT_MAX};
use crate::model::TimeMs;
use crate::segment::{Form, MergeError, MergeSource, RowKind, Segment, merge};

impl Inner {
    /// Joins all segments that may be joined, and drops the bytes of everything deleted. Segments that turned out
    /// damaged are left as they are, and told when the others are done.
    pub(super) fn compact_all(&self) -> Result<(), Problem> {
        self.check_writable()?;
        let _joining = self.joining.lock();
        self.seal()?;
        self.expire_while_joining(false)?;
        let cutoff = self.expired_before();
        let mut all = self.disk_by_time();
        while let Some(first) = all.first() {
            let kind = first.live.segment.kind();
            let mut rows = 0;
            let joined = all.iter().take_while(|disk| {
                rows += disk.live.segment.row_count();
                disk.live.segment.kind() == kind
                    && (rows <= SEGMENT_ROW_COUNT_MAX || rows == disk.live.segment.row_count())
            });
            let count = joined.count();
            let inputs: Vec<DiskSegment> = all.drain(..count).collect();
            let loses_events = inputs[0].as_checkpoint_source(cutoff).loses_events();
            let is_of_form = self.is_of_form(&inputs[0].live.segment);
            if inputs.len() > 1 || !inputs[0].checkpoint_dead.is_empty() || loses_events || !is_of_form {
                self.join(inputs)?;
            }
        }
        self.purge_ids()?;
        // Whoever asked for bytes to be gone is answered when they cannot come back, and told where they may still be.
        self.directory.sync_directory().map_err(|error| io_problem("sync the data directory", &error))?;
        let disk = Arc::clone(&self.view.read().disk);
        Ok(disk.iter().try_for_each(|disk| disk.live.segment.check_mapped())?)
    }

    /// Whether a segment is as those are that are written now.
    fn is_of_form(&self, segment: &Segment) -> bool {
        segment.kind() != RowKind::Events || segment.has_anchors() == (self.form == Form::Small)
    }

    /// Joins neighbours of similar size until there are none.
    pub(super) fn compact_where_due(&self) -> Result<(), Problem> {
        loop {
            let _joining = self.joining.lock();
            if self.stopping.load(Ordering::Relaxed) || !self.missing.is_empty() {
                return Ok(());
            }
            self.expire_while_joining(false)?;
            // While a history is loaded, much of what is small now will soon have more neighbours.
            let is_loading = self.is_loading.load(Ordering::Relaxed);
            let count_min = if is_loading { COMPACTION_FAN_IN_MAX } else { COMPACTION_FAN_IN };
            let all = self.disk_by_time();
            let Some(inputs) = due(&all, count_min).map(<[DiskSegment]>::to_vec) else { return Ok(()) };
            let size: u64 = inputs.iter().map(|disk| disk.live.segment.bytes().len() as u64).sum();
            if let Err(problem) = self.check_room(size, self.disk_reserve) {
                // Many segments are slower to read; a disk that is full takes no events.
                tracing::info!(%problem, "segments are not joined");
                return Ok(());
            }
            match self.join(inputs) {
                Err(_) if self.stopping.load(Ordering::Relaxed) => return Ok(()),
                joined => joined?,
            }
        }
    }

    /// The segments on disk, those apart that turned out damaged: they stay as they are.
    pub(super) fn disk_by_time(&self) -> Vec<DiskSegment> {
        let mut all = self.view.read().disk.to_vec();
        all.retain(|disk| disk.live.segment.check_mapped().is_ok());
        all.sort_by_key(|disk| (disk.live.segment.kind(), disk.live.segment.time_range(), disk.file));
        all
    }

    /// Writes one segment in the place of several. The caller holds `joining`; memory may be sealed meanwhile.
    ///
    /// Only rows that were gone at the checkpoint, or are expired, are left out. Those that went since, because their
    /// users were merged, are what replaying the log moves: they stay on disk until a checkpoint has their new place.
    pub(super) fn join(&self, inputs: Vec<DiskSegment>) -> Result<(), Problem> {
        let kind = inputs[0].live.segment.kind();
        let cutoff = self.expired_before();
        let watch = Watch::begin();
        let merged = {
            let sources: Vec<MergeSource<'_>> =
                inputs.iter().map(|disk| disk.as_checkpoint_source(cutoff)).collect();
            let sink = UntilStopped { bytes: Vec::new(), stopping: &self.stopping };
            // Zeros in the place of what was proved sound may also break what the code relies on.
            catch_unwind(AssertUnwindSafe(|| merge(kind, &sources, self.form, sink)))
        };
        // What was made of zeros must not take the place of what may be read again.
        self.checked(watch, Ok(()))?;
        let merged = merged.unwrap_or_else(|panic| resume_unwind(panic)).map_err(|error| match error {
            MergeError::Damage(damage) => Problem::from(damage),
            MergeError::Io(error) => io_problem("join segments", &error),
        })?;
        let mut names = Vec::new();
        let output = self
            .check_room(merged.bytes.len() as u64, 0)
            .and_then(|()| self.write_segment(&Bytes::from(merged.bytes), &mut names));
        let mut is_unknown = false;
        let outcome = output.and_then(|output| {
            self.replace(&inputs, output, cutoff).map_err(|(problem, unknown)| {
                is_unknown = unknown;
                problem
            })
        });
        match outcome {
            Ok(()) => self.telemetry.compactions.add(1),
            // A join that a closing store gives up is no failure.
            Err(_) if self.stopping.load(Ordering::Relaxed) => {}
            Err(_) => self.telemetry.compactions_failed.add(1),
        }
        if outcome.is_err() {
            self.let_go(&names, !is_unknown);
        }
        outcome
    }

    /// Names a segment in the place of several, of which it has everything from `cutoff` on. With an error comes
    /// whether the manifest on the disk may name it all the same.
    pub(super) fn replace(
        &self,
        inputs: &[DiskSegment],
        output: Option<(u64, Arc<Segment>)>,
        cutoff: TimeMs,
    ) -> Result<(), (Problem, bool)> {
        let mut writer = self.writer.lock();
        let is_input = |file: u64| inputs.iter().any(|input| input.file == file);
        let mut manifest = match inputs.iter().any(|disk| disk.as_checkpoint_source(cutoff).loses_events()) {
            true => with_cutoff(writer.manifest.clone(), cutoff),
            false => writer.manifest.clone(),
        };
        manifest.segments.retain(|entry| !is_input(entry.at.file));
        let named = &writer.manifest.segments;
        let named_dead = gone_since(inputs, |file| {
            named.iter().find(|entry| entry.at.file == file).map(|entry| &entry.dead)
        });
        if let Some((file, segment)) = &output {
            manifest.segments.push(SegmentEntry { at: entry_of(*file, segment), dead: named_dead.clone() });
        }
        self.write_manifest(&mut writer, manifest)?;
        if let Some((file, _)) = &output
            && !writer.frozen_dead.is_empty()
        {
            let dead = gone_since(inputs, |file| writer.frozen_dead.get(&file).map(|dead| &**dead));
            writer.frozen_dead.insert(*file, Arc::new(dead));
        }

        let _sorting = self.sorting.lock();
        let mut view = self.view.write();
        let (replaced, mut kept): (Vec<DiskSegment>, Vec<DiskSegment>) =
            view.disk.iter().cloned().partition(|disk| is_input(disk.file));
        if let Some((file, segment)) = output {
            let dead = gone_since(inputs, |file| {
                replaced.iter().find(|disk| disk.file == file).map(|disk| &*disk.live.dead)
            });
            kept.push(DiskSegment {
                live: LiveSegment { segment, dead: Arc::new(dead) },
                file,
                checkpoint_dead: Arc::new(named_dead),
            });
        }
        view.disk = Arc::new(kept);
        view.expired_before = writer.manifest.expired_before;
        drop(view);
        self.remove_unnamed(&writer);
        Ok(())
    }

    /// Writes id files anew without the ids of deleted users.
    fn purge_ids(&self) -> Result<(), Problem> {
        let _sealing = self.sealing.lock();
        let mut names = Vec::new();
        let in_files = self.users.files().last().map_or(0, |file| file.first + file.count());
        let deleted = self.writer.lock().manifest.deleted_users.clone();
        let written = self.write_ids(&self.users, in_files, true, &deleted, &mut names);
        let outcome = written.and_then(|new| {
            let Some(new) = new else { return Ok(()) };
            let mut writer = self.writer.lock();
            let users = with_ids(&writer.manifest.users, self.users.files(), Some(&new));
            let manifest = Manifest { users, ..writer.manifest.clone() };
            self.write_manifest(&mut writer, manifest).map_err(|(problem, _)| problem)?;
            self.users.install(new.1);
            self.remove_unnamed(&writer);
            Ok(())
        });
        outcome.inspect_err(|_| self.let_go(&names, false))
    }
}

/// Who went, by what is said of each input, since it was read to be joined: they went from all of them.
fn gone_since<'d>(inputs: &[DiskSegment], dead: impl Fn(u64) -> Option<&'d RoaringBitmap>) -> RoaringBitmap {
    let since = inputs.iter().filter_map(|input| Some(dead(input.file)? - &*input.checkpoint_dead));
    since.fold(RoaringBitmap::new(), |all, dead| all | dead)
}

/// A segment that is being written in memory, until the store closes: a long one is not worth waiting for.
struct UntilStopped<'a> {
    bytes: Vec<u8>,
    stopping: &'a AtomicBool,
}

impl Write for UntilStopped<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(io::Error::other("the store is closing"));
        }
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The neighbours that should be joined next, `count_min` at least: as many as there are, of these the fewest rows.
fn due(all: &[DiskSegment], count_min: usize) -> Option<&[DiskSegment]> {
    let counts = count_min..=all.len().min(COMPACTION_FAN_IN_MAX);
    counts.rev().find_map(|count| {
        let windows = all.windows(count).filter(|window| is_alike(window));
        windows.min_by_key(|window| window.iter().map(row_count).sum::<u64>())
    })
}

fn row_count(disk: &DiskSegment) -> u64 {
    disk.live.segment.row_count()
}

/// Whether neighbours may be joined, and are of similar size.
fn is_alike(neighbours: &[DiskSegment]) -> bool {
    let total: u64 = neighbours.iter().map(row_count).sum();
    let largest = neighbours.iter().map(row_count).max().unwrap_or(0);
    let kind = neighbours[0].live.segment.kind();
    // Of four, the largest is no more than the others together, twice over; so what is joined grows by half at least.
    let others = neighbours.len() as u64 - 1;
    let is_similar = largest * others <= 2 * (COMPACTION_FAN_IN as u64 - 1) * (total - largest);
    let is_one_kind = neighbours.iter().all(|disk| disk.live.segment.kind() == kind);
    is_one_kind && (is_similar || kind != RowKind::Events) && total <= SEGMENT_ROW_COUNT_MAX
}
