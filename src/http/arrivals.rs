//! The newest events that were sent to this process, for those who want to see them arrive.
//!
//! They are kept beside the store, in order of arrival and as they were sent: a look at what is going on, no record of
//! it. Events that turn out to be duplicates are told as well. Few are kept, in few bytes, and a deleted user's leave at
//! once, together with all others.

use std::collections::VecDeque;

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::api::Json;
use crate::ingest::write_event;
use crate::limits::{ARRIVAL_COUNT_MAX, ARRIVAL_SIZE_MAX};
use crate::model::EventBatch;

/// The newest arrivals.
#[derive(Debug, Default)]
pub(super) struct Arrivals(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// How many events arrived since the process began.
    count: u64,
    /// Their numbers ascend, up to `count`.
    newest: VecDeque<Arrival>,
    /// Bytes of the events that are kept.
    size: usize,
}

#[derive(Debug)]
struct Arrival {
    number: u64,
    received: Timestamp,
    /// The event as JSON.
    event: Box<str>,
}

/// The end of a batch, to be kept if the batch is stored.
#[derive(Debug)]
pub(super) struct BatchEnd {
    count: u64,
    /// With their places in the batch.
    events: Vec<(usize, Box<str>)>,
}

impl BatchEnd {
    /// The last events of a batch, as many as are kept.
    pub fn of(batch: &EventBatch) -> BatchEnd {
        let skipped = batch.len().saturating_sub(ARRIVAL_COUNT_MAX);
        let events = batch.iter().enumerate().skip(skipped).map(|(place, event)| {
            let mut line = Vec::new();
            write_event(&mut line, event);
            (place, String::from_utf8(line).expect("events are written as UTF-8").trim_end().into())
        });
        BatchEnd { count: batch.len() as u64, events: events.collect() }
    }

    /// Leaves out the events at some places of the batch: they are not stored.
    pub fn leave_out(&mut self, places: impl Iterator<Item = usize>) {
        for place in places {
            self.count -= 1;
            self.events.retain(|(kept, _)| *kept != place);
        }
    }
}

impl Arrivals {
    /// Keeps the end of a batch that arrived at `received`.
    pub fn add(&self, batch: BatchEnd, received: Timestamp) {
        let mut kept = self.0.lock();
        kept.count += batch.count;
        let first = kept.count - batch.events.len() as u64 + 1;
        for (number, (_, event)) in (first..).zip(batch.events) {
            kept.size += event.len();
            kept.newest.push_back(Arrival { number, received, event });
        }
        while kept.newest.len() > ARRIVAL_COUNT_MAX || kept.size > ARRIVAL_SIZE_MAX {
            let Some(oldest) = kept.newest.pop_front() else { break };
            kept.size -= oldest.event.len();
        }
    }

    /// Forgets all events: one of them may be of someone who is to be forgotten.
    pub fn clear(&self) {
        let mut kept = self.0.lock();
        kept.newest.clear();
        kept.size = 0;
    }

    /// The newest `limit` events that arrived after the `after`th, oldest first, under `arrivals`, and how many there
    /// were in all, under `last`. A number from before the process began is of no use to it: then all are told.
    pub fn told(&self, after: u64, limit: usize) -> Json {
        let kept = self.0.lock();
        let after = if after > kept.count { 0 } else { after };
        let skipped = kept.newest.partition_point(|arrival| arrival.number <= after);
        let skipped = skipped.max(kept.newest.len().saturating_sub(limit));
        let number = |number: u64| Json::Number((number as i64).into());
        let told = kept.newest.iter().skip(skipped).map(|arrival| {
            Json::Object(vec![
                ("number".to_owned(), number(arrival.number)),
                ("received".to_owned(), Json::String(arrival.received.to_string())),
                ("event".to_owned(), Json::parse(arrival.event.as_bytes()).expect("it was written as JSON")),
            ])
        });
        Json::Object(vec![
            ("arrivals".to_owned(), Json::Array(told.collect())),
            ("last".to_owned(), number(kept.count)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(names: &[&str]) -> BatchEnd {
        let mut batch = EventBatch::new();
        for name in names {
            batch.push_event(name, "ada", 0, None, None).unwrap();
        }
        BatchEnd::of(&batch)
    }

    fn names(told: &Json) -> Vec<String> {
        let Some(Json::Array(arrivals)) = told.get("arrivals") else { panic!("arrivals") };
        let name = |arrival: &Json| arrival.get("event").unwrap().get("event").unwrap().to_string();
        arrivals.iter().map(name).collect()
    }

    #[test]
    fn who_asks_again_is_told_what_came_since() {
        let arrivals = Arrivals::default();
        let told = |after, limit| names(&arrivals.told(after, limit));
        assert!(told(0, 10).is_empty());
        arrivals.add(batch(&["a", "b"]), Timestamp::UNIX_EPOCH);
        arrivals.add(batch(&["c"]), Timestamp::UNIX_EPOCH);
        assert_eq!(told(0, 10), ["\"a\"", "\"b\"", "\"c\""]);
        assert_eq!(told(2, 10), ["\"c\""]);
        assert_eq!(told(0, 2), ["\"b\"", "\"c\""]);
        assert_eq!(told(99, 10).len(), 3, "a number of an earlier process");
        arrivals.clear();
        assert!(told(0, 10).is_empty());
        arrivals.add(batch(&["d"]), Timestamp::UNIX_EPOCH);
        assert_eq!(told(3, 10), ["\"d\""]);
    }

    #[test]
    fn few_are_kept_in_few_bytes() {
        let arrivals = Arrivals::default();
        let names: Vec<String> = (0..2 * ARRIVAL_COUNT_MAX).map(|number| format!("e{number}")).collect();
        arrivals.add(batch(&names.iter().map(String::as_str).collect::<Vec<_>>()), Timestamp::UNIX_EPOCH);
        let kept = arrivals.0.lock();
        assert_eq!((kept.newest.len(), kept.count), (ARRIVAL_COUNT_MAX, 2 * ARRIVAL_COUNT_MAX as u64));
        assert_eq!(kept.newest.back().unwrap().number, kept.count);
        drop(kept);
        let mut large = EventBatch::new();
        for _ in 0..4 {
            large.push_event("large", "ada", 0, None, None).unwrap();
            large.push_property("text", &"x".repeat(ARRIVAL_SIZE_MAX / 2).as_str().into()).unwrap();
        }
        arrivals.add(BatchEnd::of(&large), Timestamp::UNIX_EPOCH);
        assert_eq!(arrivals.0.lock().newest.len(), 1);
    }
}
