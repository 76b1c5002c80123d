//! A request into the body of `POST api/chat`.
//!
//! The format has no choice among tools: `None` leaves the tools out, a demand for one is an error. Pictures go as
//! bytes only. A failed tool's result says so in its text.

use loquat_core::{ChatRequest, MediaSource, Message, Part, ResponseFormat, Result, Role, ToolChoice};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    Encoded, StrictMode,
    encode::{Body, arguments, base64, checked, function_tools, invalid, one_choice, unsupported},
};

const FORMAT: &str = "the Ollama format";

pub(super) fn encode(request: &ChatRequest, model: &str) -> Result<Encoded> {
    crate::encode::check(request, model)?;
    one_choice(request, FORMAT)?;
    let mut body = Body::default();
    body.set("model", model)?;
    body.set("messages", messages(request)?)?;
    set_tools(&mut body, request)?;
    set_form(&mut body, request)?;
    set_options(&mut body, request)?;
    set_thinking(&mut body, request)?;
    if let Some(others) = request.top_logprobs {
        body.set("logprobs", true)?;
        body.set("top_logprobs", others)?;
    }
    body.set("stream", request.stream)?;
    body.finish("api/chat", request)
}

/// The form of the answer.
pub(crate) fn set_form(body: &mut Body, request: &ChatRequest) -> Result<()> {
    match &request.response_format {
        ResponseFormat::Text => Ok(()),
        ResponseFormat::JsonObject => body.set("format", "json"),
        ResponseFormat::JsonSchema { schema, .. } => {
            body.set("format", checked(schema, || "response_format.schema".to_owned())?)
        }
        _ => Err(unsupported("response_format", "this form", FORMAT)),
    }
}

/// Sampling.
pub(crate) fn set_options(body: &mut Body, request: &ChatRequest) -> Result<()> {
    let options = Options {
        num_predict: request.max_output_tokens,
        temperature: request.temperature,
        top_p: request.top_p,
        stop: &request.stop,
        seed: request.seed,
    };
    if options.is_empty() { Ok(()) } else { body.set("options", options) }
}

/// Whether, and how hard, to think.
pub(crate) fn set_thinking(body: &mut Body, request: &ChatRequest) -> Result<()> {
    match request.reasoning_effort.as_deref() {
        None => {}
        Some("none" | "off" | "false") => body.set("think", false)?,
        Some("on" | "true") => body.set("think", true)?,
        Some(effort) => body.set("think", effort)?,
    }
    match request.reasoning_budget_tokens {
        None => Ok(()),
        Some(0) => body.set("think", false),
        Some(_) => Err(unsupported("reasoning_budget_tokens", "a budget (say reasoning_effort)", FORMAT)),
    }
}

#[derive(Serialize)]
struct Options<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    num_predict: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
}

impl Options<'_> {
    fn is_empty(&self) -> bool {
        self.num_predict.is_none()
            && self.temperature.is_none()
            && self.top_p.is_none()
            && self.stop.is_empty()
            && self.seed.is_none()
    }
}

fn set_tools(body: &mut Body, request: &ChatRequest) -> Result<()> {
    match &request.tool_choice {
        ToolChoice::Auto => {}
        ToolChoice::None => return Ok(()),
        _ => return Err(unsupported("tool_choice", "a demand for tools", FORMAT)),
    }
    if request.tools.is_empty() {
        return Ok(());
    }
    if request.parallel_tool_calls == Some(false) {
        return Err(unsupported("parallel_tool_calls", "a ban on parallel calls", FORMAT));
    }
    body.set("tools", function_tools(&request.tools, StrictMode::OpenAi)?)
}

#[derive(Serialize, Default)]
struct WireMessage<'a> {
    role: &'static str,
    content: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    thinking: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Serialize)]
struct WireCall<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    function: CalledFunction<'a>,
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    name: &'a str,
    arguments: &'a RawValue,
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
    let mut results = 0;
    for (number, part) in message.parts.iter().enumerate() {
        let place = || format!("messages[{position}].parts[{number}]");
        match (message.role, part) {
            (Role::User | Role::Tool, Part::ToolResult(result)) => {
                results += 1;
                let lead = if result.is_error { "Error: " } else { "" };
                wire.push(WireMessage {
                    role: "tool",
                    content: format!("{lead}{}", result.content),
                    tool_name: Some(result.name.as_str()).filter(|name| !name.is_empty()),
                    tool_call_id: Some(result.call_id.as_str()).filter(|id| !id.is_empty()),
                    ..WireMessage::default()
                });
            }
            (Role::Tool, _) => {
                return Err(invalid(format!("{}: a tool's message holds tool results only", place())));
            }
            (_, Part::Text(text)) => said.content.push_str(text),
            (Role::User, Part::Image(media)) => {
                let MediaSource::Bytes(bytes) = &media.source else {
                    return Err(unsupported(place(), "a picture by address or file id", FORMAT));
                };
                said.images.push(base64(bytes));
            }
            (Role::Assistant, Part::Reasoning(thoughts)) => said.thinking.push_str(&thoughts.text),
            (Role::Assistant, Part::Refusal(text)) => said.content.push_str(text),
            (Role::Assistant, Part::Opaque(_)) => {}
            (Role::Assistant, Part::ToolCall(call)) => said.tool_calls.push(WireCall {
                id: &call.id,
                function: CalledFunction {
                    name: &call.name,
                    arguments: arguments(&call.arguments, &place())?,
                },
            }),
            _ => return Err(unsupported(place(), "such a part in a message of this role", FORMAT)),
        }
    }
    if results == 0 || results < message.parts.len() {
        wire.push(said);
    }
    Ok(())
}
