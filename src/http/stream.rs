//! A connection whose requests must be beyond doubt, and must not stand still.
//!
//! A client may be slow, but not stand still: a request's head has to be complete soon after its first byte,
//! and an answer has to be taken off our hands. hyper bounds only the pause between requests. Bodies are watched where
//! they are read. A head that [`Framing`] refuses ends the connection, after its reason was told.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::farewell::{Farewells, farewell};
use super::framing::Framing;
use crate::api::{Problem, ProblemClass};

/// How long a connection may stand still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// Between two bytes of an answer.
    pub answer: Duration,
}

/// Whether a request of the connection is being answered, and since when nothing was said to its client if not.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<ActivityState>);

#[derive(Debug)]
struct ActivityState {
    is_answering: AtomicBool,
    begun: std::time::Instant,
    /// When something was last said, in nanoseconds since `begun`.
    said: AtomicU64,
}

impl Default for Activity {
    fn default() -> Activity {
        let (is_answering, said) = (AtomicBool::new(false), AtomicU64::new(0));
        Activity(Arc::new(ActivityState { is_answering, begun: std::time::Instant::now(), said }))
    }
}

impl Activity {
    /// Marks the connection as answering until the mark is dropped. A connection answers one request at a time.
    pub fn begin(&self) -> Answering {
        self.0.is_answering.store(true, Ordering::Relaxed);
        Answering(self.clone())
    }

    pub fn is_answering(&self) -> bool {
        self.0.is_answering.load(Ordering::Relaxed)
    }

    /// Notes that the client took something of an answer.
    pub fn speaks(&self) {
        self.0.said.store(self.0.begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    /// How long nothing was said. What the client says does not count: it may say a byte at a time for ever.
    pub fn silence(&self) -> Duration {
        self.0.begun.elapsed().saturating_sub(Duration::from_nanos(self.0.said.load(Ordering::Relaxed)))
    }
}

/// A request is being answered.
#[derive(Debug)]
pub(super) struct Answering(Activity);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.speaks();
        self.0.0.is_answering.store(false, Ordering::Relaxed);
    }
}

/// A byte stream that fails with [`io::ErrorKind::TimedOut`] where it stands still for too long, and ends where a
/// request is refused.
#[derive(Debug)]
pub(super) struct MovingStream<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> {
    /// `None` only while it is dropped.
    inner: Option<S>,
    activity: Activity,
    framing: Framing,
    patience: Patience,
    head: Clock,
    answer: Clock,
    /// Why nothing more is read. Told when the stream is dropped, after all answers.
    refusal: Option<Problem>,
    farewells: Farewells,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> MovingStream<S> {
    /// Watches a connection that was just made: its first head is due from now on.
    pub fn new(inner: S, activity: Activity, patience: Patience, farewells: Farewells) -> MovingStream<S> {
        let mut head = Clock::default();
        head.start(patience.head);
        MovingStream {
            inner: Some(inner),
            activity,
            framing: Framing::default(),
            patience,
            head,
            answer: Clock::default(),
            refusal: None,
            farewells,
        }
    }

    fn inner(&mut self) -> &mut S {
        self.inner.as_mut().expect("the stream is not dropped yet")
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> AsyncRead for MovingStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.refusal.is_some() {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(this.inner()).poll_read(cx, buffer);
        match polled {
            Poll::Ready(Ok(())) => {
                if let Err(problem) = this.framing.feed(&buffer.filled()[before..]) {
                    // None of it is passed on: who sends such bytes is not to be believed the rest.
                    buffer.set_filled(before);
                    this.refusal = Some(problem);
                } else if this.framing.is_in_head() {
                    this.head.start(this.patience.head);
                } else if buffer.filled().len() > before {
                    this.head.stop();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending if this.head.is_over(cx) => {
                let seconds = this.patience.head.as_secs_f64();
                let detail = format!("the request's line and headers did not arrive within {seconds} s");
                this.refusal = this.framing.is_in_head().then(|| Problem::new(ProblemClass::TooSlow, detail));
                match this.refusal {
                    Some(_) => Poll::Ready(Ok(())),
                    None => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                }
            }
            polled => polled,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Drop for MovingStream<S> {
    fn drop(&mut self) {
        if let (Some(inner), Some(problem)) = (self.inner.take(), self.refusal.take()) {
            farewell(inner, &problem, &self.farewells);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> MovingStream<S> {
    fn poll_moving<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let polled = write(Pin::new(self.inner()), cx);
        if polled.is_ready() {
            self.answer.stop();
            self.activity.speaks();
            return polled;
        }
        self.answer.start(self.patience.answer);
        if self.answer.is_over(cx) { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { polled }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> AsyncWrite for MovingStream<S> {
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
        self.inner.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_moving(cx, |inner, cx| inner.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.refusal.is_some() {
            // What it is for is still to be said.
            return Poll::Ready(Ok(()));
        }
        this.poll_moving(cx, |inner, cx| inner.poll_shutdown(cx))
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

    fn stream(server: tokio::io::DuplexStream) -> MovingStream<tokio::io::DuplexStream> {
        MovingStream::new(server, Activity::default(), PATIENCE, Farewells::default())
    }

    #[tokio::test]
    async fn a_head_that_stands_still_ends_the_connection_and_is_told_why() {
        let (mut client, server) = duplex(4_096);
        let mut stream = stream(server);
        client.write_all(b"GET / HT").await.unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.unwrap();
        assert_eq!(text, b"GET / HT");
        drop(stream);
        let mut told = String::new();
        client.read_to_string(&mut told).await.unwrap();
        assert!(told.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{told}");
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_is_closed_without_a_word() {
        let (mut client, server) = duplex(64);
        let mut stream = stream(server);
        let error = stream.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(stream);
        assert_eq!(client.read(&mut [0; 9]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_body_and_the_pause_between_requests_may_take_their_time() {
        let (mut client, server) = duplex(4_096);
        let mut stream = stream(server);
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n";
        client.write_all(head).await.unwrap();
        let mut read = vec![0; head.len()];
        stream.read_exact(&mut read).await.unwrap();
        for what in ["the body", "the next request"] {
            let pause = tokio::time::timeout(3 * PATIENCE.head, stream.read_u8()).await;
            assert!(pause.is_err(), "{what} may wait");
            client.write_all(b"x").await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), b'x');
        }
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert!(stream.refusal.is_some(), "the head that began has its time");
    }

    #[tokio::test]
    async fn nothing_of_a_request_that_is_in_doubt_is_passed_on() {
        let (mut client, server) = duplex(4_096);
        let mut stream = stream(server);
        let both = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.write_all(both).await.unwrap();
        assert_eq!(stream.read(&mut [0; 1_024]).await.unwrap(), 0);
        drop(stream);
        let mut told = String::new();
        client.read_to_string(&mut told).await.unwrap();
        assert!(
            told.starts_with("HTTP/1.1 400 Bad Request\r\n") && told.contains("Transfer-Encoding"),
            "{told}"
        );
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_ends_the_connection() {
        let (_client, server) = duplex(8);
        let mut stream = stream(server);
        let error = stream.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
