//! The first look of a segmentation: which values of its breakdown it tells.

use serde::{Deserialize, Serialize};

use super::amount::Rank;
use super::segmentation::{Folding, Segmentation, Series};
use super::segmentation_counting::Counted;
use super::stretch::Stretch;
use super::{Analysis, BreakdownPlan, Fold, Partial, Rows, Split, Task};
use crate::api::Problem;
use crate::limits::{BREAKDOWN_COMBINATION_COUNT_MAX, BREAKDOWN_VALUE_COUNT_MAX};

/// How much of each series' measure every value has over the whole asked range. With a formula the values that are
/// told are those of the first series, for all of them.
#[derive(Debug)]
pub struct SegmentationTotals<'a> {
    segmentation: &'a Segmentation,
    /// The asked range as one bucket.
    whole: Stretch,
    /// Every value of each property in the slot of its code.
    by_code: Vec<Split>,
}

const _: () = assert!(BREAKDOWN_VALUE_COUNT_MAX + 2 <= BREAKDOWN_COMBINATION_COUNT_MAX);

/// The totals of each series, and of each property of the breakdown: by code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SegmentationTotalsPartial {
    series: Vec<Vec<Counted>>,
}

impl<'a> SegmentationTotals<'a> {
    pub(super) fn new(segmentation: &'a Segmentation) -> SegmentationTotals<'a> {
        let by_code = |plan: &BreakdownPlan| {
            Split::new(vec![Fold::by_code(plan.labels())]).expect("one property has no more values than that")
        };
        SegmentationTotals {
            segmentation,
            whole: segmentation.stretches[0].whole().expect("one bucket is not too many"),
            by_code: segmentation.breakdowns.iter().map(by_code).collect(),
        }
    }

    /// The series whose totals say which values a series tells; `None` if that is decided, or counted later.
    fn judge_of(&self, index: usize) -> Option<usize> {
        let series = &self.segmentation.series[index];
        let is_shared = self.segmentation.formula.is_some();
        (series.folding == Folding::ByFirstLook).then_some(if is_shared { 0 } else { index })
    }

    /// Visits the slots of rows in each property of the breakdown.
    fn visit_properties(
        &self,
        task: &Task<'_>,
        rows: &Rows,
        totals: &mut [Counted],
        mut visit: impl FnMut(&mut Counted, &super::Codes) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        for ((plan, by_code), totals) in self.segmentation.breakdowns.iter().zip(&self.by_code).zip(totals) {
            let slots = by_code.slots(vec![task.breakdown_codes(plan, rows)?]);
            visit(totals, &slots.expect("there is a breakdown"))?;
        }
        Ok(())
    }

    /// Notes the values of rows that are told, but do not count for the rank.
    fn note(
        &self,
        task: &Task<'_>,
        series: &Series,
        range: std::ops::Range<i64>,
        totals: &mut [Counted],
    ) -> Result<(), Problem> {
        if range.is_empty() {
            return Ok(());
        }
        let rows = self.segmentation.rows(task, series, range, true)?;
        self.visit_properties(task, &rows, totals, |totals, slots| {
            totals.tally.note((0..rows.keys.len()).flat_map(|row| slots.of(row)))
        })
    }
}

impl Partial for SegmentationTotalsPartial {
    fn merge(&mut self, other: SegmentationTotalsPartial) {
        for (totals, other) in self.series.iter_mut().flatten().zip(other.series.into_iter().flatten()) {
            totals.tally.merge(&other.tally);
        }
    }
}

impl Analysis for SegmentationTotals<'_> {
    type Partial = SegmentationTotalsPartial;
    type Output = Vec<Option<Split>>;

    fn empty(&self) -> SegmentationTotalsPartial {
        let of_series = |series: &Series| {
            self.segmentation.breakdowns.iter().map(|_| Counted::new(&series.measure, &self.whole)).collect()
        };
        SegmentationTotalsPartial { series: self.segmentation.series.iter().map(of_series).collect() }
    }

    fn observe(&self, task: &Task<'_>, partial: &mut SegmentationTotalsPartial) -> Result<(), Problem> {
        let segmentation = self.segmentation;
        for (index, series) in segmentation.series.iter().enumerate() {
            let Some(judge) = self.judge_of(index) else { continue };
            let totals = &mut partial.series[judge];
            let asked = &segmentation.stretches[0];
            if judge == index {
                let rows = segmentation.rows(task, series, asked.range.clone(), true)?;
                self.visit_properties(task, &rows, totals, |totals, slots| {
                    segmentation.count(task, &series.measure, &self.whole, &rows, Some(slots), totals)
                })?;
                self.note(task, series, asked.looked_at().start..asked.range.start, totals)?;
            } else {
                self.note(task, series, asked.looked_at(), totals)?;
            }
            for other in &segmentation.stretches[1..] {
                self.note(task, series, other.looked_at(), totals)?;
            }
        }
        Ok(())
    }

    /// The values that each series tells, where it was not decided.
    fn finish(&self, partial: SegmentationTotalsPartial) -> Result<Vec<Option<Split>>, Problem> {
        let segmentation = self.segmentation;
        let split = |judge: usize| {
            let measure = &segmentation.series[judge].measure;
            let folds = segmentation.breakdowns.iter().zip(&segmentation.limits).zip(&partial.series[judge]);
            let fold = |((plan, limit), totals): ((&BreakdownPlan, &usize), &Counted)| {
                let labels = plan.labels();
                let code = |slot: u32| Some(slot as usize).filter(|code| *code < labels.len());
                let totals = totals.tally.totals(measure, labels.len(), code);
                Fold::keep_top(labels, *limit, |code| totals[code as usize].clone().map(Rank))
            };
            Split::new(folds.map(fold).collect())
        };
        (0..segmentation.series.len()).map(|index| self.judge_of(index).map(split).transpose()).collect()
    }
}
