//! How bytes reach the disk, and when they are safe there.
//!
//! All file access of the product goes through [`Directory`], so that a disk that tears, drops, reorders,
//! fills up and fails can be put behind it. Clippy's `disallowed-methods` keeps everything else away from
//! `std::fs`. The store's directory is flat: names, never paths.
//!
//! What is promised: `append` may be lost or torn until `sync` of that file returned; a new name, a rename or
//! a removal may be lost, in any order, until `sync_directory` returned.

mod disk;
mod fault;
#[cfg(feature = "object-store")]
mod objects;
mod outside;
mod program;

use std::fmt::Debug;
use std::io;

use bytes::Bytes;

pub use disk::Disk;
pub use fault::{check_mappings, fault_count, is_intact, will_need};
pub use outside::{
    OutsideFile, OutsideWriter, beside_outside, is_directory_outside, make_outside, open_outside,
    read_outside, size_outside, write_outside,
};
pub use program::map_program;

/// The directory of one store.
pub trait Directory: Send + Sync + Debug {
    /// Takes the directory for this process, until the guard is dropped or the process ends.
    ///
    /// Fails with [`io::ErrorKind::WouldBlock`] if another owner has it.
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>>;

    /// Creates an empty file to append to. Fails if the name exists.
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>>;

    /// The whole file, read into memory.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// The whole file, mapped. The bytes must not change while the mapping lives: only files that nobody
    /// writes any more (`sealed-segments`) are mapped. If another program cuts the file nevertheless, what is gone
    /// reads as zeros, and [`is_intact`] says so.
    fn map(&self, name: &str) -> io::Result<Bytes>;

    /// Gives the file another name, replacing what had it, in one step.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes the name. Mappings of the file stay whole.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Returns when every earlier create, rename and remove is durable.
    fn sync_directory(&self) -> io::Result<()>;

    /// The names of all files, in no particular order, and their sizes in bytes.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;

    /// How full the disk is that has the directory.
    fn space(&self) -> io::Result<Space>;
}

/// Room on a disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub size: u64,
    /// What this process may still take of it.
    pub free: u64,
}

/// A file that is being written, from its start to its end.
pub trait AppendFile: Send {
    /// Appends all of `bytes`, or fails having appended any part of them.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Returns when everything appended is durable. After an error nobody knows what is on the disk, and the
    /// file must not be written to again.
    fn sync(&mut self) -> io::Result<()>;
}

/// Bytes appended at once: a torn write, or a full disk, is met early.
const APPEND_SIZE: usize = 4 << 20;

/// Why a file could not be published.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct PublishError {
    pub error: io::Error,
    /// Whether the file may have its name nevertheless, now or after a crash.
    pub may_be_there: bool,
}

/// Writes a file in the one safe shape: aside, synced, renamed, and the directory synced. Returns it, to be appended
/// to if it is a log.
pub fn publish(
    directory: &dyn Directory,
    name: &str,
    parts: &[&[u8]],
) -> Result<Box<dyn AppendFile>, PublishError> {
    let aside = format!("{name}.new");
    let _ = directory.remove(&aside); // left by a crash
    let written = directory.create(&aside).and_then(|mut file| {
        for part in parts.iter().flat_map(|part| part.chunks(APPEND_SIZE)) {
            file.append(part)?;
        }
        file.sync()?;
        Ok(file)
    });
    let file = written.map_err(|error| {
        let _ = directory.remove(&aside); // a full disk gets its room back
        PublishError { error, may_be_there: false }
    })?;
    let named = directory.rename(&aside, name).and_then(|()| directory.sync_directory());
    named.map_err(|error| PublishError { error, may_be_there: true })?;
    Ok(file)
}
