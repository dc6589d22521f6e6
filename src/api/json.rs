//! JSON as requests use it: exact numbers, and errors that name the place.
//!
//! [`Json`] is the parsed text. [`Node`] is a value with its place in the body, and reads it as something
//! more definite or says, with a pointer and the nearest known name, why it cannot.

use serde_json::value::RawValue;

use super::json_tree::{Exact, TreeBuilder, TreeRoom, check_grammar};
use super::problem::{Problem, nearest};
use crate::model::{Number, Value};

/// A JSON value. Objects keep the order of their fields; numbers keep all their decimals.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Json {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Parses a whole text, of at most [`JSON_VALUE_COUNT_MAX`](crate::limits::JSON_VALUE_COUNT_MAX) values.
    pub fn parse(text: &[u8]) -> Result<Json, Problem> {
        Json::parse_within(text, &mut |_| Ok(()))
    }

    /// As [`Json::parse`], as far as there is room for the tree.
    pub fn parse_within(text: &[u8], room: TreeRoom<'_>) -> Result<Json, Problem> {
        let text = std::str::from_utf8(text).map_err(|e| {
            Problem::invalid(format!("the body is not UTF-8 from byte {} on", e.valid_up_to()))
        })?;
        check_grammar(text).map_err(|e| Problem::invalid(format!("the body is not valid JSON: {e}")))?;
        TreeBuilder::new(Exact, room).build(text, 0)
    }

    pub fn get(&self, name: &str) -> Option<&Json> {
        let Json::Object(fields) = self else { return None };
        fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The value as a [`Node`] at the root of a body.
    pub fn root(&self) -> Node<'_> {
        self.at(String::new())
    }

    /// The value as a [`Node`] at a place of a body.
    pub fn at(&self, path: String) -> Node<'_> {
        Node { json: self, path }
    }

    fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::String(_) => "a string",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
        }
    }
}

impl serde::Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = RawValue::from_string(self.to_string()).expect("it writes itself as JSON");
        raw.serialize(serializer)
    }
}

/// Writes compact JSON.
impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let string = |text: &str| serde_json::to_string(text).expect("a string is JSON");
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(truth) => truth.fmt(f),
            Json::Number(number) => number.fmt(f),
            Json::String(text) => f.write_str(&string(text)),
            Json::Array(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    f.write_str(if index > 0 { "," } else { "" })?;
                    item.fmt(f)?;
                }
                f.write_str("]")
            }
            Json::Object(fields) => {
                f.write_str("{")?;
                for (index, (name, value)) in fields.iter().enumerate() {
                    f.write_str(if index > 0 { "," } else { "" })?;
                    write!(f, "{}:{value}", string(name))?;
                }
                f.write_str("}")
            }
        }
    }
}

/// A value and its place in the body.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    json: &'a Json,
    path: String,
}

impl<'a> Node<'a> {
    pub fn json(&self) -> &'a Json {
        self.json
    }

    /// The JSON pointer (RFC 6901) of this value.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A problem at this place.
    pub fn problem(&self, detail: impl Into<String>) -> Problem {
        Problem::invalid(detail).at(self.path.clone())
    }

    fn expected(&self, what: &str) -> Problem {
        self.problem(format!("expected {what}, found {}", self.json.kind()))
    }

    fn child(&self, name: &str, json: &'a Json) -> Node<'a> {
        let escaped = name.replace('~', "~0").replace('/', "~1");
        Node { json, path: format!("{}/{escaped}", self.path) }
    }

    pub fn string(&self) -> Result<&'a str, Problem> {
        if let Json::String(text) = self.json { Ok(text) } else { Err(self.expected("a string")) }
    }

    pub fn bool(&self) -> Result<bool, Problem> {
        if let Json::Bool(truth) = self.json { Ok(*truth) } else { Err(self.expected("true or false")) }
    }

    pub fn number(&self) -> Result<Number, Problem> {
        if let Json::Number(number) = self.json { Ok(*number) } else { Err(self.expected("a number")) }
    }

    /// A whole number within `range`.
    pub fn integer(&self, range: std::ops::RangeInclusive<i64>) -> Result<i64, Problem> {
        let whole = self.number()?.mantissa_at(0).and_then(|whole| i64::try_from(whole).ok());
        whole.filter(|whole| range.contains(whole)).ok_or_else(|| {
            let (start, end) = (range.start(), range.end());
            self.problem(format!("expected a whole number from {start} to {end}, found {}", self.json))
        })
    }

    /// The items of an array.
    pub fn array(&self) -> Result<Vec<Node<'a>>, Problem> {
        let Json::Array(items) = self.json else { return Err(self.expected("an array")) };
        Ok(items.iter().enumerate().map(|(index, item)| self.child(&index.to_string(), item)).collect())
    }

    /// The fields of an object whose names are the asker's.
    pub fn entries(&self) -> Result<Vec<(&'a str, Node<'a>)>, Problem> {
        let Json::Object(fields) = self.json else { return Err(self.expected("an object")) };
        Ok(fields.iter().map(|(name, value)| (name.as_str(), self.child(name, value))).collect())
    }

    pub fn strings(&self) -> Result<Vec<String>, Problem> {
        self.array()?.iter().map(|item| item.string().map(str::to_owned)).collect()
    }

    /// The fields of an object, to be asked for one by one and then [finished](Fields::finish).
    pub fn object(&self) -> Result<Fields<'a>, Problem> {
        let Json::Object(fields) = self.json else { return Err(self.expected("an object")) };
        Ok(Fields { node: self.clone(), fields, known: Vec::new() })
    }

    /// One of a few words, or a problem that names the nearest.
    pub fn word<T: Copy>(&self, words: &[(&'static str, T)]) -> Result<T, Problem> {
        let text = self.string()?;
        words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let problem = self.problem(format!("{text:?} is not one of {}", all.join(", ")));
            match nearest(text, all) {
                Some(word) => problem.hint(format!("did you mean {word:?}?")),
                None => problem,
            }
        })
    }

    /// A property's value: a string, number, boolean, or a list of those.
    pub fn value(&self) -> Result<Value, Problem> {
        match self.json {
            Json::Array(_) => {
                Ok(Value::List(self.array()?.iter().map(Node::scalar).collect::<Result<_, _>>()?))
            }
            _ => self.scalar(),
        }
    }

    /// A string, number or boolean.
    pub fn scalar(&self) -> Result<Value, Problem> {
        match self.json {
            Json::Bool(truth) => Ok(Value::Bool(*truth)),
            Json::Number(number) => Ok(Value::Number(*number)),
            Json::String(text) => Ok(Value::String(text.clone())),
            _ => Err(self.expected("a string, number or boolean")),
        }
    }
}

