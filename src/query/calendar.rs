//! Buckets of a range of time on the calendar of a time zone.
//!
//! A bucket is `[start, next start)`: every moment of the calendar's span is in exactly one. Buckets are whole
//! units of the calendar even where the range cuts the first and the last of them; what lies outside the
//! range is not read, so nobody has to clip.
//!
//! Days and longer units begin when a new date begins in the zone, whatever the clocks did: a day of 23 hours
//! is one day, a date that a zone skipped has no bucket. Hours and minutes follow the local clock, and a change
//! of clocks ends one and begins the next, so that an hour told twice is two buckets.

use std::ops::Range;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, civil};

use crate::api::{Interval, Problem, WeekStart, is_utc, start_of_date};
use crate::limits::BUCKET_COUNT_MAX;
use crate::model::{DAY_MS, HOUR_MS, MINUTE_MS, TimeMs};

/// The buckets that a range touches, in order, and if asked for some after them.
#[derive(Clone, Debug)]
pub struct Calendar {
    interval: Interval,
    zone: TimeZone,
    /// Where each bucket starts, and where the last one ends. Strictly ascending.
    starts: Vec<TimeMs>,
    range_bucket_count: usize,
    lookup: Lookup,
}

/// How a moment finds its bucket.
#[derive(Clone, Debug)]
enum Lookup {
    /// All buckets are equally wide.
    Uniform(Divider),
    /// The bucket at the start of each granule: granules are as narrow as a small table lets them be, and no narrower than
    /// it takes for each to lie in one bucket. So the bucket at the start is the right one, nearly always; always, if the
    /// table is exact.
    Table { granule: Divider, first_buckets: Vec<u32>, is_exact: bool },
}

impl Calendar {
    /// The buckets that `range` touches. An empty range touches none, but is one bucket of [`Interval::Total`].
    ///
    /// # Errors
    /// If there are more than [`BUCKET_COUNT_MAX`].
    pub fn new(
        interval: Interval,
        zone: &TimeZone,
        week_start: WeekStart,
        range: Range<TimeMs>,
    ) -> Result<Calendar, Problem> {
        Calendar::with_more_buckets(interval, zone, week_start, range, 0)
    }

    /// The same, and `more_count` buckets after the last one of the range.
    pub fn with_more_buckets(
        interval: Interval,
        zone: &TimeZone,
        week_start: WeekStart,
        range: Range<TimeMs>,
        more_count: usize,
    ) -> Result<Calendar, Problem> {
        let (starts, range_bucket_count) = match interval {
            Interval::Total => (vec![range.start, range.end.max(range.start + 1)], 1),
            Interval::Minute => collect(ClockStarts::new(zone, MINUTE_MS, range.start), &range, more_count)?,
            Interval::Hour => collect(ClockStarts::new(zone, HOUR_MS, range.start), &range, more_count)?,
            _ => collect(DateStarts::new(zone, interval, week_start, range.start), &range, more_count)?,
        };
        debug_assert!(starts.is_sorted_by(|a, b| a < b), "buckets follow one another");
        let lookup = Lookup::new(&starts);
        Ok(Calendar { interval, zone: zone.clone(), starts, range_bucket_count, lookup })
    }

    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    pub fn bucket_count(&self) -> usize {
        self.starts.len() - 1
    }

    /// Buckets that the range touches: the first ones.
    pub fn range_bucket_count(&self) -> usize {
        self.range_bucket_count
    }

    /// Where the first bucket starts and the last one ends.
    pub fn span(&self) -> Range<TimeMs> {
        self.starts[0]..self.starts[self.bucket_count()]
    }

    /// Where the bucket starts; of the one after the last, where that one ends.
    pub fn start(&self, bucket: usize) -> TimeMs {
        self.starts[bucket]
    }

    /// Where the bucket ends: the first moment outside.
    pub fn end(&self, bucket: usize) -> TimeMs {
        self.starts[bucket + 1]
    }

