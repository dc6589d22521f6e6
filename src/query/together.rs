//! Work that several threads need done before they can go on: whoever needs it helps with what nobody does yet.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::api::{Problem, ProblemClass};

/// Parts of one work, and what all who helped found.
#[derive(Debug)]
pub(super) struct Together<P, T> {
    /// The next part that nobody does yet.
    next: AtomicUsize,
    under_way: Mutex<UnderWay<P>>,
    is_over: Condvar,
    done: OnceLock<Result<T, Problem>>,
}

#[derive(Debug)]
struct UnderWay<P> {
    helper_count: usize,
    /// What each helper found.
    found: Vec<P>,
    problem: Option<Problem>,
}

impl<P, T> Default for Together<P, T> {
    fn default() -> Together<P, T> {
        let under_way = UnderWay { helper_count: 0, found: Vec::new(), problem: None };
        Together {
            next: AtomicUsize::new(0),
            under_way: Mutex::new(under_way),
            is_over: Condvar::new(),
            done: OnceLock::new(),
        }
    }
}

impl<P: Default, T> Together<P, T> {
    /// Does parts until all `count` are done, waits for those who do the last of them, and has one thread finish what
    /// the helpers found. All callers give the same work.
    pub fn finish(
        &self,
        count: usize,
        mut do_part: impl FnMut(usize, &mut P) -> Result<(), Problem>,
        finish: impl FnOnce(Vec<P>) -> T,
    ) -> Result<&T, Problem> {
        if self.done.get().is_none() {
            let helping = Helping::begin(self);
            let mut found = P::default();
            let outcome = loop {
                let part = self.next.fetch_add(1, Ordering::Relaxed);
                if part >= count {
                    break Ok(());
                }
                let outcome = do_part(part, &mut found);
                if outcome.is_err() {
                    break outcome;
                }
            };
            match outcome {
                Ok(()) => self.under_way.lock().found.push(found),
                Err(problem) => {
                    // The others need not go on.
                    self.next.store(count, Ordering::Relaxed);
                    self.under_way.lock().problem = Some(problem);
                }
            }
            drop(helping);
            let mut under_way = self.under_way.lock();
            while under_way.helper_count > 0 && self.done.get().is_none() {
                self.is_over.wait(&mut under_way);
            }
            self.done.get_or_init(|| match under_way.problem.take() {
                Some(problem) => Err(problem),
                None => Ok(finish(std::mem::take(&mut under_way.found))),
            });
            self.is_over.notify_all();
        }
        self.done.get().expect("it was done").as_ref().map_err(Clone::clone)
    }
}

/// A thread that helps. If it fails by a panic, which ends the query, others neither wait for it forever nor take what is
/// there for all.
struct Helping<'t, P, T>(&'t Together<P, T>);

impl<'t, P, T> Helping<'t, P, T> {
    fn begin(work: &'t Together<P, T>) -> Helping<'t, P, T> {
        work.under_way.lock().helper_count += 1;
        Helping(work)
    }
}

impl<P, T> Drop for Helping<'_, P, T> {
    fn drop(&mut self) {
        let mut under_way = self.0.under_way.lock();
        under_way.helper_count -= 1;
        if std::thread::panicking() {
            under_way.problem = Some(Problem::new(ProblemClass::Bug, "a thread of the query failed"));
        }
        drop(under_way);
        self.0.is_over.notify_all();
    }
}
