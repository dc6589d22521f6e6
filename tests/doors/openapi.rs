//! The description of the API says what the server does: every example in it is answered, and every object of a request
//! has the fields that the server knows, no fewer and no more.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::server::TestServer;
use flywheeldb::Store;
use flywheeldb::demo::{DemoPlan, DemoProfiles, generate, profiles};
use flywheeldb::model::Entity;
use serde_json::{Value, json};

/// A name that is near to no field there is.
const UNKNOWN: &str = "zzzzzzzzzzzz";

/// An example of a body, and where it is sent.
struct Example<'a> {
    method: &'a str,
    path: String,
    title: &'a str,
    schema: &'a Value,
    body: &'a Value,
}

fn described() -> (TestServer, Value) {
    let server = TestServer::start();
    let document = server.get("/v1/openapi.json");
    assert_eq!(document.status, 200);
    (server, document.json())
}

/// The operations of the document: path, method, operation.
fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, operations)| {
        let operations = operations.as_object().unwrap().iter();
        operations.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

/// The address with the examples of its open segments in their place.
fn address(path: &str, operation: &Value) -> String {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    parameters.filter(|parameter| parameter["in"] == "path").fold(path.to_owned(), |path, parameter| {
        let name = parameter["name"].as_str().unwrap();
        path.replace(&format!("{{{name}}}"), parameter["example"].as_str().unwrap())
    })
}

fn examples(document: &Value) -> Vec<Example<'_>> {
    let mut found = Vec::new();
    for (path, method, operation) in operations(document) {
        let content = &operation["requestBody"]["content"]["application/json"];
        for (title, example) in content["examples"].as_object().into_iter().flatten() {
            let (path, schema) = (address(path, operation), &content["schema"]);
            found.push(Example { method, path, title, schema, body: &example["value"] });
        }
    }
    found
}

#[test]
fn every_example_is_answered() {
    let (server, document) = described();
    // With a first key the server asks for keys; so all is asked for with one, and another is there to be revoked.
    let first = server.post("/v1/admin/keys", r#"{"scope": "admin"}"#).json();
    let bearer = format!("Bearer {}", first["key"].as_str().unwrap());
    let send = |method: &str, path: &str, body: &[u8]| {
        let headers = [("Content-Type", "application/json"), ("Authorization", bearer.as_str())];
        server.send(&method.to_uppercase(), path, &headers, body)
    };
    let second = send("POST", "/v1/admin/keys", br#"{"scope": "read"}"#).json();
    let revoked = second["id"].as_str().unwrap();
    let examples = examples(&document);
    // What is asked for has to be there first.
    let (first, then): (Vec<_>, Vec<_>) =
        examples.iter().partition(|example| !example.path.contains("/query") || example.method == "put");
    assert!(first.len() >= 8 && then.len() >= 20, "{} {}", first.len(), then.len());
    for example in first.iter().chain(&then) {
        let answer = send(example.method, &example.path, example.body.to_string().as_bytes());
        let told = String::from_utf8_lossy(&answer.body);
        assert!((200..300).contains(&answer.status), "{} {}: {told}", example.path, example.title);
    }
    // Deletions last.
    let mut rest: Vec<_> =
        operations(&document).filter(|(_, _, operation)| operation["requestBody"].is_null()).collect();
    rest.sort_by_key(|(_, method, _)| *method == "delete");
    for (path, method, operation) in rest {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let query = parameters.filter(|parameter| parameter["in"] == "query").filter_map(|parameter| {
            let example = match &parameter["content"]["application/json"]["example"] {
                Value::Null => &parameter["example"],
                example => example,
            };
            let text = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
            (!example.is_null())
                .then(|| format!("{}={}", parameter["name"].as_str().unwrap(), escaped(&text)))
        });
        let query: Vec<String> = query.collect();
        let path = path.replace("{id}", revoked);
        let path = format!("{}?{}", address(&path, operation), query.join("&"));
        let answer = send(method, &path, b"");
        let told = String::from_utf8_lossy(&answer.body);
        assert!((200..300).contains(&answer.status), "{method} {path}: {told}");
    }
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The schemas of requests, as they are met in examples.
struct Walk<'a> {
    document: &'a Value,
    /// The fields that the server said it knows, and those of the schema, by the schema's place.
    known: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>,
}

/// What a place of a body is described by.
#[derive(Clone)]
struct Described<'a> {
    schema: &'a Value,
    place: String,
}

fn alternatives(schema: &Value) -> Option<&Vec<Value>> {
    schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array())
}

