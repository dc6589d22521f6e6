//! One immutable file of columns: rows grouped by event, then user, then time.
//!
//! A segment is made once, by [`SegmentWriter`], and never changes (`sealed-segments`). The same bytes serve in
//! memory, as the newest rows, and on disk. It knows nothing of other segments. Layout: docs/format.md, "Segment".
//!
//! Three kinds of rows share the layout: events, and the writes to profiles of users and of accounts, which are
//! rows of a group named for the property, with one property of the same name (missing where it was unset), whose
//! time is the number of the write.

mod anchors;
mod build;
mod by_user;
mod group;
mod keys;
mod layout;
#[cfg(any(test, feature = "fuzzing"))]
mod mend;
mod merge;
mod merge_activity;
#[cfg(test)]
mod merge_laws;
mod moments;
mod prove;
mod reader;
mod sizes;
mod values;
mod writer;

pub use anchors::Anchors;
pub use build::{BatchRow, build};
pub use keys::{AnchorKeys, Packing};
pub use layout::{GroupMeta, PropertyEncoding};
#[cfg(any(test, feature = "fuzzing"))]
pub use mend::with_right_checksums;
pub use merge::{Form, MergeError, MergeSource, merge};
pub use prove::Bounds;
pub use reader::{Column, Damage, Group, Segment};
pub use sizes::SegmentPart;
pub use values::ValueDictionary;
pub use writer::SegmentWriter;

/// What the rows of a segment are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowKind {
    Events = 1,
    /// Writes to profiles of users: ordinals are those of users.
    UserProfiles = 2,
    /// Writes to profiles of accounts: ordinals are those of accounts.
    AccountProfiles = 3,
}

impl RowKind {
    /// What a person calls them.
    pub fn name(self) -> &'static str {
        match self {
            RowKind::Events => "events",
            RowKind::UserProfiles => "profiles of users",
            RowKind::AccountProfiles => "profiles of accounts",
        }
    }
}

/// Users in one task of a query, and in one run of the activity column.
pub const TASK_USER_BITS: u32 = 14;

/// An entry of the activity column: order of keys is order of (task, day, user).
///
/// `day` counts days (UTC) since 1970.
pub fn activity_key(user: u32, day: i32) -> u64 {
    let (task, within) = (user >> TASK_USER_BITS, user & ((1 << TASK_USER_BITS) - 1));
    let day = (day - ACTIVITY_DAY_MIN) as u64;
    (u64::from(task) << (TASK_USER_BITS + ACTIVITY_DAY_BITS)) | (day << TASK_USER_BITS) | u64::from(within)
}

/// Bits of a day in an activity key: 1900 to 2200 are 109,573 days.
pub const ACTIVITY_DAY_BITS: u32 = 18;
/// The first day an activity key can hold: 1900-01-01.
pub const ACTIVITY_DAY_MIN: i32 = (crate::limits::TIME_MIN_MS / crate::model::DAY_MS) as i32;
const _: () = assert!(
    (crate::limits::TIME_MAX_MS - crate::limits::TIME_MIN_MS) / crate::model::DAY_MS < 1 << ACTIVITY_DAY_BITS
);
