//! Fills a template: JSON in, JSON out.

use serde_json::{Map, Value};

use super::IamError;
use super::values::Values;

/// The policy that a template becomes with these values.
pub(super) fn fill(template: &str, values: &Values) -> Result<Value, IamError> {
    let broken = |why: String| IamError::key("policies/iam", why, "this is a mistake in latent: please report it");
    let mut policy: Value = serde_json::from_str(template).map_err(|error| broken(error.to_string()))?;
    let mut kept = Vec::new();
    for statement in policy["Statement"].as_array().into_iter().flatten() {
        let Value::Object(statement) = statement else { continue };
        // The resource first: what is granted on nothing is not granted, whatever its conditions are.
        if let Some(resource) = statement.get("Resource")
            && filled(resource, values).map_err(broken)?.as_array().is_some_and(Vec::is_empty)
        {
            continue;
        }
        let mut whole = Map::new();
        for (key, value) in statement {
            whole.insert(key.clone(), filled(value, values).map_err(broken)?);
        }
        // An empty list in a condition would be refused by IAM at best.
        if let Some(condition) = whole.get("Condition")
            && has_empty_list(condition)
        {
            return Err(broken(format!("statement {} has an empty condition", statement["Sid"])));
        }
        kept.push(Value::Object(whole));
    }
    policy["Statement"] = Value::Array(kept);
    Ok(policy)
}

fn filled(value: &Value, values: &Values) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => Value::String(scalars(text, values)?),
        Value::Array(items) => {
            let mut all = Vec::new();
            for item in items {
                match item.as_str().and_then(list_name).map(|name| values.list(name)) {
                    Some(list) => all.extend(list?.iter().cloned().map(Value::String)),
                    None => all.push(filled(item, values)?),
                }
            }
            Value::Array(all)
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| Ok((key.clone(), filled(value, values)?)));
            Value::Object(fields.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

/// The name, if the whole text is one: only an item of a list may stand for several.
fn list_name(text: &str) -> Option<&str> {
    text.strip_prefix("{{")?.strip_suffix("}}").filter(|name| !name.contains('{'))
}

fn scalars(text: &str, values: &Values) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or_else(|| format!("{text:?} has no end of a name"))?;
        out.push_str(before);
        out.push_str(values.one(name)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn has_empty_list(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().any(has_empty_list),
        _ => false,
    }
}
