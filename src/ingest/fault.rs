//! What is wrong with one event or profile, and where in it.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, Visitor};

/// Bytes that are told of a text before and behind a place where it is wrong.
const NEAR_SIZE: usize = 24;

/// Why one event, profile or row cannot be taken. Cold, so it owns its texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What was found, and what was expected.
    pub detail: String,
    /// A JSON pointer from the event: `/properties/plan`, or empty for the whole of it.
    pub path: String,
    /// What would help.
    pub hint: Option<String>,
}

impl Fault {
    pub fn new(detail: impl Into<String>) -> Fault {
        Fault { detail: detail.into(), path: String::new(), hint: None }
    }

    /// Sets the place to the field `name` of the event.
    pub fn at(mut self, name: &str) -> Fault {
        self.path = pointer(name);
        self
    }

    /// Moves the place under the field `name`.
    pub fn under(mut self, name: &str) -> Fault {
        self.path.insert_str(0, &pointer(name));
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Fault {
        self.hint = Some(hint.into());
        self
    }

    /// The fault of a text that is not JSON, with what stands around the place.
    pub fn syntax(error: &serde_json::Error, text: &[u8]) -> Fault {
        let (what, column) = (syntax_message(error), error.column());
        let near = around(text, error.line(), column);
        Fault::new(format!("not valid JSON: {what} at column {column}, near {near:?}"))
    }

    /// The detail with the hint, in one sentence.
    pub fn sentence(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}; {hint}", self.detail),
            None => self.detail.clone(),
        }
    }
}

/// One step of a JSON pointer (RFC 6901).
fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// The parser's message without its place, which counts lines within the piece it was given.
pub(crate) fn syntax_message(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&place).unwrap_or(&message).to_owned()
}

/// What a JSON text is, by its first byte, for errors: `a string`, or the number itself.
pub(crate) fn kind_of(raw: &str) -> Cow<'static, str> {
    match raw.as_bytes().first() {
        Some(b'"') => "a string".into(),
        Some(b'{') => "an object".into(),
        Some(b'[') => "an array".into(),
        Some(b't' | b'f') => "a boolean".into(),
        Some(b'n') => "null".into(),
        Some(_) => format!("the number {}", excerpt(raw)).into(),
        None => "nothing".into(),
    }
}

/// What stands around a place of a text, lines and columns from 1.
fn around(text: &[u8], line: usize, column: usize) -> Cow<'_, str> {
    let before = text.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len);
    let at = (before.sum::<usize>() + column).min(text.len());
    let (start, end) = (at.saturating_sub(NEAR_SIZE), (at + NEAR_SIZE).min(text.len()));
    // What is cut at either end may have been a letter of several bytes.
    let is_cut = |byte: &u8| (*byte as i8) < -64;
    let start = start + text[start..at].iter().take_while(|byte| is_cut(byte)).count();
    let end = end + text[end..].iter().take_while(|byte| is_cut(byte)).count();
    String::from_utf8_lossy(text[start..end].trim_ascii())
}

/// The start of a text, short enough for a message.
pub(crate) fn excerpt(text: &str) -> &str {
    text.char_indices().nth(48).map_or(text, |(end, _)| &text[..end])
}

/// A string of a JSON text, borrowed where it has no escapes.
pub(crate) struct Text<'de>(pub Cow<'de, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'de>, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// Leaves a visitor after its fault was noted elsewhere: the parser carries only texts.
pub(crate) fn noted<E: serde::de::Error>() -> E {
    E::custom("noted")
}

/// Reads a JSON string whose grammar is known to be right, quotes included.
///
/// Fails on escapes that are no character: lone surrogates.
pub(crate) fn unquote(raw: &str) -> Result<Cow<'_, str>, Fault> {
    let inner = &raw[1..raw.len() - 1];
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(inner));
    }
    serde_json::from_str::<Text<'_>>(raw)
        .map(|text| text.0)
        .map_err(|error| Fault::new(format!("the string is not valid Unicode: {}", syntax_message(&error))))
}
