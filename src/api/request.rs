//! A query, read and checked: what all kinds have in common, and which kind it is.

use std::ops::Range;

use jiff::tz::TimeZone;

use super::time_expr::parse_zone;
use super::{
    ActivationQuery, CohortQuery, ConversionQuery, DriversQuery, Fields, Filter, FunnelQuery, Json,
    LifecycleQuery, Node, OverviewQuery, PathsQuery, PqlQuery, Problem, RetentionQuery, RevenueQuery,
    SegmentationQuery, StickinessQuery, TimeExpr, TimeRange, UsageLimitsQuery, ViralityQuery,
};
use crate::limits::TIME_MIN_MS;
use crate::model::{Entity, TimeMs};

/// A query of any kind.
#[derive(Clone, Debug)]
pub struct QueryRequest {
    pub common: Common,
    pub kind: QueryKind,
}

#[derive(Clone, Debug)]
pub enum QueryKind {
    Segmentation(SegmentationQuery),
    Funnel(FunnelQuery),
    Retention(RetentionQuery),
    Paths(PathsQuery),
    Lifecycle(LifecycleQuery),
    Stickiness(StickinessQuery),
    Cohort(CohortQuery),
    Activation(ActivationQuery),
    Conversion(ConversionQuery),
    Drivers(DriversQuery),
    Pql(PqlQuery),
    Revenue(RevenueQuery),
    Virality(ViralityQuery),
    UsageLimits(UsageLimitsQuery),
    Overview(OverviewQuery),
}

/// The words of the kinds, in the order of the documentation.
#[derive(Clone, Copy)]
enum Kind {
    Segmentation,
    Funnel,
    Retention,
    Paths,
    Lifecycle,
    Stickiness,
    Cohort,
    Activation,
    Conversion,
    Drivers,
    Pql,
    Revenue,
    Virality,
    UsageLimits,
    Overview,
}

/// The words of who is counted.
pub(super) const ENTITIES: [(&str, Entity); 2] =
    [(Entity::User.name(), Entity::User), (Entity::Account.name(), Entity::Account)];

const KINDS: [(&str, Kind); 15] = [
    ("segmentation", Kind::Segmentation),
    ("funnel", Kind::Funnel),
    ("retention", Kind::Retention),
    ("lifecycle", Kind::Lifecycle),
    ("stickiness", Kind::Stickiness),
    ("paths", Kind::Paths),
    ("cohort", Kind::Cohort),
    ("activation", Kind::Activation),
    ("conversion", Kind::Conversion),
    ("drivers", Kind::Drivers),
    ("pql", Kind::Pql),
    ("revenue", Kind::Revenue),
    ("virality", Kind::Virality),
    ("limits", Kind::UsageLimits),
    ("overview", Kind::Overview),
];

impl QueryRequest {
    /// Reads a body that carries its `kind`.
    pub fn parse(body: &Json) -> Result<QueryRequest, Problem> {
        let mut fields = body.root().object()?;
        let kind = fields.required("kind")?;
        let request = QueryRequest::parse_kind(&kind, &mut fields)?;
        fields.finish()?;
        Ok(request)
    }

    /// Reads the fields of a query of the kind that `kind` names.
    pub(super) fn parse_kind(kind: &Node<'_>, fields: &mut Fields<'_>) -> Result<QueryRequest, Problem> {
        let (common, kind) = match kind.word(&KINDS)? {
            Kind::Segmentation => {
                let common = Common::parse(fields)?;
                let query = SegmentationQuery::parse(fields, common.entity)?;
                (common, QueryKind::Segmentation(query))
            }
            Kind::Funnel => {
                let (mut common, query) = (Common::parse(fields)?, FunnelQuery::parse(fields)?);
                if query.counts_accounts {
                    (common.entity, common.has_entity) = (Entity::Account, true);
                }
                (common, QueryKind::Funnel(query))
            }
            Kind::Retention => (Common::parse(fields)?, QueryKind::Retention(RetentionQuery::parse(fields)?)),
            Kind::Paths => (Common::parse(fields)?, QueryKind::Paths(PathsQuery::parse(fields)?)),
            Kind::Lifecycle => (Common::parse(fields)?, QueryKind::Lifecycle(LifecycleQuery::parse(fields)?)),
            Kind::Stickiness => {
                (Common::parse(fields)?, QueryKind::Stickiness(StickinessQuery::parse(fields)?))
            }
            Kind::Cohort => {
                (Common::parse_without_range(fields)?, QueryKind::Cohort(CohortQuery::parse(fields)?))
            }
            Kind::Activation => {
                (Common::parse(fields)?, QueryKind::Activation(ActivationQuery::parse(fields)?))
            }
            Kind::Conversion => {
                (Common::parse(fields)?, QueryKind::Conversion(ConversionQuery::parse(fields)?))
            }
            Kind::Drivers => (Common::parse(fields)?, QueryKind::Drivers(DriversQuery::parse(fields)?)),
            Kind::Pql => {
                let common = Common::parse(fields)?;
                let query = PqlQuery::parse(fields, common.entity)?;
                (common, QueryKind::Pql(query))
            }
            Kind::Revenue => (Common::parse(fields)?, QueryKind::Revenue(RevenueQuery::parse(fields)?)),
            Kind::Virality => (Common::parse(fields)?, QueryKind::Virality(ViralityQuery::parse(fields)?)),
            Kind::Overview => (Common::parse(fields)?, QueryKind::Overview(OverviewQuery::parse(fields)?)),
            Kind::UsageLimits => {
                (Common::parse(fields)?, QueryKind::UsageLimits(UsageLimitsQuery::parse(fields)?))
            }
        };
        Ok(QueryRequest { common, kind })
    }
}

