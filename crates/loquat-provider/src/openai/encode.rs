//! A request into the body of `POST chat/completions`.
//!
//! Left out where the format has no place: a `seed` never, reasoning of earlier turns unless the server takes it back
//! ([`OpenAiChat::reasoning_field`]), and pictures and sound that the model made, of which the words are there. A failed tool's result says so in its text, as the format has no flag for it.

use std::borrow::Cow;

use loquat_core::{
    ChatRequest, Media, MediaSource, Message, Part, Reasoning, ResponseFormat, Result, Role, ToolCall,
    ToolChoice, ToolResult,
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Value, json, value::RawValue};

use super::{BudgetField, OPAQUE, OpenAiChat};
use crate::{
    Encoded, Format as _,
    encode::{
        Body, Sampling, base64, check, checked, data_url, function_tools, has_tools, invalid, media_type,
        thought_tokens, unsupported,
    },
    gpt,
    seal::Family,
};

const FORMAT: &str = "the chat completions format";

pub(super) fn encode(format: &OpenAiChat, request: &ChatRequest, model: &str) -> Result<Encoded> {
    check(request, model)?;
    let mut body = Body::default();
    body.set("model", model)?;
    body.set("messages", messages(format, request)?)?;
    set_tools(format, &mut body, request)?;
    match &request.response_format {
        ResponseFormat::Text => {}
        ResponseFormat::JsonObject => body.set("response_format", json!({"type": "json_object"}))?,
        ResponseFormat::JsonSchema { .. } if !format.json_schema => {
            return Err(unsupported("response_format", "a schema to this server", FORMAT));
        }
        ResponseFormat::JsonSchema { name, schema } => {
            let schema = checked(schema, || "response_format.schema".to_owned())?;
            // Asked for by schema, an answer is to follow it and not merely to be inspired by it.
            let json_schema = JsonSchema { name, schema, strict: format.strict.takes(schema) };
            body.set("response_format", ResponseSchema { kind: "json_schema", json_schema })?;
        }
        _ => return Err(unsupported("response_format", "this form", FORMAT)),
    }
    body.set_some(format.max_tokens_field, request.max_output_tokens)?;
    let sampling = match format.refuses_sampling {
        true => gpt::sampling(request, model, FORMAT)?,
        false => Sampling::of(request),
    };
    body.set_some("temperature", sampling.temperature)?;
    body.set_some("top_p", sampling.top_p)?;
    if !request.stop.is_empty() {
        body.set("stop", &request.stop)?;
    }
    body.set_some(format.seed_field, request.seed)?;
    body.set_some("n", request.choices)?;
    if let Some(others) = request.top_logprobs {
        body.set("logprobs", true)?;
        body.set("top_logprobs", others)?;
    }
    if format.prompt_cache {
        body.set_some("prompt_cache_key", request.cache.key.as_deref())?;
        body.set_some("prompt_cache_retention", request.cache.long.then_some("24h"))?;
    }
    match (format.budget, request.reasoning_effort.as_deref()) {
        (_, None) => {}
        (BudgetField::ThinkingBudget, Some("none" | "off")) => body.set("enable_thinking", false)?,
        (BudgetField::ThinkingBudget, Some("on")) => body.set("enable_thinking", true)?,
        // One of the two is taken, and the budget says more.
        (BudgetField::ReasoningMaxTokens, Some(_)) if request.reasoning_budget_tokens.is_some() => {}
        (_, Some(effort)) => body.set("reasoning_effort", effort)?,
    }
    if let Some(budget) = thought_tokens(request) {
        match format.budget {
            BudgetField::ThinkingBudget => {
                body.set("enable_thinking", budget > 0)?;
                if budget > 0 {
                    body.set("thinking_budget", budget)?;
                }
            }
            BudgetField::ReasoningMaxTokens if budget == 0 => {
                body.set("reasoning", json!({"effort": "none"}))?;
            }
            BudgetField::ReasoningMaxTokens => body.set("reasoning", json!({"max_tokens": budget}))?,
            BudgetField::None => {
                return Err(unsupported(
                    "reasoning_budget_tokens",
                    "a budget (say reasoning_effort)",
                    FORMAT,
                ));
            }
        }
    }
    body.set("stream", request.stream)?;
    if request.stream && format.stream_options {
        body.set("stream_options", json!({"include_usage": true}))?;
    }
    body.finish(&format.operation_path("chat/completions", model), request)
}

