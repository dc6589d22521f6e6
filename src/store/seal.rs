//! From memory to segments: a checkpoint, after which the log starts anew.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use roaring::RoaringBitmap;

use super::dictionary::{Dictionary, IdFile};
use super::documents::Documents;
use super::identity::Identities;
use super::manifest::{
    FileEntry, MANIFEST_NAME, Manifest, SegmentEntry, ids_name, log_name, parse_name, segment_name,
};
use super::tombstones::Tombstones;
use super::view::{DiskSegment, LiveSegment, Partition, Run};
use super::{Inner, Writer, io_problem};
use crate::api::Problem;
use crate::io::{PublishError, publish};
use crate::segment::{Form, MergeSource, RowKind, Segment, merge};

/// The state at the moment when sealing began.
pub(super) struct Freeze {
    number: u64,
    next_arrival: u64,
    runs: Vec<Run>,
    identities: Arc<Identities>,
    documents: Arc<Documents>,
    tombstones: Arc<Tombstones>,
    deleted_users: RoaringBitmap,
    user_count: u32,
    account_count: u32,
    /// Logs that hold nothing later.
    logs: Vec<String>,
}

/// Files that a checkpoint wrote and the manifest does not name yet.
#[derive(Default)]
pub(super) struct Written {
    segments: Vec<(Partition, u64, Arc<Segment>)>,
    users: Option<(u64, Arc<IdFile>)>,
    accounts: Option<(u64, Arc<IdFile>)>,
    names: Vec<String>,
}

impl Inner {
    /// Moves everything in memory into segments.
    pub(super) fn seal(&self) -> Result<(), Problem> {
        let _sealing = self.sealing.lock();
        self.check_writable()?;
        let Some(freeze) = self.freeze()? else { return Ok(()) };
        let mut written = Written::default();
        let outcome =
            self.write_frozen(&freeze, &mut written).and_then(|()| self.publish_frozen(&freeze, &written));
        if let Err((problem, manifest_unknown)) = outcome {
            self.unfreeze(&freeze, &written, manifest_unknown, &problem);
            self.telemetry.seals_failed.add(1);
            return Err(problem);
        }
        self.telemetry.seals.add(1);
        Ok(())
    }

    /// Takes what is in memory for this checkpoint, and turns the log to a new file. `None` if nothing changed since
    /// the last checkpoint.
    ///
    /// Of a load, which has no log to turn, it takes what is sorted: more may arrive meanwhile.
    pub(super) fn freeze(&self) -> Result<Option<Freeze>, Problem> {
        // Nearly all of it is sorted while others go on writing.
        let form = if self.form == Form::Small { Form::Quick } else { self.form };
        {
            let _sorting = self.sorting.lock();
            self.sort_tail(form);
        }
        let mut writer = self.writer.lock();
        if writer.number == writer.manifest.checkpoint {
            return Ok(None);
        }
        self.resume(&mut writer)?;
        let is_load = writer.is_loading();
        let older = match is_load {
            true => writer.log.take(),
            false => self.begin_log(&mut writer, &[])?,
        };
        writer.older_logs.extend(older.map(|log| log.name().to_owned()));

        let _sorting = self.sorting.lock();
        if !is_load {
            self.sort_tail(Form::Quick);
        }
        let mut view = self.view.write();
        let number = if view.tail.is_empty() { writer.number } else { view.sorted_number };
        if number == writer.manifest.checkpoint {
            return Ok(None);
        }
        for run in Arc::make_mut(&mut view.runs) {
            run.frozen = Some(Arc::clone(&run.live.dead));
        }
        let rest = view.tail.iter().map(|chunk| chunk.size()).sum();
        let size = self.head_size.swap(rest, Ordering::Relaxed);
        self.frozen_size.fetch_add(size.saturating_sub(rest), Ordering::Relaxed);
        let rest = view.tail.iter().flat_map(|chunk| chunk.marks()).collect();
        let marks = std::mem::replace(&mut writer.marks, rest);
        writer.frozen_marks.extend(marks);
        writer.frozen_dead = view.disk.iter().map(|disk| (disk.file, Arc::clone(&disk.live.dead))).collect();
        Ok(Some(Freeze {
            number,
            next_arrival: writer.next_arrival,
            runs: view.runs.to_vec(),
            identities: Arc::clone(&view.identities),
            documents: Arc::clone(&view.documents),
            tombstones: Arc::clone(&view.tombstones),
            deleted_users: self.users.deleted(),
            user_count: self.users.len(),
            account_count: self.accounts.len(),
            logs: writer.older_logs.clone(),
        }))
    }

