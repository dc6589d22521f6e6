//! Random queries about what flows: revenue, invitations, and usage against allowances.

use flywheeldb::api::Json;

use super::{Asker, Fields, WINDOWS, field};
use crate::support::reading;

impl Asker<'_> {
    /// The event of a part of the growth model, with more fields beside it.
    fn part_with(&mut self, more: Fields) -> Json {
        let mut fields = match self.selector() {
            Json::Object(fields) => fields,
            name => vec![("event".to_owned(), name)],
        };
        fields.extend(more);
        Json::Object(fields)
    }

    /// Throws a query of any of these kinds.
    pub fn growth_flows(&mut self) -> Json {
        match self.dice.below(5) {
            0 | 1 => self.revenue(),
            2 => self.virality(),
            3 => self.usage_limits(),
            _ => self.overview(),
        }
    }

    /// The parts of a model that these kinds may leave to it.
    pub fn flow_parts(&mut self) -> Fields {
        let accept = self.part_with(vec![field("inviter", "by")]);
        vec![
            ("invite".to_owned(), self.selector()),
            ("accept".to_owned(), accept),
            ("subscription".to_owned(), self.subscription()),
        ]
    }

    fn subscription(&mut self) -> Json {
        let mut more = vec![field("mrr", self.dice.pick(&["amount", "amount", "amount", "mixed"]))];
        if self.dice.percent(40) {
            more.push(field("entity", self.dice.pick(&["account", "user"])));
        }
        self.part_with(more)
    }

    fn revenue(&mut self) -> Json {
        let mut fields = vec![field("kind", "revenue")];
        let length = self.range(&mut fields);
        if self.dice.percent(15) {
            fields.retain(|(name, _)| name != "from");
        }
        if self.dice.percent(80) {
            fields.push(("subscription".to_owned(), self.subscription()));
        }
        let interval = if self.dice.percent(15) { "total" } else { self.interval(length) };
        fields.push(field("interval", interval));
        if self.dice.percent(40) {
            fields.push(field("currency", self.dice.pick(&["country", "mixed", "tags"])));
        }
        if self.dice.percent(30) {
            let spans = ["1d", "2d", "1w", "1mo", "3mo", "12mo", "1y"];
            fields.push(field("trailing", self.dice.pick(&spans)));
        }
        self.lasting_breakdown(&mut fields);
        Json::Object(fields)
    }

    fn virality(&mut self) -> Json {
        let mut fields = vec![field("kind", "virality")];
        let length = self.range(&mut fields);
        for name in ["signup", "invite"] {
            if self.dice.percent(80) {
                fields.push((name.to_owned(), self.selector()));
            }
        }
        if self.dice.percent(80) {
            let accept = self.part_with(vec![field("inviter", "by")]);
            fields.push(("accept".to_owned(), accept));
        }
        match self.dice.below(5) {
            0 => fields.push(("tree".to_owned(), Json::Bool(true))),
            1 | 2 => {
                fields.push(field("by", "signup"));
                fields.push(field("interval", self.interval(length)));
                if self.dice.percent(70) {
                    fields.push(field("window", self.dice.pick(&WINDOWS)));
                }
            }
            _ => fields.push(field("interval", self.interval(length))),
        }
        self.lasting_breakdown(&mut fields);
        Json::Object(fields)
    }

    fn usage_limits(&mut self) -> Json {
        let mut fields = vec![field("kind", "limits")];
        let length = self.range(&mut fields);
        fields.retain(|(name, _)| name != "entity");
        let entity = self.dice.pick(&["user", "user", "account"]);
        let mut allowance = vec![field("property", "seats")];
        if self.dice.percent(50) {
            allowance.push(field("on", entity));
        } else {
            fields.push(field("entity", entity));
        }
        let per = self.dice.pick(&["hour", "day", "week", "month", "year"]);
        let usage = self.part_with(vec![field("per", per)]);
        let limit = [("usage".to_owned(), usage), ("allowance".to_owned(), Json::Object(allowance))];
        fields.push(("limit".to_owned(), Json::Object(limit.to_vec())));
        let is_outcome = self.dice.percent(40);
        if is_outcome || self.dice.percent(60) {
            fields.push(("paid".to_owned(), self.selector()));
        }
        if is_outcome {
            fields.push(("outcome".to_owned(), Json::Bool(true)));
            fields.push(field("interval", self.interval(length)));
        } else if self.dice.percent(40) {
            let near = reading::number(self.dice.pick(&["0.1", "0.5", "0.8", "1"]));
            fields.push(("near".to_owned(), near));
        }
        if self.dice.percent(30) {
            let property = self.dice.pick(&["plan", "seats"]);
            let mut breakdown = vec![field("property", property), field("on", entity)];
            if self.dice.percent(50) {
                breakdown.push(("limit".to_owned(), reading::count(self.dice.between(1, 2))));
            }
            fields.push(("breakdown".to_owned(), Json::Object(breakdown)));
        }
        Json::Object(fields)
    }

    fn overview(&mut self) -> Json {
        let mut fields = vec![field("kind", "overview")];
        let length = self.range(&mut fields);
        fields.push(field("interval", self.interval(length)));
        if self.dice.percent(50) {
            fields.push(("transitions".to_owned(), Json::Bool(true)));
        }
        for name in ["signup", "invite", "paid"] {
            if self.dice.percent(60) {
                fields.push((name.to_owned(), self.selector()));
            }
        }
        if self.dice.percent(60) {
            let mut more = vec![("at_least".to_owned(), reading::count(self.dice.between(1, 2)))];
            if self.dice.percent(60) {
                more.push(field("within", self.dice.pick(&WINDOWS)));
            }
            fields.push(("activate".to_owned(), self.part_with(more)));
        }
        if self.dice.percent(60) {
            let accept = self.part_with(vec![field("inviter", "by")]);
            fields.push(("accept".to_owned(), accept));
        }
        if self.dice.percent(60) {
            fields.push(("subscription".to_owned(), self.subscription()));
        }
        self.lasting_breakdown(&mut fields);
        Json::Object(fields)
    }
}
