//! What did users do? Analyses on two access paths, sets and sequences.
//!
//! Users are dense ordinals; 16,384 consecutive ones are a task, the unit of work. No user is in two tasks, so
//! an [`Analysis`] observes each task on whichever core is free, and the partial results just add up
//! (`exact-merge`).

mod account;
mod account_order;
mod activity;
mod amount;
mod answer;
mod attainment;
mod attainment_curve;
mod binder;
mod births;
mod bound;
mod breakdown;
mod budget;
mod by_account;
mod calendar;
#[cfg(test)]
mod cell_laws;
mod cell_name;
mod cells;
mod clip;
mod cohort;
mod columns;
mod driver_table;
mod drivers;
mod durations;
mod formula;
mod funnel;
mod funnel_any;
mod funnel_attempts;
mod funnel_cell;
mod funnel_hold;
mod funnel_latest;
mod funnel_partial;
mod funnel_plain;
mod funnel_rules;
mod funnel_seats;
mod funnel_told;
mod funnel_units;
mod funnel_values;
mod funnel_walk;
mod grid;
mod growth_model;
mod invitations;
mod lifecycle;
mod merge_runs;
mod neighbours;
mod overview;
mod overview_users;
mod path_walk;
mod paths;
mod pql;
mod pql_days;
mod pql_score;
mod pql_signal;
mod profile_numbers;
mod ratio;
mod recurring;
mod retention;
mod retention_cells;
mod retention_table;
mod returns;
mod revenue;
mod revenue_book;
mod rolling;
mod saved;
mod scan;
mod schema;
mod segmentation;
mod segmentation_cells;
mod segmentation_counting;
mod segmentation_table;
mod segmentation_totals;
mod selection;
mod signups;
mod split;
mod stickiness;
mod stickiness_plan;
mod stretch;
mod tally;
mod task;
mod task_set;
mod timeline;
mod together;
mod transitions;
mod usage_limits;
mod usage_standing;
mod value_totals;
mod virality;
mod virality_cells;
mod visits;
mod weight;
mod whole_paths;

pub use attainment::{Attainment, AttainmentCell};
pub use binder::Binder;
pub use breakdown::BreakdownPlan;
pub use budget::{Budget, Charge, Courtesy, QueryOptions};
pub use calendar::{Calendar, format_instant, local_date};
pub use cohort::{Cohort, CohortBinder, CohortPlan};
pub use drivers::{Drivers, DriversCell};
pub use funnel::Funnel;
pub use funnel_cell::FunnelCell;
pub use invitations::{InvitationEvents, Invitations};
pub use lifecycle::{Lifecycle, LifecycleCell};
pub use overview::{Overview, OverviewCell};
pub use path_walk::PathWalk;
pub use paths::{PathCell, PathTotals, Paths};
pub use pql::{Pql, PqlCell};
pub use retention::{Retention, RetentionTotals};
pub use retention_cells::RetentionCell;
pub use revenue::{Revenue, RevenueCell, RevenueTotals, Statements};
pub use revenue_book::Statement;
pub use scan::Scan;
pub(crate) use scan::return_memory_of_queries;
pub use segmentation::Segmentation;
pub use segmentation_cells::SegmentationCell;
pub use segmentation_totals::SegmentationTotals;
pub use selection::{Selection, UserFilter};
pub use split::{Codes, Fold, NULL_CODE, Split};
pub use stickiness::{Stickiness, StickinessCell};
pub use task::Task;
pub use task_set::TaskSet;
pub use usage_limits::{UsageLimitTotals, UsageLimits, UsageLimitsCell};
pub use virality::Virality;
pub use virality_cells::ViralityCell;
pub use visits::VisitTotals;
pub use whole_paths::{WholePathCell, WholePaths};

use std::ops::Range;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::Problem;
use crate::model::TimeMs;

/// Users in one task: a quarter of a user block, so that its state fits the L2 cache and cores stay balanced.
pub const TASK_USER_COUNT: u32 = 16_384;

/// A question, ready to be asked of any task.
pub trait Analysis: Sync {
    type Partial: Partial;
    /// The answer: a table, or for a first look what the second one needs.
    type Output;

    /// The partial result of no task.
    fn empty(&self) -> Self::Partial;

    /// Adds what the users of one task did.
    fn observe(&self, task: &Task<'_>, partial: &mut Self::Partial) -> Result<(), Problem>;

    /// Turns the partial result of all tasks into the answer.
    fn finish(&self, partial: Self::Partial) -> Result<Self::Output, Problem>;
}

/// A partial result: what crosses between cores today and machines later.
///
/// `merge` is exact, associative and commutative, and the serialised form says the same.
pub trait Partial: Send + Serialize + DeserializeOwned {
    fn merge(&mut self, other: Self);
}

/// The rows of one selector in one task, sorted by user, then time.
///
/// Invariant: `ordered-runs`: `keys` is sorted; equal keys are different events at one moment.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// User within the task and time, packed by [`key`].
    pub keys: Vec<u64>,
    /// Where each row's columns are: empty unless asked for.
    pub refs: Vec<RowRef>,
    pub spread: Spread,
    /// The memory they take of the query's budget.
    pub charge: Charge,
}

impl Rows {
    /// The rows of a range.
    fn within(&self, range: &Range<TimeMs>, meter: &budget::Meter) -> Result<Rows, Problem> {
        let mut rows = Rows { spread: self.spread, ..Rows::default() };
        let is_inside = |key: &u64| range.contains(&key_time(*key));
        rows.keys = self.keys.iter().copied().filter(is_inside).collect();
        let of_rows = self.keys.iter().zip(&self.refs);
        rows.refs = of_rows.filter(|(key, _)| is_inside(key)).map(|(_, row)| *row).collect();
        rows.charge = meter.charge(rows.size())?;
        Ok(rows)
    }

    /// Where a row is, of [placed](Task::placed_rows) rows.
    fn place_of(&self, row: usize) -> RowRef {
        match self.spread {
            Spread::Beside(first) => RowRef { row: first.row + row as u32, ..first },
            _ => self.refs[row],
        }
    }

    /// Bytes of memory.
    fn size(&self) -> u64 {
        (size_of_val(&*self.keys) + size_of_val(&*self.refs)) as u64
    }
}

/// What is known of where rows are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    #[default]
    Anywhere,
    /// In one group, in any order.
    OneGroup,
    /// In one group, in its order.
    GroupOrder,
    /// In one group, one beside the other from this one on. Then `refs` are not filled.
    Beside(RowRef),
}

/// A row of a segment of the snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RowRef {
    pub segment: u32,
    pub group: u32,
    pub row: u32,
}

const TIME_BITS: u32 = 48;
const TIME_BIAS: i64 = 1 << (TIME_BITS - 1);

/// Packs a user within the task and a time so that order of keys is order of (user, time).
#[inline]
pub fn key(user: u16, time: TimeMs) -> u64 {
    (u64::from(user) << TIME_BITS) | (time + TIME_BIAS) as u64
}

/// The user within the task.
#[inline]
pub fn key_user(key: u64) -> u16 {
    (key >> TIME_BITS) as u16
}

#[inline]
pub fn key_time(key: u64) -> TimeMs {
    (key & ((1 << TIME_BITS) - 1)) as i64 - TIME_BIAS
}
