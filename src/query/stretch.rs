//! A range of time that is told in buckets: the asked one, or the one that it is compared with.

use std::ops::Range;

use jiff::tz::TimeZone;

use super::rolling::Rolling;
use super::{Calendar, key_time};
use crate::api::{Interval, Problem, Scope};
use crate::model::TimeMs;

#[derive(Debug)]
pub struct Stretch {
    pub calendar: Calendar,
    pub rolling: Option<Rolling>,
    /// The part that is seen: up to `as_of`.
    pub range: Range<TimeMs>,
}

impl Stretch {
    pub fn new(
        interval: Interval,
        rolling_days: Option<u32>,
        scope: &Scope,
        told: Range<TimeMs>,
    ) -> Result<Stretch, Problem> {
        let calendar = Calendar::new(interval, &scope.zone, scope.week_start, told.clone())?;
        let rolling = rolling_days.map(|days| Rolling::new(&calendar, &scope.zone, days));
        Ok(Stretch { calendar, rolling, range: scope.seen(told) })
    }

    /// The same range as one bucket, without windows.
    pub fn whole(&self) -> Result<Stretch, Problem> {
        let week_start = Default::default();
        let calendar = Calendar::new(Interval::Total, &TimeZone::UTC, week_start, self.range.clone())?;
        Ok(Stretch { calendar, rolling: None, range: self.range.clone() })
    }

    /// All that is looked at: the range, and before it what the first rolling window holds.
    pub fn looked_at(&self) -> Range<TimeMs> {
        let start = self.rolling.as_ref().and_then(Rolling::start).unwrap_or(self.range.start);
        // The range itself too, where no window holds it: its values are told.
        start.min(self.range.start)..self.range.end
    }

    /// What counts for a bucket: its part of the range, its trailing window, or with `is_running` all up to its end.
    pub fn window(&self, bucket: usize, is_running: bool) -> Range<TimeMs> {
        let start = match &self.rolling {
            Some(rolling) => rolling.window_start(bucket),
            None if is_running => self.range.start,
            None => self.calendar.start(bucket).max(self.range.start),
        };
        let end = self.calendar.end(bucket).min(self.range.end);
        start.min(end)..end
    }

    /// Whether facts by day of UTC are enough.
    pub fn is_of_utc_days(&self) -> bool {
        self.calendar.is_of_utc_days() && self.rolling.as_ref().is_none_or(Rolling::is_of_utc_days)
    }

    /// The bucket of a row of the range.
    #[inline]
    pub fn bucket(&self, key: u64) -> usize {
        self.calendar.bucket_of(key_time(key)).expect("rows lie in the range, and the calendar spans it")
    }
}
