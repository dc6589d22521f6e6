//! Asks a running server: the command line's other way to a store.

use std::error::Error as _;
use std::future::Future;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as HttpClient, Error};
use hyper_util::rt::TokioExecutor;
use tokio::runtime::Runtime;

use super::parameters::percent_encode;
use crate::api::{Format, Json, Problem, ProblemClass};

/// The way to one server. Blocks until it has answered.
#[derive(Debug)]
pub struct Client {
    /// Without a slash at its end.
    url: String,
    http: HttpClient<HttpConnector, Full<Bytes>>,
    runtime: Runtime,
}

impl Client {
    /// Prepares to ask the server at `url`, such as `http://127.0.0.1:7070`. Does not connect yet.
    pub fn new(url: &str) -> Result<Client, Problem> {
        let url = url.trim_end_matches('/');
        let parsed = url.parse::<Uri>().ok();
        if parsed.as_ref().and_then(Uri::scheme_str) != Some("http") {
            return Err(Problem::invalid(format!("{url:?} is not the address of a server"))
                .hint("it looks like http://127.0.0.1:7070; https is not spoken yet"));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime
            .map_err(|e| Problem::new(ProblemClass::Io, format!("cannot prepare to ask a server: {e}")))?;
        let http = HttpClient::builder(TokioExecutor::new()).build_http();
        Ok(Client { url: url.to_owned(), http, runtime })
    }

    /// Asks a query. Returns the result in the format.
    pub fn query(&self, kind: &str, format: Format, query: String) -> Result<Vec<u8>, Problem> {
        let path = format!("/v1/query/{}?format={}", percent_encode(kind), format.word());
        self.post(&path, "application/json", query)
    }

    /// Posts a body. Returns that of the answer, or the problem that the server tells.
    pub fn post(&self, path: &str, content_type: &str, body: impl Into<Bytes>) -> Result<Vec<u8>, Problem> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.url))
            .header(CONTENT_TYPE, content_type)
            .body(Full::new(body.into()))
            .map_err(|e| Problem::invalid(format!("{}{path} is not an address: {e}", self.url)))?;
        let exchange = self.http.request(request);
        let (status, body) = self.runtime.block_on(self.exchange(exchange))?;
        if (200..300).contains(&status) { Ok(body) } else { Err(told_problem(status, &body)) }
    }

    async fn exchange(
        &self,
        exchange: impl Future<Output = Result<hyper::Response<hyper::body::Incoming>, Error>>,
    ) -> Result<(u16, Vec<u8>), Problem> {
        let response = exchange.await.map_err(|e| {
            let reason = e.source().map_or_else(|| e.to_string(), innermost);
            let detail = format!("cannot ask {}: {reason}", self.url);
            Problem::new(ProblemClass::Io, detail).hint("is the server running? flywheel serve starts one")
        })?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|e| {
            Problem::new(ProblemClass::Io, format!("the answer of {} broke off: {e}", self.url))
        })?;
        Ok((status, body.to_bytes().into()))
    }
}

/// The first cause: what the system said.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The problem that an answer tells.
fn told_problem(status: u16, body: &[u8]) -> Problem {
    let json = Json::parse(body).unwrap_or(Json::Null);
    let text = |name| match json.get(name) {
        Some(Json::String(text)) => Some(text.clone()),
        _ => None,
    };
    let detail = text("detail").unwrap_or_else(|| format!("the server answered with status {status}"));
    let mut problem = Problem::new(class_of(status), detail);
    (problem.path, problem.hint) = (text("path"), text("hint"));
    problem
}

/// The class that a status stands for. A damaged store looks like any failure from outside.
fn class_of(status: u16) -> ProblemClass {
    match status {
        400 => ProblemClass::Invalid,
        401 => ProblemClass::Unauthorized,
        403 => ProblemClass::Forbidden,
        404 => ProblemClass::NotFound,
        405 => ProblemClass::MethodNotAllowed,
        406 => ProblemClass::NotAcceptable,
        409 => ProblemClass::Conflict,
        413 => ProblemClass::TooLarge,
        415 => ProblemClass::UnsupportedMediaType,
        429 => ProblemClass::Busy,
        503 => ProblemClass::ReadOnly,
        504 => ProblemClass::Timeout,
        _ => ProblemClass::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_arrives_as_it_was_told() {
        let problem = Problem::invalid("no steps").at("/steps").hint("add one");
        assert_eq!(told_problem(400, problem.to_json().as_bytes()), problem);
        assert!(told_problem(502, b"<html>").detail.contains("502"));
    }

    #[test]
    fn only_plain_http_is_spoken() {
        for url in ["https://a.example", "127.0.0.1:7070", "", "ftp://x"] {
            assert!(Client::new(url).is_err(), "{url}");
        }
        Client::new("http://127.0.0.1:7070/").unwrap();
    }
}