#[derive(Serialize)]
struct ResponseSchema<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    json_schema: JsonSchema<'a>,
}

#[derive(Serialize)]
struct JsonSchema<'a> {
    name: &'a str,
    schema: &'a RawValue,
    strict: bool,
}

fn set_tools(format: &OpenAiChat, body: &mut Body, request: &ChatRequest) -> Result<()> {
    if !has_tools(request)? {
        return Ok(());
    }
    body.set("tools", function_tools(&request.tools, format.strict)?)?;
    match &request.tool_choice {
        ToolChoice::Auto => {}
        ToolChoice::None => body.set("tool_choice", "none")?,
        ToolChoice::Required => body.set("tool_choice", format.required_choice)?,
        ToolChoice::Tool(name) => {
            body.set("tool_choice", json!({"type": "function", "function": {"name": name}}))?;
        }
        _ => return Err(unsupported("tool_choice", "this choice", FORMAT)),
    }
    body.set_some("parallel_tool_calls", request.parallel_tool_calls)
}

/// The messages as they are written, for formats that take over how OpenAI writes them.
pub(crate) fn wire_messages(request: &ChatRequest) -> Result<Vec<Value>> {
    let written = serde_json::to_value(messages(&super::DEEPSEEK_CHAT, request)?);
    match written {
        Ok(Value::Array(messages)) => Ok(messages),
        _ => Err(invalid("messages cannot be written as JSON".to_owned())),
    }
}

/// One message on the wire.
enum WireMessage<'a> {
    Said { role: &'static str, content: Content<'a> },
    Assistant(Assistant<'a>),
    Result { call_id: Cow<'a, str>, result: &'a ToolResult },
}

struct Assistant<'a> {
    content: Option<String>,
    refusal: Option<String>,
    reasoning: Option<(&'static str, String)>,
    /// The content in chunks, where there is more in it than text (Mistral).
    chunks: Vec<Chunk<'a>>,
    /// Sealed thoughts, for a server that takes them back.
    details: Vec<Value>,
    calls: Vec<WireCall<'a>>,
}

/// A piece of an assistant's content.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Chunk<'a> {
    Text {
        text: &'a str,
    },
    Thinking {
        thinking: [Thought<'a>; 1],
    },
    #[serde(untagged)]
    Opaque(&'a RawValue),
}

#[derive(Serialize)]
struct Thought<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    text: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(&'a str),
    Parts(Vec<WirePart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WirePart<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: Url<'a> },
    InputAudio { input_audio: Audio<'a> },
    File { file: File<'a> },
}

#[derive(Serialize)]
struct Url<'a> {
    url: Cow<'a, str>,
}

#[derive(Serialize)]
struct Audio<'a> {
    data: String,
    format: &'a str,
}

#[derive(Serialize)]
struct File<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_id: Option<&'a str>,
}

impl Serialize for WireMessage<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Said { role, content } => {
                map.serialize_entry("role", role)?;
                map.serialize_entry("content", content)?;
            }
            Self::Result { call_id, result } => {
                map.serialize_entry("role", "tool")?;
                map.serialize_entry("tool_call_id", call_id)?;
                if result.is_error {
                    map.serialize_entry("content", &format!("Error: {}", result.content))?;
                } else {
                    map.serialize_entry("content", &result.content)?;
                }
            }
            Self::Assistant(said) => {
                map.serialize_entry("role", "assistant")?;
                if said.chunks.iter().any(|chunk| !matches!(chunk, Chunk::Text { .. })) {
                    map.serialize_entry("content", &said.chunks)?;
                } else {
                    map.serialize_entry("content", &said.content)?;
                }
                if let Some(refusal) = &said.refusal {
                    map.serialize_entry("refusal", refusal)?;
                }
                if let Some((member, text)) = &said.reasoning {
                    map.serialize_entry(member, text)?;
                }
                if !said.details.is_empty() {
                    map.serialize_entry("reasoning_details", &said.details)?;
                }
                if !said.calls.is_empty() {
                    map.serialize_entry("tool_calls", &said.calls)?;
                }
            }
        }
        map.end()
    }
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    function: CalledFunction<'a>,
    /// Google's seal, for servers that want it back where they put it.
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<Value>,
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl<'a> WireCall<'a> {
    fn new(format: &OpenAiChat, call: &'a ToolCall) -> Self {
        // Servers that parse the arguments fail on an empty text.
        let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
        let signature = call.signature.as_ref().filter(|_| format.call_signatures);
        let extra_content = signature.map(|seal| json!({"google": {"thought_signature": seal}}));
        let function = CalledFunction { name: &call.name, arguments };
        Self { id: call_id(format, &call.id), kind: "function", function, extra_content }
    }
}

