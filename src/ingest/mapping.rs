//! Which column or field of a file becomes which part of an event.

use jiff::tz::TimeZone;

use super::times::TimeReader;
use crate::api::Problem;

/// Where a part of an event comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A column by its name, or a field by its dotted name.
    Named(String),
    /// The same text in every event.
    Constant(String),
}

/// A field of an event that is not a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadField {
    Event,
    User,
    Time,
    Id,
    Account,
}

impl HeadField {
    pub const ALL: [HeadField; 5] =
        [HeadField::Event, HeadField::User, HeadField::Time, HeadField::Id, HeadField::Account];

    /// The name of the field in an event's JSON.
    pub fn name(self) -> &'static str {
        match self {
            HeadField::Event => "event",
            HeadField::User => "user",
            HeadField::Time => "time",
            HeadField::Id => "id",
            HeadField::Account => "account",
        }
    }

    /// Whether an event of a file must have it. A history without times would all have happened now.
    pub fn is_required(self) -> bool {
        matches!(self, HeadField::Event | HeadField::User | HeadField::Time)
    }
}

/// What to make of the columns or fields of a file.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// Targets and their sources, no target twice.
    targets: Vec<(String, Source)>,
    /// Leave out what no target asks for, instead of making it properties.
    pub only_mapped: bool,
    /// Columns and targets whose values stay text, whatever they look like.
    pub strings: Vec<String>,
    pub times: TimeReader,
}

impl Mapping {
    /// Reads targets as `user=customer_id`, `event=:purchase`: a field of the event or a property's name, then a
    /// column or `:` and a constant.
    pub fn new(targets: &[String], times: TimeReader) -> Result<Mapping, Problem> {
        let mut parsed: Vec<(String, Source)> = Vec::new();
        for text in targets {
            let wrong = |what: &str| {
                Problem::invalid(format!("--map {text:?}: {what}"))
                    .hint("write target=column or target=:constant, separated by commas")
            };
            let (target, source) = text.split_once('=').ok_or_else(|| wrong("there is no \"=\" in it"))?;
            let (target, source) = (target.trim(), source.trim());
            if target.is_empty() || source.is_empty() || source == ":" {
                return Err(wrong("one side of the \"=\" is empty"));
            }
            if parsed.iter().any(|(known, _)| known == target) {
                return Err(wrong("this target is already mapped"));
            }
            let source = match source.strip_prefix(':') {
                Some(constant) => Source::Constant(constant.to_owned()),
                None => Source::Named(source.to_owned()),
            };
            parsed.push((target.to_owned(), source));
        }
        Ok(Mapping { targets: parsed, only_mapped: false, strings: Vec::new(), times })
    }

    /// Whether nothing is asked for, so that lines can only be events as requests carry them.
    pub(crate) fn is_default(&self) -> bool {
        let has_own_times = self.times.unit.is_some() || self.times.zone != TimeZone::UTC;
        self.targets.is_empty() && self.strings.is_empty() && !self.only_mapped && !has_own_times
    }

    /// Where a field comes from: as mapped, else from what has its name and is not mapped to something else.
    pub fn head_source(&self, field: HeadField) -> Option<Source> {
        let mapped = self.targets.iter().find(|(target, _)| target == field.name());
        match mapped {
            Some((_, source)) => Some(source.clone()),
            None if self.uses(field.name()) => None,
            None => Some(Source::Named(field.name().to_owned())),
        }
    }

    /// The properties that are mapped, by name.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &Source)> {
        let is_head = |target: &str| HeadField::ALL.iter().any(|field| field.name() == target);
        self.targets
            .iter()
            .filter(move |(target, _)| !is_head(target))
            .map(|(name, source)| (name.as_str(), source))
    }

    /// Whether some target is mapped to this column.
    pub fn uses(&self, column: &str) -> bool {
        self.targets.iter().any(|(_, source)| matches!(source, Source::Named(name) if name == column))
    }

    /// The names of all columns that targets are mapped to.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().filter_map(|(_, source)| match source {
            Source::Named(name) => Some(name.as_str()),
            Source::Constant(_) => None,
        })
    }

    /// Whether the values of a column stay text.
    pub fn is_text(&self, column: &str) -> bool {
        self.strings.iter().any(|name| name == column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(targets: &[&str]) -> Result<Mapping, Problem> {
        let targets: Vec<String> = targets.iter().map(|&target| target.to_owned()).collect();
        Mapping::new(&targets, TimeReader { zone: TimeZone::UTC, unit: None })
    }

    #[test]
    fn what_is_not_mapped_comes_from_its_own_name() {
        let mapping = mapping(&["user=customer", "event=:purchase", "amount=4"]).unwrap();
        assert_eq!(mapping.head_source(HeadField::User), Some(Source::Named("customer".into())));
        assert_eq!(mapping.head_source(HeadField::Event), Some(Source::Constant("purchase".into())));
        assert_eq!(mapping.head_source(HeadField::Time), Some(Source::Named("time".into())));
        assert_eq!(mapping.properties().map(|(name, _)| name).collect::<Vec<_>>(), ["amount"]);
    }

    #[test]
    fn a_column_that_is_used_elsewhere_is_not_taken_for_its_own_name() {
        assert_eq!(mapping(&["user=id"]).unwrap().head_source(HeadField::Id), None);
    }

    #[test]
    fn targets_that_say_nothing_are_refused() {
        for targets in [&["user"][..], &["=a"], &["user="], &["event=:"], &["a=1", "a=2"]] {
            assert_eq!(mapping(targets).unwrap_err().exit_code(), 2, "{targets:?}");
        }
    }
}
