//! Which schemas each format asks for strictly: those that its servers hold a model to. The others go out as they are, and loosely.

use loquat_core::{ChatRequest, JsonText, ResponseFormat, Tool};
use loquat_provider::{ANTHROPIC_MESSAGES, Format, OPENAI_CHAT, OPENAI_RESPONSES, profile};
use serde_json::{Value, json};

/// An object with that as its one property, required.
fn object(property: &Value) -> Value {
    json!({"type": "object", "properties": {"a": property}, "required": ["a"], "additionalProperties": false})
}

fn sent(format: &dyn Format, request: &ChatRequest) -> Value {
    serde_json::from_slice(&format.encode(request, "m").expect("can be said").body).expect("JSON")
}

/// The body's part for a strict tool of that schema.
fn tool(format: &dyn Format, schema: &Value, strict: Option<bool>) -> Value {
    let mut tool = Tool::new("f", "", schema.to_string());
    tool.strict = strict;
    sent(format, &ChatRequest::new("").with_user("hi").with_tool(tool))["tools"][0].clone()
}

#[test]
fn a_tool_is_strict_where_its_schema_can_be() {
    let deepseek = profile("deepseek").expect("known").format;
    let text = |format: &str| object(&json!({"type": "string", "format": format}));
    // Of Anthropic's, OpenAI's and DeepSeek's.
    for (schema, anthropic, openai, deep) in [
        (object(&json!({"type": "string"})), true, true, true),
        (text("uuid"), true, true, true),
        (text("date-time"), true, true, false),
        (text("uri"), true, false, false),
        (text("binary"), false, false, false),
        (object(&json!(true)), false, false, false),
        (object(&json!({})), false, false, false),
        (object(&json!({"type": "integer", "minimum": 1})), false, true, true),
        (json!({"type": "object", "properties": {"a": {"type": "string"}}}), true, false, false),
    ] {
        let said = |expected: bool| if expected { json!(true) } else { Value::Null };
        let sent = tool(&ANTHROPIC_MESSAGES, &schema, Some(true));
        assert_eq!(sent["strict"], said(anthropic), "Anthropic: {schema}");
        if !anthropic {
            assert_eq!(sent["input_schema"], schema, "as it is");
        }
        let sent = tool(&OPENAI_CHAT, &schema, Some(true));
        assert_eq!((&sent["function"]["strict"], &sent["function"]["parameters"]), (&said(openai), &schema));
        let sent = tool(deepseek, &schema, Some(true));
        assert_eq!((&sent["function"]["strict"], &sent["function"]["parameters"]), (&said(deep), &schema));
        // This one's own default is strict.
        let sent = tool(&OPENAI_RESPONSES, &schema, Some(true));
        assert_eq!((&sent["strict"], &sent["parameters"]), (&json!(openai), &schema));
        for strict in [None, Some(false)] {
            let said = strict.map_or(Value::Null, Value::Bool);
            assert_eq!(tool(&ANTHROPIC_MESSAGES, &schema, strict)["strict"], said);
            assert_eq!(tool(&OPENAI_CHAT, &schema, strict)["function"]["strict"], said);
        }
    }
}

#[test]
fn a_strict_tool_of_anthropics_is_closed() {
    let open =
        json!({"type": "object", "properties": {"a": {"type": "object", "properties": {}}}, "required": []});
    let sent = tool(&ANTHROPIC_MESSAGES, &open, Some(true));
    let closed = json!({
        "type": "object",
        "properties": {"a": {"type": "object", "properties": {}, "additionalProperties": false}},
        "required": [],
        "additionalProperties": false,
    });
    assert_eq!((&sent["strict"], &sent["input_schema"]), (&json!(true), &closed));
    assert_eq!(tool(&ANTHROPIC_MESSAGES, &open, None)["input_schema"], open);
}

#[test]
fn an_answers_form_is_strict_where_it_can_be() {
    let strict = |format: &dyn Format, schema: &Value, place: &str| {
        let mut request = ChatRequest::new("").with_user("hi");
        let schema = JsonText::new(schema.to_string());
        request.response_format = ResponseFormat::JsonSchema { name: "n".into(), schema };
        sent(format, &request).pointer(place).cloned()
    };
    let mut alternatives = object(&json!({"type": "string"}));
    alternatives["anyOf"] = json!([object(&json!({"type": "string"}))]);
    for (schema, expected) in [
        (object(&json!({"type": "string", "format": "date"})), true),
        (object(&json!({"type": "string", "format": "uri"})), false),
        (object(&json!({"description": "anything"})), false),
        (alternatives, false),
    ] {
        let expected = Some(Value::Bool(expected));
        assert_eq!(strict(&OPENAI_CHAT, &schema, "/response_format/json_schema/strict"), expected);
        assert_eq!(strict(&OPENAI_RESPONSES, &schema, "/text/format/strict"), expected);
    }
}
