//! Whether a schema is one that a provider can hold a model to exactly: every object closed, every property required.
//!
//! Asked for strictly with any other, OpenAI refuses the request; asked for loosely, the answer is checked on return.
//! <https://platform.openai.com/docs/guides/structured-outputs#supported-schemas>

use serde_json::{Value, value::RawValue};

/// Whether that is such a schema.
pub(crate) fn is_closed(schema: &RawValue) -> bool {
    serde_json::from_str(schema.get()).is_ok_and(|schema| closed(&schema))
}

/// Depth is bounded by the parser's own limit on nesting.
fn closed(schema: &Value) -> bool {
    let members = match schema {
        Value::Object(members) => members,
        Value::Array(list) => return list.iter().all(closed),
        _ => return true,
    };
    let is_object = match members.get("type") {
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        _ => members.contains_key("properties"),
    };
    if is_object {
        let required = members.get("required").and_then(Value::as_array);
        let is_required = |name: &String| required.is_some_and(|list| list.iter().any(|word| word == name));
        let properties = members.get("properties").and_then(Value::as_object);
        let all_required = properties.is_none_or(|properties| properties.keys().all(is_required));
        if members.get("additionalProperties") != Some(&Value::Bool(false)) || !all_required {
            return false;
        }
    }
    members.iter().all(|(name, value)| match (name.as_str(), value) {
        // These hold data, or names, and not schemas.
        ("enum" | "const" | "default" | "examples" | "required", _) => true,
        ("properties" | "$defs" | "definitions", Value::Object(named)) => named.values().all(closed),
        _ => closed(value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_objects_and_optional_properties_are_not_closed() {
        for (schema, expected) in [
            (
                r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}"#,
                true,
            ),
            (
                r#"{"type":"object","properties":{"a":{"type":"string"}},"required":[],"additionalProperties":false}"#,
                false,
            ),
            (r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}"#, false),
            (r#"{"type":"object","additionalProperties":{"type":"string"}}"#, false),
            (r#"{"type":"array","items":{"type":"object"}}"#, false),
            (r#"{"$defs":{"x":{"type":["object","null"]}}}"#, false),
            (r#"{"anyOf":[{"enum":[{"type":"object"}]},{"type":"null"}]}"#, true),
            (
                r#"{"type":"object","properties":{"type":{"type":"string"}},"required":["type"],"additionalProperties":false}"#,
                true,
            ),
        ] {
            let raw = RawValue::from_string(schema.to_owned()).expect("JSON");
            assert_eq!(is_closed(&raw), expected, "{schema}");
        }
    }
}
