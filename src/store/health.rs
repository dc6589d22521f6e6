//! What is wrong with an open store, and who must know.
//!
//! A segment that cannot be opened is left out if the store was opened so ([`super::StoreOptions::degraded`]): then
//! the store takes no writes, as neither duplicates nor merges could be worked out without it, and every answer says
//! that it is without it. A file that is damaged under its mapping later ([`crate::io::fault_count`]) fails whatever
//! reads of it, and what was being read at that moment.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::{Dictionary, Inner, Snapshot, Store};
use crate::api::{Problem, ProblemClass};
use crate::format::DecodeError;
use crate::io;
use crate::segment::{Damage, Segment};

/// A file that the manifest names and that is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingFile {
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What is wrong with a store. Nothing is, by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Segments that are left out of every answer.
    pub missing: Vec<MissingFile>,
    /// Files that turned out damaged while they were open: what needs them fails.
    pub damaged: Vec<String>,
    /// Why writes are refused: the last one failed, and none succeeded since, or the disk is nearly full.
    pub write_failure: Option<String>,
    /// Why nothing expires.
    pub expiry_halted: Option<String>,
}

impl Health {
    /// Whether all is well with what is stored.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.damaged.is_empty()
    }
}

/// From here to [`Watch::checked`], whether anything mapped turned out damaged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    faults_before: u64,
}

impl Watch {
    pub fn begin() -> Watch {
        Watch { faults_before: io::fault_count() }
    }

    /// Fails if these bytes, mapped from a file, were damaged since the watch began.
    pub fn check_bytes(self, name: &str, bytes: &[u8]) -> Result<(), Damage> {
        io::check_mappings();
        if io::fault_count() == self.faults_before || io::is_intact(bytes) {
            return Ok(());
        }
        let error = DecodeError::Unreadable { structure: "the file" };
        Err(Damage { file: name.to_owned(), error })
    }

    /// Fails if a file of ids is damaged, or a segment turned out to be since the watch began.
    fn check<'a>(
        self,
        mut segments: impl Iterator<Item = &'a Segment>,
        dictionaries: [&Dictionary; 2],
    ) -> Result<(), Damage> {
        io::check_mappings();
        match io::fault_count() {
            0 => return Ok(()),
            count if count == self.faults_before => {}
            _ => segments.try_for_each(Segment::check_mapped)?,
        }
        dictionaries.into_iter().flat_map(Dictionary::files).try_for_each(|file| file.check_mapped())
    }
}

impl Inner {
    /// The outcome of work on everything that is live, begun with the watch, unless something it may have read was
    /// damaged: then that.
    pub(super) fn checked<T>(&self, watch: Watch, outcome: Result<T, Problem>) -> Result<T, Problem> {
        let disk = self.view.read().disk.clone();
        let segments = disk.iter().map(|disk| &*disk.live.segment);
        watch.check(segments, [&self.users, &self.accounts])?;
        outcome
    }

    /// Fails if the store takes no writes because something is left out of it.
    pub(super) fn check_writable(&self) -> Result<(), Problem> {
        let Some(missing) = self.missing.first() else { return Ok(()) };
        let detail = format!("the store is open without {} and takes no writes", missing.name);
        Err(Problem::new(ProblemClass::ReadOnly, detail).hint(
            "nothing of this request was stored; restore the file, or the store from a backup, and restart",
        ))
    }
}

impl Store {
    /// What is wrong with the store at the moment.
    pub fn health(&self) -> Health {
        io::check_mappings();
        let write_failure = {
            let mut writer = self.inner.writer.lock();
            // Nobody may be writing any more, because of what is told here.
            let _ = self.inner.resume(&mut writer);
            writer.failed.clone().or_else(|| self.inner.check_disk().err().map(|problem| problem.detail))
        };
        let view = self.inner.view.read().without_tail();
        let segments = view.disk.iter().filter(|disk| disk.live.segment.check_mapped().is_err());
        let mut damaged: Vec<String> = segments.map(|disk| disk.live.segment.name().to_owned()).collect();
        for file in self.inner.users.files().iter().chain(&self.inner.accounts.files()) {
            damaged.extend(file.check_mapped().err().map(|damage| damage.file));
        }
        Health {
            missing: self.inner.missing.to_vec(),
            damaged,
            write_failure,
            expiry_halted: self.inner.expiry_halted(),
        }
    }

    /// Answers from one snapshot, and fails if a file turned out damaged while it was being read: what was made of
    /// zeros is never told.
    pub(crate) fn read<T>(
        &self,
        answer: impl FnOnce(&Snapshot<'_>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let watch = Watch::begin();
        let snapshot = self.snapshot();
        // Zeros in the place of what was proved sound may also break what the code relies on.
        let answered = catch_unwind(AssertUnwindSafe(|| answer(&snapshot)));
        let segments = snapshot.segments.iter().map(|live| &*live.segment);
        watch.check(segments, [&self.inner.users, &self.inner.accounts])?;
        answered.unwrap_or_else(|panic| resume_unwind(panic))
    }
}
