//! What did users do? Analyses on two access paths, sets and sequences.
//!
//! Users are dense ordinals; 16,384 consecutive ones are a task, the unit of work. No user is in two tasks, so
//! an [`Analysis`] observes each task on whichever core is free, and the partial results just add up
//! (`exact-merge`).

mod calendar;

pub use calendar::{Calendar, format_instant, local_date};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{Problem, Table};
use crate::model::TimeMs;

/// Users in one task: a quarter of a user block, so that its state fits the L2 cache and cores stay balanced.
pub const TASK_USER_COUNT: u32 = 16_384;

/// A question, ready to be asked of any task.
pub trait Analysis: Sync {
    type Partial: Partial;

    /// The partial result of no task.
    fn empty(&self) -> Self::Partial;

    /// Adds what the users of one task did.
    fn observe(&self, task: &Task<'_>, partial: &mut Self::Partial) -> Result<(), Problem>;

    /// Turns the partial result of all tasks into the answer.
    fn finish(&self, partial: Self::Partial) -> Result<Table, Problem>;
}

/// A partial result: what crosses between cores today and machines later.
///
/// `merge` is exact, associative and commutative, and the serialised form says the same.
pub trait Partial: Send + Serialize + DeserializeOwned {
    fn merge(&mut self, other: Self);
}

/// The rows of one selector in one task, sorted by user, then time.
///
/// Invariant: `ordered-runs`: `keys` is sorted; equal keys are different events at one moment.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// User within the task and time, packed by [`key`].
    pub keys: Vec<u64>,
    /// Where each row's columns are: empty unless asked for.
    pub refs: Vec<RowRef>,
}

/// A row of a segment of the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowRef {
    pub segment: u32,
    pub group: u32,
    pub row: u32,
}

const TIME_BITS: u32 = 48;
const TIME_BIAS: i64 = 1 << (TIME_BITS - 1);

/// Packs a user within the task and a time so that order of keys is order of (user, time).
pub fn key(user: u16, time: TimeMs) -> u64 {
    (u64::from(user) << TIME_BITS) | (time + TIME_BIAS) as u64
}

/// The user within the task.
pub fn key_user(key: u64) -> u16 {
    (key >> TIME_BITS) as u16
}

pub fn key_time(key: u64) -> TimeMs {
    (key & ((1 << TIME_BITS) - 1)) as i64 - TIME_BIAS
}

/// One task of a query: its users, and the access paths to what they did.
#[derive(Debug)]
pub struct Task<'a> {
    _snapshot: std::marker::PhantomData<&'a ()>,
}
