//! Which intervals a stickiness looks at, and which of them belong together.

use jiff::{Span, Timestamp};

use super::Calendar;
use crate::api::{Interval, Period, Problem, Scope, StickinessQuery, StickinessTold};
use crate::limits::TIME_MIN_MS;
use crate::model::{DAY_MS, HOUR_MS, MINUTE_MS, TimeMs};

/// The intervals of a stickiness in periods, or in windows that trail behind each told interval.
#[derive(Debug)]
pub struct Plan {
    pub calendar: Calendar,
    /// The first bucket that is looked at. All later ones are.
    pub first_bucket: usize,
    pub groups: Groups,
}

#[derive(Debug)]
pub enum Groups {
    Periods(Periods),
    Windows(Windows),
}

/// Periods one after the other, from the first bucket that is looked at on.
#[derive(Debug)]
pub struct Periods {
    /// The first bucket of each period, and after the last one the number of buckets.
    pub first_buckets: Vec<usize>,
    /// How each period is told.
    pub labels: Vec<String>,
    /// The period of each bucket, counted from the first one that is looked at.
    pub by_bucket: Vec<u32>,
}

/// Windows that end with a told bucket each.
#[derive(Debug)]
pub struct Windows {
    /// The first bucket that is told. All later ones are.
    pub first_told: usize,
    /// For each bucket that is looked at, counted from the first one, the told buckets whose windows hold it:
    /// from the first to before the second, counted from the first told one.
    pub held_by: Vec<(u32, u32)>,
}

impl Plan {
    /// # Errors
    /// If there are too many buckets.
    pub fn new(query: &StickinessQuery, scope: &Scope, first_event: Option<TimeMs>) -> Result<Plan, Problem> {
        match (query.told, query.period) {
            (StickinessTold::Ratio, period) => Plan::windows(query.interval, period, scope, first_event),
            (_, Period::Calendar(unit)) => Plan::periods(query.interval, unit, scope, first_event),
            (_, Period::Trailing(count)) => Plan::trailing(query.interval, count, scope),
        }
    }

    /// The periods that the range touches.
    fn periods(
        interval: Interval,
        unit: Interval,
        scope: &Scope,
        first_event: Option<TimeMs>,
    ) -> Result<Plan, Problem> {
        let told = scope.told_range(first_event);
        let periods = Calendar::new(unit, &scope.zone, scope.week_start, told)?;
        let calendar = Calendar::new(interval, &scope.zone, scope.week_start, periods.span())?;
        let bucket_count = calendar.bucket_count();
        // A week that began in the month before belongs to that one.
        let first_bucket = (0..bucket_count)
            .find(|bucket| calendar.start(*bucket) >= periods.span().start)
            .unwrap_or(bucket_count);
        let by_bucket: Vec<u32> = (first_bucket..bucket_count)
            .map(|bucket| periods.bucket_of(calendar.start(bucket)).expect("it starts in a period") as u32)
            .collect();
        let first_of =
            |period: u32| first_bucket + by_bucket.partition_point(|of_bucket| *of_bucket < period);
        let first_buckets = (0..=periods.bucket_count() as u32).map(first_of).collect();
        let labels = (0..periods.bucket_count()).map(|period| periods.label(period)).collect();
        Ok(Plan {
            calendar,
            first_bucket,
            groups: Groups::Periods(Periods { first_buckets, labels, by_bucket }),
        })
    }

    /// The last intervals that start before the end of the range, as one period.
    fn trailing(interval: Interval, count: u32, scope: &Scope) -> Result<Plan, Problem> {
        let last = scope.range.end - 1;
        let earlier = last - lookback_ms(interval, count);
        let calendar = Calendar::new(interval, &scope.zone, scope.week_start, earlier..scope.range.end)?;
        let bucket_count = calendar.bucket_count();
        let first_bucket = bucket_count - count as usize;
        let periods = Periods {
            first_buckets: vec![first_bucket, bucket_count],
            labels: vec![calendar.label(first_bucket)],
            by_bucket: vec![0; count as usize],
        };
        Ok(Plan { calendar, first_bucket, groups: Groups::Periods(periods) })
    }

