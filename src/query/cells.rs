//! Cells of results as sets of users: whoever is counted in a number can be looked at, or be asked about further.

use std::ops::Range;

use super::bound::Bound;
use super::scan::Scan;
use super::{Funnel, Retention, Task, TaskSet, key_user};
use crate::api::{Fields, Problem, ResultCell};
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
    Funnel(FunnelCell),
    Retention(RetentionCell),
    /// All members of a cohort.
    Cohort,
}

impl CellPlan {
    /// The cell that `cell` names, of its query, which is bound and [folded](Bound::fold).
    pub(super) fn new(bound: Bound, history: Range<TimeMs>, cell: &ResultCell) -> Result<CellPlan, Problem> {
        let node = cell.fields.at(cell.path.clone());
        let mut fields = node.object()?;
        // They were read when the query was, and the funnel of a sequence is not told here.
        for known in ["kind", "query"] {
            fields.optional(known);
        }
        let cell = match &bound {
            Bound::Funnel(funnel) => AnyCell::Funnel(funnel.cell(&mut fields)?),
            Bound::Retention(retention) => AnyCell::Retention(retention.cell(&mut fields)?),
            Bound::Cohort(_) => AnyCell::Cohort,
            Bound::Segmentation(_) => {
                return Err(node.problem("the numbers of a segmentation are no sets of users"));
            }
        };
        fields.finish()?;
        Ok(CellPlan { bound, cell, history })
    }

    /// Those of a task's users whom the cell counts.
    pub(super) fn members(&self, task: &Task<'_>) -> Result<TaskSet, Problem> {
        if task.scan().history() == self.history {
            return self.members_seen(task);
        }
        let scan = Scan::new(task.scan().snapshot(), self.history.clone());
        let members = self.members_seen(&task.on(&scan))?;
        task.scan().count_rows(scan.rows_scanned() as usize);
        Ok(members)
    }

    fn members_seen(&self, task: &Task<'_>) -> Result<TaskSet, Problem> {
        match (&self.bound, &self.cell) {
            (Bound::Funnel(funnel), AnyCell::Funnel(cell)) => funnel.members(task, cell),
            (Bound::Retention(retention), AnyCell::Retention(cell)) => retention.members(task, cell),
            (Bound::Cohort(cohort), AnyCell::Cohort) => cohort.members(task),
            _ => unreachable!("the cell is one of the query's own kind"),
        }
    }
}

/// A number of a funnel's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunnelCell {
    /// From 1 on.
    step: usize,
    outcome: FunnelOutcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FunnelOutcome {
    /// Reached the step.
    Converted,
    /// Reached the step before and no more, and cannot go on any more.
    Dropped,
}

impl Funnel {
    /// A cell of the table: `step`, and `outcome`, which is `converted` unless said.
    pub fn cell(&self, fields: &mut Fields<'_>) -> Result<FunnelCell, Problem> {
        if !self.is_whole() {
            let problem = fields.node().problem("a cell of a funnel that is split is no cohort");
            return Err(problem.hint("ask for one value with \"where\" in the place of the breakdown"));
        }
        let outcome = match fields.optional("outcome") {
            Some(outcome) => outcome
                .word(&[("converted", FunnelOutcome::Converted), ("dropped", FunnelOutcome::Dropped)])?,
            None => FunnelOutcome::Converted,
        };
        let first_step = if outcome == FunnelOutcome::Dropped { 2 } else { 1 };
        let step = fields.required("step")?.integer(first_step..=self.step_count() as i64)? as usize;
        Ok(FunnelCell { step, outcome })
    }

    /// Those of a task's users whom the cell counts.
    pub fn members(&self, task: &Task<'_>, cell: &FunnelCell) -> Result<TaskSet, Problem> {
        let (outcomes, _) = self.outcomes(task)?;
        let is_in_cell = |level: usize, is_in_progress: bool| match cell.outcome {
            FunnelOutcome::Converted => level >= cell.step,
            FunnelOutcome::Dropped => level + 1 == cell.step && !is_in_progress,
        };
        let of_cell = outcomes.iter().filter(|told| is_in_cell(told.keys.len(), told.is_in_progress));
        Ok(of_cell.map(|told| key_user(told.keys[0])).collect())
    }
}

/// A number of users in a retention's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionCell {
    cohort: usize,
    period: usize,
}

impl Retention {
    /// A cell of the table: `cohort` as the table names it, and `period`.
    pub fn cell(&self, fields: &mut Fields<'_>) -> Result<RetentionCell, Problem> {
        if !self.is_whole() {
            let problem = fields.node().problem("a cell of a retention that is split is no cohort");
            return Err(problem.hint("ask for one value with \"where\" in the place of the breakdown"));
        }
        let cohort = fields.required("cohort")?;
        let name = cohort.string()?;
        let found = self.cohort_named(name);
        let found = found.ok_or_else(|| {
            let problem = cohort.problem(format!("the table has no cohort {name:?}"));
            problem.hint("a cohort is named by the start of its interval, as in the table")
        })?;
        let period = fields.required("period")?.integer(0..=self.period_count() as i64)? as usize;
        Ok(RetentionCell { cohort: found, period })
    }

    /// Those of a task's users whom the cell counts.
    pub fn members(&self, task: &Task<'_>, cell: &RetentionCell) -> Result<TaskSet, Problem> {
        let mut members = self.founders(task, cell.cohort)?;
        if cell.period > 0 {
            members.intersect(&self.active_in(task, cell.cohort + cell.period)?);
        }
        Ok(members)
    }
}
