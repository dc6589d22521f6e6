//! Where async crosses to the blocking store, once in each direction.
//!
//! Reads wait in a bounded queue for a thread of their lane, so that many askers cannot slow each other down without
//! end, and those of one lane not those of another. Writes go to tokio's blocking threads, because most of their time
//! they wait for the disk together. The answer to an asker who has gone is dropped, a read not begun is not begun, and
//! a query that was given an [`Asker`]'s flag stops.
//! A panic in either is a problem of class bug, and the thread lives on.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use tokio::sync::{Semaphore, oneshot};

use crate::api::{Problem, ProblemClass};
use crate::limits::EXPORT_COUNT_MAX;
use crate::memory::{IDLE_TIME, return_memory};
use crate::store::{Health, Store};
use crate::threads::step_back;

type Job = Box<dyn FnOnce(&Store) + Send>;

/// Which threads a read runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Queries, in their first moments: a thread a core.
    Quick,
    /// Queries that took longer than that. They step back for the threads of all others.
    Slow,
    /// Looking around, which nothing bounds in time: one thread, so that it never takes those of queries.
    Look,
}

impl Lane {
    pub const ALL: [Lane; 3] = [Lane::Quick, Lane::Slow, Lane::Look];

    pub fn word(self) -> &'static str {
        match self {
            Lane::Quick => "quick",
            Lane::Slow => "slow",
            Lane::Look => "look",
        }
    }
}

/// How many run and wait at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct BridgeSize {
    pub slow_count_max: usize,
    /// Reads of a lane.
    pub waiting_count_max: usize,
    pub write_count_max: usize,
    pub waiting_write_count_max: usize,
}

/// The way to the store.
#[derive(Debug)]
pub(super) struct Bridge {
    store: Arc<Store>,
    reads: [Sender<Job>; Lane::ALL.len()],
    running: [Arc<AtomicUsize>; Lane::ALL.len()],
    writes: Arc<Semaphore>,
    /// Work aside that may be begun still.
    aside: Arc<Semaphore>,
    /// Dropped when the last work aside has ended.
    alive: Sender<()>,
    /// Writes that wait for their turn.
    waiting_writes: Arc<AtomicUsize>,
    waiting_write_count_max: usize,
    /// Quick reads that wait for a thread, and writes under way: those for whom a query that takes long makes way.
    wanting: Arc<AtomicUsize>,
}

/// Somebody who wants a place, counted until this is dropped.
struct Wanting(Arc<AtomicUsize>);

impl Wanting {
    fn new(count: &Arc<AtomicUsize>) -> Wanting {
        count.fetch_add(1, Ordering::Relaxed);
        Wanting(Arc::clone(count))
    }
}

