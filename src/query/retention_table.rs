//! What a retention tells: a row for each cohort and period, or one curve over all cohorts.

use super::Retention;
use super::grid::{Grid, too_many_rows};
use super::retention::RetentionPartial;
use super::returns::cumulate;
use crate::api::{Cell, ColumnType, Problem, ReturnMeasure, Table};
use crate::limits::RESULT_ROW_COUNT_MAX;
use crate::model::ExactSum;

/// What one cohort has of one value, by period.
struct Curve {
    size: u64,
    users: Vec<u64>,
    sums: Option<Vec<ExactSum>>,
}

impl Retention {
    /// The answer, once all is counted.
    pub(super) fn tell(&self, partial: &RetentionPartial) -> Result<Table, Problem> {
        let (cohort_count, width) = (self.calendar.range_bucket_count(), self.width());
        let nobody = vec![0; cohort_count * width];
        let nothing = vec![ExactSum::default(); if partial.sums.is_some() { nobody.len() } else { 0 }];
        let mut rows = partial.cells.rows();
        let mut sums = partial.sums.as_ref().map(Grid::rows);
        if rows.is_empty() && self.split.is_none() {
            rows.push((0, &nobody));
            if let Some(sums) = &mut sums {
                sums.push((0, &nothing));
            }
        }
        if rows.len() * cohort_count * width > RESULT_ROW_COUNT_MAX {
            return Err(too_many_rows());
        }
        let lines: Vec<(Vec<Cell>, Vec<Curve>)> = rows
            .iter()
            .enumerate()
            .map(|(row, (slot, cells))| {
                let curve = |cohort: usize| {
                    let of_cohort = cohort * width..(cohort + 1) * width;
                    let sums = sums.as_ref().map(|sums| &sums[row].1[of_cohort.clone()]);
                    self.curve(&cells[of_cohort], sums)
                };
                (self.split.cells(*slot), (0..cohort_count).map(curve).collect())
            })
            .collect();
        Ok(if self.is_summary { self.summary(&lines) } else { self.table(&lines) })
    }

    /// What is counted and summed of one cohort, by period.
    fn curve(&self, cells: &[u64], sums: Option<&[ExactSum]>) -> Curve {
        let size = cells[0];
        let mut users = cells.to_vec();
        cumulate(self.mode, &mut users[1..], |sum, term| *sum += term);
        let sums = sums.map(|sums| {
            let mut sums = sums.to_vec();
            cumulate(self.mode, &mut sums, ExactSum::merge);
            sums
        });
        Curve { size, users, sums }
    }

    /// The cells from `period` to `rate`.
    fn numbers(&self, period: usize, size: u64, users: u64, sum: Option<&ExactSum>) -> [Cell; 4] {
        let share = |part: f64| if size > 0 { Cell::Float(part / size as f64) } else { Cell::Null };
        let (value, rate) = match (&self.measure, sum) {
            (ReturnMeasure::Average(_), Some(sum)) => {
                let average = sum.total().to_f64() / size as f64;
                (share(sum.total().to_f64()), share(average))
            }
            (_, Some(sum)) => (Cell::Decimal(sum.total()), share(sum.total().to_f64())),
            (_, None) => (Cell::UInt(users), share(users as f64)),
        };
        [Cell::UInt(period as u64), Cell::UInt(size), value, rate]
    }

    /// A table of these columns, those of the breakdown after the first ones.
    fn empty_table<'a>(&self, before: &[&str], after: &'a [(&'a str, ColumnType)]) -> Table {
        let (name, kind) = match &self.measure {
            ReturnMeasure::Users => ("users", ColumnType::UInt64),
            ReturnMeasure::Sum(_) => ("value", ColumnType::Decimal),
            ReturnMeasure::Average(_) => ("value", ColumnType::Float64),
        };
        let numbers = [
            ("period", ColumnType::UInt32),
            ("size", ColumnType::UInt64),
            (name, kind),
            ("rate", ColumnType::Float64),
        ];
        let before = before.iter().map(|name| ((*name).to_owned(), ColumnType::Time));
        let numbers = numbers.iter().chain(after).map(|(name, kind)| ((*name).to_owned(), *kind));
        Table::new(before.chain(self.split.columns()).chain(numbers))
    }

    fn table(&self, lines: &[(Vec<Cell>, Vec<Curve>)]) -> Table {
        let mut table = self.empty_table(&["cohort"], &[("complete", ColumnType::Bool)]);
        for cohort in 0..self.calendar.range_bucket_count() {
            let time = Cell::Text(self.calendar.label(cohort));
            for (labels, curves) in lines {
                let curve = &curves[cohort];
                for period in 0..self.width() {
                    let sum = curve.sums.as_ref().map(|sums| &sums[period]);
                    let numbers = self.numbers(period, curve.size, curve.users[period], sum);
                    let complete = Cell::Bool(self.is_complete(cohort, period));
                    let name = [time.clone()].into_iter().chain(labels.iter().cloned());
                    table.push(name.chain(numbers).chain([complete]));
                }
            }
        }
        table
    }

    /// One curve over all cohorts: each period over those for which it is complete.
    fn summary(&self, lines: &[(Vec<Cell>, Vec<Curve>)]) -> Table {
        let mut table = self.empty_table(&[], &[]);
        for (labels, curves) in lines {
            for period in 0..self.width() {
                let (mut size, mut users) = (0, 0);
                let mut sum = (self.measure != ReturnMeasure::Users).then(ExactSum::default);
                for (cohort, curve) in curves.iter().enumerate() {
                    if self.is_complete(cohort, period) {
                        size += curve.size;
                        users += curve.users[period];
                        if let (Some(sum), Some(sums)) = (&mut sum, &curve.sums) {
                            sum.merge(&sums[period]);
                        }
                    }
                }
                let numbers = self.numbers(period, size, users, sum.as_ref());
                table.push(labels.iter().cloned().chain(numbers));
            }
        }
        table
    }
}
