//! Log files: appended in groups, read back after a crash.

use std::io;

use super::Change;
use crate::format::{ByteReader, ByteWriter, DecodeError, FileKind, HEADER_SIZE, checksum};
use crate::io::{AppendFile, Directory, publish};

const FILE_KIND: FileKind = FileKind { magic: b"FLYWHLOG", version: 2, structure: "log header" };
/// The common header, then a checksum, then the number up to which everything was durable.
const LOG_HEADER_SIZE: usize = HEADER_SIZE + 4 + 8;
/// Starts every record, so that one behind a damaged record can be found.
const RECORD_MAGIC: [u8; 4] = *b"\xf1\x0cRC";
/// Magic, size, number, durable number, checksum.
const RECORD_HEADER_SIZE: usize = 28;

/// Appends groups of changes to one log file.
pub struct LogWriter {
    name: String,
    file: Box<dyn AppendFile>,
    /// Everything up to this number is durable.
    durable: u64,
    size: u64,
    buffer: ByteWriter,
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogWriter")
            .field("name", &self.name)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}

/// Everything up to the change `durable` is safe elsewhere, or in the records that the file begins with.
fn header(durable: u64) -> ByteWriter {
    let mut header = FILE_KIND.header();
    header.u32(checksum(&durable.to_le_bytes()));
    header.u64(durable);
    header
}

/// A log file that begins, and ends, with these records, as if it had been written when everything up to `durable`
/// was safe elsewhere.
pub fn encode_log(durable: u64, records: &[(u64, &[u8])]) -> Vec<u8> {
    let mut out = header(records.last().map_or(durable, |(number, _)| *number));
    for (number, change) in records {
        append_record(&mut out, *number, durable, change);
    }
    out.into_bytes()
}

impl LogWriter {
    /// Starts a log file. Everything up to `durable` is known to be safe elsewhere.
    ///
    /// The file holds `records` from its first durable moment on: it is written aside, synced, and renamed.
    pub fn create(
        directory: &dyn Directory,
        name: &str,
        durable: u64,
        records: &[(u64, &[u8])],
    ) -> io::Result<LogWriter> {
        let bytes = encode_log(durable, records);
        let file = publish(directory, name, &[&bytes]).map_err(|error| error.error)?;
        let size = bytes.len() as u64;
        let durable = records.last().map_or(durable, |(number, _)| *number);
        let (name, buffer) = (name.to_owned(), ByteWriter::new());
        Ok(LogWriter { name, file, durable, size, buffer })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes in the file that are durable: those behind them were never acknowledged.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a change to the group that the next [`LogWriter::commit`] makes durable.
    pub fn push(&mut self, number: u64, change: &Change) {
        let mut encoded = ByteWriter::new();
        change.encode(&mut encoded);
        append_record(&mut self.buffer, number, self.durable, encoded.as_slice());
    }

    /// Appends and syncs the group, whose last change has this number.
    ///
    /// After an error the file must not be used any more.
    pub fn commit(&mut self, last: u64) -> io::Result<()> {
        let group = std::mem::take(&mut self.buffer).into_bytes();
        self.file.append(&group)?;
        self.file.sync()?;
        self.size += group.len() as u64;
        self.durable = last;
        Ok(())
    }
}

fn append_record(out: &mut ByteWriter, number: u64, durable: u64, change: &[u8]) {
    let mut head = ByteWriter::new();
    head.u32(change.len() as u32);
    head.u64(number);
    head.u64(durable);
    let sum = crc32c::crc32c_append(checksum(head.as_slice()), change);
    out.raw(&RECORD_MAGIC);
    out.raw(head.as_slice());
    out.u32(sum);
    out.raw(change);
}

/// What a log file holds.
#[derive(Debug)]
pub struct LogContents<'a> {
    /// Numbers and encoded changes.
    pub records: Vec<(u64, &'a [u8])>,
    /// Bytes behind the last whole record: the end of a write that was never acknowledged.
    pub torn_size: usize,
    /// The change up to which everything was durable when the log was begun, in other files or in its first records.
    /// What older logs have after it was given up before that. `None` in version 1, which did not say.
    pub begun_after: Option<u64>,
    /// Everything up to this number was durable when the last record was written.
    pub durable: u64,
}

impl LogContents<'_> {
    /// Fails if changes are gone that were durable when the log was begun: `last` is the last that there is.
    pub fn expect_begun_by(&self, last: u64) -> Result<(), LogError> {
        match self.begun_after {
            Some(durable) if durable > last => Err(LogError::Gap { after: last, durable }),
            _ => Ok(()),
        }
    }
}

/// Why a log file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A record that had been acknowledged is damaged.
    #[error(
        "the record at byte {offset}, after change {after}, is damaged although change {durable} was already durable"
    )]
    Lost { offset: usize, after: u64, durable: u64 },
    /// Changes are gone that were durable when the log was begun.
    #[error(
        "it was begun when the changes up to {durable} were durable, and only those up to {after} are there: the \
         end of a log is damaged, or a log is gone, or the manifest is an old one"
    )]
    Gap { after: u64, durable: u64 },
}

