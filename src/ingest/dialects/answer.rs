//! What each SDK expects to be answered: they read bodies more often than statuses.

use super::endpoint::{Dialect, Endpoint};
use super::writes::{Dropped, Writes};
use crate::api::{Json, Problem, ProblemClass};

/// An answer, but for the headers that do not depend on the dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(status: u16, body: &Json) -> Answer {
        Answer { status, content_type: "application/json", body: body.to_string().into_bytes() }
    }

    fn text(text: &str) -> Answer {
        Answer { status: 200, content_type: "text/plain; charset=utf-8", body: text.as_bytes().to_vec() }
    }

    /// The smallest picture: one transparent pixel (GIF89a).
    pub(super) fn pixel() -> Answer {
        const PIXEL: [u8; 43] = *b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";
        Answer { status: 200, content_type: "image/gif", body: PIXEL.to_vec() }
    }
}

/// An object of a few fields.
pub(super) fn object<const N: usize>(fields: [(&str, Json); N]) -> Json {
    Json::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

pub(super) fn string(text: impl Into<String>) -> Json {
    Json::String(text.into())
}

pub(super) fn number(count: usize) -> Json {
    Json::Number((count as i64).into())
}

/// What was left out, for answers whose readers do not mind another field.
pub(super) fn told(dropped: &[Dropped]) -> Json {
    let tell =
        |dropped: &Dropped| object([("index", number(dropped.index)), ("detail", string(&dropped.reason))]);
    Json::Array(dropped.iter().map(tell).collect())
}

/// `fields`, and what was left out if that is anything.
pub(super) fn with_rejected<const N: usize>(fields: [(&str, Json); N], writes: &Writes) -> Json {
    let mut answer = object(fields);
    if let (Json::Object(fields), false) = (&mut answer, writes.dropped.is_empty()) {
        fields.push(("rejected".to_owned(), told(&writes.dropped)));
    }
    answer
}

/// How Mixpanel's SDKs want to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MixpanelForm {
    /// `1` or `0`, and nothing else.
    Digit,
    /// `verbose=1`.
    Verbose,
    /// JSON bodies of `/import`.
    Import,
}

/// The answer to a Mixpanel request of which `writes` was stored.
pub(super) fn mixpanel(form: MixpanelForm, writes: &Writes) -> Answer {
    let taken = writes.item_count - writes.dropped.len();
    match form {
        MixpanelForm::Digit => Answer::text("1"),
        MixpanelForm::Verbose => {
            Answer::json(200, &with_rejected([("status", number(1)), ("error", Json::Null)], writes))
        }
        MixpanelForm::Import if writes.dropped.is_empty() => {
            let fields =
                [("code", number(200)), ("num_records_imported", number(taken)), ("status", string("OK"))];
            Answer::json(200, &object(fields))
        }
        MixpanelForm::Import => {
            let failed = writes.dropped.iter().map(|dropped| {
                object([
                    ("index", number(dropped.index)),
                    ("insert_id", dropped.id.as_deref().map_or(Json::Null, string)),
                    ("field", string(&dropped.field)),
                    ("message", string(&dropped.reason)),
                ])
            });
            let fields = [
                ("code", number(400)),
                ("error", string("some data points in the request failed validation")),
                ("status", string("Bad Request")),
                ("num_records_imported", number(taken)),
                ("failed_records", Json::Array(failed.collect())),
            ];
            Answer::json(400, &object(fields))
        }
    }
}

/// Tells a problem in the words of the dialect.
pub(super) fn refusal(endpoint: Endpoint, mixpanel: MixpanelForm, problem: &Problem) -> Answer {
    let status = problem.status();
    let is_key = problem.class == ProblemClass::Unauthorized;
    let body = match endpoint.dialect() {
        Dialect::Segment => {
            let code = if is_key { "unauthorized" } else { "invalid" };
            object([
                ("success", Json::Bool(false)),
                ("code", string(code)),
                ("message", string(problem.to_string())),
            ])
        }
        Dialect::PostHog => object([
            ("type", string(if is_key { "authentication_error" } else { "validation_error" })),
            ("code", string(if is_key { "invalid_api_key" } else { "invalid_input" })),
            ("detail", string(problem.to_string())),
            ("attr", Json::Null),
        ]),
        Dialect::Mixpanel => match mixpanel {
            MixpanelForm::Digit => {
                return Answer { status, ..Answer::text("0") };
            }
            MixpanelForm::Verbose => object([("status", number(0)), ("error", string(problem.to_string()))]),
            MixpanelForm::Import => object([
                ("code", number(status.into())),
                ("error", string(problem.to_string())),
                ("status", string("Bad Request")),
            ]),
        },
        // A key that is wrong stops these SDKs only as a 400 of these words.
        Dialect::Amplitude => object([
            ("code", number(if is_key { 400 } else { status.into() })),
            (
                "error",
                string(if is_key { format!("Invalid API key: {problem}") } else { problem.to_string() }),
            ),
        ]),
        Dialect::CloudEvents | Dialect::Snowplow => {
            let body = problem.to_json().into_bytes();
            return Answer { status, content_type: "application/problem+json", body };
        }
    };
    Answer::json(status, &body)
}
