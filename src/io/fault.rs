//! Reading under a mapping never ends the process (`never-sigbus`).
//!
//! Touching a page of a mapped file that is not there any more, because another program cut the file short, or that
//! the disk cannot read, raises SIGBUS. The handler here puts a page of zeros in its place, so that the reader goes
//! on, and notes that the mapping is not what the file was: from then on [`is_intact`] says so, and whoever read
//! zeros must find out before telling what was made of them. For that, work is done between two looks at
//! [`fault_count`]. (The technique is that of libwayland's pools of shared memory.)
//!
//! A file that is cut within its last page raises nothing: the rest of the page reads as zeros. [`check_mappings`]
//! compares the sizes of the files with those that were mapped, and finds that too.
//!
//! Faults outside of the mappings noted here go to the handler that was there before.
#![allow(unsafe_code, reason = "maps files, and answers a signal of the system")]
#![allow(clippy::disallowed_types, reason = "a mapping keeps its file open to see its size")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};

use memmap2::Mmap;
use parking_lot::Mutex;

/// Mappings at once: as many as Linux lets a process have unless told otherwise (`vm.max_map_count`).
const SLOT_COUNT: usize = 65_536;

/// A mapping, for the handler, which can take no lock. `start` is 0 while the slot is free.
struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
    file: AtomicI32,
    is_damaged: AtomicBool,
}

static SLOTS: [Slot; SLOT_COUNT] = [const {
    Slot {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        file: AtomicI32::new(-1),
        is_damaged: AtomicBool::new(false),
    }
}; SLOT_COUNT];

/// Slots ever used: those past it are free.
static SLOT_COUNT_USED: AtomicUsize = AtomicUsize::new(0);
/// Mappings found damaged so far.
static FAULT_COUNT: AtomicU64 = AtomicU64::new(0);
/// Taken by whoever takes or frees a slot, or looks at the files of slots.
static TAKING: Mutex<()> = Mutex::new(());

/// How many mappings were found damaged so far, in the life of the process.
pub fn fault_count() -> u64 {
    FAULT_COUNT.load(Ordering::Acquire)
}

/// Asks the system to read mapped bytes from the disk at once, and does not wait for it: read page by page as they are
/// touched, they take many times as long. Of bytes that are in memory nothing comes of it.
pub fn will_need(bytes: &[u8]) {
    let within_page = bytes.as_ptr() as usize % rustix::param::page_size();
    let start = bytes.as_ptr().wrapping_sub(within_page);
    // SAFETY: the advice changes no byte and no mapping. The page of the first byte is mapped, as the byte is.
    unsafe { libc::madvise(start.cast_mut().cast(), bytes.len() + within_page, libc::MADV_WILLNEED) };
}

/// Whether all of these bytes are what their file holds, as far as anybody noticed. True of bytes that are not mapped.
pub fn is_intact(bytes: &[u8]) -> bool {
    if FAULT_COUNT.load(Ordering::Acquire) == 0 {
        return true; // by far the most common
    }
    let at = bytes.as_ptr() as usize;
    slot_of(at).is_none_or(|slot| !slot.is_damaged.load(Ordering::Acquire))
}

/// Looks for files that were cut short since they were mapped. What is found is counted as faults are.
pub fn check_mappings() {
    let _taking = TAKING.lock();
    for slot in &SLOTS[..SLOT_COUNT_USED.load(Ordering::Acquire)] {
        let (start, end) = (slot.start.load(Ordering::Acquire), slot.end.load(Ordering::Acquire));
        if start == 0 || slot.is_damaged.load(Ordering::Acquire) {
            continue;
        }
        // SAFETY: the slot is taken and cannot be freed while `TAKING` is held, and its mapping keeps the file open.
        let file = unsafe { BorrowedFd::borrow_raw(slot.file.load(Ordering::Acquire)) };
        let is_whole = rustix::fs::fstat(file).is_ok_and(|stat| stat.st_size as u64 >= (end - start) as u64);
        if !is_whole {
            note_damage(slot);
        }
    }
}

