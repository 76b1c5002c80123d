//! A request into the body of `POST messages`.
//!
//! System messages go to the top-level `system`, wherever in the conversation they stood. Results of tools and the
//! user's words that follow them are one message, as the format demands. Left out: a `seed`, which the format does not
//! have; thoughts without Anthropic's signature, which it refuses; texts of white space alone, which it refuses likewise.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue};
use loquat_core::{
    ChatRequest, Media, MediaSource, Message, Part, ResponseFormat, Result, Role, Tool, ToolChoice,
    ToolResult,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{AnthropicMessages, AnthropicPlace, decode::OPAQUE, schema::fitted};
use crate::{
    Encoded, claude,
    encode::{
        Body, arguments, base64, check, checked, escaped, has_tools, invalid, media_type, no_logprobs,
        one_choice, parameters, path_segment, said, unsupported,
    },
    seal::Family,
};

pub(super) const VERSION_HEADER: HeaderName = HeaderName::from_static("anthropic-version");
pub(super) const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

pub(super) const FORMAT: &str = "the Anthropic Messages format";

pub(super) fn encode(format: &AnthropicMessages, request: &ChatRequest, model: &str) -> Result<Encoded> {
    check(request, model)?;
    one_choice(request, FORMAT)?;
    no_logprobs(request, FORMAT)?;
    let mut body = Body::default();
    match format.place {
        AnthropicPlace::Anthropic => body.set("model", model)?,
        AnthropicPlace::Bedrock => body.set("anthropic_version", "bedrock-2023-05-31")?,
        AnthropicPlace::Vertex => body.set("anthropic_version", "vertex-2023-10-16")?,
    }
    let thinking = claude::thinking(request, model);
    let sampling = claude::sampling(request, &thinking, model, FORMAT)?;
    let max_tokens = request
        .max_output_tokens
        .unwrap_or_else(|| format.default_max_tokens.saturating_add(thinking.tokens));
    body.set("max_tokens", max_tokens)?;
    let (mut system, mut messages) = messages(request)?;
    if request.cache.marks_system() {
        // The mark covers all that stands before it, tools included.
        mark(system.last_mut(), request.cache.long)?;
    }
    if request.cache.keep {
        mark(messages.last_mut().and_then(|message| message.content.last_mut()), request.cache.long)?;
    }
    if !system.is_empty() {
        body.set("system", system)?;
    }
    if messages.is_empty() {
        return Err(invalid("messages: there are none besides those of the system".to_owned()));
    }
    body.set("messages", messages)?;
    set_tools(&mut body, request)?;
    body.set_some("thinking", thinking.mode)?;
    let output_format = match &request.response_format {
        ResponseFormat::Text => None,
        ResponseFormat::JsonSchema { schema, .. } => {
            let schema = checked(schema, || "response_format.schema".to_owned())?;
            Some(OutputFormat { kind: "json_schema", schema: fitted(schema)? })
        }
        _ => return Err(unsupported("response_format", "JSON without a schema", FORMAT)),
    };
    let effort = thinking.effort;
    if output_format.is_some() || effort.is_some() {
        body.set("output_config", OutputConfig { effort, format: output_format })?;
    }
    body.set_some("temperature", sampling.temperature)?;
    body.set_some("top_p", sampling.top_p)?;
    if !request.stop.is_empty() {
        body.set("stop_sequences", &request.stop)?;
    }
    if format.place != AnthropicPlace::Bedrock {
        body.set("stream", request.stream)?;
    }
    match (format.place, request.stream) {
        (AnthropicPlace::Anthropic, _) => {
            let mut encoded = body.finish("messages", request)?;
            encoded.headers.entry(VERSION_HEADER).or_insert(VERSION);
            Ok(encoded)
        }
        (AnthropicPlace::Bedrock, true) => {
            body.finish(&format!("model/{}/invoke-with-response-stream", escaped(model)), request)
        }
        (AnthropicPlace::Bedrock, false) => body.finish(&format!("model/{}/invoke", escaped(model)), request),
        (AnthropicPlace::Vertex, true) => {
            body.finish(&format!("models/{}:streamRawPredict", path_segment(model)), request)
        }
        (AnthropicPlace::Vertex, false) => {
            body.finish(&format!("models/{}:rawPredict", path_segment(model)), request)
        }
    }
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<OutputFormat>,
}

#[derive(Serialize)]
struct OutputFormat {
    #[serde(rename = "type")]
    kind: &'static str,
    schema: Box<RawValue>,
}

#[derive(Serialize)]
struct WireTool<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    input_schema: Cow<'a, RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
struct WireChoice<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disable_parallel_tool_use: Option<bool>,
}

