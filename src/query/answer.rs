//! From a request to its table.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::{
    Binder, BreakdownPlan, Cohort, Funnel, Lifecycle, PathWalk, Paths, QueryOptions, Retention, Scan,
    Segmentation, Stickiness, WholePaths,
};
use crate::Store;
use crate::api::{Answer, Breakdown, Json, Problem, QueryKind, QueryRequest, Scope, Statistics, Table};
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
        let snapshot = self.snapshot();
        let scan =
            Scan::new(&snapshot, request.common.entity, scope.history()).within(options.budget.clone());
        let table = answer(&request, &scope, &scan)?;
        let statistics = Statistics {
            elapsed_ms: begun.elapsed().as_secs_f64() * 1e3,
            events_scanned: scan.rows_scanned(),
            segments: snapshot.segments.len() as u64,
            users: snapshot.user_count(),
            snapshot: snapshot.number,
        };
        Ok(Answer { table, statistics })
    }
}

/// The clock, in milliseconds since 1970.
pub(super) fn now() -> TimeMs {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| elapsed.as_millis() as TimeMs)
}

fn answer(request: &QueryRequest, scope: &Scope, scan: &Scan<'_>) -> Result<Table, Problem> {
    let filter = request.common.filter.as_ref();
    let mut binder = Binder::new(scan, scope);
    let plans = |breakdowns: &[Breakdown]| -> Result<Vec<BreakdownPlan>, Problem> {
        breakdowns.iter().map(|breakdown| BreakdownPlan::new(breakdown, scan)).collect()
    };
    match &request.kind {
        QueryKind::Segmentation(query) => {
            let selections = query.series.iter().map(|series| binder.selection(&series.selector, filter));
            let selections = selections.collect::<Result<_, _>>()?;
            let plans = plans(&query.breakdowns)?;
            let mut segmentation = Segmentation::new(query, scope, scan.first_event()?, selections, plans)?;
            let splits = segmentation.totals().map(|totals| scan.run(&totals)).transpose()?;
            if let Some(splits) = splits {
                segmentation.fold(splits);
            }
            scan.run(&segmentation)
        }
        QueryKind::Funnel(query) => {
            let funnel = Funnel::bind(query, filter, scope, scan, &mut binder)?;
            scan.run(&funnel)
        }
        QueryKind::Retention(query) => {
            let birth = binder.selection(&query.birth, filter)?;
            let returns = binder.selection(&query.returns, filter)?;
            let plans = plans(&query.breakdowns)?;
            let mut retention = Retention::new(query, scope, scan.first_event()?, birth, returns, plans)?;
            let split = retention.totals().map(|totals| scan.run(&totals)).transpose()?;
            if let Some(split) = split {
                retention.fold(split);
            }
            scan.run(&retention)
        }
        QueryKind::Paths(query) => {
            let walk = PathWalk::bind(query, &mut binder, filter)?;
            if query.whole {
                return scan.run(&WholePaths::new(walk, query.limit));
            }
            let mut paths = Paths::new(walk, query.limit);
            let totals = scan.run(&paths.totals())?;
            paths.fold(totals);
            scan.run(&paths)
        }
        QueryKind::Lifecycle(query) => {
            let selection = binder.selection(&query.selector, filter)?;
            let plans = plans(&query.breakdowns)?;
            let mut lifecycle = Lifecycle::new(query, scope, scan.first_event()?, selection, plans)?;
            let split = lifecycle.totals().map(|totals| scan.run(&totals)).transpose()?;
            if let Some(split) = split {
                lifecycle.fold(split);
            }
            scan.run(&lifecycle)
        }
        QueryKind::Stickiness(query) => {
            let selection = binder.selection(&query.selector, filter)?;
            let plans = plans(&query.breakdowns)?;
            let mut stickiness = Stickiness::new(query, scope, scan.first_event()?, selection, plans)?;
            let split = stickiness.totals().map(|totals| scan.run(&totals)).transpose()?;
            if let Some(split) = split {
                stickiness.fold(split);
            }
            scan.run(&stickiness)
        }
        QueryKind::Cohort(query) => {
            let plan = binder.cohort(&query.cohort)?;
            scan.run(&Cohort::new(plan, query.select.clone(), request.common.entity))
        }
    }
}
