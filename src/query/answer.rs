//! From a request to its table.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::{Binder, BreakdownPlan, Cohort, Funnel, Retention, Scan, Segmentation};
use crate::Store;
use crate::api::{Answer, Breakdown, Json, Problem, QueryKind, QueryRequest, Scope, Statistics, Table};
use crate::model::TimeMs;

impl Store {
    /// Answers a query body that carries its `"kind"`, as of the clock unless it says otherwise.
    pub fn query(&self, query: &Json) -> Result<Answer, Problem> {
        self.query_at(query, now())
    }

    /// Answers a query body as if the clock showed `now`.
    pub fn query_at(&self, query: &Json, now: TimeMs) -> Result<Answer, Problem> {
        let begun = Instant::now();
        let request = QueryRequest::parse(query)?;
        let scope = request.common.resolve(now)?;
        let snapshot = self.snapshot();
        let scan = Scan::new(&snapshot, scope.history());
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
        QueryKind::Cohort(query) => {
            let plan = binder.cohort(&query.cohort)?;
            scan.run(&Cohort::new(plan, query.select.clone()))
        }
    }
}