fn set_tools(body: &mut Body, request: &ChatRequest) -> Result<()> {
    if !has_tools(request)? {
        return Ok(());
    }
    let mut tools = Vec::with_capacity(request.tools.len());
    for (position, tool) in request.tools.iter().enumerate() {
        let Tool { name, description, strict, .. } = tool;
        let schema = parameters(tool, position)?;
        // What the format takes for the form of an answer it takes of a strict tool; of another tool nothing is said of that.
        let (input_schema, strict) = match strict.map(|strict| strict.then(|| fitted(schema))) {
            Some(Some(Ok(closed))) => (Cow::Owned(closed), Some(true)),
            Some(Some(Err(_))) => (Cow::Borrowed(schema), None),
            _ => (Cow::Borrowed(schema), *strict),
        };
        tools.push(WireTool { name, description, input_schema, strict });
    }
    body.set("tools", tools)?;
    let disable = request.parallel_tool_calls.map(|parallel| !parallel);
    let (kind, name) = match &request.tool_choice {
        ToolChoice::Auto if disable.is_none() => return Ok(()),
        ToolChoice::Auto => ("auto", None),
        ToolChoice::Required => ("any", None),
        ToolChoice::Tool(name) => ("tool", Some(name.as_str())),
        ToolChoice::None => ("none", None),
        _ => return Err(unsupported("tool_choice", "this choice", FORMAT)),
    };
    let disable_parallel_tool_use = disable.filter(|_| kind != "none");
    body.set("tool_choice", WireChoice { kind, name, disable_parallel_tool_use })
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        text: &'a str,
    },
    Image {
        source: Source<'a>,
    },
    Document {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: &'a str,
        input: &'a RawValue,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        content: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
    #[serde(untagged)]
    Opaque(&'a RawValue),
    #[serde(untagged)]
    Marked(Box<RawValue>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Source<'a> {
    Base64 { media_type: &'a str, data: String },
    Text { media_type: &'static str, data: &'a str },
    Url { url: &'a str },
    File { file_id: &'a str },
}

/// The system's blocks, and the conversation with neighbours of one role merged.
fn messages(request: &ChatRequest) -> Result<(Vec<Block<'_>>, Vec<WireMessage<'_>>)> {
    let mut system = Vec::new();
    let mut wire: Vec<WireMessage<'_>> = Vec::new();
    for (position, message) in request.messages.iter().enumerate() {
        let role = match message.role {
            Role::System => {
                blocks(message, position, &mut system)?;
                continue;
            }
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
            _ => return Err(unsupported(format!("messages[{position}].role"), "this role", FORMAT)),
        };
        let mut content = Vec::with_capacity(message.parts.len());
        blocks(message, position, &mut content)?;
        if request.cache.is_marked(position) {
            mark(content.last_mut(), request.cache.long)?;
        }
        match wire.last_mut() {
            Some(last) if last.role == role => last.content.append(&mut content),
            _ if content.is_empty() => {}
            _ => wire.push(WireMessage { role, content }),
        }
    }
    Ok((system, wire))
}

fn blocks<'a>(message: &'a Message, position: usize, into: &mut Vec<Block<'a>>) -> Result<()> {
    for (number, part) in message.parts.iter().enumerate() {
        let place = || format!("messages[{position}].parts[{number}]");
        let block = match (message.role, part) {
            (_, Part::Text(text) | Part::Refusal(text)) if text.trim().is_empty() => continue,
            (_, Part::Text(text)) | (Role::Assistant, Part::Refusal(text)) => Block::Text { text },
            (Role::User, Part::Image(media)) => Block::Image { source: image(media, &place())? },
            (Role::User, Part::File(media)) => {
                Block::Document { source: document(media, &place())?, title: media.name.as_deref() }
            }
            (Role::User | Role::Tool, Part::ToolResult(result)) => tool_result(result),
            (Role::Assistant, Part::ToolCall(call)) => Block::ToolUse {
                id: call_id(&call.id),
                name: &call.name,
                input: arguments(&call.arguments, &place())?,
            },
            (Role::Assistant, Part::Reasoning(thoughts)) => {
                match (Family::Anthropic.own(thoughts), thoughts.redacted) {
                    (Some(data), true) => Block::RedactedThinking { data },
                    (Some(signature), false) => Block::Thinking { thinking: &thoughts.text, signature },
                    (None, _) => continue,
                }
            }
            (Role::Assistant, Part::Opaque(opaque)) if opaque.format == OPAQUE => {
                Block::Opaque(checked(&opaque.json, place)?)
            }
            (Role::Assistant, Part::Opaque(_)) => continue,
            _ => return Err(unsupported(place(), "such a part in a message of this role", FORMAT)),
        };
        into.push(block);
    }
    Ok(())
}

/// Asks for all up to and with that block to be kept, once. Thoughts cannot be marked, and are not.
fn mark(block: Option<&mut Block<'_>>, long: bool) -> Result<()> {
    let is_free = |block: &&mut Block<'_>| {
        !matches!(block, Block::Thinking { .. } | Block::RedactedThinking { .. } | Block::Marked(_))
    };
    let Some(block) = block.filter(is_free) else { return Ok(()) };
    let unwritten = |error| invalid("a block cannot be written as JSON".to_owned()).with_source(error);
    let mut text = serde_json::to_string(block).map_err(unwritten)?;
    if text.pop() == Some('}') {
        let lasting = if long { r#","ttl":"1h""# } else { "" };
        text.push_str(&format!(r#","cache_control":{{"type":"ephemeral"{lasting}}}}}"#));
        *block = Block::Marked(RawValue::from_string(text).map_err(unwritten)?);
    }
    Ok(())
}

fn tool_result(result: &ToolResult) -> Block<'_> {
    let tool_use_id = call_id(&result.call_id);
    // Of an error there must be something.
    let content = if result.is_error { said(&result.content) } else { &result.content };
    Block::ToolResult { tool_use_id, content, is_error: result.is_error }
}

/// A call's name as the format takes it, `^[a-zA-Z0-9_-]+$`: others' names have dots and colons in them.
fn call_id(id: &str) -> Cow<'_, str> {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if id.chars().all(is_fit) {
        return id.into();
    }
    id.chars().map(|c| if is_fit(c) { c } else { '_' }).collect::<String>().into()
}

fn image<'a>(media: &'a Media, place: &str) -> Result<Source<'a>> {
    Ok(match &media.source {
        MediaSource::Bytes(bytes) => {
            Source::Base64 { media_type: media_type(media, place)?, data: base64(bytes) }
        }
        MediaSource::Url(url) => Source::Url { url },
        MediaSource::FileId(file_id) => Source::File { file_id },
        _ => return Err(unsupported(place, "a picture from there", FORMAT)),
    })
}

fn document<'a>(media: &'a Media, place: &str) -> Result<Source<'a>> {
    let MediaSource::Bytes(bytes) = &media.source else { return image(media, place) };
    let kind = media_type(media, place)?;
    // Of text there is one kind only, and it goes as text.
    if kind.starts_with("text/") {
        let data =
            std::str::from_utf8(bytes).map_err(|_| invalid(format!("{place}: the text is not UTF-8")))?;
        return Ok(Source::Text { media_type: "text/plain", data });
    }
    image(media, place)
}