/// A call's name as the server takes it.
fn call_id<'a>(format: &OpenAiChat, id: &'a str) -> Cow<'a, str> {
    const BYTES: usize = 9;
    let is_short = id.len() == BYTES && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !format.short_call_ids || is_short {
        return id.into();
    }
    // FNV-1a, in base 36: the same name for a call and for its result.
    let fold = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = id.bytes().fold(0xcbf2_9ce4_8422_2325, fold);
    let digit = |_| {
        let digit = char::from_digit(u32::try_from(hash % 36).unwrap_or(0), 36).unwrap_or('0');
        hash /= 36;
        digit
    };
    (0..BYTES).map(digit).collect::<String>().into()
}

fn messages<'a>(format: &OpenAiChat, request: &'a ChatRequest) -> Result<Vec<WireMessage<'a>>> {
    let mut wire = Vec::with_capacity(request.messages.len());
    for (position, message) in request.messages.iter().enumerate() {
        match message.role {
            Role::System => {
                wire.push(WireMessage::Said { role: "system", content: said(message, position, true)? });
            }
            Role::User | Role::Tool => {
                let results = message.parts.iter().filter_map(|part| match part {
                    Part::ToolResult(result) => {
                        Some(WireMessage::Result { call_id: call_id(format, &result.call_id), result })
                    }
                    _ => None,
                });
                let before = wire.len();
                wire.extend(results);
                if wire.len() - before < message.parts.len() || message.parts.is_empty() {
                    if message.role == Role::Tool {
                        return Err(invalid(format!(
                            "messages[{position}]: a tool's message holds tool results only"
                        )));
                    }
                    wire.push(WireMessage::Said { role: "user", content: said(message, position, false)? });
                }
            }
            Role::Assistant => wire.push(WireMessage::Assistant(assistant(format, message, position)?)),
            _ => return Err(unsupported(format!("messages[{position}].role"), "this role", FORMAT)),
        }
    }
    Ok(wire)
}

fn said<'a>(message: &'a Message, position: usize, text_only: bool) -> Result<Content<'a>> {
    if let [Part::Text(text)] = &message.parts[..] {
        return Ok(Content::Text(text));
    }
    let mut parts = Vec::with_capacity(message.parts.len());
    for (number, part) in message.parts.iter().enumerate() {
        let place = || format!("messages[{position}].parts[{number}]");
        parts.push(match part {
            Part::Text(text) => WirePart::Text { text },
            Part::ToolResult(_) if !text_only => continue,
            Part::Image(media) if !text_only => image(media, &place())?,
            Part::Audio(media) if !text_only => audio(media, &place())?,
            Part::File(media) if !text_only => file(media, &place())?,
            _ => return Err(unsupported(place(), "such a part in a message of this role", FORMAT)),
        });
    }
    Ok(Content::Parts(parts))
}

fn image<'a>(media: &'a Media, place: &str) -> Result<WirePart<'a>> {
    let url = match &media.source {
        MediaSource::Url(url) => Cow::Borrowed(url.as_str()),
        MediaSource::Bytes(bytes) => data_url(media_type(media, place)?, bytes).into(),
        _ => return Err(unsupported(place, "a picture by file id", FORMAT)),
    };
    Ok(WirePart::ImageUrl { image_url: Url { url } })
}

