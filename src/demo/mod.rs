//! A product's history, made from a seed.

use crate::api::Problem;
use crate::model::EventBatch;

/// Which history to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoPlan {
    pub seed: u64,
    pub events: u64,
}

impl Default for DemoPlan {
    fn default() -> DemoPlan {
        DemoPlan { seed: 1, events: 1_000_000 }
    }
}

/// Makes the history's events, in batches.
pub fn generate(
    plan: &DemoPlan,
    sink: &mut dyn FnMut(EventBatch) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let _ = plan;
    sink(EventBatch::new())
}