    /// The bucket that holds a moment.
    #[inline]
    pub fn bucket_of(&self, time: TimeMs) -> Option<usize> {
        let since_start = time.wrapping_sub(self.starts[0]) as u64;
        let size = (self.starts[self.starts.len() - 1] - self.starts[0]) as u64;
        (since_start < size).then(|| match &self.lookup {
            Lookup::Uniform(width) => width.divide(since_start) as usize,
            Lookup::Table { granule, first_buckets, .. } => {
                let mut bucket = first_buckets[granule.divide(since_start) as usize] as usize;
                while time >= self.starts[bucket + 1] {
                    bucket += 1;
                }
                bucket
            }
        })
    }

    /// Calls `f` with the place of each moment and its bucket, which there is.
    #[inline]
    pub fn for_each_bucket(
        &self,
        moments: impl Iterator<Item = (usize, TimeMs)>,
        mut f: impl FnMut(usize, usize),
    ) {
        match &self.lookup {
            Lookup::Uniform(width) => {
                let start = self.starts[0];
                moments.for_each(|(place, time)| f(place, width.divide((time - start) as u64) as usize));
            }
            Lookup::Table { .. } => moments.for_each(|(place, time)| {
                f(place, self.bucket_of(time).expect("the moment lies in the calendar"));
            }),
        }
    }

    /// Finds the bucket of each moment. Of one outside of the calendar it is some bucket.
    pub fn buckets_of(&self, moments: impl Iterator<Item = TimeMs>, buckets: &mut [u32]) {
        let start = self.starts[0];
        let since_start = |time: TimeMs| time.wrapping_sub(start) as u64;
        let places = buckets.iter_mut().zip(moments);
        match &self.lookup {
            Lookup::Uniform(Divider { narrow: Some(width), .. }) => {
                let last = self.bucket_count() as u32 - 1;
                places.for_each(|(bucket, time)| *bucket = width.divide(since_start(time)));
                buckets.iter_mut().for_each(|bucket| *bucket = (*bucket).min(last));
            }
            Lookup::Table {
                granule: Divider { narrow: Some(granule), .. },
                first_buckets,
                is_exact: true,
            } => {
                let last = first_buckets.len() - 1;
                places.for_each(|(bucket, time)| *bucket = granule.divide(since_start(time)));
                buckets.iter_mut().for_each(|bucket| *bucket = first_buckets[(*bucket as usize).min(last)]);
            }
            _ => places.for_each(|(bucket, time)| *bucket = self.bucket_of(time).unwrap_or(0) as u32),
        }
    }

    /// Whether every bucket begins and ends at a midnight of UTC, so that facts by UTC day add up to it.
    pub fn is_of_utc_days(&self) -> bool {
        self.starts.iter().all(|start| start.rem_euclid(DAY_MS) == 0)
    }

    /// Whether each bucket is one day.
    pub fn is_daily(&self) -> bool {
        self.interval == Interval::Day
    }

    /// The start of the bucket as results tell it: a date, or for hours and minutes a moment.
    pub fn label(&self, bucket: usize) -> String {
        let start = self.starts[bucket];
        match self.interval {
            Interval::Minute | Interval::Hour => format_instant(start, &self.zone),
            _ => local_date(start, &self.zone).to_string(),
        }
    }
}

/// A moment as results tell it, with the zone's offset, and with milliseconds where it has them.
pub fn format_instant(time: TimeMs, zone: &TimeZone) -> String {
    let local = timestamp(time).to_zoned(zone.clone());
    let has_ms = time.rem_euclid(1000) != 0;
    let clock = local.strftime(if has_ms { "%Y-%m-%dT%H:%M:%S%.3f" } else { "%Y-%m-%dT%H:%M:%S" });
    if is_utc(zone) { format!("{clock}Z") } else { format!("{clock}{}", local.strftime("%:z")) }
}

/// The date that a zone's calendars show.
pub fn local_date(time: TimeMs, zone: &TimeZone) -> civil::Date {
    zone.to_datetime(timestamp(time)).date()
}

fn timestamp(time: TimeMs) -> Timestamp {
    Timestamp::from_millisecond(time).expect("times of events and of buckets lie within the calendar")
}

