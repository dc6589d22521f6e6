//! Where async crosses to the blocking store, once in each direction.
//!
//! Reads wait in a bounded queue for a thread of their own pool, one a core, so that many askers cannot slow
//! each other down without end. Writes go to tokio's blocking threads, because most of their time they wait
//! for the disk together. The answer to an asker who has gone is dropped, a read not begun is not begun, and a
//! query that was given an [`Asker`]'s flag stops.
//! A panic in either is a problem of class bug, and the thread lives on.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use tokio::sync::{Semaphore, oneshot};

use crate::api::{Problem, ProblemClass};
use crate::limits::{QUERY_WAITING_COUNT_MAX, WRITE_IN_FLIGHT_COUNT_MAX};
use crate::store::{Health, Store};

type Job = Box<dyn FnOnce(&Store) + Send>;

/// The way to the store.
#[derive(Debug)]
pub(super) struct Bridge {
    store: Arc<Store>,
    reads: Sender<Job>,
    writes: Arc<Semaphore>,
}

/// The threads of a bridge. They end when it is dropped and what they are at is done.
#[derive(Debug)]
pub(super) struct ReadThreads {
    /// Closed when the last thread has ended; nothing is ever sent.
    ended: Receiver<()>,
}

/// Somebody who waits for an answer. When this is dropped, because the connection is gone, or the answer is
/// there, the flag is set.
#[derive(Debug, Default)]
pub(super) struct Asker(Arc<AtomicBool>);

impl Asker {
    /// Whether the asker has gone.
    pub fn has_gone(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
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
        let writes = Arc::new(Semaphore::new(WRITE_IN_FLIGHT_COUNT_MAX));
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

    /// What is wrong with the store. Waits for no query and no write.
    pub async fn health(&self) -> Result<Health, Problem> {
        let store = Arc::clone(&self.store);
        let task = tokio::task::spawn_blocking(move || without_panic(|| Ok(store.health())));
        task.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Runs `work` on a thread that may wait for the disk. Once begun it goes on to its end, asker or not.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let permit = Arc::clone(&self.writes).acquire_owned().await.expect("the semaphore is never closed");
        let store = Arc::clone(&self.store);
        let task = tokio::task::spawn_blocking(move || {
            // Kept by the work and not by the asker, who may go before it is done.
            let _permit = permit;
            without_panic(|| work(&store))
        });
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn bridge() -> (Arc<Bridge>, ReadThreads, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path()).unwrap());
        let (bridge, threads) = Bridge::start(store).unwrap();
        (Arc::new(bridge), threads, folder)
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_and_the_threads_live_on() {
        let (bridge, threads, _folder) = bridge();
        for _ in 0..20 {
            let read = bridge.read::<()>(|_| panic!("half way")).await.unwrap_err();
            let write = bridge.write::<()>(|_| panic!("half way")).await.unwrap_err();
            assert_eq!((read.class, write.class), (ProblemClass::Bug, ProblemClass::Bug));
        }
        assert_eq!(bridge.read(|_| Ok(1)).await, Ok(1));
        assert_eq!(bridge.write(|_| Ok(2)).await, Ok(2));
        drop(bridge);
        assert!(threads.wait(Duration::from_secs(10)));
    }

    #[tokio::test]
    async fn an_asker_who_leaves_stops_the_work() {
        let (bridge, threads, _folder) = bridge();
        let (begun, has_begun) = mpsc::channel();
        let asking = tokio::spawn(async move {
            let asker = Asker::default();
            let has_gone = asker.has_gone();
            let work = move |_: &Store| {
                begun.send(()).unwrap();
                while !has_gone.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
                Ok(())
            };
            bridge.read(work).await
        });
        while has_begun.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
        assert!(threads.wait(Duration::from_secs(10)), "the work goes on for nobody");
    }

    #[tokio::test]
    async fn past_the_queue_askers_are_told_to_come_again_and_those_who_left_are_forgotten() {
        let (bridge, threads, _folder) = bridge();
        let thread_count = thread::available_parallelism().unwrap().get();
        let (begun, has_begun) = mpsc::channel();
        let (release, released) = bounded::<()>(0);
        let ask = || {
            let (bridge, begun, released) = (Arc::clone(&bridge), begun.clone(), released.clone());
            tokio::spawn(async move {
                let work = move |_: &Store| {
                    begun.send(()).unwrap();
                    let _ = released.recv();
                    Ok(())
                };
                bridge.read(work).await
            })
        };
        let running: Vec<_> = (0..thread_count).map(|_| ask()).collect();
        let mut running_count = 0;
        while running_count < thread_count {
            tokio::task::yield_now().await;
            running_count += has_begun.try_iter().count();
        }
        let waiting: Vec<_> = (0..QUERY_WAITING_COUNT_MAX).map(|_| ask()).collect();
        while !bridge.reads.is_full() {
            tokio::task::yield_now().await;
        }
        assert_eq!(bridge.read(|_| Ok(())).await.unwrap_err().class, ProblemClass::Busy);

        waiting.iter().for_each(tokio::task::JoinHandle::abort);
        for task in waiting {
            let _ = task.await;
        }
        drop(release);
        for task in running {
            task.await.unwrap().unwrap();
        }
        drop(bridge);
        assert!(threads.wait(Duration::from_secs(10)));
        assert_eq!(has_begun.try_iter().count(), 0, "work for nobody was begun");
    }
}
