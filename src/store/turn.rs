//! From one log to the next: when the first change comes, when a seal begins, after a replay, and after a failure.
//!
//! A log is begun in one shape: the file is made durable with the records that it begins with, the manifest comes to
//! name it, and only then is a change written to it. So a log that is gone is missed, and what older logs have after
//! the change with which a newer one begins counts for nothing.
//!
//! After a failed write nobody knows what the disk has. What was acknowledged is then written to a new log, from the
//! bytes of the old one that were synced, and the manifest is written again; if all of that succeeds the disk is as
//! it should be, and writing goes on. A sync that failed is never tried again on the same file.

use super::manifest::{Manifest, log_name};
use super::{Inner, Writer, io_problem};
use crate::api::{Problem, ProblemClass};
use crate::wal::{LogWriter, read_log};

impl Inner {
    /// Begins a log with these records, durably, and returns the one before it. After an error no more changes may be
    /// logged until [`Inner::resume`] succeeded: a log that nobody knows of may have been begun.
    pub(super) fn begin_log(
        &self,
        writer: &mut Writer,
        records: &[(u64, &[u8])],
    ) -> Result<Option<LogWriter>, Problem> {
        let file = Inner::new_file(writer);
        let name = log_name(file);
        let durable = records.first().map_or(writer.number, |(first, _)| first - 1);
        let log = LogWriter::create(&*self.directory, &name, durable, records).map_err(|error| {
            let problem = io_problem(&format!("create the log {name}"), &error);
            writer.failed = Some(problem.detail.clone());
            problem
        })?;
        let manifest = Manifest { log: Some(file), ..writer.manifest.clone() };
        self.write_manifest(writer, manifest).map_err(|(problem, _)| {
            writer.failed = Some(problem.detail.clone());
            problem
        })?;
        Ok(writer.log.replace(log))
    }

    /// Takes writes again after a failure, if its cause is gone.
    pub(super) fn resume(&self, writer: &mut Writer) -> Result<(), Problem> {
        let Some(reason) = &writer.failed else { return Ok(()) };
        let refused = read_only(reason);
        if writer.is_loading() {
            // What is in memory is in no log; all that is unknown is which manifest the disk has.
            let manifest = writer.manifest.clone();
            self.write_manifest(writer, manifest).map_err(|_| refused)?;
            let reason = writer.failed.take();
            tracing::warn!(?reason, "loading goes on after a failure");
            return Ok(());
        }
        let old = writer.log.as_ref().map(|log| (log.name().to_owned(), log.size() as usize));
        let bytes = match &old {
            Some((name, size)) => match self.directory.read(name) {
                Ok(bytes) if bytes.len() >= *size => bytes[..*size].to_vec(),
                _ => return Err(refused),
            },
            None => Vec::new(),
        };
        let records = match &old {
            Some(_) => match read_log(&bytes, writer.number) {
                Ok(contents) => contents.records,
                Err(_) => return Err(refused),
            },
            None => Vec::new(),
        };
        let last = records.last().map_or(writer.number, |(number, _)| *number);
        if last != writer.number {
            return Err(refused);
        }
        // Those up to the checkpoint are in segments.
        let checkpoint = writer.manifest.checkpoint;
        let records: Vec<_> = records.into_iter().filter(|(number, _)| *number > checkpoint).collect();
        self.begin_log(writer, &records).map_err(|_| refused)?;
        let reason = writer.failed.take().expect("it was there above");
        tracing::warn!(%reason, "writing goes on after a failure");
        Ok(())
    }
}

/// The refusal of a write after a failure.
pub(super) fn read_only(reason: &str) -> Problem {
    Problem::new(ProblemClass::ReadOnly, format!("the store takes no writes since it failed: {reason}"))
        .hint("nothing of this request was stored; free space or mend the disk, and try again")
}
