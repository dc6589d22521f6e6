//! A query of any kind, bound to a snapshot: to be answered, or to tell who is counted in a cell.

use super::{Binder, BreakdownPlan, Cohort, Funnel, Retention, Scan, Segmentation, Selection};
use crate::api::{Breakdown, Problem, QueryKind, QueryRequest, Selector, Table};

/// The analysis that a request asks for.
#[derive(Debug)]
pub enum Bound {
    Segmentation(Segmentation),
    Funnel(Funnel),
    Retention(Retention),
    Cohort(Cohort),
}

impl Bound {
    /// Binds a request to the binder's snapshot. Events are not read for it, but for which there are first.
    pub fn new(request: &QueryRequest, binder: &mut Binder<'_>) -> Result<Bound, Problem> {
        let filter = request.common.filter.as_ref();
        let (scope, scan) = (binder.scope(), binder.scan());
        let select = |selector: &Selector, binder: &mut Binder<'_>| -> Result<Selection, Problem> {
            binder.selection(selector, filter)
        };
        Ok(match &request.kind {
            QueryKind::Segmentation(query) => {
                let selections = query.series.iter().map(|series| select(&series.selector, binder));
                let selections = selections.collect::<Result<_, _>>()?;
                let plans = plans(&query.breakdowns, binder)?;
                Bound::Segmentation(Segmentation::new(query, scope, scan.first_event()?, selections, plans)?)
            }
            QueryKind::Funnel(query) => {
                let selections = query.steps.iter().map(|step| select(step, binder));
                let selections = selections.collect::<Result<_, _>>()?;
                Bound::Funnel(Funnel::new(query, scope, selections, plans(&query.breakdowns, binder)?))
            }
            QueryKind::Retention(query) => {
                let birth = select(&query.birth, binder)?;
                let returns = select(&query.returns, binder)?;
                let plans = plans(&query.breakdowns, binder)?;
                Bound::Retention(Retention::new(query, scope, scan.first_event()?, birth, returns, plans)?)
            }
            QueryKind::Cohort(query) => {
                Bound::Cohort(Cohort::new(binder.cohort(&query.cohort)?, query.select.clone()))
            }
        })
    }

    /// Decides which values of its breakdowns have rows of their own, where that takes a look at the events.
    pub fn fold(&mut self, scan: &Scan<'_>) -> Result<(), Problem> {
        match self {
            Bound::Segmentation(segmentation) => {
                let splits = segmentation.totals().map(|totals| scan.run(&totals)).transpose()?;
                if let Some(splits) = splits {
                    segmentation.fold(splits);
                }
            }
            Bound::Retention(retention) => {
                let split = retention.totals().map(|totals| scan.run(&totals)).transpose()?;
                if let Some(split) = split {
                    retention.fold(split);
                }
            }
            Bound::Funnel(_) | Bound::Cohort(_) => {}
        }
        Ok(())
    }

    /// The answer. It is [folded](Bound::fold) before.
    pub fn run(&self, scan: &Scan<'_>) -> Result<Table, Problem> {
        match self {
            Bound::Segmentation(segmentation) => scan.run(segmentation),
            Bound::Funnel(funnel) => scan.run(funnel),
            Bound::Retention(retention) => scan.run(retention),
            Bound::Cohort(cohort) => scan.run(cohort),
        }
    }
}

fn plans(breakdowns: &[Breakdown], binder: &mut Binder<'_>) -> Result<Vec<BreakdownPlan>, Problem> {
    breakdowns.iter().map(|breakdown| BreakdownPlan::new(breakdown, binder)).collect()
}
