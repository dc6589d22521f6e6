//! Which bytes mean what: integers in few bits, checksums, and total decoders.
//!
//! Knows nothing of files or of what is stored. Layout: docs/format.md.

mod bitpack;
mod bytes;
mod column;
mod header;
mod ints;
mod value;

pub use bytes::{ByteReader, ByteWriter, DecodeError};
pub use column::{ByUser, IntColumn, Lookup, Users};
pub use header::{FileKind, HEADER_SIZE};
pub use ints::{BlockCursor, PackedInts, encode_ints, encode_ints_of, encode_sorted_ints};
pub use value::{decode_value, encode_cell, encode_value};

/// Values in one block of an integer column.
pub use bitpack::BLOCK_LEN;

/// The checksum of stored bytes: CRC-32C (Castagnoli).
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}
