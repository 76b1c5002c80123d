//! What a caller adds to a body, laid over what an encoder wrote.
//!
//! Most options of vendors stand inside objects that encoders fill, too: Ollama's `options`, Gemini's `generationConfig`. So objects are
//! merged member by member, where the caller's word counts, and lists of what a model may use are put together. All else is replaced:
//! values, other lists, an object by one that is of another `type`, whose members are not the same ones, and one that makes sense whole
//! only ([`WHOLE`]).

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, value::RawValue};

/// Deepest member that is merged: deeper ones are replaced, so that a hostile document cannot make this recurse at will. None of ours
/// that a caller adds to is deeper than four.
const MAX_DEPTH: usize = 16;

/// Members that are no sum of two: a union, of which there may be one member, and schemas.
const WHOLE: [&str; 3] = ["toolChoice", "schema", "responseJsonSchema"];

/// An object's members in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// The member `name` as ours and the caller's make it.
pub(crate) fn merged(
    name: &str,
    ours: &RawValue,
    added: &RawValue,
) -> Result<Box<RawValue>, serde_json::Error> {
    let mut text = String::with_capacity(ours.get().len() + added.get().len());
    write(name, ours, added, MAX_DEPTH, &mut text)?;
    RawValue::from_string(text)
}

fn write(
    name: &str,
    ours: &RawValue,
    added: &RawValue,
    depth: usize,
    to: &mut String,
) -> Result<(), serde_json::Error> {
    let begins = |with: char| ours.get().starts_with(with) && added.get().starts_with(with);
    if depth > 0 && begins('{') && !WHOLE.contains(&name) {
        let (ours, added): (Members<'_>, Members<'_>) =
            (serde_json::from_str(ours.get())?, serde_json::from_str(added.get())?);
        if is_same_kind(&ours, &added) {
            return write_object(&ours, &added, depth, to);
        }
    } else if begins('[') && matches!(name, "tools" | "include") {
        let mut list: Vec<&RawValue> = serde_json::from_str(ours.get())?;
        list.extend(serde_json::from_str::<Vec<&RawValue>>(added.get())?);
        to.push_str(&serde_json::to_string(&list)?);
        return Ok(());
    }
    to.push_str(added.get());
    Ok(())
}

fn is_same_kind(ours: &Members<'_>, added: &Members<'_>) -> bool {
    let kind = |members: &Members<'_>| {
        let (_, kind) = members.0.iter().rev().find(|(name, _)| name == "type")?;
        serde_json::from_str::<Value>(kind.get()).ok()
    };
    match (kind(ours), kind(added)) {
        (Some(ours), Some(added)) => ours == added,
        _ => true,
    }
}

fn write_object(
    ours: &Members<'_>,
    added: &Members<'_>,
    depth: usize,
    to: &mut String,
) -> Result<(), serde_json::Error> {
    let mut lead = '{';
    let mut member = |name: &str, to: &mut String| -> Result<(), serde_json::Error> {
        to.push(std::mem::replace(&mut lead, ','));
        to.push_str(&serde_json::to_string(name)?);
        to.push(':');
        Ok(())
    };
    for (name, value) in &ours.0 {
        member(name, to)?;
        match added.0.iter().rev().find(|(other, _)| other == name) {
            Some((_, other)) => write(name, value, other, depth - 1, to)?,
            None => to.push_str(value.get()),
        }
    }
    for (name, value) in &added.0 {
        if !ours.0.iter().any(|(other, _)| other == name) {
            member(name, to)?;
            to.push_str(value.get());
        }
    }
    if lead == '{' {
        to.push('{');
    }
    to.push('}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_merged_lists_of_tools_put_together_and_all_else_replaced() {
        let deep = |leaf: &str| format!("{}{leaf}{}", r#"{"a":"#.repeat(40), "}".repeat(40));
        for (name, ours, added, expected) in [
            ("options", r#"{"b":1,"a":[1]}"#, r#"{"c":null,"a":[2]}"#, r#"{"b":1,"a":[2],"c":null}"#),
            ("options", r#"{"a":{"b":1,"c":2}}"#, r#"{"a":{"c":3}}"#, r#"{"a":{"b":1,"c":3}}"#),
            ("options", "{}", "{}", "{}"),
            ("options", r#"{"a":1}"#, "null", "null"),
            ("options", "1", r#"{"a":1}"#, r#"{"a":1}"#),
            ("stop", r#"["a"]"#, r#"["b"]"#, r#"["b"]"#),
            ("tools", r#"[{"a":1}]"#, r#"[ {"b":2} ]"#, r#"[{"a":1},{"b":2}]"#),
            ("tools", r#"[1]"#, "null", "null"),
            ("parameters", r#"{"tools":[1]}"#, r#"{"tools":[2]}"#, r#"{"tools":[1,2]}"#),
            (
                "thinking",
                r#"{"type":"enabled","budget_tokens":9}"#,
                r#"{"type":"adaptive"}"#,
                r#"{"type":"adaptive"}"#,
            ),
            ("format", r#"{"type":"a","x":1}"#, r#"{"type":"a","y":2}"#, r#"{"type":"a","x":1,"y":2}"#),
            (
                "toolConfig",
                r#"{"toolChoice":{"any":{}},"a":1}"#,
                r#"{"toolChoice":{"auto":{}}}"#,
                r#"{"toolChoice":{"auto":{}},"a":1}"#,
            ),
            (
                "json_schema",
                r#"{"name":"n","schema":{"a":1}}"#,
                r#"{"schema":{"b":2}}"#,
                r#"{"name":"n","schema":{"b":2}}"#,
            ),
            ("deep", &deep(r#"{"x":1}"#), &deep(r#"{"y":2}"#), &deep(r#"{"y":2}"#)),
        ] {
            let raw = |text: &str| RawValue::from_string(text.to_owned()).expect("JSON");
            let merged = merged(name, &raw(ours), &raw(added)).expect("JSON");
            assert_eq!(merged.get(), expected, "{name}: {ours} and {added}");
        }
    }
}
