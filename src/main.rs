//! The `flywheel` program: see `flywheel --help`.

use std::process::ExitCode;

/// Queries take and return buffers of some hundred kilobytes all the time: the allocator of the C library asks the kernel
/// for each, which was a fifth of their time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    flywheeldb::cli::main()
}
