//! Gives memory that is free back to the system.
//!
//! An allocator keeps what was freed for what comes next, and each thread keeps its own: a load of events or a few large
//! queries leave some hundred megabytes that way. Only the program knows its allocator, so it says how; whoever runs
//! threads of their own has each of them ask when there is nothing to do for a while.

use std::sync::OnceLock;
use std::time::Duration;

/// How long nothing happens before a thread, or a server, counts as idle; longer than people look at an answer before they
/// ask on.
pub(crate) const IDLE_TIME: Duration = Duration::from_secs(15);

static RETURN_MEMORY: OnceLock<fn()> = OnceLock::new();

/// Says how the allocator of the program gives back what the calling thread freed. The first one told holds.
pub fn return_memory_by(how: fn()) {
    RETURN_MEMORY.get_or_init(|| how);
}

/// Gives back what the calling thread freed.
pub(crate) fn return_memory() {
    if let Some(how) = RETURN_MEMORY.get() {
        how();
    }
}
