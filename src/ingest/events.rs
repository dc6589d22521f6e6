//! Reads the events of a request: one object, an array, or NDJSON.

use std::fmt;

use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::event::{Defaults, EventLimits, EventReader};
use super::fault::{Fault, kind_of, noted, syntax_message};
use crate::api::{Problem, ProblemClass};
use crate::model::{EventBatch, TimeMs};

/// How the things in a body are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyForm {
    /// One object, or an array of them.
    Json,
    /// An object a line. Blank lines are skipped.
    Ndjson,
}

/// What becomes of the good events beside a bad one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// The first bad event fails the whole batch.
    Reject,
    /// Bad events are left out and told.
    Skip,
}

/// An event that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// From 0: the place in the array, or the line. Blank lines count.
    pub index: u64,
    pub detail: String,
    /// A JSON pointer into the body; a line counts as an element of an array.
    pub path: String,
}

/// What a body held.
#[derive(Clone, Debug)]
pub struct ParsedEvents {
    pub batch: EventBatch,
    /// In order of `index`. Empty with [`OnError::Reject`].
    pub rejected: Vec<Rejected>,
    /// Where each event of the batch stands in the body: the place in the array, or the line.
    indices: Vec<u32>,
    /// Whether the body is one event, and no list.
    is_one: bool,
}

impl ParsedEvents {
    /// What is wrong with an event of the batch that was sound by itself, told as if it had been left out: `path` is
    /// the place within the event.
    pub fn rejection(&self, row: usize, detail: String, path: &str) -> Rejected {
        Rejected { index: u64::from(self.indices[row]), detail, path: self.path(row, path) }
    }

    /// The place in the body of a place within an event of the batch.
    pub fn path(&self, row: usize, path: &str) -> String {
        match self.is_one {
            true => path.to_owned(),
            false => format!("/{}{path}", self.indices[row]),
        }
    }
}

/// Reads the events of a decoded body. An event without a time happened at `now`.
///
/// A body that is not JSON fails as a whole, even with [`OnError::Skip`], because nobody knows where its next
/// event starts; in NDJSON that is just the next line.
pub fn parse_events(
    body: &[u8],
    form: BodyForm,
    on_error: OnError,
    now: TimeMs,
) -> Result<ParsedEvents, Problem> {
    parse_events_within(body, form, on_error, now, EventLimits::default())
}

/// As [`parse_events`], of events within these limits.
pub fn parse_events_within(
    body: &[u8],
    form: BodyForm,
    on_error: OnError,
    now: TimeMs,
    limits: EventLimits,
) -> Result<ParsedEvents, Problem> {
    let mut collector = Collector {
        reader: EventReader::within(limits),
        count_max: limits.batch_event_count_max,
        on_error,
        defaults: Defaults { time: Some(now), id: None },
        parsed: ParsedEvents {
            batch: EventBatch::new(),
            rejected: Vec::new(),
            indices: Vec::new(),
            is_one: false,
        },
    };
    match form {
        BodyForm::Json => each_json(body, "event", |place, raw| collector.take(place, raw.as_bytes()))?,
        BodyForm::Ndjson => {
            lines(body).try_for_each(|(index, line)| collector.take(Place::Line(index), line))?;
        }
    }
    Ok(collector.parsed)
}

struct Collector<'de> {
    reader: EventReader<'de>,
    count_max: usize,
    on_error: OnError,
    defaults: Defaults<'static>,
    parsed: ParsedEvents,
}

impl<'de> Collector<'de> {
    fn take(&mut self, place: Place, text: &'de [u8]) -> Result<(), Problem> {
        let parsed = &mut self.parsed;
        if parsed.batch.len() + parsed.rejected.len() == self.count_max {
            return Err(too_many("events", self.count_max));
        }
        let Err(fault) = self.reader.read(text, self.defaults, &mut parsed.batch) else {
            // A body that is let in has fewer lines than that.
            parsed.indices.push(u32::try_from(place.index()).unwrap_or(u32::MAX));
            parsed.is_one = matches!(place, Place::Whole);
            return Ok(());
        };
        if self.on_error == OnError::Reject {
            return Err(place.problem(fault));
        }
        let (detail, path) = (place.sentence(&fault), place.path(&fault));
        parsed.rejected.push(Rejected { index: place.index(), detail, path });
        Ok(())
    }
}

