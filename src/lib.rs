//! FlywheelDB: an embedded, self-hosted event store that answers product-analytics questions exactly.
//!
//! The crate is a row of rooms, and each knows only rooms further left (docs/architecture.md):
//! `model`, `api`, `format`, `io`, `wal`, `segment`, `store`, `query`, `ingest`, `http`, `cli`.

pub mod api;
pub mod cli;
pub mod demo;
pub mod ingest;
pub mod io;
pub mod limits;
pub mod model;
pub mod query;
pub mod store;

pub use store::{Receipt, Store};
