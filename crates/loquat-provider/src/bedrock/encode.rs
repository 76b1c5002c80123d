//! A request into the body of `POST model/MODEL/converse-stream`, or `…/converse`.
//!
//! Left out: a `seed`, which the format does not have; thoughts without their seal and texts of white space alone, which it
//! refuses. Where no tool may be called, calls and results of before are said in words: the format takes them as such only beside
//! tools. How to think is said where Anthropic's models look for it.

use std::borrow::Cow;

use loquat_core::{
    ChatRequest, Media, MediaSource, Message, Part, ResponseFormat, Result, Role, Tool, ToolChoice,
};
use serde::Serialize;
use serde_json::{json, value::RawValue};

use super::decode::OPAQUE;
use crate::{
    Encoded, claude,
    encode::{
        Body, arguments, base64, check, checked, escaped, has_tools, invalid, media_type, no_logprobs,
        one_choice, parameters, said, unsupported,
    },
    seal::Family,
};

const FORMAT: &str = "the Converse format";
/// Covers all that stands before it.
const POINT: Block<'static> = Block::CachePoint { r#type: "default" };

pub(super) fn encode(request: &ChatRequest, model: &str) -> Result<Encoded> {
    check(request, model)?;
    one_choice(request, FORMAT)?;
    no_logprobs(request, FORMAT)?;
    if request.response_format != ResponseFormat::Text {
        return Err(unsupported("response_format", "a form of the answer", FORMAT));
    }
    if request.reasoning_effort.is_some() && claude::is_other(model) {
        return Err(unsupported("reasoning_effort", "an effort to this model", FORMAT));
    }
    let thinking = claude::thinking(request, model);
    let sampling = claude::sampling(request, &thinking, model, FORMAT)?;
    let mut body = Body::default();
    let (mut system, mut messages) = messages(request)?;
    if request.cache.marks_system() && !system.is_empty() {
        system.push(POINT);
    }
    if request.cache.keep
        && let Some(last) = messages.last_mut()
        && !matches!(last.content.last(), Some(Block::CachePoint { .. }))
    {
        last.content.push(POINT);
    }
    if messages.is_empty() {
        return Err(invalid("messages: there are none besides those of the system".to_owned()));
    }
    body.set("messages", messages)?;
    if !system.is_empty() {
        body.set("system", system)?;
    }
    let mut config = Body::default();
    config.set_some("maxTokens", request.max_output_tokens)?;
    config.set_some("temperature", sampling.temperature)?;
    config.set_some("topP", sampling.top_p)?;
    if !request.stop.is_empty() {
        config.set("stopSequences", &request.stop)?;
    }
    if !config.is_empty() {
        body.set("inferenceConfig", config.into_raw()?)?;
    }
    set_tools(&mut body, request)?;
    let mut fields = Body::default();
    fields.set_some("thinking", thinking.mode)?;
    fields.set_some("output_config", thinking.effort.map(|effort| json!({"effort": effort})))?;
    if !fields.is_empty() {
        body.set("additionalModelRequestFields", fields.into_raw()?)?;
    }
    let method = if request.stream { "converse-stream" } else { "converse" };
    body.finish(&format!("model/{}/{method}", escaped(model)), request)
}

/// Whether the model may call tools. The format has no word for tools that may not be called.
fn offers_tools(request: &ChatRequest) -> bool {
    !request.tools.is_empty() && request.tool_choice != ToolChoice::None
}

fn set_tools(body: &mut Body, request: &ChatRequest) -> Result<()> {
    if !has_tools(request)? || !offers_tools(request) {
        return Ok(());
    }
    if request.parallel_tool_calls == Some(false) {
        return Err(unsupported("parallel_tool_calls", "a ban on parallel calls", FORMAT));
    }
    let mut tools = Vec::with_capacity(request.tools.len());
    for (position, tool) in request.tools.iter().enumerate() {
        let Tool { name, description, .. } = tool;
        let input_schema = InputSchema { json: parameters(tool, position)? };
        tools.push(WireTool { tool_spec: ToolSpec { name, description, input_schema } });
    }
    let mut config = Body::default();
    config.set("tools", tools)?;
    match &request.tool_choice {
        ToolChoice::Auto => {}
        ToolChoice::Required => config.set("toolChoice", json!({"any": {}}))?,
        ToolChoice::Tool(name) => config.set("toolChoice", json!({"tool": {"name": name}}))?,
        _ => return Err(unsupported("tool_choice", "this choice", FORMAT)),
    }
    body.set("toolConfig", config.into_raw()?)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireTool<'a> {
    tool_spec: ToolSpec<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolSpec<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    input_schema: InputSchema<'a>,
}

