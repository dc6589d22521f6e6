//! Where async crosses to the blocking store, once in each direction.
//!
//! Reads wait in a bounded queue for a thread of their own pool, one a core, so that many askers cannot slow
//! each other down without end. Writes go to tokio's blocking threads, because most of their time they wait
//! for the disk together. The answer to an asker who has gone is dropped, and a read not begun is not begun.
//! A panic in either is a problem of class bug, and the thread lives on.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use tokio::sync::{Semaphore, oneshot};

use crate::api::{Problem, ProblemClass};
use crate::limits::{QUERY_WAITING_COUNT_MAX, WRITE_IN_FLIGHT_COUNT_MAX};
use crate::store::Store;

type Job = Box<dyn FnOnce(&Store) + Send>;

/// The way to the store.
#[derive(Debug)]
pub(super) struct Bridge {
    store: Arc<Store>,
    reads: Sender<Job>,
    writes: Semaphore,
}

/// The threads of a bridge. They end when it is dropped and what they are at is done.
#[derive(Debug)]
pub(super) struct ReadThreads {
    /// Closed when the last thread has ended; nothing is ever sent.
    ended: Receiver<()>,
}

impl Bridge {
    /// Starts the threads that answer reads.
    pub fn start(store: Arc<Store>) -> std::io::Result<(Bridge, ReadThreads)> {
        let (reads, jobs) = bounded::<Job>(QUERY_WAITING_COUNT_MAX);
        let (alive, ended) = bounded::<()>(0);
        for _ in 0..thread::available_parallelism().map_or(1, |count| count.get()) {
            let (store, jobs, alive) = (Arc::clone(&store), jobs.clone(), alive.clone());
            thread::Builder::new().name("query".to_owned()).spawn(move || {
                for job in jobs {
                    job(&store);
                }
                drop(store);
                drop(alive);
            })?;
        }
        let writes = Semaphore::new(WRITE_IN_FLIGHT_COUNT_MAX);
        Ok((Bridge { store, reads, writes }, ReadThreads { ended }))
    }

    /// Runs `work` on a thread of the pool for reads.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |store| {
            if sender.is_closed() {
                return;
            }
            // The asker may go while we work: then nobody takes the result.
            let _ = sender.send(without_panic(|| work(store)));
        });
        match self.reads.try_send(job) {
            Ok(()) => receiver.await.unwrap_or_else(|_| Err(stopping())),
            Err(TrySendError::Full(_)) => {
                let detail = format!("{QUERY_WAITING_COUNT_MAX} queries are waiting already");
                Err(Problem::new(ProblemClass::Busy, detail).hint("ask again in a moment"))
            }
            Err(TrySendError::Disconnected(_)) => Err(stopping()),
        }
    }

    /// Runs `work` on a thread that may wait for the disk. Once begun it goes on to its end, asker or not.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let _permit = self.writes.acquire().await.expect("the semaphore is never closed");
        let store = Arc::clone(&self.store);
        let task = tokio::task::spawn_blocking(move || without_panic(|| work(&store)));
        task.await.unwrap_or_else(|_| Err(stopping()))
    }
}

impl ReadThreads {
    /// Waits for the threads to end. Returns whether they did in time.
    pub fn wait(&self, time_max: Duration) -> bool {
        self.ended.recv_timeout(time_max) == Err(RecvTimeoutError::Disconnected)
    }
}

/// Runs `work`, and turns a panic into a problem.
///
/// The store guards what it shares with locks that know of panics, so it stays usable after one.
fn without_panic<T>(work: impl FnOnce() -> Result<T, Problem>) -> Result<T, Problem> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(bug(panic.as_ref())))
}

/// The problem that a panic is to the asker.
pub(super) fn bug(panic: &(dyn Any + Send)) -> Problem {
    let reason = panic.downcast_ref::<&str>().copied();
    let reason = reason.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown");
    tracing::error!(reason, "a request met a bug");
    Problem::new(ProblemClass::Bug, "the server met a bug while it answered")
        .hint("its log says more; please report it")
}

fn stopping() -> Problem {
    Problem::new(ProblemClass::Busy, "the server is stopping")
}
