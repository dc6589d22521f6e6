//! The files in a zip archive as one text, each decompressed once more if it is gzip.

use std::io::{self, BufReader, Read};
use std::path::Path;

use crate::api::{Problem, ProblemClass};
use crate::io::{OutsideFile, open_outside};

/// Bytes that are read from the archive at once.
const BUFFER_SIZE: usize = 64 << 10;

/// The files of an archive, in the order of their names: exports name theirs by the hour.
pub(super) struct ZippedFiles {
    archive: zip::ZipArchive<BufReader<OutsideFile>>,
    /// The places of the files that are still to be read, the next one last.
    rest: Vec<usize>,
    /// The file being read, whole: an hour of events.
    text: io::Cursor<Vec<u8>>,
}

impl ZippedFiles {
    pub fn open(path: &Path) -> Result<ZippedFiles, Problem> {
        let cannot = |error: &dyn std::fmt::Display| {
            Problem::new(ProblemClass::Io, format!("it cannot be read as a zip archive: {error}"))
        };
        let file = open_outside(path).map_err(|error| cannot(&error))?;
        let archive =
            zip::ZipArchive::new(BufReader::with_capacity(BUFFER_SIZE, file)).map_err(|e| cannot(&e))?;
        let mut rest: Vec<usize> = (0..archive.len()).collect();
        rest.sort_by_key(|place| {
            let name = archive.name_for_index(*place).and_then(Result::ok);
            std::cmp::Reverse(name.map_or_else(String::new, std::borrow::Cow::into_owned))
        });
        Ok(ZippedFiles { archive, rest, text: io::Cursor::default() })
    }

    /// Reads the next file. Returns whether there was one.
    fn next_file(&mut self) -> io::Result<bool> {
        let Some(place) = self.rest.pop() else { return Ok(false) };
        let mut packed = Vec::new();
        let file = self.archive.by_index(place).map_err(io::Error::other)?;
        if file.is_dir() {
            return Ok(true);
        }
        let size_max = crate::limits::ARCHIVED_FILE_SIZE_MAX as u64;
        file.take(size_max + 1).read_to_end(&mut packed)?;
        let mut text = Vec::new();
        if packed.starts_with(&[0x1f, 0x8b]) {
            flate2::bufread::MultiGzDecoder::new(&packed[..]).take(size_max + 1).read_to_end(&mut text)?;
        } else {
            text = packed;
        }
        if text.len() as u64 > size_max {
            return Err(io::Error::other(format!("a file in the archive has more than {size_max} bytes")));
        }
        // The last line of one file is not the first of the next.
        if text.last().is_some_and(|last| *last != b'\n') {
            text.push(b'\n');
        }
        self.text = io::Cursor::new(text);
        Ok(true)
    }
}

impl Read for ZippedFiles {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let size = self.text.read(buffer)?;
            if size > 0 || !self.next_file()? {
                return Ok(size);
            }
        }
    }
}
