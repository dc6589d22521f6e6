//! Neighbouring rows of a group, counted and added up by their columns as they are.
//!
//! Where no condition leaves rows out, a query that asks for events and sums needs neither their keys nor their places. Each
//! block of rows finds its buckets at once, which the compiler makes vector instructions of; a row then counts in the cell
//! of its value and bucket, of a small table that is added to the query's grid when the rows are through.

use std::ops::Range;

use super::Calendar;
use super::amount::SumAmount;
use super::columns::NumberColumn;
use super::grid::Grid;
use crate::api::Problem;
use crate::format::{BLOCK_LEN, IntColumn};
use crate::model::TimeMs;

/// Rows that lie beside one another.
pub(super) struct Neighbours<'a> {
    pub times: IntColumn<'a>,
    pub rows: Range<usize>,
    /// The moment that times of the group are counted from, and the last one of it.
    pub first: TimeMs,
    pub last: TimeMs,
    /// What is counted; the calendar spans it.
    pub range: Range<TimeMs>,
    pub calendar: &'a Calendar,
    /// What the rows are split by, if by anything.
    pub split: Option<NeighbourSplit<'a>>,
}

/// How the value of each row is told.
pub(super) struct NeighbourSplit<'a> {
    /// `None` if no row has one.
    pub column: Option<IntColumn<'a>>,
    /// The code of each value of the column. Those from `label_count` on are that of null.
    pub code_by_value: &'a [u32],
    pub label_count: usize,
    /// Whether a value without a code is a mistake, and not null.
    pub is_complete: bool,
}

/// What a row is split into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NeighbourCode {
    /// Nothing is split.
    All,
    Label(u32),
    Null,
    /// A value of the column that has no code.
    Unknown,
}

impl NeighbourSplit<'_> {
    /// What the cells of each row of the table are split into.
    fn code(&self, row: usize) -> NeighbourCode {
        match row.checked_sub(self.label_count) {
            None => NeighbourCode::Label(row as u32),
            Some(1) if self.is_complete => NeighbourCode::Unknown,
            Some(_) => NeighbourCode::Null,
        }
    }

    fn row_count(&self) -> usize {
        self.label_count + 2
    }
}

/// Cells at the most for each row, so that a table is not more work than its rows ...
const CELLS_PER_ROW_MAX: usize = 8;
/// ... and cells that are no work.
const CELL_COUNT_FREE: usize = 4096;
/// Cells of which each is kept several times: a row that adds to the cell of the row before waits for it.
const FEW_CELLS_MAX: usize = 512;
/// How many times.
const LANE_COUNT: usize = 4;

