//! Writes what a store holds to files that other programs read, and that `flywheel import` reads back.
//!
//! Events, profiles of users, profiles of accounts, and the ids that are one user: together they give a store that
//! answers as this one does. Events are told under the id that their user is called by now, without those that are
//! deleted. Everything is one snapshot, read in pieces, so that memory does not grow with the store. File formats:
//! docs/files.md.

mod events;
mod profiles;
mod table;

use std::io::{self, BufWriter, Stdout, Write};

use crate::api::Problem;
use crate::io::OutsideWriter;
use crate::model::{Entity, EventBatch, TimeMs};
use crate::store::Store;

pub use table::{ExportFormat, RowWriter};

/// A place to write a file to, which is whole when it was finished.
pub trait Destination: Write + Send {
    /// Ends the file.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

impl Destination for OutsideWriter {
    fn finish(self: Box<Self>) -> io::Result<()> {
        OutsideWriter::finish(*self)
    }
}

impl Destination for BufWriter<Stdout> {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.flush()
    }
}

/// What is written of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Events,
    Profiles(Entity),
    /// Pairs of ids that are one user.
    Identities,
}

/// The parts by name, in the order in which they are best read back: who is who before what they did.
pub const PARTS: [(&str, Part); 4] = [
    ("identities", Part::Identities),
    ("users", Part::Profiles(Entity::User)),
    ("accounts", Part::Profiles(Entity::Account)),
    ("events", Part::Events),
];

/// Which events are written.
#[derive(Clone, Debug, Default)]
pub struct EventChoice {
    /// All events unless some are named.
    pub events: Vec<String>,
    pub from: Option<TimeMs>,
    /// The first moment that is not written.
    pub to: Option<TimeMs>,
}

/// Writes one part of the store, and returns how many rows that are.
pub fn export(
    store: &Store,
    part: Part,
    choice: &EventChoice,
    format: ExportFormat,
    destination: Box<dyn Destination>,
) -> Result<u64, Problem> {
    let mut writer = RowWriter::new(part, format, destination)?;
    let mut row_count = 0;
    let mut write = |batch: &EventBatch| {
        row_count += batch.len() as u64;
        writer.write(batch)
    };
    store.read(|snapshot| match part {
        Part::Events => events::each_batch(snapshot, choice, &mut write),
        Part::Profiles(entity) => profiles::each_batch(snapshot, entity, &mut write),
        Part::Identities => profiles::each_identity_batch(snapshot, &mut write),
    })?;
    writer.finish()?;
    Ok(row_count)
}