impl Drop for Wanting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
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
    pub fn start(store: Arc<Store>, size: BridgeSize) -> std::io::Result<(Bridge, ReadThreads)> {
        let (alive, ended) = bounded::<()>(0);
        let mut lanes = Vec::new();
        for lane in Lane::ALL {
            let (reads, jobs) = bounded::<Job>(size.waiting_count_max);
            let running = Arc::new(AtomicUsize::new(0));
            let thread_count = match lane {
                Lane::Quick => thread::available_parallelism().map_or(1, |count| count.get()),
                Lane::Slow => size.slow_count_max,
                Lane::Look => 1,
            };
            for _ in 0..thread_count {
                let (store, jobs, alive) = (Arc::clone(&store), jobs.clone(), alive.clone());
                let running = Arc::clone(&running);
                thread::Builder::new().name(format!("read-{}", lane.word())).spawn(move || {
                    if lane == Lane::Slow {
                        step_back();
                    }
                    while let Some(job) = next_job(&jobs) {
                        running.fetch_add(1, Ordering::Relaxed);
                        job(&store);
                        running.fetch_sub(1, Ordering::Relaxed);
                    }
                    drop(store);
                    drop(alive);
                })?;
            }
            lanes.push((reads, running));
        }
        let lanes: [(Sender<Job>, Arc<AtomicUsize>); Lane::ALL.len()] =
            lanes.try_into().expect("there is one of each");
        let running = lanes.each_ref().map(|(_, running)| Arc::clone(running));
        let writes = Arc::new(Semaphore::new(size.write_count_max));
        let reads = lanes.map(|(reads, _)| reads);
        let bridge = Bridge {
            store,
            reads,
            running,
            writes,
            aside: Arc::new(Semaphore::new(EXPORT_COUNT_MAX)),
            alive,
            waiting_writes: Arc::default(),
            waiting_write_count_max: size.waiting_write_count_max,
            wanting: Arc::default(),
        };
        Ok((bridge, ReadThreads { ended }))
    }

    /// The store, for what neither waits nor computes.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How many want a place that queries of the quick lane have.
    pub fn wanting(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.wanting)
    }

    /// How many reads of a lane run, and how many wait.
    pub fn load(&self, lane: Lane) -> (usize, usize) {
        (self.running[lane as usize].load(Ordering::Relaxed), self.reads[lane as usize].len())
    }

    /// Runs `work` on a thread of a lane.
    pub async fn read<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce(&Store) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let (sender, receiver) = oneshot::channel();
        let wanting = (lane == Lane::Quick).then(|| Wanting::new(&self.wanting));
        let job: Job = Box::new(move |store| {
            drop(wanting);
            if sender.is_closed() {
                return;
            }
            // The asker may go while we work: then nobody takes the result.
            let _ = sender.send(without_panic(|| work(store)));
        });
        match self.reads[lane as usize].try_send(job) {
            Ok(()) => receiver.await.unwrap_or_else(|_| Err(stopping())),
            Err(TrySendError::Full(_)) => {
                let detail = "as many queries as may wait are waiting already";
                Err(Problem::new(ProblemClass::Busy, detail).hint("ask again in a moment"))
            }
            Err(TrySendError::Disconnected(_)) => Err(stopping()),
        }
    }

    /// Begins `work` on a thread of its own, which steps back for all others. It goes on when this has returned. What it
    /// returns is dropped when its place is free: who sees by that that it ended may ask for the next.
    pub fn aside<T>(&self, work: impl FnOnce(&Store) -> T + Send + 'static) -> Result<(), Problem> {
        let place = Arc::clone(&self.aside).try_acquire_owned().map_err(|_| {
            let detail = format!("{EXPORT_COUNT_MAX} exports are under way, as many as there may be");
            Problem::new(ProblemClass::Busy, detail).hint("ask again when one of them is done")
        })?;
        let (store, alive) = (Arc::clone(&self.store), self.alive.clone());
        let begun = thread::Builder::new().name("aside".to_owned()).spawn(move || {
            step_back();
            // A bug is in the log already; its asker sees the answer break off.
            let done = without_panic(|| Ok(work(&store)));
            drop(store);
            drop((place, alive));
            drop(done);
        });
        begun.map(|_| ()).map_err(|e| Problem::new(ProblemClass::Io, format!("cannot start a thread: {e}")))
    }

    /// What is wrong with the store. Waits for no query and no write.
    pub async fn health(&self) -> Result<Health, Problem> {
        let store = Arc::clone(&self.store);
        let task = tokio::task::spawn_blocking(move || without_panic(|| Ok(store.health())));
        task.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Fails if as many writes as may wait are waiting: the time to find out is before a body is read.
    pub fn check_write_room(&self) -> Result<(), Problem> {
        if self.waiting_writes.load(Ordering::Relaxed) < self.waiting_write_count_max {
            return Ok(());
        }
        let detail = "as many requests as may wait to be stored are waiting already";
        Err(Problem::new(ProblemClass::Busy, detail).hint("send it again in a moment"))
    }

    /// How many writes wait for their turn.
    pub fn waiting_write_count(&self) -> usize {
        self.waiting_writes.load(Ordering::Relaxed)
    }

    /// Runs `work` on a thread that may wait for the disk. Once begun it goes on to its end, asker or not.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let permit = match Arc::clone(&self.writes).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.check_write_room()?;
                let _waiting = Wanting::new(&self.waiting_writes);
                Arc::clone(&self.writes).acquire_owned().await.expect("the semaphore is never closed")
            }
        };
        let store = Arc::clone(&self.store);
        let wanting = Wanting::new(&self.wanting);
        let task = tokio::task::spawn_blocking(move || {
            // Kept by the work and not by the asker, who may go before it is done.
            let _kept = (permit, wanting);
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

/// The next job of a thread that has just done one. A thread that waits for long gives back what the last one took.
fn next_job(jobs: &Receiver<Job>) -> Option<Job> {
    match jobs.recv_timeout(IDLE_TIME) {
        Ok(job) => Some(job),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => {
            return_memory();
            jobs.recv().ok()
        }
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
    Problem::new(ProblemClass::Unavailable, "the server is stopping")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const WAITING_COUNT_MAX: usize = 8;

    fn bridge() -> (Arc<Bridge>, ReadThreads, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path()).unwrap());
        let size = BridgeSize {
            slow_count_max: 1,
            waiting_count_max: WAITING_COUNT_MAX,
            write_count_max: 1,
            waiting_write_count_max: 2,
        };
        let (bridge, threads) = Bridge::start(store, size).unwrap();
        (Arc::new(bridge), threads, folder)
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_and_the_threads_live_on() {
        let (bridge, threads, _folder) = bridge();
        for _ in 0..20 {
            let read = bridge.read::<()>(Lane::Look, |_| panic!("half way")).await.unwrap_err();
            let write = bridge.write::<()>(|_| panic!("half way")).await.unwrap_err();
            assert_eq!((read.class, write.class), (ProblemClass::Bug, ProblemClass::Bug));
        }
        assert_eq!(bridge.read(Lane::Quick, |_| Ok(1)).await, Ok(1));
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
            bridge.read(Lane::Quick, work).await
        });
        while has_begun.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
        assert!(threads.wait(Duration::from_secs(10)), "the work goes on for nobody");
    }

    #[tokio::test]
    async fn past_those_that_may_wait_writes_are_refused_and_those_who_left_do_not_wait() {
        let (bridge, threads, _folder) = bridge();
        let (release, released) = bounded::<()>(0);
        let write = || {
            let (bridge, released) = (Arc::clone(&bridge), released.clone());
            let work = move |_: &Store| {
                let _ = released.recv();
                Ok(())
            };
            tokio::spawn(async move { bridge.write(work).await })
        };
        let mut tasks: Vec<_> = (0..3).map(|_| write()).collect();
        while bridge.waiting_write_count() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(bridge.check_write_room().unwrap_err().status(), 429);
        assert_eq!(bridge.write(|_| Ok(())).await.unwrap_err().status(), 429);
        tasks.pop().unwrap().abort();
        while bridge.waiting_write_count() == 2 {
            tokio::task::yield_now().await;
        }
        bridge.check_write_room().unwrap();
        drop((release, released));
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        drop(bridge);
        assert!(threads.wait(Duration::from_secs(10)));
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
                bridge.read(Lane::Quick, work).await
            })
        };
        let running: Vec<_> = (0..thread_count).map(|_| ask()).collect();
        let mut running_count = 0;
        while running_count < thread_count {
            tokio::task::yield_now().await;
            running_count += has_begun.try_iter().count();
        }
        let waiting: Vec<_> = (0..WAITING_COUNT_MAX).map(|_| ask()).collect();
        while !bridge.reads[Lane::Quick as usize].is_full() {
            tokio::task::yield_now().await;
        }
        assert_eq!(bridge.read(Lane::Quick, |_| Ok(())).await.unwrap_err().class, ProblemClass::Busy);

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
