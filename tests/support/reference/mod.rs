//! Answers every question slowly and obviously, from a plain list of events.
//!
//! Written from the contract (docs/api.md) alone, so that where it and the engine differ one of them
//! misreads the page. Nothing here is fast: it walks lists, copies freely and keeps no index. Queries are
//! taken to be well formed; of errors it knows only what the conformance cases ask for.
//!
//! `history` keeps what arrived, `question` reads what all queries share, `calendar`, `filter` and `split`
//! are the words they use, and then there is one file per kind.

mod attainment;
mod attempts;
mod calendar;
mod cohort;
mod drivers;
mod filter;
mod formula;
mod funnel;
mod growth_model;
mod history;
mod lifecycle;
mod measure;
mod overview;
mod paths;
mod pql;
mod question;
mod retention;
mod revenue;
mod segmentation;
mod signups;
mod split;
mod stickiness;
mod successive;
mod usage_limits;
mod virality;
mod visits;

pub use history::Reference;

use flywheeldb::api::Json;

use super::tables::Row;
use question::Question;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The query is wrong.
    Invalid(String),
    /// The reference does not know this part of the contract yet.
    NotCovered(String),
    /// There are more ways to answer it than can be written out.
    TooMany,
}

impl Reference {
    /// Answers a query body that carries its `"kind"`.
    pub fn answer(&self, query: &Json) -> Result<Vec<Row>, Refusal> {
        match query.get("kind") {
            Some(Json::String(kind)) => match kind.as_str() {
                "segmentation" => segmentation::answer(&Question::new(self, query)?),
                "funnel" => funnel::answer(&Question::new(self, query)?),
                "retention" => retention::answer(&Question::new(self, query)?),
                "paths" => paths::answer(&Question::new(self, query)?),
                "lifecycle" => lifecycle::answer(&Question::new(self, query)?),
                "stickiness" => stickiness::answer(&Question::new(self, query)?),
                "cohort" => cohort::answer(&Question::new(self, query)?),
                "activation" | "conversion" => attainment::answer(&Question::new(self, query)?),
                "drivers" => drivers::answer(&Question::new(self, query)?),
                "pql" => pql::answer(&Question::new(self, query)?),
                "revenue" => revenue::answer(&Question::new(self, query)?),
                "virality" => virality::answer(&Question::new(self, query)?),
                "overview" => overview::answer(&Question::new(self, query)?),
                "limits" => usage_limits::answer(&Question::new(self, query)?),
                _ => Err(Refusal::NotCovered(format!("the kind {kind:?}"))),
            },
            _ => Err(Refusal::Invalid("a query has a kind".to_owned())),
        }
    }
}
