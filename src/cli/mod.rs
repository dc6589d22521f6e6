//! How people talk to the product: one file a command.

pub mod import;
