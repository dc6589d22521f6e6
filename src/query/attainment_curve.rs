//! The share activated by each day from the sign-up, by the product-limit estimate of Kaplan and Meier (1958,
//! "Nonparametric Estimation from Incomplete Observations").
//!
//! A day is 24 hours from the sign-up. Each day is told over those who are seen through all of it, so that recent
//! sign-ups are not counted as failures of days that they have not had yet.

use serde::{Deserialize, Serialize};

use super::attainment::Outcome;
use super::grid::Grid;
use super::ratio::Ratio;
use super::{Analysis, Attainment, Partial, Task};
use crate::api::{Cell, ColumnType, Problem, Table};
use crate::model::{DAY_MS, TimeMs};

impl Attainment {
    /// Days of the curve: as far as the window reaches, its last instant included, and as the first sign-up of the
    /// range is seen.
    pub(super) fn curve_day_count(&self) -> i64 {
        let seen = self.days_over(self.signups.range().start);
        self.within.map_or(seen, |within| seen.min(within / DAY_MS + 1))
    }

    /// Days from a sign-up that are over.
    pub(super) fn days_over(&self, signup: TimeMs) -> i64 {
        (self.as_of - signup).max(0) / DAY_MS
    }
}

/// The curve of an activation.
#[derive(Debug)]
pub struct AttainmentCurve<'a> {
    pub attainment: &'a Attainment,
}

/// For each slot and day two cells: for how many it is the last day at risk, and how many were activated on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CurvePartial {
    cells: Grid<u64>,
}

const LAST_AT_RISK: usize = 0;
const REACHED: usize = 1;
const COUNT_COUNT: usize = 2;

impl Partial for CurvePartial {
    fn merge(&mut self, other: CurvePartial) {
        self.cells.merge(&other.cells, |cell, term| *cell += term);
    }
}

impl Analysis for AttainmentCurve<'_> {
    type Partial = CurvePartial;
    type Output = Table;

    fn empty(&self) -> CurvePartial {
        CurvePartial { cells: Grid::new(self.attainment.curve_day_count() as usize * COUNT_COUNT) }
    }

    fn observe(&self, task: &Task<'_>, partial: &mut CurvePartial) -> Result<(), Problem> {
        let day_count = self.attainment.curve_day_count();
        self.attainment.each(task, |found, signup, outcome| {
            let over = self.attainment.days_over(signup.time).min(day_count);
            if over == 0 {
                return Ok(());
            }
            let reached = match outcome {
                Outcome::Reached(after) => Some(after / DAY_MS).filter(|day| *day < over),
                Outcome::Open | Outcome::Failed => None,
            };
            let last_at_risk = reached.unwrap_or(over - 1) as usize;
            for slot in found.slots(signup) {
                let start = partial.cells.row_start(*slot)? + last_at_risk * COUNT_COUNT;
                let cells = &mut partial.cells.cells_mut()[start..start + COUNT_COUNT];
                cells[LAST_AT_RISK] += 1;
                cells[REACHED] += u64::from(reached.is_some());
            }
            Ok(())
        })
    }

    fn finish(&self, partial: CurvePartial) -> Result<Table, Problem> {
        let split = self.attainment.signups.split();
        let numbers = [
            ("day", ColumnType::UInt32),
            ("at_risk", ColumnType::UInt64),
            ("activated", ColumnType::UInt64),
            ("share", ColumnType::Float64),
        ];
        let numbers = numbers.map(|(name, kind)| (name.to_owned(), kind));
        let mut table = Table::new(split.columns().chain(numbers));
        for (slot, cells) in partial.cells.rows() {
            let days: Vec<&[u64]> = cells.chunks_exact(COUNT_COUNT).collect();
            let mut at_risk: u64 = days.iter().map(|day| day[LAST_AT_RISK]).sum();
            let mut share_left = Ratio::new(1, 1);
            for (day, counts) in days.iter().enumerate() {
                if at_risk == 0 {
                    break;
                }
                if counts[REACHED] > 0 {
                    share_left = share_left.times(Ratio::new(at_risk - counts[REACHED], at_risk));
                }
                let share = Ratio::new(1, 1).minus(share_left.clone()).to_f64();
                let numbers = [
                    Cell::UInt(day as u64),
                    Cell::UInt(at_risk),
                    Cell::UInt(counts[REACHED]),
                    Cell::Float(share.expect("a share lies between 0 and 1")),
                ];
                table.push(split.cells(slot).into_iter().chain(numbers));
                at_risk -= counts[LAST_AT_RISK];
            }
        }
        Ok(table)
    }
}
