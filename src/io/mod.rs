//! How bytes reach the disk, and when they are safe there.
//!
//! All file access of the product goes through [`Directory`], so that a disk that tears, drops, reorders,
//! fills up and fails can be put behind it. Clippy's `disallowed-methods` keeps everything else away from
//! `std::fs`. The store's directory is flat: names, never paths.
//!
//! What is promised: `append` may be lost or torn until `sync` of that file returned; a new name, a rename or
//! a removal may be lost, in any order, until `sync_directory` returned.

mod disk;

use std::fmt::Debug;
use std::io;

use bytes::Bytes;

pub use disk::{
    Disk, OutsideFile, is_directory_outside, make_outside, open_outside, read_outside, size_outside,
    write_outside,
};

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
    /// writes any more (`sealed-segments`) are mapped.
    fn map(&self, name: &str) -> io::Result<Bytes>;

    /// Gives the file another name, replacing what had it, in one step.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes the name. Mappings of the file stay whole.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Returns when every earlier create, rename and remove is durable.
    fn sync_directory(&self) -> io::Result<()>;

    /// The names of all files, in no particular order, and their sizes in bytes.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
}

/// A file that is being written, from its start to its end.
pub trait AppendFile: Send {
    /// Appends all of `bytes`, or fails having appended any part of them.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Returns when everything appended is durable. After an error nobody knows what is on the disk, and the
    /// file must not be written to again.
    fn sync(&mut self) -> io::Result<()>;
}

/// Writes a file in the one safe shape: aside, synced, renamed, and the directory synced.
pub fn publish(directory: &dyn Directory, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    let aside = format!("{name}.new");
    let _ = directory.remove(&aside); // left by a crash
    let mut file = directory.create(&aside)?;
    for part in parts {
        file.append(part)?;
    }
    file.sync()?;
    drop(file);
    directory.rename(&aside, name)?;
    directory.sync_directory()
}
