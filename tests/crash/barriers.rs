//! The store on a disk that leaves out one barrier: a sync, an order, a check.
//!
//! Each of them is there because without it something acknowledged could be lost. If leaving one out is not noticed,
//! either the barrier is needless or the tests are blind.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use flywheeldb::Store;
use flywheeldb::api::Problem;
use flywheeldb::io::{AppendFile, Directory, Space};
use parking_lot::Mutex;

use super::sim_disk::SimDisk;
use super::subject::open_store;

/// What is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barrier {
    /// The sync of a group of changes, after which it is acknowledged.
    GroupSync,
    /// The sync of a file of this kind before it gets its name.
    NewFileSync(&'static str),
    /// The sync of the directory after a file of this kind got its name.
    NameSync(&'static str),
    /// The sync of the directory with which opening begins.
    OpenSync,
    /// Writing a file of this kind aside, under another name, until it is whole.
    Aside(&'static str),
    /// The checksums of the records of a log.
    RecordChecksum,
    /// Believing a sync that failed, instead of asking again until it succeeds.
    FailedSync,
}

impl Barrier {
    pub const ALL: [Barrier; 14] = [
        Barrier::GroupSync,
        Barrier::NewFileSync("log"),
        Barrier::NewFileSync("segment"),
        Barrier::NewFileSync("ids"),
        Barrier::NewFileSync("MANIFEST"),
        Barrier::NameSync("log"),
        Barrier::NameSync("segment"),
        Barrier::NameSync("ids"),
        Barrier::NameSync("MANIFEST"),
        Barrier::OpenSync,
        Barrier::Aside("log"),
        Barrier::Aside("MANIFEST"),
        Barrier::RecordChecksum,
        Barrier::FailedSync,
    ];
}

/// The ending of a name, without `.new`; of the manifest the name.
fn kind_of(name: &str) -> &str {
    name.trim_end_matches(".new").rsplit('.').next().expect("there is a last part")
}

/// A disk without a barrier.
#[derive(Clone, Debug)]
struct Careless {
    disk: Arc<dyn Directory>,
    without: Barrier,
    /// The kind of the file that got its name last; none did since the store was opened.
    named: Arc<Mutex<Option<String>>>,
}

/// Opens the store on a disk that leaves the barrier out.
pub fn open_without(without: Barrier, disk: Arc<dyn Directory>) -> Result<Store, Problem> {
    open_store(Arc::new(Careless { disk, without, named: Arc::default() }))
}

impl Careless {
    /// The name under which a file is written: its own at once if it should be written aside.
    fn written_as<'n>(&self, name: &'n str) -> &'n str {
        match (self.without, name.strip_suffix(".new")) {
            (Barrier::Aside(kind), Some(own)) if kind_of(own) == kind => own,
            _ => name,
        }
    }
}

impl Directory for Careless {
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        self.disk.lock()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        let own = self.written_as(name);
        if own != name {
            let _ = self.disk.remove(own);
        }
        let file = self.disk.create(own)?;
        Ok(Box::new(CarelessFile {
            file,
            without: self.without,
            kind: kind_of(name).to_owned(),
            is_new: true,
        }))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = self.disk.read(name)?;
        if self.without == Barrier::RecordChecksum && kind_of(name) == "log" {
            believe_records(&mut bytes);
        }
        Ok(bytes)
    }

    fn map(&self, name: &str) -> io::Result<Bytes> {
        self.disk.map(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        *self.named.lock() = Some(kind_of(to).to_owned());
        if self.written_as(from) == to { Ok(()) } else { self.disk.rename(from, to) }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        let is_left_out = match (self.without, &*self.named.lock()) {
            (Barrier::NameSync(kind), Some(named)) => kind == named,
            (Barrier::OpenSync, None) => true,
            _ => false,
        };
        if is_left_out { Ok(()) } else { self.disk.sync_directory() }
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.disk.list()
    }

    fn space(&self) -> io::Result<Space> {
        self.disk.space()
    }
}

struct CarelessFile {
    file: Box<dyn AppendFile>,
    without: Barrier,
    kind: String,
    /// Until its first sync, which is the one before it gets its name.
    is_new: bool,
}

impl AppendFile for CarelessFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        let is_new = std::mem::take(&mut self.is_new);
        let is_left_out = match self.without {
            Barrier::GroupSync => !is_new,
            Barrier::NewFileSync(kind) => is_new && kind == self.kind,
            _ => false,
        };
        match self.without {
            _ if is_left_out => Ok(()),
            Barrier::FailedSync => self.file.sync().or_else(|_| self.file.sync()),
            _ => self.file.sync(),
        }
    }
}

/// Makes the checksum right of everything that begins like a record and is long enough to be one.
fn believe_records(bytes: &mut [u8]) {
    const HEADER_SIZE: usize = 28;
    let mut at = HEADER_SIZE;
    while let Some(size) = bytes.get(at + 4..at + 8) {
        let size = u32::from_le_bytes(size.try_into().expect("four bytes")) as usize;
        let Some(record) = bytes.get_mut(at..at + HEADER_SIZE + size) else { return };
        if record[..4] != *b"\xf1\x0cRC" {
            return;
        }
        let sum = crc32c::crc32c_append(crc32c::crc32c(&record[4..24]), &record[HEADER_SIZE..]);
        record[24..28].copy_from_slice(&sum.to_le_bytes());
        at += HEADER_SIZE + size;
    }
}

/// A careless disk on top of a simulated one can be cut like any other.
#[test]
fn what_is_left_out_is_left_out() {
    let disk = SimDisk::new();
    let careless = |without| Careless { disk: Arc::new(disk.clone()), without, named: Arc::default() };
    let mut file = careless(Barrier::NewFileSync("log")).create("1.log.new").unwrap();
    file.append(b"it").unwrap();
    file.sync().unwrap();
    careless(Barrier::OpenSync).sync_directory().unwrap();
    assert!(disk.states(1, 1)[0].1.list().unwrap().is_empty(), "neither the name nor the bytes are safe");
    file.sync().unwrap();
    careless(Barrier::GroupSync).sync_directory().unwrap();
    assert_eq!(disk.states(1, 1)[0].1.read("1.log.new").unwrap(), b"it");
}
