//! Remembers what was sent lately, for the two things that an id alone does not make exact.
//!
//! An event without a time happened when it was first sent, and a second sending must not move it. An addition to a
//! profile counts once, and the store cannot tell two additions of 1 from one that was sent twice. Kept in memory: a
//! restart forgets, and then only what is sent again across it is counted twice.

use std::collections::VecDeque;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::limits::RECENT_ID_COUNT_MAX;
use crate::model::TimeMs;

/// The ids of the last sendings, and when each was first seen.
#[derive(Debug, Default)]
pub struct RecentIds(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    times: HashMap<u128, TimeMs>,
    order: VecDeque<u128>,
}

impl RecentIds {
    /// When `id` was first seen: now, if it is new.
    pub fn first_seen(&self, id: &str, now: TimeMs) -> TimeMs {
        let mark = xxhash_rust::xxh3::xxh3_128(id.as_bytes());
        let mut seen = self.0.lock();
        if let Some(time) = seen.times.get(&mark) {
            return *time;
        }
        if seen.order.len() == RECENT_ID_COUNT_MAX
            && let Some(oldest) = seen.order.pop_front()
        {
            seen.times.remove(&oldest);
        }
        seen.order.push_back(mark);
        seen.times.insert(mark, now);
        now
    }

    /// Whether `id` was seen.
    pub fn contains(&self, id: &str) -> bool {
        self.0.lock().times.contains_key(&xxhash_rust::xxh3::xxh3_128(id.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_holds_until_it_is_long_ago() {
        let recent = RecentIds::default();
        assert_eq!(recent.first_seen("a", 1), 1);
        assert_eq!(recent.first_seen("a", 2), 1);
        assert!(recent.contains("a") && !recent.contains("b"));
        for n in 0..RECENT_ID_COUNT_MAX {
            recent.first_seen(&n.to_string(), 3);
        }
        assert_eq!(recent.first_seen("a", 4), 4);
    }
}
