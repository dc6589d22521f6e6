//! The `flywheel` program: see `flywheel --help`.
#![allow(unsafe_code, reason = "the allocator's own functions have no other door")]

use std::process::ExitCode;

/// Queries take and return buffers of some hundred kilobytes all the time: the allocator of the C library asks the kernel
/// for each, which was a fifth of their time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long freed memory is kept for what comes next, in milliseconds.
const KEPT_MS: std::ffi::c_long = 10_000;
/// `mi_option_purge_delay` in mimalloc.h, to which the bindings give no name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Gives memory that this thread freed back to the system.
fn return_memory() {
    // SAFETY: it takes no pointer, and frees nothing that is in use (mimalloc.h).
    unsafe { libmimalloc_sys::mi_collect(true) }
}

fn main() -> ExitCode {
    // SAFETY: it sets a number that the allocator reads when memory is freed (mimalloc.h).
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, KEPT_MS) }
    flywheeldb::memory::return_memory_by(return_memory);
    flywheeldb::cli::main()
}
