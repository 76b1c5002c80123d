//! A request into the body of `POST interactions`: the conversation as steps, whole, whatever the server remembers.

use loquat_core::{
    ChatRequest, Media, MediaSource, Message, Part, ResponseFormat, Result, Role, Tool, ToolChoice,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::decode::OPAQUE;
use crate::{
    Encoded,
    encode::{
        Body, arguments, base64, check, checked, has_tools, invalid, media_type, no_logprobs, one_choice,
        parameters, unsupported,
    },
    seal::Family,
};

const FORMAT: &str = "the Gemini interactions format";

pub(super) fn encode(request: &ChatRequest, model: &str) -> Result<Encoded> {
    check(request, model)?;
    one_choice(request, FORMAT)?;
    no_logprobs(request, FORMAT)?;
    let mut body = Body::default();
    body.set("model", model)?;
    let (system, steps) = steps(request)?;
    if steps.is_empty() {
        return Err(invalid("messages: there are none besides those of the system".to_owned()));
    }
    body.set("input", steps)?;
    if !system.is_empty() {
        body.set("system_instruction", system.join("\n\n"))?;
    }
    if has_tools(request)? {
        let mut tools = Vec::with_capacity(request.tools.len());
        for (position, tool) in request.tools.iter().enumerate() {
            let Tool { name, description, .. } = tool;
            let parameters = parameters(tool, position)?;
            tools.push(WireTool { kind: "function", name, description, parameters });
        }
        body.set("tools", tools)?;
        if request.parallel_tool_calls == Some(false) {
            return Err(unsupported("parallel_tool_calls", "a ban on parallel calls", FORMAT));
        }
    }
    match &request.response_format {
        ResponseFormat::Text => {}
        ResponseFormat::JsonObject => body.set("response_mime_type", "application/json")?,
        ResponseFormat::JsonSchema { schema, .. } => {
            body.set("response_mime_type", "application/json")?;
            body.set("response_format", checked(schema, || "response_format.schema".to_owned())?)?;
        }
        _ => return Err(unsupported("response_format", "this form", FORMAT)),
    }
    set_generation(&mut body, request)?;
    body.set("stream", request.stream)?;
    body.finish("interactions", request)
}

fn set_generation(body: &mut Body, request: &ChatRequest) -> Result<()> {
    let mut config = Body::default();
    config.set_some("max_output_tokens", request.max_output_tokens)?;
    config.set_some("temperature", request.temperature)?;
    config.set_some("top_p", request.top_p)?;
    if !request.stop.is_empty() {
        config.set("stop_sequences", &request.stop)?;
    }
    config.set_some("seed", request.seed)?;
    if request.reasoning_budget_tokens.is_some() {
        return Err(unsupported("reasoning_budget_tokens", "a budget (say reasoning_effort)", FORMAT));
    }
    if let Some(effort) = &request.reasoning_effort {
        config.set("thinking_level", effort)?;
        config.set("thinking_summaries", "auto")?;
    }
    match &request.tool_choice {
        ToolChoice::Auto => {}
        ToolChoice::None => config.set("tool_choice", "none")?,
        ToolChoice::Required => config.set("tool_choice", "any")?,
        _ => return Err(unsupported("tool_choice", "a demand for one tool", FORMAT)),
    }
    if config.is_empty() { Ok(()) } else { body.set("generation_config", config.into_raw()?) }
}

#[derive(Serialize)]
struct WireTool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: &'a RawValue,
}

/// A step. A raw member keeps these from being one tagged enum.
#[derive(Serialize)]
#[serde(untagged)]
enum Step<'a> {
    Said {
        r#type: &'static str,
        content: Vec<Content<'a>>,
    },
    Thought {
        r#type: &'static str,
        signature: &'a str,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        summary: Vec<Content<'a>>,
    },
    Call {
        r#type: &'static str,
        id: &'a str,
        name: &'a str,
        arguments: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        signature: Option<&'a str>,
    },
    Result {
        r#type: &'static str,
        call_id: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        name: &'a str,
        result: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
    Opaque(&'a RawValue),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content<'a> {
    Text { text: &'a str },
    Image(File<'a>),
    Audio(File<'a>),
    Document(File<'a>),
}

#[derive(Serialize)]
struct File<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    mime_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<&'a str>,
}

/// The system's texts, and the steps.
fn steps(request: &ChatRequest) -> Result<(Vec<String>, Vec<Step<'_>>)> {
    let (mut system, mut steps) = (Vec::new(), Vec::new());
    for (position, message) in request.messages.iter().enumerate() {
        match message.role {
            Role::System => system.push(message.text()),
            Role::User | Role::Tool | Role::Assistant => one(message, position, &mut steps)?,
            _ => return Err(unsupported(format!("messages[{position}].role"), "this role", FORMAT)),
        }
    }
    Ok((system, steps))
}

fn one<'a>(message: &'a Message, position: usize, steps: &mut Vec<Step<'a>>) -> Result<()> {
    let r#type = if message.role == Role::Assistant { "model_output" } else { "user_input" };
    let mut content = Vec::new();
    for (number, part) in message.parts.iter().enumerate() {
        let place = || format!("messages[{position}].parts[{number}]");
        let step = match (message.role, part) {
            (_, Part::Text(text) | Part::Refusal(text)) => {
                content.push(Content::Text { text });
                continue;
            }
            (_, Part::Image(media)) => {
                content.push(Content::Image(file(media, &place())?));
                continue;
            }
            (_, Part::Audio(media)) => {
                content.push(Content::Audio(file(media, &place())?));
                continue;
            }
            (_, Part::File(media)) => {
                content.push(Content::Document(file(media, &place())?));
                continue;
            }
            (Role::User | Role::Tool, Part::ToolResult(result)) => Step::Result {
                r#type: "function_result",
                call_id: &result.call_id,
                name: &result.name,
                result: &result.content,
                is_error: result.is_error,
            },
            (Role::Assistant, Part::ToolCall(call)) => Step::Call {
                r#type: "function_call",
                id: &call.id,
                name: &call.name,
                arguments: arguments(&call.arguments, &place())?,
                signature: call.signature.as_deref(),
            },
            (Role::Assistant, Part::Reasoning(thoughts)) => {
                // Without its seal, or under another format's, a thought is not taken back.
                let Some(signature) = Family::Google.own(thoughts) else { continue };
                let text = Some(thoughts.text.as_str()).filter(|text| !text.is_empty());
                let summary = text.map(|text| Content::Text { text }).into_iter().collect();
                Step::Thought { r#type: "thought", signature, summary }
            }
            (Role::Assistant, Part::Opaque(opaque)) if opaque.format == OPAQUE => {
                Step::Opaque(checked(&opaque.json, place)?)
            }
            (Role::Assistant, Part::Opaque(_)) => continue,
            _ => return Err(unsupported(place(), "such a part in a message of this role", FORMAT)),
        };
        if !content.is_empty() {
            steps.push(Step::Said { r#type, content: std::mem::take(&mut content) });
        }
        steps.push(step);
    }
    if !content.is_empty() {
        steps.push(Step::Said { r#type, content });
    }
    Ok(())
}

fn file<'a>(media: &'a Media, place: &str) -> Result<File<'a>> {
    Ok(match &media.source {
        MediaSource::Bytes(bytes) => {
            File { mime_type: media_type(media, place)?, data: Some(base64(bytes)), uri: None }
        }
        MediaSource::Url(uri) | MediaSource::FileId(uri) => {
            File { mime_type: &media.media_type, data: None, uri: Some(uri) }
        }
        _ => return Err(unsupported(place, "a file from there", FORMAT)),
    })
}
