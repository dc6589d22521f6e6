//! Users' files outside the store: what they import, export, ask and set.
//!
//! They lie on this machine or, where an address says so, elsewhere: `file:///a/path` and `s3://BUCKET/KEY`, in a program built
//! with the feature `object-store`. Whoever reads or writes them does not see the difference.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "users' files are no part of a store"
)]

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

#[cfg(feature = "object-store")]
use super::objects::{Object, ObjectReader, ObjectWriter};

/// Where a user's file lies.
enum Place {
    Here(PathBuf),
    #[cfg(feature = "object-store")]
    Object(Object),
}

fn place(path: &Path) -> io::Result<Place> {
    match path.to_str().filter(|text| is_address(text)) {
        None => Ok(Place::Here(path.to_owned())),
        Some(address) => addressed(address),
    }
}

/// Whether a path is an address: it begins with `s3://`, or the like.
fn is_address(path: &str) -> bool {
    let scheme = path.split_once("://").map_or("", |(scheme, _)| scheme);
    !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(feature = "object-store")]
fn addressed(address: &str) -> io::Result<Place> {
    let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, why);
    let url = url::Url::parse(address).map_err(|error| wrong(&error.to_string()))?;
    match url.scheme() {
        "file" => url.to_file_path().map(Place::Here).map_err(|()| wrong("it names no file of this machine")),
        "s3" => Object::new(address, url.path()).map(Place::Object),
        other => Err(wrong(&format!("files are read from s3:// and file://, not from {other}://"))),
    }
}

#[cfg(not(feature = "object-store"))]
fn addressed(_address: &str) -> io::Result<Place> {
    let told =
        "this program was built without the feature object-store, which reads and writes such addresses";
    Err(io::Error::new(io::ErrorKind::Unsupported, told))
}

/// The name under which something goes beside a user's file: on this machine, also when the file is not.
pub fn beside_outside(path: &Path) -> PathBuf {
    let name = path.file_name().filter(|_| path.to_str().is_some_and(is_address));
    name.map_or_else(|| path.to_owned(), PathBuf::from)
}

/// A user's file outside the store, to be read from its beginning or in any order: Parquet, zip.
#[derive(Debug)]
pub enum OutsideFile {
    Here(File),
    #[cfg(feature = "object-store")]
    Object(ObjectReader),
}

/// Opens a user's file outside the store for reading.
pub fn open_outside(path: &Path) -> io::Result<OutsideFile> {
    match place(path)? {
        Place::Here(path) => File::open(path).map(OutsideFile::Here),
        #[cfg(feature = "object-store")]
        Place::Object(object) => object.open().map(OutsideFile::Object),
    }
}

/// The same for who reads it from its beginning on.
pub fn read_outside(path: &Path) -> io::Result<impl Read + Send + use<>> {
    open_outside(path)
}

impl OutsideFile {
    /// Bytes; none if that cannot be told.
    pub fn size(&self) -> u64 {
        match self {
            OutsideFile::Here(file) => file.metadata().map_or(0, |metadata| metadata.len()),
            #[cfg(feature = "object-store")]
            OutsideFile::Object(object) => object.size(),
        }
    }

    /// The same file again. Where it is read next is shared or not, as with files.
    pub fn try_clone(&self) -> io::Result<OutsideFile> {
        match self {
            OutsideFile::Here(file) => file.try_clone().map(OutsideFile::Here),
            #[cfg(feature = "object-store")]
            OutsideFile::Object(object) => Ok(OutsideFile::Object(object.clone())),
        }
    }

    /// Reads the `size` bytes from `start` on. Fails if there are fewer.
    pub fn read_range(&self, start: u64, size: usize) -> io::Result<Bytes> {
        let mut file = self.try_clone()?;
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::with_capacity(size);
        match file.take(size as u64).read_to_end(&mut bytes)? {
            read if read == size => Ok(Bytes::from(bytes)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Read for OutsideFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            OutsideFile::Here(file) => file.read(buffer),
            #[cfg(feature = "object-store")]
            OutsideFile::Object(object) => object.read(buffer),
        }
    }
}

impl Seek for OutsideFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            OutsideFile::Here(file) => file.seek(to),
            #[cfg(feature = "object-store")]
            OutsideFile::Object(object) => object.seek(to),
        }
    }
}

/// The size in bytes of a user's file outside the store, if it is a regular file.
pub fn size_outside(path: &Path) -> Option<u64> {
    match place(path).ok()? {
        Place::Here(path) => {
            fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
        }
        #[cfg(feature = "object-store")]
        Place::Object(object) => object.size().ok(),
    }
}

/// Makes a user's directory outside the store, if it is not there.
pub fn make_outside(path: &Path) -> io::Result<()> {
    match place(path)? {
        Place::Here(path) => fs::create_dir_all(path),
        // There are no directories among objects, only names with slashes.
        #[cfg(feature = "object-store")]
        Place::Object(_) => Ok(()),
    }
}

/// Whether a user's path outside the store is a directory.
pub fn is_directory_outside(path: &Path) -> bool {
    match place(path) {
        Ok(Place::Here(path)) => path.is_dir(),
        #[cfg(feature = "object-store")]
        Ok(Place::Object(object)) => object.is_directory(),
        Err(_) => false,
    }
}

/// A user's file outside the store that is being written. It is whole when it was finished.
#[derive(Debug)]
pub enum OutsideWriter {
    Here(BufWriter<File>),
    #[cfg(feature = "object-store")]
    Object(ObjectWriter),
}

/// Creates or empties a user's file outside the store: rejects, exports.
pub fn write_outside(path: &Path) -> io::Result<OutsideWriter> {
    match place(path)? {
        Place::Here(path) => File::create(path).map(|file| OutsideWriter::Here(BufWriter::new(file))),
        #[cfg(feature = "object-store")]
        Place::Object(object) => object.create().map(OutsideWriter::Object),
    }
}

impl OutsideWriter {
    /// Ends the file.
    pub fn finish(self) -> io::Result<()> {
        match self {
            OutsideWriter::Here(mut file) => file.flush(),
            #[cfg(feature = "object-store")]
            OutsideWriter::Object(object) => object.finish(),
        }
    }
}

impl Write for OutsideWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            OutsideWriter::Here(file) => file.write(bytes),
            #[cfg(feature = "object-store")]
            OutsideWriter::Object(object) => object.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            OutsideWriter::Here(file) => file.flush(),
            #[cfg(feature = "object-store")]
            OutsideWriter::Object(_) => Ok(()),
        }
    }
}
