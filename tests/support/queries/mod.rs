//! Random queries about a history: every kind and option that the reference answers.

mod conditions;
mod growth;
mod growth_flows;

use flywheeldb::api::Json;
use flywheeldb::model::{DAY_MS, HOUR_MS, MINUTE_MS, TimeMs};

use super::dice::Dice;
use super::histories::USERS;
use super::reading;

const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York"];
const WINDOWS: [&str; 9] = ["0s", "1m", "1h", "24h", "2d", "7d", "1w", "14d", "60d"];

pub struct Asker<'a> {
    pub dice: &'a mut Dice,
    /// The moments of the history.
    pub moments: &'a [TimeMs],
}

type Fields = Vec<(String, Json)>;

impl Asker<'_> {
    /// Throws a query of any kind.
    pub fn query(&mut self) -> Json {
        match self.dice.below(20) {
            0 | 1 => self.segmentation(),
            2..=4 => self.funnel(),
            5..=7 => self.retention(),
            8 => self.lifecycle(),
            9 => self.stickiness(),
            10 | 11 => self.paths(),
            12..=15 => self.growth(),
            16..=18 => self.growth_flows(),
            _ => self.cohort_query(),
        }
    }

    fn segmentation(&mut self) -> Json {
        let mut fields = vec![field("kind", "segmentation")];
        let length = self.range(&mut fields);
        let interval = self.interval(length);
        let series = (0..self.dice.between(1, 2)).map(|index| {
            let mut series = vec![("event".to_owned(), self.selector()), self.measure()];
            if self.dice.percent(20) {
                series.push(field("as", &format!("series {index}")));
            }
            Json::Object(series)
        });
        let mut series: Vec<Json> = series.collect();
        let is_rolling = self.dice.percent(15);
        if is_rolling {
            fields.push(field("interval", self.dice.pick(&["day", "week"])));
            fields.push(field("rolling", self.dice.pick(&["1d", "7d", "2w"])));
            for series in &mut series {
                let Json::Object(series) = series else { unreachable!("a series is an object") };
                series[1] = field("measure", "users");
            }
        } else {
            let interval = if self.dice.percent(20) { "total" } else { interval };
            fields.push(field("interval", interval));
            if self.dice.percent(20) {
                fields.push(("cumulative".to_owned(), Json::Bool(true)));
            }
        }
        if self.dice.percent(15) {
            let of_one = ["A", "A / 2", "100 * (A - 1) / A", "-A + 0.5"];
            let of_two = ["A / B", "B / A", "100 * A / (A + B)", "(B + 1) * A"];
            let formula = if series.len() == 1 { of_one } else { of_two };
            fields.push(field("formula", self.dice.pick(&formula)));
            if self.dice.percent(30) {
                fields.push(field("as", "share"));
            }
        }
        fields.push(("series".to_owned(), Json::Array(series)));
        if self.dice.percent(20) {
            let shifts = ["-1d", "-1w", "-1mo", "-2d", "-3mo"];
            fields.push(field("compare", self.dice.pick(&shifts)));
        }
        self.breakdown(&mut fields, 50);
        Json::Object(fields)
    }

    fn measure(&mut self) -> (String, Json) {
        let property = self.dice.pick(&["amount", "amount", "mixed", "tags"]);
        let of_property = |word: &str| Json::Object(vec![field(word, property)]);
        let words = ["accounts", "per_user", "first_time_users"];
        let word = self.dice.pick(&words);
        let measure = if self.dice.percent(20) {
            Json::String(word.to_owned())
        } else if self.dice.percent(15) {
            of_property(self.dice.pick(&["median", "p90", "p95", "p99"]))
        } else if self.dice.percent(15) {
            of_property(self.dice.pick(&["avg", "min", "max"]))
        } else {
            match self.dice.below(3) {
                0 => Json::String("events".to_owned()),
                1 => Json::String("users".to_owned()),
                _ => of_property("sum"),
            }
        };
        ("measure".to_owned(), measure)
    }

    fn funnel(&mut self) -> Json {
        let mut fields = vec![field("kind", "funnel")];
        let length = self.range(&mut fields);
        let step_count = self.dice.between(2, 4);
        let counts_attempts = self.dice.percent(12);
        let is_any_order = !counts_attempts && self.dice.percent(15);
        let is_plain = counts_attempts || is_any_order; // steps have no options of their own
        let steps: Vec<Json> = (0..step_count)
            .map(|step| if is_plain { self.selector() } else { self.step(step, step_count) })
            .collect();
        fields.push(("steps".to_owned(), Json::Array(steps)));
        if self.dice.percent(80) {
            fields.push(field("window", self.dice.pick(&WINDOWS)));
        }
        for name in ["strict_time", "within_range"] {
            if self.dice.percent(20) {
                fields.push((name.to_owned(), Json::Bool(true)));
            }
        }
        if is_any_order {
            fields.push(field("order", "any"));
        } else if !counts_attempts && self.dice.percent(15) {
            fields.push(field("order", "strict"));
            if self.dice.percent(40) {
                fields.push(("strict_over".to_owned(), Json::Array(vec![self.selector()])));
            }
        }
        if self.dice.percent(25) {
            let exclusions = (0..self.dice.between(1, 2)).map(|_| self.exclusion(step_count, is_any_order));
            fields.push(("exclude".to_owned(), Json::Array(exclusions.collect())));
        }
        let holds = !counts_attempts && self.dice.percent(15);
        if holds {
            let hold = Json::String(self.dice.pick(&["country", "mixed"]).to_owned());
            fields.push(("hold".to_owned(), Json::Array(vec![hold])));
        }
        if counts_attempts {
            fields.push(field("count", "attempts"));
        } else if self.dice.percent(5) {
            fields.push(field("count", "accounts"));
        } else if self.dice.percent(20) {
            let units: &[&str] = if holds { &["held", "sessions"] } else { &["users", "sessions"] };
            let unit = self.dice.pick(units);
            fields.push(field("count", unit));
            if unit == "sessions" && self.dice.percent(50) {
                fields.push(field("session_gap", self.dice.pick(&WINDOWS)));
            }
        }
        if self.dice.percent(8) {
            let from_step = self.dice.between(1, step_count - 1);
            let to_step = self.dice.between(from_step + 1, step_count);
            let numbers = [("from_step", from_step), ("to_step", to_step), ("bins", self.dice.between(1, 5))];
            let numbers = numbers.map(|(name, number)| (name.to_owned(), reading::count(number)));
            fields.push(("histogram".to_owned(), Json::Object(numbers.to_vec())));
            return Json::Object(fields);
        }
        if self.dice.percent(20) {
            fields.push(field("interval", self.interval(length)));
            if self.dice.percent(40) {
                fields.push(("per_bucket".to_owned(), Json::Bool(true)));
            }
        } else if self.dice.percent(15) {
            fields.retain(|(name, _)| name != "from");
        }
        self.breakdown(&mut fields, 45);
        Json::Object(fields)
    }

    fn exclusion(&mut self, step_count: usize, is_any_order: bool) -> Json {
        let mut exclusion = vec![("event".to_owned(), self.selector())];
        if !is_any_order && self.dice.percent(60) {
            let after = self.dice.between(1, step_count - 1);
            let before = self.dice.between(after + 1, step_count);
            exclusion.push(("after_step".to_owned(), reading::count(after)));
            exclusion.push(("before_step".to_owned(), reading::count(before)));
        }
        Json::Object(exclusion)
    }

    fn step(&mut self, step: usize, step_count: usize) -> Json {
        let selector = self.selector();
        let mut options = Fields::new();
        if step > 0 && self.dice.percent(20) {
            options.push(field("within", self.dice.pick(&WINDOWS)));
        }
        if step > 0 && step + 1 < step_count && self.dice.percent(20) {
            options.push(("optional".to_owned(), Json::Bool(true)));
        }
        if options.is_empty() {
            return selector;
        }
        let mut fields = match selector {
            Json::Object(fields) => fields,
            name => vec![("event".to_owned(), name)],
        };
        fields.extend(options);
        Json::Object(fields)
    }

    fn retention(&mut self) -> Json {
        let mut fields = vec![field("kind", "retention"), ("birth".to_owned(), self.selector())];
        if self.dice.percent(35) {
            fields.push(("return".to_owned(), self.selector()));
        }
        let length = self.range(&mut fields);
        let interval = self.interval(length);
        fields.push(field("interval", interval));
        if self.dice.percent(75) {
            let cohorts = ["first_time", "first_in_range", "recurring"];
            fields.push(field("cohorts", self.dice.pick(&cohorts)));
        }
        if !["quarter", "year"].contains(&interval) && self.dice.percent(30) {
            fields.push(field("alignment", "rolling"));
        }
        if self.dice.percent(20) {
            fields.push(("summary".to_owned(), Json::Bool(true)));
        }
        let mode = if self.dice.percent(60) { self.dice.between(1, 4) } else { 0 };
        if mode == 4 {
            let widths = Json::Array(vec![reading::count(1), reading::count(2), reading::count(4)]);
            fields.push(("mode".to_owned(), Json::Object(vec![("brackets".to_owned(), widths)])));
        } else {
            fields.push(field("mode", ["on", "on_or_after", "on_or_before", "streak"][mode]));
            fields.push(("periods".to_owned(), reading::count(self.dice.between(2, 6))));
        }
        if mode != 3 && self.dice.percent(30) {
            let measure = Json::Object(vec![field(self.dice.pick(&["sum", "average"]), "amount")]);
            fields.push(("measure".to_owned(), measure));
        } else if self.dice.percent(10) {
            fields.push(("at_least".to_owned(), reading::count(2)));
        }
        self.breakdown(&mut fields, 35);
        Json::Object(fields)
    }

    fn paths(&mut self) -> Json {
        let mut fields = vec![field("kind", "paths")];
        self.range(&mut fields);
        if self.dice.percent(15) {
            fields.retain(|(name, _)| name != "from");
        }
        match self.dice.below(4) {
            0 => {}
            1 => fields.push(("end".to_owned(), self.selector())),
            _ => fields.push(("start".to_owned(), self.selector())),
        }
        if self.dice.percent(40) {
            fields.push(("steps".to_owned(), reading::count(self.dice.between(1, 4))));
        }
        if self.dice.percent(40) {
            fields.push(("limit".to_owned(), reading::count(self.dice.between(1, 3))));
        }
        for (name, percent) in [("events", 25), ("exclude", 20)] {
            if self.dice.percent(percent) {
                let selectors = (0..self.dice.between(1, 2)).map(|_| self.selector()).collect();
                fields.push((name.to_owned(), Json::Array(selectors)));
            }
        }
        // Gaps of days, too: many histories have but one event in an hour.
        match self.dice.below(4) {
            0 => {}
            1 => fields.push(field("window", self.dice.pick(&WINDOWS))),
            _ => fields.push(field("session_gap", self.dice.pick(&WINDOWS))),
        }
        for name in ["repeats", "whole"] {
            if self.dice.percent(30) {
                fields.push((name.to_owned(), Json::Bool(true)));
            }
        }
        Json::Object(fields)
    }

    fn lifecycle(&mut self) -> Json {
        let mut fields = vec![field("kind", "lifecycle")];
        if self.dice.percent(60) {
            fields.push(("event".to_owned(), self.selector()));
        }
        let length = self.range(&mut fields);
        fields.push(field("interval", self.interval(length)));
        self.lasting_breakdown(&mut fields);
        Json::Object(fields)
    }

    fn stickiness(&mut self) -> Json {
        let mut fields = vec![field("kind", "stickiness")];
        if self.dice.percent(60) {
            fields.push(("event".to_owned(), self.selector()));
        }
        let length = self.range(&mut fields);
        let interval = self.interval(length);
        let (longer, trailing): (&[&str], &[&str]) = match interval {
            "minute" => (&["hour", "day"], &["3m", "60m"]),
            "hour" => (&["day", "week"], &["1h", "24h"]),
            "day" => (&["week", "month", "quarter"], &["2d", "7d", "28d", "2w"]),
            "week" => (&["month", "year"], &["2w", "8w"]),
            "month" => (&["quarter", "year"], &["2mo", "6mo"]),
            _ => (&["year"], &[]),
        };
        let interval = if interval == "year" { "quarter" } else { interval };
        fields.push(field("interval", interval));
        let period = if trailing.is_empty() || self.dice.percent(50) { longer } else { trailing };
        fields.push(field("period", self.dice.pick(period)));
        match self.dice.below(3) {
            0 => fields.push(("ratio".to_owned(), Json::Bool(true))),
            1 => fields.push(("cumulative".to_owned(), Json::Bool(true))),
            _ => {}
        }
        if self.dice.percent(20) {
            fields.push(("at_least".to_owned(), reading::count(2)));
        }
        self.lasting_breakdown(&mut fields);
        Json::Object(fields)
    }

    /// A breakdown by what users or their accounts are.
    fn lasting_breakdown(&mut self, fields: &mut Fields) {
        if !self.dice.percent(35) {
            return;
        }
        let mut part = |property: &str, on: &str| {
            let mut part = vec![field("property", property), field("on", on)];
            if self.dice.percent(50) {
                part.push(("limit".to_owned(), reading::count(self.dice.between(1, 2))));
            }
            Json::Object(part)
        };
        let breakdowns = [part("plan", "user"), part("seats", "user"), part("plan", "account")];
        let breakdown = if self.dice.percent(15) {
            Json::Array(breakdowns[..2].to_vec())
        } else {
            breakdowns[self.dice.below(3)].clone()
        };
        fields.push(("breakdown".to_owned(), breakdown));
    }

    fn cohort_query(&mut self) -> Json {
        let mut fields = vec![field("kind", "cohort")];
        self.shared(&mut fields);
        fields.push(("cohort".to_owned(), self.cohort(2)));
        if self.dice.percent(30) {
            fields.push(field("select", "count"));
        } else {
            fields.push(field("select", "members"));
            if self.dice.percent(20) {
                fields.push(("limit".to_owned(), reading::count(self.dice.between(1, 3))));
            }
            if self.dice.percent(20) {
                fields.push(field("after", self.dice.pick(&USERS)));
            }
        }
        Json::Object(fields)
    }

    /// The fields that all queries share, but the range.
    fn shared(&mut self, fields: &mut Fields) {
        let last = self.moments[self.moments.len() - 1];
        let as_of = match self.dice.below(8) {
            0 => self.dice.pick(self.moments),
            1 => self.dice.pick(self.moments) + 1,
            2 => last + DAY_MS,
            _ => last + 60 * DAY_MS,
        };
        fields.push(("as_of".to_owned(), milliseconds(as_of)));
        if self.dice.percent(75) {
            fields.push(field("timezone", self.dice.pick(&ZONES)));
        }
        if self.dice.percent(30) {
            fields.push(field("week_start", self.dice.pick(&["sunday", "monday"])));
        }
        if self.dice.percent(10) {
            fields.push(field("entity", "account"));
        }
    }

    /// Adds the shared fields and a range. Returns how long the range is, roughly.
    fn range(&mut self, fields: &mut Fields) -> i64 {
        self.shared(fields);
        if self.dice.percent(15) {
            fields.push(("where".to_owned(), self.filter(1)));
        }
        let (first, last) = (self.moments[0], self.moments[self.moments.len() - 1]);
        if self.dice.percent(7) {
            // As of may lie far behind the history, so that nothing finer than months is asked for.
            fields.push(field("from", self.dice.pick(&["-6mo", "-30d", "-12w", "-13mo"])));
            if self.dice.percent(50) {
                fields.push(field("to", "now"));
            }
            return 400 * DAY_MS;
        }
        let (from, to) = match self.dice.below(4) {
            0 => {
                let (a, b) = (self.dice.pick(self.moments), self.dice.pick(self.moments));
                (a.min(b), a.max(b) + i64::from(a == b))
            }
            1 => (first - DAY_MS, last),
            _ => (first, last + 1),
        };
        if self.dice.percent(60) {
            fields.push(("from".to_owned(), date(from)));
            fields.push(("to".to_owned(), date(to + DAY_MS)));
            to - from + 2 * DAY_MS
        } else {
            fields.push(("from".to_owned(), self.written(from)));
            fields.push(("to".to_owned(), self.written(to)));
            to - from
        }
    }

    /// An interval with few buckets in a range of this length.
    fn interval(&mut self, length: i64) -> &'static str {
        let all = ["minute", "hour", "day", "week", "month", "quarter", "year"];
        let finest = match length {
            _ if length <= 3 * HOUR_MS => 0,
            _ if length <= 5 * DAY_MS => 1,
            _ if length <= 100 * DAY_MS => 2,
            _ => 3,
        };
        all[self.dice.between(finest, (finest + 2).min(all.len() - 1))]
    }

    /// A moment of the history, or just beside one.
    fn moment(&mut self) -> Json {
        let moment =
            self.dice.pick(self.moments) + [0, 0, 0, 1, -DAY_MS, DAY_MS, MINUTE_MS][self.dice.below(7)];
        if self.dice.percent(30) { date(moment) } else { self.written(moment) }
    }

    fn written(&mut self, moment: TimeMs) -> Json {
        if self.dice.percent(50) { milliseconds(moment) } else { Json::String(rfc_3339(moment)) }
    }

    fn breakdown(&mut self, fields: &mut Fields, percent: usize) {
        if !self.dice.percent(percent) {
            return;
        }
        if self.dice.percent(15) {
            let names = ["pro", "x", "both"];
            let cohorts = (0..self.dice.between(1, 3)).map(|index| (names[index].to_owned(), self.cohort(1)));
            let cohorts = Json::Object(cohorts.collect());
            let mut breakdown = Json::Object(vec![("cohorts".to_owned(), cohorts)]);
            if self.dice.percent(30) {
                let other = vec![field("property", "country"), ("limit".to_owned(), reading::count(2))];
                let both = vec![breakdown, Json::Object(other)];
                breakdown = Json::Array(both);
            }
            fields.push(("breakdown".to_owned(), breakdown));
            return;
        }
        let mut part = match self.dice.below(10) {
            0 | 1 => vec![field("property", self.dice.pick(&["plan", "seats"])), field("on", "user")],
            2 => vec![field("property", "plan"), field("on", "account")],
            3 => vec![field("property", "tags")],
            4 => vec![field("property", "mixed"), field("on", "event")],
            _ => vec![field("property", "country")],
        };
        if self.dice.percent(50) {
            part.push(("limit".to_owned(), reading::count(self.dice.between(1, 3))));
        }
        let is_funnel = fields[0].1 == Json::String("funnel".to_owned());
        if is_funnel && self.dice.percent(60) {
            let step = Json::Object(vec![("step".to_owned(), reading::count(2))]);
            let words = ["first", "last", "all"].map(|word| Json::String(word.to_owned()));
            let attribution = if self.dice.percent(30) { step } else { self.dice.pick(&words) };
            part.push(("attribution".to_owned(), attribution));
        } else if is_funnel && self.dice.percent(30) {
            part.push(field("attribution", "first"));
        }
        let mut breakdown = Json::Object(part);
        if self.dice.percent(15) {
            let second = vec![field("property", "country"), ("limit".to_owned(), reading::count(2))];
            breakdown = Json::Array(vec![breakdown, Json::Object(second)]);
        }
        fields.push(("breakdown".to_owned(), breakdown));
    }
}

fn field(name: &str, text: &str) -> (String, Json) {
    (name.to_owned(), Json::String(text.to_owned()))
}

fn milliseconds(moment: TimeMs) -> Json {
    reading::json(&moment.into())
}

fn rfc_3339(moment: TimeMs) -> String {
    jiff::Timestamp::from_millisecond(moment).expect("histories stay within the calendar").to_string()
}

/// The date of a moment in UTC: near enough to the query's zone for a range.
fn date(moment: TimeMs) -> Json {
    Json::String(rfc_3339(moment)[..10].to_owned())
}
