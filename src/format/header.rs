//! How every file begins, and the checksum of the files that are read as a whole. docs/format.md, "Files".

use super::{ByteReader, ByteWriter, DecodeError, checksum};

/// Bytes of a file's header: magic, version, reserved zeros.
pub const HEADER_SIZE: usize = 16;
const MAGIC_SIZE: usize = 8;
const RESERVED_SIZE: usize = HEADER_SIZE - MAGIC_SIZE - size_of::<u16>();

/// A kind of file, by how it begins.
#[derive(Clone, Copy, Debug)]
pub struct FileKind {
    pub magic: &'static [u8; MAGIC_SIZE],
    /// The version that is written, the newest that is read.
    pub version: u16,
    /// What errors call it.
    pub structure: &'static str,
}

impl FileKind {
    /// Starts a file of this kind.
    pub fn header(&self) -> ByteWriter {
        let mut out = ByteWriter::new();
        out.raw(self.magic);
        out.u16(self.version);
        out.raw(&[0; RESERVED_SIZE]);
        out
    }

    /// Checks the header. Returns the version, from 1 to the newest, and a reader of what follows it.
    pub fn open<'a>(&self, bytes: &'a [u8]) -> Result<(u16, ByteReader<'a>), DecodeError> {
        let mut reader = ByteReader::new(self.structure, bytes);
        if reader.raw(MAGIC_SIZE)? != self.magic {
            return Err(DecodeError::Magic { structure: self.structure });
        }
        let version = reader.u16()?;
        if version > self.version {
            let (structure, newest_known) = (self.structure, self.version);
            return Err(DecodeError::UnknownVersion { structure, found: version, newest_known });
        }
        if version == 0 {
            return Err(reader.malformed("its version is 0"));
        }
        if reader.raw(RESERVED_SIZE)?.iter().any(|byte| *byte != 0) {
            return Err(reader.malformed("reserved bytes are not zero"));
        }
        Ok((version, reader))
    }

    /// A whole file: the header, the checksum of the body, the body.
    pub fn seal(&self, body: &[u8]) -> Vec<u8> {
        let mut out = self.header();
        out.u32(checksum(body));
        out.raw(body);
        out.into_bytes()
    }

    /// Checks a file that [`FileKind::seal`] made. Returns its version, the checksum, and a reader of the body.
    pub fn unseal<'a>(&self, bytes: &'a [u8]) -> Result<(u16, u32, ByteReader<'a>), DecodeError> {
        let (version, mut reader) = self.open(bytes)?;
        let expected = reader.u32()?;
        let found = checksum(reader.rest());
        if expected != found {
            let (structure, offset) = (self.structure, HEADER_SIZE as u64);
            return Err(DecodeError::Checksum { structure, offset, expected, found });
        }
        Ok((version, found, reader))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: FileKind = FileKind { magic: b"FLYWTEST", version: 2, structure: "test" };

    #[test]
    fn a_sealed_file_reads_back_and_no_bit_of_it_can_change_unnoticed() {
        let bytes = KIND.seal(b"body");
        let (version, _, mut reader) = KIND.unseal(&bytes).unwrap();
        assert_eq!((version, reader.raw(4)), (2, Ok(&b"body"[..])));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let is_older = matches!(KIND.unseal(&damaged), Ok((version, ..)) if version < 2);
            assert!(KIND.unseal(&damaged).is_err() || is_older, "bit {bit}");
        }
        for size in 0..bytes.len() {
            assert!(KIND.unseal(&bytes[..size]).is_err(), "{size} bytes");
        }
    }

    #[test]
    fn a_newer_version_is_refused_by_its_number() {
        let newer = FileKind { version: 3, ..KIND }.seal(b"");
        let error = KIND.unseal(&newer).unwrap_err();
        assert_eq!(error, DecodeError::UnknownVersion { structure: "test", found: 3, newest_known: 2 });
    }
}
