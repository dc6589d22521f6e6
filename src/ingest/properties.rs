//! Reads an object of properties: scalars, lists, and nested objects as dotted names.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::fault::{Fault, Text, excerpt, kind_of, noted, unquote};
use crate::limits::{
    LIST_ELEMENT_COUNT_MAX, NESTING_DEPTH_MAX, PROPERTY_COUNT_MAX, PROPERTY_NAME_SIZE_MAX,
    STRING_VALUE_SIZE_MAX,
};
use crate::model::{BatchError, CellRef, EventBatch, Number, Value};

/// A value that borrows from the text it was read from.
#[derive(Clone, Debug)]
pub(crate) enum Parsed<'de> {
    Bool(bool),
    Number(Number),
    Text(Cow<'de, str>),
    List(Vec<Parsed<'de>>),
}

impl Parsed<'_> {
    /// Bytes of its longest text.
    pub fn text_size_max(&self) -> usize {
        match self {
            Parsed::Text(text) => text.len(),
            Parsed::List(elements) => elements.iter().map(Parsed::text_size_max).max().unwrap_or(0),
            Parsed::Bool(_) | Parsed::Number(_) => 0,
        }
    }

    pub fn as_cell(&self) -> CellRef<'_> {
        match self {
            Parsed::Bool(truth) => CellRef::Bool(*truth),
            Parsed::Number(number) => CellRef::Number(*number),
            Parsed::Text(text) => CellRef::Text(text),
            Parsed::List(elements) => CellRef::List(elements.iter().map(Parsed::as_cell).collect()),
        }
    }
}

/// The properties of one event or profile, flattened.
///
/// Every value within its limits, every name too; a name may be there twice, and then the last one holds.
#[derive(Debug, Default)]
pub(crate) struct Properties<'de> {
    values: Vec<(Cow<'de, str>, Parsed<'de>)>,
    /// Names whose last value was null.
    nulls: Vec<Cow<'de, str>>,
    /// Set when a visitor left with an error of ours rather than of the parser.
    fault: Option<Fault>,
}

impl<'de> Properties<'de> {
    pub fn clear(&mut self) {
        self.values.clear();
        self.nulls.clear();
        self.fault = None;
    }

    /// The last value of a name.
    pub fn get(&self, name: &str) -> Option<&Parsed<'de>> {
        self.values.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// All values in their order; of a name that comes twice the last one holds.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Parsed<'de>)> {
        self.values.iter().map(|(name, value)| (&**name, value))
    }

    /// Adds the properties to the last event of `batch`.
    pub fn push_to(&self, batch: &mut EventBatch) -> Result<(), BatchError> {
        for (name, value) in &self.values {
            batch.push_property_ref(name, &value.as_cell())?;
        }
        Ok(())
    }

    /// Takes the values out, owned, each name once.
    pub fn take_values(&mut self) -> Vec<(String, Value)> {
        let mut owned: Vec<(String, Value)> = Vec::with_capacity(self.values.len());
        for (name, value) in self.values.drain(..) {
            let value = value.as_cell().to_value();
            match owned.iter_mut().find(|(known, _)| *known == name) {
                Some((_, slot)) => *slot = value,
                None => owned.push((name.into_owned(), value)),
            }
        }
        owned
    }

    /// Takes out the names whose last value was null.
    pub fn take_nulls(&mut self) -> Vec<String> {
        self.nulls.drain(..).map(Cow::into_owned).collect()
    }

    /// Takes what made a visitor leave, if it was not the parser.
    pub fn take_fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }

    /// Reads an object from its text, whose grammar is known to be right.
    pub fn read(&mut self, raw: &'de str) -> Result<(), Fault> {
        self.read_object(raw, "", 0)
    }

    fn read_object(&mut self, raw: &'de str, prefix: &str, depth: usize) -> Result<(), Fault> {
        if !raw.starts_with('{') {
            return Err(Fault::new(format!("expected an object, found {}", kind_of(raw))));
        }
        let mut deserializer = serde_json::Deserializer::from_str(raw);
        let seed = PropertiesSeed { properties: self, prefix, depth };
        seed.deserialize(&mut deserializer)
            .map_err(|error| self.take_fault().unwrap_or_else(|| Fault::syntax(&error, raw.as_bytes())))
    }

    /// Takes one field of an object in, whose full name is `name`.
    fn take(&mut self, name: Cow<'de, str>, raw: &'de str, depth: usize) -> Result<(), Fault> {
        check_name(&name)?;
        match raw.as_bytes()[0] {
            b'n' => {
                self.values.retain(|(known, _)| *known != name);
                self.nulls.push(name);
                return Ok(());
            }
            b'{' if depth == NESTING_DEPTH_MAX => {
                return Err(Fault::new(format!("objects nested more than {NESTING_DEPTH_MAX} levels deep")));
            }
            b'{' => return self.read_object(raw, &format!("{name}."), depth + 1),
            _ => {}
        }
        if !self.nulls.is_empty() {
            self.nulls.retain(|known| *known != name);
        }
        if self.values.len() == PROPERTY_COUNT_MAX {
            let detail = format!("more than {PROPERTY_COUNT_MAX} properties");
            return Err(Fault::new(detail).hint("nested objects count one for each value in them"));
        }
        let value = if raw.starts_with('[') { read_list(raw)? } else { read_scalar(raw)? };
        self.values.push((name, value));
        Ok(())
    }
}

