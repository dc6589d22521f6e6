//! What an event, a property, a user and a moment are. Knows nothing of bytes, files or threads.

mod batch;
mod document;
mod number;
mod sum;
mod time;
mod value;

pub use batch::{
    BatchError, BatchRoom, CellRef, EventBatch, EventRef, PropertyRef, SharedName, SharedText, SharedValue,
    TextMemo, TextPlace,
};
pub use document::DocumentKind;
pub(crate) use number::write_decimal;
pub use number::{Number, NumberError};
pub use sum::{Decimal, ExactSum};
pub use time::{
    DAY_MS, DurationMs, HOUR_MS, MINUTE_MS, SECOND_MS, TimeError, TimeMs, WEEK_MS, checked_time, parse_time,
};
pub use value::Value;

/// An event as a program holds it: the owned counterpart of [`EventRef`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub event: String,
    pub user: String,
    pub time: TimeMs,
    /// Two events with one id, name, user and time are one event.
    pub id: Option<String>,
    pub account: Option<String>,
    pub properties: Vec<(String, Value)>,
}

/// Who is counted, or whose profile is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Entity {
    #[default]
    User,
    Account,
}

impl Entity {
    /// The word that requests and results use.
    pub const fn name(self) -> &'static str {
        match self {
            Entity::User => "user",
            Entity::Account => "account",
        }
    }
}

/// A change to one profile. The parts are applied in this order: `set`, `set_once`, `add`, `unset`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ProfileWrite {
    /// The user's or account's id.
    pub id: String,
    pub set: Vec<(String, Value)>,
    /// Only where the property has no value yet.
    pub set_once: Vec<(String, Value)>,
    /// Added to the number that is there; a missing value, or one that is no number, counts as 0.
    pub add: Vec<(String, Number)>,
    pub unset: Vec<String>,
}

/// Two ids that are one user from now on, over all history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityMerge {
    pub from: String,
    /// The id that the user is called by afterwards.
    pub into: String,
}
