//! What requests have in common: times, selectors, filters, cohorts, events; and what answers look like.

use serde_json::{Value, json};

use super::schema::*;
use crate::api::op_words;
use crate::keys::Scope;
use crate::limits::*;

/// Schemas by name.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let mut all = values();
    all.extend(selecting());
    all.extend(cohorts());
    all.extend(ingest());
    all.extend(answers());
    all
}

fn values() -> Vec<(&'static str, Value)> {
    let scalar = json!({"type": ["string", "number", "boolean"]});
    vec![
        (
            "Time",
            json!({
                "description": "RFC 3339, a date (midnight in the query's time zone), epoch milliseconds, or counted \
                    back from as_of: -30d, -12w, -6mo, -1y, now.",
                "type": ["string", "integer"],
                "examples": ["2024-03-01", "2024-03-01T09:30:00Z", 1_709_285_400_250_i64, "-30d"],
            }),
        ),
        (
            "Duration",
            json!({
                "description": "Elapsed time: a number and ms, s, m, h, d (24 h) or w.",
                "type": "string",
                "pattern": "^[0-9]+(ms|s|m|h|d|w)$",
                "examples": ["7d", "30m"],
            }),
        ),
        ("Scalar", scalar),
        (
            "PropertyName",
            json!({"type": "string", "minLength": 1, "maxLength": PROPERTY_NAME_SIZE_MAX,
                "description": "The name of a property; of one in a nested object with dots."}),
        ),
        ("Interval", words("Units of the calendar in the query's time zone.", &INTERVALS)),
        ("Entity", words("Whether users or accounts are counted.", &["user", "account"])),
        (
            "On",
            words("Whose property: the event's, its user's or its account's.", &["event", "user", "account"]),
        ),
    ]
}

pub(super) const INTERVALS: [&str; 8] =
    ["minute", "hour", "day", "week", "month", "quarter", "year", "total"];

fn selecting() -> Vec<(&'static str, Value)> {
    let event = sized_text("The event's name; * for any.", EVENT_NAME_SIZE_MAX);
    let label = text("What results call it.");
    let filters = || list(reference("Filter"), 0, FILTER_VALUE_COUNT_MAX);
    let ops: Vec<&str> = op_words().collect();
    let operand = json!({
        "description": "What the property is compared with: a list for in, not_in and between (its two ends), a \
            string for those that look into texts, and left out for is_set and is_not_set.",
        "type": ["string", "number", "boolean", "array"],
        "items": reference("Scalar"),
    });
    vec![
        (
            "Selector",
            one_of(
                "Which events are meant.",
                [event.clone(), reference("EventSelector"), reference("AnyOfSelector")],
            ),
        ),
        (
            "EventSelector",
            object(
                "Events of one name that satisfy a filter.",
                [("event!", event), ("where", reference("Filter")), ("as", label.clone())],
            ),
        ),
        (
            "AnyOfSelector",
            object(
                "Events that one of several selectors means.",
                [("any_of!", list(reference("Selector"), 1, SELECTOR_EVENT_COUNT_MAX)), ("as", label)],
            ),
        ),
        (
            "Filter",
            one_of(
                "A condition on events and users.",
                [
                    reference("PropertyFilter"),
                    reference("AllFilter"),
                    reference("AnyFilter"),
                    reference("NotFilter"),
                    reference("CohortFilter"),
                ],
            ),
        ),
        (
            "PropertyFilter",
            object(
                "A condition on the value of a property. One that is missing satisfies only ne, not_in, \
                 not_contains and is_not_set.",
                [
                    ("property!", reference("PropertyName")),
                    ("op!", words("How they are compared.", &ops)),
                    ("value", operand),
                    ("on", reference("On")),
                ],
            ),
        ),
        ("AllFilter", object("All hold.", [("all!", filters())])),
        ("AnyFilter", object("One holds.", [("any!", filters())])),
        ("NotFilter", object("It does not hold.", [("not!", reference("Filter"))])),
        ("CohortFilter", object("The user is a member.", [("cohort!", reference("Cohort"))])),
        (
            "Breakdown",
            one_of(
                "What a result is split by.",
                [reference("PropertyBreakdown"), reference("CohortBreakdown")],
            ),
        ),
        (
            "PropertyBreakdown",
            object(
                "By the value of a property.",
                [
                    ("property!", reference("PropertyName")),
                    ("on", reference("On")),
                    (
                        "limit",
                        integer(
                            "Values with rows of their own, 25 unless said; the others are folded into $other.",
                            1,
                            BREAKDOWN_LIMIT_MAX as i64,
                        ),
                    ),
                ],
            ),
        ),
        (
            "CohortBreakdown",
            object(
                "By what users did: a row for each cohort, under its name.",
                [("cohorts!", map_of(reference("Cohort")))],
            ),
        ),
        (
            "Breakdowns",
            one_of(
                "One split, or up to three.",
                [reference("Breakdown"), list(reference("Breakdown"), 1, BREAKDOWN_PROPERTY_COUNT_MAX)],
            ),
        ),
    ]
}

