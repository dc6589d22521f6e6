//! What a query may take: time, memory, and the patience of its asker.
//!
//! A query looks at its budget before every task and at every reading of rows, so it ends within a task's work
//! of the moment when it should. Memory counted is what grows with the events: the rows that are held, and the
//! partial results. The latter are weighed after 1, 2, 4, 8 … tasks of a thread, which costs little and sees
//! them before they have grown much beyond twice what was weighed last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use crate::api::{Problem, ProblemClass};
use crate::limits::QUERY_MEMORY_MAX;
use crate::model::TimeMs;

/// Bounds on one query.
#[derive(Clone, Debug)]
pub struct Budget {
    /// When the query is given up; never if `None`.
    pub deadline: Option<Instant>,
    /// Set by whoever no longer wants the answer.
    pub cancelled: Arc<AtomicBool>,
    /// Bytes of rows and partial results held at once.
    pub memory_max: u64,
    /// For whom the query is given up early, so that it can be begun anew where it makes way.
    pub courtesy: Option<Courtesy>,
    /// Whether the query runs beside others rather than before them: on threads that the system gives time only when
    /// nobody else wants it.
    pub makes_way: bool,
}

/// When a query gives its place up to others.
#[derive(Clone, Debug)]
pub struct Courtesy {
    /// Not before that.
    pub after: Instant,
    /// How many others want the place. Without any, the query goes on.
    pub others: Arc<AtomicUsize>,
    /// Set when it was given up.
    pub is_shown: Arc<AtomicBool>,
}

impl Courtesy {
    fn is_due(&self) -> bool {
        self.others.load(Ordering::Relaxed) > 0 && Instant::now() >= self.after
    }
}

impl Default for Budget {
    /// No deadline, and [`QUERY_MEMORY_MAX`].
    fn default() -> Budget {
        Budget {
            deadline: None,
            cancelled: Arc::default(),
            memory_max: QUERY_MEMORY_MAX,
            courtesy: None,
            makes_way: false,
        }
    }
}

/// How a query is asked.
#[derive(Clone, Debug, Default)]
pub struct QueryOptions {
    /// What the clock shows, in milliseconds since 1970; the system's if `None`.
    pub now: Option<TimeMs>,
    pub budget: Budget,
}

/// A budget and what is used of it. Clones share what is used.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    budget: Budget,
    memory: Arc<AtomicU64>,
}

impl Meter {
    pub fn new(budget: Budget) -> Meter {
        Meter { budget, memory: Arc::default() }
    }

    /// Whether the query makes way for others.
    pub fn makes_way(&self) -> bool {
        self.budget.makes_way
    }

    /// Fails if the query should end: its deadline is over, or nobody wants its answer.
    pub fn check(&self) -> Result<(), Problem> {
        if self.budget.cancelled.load(Ordering::Relaxed) {
            return Err(Problem::new(ProblemClass::Timeout, "the query was cancelled"));
        }
        if let Some(courtesy) = self.budget.courtesy.as_ref().filter(|courtesy| courtesy.is_due()) {
            courtesy.is_shown.store(true, Ordering::Relaxed);
            return Err(Problem::new(ProblemClass::Timeout, "the query made way for others"));
        }
        if self.budget.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Problem::new(ProblemClass::Timeout, "the query did not end before its deadline")
                .hint("ask for a shorter range or fewer series, or allow it more time"));
        }
        Ok(())
    }

    /// Fails if `size` more bytes are not free.
    pub fn check_room(&self, size: u64) -> Result<(), Problem> {
        let size_max = self.budget.memory_max;
        if self.memory.load(Ordering::Relaxed).saturating_add(size) <= size_max {
            return Ok(());
        }
        let detail =
            format!("the query needs more than the {} MiB of memory it may take", size_max.div_ceil(1 << 20));
        Err(Problem::invalid(detail)
            .hint("ask for a shorter range, fewer series or steps, or a smaller \"limit\""))
    }

    /// Takes `size` bytes until the charge is dropped, or fails if they are not free.
    pub fn charge(&self, size: u64) -> Result<Charge, Problem> {
        self.check_room(size)?;
        Ok(Charge::new(Some(Arc::clone(&self.memory)), size))
    }
}

/// Memory that is in use as long as this lives.
#[derive(Debug, Default)]
pub struct Charge {
    memory: Option<Arc<AtomicU64>>,
    size: u64,
}

impl Charge {
    fn new(memory: Option<Arc<AtomicU64>>, size: u64) -> Charge {
        if let Some(memory) = &memory {
            memory.fetch_add(size, Ordering::Relaxed);
        }
        Charge { memory, size }
    }
}

impl Clone for Charge {
    fn clone(&self) -> Charge {
        Charge::new(self.memory.clone(), self.size)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(memory) = &self.memory {
            memory.fetch_sub(self.size, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_free_again_when_its_charge_is_dropped() {
        let meter = Meter::new(Budget { memory_max: 100, ..Budget::default() });
        let first = meter.charge(60).unwrap();
        let problem = meter.charge(41).unwrap_err();
        assert_eq!(problem.status(), 400);
        assert!(problem.hint.unwrap().contains("shorter range"));
        let copy = first.clone();
        assert!(meter.check_room(0).is_err(), "a copy takes as much again");
        drop((first, copy));
        meter.charge(100).unwrap();
    }

    #[test]
    fn a_query_makes_way_after_its_moment_and_only_if_somebody_waits() {
        let others = Arc::new(AtomicUsize::new(0));
        let meter = |after| {
            let courtesy = Courtesy { after, others: Arc::clone(&others), is_shown: Arc::default() };
            Meter::new(Budget { courtesy: Some(courtesy), ..Budget::default() })
        };
        let (over, in_an_hour) = (Instant::now(), Instant::now() + std::time::Duration::from_secs(3_600));
        meter(over).check().unwrap();
        others.store(1, Ordering::Relaxed);
        meter(in_an_hour).check().unwrap();
        let due = meter(over);
        due.check().unwrap_err();
        assert!(due.budget.courtesy.unwrap().is_shown.load(Ordering::Relaxed));
    }

    #[test]
    fn a_deadline_and_a_cancelled_query_end_it() {
        let over = Meter::new(Budget { deadline: Some(Instant::now()), ..Budget::default() });
        assert_eq!(over.check().unwrap_err().status(), 504);
        let meter = Meter::default();
        meter.check().unwrap();
        meter.budget.cancelled.store(true, Ordering::Relaxed);
        assert!(meter.check().unwrap_err().detail.contains("cancelled"));
    }
}