fn note_damage(slot: &Slot) {
    if !slot.is_damaged.swap(true, Ordering::AcqRel) {
        FAULT_COUNT.fetch_add(1, Ordering::AcqRel);
    }
}

/// The slot of the mapping that an address lies in. Takes no lock.
fn slot_of(at: usize) -> Option<&'static Slot> {
    SLOTS[..SLOT_COUNT_USED.load(Ordering::Acquire)].iter().find(|slot| {
        let start = slot.start.load(Ordering::Acquire);
        let end = slot.end.load(Ordering::Acquire);
        // A slot that is freed and taken again between the two has another start, or the same place.
        start != 0 && start <= at && at < end && slot.start.load(Ordering::Acquire) == start
    })
}

/// A file, mapped and watched.
#[derive(Debug)]
pub(super) struct Mapping {
    slot: usize,
    /// `None` only while it is dropped.
    map: Option<Mmap>,
    /// Its size is that of the mapping, unless another program cuts it.
    _file: File,
}

impl Mapping {
    /// Maps a whole file, which must not be empty.
    pub fn new(file: File) -> io::Result<Mapping> {
        install_handler()?;
        // SAFETY: the file is opened read-only and nothing in this process writes to it after it was published
        // (`sealed-segments`); the directory's lock keeps other stores out; removal unlinks the name and leaves the
        // mapping whole. A foreign program may cut the file, or write to it, at any time: then bytes are others when
        // read again, which no decoder relies on for its safety, or raise SIGBUS, which the handler answers.
        let map = unsafe { Mmap::map(&file)? };
        let _taking = TAKING.lock();
        let used = SLOT_COUNT_USED.load(Ordering::Acquire);
        let free = SLOTS[..used].iter().position(|slot| slot.start.load(Ordering::Acquire) == 0);
        let index = free.unwrap_or(used);
        let slot = SLOTS.get(index).ok_or(io::ErrorKind::OutOfMemory)?;
        let start = map.as_ptr() as usize;
        slot.is_damaged.store(false, Ordering::Release);
        slot.file.store(file.as_raw_fd(), Ordering::Release);
        slot.end.store(start + map.len(), Ordering::Release);
        slot.start.store(start, Ordering::Release);
        SLOT_COUNT_USED.store(used.max(index + 1), Ordering::Release);
        Ok(Mapping { slot: index, map: Some(map), _file: file })
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        self.map.as_deref().expect("it is there until it is dropped")
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let _taking = TAKING.lock();
        // Freed before the addresses may belong to something else.
        SLOTS[self.slot].start.store(0, Ordering::Release);
        drop(self.map.take());
    }
}

/// What the handler needs, found out before it may be called.
struct Installed {
    previous: libc::sigaction,
    page_size: usize,
}

static INSTALLED: OnceLock<Installed> = OnceLock::new();

