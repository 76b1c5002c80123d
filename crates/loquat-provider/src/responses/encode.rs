//! A request into the body of `POST responses`.
//!
//! A conversation is a list of items: messages, calls, results, and whatever the server itself put into its output, which
//! goes back as it came. Thoughts go back where they carry their own item; others are left out, as is a `seed`, which the
//! format does not have. What the server stores is left to it (`extra_body`: `store`, `include`).

use std::borrow::Cow;

use loquat_core::{
    ChatRequest, Media, MediaSource, Message, Part, ResponseFormat, Result, Role, Tool, ToolChoice,
    ToolResult,
};
use serde::Serialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    decode::OPAQUE,
    kept::{self, Kept, Words},
};
use crate::{
    Encoded, StrictMode,
    encode::{
        Body, check, checked, data_url, has_tools, invalid, media_type, one_choice, parameters, unsupported,
    },
    gpt,
    seal::Family,
};

const FORMAT: &str = "the Responses format";

pub(super) fn encode(request: &ChatRequest, model: &str) -> Result<Encoded> {
    check(request, model)?;
    if !request.stop.is_empty() {
        return Err(unsupported("stop", "stop texts", FORMAT));
    }
    let mut body = Body::default();
    body.set("model", model)?;
    body.set("input", input(request)?)?;
    set_tools(&mut body, request)?;
    match &request.response_format {
        ResponseFormat::Text => {}
        ResponseFormat::JsonObject => body.set("text", json!({"format": {"type": "json_object"}}))?,
        ResponseFormat::JsonSchema { name, schema } => {
            let schema = checked(schema, || "response_format.schema".to_owned())?;
            let format = ResponseSchema {
                kind: "json_schema",
                name,
                schema,
                strict: StrictMode::OpenAi.takes(schema),
            };
            body.set("text", TextFormat { format })?;
        }
        _ => return Err(unsupported("response_format", "this form", FORMAT)),
    }
    body.set_some("max_output_tokens", request.max_output_tokens)?;
    let sampling = gpt::sampling(request, model, FORMAT)?;
    body.set_some("temperature", sampling.temperature)?;
    body.set_some("top_p", sampling.top_p)?;
    if request.reasoning_budget_tokens.is_some() {
        return Err(unsupported("reasoning_budget_tokens", "a budget (say reasoning_effort)", FORMAT));
    }
    if let Some(effort) = &request.reasoning_effort {
        body.set("reasoning", json!({"effort": effort}))?;
    }
    one_choice(request, FORMAT)?;
    if let Some(others) = request.top_logprobs {
        body.set("include", ["message.output_text.logprobs"])?;
        body.set("top_logprobs", others)?;
    }
    body.set_some("prompt_cache_key", request.cache.key.as_deref())?;
    body.set_some("prompt_cache_retention", request.cache.long.then_some("24h"))?;
    body.set("stream", request.stream)?;
    body.finish("responses", request)
}

#[derive(Serialize)]
struct TextFormat<'a> {
    format: ResponseSchema<'a>,
}

#[derive(Serialize)]
struct ResponseSchema<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    schema: &'a RawValue,
    strict: bool,
}

#[derive(Serialize)]
struct WireTool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: &'a RawValue,
    /// Said always: the format's own default is strict, and refuses schemas that every other format takes.
    strict: bool,
}

fn set_tools(body: &mut Body, request: &ChatRequest) -> Result<()> {
    if !has_tools(request)? {
        return Ok(());
    }
    let mut tools = Vec::with_capacity(request.tools.len());
    for (position, tool) in request.tools.iter().enumerate() {
        let Tool { name, description, strict, .. } = tool;
        let parameters = parameters(tool, position)?;
        let strict = strict.unwrap_or(false) && StrictMode::OpenAi.takes(parameters);
        tools.push(WireTool { kind: "function", name, description, parameters, strict });
    }
    body.set("tools", tools)?;
    match &request.tool_choice {
        ToolChoice::Auto => {}
        ToolChoice::None => body.set("tool_choice", "none")?,
        ToolChoice::Required => body.set("tool_choice", "required")?,
        ToolChoice::Tool(name) => body.set("tool_choice", json!({"type": "function", "name": name}))?,
        _ => return Err(unsupported("tool_choice", "this choice", FORMAT)),
    }
    body.set_some("parallel_tool_calls", request.parallel_tool_calls)
}

