//! Reads changes to profiles, and pairs of ids that are one user.

use std::borrow::Cow;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::event::{EventLimits, missing, string};
use super::events::{BodyForm, Place, each_json, lines, too_many};
use super::fault::{Fault, Text, excerpt, kind_of, noted};
use super::properties::{Properties, check_name};
use crate::api::{Problem, nearest};
use crate::limits::{ENTITY_ID_SIZE_MAX, PROPERTY_COUNT_MAX};
use crate::model::{Entity, IdentityMerge, Number, ProfileWrite, Value};

/// Reads the changes of a decoded body, all or nothing. A null or an empty list in `set` unsets the property. The limits
/// are those of events; the size of values is bounded by limits.rs.
pub fn parse_profiles(
    body: &[u8],
    form: BodyForm,
    entity: Entity,
    limits: EventLimits,
) -> Result<Vec<ProfileWrite>, Problem> {
    read_all(body, form, "profile", limits, |text| read_profile(text, entity))
}

/// Reads the pairs of a decoded body, all or nothing.
pub fn parse_identities(
    body: &[u8],
    form: BodyForm,
    limits: EventLimits,
) -> Result<Vec<IdentityMerge>, Problem> {
    read_all(body, form, "identity", limits, read_identity)
}

fn read_all<T>(
    body: &[u8],
    form: BodyForm,
    thing: &'static str,
    limits: EventLimits,
    read: impl Fn(&str) -> Result<T, Fault>,
) -> Result<Vec<T>, Problem> {
    let mut all = Vec::new();
    let mut take = |place: Place, text: &str| {
        if all.len() == limits.batch_event_count_max {
            return Err(too_many(thing, limits.batch_event_count_max));
        }
        if text.len() > limits.event_size_max {
            let size_max = limits.event_size_max;
            let detail = format!("the {thing} has {} bytes; at most {size_max} are allowed", text.len());
            return Err(place.problem(Fault::new(detail)));
        }
        all.push(read(text).map_err(|fault| place.problem(fault))?);
        Ok(())
    };
    match form {
        BodyForm::Json => each_json(body, thing, take)?,
        BodyForm::Ndjson => {
            for (index, line) in lines(body) {
                let place = Place::Line(index);
                let raw: &RawValue =
                    serde_json::from_slice(line).map_err(|e| place.problem(Fault::syntax(&e, line)))?;
                take(place, raw.get())?;
            }
        }
    }
    Ok(all)
}

fn read_profile(text: &str, entity: Entity) -> Result<ProfileWrite, Fault> {
    let (mut id, mut write, mut properties) = (None, ProfileWrite::default(), Properties::default());
    let mut nulls = Vec::new();
    each_field(text, "a profile object", |name, raw| {
        if name == entity.name() {
            id = string(entity.name(), raw, ENTITY_ID_SIZE_MAX)?;
            return Ok(());
        }
        let is_null = raw == "null";
        properties.clear();
        match name {
            _ if is_null && ["set", "set_once", "add", "unset"].contains(&name) => {}
            "set" => {
                properties.read(raw)?;
                (write.set, nulls) = (properties.take_values(), properties.take_nulls());
                unset_empty_lists(&mut write.set, &mut nulls);
            }
            "set_once" => {
                properties.read(raw)?;
                write.set_once = properties.take_values();
            }
            "add" => write.add = read_additions(raw)?,
            "unset" => write.unset = read_names(raw)?,
            unknown => {
                return Err(unknown_field(unknown, &[entity.name(), "set", "set_once", "add", "unset"]));
            }
        }
        Ok(())
    })?;
    let id = id.ok_or_else(|| missing(entity.name()))?;
    nulls.retain(|name| !write.unset.contains(name));
    write.unset.extend(nulls);
    Ok(ProfileWrite { id: id.into_owned(), ..write })
}

/// An empty list is null, and a null unsets.
pub(super) fn unset_empty_lists(set: &mut Vec<(String, Value)>, unset: &mut Vec<String>) {
    let is_null =
        |(_, value): &mut (String, Value)| matches!(value, Value::List(elements) if elements.is_empty());
    unset.extend(set.extract_if(.., is_null).map(|(name, _)| name));
}

fn read_identity(text: &str) -> Result<IdentityMerge, Fault> {
    let (mut from, mut into) = (None, None);
    each_field(text, "an identity object", |name, raw| {
        match name {
            "from" => from = string("from", raw, ENTITY_ID_SIZE_MAX)?,
            "into" => into = string("into", raw, ENTITY_ID_SIZE_MAX)?,
            unknown => return Err(unknown_field(unknown, &["from", "into"])),
        }
        Ok(())
    })?;
    let from = from.ok_or_else(|| missing("from"))?.into_owned();
    let into = into.ok_or_else(|| missing("into"))?.into_owned();
    Ok(IdentityMerge { from, into })
}

