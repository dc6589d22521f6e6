//! The table of a segmentation: from what was counted to what is told.

use super::amount::{Measured, Rank};
use super::formula::evaluate;
use super::grid::too_many_rows;
use super::segmentation::{Folding, Segmentation, SegmentationPartial, Series};
use super::segmentation_counting::Counted;
use super::{Fold, Split};
use crate::api::{Cell, ColumnType, Measure, Problem, Table};
use crate::limits::RESULT_ROW_COUNT_MAX;
use crate::model::{Decimal, Number};

/// What is told under one name and one value of the breakdown.
struct Line<V> {
    series: String,
    labels: Vec<Cell>,
    /// By stretch, then bucket. A stretch with fewer buckets than the asked one has nothing beside the last of those.
    values: Vec<Vec<V>>,
}

impl Segmentation {
    pub(super) fn table(&self, partial: SegmentationPartial) -> Result<Table, Problem> {
        let series = self.folded(partial)?;
        let value_type = match self.formula {
            Some(_) => ColumnType::Float64,
            None => value_type(self.series.iter().map(|series| &series.measure)),
        };
        let lines: Vec<Line<Cell>> = match &self.formula {
            None => {
                let lines_of = |(series, split, counted): &Folded<'_>| -> Vec<Line<Cell>> {
                    let line = |slot: u32| self.line(series, split, counted, slot);
                    let slots = slots(split, counted.iter()).into_iter();
                    slots.map(|slot| line(slot).map(|measured| cell(measured, value_type))).collect()
                };
                series.iter().flat_map(lines_of).collect()
            }
            Some((name, formula)) => {
                let split = &series[0].1;
                let line = |slot: u32| {
                    let of_series =
                        series.iter().map(|(series, _, counted)| self.line(series, split, counted, slot));
                    combine(name, of_series.collect(), |values| {
                        evaluate(formula, values).map_or(Cell::Null, Cell::Float)
                    })
                };
                let slots = slots(split, series.iter().flat_map(|(_, _, counted)| counted));
                slots.into_iter().map(line).collect()
            }
        };
        let bucket_count = self.stretches[0].calendar.bucket_count();
        if lines.len() * bucket_count * self.stretches.len() > RESULT_ROW_COUNT_MAX {
            return Err(too_many_rows());
        }
        let has_compare = self.stretches.len() > 1;
        let mut columns =
            vec![("time".to_owned(), ColumnType::Time), ("series".to_owned(), ColumnType::String)];
        columns.extend(series[0].1.columns());
        columns.extend(has_compare.then(|| ("compare".to_owned(), ColumnType::UInt32)));
        columns.push(("value".to_owned(), value_type));
        let mut table = Table::new(columns);
        for bucket in 0..bucket_count {
            let time = self.stretches[0].calendar.label(bucket);
            for line in &lines {
                for (compare, values) in (0..).zip(&line.values) {
                    let name = [Cell::Text(time.clone()), Cell::Text(line.series.clone())];
                    let compare = has_compare.then_some(Cell::UInt(compare));
                    let value = values.get(bucket).cloned().unwrap_or(Cell::Null);
                    let labels = line.labels.iter().cloned();
                    table.push(name.into_iter().chain(labels).chain(compare).chain([value]));
                }
            }
        }
        Ok(table)
    }

    /// What was counted of each series, in the slots of the rows that are told.
    fn folded(&self, partial: SegmentationPartial) -> Result<Vec<Folded<'_>>, Problem> {
        let series = self.series.iter().zip(partial.series);
        let folded = series.map(|(series, counted)| match series.folding {
            Folding::AfterCounting => self.fold_counted(series, counted),
            Folding::Decided => Ok((series, series.split.clone(), counted)),
            Folding::ByFirstLook => unreachable!("the first look was taken before anything was counted"),
        });
        folded.collect()
    }

    /// Folds counts that were taken by code. Values of the asked range are ranked by their measure in it; those
    /// that only the other one has are told too.
    fn fold_counted<'s>(&self, series: &'s Series, counted: Vec<Counted>) -> Result<Folded<'s>, Problem> {
        let fold = |property: usize| {
            let labels = self.breakdowns[property].labels();
            let code = |slot| {
                Some(series.split.codes_of(slot)[property] as usize).filter(|code| *code < labels.len())
            };
            let mut totals = counted[0].tally.totals(&series.measure, labels.len(), code);
            for slot in counted[1..].iter().flat_map(|counted| counted.tally.slots()) {
                if let Some(code) = code(slot) {
                    totals[code].get_or_insert_with(|| counted[0].tally.nothing(&series.measure));
                }
            }
            Fold::keep_top(labels, self.limits[property], |code| totals[code as usize].clone().map(Rank))
        };
        let split = Split::new((0..self.breakdowns.len()).map(fold).collect())?;
        let folded = counted.into_iter().map(|counted| {
            let tally = counted.tally.renamed(|slot| split.slot_of(&series.split.codes_of(slot)));
            Counted::of(tally)
        });
        let folded = folded.collect();
        Ok((series, split, folded))
    }

    fn line(&self, series: &Series, split: &Split, counted: &[Counted], slot: u32) -> Line<Measured> {
        let asked_count = self.stretches[0].calendar.bucket_count();
        let values = self.stretches.iter().zip(counted).map(|(stretch, counted)| {
            let bucket_count = stretch.calendar.bucket_count().min(asked_count);
            counted.tally.told(slot, &series.measure, bucket_count, self.is_cumulative)
        });
        Line { series: series.name.clone(), labels: split.cells(slot), values: values.collect() }
    }
}

