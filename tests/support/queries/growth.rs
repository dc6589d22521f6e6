//! Random growth queries, and the model that they leave parts to.

use flywheeldb::api::Json;

use super::{Asker, Fields, WINDOWS, field};
use crate::support::reading;

impl Asker<'_> {
    /// A model that has every part which a query may leave out.
    pub fn growth_model(&mut self) -> Json {
        let flows = self.flow_parts();
        let feature = vec![field("event", "b"), field("property", self.dice.pick(&["country", "tags"]))];
        let parts = vec![
            ("signup".to_owned(), self.selector()),
            ("activate".to_owned(), self.milestone()),
            ("value".to_owned(), self.selector()),
            ("paid".to_owned(), self.selector()),
            ("feature".to_owned(), Json::Object(feature)),
        ];
        Json::Object(parts.into_iter().chain(flows).collect())
    }

    /// Throws a growth query of any kind.
    pub fn growth(&mut self) -> Json {
        match self.dice.below(4) {
            0 => self.activation(),
            1 => self.conversion(),
            2 => self.drivers(),
            _ => self.pql(),
        }
    }

    fn part(&mut self, fields: &mut Fields, name: &str) {
        if self.dice.percent(70) {
            let selector = self.selector();
            fields.push((name.to_owned(), selector));
        }
    }

    fn milestone(&mut self) -> Json {
        let mut fields = vec![("event".to_owned(), self.selector())];
        if self.dice.percent(40) {
            fields.push(("at_least".to_owned(), reading::count(self.dice.between(1, 3))));
        }
        if self.dice.percent(80) {
            fields.push(field("within", self.dice.pick(&WINDOWS)));
        }
        Json::Object(fields)
    }

    /// A breakdown, of which cohorts are often judged on the first days.
    fn signup_breakdown(&mut self, fields: &mut Fields, percent: usize) {
        self.breakdown(fields, percent);
        // Of accounts, conditions inside of conditions are decided for all of their events at once.
        let is_of_accounts = fields.iter().any(|(name, _)| name == "entity");
        let window = self.dice.pick(&WINDOWS);
        let is_within = self.dice.percent(60) && !is_of_accounts;
        let Some((name, breakdown)) = fields.last_mut() else { return };
        if name != "breakdown" || !is_within {
            return;
        }
        let parts = match breakdown {
            Json::Array(parts) => parts.iter_mut().collect(),
            part => vec![part],
        };
        for part in parts {
            if let Json::Object(part) = part
                && part[0].0 == "cohorts"
            {
                part.push(field("within", window));
            }
        }
    }

    fn activation(&mut self) -> Json {
        let mut fields = vec![field("kind", "activation")];
        let length = self.range(&mut fields);
        self.part(&mut fields, "signup");
        if self.dice.percent(70) {
            let milestone = self.milestone();
            fields.push(("activate".to_owned(), milestone));
        }
        if self.dice.percent(30) {
            fields.push(("curve".to_owned(), Json::Bool(true)));
        } else {
            let interval = self.interval(length);
            fields.push(field("interval", if self.dice.percent(25) { "total" } else { interval }));
        }
        self.signup_breakdown(&mut fields, 40);
        Json::Object(fields)
    }

    fn conversion(&mut self) -> Json {
        let mut fields = vec![field("kind", "conversion")];
        let length = self.range(&mut fields);
        self.part(&mut fields, "signup");
        self.part(&mut fields, "paid");
        if self.dice.percent(60) {
            fields.push(field("within", self.dice.pick(&WINDOWS)));
        }
        let interval = self.interval(length);
        fields.push(field("interval", if self.dice.percent(25) { "total" } else { interval }));
        self.signup_breakdown(&mut fields, 50);
        Json::Object(fields)
    }

    fn drivers(&mut self) -> Json {
        let mut fields = vec![field("kind", "drivers")];
        let length = self.range(&mut fields);
        if self.dice.percent(60) {
            let birth = self.selector();
            fields.push(("birth".to_owned(), birth));
        }
        if self.dice.percent(80) {
            fields.push(field("window", self.dice.pick(&WINDOWS)));
        }
        let outcome = if self.dice.percent(30) {
            self.cohort(1)
        } else {
            let mut outcome = vec![(self.dice.pick(&["did", "did", "did_not"]).to_owned(), self.selector())];
            if outcome[0].0 == "did" && self.dice.percent(20) {
                outcome.push(("at_least".to_owned(), reading::count(2)));
            }
            let spans = [("1ms", "1d"), ("1h", "7d"), ("1d", "2d"), ("2d", "14d"), ("7d", "60d")];
            let (after, before) = self.dice.pick(&spans);
            outcome.extend([field("after", after), field("before", before)]);
            Json::Object(outcome)
        };
        fields.push(("outcome".to_owned(), outcome));
        if self.dice.percent(50) {
            let labelled = vec![
                ("event".to_owned(), Json::String("a".to_owned())),
                ("where".to_owned(), self.filter(0)),
                field("as", "some a"),
            ];
            let all = ["a", "b", "*"].map(|name| Json::String(name.to_owned()));
            let mut candidates: Vec<Json> = all[..self.dice.between(1, 3)].to_vec();
            if self.dice.percent(40) {
                candidates.push(Json::Object(labelled));
            }
            fields.push(("candidates".to_owned(), Json::Array(candidates)));
        }
        if self.dice.percent(60) {
            let thresholds = [vec![1, 2], vec![3, 1, 2], vec![2], vec![1, 1]];
            let thresholds = self.dice.pick(&thresholds).into_iter().map(reading::count).collect();
            fields.push(("thresholds".to_owned(), Json::Array(thresholds)));
        }
        if self.dice.percent(20) {
            fields.push(field("interval", self.interval(length)));
        }
        self.signup_breakdown(&mut fields, 25);
        Json::Object(fields)
    }

    fn pql(&mut self) -> Json {
        let mut fields = vec![field("kind", "pql")];
        self.shared(&mut fields);
        if self.dice.percent(25) {
            fields.push(("where".to_owned(), self.filter(1)));
        }
        let is_of_accounts = fields.iter().any(|(name, _)| name == "entity");
        let signals = (0..self.dice.between(1, 3)).map(|index| self.signal(index, is_of_accounts)).collect();
        fields.push(("signals".to_owned(), Json::Array(signals)));
        let decimal = |text: &str| Json::parse(text.as_bytes()).expect("a number");
        let threshold = self.dice.pick(&["0", "0.3", "0.5", "0.6", "0.75", "1"]);
        fields.push(("threshold".to_owned(), decimal(threshold)));
        match self.dice.below(4) {
            0 => {
                let selector = self.selector();
                fields.push(("hand_raise".to_owned(), selector));
            }
            1 => {
                let cohort = self.cohort(1);
                fields.push(("hand_raise".to_owned(), cohort));
            }
            _ => {}
        }
        if self.dice.percent(25) {
            fields.push(("qualified_at".to_owned(), Json::Bool(true)));
            self.join_conditions(&mut fields);
        }
        Json::Object(fields)
    }

    /// At times, a `where` that joins a cohort and a property of events, and a signal whose own events ask for a cohort.
    /// What is thrown next does not depend on it.
    fn join_conditions(&mut self, fields: &mut Fields) {
        let before = self.dice.clone();
        if self.dice.percent(40) {
            let condition = |cohort: Json| Json::Object(vec![("cohort".to_owned(), cohort)]);
            let both = Json::Array(vec![condition(self.cohort(0)), self.property_filter("event")]);
            let joined = Json::Object(vec![(self.dice.pick(&["any", "all"]).to_owned(), both)]);
            let is_negated = self.dice.percent(30);
            let filter = if is_negated { Json::Object(vec![("not".to_owned(), joined)]) } else { joined };
            fields.retain(|(name, _)| name != "where");
            fields.push(("where".to_owned(), filter));
            let name = field("event", self.dice.pick(&["a", "b", "c"]));
            let selector = Json::Object(vec![name, ("where".to_owned(), condition(self.cohort(0)))]);
            let volume = Json::Object(vec![("event".to_owned(), selector)]);
            let signals = fields.iter_mut().find(|(name, _)| name == "signals");
            if let Some((_, Json::Array(signals))) = signals {
                signals.push(Json::Object(vec![field("name", "of a cohort"), ("volume".to_owned(), volume)]));
            }
        }
        *self.dice = before;
    }

    fn signal(&mut self, index: usize, is_of_accounts: bool) -> Json {
        let decimal = |text: &str| Json::parse(text.as_bytes()).expect("a number");
        let mut fields = vec![field("name", &format!("signal {index}"))];
        if self.dice.percent(80) {
            fields.push((
                "weight".to_owned(),
                decimal(self.dice.pick(&["1", "2", "0.1", "0.2", "0.7", "3.5"])),
            ));
        }
        if self.dice.percent(50) {
            let scales = ["[0, 3]", "[0, 10]", "[1, 2]", "[5, 0]", "[0.5, 2.5]", "[-1, 1]"];
            fields.push(("scale".to_owned(), decimal(self.dice.pick(&scales))));
        }
        let windows = ["1m", "1h", "24h", "2d", "7d", "14d", "60d"];
        let kind = self.dice.below(7);
        let (name, source) = match kind {
            0..=3 => {
                let mut source = Fields::new();
                if self.dice.percent(80) {
                    source.push(("event".to_owned(), self.selector()));
                }
                if kind == 1 || self.dice.percent(80) {
                    source.push(field("window", self.dice.pick(&windows)));
                }
                let has_events = source.iter().any(|(name, _)| name == "event");
                if kind >= 2 && (has_events || self.dice.percent(50)) {
                    let of = if is_of_accounts { "users" } else { "events" };
                    source.push(match self.dice.below(5) {
                        0 => field("of", "events"),
                        1 => field("of", "active_days"),
                        2 => field("of", of),
                        3 => field("property", self.dice.pick(&["tags", "mixed"])),
                        _ => field("property", "country"),
                    });
                }
                (["volume", "velocity", "breadth", "breadth"][kind], Json::Object(source))
            }
            4 | 5 => ("behaviour", self.cohort(1)),
            _ => ("profile", self.profile_filter()),
        };
        fields.push((name.to_owned(), source));
        Json::Object(fields)
    }
}