fn unknown_field(name: &str, known: &[&'static str]) -> Fault {
    let fault = Fault::new(format!("unknown field {:?}", excerpt(name)));
    match nearest(name, known.iter().copied()) {
        Some(nearest) => fault.hint(format!("did you mean {nearest:?}?")),
        None => fault.hint(format!("known fields: {}", known.join(", "))),
    }
}

fn read_additions(raw: &str) -> Result<Vec<(String, Number)>, Fault> {
    let mut additions: Vec<(String, Number)> = Vec::new();
    each_field(raw, "an object of numbers", |name, raw| {
        check_name(name)?;
        let number = match raw.as_bytes()[0] {
            b'-' | b'0'..=b'9' => {
                Number::parse(raw).map_err(|error| Fault::new(format!("{}: {error}", excerpt(raw))))?
            }
            _ => return Err(Fault::new(format!("expected a number, found {}", kind_of(raw)))),
        };
        additions.retain(|(known, _)| known != name);
        additions.push((name.to_owned(), number));
        if additions.len() > PROPERTY_COUNT_MAX { Err(too_many_properties()) } else { Ok(()) }
    })?;
    Ok(additions)
}

fn read_names(raw: &str) -> Result<Vec<String>, Fault> {
    let names: Vec<Cow<'_, str>> = serde_json::from_str(raw)
        .map_err(|_| Fault::new(format!("expected an array of property names, found {}", excerpt(raw))))?;
    if names.len() > PROPERTY_COUNT_MAX {
        return Err(too_many_properties());
    }
    names.iter().try_for_each(|name| check_name(name))?;
    Ok(names.into_iter().map(Cow::into_owned).collect())
}

fn too_many_properties() -> Fault {
    Fault::new(format!("more than {PROPERTY_COUNT_MAX} properties"))
}

/// Hands each field of an object to `take`, whose faults are placed under the field's name.
///
/// `text` is known to be JSON; `expected` says what it should be.
fn each_field<'de>(
    text: &'de str,
    expected: &'static str,
    take: impl FnMut(&str, &'de str) -> Result<(), Fault>,
) -> Result<(), Fault> {
    struct FieldsVisitor<'a, F> {
        take: F,
        fault: &'a mut Option<Fault>,
    }

    impl<'de, F: FnMut(&str, &'de str) -> Result<(), Fault>> Visitor<'de> for FieldsVisitor<'_, F> {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some(Text(name)) = map.next_key()? {
                let raw = map.next_value::<&'de RawValue>()?;
                if let Err(fault) = (self.take)(&name, raw.get()) {
                    *self.fault = Some(fault.under(&name));
                    return Err(noted());
                }
            }
            Ok(())
        }
    }

    if !text.starts_with('{') {
        return Err(Fault::new(format!("expected {expected}, found {}", kind_of(text))));
    }
    let mut fault = None;
    let visitor = FieldsVisitor { take, fault: &mut fault };
    let read = serde_json::Deserializer::from_str(text).deserialize_map(visitor);
    read.map_err(|error| fault.unwrap_or_else(|| Fault::syntax(&error, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn users(body: &str) -> Result<Vec<ProfileWrite>, Problem> {
        parse_profiles(body.as_bytes(), BodyForm::Json, Entity::User, EventLimits::default())
    }

    #[test]
    fn every_part_of_a_profile_arrives() {
        let body = r#"[{"user":"ada","set":{"plan":"pro","address":{"city":"Rome"},"gone":null},
            "set_once":{"source":"ads"},"add":{"logins":2.5},"unset":["old"]}]"#;
        let write = &users(body).unwrap()[0];
        assert_eq!(write.id, "ada");
        assert_eq!(write.set, [("plan".into(), "pro".into()), ("address.city".into(), "Rome".into())]);
        assert_eq!(write.set_once, [("source".into(), "ads".into())]);
        assert_eq!(write.add, [("logins".into(), Number::parse("2.5").unwrap())]);
        assert_eq!(write.unset, ["old", "gone"]);
    }

    #[test]
    fn accounts_are_named_by_their_own_field() {
        let body = r#"{"account":"acme","set":{"size":5}}"#;
        let limits = EventLimits::default();
        let writes = parse_profiles(body.as_bytes(), BodyForm::Ndjson, Entity::Account, limits).unwrap();
        assert_eq!(writes[0].id, "acme");
        assert_eq!(users(body).unwrap_err().path.as_deref(), Some("/account"));
    }

    #[test]
    fn an_error_in_a_profile_names_its_place() {
        let place = |body: &str| users(body).unwrap_err().path.unwrap();
        assert_eq!(place(r#"[{"user":"a"},{"user":"a","add":{"n":"1"}}]"#), "/1/add/n");
        assert_eq!(place(r#"[{"set":{}}]"#), "/0/user");
        assert_eq!(place(r#"{"user":"a","set":[1]}"#), "/set");
        assert_eq!(place(r#"{"user":"a","unset":"x"}"#), "/unset");
        assert_eq!(place(r#"{"user":"a","sett":{}}"#), "/sett");
        assert_eq!(place(r#"{"user":7}"#), "/user");
    }

    #[test]
    fn identities_are_pairs_of_ids() {
        let body = b"[{\"from\":\"anon\",\"into\":\"ada\"},{\"from\":\"ada\",\"into\":\"ada\"}]";
        let merges = parse_identities(body, BodyForm::Json, EventLimits::default()).unwrap();
        assert_eq!((merges[0].from.as_str(), merges[0].into.as_str(), merges.len()), ("anon", "ada", 2));
        let problem =
            parse_identities(b"\n{\"from\":\"anon\"}", BodyForm::Ndjson, EventLimits::default()).unwrap_err();
        assert_eq!(problem.detail, "line 2: the field \"into\" is missing");
        assert_eq!(problem.path.as_deref(), Some("/1/into"));
    }

    proptest! {
        #[test]
        fn no_bytes_crash_the_readers(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            for form in [BodyForm::Json, BodyForm::Ndjson] {
                let _ = parse_profiles(&body, form, Entity::User, EventLimits::default());
                let _ = parse_identities(&body, form, EventLimits::default());
            }
        }
    }
}