#[derive(Serialize)]
#[serde(untagged)]
enum Item<'a> {
    Message { role: &'static str, content: Content<'a> },
    Tagged(Tagged<'a>),
    Whole(Map<String, Value>),
    Opaque(&'a RawValue),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Tagged<'a> {
    FunctionCall { call_id: &'a str, name: &'a str, arguments: &'a str },
    FunctionCallOutput { call_id: &'a str, output: Cow<'a, str> },
    CustomToolCallOutput { call_id: &'a str, output: Cow<'a, str> },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<WirePart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WirePart<'a> {
    InputText {
        text: &'a str,
    },
    OutputText {
        text: &'a str,
    },
    Refusal {
        refusal: &'a str,
    },
    InputImage {
        /// The format's own default, which its description demands all the same.
        detail: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        image_url: Option<Cow<'a, str>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_id: Option<&'a str>,
    },
    InputFile {
        #[serde(skip_serializing_if = "Option::is_none")]
        filename: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_data: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_url: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_id: Option<&'a str>,
    },
}

fn input(request: &ChatRequest) -> Result<Vec<Item<'_>>> {
    let mut items = Vec::with_capacity(request.messages.len());
    for (position, message) in request.messages.iter().enumerate() {
        match message.role {
            Role::System => asked("system", message, position, &mut items)?,
            Role::User | Role::Tool => asked("user", message, position, &mut items)?,
            Role::Assistant => answered(message, position, &mut items)?,
            _ => return Err(unsupported(format!("messages[{position}].role"), "this role", FORMAT)),
        }
    }
    Ok(items)
}

/// What the model was told: results of tools, and a message of the rest.
fn asked<'a>(
    role: &'static str,
    message: &'a Message,
    position: usize,
    items: &mut Vec<Item<'a>>,
) -> Result<()> {
    let mut parts = Vec::new();
    for (number, part) in message.parts.iter().enumerate() {
        let place = || format!("messages[{position}].parts[{number}]");
        parts.push(match (message.role, part) {
            (Role::User | Role::Tool, Part::ToolResult(result)) => {
                let result = self::result(result, items);
                items.push(Item::Tagged(result));
                continue;
            }
            (Role::Tool, _) => {
                return Err(invalid(format!("{}: a tool's message holds tool results only", place())));
            }
            (_, Part::Text(text)) => WirePart::InputText { text },
            (Role::User, Part::Image(media)) => image(media, &place())?,
            (Role::User, Part::File(media)) => file(media, &place())?,
            _ => return Err(unsupported(place(), "such a part in a message of this role", FORMAT)),
        });
    }
    match &parts[..] {
        [] => {}
        [WirePart::InputText { text }] => {
            items.push(Item::Message { role, content: Content::Text((*text).into()) });
        }
        _ => items.push(Item::Message { role, content: Content::Parts(parts) }),
    }
    Ok(())
}

fn result<'a>(result: &'a ToolResult, items: &[Item<'a>]) -> Tagged<'a> {
    let output = if result.is_error {
        format!("Error: {}", result.content).into()
    } else {
        Cow::Borrowed(result.content.as_str())
    };
    let call_id = result.call_id.as_str();
    // Newest first: the call is a few items before its result.
    let is_custom = items.iter().rev().find_map(|item| match item {
        Item::Whole(item) if item.get("call_id").is_some_and(|id| id == call_id) => {
            Some(kept::is_custom(item))
        }
        Item::Tagged(Tagged::FunctionCall { call_id: known, .. }) if *known == call_id => Some(false),
        _ => None,
    });
    match is_custom {
        Some(true) => Tagged::CustomToolCallOutput { call_id, output },
        _ => Tagged::FunctionCallOutput { call_id, output },
    }
}

/// What the model said: its items, in their order.
fn answered<'a>(message: &'a Message, position: usize, items: &mut Vec<Item<'a>>) -> Result<()> {
    let mut said = Vec::new();
    let role = "assistant";
    // Whether the last thoughts have been left out: what they led to is then refused under its name.
    let mut is_nameless = false;
    let first = items.len();
    let flush = |said: &mut Vec<WirePart<'a>>, items: &mut Vec<Item<'a>>| {
        if !said.is_empty() {
            items.push(Item::Message { role, content: without_name(std::mem::take(said)) });
        }
    };
    for (number, part) in message.parts.iter().enumerate() {
        let place = || format!("messages[{position}].parts[{number}]");
        let item = match part {
            Part::Text(text) | Part::Refusal(text) if text.is_empty() => continue,
            Part::Text(text) => {
                said.push(WirePart::OutputText { text });
                continue;
            }
            Part::Refusal(refusal) => {
                said.push(WirePart::Refusal { refusal });
                continue;
            }
            Part::ToolCall(call) => {
                let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
                Item::Tagged(Tagged::FunctionCall { call_id: &call.id, name: &call.name, arguments })
            }
            Part::Reasoning(thoughts) => match Family::Responses.own(thoughts).and_then(sealed) {
                Some(item) => {
                    is_nameless = false;
                    Item::Whole(item)
                }
                None => continue,
            },
            Part::Opaque(opaque) if opaque.format == OPAQUE => {
                let raw = checked(&opaque.json, place)?;
                match Kept::read(raw.get()) {
                    Some(Kept::Message(rest)) => match kept::message(rest, &words(&said)) {
                        Some(mut item) => {
                            said.clear();
                            if is_nameless {
                                item.remove("id");
                            }
                            Item::Whole(item)
                        }
                        None => {
                            // Thoughts with a name are refused where what they led to has none.
                            while items.len() > first && items.last().is_some_and(is_reasoning) {
                                items.pop();
                                is_nameless = true;
                            }
                            continue;
                        }
                    },
                    Some(Kept::Call(mut rest)) => {
                        if is_nameless {
                            rest.remove("id");
                        }
                        restore(rest, items);
                        continue;
                    }
                    None => Item::Opaque(raw),
                }
            }
            // A picture that the model made stays with the server, under the name that goes back as an opaque part.
            Part::Opaque(_) | Part::Image(_) => continue,
            _ => return Err(unsupported(place(), "such a part in an assistant's message", FORMAT)),
        };
        flush(&mut said, items);
        items.push(item);
    }
    flush(&mut said, items);
    Ok(())
}

fn is_reasoning(item: &Item<'_>) -> bool {
    matches!(item, Item::Whole(item) if item.get("type").is_some_and(|kind| kind == "reasoning"))
}

/// The content of an assistant's message that has no name: text alone goes as such, as parts are for messages that have one.
fn without_name(said: Vec<WirePart<'_>>) -> Content<'_> {
    let text = |part: &WirePart<'_>| match part {
        WirePart::OutputText { text } => Some((*text).to_owned()),
        _ => None,
    };
    match (said.iter().map(text).collect::<Option<String>>(), &said[..]) {
        (Some(_), [WirePart::OutputText { text }]) => Content::Text((*text).into()),
        (Some(text), _) => Content::Text(text.into()),
        (None, _) => Content::Parts(said),
    }
}

fn words<'a>(said: &[WirePart<'a>]) -> Vec<Words<'a>> {
    let words = said.iter().filter_map(|part| match part {
        WirePart::OutputText { text } => Some(Words::Text(text)),
        WirePart::Refusal { refusal } => Some(Words::Refusal(refusal)),
        _ => None,
    });
    words.collect()
}

