//! Makes checksums right, so that fuzzing reaches what they protect.

use super::layout::{Directory, FILE_KIND, TRAILER_MAGIC, TRAILER_SIZE};
use crate::format::{ByteReader, ByteWriter, HEADER_SIZE, checksum};

/// The segment with the checksums of its sections and of its directory as they should be, as far as these can be found.
pub fn with_right_checksums(bytes: &[u8]) -> Option<Vec<u8>> {
    let trailer_at = bytes.len().checked_sub(TRAILER_SIZE)?;
    let offset = ByteReader::new("segment trailer", &bytes[trailer_at..]).u64().ok()?;
    let directory_at = usize::try_from(offset).ok().filter(|at| *at >= HEADER_SIZE)?;
    let mut encoded = bytes.get(directory_at..trailer_at)?.to_vec();
    let (version, _) = FILE_KIND.open(bytes).ok()?;
    if let Ok(mut directory) = Directory::decode(&encoded, offset, version) {
        for section in &mut directory.sections {
            section.checksum = checksum(&bytes[section.offset as usize..][..section.size as usize]);
        }
        encoded = directory.encode();
    }
    let mut out = ByteWriter::new();
    out.raw(&bytes[..directory_at]);
    out.raw(&encoded);
    out.u64(offset);
    out.u64(encoded.len() as u64);
    out.u32(checksum(&encoded));
    out.u32(TRAILER_MAGIC);
    Some(out.into_bytes())
}
