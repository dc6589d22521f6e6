//! What the store answers: against a slow reference, cases worked out by hand, and while others write.

#[path = "../support/mod.rs"]
mod support;

mod agreement;
mod budget;
mod conformance;
mod laws;
mod merges;
mod scale;
mod snapshots;