fn cohorts() -> Vec<(&'static str, Value)> {
    let range = || vec![("from", reference("Time")), ("to", reference("Time"))];
    let with = |about: &str, fields: Vec<(&'static str, Value)>| extended(about, fields);
    let count = |about: &str| integer(about, 0, i64::MAX);
    let did = [
        vec![
            ("did!", reference("Selector")),
            ("at_least", count("1 unless said.")),
            ("at_most", count("No bound unless said.")),
        ],
        range(),
    ];
    let did_not = [vec![("did_not!", reference("Selector"))], range()];
    let first_did = [vec![("first_did!", reference("Selector"))], range()];
    let sequence = [
        vec![
            ("sequence!", list(reference("FunnelStep"), 2, FUNNEL_STEP_COUNT_MAX)),
            ("window", reference("Duration")),
        ],
        range(),
    ];
    let parts = || any_list(reference("Cohort"));
    let forms = [
        "DidCohort",
        "DidNotCohort",
        "FirstDidCohort",
        "ProfileCohort",
        "SequenceCohort",
        "UsersCohort",
        "ResultCohort",
        "AllCohort",
        "AnyCohort",
        "NotCohort",
        "NamedCohort",
    ];
    let cohort: Vec<Value> = std::iter::once(text("The name of a stored cohort."))
        .chain(forms.iter().map(|form| reference(form)))
        .collect();
    vec![
        ("Cohort", json!({"description": "A set of users.", "oneOf": cohort})),
        ("DidCohort", with("Who did it so often, within a range.", did.concat())),
        ("DidNotCohort", with("Who is known and did not do it.", did_not.concat())),
        ("FirstDidCohort", with("Whose first time ever lies in the range.", first_did.concat())),
        ("ProfileCohort", object("Whose profile satisfies a filter.", [("profile!", reference("Filter"))])),
        ("SequenceCohort", with("Who did these in this order within the window.", sequence.concat())),
        (
            "UsersCohort",
            object(
                "These users.",
                [(
                    "users!",
                    json!({"type": "array", "items": {"type": "string"}, "maxItems": COHORT_USER_COUNT_MAX}),
                )],
            ),
        ),
        ("ResultCohort", object("Whom a number of a result counts.", [("result!", reference("ResultCell"))])),
        (
            "ResultCell",
            json!({
                "type": "object",
                "description": "A cell of a result: a query, and the columns that name the row, as its table tells \
                    them; and besides the outcome (of a funnel: converted, dropped, in_progress) or the state.",
                "properties": {
                    "kind": text("The kind of the query."),
                    "query": {"type": "object", "description": "The query."},
                    "outcome": {
                        "type": ["string", "boolean"],
                        "description": "Of a step of a funnel converted, dropped or in_progress; of a driver true or false.",
                    },
                },
                "required": ["kind", "query"],
            }),
        ),
        ("AllCohort", object("Who is in all of them.", [("all!", parts())])),
        ("AnyCohort", object("Who is in one of them.", [("any!", parts())])),
        ("NotCohort", object("Who is known and is not in it.", [("not!", reference("Cohort"))])),
        ("NamedCohort", object("The same as the cohort in it.", [("cohort!", reference("Cohort"))])),
        (
            "NewCohort",
            object(
                "A cohort to be stored.",
                [
                    ("cohort!", reference("Cohort")),
                    ("static", flag("Whether its members of now are kept, instead of its definition.")),
                ],
            ),
        ),
    ]
}

fn ingest() -> Vec<(&'static str, Value)> {
    let user = || sized_text("The user's id.", ENTITY_ID_SIZE_MAX);
    let account = || sized_text("The organisation, workspace or company acted for.", ENTITY_ID_SIZE_MAX);
    let properties = || {
        about(
            map_of(json!({})),
            "Strings, numbers, booleans, null, and lists of those; nested objects become dotted names.",
        )
    };
    let changes = |id: (&'static str, Value)| {
        object(
            "Changes to a profile.",
            [
                id,
                ("set", properties()),
                ("set_once", properties()),
                ("add", about(map_of(json!({"type": "number"})), "Numbers to be added.")),
                ("unset", any_list(json!({"type": "string"}))),
            ],
        )
    };
    vec![
        (
            "Event",
            object(
                "Something that a user did.",
                [
                    ("event!", sized_text("Its name.", EVENT_NAME_SIZE_MAX)),
                    ("user!", user()),
                    (
                        "time",
                        about(reference("EventTime"), "When it happened; the server's clock if missing."),
                    ),
                    (
                        "id",
                        json!({"type": "string", "minLength": 1, "maxLength": EVENT_ID_SIZE_MAX,
                            "description": "Two events with one id, event, user and time are one event."}),
                    ),
                    ("account", account()),
                    ("properties", properties()),
                ],
            ),
        ),
        (
            "EventTime",
            json!({"type": ["string", "integer"], "description": "RFC 3339, a date, or epoch milliseconds."}),
        ),
        ("UserChange", changes(("user!", user()))),
        ("AccountChange", changes(("account!", account()))),
        ("Merge", object("Makes two ids one user.", [("from!", user()), ("into!", user())])),
        (
            "BackupName",
            object(
                "Where a backup goes, below the server's directory of backups.",
                [(
                    "name",
                    json!({"type": "string", "minLength": 1, "maxLength": BACKUP_NAME_SIZE_MAX,
                        "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]*$"}),
                )],
            ),
        ),
        (
            "NewKey",
            object(
                "A key to be made.",
                [
                    ("scope!", words("What it opens.", &Scope::WORDS.map(|(word, _)| word))),
                    ("name", text("For people.")),
                ],
            ),
        ),
        (
            "Receipt",
            open_object(
                "What became of a batch.",
                &[
                    ("accepted", integer("Events that were stored.", 0, i64::MAX)),
                    ("duplicates", integer("Events that were there already.", 0, i64::MAX)),
                    ("rejected", any_list(json!({"type": "object"}))),
                ],
            ),
        ),
    ]
}

fn answers() -> Vec<(&'static str, Value)> {
    let count = |about: &str| integer(about, 0, i64::MAX);
    vec![
        (
            "Table",
            open_object(
                "The result of a query.",
                &[
                    (
                        "meta",
                        any_list(open_object(
                            "A column.",
                            &[
                                ("name", text("Its name.")),
                                (
                                    "type",
                                    text(
                                        "uint32, uint64, float64, decimal, string, bool, time, value or list<string>.",
                                    ),
                                ),
                            ],
                        )),
                    ),
                    (
                        "data",
                        any_list(json!({"type": "object", "description": "A row: a field for each column."})),
                    ),
                    ("rows", count("How many rows.")),
                    (
                        "statistics",
                        open_object(
                            "How it was answered.",
                            &[
                                ("elapsed_ms", number("Time in the store.")),
                                ("events_scanned", count("Events that were looked at.")),
                                ("segments", count("Segments that were looked at.")),
                                ("users", count("Users that are known.")),
                                ("snapshot", count("The number of the last change that it has seen.")),
                            ],
                        ),
                    ),
                ],
            ),
        ),
        (
            "Problem",
            open_object(
                "What is wrong (RFC 9457).",
                &[
                    ("type", text("A name of the kind of problem.")),
                    ("title", text("The kind of problem.")),
                    ("status", integer("The HTTP status.", 400, 599)),
                    ("code", text("The kind of problem in one word, for programs.")),
                    ("detail", text("What is wrong here.")),
                    ("path", text("A JSON pointer into the body.")),
                    ("hint", text("What would help.")),
                ],
            ),
        ),
        ("Told", json!({"type": "object", "description": "What there is."})),
    ]
}
