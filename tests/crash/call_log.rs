//! A store so small that it can be seen to be right, and the mistakes it can be told to make.
//!
//! It keeps the numbers of the script's calls. A generation is a base file with all calls so far, published
//! in the safe shape, and a log to which later calls are appended and synced. Opening and sealing start a new
//! generation, so whatever was found is safe before it is served. It shows that the crash tests pass what is
//! right and catch what is wrong.

use std::collections::BTreeSet;
use std::sync::Arc;

use flywheeldb::api::{Problem, ProblemClass};
use flywheeldb::io::{AppendFile, Directory, publish};
use parking_lot::Mutex;

use super::subject::Subject;
use super::workload::{CALLS, Call, MarksByUser, marks_after, open_keys_after};

/// What a careless author might do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    AcknowledgesBeforeSync,
    LeavesDirectoryUnsynced,
    LeavesBaseUnsynced,
    RemovesBeforeReplacing,
    TrustsLengthsWithoutChecksum,
    /// Serves a log that a killed process left, without making it safe.
    ServesUnsyncedLog,
    AcknowledgesFailedWrite,
    /// Tries a failed sync again, and believes the second one.
    RepeatsFailedSync,
    /// Goes on in the same log after a failed append left a part of a record.
    AppendsAfterFailure,
}

impl Mistake {
    pub const ALL: [Mistake; 9] = [
        Mistake::AcknowledgesBeforeSync,
        Mistake::LeavesDirectoryUnsynced,
        Mistake::LeavesBaseUnsynced,
        Mistake::RemovesBeforeReplacing,
        Mistake::TrustsLengthsWithoutChecksum,
        Mistake::ServesUnsyncedLog,
        Mistake::AcknowledgesFailedWrite,
        Mistake::RepeatsFailedSync,
        Mistake::AppendsAfterFailure,
    ];
}

/// A record: the number of the call, so many copies of it that it spans sectors, and a checksum.
const RECORD_SIZE: usize = 700;
const CHECKSUM_AT: usize = RECORD_SIZE - size_of::<u32>();

pub struct CallLog {
    directory: Arc<dyn Directory>,
    mistake: Option<Mistake>,
    inner: Mutex<Inner>,
    _lock: Box<dyn Send + Sync>,
}

struct Inner {
    calls: Vec<u32>,
    generation: u32,
    log: Box<dyn AppendFile>,
    has_failed: bool,
}

impl CallLog {
    pub fn open(directory: Arc<dyn Directory>, mistake: Option<Mistake>) -> Result<CallLog, Problem> {
        let lock = directory.lock().map_err(io_problem)?;
        let names = directory.list().map_err(io_problem)?;
        let numbers = |prefix: &str| {
            let mut numbers: Vec<u32> =
                names.iter().filter_map(|(name, _)| name.strip_prefix(prefix)?.parse().ok()).collect();
            numbers.sort();
            numbers
        };
        let mut calls = Vec::new();
        let newest_base = numbers("base-").last().copied();
        if let Some(generation) = newest_base {
            let bytes = directory.read(&base_name(generation)).map_err(io_problem)?;
            calls = decode(&bytes, None);
            if calls.len() * RECORD_SIZE != bytes.len() {
                return Err(Problem::new(ProblemClass::Corrupt, format!("base-{generation} is damaged")));
            }
        }
        // A generation without a base of its own adds to the base before it: only the mistake leaves such.
        for generation in
            numbers("log-").into_iter().filter(|log| newest_base.is_some_and(|base| *log >= base))
        {
            let bytes = directory.read(&log_name(generation)).map_err(io_problem)?;
            calls.extend(decode(&bytes, mistake));
        }
        let generation =
            names.iter().filter_map(|(name, _)| name.rsplit('-').next()?.parse::<u32>().ok()).max();
        let generation = generation.map_or(0, |newest| newest + 1);
        let log = match mistake {
            Some(Mistake::ServesUnsyncedLog) if newest_base.is_some() => {
                let log = directory.create(&log_name(generation)).map_err(io_problem)?;
                directory.sync_directory().map_err(io_problem)?;
                log
            }
            _ => start_generation(&*directory, generation, &calls, mistake).map_err(io_problem)?,
        };
        let inner = Mutex::new(Inner { calls, generation, log, has_failed: false });
        Ok(CallLog { directory, mistake, inner, _lock: lock })
    }

