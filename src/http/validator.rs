//! Tags of results (RFC 9110, 8.8.3), so that an asker who has a result learns that it still holds without the
//! query being run.
//!
//! A result depends on the query, the format, the release, the data and, unless the query fixes the moment it
//! is asked as of, the clock. Only a query with an absolute `as_of` has a tag: every other result is of its
//! millisecond, and no tag of it would ever be met again. Tags are weak, because `statistics` tell the time
//! that answering took.

use std::time::{SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh3::xxh3_128;

use crate::api::{Format, Json, TimeExpr};

/// Makes the tags of one run of the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validator {
    /// When the server started, in nanoseconds since 1970. The numbers of changes say which state of a store is
    /// meant, but not of which store: another one may have been served at the same address before.
    started: u128,
}

impl Validator {
    pub fn new() -> Validator {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        Validator { started: since_epoch.map_or(0, |elapsed| elapsed.as_nanos()) }
    }

    /// The tag of the result of a query on the data of a snapshot; `None` if it depends on the clock.
    ///
    /// The order of fields and the spelling of numbers and strings do not matter.
    pub fn tag(&self, query: &Json, format: Format, snapshot: u64) -> Option<String> {
        if query.get("as_of").is_none() || !has_only_fixed_moments(query) {
            return None;
        }
        let (release, started) = (env!("CARGO_PKG_VERSION"), self.started);
        let identity = format!("{release} {started} {snapshot} {} {}", format.word(), ordered(query));
        Some(format!("W/\"{:032x}\"", xxh3_128(identity.as_bytes())))
    }
}

/// Whether a tag is among those of `If-None-Match` headers. The comparison is weak, as it has to be there.
pub(super) fn is_held(tag: &str, held: &[String]) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    held.iter().flat_map(|tags| tags.split(',')).any(|known| opaque(known) == opaque(tag))
}

/// Whether each `as_of`, of the query or of queries in it, is the same whenever it is asked.
fn has_only_fixed_moments(json: &Json) -> bool {
    match json {
        Json::Object(fields) => fields.iter().all(|(name, value)| {
            let is_fixed = || {
                let moment = TimeExpr::parse(&value.root());
                matches!(moment, Ok(TimeExpr::At(_) | TimeExpr::Date(_)))
            };
            (name != "as_of" || is_fixed()) && has_only_fixed_moments(value)
        }),
        Json::Array(items) => items.iter().all(has_only_fixed_moments),
        _ => true,
    }
}

/// The same value with the fields of each object in order of their names.
fn ordered(json: &Json) -> Json {
    match json {
        Json::Object(fields) => {
            let mut fields: Vec<(String, Json)> =
                fields.iter().map(|(name, value)| (name.clone(), ordered(value))).collect();
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            Json::Object(fields)
        }
        Json::Array(items) => Json::Array(items.iter().map(ordered).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(query: &str, format: Format, snapshot: u64) -> Option<String> {
        let validator = Validator { started: 7 };
        validator.tag(&Json::parse(query.as_bytes()).unwrap(), format, snapshot)
    }

    #[test]
    fn a_tag_depends_on_what_is_asked_and_not_on_how_it_is_written() {
        let told = |query| tag(query, Format::Json, 3).unwrap();
        let plain = told(r#"{"as_of": "2024-03-01", "steps": ["a", {"event": "b", "as": "c"}], "n": 1.0}"#);
        assert_eq!(told(r#"{ "steps":["\u0061",{"as":"c","event":"b"}],"n":1,"as_of":"2024-03-01"}"#), plain);
        assert_ne!(told(r#"{"as_of": "2024-03-01", "steps": [{"event": "b", "as": "c"}, "a"]}"#), plain);
        let query = r#"{"as_of": 0}"#;
        let tags = [
            tag(query, Format::Json, 3),
            tag(query, Format::Csv, 3),
            tag(query, Format::Json, 4),
            Validator { started: 8 }.tag(&Json::parse(query.as_bytes()).unwrap(), Format::Json, 3),
        ];
        for (index, one) in tags.iter().enumerate() {
            assert!(one.is_some() && tags[..index].iter().all(|other| other != one), "{tags:?}");
        }
    }

    #[test]
    fn a_result_of_its_moment_has_no_tag() {
        for query in [
            r#"{}"#,
            r#"{"as_of": "now"}"#,
            r#"{"as_of": "-1d"}"#,
            r#"{"as_of": null}"#,
            r#"{"as_of": 0, "cohort": {"result": {"query": {"as_of": "-1d"}}}}"#,
        ] {
            assert_eq!(tag(query, Format::Json, 1), None, "{query}");
        }
    }

    #[test]
    fn tags_are_compared_weakly() {
        let held = |text: &str| is_held("W/\"a\"", &[text.to_owned()]);
        assert!(held("W/\"a\"") && held("\"a\"") && held("\"b\", W/\"a\""));
        assert!(!held("\"b\"") && !held("") && !held("*"));
    }
}
