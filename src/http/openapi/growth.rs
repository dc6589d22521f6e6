//! The growth model and the queries that ask by its words, and examples that run on the demo's history.

use serde_json::{Value, json};

use super::queries::{
    KindOfQuery, breakdown, common, common_without_range, interval, kind, repeated_interval,
};
use super::schema::*;
use crate::limits::*;

/// What each kind takes of the growth model.
fn parts() -> Vec<(&'static str, Value)> {
    vec![
        ("signup", about(reference("ModelEvents"), "A new user or account.")),
        ("activate", one_of("The first value.", [name_of_event(), reference("ModelMilestone")])),
        ("value", about(reference("ModelEvents"), "Using it for what it is for.")),
        ("invite", about(reference("ModelEvents"), "Inviting somebody.")),
        ("accept", reference("ModelAcceptance")),
        ("subscription", reference("ModelSubscription")),
        ("paid", about(reference("ModelEvents"), "Beginning to pay.")),
        ("feature", reference("ModelFeature")),
        ("limit", reference("ModelLimit")),
    ]
}

fn name_of_event() -> Value {
    sized_text("The event's name; * for any.", EVENT_NAME_SIZE_MAX)
}

/// Events, as parts of the model say them: by name, as a selector, or as a selector under `event`.
fn events() -> Vec<(&'static str, Value)> {
    vec![
        ("event", reference("Selector")),
        ("any_of", list(reference("Selector"), 1, SELECTOR_EVENT_COUNT_MAX)),
        ("where", reference("Filter")),
        ("as", text("What results call it.")),
    ]
}

fn part(about: &str, own: Vec<(&'static str, Value)>) -> Value {
    extended(about, [events(), own].concat())
}

/// A kind that takes the parts of the model.
fn growth_kind(name: &'static str, about: &str, own: Vec<(&'static str, Value)>) -> Value {
    kind(name, about, [own, parts()].concat(), common())
}

fn signup_breakdown() -> (&'static str, Value) {
    let split = || {
        one_of(
            "What sign-ups are split by.",
            [reference("PropertyBreakdown"), reference("SignupCohortBreakdown")],
        )
    };
    (
        "breakdown",
        one_of("One split, or up to three.", [split(), list(split(), 1, BREAKDOWN_PROPERTY_COUNT_MAX)]),
    )
}

/// Schemas by name.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let mut all = model();
    all.extend(signups());
    all.extend(leads());
    all.extend(intervals());
    all
}

fn model() -> Vec<(&'static str, Value)> {
    let count = |about: &str| integer(about, 1, i64::MAX);
    vec![
        (
            "GrowthModel",
            extended("Which events mean what in this product. Every part may be left out.", parts()),
        ),
        (
            "ModelEvents",
            one_of("Events, by name or as a selector.", [name_of_event(), reference("ModelSelector")]),
        ),
        ("ModelSelector", part("A selector, or one under event.", Vec::new())),
        (
            "ModelMilestone",
            part(
                "So many events within so long after the sign-up.",
                vec![("at_least", count("1 unless said.")), ("within", reference("Duration"))],
            ),
        ),
        (
            "ModelAcceptance",
            part("A new user's, who names its inviter.", vec![("inviter!", reference("PropertyName"))]),
        ),
        (
            "ModelSubscription",
            part(
                "Its recurring revenue from then on is the value of a property.",
                vec![
                    ("mrr!", reference("PropertyName")),
                    ("entity", reference("Entity")),
                    ("currency", reference("PropertyName")),
                ],
            ),
        ),
        ("ModelFeature", part("The use of a feature.", vec![("property!", reference("PropertyName"))])),
        (
            "ModelLimit",
            object(
                "Use against an allowance.",
                [("usage!", reference("ModelUsage")), ("allowance!", reference("ModelAllowance"))],
            ),
        ),
        (
            "ModelUsage",
            part(
                "What is counted in a period.",
                vec![("per!", words("The period.", &["hour", "day", "week", "month", "quarter", "year"]))],
            ),
        ),
        (
            "ModelAllowance",
            object(
                "A property of profiles.",
                [("property!", reference("PropertyName")), ("on", words("Whose.", &["user", "account"]))],
            ),
        ),
    ]
}

