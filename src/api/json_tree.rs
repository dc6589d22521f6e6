//! Builds a tree from JSON in one pass, within bounds.
//!
//! A value of two bytes, `1,`, takes a hundred in a tree. So whoever has a tree made of bytes from outside is told how
//! many values it has before there are many more, and may refuse; and there is a bound on them however much memory there
//! is. Nothing here takes more than the length of the text in time, however deep it is nested or many fields it has.
//!
//! The grammar is checked beforehand. What is left to decide is what becomes of values that a tree cannot hold: a
//! request that has one is refused ([`Exact`]), an SDK's is kept as well as it can be (`ingest::dialects`).

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};
use serde_json::value::RawValue;

use super::json::Json;
use super::problem::{Problem, ProblemClass};
use crate::limits::{FILTER_DEPTH_MAX, JSON_VALUE_COUNT_MAX};
use crate::model::Number;

/// Bytes of memory that a value takes at most, its text apart: its place in a list that has just grown to twice what it
/// holds. A field counts as two.
pub const TREE_VALUE_SIZE: usize = 2 * size_of::<Json>();
const _: () = assert!(size_of::<(String, Json)>() <= 2 * size_of::<Json>());

/// Who is told how many values a tree has, the more the more often, and may refuse.
pub type TreeRoom<'a> = &'a mut dyn FnMut(usize) -> Result<(), Problem>;

/// Values between two calls of [`TreeRoom`].
const VALUE_COUNT_STEP: usize = 4_096;

/// Fields of an object up to which a repeated name is found by comparing.
const FIELD_COUNT_COMPARED: usize = 16;

/// What becomes of what a tree cannot hold.
pub trait Leaves {
    /// A number, as it is written.
    fn number(&mut self, raw: &str) -> Result<Json, Problem>;

    /// A string, as it is written, quotes included.
    fn text(&mut self, raw: &str) -> Result<String, Problem>;

    /// An array or object, as it is written, inside so many others; `None` to go on.
    fn nested(&mut self, raw: &dyn Fn() -> String, depth: usize) -> Result<Option<Json>, Problem>;

    /// Whether an object may have two fields of one name.
    fn takes_repeated_names(&self) -> bool;
}

/// Refuses what cannot be kept exactly.
pub struct Exact;

/// Objects and arrays in one another. Filters take two levels each.
const DEPTH_MAX: usize = 2 * FILTER_DEPTH_MAX + 16;

impl Leaves for Exact {
    fn number(&mut self, raw: &str) -> Result<Json, Problem> {
        let wrong = |e| {
            let shown: String = raw.chars().take(64).collect();
            Problem::invalid(format!("the body is not valid JSON: {shown}: {e}"))
        };
        Number::parse(raw).map(Json::Number).map_err(wrong)
    }

    fn text(&mut self, raw: &str) -> Result<String, Problem> {
        let wrong = |e| Problem::invalid(format!("the body is not valid JSON: {e}"));
        serde_json::from_str(raw).map_err(wrong)
    }

    fn nested(&mut self, _: &dyn Fn() -> String, depth: usize) -> Result<Option<Json>, Problem> {
        match depth < DEPTH_MAX {
            true => Ok(None),
            false => Err(Problem::invalid(format!("the JSON is nested more than {DEPTH_MAX} levels deep"))),
        }
    }

    fn takes_repeated_names(&self) -> bool {
        false
    }
}

/// Fails if the text is not one JSON value.
pub fn check_grammar(text: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<&RawValue>(text).map(|_| ())
}

/// Makes trees, whose values it counts together.
pub struct TreeBuilder<'a, L> {
    leaves: L,
    room: TreeRoom<'a>,
    value_count: usize,
}

