//! Opens what people import: a file or the standard input, compressed or not.

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::dialect::Delimiter;
use crate::api::{Problem, ProblemClass};
use crate::io::{read_outside, size_outside};

/// Bytes of the text that are looked at to tell its form. The ids of `--id-from-line` hang on it, too.
const START_SIZE: usize = 64 << 10;

/// What the lines of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputFormat {
    /// A JSON object a line.
    Ndjson,
    /// Rows of columns.
    Csv,
    /// Columns of rows, with types.
    Parquet,
}

/// An input whose beginning is known.
pub struct InputFile {
    /// As the user named it.
    pub name: String,
    /// Where it lies.
    pub(super) path: PathBuf,
    /// Bytes on the disk, if that is known.
    pub size: Option<u64>,
    consumed: Arc<AtomicU64>,
    format: Option<InputFormat>,
    start: Vec<u8>,
    start_is_whole: bool,
    rest: Box<dyn Read + Send>,
    /// What went wrong behind the start.
    error: Option<io::Error>,
}

impl InputFile {
    /// Opens a file, or the standard input if the path is `-`. gzip and zstd are known by their first bytes.
    pub fn open(path: &Path) -> Result<InputFile, Problem> {
        let is_stdin = path == Path::new("-");
        let name = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
        let cannot = |error: io::Error| {
            let class = match error.kind() {
                io::ErrorKind::NotFound => ProblemClass::NotFound,
                _ => ProblemClass::Io,
            };
            Problem::new(class, format!("cannot read {name}: {error}"))
        };
        let source: Box<dyn Read + Send> =
            if is_stdin { Box::new(io::stdin()) } else { Box::new(read_outside(path).map_err(cannot)?) };
        let consumed = Arc::new(AtomicU64::new(0));
        let counted = Counted { source, count: Arc::clone(&consumed) };
        let (mut rest, is_compressed) = decoded(counted).map_err(cannot)?;

        let mut start = Vec::new();
        let error = rest.by_ref().take(START_SIZE as u64).read_to_end(&mut start).err();
        if let Some(error) = error.as_ref().filter(|_| start.is_empty()) {
            return Err(cannot(io::Error::new(error.kind(), error.to_string())));
        }
        let start_is_whole = start.len() < START_SIZE;
        if start.starts_with(b"\xEF\xBB\xBF") {
            start.drain(..3);
        }
        if start.starts_with(b"PAR1") {
            // Its directory is at the end, and its columns are read where they lie.
            if is_stdin || is_compressed {
                let detail = format!("{name} is a Parquet file that cannot be read in any order");
                let problem = Problem::new(ProblemClass::UnsupportedMediaType, detail);
                return Err(
                    problem.hint("give it as a file of its own, not through a pipe or compressed again")
                );
            }
        }
        let is_parquet = start.starts_with(b"PAR1");
        let format = if is_parquet { Some(InputFormat::Parquet) } else { format_by_name(path) };
        let (path, size) = (path.to_owned(), size_outside(path).filter(|_| !is_stdin));
        Ok(InputFile { name, path, size, consumed, format, start, start_is_whole, rest, error })
    }

    /// Counts the bytes taken from the disk as reading goes on, for a progress bar.
    pub fn consumed(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.consumed)
    }

    /// The format by the file's name, else by its first bytes.
    pub fn format(&self) -> Result<InputFormat, Problem> {
        match (self.format, self.start.trim_ascii_start().first()) {
            (Some(format), _) => Ok(format),
            (None, Some(b'{')) => Ok(InputFormat::Ndjson),
            (None, Some(b'[')) => {
                let detail = format!("{} is a JSON array, not an object a line", self.name);
                Err(Problem::invalid(detail).hint("turn it into lines, as with: jq -c '.[]'"))
            }
            (None, _) => Ok(InputFormat::Csv),
        }
    }

    /// Whether it is a zip archive.
    pub fn is_zip(&self) -> bool {
        self.start.starts_with(b"PK\x03\x04")
    }

    /// What separates the columns, by the first lines.
    pub fn guess_delimiter(&self) -> Delimiter {
        Delimiter::guess(&self.start, self.start_is_whole)
    }

    /// A number made of the file's first bytes: the same wherever the file lies and whatever its name is.
    pub fn fingerprint(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.start)
    }

    /// The whole text, from its beginning and without a byte order mark.
    pub fn into_text(self) -> Box<dyn Read + Send> {
        match self.error {
            Some(error) => Box::new(io::Cursor::new(self.start).chain(Broken(Some(error)))),
            None => Box::new(io::Cursor::new(self.start).chain(self.rest)),
        }
    }
}

fn format_by_name(path: &Path) -> Option<InputFormat> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = [".gz", ".zst"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    match name.rsplit_once('.')?.1 {
        "ndjson" | "jsonl" => Some(InputFormat::Ndjson),
        "csv" | "tsv" => Some(InputFormat::Csv),
        _ => None,
    }
}

/// Undoes the compression that the first bytes tell, if any.
fn decoded(mut source: Counted) -> io::Result<(Box<dyn Read + Send>, bool)> {
    let mut magic = Vec::new();
    source.by_ref().take(4).read_to_end(&mut magic)?;
    let is_gzip = magic.starts_with(&[0x1f, 0x8b]);
    let is_zstd = magic == [0x28, 0xb5, 0x2f, 0xfd];
    let source = io::Cursor::new(magic).chain(source);
    let text: Box<dyn Read + Send> = if is_gzip {
        Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(START_SIZE, source)))
    } else if is_zstd {
        Box::new(zstd::Decoder::new(source)?)
    } else {
        Box::new(source)
    };
    Ok((text, is_gzip || is_zstd))
}

struct Counted {
    source: Box<dyn Read + Send>,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.source.read(buffer)?;
        self.count.fetch_add(size as u64, Ordering::Relaxed);
        Ok(size)
    }
}

/// A stream that fails, and then is at its end.
struct Broken(Option<io::Error>);

impl Read for Broken {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}
