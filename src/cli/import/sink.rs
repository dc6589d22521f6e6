//! Where imported events go: a store of our own, or a running server.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::runtime::Runtime;

use crate::api::{Json, Problem, ProblemClass};
use crate::http::connector;
use crate::ingest::{Said, write_event, write_identity, write_profile};
use crate::limits::BODY_SIZE_MAX;
use crate::memory::return_memory;
use crate::model::{Entity, EventBatch};
use crate::store::{Receipt, Store, StoreOptions};

/// How long a server may take for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a server may be busy before the import gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes of an answer that are read.
const ANSWER_SIZE_MAX: usize = 1 << 20;
/// Bytes of a request after which the next one begins; with its last event it still fits a server's limit.
const REQUEST_SIZE: usize = BODY_SIZE_MAX / 2;

/// Takes batches of events, in order.
pub(super) enum Sink {
    Store {
        store: Store,
        /// Whether events go into no log. What is said beside events has to come after them.
        is_load: bool,
    },
    Server(Box<Server>),
}

impl Sink {
    /// Opens the store at `data`, or gets ready to send to the server at `url`.
    pub fn open(url: Option<&str>, key: Option<&str>, data: &Path) -> Result<Sink, Problem> {
        match url {
            Some(url) => Server::new(url, key).map(|server| Sink::Server(Box::new(server))),
            None => {
                let options = StoreOptions { waits_for_joins: true, ..StoreOptions::default() };
                let opened =
                    Store::open_with(data, options).map(|store| Sink::Store { store, is_load: true });
                opened.map_err(|problem| match problem.class {
                    ProblemClass::Conflict => {
                        problem.hint("if a server has it open, import through it with --url")
                    }
                    _ => problem,
                })
            }
        }
    }

    /// Events in one batch: large for a store; smaller for a request that may be repeated.
    pub fn chunk_event_count(&self) -> usize {
        match self {
            Sink::Store { .. } => 20_000,
            Sink::Server(_) => 10_000,
        }
    }

    /// Takes the batch. A server gets it in several requests if it is large, each all or nothing, and has stored it; a
    /// store of our own has when the sink is closed.
    pub fn ingest(&mut self, batch: EventBatch) -> Result<Receipt, Problem> {
        match self {
            Sink::Store { store, is_load: true } => store.load(batch),
            Sink::Store { store, is_load: false } => store.ingest(batch),
            Sink::Server(server) => server.ingest(&batch),
        }
    }

    /// Does what is said beside events: who is who, then profiles.
    pub fn apply(&mut self, said: Said) -> Result<(), Problem> {
        let Said { merges, users, accounts } = said;
        match self {
            Sink::Store { store, is_load } => {
                if *is_load && !(merges.is_empty() && users.is_empty() && accounts.is_empty()) {
                    // Where events and other things alternate, a seal for each change would take the longer.
                    store.seal()?;
                    *is_load = false;
                }
                if !merges.is_empty() {
                    store.merge_identities(merges)?;
                }
                for (entity, writes) in [(Entity::User, users), (Entity::Account, accounts)] {
                    if !writes.is_empty() {
                        store.write_profiles(entity, writes)?;
                    }
                }
                Ok(())
            }
            Sink::Server(server) => {
                server.apply("identities", &merges, write_identity)?;
                server.apply("users", &users, |out, write| write_profile(out, Entity::User, write))?;
                server.apply("accounts", &accounts, |out, write| write_profile(out, Entity::Account, write))
            }
        }
    }

    /// Ends the import. A store of our own is left with few segments, so that the first query finds it at its best.
    pub fn close(self) -> Result<(), Problem> {
        match self {
            Sink::Store { store, .. } => {
                store.seal()?;
                // What loading took is not what joining takes.
                return_memory();
                store.compact_where_due()?;
                store.close()
            }
            Sink::Server(_) => Ok(()),
        }
    }
}

/// A running server.
pub(super) struct Server {
    runtime: Runtime,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// The server's address without a path.
    base: String,
    key: Option<String>,
}

/// What came back from one request.
struct Reply {
    status: StatusCode,
    retry_after: Option<Duration>,
    body: Bytes,
}

