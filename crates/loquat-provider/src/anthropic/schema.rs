//! A schema as Anthropic takes it for the form of an answer, or that it takes no such.
//!
//! Every object has to be closed: one that names its properties and says nothing else is. What is beyond the format (open
//! maps, any value, bounds, tuples, sets, types that contain themselves) is refused here rather than by the server, so that
//! whoever asked can say it in words instead. Members keep their order, in which the model answers.
//!
//! Follows <https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations> and what the
//! official client for Python makes of schemas.

use std::{collections::BTreeSet, fmt};

use loquat_core::Result;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::encode::FORMAT;
use crate::encode::{invalid, unsupported};

/// What JSON Schema can demand and the format cannot.
const BEYOND: [&str; 30] = [
    "$dynamicRef",
    "allOf",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "if",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "patternProperties",
    "prefixItems",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "$recursiveRef",
];
/// What says nothing about what a value is.
const NOTES: [&str; 8] =
    ["$comment", "$schema", "default", "deprecated", "description", "examples", "title", "$id"];
const FORMATS: [&str; 10] =
    ["date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"];
/// As serde_json's own limit on nesting; a schema needs two levels of JSON for one of its own.
const MAX_DEPTH: usize = 64;

/// The schema with its objects closed.
pub(super) fn fitted(schema: &RawValue) -> Result<Box<RawValue>> {
    let mut walk = Walk { text: String::with_capacity(schema.get().len() + 64), references: Vec::new() };
    walk.schema(schema, "", 0)?;
    if is_circular(walk.references) {
        return Err(beyond("a type that contains itself"));
    }
    RawValue::from_string(walk.text)
        .map_err(|error| invalid("a schema cannot be written as JSON".to_owned()).with_source(error))
}

fn beyond(what: &str) -> loquat_core::Error {
    unsupported("response_format.schema", what, FORMAT)
}

struct Walk {
    text: String,
    /// Which definition, or the root by no name, refers to which.
    references: Vec<(String, String)>,
}

impl Walk {
    fn schema(&mut self, schema: &RawValue, owner: &str, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(beyond("a schema nested that deep"));
        }
        let Ok(Members(members)) = serde_json::from_str(schema.get()) else {
            return Err(beyond("a value of any kind"));
        };
        let find = |name: &str| members.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
        if members.iter().all(|(name, _)| NOTES.contains(&name.as_str())) {
            return Err(beyond("a value of any kind"));
        }
        let mut lead = '{';
        for (name, value) in &members {
            self.name(&mut lead, name)?;
            match name.as_str() {
                word if BEYOND.contains(&word) => return Err(beyond(&format!("a schema with `{word}`"))),
                "additionalProperties" if value.get() != "false" => {
                    return Err(beyond("an object of any members"));
                }
                "minItems" if !matches!(value.get(), "0" | "1") => {
                    return Err(beyond("a least number of items but 0 and 1"));
                }
                "format" if !text_of(value).is_some_and(|word| FORMATS.contains(&word.as_str())) => {
                    return Err(beyond("this format of a text"));
                }
                "$ref" => {
                    let target = text_of(value).unwrap_or_default();
                    let named =
                        target.strip_prefix("#/$defs/").or_else(|| target.strip_prefix("#/definitions/"));
                    let named = named.or_else(|| (target == "#").then_some(""));
                    let named = named.ok_or_else(|| beyond("a schema that is elsewhere"))?;
                    self.references.push((owner.to_owned(), named.to_owned()));
                    self.text.push_str(value.get());
                }
                "properties" => self.named(value, Some(owner), depth)?,
                "$defs" | "definitions" => self.named(value, None, depth)?,
                "items" => self.schema(value, owner, depth + 1)?,
                "anyOf" => self.list(value, owner, depth)?,
                _ => self.text.push_str(value.get()),
            }
        }
        let is_object = match find("type") {
            Some(kind) => kind.get().contains("\"object\""),
            None => find("properties").is_some(),
        };
        if is_object && find("additionalProperties").is_none() {
            if find("properties").is_none() {
                return Err(beyond("an object of any members"));
            }
            self.name(&mut lead, "additionalProperties")?;
            self.text.push_str("false");
        }
        self.text.push('}');
        Ok(())
    }

    /// Schemas by name: definitions, which refer to others themselves, or what belongs to `owner`.
    fn named(&mut self, schemas: &RawValue, owner: Option<&str>, depth: usize) -> Result<()> {
        let Members(schemas) = read(schemas)?;
        let mut lead = '{';
        for (name, schema) in &schemas {
            self.name(&mut lead, name)?;
            self.schema(schema, owner.unwrap_or(name), depth + 1)?;
        }
        if schemas.is_empty() {
            self.text.push('{');
        }
        self.text.push('}');
        Ok(())
    }

    fn list(&mut self, schemas: &RawValue, owner: &str, depth: usize) -> Result<()> {
        let schemas: Vec<&RawValue> = read(schemas)?;
        self.text.push('[');
        for (position, schema) in schemas.into_iter().enumerate() {
            if position > 0 {
                self.text.push(',');
            }
            self.schema(schema, owner, depth + 1)?;
        }
        self.text.push(']');
        Ok(())
    }

    fn name(&mut self, lead: &mut char, name: &str) -> Result<()> {
        self.text.push(std::mem::replace(lead, ','));
        let name = serde_json::to_string(name)
            .map_err(|error| invalid("a member's name cannot be written".to_owned()).with_source(error))?;
        self.text.push_str(&name);
        self.text.push(':');
        Ok(())
    }
}

fn read<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Result<T> {
    serde_json::from_str(value.get())
        .map_err(|error| invalid("response_format.schema is no schema".to_owned()).with_source(error))
}

fn text_of(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// Whether going from one to the next comes back: what refers to nothing that refers further is taken away until nothing
/// is left, or nothing changes.
fn is_circular(mut references: Vec<(String, String)>) -> bool {
    loop {
        let before = references.len();
        let owners: BTreeSet<String> = references.iter().map(|(owner, _)| owner.clone()).collect();
        references.retain(|(_, target)| owners.contains(target));
        if references.is_empty() || references.len() == before {
            return !references.is_empty();
        }
    }
}

/// An object's members in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}