fn audio<'a>(media: &'a Media, place: &str) -> Result<WirePart<'a>> {
    let MediaSource::Bytes(bytes) = &media.source else {
        return Err(unsupported(place, "sound by address or file id", FORMAT));
    };
    let format = match media_type(media, place)? {
        "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => "wav",
        "audio/mpeg" | "audio/mp3" => "mp3",
        // Compatible servers know more than OpenAI does, by the names of the subtypes.
        other => other.strip_prefix("audio/").unwrap_or(other),
    };
    Ok(WirePart::InputAudio { input_audio: Audio { data: base64(bytes), format } })
}

fn file<'a>(media: &'a Media, place: &str) -> Result<WirePart<'a>> {
    let filename = media.name.as_deref();
    let file = match &media.source {
        MediaSource::Bytes(bytes) => {
            let data = data_url(media_type(media, place)?, bytes);
            File { filename: Some(filename.unwrap_or("file")), file_data: Some(data), file_id: None }
        }
        MediaSource::FileId(id) => File { filename: None, file_data: None, file_id: Some(id) },
        _ => return Err(unsupported(place, "a file by address", FORMAT)),
    };
    Ok(WirePart::File { file })
}

/// The element of `reasoning_details` that a seal of this format is, with its text in it again.
fn sealed(thoughts: &Reasoning) -> Option<Value> {
    let Ok(mut detail @ Value::Object(_)) = serde_json::from_str(Family::ReasoningDetails.own(thoughts)?)
    else {
        return None;
    };
    let kind = detail.get("type").and_then(Value::as_str)?;
    if !kind.starts_with("reasoning.") {
        return None;
    }
    if kind == "reasoning.text" {
        detail["text"] = thoughts.text.as_str().into();
    }
    Some(detail)
}

fn assistant<'a>(format: &OpenAiChat, message: &'a Message, position: usize) -> Result<Assistant<'a>> {
    let mut said = Assistant {
        content: None,
        refusal: None,
        reasoning: None,
        chunks: Vec::new(),
        details: Vec::new(),
        calls: Vec::new(),
    };
    for (number, part) in message.parts.iter().enumerate() {
        match part {
            Part::Text(text) => {
                said.content.get_or_insert_default().push_str(text);
                said.chunks.push(Chunk::Text { text });
            }
            // Mistral has no such member, and refuses what it does not have.
            Part::Refusal(text) if format.thinking_chunks => {
                said.content.get_or_insert_default().push_str(text);
                said.chunks.push(Chunk::Text { text });
            }
            Part::Refusal(text) => said.refusal.get_or_insert_default().push_str(text),
            Part::ToolCall(call) => said.calls.push(WireCall::new(format, call)),
            Part::Reasoning(thoughts) => {
                if format.thinking_chunks && !thoughts.text.is_empty() {
                    let thinking = [Thought { kind: "text", text: &thoughts.text }];
                    said.chunks.push(Chunk::Thinking { thinking });
                }
                if format.reasoning_details {
                    said.details.extend(sealed(thoughts));
                }
                if let (Some(member), false) = (format.reasoning_field, thoughts.text.is_empty()) {
                    said.reasoning.get_or_insert_with(|| (member, String::new())).1.push_str(&thoughts.text);
                }
            }
            Part::Opaque(opaque) if format.thinking_chunks && opaque.format == OPAQUE => {
                let place = || format!("messages[{position}].parts[{number}]");
                said.chunks.push(Chunk::Opaque(checked(&opaque.json, place)?));
            }
            Part::Opaque(_) | Part::Image(_) | Part::Audio(_) => {}
            _ => {
                let place = format!("messages[{position}].parts[{number}]");
                return Err(unsupported(place, "such a part in an assistant's message", FORMAT));
            }
        }
    }
    if said.content.is_none() && said.calls.is_empty() && said.refusal.is_none() {
        said.content = Some(String::new());
    }
    Ok(said)
}