impl Neighbours<'_> {
    /// Each value has a cell for each bucket, and one for rows outside of the range.
    fn width(&self) -> usize {
        self.calendar.bucket_count() + 1
    }

    fn cell_count(&self) -> usize {
        self.width() * self.split.as_ref().map_or(1, NeighbourSplit::row_count)
    }

    /// Whether a table of cells is little work beside so many rows.
    pub fn are_cells_few(&self) -> bool {
        self.cell_count() <= CELL_COUNT_FREE.max(self.rows.len() * CELLS_PER_ROW_MAX)
    }

    /// Calls `f` with the cells of the rows, in order, in pieces of at most 128.
    fn for_each_block(&self, mut f: impl FnMut(&[u32])) {
        let Some(split) = &self.split else { return self.for_each_bucket_block(f) };
        let mut cells: Vec<u32> = Vec::with_capacity(self.rows.len());
        self.for_each_bucket_block(|buckets| cells.extend_from_slice(buckets));
        let (null, width) = (split.label_count as u32, self.width() as u32);
        let Some(column) = &split.column else {
            cells.iter_mut().for_each(|cell| *cell += null * width);
            return cells.chunks(BLOCK_LEN).for_each(f);
        };
        let mut at = 0;
        column.for_each_block(self.rows.clone(), |values| {
            let cells = &mut cells[at..at + values.len()];
            for (cell, value) in cells.iter_mut().zip(values) {
                let code =
                    split.code_by_value.get(*value as usize).map_or(null + 1, |code| (*code).min(null));
                *cell += code * width;
            }
            at += values.len();
            f(cells);
        });
    }

    /// Calls `f` with the buckets of the rows, in order, in pieces of at most 128.
    fn for_each_bucket_block(&self, mut f: impl FnMut(&[u32])) {
        let is_whole = self.range.start <= self.first && self.last < self.range.end;
        let outside = self.calendar.bucket_count() as u32;
        let mut buckets = [0; BLOCK_LEN];
        self.times.for_each_block(self.rows.clone(), |times| {
            let buckets = &mut buckets[..times.len()];
            let moments = times.iter().map(|time| self.first.wrapping_add(*time as i64));
            self.calendar.buckets_of(moments, buckets);
            if !is_whole {
                for (bucket, time) in buckets.iter_mut().zip(times) {
                    let is_inside = self.range.contains(&(self.first + *time as i64));
                    *bucket = if is_inside { *bucket } else { outside };
                }
            }
            f(buckets);
        });
    }

    /// Adds the table's cells to a grid: each of its rows to that of its slot.
    fn add_to_grid<C: Copy, T: Clone + Default>(
        &self,
        cells: &[C],
        is_counted: impl Fn(&C) -> bool,
        slot_of: impl Fn(NeighbourCode) -> Result<u32, Problem>,
        grid: &mut Grid<T>,
        add: impl Fn(&mut T, &C),
    ) -> Result<(), Problem> {
        let inside = self.calendar.bucket_count();
        for (row, of_row) in cells.chunks_exact(self.width()).enumerate() {
            let of_row = &of_row[..inside];
            let code = self.split.as_ref().map_or(NeighbourCode::All, |split| split.code(row));
            if code != NeighbourCode::All && !of_row.iter().any(&is_counted) {
                continue;
            }
            let start = grid.row_start(slot_of(code)?)?;
            let sums = grid.cells_mut()[start..start + inside].iter_mut();
            sums.zip(of_row).filter(|(_, cell)| is_counted(cell)).for_each(|(sum, cell)| add(sum, cell));
        }
        Ok(())
    }

    /// Counts the rows in the slots that `slot_of` names.
    pub fn count(
        &self,
        slot_of: impl Fn(NeighbourCode) -> Result<u32, Problem>,
        grid: &mut Grid<u64>,
    ) -> Result<(), Problem> {
        let counts = match self.cell_count() {
            0..=FEW_CELLS_MAX => self.counts::<LANE_COUNT>(),
            _ => self.counts::<1>(),
        };
        let add = |sum: &mut u64, count: &u32| *sum += u64::from(*count);
        self.add_to_grid(&counts, |count| *count > 0, slot_of, grid, add)
    }

    fn counts<const LANES: usize>(&self) -> Vec<u32> {
        let mut counts = vec![[0_u32; LANES]; self.cell_count()];
        self.for_each_block(|cells| {
            for (row, cell) in cells.iter().enumerate() {
                counts[*cell as usize][row % LANES] += 1;
            }
        });
        counts.iter().map(|lanes| lanes.iter().sum()).collect()
    }

    /// Adds up the numbers of the rows in the slots that `slot_of` names.
    pub fn add_up<T: SumAmount>(
        &self,
        numbers: &NumberColumn<'_>,
        slot_of: impl Fn(NeighbourCode) -> Result<u32, Problem>,
        grid: &mut Grid<T>,
    ) -> Result<(), Problem> {
        let sums = match self.cell_count() {
            0..=FEW_CELLS_MAX => self.sums::<LANE_COUNT>(numbers),
            _ => self.sums::<1>(numbers),
        };
        let add = |total: &mut T, sum: &Sum| {
            total.add_sum(i128::from(sum.mantissa), numbers.exponent, u64::from(sum.number_count));
        };
        self.add_to_grid(&sums, |sum| sum.row_count > 0, slot_of, grid, add)
    }

    fn sums<const LANES: usize>(&self, numbers: &NumberColumn<'_>) -> Vec<Sum> {
        let mut cells_of_rows: Vec<u32> = Vec::with_capacity(self.rows.len());
        self.for_each_block(|cells| cells_of_rows.extend_from_slice(cells));
        let mut sums = vec![[Sum::default(); LANES]; self.cell_count()];
        let mut presence = Vec::new();
        if let Some(column) = &numbers.presence {
            column.read(self.rows.clone(), &mut presence);
        }
        let mut at = 0;
        numbers.mantissas.for_each_block(self.rows.clone(), |mantissas| {
            let cells = &cells_of_rows[at..at + mantissas.len()];
            for (row, (cell, mantissa)) in cells.iter().zip(mantissas).enumerate() {
                let is_there = presence.get(at + row).is_none_or(|presence| *presence != 0);
                let mantissa = numbers.mantissa_min.wrapping_add(*mantissa as i64);
                let sum = &mut sums[*cell as usize][row % LANES];
                sum.row_count += 1;
                sum.number_count += u32::from(is_there);
                sum.mantissa = sum.mantissa.wrapping_add(if is_there { mantissa } else { 0 });
            }
            at += mantissas.len();
        });
        let whole = |lanes: &[Sum; LANES]| {
            lanes.iter().fold(Sum::default(), |sum, lane| Sum {
                row_count: sum.row_count + lane.row_count,
                number_count: sum.number_count + lane.number_count,
                mantissa: sum.mantissa.wrapping_add(lane.mantissa),
            })
        };
        sums.iter().map(whole).collect()
    }
}

/// What is summed in a cell. Of columns whose sums fit.
#[derive(Clone, Copy, Default)]
struct Sum {
    row_count: u32,
    number_count: u32,
    mantissa: i64,
}