/// Reads a log file, and tells an end cut short by a crash from damage to what was acknowledged.
///
/// Everything up to the change `known` is there already, from a checkpoint or from the logs before.
pub fn read_log(bytes: &[u8], known: u64) -> Result<LogContents<'_>, LogError> {
    let (version, mut header) = FILE_KIND.open(bytes)?;
    let begun_after = match version {
        1 => None,
        _ => {
            let (expected, durable) = (header.u32()?, header.u64()?);
            let found = checksum(&durable.to_le_bytes());
            if found != expected {
                let (structure, offset) = (FILE_KIND.structure, HEADER_SIZE as u64);
                return Err(DecodeError::Checksum { structure, offset, expected, found }.into());
            }
            Some(durable)
        }
    };
    let mut at = if begun_after.is_some() { LOG_HEADER_SIZE } else { HEADER_SIZE };
    let mut contents = LogContents { records: Vec::new(), torn_size: 0, begun_after, durable: 0 };
    while at < bytes.len() {
        let Some(record) = read_record(&bytes[at..]) else { break };
        contents.records.push((record.number, record.change));
        contents.durable = record.durable;
        at += record.size;
    }
    contents.torn_size = bytes.len() - at;

    let after = contents.records.last().map_or(known, |(number, _)| known.max(*number));
    for behind in at + 1..bytes.len().saturating_sub(RECORD_HEADER_SIZE) {
        if bytes[behind..].starts_with(&RECORD_MAGIC)
            && let Some(record) = read_record(&bytes[behind..])
            && record.durable > after
        {
            return Err(LogError::Lost { offset: at, after, durable: record.durable });
        }
    }
    Ok(contents)
}

struct Record<'a> {
    number: u64,
    durable: u64,
    change: &'a [u8],
    size: usize,
}

/// The record that the bytes start with, if it is whole.
fn read_record(bytes: &[u8]) -> Option<Record<'_>> {
    let mut reader = ByteReader::new("log record", bytes);
    if reader.raw(RECORD_MAGIC.len()).ok()? != RECORD_MAGIC {
        return None;
    }
    let size = reader.u32().ok()?;
    let (number, durable) = (reader.u64().ok()?, reader.u64().ok()?);
    let expected = reader.u32().ok()?;
    let change = reader.raw(size as usize).ok()?;
    let head = &bytes[RECORD_MAGIC.len()..RECORD_HEADER_SIZE - 4];
    let found = crc32c::crc32c_append(checksum(head), change);
    let size = RECORD_HEADER_SIZE + change.len();
    (found == expected).then_some(Record { number, durable, change, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of three groups, `a`, `b` and `c`.
    fn log() -> Vec<u8> {
        let mut bytes = header(0);
        for (number, change) in [(1, b"a"), (2, b"b"), (3, b"c")] {
            append_record(&mut bytes, number, number - 1, change);
        }
        bytes.into_bytes()
    }

    #[test]
    fn an_end_cut_anywhere_keeps_the_whole_records_before_it() {
        let bytes = log();
        for cut in LOG_HEADER_SIZE..bytes.len() {
            let contents = read_log(&bytes[..cut], 0).unwrap();
            assert_eq!(contents.records.len(), (cut - LOG_HEADER_SIZE) / (RECORD_HEADER_SIZE + 1));
        }
    }

    #[test]
    fn damage_to_an_acknowledged_record_is_told_and_to_the_last_one_is_a_cut_end() {
        let bytes = log();
        for at in LOG_HEADER_SIZE..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            let record = (at - LOG_HEADER_SIZE) / (RECORD_HEADER_SIZE + 1);
            match read_log(&damaged, 0) {
                Ok(contents) => assert_eq!((record, contents.records.len()), (2, 2), "byte {at}"),
                Err(error) => {
                    assert!(matches!(error, LogError::Lost { .. }) && record < 2, "byte {at}: {error}")
                }
            }
        }
    }

    #[test]
    fn a_first_group_whose_start_is_torn_is_a_cut_end() {
        let mut bytes = header(10);
        for number in [11, 12] {
            append_record(&mut bytes, number, 10, b"a");
        }
        let mut bytes = bytes.into_bytes();
        bytes[LOG_HEADER_SIZE] ^= 1;
        assert!(read_log(&bytes, 10).unwrap().records.is_empty());
        assert!(matches!(read_log(&bytes, 9), Err(LogError::Lost { .. })));
    }

    #[test]
    fn no_bit_of_the_header_can_change_unnoticed_and_no_cut_of_it_is_a_log() {
        let bytes = header(7).into_bytes();
        assert!(read_log(&bytes, 7).is_ok());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read_log(&damaged, 7).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(read_log(&bytes[..cut], 7).is_err(), "cut at {cut}");
        }
    }

    /// The last group of a log could be damaged unnoticed as long as the log had no later one.
    #[test]
    fn the_next_log_tells_that_the_last_group_of_this_one_was_durable() {
        let next = header(3).into_bytes();
        let next = read_log(&next, 3).unwrap();
        assert_eq!(next.expect_begun_by(3), Ok(()));
        assert_eq!(next.expect_begun_by(2), Err(LogError::Gap { after: 2, durable: 3 }));
    }

    #[test]
    fn records_that_a_log_is_begun_with_are_durable_with_it() {
        let mut bytes = header(12);
        for number in [11, 12] {
            append_record(&mut bytes, number, 10, b"a");
        }
        let mut bytes = bytes.into_bytes();
        assert_eq!(read_log(&bytes, 10).unwrap().records.len(), 2);
        *bytes.last_mut().unwrap() ^= 1;
        let contents = read_log(&bytes, 10).unwrap();
        assert_eq!((contents.records.len(), contents.torn_size > 0), (1, true));
        assert!(contents.expect_begun_by(11).is_err());
    }
}