impl<'a, L: Leaves> TreeBuilder<'a, L> {
    pub fn new(leaves: L, room: TreeRoom<'a>) -> TreeBuilder<'a, L> {
        TreeBuilder { leaves, room, value_count: 0 }
    }

    /// The value of a text whose grammar was checked, inside of so many others.
    pub fn build(&mut self, text: &str, depth: usize) -> Result<Json, Problem> {
        let mut at = 0;
        self.value(text, &mut at, depth)
    }

    fn count(&mut self) -> Result<(), Problem> {
        self.value_count += 1;
        if self.value_count > JSON_VALUE_COUNT_MAX {
            let detail = format!("the body has more than {JSON_VALUE_COUNT_MAX} values");
            return Err(Problem::new(ProblemClass::TooLarge, detail).hint("send it in several requests"));
        }
        match self.value_count.is_multiple_of(VALUE_COUNT_STEP) {
            true => (self.room)(self.value_count + VALUE_COUNT_STEP),
            false => Ok(()),
        }
    }

    fn value(&mut self, text: &str, at: &mut usize, depth: usize) -> Result<Json, Problem> {
        self.count()?;
        let begun = skip_blanks(text, *at);
        *at = begun;
        match text.as_bytes()[begun] {
            open @ (b'[' | b'{') => {
                let raw = || text[begun..nested_end(text, begun)].to_owned();
                if let Some(instead) = self.leaves.nested(&raw, depth)? {
                    *at = nested_end(text, begun);
                    return Ok(instead);
                }
                *at += 1;
                if open == b'[' { self.array(text, at, depth) } else { self.object(text, at, depth) }
            }
            b'"' => {
                *at = string_end(text, begun);
                self.leaves.text(&text[begun..*at]).map(Json::String)
            }
            first => {
                let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n');
                let rest = &text.as_bytes()[begun..];
                *at = begun + rest.iter().position(ends).unwrap_or(rest.len());
                match first {
                    b'n' => Ok(Json::Null),
                    b't' => Ok(Json::Bool(true)),
                    b'f' => Ok(Json::Bool(false)),
                    _ => self.leaves.number(&text[begun..*at]),
                }
            }
        }
    }

    fn array(&mut self, text: &str, at: &mut usize, depth: usize) -> Result<Json, Problem> {
        let mut items = Vec::new();
        while next_item(text, at, b']') {
            items.push(self.value(text, at, depth + 1)?);
        }
        Ok(Json::Array(items))
    }

    fn object(&mut self, text: &str, at: &mut usize, depth: usize) -> Result<Json, Problem> {
        let mut fields: Vec<(String, Json)> = Vec::new();
        let mut known = KnownNames::default();
        while next_item(text, at, b'}') {
            self.count()?;
            let name_end = string_end(text, *at);
            let name = self.leaves.text(&text[*at..name_end])?;
            if !self.leaves.takes_repeated_names() && !known.is_new(&fields, &name) {
                let shown: String = name.chars().take(64).collect();
                let detail = format!("the body is not valid JSON: the field {shown:?} is given twice");
                return Err(Problem::invalid(detail));
            }
            *at = skip_blanks(text, name_end) + 1; // the colon
            fields.push((name, self.value(text, at, depth + 1)?));
        }
        Ok(Json::Object(fields))
    }
}

/// The names of an object's fields, by hash once there are many. The hashes are of a seed that nobody knows.
#[derive(Default)]
struct KnownNames {
    hasher: DefaultHashBuilder,
    places: HashTable<usize>,
}

impl KnownNames {
    /// Whether none of the fields has the name, which is that of the next field.
    fn is_new(&mut self, fields: &[(String, Json)], name: &str) -> bool {
        if fields.len() < FIELD_COUNT_COMPARED {
            return fields.iter().all(|(known, _)| known != name);
        }
        let hash = |name: &str| {
            let mut state = self.hasher.build_hasher();
            name.hash(&mut state);
            std::hash::Hasher::finish(&state)
        };
        let rehash = |place: &usize| hash(&fields[*place].0);
        for place in self.places.len()..fields.len() {
            self.places.insert_unique(rehash(&place), place, rehash);
        }
        self.places.find(hash(name), |place| fields[*place].0 == name).is_none()
    }
}

/// Goes to the next item of a list or object, or behind its end, and tells which.
fn next_item(text: &str, at: &mut usize, close: u8) -> bool {
    *at = skip_blanks(text, *at);
    let bytes = text.as_bytes();
    if bytes[*at] == b',' {
        *at = skip_blanks(text, *at + 1);
    }
    let is_item = bytes[*at] != close;
    *at += usize::from(!is_item);
    is_item
}

fn skip_blanks(text: &str, at: usize) -> usize {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    at + text.as_bytes()[at..].iter().take_while(|byte| is_blank(byte)).count()
}

/// Behind the closing quotation mark of a string.
fn string_end(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = at + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', &bytes[at..]).expect("the grammar was checked");
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
}

/// Behind the closing bracket of an array or object.
fn nested_end(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (at, 0_usize);
    loop {
        match bytes[at] {
            b'"' => {
                at = string_end(text, at);
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(text: &str, room: TreeRoom<'_>) -> Result<Json, Problem> {
        check_grammar(text).unwrap();
        TreeBuilder::new(Exact, room).build(text, 0)
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        for text in [
            "null",
            " [ ] ",
            "{ }",
            r#"{"a" : [1 , -2.5 ,true, false,null] , "b":{"c":"\"]}\\"}}"#,
            "[[],[[]],{}]",
            r#"["",{"":""}]"#,
            "\t7\n",
        ] {
            let read: serde_json::Value = serde_json::from_str(text).unwrap();
            let built = build(text, &mut |_| Ok(())).unwrap().to_string();
            assert_eq!(serde_json::from_str::<serde_json::Value>(&built).unwrap(), read, "{text}");
        }
    }

    #[test]
    fn a_tree_has_room_before_it_grows() {
        let list = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
        let mut told = 0;
        let mut room = |count| {
            told = count;
            match count < 50_000 {
                true => Ok(()),
                false => Err(Problem::new(ProblemClass::Busy, "full")),
            }
        };
        assert_eq!(build(&list(1_000_000), &mut room).unwrap_err().class, ProblemClass::Busy);
        assert!(told < 50_000 + 2 * VALUE_COUNT_STEP);
        let problem = build(&list(JSON_VALUE_COUNT_MAX), &mut |_| Ok(())).unwrap_err();
        assert_eq!(problem.class, ProblemClass::TooLarge);
    }

    #[test]
    fn of_many_fields_a_repeated_one_is_found() {
        let fields = |names: std::ops::Range<usize>| {
            names.map(|name| format!(r#""{name}":0"#)).collect::<Vec<_>>().join(",")
        };
        for count in [2, FIELD_COUNT_COMPARED, FIELD_COUNT_COMPARED + 1, 300_000] {
            assert!(build(&format!("{{{}}}", fields(0..count)), &mut |_| Ok(())).is_ok(), "{count}");
            for twice in [0, count / 2, count - 1] {
                let text = format!(r#"{{{},"\u003{twice}":0}}"#, fields(0..count));
                if twice < 10 {
                    assert!(
                        build(&text, &mut |_| Ok(())).unwrap_err().detail.contains("given twice"),
                        "{count}"
                    );
                }
            }
        }
    }
}
