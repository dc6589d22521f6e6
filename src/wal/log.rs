//! Log files: appended in groups, read back after a crash.

use std::io;

use super::Change;
use crate::format::{ByteReader, ByteWriter, DecodeError, checksum};
use crate::io::{AppendFile, Directory};

const MAGIC: &[u8; 8] = b"FLYWHLOG";
const VERSION: u16 = 1;
const HEADER_SIZE: usize = 16;
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

fn header() -> ByteWriter {
    let mut header = ByteWriter::new();
    header.raw(MAGIC);
    header.u16(VERSION);
    header.raw(&[0; HEADER_SIZE - MAGIC.len() - 2]);
    header
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
        let aside = format!("{name}.new");
        let _ = directory.remove(&aside); // left by a crash
        let mut file = directory.create(&aside)?;
        let mut buffer = header();
        for (number, change) in records {
            append_record(&mut buffer, *number, durable, change);
        }
        file.append(buffer.as_slice())?;
        file.sync()?;
        directory.rename(&aside, name)?;
        directory.sync_directory()?;
        let durable = records.last().map_or(durable, |(number, _)| *number);
        let size = buffer.len() as u64;
        Ok(LogWriter { name: name.to_owned(), file, durable, size, buffer: ByteWriter::new() })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes in the file.
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
    /// Everything up to this number was durable when the last record was written.
    pub durable: u64,
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
}

/// Reads a log file, and tells an end cut short by a crash from damage to what was acknowledged.
///
/// Everything up to the change `known` is there already, from a checkpoint or from the logs before.
pub fn read_log(bytes: &[u8], known: u64) -> Result<LogContents<'_>, LogError> {
    let mut reader = ByteReader::new("log header", bytes);
    if reader.raw(MAGIC.len())? != MAGIC {
        return Err(DecodeError::Magic { structure: "log header" }.into());
    }
    let version = reader.u16()?;
    if version != VERSION {
        let error =
            DecodeError::UnknownVersion { structure: "log header", found: version, newest_known: VERSION };
        return Err(error.into());
    }
    reader.raw(HEADER_SIZE - MAGIC.len() - 2)?;

    let mut contents = LogContents { records: Vec::new(), torn_size: 0, durable: 0 };
    let mut at = HEADER_SIZE;
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
        let mut bytes = header();
        for (number, change) in [(1, b"a"), (2, b"b"), (3, b"c")] {
            append_record(&mut bytes, number, number - 1, change);
        }
        bytes.into_bytes()
    }

    #[test]
    fn an_end_cut_anywhere_keeps_the_whole_records_before_it() {
        let bytes = log();
        for cut in HEADER_SIZE..bytes.len() {
            let contents = read_log(&bytes[..cut], 0).unwrap();
            assert_eq!(contents.records.len(), (cut - HEADER_SIZE) / (RECORD_HEADER_SIZE + 1));
        }
    }

    #[test]
    fn damage_to_an_acknowledged_record_is_told_and_to_the_last_one_is_a_cut_end() {
        let bytes = log();
        for at in HEADER_SIZE..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            let record = (at - HEADER_SIZE) / (RECORD_HEADER_SIZE + 1);
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
        let mut bytes = header();
        for number in [11, 12] {
            append_record(&mut bytes, number, 10, b"a");
        }
        let mut bytes = bytes.into_bytes();
        bytes[HEADER_SIZE] ^= 1;
        assert!(read_log(&bytes, 10).unwrap().records.is_empty());
        assert!(matches!(read_log(&bytes, 9), Err(LogError::Lost { .. })));
    }
}