/// Starts of buckets up to the end of the range and a little further; and how many buckets the range touches.
fn collect(
    mut starts_from: impl Iterator<Item = TimeMs>,
    range: &Range<TimeMs>,
    more_count: usize,
) -> Result<(Vec<TimeMs>, usize), Problem> {
    let too_late =
        || Problem::invalid("the buckets reach beyond the year 9999").hint("ask for fewer periods");
    let mut starts: Vec<TimeMs> = Vec::new();
    let mut range_bucket_count = 0;
    let end = if range.is_empty() { TimeMs::MIN } else { range.end };
    loop {
        let start = starts_from.next().ok_or_else(too_late)?;
        // A skipped date begins when the next one does.
        if starts.last() == Some(&start) {
            continue;
        }
        // Clocks that are put back across midnight tell a date after the next one has begun.
        if start <= range.start {
            starts.clear();
        }
        starts.push(start);
        let bucket_count = starts.len() - 1;
        if start < end {
            range_bucket_count = bucket_count + 1;
        }
        if start >= end && bucket_count >= range_bucket_count + more_count {
            return Ok((starts, range_bucket_count));
        }
        if bucket_count >= BUCKET_COUNT_MAX {
            return Err(Problem::invalid(format!("the query has more than {BUCKET_COUNT_MAX} buckets"))
                .at("/interval")
                .hint("ask for a longer interval or a shorter range"));
        }
    }
}

/// Starts of days, weeks, months, quarters or years, from the one that holds a moment on.
struct DateStarts<'a> {
    zone: &'a TimeZone,
    date: Option<civil::Date>,
    step: Span,
}

impl<'a> DateStarts<'a> {
    fn new(zone: &'a TimeZone, interval: Interval, week_start: WeekStart, from: TimeMs) -> DateStarts<'a> {
        let date = local_date(from, zone);
        let first_of = |month: i8| civil::Date::new(date.year(), month, 1).expect("a month has a first day");
        let (first, step) = match interval {
            Interval::Week => {
                let days_in = match week_start {
                    WeekStart::Monday => date.weekday().to_monday_zero_offset(),
                    WeekStart::Sunday => date.weekday().to_sunday_zero_offset(),
                };
                (date - Span::new().days(days_in), Span::new().weeks(1))
            }
            Interval::Month => (first_of(date.month()), Span::new().months(1)),
            Interval::Quarter => (first_of((date.month() - 1) / 3 * 3 + 1), Span::new().months(3)),
            Interval::Year => (first_of(1), Span::new().years(1)),
            Interval::Day | Interval::Hour | Interval::Minute | Interval::Total => {
                (date, Span::new().days(1))
            }
        };
        DateStarts { zone, date: Some(first), step }
    }
}

impl Iterator for DateStarts<'_> {
    type Item = TimeMs;

    fn next(&mut self) -> Option<TimeMs> {
        let date = self.date?;
        self.date = date.checked_add(self.step).ok();
        start_of_date(date, self.zone)
    }
}

/// Starts of hours or minutes of the local clock, from the one that holds a moment on.
struct ClockStarts<'a> {
    zone: &'a TimeZone,
    width: i64,
    next: TimeMs,
    offset_ms: i64,
    /// When the offset changes next.
    change: TimeMs,
}

impl<'a> ClockStarts<'a> {
    fn new(zone: &'a TimeZone, width: i64, from: TimeMs) -> ClockStarts<'a> {
        let mut starts = ClockStarts { zone, width, next: from, offset_ms: 0, change: from };
        starts.read_offset(from);
        // What began before the last change of clocks was ended by it.
        let last_change = zone
            .preceding(timestamp(from + 1))
            .map(|transition| transition.timestamp().as_millisecond())
            .find(|change| offset_ms(zone, change - 1) != offset_ms(zone, *change));
        starts.next = starts.floor(from).max(last_change.unwrap_or(TimeMs::MIN));
        starts
    }

    /// The start of the unit that holds a moment, while the offset is the current one.
    fn floor(&self, time: TimeMs) -> TimeMs {
        (time + self.offset_ms).div_euclid(self.width) * self.width - self.offset_ms
    }

    fn read_offset(&mut self, time: TimeMs) {
        self.offset_ms = offset_ms(self.zone, time);
        self.change = self
            .zone
            .following(timestamp(time))
            .map(|transition| transition.timestamp().as_millisecond())
            .find(|change| offset_ms(self.zone, *change) != self.offset_ms)
            .unwrap_or(TimeMs::MAX);
    }
}

fn offset_ms(zone: &TimeZone, time: TimeMs) -> i64 {
    i64::from(zone.to_offset(timestamp(time)).seconds()) * 1000
}

impl Iterator for ClockStarts<'_> {
    type Item = TimeMs;

