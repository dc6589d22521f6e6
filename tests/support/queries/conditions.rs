//! Random selectors, filters and cohorts.

use flywheeldb::api::Json;
use flywheeldb::model::{DAY_MS, Value};

use super::{Asker, Fields, WINDOWS, ZONES, date, field, milliseconds};
use crate::support::histories::{EVENTS, number, scalar};
use crate::support::reading;

impl Asker<'_> {
    pub fn cohort(&mut self, depth: usize) -> Json {
        let mut fields = Fields::new();
        match self.dice.below(if depth == 0 { 6 } else { 10 }) {
            0 | 1 => {
                fields.push(("did".to_owned(), self.selector()));
                let least = self.dice.below(3);
                if self.dice.percent(40) {
                    fields.push(("at_least".to_owned(), reading::count(least)));
                }
                if self.dice.percent(30) {
                    fields.push(("at_most".to_owned(), reading::count(least.max(1) + self.dice.below(2))));
                }
                self.own_range(&mut fields);
            }
            2 => {
                fields.push(("did_not".to_owned(), self.selector()));
                self.own_range(&mut fields);
            }
            3 => {
                fields.push(("first_did".to_owned(), self.selector()));
                self.own_range(&mut fields);
            }
            4 => fields.push(("profile".to_owned(), self.profile_filter())),
            5 => {
                let ids = ["u1", "u2", "anon-1", "anon-3", "nobody"];
                let ids = (0..self.dice.between(1, 3)).map(|_| self.dice.pick(&ids).to_owned());
                fields.push(("users".to_owned(), Json::Array(ids.map(Json::String).collect())));
            }
            6 => fields.push(("not".to_owned(), self.cohort(depth - 1))),
            7 => fields.push(("result".to_owned(), self.cell(depth))),
            _ if self.dice.percent(30) => {
                let steps = (0..self.dice.between(2, 3)).map(|_| self.selector()).collect();
                fields.push(("sequence".to_owned(), Json::Array(steps)));
                fields.push(field("window", self.dice.pick(&WINDOWS)));
                self.own_range(&mut fields);
            }
            _ => {
                let each = (0..self.dice.between(1, 3)).map(|_| self.cohort(depth - 1)).collect();
                let word = self.dice.pick(&["all", "any"]);
                fields.push((word.to_owned(), Json::Array(each)));
            }
        }
        Json::Object(fields)
    }

    /// A cell of a result. Its query is like those that are thrown, with few options.
    fn cell(&mut self, depth: usize) -> Json {
        let (first, last) = (self.moments[0], self.moments[self.moments.len() - 1]);
        let from = self.dice.pick(self.moments);
        let mut query = Fields::new();
        if self.dice.percent(20) {
            query.push(field("timezone", self.dice.pick(&ZONES)));
        }
        let mut cell = match self.dice.below(7) {
            0 | 1 => {
                let step_count = self.dice.between(2, 3);
                let steps = (0..step_count).map(|_| self.selector()).collect();
                query.push(("steps".to_owned(), Json::Array(steps)));
                query.push(field("window", self.dice.pick(&WINDOWS)));
                if self.dice.percent(30) {
                    query.push(("from".to_owned(), milliseconds(from)));
                }
                let dropped = self.dice.percent(50);
                let step = self.dice.between(if dropped { 2 } else { 1 }, step_count);
                let outcome = field("outcome", if dropped { "dropped" } else { "converted" });
                vec![field("kind", "funnel"), ("step".to_owned(), reading::count(step)), outcome]
            }
            2 | 3 => {
                let day = self.dice.pick(&[first, from]);
                query.push(("birth".to_owned(), self.selector()));
                query.push(field("interval", "day"));
                query.push(field("cohorts", self.dice.pick(&["first_time", "first_in_range", "recurring"])));
                query.push(("periods".to_owned(), reading::count(3)));
                query.push(("from".to_owned(), date(day)));
                query.push(("to".to_owned(), date(day.max(last) + DAY_MS)));
                let period = ("period".to_owned(), reading::count(self.dice.below(4)));
                vec![field("kind", "retention"), ("cohort".to_owned(), date(day)), period]
            }
            4 => {
                let activate =
                    Json::Object(vec![("event".to_owned(), self.selector()), field("within", "7d")]);
                query.extend([("signup".to_owned(), self.selector()), ("activate".to_owned(), activate)]);
                let state = self.dice.pick(&["signups", "activated", "in_progress", "failed"]);
                vec![field("kind", "activation"), field("state", state)]
            }
            5 => {
                let volume =
                    Json::Object(vec![field("event", "a"), field("window", self.dice.pick(&WINDOWS[1..]))]);
                let signal = Json::Object(vec![field("name", "volume"), ("volume".to_owned(), volume)]);
                query.push(("signals".to_owned(), Json::Array(vec![signal])));
                query.push(("threshold".to_owned(), reading::count(1)));
                vec![field("kind", "pql"), ("qualified".to_owned(), Json::Bool(self.dice.percent(50)))]
            }
            _ => {
                query.push(("cohort".to_owned(), self.cohort(depth - 1)));
                vec![field("kind", "cohort")]
            }
        };
        if cell[0].1 != Json::String("cohort".to_owned()) && self.dice.percent(20) {
            query.push(("where".to_owned(), self.filter(0)));
        }
        cell.push(("query".to_owned(), Json::Object(query)));
        Json::Object(cell)
    }

    /// The range of a cohort, often none. At most one end: two might be the wrong way round, which is an error.
    fn own_range(&mut self, fields: &mut Fields) {
        match self.dice.below(10) {
            0..=2 => fields.push(("from".to_owned(), self.moment())),
            3..=5 => fields.push(("to".to_owned(), self.moment())),
            _ => {}
        }
    }

    pub fn selector(&mut self) -> Json {
        let name = if self.dice.percent(15) { "*" } else { self.dice.pick(&EVENTS[..3]) };
        let name = Json::String(name.to_owned());
        match self.dice.below(10) {
            0..=6 => name,
            7 | 8 => {
                let mut fields = vec![("event".to_owned(), name), ("where".to_owned(), self.filter(1))];
                if self.dice.percent(30) {
                    fields.push(field("as", "label"));
                }
                Json::Object(fields)
            }
            _ => {
                let other = Json::Object(vec![
                    ("event".to_owned(), Json::String("d".to_owned())),
                    ("where".to_owned(), self.filter(0)),
                ]);
                Json::Object(vec![("any_of".to_owned(), Json::Array(vec![name, other]))])
            }
        }
    }

    pub fn filter(&mut self, depth: usize) -> Json {
        if depth > 0 && self.dice.percent(30) {
            let word = self.dice.pick(&["all", "any", "not", "cohort"]);
            let inner = match word {
                "not" => self.filter(depth - 1),
                "cohort" => self.cohort(0),
                _ => Json::Array((0..self.dice.between(1, 3)).map(|_| self.filter(depth - 1)).collect()),
            };
            return Json::Object(vec![(word.to_owned(), inner)]);
        }
        match self.dice.below(10) {
            0 | 1 => self.property_filter("user"),
            2 => self.property_filter("account"),
            _ => self.property_filter("event"),
        }
    }

    pub fn profile_filter(&mut self) -> Json {
        if self.dice.percent(20) {
            let each = (0..2).map(|_| self.property_filter("user")).collect();
            return Json::Object(vec![(self.dice.pick(&["all", "any"]).to_owned(), Json::Array(each))]);
        }
        self.property_filter("user")
    }

    pub fn property_filter(&mut self, on: &str) -> Json {
        let properties: &[&str] = match on {
            "event" => &["country", "country", "amount", "mixed", "tags", "missing"],
            _ => &["plan", "plan", "seats", "source"],
        };
        let mut fields = vec![field("property", self.dice.pick(properties))];
        if on != "event" || self.dice.percent(20) {
            fields.push(field("on", on));
        }
        let operators = [
            "eq",
            "eq",
            "ne",
            "in",
            "not_in",
            "lt",
            "lte",
            "gt",
            "gte",
            "between",
            "contains",
            "not_contains",
            "starts_with",
            "ends_with",
            "matches",
            "is_set",
            "is_not_set",
        ];
        let operator = self.dice.pick(&operators);
        fields.push(field("op", operator));
        let value = match operator {
            "is_set" | "is_not_set" => return Json::Object(fields),
            "eq" | "ne" => reading::json(&self.operand()),
            "in" | "not_in" => {
                Json::Array((0..self.dice.between(1, 3)).map(|_| reading::json(&self.operand())).collect())
            }
            "lt" | "lte" | "gt" | "gte" => reading::json(&self.ordered_operand()),
            "between" => {
                let low = self.ordered_operand();
                let high = match low {
                    Value::Number(_) => number(self.dice),
                    _ => self.text_operand(),
                };
                Json::Array(vec![reading::json(&low), reading::json(&high)])
            }
            "matches" => Json::String(self.dice.pick(&["^d", "e$", "[fp]r", "r+", "^$", "ö"]).to_owned()),
            _ => Json::String(self.dice.pick(&["d", "e", "r", "fr", "Grö", "1", ""]).to_owned()),
        };
        fields.push(("value".to_owned(), value));
        Json::Object(fields)
    }

    /// A value that some property may have.
    fn operand(&mut self) -> Value {
        if self.dice.percent(50) { self.text_operand() } else { scalar(self.dice) }
    }

    fn ordered_operand(&mut self) -> Value {
        if self.dice.percent(60) { number(self.dice) } else { self.text_operand() }
    }

    fn text_operand(&mut self) -> Value {
        self.dice.pick(&["at", "de", "fr", "it", "pro", "free", "team", "ad"]).into()
    }
}
