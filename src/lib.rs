//! FlywheelDB: an embedded, self-hosted event store that answers product-analytics questions exactly.
//!
//! The crate is a row of rooms, and each knows only rooms further left (docs/architecture.md):
//! `model`, `api`, `format`, `io`, `wal`, `segment`, `store`, `query`, `ingest`, `export`, `keys`, `settings`, `http`, `cli`.

pub mod api;
pub mod cli;
pub mod demo;
#[cfg(test)]
mod dice;
pub mod export;
pub mod format;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod ingest;
pub mod io;
pub mod keys;
pub mod limits;
pub mod memory;
pub mod model;
pub mod query;
pub mod segment;
pub mod settings;
pub mod store;
pub mod telemetry;
mod threads;
pub mod wal;

pub use store::{Receipt, Store};
