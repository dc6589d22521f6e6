//! The one description of requests and results that library, HTTP and command line share.
//!
//! Bodies are read by hand from [`Json`] rather than derived, so that every error names its place and the
//! nearest known name. Nothing here knows of sockets or of storage.

mod arrow;
mod attainment;
mod breakdown;
mod cohort;
mod drivers;
mod encode;
mod filter;
mod formula;
mod funnel;
mod growth_model;
mod json;
mod json_tree;
mod lifecycle;
mod overview;
mod paths;
mod pql;
mod problem;
mod request;
mod retention;
mod revenue;
mod segmentation;
mod selector;
mod stickiness;
mod table;
mod time_expr;
mod usage_limits;
mod virality;

pub use attainment::{ActivationQuery, ConversionQuery};
pub use breakdown::{Attribution, Breakdown, BreakdownSource};
pub use cohort::{CohortExpr, CohortQuery, CohortSelect, ResultCell};
pub use drivers::{DriverOutcome, DriversQuery};
pub use encode::{Format, decode, encode};
pub(crate) use filter::op_words;
pub use filter::{Filter, On, Op, ValueSet};
pub use formula::{Formula, Operator};
pub use funnel::{FunnelCount, FunnelExclusion, FunnelHistogram, FunnelOrder, FunnelQuery, FunnelStep};
pub use growth_model::{
    Acceptance, FeatureUse, GROWTH_PARTS, GrowthModel, Milestone, Subscription, UsageLimit,
};
pub use json::{Fields, Json, Node};
pub(crate) use json_tree::{Leaves, TREE_VALUE_SIZE, TreeBuilder, TreeRoom, check_grammar};
pub use lifecycle::LifecycleQuery;
pub use overview::OverviewQuery;
pub use paths::{PathAnchor, PathCut, PathsQuery};
pub use pql::{Breadth, HandRaise, PqlQuery, PqlSignal, SignalSource};
pub use problem::{Problem, ProblemClass, nearest, nearest_few};
pub use request::{Common, Interval, QueryKind, QueryRequest, Scope, WeekStart};
pub use retention::{Alignment, CohortRule, RetentionQuery, ReturnMeasure, ReturnMode};
pub use revenue::RevenueQuery;
pub use segmentation::{Measure, SegmentationQuery, Series};
pub use selector::{EventName, EventSelector, Selector};
pub use stickiness::{Period, StickinessQuery, StickinessTold};
pub use table::{Answer, Cell, Column, ColumnType, Statistics, Table, write_float};
pub use time_expr::{BackUnit, TimeExpr, TimeRange, is_utc, start_of_date};
pub use usage_limits::{UsageLimitsQuery, UsageLimitsTold};
pub use virality::{ViralityQuery, ViralityTold};
