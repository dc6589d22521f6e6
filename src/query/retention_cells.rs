//! Cells of a retention as sets of users.

use super::births::Member;
use super::cell_name::{SlotName, read_bucket};
use super::returns::{Change, counts_in};
use super::split::slots_of;
use super::{Retention, Task, TaskSet};
use crate::api::{Fields, Problem, ReturnMeasure};

/// A cell of a retention: the members of a cohort, or in a summary of all cohorts, that count in a period.
#[derive(Clone, Debug)]
pub struct RetentionCell {
    /// `None` in a summary: every cohort for which the period is complete.
    cohort: Option<usize>,
    period: usize,
    slot: Vec<SlotName>,
}

impl Retention {
    /// Reads the name of a cell: `cohort` (not in a summary), `period`, and the value of each breakdown.
    pub fn cell(&self, fields: &mut Fields<'_>) -> Result<RetentionCell, Problem> {
        if self.measure != ReturnMeasure::Users {
            let problem = fields.node().problem("a cell of a sum or an average is no set of users");
            return Err(problem.hint("leave out the \"measure\" of the retention"));
        }
        let cohort = if self.is_summary {
            None
        } else {
            let cohorts = 0..self.calendar.range_bucket_count();
            Some(read_bucket(&fields.required("cohort")?, &self.calendar, cohorts, self.as_of)?)
        };
        let last_period = self.periods.count() as i64 - 1;
        let period = fields.required("period")?.integer(0..=last_period)? as usize;
        Ok(RetentionCell { cohort, period, slot: SlotName::read_all(fields, self.breakdowns.len())? })
    }

    /// The users of a cell: as many as it tells, but that a summary of recurring cohorts tells a user once for
    /// each of its cohorts.
    pub fn members(&self, task: &Task<'_>, cell: &RetentionCell) -> Result<TaskSet, Problem> {
        let Some(slot) = self.split.slot_named(&cell.slot) else { return Ok(TaskSet::new()) };
        let seen = self.see(task)?;
        let (foundings, codes) = self.foundings(task, &seen)?;
        let slots = self.split.slots(codes);
        let is_meant = |cohort: usize| match cell.cohort {
            Some(meant) => meant == cohort,
            None => self.is_complete(cohort, cell.period),
        };
        let members: Vec<Member> = foundings
            .iter()
            .filter(|founding| is_meant(founding.cohort as usize))
            .filter(|founding| slots_of(slots.as_ref(), founding.row).contains(&slot))
            .map(|founding| Member {
                user: founding.user,
                cohort: founding.cohort,
                birth: founding.time,
                first_cell: 0,
            })
            .collect();
        if cell.period == 0 {
            return Ok(members.iter().map(|member| member.user).collect());
        }
        // For each member how often it is told where the cell counts it: at the end once or not at all.
        let mut told = vec![0_i32; members.len()];
        self.follow(task, &seen, &members, |member, change| {
            let counts = |period: u32| i32::from(counts_in(self.mode, period, cell.period as u32));
            told[member] += match change {
                Change::One(period) => counts(period),
                Change::Moved(from, to) => counts(to) - counts(from),
            };
        })?;
        let back = members.iter().zip(&told).filter(|(_, told)| **told > 0);
        Ok(back.map(|(member, _)| member.user).collect())
    }
}
