//! Old events away.
//!
//! With [`super::StoreOptions::expire_after`] an event is expired when it is older than that, by the clock as far as it
//! is believed (`clock.rs`). Queries stop seeing it at that very moment. Its bytes go later: segments of which all
//! events are expired are dropped, others are written anew once enough of them is, or when they are joined. The
//! manifest remembers up to when bytes may be gone, so that a clock that goes back, or a start without the setting,
//! does not show half of a day. Profiles do not expire, nor do users: only events have a time.

use super::manifest::Manifest;
use super::view::DiskSegment;
use super::{Inner, Store};
use crate::api::Problem;
use crate::limits::EXPIRED_ROWS_PERCENT_MIN;
use crate::model::TimeMs;
use crate::segment::{Damage, RowKind};

impl Inner {
    /// Events before this moment are expired.
    pub(super) fn expired_before(&self) -> TimeMs {
        let since = self.view.read().expired_before;
        match self.expire_after {
            None => since,
            Some(age) => since.max(self.clock.now().saturating_sub(age)),
        }
    }

    /// Why nothing expires, if something should.
    pub(super) fn expiry_halted(&self) -> Option<String> {
        self.expire_after?;
        let hours = self.clock.doubt()?.as_secs() / 3600;
        Some(format!(
            "the clock is {hours} hours ahead of what the store knows; if it is right, restart with --trust-clock"
        ))
    }

    /// Drops the bytes of what has expired, of segments of which little has only with `thorough`. The caller holds
    /// `joining`.
    pub(super) fn expire_while_joining(&self, thorough: bool) -> Result<(), Problem> {
        let cutoff = self.expired_before();
        let mut gone = Vec::new();
        for disk in self.disk_by_time() {
            let segment = &disk.live.segment;
            let Some((first, last)) = segment.time_range() else { continue };
            if segment.kind() != RowKind::Events || first >= cutoff {
                continue;
            }
            if last < cutoff {
                gone.push(disk);
            } else if thorough || is_mostly_expired(&disk, cutoff)? {
                self.join(vec![disk])?;
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let segments = gone.len();
        self.replace(&gone, None, cutoff).map_err(|(problem, _)| problem)?;
        tracing::info!(segments, "segments whose events are all expired were removed");
        Ok(())
    }
}

/// Whether enough rows of a segment are expired to write it anew.
fn is_mostly_expired(disk: &DiskSegment, cutoff: TimeMs) -> Result<bool, Damage> {
    let segment = &disk.live.segment;
    let mut expired_count = 0;
    let mut times = Vec::new();
    for group in segment.groups() {
        let meta = group.meta();
        if meta.time_max < cutoff {
            expired_count += meta.row_count;
        } else if meta.time_min < cutoff {
            times.clear();
            group.times()?.read(0..group.row_count(), &mut times);
            let end = (cutoff - meta.time_min) as u64;
            expired_count += times.iter().filter(|time| **time < end).count() as u64;
        }
    }
    Ok(expired_count * 100 >= segment.row_count() * EXPIRED_ROWS_PERCENT_MIN)
}

impl Store {
    /// Drops the bytes of what has expired: all of it. Queries do not see it anyway.
    pub fn expire(&self) -> Result<(), Problem> {
        self.inner.check_writable()?;
        let _joining = self.inner.joining.lock();
        self.inner.expire_while_joining(true)
    }
}

/// The manifest, from which what is expired is gone.
pub(super) fn with_cutoff(manifest: Manifest, cutoff: TimeMs) -> Manifest {
    Manifest { expired_before: manifest.expired_before.max(cutoff), ..manifest }
}
