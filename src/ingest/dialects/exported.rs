//! Events of exports, read by the dialects of the SDKs that sent them.

use super::recent::RecentIds;
use super::writes::{Reader, Writes};
use super::{amplitude, lenient, mixpanel, posthog};
use crate::api::{Json, Problem};
use crate::ingest::event::EventLimits;
use crate::ingest::fault::Fault;
use crate::model::{IdentityMerge, TimeMs};

/// Whose export it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportedBy {
    Mixpanel,
    Amplitude,
    PostHog,
}

/// Parses one item of an export.
pub fn parse_item(text: &[u8]) -> Result<Json, Problem> {
    lenient::parse(text)
}

/// Items of an export, as what they mean together.
#[derive(Debug)]
pub struct ForeignItems {
    product: ExportedBy,
    now: TimeMs,
    recent: RecentIds,
    writes: Writes,
}

impl ForeignItems {
    pub fn new(product: ExportedBy, now: TimeMs) -> ForeignItems {
        ForeignItems { product, now, recent: RecentIds::default(), writes: Writes::default() }
    }

    /// Events that were read.
    pub fn event_count(&self) -> usize {
        self.writes.events.len()
    }

    /// Items that were read, whatever they are.
    pub fn count(&self) -> usize {
        self.writes.item_count
    }

    /// Says that two ids are one user, called by `into`.
    pub fn merge(&mut self, from: &str, into: &str) {
        self.writes.merges.push(IdentityMerge { from: from.to_owned(), into: into.to_owned() });
    }

    /// Reads an item, which must say when it happened, or changes nothing.
    pub fn read(&mut self, item: &Json) -> Result<(), Problem> {
        let writes = std::mem::take(&mut self.writes);
        let mut reader =
            Reader { writes, now: self.now, recent: &self.recent, limits: EventLimits::default() };
        reader.writes.item_count += 1;
        let read: Result<(), Fault> = match (item, self.product) {
            (Json::Object(_), ExportedBy::Mixpanel) => mixpanel::read_event(&mut reader, item),
            (Json::Object(_), ExportedBy::Amplitude) => amplitude::read_event(&mut reader, item),
            (Json::Object(_), ExportedBy::PostHog) => posthog::read_event(item, None, &mut reader),
            _ => Err(Fault::new("expected an object")),
        };
        self.writes = reader.writes;
        read.map_err(|fault| {
            let problem = Problem::invalid(fault.detail).at(fault.path);
            match fault.hint {
                Some(hint) => problem.hint(hint),
                None => problem,
            }
        })
    }

    pub fn into_writes(self) -> Writes {
        self.writes
    }
}