fn signups() -> Vec<(&'static str, Value)> {
    let outcome = one_of(
        "A cohort, or what is done so long after the birth.",
        [reference("OutcomeDid"), reference("OutcomeDidNot"), reference("Cohort")],
    );
    let after = || ("after", about(reference("Duration"), "From the birth; the window's end unless said."));
    let before = || ("before!", about(reference("Duration"), "From the birth."));
    vec![
        (
            "ActivationQuery",
            growth_kind(
                "activation",
                "How many new users find the value, and how soon.",
                vec![
                    interval("Of the sign-ups; a day unless said."),
                    ("curve", flag("The share activated by each day.")),
                    signup_breakdown(),
                ],
            ),
        ),
        (
            "ConversionQuery",
            growth_kind(
                "conversion",
                "How many go from free to paid.",
                vec![
                    interval("Of the sign-ups; a day unless said."),
                    ("within", about(reference("Duration"), "From the sign-up; any time later unless said.")),
                    signup_breakdown(),
                ],
            ),
        ),
        (
            "SignupCohortBreakdown",
            object(
                "By what users did.",
                [
                    ("cohorts!", map_of(reference("Cohort"))),
                    (
                        "within",
                        about(
                            reference("Duration"),
                            "Judged on so much of each user's events from the sign-up on.",
                        ),
                    ),
                ],
            ),
        ),
        (
            "DriversQuery",
            growth_kind(
                "drivers",
                "Which early behaviour goes with an outcome.",
                vec![
                    (
                        "birth",
                        about(
                            reference("Selector"),
                            "What starts the clock; the model's signup unless said.",
                        ),
                    ),
                    (
                        "window",
                        about(reference("Duration"), "How long after it behaviour counts; 7d unless said."),
                    ),
                    ("outcome!", outcome),
                    ("candidates", list(reference("Selector"), 1, DRIVER_CANDIDATE_COUNT_MAX)),
                    ("thresholds", list(integer("Events.", 1, i64::MAX), 1, DRIVER_THRESHOLD_COUNT_MAX)),
                    interval("Of the births, if they are told apart."),
                    signup_breakdown(),
                ],
            ),
        ),
        (
            "OutcomeDid",
            object(
                "Did it in that time.",
                [
                    ("did!", reference("Selector")),
                    ("at_least", integer("1 unless said.", 1, i64::MAX)),
                    after(),
                    before(),
                ],
            ),
        ),
        (
            "OutcomeDidNot",
            object("Did not do it in that time.", [("did_not!", reference("Selector")), after(), before()]),
        ),
    ]
}

