//! Makes answers.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    ETAG, HeaderValue, REFERRER_POLICY, RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::console::Asset;
use super::export::Pieces;
use crate::api::{Format, Problem, ProblemClass};

/// An answer, ready to be sent.
pub(super) type Reply = Response<ReplyBody>;

/// The body of an answer.
#[derive(Debug)]
pub(super) enum ReplyBody {
    Whole(Full<Bytes>),
    /// Still being made.
    Pieces(Pieces),
}

impl Default for ReplyBody {
    fn default() -> ReplyBody {
        ReplyBody::Whole(Full::default())
    }
}

impl<T: Into<Bytes>> From<T> for ReplyBody {
    fn from(bytes: T) -> ReplyBody {
        ReplyBody::Whole(Full::new(bytes.into()))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            ReplyBody::Whole(bytes) => Pin::new(bytes).poll_frame(cx).map_err(|never| match never {}),
            ReplyBody::Pieces(pieces) => pieces.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, ReplyBody::Whole(bytes) if bytes.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ReplyBody::Whole(bytes) => bytes.size_hint(),
            ReplyBody::Pieces(_) => SizeHint::default(),
        }
    }
}

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

/// Tells JSON that is written already.
pub(super) fn json_text(text: &'static str) -> Reply {
    reply(StatusCode::OK, "application/json", text)
}

/// Tells a result that is encoded already, and the tag by which the asker may ask whether it still holds.
pub(super) fn table(format: Format, encoded: Vec<u8>, tag: Option<&str>) -> Reply {
    let mut reply = reply(StatusCode::OK, format.content_type(), encoded);
    keep_if_asked(&mut reply, tag);
    reply
}

/// Tells that the result which the asker has still holds.
pub(super) fn not_modified(tag: &str) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = StatusCode::NOT_MODIFIED;
    keep_if_asked(&mut reply, Some(tag));
    reply
}

/// Sends a body that is still being made.
pub(super) fn pieces(content_type: &'static str, pieces: Pieces) -> Reply {
    reply(StatusCode::OK, content_type, ReplyBody::Pieces(pieces))
}

/// Lets the asker keep a result, if it asks each time whether it still holds.
fn keep_if_asked(reply: &mut Reply, tag: Option<&str>) {
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, max-age=0, must-revalidate"));
    headers.insert(VARY, HeaderValue::from(ACCEPT));
    if let Some(tag) = tag {
        headers.insert(ETAG, HeaderValue::from_str(tag).expect("tags are visible ASCII"));
    }
}

/// What the console's page may do: load files of its own server and talk to it, and nothing else.
const PAGE_POLICY: &str =
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Sends a file of the console.
pub(super) fn asset(asset: &Asset, bytes: Bytes, is_compressed: bool) -> Reply {
    let mut reply = reply(StatusCode::OK, asset.content_type, bytes);
    let headers = reply.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if is_compressed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    keep_asset(&mut reply, asset);
    reply
}

/// Tells that the file which the asker has is still the same.
pub(super) fn held_asset(asset: &Asset) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = StatusCode::NOT_MODIFIED;
    keep_asset(&mut reply, asset);
    reply
}

/// Lets the asker keep a file, if it asks each time whether it is still the same: another release may answer.
fn keep_asset(reply: &mut Reply, asset: &Asset) {
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(VARY, HeaderValue::from(ACCEPT_ENCODING));
    headers.insert(ETAG, HeaderValue::from_str(&asset.tag).expect("tags are visible ASCII"));
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
    if problem.class == ProblemClass::Unauthorized {
        let challenge = HeaderValue::from_static("Bearer realm=\"flywheel\"");
        reply.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    if matches!(problem.class, ProblemClass::Busy | ProblemClass::Unavailable | ProblemClass::ReadOnly) {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    reply
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<ReplyBody>) -> Reply {
    let mut reply = Response::new(body.into());
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Every answer is of its moment, but for results.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
