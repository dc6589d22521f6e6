//! Which threads go first.

use crate::limits::STEPPED_BACK_NICENESS;

/// Lets the threads of others go before this one.
pub(crate) fn step_back() {
    // Where the system does not allow it, it goes on as it is: fairness is lost then, and nothing else.
    let thread = rustix::thread::gettid();
    let _ = rustix::process::setpriority_process(Some(thread), STEPPED_BACK_NICENESS);
}
