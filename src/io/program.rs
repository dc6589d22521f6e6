//! The program itself, its code and constants, which the system reads from the disk as they are first used.
//!
//! A machine that was short of memory, or has just started, has little of them in memory. A fault reads megabytes around
//! a page, and a first question meets a chain of such faults, one after the other: of a million events it took 14 to 21 ms,
//! most of it for the program. Pages that are mapped stay; those that are only cached go first.
#![allow(unsafe_code, reason = "asks the loader where the program is, and the system to map it")]

use std::ffi::{c_int, c_void};
use std::ptr;
use std::slice;

/// Maps all of the program, reading what is not in memory. Where the system cannot, it is read as it is used.
pub fn map_program() {
    // SAFETY: `map_first` keeps nothing of what it is shown.
    unsafe { libc::dl_iterate_phdr(Some(map_first), ptr::null_mut()) };
}

/// Maps the first object of a walk, which is the program, and ends the walk.
///
/// # Safety
///
/// `object` is what the loader knows of an object that is loaded, as [`libc::dl_iterate_phdr`] shows it.
unsafe extern "C" fn map_first(object: *mut libc::dl_phdr_info, _size: usize, _data: *mut c_void) -> c_int {
    // SAFETY: the loader's own description, which lives as long as the call.
    let object = unsafe { &*object };
    // SAFETY: as above: the headers lie in the object, which stays loaded.
    let headers = unsafe { slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
    let page_size = rustix::param::page_size();
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD) {
        let start = (object.dlpi_addr + header.p_vaddr) as usize;
        let within_page = start % page_size;
        let start = ptr::without_provenance_mut::<c_void>(start - within_page);
        // SAFETY: the advice changes no byte and no mapping, and the program may read what it is made of.
        unsafe { libc::madvise(start, within_page + header.p_memsz as usize, libc::MADV_POPULATE_READ) };
    }
    1
}