#[derive(Serialize)]
struct InputSchema<'a> {
    json: &'a RawValue,
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Block<'a> {
    Text(Cow<'a, str>),
    Image {
        format: &'a str,
        source: Source,
    },
    Document {
        format: &'a str,
        name: String,
        source: Source,
    },
    #[serde(rename_all = "camelCase")]
    ToolUse {
        tool_use_id: &'a str,
        name: &'a str,
        input: &'a RawValue,
    },
    #[serde(rename_all = "camelCase")]
    ToolResult {
        tool_use_id: &'a str,
        content: [ResultText<'a>; 1],
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<&'static str>,
    },
    CachePoint {
        r#type: &'static str,
    },
    ReasoningContent(Thought<'a>),
    #[serde(untagged)]
    Opaque(&'a RawValue),
}

#[derive(Serialize)]
struct Source {
    bytes: String,
}

#[derive(Serialize)]
struct ResultText<'a> {
    text: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Thought<'a> {
    ReasoningText { text: &'a str, signature: &'a str },
    RedactedContent(&'a str),
}

/// The system's blocks, and the conversation with neighbours of one role merged.
fn messages(request: &ChatRequest) -> Result<(Vec<Block<'_>>, Vec<WireMessage<'_>>)> {
    let mut system = Vec::new();
    let mut wire: Vec<WireMessage<'_>> = Vec::new();
    let mut names = Names::default();
    let in_words = !offers_tools(request);
    for (position, message) in request.messages.iter().enumerate() {
        let role = match message.role {
            Role::System => {
                blocks(message, position, in_words, &mut names, &mut system)?;
                continue;
            }
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
            _ => return Err(unsupported(format!("messages[{position}].role"), "this role", FORMAT)),
        };
        let mut content = Vec::with_capacity(message.parts.len());
        blocks(message, position, in_words, &mut names, &mut content)?;
        if request.cache.is_marked(position) && !content.is_empty() {
            content.push(POINT);
        }
        match wire.last_mut() {
            Some(last) if last.role == role => last.content.append(&mut content),
            _ if content.is_empty() => {}
            _ => wire.push(WireMessage { role, content }),
        }
    }
    Ok((system, wire))
}

fn blocks<'a>(
    message: &'a Message,
    position: usize,
    in_words: bool,
    names: &mut Names,
    into: &mut Vec<Block<'a>>,
) -> Result<()> {
    for (number, part) in message.parts.iter().enumerate() {
        let place = || format!("messages[{position}].parts[{number}]");
        into.push(match (message.role, part) {
            (_, Part::Text(text) | Part::Refusal(text)) if text.trim().is_empty() => continue,
            (_, Part::Text(text)) | (Role::Assistant, Part::Refusal(text)) => Block::Text(text.into()),
            (Role::User | Role::Assistant, Part::Image(media)) => {
                let (format, source) = file(media, "image/", &place())?;
                Block::Image { format, source }
            }
            (Role::User, Part::File(media)) => {
                let (format, source) = file(media, "", &place())?;
                Block::Document { format, name: names.next(media.name.as_deref()), source }
            }
            (Role::User | Role::Tool, Part::ToolResult(result)) if in_words => {
                let what = if result.is_error { "Error" } else { "Result" };
                Block::Text(format!("[{what} of {}: {}]", result.name, said(&result.content)).into())
            }
            (Role::Assistant, Part::ToolCall(call)) if in_words => {
                let arguments = arguments(&call.arguments, &place())?;
                Block::Text(format!("[Called {} with {}]", call.name, arguments.get()).into())
            }
            (Role::User | Role::Tool, Part::ToolResult(result)) => Block::ToolResult {
                tool_use_id: &result.call_id,
                content: [ResultText { text: said(&result.content) }],
                status: result.is_error.then_some("error"),
            },
            (Role::Assistant, Part::ToolCall(call)) => Block::ToolUse {
                tool_use_id: &call.id,
                name: &call.name,
                input: arguments(&call.arguments, &place())?,
            },
            (Role::Assistant, Part::Reasoning(thoughts)) => match Family::Anthropic.own(thoughts) {
                Some(data) if thoughts.redacted => Block::ReasoningContent(Thought::RedactedContent(data)),
                Some(signature) => {
                    Block::ReasoningContent(Thought::ReasoningText { text: &thoughts.text, signature })
                }
                None => continue,
            },
            (Role::Assistant, Part::Opaque(opaque)) if opaque.format == OPAQUE => {
                Block::Opaque(checked(&opaque.json, place)?)
            }
            (Role::Assistant, Part::Opaque(_)) => continue,
            _ => return Err(unsupported(place(), "such a part in a message of this role", FORMAT)),
        });
    }
    Ok(())
}

/// The names that documents have had.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    /// What is left of a name in letters, digits, single spaces, hyphens and brackets, which is all that there may be, with a
    /// number where another document of the conversation has it already.
    fn next(&mut self, name: Option<&str>) -> String {
        // As many as the format takes, less the number.
        const MAX_LEN: usize = 190;
        let name = name.unwrap_or_default();
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let is_fit = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '(' | ')' | '[' | ']');
        let kept: String = stem.chars().map(|c| if is_fit(&c) { c } else { ' ' }).take(MAX_LEN).collect();
        let words: Vec<&str> = kept.split_whitespace().collect();
        let base = if words.is_empty() { "file".to_owned() } else { words.join(" ") };
        let mut name = base.clone();
        let mut number = 2_u32;
        while self.0.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
            name = format!("{base} {number}");
            number += 1;
        }
        self.0.push(name.clone());
        name
    }
}

/// The format's own name for a file's kind, and its bytes.
fn file<'a>(media: &'a Media, prefix: &str, place: &str) -> Result<(&'a str, Source)> {
    let MediaSource::Bytes(bytes) = &media.source else {
        return Err(unsupported(place, "a file by address or id", FORMAT));
    };
    let kind = media_type(media, place)?;
    let subtype = kind.rsplit('/').next().unwrap_or(kind);
    if !kind.starts_with(prefix) {
        return Err(invalid(format!("{place}: {kind} is no {}", prefix.trim_end_matches('/'))));
    }
    let format = match subtype {
        "jpg" => "jpeg",
        "plain" => "txt",
        "markdown" => "md",
        "msword" => "doc",
        "vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "vnd.ms-excel" => "xls",
        "vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        other => other,
    };
    Ok((format, Source { bytes: base64(bytes) }))
}