/// What every query takes. The default is that of a body that says nothing.
#[derive(Clone, Debug)]
pub struct Common {
    pub range: TimeRange,
    /// Who is counted: users unless said.
    pub entity: Entity,
    /// Whether the query says who is counted. If not, a part of the growth model may.
    pub has_entity: bool,
    pub zone: TimeZone,
    pub week_start: WeekStart,
    /// The moment that `now`, `complete` and `in_progress` mean: the clock's unless given.
    pub as_of: Option<TimeExpr>,
    /// On all events of the query.
    pub filter: Option<Filter>,
}

impl Default for Common {
    fn default() -> Common {
        Common {
            range: TimeRange { from: None, to: None, path: String::new() },
            entity: Entity::User,
            has_entity: false,
            zone: TimeZone::UTC,
            week_start: WeekStart::Monday,
            as_of: None,
            filter: None,
        }
    }
}

impl Common {
    fn parse(fields: &mut Fields<'_>) -> Result<Common, Problem> {
        let range = parse_range(fields)?;
        let filter = fields.optional("where").map(|filter| Filter::parse(&filter)).transpose()?;
        Ok(Common { range, filter, ..Common::parse_calendar(fields)? })
    }

    /// For kinds whose parts carry ranges of their own.
    fn parse_without_range(fields: &mut Fields<'_>) -> Result<Common, Problem> {
        for name in ["from", "to", "where"] {
            if fields.has(name) {
                let problem = fields.node().problem(format!("a cohort takes no {name:?} at this place"));
                let place = format!("{}/{name}", fields.node().path());
                return Err(problem.at(place).hint(match name {
                    "where" => "filter the events of \"did\": {\"did\": {\"event\": …, \"where\": …}}",
                    _ => "give the range beside \"did\", \"did_not\" or \"first_did\"",
                }));
            }
        }
        Common::parse_calendar(fields)
    }

    fn parse_calendar(fields: &mut Fields<'_>) -> Result<Common, Problem> {
        let zone = fields.optional("timezone").map_or(Ok(TimeZone::UTC), |zone| parse_zone(&zone))?;
        let week_start = match fields.optional("week_start") {
            Some(day) => day.word(&[("monday", WeekStart::Monday), ("sunday", WeekStart::Sunday)])?,
            None => WeekStart::Monday,
        };
        let as_of = fields.optional("as_of").map(|time| TimeExpr::parse(&time)).transpose()?;
        let entity = fields.optional("entity").map(|entity| entity.word(&ENTITIES)).transpose()?;
        let has_entity = entity.is_some();
        let entity = entity.unwrap_or(Entity::User);
        Ok(Common { entity, has_entity, zone, week_start, as_of, ..Common::default() })
    }

    /// Makes moments definite. `now` is the clock's time.
    pub fn resolve(&self, now: TimeMs) -> Result<Scope, Problem> {
        let as_of = self.as_of.map_or(now, |as_of| as_of.resolve(now, &self.zone));
        let range = self.range.resolve(as_of, &self.zone)?;
        Ok(Scope {
            range,
            has_from: self.range.from.is_some(),
            as_of,
            zone: self.zone.clone(),
            week_start: self.week_start,
        })
    }
}

/// Reads the fields `from` and `to`.
pub(super) fn parse_range(fields: &mut Fields<'_>) -> Result<TimeRange, Problem> {
    let from = fields.optional("from").map(|time| TimeExpr::parse(&time)).transpose()?;
    let to = fields.optional("to").map(|time| TimeExpr::parse(&time)).transpose()?;
    Ok(TimeRange { from, to, path: fields.node().path().to_owned() })
}

/// When a query looks, in definite moments.
#[derive(Clone, Debug)]
pub struct Scope {
    /// `[from, to)` as asked. It may reach beyond `as_of`.
    pub range: Range<TimeMs>,
    /// Whether `from` was given. If not, the range begins with the earliest time there can be.
    pub has_from: bool,
    /// Events at exactly this moment are seen, later ones are not.
    pub as_of: TimeMs,
    pub zone: TimeZone,
    pub week_start: WeekStart,
}

impl Scope {
    /// The part of `range` whose events are seen: nothing after `as_of`, even if that leaves nothing.
    pub fn seen(&self, range: Range<TimeMs>) -> Range<TimeMs> {
        let end = range.end.min(self.as_of + 1);
        range.start.min(end)..end
    }

    /// Everything that is seen.
    pub fn history(&self) -> Range<TimeMs> {
        TIME_MIN_MS..self.as_of + 1
    }

