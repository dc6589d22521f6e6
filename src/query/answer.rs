//! From a request to its table.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::bound::Bound;
use super::growth_model::counted;
use super::{Binder, QueryOptions, Scan};
use crate::Store;
use crate::api::{Answer, Json, Problem, QueryRequest, Statistics};
use crate::model::TimeMs;

impl Store {
    /// Answers a query body that carries its `"kind"`, as of the clock unless it says otherwise.
    pub fn query(&self, query: &Json) -> Result<Answer, Problem> {
        self.query_with(query, &QueryOptions::default())
    }

    /// Answers a query body as if the clock showed `now`.
    pub fn query_at(&self, query: &Json, now: TimeMs) -> Result<Answer, Problem> {
        self.query_with(query, &QueryOptions { now: Some(now), ..QueryOptions::default() })
    }

    /// Answers a query body within a budget of time and memory.
    ///
    /// Fails with a timeout when the deadline is over or the query was cancelled, and says what would make the
    /// query smaller when it takes too much memory.
    pub fn query_with(&self, query: &Json, options: &QueryOptions) -> Result<Answer, Problem> {
        let begun = Instant::now();
        let request = QueryRequest::parse(query)?;
        let scope = request.common.resolve(options.now.unwrap_or_else(now))?;
        self.read(|snapshot| {
            let entity = counted(&request, snapshot, request.common.entity)?;
            let scan = Scan::new(snapshot, entity, scope.history()).within(options.budget.clone());
            let mut bound = Bound::new(&request, &mut Binder::new(&scan, &scope))?;
            bound.fold(&scan)?;
            let table = bound.run(&scan)?;
            let statistics = Statistics {
                elapsed_ms: begun.elapsed().as_secs_f64() * 1e3,
                events_scanned: scan.rows_scanned(),
                segments: snapshot.segments.len() as u64,
                users: snapshot.user_count(),
                snapshot: snapshot.number,
                ignored: scan.ignored(),
                degraded: snapshot.missing.iter().map(|file| file.name.clone()).collect(),
            };
            Ok(Answer { table, statistics })
        })
    }
}

/// The clock, in milliseconds since 1970.
pub(super) fn now() -> TimeMs {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| elapsed.as_millis() as TimeMs)
}
