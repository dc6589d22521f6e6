//! What the store answers: cases worked out by hand, how much it may take, and what it sees while others write.

#[path = "../support/mod.rs"]
mod support;

mod budget;
mod conformance;
mod scale;
mod snapshots;
