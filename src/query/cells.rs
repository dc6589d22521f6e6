//! Cells of results as sets of users: whoever is counted in a number can be looked at, or be asked about further.

use std::ops::Range;

use super::bound::Bound;
use super::{
    AttainmentCell, DriversCell, FunnelCell, LifecycleCell, OverviewCell, PathCell, PqlCell, RetentionCell,
    RevenueCell, SegmentationCell, StickinessCell, Task, TaskSet, UsageLimitsCell, ViralityCell,
    WholePathCell,
};
use crate::api::{Problem, ResultCell};
use crate::model::TimeMs;

/// A cell of the result of a bound query.
#[derive(Debug)]
pub struct CellPlan {
    bound: Bound,
    cell: AnyCell,
    /// What the query sees, by its own `as_of`.
    history: Range<TimeMs>,
}

#[derive(Debug)]
enum AnyCell {
    Segmentation(SegmentationCell),
    Funnel(FunnelCell),
    Retention(RetentionCell),
    Lifecycle(LifecycleCell),
    Stickiness(StickinessCell),
    Path(PathCell),
    WholePath(WholePathCell),
    /// All members of a cohort.
    Cohort,
    Attainment(AttainmentCell),
    Drivers(DriversCell),
    Pql(PqlCell),
    Revenue(RevenueCell),
    Virality(ViralityCell),
    UsageLimits(UsageLimitsCell),
    Overview(OverviewCell),
}

impl CellPlan {
    /// The cell that `cell` names, of its query, which is bound and [prepared](Bound::prepare_cells).
    pub(super) fn new(bound: Bound, history: Range<TimeMs>, cell: &ResultCell) -> Result<CellPlan, Problem> {
        let node = cell.fields.at(cell.path.clone());
        let mut fields = node.object()?;
        // They were read when the query was, and the funnel of a sequence is not told here.
        for known in ["kind", "query"] {
            fields.optional(known);
        }
        let cell = match &bound {
            Bound::Segmentation(segmentation) => AnyCell::Segmentation(segmentation.cell(&mut fields)?),
            Bound::Funnel(funnel) => AnyCell::Funnel(funnel.cell(&mut fields)?),
            Bound::Retention(retention) => AnyCell::Retention(retention.cell(&mut fields)?),
            Bound::Lifecycle(lifecycle) => AnyCell::Lifecycle(lifecycle.cell(&mut fields)?),
            Bound::Stickiness(stickiness) => AnyCell::Stickiness(stickiness.cell(&mut fields)?),
            Bound::Paths(paths) => AnyCell::Path(paths.cell(&mut fields)?),
            Bound::WholePaths(paths) => AnyCell::WholePath(paths.cell(&mut fields)?),
            Bound::Cohort(_) => AnyCell::Cohort,
            Bound::Attainment(attainment) => AnyCell::Attainment(attainment.cell(&mut fields)?),
            Bound::Drivers(drivers) => AnyCell::Drivers(drivers.read_cell(&mut fields)?),
            Bound::Pql(pql) => AnyCell::Pql(pql.cell(&mut fields)?),
            Bound::Revenue(revenue) => AnyCell::Revenue(revenue.cell(&mut fields)?),
            Bound::Virality(virality) => AnyCell::Virality(virality.cell(&mut fields)?),
            Bound::Overview(overview) => AnyCell::Overview(overview.cell(&mut fields)?),
            Bound::UsageLimits(limits) => AnyCell::UsageLimits(limits.cell(&mut fields)?),
        };
        fields.finish()?;
        Ok(CellPlan { bound, cell, history })
    }

    /// Those of a task's users whom the cell counts.
    pub(super) fn members(&self, task: &Task<'_>) -> Result<TaskSet, Problem> {
        if task.scan().history() == self.history {
            return self.members_seen(task);
        }
        let scan = task.scan().seeing(self.history.clone());
        self.members_seen(&task.on(&scan))
    }

    fn members_seen(&self, task: &Task<'_>) -> Result<TaskSet, Problem> {
        match (&self.bound, &self.cell) {
            (Bound::Segmentation(segmentation), AnyCell::Segmentation(cell)) => {
                segmentation.members(task, cell)
            }
            (Bound::Funnel(funnel), AnyCell::Funnel(cell)) => funnel.members(task, cell),
            (Bound::Retention(retention), AnyCell::Retention(cell)) => retention.members(task, cell),
            (Bound::Lifecycle(lifecycle), AnyCell::Lifecycle(cell)) => lifecycle.members(task, cell),
            (Bound::Stickiness(stickiness), AnyCell::Stickiness(cell)) => stickiness.members(task, cell),
            (Bound::Paths(paths), AnyCell::Path(cell)) => paths.members(task, cell),
            (Bound::WholePaths(paths), AnyCell::WholePath(cell)) => paths.members(task, cell),
            (Bound::Cohort(cohort), AnyCell::Cohort) => cohort.members(task),
            (Bound::Attainment(attainment), AnyCell::Attainment(cell)) => attainment.members(task, cell),
            (Bound::Drivers(drivers), AnyCell::Drivers(cell)) => drivers.members(task, cell),
            (Bound::Pql(pql), AnyCell::Pql(cell)) => pql.members(task, cell),
            (Bound::Revenue(revenue), AnyCell::Revenue(cell)) => revenue.members(task, cell),
            (Bound::Virality(virality), AnyCell::Virality(cell)) => virality.members(task, cell),
            (Bound::Overview(overview), AnyCell::Overview(cell)) => overview.members(task, cell),
            (Bound::UsageLimits(limits), AnyCell::UsageLimits(cell)) => limits.members(task, cell),
            _ => unreachable!("the cell is one of the query's own kind"),
        }
    }
}
