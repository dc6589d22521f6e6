//! A query of any kind, bound to a snapshot: to be answered, or to tell who is counted in a cell.

use super::signups::Signups;
use super::{
    Attainment, Binder, BreakdownPlan, Cohort, Drivers, Funnel, Lifecycle, Overview, PathWalk, Paths, Pql,
    Retention, Revenue, Scan, Segmentation, Selection, Stickiness, UsageLimits, Virality, WholePaths,
};
use crate::api::{Breakdown, Problem, QueryKind, QueryRequest, Selector, Table};

/// The analysis that a request asks for.
#[derive(Debug)]
pub enum Bound {
    Segmentation(Segmentation),
    Funnel(Funnel),
    Retention(Retention),
    Lifecycle(Lifecycle),
    Stickiness(Stickiness),
    Paths(Paths),
    WholePaths(WholePaths),
    Cohort(Cohort),
    Attainment(Attainment),
    Drivers(Drivers),
    Pql(Pql),
    Revenue(Revenue),
    Virality(Virality),
    UsageLimits(UsageLimits),
    Overview(Box<Overview>),
}

impl Bound {
    /// Binds a request to the binder's snapshot. Of events only the first is looked for, and what cohorts of accounts
    /// and cells of results in conditions need.
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
            QueryKind::Funnel(query) => Bound::Funnel(Funnel::bind(query, filter, scope, scan, binder)?),
            QueryKind::Retention(query) => {
                let birth = select(&query.birth, binder)?;
                let returns = select(&query.returns, binder)?;
                let plans = plans(&query.breakdowns, binder)?;
                Bound::Retention(Retention::new(query, scope, scan.first_event()?, birth, returns, plans)?)
            }
            QueryKind::Lifecycle(query) => {
                let selection = select(&query.selector, binder)?;
                let plans = plans(&query.breakdowns, binder)?;
                Bound::Lifecycle(Lifecycle::new(query, scope, scan.first_event()?, selection, plans)?)
            }
            QueryKind::Stickiness(query) => {
                let selection = select(&query.selector, binder)?;
                let plans = plans(&query.breakdowns, binder)?;
                Bound::Stickiness(Stickiness::new(query, scope, scan.first_event()?, selection, plans)?)
            }
            QueryKind::Paths(query) => {
                let walk = PathWalk::bind(query, binder, filter)?;
                match query.whole {
                    true => Bound::WholePaths(WholePaths::new(walk, query.limit)),
                    false => Bound::Paths(Paths::new(walk, query.limit)),
                }
            }
            QueryKind::Cohort(query) => {
                let plan = binder.cohort(&query.cohort)?;
                Bound::Cohort(Cohort::new(plan, query.select.clone(), scan.entity()))
            }
            QueryKind::Activation(query) => {
                Bound::Attainment(Attainment::of_activation(query, filter, binder)?)
            }
            QueryKind::Conversion(query) => {
                Bound::Attainment(Attainment::of_conversion(query, filter, binder)?)
            }
            QueryKind::Drivers(query) => Bound::Drivers(Drivers::bind(query, filter, binder)?),
            QueryKind::Pql(query) => Bound::Pql(Pql::bind(query, filter, binder)?),
            QueryKind::Revenue(query) => Bound::Revenue(Revenue::bind(query, filter, binder)?),
            QueryKind::Virality(query) => Bound::Virality(Virality::bind(query, filter, binder)?),
            QueryKind::Overview(query) => Bound::Overview(Box::new(Overview::bind(query, filter, binder)?)),
            QueryKind::UsageLimits(query) => Bound::UsageLimits(UsageLimits::bind(query, filter, binder)?),
        })
    }

    /// Decides which rows of its own the table has, where that takes a look at the events.
    pub fn fold(&mut self, scan: &Scan<'_>) -> Result<(), Problem> {
        match self {
            Bound::Segmentation(segmentation) => {
                let splits = segmentation.totals().map(|totals| scan.run(&totals)).transpose()?;
                splits.into_iter().for_each(|splits| segmentation.fold(splits));
            }
            Bound::Retention(retention) => {
                let split = retention.totals().map(|totals| scan.run(&totals)).transpose()?;
                split.into_iter().for_each(|split| retention.fold(split));
            }
            Bound::Lifecycle(lifecycle) => {
                let split = lifecycle.totals().map(|totals| scan.run(&totals)).transpose()?;
                split.into_iter().for_each(|split| lifecycle.fold(split));
            }
            Bound::Stickiness(stickiness) => {
                let split = stickiness.totals().map(|totals| scan.run(&totals)).transpose()?;
                split.into_iter().for_each(|split| stickiness.fold(split));
            }
            Bound::Paths(paths) => {
                let totals = scan.run(&paths.totals())?;
                paths.fold(totals);
            }
            Bound::Revenue(revenue) => {
                let split = revenue.totals().map(|totals| scan.run(&totals)).transpose()?;
                split.into_iter().for_each(|split| revenue.fold(split));
            }
            Bound::Virality(virality) => {
                let split = virality.totals().map(|totals| scan.run(&totals)).transpose()?;
                split.into_iter().for_each(|split| virality.fold(split));
                let invitations = scan.run(virality.events())?;
                virality.prepare(invitations);
            }
            Bound::Overview(overview) => {
                overview.split(scan)?.map_or(Ok(()), |split| overview.fold(split))?;
                overview.prepare(scan)?;
            }
            Bound::UsageLimits(limits) => {
                let split = limits.totals().map(|totals| scan.run(&totals)).transpose()?;
                split.into_iter().for_each(|split| limits.fold(split));
            }
            Bound::Attainment(attainment) => fold_signups(attainment.signups_mut(), scan)?,
            Bound::Drivers(drivers) => fold_signups(drivers.births_mut(), scan)?,
            Bound::Funnel(_) | Bound::WholePaths(_) | Bound::Cohort(_) | Bound::Pql(_) => {}
        }
        Ok(())
    }

    /// Finds out what cells of the table depend on: [`Bound::fold`], and more where the answer itself needs no such
    /// look.
    pub fn prepare_cells(&mut self, scan: &Scan<'_>) -> Result<(), Problem> {
        match self {
            Bound::Segmentation(segmentation) => segmentation.for_members(),
            Bound::Funnel(funnel) => return funnel.prepare_cells(scan),
            _ => {}
        }
        self.fold(scan)
    }

    /// The answer. It is [folded](Bound::fold) before.
    pub fn run(&self, scan: &Scan<'_>) -> Result<Table, Problem> {
        match self {
            Bound::Segmentation(segmentation) => scan.run(segmentation),
            Bound::Funnel(funnel) => scan.run(funnel),
            Bound::Retention(retention) => scan.run(retention),
            Bound::Lifecycle(lifecycle) => scan.run(lifecycle),
            Bound::Stickiness(stickiness) => scan.run(stickiness),
            Bound::Paths(paths) => scan.run(paths),
            Bound::WholePaths(paths) => scan.run(paths),
            Bound::Cohort(cohort) => scan.run(cohort),
            Bound::Attainment(attainment) => match attainment.curve() {
                Some(curve) => scan.run(&curve),
                None => scan.run(attainment),
            },
            Bound::Drivers(drivers) => scan.run(drivers),
            Bound::Pql(pql) => scan.run(pql),
            Bound::Revenue(revenue) => {
                let statements = scan.run(revenue)?;
                scan.tell_ignored(statements.ignored_count);
                revenue.table(&statements)
            }
            Bound::Virality(virality) => scan.run(virality),
            Bound::UsageLimits(limits) => scan.run(limits),
            Bound::Overview(overview) => overview.run(scan),
        }
    }
}

/// Decides which values of a breakdown have rows of their own.
fn fold_signups(signups: &mut Signups, scan: &Scan<'_>) -> Result<(), Problem> {
    let split = signups.totals().map(|totals| scan.run(&totals)).transpose()?;
    split.into_iter().for_each(|split| signups.fold(split));
    Ok(())
}

fn plans(breakdowns: &[Breakdown], binder: &mut Binder<'_>) -> Result<Vec<BreakdownPlan>, Problem> {
    breakdowns.iter().map(|breakdown| BreakdownPlan::new(breakdown, binder)).collect()
}
