//! Tables of numbers whose rows come into being when something is counted in them.

use serde::{Deserialize, Serialize};

use crate::api::Problem;
use crate::limits::RESULT_ROW_COUNT_MAX;

/// Rows of equally many cells, found by a small number, the slot. A slot nobody counted in has no row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grid<T> {
    width: usize,
    /// The row of each slot, or [`NO_ROW`]. As long as the highest slot seen.
    row_by_slot: Vec<u32>,
    slots: Vec<u32>,
    cells: Vec<T>,
}

const NO_ROW: u32 = u32::MAX;

impl<T: Clone + Default> Grid<T> {
    /// A grid of no rows, which will have `width` cells each.
    pub fn new(width: usize) -> Grid<T> {
        Grid { width, row_by_slot: Vec::new(), slots: Vec::new(), cells: Vec::new() }
    }

    /// Where the cells of the slot start in [`Grid::cells_mut`]. The row is made if there is none.
    ///
    /// # Errors
    /// If the grid would get more cells than a result may have rows.
    #[inline]
    pub fn row_start(&mut self, slot: u32) -> Result<usize, Problem> {
        match self.row_by_slot.get(slot as usize) {
            Some(row) if *row != NO_ROW => Ok(*row as usize * self.width),
            _ => self.add_row(slot),
        }
    }

    #[cold]
    fn add_row(&mut self, slot: u32) -> Result<usize, Problem> {
        if self.cells.len() + self.width > RESULT_ROW_COUNT_MAX {
            return Err(too_many_rows());
        }
        Ok(self.append_row(slot))
    }

    fn append_row(&mut self, slot: u32) -> usize {
        let start = self.cells.len();
        if self.row_by_slot.len() <= slot as usize {
            self.row_by_slot.resize(slot as usize + 1, NO_ROW);
        }
        self.row_by_slot[slot as usize] = self.slots.len() as u32;
        self.slots.push(slot);
        self.cells.resize(start + self.width, T::default());
        start
    }

    /// Where the cells of each of these slots start, by slot, and the cells. Their rows are made if there are none.
    ///
    /// # Errors
    /// If the grid would get more cells than a result may have rows.
    pub fn rows_of(&mut self, slots: &[u32]) -> Result<(Vec<usize>, &mut [T]), Problem> {
        let mut starts: Vec<usize> = Vec::new();
        for slot in slots {
            let slot = *slot as usize;
            if starts.len() <= slot {
                starts.resize(slot + 1, usize::MAX);
            }
            if starts[slot] == usize::MAX {
                starts[slot] = self.row_start(slot as u32)?;
            }
        }
        Ok((starts, &mut self.cells))
    }

    pub fn cells_mut(&mut self) -> &mut [T] {
        &mut self.cells
    }

    /// The cells of a slot, if it has a row.
    pub fn row(&self, slot: u32) -> Option<&[T]> {
        let row = self.row_by_slot.get(slot as usize).filter(|row| **row != NO_ROW)?;
        let start = *row as usize * self.width;
        Some(&self.cells[start..start + self.width])
    }

    /// A grid of the same cells under other slots. `add` joins the cells of slots that get one name.
    pub fn renamed(&self, name: impl Fn(u32) -> u32, add: impl Fn(&mut T, &T)) -> Grid<T> {
        let mut renamed = Grid::new(self.width);
        for (slot, cells) in self.rows() {
            renamed.add_to_row(name(slot), cells, &add);
        }
        renamed
    }

    /// The slots that have rows, ascending, and their cells.
    pub fn rows(&self) -> Vec<(u32, &[T])> {
        let mut rows: Vec<(u32, &[T])> = Vec::with_capacity(self.slots.len());
        for (index, slot) in self.slots.iter().enumerate() {
            rows.push((*slot, &self.cells[index * self.width..(index + 1) * self.width]));
        }
        rows.sort_unstable_by_key(|(slot, _)| *slot);
        rows
    }

    /// Adds another grid of the same width, cell by cell.
    pub fn merge(&mut self, other: &Grid<T>, add: impl Fn(&mut T, &T)) {
        debug_assert_eq!(self.width, other.width);
        for (slot, cells) in other.rows() {
            self.add_to_row(slot, cells, &add);
        }
    }

    fn add_to_row(&mut self, slot: u32, cells: &[T], add: impl Fn(&mut T, &T)) {
        let start = match self.row_by_slot.get(slot as usize) {
            Some(row) if *row != NO_ROW => *row as usize * self.width,
            _ => self.append_row(slot),
        };
        self.cells[start..start + self.width].iter_mut().zip(cells).for_each(|(cell, term)| add(cell, term));
    }
}

/// The problem of a result that nobody could read.
pub fn too_many_rows() -> Problem {
    Problem::invalid(format!("the result has more than {RESULT_ROW_COUNT_MAX} rows"))
        .hint("ask for a longer interval, a shorter range, or a smaller limit of the breakdown")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(counts: &[(u32, usize)]) -> Grid<u64> {
        let mut grid = Grid::new(2);
        for (slot, column) in counts {
            let start = grid.row_start(*slot).unwrap();
            grid.cells_mut()[start + column] += 1;
        }
        grid
    }

    #[test]
    fn rows_are_told_in_order_of_their_slots() {
        let counted = grid(&[(7, 0), (0, 1), (7, 0)]);
        assert_eq!(counted.rows(), [(0, &[0, 1][..]), (7, &[2, 0][..])]);
    }

    #[test]
    fn merging_is_associative_and_commutative() {
        let parts = [grid(&[(1, 0)]), grid(&[(0, 1), (1, 1)]), grid(&[(5, 0), (0, 1)])];
        let sum = |order: [usize; 3]| {
            let mut sum = Grid::new(2);
            order.into_iter().for_each(|part| sum.merge(&parts[part], |cell, term| *cell += term));
            sum.rows().into_iter().map(|(slot, cells)| (slot, cells.to_vec())).collect::<Vec<_>>()
        };
        let mut right = parts[1].clone();
        right.merge(&parts[2], |cell, term| *cell += term);
        let mut left = parts[0].clone();
        left.merge(&right, |cell, term| *cell += term);
        let expected = sum([0, 1, 2]);
        assert_eq!(expected, [(0, vec![0, 2]), (1, vec![1, 1]), (5, vec![1, 0])]);
        assert_eq!(sum([2, 0, 1]), expected);
        assert_eq!(
            left.rows().into_iter().map(|(slot, cells)| (slot, cells.to_vec())).collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn a_grid_larger_than_a_result_is_refused() {
        let mut grid: Grid<u64> = Grid::new(RESULT_ROW_COUNT_MAX / 2);
        assert!(grid.row_start(0).is_ok());
        assert!(grid.row_start(9).is_ok());
        assert!(grid.row_start(9).is_ok());
        assert!(grid.row_start(3).unwrap_err().hint.is_some());
    }
}
