//! Breakdowns: which rows a thing counts in, and which values are folded into `$other`.

use std::collections::{BTreeMap, BTreeSet};

use flywheeldb::api::Json;
use flywheeldb::model::{Event, Number, Value};

use super::Refusal;
use super::calendar::duration;
use super::filter::{On, value_of};
use super::question::{Question, count, field, text};
use super::signups::{Signup, members_within};
use crate::support::reading;
use crate::support::tables::Row;

/// The name of one row in one property, in the order of rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    Value(Value),
    Other,
    Missing,
    /// In none of the cohorts: in no row.
    Nowhere,
}

/// The name of a row: a label for each property of the breakdown, none without a breakdown.
pub type Key = Vec<Label>;

/// A breakdown by up to three properties, or by none.
pub struct Split {
    parts: Vec<Part>,
}

enum Part {
    Property {
        on: On,
        property: String,
        limit: usize,
    },
    /// Names and members.
    Cohorts(Vec<(String, BTreeSet<String>)>),
}

const LIMIT_UNLESS_SAID: usize = 25;

impl Split {
    pub fn read(question: &Question) -> Result<Split, Refusal> {
        Split::read_of_signups(question, &[])
    }

    /// The same where cohorts may be judged on the first days after each sign-up.
    pub fn read_of_signups(question: &Question, signups: &[Signup]) -> Result<Split, Refusal> {
        let parts = match question.field("breakdown") {
            None => Vec::new(),
            Some(Json::Array(parts)) => {
                parts.iter().map(|part| Part::read(question, part, signups)).collect::<Result<_, _>>()?
            }
            Some(part) => vec![Part::read(question, part, signups)?],
        };
        Ok(Split { parts })
    }

    pub fn is_none(&self) -> bool {
        self.parts.is_empty()
    }

    /// How many labels a key has.
    pub fn part_count(&self) -> usize {
        self.parts.len()
    }

    /// The rows that somebody counts in by what it is itself, whatever it did.
    pub fn keys_of_profile(&self, question: &Question, id: &str) -> BTreeSet<Key> {
        let mut keys = BTreeSet::from([Key::new()]);
        for part in &self.parts {
            let labels = match part {
                Part::Property { property, .. } => {
                    let value = question.reference.profile_value(question.entity, id, property);
                    labels_of(value.filter(|value| !value.elements().is_empty()))
                }
                Part::Cohorts(cohorts) => labels_of_cohorts(cohorts, Some(id)),
            };
            let longer = |key: &Key| -> Vec<Key> {
                labels.iter().map(|label| key.iter().chain([label]).cloned().collect()).collect()
            };
            keys = keys.iter().flat_map(longer).collect();
        }
        keys
    }

    /// Whether a property is one of events.
    pub fn has_event_properties(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Property { on: On::Event, .. }))
    }

    /// The rows that an event counts in: one for each element of a list, in every combination of properties.
    pub fn keys(&self, question: &Question, event: &Event) -> BTreeSet<Key> {
        let mut keys = BTreeSet::from([Key::new()]);
        for part in &self.parts {
            let labels = part.labels(question, event);
            let longer = |key: &Key| -> Vec<Key> {
                labels.iter().map(|label| key.iter().chain([label]).cloned().collect()).collect()
            };
            keys = keys.iter().flat_map(longer).collect();
        }
        keys
    }

    /// The smallest keys that one of several events has, which tie in time.
    pub fn smallest_keys(&self, question: &Question, tied: &[&Event]) -> BTreeSet<Key> {
        tied.iter().map(|event| self.keys(question, event)).min().expect("one of the tied events")
    }

    /// Folds what is past the limit of each property. `things` have the keys of `keys_of`; the values kept
    /// are those whose things have the greatest `rank`, ties by value. A thing in several folded rows is
    /// in `$other` once.
    pub fn fold<T>(
        &self,
        things: &[T],
        keys_of: impl Fn(&T) -> BTreeSet<Key>,
        rank: impl Fn(&[&T]) -> Option<Number>,
    ) -> Vec<BTreeSet<Key>> {
        let keys: Vec<BTreeSet<Key>> = things.iter().map(&keys_of).collect();
        let folding = self.folding(things, keys_of, rank);
        keys.iter().map(|keys| folding.keys(keys)).collect()
    }

    /// Which values are kept, to fold other things by.
    pub fn folding<T>(
        &self,
        things: &[T],
        keys_of: impl Fn(&T) -> BTreeSet<Key>,
        rank: impl Fn(&[&T]) -> Option<Number>,
    ) -> Folding {
        let keys: Vec<BTreeSet<Key>> = things.iter().map(keys_of).collect();
        let kept = (0..self.parts.len())
            .map(|part| {
                let mut by_value: BTreeMap<Value, Vec<&T>> = BTreeMap::new();
                for (thing, keys) in things.iter().zip(&keys) {
                    let labels: BTreeSet<&Label> = keys.iter().map(|key| &key[part]).collect();
                    for label in labels {
                        if let Label::Value(value) = label {
                            by_value.entry(value.clone()).or_default().push(thing);
                        }
                    }
                }
                let mut ranked: Vec<(Option<Number>, Value)> =
                    by_value.into_iter().map(|(value, things)| (rank(&things), value)).collect();
                // The sort is stable, so that ties stay in order of value.
                ranked.sort_by(|(a, _), (b, _)| b.cmp(a));
                ranked.into_iter().take(self.parts[part].limit()).map(|(_, value)| value).collect()
            })
            .collect();
        Folding { kept }
    }

    /// The rows to tell: those that something is in; without a breakdown the one row, whatever is in it.
    pub fn rows<'k>(&self, keys: impl Iterator<Item = &'k BTreeSet<Key>>) -> BTreeSet<Key> {
        if self.is_none() { BTreeSet::from([Key::new()]) } else { keys.flatten().cloned().collect() }
    }

    /// The columns of a key.
    pub fn columns(&self, key: &Key) -> Row {
        let name = |index: usize| match index {
            0 => "breakdown".to_owned(),
            _ => format!("breakdown_{}", index + 1),
        };
        let cell = |label: &Label| match label {
            Label::Value(value) => reading::json(value),
            Label::Other => Json::String("$other".to_owned()),
            Label::Missing => Json::Null,
            Label::Nowhere => unreachable!("folding leaves these keys out"),
        };
        key.iter().enumerate().map(|(index, label)| (name(index), cell(label))).collect()
    }
}

