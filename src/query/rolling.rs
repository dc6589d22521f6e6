//! Trailing windows: in which buckets a user's activity counts.

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::Calendar;
use crate::limits::TIME_MIN_MS;
use crate::model::{DAY_MS, TimeMs};

/// Windows of a number of calendar days, each ending with its bucket.
#[derive(Clone, Debug)]
pub struct Rolling {
    /// Where the window of each bucket starts. Ascending.
    window_starts: Vec<TimeMs>,
}

impl Rolling {
    pub fn new(calendar: &Calendar, zone: &TimeZone, day_count: u32) -> Rolling {
        let start = |bucket| days_before(calendar.end(bucket), day_count, zone).unwrap_or(TIME_MIN_MS);
        let mut window_starts: Vec<TimeMs> = (0..calendar.bucket_count()).map(start).collect();
        // A local time that clocks skipped is read as one after the gap, which must not overtake the next.
        for bucket in (1..window_starts.len()).rev() {
            window_starts[bucket - 1] = window_starts[bucket - 1].min(window_starts[bucket]);
        }
        Rolling { window_starts }
    }

    /// The start of the first window: nothing before it counts.
    pub fn start(&self) -> Option<TimeMs> {
        self.window_starts.first().copied()
    }

    /// Where the window of a bucket starts.
    pub fn window_start(&self, bucket: usize) -> TimeMs {
        self.window_starts[bucket]
    }

    /// Whether every window starts at a midnight of UTC.
    pub fn is_of_utc_days(&self) -> bool {
        self.window_starts.iter().all(|start| start.rem_euclid(DAY_MS) == 0)
    }

    /// The buckets whose windows hold a moment.
    fn buckets_of(&self, calendar: &Calendar, time: TimeMs) -> (u32, u32) {
        let first = if time < calendar.span().start { Some(0) } else { calendar.bucket_of(time) };
        let end = self.window_starts.partition_point(|start| *start <= time);
        (first.unwrap_or(end).min(end) as u32, end as u32)
    }

    /// Adds the activity of one user at a moment to `differences`, one more than there are buckets, and
    /// returns up to which bucket the user is counted now. `counted_to` is what the user's last activity
    /// returned, 0 before the first; activity comes in order of time.
    ///
    /// The sum of the differences up to a bucket is then the number of users of its window: what earlier
    /// activity covers already is left out.
    #[inline]
    pub fn count(&self, calendar: &Calendar, time: TimeMs, counted_to: u32, differences: &mut [i64]) -> u32 {
        match self.window_starts.get(counted_to as usize) {
            Some(start) if *start <= time => {
                count_buckets(self.buckets_of(calendar, time), counted_to, differences)
            }
            _ => counted_to,
        }
    }

    /// The buckets of each day since 1970 from `first_day` on, for [`count_buckets`]. Windows and buckets are
    /// of UTC days.
    pub fn buckets_by_day(&self, calendar: &Calendar, days: std::ops::Range<i32>) -> Vec<(u32, u32)> {
        days.map(|day| self.buckets_of(calendar, i64::from(day) * DAY_MS)).collect()
    }
}

/// Counts a user in the buckets from `first` to `end` that it is not counted in yet.
#[inline]
pub fn count_buckets((first, end): (u32, u32), counted_to: u32, differences: &mut [i64]) -> u32 {
    let first = first.max(counted_to);
    if first >= end {
        return counted_to;
    }
    differences[first as usize] += 1;
    differences[end as usize] -= 1;
    end
}

