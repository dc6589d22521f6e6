//! The queries: what each kind takes, and examples that run on the demo's history.

use serde_json::{Value, json};

use super::schema::*;
use super::shared::INTERVALS;
use crate::limits::*;

/// A kind of query, as it is described.
pub(super) struct KindOfQuery {
    pub name: &'static str,
    /// The name of its schema.
    pub schema: &'static str,
    pub about: &'static str,
    /// Bodies with the names of what they ask.
    pub examples: Vec<(&'static str, Value)>,
}

/// What each kind takes that has a range: all but cohorts and leads.
pub(super) fn common() -> Vec<(&'static str, Value)> {
    let mut fields = vec![
        ("from", about(reference("Time"), "The start; all history unless said.")),
        ("to", about(reference("Time"), "The end, not included; up to and including as_of unless said.")),
        ("where", about(reference("Filter"), "On all events of the query.")),
    ];
    fields.extend(common_without_range());
    fields
}

pub(super) fn common_without_range() -> Vec<(&'static str, Value)> {
    vec![
        ("timezone", text("An IANA name; UTC unless said.")),
        ("week_start", words("monday unless said.", &["monday", "sunday"])),
        (
            "as_of",
            about(
                reference("Time"),
                "The moment that now, complete and in_progress mean; the clock's unless said.",
            ),
        ),
        ("entity", reference("Entity")),
    ]
}

/// A schema of a kind: its own fields, those of all kinds, and `kind`, which the address says as well.
pub(super) fn kind(
    name: &'static str,
    about: &str,
    own: Vec<(&'static str, Value)>,
    shared: Vec<(&'static str, Value)>,
) -> Value {
    let kind = vec![("kind", json!({"const": name, "description": "May be left out: the address says it."}))];
    extended(about, [kind, own, shared].concat())
}

pub(super) fn interval(about_it: &str) -> (&'static str, Value) {
    ("interval", words(about_it, &INTERVALS))
}

/// Where one bucket over all of the range has no meaning.
pub(super) fn repeated_interval() -> (&'static str, Value) {
    ("interval", words("A day unless said.", &INTERVALS[..INTERVALS.len() - 1]))
}

pub(super) fn breakdown() -> (&'static str, Value) {
    ("breakdown", reference("Breakdowns"))
}

/// Schemas by name.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let mut all = counting();
    all.extend(funnel());
    all.extend(coming_back());
    all.extend(paths_and_cohorts());
    all
}

fn counting() -> Vec<(&'static str, Value)> {
    let of_property = ["sum", "avg", "min", "max", "median", "p90", "p95", "p99"];
    let of_property = of_property.map(|word| (word, reference("PropertyName"))).to_vec();
    let words =
        words("Of events and users.", &["events", "users", "accounts", "per_user", "first_time_users"]);
    vec![
        (
            "SegmentationQuery",
            kind(
                "segmentation",
                "How often, by how many, how much.",
                vec![
                    ("series!", list(reference("Series"), 1, SERIES_COUNT_MAX)),
                    interval("A day unless said; total is the whole range."),
                    (
                        "rolling",
                        about(reference("Duration"), "Counts users over a trailing window of whole days."),
                    ),
                    ("cumulative", flag("A running total.")),
                    (
                        "formula",
                        sized_text("Over the letters of the series, such as A / B.", FORMULA_LENGTH_MAX),
                    ),
                    ("as", text("What the formula's rows are called.")),
                    ("compare", text("The same range so long before is told beside, such as -1w.")),
                    breakdown(),
                ],
                common(),
            ),
        ),
        (
            "Series",
            object(
                "One line of a chart.",
                [
                    ("event!", reference("Selector")),
                    ("measure", reference("Measure")),
                    ("as", text("Its name; its letter unless said.")),
                ],
            ),
        ),
        ("Measure", one_of("What is measured; events unless said.", [words, reference("PropertyMeasure")])),
        ("PropertyMeasure", one_field(extended("Of the numbers of a property: one of them.", of_property))),
    ]
}

fn funnel() -> Vec<(&'static str, Value)> {
    let step = |about: &str| integer(about, 1, FUNNEL_STEP_COUNT_MAX as i64);
    let split = || {
        one_of(
            "What a funnel is split by.",
            [reference("FunnelPropertyBreakdown"), reference("FunnelCohortBreakdown")],
        )
    };
    let selector = [("where", reference("Filter")), ("as", text("What results call it."))];
    let of_step = [
        ("within", about(reference("Duration"), "From the event before it.")),
        ("optional", flag("Who skips it can still go on.")),
    ];
    let event = ("event!", sized_text("The event's name; * for any.", EVENT_NAME_SIZE_MAX));
    let any_of = ("any_of!", list(reference("Selector"), 1, SELECTOR_EVENT_COUNT_MAX));
    vec![
        (
            "FunnelQuery",
            kind(
                "funnel",
                "How many get from one step to the next.",
                vec![
                    ("steps!", list(reference("FunnelStep"), 2, FUNNEL_STEP_COUNT_MAX)),
                    ("window", about(reference("Duration"), "Over the whole attempt; 14d unless said.")),
                    ("order", words("ordered unless said.", &["ordered", "strict", "any"])),
                    ("strict_over", list(reference("Selector"), 1, SELECTOR_EVENT_COUNT_MAX)),
                    ("strict_time", flag("No two steps at one time.")),
                    ("within_range", flag("Later steps lie in the range, too.")),
                    ("exclude", list(reference("FunnelExclusion"), 0, FUNNEL_EXCLUSION_COUNT_MAX)),
                    ("hold", list(reference("PropertyName"), 0, FUNNEL_HOLD_COUNT_MAX)),
                    (
                        "count",
                        words("users unless said.", &["users", "accounts", "sessions", "held", "attempts"]),
                    ),
                    ("session_gap", about(reference("Duration"), "With count sessions; 30m unless said.")),
                    interval("Splits by the bucket of the first step."),
                    ("per_bucket", flag("Every bucket is a funnel of its own.")),
                    ("histogram", reference("FunnelHistogram")),
                    (
                        "breakdown",
                        one_of(
                            "One split, or up to three.",
                            [split(), list(split(), 1, BREAKDOWN_PROPERTY_COUNT_MAX)],
                        ),
                    ),
                ],
                common(),
            ),
        ),
        (
            "FunnelStep",
            one_of(
                "An event of a funnel.",
                [event.1.clone(), reference("FunnelEventStep"), reference("FunnelAnyOfStep")],
            ),
        ),
        ("FunnelEventStep", extended("A step of one event.", [&[event][..], &selector, &of_step].concat())),
        (
            "FunnelAnyOfStep",
            extended(
                "A step that one of several events takes.",
                [&[any_of][..], &selector[1..], &of_step].concat(),
            ),
        ),
        (
            "FunnelExclusion",
            object(
                "An event that ends an attempt.",
                [
                    ("event!", reference("Selector")),
                    ("after_step", step("1 unless said.")),
                    ("before_step", step("The last unless said.")),
                ],
            ),
        ),
        (
            "FunnelHistogram",
            object(
                "Tells the times between two steps instead.",
                [
                    ("from_step!", step("From.")),
                    ("to_step!", step("To.")),
                    ("bins!", integer("Of equal width.", 1, HISTOGRAM_BIN_COUNT_MAX as i64)),
                ],
            ),
        ),
        (
            "FunnelPropertyBreakdown",
            object(
                "By the value of a property.",
                [
                    ("property!", reference("PropertyName")),
                    ("on", reference("On")),
                    ("limit", integer("Values with rows of their own.", 1, BREAKDOWN_LIMIT_MAX as i64)),
                    ("attribution", reference("Attribution")),
                ],
            ),
        ),
        (
            "FunnelCohortBreakdown",
            object(
                "By what users did.",
                [("cohorts!", map_of(reference("Cohort"))), ("attribution", reference("Attribution"))],
            ),
        ),
        (
            "Attribution",
            one_of(
                "Which event of an attempt has the value.",
                [words("first unless said.", &["first", "last", "all"]), reference("StepAttribution")],
            ),
        ),
        ("StepAttribution", object("The event of a step.", [("step!", step("The step."))])),
    ]
}

fn coming_back() -> Vec<(&'static str, Value)> {
    let active = || ("event", about(reference("Selector"), "What makes active; any event unless said."));
    let at_least = |about: &str| ("at_least", integer(about, 1, RETENTION_AT_LEAST_MAX));
    vec![
        (
            "RetentionQuery",
            kind(
                "retention",
                "Who comes back.",
                vec![
                    ("birth!", about(reference("Selector"), "What starts the clock.")),
                    ("return", about(reference("Selector"), "What counts as back; any event unless said.")),
                    repeated_interval(),
                    (
                        "periods",
                        integer(
                            "How many are told after period 0. Left out with brackets only.",
                            0,
                            RETENTION_PERIOD_COUNT_MAX,
                        ),
                    ),
                    (
                        "cohorts",
                        words("first_time unless said.", &["first_time", "first_in_range", "recurring"]),
                    ),
                    ("alignment", words("calendar unless said.", &["calendar", "rolling"])),
                    (
                        "mode",
                        one_of(
                            "In which periods who was back counts.",
                            [
                                words("on unless said.", &["on", "on_or_after", "on_or_before", "streak"]),
                                reference("Brackets"),
                            ],
                        ),
                    ),
                    at_least("Return events within a period that make a return; 1 unless said."),
                    ("measure", reference("ReturnMeasure")),
                    ("summary", flag("One curve over all cohorts.")),
                    breakdown(),
                ],
                common(),
            ),
        ),
        (
            "Brackets",
            object(
                "Periods of these widths.",
                [(
                    "brackets!",
                    list(
                        integer("Intervals.", 1, RETENTION_PERIOD_COUNT_MAX),
                        1,
                        RETENTION_PERIOD_COUNT_MAX as usize,
                    ),
                )],
            ),
        ),
        (
            "ReturnMeasure",
            one_of(
                "What is told of who was back; users unless said.",
                [json!({"const": "users"}), reference("PropertyReturnMeasure")],
            ),
        ),
        (
            "PropertyReturnMeasure",
            one_field(object(
                "Of the numbers of a property, over the return events: one of them.",
                [("sum", reference("PropertyName")), ("average", reference("PropertyName"))],
            )),
        ),
        (
            "LifecycleQuery",
            kind(
                "lifecycle",
                "Who is new, still there, back again or gone.",
                vec![active(), repeated_interval(), breakdown()],
                common(),
            ),
        ),
        (
            "StickinessQuery",
            kind(
                "stickiness",
                "On how many intervals of a period users are active.",
                vec![
                    active(),
                    repeated_interval(),
                    (
                        "period",
                        text("A longer unit of the calendar, or trailing, such as 28d; month unless said."),
                    ),
                    ("cumulative", flag("At least so many, not exactly.")),
                    at_least("Events that make an interval active; 1 unless said."),
                    ("ratio", flag("Active users over those of the trailing period, interval by interval.")),
                    breakdown(),
                ],
                common(),
            ),
        ),
    ]
}

fn paths_and_cohorts() -> Vec<(&'static str, Value)> {
    let events = || list(reference("Selector"), 1, SELECTOR_EVENT_COUNT_MAX);
    vec![
        (
            "PathsQuery",
            kind(
                "paths",
                "Which events follow one another.",
                vec![
                    (
                        "start",
                        about(reference("Selector"), "A path begins at its first match. Not with end."),
                    ),
                    ("end", about(reference("Selector"), "A path ends at its last match.")),
                    ("steps", integer("Moves that are told; 5 unless said.", 1, PATH_STEP_COUNT_MAX as i64)),
                    (
                        "limit",
                        integer(
                            "Moves a step with rows of their own; 10 unless said.",
                            1,
                            PATH_LIMIT_MAX as i64,
                        ),
                    ),
                    ("events", events()),
                    ("exclude", events()),
                    ("session_gap", about(reference("Duration"), "A longer one cuts; 30m unless said.")),
                    (
                        "window",
                        about(reference("Duration"), "From a path's first event, instead of sessions."),
                    ),
                    ("repeats", flag("Repeats in a row are nodes of their own.")),
                    ("whole", flag("The most frequent whole paths instead.")),
                ],
                common(),
            ),
        ),
        (
            "CohortQuery",
            kind(
                "cohort",
                "Who is in a cohort, or how many.",
                vec![
                    ("cohort!", reference("Cohort")),
                    ("select", words("count unless said.", &["count", "members"])),
                    ("limit", integer("Members of one page.", 1, RESULT_ROW_COUNT_MAX as i64)),
                    ("after", text("The last member of the page before.")),
                ],
                common_without_range(),
            ),
        ),
    ]
}

/// The kinds whose schemas are here.
pub(super) fn kinds() -> Vec<KindOfQuery> {
    let month =
        json!({"from": "2026-10-01", "to": "2026-11-01", "as_of": "2026-11-01", "timezone": "Europe/Berlin"});
    // A query over a month of the demo.
    let query = |own: Value| {
        let mut all = own.as_object().expect("an example is an object").clone();
        month.as_object().expect("so is the month").iter().for_each(|(name, value)| {
            all.entry(name).or_insert_with(|| value.clone());
        });
        Value::Object(all)
    };
    let kind = |name, schema, about, examples: Vec<(&'static str, Value)>| KindOfQuery {
        name,
        schema,
        about,
        examples: examples.into_iter().map(|(title, own)| (title, query(own))).collect(),
    };
    let cohort_query = |cohort: Value| json!({"cohort": cohort, "from": null, "to": null});
    let mut kinds = vec![
        kind(
            "segmentation",
            "SegmentationQuery",
            "How often, by how many, how much",
            vec![
                (
                    "Weekly users by country",
                    json!({"series": [{"event": "*", "measure": "users"}], "interval": "week", "breakdown": {"property": "country", "on": "user", "limit": 5}}),
                ),
                (
                    "Projects a sign-up, beside the month before",
                    json!({"series": [{"event": "project_created", "as": "projects"}, {"event": {"event": "signup", "where": {"property": "country", "op": "in", "value": ["US", "DE"]}}}], "interval": "day", "formula": "A / B", "as": "projects_per_signup", "compare": "-1mo", "week_start": "sunday", "entity": "user"}),
                ),
                (
                    "Users of seven days",
                    json!({"series": [{"event": "*", "measure": "users"}], "rolling": "7d"}),
                ),
                (
                    "A running total",
                    json!({"series": [{"event": "plan_upgraded", "measure": {"sum": "mrr"}}, {"event": "plan_upgraded", "measure": {"avg": "mrr"}}, {"event": "plan_upgraded", "measure": {"min": "mrr"}}, {"event": "plan_upgraded", "measure": {"max": "mrr"}}, {"event": "plan_upgraded", "measure": {"median": "mrr"}}, {"event": "plan_upgraded", "measure": {"p90": "mrr"}}, {"event": "plan_upgraded", "measure": {"p95": "mrr"}}, {"event": "plan_upgraded", "measure": {"p99": "mrr"}}], "interval": "week", "cumulative": true}),
                ),
                (
                    "Only some users",
                    json!({"series": [{"event": "page_viewed"}], "where": {"all": [{"any": [{"property": "country", "op": "eq", "value": "US", "on": "user"}, {"property": "path", "op": "starts_with", "value": "/"}]}, {"not": {"cohort": {"did": "plan_upgraded"}}}]}}),
                ),
                (
                    "By what users did",
                    json!({"series": [{"event": "report_viewed", "measure": "users"}], "interval": "total", "breakdown": [{"cohorts": {"inviters": {"did": "invite_sent"}, "others": {"did_not": "invite_sent"}}}]}),
                ),
            ],
        ),
        kind(
            "funnel",
            "FunnelQuery",
            "How many get from one step to the next",
            vec![
                (
                    "From signing up to a report",
                    json!({"steps": ["signup", "project_created", {"event": "report_viewed", "where": {"property": "platform", "op": "is_set"}, "as": "report", "within": "3d"}], "window": "14d"}),
                ),
                (
                    "With every rule",
                    json!({"steps": ["signup", {"any_of": ["project_created", "invite_sent"], "as": "set_up", "within": "7d", "optional": true}, {"event": "report_viewed", "optional": false}], "window": "30d", "order": "strict", "strict_over": ["signup"], "strict_time": true, "within_range": false, "exclude": [{"event": "subscription_cancelled", "after_step": 1, "before_step": 3}], "hold": [], "interval": "week", "per_bucket": true, "breakdown": {"property": "country", "on": "user", "limit": 3, "attribution": {"step": 1}}}),
                ),
                (
                    "Sessions",
                    json!({"steps": ["page_viewed", "feature_used"], "count": "sessions", "session_gap": "1h", "breakdown": [{"cohorts": {"inviters": {"did": "invite_sent"}}, "attribution": "first"}]}),
                ),
                (
                    "How long it takes",
                    json!({"steps": ["signup", "project_created"], "histogram": {"from_step": 1, "to_step": 2, "bins": 10}}),
                ),
            ],
        ),
        kind(
            "retention",
            "RetentionQuery",
            "Who comes back",
            vec![
                (
                    "By week of sign-up",
                    json!({"birth": "signup", "return": "*", "interval": "week", "periods": 4, "cohorts": "first_time", "alignment": "calendar", "mode": "on", "at_least": 1, "breakdown": {"property": "country", "limit": 3}}),
                ),
                (
                    "One curve in brackets",
                    json!({"birth": "signup", "mode": {"brackets": [1, 3, 7, 14]}, "summary": true, "measure": "users"}),
                ),
                (
                    "Revenue of a cohort",
                    json!({"birth": "signup", "return": "plan_upgraded", "interval": "week", "periods": 2, "measure": {"sum": "mrr"}}),
                ),
                (
                    "Revenue of a member",
                    json!({"birth": "signup", "return": "plan_upgraded", "interval": "week", "periods": 2, "measure": {"average": "mrr"}}),
                ),
            ],
        ),
        kind(
            "lifecycle",
            "LifecycleQuery",
            "Who is new, still there, back again or gone",
            vec![
                ("By week", json!({"event": "*", "interval": "week"})),
                (
                    "By country",
                    json!({"interval": "month", "breakdown": {"property": "country", "on": "user", "limit": 3}}),
                ),
            ],
        ),
        kind(
            "stickiness",
            "StickinessQuery",
            "On how many days users are active",
            vec![
                (
                    "The power curve",
                    json!({"event": "*", "interval": "day", "period": "28d", "at_least": 1, "cumulative": true}),
                ),
                (
                    "Daily over monthly users",
                    json!({"ratio": true, "breakdown": {"property": "country", "on": "user", "limit": 2}}),
                ),
            ],
        ),
        kind(
            "paths",
            "PathsQuery",
            "Which events follow one another",
            vec![
                (
                    "After signing up",
                    json!({"start": "signup", "steps": 3, "limit": 5, "exclude": ["page_viewed"], "session_gap": "30m", "repeats": false}),
                ),
                (
                    "Before upgrading",
                    json!({"end": "plan_upgraded", "window": "1d", "events": ["page_viewed", "limit_hit", "plan_upgraded"], "whole": true}),
                ),
            ],
        ),
    ];
    let cohort = |title, cohort: Value| (title, cohort_query(cohort));
    let mut cohorts = kind(
        "cohort",
        "CohortQuery",
        "Who is in a cohort",
        vec![
            cohort(
                "Did it, or not",
                json!({"all": [{"did": "report_viewed", "at_least": 3, "at_most": 100, "from": "2026-10-01", "to": "2026-11-01"}, {"not": {"did_not": "signup", "from": "2026-01-01", "to": "now"}}, {"any": [{"first_did": "signup", "from": "-90d", "to": "now"}, {"users": ["u-000001"]}]}]}),
            ),
            cohort(
                "By profile",
                json!({"profile": {"property": "country", "op": "eq", "value": "US", "on": "user"}}),
            ),
            cohort(
                "In this order",
                json!({"sequence": ["signup", "invite_sent"], "window": "7d", "from": "2026-10-01", "to": "2026-11-01"}),
            ),
            cohort(
                "Behind a number",
                json!({"cohort": {"result": {"kind": "funnel", "query": {"steps": ["signup", "project_created"]}, "step": 2, "outcome": "dropped"}}}),
            ),
            (
                "A page of members",
                json!({"cohort": {"did": "plan_upgraded"}, "select": "members", "limit": 10, "after": "u-000010", "from": null, "to": null, "entity": "user", "week_start": "monday"}),
            ),
        ],
    );
    // Its range is that of its parts.
    for (_, body) in &mut cohorts.examples {
        let body = body.as_object_mut().expect("an example is an object");
        body.retain(|name, _| name != "from" && name != "to");
    }
    kinds.push(cohorts);
    kinds
}
