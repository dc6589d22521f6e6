//! Reads what a request's address carries: path segments and query parameters.

use std::borrow::Cow;

use crate::api::{Problem, nearest};

/// The query parameters of a request. Each is known to its route, and given once.
#[derive(Debug, Default)]
pub(super) struct Parameters(Vec<(&'static str, String)>);

impl Parameters {
    /// Parses `a=1&b=2`. A name that is not in `known` is a problem that names the nearest that is.
    pub fn parse(query: Option<&str>, known: &'static [&'static str]) -> Result<Parameters, Problem> {
        let mut parameters = Parameters::default();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = percent_decode(&name.replace('+', " "))?;
            let Some(known_name) = known.iter().find(|known| **known == name) else {
                return Err(unknown(&name, known));
            };
            if parameters.get(known_name).is_some() {
                return Err(Problem::invalid(format!("the query parameter {name:?} is given twice")));
            }
            parameters.0.push((known_name, percent_decode(&value.replace('+', " "))?));
        }
        Ok(parameters)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// All that were given, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// One of a few words, if the parameter is there.
    pub fn word<T: Copy>(&self, name: &str, words: &[(&'static str, T)]) -> Result<Option<T>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        found.map(Some).ok_or_else(|| {
            let detail = format!("the query parameter {name:?} is {text:?}; it can be {}", known.join(", "));
            with_nearest(Problem::invalid(detail), text, &known)
        })
    }
}

/// The value of a parameter, whether its route knows it or not.
pub(super) fn find_raw(query: Option<&str>, name: &str) -> Result<Option<String>, Problem> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value);
    value.map(|value| percent_decode(&value.replace('+', " "))).transpose()
}

/// Turns `%41` into `A`. What comes out must be UTF-8.
pub(super) fn percent_decode(text: &str) -> Result<String, Problem> {
    let wrong = |what: &str| Problem::invalid(format!("{text:?} in the address {what}"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let digits = digits
            .ok_or_else(|| wrong("has a % without two hexadecimal digits").hint("write a % itself as %25"))?;
        bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8 once decoded"))
}

fn unknown(name: &str, known: &[&str]) -> Problem {
    let problem = Problem::invalid(format!("unknown query parameter {name:?}"));
    if known.is_empty() {
        return problem.hint("this address takes none");
    }
    match nearest(name, known.iter().copied()) {
        Some(word) => problem.hint(format!("did you mean {word:?}?")),
        None => problem.hint(format!("known parameters: {}", known.join(", "))),
    }
}

fn with_nearest(problem: Problem, text: &str, known: &[&str]) -> Problem {
    match nearest(text, known.iter().copied()) {
        Some(word) => problem.hint(format!("did you mean {word:?}?")),
        None => problem,
    }
}

/// Writes text so that it can stand in a path or as the value of a query parameter.
pub(crate) fn percent_encode(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let encode =
        |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    Cow::Owned(text.bytes().map(encode).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_parameter_is_named_with_the_nearest_known() {
        let problem = Parameters::parse(Some("fromat=csv"), &["format", "q"]).unwrap_err();
        assert!(problem.detail.contains("\"fromat\""));
        assert_eq!(problem.hint.as_deref(), Some("did you mean \"format\"?"));
        assert!(Parameters::parse(Some("x=1"), &[]).unwrap_err().hint.unwrap().contains("none"));
    }

    #[test]
    fn values_are_decoded_and_given_once() {
        let parameters = Parameters::parse(Some("q=%7B%22a%22%3A+1%7D&format="), &["format", "q"]).unwrap();
        assert_eq!(parameters.get("q"), Some("{\"a\": 1}"));
        assert_eq!(parameters.get("format"), Some(""));
        assert!(Parameters::parse(Some("q=1&q=2"), &["q"]).unwrap_err().detail.contains("twice"));
    }

    #[test]
    fn a_broken_escape_is_a_problem() {
        for text in ["%", "%4", "%zz", "%+1", "%ff", "a%é"] {
            assert!(percent_decode(text).is_err(), "{text}");
        }
        assert_eq!(percent_decode("a%2Fb+%C3%A9").unwrap(), "a/b+é");
    }

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        for text in ["plain-._~", "a/b c%?&=+é", ""] {
            assert_eq!(percent_decode(&percent_encode(text)).unwrap(), text);
        }
    }
}