impl Server {
    fn new(url: &str, key: Option<&str>) -> Result<Server, Problem> {
        let wrong = |what: &str| {
            Problem::invalid(format!("the URL {url:?} {what}")).hint("give it as http://127.0.0.1:7070")
        };
        let base = url.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|error| wrong(&format!("is not valid: {error}")))?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            _ => return Err(wrong("has no scheme")),
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|e| Problem::new(ProblemClass::Io, format!("no async runtime: {e}")))?;
        let client =
            Client::builder(TokioExecutor::new()).build(connector(uri.scheme_str() == Some("https")));
        Ok(Server { runtime, client, base, key: key.map(str::to_owned) })
    }

    /// Sends changes as lines to the address of their kind. Sending them again changes nothing.
    fn apply<T>(&self, kind: &str, changes: &[T], write: impl Fn(&mut Vec<u8>, &T)) -> Result<(), Problem> {
        let mut changes = changes.iter().peekable();
        while changes.peek().is_some() {
            let mut body = Vec::new();
            while body.len() < REQUEST_SIZE {
                let Some(change) = changes.next() else { break };
                write(&mut body, change);
            }
            self.send(kind, Bytes::from(body), true)?;
        }
        Ok(())
    }

    fn ingest(&self, batch: &EventBatch) -> Result<Receipt, Problem> {
        let mut total = Receipt::default();
        let mut events = batch.iter().peekable();
        while events.peek().is_some() {
            let (mut body, mut have_ids) = (Vec::new(), true);
            while body.len() < REQUEST_SIZE {
                let Some(event) = events.next() else { break };
                have_ids &= event.id().is_some();
                write_event(&mut body, event);
            }
            let receipt = receipt(&self.send("events", Bytes::from(body), have_ids)?)?;
            total.accepted += receipt.accepted;
            total.duplicates += receipt.duplicates;
            total.expired += receipt.expired;
        }
        Ok(total)
    }

    /// Sends one body until the server takes it, for as long as it is only busy.
    ///
    /// A connection that breaks is tried again only if `have_ids`: without ids nobody can tell whether the server
    /// stored the events before it broke.
    fn send(&self, kind: &str, body: Bytes, have_ids: bool) -> Result<Bytes, Problem> {
        let (started, mut pause) = (Instant::now(), Duration::from_millis(250));
        loop {
            let reply = self.runtime.block_on(self.request(kind, body.clone()));
            let wait = match reply {
                Ok(reply) if reply.status.is_success() => return Ok(reply.body),
                Ok(reply) if is_busy(reply.status) && started.elapsed() < BUSY_TIMEOUT => reply.retry_after,
                Ok(reply) => return Err(refusal(&reply)),
                Err(_) if have_ids && started.elapsed() < BUSY_TIMEOUT => None,
                Err(problem) => return Err(problem),
            };
            std::thread::sleep(wait.unwrap_or(pause).min(BUSY_TIMEOUT));
            pause = (pause * 2).min(Duration::from_secs(10));
        }
    }

    async fn request(&self, kind: &str, body: Bytes) -> Result<Reply, Problem> {
        let failed =
            |what: String| Problem::new(ProblemClass::Io, format!("cannot send to {}: {what}", self.base));
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/v1/{kind}", self.base))
            .header(CONTENT_TYPE, "application/x-ndjson");
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        let request = request.body(Full::new(body)).map_err(|error| failed(error.to_string()))?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| {
                // The client's own message says only at which stage it failed.
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                failed(format!("{error}{}", cause.unwrap_or_default()))
            })?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_SIZE_MAX).collect().await;
            let body = body.map_err(|error| failed(format!("the answer broke off: {error}")))?.to_bytes();
            let retry_after =
                parts.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Ok(Reply { status: parts.status, retry_after: retry_after.map(Duration::from_secs), body })
        };
        let timed = tokio::time::timeout(REQUEST_TIMEOUT, exchange).await;
        timed.unwrap_or_else(|_| Err(failed(format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()))))
    }
}

fn is_busy(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

fn receipt(body: &[u8]) -> Result<Receipt, Problem> {
    let strange = || Problem::new(ProblemClass::Io, "the server's answer is none of a FlywheelDB server");
    let answer = Json::parse(body).map_err(|_| strange())?;
    let count = |name: &str| -> Option<u64> {
        let node = answer.get(name)?.root().integer(0..=i64::MAX).ok()?;
        u64::try_from(node).ok()
    };
    let (accepted, duplicates) =
        (count("accepted").ok_or_else(strange)?, count("duplicates").ok_or_else(strange)?);
    Ok(Receipt { accepted, duplicates, expired: count("expired").unwrap_or(0) })
}

/// The server's own words on why it did not take the events.
fn refusal(reply: &Reply) -> Problem {
    let class = match reply.status {
        StatusCode::UNAUTHORIZED => ProblemClass::Unauthorized,
        StatusCode::FORBIDDEN => ProblemClass::Forbidden,
        StatusCode::PAYLOAD_TOO_LARGE => ProblemClass::TooLarge,
        status if is_busy(status) => ProblemClass::Busy,
        _ => ProblemClass::Io,
    };
    let answer = Json::parse(&reply.body).ok();
    let detail = match answer.as_ref().and_then(|answer| answer.get("detail")) {
        Some(Json::String(detail)) => detail.clone(),
        _ => "without a reason".to_owned(),
    };
    let problem = Problem::new(class, format!("the server refused the events ({}): {detail}", reply.status));
    if class == ProblemClass::Unauthorized { problem.hint("give its key with --key") } else { problem }
}