/// The call that these are the rest of is its item again.
fn restore(rest: Map<String, Value>, items: &mut [Item<'_>]) {
    let same = |item: &&mut Item<'_>| matches!(item, Item::Tagged(Tagged::FunctionCall { call_id, .. }) if rest.get("call_id").is_some_and(|id| id == *call_id));
    if let Some(item) = items.iter_mut().rev().find(same)
        && let Item::Tagged(Tagged::FunctionCall { name, arguments, .. }) = item
    {
        *item = Item::Whole(kept::call(rest, name, arguments));
    }
}

/// The item that a signature of this format is. Members that the server says and does not take back are left out.
fn sealed(signature: &str) -> Option<Map<String, Value>> {
    let Ok(Value::Object(mut item)) = serde_json::from_str(signature) else { return None };
    if item.get("type").and_then(Value::as_str) != Some("reasoning") {
        return None;
    }
    item.retain(|name, value| name != "status" && !value.is_null());
    item.entry("summary").or_insert_with(|| Value::Array(Vec::new()));
    Some(item)
}

fn image<'a>(media: &'a Media, place: &str) -> Result<WirePart<'a>> {
    let (image_url, file_id) = match &media.source {
        MediaSource::Url(url) => (Some(Cow::Borrowed(url.as_str())), None),
        MediaSource::Bytes(bytes) => (Some(data_url(media_type(media, place)?, bytes).into()), None),
        MediaSource::FileId(id) => (None, Some(id.as_str())),
        _ => return Err(unsupported(place, "a picture from there", FORMAT)),
    };
    Ok(WirePart::InputImage { detail: "auto", image_url, file_id })
}

fn file<'a>(media: &'a Media, place: &str) -> Result<WirePart<'a>> {
    let name = media.name.as_deref();
    let (filename, file_data, file_url, file_id) = match &media.source {
        MediaSource::Bytes(bytes) => {
            (Some(name.unwrap_or("file")), Some(data_url(media_type(media, place)?, bytes)), None, None)
        }
        MediaSource::Url(url) => (None, None, Some(url.as_str()), None),
        MediaSource::FileId(id) => (None, None, None, Some(id.as_str())),
        _ => return Err(unsupported(place, "a file from there", FORMAT)),
    };
    Ok(WirePart::InputFile { filename, file_data, file_url, file_id })
}
