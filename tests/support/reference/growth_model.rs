//! The growth model: parts of a query that may be left to it.

use flywheeldb::api::Json;

use super::Refusal;
use super::filter::Selector;
use super::question::{Question, field};

/// The fields of a query that are parts of a growth model.
pub const PARTS: [&str; 9] =
    ["signup", "activate", "value", "invite", "accept", "subscription", "paid", "feature", "limit"];

/// A part of the query, or else of the model.
pub fn part<'a>(question: &Question<'a>, name: &str) -> Result<&'a Json, Refusal> {
    let of_model = || question.reference.growth_model().and_then(|model| field(model, name));
    let missing = || Refusal::Invalid(format!("neither the query nor the model has {name:?}"));
    question.field(name).or_else(of_model).ok_or_else(missing)
}

/// The events of a part.
pub fn selector(question: &Question, name: &str) -> Result<Selector, Refusal> {
    Selector::read(question, part(question, name)?)
}
