//! What the large tests share: the reference, random histories and queries, and the doors to a store.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::disallowed_methods, reason = "tests read their cases from the source tree")]

pub mod bucket;
pub mod dice;
pub mod doors;
pub mod examples;
pub mod histories;
pub mod program;
pub mod queries;
pub mod reading;
pub mod reference;
pub mod server;
pub mod tables;
