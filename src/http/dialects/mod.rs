//! Answers the SDKs of other products at their own addresses.
//!
//! `ingest::dialects` reads what they send and knows what they expect; `apply` stores it. Here a request is taken in and
//! answered: always 200 with a body where something was stored, never a redirect, and every problem in the words of
//! the SDK. Addresses and answers: docs/sdks.md.

mod apply;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, ORIGIN, RETRY_AFTER,
    VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};

use super::access::Access;
use super::arrivals::BatchEnd;
use super::body;
use super::handlers::{App, instant, now};
use super::respond::{Refusal, Reply};
use crate::api::{Problem, ProblemClass};
use crate::ingest::dialects::{ADDRESSES, Answer, Call, Endpoint};
use crate::keys::is_key;

pub(super) use apply::DialectState;

/// Seconds for which a browser may remember that it may send.
const PREFLIGHT_AGE_SECONDS: &str = "86400";

/// The endpoint that a request is for, if it is one of an SDK.
pub(super) fn endpoint_of(parts: &Parts) -> Option<Endpoint> {
    let content_type = header(&parts.headers, CONTENT_TYPE.as_str()).unwrap_or_default();
    let is_binary = parts.headers.contains_key("ce-specversion");
    Endpoint::find(parts.uri.path(), content_type, is_binary)
}

/// What metrics call an endpoint: the first of its addresses.
pub(super) fn endpoint_label(endpoint: Endpoint) -> &'static str {
    let mut addresses = ADDRESSES.iter().filter(|(_, known)| *known == endpoint);
    addresses.next().expect("every endpoint has an address").0
}

impl App {
    /// Answers a request of an SDK.
    pub(super) async fn answer_dialect(
        &self,
        endpoint: Endpoint,
        parts: &Parts,
        incoming: &mut Incoming,
    ) -> Result<Reply, Refusal> {
        if parts.method == Method::OPTIONS {
            return Ok(preflight(endpoint, &parts.headers));
        }
        // A HEAD is no GET here: what an address of an SDK takes by GET is an event.
        if !endpoint.methods().contains(&parts.method.as_str()) {
            let allow = endpoint.methods().join(", ");
            let detail = format!("{} does not take {}", parts.uri.path(), parts.method);
            let problem =
                Problem::new(ProblemClass::MethodNotAllowed, detail).hint(format!("it takes {allow}"));
            return Err(Refusal { problem, allow: Some(allow) });
        }
        let headers = parts.headers.iter();
        let headers = headers
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
        // What a proxy that ends TLS says of it, this server says of its own.
        let own =
            self.settings.tls_cert.as_ref().map(|_| ("x-forwarded-proto".to_owned(), "https".to_owned()));
        let headers: Vec<(String, String)> = own.into_iter().chain(headers).collect();
        let address = parts.uri.path_and_query().map_or("", |address| address.as_str()).to_owned();
        // Whoever may not write however it goes on is told before the body is read.
        let keeper = Arc::clone(&self.doorkeeper);
        let head = Call::of_head(endpoint, &address, headers.clone());
        let key_is_in_body = match self.admit_by_head(endpoint, &head, parts) {
            Ok(key_is_in_body) => key_is_in_body,
            Err(problem) => return Ok(self.dialect_reply(head.refusal(&problem), Some(problem), parts)),
        };
        if endpoint.is_write() {
            self.bridge.check_write_room()?;
        }
        let room = if key_is_in_body { self.bodies.for_unkeyed() } else { self.bodies.clone() };
        let received = body::read(incoming, &parts.headers, &room).await?;
        let limits = self.settings.event_limits();
        let (state, asked) = (Arc::clone(&self.dialects), parts.headers.clone());
        let arrivals = Arc::clone(&self.arrivals);
        let answered = self.bridge.write(move |store| {
            let call = received.as_it_came(|body, size_max, grow| {
                Call::new(endpoint, &address, headers, body, size_max, grow)
            });
            let call = match call {
                Ok(call) => call,
                Err(refused) => {
                    let (answer, problem) = *refused;
                    return Ok((answer, Some(problem)));
                }
            };
            let admitted = match key_is_in_body {
                true => keeper.admit_writer(store, &asked, call.keys().iter().map(String::as_str)),
                false => Ok(()),
            };
            let read = admitted.and_then(|()| call.read(now(), &state.recent, limits)).and_then(|reading| {
                let end = BatchEnd::of(&reading.writes.events);
                apply::apply(store, &state, reading.writes)?;
                arrivals.add(end, instant(now()));
                Ok(reading.answer)
            });
            Ok(match read {
                Ok(answer) => (answer, None),
                Err(problem) => (call.refusal(&problem), Some(problem)),
            })
        });
        let (answer, problem) = answered.await?;
        Ok(self.dialect_reply(answer, problem, parts))
    }

    /// Whether a request of an SDK may go on by its head, and if so, whether its key is still to be found in its body.
    ///
    /// Fails if it carries no key that is valid and cannot have one in its body, or one that is not but was given by
    /// this server: who has one of those puts no other into the body.
    fn admit_by_head(&self, endpoint: Endpoint, head: &Call, parts: &Parts) -> Result<bool, Problem> {
        let (store, keeper) = (self.bridge.store(), &self.doorkeeper);
        if !endpoint.is_write() || !keeper.asks_for_keys(store) {
            return keeper.admit(store, Access::Open, parts).map(|()| false);
        }
        let keys = head.keys();
        match keeper.admit_writer(store, &parts.headers, keys.iter().map(String::as_str)) {
            Ok(()) => Ok(false),
            Err(_) if endpoint.may_have_key_in_body() && !keys.iter().any(|key| is_key(key)) => Ok(true),
            Err(problem) => Err(problem),
        }
    }

    /// The answer to an SDK, and what it was refused for.
    fn dialect_reply(&self, answer: Answer, problem: Option<Problem>, parts: &Parts) -> Reply {
        if let Some(problem) = &problem {
            self.metrics.refused(problem);
            // Under a load that is too much there would be a line for each request.
            match is_busy(problem) {
                true => tracing::debug!(%problem, path = parts.uri.path(), "an SDK is told to come again"),
                false => {
                    tracing::warn!(%problem, path = parts.uri.path(), "an SDK sent what is not understood")
                }
            }
        }
        let mut reply = reply(answer);
        if problem.as_ref().is_some_and(is_busy) {
            reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        share(&mut reply, &parts.headers);
        reply
    }
}

fn reply(answer: Answer) -> Reply {
    let mut reply = Reply::new(answer.body.into());
    *reply.status_mut() = StatusCode::from_u16(answer.status).expect("dialects answer with valid statuses");
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

fn is_busy(problem: &Problem) -> bool {
    matches!(problem.status(), 429 | 503)
}

/// Tells a browser that pages may send what it asks about.
fn preflight(endpoint: Endpoint, asked: &HeaderMap) -> Reply {
    let mut reply: Reply = Response::default();
    *reply.status_mut() = StatusCode::NO_CONTENT;
    share(&mut reply, asked);
    let headers = reply.headers_mut();
    let methods = HeaderValue::from_str(&endpoint.methods().join(", ")).expect("methods are visible ASCII");
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_AGE_SECONDS));
    if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    reply
}

/// Lets the page that sent a request read the answer, which tells no more than counts.
///
/// Some SDKs send with the browser's credentials on, which is why the page is named; no cookie means anything here.
fn share(reply: &mut Reply, asked: &HeaderMap) {
    let Some(origin) = asked.get(ORIGIN) else { return };
    let headers = reply.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    headers.append(VARY, HeaderValue::from(ORIGIN));
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
