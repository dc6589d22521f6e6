//! Tells a client why its connection is closed.
//!
//! A connection that is closed with unread bytes is reset, and the client never sees what was written before. So what
//! it still sends is read and thrown away, for a moment.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::api::{Problem, ProblemClass};
use crate::limits::FAREWELL_COUNT_MAX;

/// Time that one takes at most.
const TIME_MAX: Duration = Duration::from_secs(1);
/// Bytes that are thrown away.
const DISCARDED_SIZE_MAX: usize = 1 << 20;

/// Room for those that are under way.
#[derive(Clone, Debug)]
pub(super) struct Farewells(Arc<Semaphore>);

impl Default for Farewells {
    fn default() -> Farewells {
        Farewells(Arc::new(Semaphore::new(FAREWELL_COUNT_MAX)))
    }
}

/// Tells the problem on the connection, and closes it. Without room for that it is just closed.
pub(super) fn farewell<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    mut stream: S,
    problem: &Problem,
    farewells: &Farewells,
) {
    let Ok(permit) = Arc::clone(&farewells.0).try_acquire_owned() else { return };
    // Outside of the runtime there is nobody left to tell.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let text = text_of(problem);
    runtime.spawn(async move {
        let tell = async {
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await?;
            let (mut size, mut thrown_away) = (0, vec![0; 16 << 10]);
            while size < DISCARDED_SIZE_MAX {
                match stream.read(&mut thrown_away).await? {
                    0 => break,
                    count => size += count,
                }
            }
            Ok::<(), std::io::Error>(())
        };
        // Whoever does not listen is not waited for.
        let _ = timeout(TIME_MAX, tell).await;
        drop(permit);
    });
}

/// The whole answer, as bytes on the wire.
fn text_of(problem: &Problem) -> String {
    let status = StatusCode::from_u16(problem.status()).expect("classes have valid statuses");
    let reason = status.canonical_reason().unwrap_or_default();
    let body = problem.to_json() + "\n";
    let retry = match problem.class {
        ProblemClass::Busy | ProblemClass::Unavailable => "retry-after: 1\r\n",
        _ => "",
    };
    format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/problem+json\r\nx-content-type-options: nosniff\r\n\
         {retry}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        status.as_u16(),
        body.len()
    )
}
