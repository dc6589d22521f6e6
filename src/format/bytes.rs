//! Little-endian fields, one after the other. Reading is total: any bytes give a value or an error.

/// Why bytes could not be understood. The caller that knows the file adds its name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The structure ends before its last field.
    #[error("{structure} needs {needed} bytes at offset {at}, {available} are there")]
    Truncated { structure: &'static str, at: usize, needed: usize, available: usize },
    /// The bytes changed since they were written.
    #[error("checksum of {structure} at byte {offset} is {found:#010x}, expected {expected:#010x}")]
    Checksum { structure: &'static str, offset: u64, expected: u32, found: u32 },
    /// Not a file of this kind.
    #[error("{structure} does not start with its magic number")]
    Magic { structure: &'static str },
    /// Written by a newer release; this one cannot read it.
    #[error("{structure} has format version {found}, the newest that this release knows is {newest_known}")]
    UnknownVersion { structure: &'static str, found: u16, newest_known: u16 },
    /// The system could not read all of the file: it was cut short while it was open, or its disk failed.
    #[error("{structure} could not be read: its file was cut short while it was open, or the disk failed")]
    Unreadable { structure: &'static str },
    /// A field has a value that no writer writes.
    #[error("{structure} is malformed: {what}")]
    Malformed { structure: &'static str, what: &'static str },
}

/// Writes fields to a growing buffer.
#[derive(Debug, Default)]
pub struct ByteWriter {
    bytes: Vec<u8>,
}

impl ByteWriter {
    pub fn new() -> ByteWriter {
        ByteWriter::default()
    }

    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// An unsigned integer in 1 to 10 bytes, seven bits each, least significant first (LEB128).
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// A signed integer, small magnitudes in few bytes (zigzag).
    pub fn zigzag(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)) as u64);
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes behind their length.
    pub fn sized(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.raw(bytes);
    }

    pub fn text(&mut self, text: &str) {
        self.sized(text.as_bytes());
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads what [`ByteWriter`] wrote.
#[derive(Clone, Debug)]
pub struct ByteReader<'a> {
    structure: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> ByteReader<'a> {
    /// `structure` names what is read, for errors.
    pub fn new(structure: &'static str, bytes: &'a [u8]) -> ByteReader<'a> {
        ByteReader { structure, bytes, at: 0 }
    }

    pub fn malformed(&self, what: &'static str) -> DecodeError {
        DecodeError::Malformed { structure: self.structure, what }
    }

    pub fn raw(&mut self, size: usize) -> Result<&'a [u8], DecodeError> {
        let available = self.bytes.len() - self.at;
        if size > available {
            return Err(DecodeError::Truncated {
                structure: self.structure,
                at: self.at,
                needed: size,
                available,
            });
        }
        let found = &self.bytes[self.at..self.at + size];
        self.at += size;
        Ok(found)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(self.raw(N)?.try_into().expect("N bytes were read"))
    }

    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed("an integer has more than 64 bits"))
    }

    /// A varint that counts things each of which takes at least `size_min` of the bytes that follow, so that no
    /// buffer is ever sized from a number that the bytes cannot bear out.
    pub fn count(&mut self, size_min: usize) -> Result<usize, DecodeError> {
        let count = self.varint()?;
        let most = (self.remaining() / size_min.max(1)) as u64;
        if count > most {
            return Err(self.malformed("a count is larger than the bytes that follow can hold"));
        }
        Ok(count as usize)
    }

    pub fn zigzag(&mut self) -> Result<i64, DecodeError> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub fn sized(&mut self) -> Result<&'a [u8], DecodeError> {
        let size = self.count(1)?;
        self.raw(size)
    }

    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.sized()?).map_err(|_| self.malformed("a text is not UTF-8"))
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Everything not read yet.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Refuses bytes behind the last field.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.malformed("bytes follow its last field")) }
    }
}