    fn next(&mut self) -> Option<TimeMs> {
        let start = self.next;
        if start >= self.change {
            self.read_offset(start);
        }
        self.next = (self.floor(start) + self.width).min(self.change);
        Some(start)
    }
}

impl Lookup {
    /// Entries of a table, at the most, for each bucket and on top.
    const TABLE_SIZE_PER_BUCKET: u64 = 4;
    const TABLE_SIZE_EXTRA: u64 = 1024;
    /// Entries of a table whose granules each lie in one bucket: a year of hours, where clocks change.
    const EXACT_TABLE_SIZE_MAX: u64 = 10_000;

    fn new(starts: &[TimeMs]) -> Lookup {
        let bucket_count = starts.len() as u64 - 1;
        let span = (starts[starts.len() - 1] - starts[0]) as u64;
        let widths = || starts.windows(2).map(|pair| (pair[1] - pair[0]) as u64);
        let narrowest = widths().min().unwrap_or(1);
        if widths().all(|width| width == narrowest) {
            return Lookup::Uniform(Divider::new(narrowest.max(2), span));
        }
        let even = widths().fold(0, common_divisor);
        let is_exact = even >= 2 && span / even <= Lookup::EXACT_TABLE_SIZE_MAX;
        let table_size_max = bucket_count * Lookup::TABLE_SIZE_PER_BUCKET + Lookup::TABLE_SIZE_EXTRA;
        let width = if is_exact { even } else { even.max(span.div_ceil(table_size_max)).max(2) };
        let mut first_buckets = Vec::with_capacity((span / width) as usize + 1);
        let mut bucket = 0;
        for granule_start in (0..span).step_by(width as usize) {
            while starts[bucket + 1] <= starts[0] + granule_start as i64 {
                bucket += 1;
            }
            first_buckets.push(bucket as u32);
        }
        Lookup::Table { granule: Divider::new(width, span), first_buckets, is_exact }
    }
}

/// The greatest, by Euclid; of 0 and a number that number.
fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// Divides by a number known beforehand, by a multiplication and one correction.
#[derive(Clone, Copy, Debug)]
struct Divider {
    divisor: u64,
    /// `ceil(2^64 / divisor)`. A product with it is at most one too large, after the shift, for any dividend.
    reciprocal: u64,
    /// For dividends up to the largest, if they are narrow.
    narrow: Option<NarrowDivider>,
}

/// Divides by a number known beforehand what has at most 30 bits above the divisor's lowest: without a branch, and in 64
/// bits, so that several are divided at once. (Granlund and Montgomery, "Division by invariant integers using
/// multiplication", 1994.)
#[derive(Clone, Copy, Debug)]
struct NarrowDivider {
    /// Bits that are zero at the end of the divisor.
    shift: u32,
    /// `floor(2^scale / (divisor >> shift)) + 1`.
    factor: u32,
    scale: u32,
}

impl Divider {
    /// `divisor` is at least 2.
    fn new(divisor: u64, dividend_max: u64) -> Divider {
        debug_assert!(divisor >= 2);
        let narrow = NarrowDivider::new(divisor, dividend_max);
        Divider { divisor, reciprocal: u64::MAX / divisor + 1, narrow }
    }

    #[inline]
    fn divide(self, dividend: u64) -> u64 {
        let estimate = ((u128::from(dividend) * u128::from(self.reciprocal)) >> 64) as u64;
        estimate - u64::from(estimate * self.divisor > dividend)
    }
}

impl NarrowDivider {
    const BITS_MAX: u32 = 30;