    fn append(&self, inner: &mut Inner, record: &[u8]) -> std::io::Result<()> {
        inner.log.append(record)?;
        match self.mistake {
            Some(Mistake::AcknowledgesBeforeSync) => Ok(()),
            Some(Mistake::RepeatsFailedSync) => inner.log.sync().or_else(|_| inner.log.sync()),
            _ => inner.log.sync(),
        }
    }
}

impl Subject for CallLog {
    fn call(&self, call: &Call) -> Result<(), Problem> {
        let mut inner = self.inner.lock();
        if inner.has_failed {
            return Err(Problem::new(ProblemClass::ReadOnly, "an earlier write failed"));
        }
        if call.writes() {
            let index = CALLS.iter().position(|known| std::ptr::eq(known, call));
            let index = index.expect("calls come from the script") as u32;
            match self.append(&mut inner, &encode(index)) {
                Ok(()) => {}
                Err(_) if self.mistake == Some(Mistake::AcknowledgesFailedWrite) => {}
                Err(error) => {
                    inner.has_failed = self.mistake != Some(Mistake::AppendsAfterFailure);
                    return Err(io_problem(error));
                }
            }
            inner.calls.push(index);
            return Ok(());
        }
        let generation = inner.generation + 1;
        match start_generation(&*self.directory, generation, &inner.calls, self.mistake) {
            Ok(log) => {
                inner.generation = generation;
                inner.log = log;
                Ok(())
            }
            Err(error) => {
                inner.has_failed = true;
                Err(io_problem(error))
            }
        }
    }

    fn marks_by_user(&self) -> Result<MarksByUser, Problem> {
        Ok(marks_after(self.inner.lock().calls.iter().map(|&index| &CALLS[index as usize])))
    }

    fn open_keys(&self) -> Result<BTreeSet<u8>, Problem> {
        Ok(open_keys_after(self.inner.lock().calls.iter().map(|&index| &CALLS[index as usize])))
    }

    fn answers(&self) -> Result<Vec<String>, Problem> {
        Ok(Vec::new())
    }

    fn close(self) -> Result<(), Problem> {
        Ok(())
    }
}

/// Writes a base with all the calls and an empty log, and removes what they replace.
fn start_generation(
    directory: &dyn Directory,
    generation: u32,
    calls: &[u32],
    mistake: Option<Mistake>,
) -> std::io::Result<Box<dyn AppendFile>> {
    let remove_others = || {
        let own = [base_name(generation), log_name(generation)];
        let others = directory.list()?.into_iter().filter(|(name, _)| !own.contains(name));
        others.into_iter().try_for_each(|(name, _)| directory.remove(&name))
    };
    if mistake == Some(Mistake::RemovesBeforeReplacing) {
        remove_others()?;
    }
    let base: Vec<u8> = calls.iter().flat_map(|&index| encode(index)).collect();
    if mistake == Some(Mistake::LeavesBaseUnsynced) {
        directory.create("aside")?.append(&base)?;
        directory.rename("aside", &base_name(generation))?;
    } else {
        publish(directory, &base_name(generation), &[&base]).map_err(|error| error.error)?;
    }
    let log = directory.create(&log_name(generation))?;
    if mistake != Some(Mistake::LeavesDirectoryUnsynced) {
        directory.sync_directory()?;
    }
    if mistake != Some(Mistake::RemovesBeforeReplacing) {
        remove_others()?;
    }
    Ok(log)
}

fn base_name(generation: u32) -> String {
    format!("base-{generation}")
}

fn log_name(generation: u32) -> String {
    format!("log-{generation}")
}

fn encode(index: u32) -> Vec<u8> {
    // Counted from 1, so that zeros are no record.
    let mut record = (index + 1).to_le_bytes().repeat(CHECKSUM_AT / size_of::<u32>());
    record.extend(crc32c::crc32c(&record).to_le_bytes());
    record
}

/// The calls of whole records, up to the first that is none.
fn decode(bytes: &[u8], mistake: Option<Mistake>) -> Vec<u32> {
    let is_whole = |record: &&[u8]| {
        let checksum = crc32c::crc32c(&record[..CHECKSUM_AT]).to_le_bytes();
        checksum == record[CHECKSUM_AT..] || mistake == Some(Mistake::TrustsLengthsWithoutChecksum)
    };
    let number = |record: &[u8]| u32::from_le_bytes(record[..4].try_into().expect("four bytes"));
    let whole = bytes.chunks_exact(RECORD_SIZE).take_while(is_whole);
    whole.map(|record| number(record).saturating_sub(1)).collect()
}

fn io_problem(error: std::io::Error) -> Problem {
    Problem::new(ProblemClass::Io, error.to_string())
}
