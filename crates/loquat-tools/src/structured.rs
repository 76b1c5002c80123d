//! Answers as Rust types: the schema that is asked for, and the value that came, checked.
//!
//! The check is serde's own reading of the type, with the place of what did not fit: a provider's promise to follow a
//! schema is worth something only where it is kept, and many servers ignore it.

use std::fmt;

use loquat_core::{Error, ErrorKind, FinishReason, JsonText, Part, Response, ResponseFormat, Result};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::schema;

/// The member that holds a value whose type is no object: providers take nothing else at the top.
const WRAPPER: &str = "value";
/// Longest name of a schema that providers take, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// The form of an answer that is a `T`.
pub fn response_format<T: JsonSchema>() -> ResponseFormat {
    let mut name: String = T::schema_name()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || "_-".contains(letter) { letter } else { '_' })
        .collect();
    name.truncate(MAX_NAME_BYTES);
    let schema = schema::of::<T>(true);
    let schema = if is_object(&schema) { schema } else { wrapped(schema) };
    ResponseFormat::JsonSchema { name, schema: JsonText::new(schema::text(&schema)) }
}

/// The whole answer as a `T`.
///
/// # Errors
/// [`ErrorKind::ContentFiltered`] if the model declined, [`ErrorKind::Truncated`] if the limit of tokens cut the answer,
/// [`ErrorKind::Protocol`] with a [`Misfit`] as its source if what came is no `T`; [`Error::partial`] has the answer.
pub fn parse<T: DeserializeOwned + JsonSchema>(response: &Response) -> Result<T> {
    let error = |kind, message| Error::new(kind, message).with_partial(response.clone());
    let parts = response.message().map(|message| &message.parts[..]).unwrap_or_default();
    if parts.iter().any(|part| matches!(part, Part::Refusal(_)))
        || matches!(response.finish_reason(), Some(FinishReason::Refusal | FinishReason::ContentFilter))
    {
        return Err(error(ErrorKind::ContentFiltered, "the model declined to give the answer"));
    }
    parse_text(&response.text()).map_err(|misfit| match response.finish_reason() {
        Some(FinishReason::Length) => {
            error(ErrorKind::Truncated, "the limit of tokens cut the answer before its JSON was complete")
        }
        _ => error(ErrorKind::Protocol, "the answer does not have the form that was asked for")
            .with_source(misfit),
    })
}

/// A text as a `T`. A fence around it (```` ```json ````), as models without a native form put it, is taken off.
///
/// # Errors
/// Where it does not fit.
pub fn parse_text<T: DeserializeOwned + JsonSchema>(text: &str) -> Result<T, Misfit> {
    let text = unfenced(text);
    if is_object(&schema::of::<T>(true)) {
        return read(text);
    }
    // A server that ignored the schema, and so the wrapper too, may have given the bare value.
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(mut members)) if members.len() == 1 && members.contains_key(WRAPPER) => {
            let value = members.remove(WRAPPER).unwrap_or_default();
            serde_path_to_error::deserialize(value).map_err(|error| Misfit::new(&error))
        }
        _ => read(text),
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Misfit> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| Misfit::new(&error))?;
    match reader.end() {
        Ok(()) => Ok(value),
        Err(error) => Err(Misfit { place: String::new(), problem: error.to_string() }),
    }
}

/// Why a text is not of a type. `Display` and `Debug` tell the place alone, as the rest may quote the answer.
#[derive(Clone, PartialEq, Eq)]
pub struct Misfit {
    place: String,
    problem: String,
}

impl Misfit {
    fn new(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let place = error.path().to_string();
        let place = if place == "." { String::new() } else { place };
        Self { place, problem: error.inner().to_string() }
    }

    /// Where: `items[2].price`; empty for the whole.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What is wrong, in words for the model that shall mend it. They may quote the answer.
    pub fn for_model(&self) -> String {
        let place = if self.place.is_empty() { String::new() } else { format!(" at `{}`", self.place) };
        format!(
            "Your answer does not follow the JSON schema{place}: {}. Answer again with the corrected JSON alone.",
            self.problem
        )
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.as_str() {
            "" => f.write_str("the JSON does not fit the type"),
            place => write!(f, "the JSON does not fit the type at `{place}`"),
        }
    }
}

