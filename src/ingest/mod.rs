//! How what people send becomes events: bodies, lines and files in, an [`EventBatch`] out.
//!
//! One event is read in one place, `event`, whichever door it came through, so that its fields, limits and
//! errors are the same in a request and in a file. Every reader here is total: any bytes give events or an
//! error with its place, never a panic (`total-decoders`). Nothing here knows of sockets or of storage.
//!
//! `dialects` does the same for what the SDKs of other products send, which say more than events.
//!
//! [`EventBatch`]: crate::model::EventBatch

mod changes;
mod decode;
mod dialect;
pub mod dialects;
mod event;
mod events;
mod fault;
mod files;
mod foreign;
mod lines;
mod mapping;
mod objects;
mod parquet;
mod profiles;
mod properties;
mod rows;
mod table;
mod times;
mod write;
mod zipped;

pub use changes::{ChangeKind, ChangeReader, Said};
pub use decode::decode_body;
pub use dialect::Delimiter;
pub use event::EventLimits;
pub use events::{BodyForm, OnError, ParsedEvents, Rejected, parse_events, parse_events_within};
pub use files::{InputFile, InputFormat};
pub use foreign::ForeignReader;
pub use mapping::Mapping;
pub use profiles::{parse_identities, parse_profiles};
pub use rows::{Chunk, RejectedRow, RowOptions, RowReader};
pub use times::{TimeReader, TimeUnit};
pub use write::{write_event, write_identity, write_profile, write_properties, write_string};
