//! A connection that must keep moving.
//!
//! A client may be slow, but not stand still: a request's head has to be complete soon after its first byte,
//! and an answer has to be taken off our hands. hyper bounds only the two together with the pause between
//! requests (`KEEP_ALIVE_TIME_MAX`), which must be longer. Bodies are watched where they are read.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::limits::{ANSWER_IDLE_TIME_MAX, REQUEST_HEAD_TIME_MAX};

/// How long a connection may stand still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// Between two bytes of an answer.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { head: REQUEST_HEAD_TIME_MAX, answer: ANSWER_IDLE_TIME_MAX }
    }
}

/// Whether a request of the connection is being answered. Shared by the stream and the service, which alone
/// knows where a head ends.
///
/// Counts beginnings and ends of answers together: it is odd while one is being made.
#[derive(Clone, Debug, Default)]
pub(super) struct Activity(Arc<AtomicU64>);

impl Activity {
    /// Marks the connection as answering until the mark is dropped.
    pub fn begin(&self) -> Answering {
        self.0.fetch_add(1, Ordering::Relaxed);
        Answering(self.clone())
    }

    fn change_count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request is being answered. A connection answers one at a time.
#[derive(Debug)]
pub(super) struct Answering(Activity);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A byte stream that fails with [`io::ErrorKind::TimedOut`] where it stands still for too long.
#[derive(Debug)]
pub(super) struct MovingStream<S> {
    inner: S,
    activity: Activity,
    /// The activity that was last looked at. The head's clock belongs to it.
    change_count: u64,
    patience: Patience,
    head: Clock,
    answer: Clock,
}

impl<S> MovingStream<S> {
    /// Watches a connection that was just made: its first head is due from now on.
    pub fn new(inner: S, activity: Activity, patience: Patience) -> MovingStream<S> {
        let mut head = Clock::default();
        head.start(patience.head);
        let change_count = activity.change_count();
        MovingStream { inner, activity, change_count, patience, head, answer: Clock::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MovingStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let change_count = this.activity.change_count();
        if change_count != this.change_count {
            this.head.stop();
            this.change_count = change_count;
        }
        let is_answering = !change_count.is_multiple_of(2);
        let polled = Pin::new(&mut this.inner).poll_read(cx, buffer);
        match polled {
            Poll::Ready(_) if !is_answering => this.head.start(this.patience.head),
            Poll::Pending if this.head.is_over(cx) => {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            _ => {}
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> MovingStream<S> {
    fn poll_moving<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let polled = write(Pin::new(&mut self.inner), cx);
        if polled.is_ready() {
            self.answer.stop();
            return polled;
        }
        self.answer.start(self.patience.answer);
        if self.answer.is_over(cx) { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { polled }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MovingStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_moving(cx, |inner, cx| inner.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_moving(cx, |inner, cx| inner.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_moving(cx, |inner, cx| inner.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_moving(cx, |inner, cx| inner.poll_shutdown(cx))
    }
}

/// A time limit that is started and stopped often and seldom runs out.
#[derive(Debug, Default)]
struct Clock {
    sleep: Option<Pin<Box<Sleep>>>,
    is_running: bool,
}

impl Clock {
    /// Starts the clock, unless it runs.
    fn start(&mut self, time: Duration) {
        if self.is_running {
            return;
        }
        self.is_running = true;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(Instant::now() + time),
            None => self.sleep = Some(Box::pin(sleep(time))),
        }
    }

    fn stop(&mut self) {
        self.is_running = false;
    }

    /// Whether the time is over; if not, the task is woken when it is.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let poll = |sleep: &mut Pin<Box<Sleep>>| {
            ready!(sleep.as_mut().poll(cx));
            Poll::Ready(())
        };
        self.is_running && self.sleep.as_mut().map(poll).is_some_and(|polled| polled.is_ready())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const PATIENCE: Patience =
        Patience { head: Duration::from_millis(40), answer: Duration::from_millis(40) };

    #[tokio::test]
    async fn a_head_that_stands_still_ends_the_connection() {
        let (mut client, server) = duplex(64);
        let mut stream = MovingStream::new(server, Activity::default(), PATIENCE);
        client.write_all(b"GET / HT").await.unwrap();
        let mut text = Vec::new();
        let error = stream.read_to_end(&mut text).await.unwrap_err();
        assert_eq!((error.kind(), text.as_slice()), (io::ErrorKind::TimedOut, b"GET / HT".as_slice()));
    }

    #[tokio::test]
    async fn a_request_that_is_being_answered_may_take_its_time() {
        let (mut client, server) = duplex(64);
        let activity = Activity::default();
        let mut stream = MovingStream::new(server, activity.clone(), PATIENCE);
        let answering = activity.begin();
        let late = tokio::spawn(async move {
            sleep(3 * PATIENCE.head).await;
            client.write_all(b"x").await.unwrap();
            client
        });
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        let _client = late.await.unwrap();
        drop(answering);
        let pause = tokio::time::timeout(3 * PATIENCE.head, stream.read_u8()).await;
        assert!(pause.is_err(), "between requests the connection may wait");
    }

    #[tokio::test]
    async fn the_time_of_an_answer_is_not_taken_off_the_pause_after_it() {
        let (mut client, server) = duplex(64);
        let activity = Activity::default();
        let mut stream = MovingStream::new(server, activity.clone(), PATIENCE);
        client.write_all(b"x").await.unwrap();
        stream.read_u8().await.unwrap();
        let answering = activity.begin();
        sleep(2 * PATIENCE.head).await;
        drop(answering);
        let pause = tokio::time::timeout(PATIENCE.head / 2, stream.read_u8()).await;
        assert!(pause.is_err(), "the clock of the last head has stopped");
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_ends_the_connection() {
        let (_client, server) = duplex(8);
        let mut stream = MovingStream::new(server, Activity::default(), PATIENCE);
        let error = stream.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
