//! Times as queries write them, and the buckets of a zone's calendar.

use flywheeldb::api::Json;
use flywheeldb::model::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, TimeMs, WEEK_MS};
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan, Zoned};

use super::Refusal;

#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
    zone_name: String,
    week_start: Weekday,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    /// One bucket: the whole range.
    Total,
}

/// `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bucket {
    pub start: TimeMs,
    pub end: TimeMs,
}

impl Bucket {
    pub fn holds(self, time: TimeMs) -> bool {
        self.start <= time && time < self.end
    }
}

impl Interval {
    pub fn read(word: &str) -> Result<Interval, Refusal> {
        Ok(match word {
            "minute" => Interval::Minute,
            "hour" => Interval::Hour,
            "day" => Interval::Day,
            "week" => Interval::Week,
            "month" => Interval::Month,
            "quarter" => Interval::Quarter,
            "year" => Interval::Year,
            "total" => Interval::Total,
            _ => return Err(Refusal::Invalid(format!("{word:?} is no interval"))),
        })
    }

    /// The elapsed time that rolling periods take for this interval.
    pub fn rolling_ms(self) -> Result<i64, Refusal> {
        Ok(match self {
            Interval::Minute => MINUTE_MS,
            Interval::Hour => HOUR_MS,
            Interval::Day => DAY_MS,
            Interval::Week => WEEK_MS,
            Interval::Month => 30 * DAY_MS,
            Interval::Quarter | Interval::Year | Interval::Total => {
                return Err(Refusal::NotCovered(format!("a rolling {self:?}")));
            }
        })
    }
}

impl Calendar {
    pub fn new(zone_name: &str, week_start: Weekday) -> Result<Calendar, Refusal> {
        let zone = TimeZone::get(zone_name)
            .map_err(|_| Refusal::Invalid(format!("{zone_name:?} is no time zone")))?;
        Ok(Calendar { zone, zone_name: zone_name.to_owned(), week_start })
    }

    /// Reads an RFC 3339 moment, a date, epoch milliseconds, `now`, or `-30d`, `-12w`, `-6mo` before now.
    pub fn time(&self, json: &Json, now: TimeMs) -> Result<TimeMs, Refusal> {
        let wrong = || Refusal::Invalid(format!("{json} is no time"));
        match json {
            Json::Number(ms) => ms.mantissa_at(0).and_then(|ms| i64::try_from(ms).ok()).ok_or_else(wrong),
            Json::String(text) if text == "now" => Ok(now),
            Json::String(text) if text.starts_with('-') => {
                let span = calendar_span(&text[1..]).ok_or_else(wrong)?;
                let then = self.local(now).checked_sub(span).map_err(|_| wrong())?;
                Ok(then.timestamp().as_millisecond())
            }
            Json::String(text) if text.len() == 10 => Ok(self.midnight(text.parse().map_err(|_| wrong())?)),
            Json::String(text) => {
                let moment: Timestamp = text.parse().map_err(|_| wrong())?;
                Ok(moment.as_nanosecond().div_euclid(1_000_000) as TimeMs)
            }
            _ => Err(wrong()),
        }
    }

    /// The buckets of a range: all that a moment in `[from, to)` lies in, whole; with `Total`, the range.
    pub fn buckets(&self, interval: Interval, from: TimeMs, to: TimeMs) -> Vec<Bucket> {
        if interval == Interval::Total {
            return vec![Bucket { start: from, end: to }];
        }
        let mut buckets = Vec::new();
        if from >= to {
            return buckets; // an empty range touches none
        }
        let mut start = self.start_of(interval, from);
        while start < to {
            let end = self.next(interval, start);
            buckets.push(Bucket { start, end });
            start = end;
        }
        buckets
    }

    /// The bucket that a moment lies in.
    pub fn bucket_of(&self, interval: Interval, time: TimeMs) -> Bucket {
        let start = self.start_of(interval, time);
        Bucket { start, end: self.next(interval, start) }
    }

    /// The bucket `count` buckets later.
    pub fn later(&self, interval: Interval, bucket: Bucket, count: usize) -> Bucket {
        let mut bucket = bucket;
        for _ in 0..count {
            bucket = Bucket { start: bucket.end, end: self.next(interval, bucket.end) };
        }
        bucket
    }

    /// How results write the start of a bucket.
    pub fn told(&self, interval: Interval, start: TimeMs) -> Json {
        let local = self.local(start);
        Json::String(match interval {
            Interval::Minute | Interval::Hour => {
                let offset = match (self.zone_name.as_str(), local.offset().seconds()) {
                    ("UTC", _) => "Z".to_owned(),
                    (_, seconds) => {
                        let sign = if seconds < 0 { '-' } else { '+' };
                        let minutes = seconds.abs() / 60;
                        format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
                    }
                };
                format!("{}{offset}", local.datetime().strftime("%Y-%m-%dT%H:%M:%S"))
            }
            _ => local.date().to_string(),
        })
    }

    /// How results write an instant: with milliseconds where it has them.
    pub fn instant(&self, time: TimeMs) -> Json {
        let Json::String(second) = self.told(Interval::Minute, time) else { unreachable!("times are texts") };
        let ms = time.rem_euclid(SECOND_MS);
        let (clock, offset) = second.split_at("2024-03-01T09:00:00".len());
        Json::String(if ms == 0 { second } else { format!("{clock}.{ms:03}{offset}") })
    }