/// A series, how its values are split, and what was counted of it in each stretch.
type Folded<'s> = (&'s Series, Split, Vec<Counted>);

impl<V> Line<V> {
    fn map<W>(self, f: impl Fn(V) -> W) -> Line<W> {
        let values = self.values.into_iter().map(|values| values.into_iter().map(&f).collect()).collect();
        Line { series: self.series, labels: self.labels, values }
    }
}

/// The slots of the lines, ascending. Without a breakdown there is one, whatever was counted.
fn slots<'c>(split: &Split, counted: impl Iterator<Item = &'c Counted>) -> Vec<u32> {
    if split.is_none() {
        return vec![0];
    }
    let mut slots: Vec<u32> = counted.flat_map(|counted| counted.tally.slots()).collect();
    slots.sort_unstable();
    slots.dedup();
    slots
}

/// One line of what `evaluate` makes of the values of several lines. All have the same labels.
fn combine(name: &str, mut parts: Vec<Line<Measured>>, evaluate: impl Fn(&[Measured]) -> Cell) -> Line<Cell> {
    let labels = std::mem::take(&mut parts[0].labels);
    let of_stretch = |stretch: usize| {
        let of_bucket = |bucket: usize| {
            let values: Vec<Measured> =
                parts.iter().map(|part| part.values[stretch][bucket].clone()).collect();
            evaluate(&values)
        };
        (0..parts[0].values[stretch].len()).map(of_bucket).collect()
    };
    Line { series: name.to_owned(), labels, values: (0..parts[0].values.len()).map(of_stretch).collect() }
}

/// The type of a column that tells all the measures: counts, else doubles, and decimals where one is exact.
fn value_type<'m>(measures: impl Iterator<Item = &'m Measure>) -> ColumnType {
    let mut has_shares = false;
    for measure in measures {
        match measure {
            Measure::Events | Measure::Users | Measure::Accounts | Measure::FirstTimeUsers => {}
            Measure::PerUser | Measure::Average(_) => has_shares = true,
            Measure::Sum(_) | Measure::Least(_) | Measure::Greatest(_) | Measure::Percentile(..) => {
                return ColumnType::Decimal;
            }
        }
    }
    if has_shares { ColumnType::Float64 } else { ColumnType::UInt64 }
}

/// A value in a column of this type.
fn cell(measured: Measured, column_type: ColumnType) -> Cell {
    match (measured, column_type) {
        (Measured::Null, _) => Cell::Null,
        (Measured::Count(count), ColumnType::UInt64) => Cell::UInt(count),
        (Measured::Exact(decimal), _) => Cell::Decimal(decimal),
        (measured, ColumnType::Decimal) => {
            let number = measured.to_f64().and_then(Number::from_f64);
            number.map_or(Cell::Null, |number| Cell::Decimal(Decimal::from(number)))
        }
        (measured, _) => measured.to_f64().map_or(Cell::Null, Cell::Float),
    }
}