/// The values of each property that are kept.
pub struct Folding {
    kept: Vec<BTreeSet<Value>>,
}

impl Folding {
    /// The keys after folding, without those that are nowhere.
    pub fn keys(&self, keys: &BTreeSet<Key>) -> BTreeSet<Key> {
        let is_somewhere = |key: &&Key| !key.contains(&Label::Nowhere);
        let fold_label = |part: usize, label: &Label| match label {
            Label::Value(value) if !self.kept[part].contains(value) => Label::Other,
            label => label.clone(),
        };
        let fold_key = |key: &Key| -> Key {
            key.iter().enumerate().map(|(part, label)| fold_label(part, label)).collect()
        };
        keys.iter().filter(is_somewhere).map(fold_key).collect()
    }
}

impl Part {
    fn read(question: &Question, json: &Json, signups: &[Signup]) -> Result<Part, Refusal> {
        if let Some(Json::Object(cohorts)) = field(json, "cohorts") {
            let within = field(json, "within").map(duration).transpose()?;
            let members = |cohort: &Json| match within {
                Some(within) => members_within(question, signups, cohort, within),
                None => question.members(cohort),
            };
            let cohorts = cohorts.iter().map(|(name, cohort)| Ok((name.clone(), members(cohort)?)));
            return Ok(Part::Cohorts(cohorts.collect::<Result<_, Refusal>>()?));
        }
        let property = text(json, "property")?;
        let property = property.ok_or_else(|| Refusal::Invalid("a breakdown by nothing".to_owned()))?;
        let limit = field(json, "limit").map(count).transpose()?.unwrap_or(LIMIT_UNLESS_SAID);
        Ok(Part::Property { on: On::read(json, On::Event)?, property: property.to_owned(), limit })
    }

    /// How many values are kept: all cohorts are.
    fn limit(&self) -> usize {
        match self {
            Part::Property { limit, .. } => *limit,
            Part::Cohorts(_) => usize::MAX,
        }
    }

    fn labels(&self, question: &Question, event: &Event) -> Vec<Label> {
        match self {
            Part::Property { on, property, .. } => labels_of(value_of(question, *on, property, event)),
            Part::Cohorts(cohorts) => labels_of_cohorts(cohorts, question.owner(event)),
        }
    }
}

fn labels_of(value: Option<&Value>) -> Vec<Label> {
    match value {
        Some(value) => value.elements().iter().cloned().map(Label::Value).collect(),
        None => vec![Label::Missing],
    }
}

fn labels_of_cohorts(cohorts: &[(String, BTreeSet<String>)], owner: Option<&str>) -> Vec<Label> {
    let is_in = |members: &BTreeSet<String>| owner.is_some_and(|owner| members.contains(owner));
    let own = cohorts.iter().filter(|(_, members)| is_in(members));
    let labels: Vec<Label> = own.map(|(name, _)| Label::Value(name.as_str().into())).collect();
    if labels.is_empty() { vec![Label::Nowhere] } else { labels }
}
