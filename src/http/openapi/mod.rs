//! The description of the API, OpenAPI 3.1, for `GET /v1/openapi.json`.
//!
//! It is made of the table of routes, so that no address can be missing, and of schemas beside it. What the schemas
//! say of bodies is held against the parsers by `tests/doors/openapi.rs`: each example is sent to a server, and each object
//! in it once more with a field that nobody knows, whereupon the parser names the fields that it does know. They must
//! be those of the schema, no fewer and no more. The addresses of SDKs come from the table that finds them, each with an
//! example of what is sent there.

mod dialects;
mod growth;
mod queries;
mod schema;
mod shared;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use self::queries::KindOfQuery;
use self::schema::{any_list, any_of, integer, one_of, reference, text, words};
use super::access::{Access, KEY_PARAMETER, needed};
use super::documents::Named;
use super::export::FORMATS;
use super::handlers::QUERY_KINDS;
use super::routes::{Action, ROUTES, Route};
use crate::api::Format;
use crate::export::PARTS;
use crate::limits::{ARRIVAL_COUNT_MAX, TIMELINE_EVENT_COUNT_MAX};
use crate::model::Entity;

/// The document as text.
pub(super) fn document_text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| document(ROUTES).to_string() + "\n")
}

fn document(routes: &[Route]) -> Value {
    let kinds: Vec<KindOfQuery> = queries::kinds().into_iter().chain(growth::kinds()).collect();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let mut add = |path: String, kind: Option<&KindOfQuery>| {
            let path = paths.entry(path).or_insert_with(|| json!({}));
            path[route.method.as_str().to_lowercase()] = operation(route, kind);
        };
        // Each kind has an address of its own, so that its body has a schema of its own.
        match route.action {
            Action::Query | Action::QueryInAddress => {
                for name in QUERY_KINDS {
                    let kind = kinds.iter().find(|kind| kind.name == name);
                    let kind = kind.unwrap_or_else(|| panic!("queries of the kind {name} are not described"));
                    add(route.path.replace("{kind}", name), Some(kind));
                }
            }
            _ => add(route.path.to_owned(), None),
        }
    }
    paths.extend(dialects::paths());
    let paths = Value::Object(paths);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "FlywheelDB",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Product analytics, answered exactly",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "components": {
            "schemas": schemas_used(&paths),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "Asked for by a server that has keys."}},
        },
        "paths": paths,
    })
}