    pub(super) fn write_frozen(&self, freeze: &Freeze, written: &mut Written) -> Result<(), (Problem, bool)> {
        let certain = |problem| (problem, false);
        let mut partitions: Vec<Partition> = freeze.runs.iter().map(|run| run.partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        for partition in partitions {
            let runs: Vec<&Run> = freeze.runs.iter().filter(|run| run.partition == partition).collect();
            let bytes = match runs[..] {
                // Of profiles a run is as small as it gets.
                [run]
                    if run.live.dead.is_empty()
                        && (run.form == self.form || partition.kind() != RowKind::Events) =>
                {
                    run.live.segment.bytes().clone()
                }
                _ => {
                    let sources: Vec<MergeSource<'_>> = runs.iter().map(|run| run.live.as_source()).collect();
                    let merged = merge(partition.kind(), &sources, self.form, Vec::new());
                    Bytes::from(merged.expect("runs in memory are sound"))
                }
            };
            if let Some((file, segment)) = self.write_segment(&bytes, &mut written.names).map_err(certain)? {
                written.segments.push((partition, file, segment));
            }
        }
        let mut ids = |dictionary: &Dictionary, count, deleted: &RoaringBitmap| {
            self.write_ids(dictionary, count, false, deleted, &mut written.names)
        };
        written.users = ids(&self.users, freeze.user_count, &freeze.deleted_users).map_err(certain)?;
        written.accounts =
            ids(&self.accounts, freeze.account_count, &RoaringBitmap::new()).map_err(certain)?;
        Ok(())
    }

    /// Writes a segment and maps it; `None` if it has no rows.
    pub(super) fn write_segment(
        &self,
        bytes: &Bytes,
        names: &mut Vec<String>,
    ) -> Result<Option<(u64, Arc<Segment>)>, Problem> {
        let in_memory = Segment::open("a segment in memory", bytes.clone())?;
        if in_memory.row_count() == 0 {
            return Ok(None);
        }
        let (file, name) = self.new_unnamed_file(segment_name);
        let mapped = self.write_and_map(&name, bytes, names)?;
        Ok(Some((file, Arc::new(Segment::open(&name, mapped)?))))
    }

    pub(super) fn write_ids(
        &self,
        dictionary: &Dictionary,
        count: u32,
        purge: bool,
        deleted: &RoaringBitmap,
        names: &mut Vec<String>,
    ) -> Result<Option<(u64, Arc<IdFile>)>, Problem> {
        let Some((_, bytes)) = dictionary.checkpoint(count, purge, deleted) else { return Ok(None) };
        let (file, name) = self.new_unnamed_file(ids_name);
        let mapped = self.write_and_map(&name, &bytes, names)?;
        Ok(Some((file, Arc::new(IdFile::open(&name, mapped)?))))
    }

    fn write_and_map(&self, name: &str, bytes: &[u8], names: &mut Vec<String>) -> Result<Bytes, Problem> {
        names.push(name.to_owned());
        publish(&*self.directory, name, &[bytes])
            .map_err(|error| io_problem(&format!("write {name}"), &error.error))?;
        self.directory.map(name).map_err(|error| io_problem(&format!("map {name}"), &error))
    }

    /// Names the files in the manifest, and shows them in the place of what was in memory.
    pub(super) fn publish_frozen(&self, freeze: &Freeze, written: &Written) -> Result<(), (Problem, bool)> {
        let mut writer = self.writer.lock();
        let mut manifest = Manifest {
            checkpoint: freeze.number,
            next_arrival: freeze.next_arrival,
            segments: Vec::new(),
            users: with_ids(&writer.manifest.users, self.users.files(), written.users.as_ref()),
            accounts: with_ids(&writer.manifest.accounts, self.accounts.files(), written.accounts.as_ref()),
            deleted_users: freeze.deleted_users.clone(),
            identities: (*freeze.identities).clone(),
            documents: (*freeze.documents).clone(),
            tombstones: (*freeze.tombstones).clone(),
            // After a load there is none: the next change begins one.
            log: writer.manifest.log.filter(|_| writer.log.is_some()),
            ..writer.manifest.clone()
        };
        for known in &writer.manifest.segments {
            let dead = (*writer.frozen_dead[&known.at.file]).clone();
            manifest.segments.push(SegmentEntry { dead, at: known.at });
        }
        for (_, file, segment) in &written.segments {
            let at = entry_of(*file, segment);
            manifest.segments.push(SegmentEntry { at, dead: RoaringBitmap::new() });
        }
        self.write_manifest(&mut writer, manifest)?;

        let _sorting = self.sorting.lock();
        let mut view = self.view.write();
        for disk in Arc::make_mut(&mut view.disk) {
            disk.checkpoint_dead = Arc::clone(&writer.frozen_dead[&disk.file]);
        }
        let (frozen, rest): (Vec<Run>, Vec<Run>) =
            view.runs.iter().cloned().partition(|run| run.frozen.is_some());
        view.runs = Arc::new(rest);
        for (partition, file, segment) in &written.segments {
            let runs = frozen.iter().filter(|run| run.partition == *partition);
            let since = runs.map(|run| &*run.live.dead - &**run.frozen.as_ref().expect("they are frozen"));
            let dead = since.fold(RoaringBitmap::new(), |all, dead| all | dead);
            let live = LiveSegment { segment: Arc::clone(segment), dead: Arc::new(dead) };
            Arc::make_mut(&mut view.disk).push(DiskSegment {
                live,
                file: *file,
                checkpoint_dead: Arc::default(),
            });
        }
        drop(view);
        for (dictionary, file) in [(&self.users, &written.users), (&self.accounts, &written.accounts)] {
            if let Some((_, file)) = file {
                dictionary.install(Arc::clone(file));
            }
        }
        // With its memory: after a load of a million events that is 36 MB.
        writer.frozen_marks = HashSet::new();
        writer.frozen_dead = HashMap::new();
        self.frozen_size.store(0, Ordering::Relaxed);
        writer.older_logs.retain(|name| !freeze.logs.contains(name));
        self.remove_unnamed(&writer);
        Ok(())
    }

    /// Replaces the manifest. With an error comes whether nobody knows which of the two the disk has: then the store
    /// takes no writes until [`Inner::resume`] wrote it again.
    pub(super) fn write_manifest(
        &self,
        writer: &mut Writer,
        manifest: Manifest,
    ) -> Result<(), (Problem, bool)> {
        let manifest = Manifest { next_file: writer.next_file, clock: self.clock.now(), ..manifest };
        if let Err(PublishError { error, may_be_there }) =
            publish(&*self.directory, MANIFEST_NAME, &[&manifest.encode()])
        {
            let problem = io_problem("write the manifest", &error);
            if may_be_there {
                writer.failed = Some(problem.detail.clone());
            }
            return Err((problem, may_be_there));
        }
        for (name, _) in manifest.files() {
            writer.unnamed.remove(&name);
        }
        writer.manifest = manifest;
        Ok(())
    }

    /// Puts everything back as it was before [`Inner::freeze`], but for the log, which stays turned.
    fn unfreeze(&self, freeze: &Freeze, written: &Written, manifest_unknown: bool, problem: &Problem) {
        let mut writer = self.writer.lock();
        let _sorting = self.sorting.lock();
        let mut view = self.view.write();
        for run in Arc::make_mut(&mut view.runs) {
            run.frozen = None;
        }
        drop(view);
        let frozen = std::mem::take(&mut writer.frozen_marks);
        writer.marks.extend(frozen);
        writer.frozen_dead = HashMap::new();
        drop(writer);
        let size = self.frozen_size.swap(0, Ordering::Relaxed);
        self.head_size.fetch_add(size, Ordering::Relaxed);
        tracing::warn!(%problem, change = freeze.number, "sealing failed; everything stays in memory and in the log");
        self.let_go(&written.names, !manifest_unknown);
    }

    /// Gives up files that were written for a manifest. They may be removed now if the disk is sure not to have it.
    pub(super) fn let_go(&self, names: &[String], is_sure: bool) {
        let mut writer = self.writer.lock();
        for name in names {
            writer.unnamed.remove(name);
            if is_sure {
                let _ = self.directory.remove(name); // what is left is removed later
            }
        }
    }

    /// Removes files of ours that the manifest does not name. What cannot be removed now is removed later.
    pub(super) fn remove_unnamed(&self, writer: &Writer) {
        let Ok(files) = self.directory.list() else { return };
        let named: HashSet<String> = writer.manifest.files().map(|(name, _)| name).collect();
        for (name, _) in files {
            let Some((_, ending)) = parse_name(&name) else { continue };
            let is_log = ending == "log" && !name.ends_with(".new");
            let is_live_log = is_log
                && (writer.older_logs.contains(&name)
                    || writer.manifest.log.is_some_and(|log| log_name(log) == name)
                    || writer.log.as_ref().is_some_and(|log| log.name() == name));
            let is_being_written = writer.unnamed.contains(name.strip_suffix(".new").unwrap_or(&name));
            if !is_live_log && !is_being_written && !named.contains(&name) {
                let _ = self.directory.remove(&name);
            }
        }
    }
}

/// What the manifest says of a segment.
pub(super) fn entry_of(file: u64, segment: &Segment) -> FileEntry {
    FileEntry { file, size: segment.bytes().len() as u64, fingerprint: Some(segment.fingerprint()) }
}

/// The id files of a manifest after a new one took the place of those from its first ordinal on.
pub(super) fn with_ids(
    known: &[FileEntry],
    files: Vec<Arc<IdFile>>,
    new: Option<&(u64, Arc<IdFile>)>,
) -> Vec<FileEntry> {
    let Some((number, file)) = new else { return known.to_vec() };
    let kept = files.iter().filter(|known| known.first < file.first).count();
    let added = FileEntry { file: *number, size: file.size(), fingerprint: Some(file.fingerprint()) };
    known[..kept].iter().copied().chain([added]).collect()
}