/// The fields of an object, some of which have been asked for.
#[derive(Debug)]
pub struct Fields<'a> {
    node: Node<'a>,
    fields: &'a [(String, Json)],
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The object itself.
    pub fn node(&self) -> &Node<'a> {
        &self.node
    }

    /// The value of a field, if it is there and not null.
    pub fn optional(&mut self, name: &'static str) -> Option<Node<'a>> {
        self.known.push(name);
        let (_, value) = self.fields.iter().find(|(known, _)| known == name)?;
        (*value != Json::Null).then(|| self.node.child(name, value))
    }

    /// The value of a field that must be there.
    pub fn required(&mut self, name: &'static str) -> Result<Node<'a>, Problem> {
        self.optional(name).ok_or_else(|| {
            let misspelt = self.fields.iter().map(|(known, _)| known.as_str());
            // Who slips seldom slips at the first letter; a field that is asked for later may be near, too.
            let is_meant =
                |word: &&str| *word != name && word.starts_with(&name[..1]) && !self.known.contains(word);
            match nearest(name, misspelt).filter(is_meant) {
                Some(word) => unknown_field(&self.node, word, &[name]),
                None => self.node.problem(format!("the field {name:?} is missing")),
            }
        })
    }

    /// Whether the object has the field.
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| known == name)
    }

    /// Refuses fields that nobody asked for.
    pub fn finish(self) -> Result<(), Problem> {
        for (name, _) in self.fields {
            if !self.known.contains(&name.as_str()) {
                return Err(unknown_field(&self.node, name, &self.known));
            }
        }
        Ok(())
    }
}

/// The problem of a field of an object that is none of those known.
fn unknown_field(object: &Node<'_>, name: &str, known: &[&str]) -> Problem {
    let problem = object.child(name, &Json::Null).problem(format!("unknown field {name:?}"));
    match nearest(name, known.iter().copied()) {
        Some(nearest) => problem.hint(format!("did you mean {nearest:?}?")),
        None => problem.hint(format!("known fields: {}", known.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_decimals() {
        let json = Json::parse(br#"{"a": [0.10, 12345678901234567890.5], "b": null}"#).unwrap();
        assert_eq!(json.to_string(), r#"{"a":[0.1,12345678901234567890.5],"b":null}"#);
    }

    #[test]
    fn an_unknown_field_is_named_with_the_nearest_known() {
        let json = Json::parse(br#"{"steps": [], "windw": "7d"}"#).unwrap();
        let mut fields = json.root().object().unwrap();
        fields.required("steps").unwrap();
        assert!(fields.optional("window").is_none());
        let problem = fields.finish().unwrap_err();
        assert_eq!(problem.path.as_deref(), Some("/windw"));
        assert_eq!(problem.hint.as_deref(), Some("did you mean \"window\"?"));
    }

    #[test]
    fn a_deep_body_is_refused_before_it_is_parsed() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Json::parse(deep.as_bytes()).unwrap_err().detail.contains("nested"));
        let quoted = format!("{:?}", "[".repeat(1000));
        assert!(Json::parse(quoted.as_bytes()).is_ok());
    }

    #[test]
    fn a_repeated_field_is_an_error() {
        assert!(Json::parse(br#"{"a": 1, "a": 2}"#).unwrap_err().detail.contains("given twice"));
    }
}
