//! What comes in from elsewhere and goes out again: the SDKs of other products, files, and exports.

#[path = "../support/server.rs"]
mod server;

mod files;
mod recorded;
