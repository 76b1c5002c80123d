//! Tools as OpenAI's models read them: a TypeScript namespace, one type for each.
//!
//! The form is not documented; it is what models repeat when asked, and for a few simple tools its tokens are the
//! usage's (as `openai-chat-tokens` and its kin have found too). Other providers show tools as JSON or in a form of
//! their own: there this is a measure of how much there is to say.

use std::fmt::Write as _;

use loquat_core::Tool;
use serde_json::Value;

/// Schemas deeper than this are cut: a schema is the caller's, and may be hostile.
const MAX_DEPTH: usize = 32;

/// All tools as the model reads them. A schema that is no JSON is taken as it is.
pub(super) fn written(tools: &[Tool]) -> String {
    let mut text = String::from("namespace functions {\n\n");
    for tool in tools {
        if !tool.description.is_empty() {
            comment(&tool.description, &mut text);
        }
        match serde_json::from_str::<Value>(tool.parameters.as_str()) {
            Ok(schema) if has_properties(&schema) => {
                let _ = writeln!(text, "type {} = (_: {{", tool.name);
                properties(&schema, 0, &mut text);
                text.push_str("}) => any;\n\n");
            }
            Ok(_) => {
                let _ = writeln!(text, "type {} = () => any;\n", tool.name);
            }
            Err(_) => {
                let _ = writeln!(text, "type {} = {}\n", tool.name, tool.parameters.as_str());
            }
        }
    }
    text.push_str("} // namespace functions");
    text
}

fn comment(words: &str, text: &mut String) {
    text.push_str("// ");
    text.push_str(words);
    text.push('\n');
}

fn has_properties(schema: &Value) -> bool {
    schema.get("properties").and_then(Value::as_object).is_some_and(|properties| !properties.is_empty())
}

fn properties(schema: &Value, depth: usize, text: &mut String) {
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        // Of properties two levels down the descriptions are not shown.
        if let Some(words) = property.get("description").and_then(Value::as_str).filter(|_| depth < 1) {
            comment(words, text);
        }
        text.extend(std::iter::repeat_n(' ', depth * 2));
        text.push_str(name);
        text.push_str(if is_required(name) { ": " } else { "?: " });
        kind(property, depth, text);
        text.push_str(",\n");
    }
}

fn kind(schema: &Value, depth: usize, text: &mut String) {
    if depth > MAX_DEPTH {
        return text.push_str("any");
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return alternatives(values, text, |value, text| {
            let _ = write!(text, "{value}");
        });
    }
    match schema.get("type") {
        Some(Value::Array(kinds)) => alternatives(kinds, text, |kind, text| {
            simple(kind.as_str().unwrap_or_default(), schema, depth, text);
        }),
        Some(Value::String(name)) => simple(name, schema, depth, text),
        _ => text.push_str("any"),
    }
}

fn alternatives(values: &[Value], text: &mut String, write: impl Fn(&Value, &mut String)) {
    for (number, value) in values.iter().enumerate() {
        if number > 0 {
            text.push_str(" | ");
        }
        write(value, text);
    }
}

fn simple(name: &str, schema: &Value, depth: usize, text: &mut String) {
    match name {
        "string" | "boolean" | "null" => text.push_str(name),
        "integer" | "number" => text.push_str("number"),
        "array" => {
            match schema.get("items") {
                Some(items) => kind(items, depth + 1, text),
                None => text.push_str("any"),
            }
            text.push_str("[]");
        }
        "object" if has_properties(schema) => {
            text.push_str("{\n");
            properties(schema, depth + 1, text);
            text.push('}');
        }
        "object" => text.push_str("object"),
        _ => text.push_str("any"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_a_type() {
        let schema = r#"{"type":"object","required":["city"],"properties":{
            "city":{"type":"string","description":"Which."},"unit":{"enum":["c","f"]},"days":{"type":"array","items":{"type":"integer"}}}}"#;
        let tools = [
            Tool::new("weather", "Tells it.", schema),
            Tool::new("now", "", "{}"),
            Tool::new("odd", "", "{"),
        ];
        let expected = "namespace functions {\n\n// Tells it.\ntype weather = (_: {\n// Which.\ncity: string,\n\
            unit?: \"c\" | \"f\",\ndays?: number[],\n}) => any;\n\ntype now = () => any;\n\ntype odd = {\n\n\
            } // namespace functions";
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        // The order of properties is that of the JSON reader's map.
        assert_eq!(sorted(&written(&tools)), sorted(expected));
    }

    #[test]
    fn a_schema_without_a_bottom_is_cut() {
        let deep = format!("{}{{}}{}", r#"{"type":"array","items":"#.repeat(100), "}".repeat(100));
        let schema = format!(r#"{{"properties":{{"x":{deep}}}}}"#);
        assert!(written(&[Tool::new("t", "", schema)]).contains("any[]"));
    }
}
