//! What the SDKs of other products send, read as events, users, accounts and merges.
//!
//! A request whose address belongs to an SDK becomes a [`Call`]: its body freed of whatever it is wrapped in, its key
//! found. Reading it gives [`Writes`], the one thing that all dialects mean, and the [`Answer`] that this SDK expects
//! if they are stored. A file of this folder is a dialect; `wire`, `lenient` and `flat` are what they share.
//!
//! SDKs send whole batches again when an answer is lost, so reading the same bytes twice must give the same events:
//! ids and times are the client's and never corrected by our clock. What a client may be wrong about without losing
//! an event (a value that is too long, half a character) is cut and told in the event; what is no event at all is left
//! out and told in the answer. Mapping and answers: docs/sdks.md.

mod amplitude;
mod answer;
mod call;
mod cloudevents;
mod endpoint;
mod exported;
mod flat;
mod lenient;
mod mixpanel;
mod posthog;
mod recent;
mod segment;
mod snowplow;
mod wire;
mod writes;

pub use answer::Answer;
pub use call::{Call, Reading};
pub use endpoint::{ADDRESSES, Endpoint};
pub use exported::{ExportedBy, ForeignItems, parse_item};
pub use recent::RecentIds;
pub use writes::{Dropped, ListChange, PROFILE_LINK, ProfileChange, Writes};