impl<'a> Walk<'a> {
    fn resolved(&self, described: Described<'a>) -> Described<'a> {
        let Some(target) = described.schema["$ref"].as_str() else { return described };
        let name = target.rsplit('/').next().unwrap();
        let schema = &self.document["components"]["schemas"][name];
        assert!(schema.is_object(), "{target} is nowhere");
        self.resolved(Described { schema, place: name.to_owned() })
    }

    /// The schema that describes `value`: of alternatives the one that can.
    fn chosen(&self, described: Described<'a>, value: &Value) -> Option<Described<'a>> {
        let described = self.resolved(described);
        let Some(alternatives) = alternatives(described.schema) else {
            return self.fits(&described, value).then_some(described);
        };
        alternatives.iter().enumerate().find_map(|(index, schema)| {
            let place = format!("{}/{index}", described.place);
            self.chosen(Described { schema, place }, value)
        })
    }

    fn fits(&self, described: &Described<'a>, value: &Value) -> bool {
        let schema = described.schema;
        let of_type = |word: &str| match word {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            other => panic!("the type {other}"),
        };
        let types: Vec<&str> = match &schema["type"] {
            Value::String(word) => vec![word],
            Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !types.is_empty() && !types.into_iter().any(of_type) {
            return false;
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            return false;
        }
        if !schema["const"].is_null() && schema["const"] != *value {
            return false;
        }
        let Some(fields) = value.as_object() else { return true };
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let is_whole = required.into_iter().all(|name| fields.contains_key(name));
        let is_closed = schema["additionalProperties"] == json!(false);
        is_whole && (!is_closed || fields.keys().all(|name| schema["properties"].get(name).is_some()))
    }

    /// Sends `body` once for each closed object in `value`, which is at `path` of it, with a field that nobody knows.
    fn walk(
        &mut self,
        described: Described<'a>,
        value: &Value,
        path: &str,
        refused: &dyn Fn(&str) -> Vec<String>,
    ) {
        let place = described.place.clone();
        let described = self.chosen(described, value);
        let described = described.unwrap_or_else(|| panic!("{place} does not describe {value}"));
        match value {
            Value::Object(fields) => {
                if described.schema["additionalProperties"] == json!(false) {
                    let properties = described.schema["properties"].as_object().unwrap();
                    let entry = self.known.entry(described.place.clone()).or_default();
                    entry.0.extend(refused(path));
                    entry.1.extend(properties.keys().cloned());
                }
                for (name, inner) in fields {
                    let schema = match described.schema["properties"].get(name) {
                        Some(schema) => schema,
                        None => &described.schema["additionalProperties"],
                    };
                    if schema.is_object() {
                        let place = format!("{}/{name}", described.place);
                        let escaped = name.replace('~', "~0").replace('/', "~1");
                        self.walk(Described { schema, place }, inner, &format!("{path}/{escaped}"), refused);
                    }
                }
            }
            Value::Array(items) if described.schema["items"].is_object() => {
                for (index, inner) in items.iter().enumerate() {
                    let place = format!("{}[]", described.place);
                    let schema = &described.schema["items"];
                    self.walk(Described { schema, place }, inner, &format!("{path}/{index}"), refused);
                }
            }
            _ => {}
        }
    }

    /// The closed objects of all requests that can be reached from a schema.
    fn closed(&self, described: Described<'a>, seen: &mut BTreeSet<String>, closed: &mut BTreeSet<String>) {
        let described = self.resolved(described);
        if !seen.insert(described.place.clone()) {
            return;
        }
        if described.schema["additionalProperties"] == json!(false) {
            closed.insert(described.place.clone());
        }
        let inner = |name: String, schema: &'a Value| Described {
            schema,
            place: format!("{}{name}", described.place),
        };
        let alternatives = alternatives(described.schema).into_iter().flatten();
        let mut all: Vec<Described<'a>> =
            alternatives.enumerate().map(|(index, schema)| inner(format!("/{index}"), schema)).collect();
        let properties = described.schema["properties"].as_object().into_iter().flatten();
        all.extend(properties.map(|(name, schema)| inner(format!("/{name}"), schema)));
        for (word, suffix) in [("items", "[]"), ("additionalProperties", "/*")] {
            if described.schema[word].is_object() {
                all.push(inner(suffix.to_owned(), &described.schema[word]));
            }
        }
        for each in all {
            self.closed(each, seen, closed);
        }
    }
}

#[test]
fn a_schema_has_the_fields_that_the_server_knows() {
    let (server, document) = described();
    let mut walk = Walk { document: &document, known: BTreeMap::new() };
    let examples = examples(&document);
    for example in &examples {
        let refused = |path: &str| {
            let mut body = example.body.clone();
            let object = body.pointer_mut(path).and_then(Value::as_object_mut).unwrap();
            object.insert(UNKNOWN.to_owned(), json!(1));
            let method = example.method.to_uppercase();
            let headers = [("Content-Type", "application/json")];
            let problem =
                server.send(&method, &example.path, &headers, body.to_string().as_bytes()).problem(400);
            let hint = problem["hint"].as_str().unwrap_or_default();
            let known = hint.strip_prefix("known fields: ").unwrap_or_else(|| {
                panic!("{} {} at {path}: {problem}", example.path, example.title);
            });
            // Those of an event are followed by where others belong.
            known.split(';').next().unwrap().split(", ").map(str::to_owned).collect()
        };
        let place = format!("{} {}", example.method, example.path);
        walk.walk(Described { schema: example.schema, place }, example.body, "", &refused);
    }
    for (place, (known, described)) in &walk.known {
        assert_eq!(
            known, described,
            "the fields of {place}, as the server knows them and as they are described"
        );
    }
    // Every object of a request is part of some example.
    let (mut seen, mut closed) = (BTreeSet::new(), BTreeSet::new());
    for example in &examples {
        let place = format!("{} {}", example.method, example.path);
        walk.closed(Described { schema: example.schema, place }, &mut seen, &mut closed);
    }
    let untried: Vec<&String> = closed.iter().filter(|place| !walk.known.contains_key(*place)).collect();
    assert!(untried.is_empty(), "no example has {untried:?}");
}

#[test]
fn the_examples_tell_something_of_the_demo() {
    let (_, document) = described();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let plan = DemoPlan { seed: 1, events: 20_000 };
    generate(&plan, &mut |batch| store.ingest(batch).map(|_| ())).unwrap();
    let DemoProfiles { users, accounts, .. } = profiles(&plan);
    store.write_profiles(Entity::User, users).unwrap();
    store.write_profiles(Entity::Account, accounts).unwrap();
    for example in examples(&document).iter().filter(|example| example.path.starts_with("/v1/query/")) {
        let mut query = example.body.clone();
        query["kind"] = json!(example.path.rsplit('/').next().unwrap());
        let query = flywheeldb::api::Json::parse(query.to_string().as_bytes()).unwrap();
        let answer = store.query(&query).unwrap();
        assert!(answer.table.row_count() > 0, "{} {}", example.path, example.title);
    }
}
