//! Which web pages may read answers (CORS).
//!
//! Pages of any origin may write, with a key if there are any: an answer to a write tells nothing but counts. Pages of the origins that
//! the operator lists may query as well. No page of elsewhere reaches what takes a key of scope admin. Credentials of
//! the browser are never asked for: the key is the only one.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};

use super::access::Access;
use super::handlers::App;
use super::respond::Reply;
use super::routes::Action;
use crate::keys::Scope;

/// Bytes of the list of headers that a page asks to send.
const HEADER_LIST_SIZE_MAX: usize = 1_024;
/// Seconds for which a browser may remember the answer to its question.
const MAX_AGE_SECONDS: &str = "86400";

/// Whether pages of elsewhere may ask for it at all.
fn is_shared(action: Action, access: Access) -> bool {
    action.is_ingest() || access == Access::Key(Scope::Read)
}

impl App {
    /// What `Access-Control-Allow-Origin` says of an answer to this request.
    pub(super) fn shared_with(
        &self,
        action: Action,
        access: Access,
        headers: &HeaderMap,
    ) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        if !is_shared(action, access) {
            return None;
        }
        let is_listed = origin.to_str().is_ok_and(|origin| self.doorkeeper.is_listed(origin));
        match is_listed {
            true => Some(origin.clone()),
            false if action.is_ingest() => Some(HeaderValue::from_static("*")),
            false => None,
        }
    }

    /// Answers a browser that asks whether a page may send a request; `None` if this is no such question.
    pub(super) fn answer_preflight(&self, parts: &Parts) -> Option<Reply> {
        if parts.method != Method::OPTIONS || !parts.headers.contains_key(ORIGIN) {
            return None;
        }
        let wanted = Method::from_bytes(parts.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()?;
        let found = self.routes.find(&wanted, parts.uri.path()).ok()?;
        let action = found.route.action;
        let origin = self.shared_with(action, super::access::needed(action), &parts.headers);
        let mut reply: Reply = Response::default();
        *reply.status_mut() = StatusCode::NO_CONTENT;
        let headers = reply.headers_mut();
        if let Some(origin) = origin {
            share(headers, origin);
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_str(wanted.as_str()).ok()?);
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_SECONDS));
            let asked = parts.headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
            if let Some(asked) = asked.filter(|asked| asked.len() <= HEADER_LIST_SIZE_MAX) {
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
            }
        }
        Some(reply)
    }
}

/// Lets pages of the origin read an answer.
pub(super) fn share(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers
        .insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("etag, retry-after, x-request-id"));
    headers.append(VARY, HeaderValue::from_static("origin"));
}
