//! The query `overview`: acquisition, activation, retention, referral and revenue, interval by interval.

use super::lifecycle::parse_lasting;
use super::{Breakdown, Fields, GrowthModel, Interval, Problem};

#[derive(Clone, Debug)]
pub struct OverviewQuery {
    /// The parts that the query has itself.
    pub model: GrowthModel,
    /// Never [`Interval::Total`].
    pub interval: Interval,
    /// Tells who moved from which state to which, instead of a row of figures.
    pub transitions: bool,
    /// By what users or their accounts are, never by what an event carries.
    pub breakdowns: Vec<Breakdown>,
}

impl OverviewQuery {
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<OverviewQuery, Problem> {
        Ok(OverviewQuery {
            model: GrowthModel::parse_parts(fields)?,
            interval: Interval::parse_repeated(fields)?,
            transitions: fields.optional("transitions").map_or(Ok(false), |flag| flag.bool())?,
            breakdowns: parse_lasting(fields)?,
        })
    }
}