/// The same local time some calendar days before.
fn days_before(time: TimeMs, day_count: u32, zone: &TimeZone) -> Option<TimeMs> {
    let local = Timestamp::from_millisecond(time).ok()?.to_zoned(zone.clone());
    local.checked_sub(Span::new().days(day_count)).ok().map(|then| then.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Interval, WeekStart};
    use crate::model::{HOUR_MS, parse_time};

    fn calendar(interval: Interval, zone: &TimeZone, from: &str, to: &str) -> Calendar {
        let range = parse_time(from, zone).unwrap()..parse_time(to, zone).unwrap();
        Calendar::new(interval, zone, WeekStart::Monday, range).unwrap()
    }

    /// Users of each bucket's window, from each user's times.
    fn counts(rolling: &Rolling, calendar: &Calendar, users: &[&[TimeMs]]) -> Vec<i64> {
        let mut differences = vec![0; calendar.bucket_count() + 1];
        for times in users {
            let mut counted_to = 0;
            for time in *times {
                counted_to = rolling.count(calendar, *time, counted_to, &mut differences);
            }
        }
        differences.pop();
        let mut sum = 0;
        differences
            .iter()
            .map(|difference| {
                sum += difference;
                sum
            })
            .collect()
    }

    /// The definition: users with a time in the window of each bucket.
    fn counts_slowly(rolling: &Rolling, calendar: &Calendar, users: &[&[TimeMs]]) -> Vec<i64> {
        let users_of = |bucket: usize| {
            let window = rolling.window_starts[bucket]..calendar.end(bucket);
            users.iter().filter(|times| times.iter().any(|time| window.contains(time))).count() as i64
        };
        (0..calendar.bucket_count()).map(users_of).collect()
    }

    #[test]
    fn windows_are_calendar_days_that_end_with_the_bucket() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let days = calendar(Interval::Day, &berlin, "2024-03-30", "2024-04-02");
        let rolling = Rolling::new(&days, &berlin, 2);
        // The second day has 23 hours, and so have the windows with it one hour less.
        let widths: Vec<i64> =
            (0..3).map(|day| (days.end(day) - rolling.window_starts[day]) / HOUR_MS).collect();
        assert_eq!(widths, [48, 47, 47]);
        assert!(!rolling.is_of_utc_days());
        assert!(
            Rolling::new(
                &calendar(Interval::Week, &TimeZone::UTC, "2024-01-01", "2024-03-01"),
                &TimeZone::UTC,
                28
            )
            .is_of_utc_days()
        );
    }

    #[test]
    fn a_user_counts_once_in_each_window() {
        let utc = TimeZone::UTC;
        let at = |text: &str| parse_time(text, &utc).unwrap();
        for interval in [Interval::Hour, Interval::Day, Interval::Week, Interval::Month, Interval::Total] {
            let calendar = calendar(interval, &utc, "2024-01-10T05:00:00Z", "2024-02-20T07:30:00Z");
            for day_count in [1, 2, 7, 45] {
                let rolling = Rolling::new(&calendar, &utc, day_count);
                let start = rolling.start().unwrap();
                let times: Vec<Vec<TimeMs>> = (0..40_i64)
                    .map(|user| {
                        (0..user % 7).map(|n| start + (user * 31 + n * n * 97) % 1_100 * HOUR_MS).collect()
                    })
                    .map(|mut times: Vec<TimeMs>| {
                        times.sort_unstable();
                        times.retain(|t| *t < at("2024-02-20T07:30:00Z"));
                        times
                    })
                    .collect();
                let users: Vec<&[TimeMs]> = times.iter().map(Vec::as_slice).collect();
                let expected = counts_slowly(&rolling, &calendar, &users);
                assert_eq!(counts(&rolling, &calendar, &users), expected, "{interval:?} {day_count}");
            }
        }
    }

    #[test]
    fn days_reach_the_same_buckets_as_their_moments() {
        let utc = TimeZone::UTC;
        let weeks = calendar(Interval::Week, &utc, "2024-01-03", "2024-03-01");
        let rolling = Rolling::new(&weeks, &utc, 10);
        let first_day = rolling.start().unwrap().div_euclid(DAY_MS) as i32;
        let by_day = rolling.buckets_by_day(&weeks, first_day..first_day + 40);
        for (day, buckets) in by_day.iter().enumerate() {
            let noon = rolling.start().unwrap() + day as i64 * DAY_MS + DAY_MS / 2;
            assert_eq!(rolling.buckets_of(&weeks, noon), *buckets);
        }
    }
}
