//! What is told of a set of events, and arithmetic on exact numbers.

use std::collections::BTreeSet;

use flywheeldb::api::Json;
use flywheeldb::model::{Event, ExactSum, Number};

use super::Refusal;
use super::question::Question;

pub enum Measure {
    Events,
    Users,
    Accounts,
    PerUser,
    /// Of each user's first event only: the asker leaves out the others.
    FirstTimeUsers,
    Sum(String),
    Average(String),
    Least(String),
    Greatest(String),
    /// The share of values at or below it, in percent.
    Percentile(usize, String),
}

impl Measure {
    pub fn read(json: Option<&Json>) -> Result<Measure, Refusal> {
        let wrong = || Refusal::Invalid(format!("{json:?} is no measure"));
        match json {
            None => Ok(Measure::Events),
            Some(Json::String(word)) => match word.as_str() {
                "events" => Ok(Measure::Events),
                "users" => Ok(Measure::Users),
                "accounts" => Ok(Measure::Accounts),
                "per_user" => Ok(Measure::PerUser),
                "first_time_users" => Ok(Measure::FirstTimeUsers),
                _ => Err(wrong()),
            },
            Some(Json::Object(fields)) => {
                let [(word, Json::String(property))] = fields.as_slice() else { return Err(wrong()) };
                let property = property.clone();
                match word.as_str() {
                    "sum" => Ok(Measure::Sum(property)),
                    "avg" => Ok(Measure::Average(property)),
                    "min" => Ok(Measure::Least(property)),
                    "max" => Ok(Measure::Greatest(property)),
                    "median" => Ok(Measure::Percentile(50, property)),
                    "p90" => Ok(Measure::Percentile(90, property)),
                    "p95" => Ok(Measure::Percentile(95, property)),
                    "p99" => Ok(Measure::Percentile(99, property)),
                    _ => Err(wrong()),
                }
            }
            Some(_) => Err(wrong()),
        }
    }

    /// The measure of some events: 0 of nothing for counts and sums, else `None`. Users are whom the question
    /// counts.
    pub fn of(&self, question: &Question, events: &[&Event]) -> Option<Number> {
        let users: BTreeSet<&str> = events.iter().filter_map(|event| question.owner(event)).collect();
        let accounts: BTreeSet<&str> = events.iter().filter_map(|event| event.account.as_deref()).collect();
        match self {
            Measure::Events => Some(whole(events.len())),
            Measure::Users | Measure::FirstTimeUsers => Some(whole(users.len())),
            Measure::Accounts => Some(whole(accounts.len())),
            Measure::PerUser => share(whole(events.len()), users.len()),
            Measure::Sum(property) => Some(sum(&numbers(events, property))),
            Measure::Average(property) => {
                let numbers = numbers(events, property);
                share(sum(&numbers), numbers.len())
            }
            Measure::Least(property) => numbers(events, property).into_iter().min(),
            Measure::Greatest(property) => numbers(events, property).into_iter().max(),
            Measure::Percentile(percent, property) => percentile(*percent, numbers(events, property)),
        }
    }
}

/// The values of a property that are numbers.
pub fn numbers(events: &[&Event], property: &str) -> Vec<Number> {
    let value = |event: &&Event| {
        let mut values = event.properties.iter().rev().filter(|(name, _)| name == property);
        values.next().and_then(|(_, value)| value.as_number())
    };
    events.iter().filter_map(value).collect()
}

pub fn sum(numbers: &[Number]) -> Number {
    let mut sum = ExactSum::default();
    numbers.iter().for_each(|number| sum.add(*number));
    Number::parse(&sum.total().to_string()).expect("sums of the tests have few digits")
}

/// The smallest value with at least that share of the values at or below it. `None` of none.
pub fn percentile(percent: usize, mut values: Vec<Number>) -> Option<Number> {
    values.sort();
    let is_enough = |rank: &usize| rank * 100 >= percent * values.len();
    (1..=values.len()).find(is_enough).map(|rank| values[rank - 1])
}

/// `total / count`, `None` if there is nothing to share.
pub fn share(total: Number, count: usize) -> Option<Number> {
    (count > 0).then(|| real(total.to_f64() / count as f64))
}

pub fn whole(count: usize) -> Number {
    Number::from(i64::try_from(count).expect("counts are small"))
}

/// The nearest decimal of a finite double.
pub fn real(value: f64) -> Number {
    Number::from_f64(value).expect("the doubles of the tests are finite")
}

/// A number as a cell, null if there is none.
pub fn cell(number: Option<Number>) -> Json {
    number.map_or(Json::Null, Json::Number)
}
