//! Who is behind a cell of a funnel's table.

use super::cell_name::SlotName;
use super::funnel::{Funnel, Outcome};
use super::funnel_partial::FunnelPartial;
use super::{Analysis, Scan, Split, Task, TaskSet};
use crate::api::{Fields, Problem};

/// A cell of a funnel: a step, what became of users there, and the row's bucket and values.
#[derive(Clone, Debug)]
pub struct FunnelCell {
    /// Counted from 1.
    step: usize,
    outcome: CellOutcome,
    bucket: Option<u32>,
    /// By property of the breakdown.
    names: Vec<SlotName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CellOutcome {
    Converted,
    /// Reached the step before, not this one, and is not in progress.
    Dropped,
    /// Stands at this step and can still go on.
    InProgress,
}

impl Funnel {
    /// Reads `step`, `outcome` (`converted` unless said) and, where the table has such columns, `time` and `breakdown…`.
    pub fn cell(&self, fields: &mut Fields<'_>) -> Result<FunnelCell, Problem> {
        if self.histogram.is_some() {
            return Err(fields.node().problem("a histogram has no steps to take users from"));
        }
        let node = fields.required("step")?;
        let step = node.integer(1..=self.steps.len() as i64)? as usize;
        let outcomes = [
            ("converted", CellOutcome::Converted),
            ("dropped", CellOutcome::Dropped),
            ("in_progress", CellOutcome::InProgress),
        ];
        let outcome =
            fields.optional("outcome").map_or(Ok(CellOutcome::Converted), |word| word.word(&outcomes))?;
        if outcome == CellOutcome::Dropped && step == 1 {
            return Err(node.problem("nobody drops off before step 1"));
        }
        let bucket = match self.has_interval {
            true => {
                let time = fields.required("time")?;
                let label = time.string()?;
                let mut buckets = 0..self.calendar.range_bucket_count();
                let bucket = buckets.find(|bucket| self.calendar.label(*bucket) == label);
                let problem = || time.problem(format!("the funnel tells no bucket {label:?}"));
                Some(bucket.ok_or_else(problem)? as u32)
            }
            false => None,
        };
        let names = SlotName::read_all(fields, self.breakdowns.len())?;
        Ok(FunnelCell { step, outcome, bucket, names })
    }

    /// Finds out which values have rows of their own, which cells of a breakdown depend on. Does nothing without one.
    pub fn prepare_cells(&mut self, scan: &Scan<'_>) -> Result<(), Problem> {
        if !self.breakdowns.is_empty() {
            self.kept = Some(scan.run(&Kept { funnel: self })?);
        }
        Ok(())
    }

    /// The users of a task that a cell counts. After [`Funnel::prepare_cells`].
    ///
    /// Where sessions, attempts or held values are counted, those with at least one that the cell counts.
    pub fn members(&self, task: &Task<'_>, cell: &FunnelCell) -> Result<TaskSet, Problem> {
        let mut outcomes = self.outcomes(task)?;
        outcomes.retain(|outcome| {
            outcome.values.is_some()
                && cell.bucket.is_none_or(|bucket| bucket == self.bucket(outcome.start()))
                && cell.counts(outcome)
        });
        let Some(split) = &self.kept else {
            return Ok(outcomes.iter().map(|outcome| outcome.user).collect());
        };
        let slots = self.slots(split, outcomes.iter().filter_map(|outcome| outcome.values.as_ref()));
        let Some(wanted) = split.slot_named(&cell.names) else { return Ok(TaskSet::new()) };
        let mut members = TaskSet::new();
        for (index, outcome) in outcomes.iter().enumerate() {
            if super::split::slots_of(slots.as_ref(), index).contains(&wanted) {
                members.insert(outcome.user);
            }
        }
        Ok(members)
    }
}

/// A first look at the whole snapshot, for the values that a funnel's table keeps.
struct Kept<'f> {
    funnel: &'f Funnel,
}

impl Analysis for Kept<'_> {
    type Partial = FunnelPartial;
    type Output = Split;

    fn empty(&self) -> FunnelPartial {
        self.funnel.empty()
    }

    fn observe(&self, task: &Task<'_>, partial: &mut FunnelPartial) -> Result<(), Problem> {
        self.funnel.observe(task, partial)
    }

    fn finish(&self, partial: FunnelPartial) -> Result<Split, Problem> {
        self.funnel.split(&partial)
    }
}

impl FunnelCell {
    fn counts(&self, outcome: &Outcome) -> bool {
        match self.outcome {
            CellOutcome::Converted => {
                outcome.stops.iter().any(|(step, _)| usize::from(*step) + 1 == self.step)
            }
            CellOutcome::Dropped => outcome.level + 1 == self.step && !outcome.is_in_progress,
            CellOutcome::InProgress => outcome.level == self.step && outcome.is_in_progress,
        }
    }
}
