//! A request into the body of `POST services/aigc/…/generation`.
//!
//! Messages are those of OpenAI's chat, except that pictures and sound are written their own way and go to another path.

use http::{HeaderName, HeaderValue};
use loquat_core::{ChatRequest, Part, ResponseFormat, Result, ToolChoice};
use serde_json::{Value, json};

use super::DashScope;
use crate::{
    Encoded, StrictMode,
    encode::{Body, check, function_tools, has_tools, invalid, thought_tokens, unsupported},
    openai::wire_messages,
};

const FORMAT: &str = "the DashScope format";
const STREAM_HEADER: HeaderName = HeaderName::from_static("x-dashscope-sse");

pub(super) fn encode(format: &DashScope, request: &ChatRequest, model: &str) -> Result<Encoded> {
    check(request, model)?;
    let has_media = request
        .messages
        .iter()
        .flat_map(|message| &message.parts)
        .any(|part| matches!(part, Part::Image(_) | Part::Audio(_) | Part::File(_)));
    let mut body = Body::default();
    body.set("model", model)?;
    let mut messages = wire_messages(request)?;
    if has_media {
        messages.iter_mut().try_for_each(own_parts)?;
    }
    body.set("input", json!({"messages": messages}))?;

    let mut parameters = Body::default();
    parameters.set("result_format", "message")?;
    if request.stream {
        parameters.set("incremental_output", format.incremental)?;
    }
    parameters.set_some("max_tokens", request.max_output_tokens)?;
    parameters.set_some("temperature", request.temperature)?;
    parameters.set_some("top_p", request.top_p)?;
    if !request.stop.is_empty() {
        parameters.set("stop", &request.stop)?;
    }
    parameters.set_some("seed", request.seed)?;
    parameters.set_some("n", request.choices)?;
    if let Some(others) = request.top_logprobs {
        parameters.set("logprobs", true)?;
        parameters.set("top_logprobs", others)?;
    }
    if has_tools(request)? {
        parameters.set("tools", function_tools(&request.tools, StrictMode::OpenAi)?)?;
        match &request.tool_choice {
            ToolChoice::Auto => {}
            ToolChoice::None => parameters.set("tool_choice", "none")?,
            ToolChoice::Tool(name) => {
                parameters.set("tool_choice", json!({"type": "function", "function": {"name": name}}))?;
            }
            _ => return Err(unsupported("tool_choice", "a demand for any tool", FORMAT)),
        }
        parameters.set_some("parallel_tool_calls", request.parallel_tool_calls)?;
    }
    match &request.response_format {
        ResponseFormat::Text => {}
        ResponseFormat::JsonObject => parameters.set("response_format", json!({"type": "json_object"}))?,
        _ => return Err(unsupported("response_format", "a schema", FORMAT)),
    }
    match request.reasoning_effort.as_deref() {
        None => {}
        Some("none" | "off") => parameters.set("enable_thinking", false)?,
        Some("on") => parameters.set("enable_thinking", true)?,
        Some(_) => {
            return Err(unsupported("reasoning_effort", "an effort (say reasoning_budget_tokens)", FORMAT));
        }
    }
    if let Some(budget) = thought_tokens(request) {
        parameters.set("enable_thinking", budget > 0)?;
        if budget > 0 {
            parameters.set("thinking_budget", budget)?;
        }
    }
    body.set("parameters", parameters.into_raw()?)?;
    let kind = if has_media { "multimodal" } else { "text" };
    let mut encoded = body.finish(&format!("services/aigc/{kind}-generation/generation"), request)?;
    if request.stream {
        encoded.headers.entry(STREAM_HEADER).or_insert(HeaderValue::from_static("enable"));
    }
    Ok(encoded)
}

/// OpenAI's parts of a message into DashScope's.
fn own_parts(message: &mut Value) -> Result<()> {
    let Some(content) = message.get_mut("content") else { return Ok(()) };
    if let Value::String(text) = content {
        *content = json!([{"text": text}]);
        return Ok(());
    }
    for part in content.as_array_mut().into_iter().flatten() {
        *part = match part.get("type").and_then(Value::as_str) {
            Some("text") => json!({"text": part["text"]}),
            Some("image_url") => json!({"image": part["image_url"]["url"]}),
            Some("input_audio") => {
                let (data, format) = (&part["input_audio"]["data"], &part["input_audio"]["format"]);
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                json!({"audio": format!("data:audio/{};base64,{}", text(format), text(data))})
            }
            _ => return Err(invalid(format!("messages: {FORMAT} cannot carry such a part"))),
        };
    }
    Ok(())
}
