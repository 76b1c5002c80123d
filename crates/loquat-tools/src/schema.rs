//! JSON Schemas of Rust types, in the dialect that providers take.
//!
//! schemars writes whole JSON Schema 2020-12; providers take a part of it. So definitions are put where they are used
//! (unless a type contains itself), what no provider reads (`$schema`, `title`, Rust's integer formats) is left out, and
//! `oneOf` is said as `anyOf`, which for the alternatives of an enum means the same. The strict form, which a provider can
//! hold a model to exactly, also closes each object and requires each property; an optional one may be `null`. It says a set as a
//! list, which is read as a set all the same.
//! <https://platform.openai.com/docs/guides/structured-outputs#supported-schemas>

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value};

/// The schema of that type.
pub(crate) fn of<T: JsonSchema>(strict: bool) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.meta_schema = None;
        settings.inline_subschemas = true;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    tidy(&mut schema, strict);
    if let Value::Object(root) = &mut schema
        && root.get("type").and_then(Value::as_str) == Some("object")
    {
        // A tool without parameters: some providers demand the member all the same.
        root.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    }
    schema
}

pub(crate) fn text(schema: &Value) -> String {
    schema.to_string()
}

/// One schema and those below it. They nest as deep as Rust types do, which the compiler bounds.
fn tidy(schema: &mut Value, strict: bool) {
    let Value::Object(members) = schema else { return };
    members.remove("title");
    members.remove("$schema");
    let is_number = |kind: &Value| match kind {
        Value::String(word) => word == "integer" || word == "number",
        Value::Array(words) => words.iter().any(|word| word == "integer" || word == "number"),
        _ => false,
    };
    if members.get("type").is_some_and(is_number) {
        let format = members.remove("format");
        if strict && let Some((least, most)) = format.as_ref().and_then(Value::as_str).and_then(bounds) {
            // What only the Rust type says is checked on return. Anthropic refuses a strict schema with bounds in it; those
            // that an author wrote stay, to be refused loudly rather than lost.
            let is = |bound: Option<&Value>, number: i128| {
                bound.and_then(Value::as_i64).is_some_and(|found| i128::from(found) == number)
            };
            if is(members.get("minimum"), least) {
                members.remove("minimum");
            }
            if is(members.get("maximum"), most) {
                members.remove("maximum");
            }
        }
    }
    if strict {
        members.remove("uniqueItems");
    }
    if let Some(alternatives) = members.remove("oneOf") {
        members.insert("anyOf".to_owned(), alternatives);
    }
    for (name, value) in members.iter_mut() {
        match (name.as_str(), value) {
            ("properties" | "$defs" | "patternProperties", Value::Object(named)) => {
                named.values_mut().for_each(|schema| tidy(schema, strict));
            }
            ("anyOf" | "allOf" | "prefixItems", Value::Array(list)) => {
                list.iter_mut().for_each(|schema| tidy(schema, strict));
            }
            ("items" | "additionalProperties" | "not", schema) => tidy(schema, strict),
            _ => {}
        }
    }
    if strict && let Some(Value::Object(properties)) = members.get("properties") {
        let all: Vec<Value> = properties.keys().map(|name| Value::String(name.clone())).collect();
        members.insert("required".to_owned(), Value::Array(all));
        members.entry("additionalProperties").or_insert(Value::Bool(false));
        if let Some(Value::Object(properties)) = members.get_mut("properties") {
            // A default is what an absent property means, and none is absent.
            properties.values_mut().filter_map(Value::as_object_mut).for_each(|property| {
                property.remove("default");
            });
        }
    }
}

/// The least and the most that a Rust integer holds, by the name that schemars gives it.
fn bounds(format: &str) -> Option<(i128, i128)> {
    Some(match format {
        "uint8" => (0, u8::MAX.into()),
        "uint16" => (0, u16::MAX.into()),
        "uint32" => (0, u32::MAX.into()),
        "uint" | "uint64" | "uint128" => (0, u64::MAX.into()),
        "int8" => (i8::MIN.into(), i8::MAX.into()),
        "int16" => (i16::MIN.into(), i16::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        "int" | "int64" | "int128" => (i64::MIN.into(), i64::MAX.into()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "read by schemars alone")]
    struct Order {
        /// How many.
        count: u32,
        kind: Kind,
        note: Option<String>,
        lines: Vec<Line>,
    }

    #[derive(Deserialize, JsonSchema)]
    enum Kind {
        /// Now.
        Express,
        Slow,
    }

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "read by schemars alone")]
    struct Line {
        #[serde(default)]
        item: String,
    }

    #[test]
    fn loose_and_strict() {
        let kind = json!({"anyOf": [
            {"type": "string", "enum": ["Slow"]},
            {"type": "string", "const": "Express", "description": "Now."}
        ]});
        assert_eq!(
            of::<Order>(false),
            json!({
                "type": "object",
                "properties": {
                    "count": {"type": "integer", "minimum": 0, "description": "How many."},
                    "kind": kind,
                    "note": {"type": ["string", "null"]},
                    "lines": {"type": "array", "items": {
                        "type": "object", "properties": {"item": {"type": "string", "default": ""}}
                    }}
                },
                "required": ["count", "kind", "lines"]
            })
        );
        let strict = of::<Order>(true);
        assert_eq!(strict["additionalProperties"], false);
        assert_eq!(strict["required"].as_array().map(Vec::len), Some(4));
        assert_eq!(
            strict["properties"]["lines"]["items"],
            json!({
                "type": "object", "properties": {"item": {"type": "string"}},
                "required": ["item"], "additionalProperties": false
            })
        );
    }

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "read by schemars alone")]
    struct Numbers {
        small: u8,
        large: u64,
        signed: Option<i16>,
        known: std::collections::BTreeSet<u8>,
        #[schemars(range(min = 1, max = 5))]
        stars: u8,
    }

    #[test]
    fn strict_numbers_have_the_bounds_that_their_author_wrote() {
        let schema = of::<Numbers>(true);
        let properties = &schema["properties"];
        for name in ["small", "large"] {
            assert_eq!(properties[name], json!({"type": "integer"}));
        }
        assert_eq!(properties["signed"], json!({"type": ["integer", "null"]}));
        assert_eq!(properties["stars"], json!({"type": "integer", "minimum": 1, "maximum": 5}));
        assert_eq!(properties["known"], json!({"type": "array", "items": {"type": "integer"}}));
        assert_eq!(of::<Numbers>(false)["properties"]["known"]["uniqueItems"], true);
        assert_eq!(of::<Numbers>(false)["properties"]["small"]["maximum"], 255);
    }

    #[test]
    fn the_same_type_gives_the_same_bytes() {
        assert_eq!(text(&of::<Order>(true)), text(&of::<Order>(true)));
    }
}