/// Installs the handler once for the process.
fn install_handler() -> io::Result<()> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _installing = INSTALLING.lock();
    if INSTALLED.get().is_some() {
        return Ok(());
    }
    // SAFETY: an all-zero `sigaction` is a valid value of that C structure: the default action, an empty mask.
    let (mut previous, mut action): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
    // SAFETY: only reads the action in place, into a structure that is ours.
    if unsafe { libc::sigaction(libc::SIGBUS, std::ptr::null(), &raw mut previous) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let page_size = rustix::param::page_size();
    // Set before the handler is, which reads it.
    INSTALLED.get_or_init(|| Installed { previous, page_size });
    action.sa_sigaction = on_bus_error as *const () as usize;
    // On the stack for signals that the standard library gives each thread, as its own handlers are.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: `on_bus_error` has the signature that SA_SIGINFO asks for, and does only what a signal handler may:
    // see there.
    if unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Puts a page of zeros where a mapped file has none.
///
/// It is called between any two instructions of any thread. So it takes no lock and no memory, calls only `mmap` and
/// `sigaction`, which are single calls of the system, reads and writes only atomics, and keeps `errno`.
extern "C" fn on_bus_error(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system gives a valid `siginfo_t`, which for SIGBUS has an address; `errno` is the thread's own.
    let (address, errno) = unsafe { ((*info).si_addr() as usize, *libc::__errno_location()) };
    let Some(installed) = INSTALLED.get() else { return };
    if let Some(slot) = slot_of(address) {
        let page = address & !(installed.page_size - 1);
        // SAFETY: the page lies in a mapping of this process that lives, as the thread that was interrupted is just
        // reading from it, and mappings are whole pages. A private page of zeros, to be read only, takes the place
        // of one that cannot be read, so nobody loses anything; unmapping the mapping unmaps it too.
        let mapped = unsafe {
            libc::mmap(
                page as *mut libc::c_void,
                installed.page_size,
                libc::PROT_READ,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        if mapped != libc::MAP_FAILED {
            note_damage(slot);
            // SAFETY: as above.
            unsafe { *libc::__errno_location() = errno };
            return;
        }
    }
    let previous = installed.previous.sa_sigaction;
    if previous == libc::SIG_DFL || previous == libc::SIG_IGN {
        // SAFETY: gives back the action that was there; the faulting instruction runs again, and meets it.
        unsafe { libc::sigaction(libc::SIGBUS, &raw const installed.previous, std::ptr::null_mut()) };
    } else if installed.previous.sa_flags & libc::SA_SIGINFO != 0 {
        // SAFETY: a handler that was installed with SA_SIGINFO is a function of this signature.
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
            unsafe { std::mem::transmute(previous) };
        handler(signal, info, context);
    } else {
        // SAFETY: a handler that was installed without SA_SIGINFO is a function of this signature.
        let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(previous) };
        handler(signal);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn mapping(size: usize) -> (File, Mapping) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; size]).unwrap();
        let mapping = Mapping::new(file.try_clone().unwrap()).unwrap();
        (file, mapping)
    }

    #[test]
    fn pages_that_are_gone_read_as_zeros_and_only_their_mapping_is_damaged() {
        let page = rustix::param::page_size();
        let (_whole_file, whole) = mapping(3 * page);
        let (file, cut) = mapping(3 * page);
        assert!(is_intact(cut.as_ref()));
        file.set_len(page as u64).unwrap();
        let before = fault_count();
        let sum: u64 = cut.as_ref().iter().map(|byte| u64::from(*byte)).sum();
        assert_eq!(sum, 7 * page as u64, "the process lives, and what is gone is zeros");
        assert!(fault_count() > before);
        assert!(!is_intact(cut.as_ref()) && !is_intact(&cut.as_ref()[2 * page..]));
        assert!(is_intact(whole.as_ref()) && is_intact(&[1, 2, 3]));
        drop(cut);
        let (_next_file, next) = mapping(3 * page);
        assert!(is_intact(next.as_ref()), "a slot that is taken again is whole again");
    }

    #[test]
    fn a_cut_within_the_last_page_is_found_by_looking() {
        let (file, mapping) = mapping(100);
        check_mappings();
        assert!(is_intact(mapping.as_ref()));
        file.set_len(99).unwrap();
        assert_eq!(mapping.as_ref()[99], 0, "no signal is raised");
        check_mappings();
        assert!(!is_intact(mapping.as_ref()));
    }

    #[test]
    fn many_threads_may_meet_many_faults() {
        let page = rustix::param::page_size();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let (file, mapping) = mapping(4 * page);
                        file.set_len(0).unwrap();
                        assert!(mapping.as_ref().iter().all(|byte| *byte == 0));
                        assert!(!is_intact(mapping.as_ref()));
                    }
                });
            }
        });
    }
}