    /// A window for each interval that the range touches.
    fn windows(
        interval: Interval,
        period: Period,
        scope: &Scope,
        first_event: Option<TimeMs>,
    ) -> Result<Plan, Problem> {
        let told = scope.told_range(first_event);
        let new = |range| Calendar::new(interval, &scope.zone, scope.week_start, range);
        if told.is_empty() {
            let windows = Windows { first_told: 0, held_by: Vec::new() };
            return Ok(Plan { calendar: new(told)?, first_bucket: 0, groups: Groups::Windows(windows) });
        }
        let earlier = match period {
            Period::Trailing(count) => told.start - lookback_ms(interval, count),
            Period::Calendar(unit) => before(told.start, unit, scope) - lookback_ms(interval, 2),
        };
        let calendar = new(earlier..told.end)?;
        let first_told = calendar.bucket_of(told.start).expect("the calendar spans the range");
        let mut first_of_windows: Vec<usize> = (first_told..calendar.bucket_count())
            .map(|bucket| match period {
                Period::Trailing(count) => bucket + 1 - count as usize,
                Period::Calendar(unit) => {
                    first_from(&calendar, before(calendar.end(bucket), unit, scope)).min(bucket)
                }
            })
            .collect();
        // A local time that clocks skipped is read as one after the gap, which must not overtake the next.
        for window in (1..first_of_windows.len()).rev() {
            first_of_windows[window - 1] = first_of_windows[window - 1].min(first_of_windows[window]);
        }
        let first_bucket = first_of_windows[0];
        let held_by = (first_bucket..calendar.bucket_count())
            .map(|bucket| {
                let end = first_of_windows.partition_point(|first| *first <= bucket);
                (bucket.saturating_sub(first_told) as u32, end as u32)
            })
            .collect();
        Ok(Plan { calendar, first_bucket, groups: Groups::Windows(Windows { first_told, held_by }) })
    }

    /// Cells of one row of the grid.
    pub fn width(&self) -> usize {
        match &self.groups {
            Groups::Periods(periods) => periods.by_bucket.len(),
            // Who is active in each, and in their windows as differences, one more.
            Groups::Windows(windows) => 2 * (self.calendar.bucket_count() - windows.first_told) + 1,
        }
    }
}

/// The first bucket that starts at a moment or after it.
fn first_from(calendar: &Calendar, time: TimeMs) -> usize {
    match calendar.bucket_of(time) {
        Some(bucket) if calendar.start(bucket) < time => bucket + 1,
        Some(bucket) => bucket,
        None => 0,
    }
}

/// At least the time that so many buckets take, whatever clocks do: twice the usual.
fn lookback_ms(interval: Interval, count: u32) -> i64 {
    let width = match interval {
        Interval::Minute => MINUTE_MS,
        Interval::Hour => HOUR_MS,
        Interval::Day => DAY_MS,
        Interval::Week => 7 * DAY_MS,
        Interval::Month => 31 * DAY_MS,
        Interval::Quarter => 92 * DAY_MS,
        Interval::Year | Interval::Total => 366 * DAY_MS,
    };
    2 * width * i64::from(count)
}

/// The same local time one unit of the calendar before; of a day that the month lacks its last.
fn before(time: TimeMs, unit: Interval, scope: &Scope) -> TimeMs {
    let span = match unit {
        Interval::Minute => Span::new().minutes(1),
        Interval::Hour => Span::new().hours(1),
        Interval::Day => Span::new().days(1),
        Interval::Week => Span::new().weeks(1),
        Interval::Month => Span::new().months(1),
        Interval::Quarter => Span::new().months(3),
        Interval::Year | Interval::Total => Span::new().years(1),
    };
    let local = Timestamp::from_millisecond(time).map(|time| time.to_zoned(scope.zone.clone()));
    let then = local.and_then(|local| local.checked_sub(span));
    then.map_or(TIME_MIN_MS, |then| then.timestamp().as_millisecond())
}
