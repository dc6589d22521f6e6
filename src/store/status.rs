//! What an operator wants to know of an open store: how it is, how large, and what it did.

use super::Store;
use crate::telemetry::{Counter, Histogram};

/// What a store did since it was opened.
#[derive(Debug, Default)]
pub struct StoreTelemetry {
    pub events_accepted: Counter,
    pub events_duplicate: Counter,
    /// Each sync of the log, which acknowledges all that waited for it.
    pub log_sync: Histogram,
    pub seals: Counter,
    pub seals_failed: Counter,
    pub compactions: Counter,
    pub compactions_failed: Counter,
    /// Events, writes to profiles and merges that were refused for one of the store's bounds, in the order of
    /// [`Bound::ALL`](super::Bound::ALL).
    pub over_bound: [Counter; 5],
}

/// How large a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreSize {
    pub segment_count: u64,
    pub segment_bytes: u64,
    /// Rows in segments, of events and profiles.
    pub row_count: u64,
    /// Bytes of changes in memory, those being sealed included.
    pub memory_bytes: u64,
    /// The last change.
    pub change: u64,
    /// Stored cohorts, queries and keys.
    pub document_count: u64,
    /// Ids of users, those merged into others included.
    pub user_id_count: u64,
    pub account_id_count: u64,
}

impl Store {
    pub fn telemetry(&self) -> &StoreTelemetry {
        &self.inner.telemetry
    }

    /// How large it is. Cheap: nothing is read or sorted for it.
    pub fn size(&self) -> StoreSize {
        let memory_bytes = self.memory_size();
        let view = self.inner.view.read();
        let mut size = StoreSize { memory_bytes, change: view.number, ..StoreSize::default() };
        for disk in view.disk.iter() {
            size.segment_count += 1;
            size.segment_bytes += disk.live.segment.bytes().len() as u64;
            size.row_count += disk.live.segment.row_count();
        }
        size.document_count = view.documents.count();
        drop(view);
        size.user_id_count = self.inner.users.known_count();
        size.account_id_count = self.inner.accounts.known_count();
        size
    }
}