fn leads() -> Vec<(&'static str, Value)> {
    let window = || ("window", about(reference("Duration"), "Before as_of."));
    let source = |about: &str, own: Vec<(&'static str, Value)>| part(about, own);
    vec![
        (
            "PqlQuery",
            kind(
                "pql",
                "Who is a product-qualified lead.",
                [
                    vec![
                        // It looks back from as_of.
                        ("from", json!(false)),
                        ("to", json!(false)),
                        ("where", about(reference("Filter"), "On all events, or on who is told.")),
                        ("threshold!", number("Who scores so much is qualified.")),
                        (
                            "hand_raise",
                            any_of("Who asked to be called.", [reference("Selector"), reference("Cohort")]),
                        ),
                        ("signals!", list(reference("Signal"), 1, PQL_SIGNAL_COUNT_MAX)),
                        ("qualified_at", flag("Tells the first day at whose end the threshold was reached.")),
                    ],
                    parts(),
                ]
                .concat(),
                common_without_range(),
            ),
        ),
        (
            "Signal",
            object(
                "A part of the score, with one source.",
                [
                    ("name!", sized_text("The name of its column.", PROPERTY_NAME_SIZE_MAX)),
                    ("weight", json!({"type": "number", "minimum": 0, "description": "1 unless said."})),
                    (
                        "scale",
                        about(
                            list(json!({"type": "number"}), 2, 2),
                            "What counts as 0 and as 1; linear between.",
                        ),
                    ),
                    ("volume", reference("VolumeSource")),
                    ("velocity", reference("VelocitySource")),
                    ("breadth", reference("BreadthSource")),
                    ("behaviour", reference("Cohort")),
                    ("profile", reference("Filter")),
                ],
            ),
        ),
        ("VolumeSource", source("Events in the window.", vec![window()])),
        (
            "VelocitySource",
            source(
                "Events in the window over those in the one before.",
                vec![("window!", reference("Duration"))],
            ),
        ),
        (
            "BreadthSource",
            source(
                "How many different things in the window.",
                vec![
                    window(),
                    ("property", reference("PropertyName")),
                    ("of", words("Instead of a property.", &["events", "active_days", "users"])),
                ],
            ),
        ),
    ]
}

fn intervals() -> Vec<(&'static str, Value)> {
    vec![
        (
            "RevenueQuery",
            growth_kind(
                "revenue",
                "Where recurring revenue came from, and where it went.",
                vec![
                    interval("A day unless said."),
                    ("currency", about(reference("PropertyName"), "Currencies are never added.")),
                    (
                        "trailing",
                        text("Compares with so long before instead of the last interval, such as 12mo."),
                    ),
                    breakdown(),
                ],
            ),
        ),
        (
            "ViralityQuery",
            growth_kind(
                "virality",
                "How many users a user brings.",
                vec![
                    interval("A day unless said."),
                    (
                        "by",
                        words(
                            "Whether invites count in their own interval, or in that of the inviter's sign-up.",
                            &["event", "signup"],
                        ),
                    ),
                    (
                        "window",
                        about(reference("Duration"), "After the sign-up, with by signup; 30d unless said."),
                    ),
                    ("tree", flag("Tells generations.")),
                    breakdown(),
                ],
            ),
        ),
        (
            "LimitsQuery",
            growth_kind(
                "limits",
                "Who runs into an allowance, and who then pays.",
                vec![
                    interval("With outcome; a day unless said."),
                    (
                        "near",
                        json!({"type": "number", "exclusiveMinimum": 0, "maximum": 1, "description": "The share from which one is near; 0.8 unless said."}),
                    ),
                    ("outcome", flag("Tells how many reached it and paid, interval by interval.")),
                    breakdown(),
                ],
            ),
        ),
        (
            "OverviewQuery",
            growth_kind(
                "overview",
                "How growth goes, from the first event to revenue.",
                vec![
                    repeated_interval(),
                    ("transitions", flag("Tells who went from which state to which.")),
                    breakdown(),
                ],
            ),
        ),
    ]
}

/// The model of the demo.
pub(super) fn example_model() -> Value {
    serde_json::from_str(crate::demo::GROWTH_MODEL).expect("the model is JSON")
}

/// Another, of several events a part.
pub(super) fn example_model_of_several() -> Value {
    json!({
        "signup": {"any_of": ["signup"], "as": "joined"},
        "paid": {"event": "plan_upgraded"},
        "activate": {"any_of": ["project_created", "report_viewed"]},
        "accept": {"any_of": ["invite_accepted"], "inviter": "inviter_id"},
        "subscription": {"any_of": ["plan_upgraded", "plan_downgraded", "subscription_cancelled"], "mrr": "mrr"},
        "feature": {"any_of": ["feature_used"], "property": "feature"},
        "limit": {"usage": {"any_of": ["export_used"], "per": "week"}, "allowance": {"property": "export_limit"}},
    })
}

/// The kinds whose schemas are here.
pub(super) fn kinds() -> Vec<KindOfQuery> {
    let quarter = [("from", "2026-08-01"), ("to", "2026-11-01"), ("as_of", "2026-11-01")];
    // A query over three months of the demo, which needs no stored model.
    let of_quarter = |own: Value, names: &[&str]| {
        let mut body = own.as_object().expect("an example is an object").clone();
        let model = example_model();
        for name in names {
            body.entry(*name).or_insert_with(|| model[*name].clone());
        }
        for (name, date) in quarter {
            body.entry(name).or_insert_with(|| json!(date));
        }
        Value::Object(body)
    };
    let kind = |name, schema, about, parts: &[&str], examples: Vec<(&'static str, Value)>| KindOfQuery {
        name,
        schema,
        about,
        examples: examples.into_iter().map(|(title, own)| (title, of_quarter(own, parts))).collect(),
    };
    let weekly = json!({"interval": "week"});
    let inviters = json!({"cohorts": {"inviters": {"did": "invite_sent"}, "others": {"did_not": "invite_sent"}}, "within": "7d"});
    let by_country = json!({"property": "country", "on": "account", "limit": 3});
    let mut leads = kind(
        "pql",
        "PqlQuery",
        "Who is ready to talk to sales",
        &[],
        vec![(
            "Accounts by what they do and are",
            json!({
                "entity": "account", "threshold": 0.6, "qualified_at": false, "hand_raise": "limit_hit",
                "signals": [
                    {"name": "use", "weight": 2, "scale": [0, 200], "volume": {"event": "feature_used", "window": "30d"}},
                    {"name": "any_use", "volume": {"any_of": ["feature_used", "report_viewed"]}},
                    {"name": "trend", "scale": [0.5, 2], "velocity": {"event": "*", "window": "7d"}},
                    {"name": "any_trend", "velocity": {"any_of": ["report_viewed", "export_used"], "window": "7d"}},
                    {"name": "features", "scale": [1, 5], "breadth": {"event": "feature_used", "property": "feature", "window": "30d"}},
                    {"name": "people", "scale": [1, 10], "breadth": {"any_of": ["*"], "of": "users"}},
                    {"name": "limit", "behaviour": {"did": "limit_hit"}},
                    {"name": "size", "profile": {"property": "size", "op": "gte", "value": 50}},
                ],
            }),
        )],
    );
    for (_, body) in &mut leads.examples {
        let body = body.as_object_mut().expect("an example is an object");
        body.retain(|name, _| name != "from" && name != "to");
    }
    vec![
        kind(
            "activation",
            "ActivationQuery",
            "How many new users find the value, and how soon",
            &["signup", "activate"],
            vec![
                (
                    "By week of sign-up",
                    json!({"interval": "week", "breakdown": {"property": "country", "limit": 3}}),
                ),
                ("By what they did first", json!({"interval": "total", "breakdown": inviters})),
                ("Over their first days", json!({"curve": true})),
            ],
        ),
        kind(
            "conversion",
            "ConversionQuery",
            "How many go from free to paid",
            &["signup", "paid"],
            vec![(
                "Accounts, within two months",
                json!({"interval": "month", "entity": "account", "within": "60d"}),
            )],
        ),
        kind(
            "drivers",
            "DriversQuery",
            "Which early behaviour goes with an outcome",
            &[],
            vec![
                (
                    "What goes with staying",
                    json!({"birth": "signup", "window": "7d", "outcome": {"did": "report_viewed", "at_least": 1, "after": "21d", "before": "28d"}, "thresholds": [1, 3]}),
                ),
                (
                    "What goes with leaving",
                    json!({"birth": "signup", "candidates": ["project_created", "invite_sent"], "outcome": {"did_not": "*", "after": "21d", "before": "28d"}}),
                ),
            ],
        ),
        leads,
        kind(
            "revenue",
            "RevenueQuery",
            "Where recurring revenue came from, and where it went",
            &["subscription"],
            vec![
                (
                    "By month and country",
                    json!({"interval": "month", "entity": "account", "breakdown": by_country}),
                ),
                (
                    "Beside three months before",
                    json!({"interval": "month", "entity": "account", "trailing": "3mo"}),
                ),
                (
                    "By upgrades alone",
                    json!({"interval": "month", "subscription": {"event": "plan_upgraded", "mrr": "mrr"}}),
                ),
            ],
        ),
        kind(
            "virality",
            "ViralityQuery",
            "How many users a user brings",
            &["signup", "invite", "accept"],
            vec![("By month", json!({"interval": "month"})), ("Generations", json!({"tree": true}))],
        ),
        kind(
            "limits",
            "LimitsQuery",
            "Who runs into an allowance, and who then pays",
            &["limit", "paid"],
            vec![
                ("Who is near", json!({"entity": "account", "near": 0.8})),
                ("What came of it", json!({"entity": "account", "interval": "month", "outcome": true})),
            ],
        ),
        kind(
            "overview",
            "OverviewQuery",
            "How growth goes, from the first event to revenue",
            &["signup", "activate", "invite", "accept", "paid"],
            vec![("By week", weekly), ("Transitions", json!({"interval": "month", "transitions": true}))],
        ),
    ]
}
