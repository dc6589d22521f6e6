//! Which acknowledged changes are not in a segment yet.
//!
//! A log file is a run of records, each a change to the store with its number. A group of changes is appended and
//! synced at once, and acknowledged after that (`acknowledged-is-durable`). Layout: docs/format.md, "Log".
//!
//! A crash leaves an end that is cut short. It can be told from damage, because every record says up to which number
//! everything was durable when it was written: a bad record below that number had been acknowledged.

mod change;
mod log;

pub use change::{Change, DocumentContent};
pub use log::{LogContents, LogError, LogWriter, encode_log, read_log};
