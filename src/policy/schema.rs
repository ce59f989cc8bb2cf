//! JSON Schema of the configuration, from the list of keys.

use serde_json::{Map, Value, json};

use super::key::{
    DEFAULTS_KEYS, FLEET_KEYS, IMAGE_KEYS, Key, Kind, LINK_KEYS, NOTIFY_KEYS, OWNER_KEYS, PAGE_KEYS, POLICY_KEYS,
    POLLING_KEYS, REBAKE_KEYS, REQUIREMENTS_KEYS, SWEEP_KEYS, WORKER_KEYS,
};

/// The schemas of `latent.toml`, `amis/*.toml` and `policies/*.toml`, under `$defs` of one document.
pub fn json_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "latent.toml",
        "type": "object",
        "additionalProperties": false,
        "required": ["fleet"],
        "properties": {
            "fleet": table(FLEET_KEYS),
            "link": table(LINK_KEYS),
            "page": table(PAGE_KEYS),
            "polling": table(POLLING_KEYS),
            "requirements": table(REQUIREMENTS_KEYS),
            "defaults": table(DEFAULTS_KEYS),
            "policy": { "$ref": "#/$defs/policy" },
            "sweep": table(SWEEP_KEYS),
            "rebake": table(REBAKE_KEYS),
            "notify": table(NOTIFY_KEYS),
            "owner": { "type": "object", "additionalProperties": table(OWNER_KEYS) },
            "worker": { "type": "object", "additionalProperties": table(WORKER_KEYS) },
        },
        "$defs": {
            "image": image(),
            "policy": table(POLICY_KEYS),
        },
    })
}

/// An AMI is named, or chosen by a filter; not both and not neither. What promotion writes belongs to a name.
fn image() -> Value {
    let mut image = table(IMAGE_KEYS);
    let filter = json!([{ "required": ["ami_owners"] }, { "required": ["ami_location"] }]);
    let promoted = json!({ "anyOf": [{ "required": ["previous"] }, { "required": ["generation"] }] });
    if let Some(object) = image.as_object_mut() {
        let ways = json!([{ "required": ["ami"] }, { "anyOf": filter, "not": promoted }]);
        object.insert("oneOf".to_owned(), ways);
    }
    image
}

fn table(keys: &[Key]) -> Value {
    let properties: Map<String, Value> = keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties, "required": required })
}

fn property(key: &Key) -> Value {
    let mut value = match key.kind {
        Kind::Text => json!({ "type": "string", "minLength": 1 }),
        Kind::Texts => json!({ "type": "array", "minItems": 1, "items": { "type": "string" } }),
        Kind::List => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Duration { never: false } => json!({ "type": "string", "pattern": "^[0-9]" }),
        Kind::Duration { never: true } => {
            json!({ "type": "string", "pattern": "^([0-9].*|never)$" })
        }
        Kind::Idle => json!({ "type": "string", "pattern": "^([0-9].*|never|auto)$" }),
        Kind::Count { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Amount => json!({ "anyOf": [
            { "type": "string", "pattern": "^[0-9]{1,9}([.][0-9]{1,6})?$" },
            { "type": "number", "minimum": 0, "maximum": 999_999_999 },
        ] }),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Choices(words) => json!({ "anyOf": [
            { "enum": words },
            { "type": "array", "minItems": 1, "items": { "enum": words } },
        ] }),
        Kind::Table(keys) => table(keys),
        Kind::Tables(keys) => json!({ "type": "array", "items": table(keys) }),
        Kind::Named(keys) => json!({ "type": "object", "additionalProperties": table(keys) }),
        Kind::TextOrTable(keys) => json!({ "anyOf": [{ "type": "string", "minLength": 1 }, table(keys)] }),
    };
    if let Some(object) = value.as_object_mut() {
        object.insert("description".to_owned(), json!(key.doc));
    }
    value
}