    fn new(divisor: u64, dividend_max: u64) -> Option<NarrowDivider> {
        let shift = divisor.trailing_zeros();
        let width = |number: u64| u64::BITS - number.leading_zeros();
        let (odd, dividend_width) = (divisor >> shift, width(dividend_max >> shift));
        // With `factor × odd = 2^scale + e` and `0 < e <= odd`, the product is too large by `e × dividend / odd`, of
        // which `2^scale` are less than one: too little to reach the next quotient.
        let scale = width(odd) + dividend_width;
        if dividend_width > NarrowDivider::BITS_MAX || scale >= u64::BITS {
            return None;
        }
        let factor = u32::try_from((1_u64 << scale) / odd + 1).ok()?;
        Some(NarrowDivider { shift, factor, scale })
    }

    /// Of a dividend past the largest it is some number.
    #[inline]
    fn divide(self, dividend: u64) -> u32 {
        ((u64::from((dividend >> self.shift) as u32) * u64::from(self.factor)) >> self.scale) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SECOND_MS, WEEK_MS, parse_time};

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn calendar(interval: Interval, zone_name: &str, from: &str, to: &str) -> Calendar {
        let zone = zone(zone_name);
        let range = parse_time(from, &zone).unwrap()..parse_time(to, &zone).unwrap();
        Calendar::new(interval, &zone, WeekStart::Monday, range).unwrap()
    }

    fn labels(calendar: &Calendar) -> Vec<String> {
        (0..calendar.bucket_count()).map(|bucket| calendar.label(bucket)).collect()
    }

    /// Every moment, near every edge, is in the bucket whose bounds hold it.
    fn check_lookup(calendar: &Calendar) {
        let span = calendar.span();
        assert_eq!(calendar.bucket_of(span.start - 1), None);
        assert_eq!(calendar.bucket_of(span.end), None);
        assert_eq!(calendar.bucket_of(TimeMs::MAX), None);
        for bucket in 0..calendar.bucket_count() {
            let (start, end) = (calendar.start(bucket), calendar.end(bucket));
            for time in [start, start + 1, (start + end) / 2, end - 1] {
                assert_eq!(calendar.bucket_of(time.min(end - 1)), Some(bucket), "{time}");
            }
        }
        // All of them at once, from a moment before the calendar, at it and within it.
        for first in [span.start - 5, span.start, (span.start + span.end) / 2] {
            let last = (span.end - 1 - first) as u64;
            let step = last / 1_000 + 1;
            let ends = (0..calendar.bucket_count())
                .flat_map(|bucket| [calendar.start(bucket), calendar.end(bucket) - 1]);
            let offsets: Vec<u64> = (0..last)
                .step_by(step as usize)
                .chain(ends.filter(|time| *time >= first).map(|time| (time - first) as u64))
                .collect();
            let mut buckets = vec![0; offsets.len()];
            calendar.buckets_of(offsets.iter().map(|offset| first + *offset as i64), &mut buckets);
            for (offset, bucket) in offsets.iter().zip(buckets) {
                match calendar.bucket_of(first + *offset as i64) {
                    Some(expected) => assert_eq!(bucket as usize, expected, "{first} and {offset}"),
                    None => assert!((bucket as usize) < calendar.bucket_count(), "{first} and {offset}"),
                }
            }
        }
    }

    #[test]
    fn a_day_of_23_hours_is_one_day() {
        let days = calendar(Interval::Day, "Europe/Berlin", "2024-03-30", "2024-04-02");
        assert_eq!(labels(&days), ["2024-03-30", "2024-03-31", "2024-04-01"]);
        let widths: Vec<i64> = (0..3).map(|day| (days.end(day) - days.start(day)) / HOUR_MS).collect();
        assert_eq!(widths, [24, 23, 24]);
        check_lookup(&days);
        check_lookup(&calendar(Interval::Day, "Europe/Berlin", "2020-01-01", "2025-01-01"));
        assert!(!days.is_of_utc_days());
    }