    /// The range that tables of buckets tell: without `from`, from the first event that is seen, if any, so
    /// that nobody has to read a century of empty days.
    pub fn told_range(&self, first_event: Option<TimeMs>) -> Range<TimeMs> {
        if self.has_from {
            return self.range.clone();
        }
        let last = self.range.end.min(self.as_of);
        first_event.unwrap_or(last).min(self.range.end)..self.range.end
    }
}

/// The day that weeks begin on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WeekStart {
    #[default]
    Monday,
    Sunday,
}

/// The width of buckets: units of the calendar in the query's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interval {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    /// The whole range is one bucket.
    Total,
}

/// The words of the intervals, `total` last.
const INTERVALS: [(&str, Interval); 8] = [
    ("minute", Interval::Minute),
    ("hour", Interval::Hour),
    ("day", Interval::Day),
    ("week", Interval::Week),
    ("month", Interval::Month),
    ("quarter", Interval::Quarter),
    ("year", Interval::Year),
    ("total", Interval::Total),
];

impl Interval {
    /// Reads the field `interval`, a day unless given.
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<Interval, Problem> {
        fields.optional("interval").map_or(Ok(Interval::Day), |interval| Interval::parse_word(&interval))
    }

    /// Reads any interval.
    pub(super) fn parse_word(node: &Node<'_>) -> Result<Interval, Problem> {
        node.word(&INTERVALS)
    }

    /// The same without `total`, where one bucket has no meaning.
    pub(super) fn parse_repeated(fields: &mut Fields<'_>) -> Result<Interval, Problem> {
        fields.optional("interval").map_or(Ok(Interval::Day), |interval| Interval::parse_unit(&interval))
    }

    /// Reads a unit of the calendar.
    pub(super) fn parse_unit(node: &Node<'_>) -> Result<Interval, Problem> {
        node.word(&INTERVALS[..INTERVALS.len() - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DAY_MS;

    pub(crate) fn parse(json: &str) -> Result<QueryRequest, Problem> {
        QueryRequest::parse(&Json::parse(json.as_bytes()).unwrap())
    }

    fn told(json: &str) -> (String, String) {
        let problem = parse(json).unwrap_err();
        (problem.path.unwrap_or_default(), problem.hint.unwrap_or_default())
    }

    #[test]
    fn unknown_kinds_fields_and_words_are_named_with_the_nearest() {
        assert_eq!(told(r#"{"kind": "funel"}"#), ("/kind".into(), "did you mean \"funnel\"?".into()));
        assert_eq!(
            told(r#"{"kind": "segmentation", "series": [{"event": "a"}], "form": "-1d"}"#),
            ("/form".into(), "did you mean \"from\"?".into())
        );
        assert_eq!(
            told(r#"{"kind": "segmentation", "series": [{"event": "a"}], "interval": "dy"}"#),
            ("/interval".into(), "did you mean \"day\"?".into())
        );
        assert_eq!(
            told(r#"{"kind": "segmentation", "series": [{"event": "a"}], "entity": "acount"}"#).0,
            "/entity"
        );
        assert_eq!(
            told(r#"{"kind": "retention", "birth": "a", "periods": 3, "interval": "total"}"#).0,
            "/interval"
        );
        assert_eq!(told(r#"{"kind": "cohort", "cohort": {"did": "a"}, "from": "-3d"}"#).0, "/from");
        assert_eq!(told(r#"{"kind": "funnel", "steps": ["a", "b"], "timezone": "UTZ"}"#).0, "/timezone");
        assert_eq!(
            told(r#"{"kind": "funnel", "steps": ["a", "b"], "week_start": "friday"}"#).0,
            "/week_start"
        );
        assert_eq!(parse("[]").unwrap_err().detail, "expected an object, found an array");
    }

    #[test]
    fn without_to_the_range_reaches_up_to_and_including_as_of() {
        let request = parse(r#"{"kind": "funnel", "steps": ["a", "b"], "from": "-1d"}"#).unwrap();
        let now = 20_000 * DAY_MS;
        let scope = request.common.resolve(now).unwrap();
        assert_eq!(scope.range, now - DAY_MS..now + 1);
        assert_eq!(scope.history().end, now + 1);

        let request = parse(
            r#"{"kind": "funnel", "steps": ["a", "b"], "as_of": "-2d", "from": "-1d", "to": "2030-01-01"}"#,
        );
        let scope = request.unwrap().common.resolve(now).unwrap();
        assert_eq!(scope.as_of, now - 2 * DAY_MS);
        assert_eq!(scope.seen(scope.range.clone()), now - 3 * DAY_MS..now - 2 * DAY_MS + 1);
    }

    #[test]
    fn without_from_a_table_begins_with_the_first_event() {
        let request = parse(r#"{"kind": "segmentation", "series": [{"event": "a"}], "to": 5000}"#).unwrap();
        let scope = request.common.resolve(9000).unwrap();
        assert_eq!(scope.told_range(Some(700)), 700..5000);
        assert_eq!(scope.told_range(Some(8000)), 5000..5000);
        assert_eq!(scope.told_range(None), 5000..5000);
    }
}
