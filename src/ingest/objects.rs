//! Reads JSON objects of any shape as events, by a mapping of their fields.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::event::missing;
use super::fault::Fault;
use super::mapping::{HeadField, Mapping, Source};
use super::properties::{Parsed, Properties, check_name};
use super::rows::Head;
use super::table::typed;
use crate::limits::EVENT_SIZE_MAX;
use crate::model::EventBatch;

/// What stands before the fields of an object named `properties`, which keep their names without it.
const PROPERTIES_PREFIX: &str = "properties.";

/// Makes events of objects. Fields of nested objects go by their dotted names.
pub(super) struct ObjectReader {
    mapping: Mapping,
    heads: [Option<Source>; HeadField::ALL.len()],
    /// Fields that are no properties, because an event's own fields come from them or a target names them.
    used: Vec<String>,
}

impl ObjectReader {
    pub fn new(mapping: Mapping) -> ObjectReader {
        let heads = HeadField::ALL.map(|field| mapping.head_source(field));
        let mut used: Vec<String> = mapping.columns().map(str::to_owned).collect();
        used.extend(heads.iter().flatten().filter_map(|source| match source {
            Source::Named(name) => Some(name.clone()),
            Source::Constant(_) => None,
        }));
        ObjectReader { mapping, heads, used }
    }

    /// Reads one object and adds it to `batch` as an event, or changes nothing in it. `id` is for objects that
    /// have none; `properties` is only memory.
    pub fn read<'de>(
        &self,
        text: &'de [u8],
        id: Option<&str>,
        properties: &mut Properties<'de>,
        batch: &mut EventBatch,
    ) -> Result<(), Fault> {
        if text.len() > EVENT_SIZE_MAX {
            return Err(super::rows::overlong());
        }
        let raw: &RawValue = serde_json::from_slice(text).map_err(|error| Fault::syntax(&error, text))?;
        properties.clear();
        properties.read(raw.get())?;

        let head = |field: HeadField| -> Result<Option<Cow<'_, str>>, Fault> {
            let found = match &self.heads[field as usize] {
                None => None,
                Some(Source::Constant(text)) => Some(Cow::Borrowed(text.as_str())),
                Some(Source::Named(name)) => match properties.get(name) {
                    None => None,
                    Some(value) => Some(head_text(value).map_err(|found| {
                        Fault::new(format!("expected the field {name:?} to be a string, found {found}"))
                            .at(field.name())
                    })?),
                },
            };
            if found.is_none() && field.is_required() {
                return Err(match &self.heads[field as usize] {
                    Some(Source::Named(name)) if name != field.name() => {
                        Fault::new(format!("the field {name:?}, mapped to {:?}, is missing", field.name()))
                            .at(field.name())
                    }
                    _ => missing(field.name()),
                });
            }
            Ok(found)
        };
        let present = "a required field is there or an error";
        let event = head(HeadField::Event)?.expect(present);
        let user = head(HeadField::User)?.expect(present);
        let time = head(HeadField::Time)?.expect(present);
        let time = self.mapping.times.read(time.trim()).map_err(|fault| fault.at(HeadField::Time.name()))?;
        // Exports write an empty string for what is not there.
        let own_id = head(HeadField::Id)?.filter(|id| !id.is_empty());
        let account = head(HeadField::Account)?.filter(|account| !account.is_empty());
        for (name, _) in self.mapping.properties() {
            check_name(name).map_err(|fault| fault.at("properties"))?;
        }
        let id = own_id.as_deref().or(id);
        Head { event: &event, user: &user, time, id, account: account.as_deref() }.push(batch)?;

        if !self.mapping.only_mapped {
            for (name, value) in
                properties.iter().filter(|(name, _)| !self.used.iter().any(|used| used == name))
            {
                let short = name.strip_prefix(PROPERTIES_PREFIX).filter(|short| !short.is_empty());
                push(batch, short.unwrap_or(name), value, self.mapping.is_text(name));
            }
        }
        for (name, source) in self.mapping.properties() {
            match source {
                Source::Constant(text) => {
                    if let Some(cell) = typed(text, self.mapping.is_text(name)) {
                        batch.push_property_ref(name, &cell).expect("the name was checked above");
                    }
                }
                Source::Named(field) => {
                    if let Some(value) = properties.get(field) {
                        push(batch, name, value, self.mapping.is_text(field) || self.mapping.is_text(name));
                    }
                }
            }
        }
        Ok(())
    }
}

fn push(batch: &mut EventBatch, name: &str, value: &Parsed<'_>, is_text: bool) {
    let value = match value {
        Parsed::Number(number) if is_text => &Parsed::Text(number.to_string().into()),
        value => value,
    };
    batch
        .push_property_ref(name, &value.as_cell())
        .expect("names of properties are checked as they are read");
}

/// The text of a value that is an id, a name or a time; else what it is instead.
fn head_text<'a>(value: &'a Parsed<'_>) -> Result<Cow<'a, str>, &'static str> {
    match value {
        Parsed::Text(text) => Ok(Cow::Borrowed(text)),
        Parsed::Number(number) => Ok(Cow::Owned(number.to_string())),
        Parsed::Bool(_) => Err("a boolean"),
        Parsed::List(_) => Err("an array"),
    }
}
