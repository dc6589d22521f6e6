//! The words that schemas are written in: JSON Schema 2020-12, as OpenAPI 3.1 takes it.

use serde_json::{Map, Value, json};

/// An object of these fields and no others. A name that ends with `!` is of a field that must be there.
pub(super) fn object<const N: usize>(about: &str, fields: [(&str, Value); N]) -> Value {
    extended(about, fields.to_vec())
}

/// The same of fields from several places.
pub(super) fn extended(about: &str, fields: Vec<(&str, Value)>) -> Value {
    let required: Vec<&str> = fields.iter().filter_map(|(name, _)| name.strip_suffix('!')).collect();
    let mut schema = open_object(about, &fields);
    schema["additionalProperties"] = json!(false);
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// An object that has one of its fields.
pub(super) fn one_field(mut object: Value) -> Value {
    object["minProperties"] = json!(1);
    object["maxProperties"] = json!(1);
    object
}

/// An object of an answer: a later release may tell more.
pub(super) fn open_object(about: &str, fields: &[(&str, Value)]) -> Value {
    let properties: Map<String, Value> =
        fields.iter().map(|(name, schema)| (name.trim_end_matches('!').to_owned(), schema.clone())).collect();
    json!({"type": "object", "description": about, "properties": properties})
}

/// An object whose field names are the asker's.
pub(super) fn map_of(values: Value) -> Value {
    json!({"type": "object", "additionalProperties": values})
}

pub(super) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

pub(super) fn one_of<const N: usize>(about: &str, schemas: [Value; N]) -> Value {
    json!({"description": about, "oneOf": schemas.to_vec()})
}

/// Where a value may be described by several.
pub(super) fn any_of<const N: usize>(about: &str, schemas: [Value; N]) -> Value {
    json!({"description": about, "anyOf": schemas.to_vec()})
}

pub(super) fn list(items: Value, least: usize, most: usize) -> Value {
    json!({"type": "array", "items": items, "minItems": least, "maxItems": most})
}

pub(super) fn any_list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

pub(super) fn words(about: &str, words: &[&str]) -> Value {
    json!({"type": "string", "description": about, "enum": words})
}

pub(super) fn integer(about: &str, least: i64, most: i64) -> Value {
    json!({"type": "integer", "description": about, "minimum": least, "maximum": most})
}

pub(super) fn number(about: &str) -> Value {
    json!({"type": "number", "description": about})
}

pub(super) fn text(about: &str) -> Value {
    json!({"type": "string", "description": about})
}

pub(super) fn sized_text(about: &str, most: usize) -> Value {
    json!({"type": "string", "description": about, "minLength": 1, "maxLength": most})
}

pub(super) fn flag(about: &str) -> Value {
    json!({"type": "boolean", "description": about})
}

/// The schema with a description of its use here.
pub(super) fn about(mut schema: Value, about: &str) -> Value {
    schema["description"] = json!(about);
    schema
}
