//! The rows of one event name in memory, on their way into a segment.

use super::reader::OpenInts;
use crate::format::{ByteReader, ByteWriter, DecodeError, PackedInts, encode_ints_of, encode_sorted_ints};

/// Rows of one event name, sorted by user, then time.
#[derive(Debug, Default)]
pub(super) struct GroupData {
    pub name: String,
    pub users: Vec<u32>,
    pub times: Vec<i64>,
    /// One more than the account's ordinal, 0 for none; empty if no row has an account.
    pub accounts: Vec<u32>,
    /// The ids of events, empty for none; no entries at all if no row has one.
    pub ids: Texts,
    /// The number of each row in order of arrival, where rows have ids.
    pub arrivals: Vec<u64>,
    /// By property, ascending.
    pub columns: Vec<(u32, ColumnData)>,
}

/// The values of one property in the rows of a group.
#[derive(Debug)]
pub(super) enum ColumnData {
    Codes(Vec<u32>),
    /// `None` for missing.
    Numbers(Vec<Option<i64>>),
}

/// Many short texts, one after the other.
#[derive(Debug, Default)]
pub(super) struct Texts {
    ends: Vec<u64>,
    blob: Vec<u8>,
}

impl Texts {
    pub fn push(&mut self, text: &[u8]) {
        self.blob.extend_from_slice(text);
        self.ends.push(self.blob.len() as u64);
    }

    /// Adds empty texts up to a count.
    pub fn pad(&mut self, count: usize) {
        self.ends.resize(count, self.blob.len() as u64);
    }

    /// The text at a place.
    pub fn get(&self, place: usize) -> &[u8] {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.blob[start as usize..self.ends[place] as usize]
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = ByteWriter::new();
        out.sized(&encode_sorted_ints(&self.ends));
        out.raw(&self.blob);
        out.into_bytes()
    }
}

/// Texts of a segment, read in place.
#[derive(Clone, Copy, Debug)]
pub struct TextColumn<'a> {
    ends: PackedInts<'a>,
    blob: &'a [u8],
}

impl<'a> TextColumn<'a> {
    pub(super) fn open(
        bytes: &'a [u8],
        row_count: usize,
        open_ints: OpenInts,
    ) -> Result<TextColumn<'a>, DecodeError> {
        let mut reader = ByteReader::new("column of texts", bytes);
        let ends = open_ints(reader.sized()?, row_count)?;
        if ends.len() != row_count {
            return Err(reader.malformed("it is shorter than the rows it belongs to"));
        }
        Ok(TextColumn { ends, blob: reader.rest() })
    }

    /// The text of a row; empty for none.
    pub fn get(&self, row: usize) -> Result<&'a [u8], DecodeError> {
        let start = if row == 0 { 0 } else { self.ends.get(row - 1) };
        let range = start as usize..self.ends.get(row) as usize;
        let malformed =
            DecodeError::Malformed { structure: "column of texts", what: "a text lies outside it" };
        self.blob.get(range).ok_or(malformed)
    }
}

impl GroupData {
    pub fn row_count(&self) -> usize {
        self.users.len()
    }

    pub fn encode_users(&self) -> Vec<u8> {
        encode_sorted_ints(&self.users)
    }

    /// Times relative to the group's earliest.
    pub fn encode_times(&self, time_min: i64) -> Vec<u8> {
        encode_ints_of(&self.times, |time| (time - time_min) as u64)
    }
}