/// Reads a JSON object straight into [`Properties`].
pub(crate) struct PropertiesSeed<'a, 'de> {
    pub properties: &'a mut Properties<'de>,
    /// What stands before each name: empty, or the names of the objects around with their dots.
    pub prefix: &'a str,
    pub depth: usize,
}

impl<'a, 'de> PropertiesSeed<'a, 'de> {
    /// The seed of an object that is not itself inside another.
    pub fn outermost(properties: &'a mut Properties<'de>) -> PropertiesSeed<'a, 'de> {
        PropertiesSeed { properties, prefix: "", depth: 0 }
    }
}

impl<'de> DeserializeSeed<'de> for PropertiesSeed<'_, 'de> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PropertiesSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    /// A null is an object without fields.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key()? {
            let raw: &'de RawValue = map.next_value()?;
            let name = match self.prefix {
                "" => key.clone(),
                prefix => Cow::Owned(format!("{prefix}{key}")),
            };
            if let Err(fault) = self.properties.take(name, raw.get(), self.depth) {
                self.properties.fault = Some(fault.under(&key));
                return Err(noted());
            }
        }
        Ok(())
    }
}

/// Reads a string, number or boolean.
fn read_scalar(raw: &str) -> Result<Parsed<'_>, Fault> {
    Ok(match raw.as_bytes()[0] {
        b'"' => {
            let text = unquote(raw)?;
            check_value_text(&text)?;
            Parsed::Text(text)
        }
        b't' => Parsed::Bool(true),
        b'f' => Parsed::Bool(false),
        _ => Parsed::Number(
            Number::parse(raw).map_err(|error| Fault::new(format!("{}: {error}", excerpt(raw))))?,
        ),
    })
}

/// Reads an array of scalars; nulls in it are dropped.
fn read_list(raw: &str) -> Result<Parsed<'_>, Fault> {
    struct ListVisitor<'a, 'de> {
        elements: &'a mut Vec<Parsed<'de>>,
        fault: &'a mut Option<Fault>,
    }

    impl<'de> Visitor<'de> for ListVisitor<'_, 'de> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
            let mut index = 0;
            while let Some(raw) = seq.next_element::<&'de RawValue>()? {
                match read_element(raw.get(), self.elements.len()) {
                    Ok(element) => self.elements.extend(element),
                    Err(fault) => {
                        *self.fault = Some(fault.under(&index.to_string()));
                        return Err(noted());
                    }
                }
                index += 1;
            }
            Ok(())
        }
    }

    let (mut elements, mut fault) = (Vec::new(), None);
    serde_json::Deserializer::from_str(raw)
        .deserialize_seq(ListVisitor { elements: &mut elements, fault: &mut fault })
        .map_err(|error| fault.unwrap_or_else(|| Fault::syntax(&error, raw.as_bytes())))?;
    Ok(Parsed::List(elements))
}

/// Reads an element of a list that has `count` elements so far; a null is none.
fn read_element(raw: &str, count: usize) -> Result<Option<Parsed<'_>>, Fault> {
    match raw.as_bytes()[0] {
        b'n' => Ok(None),
        b'{' | b'[' => {
            let detail = format!("a list holds strings, numbers and booleans; found {}", kind_of(raw));
            Err(Fault::new(detail).hint("send it as a string, or as properties of their own"))
        }
        _ if count == LIST_ELEMENT_COUNT_MAX => {
            Err(Fault::new(format!("the list has more than {LIST_ELEMENT_COUNT_MAX} elements")))
        }
        _ => read_scalar(raw).map(Some),
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), Fault> {
    match name.len() {
        0 => Err(Fault::new("the property's name is empty")),
        size if size > PROPERTY_NAME_SIZE_MAX => Err(Fault::new(format!(
            "the property's name has {size} bytes; at most {PROPERTY_NAME_SIZE_MAX} are allowed"
        ))),
        _ => Ok(()),
    }
}

/// Checks the size of a string value.
pub(crate) fn check_value_text(text: &str) -> Result<(), Fault> {
    match text.len() {
        size if size > STRING_VALUE_SIZE_MAX => Err(Fault::new(format!(
            "the string has {size} bytes; at most {STRING_VALUE_SIZE_MAX} are allowed"
        ))),
        _ => Ok(()),
    }
}
