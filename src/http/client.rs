//! Asks a running server: the command line's other way to a store.

use std::error::Error as _;
use std::future::Future;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
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
    /// What `Authorization` says.
    authorization: Option<HeaderValue>,
    http: HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Runtime,
}

impl Client {
    /// Prepares to ask the server at `url`, such as `http://127.0.0.1:7070`, with a key if it asks for one. Does not
    /// connect yet.
    pub fn new(url: &str, key: Option<&str>) -> Result<Client, Problem> {
        let url = url.trim_end_matches('/');
        let parsed = url.parse::<Uri>().ok();
        let is_tls = match parsed.as_ref().and_then(Uri::scheme_str) {
            Some("http") => false,
            Some("https") => true,
            _ => {
                return Err(Problem::invalid(format!("{url:?} is not the address of a server"))
                    .hint("it looks like http://127.0.0.1:7070 or https://flywheel.example.com"));
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime
            .map_err(|e| Problem::new(ProblemClass::Io, format!("cannot prepare to ask a server: {e}")))?;
        let http = HttpClient::builder(TokioExecutor::new()).build(connector(is_tls));
        let authorization = key.map(|key| {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
                .map_err(|_| Problem::invalid("the key has characters that no key has"))?;
            value.set_sensitive(true);
            Ok::<_, Problem>(value)
        });
        Ok(Client { url: url.to_owned(), authorization: authorization.transpose()?, http, runtime })
    }

    /// Asks a query. Returns the result in the format.
    pub fn query(&self, kind: &str, format: Format, query: String) -> Result<Vec<u8>, Problem> {
        let path = format!("/v1/query/{}?format={}", percent_encode(kind), format.word());
        self.post(&path, "application/json", query)
    }

    /// Posts a body. Returns that of the answer, or the problem that the server tells.
    pub fn post(&self, path: &str, content_type: &str, body: impl Into<Bytes>) -> Result<Vec<u8>, Problem> {
        self.send(Method::POST, path, Some(content_type), body.into())
    }

    /// Gets what is at a path.
    pub fn get(&self, path: &str) -> Result<Vec<u8>, Problem> {
        self.send(Method::GET, path, None, Bytes::new())
    }

    /// Writes what is at a path, as it arrives. Returns how many bytes that were.
    pub fn get_into(&self, path: &str, out: &mut dyn Write) -> Result<u64, Problem> {
        let request = self.request(Method::GET, path, None, Bytes::new())?;
        let exchange = self.http.request(request);
        self.runtime.block_on(async {
            let response = exchange.await.map_err(|e| self.unanswered(&e))?;
            let status = response.status().as_u16();
            let mut body = response.into_body();
            if !(200..300).contains(&status) {
                let told = body.collect().await.map_err(|e| self.broken(&e))?.to_bytes();
                return Err(told_problem(status, &told));
            }
            let mut size = 0;
            while let Some(frame) = body.frame().await {
                let Ok(bytes) = frame.map_err(|e| self.broken(&e))?.into_data() else { continue };
                let written = out.write_all(&bytes);
                written.map_err(|e| Problem::new(ProblemClass::Io, format!("cannot write it: {e}")))?;
                size += bytes.len() as u64;
            }
            Ok(size)
        })
    }

    /// Deletes what is at `/v1/` and these segments.
    pub fn delete(&self, segments: &[&str]) -> Result<Vec<u8>, Problem> {
        let segments: Vec<_> = segments.iter().map(|segment| percent_encode(segment)).collect();
        self.send(Method::DELETE, &format!("/v1/{}", segments.join("/")), None, Bytes::new())
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Vec<u8>, Problem> {
        let request = self.request(method, path, content_type, body)?;
        let exchange = self.http.request(request);
        let (status, body) = self.runtime.block_on(self.exchange(exchange))?;
        if (200..300).contains(&status) { Ok(body) } else { Err(told_problem(status, &body)) }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Problem> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request
            .body(Full::new(body))
            .map_err(|e| Problem::invalid(format!("{}{path} is not an address: {e}", self.url)))
    }

    fn unanswered(&self, error: &Error) -> Problem {
        let reason = error.source().map_or_else(|| error.to_string(), innermost);
        let detail = format!("cannot ask {}: {reason}", self.url);
        Problem::new(ProblemClass::Io, detail).hint("is the server running? flywheel serve starts one")
    }

    fn broken(&self, error: &hyper::Error) -> Problem {
        Problem::new(ProblemClass::Io, format!("the answer of {} broke off: {error}", self.url))
    }

    async fn exchange(
        &self,
        exchange: impl Future<Output = Result<hyper::Response<hyper::body::Incoming>, Error>>,
    ) -> Result<(u16, Vec<u8>), Problem> {
        let response = exchange.await.map_err(|e| self.unanswered(&e))?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|e| self.broken(&e))?;
        Ok((status, body.to_bytes().into()))
    }
}

/// Connects in the clear, or by TLS to whom the system's certificates vouch for (`SSL_CERT_FILE` names others).
pub(crate) fn connector(is_tls: bool) -> HttpsConnector<HttpConnector> {
    let mut roots = rustls::RootCertStore::empty();
    if is_tls {
        // Single ones that cannot be read do no harm; without any the connection fails and says so.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build()
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
        408 => ProblemClass::TooSlow,
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
    fn only_http_is_spoken() {
        for url in ["127.0.0.1:7070", "", "ftp://x"] {
            assert!(Client::new(url, None).is_err(), "{url}");
        }
        for url in ["http://127.0.0.1:7070/", "https://flywheel.example.com"] {
            Client::new(url, None).unwrap();
        }
        assert!(Client::new("http://127.0.0.1:7070/", Some("a\nb")).is_err());
    }
}