/// Where in its body a thing stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// The body is this one thing.
    Whole,
    /// An element of the array, from 0.
    Element(u64),
    /// A line, from 0.
    Line(u64),
}

impl Place {
    fn index(self) -> u64 {
        match self {
            Place::Whole => 0,
            Place::Element(index) | Place::Line(index) => index,
        }
    }

    fn path(self, fault: &Fault) -> String {
        match self {
            Place::Whole => fault.path.clone(),
            Place::Element(index) | Place::Line(index) => format!("/{index}{}", fault.path),
        }
    }

    /// What is wrong, with the line, which people count from 1.
    fn sentence(self, fault: &Fault) -> String {
        match self {
            Place::Line(index) => format!("line {}: {}", index + 1, fault.sentence()),
            _ => fault.sentence(),
        }
    }

    /// The fault as the problem of the whole body.
    pub fn problem(self, fault: Fault) -> Problem {
        let path = self.path(&fault);
        let hint = fault.hint.clone();
        let sentence = self.sentence(&Fault { hint: None, ..fault });
        let problem = Problem::invalid(sentence).at(path);
        match hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}

pub(super) fn too_many(things: &str, count_max: usize) -> Problem {
    Problem::new(ProblemClass::TooLarge, format!("a body holds at most {count_max} {things}"))
        .hint("send them in several requests")
}

/// The body without the byte order mark that some editors write first.
fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body)
}

/// The lines of a body that are not blank, numbered from 0, without the blanks around them.
pub(super) fn lines(body: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let body = without_bom(body);
    let ends = memchr::memchr_iter(b'\n', body).chain(std::iter::once(body.len()));
    let mut start = 0;
    ends.enumerate().filter_map(move |(index, end)| {
        let line = body[start..end].trim_ascii();
        start = end + 1;
        (!line.is_empty()).then_some((index as u64, line))
    })
}

/// Hands each element of a JSON body to `take`, as text whose grammar is right: the elements of an array, or
/// the one object. `thing` is what one is called.
pub(super) fn each_json<'de>(
    body: &'de [u8],
    thing: &'static str,
    mut take: impl FnMut(Place, &'de str) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let body = without_bom(body).trim_ascii();
    let not_json = |error: &serde_json::Error| {
        let (what, line, column) = (syntax_message(error), error.line(), error.column());
        Problem::invalid(format!("the body is not valid JSON: {what} at line {line} column {column}"))
    };
    match body.first() {
        Some(b'{') => match serde_json::from_slice::<&RawValue>(body) {
            Ok(raw) => take(Place::Whole, raw.get()),
            Err(error)
                if error.is_syntax()
                    && error.line() > 1
                    && syntax_message(&error).starts_with("trailing") =>
            {
                Err(not_json(&error).hint("send one object a line as application/x-ndjson"))
            }
            Err(error) => Err(not_json(&error)),
        },
        Some(b'[') => {
            let (mut count, mut problem) = (0, None);
            let visitor = ElementsVisitor { count: &mut count, problem: &mut problem, take: &mut take };
            let mut deserializer = serde_json::Deserializer::from_slice(body);
            let done = deserializer.deserialize_seq(visitor).and_then(|()| deserializer.end());
            done.map_err(|error| problem.unwrap_or_else(|| not_json(&error).at(format!("/{count}"))))
        }
        None => Err(Problem::invalid(format!("the body is empty; expected {thing} objects"))),
        Some(_) => {
            let raw = serde_json::from_slice::<&RawValue>(body).map_err(|error| not_json(&error))?;
            let found = kind_of(raw.get());
            Err(Problem::invalid(format!("expected one {thing} object or an array of them, found {found}")))
        }
    }
}

struct ElementsVisitor<'a, F> {
    count: &'a mut u64,
    problem: &'a mut Option<Problem>,
    take: F,
}

