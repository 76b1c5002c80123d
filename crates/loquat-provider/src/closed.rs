//! Whether a schema is one that a provider can hold a model to exactly: every object closed, every property required,
//! every value of some type, and no word in it that the provider's strict mode does not know.
//!
//! Asked for strictly with any other, the provider refuses the request; asked for loosely, the answer is checked on
//! return. Nothing is changed here: a property that may be absent, or a text of some format, is a promise of the
//! schema's author.
//! <https://platform.openai.com/docs/guides/structured-outputs#supported-schemas>,
//! <https://api-docs.deepseek.com/guides/tool_calls#strict-mode-beta>

use serde_json::{Map, Value, value::RawValue};

/// Whose strict mode: each knows the words that OpenAI's knows, or fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StrictMode {
    /// OpenAI's, and that of most who took over its format.
    OpenAi,
    /// DeepSeek's: fewer formats, no lengths, nothing but words of one type below the top.
    DeepSeek,
}

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

/// Words that DeepSeek's refuses besides.
const REFUSED_BY_DEEPSEEK: &[&str] = &["minLength", "maxLength", "minItems", "maxItems"];

/// The formats of texts that it knows; `uri` is none of them.
const FORMATS: &[&str] =
    &["email", "hostname", "ipv4", "ipv6", "uuid", "date-time", "time", "date", "duration"];

/// How many of them, from the first, DeepSeek's knows.
const DEEPSEEK_FORMATS: usize = 5;

impl StrictMode {
    /// Whether that is such a schema; its root is an object, and one of a single form.
    pub(crate) fn takes(self, schema: &RawValue) -> bool {
        let Ok(Value::Object(root)) = serde_json::from_str(schema.get()) else { return false };
        root.get("type").is_some_and(|kind| kind == "object")
            && !root.contains_key("anyOf")
            && self.takes_members(&root, true)
    }

    /// A schema below the root. Depth is bounded by the parser's own limit on nesting.
    fn takes_value(self, schema: &Value) -> bool {
        // `true`, which is any value, and `false`, which is none, are of no type.
        schema.as_object().is_some_and(|members| self.takes_members(members, false))
    }

    fn takes_members(self, members: &Map<String, Value>, is_root: bool) -> bool {
        let has = |word: &&str| members.contains_key(*word);
        if REFUSED.iter().any(has) || (self == Self::DeepSeek && REFUSED_BY_DEEPSEEK.iter().any(has)) {
            return false;
        }
        if let Some(target) = members.get("$ref") {
            // Not even a description may stand beside it.
            return members.len() == 1 && target.is_string();
        }
        let kinds: Vec<&str> = match members.get("type") {
            Some(Value::String(kind)) => vec![kind],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if kinds.is_empty() && !members.contains_key("anyOf") {
            return false;
        }
        let (is_array, is_object) = (kinds.contains(&"array"), kinds.contains(&"object"));
        if is_array && !members.contains_key("items") {
            return false;
        }
        let is_closed = || members.get("additionalProperties") == Some(&Value::Bool(false));
        if (is_object || members.contains_key("properties")) && !(is_closed() && requires_all(members)) {
            return false;
        }
        if self == Self::DeepSeek && !is_root {
            let is_empty = || members.get("properties").and_then(Value::as_object).is_none_or(Map::is_empty);
            let is_one_of_several = kinds.len() > 1 && (is_array || is_object);
            if is_one_of_several || (is_object && is_empty()) {
                return false;
            }
        }
        members.iter().all(|(name, value)| match (name.as_str(), value) {
            ("properties" | "$defs" | "definitions", Value::Object(named)) => {
                named.values().all(|schema| self.takes_value(schema))
            }
            ("anyOf", Value::Array(list)) => list.iter().all(|schema| self.takes_alternative(schema)),
            ("items", schema) => self.takes_value(schema),
            ("additionalProperties", closed) => *closed == Value::Bool(false),
            ("format", format) => self.formats().iter().any(|known| format == known),
            ("properties" | "$defs" | "definitions" | "anyOf", _) => false,
            // Data, or notes.
            _ => true,
        })
    }

    fn takes_alternative(self, schema: &Value) -> bool {
        self.takes_value(schema) && !(self == Self::DeepSeek && schema.get("$ref").is_some())
    }

    fn formats(self) -> &'static [&'static str] {
        match self {
            Self::OpenAi => FORMATS,
            Self::DeepSeek => FORMATS.get(..DEEPSEEK_FORMATS).unwrap_or_default(),
        }
    }
}

