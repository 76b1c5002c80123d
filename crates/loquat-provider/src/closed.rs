//! Whether a schema is one that a provider can hold a model to exactly: every object closed, every property required, and no word
//! in it that OpenAI's strict mode does not know.
//!
//! Asked for strictly with any other, OpenAI refuses the request; asked for loosely, the answer is checked on return.
//! <https://platform.openai.com/docs/guides/structured-outputs#supported-schemas>

use serde_json::{Value, value::RawValue};

/// Words that strict mode refuses wherever they stand.
const REFUSED: &[&str] = &[
    "allOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "default",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "unevaluatedProperties",
    "prefixItems",
    "contains",
    "minContains",
    "maxContains",
    "uniqueItems",
    "unevaluatedItems",
];

/// Whether that is such a schema; its root is an object.
pub(crate) fn is_closed(schema: &RawValue) -> bool {
    serde_json::from_str(schema.get())
        .is_ok_and(|schema: Value| schema["type"] == "object" && closed(&schema))
}

/// Depth is bounded by the parser's own limit on nesting.
fn closed(schema: &Value) -> bool {
    let members = match schema {
        Value::Object(members) => members,
        Value::Array(list) => return list.iter().all(closed),
        _ => return true,
    };
    let is = |word: &str, unless_said: bool| match members.get("type") {
        Some(Value::String(kind)) => kind == word,
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == word),
        _ => unless_said,
    };
    if REFUSED.iter().any(|word| members.contains_key(*word)) {
        return false;
    }
    if is("array", false) && !members.contains_key("items") {
        return false;
    }
    if is("object", members.contains_key("properties")) {
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
        ("enum" | "const" | "examples" | "required", _) => true,
        ("properties" | "$defs" | "definitions", Value::Object(named)) => named.values().all(closed),
        _ => closed(value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_objects_optional_properties_and_words_that_are_refused_are_not_closed() {
        let within = |schema: &str| {
            format!(
                r#"{{"type":"object","properties":{{"a":{schema}}},"required":["a"],"additionalProperties":false}}"#
            )
        };
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
            (&within(r#"{"anyOf":[{"enum":[{"type":"object","not":{}}]},{"type":"null"}]}"#), true),
            (&within(r#"{"type":"array","items":{"type":"string"},"minItems":1}"#), true),
            // Named like a word that is refused.
            (
                r#"{"type":"object","properties":{"not":{"type":"string"}},"required":["not"],"additionalProperties":false}"#,
                true,
            ),
            (r#"{"anyOf":[{"type":"string"},{"type":"null"}]}"#, false),
            (r#"{"type":"array","items":{"type":"string"}}"#, false),
            // A tuple and a set, as schemars writes them.
            (
                &within(r#"{"type":"array","prefixItems":[{"type":"string"}],"minItems":1,"maxItems":1}"#),
                false,
            ),
            (&within(r#"{"type":"array","items":{"type":"string"},"uniqueItems":true}"#), false),
            (&within(r#"{"type":"array"}"#), false),
            (&within(r#"{"type":["array","null"]}"#), false),
            (&within(r#"{"oneOf":[{"type":"string"}]}"#), false),
            (&within(r#"{"allOf":[{"type":"string"}]}"#), false),
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
