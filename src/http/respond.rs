//! Makes answers.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::api::{Format, Problem, ProblemClass};

/// An answer, ready to be sent.
pub(super) type Reply = Response<Full<Bytes>>;

/// A problem, and what its answer's header must say besides.
#[derive(Debug)]
pub(super) struct Refusal {
    pub problem: Problem,
    /// The methods that the address takes, where the asker tried another.
    pub allow: Option<String>,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Refusal {
        Refusal { problem, allow: None }
    }
}

/// Tells JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    let mut text = serde_json::to_string(body).expect("answers have string keys and finite numbers");
    text.push('\n');
    reply(status, "application/json", text)
}

/// Tells a result that is encoded already.
pub(super) fn table(format: Format, encoded: Vec<u8>) -> Reply {
    reply(StatusCode::OK, format.content_type(), encoded)
}

/// Tells what is wrong.
pub(super) fn refusal(refusal: &Refusal) -> Reply {
    let Refusal { problem, allow } = refusal;
    let status = StatusCode::from_u16(problem.status()).expect("classes have valid statuses");
    let mut reply = reply(status, "application/problem+json", problem.to_json() + "\n");
    if let Some(allow) = allow {
        let methods = HeaderValue::from_str(allow).expect("methods are visible ASCII");
        reply.headers_mut().insert(ALLOW, methods);
    }
    if problem.class == ProblemClass::Busy {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    reply
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Every answer is of its moment.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
