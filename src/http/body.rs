//! Reads the body of a request: all of it, within bounds, or a problem that says why not.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::api::{Problem, ProblemClass};
use crate::ingest::decode_body;
use crate::limits::{BODY_DISCARDED_SIZE_MAX, BODY_IDLE_TIME_MAX, BODY_SIZE_IN_FLIGHT_MAX, BODY_SIZE_MAX};

/// The bytes that bodies of all connections may take up together. A permit is a byte.
#[derive(Clone, Debug)]
pub(super) struct BodyBudget(Arc<Semaphore>);

impl Default for BodyBudget {
    fn default() -> BodyBudget {
        BodyBudget(Arc::new(Semaphore::new(BODY_SIZE_IN_FLIGHT_MAX)))
    }
}

impl BodyBudget {
    fn reserve(&self, size: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let size = u32::try_from(size).expect("at most BODY_SIZE_MAX");
        Arc::clone(&self.0).try_acquire_many_owned(size).map_err(|_| {
            Problem::new(ProblemClass::Busy, "too many request bodies are on their way in")
                .hint("send it again in a moment, or send fewer at once")
        })
    }
}

/// A body as it came, and its share of the budget, which it keeps until it is dropped.
#[derive(Debug)]
pub(super) struct ReceivedBody {
    bytes: Vec<u8>,
    encoding: Option<String>,
    _reserved: OwnedSemaphorePermit,
}

impl ReceivedBody {
    /// The bytes as they came, for those who know their encoding by looking at them.
    pub fn raw(&self) -> &[u8] {
        &self.bytes
    }

    /// Undoes the content encoding, and hands the bytes to `parse`. Takes time: not for an async worker.
    pub fn decoded<T>(&self, parse: impl FnOnce(&[u8]) -> Result<T, Problem>) -> Result<T, Problem> {
        parse(&decode_body(self.encoding.as_deref(), &self.bytes)?)
    }
}

/// Reads all of a body.
pub(super) async fn read(
    incoming: &mut Incoming,
    headers: &HeaderMap,
    budget: &BodyBudget,
) -> Result<ReceivedBody, Problem> {
    let encoding = encoding(headers)?;
    // A body that is announced too large is refused before any of it is read.
    let announced = incoming.size_hint().lower();
    let announced =
        usize::try_from(announced).ok().filter(|size| *size <= BODY_SIZE_MAX).ok_or_else(too_large)?;
    let mut reserved = budget.reserve(announced)?;
    let mut bytes = Vec::with_capacity(announced);
    loop {
        let frame = timeout(BODY_IDLE_TIME_MAX, incoming.frame()).await.map_err(|_| stood_still())?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|e| Problem::invalid(format!("the body broke off: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        let size = bytes.len() + data.len();
        if size > BODY_SIZE_MAX {
            return Err(too_large());
        }
        if size > reserved.num_permits() {
            reserved.merge(budget.reserve(size - reserved.num_permits())?);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(ReceivedBody { bytes, encoding, _reserved: reserved })
}

/// Reads what is left of a body that nobody wants, and throws it away, within bounds.
///
/// Closing a connection with unread bytes resets it, and the client, still sending, would never see why.
pub(super) async fn discard(mut incoming: Incoming) {
    const TIME_MAX: Duration = BODY_IDLE_TIME_MAX;
    let rest = async {
        let mut size = 0;
        while let Some(Ok(frame)) = incoming.frame().await {
            size += frame.data_ref().map_or(0, |data| data.len());
            if size > BODY_DISCARDED_SIZE_MAX {
                break;
            }
        }
    };
    // Over time is as good as done: the connection closes either way.
    let _ = timeout(TIME_MAX, rest).await;
}

fn encoding(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let first = values.next().map(|value| value.to_str().map(|text| text.trim().to_ascii_lowercase()));
    match (first, values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(encoding)), None) => Ok(Some(encoding)),
        _ => Err(Problem::new(
            ProblemClass::UnsupportedMediaType,
            "the body has more than one content encoding",
        )
        .hint("send it as it is, or as gzip or zstd")),
    }
}

fn too_large() -> Problem {
    let size_max = BODY_SIZE_MAX >> 20;
    Problem::new(ProblemClass::TooLarge, format!("the body is larger than {size_max} MiB"))
        .hint("send it in parts, or compressed with gzip or zstd")
}

fn stood_still() -> Problem {
    let seconds = BODY_IDLE_TIME_MAX.as_secs();
    Problem::invalid(format!("nothing more of the body arrived for {seconds} seconds"))
}
