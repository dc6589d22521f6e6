//! Reads the body of a request: all of it, within bounds, or a problem that says why not.
//!
//! Memory for a body is taken before its bytes are there: as they come, twice as much, for what is made of them; and
//! twice what decoding adds. So whatever is on its way in at once takes no more than was set, however well it was
//! compressed. When there is no room left, requests are told to come again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::api::{Problem, ProblemClass, TREE_VALUE_SIZE, TreeRoom};
use crate::ingest::decode_body;
use crate::limits::{
    BODY_DISCARDED_SIZE_MAX, BODY_IDLE_TIME_MAX, BODY_MEMORY_STEP, UNKEYED_DECODED_SIZE_MAX,
};
use crate::settings::Settings;

/// What bodies may take: each for itself, and all together.
#[derive(Clone, Debug)]
pub(super) struct BodyRoom {
    /// Bytes that are free. A permit is a byte.
    free: Arc<Semaphore>,
    memory_size: usize,
    size_max: usize,
    decoded_size_max: usize,
    idle_time_max: Duration,
    /// Bytes a second.
    rate_min: usize,
}

impl BodyRoom {
    pub fn new(settings: &Settings) -> BodyRoom {
        BodyRoom {
            free: Arc::new(Semaphore::new(settings.body_memory)),
            memory_size: settings.body_memory,
            size_max: settings.max_body_size,
            decoded_size_max: settings.max_decoded_size,
            idle_time_max: settings.body_timeout,
            rate_min: settings.min_body_rate,
        }
    }

    /// Bytes of memory that bodies take by now.
    pub fn used(&self) -> usize {
        self.memory_size.saturating_sub(self.free.available_permits())
    }

    /// The same room, for a body of whom nobody knows yet whether they may send it.
    pub fn for_unkeyed(&self) -> BodyRoom {
        let [size_max, decoded_size_max] =
            [self.size_max, self.decoded_size_max].map(|size| size.min(UNKEYED_DECODED_SIZE_MAX));
        BodyRoom { size_max, decoded_size_max, ..self.clone() }
    }

    fn reserve(&self, size: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let permits = u32::try_from(size).ok();
        let reserved = permits.and_then(|size| Arc::clone(&self.free).try_acquire_many_owned(size).ok());
        reserved.ok_or_else(|| {
            Problem::new(ProblemClass::Busy, "the bodies of requests take all of the memory that they may")
                .hint("send it again in a moment, or send fewer at once")
        })
    }

    fn too_large(&self) -> Problem {
        let detail = format!("the body is larger than {} bytes", self.size_max);
        Problem::new(ProblemClass::TooLarge, detail).hint("send it in parts, or compressed with gzip or zstd")
    }
}

/// A share of the memory for bodies, which grows.
#[derive(Debug)]
struct Share {
    reserved: OwnedSemaphorePermit,
    room: BodyRoom,
}

impl Share {
    /// Takes what is missing to `size`, and some for what comes next.
    fn grow_to(&mut self, size: usize) -> Result<(), Problem> {
        if size > self.room.memory_size {
            let detail = format!("the body takes more than the {} bytes that all may", self.room.memory_size);
            return Err(Problem::new(ProblemClass::TooLarge, detail).hint("send it in parts"));
        }
        let missing = size.saturating_sub(self.reserved.num_permits());
        if missing > 0 {
            // Some more, for what comes next, but no more than there is.
            let step = missing.max(BODY_MEMORY_STEP.min(self.room.memory_size - size + missing));
            self.reserved.merge(self.room.reserve(step)?);
        }
        Ok(())
    }
}

/// A body as it came, and its share of the memory, which it keeps until it is dropped.
#[derive(Debug)]
pub(super) struct ReceivedBody {
    bytes: Vec<u8>,
    encoding: Option<String>,
    share: Mutex<Share>,
}

impl ReceivedBody {
    /// Undoes the content encoding, and hands the bytes to `parse`. Takes time: not for an async worker.
    pub fn decoded<T>(&self, parse: impl FnOnce(&[u8]) -> Result<T, Problem>) -> Result<T, Problem> {
        self.as_it_came(|bytes, size_max, grow| {
            parse(&decode_body(self.encoding.as_deref(), bytes, size_max, grow)?)
        })
    }

    /// As [`ReceivedBody::decoded`], for JSON that becomes a tree, which takes its memory from the share as well.
    pub fn tree<T>(
        &self,
        parse: impl FnOnce(&[u8], TreeRoom<'_>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        self.as_it_came(|bytes, size_max, grow| {
            let body = decode_body(self.encoding.as_deref(), bytes, size_max, grow)?;
            parse(&body, &mut |value_count| grow(body.len() + value_count * TREE_VALUE_SIZE / 2))
        })
    }

    /// Hands the bytes as they came to `parse`, which knows their encoding by looking at them, with the bounds of
    /// [`decode_body`].
    pub fn as_it_came<T>(
        &self,
        parse: impl FnOnce(&[u8], usize, &mut dyn FnMut(usize) -> Result<(), Problem>) -> T,
    ) -> T {
        let (size_max, sent) = {
            let share = self.share.lock();
            (share.room.decoded_size_max, self.bytes.len())
        };
        let mut grow = |decoded: usize| self.share.lock().grow_to(sent + 2 * decoded);
        parse(&self.bytes, size_max, &mut grow)
    }
}

/// Reads all of a body.
pub(super) async fn read(
    incoming: &mut Incoming,
    headers: &HeaderMap,
    room: &BodyRoom,
) -> Result<ReceivedBody, Problem> {
    let encoding = encoding(headers)?;
    // A body that is announced too large is refused before any of it is read.
    let announced = usize::try_from(incoming.size_hint().lower()).ok();
    let announced = announced.filter(|size| *size <= room.size_max).ok_or_else(|| room.too_large())?;
    let mut share = Share { reserved: room.reserve(2 * announced)?, room: room.clone() };
    let mut bytes = Vec::with_capacity(announced);
    let begun = Instant::now();
    loop {
        let frame = timeout(room.idle_time_max, incoming.frame()).await.map_err(|_| {
            let detail =
                format!("nothing more of the body arrived for {} s", room.idle_time_max.as_secs_f64());
            Problem::new(ProblemClass::TooSlow, detail)
        })?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|e| Problem::invalid(format!("the body broke off: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        let size = bytes.len() + data.len();
        if size > room.size_max {
            return Err(room.too_large());
        }
        let elapsed = begun.elapsed();
        if elapsed > room.idle_time_max && (size as f64) < room.rate_min as f64 * elapsed.as_secs_f64() {
            let detail = format!("the body arrives with fewer than {} bytes a second", room.rate_min);
            return Err(Problem::new(ProblemClass::TooSlow, detail));
        }
        share.grow_to(2 * size)?;
        bytes.extend_from_slice(&data);
    }
    Ok(ReceivedBody { bytes, encoding, share: Mutex::new(share) })
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
