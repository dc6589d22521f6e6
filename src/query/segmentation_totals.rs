//! The first look of a segmentation: which values of its breakdown it tells.

use serde::{Deserialize, Serialize};

use super::segmentation::{Segmentation, Series};
use super::value_totals::{UserTotals, ValueTotals};
use super::{Analysis, Codes, Fold, Partial, Rows, Split, Task, key_time, key_user};
use crate::api::{Measure, Problem};
use crate::model::ExactSum;

/// How much of each series' measure every value has over the whole range.
#[derive(Debug)]
pub struct SegmentationTotals<'a> {
    segmentation: &'a Segmentation,
}

/// The totals of each series, and of each property of the breakdown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SegmentationTotalsPartial {
    series: Vec<Vec<Totals>>,
}

/// The totals of the values of one property.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Totals {
    Events(ValueTotals<u64>),
    Users(UserTotals),
    Sum(ValueTotals<ExactSum>),
}

impl<'a> SegmentationTotals<'a> {
    pub(super) fn new(segmentation: &'a Segmentation) -> SegmentationTotals<'a> {
        SegmentationTotals { segmentation }
    }

    fn observe_property(
        &self,
        task: &Task<'_>,
        series: &Series,
        rows: &Rows,
        codes: &Codes,
        totals: &mut Totals,
    ) -> Result<(), Problem> {
        let all_codes = || (0..rows.keys.len()).flat_map(|row| codes.of(row));
        match totals {
            Totals::Events(totals) => {
                all_codes().filter_map(|code| totals.entry(*code).map(|total| *total += 1)).for_each(drop);
            }
            Totals::Users(totals) => {
                let first_user = task.user_base();
                for (row, key) in rows.keys.iter().enumerate() {
                    let user = first_user + u32::from(key_user(*key));
                    // What only a rolling window holds is told, but does not count for the rank.
                    let is_in_range = key_time(*key) >= self.segmentation.range.start;
                    codes.of(row).iter().for_each(|code| totals.count(*code, user, is_in_range));
                }
            }
            Totals::Sum(totals) => {
                // A value whose events have no number is there, with a sum of 0.
                all_codes().for_each(|code| {
                    totals.entry(*code);
                });
                let Measure::Sum(property) = &series.measure else { unreachable!("sums are of a property") };
                task.numbers(property, rows, &mut |row, number| {
                    for code in codes.of(row) {
                        if let Some(total) = totals.entry(*code) {
                            total.add(number);
                        }
                    }
                })?;
            }
        }
        Ok(())
    }
}

impl Partial for SegmentationTotalsPartial {
    fn merge(&mut self, other: SegmentationTotalsPartial) {
        for (totals, other) in self.series.iter_mut().flatten().zip(other.series.into_iter().flatten()) {
            match (totals, other) {
                (Totals::Events(totals), Totals::Events(other)) => {
                    totals.merge(other, |sum, term| *sum += term)
                }
                (Totals::Users(totals), Totals::Users(other)) => totals.merge(other),
                (Totals::Sum(totals), Totals::Sum(other)) => {
                    totals.merge(other, |sum, term| sum.merge(&term))
                }
                _ => unreachable!("partial results of one query have totals of the same kinds"),
            }
        }
    }
}

impl Analysis for SegmentationTotals<'_> {
    type Partial = SegmentationTotalsPartial;
    type Output = Vec<Split>;

    fn empty(&self) -> SegmentationTotalsPartial {
        let totals = |series: &Series| match series.measure {
            Measure::Events => Totals::Events(ValueTotals::default()),
            Measure::Users => Totals::Users(UserTotals::default()),
            Measure::Sum(_) => Totals::Sum(ValueTotals::default()),
        };
        let of_series = |series| self.segmentation.breakdowns.iter().map(|_| totals(series)).collect();
        SegmentationTotalsPartial { series: self.segmentation.series.iter().map(of_series).collect() }
    }

    fn observe(&self, task: &Task<'_>, partial: &mut SegmentationTotalsPartial) -> Result<(), Problem> {
        let segmentation = self.segmentation;
        for (series, totals) in segmentation.series.iter().zip(&mut partial.series) {
            let rows = task.rows(&series.selection, segmentation.looked_at(), true)?;
            for (breakdown, totals) in segmentation.breakdowns.iter().zip(totals) {
                let codes = task.breakdown_codes(breakdown, &rows)?;
                self.observe_property(task, series, &rows, &codes, totals)?;
            }
        }
        Ok(())
    }

    /// The values that each series tells.
    fn finish(&self, partial: SegmentationTotalsPartial) -> Result<Vec<Split>, Problem> {
        let segmentation = self.segmentation;
        let fold = |(totals, (plan, limit)): (&Totals, (usize, usize))| {
            let labels = segmentation.breakdowns[plan].labels();
            match totals {
                Totals::Events(totals) => Fold::keep_top(labels, limit, |code| totals.get(code).copied()),
                Totals::Users(totals) => Fold::keep_top(labels, limit, |code| totals.get(code)),
                Totals::Sum(totals) => {
                    Fold::keep_top(labels, limit, |code| totals.get(code).map(ExactSum::total))
                }
            }
        };
        let limits = || segmentation.limits.iter().copied().enumerate();
        let split = |totals: &Vec<Totals>| Split::new(totals.iter().zip(limits()).map(fold).collect());
        partial.series.iter().map(split).collect()
    }
}