/// The schemas that the paths lead to.
fn schemas_used(paths: &Value) -> Value {
    let all: Vec<(&str, Value)> = [shared::schemas(), queries::schemas(), growth::schemas()].concat();
    let mut used: BTreeSet<String> = BTreeSet::new();
    let mut open = vec![paths];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(name) = fields.get("$ref").and_then(Value::as_str)
                    && let Some(name) = name.strip_prefix("#/components/schemas/")
                    && used.insert(name.to_owned())
                {
                    let found = all.iter().find(|(known, _)| *known == name);
                    open.push(&found.unwrap_or_else(|| panic!("there is no schema {name}")).1);
                }
                open.extend(fields.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    all.into_iter()
        .filter(|(name, _)| used.contains(*name))
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect()
}

/// What an operation is, beside its address.
struct About {
    id: String,
    tag: &'static str,
    summary: String,
    /// The schema of the body, and examples of it.
    body: Option<(Value, Vec<(&'static str, Value)>)>,
    /// What the body is sent as.
    body_types: &'static [&'static str],
    answer: Answer,
}

#[derive(Clone, Copy)]
enum Answer {
    /// JSON of this schema.
    Json(&'static str),
    /// A result, in any of its formats.
    Table,
    /// Rows of an export.
    File,
    /// The console's files.
    Page,
    /// OpenMetrics.
    Text,
}

const JSON: &[&str] = &["application/json"];
const JSON_OR_LINES: &[&str] = &["application/json", "application/x-ndjson"];

fn operation(route: &Route, kind: Option<&KindOfQuery>) -> Value {
    let about = describe(route.action, kind);
    let mut parameters: Vec<Value> = path_parameters(route.path);
    parameters.extend(route.parameters.iter().map(|name| parameter(name, route.action, kind)));
    let mut operation = json!({
        "operationId": about.id,
        "tags": [about.tag],
        "summary": about.summary,
        "responses": {
            "200": answer(about.answer),
            "default": {
                "description": "What is wrong, and what would help",
                "content": {"application/problem+json": {"schema": reference("Problem")}},
            },
        },
    });
    match needed(route.action) {
        Access::Open => operation["security"] = json!([]),
        Access::Key(scope) => {
            let told = format!("Needs a key of scope {} where the server has keys.", scope.word());
            operation["description"] = json!(told);
            operation["security"] = json!([{"key": []}, {}]);
        }
    }
    if let Action::PutDocument(_) | Action::PutGrowthModel | Action::CreateKey = route.action {
        operation["responses"]["201"] = answer(about.answer);
    }
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if let Some((schema, examples)) = about.body {
        let examples: Map<String, Value> = examples
            .into_iter()
            .map(|(title, value)| {
                (
                    title.to_lowercase().replace(|c: char| !c.is_alphanumeric(), "_"),
                    json!({"summary": title, "value": value}),
                )
            })
            .collect();
        let content: Map<String, Value> = about
            .body_types
            .iter()
            .map(|media| {
                let content = match *media {
                    "application/json" => json!({"schema": schema, "examples": examples}),
                    _ => json!({"schema": {"type": "string", "description": "An object a line."}}),
                };
                ((*media).to_owned(), content)
            })
            .collect();
        // A stored query runs as it is, and a backup has a usual name.
        operation["requestBody"] = json!({"required": !matches!(route.action, Action::RunQuery | Action::Backup), "content": content});
    }
    operation
}

fn answer(answer: Answer) -> Value {
    match answer {
        Answer::Json(schema) => {
            json!({"description": "Done", "content": {"application/json": {"schema": reference(schema)}}})
        }
        Answer::Table => json!({
            "description": "The result, as Accept or format asks",
            "content": {
                "application/json": {"schema": reference("Table")},
                "application/x-ndjson": {"schema": {"type": "string", "description": "A row a line."}},
                "text/csv": {"schema": {"type": "string"}},
                "application/vnd.apache.arrow.stream": {"schema": {"type": "string", "format": "binary"}},
            },
        }),
        Answer::File => json!({
            "description": "The rows; an answer that breaks off is not whole",
            "content": {
                "application/x-ndjson": {"schema": {"type": "string", "description": "A row a line, as the API takes it."}},
                "text/csv": {"schema": {"type": "string"}},
                "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
            },
        }),
        Answer::Text => {
            json!({"description": "Metrics", "content": {"text/plain": {"schema": {"type": "string"}}}})
        }
        Answer::Page => {
            json!({"description": "A file of the page", "content": {"text/html": {"schema": {"type": "string"}}}})
        }
    }
}

fn describe(action: Action, kind: Option<&KindOfQuery>) -> About {
    let told = Answer::Json("Told");
    let plain = |id: &str, tag, summary: &str, answer| About {
        id: id.to_owned(),
        tag,
        summary: summary.to_owned(),
        body: None,
        body_types: JSON,
        answer,
    };
    let with = |about: About, schema: Value, examples| About { body: Some((schema, examples)), ..about };
    let items = |name: &str| one_of("One, or a list.", [reference(name), any_list(reference(name))]);
    let (ingest, look, store, query, serve) = ("ingest", "looking around", "stored", "queries", "the server");
    match action {
        Action::WriteEvents => About {
            body_types: JSON_OR_LINES,
            ..with(
                plain("writeEvents", ingest, "Stores events", Answer::Json("Receipt")),
                items("Event"),
                vec![(
                    "Two events",
                    json!([
                        {"event": "signup", "user": "ada", "time": "2026-10-01T09:30:00Z", "id": "e-1", "account": "acme",
                         "properties": {"plan": "free", "tags": ["beta", "web"], "screen": {"width": 1440}}},
                        {"event": "project_created", "user": "ada"},
                    ]),
                )],
            )
        },
        Action::WriteProfiles(entity) => {
            let (id, schema, field, known) = match entity {
                Entity::User => ("writeUsers", "UserChange", "user", "ada"),
                Entity::Account => ("writeAccounts", "AccountChange", "account", "acme"),
            };
            let change = json!([{field: known, "set": {"country": "GB"}, "set_once": {"source": "ads"}, "add": {"seats": 2}, "unset": ["trial"]}]);
            About {
                body_types: JSON_OR_LINES,
                ..with(
                    plain(id, ingest, &format!("Changes profiles of {field}s"), told),
                    items(schema),
                    vec![("A profile", change)],
                )
            }
        }
        Action::MergeIdentities => About {
            body_types: JSON_OR_LINES,
            ..with(
                plain("mergeIdentities", ingest, "Makes two ids one user, retroactively", told),
                items("Merge"),
                vec![("An anonymous id", json!([{"from": "anon-7f", "into": "ada"}]))],
            )
        },
        Action::ShowUser => {
            plain("showUser", look, "A user: profile, ids merged into it, newest events", told)
        }
        Action::DeleteUser => plain("deleteUser", ingest, "Deletes a user", told),
        Action::ShowAccount => plain("showAccount", look, "An account: profile, users, newest events", told),
        Action::ShowSchema => {
            plain("showSchema", look, "Events and their properties, with types, counts and top values", told)
        }
        Action::ShowArrivals => {
            plain("showArrivals", look, "The newest events that arrived since the process began", told)
        }
        Action::Export => {
            plain("export", look, "All events, profiles or identities, as a file", Answer::File)
        }
        Action::Query | Action::QueryInAddress => {
            let kind = kind.expect("a query has a kind");
            let in_address = action == Action::QueryInAddress;
            let id = if in_address { format!("{}InAddress", kind.name) } else { kind.name.to_owned() };
            let about = plain(&id, query, kind.about, Answer::Table);
            if in_address { about } else { with(about, reference(kind.schema), kind.examples.clone()) }
        }
        Action::ListDocuments(Named::Cohort) => plain("listCohorts", store, "The stored cohorts", told),
        Action::ListDocuments(Named::Query) => plain("listQueries", store, "The stored queries", told),
        Action::PutDocument(Named::Cohort) => with(
            plain("putCohort", store, "Stores a cohort", told),
            any_of("The cohort, or an object that has it.", [reference("Cohort"), reference("NewCohort")]),
            vec![
                ("As it is at each use", json!({"did": "project_created", "from": "-30d"})),
                ("As it is now", json!({"cohort": {"did": "project_created"}, "static": true})),
            ],
        ),
        Action::PutDocument(Named::Query) => with(
            plain("putQuery", store, "Stores a query of any kind", told),
            json!({"type": "object", "description": "A query with its kind.", "required": ["kind"],
                "properties": {"kind": words("Its kind.", &QUERY_KINDS)}}),
            vec![(
                "Weekly users",
                json!({"kind": "segmentation", "series": [{"event": "*", "measure": "users"}], "interval": "week", "from": "-90d"}),
            )],
        ),
        Action::ShowCohort => plain("showCohort", store, "A stored cohort", told),
        Action::ShowQuery => plain(
            "showQuery",
            store,
            "A stored query; with .csv, .json, .ndjson or .arrow after the name, its answer",
            told,
        ),
        Action::DeleteDocument(Named::Cohort) => plain("deleteCohort", store, "Forgets a cohort", told),
        Action::DeleteDocument(Named::Query) => plain("deleteQuery", store, "Forgets a query", told),
        Action::RunQuery => with(
            plain("runQuery", store, "Runs a stored query, some of its fields said otherwise", Answer::Table),
            json!({"type": "object", "description": "Fields in the place of the query's own."}),
            vec![("A longer range", json!({"from": "-180d"}))],
        ),
        Action::PutGrowthModel => with(
            plain("putGrowthModel", store, "Stores the growth model", told),
            reference("GrowthModel"),
            vec![
                ("With several events a part", growth::example_model_of_several()),
                ("Each part", growth::example_model()),
            ],
        ),
        Action::ShowGrowthModel => plain("showGrowthModel", store, "The growth model", told),
        Action::DeleteGrowthModel => plain("deleteGrowthModel", store, "Forgets the growth model", told),
        Action::Seal => plain("seal", serve, "Moves everything in memory into segments", told),
        Action::Backup => with(
            plain("backup", serve, "Copies the store, verified, beside its directory", told),
            reference("BackupName"),
            vec![("A name of its own", json!({"name": "before-upgrade"}))],
        ),
        Action::Compact => {
            plain("compact", serve, "Joins segments, and drops the bytes of what was deleted", told)
        }
        Action::ShowHealth => plain("health", serve, "Whether the process lives", told),
        Action::ShowReadiness => {
            plain("readiness", serve, "Whether the store is open and takes requests", told)
        }
        Action::ShowMetrics => plain("metrics", serve, "How the server does, as OpenMetrics", Answer::Text),
        Action::ListKeys => plain("listKeys", serve, "The keys, without what opens", told),
        Action::CreateKey => with(
            plain("createKey", serve, "Makes a key, and tells it this once", told),
            reference("NewKey"),
            vec![("For operators", json!({"scope": "admin", "name": "ops"}))],
        ),
        Action::RevokeKey => {
            plain("revokeKey", serve, "Revokes a key: it opens nothing from the next request on", told)
        }
        Action::ShowOpenApi => plain("openApi", serve, "This document", told),
        Action::ShowConsoleFile => plain("consoleFile", serve, "What the console is made of", Answer::Page),
        Action::ShowConsole => plain("console", serve, "The console: a page for people", Answer::Page),
    }
}

/// The open segments of an address, with values that examples use.
fn path_parameters(path: &str) -> Vec<Value> {
    let names = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let known = names.filter_map(|name| {
        let (about, example) = match name {
            "user" => ("The user's id", "ada"),
            "account" => ("The account's id", "acme"),
            "name" => ("The name that it is stored under", "example"),
            "id" => ("The id of the key", "k7x2m4ab"),
            "file" => ("The file's name", "main.js"),
            "key" => ("A write key", "example"),
            // Written out as an address for each.
            "kind" => return None,
            other => panic!("the segment {other} is not described"),
        };
        Some(json!({"name": name, "in": "path", "required": true, "description": about, "schema": {"type": "string", "minLength": 1}, "example": example}))
    });
    known.collect()
}

fn parameter(name: &str, action: Action, kind: Option<&KindOfQuery>) -> Value {
    let formats = Format::WORDS.map(|(word, _)| word);
    let (schema, example) = match (name, action) {
        (KEY_PARAMETER, _) => (text("A write key, where no header can be set."), Value::Null),
        // Only for an answer; the definition takes none of them.
        (other, Action::ShowQuery) => {
            (text(&format!("Said otherwise than the query says: {other}.")), Value::Null)
        }
        ("on_error", _) => (
            words("skip stores the good events of a batch with bad ones.", &["reject", "skip"]),
            json!("skip"),
        ),
        ("limit", Action::ShowUser | Action::ShowAccount) => {
            (integer("Events of the page.", 1, TIMELINE_EVENT_COUNT_MAX as i64), json!(10))
        }
        ("before", _) => (
            json!({"type": ["string", "integer"], "description": "The events before this time."}),
            json!("2027-01-01"),
        ),
        ("limit", Action::ShowArrivals) => {
            (integer("The newest of them.", 1, ARRIVAL_COUNT_MAX as i64), json!(10))
        }
        ("after", Action::ShowArrivals) => {
            (integer("Only those after the arrival of this number.", 0, i64::MAX), json!(0))
        }
        ("part", _) => (words("What is written.", &PARTS.map(|(word, _)| word)), json!("users")),
        ("format", Action::Export) => (words("Its format.", &FORMATS.map(|(word, _)| word)), json!("csv")),
        ("events", _) => {
            return json!({"name": "events", "in": "query", "description": "Only events of these names.",
                "content": {"application/json": {"schema": any_list(text("A name."))}}});
        }
        ("from" | "to", Action::Export) => (
            json!({"type": ["string", "integer"], "description": format!("Only events {name} this time.")}),
            Value::Null,
        ),
        ("format", _) => (words("Instead of Accept.", &formats), json!("csv")),
        ("timeout_ms", _) => {
            (integer("How long the query may take; at most as long as any may.", 1, i64::MAX), json!(5_000))
        }
        ("q", _) => {
            let kind = kind.expect("a query in an address has a kind");
            let query = json!({"name": "q", "in": "query", "required": true, "description": "The query.",
                "content": {"application/json": {"schema": reference(kind.schema), "example": kind.examples[0].1}}});
            return query;
        }
        (other, _) => panic!("the parameter {other} is not described"),
    };
    let mut parameter = json!({"name": name, "in": "query", "schema": schema});
    if !example.is_null() {
        parameter["example"] = example;
    }
    parameter
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::dialects::ADDRESSES;

    #[test]
    fn every_route_and_every_kind_is_described() {
        let document: Value = serde_json::from_str(document_text()).unwrap();
        for route in ROUTES {
            for name in QUERY_KINDS {
                let path = route.path.replace("{kind}", name);
                let operation = &document["paths"][&path][route.method.as_str().to_lowercase()];
                assert!(operation["summary"].is_string(), "{} {path}", route.method);
                let names = operation["parameters"].as_array().into_iter().flatten();
                let names: Vec<&str> =
                    names.filter(|p| p["in"] == "query").filter_map(|p| p["name"].as_str()).collect();
                assert_eq!(names, route.parameters, "{} {path}", route.method);
            }
        }
    }

    #[test]
    fn the_document_has_every_address_of_the_router_and_of_sdks_and_no_other() {
        let document: Value = serde_json::from_str(document_text()).unwrap();
        let paths = document["paths"].as_object().unwrap().iter();
        let described = paths.flat_map(|(path, operations)| {
            operations.as_object().unwrap().keys().map(move |method| (path.clone(), method.to_uppercase()))
        });
        let of_router = ROUTES.iter().flat_map(|route| {
            let kinds = if route.path.contains("{kind}") { &QUERY_KINDS[..] } else { &QUERY_KINDS[..1] };
            kinds.iter().map(|name| (route.path.replace("{kind}", name), route.method.to_string()))
        });
        let of_sdks = ADDRESSES.iter().flat_map(|(path, endpoint)| {
            endpoint.methods().iter().map(|method| ((*path).to_owned(), (*method).to_owned()))
        });
        let known: BTreeSet<(String, String)> = of_router.chain(of_sdks).collect();
        assert_eq!(described.collect::<BTreeSet<_>>(), known);
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let document: Value = serde_json::from_str(document_text()).unwrap();
        let paths = document["paths"].as_object().unwrap().values();
        let mut names = BTreeSet::new();
        for operation in paths.flat_map(|path| path.as_object().unwrap().values()) {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name), "{name} names two operations");
        }
    }
}