impl fmt::Debug for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Misfit").field("place", &self.place).finish_non_exhaustive()
    }
}

impl std::error::Error for Misfit {}

fn is_object(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("object")
}

fn wrapped(mut inner: Value) -> Value {
    let definitions = inner.as_object_mut().and_then(|members| members.remove("$defs"));
    move_references(&mut inner);
    let mut schema = json!({
        "type": "object",
        "properties": {WRAPPER: inner},
        "required": [WRAPPER],
        "additionalProperties": false
    });
    if let (Some(mut definitions), Some(members)) = (definitions, schema.as_object_mut()) {
        move_references(&mut definitions);
        members.insert("$defs".to_owned(), definitions);
    }
    schema
}

/// A type that contains itself refers to the root, which the wrapper now is.
fn move_references(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::String(target)) = members.get_mut("$ref")
                && target == "#"
            {
                target.push_str("/properties/value");
            }
            members.values_mut().for_each(move_references);
        }
        Value::Array(list) => list.iter_mut().for_each(move_references),
        _ => {}
    }
}

fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    match inner {
        // The first line names the language.
        Some(inner) => inner.split_once('\n').map_or(inner, |(_, body)| body).trim(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, JsonSchema, PartialEq)]
    struct Person {
        name: String,
        age: u8,
    }

    #[derive(Debug, Deserialize, JsonSchema, PartialEq)]
    #[serde(untagged)]
    enum Tree {
        Leaf(u8),
        Node(Vec<Tree>),
    }

    #[test]
    fn values_are_read_and_misfits_say_where_and_not_what() {
        let fitting = Person { name: "Ann".into(), age: 7 };
        for text in [
            r#"{"name":"Ann","age":7}"#,
            " {\"name\":\"Ann\",\"age\":7}\n",
            "```json\n{\"name\":\"Ann\",\"age\":7}\n```",
        ] {
            assert_eq!(parse_text::<Person>(text).as_ref(), Ok(&fitting), "{text}");
        }
        for (text, place) in [
            (r#"{"name":"secret","age":700}"#, "age"),
            (r#"{"name":"secret","age":"secret"}"#, "age"),
            (r#"{"name":"secret"}"#, ""),
            (r#"{"name":"secret","age":1} secret"#, ""),
            (r#"{"name":"secret","age":"#, "age"),
            ("secret", ""),
            ("", ""),
        ] {
            let misfit = parse_text::<Person>(text).expect_err(text);
            assert_eq!(misfit.place(), place, "{text}");
            assert!(!format!("{misfit} {misfit:?}").contains("secret"));
            assert!(misfit.for_model().contains("JSON"));
        }
    }

    #[test]
    fn what_is_no_object_travels_in_one() {
        let ResponseFormat::JsonSchema { schema, name } = response_format::<Vec<u8>>() else {
            panic!("a schema")
        };
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{name}");
        let schema: Value = serde_json::from_str(schema.as_str()).expect("JSON");
        assert_eq!(schema["properties"]["value"]["type"], "array");
        assert_eq!(parse_text::<Vec<u8>>(r#"{"value":[1,2]}"#), Ok(vec![1, 2]));
        assert_eq!(parse_text::<Vec<u8>>("[1,2]"), Ok(vec![1, 2]));
        assert_eq!(parse_text::<Vec<u8>>(r#"{"value":[1,"x"]}"#).map_err(|m| m.place), Err("[1]".into()));
    }

    #[test]
    fn a_type_that_contains_itself_refers_to_what_exists() {
        let ResponseFormat::JsonSchema { schema, .. } = response_format::<Tree>() else { panic!("a schema") };
        let schema: Value = serde_json::from_str(schema.as_str()).expect("JSON");
        fn references<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
            match schema {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str));
                    members.values().for_each(|value| references(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        references(&schema, &mut found);
        assert!(!found.is_empty(), "{schema}");
        for reference in found {
            let target = schema.pointer(reference.strip_prefix('#').expect("local")).expect("it exists");
            assert!(target.get("anyOf").is_some(), "{reference} in {schema}");
        }
        let tree = Tree::Node(vec![Tree::Leaf(1), Tree::Node(vec![])]);
        assert_eq!(parse_text(r#"{"value":[1,[]]}"#), Ok(tree));
    }
}
