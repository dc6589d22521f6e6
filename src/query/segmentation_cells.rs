//! The users behind a cell of a segmentation.

use super::segmentation::{Segmentation, Series};
use super::split::slots_of;
use super::{RowName, Task, TaskSet, key_user};
use crate::api::{Fields, Measure, Problem, ProblemClass};
use crate::limits::BREAKDOWN_PROPERTY_COUNT_MAX;

/// A cell of the table, named by its row.
#[derive(Clone, Debug)]
pub struct SegmentationCell {
    /// Index of the series.
    series: usize,
    /// Index of the stretch: 1 for the range that the asked one is compared with.
    stretch: usize,
    bucket: usize,
    /// By property of the breakdown.
    names: Vec<RowName>,
}

/// The fields that name the values of a row.
const NAME_FIELDS: [&str; BREAKDOWN_PROPERTY_COUNT_MAX] = ["breakdown", "breakdown_2", "breakdown_3"];

impl Segmentation {
    /// Reads which cell is meant: `time`, unless there is one bucket; `series`, unless there is one; with a breakdown
    /// its values; with `compare`, 0 unless said which range.
    ///
    /// # Errors
    /// If there is no such cell, or it is no number of users.
    pub fn cell(&self, fields: &mut Fields<'_>) -> Result<SegmentationCell, Problem> {
        if self.formula.is_some() {
            let problem = fields.node().problem("a cell of a formula is no set of users");
            return Err(problem.hint("ask for a cell of one of its series, without the formula"));
        }
        let calendar = &self.stretches[0].calendar;
        let bucket = match fields.optional("time") {
            Some(node) => {
                let time = node.string()?;
                let found = (0..calendar.bucket_count()).find(|bucket| calendar.label(*bucket) == time);
                found.ok_or_else(|| {
                    node.problem(format!("no bucket of the query starts at {time:?}"))
                        .hint("give the time as the table tells it")
                })?
            }
            None if calendar.bucket_count() == 1 => 0,
            None => return fields.required("time").map(|_| unreachable!("it is missing")),
        };
        let series = match fields.optional("series") {
            Some(node) => {
                let name = node.string()?;
                let found = self.series.iter().position(|series| series.name == name);
                found.ok_or_else(|| node.problem(format!("the query has no series {name:?}")))?
            }
            None if self.series.len() == 1 => 0,
            None => return fields.required("series").map(|_| unreachable!("it is missing")),
        };
        let is_of_users = matches!(
            self.series[series].measure,
            Measure::Users | Measure::FirstTimeUsers | Measure::Events | Measure::PerUser
        );
        if !is_of_users {
            let problem = fields.node().problem("a cell of this measure is no set of users");
            return Err(problem.hint(
                "cells of users, first_time_users and events are; accounts with \"entity\": \"account\"",
            ));
        }
        let names = NAME_FIELDS[..self.breakdowns.len()].iter();
        let names = names.map(|name| RowName::parse(fields, name)).collect::<Result<_, _>>()?;
        let stretch = match fields.optional("compare") {
            Some(node) => node.integer(0..=self.stretches.len() as i64 - 1)? as usize,
            None => 0,
        };
        Ok(SegmentationCell { series, stretch, bucket, names })
    }

    /// The users of a task that are in a cell. Values must be [folded](Segmentation::fold) already, and the
    /// segmentation [meant for it](Segmentation::for_members).
    pub fn members(&self, task: &Task<'_>, cell: &SegmentationCell) -> Result<TaskSet, Problem> {
        let series: &Series = &self.series[cell.series];
        let stretch = &self.stretches[cell.stretch];
        if cell.bucket >= stretch.calendar.bucket_count() {
            return Ok(TaskSet::new());
        }
        let window = stretch.window(cell.bucket, self.is_cumulative);
        let rows = self.rows(task, series, window, !self.breakdowns.is_empty())?;
        if self.breakdowns.is_empty() {
            return Ok(rows.keys.iter().map(|key| key_user(*key)).collect());
        }
        if series.split.is_none() {
            return Err(Problem::new(ProblemClass::Bug, "the values of a breakdown were not folded"));
        }
        let Some(wanted) = series.split.slot_named(&cell.names) else { return Ok(TaskSet::new()) };
        let slots = series.split.slots(self.codes(task, &rows)?);
        let of_cell = (0..rows.keys.len()).filter(|row| slots_of(slots.as_ref(), *row).contains(&wanted));
        Ok(of_cell.map(|row| key_user(rows.keys[row])).collect())
    }
}
