//! What was counted of one series in one range: a row for each slot, a cell for each bucket, of whatever its
//! measure needs.

use serde::{Deserialize, Serialize};

use super::amount::{Accounts, Amount, Average, Extremes, Measured, PerUser, Values};
use super::grid::Grid;
use crate::api::{Measure, Problem};
use crate::model::ExactSum;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Tally {
    /// Events, or users in the buckets that they count in.
    Count(Grid<u64>),
    /// Users of trailing windows, as differences from bucket to bucket; one more cell than buckets.
    Rolling(Grid<i64>),
    PerUser(Grid<PerUser>),
    Accounts(Grid<Accounts>),
    Sum(Grid<ExactSum>),
    Average(Grid<Average>),
    Extremes(Grid<Extremes>),
    Values(Grid<Values>),
}

/// Does the same with the grid of a tally, whatever is in it.
macro_rules! with_grid {
    ($tally:expr, $grid:ident => $body:expr) => {
        match $tally {
            Tally::Count($grid) => $body,
            Tally::Rolling($grid) => $body,
            Tally::PerUser($grid) => $body,
            Tally::Accounts($grid) => $body,
            Tally::Sum($grid) => $body,
            Tally::Average($grid) => $body,
            Tally::Extremes($grid) => $body,
            Tally::Values($grid) => $body,
        }
    };
}

impl Tally {
    /// A tally of nothing in `width` buckets.
    pub fn new(measure: &Measure, is_rolling: bool, width: usize) -> Tally {
        match measure {
            Measure::Users if is_rolling => Tally::Rolling(Grid::new(width + 1)),
            Measure::Events | Measure::Users | Measure::FirstTimeUsers => Tally::Count(Grid::new(width)),
            Measure::PerUser => Tally::PerUser(Grid::new(width)),
            Measure::Accounts => Tally::Accounts(Grid::new(width)),
            Measure::Sum(_) => Tally::Sum(Grid::new(width)),
            Measure::Average(_) => Tally::Average(Grid::new(width)),
            Measure::Least(_) | Measure::Greatest(_) => Tally::Extremes(Grid::new(width)),
            Measure::Percentile(..) => Tally::Values(Grid::new(width)),
        }
    }

    /// Makes a row for each of the slots: they are told, whatever is counted in them.
    pub fn note<'s>(&mut self, slots: impl Iterator<Item = &'s u32>) -> Result<(), Problem> {
        with_grid!(self, grid => {
            for slot in slots {
                grid.row_start(*slot)?;
            }
        });
        Ok(())
    }

    /// Adds another tally of the same measure.
    pub fn merge(&mut self, other: &Tally) {
        match (self, other) {
            (Tally::Count(grid), Tally::Count(other)) => grid.merge(other, Amount::merge),
            (Tally::Rolling(grid), Tally::Rolling(other)) => grid.merge(other, Amount::merge),
            (Tally::PerUser(grid), Tally::PerUser(other)) => grid.merge(other, Amount::merge),
            (Tally::Accounts(grid), Tally::Accounts(other)) => grid.merge(other, Amount::merge),
            (Tally::Sum(grid), Tally::Sum(other)) => grid.merge(other, Amount::merge),
            (Tally::Average(grid), Tally::Average(other)) => grid.merge(other, Amount::merge),
            (Tally::Extremes(grid), Tally::Extremes(other)) => grid.merge(other, Amount::merge),
            (Tally::Values(grid), Tally::Values(other)) => grid.merge(other, Amount::merge),
            _ => unreachable!("partial results of one query have tallies of the same kinds"),
        }
    }

    /// The slots that have rows, ascending.
    pub fn slots(&self) -> Vec<u32> {
        with_grid!(self, grid => grid.rows().into_iter().map(|(slot, _)| slot).collect())
    }

    /// The measure of each group of slots over all buckets. `group` names that of a slot, below `group_count`;
    /// a group that has no row has no measure.
    pub fn totals(
        &self,
        measure: &Measure,
        group_count: usize,
        group: impl Fn(u32) -> Option<usize>,
    ) -> Vec<Option<Measured>> {
        fn totals<T: Amount>(
            grid: &Grid<T>,
            measure: &Measure,
            group_count: usize,
            group: impl Fn(u32) -> Option<usize>,
        ) -> Vec<Option<Measured>> {
            let mut totals: Vec<Option<T>> = vec![None; group_count];
            for (slot, cells) in grid.rows() {
                let Some(group) = group(slot) else { continue };
                let total = totals[group].get_or_insert_default();
                cells.iter().for_each(|cell| total.merge(cell));
            }
            totals.into_iter().map(|total| total.map(|total| total.told(measure))).collect()
        }
        with_grid!(self, grid => totals(grid, measure, group_count, group))
    }

    /// The measure of nothing.
    pub fn nothing(&self, measure: &Measure) -> Measured {
        fn nothing<T: Amount>(_: &Grid<T>, measure: &Measure) -> Measured {
            T::default().told(measure)
        }
        with_grid!(self, grid => nothing(grid, measure))
    }

    /// The same counts under other slots. What several of them had is added up.
    pub fn renamed(&self, slot: impl Fn(u32) -> u32) -> Tally {
        match self {
            Tally::Count(grid) => Tally::Count(grid.renamed(slot, Amount::merge)),
            Tally::Rolling(grid) => Tally::Rolling(grid.renamed(slot, Amount::merge)),
            Tally::PerUser(grid) => Tally::PerUser(grid.renamed(slot, Amount::merge)),
            Tally::Accounts(grid) => Tally::Accounts(grid.renamed(slot, Amount::merge)),
            Tally::Sum(grid) => Tally::Sum(grid.renamed(slot, Amount::merge)),
            Tally::Average(grid) => Tally::Average(grid.renamed(slot, Amount::merge)),
            Tally::Extremes(grid) => Tally::Extremes(grid.renamed(slot, Amount::merge)),
            Tally::Values(grid) => Tally::Values(grid.renamed(slot, Amount::merge)),
        }
    }

    /// What is told of a slot in each of the first `bucket_count` buckets; of a slot without a row, that of nothing.
    /// With `is_running` a bucket tells all that was counted up to it.
    pub fn told(&self, slot: u32, measure: &Measure, bucket_count: usize, is_running: bool) -> Vec<Measured> {
        fn told<T: Amount>(
            grid: &Grid<T>,
            slot: u32,
            measure: &Measure,
            bucket_count: usize,
            is_running: bool,
        ) -> Vec<Measured> {
            let Some(cells) = grid.row(slot) else { return vec![T::default().told(measure); bucket_count] };
            if !is_running {
                return cells[..bucket_count].iter().map(|cell| cell.told(measure)).collect();
            }
            let mut sum = T::default();
            let so_far = cells[..bucket_count].iter().map(|cell| {
                sum.merge(cell);
                sum.told(measure)
            });
            so_far.collect()
        }
        let is_running = is_running || matches!(self, Tally::Rolling(_));
        with_grid!(self, grid => told(grid, slot, measure, bucket_count, is_running))
    }
}