    #[test]
    fn granules_lie_in_one_bucket_where_the_table_is_small() {
        let starts = |months: &[i64]| -> Vec<TimeMs> {
            let day = |days: &i64| days * DAY_MS;
            months.iter().map(day).collect()
        };
        let Lookup::Table { granule, first_buckets, is_exact: true } = Lookup::new(&starts(&[0, 31, 59, 90]))
        else {
            panic!("months are not equally long, and made of days")
        };
        assert_eq!((granule.divisor, first_buckets.len()), (DAY_MS as u64, 90));
        assert_eq!(
            [first_buckets[30], first_buckets[31], first_buckets[58], first_buckets[59]],
            [0, 1, 1, 2]
        );
    }

    #[test]
    fn an_hour_told_twice_is_two_buckets() {
        let zone_name = "Europe/Berlin";
        let autumn = calendar(Interval::Hour, zone_name, "2024-10-26T23:30:00Z", "2024-10-27T02:30:00Z");
        assert_eq!(
            labels(&autumn),
            [
                "2024-10-27T01:00:00+02:00",
                "2024-10-27T02:00:00+02:00",
                "2024-10-27T02:00:00+01:00",
                "2024-10-27T03:00:00+01:00"
            ]
        );
        let spring = calendar(Interval::Hour, zone_name, "2024-03-31T00:00:00Z", "2024-03-31T02:00:00Z");
        assert_eq!(labels(&spring), ["2024-03-31T01:00:00+01:00", "2024-03-31T03:00:00+02:00"]);
        check_lookup(&autumn);
    }

    #[test]
    fn a_change_by_half_an_hour_ends_an_hour_early() {
        // Lord Howe Island goes from +11:00 back to +10:30 at 2:00.
        let zone_name = "Australia/Lord_Howe";
        let hours = calendar(Interval::Hour, zone_name, "2024-04-06T14:10:00Z", "2024-04-06T15:45:00Z");
        assert_eq!(
            labels(&hours),
            ["2024-04-07T01:00:00+11:00", "2024-04-07T01:30:00+10:30", "2024-04-07T02:00:00+10:30"]
        );
        check_lookup(&hours);
        let later = calendar(Interval::Hour, zone_name, "2024-04-06T15:10:00Z", "2024-04-06T15:20:00Z");
        assert_eq!(labels(&later), ["2024-04-07T01:30:00+10:30"]);
    }

    #[test]
    fn kolkata_is_half_an_hour_off() {
        let hours = calendar(Interval::Hour, "Asia/Kolkata", "2024-01-01T00:00:00Z", "2024-01-01T01:00:00Z");
        assert_eq!(labels(&hours), ["2024-01-01T05:00:00+05:30", "2024-01-01T06:00:00+05:30"]);
        let days = calendar(Interval::Day, "Asia/Kolkata", "2024-01-01", "2024-01-03");
        assert_eq!(days.start(0), parse_time("2023-12-31T18:30:00Z", &TimeZone::UTC).unwrap());
        check_lookup(&days);
    }

    #[test]
    fn weeks_begin_on_the_day_asked_for() {
        let range = |week_start| {
            let from = parse_time("2024-01-03", &TimeZone::UTC).unwrap();
            Calendar::new(Interval::Week, &TimeZone::UTC, week_start, from..from + WEEK_MS).unwrap()
        };
        assert_eq!(labels(&range(WeekStart::Monday)), ["2024-01-01", "2024-01-08"]);
        assert_eq!(labels(&range(WeekStart::Sunday)), ["2023-12-31", "2024-01-07"]);
        assert!(range(WeekStart::Sunday).is_of_utc_days());
    }

    #[test]
    fn months_quarters_and_years_begin_on_their_first_day() {
        let months = calendar(Interval::Month, "UTC", "2024-01-31", "2024-03-01T00:00:00.001Z");
        assert_eq!(labels(&months), ["2024-01-01", "2024-02-01", "2024-03-01"]);
        let quarters = calendar(Interval::Quarter, "UTC", "2023-12-31", "2024-07-01");
        assert_eq!(labels(&quarters), ["2023-10-01", "2024-01-01", "2024-04-01"]);
        let years = calendar(Interval::Year, "America/New_York", "2023-05-05", "2025-01-01");
        assert_eq!(labels(&years), ["2023-01-01", "2024-01-01"]);
        for calendar in [months, quarters, years] {
            check_lookup(&calendar);
        }
        check_lookup(&calendar(Interval::Month, "UTC", "1970-01-01", "2030-01-01"));
    }

