//! The one description of requests and results that library, HTTP and command line share.
//!
//! Bodies are read by hand from [`Json`] rather than derived, so that every error names its place and the
//! nearest known name. Nothing here knows of sockets or of storage.

mod encode;
mod json;
mod problem;
mod table;

pub use encode::{Format, decode, encode};
pub use json::{Fields, Json, Node};
pub use problem::{Problem, ProblemClass, nearest};
pub use table::{Answer, Cell, Column, ColumnType, Statistics, Table, write_float};