    /// The same local time some calendar days before.
    pub fn days_before(&self, time: TimeMs, days: i64) -> TimeMs {
        let then = self.local(time).checked_sub(days.days()).expect("tests stay within the calendar");
        then.timestamp().as_millisecond()
    }

    /// The same local time one unit of the calendar before; of a day that the month lacks its last.
    pub fn unit_before(&self, unit: Interval, time: TimeMs) -> TimeMs {
        let span = match unit {
            Interval::Minute => 1.minute(),
            Interval::Hour => 1.hour(),
            Interval::Day => 1.day(),
            Interval::Week => 1.week(),
            Interval::Month => 1.month(),
            Interval::Quarter => 3.months(),
            Interval::Year => 1.year(),
            Interval::Total => panic!("a total is no unit of the calendar"),
        };
        let then = self.local(time).checked_sub(span).expect("tests stay within the calendar");
        then.timestamp().as_millisecond()
    }

    fn start_of(&self, interval: Interval, time: TimeMs) -> TimeMs {
        let local = self.local(time);
        let date = local.date();
        let into_minute = i64::from(local.second()) * SECOND_MS + i64::from(local.millisecond());
        let into_hour = i64::from(local.minute()) * MINUTE_MS + into_minute;
        let first_of = |month: i8| self.midnight(Date::constant(date.year(), month, 1));
        match interval {
            Interval::Minute => time - into_minute,
            Interval::Hour => time - into_hour,
            Interval::Day => self.midnight(date),
            Interval::Week => {
                let days = date.weekday().since(self.week_start);
                self.midnight(date - i64::from(days).days())
            }
            Interval::Month => first_of(date.month()),
            Interval::Quarter => first_of((date.month() - 1) / 3 * 3 + 1),
            Interval::Year => first_of(1),
            Interval::Total => panic!("a total is not a bucket of the calendar"),
        }
    }

    /// The start of the bucket after the one that starts at `start`.
    fn next(&self, interval: Interval, start: TimeMs) -> TimeMs {
        let date = self.local(start).date();
        match interval {
            Interval::Minute => start + MINUTE_MS,
            Interval::Hour => start + HOUR_MS,
            Interval::Day => self.midnight(date + 1.day()),
            Interval::Week => self.midnight(date + 1.week()),
            Interval::Month => self.midnight(date + 1.month()),
            Interval::Quarter => self.midnight(date + 3.months()),
            Interval::Year => self.midnight(date + 1.year()),
            Interval::Total => panic!("a total is not a bucket of the calendar"),
        }
    }

    fn local(&self, time: TimeMs) -> Zoned {
        Timestamp::from_millisecond(time).expect("tests stay within the calendar").to_zoned(self.zone.clone())
    }

    /// The first moment of a local date.
    fn midnight(&self, date: Date) -> TimeMs {
        let midnight = date.to_zoned(self.zone.clone()).expect("tests stay within the calendar");
        midnight.timestamp().as_millisecond()
    }
}

/// Reads a duration of elapsed time: `ms`, `s`, `m`, `h`, `d`, `w`.
pub fn duration(json: &Json) -> Result<i64, Refusal> {
    let wrong = || Refusal::Invalid(format!("{json} is no duration"));
    let Json::String(text) = json else { return Err(wrong()) };
    let (count, unit) = count_and_unit(text).ok_or_else(wrong)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => SECOND_MS,
        "m" => MINUTE_MS,
        "h" => HOUR_MS,
        "d" => DAY_MS,
        "w" => WEEK_MS,
        _ => return Err(wrong()),
    };
    Ok(count * unit_ms)
}

/// Reads calendar days from `"7d"` or `"2w"`.
pub fn calendar_days(json: &Json) -> Result<i64, Refusal> {
    let wrong = || Refusal::Invalid(format!("{json} is no number of days"));
    let Json::String(text) = json else { return Err(wrong()) };
    match count_and_unit(text).ok_or_else(wrong)? {
        (count, "d") => Ok(count),
        (count, "w") => Ok(7 * count),
        _ => Err(wrong()),
    }
}

/// How many intervals a trailing period such as `"28d"` has. Weeks may count days.
pub fn trailing_count(text: &str, interval: Interval) -> Result<usize, Refusal> {
    let wrong = || Refusal::Invalid(format!("{text:?} is no trailing period of {interval:?}s"));
    let (count, unit) = count_and_unit(text).ok_or_else(wrong)?;
    let count = usize::try_from(count).map_err(|_| wrong())?;
    match (interval, unit) {
        (Interval::Minute, "m")
        | (Interval::Hour, "h")
        | (Interval::Day, "d")
        | (Interval::Week, "w")
        | (Interval::Month, "mo") => Ok(count),
        (Interval::Day, "w") => Ok(7 * count),
        _ => Err(wrong()),
    }
}

fn calendar_span(text: &str) -> Option<Span> {
    match count_and_unit(text)? {
        (count, "d") => Some(count.days()),
        (count, "w") => Some(count.weeks()),
        (count, "mo") => Some(count.months()),
        (count, "y") => Some(count.years()),
        _ => None,
    }
}

fn count_and_unit(text: &str) -> Option<(i64, &str)> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..unit_at].parse().ok()?, &text[unit_at..]))
}