impl<'de, F: FnMut(Place, &'de str) -> Result<(), Problem>> Visitor<'de> for ElementsVisitor<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while let Some(raw) = seq.next_element::<&'de RawValue>()? {
            if let Err(problem) = (self.take)(Place::Element(*self.count), raw.get()) {
                *self.problem = Some(problem);
                return Err(noted());
            }
            *self.count += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::*;
    use crate::model::{Event, Value};

    const NOW: TimeMs = 1_700_000_000_000;

    fn json(body: &str) -> Result<Vec<Event>, Problem> {
        let parsed = parse_events(body.as_bytes(), BodyForm::Json, OnError::Reject, NOW)?;
        Ok(parsed.batch.iter().map(|event| event.to_event()).collect())
    }

    fn ndjson(body: &[u8], on_error: OnError) -> Result<ParsedEvents, Problem> {
        parse_events(body, BodyForm::Ndjson, on_error, NOW)
    }

    /// The properties of the one event with these, as JSON.
    fn properties(object: &str) -> Result<Vec<(String, String)>, Problem> {
        let events = json(&format!(r#"{{"properties": {object}, "event": "e", "user": "u"}}"#))?;
        Ok(events[0].properties.iter().map(|(name, value)| (name.clone(), value.to_string())).collect())
    }

    /// The place and the words of the problem of a single event.
    fn problem(body: &str) -> (String, String, String) {
        let problem = json(body).unwrap_err();
        assert_eq!(problem.status(), 400, "{problem}");
        (problem.path.unwrap_or_default(), problem.detail, problem.hint.unwrap_or_default())
    }

    #[test]
    fn every_field_arrives() {
        let body = r#"{"event":"purchase","user":"ada","time":"2024-03-01T09:30:00.250Z","id":"e1","account":"acme",
            "properties":{"amount":12.50,"plan":"pro \u00e9","trial":false,"tags":["a",null,2],"none":null}}"#;
        let event = &json(body).unwrap()[0];
        assert_eq!(
            (event.event.as_str(), event.user.as_str(), event.time),
            ("purchase", "ada", 1_709_285_400_250)
        );
        assert_eq!((event.id.as_deref(), event.account.as_deref()), (Some("e1"), Some("acme")));
        let shown: Vec<String> = event.properties.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(shown, ["amount=12.5", "plan=\"pro é\"", "trial=false", "tags=[\"a\",2]"]);
    }

    #[test]
    fn one_event_an_array_and_lines_say_the_same() {
        let one = r#"{"event":"e","user":"u"}"#;
        assert_eq!(json(one).unwrap().len(), 1);
        assert_eq!(json(&format!("\u{feff} [{one},\n{one}] ")).unwrap().len(), 2);
        assert_eq!(json("[]").unwrap().len(), 0);
        let lines = format!("\u{feff}{one}\r\n\r\n   \n{one}");
        assert_eq!(ndjson(lines.as_bytes(), OnError::Reject).unwrap().batch.len(), 2);
    }

    #[test]
    fn times_are_rfc_3339_dates_milliseconds_or_now() {
        let time = |text: &str| {
            Ok::<_, Problem>(json(&format!(r#"{{"event":"e","user":"u","time":{text}}}"#))?[0].time)
        };
        assert_eq!(time(r#""2024-03-01""#), Ok(1_709_251_200_000));
        assert_eq!(time("1709251200001"), Ok(1_709_251_200_001));
        assert_eq!(time("-1709251200001"), Ok(-1_709_251_200_001));
        assert_eq!(time("null"), Ok(NOW));
        assert!(time("1709251200").unwrap_err().detail.contains("looks like seconds"));
        assert!(time("1709251200000000").unwrap_err().detail.contains("outside 1900-01-01"));
        assert!(time("1709251200000.5").unwrap_err().detail.contains("a whole number"));
        assert!(time(r#""soon""#).unwrap_err().detail.contains("RFC 3339"));
        assert!(time("true").unwrap_err().detail.contains("found a boolean"));
    }

    #[test]
    fn an_error_names_its_place_in_the_array() {
        let body = r#"[{"event":"e","user":"u"},{"event":"e","user":"u","time":"x"}]"#;
        assert_eq!(problem(body).0, "/1/time");
        assert_eq!(problem(r#"[7]"#).0, "/0");
        assert_eq!(
            problem(r#"{"event":"e"}"#),
            ("/user".into(), r#"the field "user" is missing"#.into(), "".into())
        );
        assert_eq!(
            problem(r#"{"event":"e","user":"u","properties":{"a":{"b/c":[{}]}}}"#).0,
            "/properties/a/b~1c/0"
        );
    }

    #[test]
    fn an_unknown_field_is_named_with_the_one_meant() {
        let hint = |field: &str| problem(&format!(r#"{{"event":"e","user":"u","{field}":{{}}}}"#)).2;
        assert_eq!(hint("property"), "did you mean \"properties\"?");
        assert_eq!(hint("userId"), "did you mean \"user\"?");
        assert_eq!(hint("distinct_id"), "did you mean \"user\"?");
        assert_eq!(hint("timestamp"), "did you mean \"time\"?");
        assert_eq!(hint("name"), "did you mean \"event\"?");
        assert!(hint("zzzzzzzzzz").starts_with("known fields: event, user"));
    }

    #[test]
    fn ids_given_as_numbers_are_refused_with_the_way_out() {
        for field in ["user", "account", "id"] {
            let (path, detail, hint) = problem(&format!(r#"{{"event":"e","user":"u","{field}":42}}"#));
            assert_eq!(path, format!("/{field}"));
            assert_eq!(detail, format!("expected {field} to be a string, found the number 42"));
            assert_eq!(hint, "send ids as strings");
        }
    }

    #[test]
    fn nested_objects_become_dotted_names() {
        let flat = properties(r#"{"a":{"b":{"c":1},"d":"x"},"e":{}}"#).unwrap();
        assert_eq!(flat, [("a.b.c".into(), "1".into()), ("a.d".into(), "\"x\"".into())]);
        let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth + 1), "}".repeat(depth + 1));
        assert_eq!(properties(&nested(NESTING_DEPTH_MAX)).unwrap().len(), 1);
        assert!(properties(&nested(NESTING_DEPTH_MAX + 1)).unwrap_err().detail.contains("levels deep"));
        assert!(properties(&nested(50_000)).is_err());
    }

    #[test]
    fn the_last_of_repeated_keys_holds() {
        assert_eq!(properties(r#"{"a":1,"b":2,"a":3}"#).unwrap()[0], ("a".into(), "3".into()));
        assert_eq!(properties(r#"{"a":1,"a":null}"#).unwrap(), []);
        assert_eq!(properties(r#"{"a":null,"a":1}"#).unwrap().len(), 1);
        let events =
            json(r#"{"event":"x","user":"u","properties":{"a":1},"event":"y","properties":{}}"#).unwrap();
        assert_eq!((events[0].event.as_str(), events[0].properties.len()), ("y", 0));
    }

    #[test]
    fn numbers_keep_all_their_decimals() {
        let exact = "[12345678901234567890.123456789,0.1,1e300,-0,18446744073709551615]";
        let told = properties(&format!(r#"{{"n":{exact}}}"#)).unwrap()[0].1.clone();
        assert_eq!(told, "[12345678901234567890.123456789,0.1,1e300,0,18446744073709551615]");
        assert!(properties(r#"{"n":1e400}"#).unwrap_err().detail.contains("magnitude"));
        assert!(
            properties(&format!(r#"{{"n":{}}}"#, "7".repeat(39))).unwrap_err().detail.contains("as a string")
        );
    }

    #[test]
    fn each_limit_has_its_own_message() {
        let long = |size: usize| "x".repeat(size);
        let cases = [
            (format!(r#"{{"event":"{}","user":"u"}}"#, long(EVENT_NAME_SIZE_MAX + 1)), "event has 201 bytes"),
            (format!(r#"{{"event":"e","user":"{}"}}"#, long(ENTITY_ID_SIZE_MAX + 1)), "user has 513 bytes"),
            (r#"{"event":"e","user":""}"#.to_owned(), "user is empty"),
            (format!(r#"{{"event":"e","user":"u","id":"{}"}}"#, long(129)), "id has 129 bytes"),
            (
                format!(r#"{{"event":"e","user":"u","properties":{{"{}":1}}}}"#, long(257)),
                "name has 257 bytes",
            ),
            (r#"{"event":"e","user":"u","properties":{"":1}}"#.to_owned(), "name is empty"),
            (
                format!(r#"{{"event":"e","user":"u","properties":{{"a":"{}"}}}}"#, long(65_537)),
                "string has 65537",
            ),
            (
                format!(r#"{{"event":"e","user":"u","properties":{{"a":[{}1]}}}}"#, "1,".repeat(1000)),
                "1000 elements",
            ),
            (format!(r#"{{"event":"{}","user":"u"}}"#, long(EVENT_SIZE_MAX)), "the event has 1048599 bytes"),
        ];
        for (body, words) in cases {
            assert!(problem(&body).1.contains(words), "{words}: {}", problem(&body).1);
        }
        let fields: Vec<String> = (0..=PROPERTY_COUNT_MAX).map(|n| format!(r#""p{n}":1"#)).collect();
        assert_eq!(properties(&format!("{{{}}}", fields[1..].join(","))).unwrap().len(), PROPERTY_COUNT_MAX);
        assert!(
            properties(&format!("{{{}}}", fields.join(","))).unwrap_err().detail.contains("more than 256")
        );
        let lines = "{\"event\":\"e\",\"user\":\"u\"}\n".repeat(BATCH_EVENT_COUNT_MAX + 1);
        assert_eq!(ndjson(lines.as_bytes(), OnError::Skip).unwrap_err().status(), 413);
    }

    #[test]
    fn values_that_are_no_values_are_refused() {
        assert!(properties(r#"{"a":[[1]]}"#).unwrap_err().detail.contains("found an array"));
        assert!(properties(r#"{"a":[{"b":1}]}"#).unwrap_err().detail.contains("found an object"));
        let (path, detail, _) = problem(r#"{"event":"e","user":"u","properties":[1]}"#);
        assert_eq!(
            (path.as_str(), detail.as_str()),
            ("/properties", "invalid type: sequence, expected an object")
        );
        assert_eq!(properties("null").unwrap(), []);
    }

    #[test]
    fn half_characters_fail_their_event_only() {
        let good = r#"{"event":"e","user":"u"}"#;
        for bad in [
            r#"{"event":"e","user":"\ud83d"}"#.as_bytes(),
            r#"{"event":"e","user":"u","properties":{"a":"\udc00x"}}"#.as_bytes(),
            r#"{"event":"e","user":"u","properties":{"\ud83d":1}}"#.as_bytes(),
            b"{\"event\":\"e\",\"user\":\"\xff\"}",
        ] {
            let body = [good.as_bytes(), bad, good.as_bytes()].join(&b'\n');
            let parsed = ndjson(&body, OnError::Skip).unwrap();
            assert_eq!((parsed.batch.len(), parsed.rejected.len(), parsed.rejected[0].index), (2, 1, 1));
        }
        let body = format!(r#"[{good},{{"event":"e","user":"\ud83d"}},{good}]"#);
        let parsed = parse_events(body.as_bytes(), BodyForm::Json, OnError::Skip, NOW).unwrap();
        assert_eq!((parsed.batch.len(), parsed.rejected[0].path.as_str()), (2, "/1/user"));
        let body = [b"[", good.as_bytes(), b",{\"event\":\"\xff\"}]"].concat();
        let problem = parse_events(&body, BodyForm::Json, OnError::Skip, NOW).unwrap_err();
        assert_eq!(problem.path.as_deref(), Some("/1"));
        let pair = json(r#"{"event":"e","user":"\ud83d\ude80"}"#).unwrap();
        assert_eq!(pair[0].user, "🚀");
    }

    #[test]
    fn a_broken_line_is_skipped_and_told_with_its_number() {
        let body = b"\n{\"event\":\"a\",\"user\":\"u\"}\n{\"event\":\"b\",\"user\"\n\n{\"event\":\"c\",\"user\":7}\n";
        let parsed = ndjson(body, OnError::Skip).unwrap();
        assert_eq!(parsed.batch.len(), 1);
        let told: Vec<_> = parsed.rejected.iter().map(|r| (r.index, r.path.as_str())).collect();
        assert_eq!(told, [(2, "/2"), (4, "/4/user")]);
        assert_eq!(
            parsed.rejected[0].detail,
            r#"line 3: not valid JSON: EOF while parsing an object at column 19, near "{\"event\":\"b\",\"user\"""#
        );
        assert!(parsed.rejected[1].detail.ends_with("found the number 7; send ids as strings"));
        let problem = ndjson(body, OnError::Reject).unwrap_err();
        assert_eq!(problem.path.as_deref(), Some("/2"));
        // A skipped event leaves no trace, not even its names.
        assert_eq!(parsed.batch.names().collect::<Vec<_>>(), ["a"]);
    }

    /// A line of text was told as "found null", because it began with the letter n.
    #[test]
    fn what_is_no_json_is_told_as_that_with_its_place_and_what_stands_there() {
        let told = |body: &str| ndjson(body.as_bytes(), OnError::Reject).unwrap_err().detail;
        assert_eq!(told("not json"), "line 1: not valid JSON: expected ident at column 2, near \"not json\"");
        assert_eq!(told("\n;"), "line 2: not valid JSON: expected value at column 1, near \";\"");
        assert_eq!(told("null"), "line 1: expected an event object, found null");
        let long = format!("{{\"event\": {}é oops {}}}", " ".repeat(40), "é".repeat(40));
        let told = told(&long);
        assert!(told.contains("expected value at column 51, near \"é oops ééééééééé\""), "{told}");
        let whole = json("nonsense").unwrap_err().detail;
        assert_eq!(whole, "the body is not valid JSON: expected ident at line 1 column 2");
    }

    #[test]
    fn a_broken_array_fails_as_a_whole_with_line_and_column() {
        let body = "[{\"event\":\"e\",\"user\":\"u\"},\n {\"event\" 7}]";
        let problem = parse_events(body.as_bytes(), BodyForm::Json, OnError::Skip, NOW).unwrap_err();
        assert_eq!(problem.detail, "the body is not valid JSON: expected `:` at line 2 column 11");
        assert_eq!(problem.path.as_deref(), Some("/1"));
        assert!(json("[{}] x").is_err());
        assert!(json("").unwrap_err().detail.contains("empty"));
        assert!(json("\"x\"").unwrap_err().detail.contains("found a string"));
        assert!(json("{\"event\":\"e\",\"user\":\"u\"}\n{}").unwrap_err().hint.unwrap().contains("ndjson"));
    }

    proptest! {
        #[test]
        fn no_bytes_crash_the_reader(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            for form in [BodyForm::Json, BodyForm::Ndjson] {
                let _ = parse_events(&body, form, OnError::Skip, NOW);
            }
        }

        #[test]
        fn no_damage_to_an_event_crashes_the_reader(at in 0_usize..150, byte: u8, cut in 0_usize..150) {
            let mut body = br#"[{"event":"e\u00e9","user":"u","time":"2024-03-01T00:00:00Z","id":null,"account":"a","properties":{"a":{"b":[1,-2.5e3,true,"x"]}}}]"#.to_vec();
            let at = at % body.len();
            body[at] = byte;
            body.truncate(body.len().max(cut) - cut);
            for form in [BodyForm::Json, BodyForm::Ndjson] {
                let _ = parse_events(&body, form, OnError::Reject, NOW);
            }
        }

        #[test]
        fn what_was_written_is_read(user in "\\PC{1,20}", text in any::<String>(), number: i64) {
            let body = serde_json::json!({"event": "e", "user": user, "properties": {"t": text, "n": number}});
            let events = json(&body.to_string()).unwrap();
            prop_assert_eq!(&events[0].user, &user);
            let mut properties = events[0].properties.clone();
            properties.sort_by(|a, b| a.0.cmp(&b.0));
            prop_assert_eq!(&properties, &[("n".into(), Value::from(number)), ("t".into(), Value::String(text))]);
        }
    }
}
