//! The sorted distinct values of a property in a segment. docs/format.md, "Values".

use super::reader::OpenInts;
use crate::format::{
    ByteReader, ByteWriter, DecodeError, PackedInts, decode_value, encode_sorted_ints, encode_value,
};
use crate::model::Value;

const STRUCTURE: &str = "values of a property";

/// Writes values, which must be sorted and distinct.
pub(super) fn encode_values<'v>(values: impl Iterator<Item = &'v Value>) -> Vec<u8> {
    let mut blob = ByteWriter::new();
    let mut ends = Vec::new();
    for value in values {
        encode_value(value, &mut blob);
        ends.push(blob.len() as u64);
    }
    let ends = encode_sorted_ints(&ends);
    let mut out = ByteWriter::new();
    out.sized(&ends);
    out.raw(blob.as_slice());
    out.into_bytes()
}

/// The sorted distinct values of a property, read in place.
#[derive(Clone, Copy, Debug)]
pub struct ValueDictionary<'a> {
    ends: PackedInts<'a>,
    blob: &'a [u8],
}

impl<'a> ValueDictionary<'a> {
    /// Opens what [`encode_values`] wrote. Each value is checked when it is read.
    pub(super) fn open(
        bytes: &'a [u8],
        count: u64,
        open_ints: OpenInts,
    ) -> Result<ValueDictionary<'a>, DecodeError> {
        let mut reader = ByteReader::new(STRUCTURE, bytes);
        // A value takes a byte at least.
        let count = usize::try_from(count).ok().filter(|count| *count <= bytes.len());
        let count = count.ok_or_else(|| reader.malformed("there are too many"))?;
        let ends = open_ints(reader.sized()?, count)?;
        let dictionary = ValueDictionary { ends, blob: reader.rest() };
        let end = ends.len().checked_sub(1).map_or(0, |last| ends.get(last));
        if ends.len() != count || end != dictionary.blob.len() as u64 {
            return Err(reader.malformed("they do not fill their section"));
        }
        Ok(dictionary)
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at a place, counted from 0.
    pub fn get(&self, index: usize) -> Result<Value, DecodeError> {
        let start = if index == 0 { 0 } else { self.ends.get(index - 1) };
        self.value_at(start, self.ends.get(index))
    }

    fn value_at(&self, start: u64, end: u64) -> Result<Value, DecodeError> {
        let malformed =
            || DecodeError::Malformed { structure: STRUCTURE, what: "a value lies outside its section" };
        let bytes = self.blob.get(start as usize..end as usize).ok_or_else(malformed)?;
        let mut reader = ByteReader::new(STRUCTURE, bytes);
        let value = decode_value(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }

    /// All values, in ascending order.
    pub fn values(&self) -> Result<Vec<Value>, DecodeError> {
        let mut values = Vec::with_capacity(self.len());
        let mut start = 0;
        let mut error = None;
        self.ends.for_each_block(0..self.len(), |ends| {
            for end in ends {
                match self.value_at(start, *end) {
                    Ok(value) => values.push(value),
                    Err(found) => error = error.take().or(Some(found)),
                }
                start = *end;
            }
        });
        error.map_or(Ok(values), Err)
    }
}
