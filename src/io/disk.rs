//! The real disk.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is a home of std::fs, and outside.rs the other"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock, statvfs};

use super::fault::Mapping;
use super::{AppendFile, Directory, Space};

/// The name of the file whose lock is the directory's.
const LOCK_NAME: &str = "LOCK";

/// A directory of the file system.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Opens the directory, and creates it (durably, with its parents) if it is not there.
    pub fn open(path: &Path) -> io::Result<Disk> {
        if !path.is_dir() {
            fs::create_dir_all(path)?;
            for ancestor in path.ancestors().skip(1) {
                let ancestor = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
                File::open(ancestor)?.sync_all()?;
            }
        }
        Ok(Disk { path: path.to_owned() })
    }

    fn at(&self, name: &str) -> PathBuf {
        debug_assert!(!name.contains('/'), "names, not paths");
        self.path.join(name)
    }
}

/// The lock of a directory. It is taken off and not just closed: a program that another thread is about to start shares
/// the open file until it begins.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // If this fails, the lock goes with the last handle of the file.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Directory for Disk {
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(self.at(LOCK_NAME))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(Lock(file)))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        let file = OpenOptions::new().create_new(true).append(true).open(self.at(name))?;
        Ok(Box::new(DiskFile(file)))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.at(name))
    }

    fn map(&self, name: &str) -> io::Result<Bytes> {
        let file = File::open(self.at(name))?;
        if file.metadata()?.len() == 0 {
            return Ok(Bytes::new());
        }
        Ok(Bytes::from_owner(Mapping::new(file)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.at(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if let (Ok(name), true) = (entry.file_name().into_string(), entry.file_type()?.is_file()) {
                files.push((name, entry.metadata()?.len()));
            }
        }
        Ok(files)
    }

    fn space(&self) -> io::Result<Space> {
        let told = statvfs(&self.path)?;
        Ok(Space { size: told.f_blocks * told.f_frsize, free: told.f_bavail * told.f_frsize })
    }
}

struct DiskFile(File);

impl AppendFile for DiskFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}
