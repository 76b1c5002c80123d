//! A request into the body of `POST v2/chat`.
//!
//! Reasoning of earlier turns goes back as the plan of the calls it led to, and is left out where there were none.

use std::borrow::Cow;

use loquat_core::{ChatRequest, Media, MediaSource, Message, Part, ResponseFormat, Result, Role, ToolChoice};
use serde::Serialize;
use serde_json::{json, value::RawValue};

use crate::{
    Encoded, StrictMode,
    encode::{
        Body, check, checked, data_url, function_tools, has_tools, invalid, media_type, one_choice,
        thought_tokens, unsupported,
    },
};

const FORMAT: &str = "the Cohere format";

pub(super) fn encode(request: &ChatRequest, model: &str) -> Result<Encoded> {
    check(request, model)?;
    one_choice(request, FORMAT)?;
    let mut body = Body::default();
    body.set("model", model)?;
    body.set("messages", messages(request)?)?;
    set_tools(&mut body, request)?;
    match &request.response_format {
        ResponseFormat::Text => {}
        ResponseFormat::JsonObject => body.set("response_format", json!({"type": "json_object"}))?,
        ResponseFormat::JsonSchema { schema, .. } => {
            let json_schema = checked(schema, || "response_format.schema".to_owned())?;
            body.set("response_format", ResponseSchema { kind: "json_object", json_schema })?;
        }
        _ => return Err(unsupported("response_format", "this form", FORMAT)),
    }
    body.set_some("max_tokens", request.max_output_tokens)?;
    body.set_some("temperature", request.temperature)?;
    body.set_some("p", request.top_p)?;
    if !request.stop.is_empty() {
        body.set("stop_sequences", &request.stop)?;
    }
    body.set_some("seed", request.seed)?;
    body.set_some("logprobs", request.top_logprobs.map(|_| true))?;
    match (thought_tokens(request), request.reasoning_effort.as_deref()) {
        (Some(0), _) | (None, Some("none" | "off")) => body.set("thinking", json!({"type": "disabled"}))?,
        (Some(budget), _) => {
            body.set("thinking", json!({"type": "enabled", "token_budget": budget}))?;
        }
        (None, Some(_)) => {
            return Err(unsupported("reasoning_effort", "an effort (say reasoning_budget_tokens)", FORMAT));
        }
        (None, None) => {}
    }
    body.set("stream", request.stream)?;
    body.finish("v2/chat", request)
}

#[derive(Serialize)]
struct ResponseSchema<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    json_schema: &'a RawValue,
}

fn set_tools(body: &mut Body, request: &ChatRequest) -> Result<()> {
    if !has_tools(request)? {
        return Ok(());
    }
    if request.parallel_tool_calls == Some(false) {
        return Err(unsupported("parallel_tool_calls", "a ban on parallel calls", FORMAT));
    }
    body.set("tools", function_tools(&request.tools, StrictMode::OpenAi)?)?;
    match &request.tool_choice {
        ToolChoice::Auto => Ok(()),
        ToolChoice::None => body.set("tool_choice", "NONE"),
        ToolChoice::Required => body.set("tool_choice", "REQUIRED"),
        _ => Err(unsupported("tool_choice", "a demand for one tool", FORMAT)),
    }
}

#[derive(Serialize, Default)]
struct WireMessage<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    content: Vec<WirePart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_plan: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WirePart<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: Url<'a> },
}

#[derive(Serialize)]
struct Url<'a> {
    url: Cow<'a, str>,
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: CalledFunction<'a>,
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

fn messages(request: &ChatRequest) -> Result<Vec<WireMessage<'_>>> {
    let mut wire = Vec::with_capacity(request.messages.len());
    for (position, message) in request.messages.iter().enumerate() {
        let role = match message.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
            _ => return Err(unsupported(format!("messages[{position}].role"), "this role", FORMAT)),
        };
        one(message, role, position, &mut wire)?;
    }
    Ok(wire)
}

fn one<'a>(
    message: &'a Message,
    role: &'static str,
    position: usize,
    wire: &mut Vec<WireMessage<'a>>,
) -> Result<()> {
    let mut said = WireMessage { role, ..WireMessage::default() };
    let mut thoughts = String::new();
    for (number, part) in message.parts.iter().enumerate() {
        let place = || format!("messages[{position}].parts[{number}]");
        match (message.role, part) {
            (Role::User | Role::Tool, Part::ToolResult(result)) => {
                let text = match result.is_error {
                    true => format!("Error: {}", result.content).into(),
                    false => Cow::Borrowed(result.content.as_str()),
                };
                wire.push(WireMessage {
                    role: "tool",
                    tool_call_id: Some(&result.call_id),
                    content: vec![WirePart::Text { text }],
                    ..WireMessage::default()
                });
            }
            (Role::Tool, _) => {
                return Err(invalid(format!("{}: a tool's message holds tool results only", place())));
            }
            (_, Part::Text(text)) | (Role::Assistant, Part::Refusal(text)) => {
                said.content.push(WirePart::Text { text: text.into() });
            }
            (Role::User, Part::Image(media)) => said.content.push(image(media, &place())?),
            (Role::Assistant, Part::Reasoning(reasoning)) => thoughts.push_str(&reasoning.text),
            (Role::Assistant, Part::Opaque(_)) => {}
            (Role::Assistant, Part::ToolCall(call)) => {
                let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
                let function = CalledFunction { name: &call.name, arguments };
                said.tool_calls.push(WireCall { id: &call.id, kind: "function", function });
            }
            _ => return Err(unsupported(place(), "such a part in a message of this role", FORMAT)),
        }
    }
    if !said.tool_calls.is_empty() && !thoughts.is_empty() {
        said.tool_plan = Some(thoughts);
    }
    if !said.content.is_empty() || !said.tool_calls.is_empty() {
        wire.push(said);
    }
    Ok(())
}

fn image<'a>(media: &'a Media, place: &str) -> Result<WirePart<'a>> {
    let url = match &media.source {
        MediaSource::Url(url) => Cow::Borrowed(url.as_str()),
        MediaSource::Bytes(bytes) => data_url(media_type(media, place)?, bytes).into(),
        _ => return Err(unsupported(place, "a picture by file id", FORMAT)),
    };
    Ok(WirePart::ImageUrl { image_url: Url { url } })
}
