//! Parses JSON as clients of all kinds write it, and keeps what can be kept of every value.
//!
//! Where [`Json::parse`] refuses a body for one bad value, because its sender can mend it, nobody mends an SDK that is
//! out in the world: half a surrogate becomes U+FFFD, a number out of bounds and what is nested too deep become their
//! own text.

use crate::api::{Json, Leaves, Problem, TreeBuilder, TreeRoom, check_grammar};
use crate::limits::NESTING_DEPTH_MAX;
use crate::model::Number;

/// Levels of a body around the properties of an event: the batch, its list, the event.
const ENVELOPE_DEPTH: usize = 4;

/// Parses one JSON value, or lines of them as a list.
pub(super) fn parse(body: &[u8]) -> Result<Json, Problem> {
    parse_within(body, &mut |_| Ok(()))
}

/// As [`parse`], as far as there is room for the tree.
pub(super) fn parse_within(body: &[u8], room: TreeRoom<'_>) -> Result<Json, Problem> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{FEFF}').trim();
    let mut builder = TreeBuilder::new(Kept, room);
    match check_grammar(text) {
        Ok(()) => builder.build(text, 0),
        Err(error) if text.contains('\n') => {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            let read = |line: &str| {
                check_grammar(line).map_err(|_| not_json(&error))?;
                builder.build(line, 1)
            };
            lines.map(read).collect::<Result<_, _>>().map(Json::Array)
        }
        Err(error) => Err(not_json(&error)),
    }
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::invalid(format!("the body is not valid JSON: {error}"))
}

/// Keeps what can be kept of every value.
struct Kept;

impl Leaves for Kept {
    fn number(&mut self, raw: &str) -> Result<Json, Problem> {
        Ok(Number::parse(raw).map_or_else(|_| Json::String(raw.to_owned()), Json::Number))
    }

    fn text(&mut self, raw: &str) -> Result<String, Problem> {
        Ok(unquote(raw))
    }

    fn nested(&mut self, raw: &dyn Fn() -> String, depth: usize) -> Result<Option<Json>, Problem> {
        Ok((depth > NESTING_DEPTH_MAX + ENVELOPE_DEPTH).then(|| Json::String(raw())))
    }

    fn takes_repeated_names(&self) -> bool {
        true
    }
}

/// Reads a JSON string, quotes included; a surrogate without its other half becomes U+FFFD.
fn unquote(raw: &str) -> String {
    if let Ok(text) = serde_json::from_str::<String>(raw) {
        return text;
    }
    let mut units: Vec<u16> = Vec::with_capacity(raw.len());
    let mut rest = &raw[1..raw.len() - 1];
    while let Some(next) = rest.chars().next() {
        rest = &rest[next.len_utf8()..];
        let (unit, size) = match (next, rest.as_bytes().first()) {
            ('\\', Some(b'u')) => {
                let digits = rest.get(1..5).and_then(|digits| u16::from_str_radix(digits, 16).ok());
                (digits.unwrap_or(0xFFFD), 5)
            }
            ('\\', Some(b'n')) => (u16::from(b'\n'), 1),
            ('\\', Some(b't')) => (u16::from(b'\t'), 1),
            ('\\', Some(b'r')) => (u16::from(b'\r'), 1),
            ('\\', Some(b'b')) => (8, 1),
            ('\\', Some(b'f')) => (12, 1),
            ('\\', Some(byte)) => (u16::from(*byte), 1),
            (plain, _) => {
                units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
                continue;
            }
        };
        units.push(unit);
        rest = rest.get(size..).unwrap_or_default();
    }
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_cannot_be_kept_exactly_is_kept_as_text() {
        let read = |text: &str| parse(text.as_bytes()).unwrap().to_string();
        assert_eq!(read(r#"{"a":[1e400,0.1,-7]}"#), r#"{"a":["1e400",0.1,-7]}"#);
        assert_eq!(read(r#"{"a":"\ud83dx\n\ud83d\ude80\u00e9ä\"\/"}"#), "{\"a\":\"\u{FFFD}x\\n🚀éä\\\"/\"}");
        assert_eq!(read(r#"{"\ud83d":1,"b":1,"b":2}"#), "{\"\u{FFFD}\":1,\"b\":1,\"b\":2}");
        let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(read(&deep).contains("\"[[["));
    }

    #[test]
    fn lines_are_a_list() {
        assert_eq!(parse(b"{\"a\":1}\n\n{\"a\":2}\n").unwrap().to_string(), r#"[{"a":1},{"a":2}]"#);
        assert!(parse(b"{\"a\":1}\n{").is_err());
        assert!(parse(b"").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_crash_the_reader(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&body);
        }

        #[test]
        fn escapes_are_read_as_the_other_parser_does(text in any::<String>()) {
            let raw = serde_json::to_string(&text).unwrap();
            // Half a surrogate sends the whole string through the lossy reader.
            let half = format!("{}\\ud800\"", &raw[..raw.len() - 1]);
            prop_assert_eq!(unquote(&half), format!("{text}\u{FFFD}"));
        }
    }
}