    #[test]
    fn a_date_that_the_zone_skipped_has_no_bucket() {
        let days = calendar(Interval::Day, "Pacific/Apia", "2011-12-29", "2012-01-01");
        assert_eq!(labels(&days), ["2011-12-29", "2011-12-31"]);
        check_lookup(&days);
    }

    #[test]
    fn a_total_is_the_range_told_at_its_first_date() {
        let total = calendar(Interval::Total, "Asia/Kolkata", "2024-01-01T20:00:00Z", "2024-05-05T00:00:00Z");
        assert_eq!(labels(&total), ["2024-01-02"]);
        check_lookup(&total);
        let empty = calendar(Interval::Total, "UTC", "2024-01-01", "2024-01-01");
        assert_eq!(labels(&empty), ["2024-01-01"]);
        check_lookup(&empty);
    }

    #[test]
    fn an_empty_range_touches_no_bucket() {
        let none = calendar(Interval::Day, "UTC", "2024-01-01T05:00:00Z", "2024-01-01T05:00:00Z");
        assert_eq!((none.bucket_count(), none.range_bucket_count()), (0, 0));
        assert_eq!(none.bucket_of(none.start(0)), None);
    }

    #[test]
    fn periods_follow_the_range_on_the_calendar() {
        let range = parse_time("2024-01-31", &TimeZone::UTC).unwrap()
            ..parse_time("2024-02-02", &TimeZone::UTC).unwrap();
        let months =
            Calendar::with_more_buckets(Interval::Month, &TimeZone::UTC, WeekStart::Monday, range, 3)
                .unwrap();
        assert_eq!(months.range_bucket_count(), 2);
        assert_eq!(labels(&months), ["2024-01-01", "2024-02-01", "2024-03-01", "2024-04-01", "2024-05-01"]);
        check_lookup(&months);
    }

    #[test]
    fn minutes_are_told_with_their_offset() {
        let minutes = calendar(Interval::Minute, "UTC", "2024-01-01T00:00:30Z", "2024-01-01T00:02:00Z");
        assert_eq!(labels(&minutes), ["2024-01-01T00:00:00Z", "2024-01-01T00:01:00Z"]);
        assert_eq!(format_instant(1_234, &TimeZone::UTC), "1970-01-01T00:00:01.234Z");
        assert_eq!(format_instant(-SECOND_MS, &zone("Asia/Kolkata")), "1970-01-01T05:29:59+05:30");
    }

    #[test]
    fn more_buckets_than_can_be_told_are_refused() {
        let range = 0..(BUCKET_COUNT_MAX as i64 + 1) * MINUTE_MS;
        let problem =
            Calendar::new(Interval::Minute, &TimeZone::UTC, WeekStart::Monday, range.clone()).unwrap_err();
        assert_eq!(problem.path.as_deref(), Some("/interval"));
        let most = 0..range.end - MINUTE_MS;
        let minutes = Calendar::new(Interval::Minute, &TimeZone::UTC, WeekStart::Monday, most).unwrap();
        assert_eq!(minutes.bucket_count(), BUCKET_COUNT_MAX);
        let years =
            Calendar::with_more_buckets(Interval::Year, &TimeZone::UTC, WeekStart::Monday, 0..1, 9_000);
        assert!(years.unwrap_err().detail.contains("9999"));
    }

    #[test]
    fn division_by_multiplication_is_exact() {
        for divisor in [2, 3, 7, 1000, 60_000, 86_400_000, 31_536_000_000, 10_000_000_000_000] {
            let divider = Divider::new(divisor, 100_000 * divisor);
            for quotient in [0, 1, 2, 364, 99_999] {
                for dividend in [quotient * divisor, quotient * divisor + 1, (quotient + 1) * divisor - 1] {
                    assert_eq!(divider.divide(dividend), dividend / divisor, "{dividend} / {divisor}");
                    if let Some(narrow) = divider.narrow {
                        let quotient = u64::from(narrow.divide(dividend));
                        assert_eq!(quotient, dividend / divisor, "{dividend} / {divisor}");
                    }
                }
            }
        }
    }
}