/// Whether all properties are required.
fn requires_all(members: &Map<String, Value>) -> bool {
    let required = members.get("required").and_then(Value::as_array);
    let is_required = |name: &String| required.is_some_and(|list| list.iter().any(|word| word == name));
    let properties = members.get("properties").and_then(Value::as_object);
    properties.is_none_or(|properties| properties.keys().all(is_required))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_objects_optional_properties_and_words_that_are_refused_are_not_closed() {
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
            (
                &within(
                    r#"{"anyOf":[{"type":"string","enum":[{"type":"object","not":{}}]},{"type":"null"}]}"#,
                ),
                true,
            ),
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
            assert_eq!(takes(StrictMode::OpenAi, schema), expected, "{schema}");
        }
    }

    fn takes(mode: StrictMode, schema: &str) -> bool {
        mode.takes(&RawValue::from_string(schema.to_owned()).expect("JSON"))
    }

    /// An object with these as its one property, required.
    fn within(schema: &str) -> String {
        format!(
            r#"{{"type":"object","properties":{{"a":{schema}}},"required":["a"],"additionalProperties":false}}"#
        )
    }

    /// "'uri' is not a valid format", "schema must have a 'type' key", "`$ref` cannot have keywords", as OpenAI says it.
    #[test]
    fn values_of_no_type_and_formats_that_are_not_known_are_not_closed() {
        for (schema, openai, deepseek) in [
            (r#"{"type":"string","format":"uri"}"#, false, false),
            (r#"{"type":"integer","format":"int32"}"#, false, false),
            (r#"{"type":"string","format":"date-time"}"#, true, false),
            (r#"{"type":["string","null"],"format":"uuid"}"#, true, true),
            ("true", false, false),
            ("false", false, false),
            ("{}", false, false),
            (r#"{"description":"anything"}"#, false, false),
            (r#"{"type":"array","items":true}"#, false, false),
            (r#"{"type":"array","items":[{"type":"string"}]}"#, false, false),
            (r#"{"anyOf":[{"type":"string"},{}]}"#, false, false),
            (r#"{"anyOf":{"type":"string"}}"#, false, false),
            (r#"{"enum":["a","b"]}"#, false, false),
            (r#"{"const":"a"}"#, false, false),
            (r#"{"type":"string","const":"a"}"#, true, true),
            (r##"{"$ref":"#/$defs/b"}"##, true, true),
            (r##"{"$ref":"#/$defs/b","description":"d"}"##, false, false),
            (r##"{"anyOf":[{"$ref":"#/$defs/b"},{"type":"null"}]}"##, true, false),
            (r#"{"type":"string","minLength":1}"#, true, false),
            (r#"{"type":"array","items":{"type":"string"},"maxItems":2}"#, true, false),
            (r#"{"type":["array","null"],"items":{"type":"string"}}"#, true, false),
            (r#"{"type":"object","properties":{},"additionalProperties":false}"#, true, false),
        ] {
            let schema = within(schema);
            assert_eq!(takes(StrictMode::OpenAi, &schema), openai, "OpenAI: {schema}");
            assert_eq!(takes(StrictMode::DeepSeek, &schema), deepseek, "DeepSeek: {schema}");
        }
        // A struct with an enum flattened into it.
        let root = r#"{"type":"object","properties":{},"additionalProperties":false,"anyOf":[{"type":"object","properties":{},"additionalProperties":false}]}"#;
        assert!(!takes(StrictMode::OpenAi, root));
        let empty = r#"{"type":"object","properties":{},"additionalProperties":false}"#;
        assert!(takes(StrictMode::OpenAi, empty) && takes(StrictMode::DeepSeek, empty));
    }
}
