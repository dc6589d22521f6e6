//! The one description of requests and results that library, HTTP and command line share.
//!
//! Bodies are read by hand from [`Json`] rather than derived, so that every error names its place and the
//! nearest known name. Nothing here knows of sockets or of storage.

mod breakdown;
mod cohort;
mod encode;
mod filter;
mod formula;
mod funnel;
mod json;
mod problem;
mod request;
mod retention;
mod segmentation;
mod selector;
mod table;
mod time_expr;

pub use breakdown::Breakdown;
pub use cohort::{CohortExpr, CohortQuery, CohortSelect};
pub use encode::{Format, decode, encode};
pub use filter::{CohortRef, Filter, On, Op, ValueSet};
pub use formula::{Formula, Operator};
pub use funnel::FunnelQuery;
pub use json::{Fields, Json, Node};
pub use problem::{Problem, ProblemClass, nearest};
pub use request::{Common, Interval, QueryKind, QueryRequest, Scope, WeekStart};
pub use retention::{CohortRule, RetentionQuery};
pub use segmentation::{Measure, SegmentationQuery, Series};
pub use selector::{EventName, EventSelector, Selector};
pub use table::{Answer, Cell, Column, ColumnType, Statistics, Table, write_float};
pub use time_expr::{BackUnit, TimeExpr, TimeRange, is_utc, start_of_date};
