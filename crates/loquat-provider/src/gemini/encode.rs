//! A request into the body of `POST models/MODEL:generateContent`.
//!
//! System messages go to `systemInstruction`, wherever in the conversation they stood. A call's results are matched by
//! the tool's name and their order: ids of calls are not sent, since not every model takes them and those we make up mean
//! nothing to it. Signatures go back on the part they came on. From Gemini 3 on, a call of the present turn that has none (another
//! model's, or one made by hand) is refused, and gets the word that Google gives out for that.
//! <https://ai.google.dev/gemini-api/docs/thought-signatures>

use loquat_core::{
    ChatRequest, Media, MediaSource, Message, Part, ResponseFormat, Result, Role, Tool, ToolChoice,
    ToolResult,
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{json, value::RawValue};

use super::decode::OPAQUE;
use crate::{
    Encoded,
    encode::{
        Body, arguments, base64, check, checked, has_tools, invalid, media_type, parameters, path_segment,
        unsupported,
    },
    seal::Family,
};

const FORMAT: &str = "the Gemini format";
/// In place of a signature that there is not.
const UNSIGNED: &str = "skip_thought_signature_validator";

pub(super) fn encode(request: &ChatRequest, model: &str) -> Result<Encoded> {
    check(request, model)?;
    let mut body = Body::default();
    let (system, mut contents) = contents(request)?;
    if demands_signatures(model) {
        excuse_unsigned(&mut contents);
    }
    if contents.is_empty() {
        return Err(invalid("messages: there are none besides those of the system".to_owned()));
    }
    if !system.is_empty() {
        body.set("systemInstruction", Content { role: None, parts: system })?;
    }
    body.set("contents", contents)?;
    set_tools(&mut body, request)?;
    set_generation(&mut body, request, model)?;
    let method = if request.stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    // A tuned model is named with its collection.
    let collection = if model.contains('/') { "" } else { "models/" };
    body.finish(&format!("{collection}{}:{method}", path_segment(model)), request)
}

fn set_tools(body: &mut Body, request: &ChatRequest) -> Result<()> {
    if !has_tools(request)? {
        return Ok(());
    }
    if request.parallel_tool_calls == Some(false) {
        return Err(unsupported("parallel_tool_calls", "a ban on parallel calls", FORMAT));
    }
    let mut declarations = Vec::with_capacity(request.tools.len());
    for (position, tool) in request.tools.iter().enumerate() {
        let Tool { name, description, .. } = tool;
        declarations.push(Declaration { name, description, parameters: parameters(tool, position)? });
    }
    body.set("tools", [Tools { declarations }])?;
    let config = match &request.tool_choice {
        ToolChoice::Auto => return Ok(()),
        ToolChoice::None => json!({"mode": "NONE"}),
        ToolChoice::Required => json!({"mode": "ANY"}),
        ToolChoice::Tool(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
        _ => return Err(unsupported("tool_choice", "this choice", FORMAT)),
    };
    body.set("toolConfig", json!({"functionCallingConfig": config}))
}

#[derive(Serialize)]
struct Tools<'a> {
    #[serde(rename = "functionDeclarations")]
    declarations: Vec<Declaration<'a>>,
}

#[derive(Serialize)]
struct Declaration<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(rename = "parametersJsonSchema")]
    parameters: &'a RawValue,
}

fn set_generation(body: &mut Body, request: &ChatRequest, model: &str) -> Result<()> {
    let mut config = Body::default();
    config.set_some("maxOutputTokens", request.max_output_tokens)?;
    config.set_some("temperature", request.temperature)?;
    config.set_some("topP", request.top_p)?;
    if !request.stop.is_empty() {
        config.set("stopSequences", &request.stop)?;
    }
    config.set_some("seed", request.seed)?;
    config.set_some("candidateCount", request.choices)?;
    if let Some(others) = request.top_logprobs {
        config.set("responseLogprobs", true)?;
        config.set("logprobs", others)?;
    }
    match &request.response_format {
        ResponseFormat::Text => {}
        ResponseFormat::JsonObject => config.set("responseMimeType", "application/json")?,
        ResponseFormat::JsonSchema { schema, .. } => {
            config.set("responseMimeType", "application/json")?;
            config.set("responseJsonSchema", checked(schema, || "response_format.schema".to_owned())?)?;
        }
        _ => return Err(unsupported("response_format", "this form", FORMAT)),
    }
    // Gemini 2.5 refuses levels.
    let as_budget = |effort: &str| budget(effort, model).filter(|_| name(model).starts_with("gemini-2.5"));
    let effort = request.reasoning_effort.as_deref();
    let is_off = matches!(effort, Some("none" | "off"));
    let named = request.reasoning_budget_tokens.filter(|_| !is_off);
    match (named.or_else(|| as_budget(effort?)), effort) {
        (Some(0), _) => config.set("thinkingConfig", json!({"thinkingBudget": 0}))?,
        (Some(budget), _) => {
            config.set("thinkingConfig", json!({"includeThoughts": true, "thinkingBudget": budget}))?;
        }
        (None, Some("none" | "off")) => config.set("thinkingConfig", json!({"thinkingBudget": 0}))?,
        (None, Some(effort)) => {
            config.set(
                "thinkingConfig",
                json!({"includeThoughts": true, "thinkingLevel": effort.to_ascii_uppercase()}),
            )?;
        }
        (None, None) => {}
    }
    if config.is_empty() { Ok(()) } else { body.set("generationConfig", config.into_raw()?) }
}

/// A model's name without its collection.
fn name(model: &str) -> &str {
    model.rsplit('/').next().unwrap_or(model)
}

/// An effort in tokens, as Google's compatible mode puts it; the pro model cannot leave it.
/// <https://ai.google.dev/gemini-api/docs/openai#thinking>
fn budget(effort: &str, model: &str) -> Option<u32> {
    Some(match effort {
        "none" | "off" if name(model).starts_with("gemini-2.5-pro") => 128,
        "none" | "off" => 0,
        "minimal" | "low" => 1024,
        "medium" => 8192,
        "high" | "xhigh" | "max" => 24576,
        _ => return None,
    })
}

/// Whether calls without a signature are refused.
fn demands_signatures(model: &str) -> bool {
    let Some(rest) = name(model).strip_prefix("gemini-") else { return false };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().is_ok_and(|version: u32| version >= 3) || rest.ends_with("-latest")
}

/// Asked for is the signature on the first call of each step since the user's last words.
fn excuse_unsigned(contents: &mut [Content<'_>]) {
    let is_result =
        |part: &WirePart<'_>| matches!(part, WirePart::Said(Said { what: What::Response(_), .. }));
    let steps = contents.iter_mut().rev();
    for step in steps.take_while(|step| step.role == Some("model") || step.parts.iter().all(is_result)) {
        let first = step.parts.iter_mut().find_map(|part| match part {
            WirePart::Said(said @ Said { what: What::Call(_), .. }) => Some(said),
            _ => None,
        });
        if let Some(call) = first {
            call.signature.get_or_insert(UNSIGNED);
        }
    }
}

#[derive(Serialize)]
struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    parts: Vec<WirePart<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WirePart<'a> {
    Said(Said<'a>),
    Opaque(&'a RawValue),
}

struct Said<'a> {
    what: What<'a>,
    thought: bool,
    signature: Option<&'a str>,
}

enum What<'a> {
    Text(&'a str),
    Inline(Inline<'a>),
    File(File<'a>),
    Call(Call<'a>),
    Response(Response<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inline<'a> {
    mime_type: &'a str,
    data: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    mime_type: &'a str,
    file_uri: &'a str,
}

#[derive(Serialize)]
struct Call<'a> {
    name: &'a str,
    args: &'a RawValue,
}

#[derive(Serialize)]
struct Response<'a> {
    name: &'a str,
    response: Box<RawValue>,
}

impl Serialize for Said<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.what {
            What::Text(text) => map.serialize_entry("text", text)?,
            What::Inline(data) => map.serialize_entry("inlineData", data)?,
            What::File(file) => map.serialize_entry("fileData", file)?,
            What::Call(call) => map.serialize_entry("functionCall", call)?,
            What::Response(response) => map.serialize_entry("functionResponse", response)?,
        }
        if self.thought {
            map.serialize_entry("thought", &true)?;
        }
        if let Some(signature) = self.signature {
            map.serialize_entry("thoughtSignature", signature)?;
        }
        map.end()
    }
}

impl<'a> From<What<'a>> for WirePart<'a> {
    fn from(what: What<'a>) -> Self {
        Self::Said(Said { what, thought: false, signature: None })
    }
}

/// The system's parts, and the conversation with neighbours of one role merged.
fn contents(request: &ChatRequest) -> Result<(Vec<WirePart<'_>>, Vec<Content<'_>>)> {
    let mut system = Vec::new();
    let mut wire: Vec<Content<'_>> = Vec::new();
    for (position, message) in request.messages.iter().enumerate() {
        let role = match message.role {
            Role::System => {
                parts(message, position, &mut system)?;
                continue;
            }
            Role::User | Role::Tool => "user",
            Role::Assistant => "model",
            _ => return Err(unsupported(format!("messages[{position}].role"), "this role", FORMAT)),
        };
        let mut said = Vec::with_capacity(message.parts.len());
        parts(message, position, &mut said)?;
        match wire.last_mut() {
            Some(last) if last.role == Some(role) => last.parts.append(&mut said),
            _ if said.is_empty() => {}
            _ => wire.push(Content { role: Some(role), parts: said }),
        }
    }
    Ok((system, wire))
}

fn parts<'a>(message: &'a Message, position: usize, into: &mut Vec<WirePart<'a>>) -> Result<()> {
    let first = into.len();
    for (number, part) in message.parts.iter().enumerate() {
        let place = || format!("messages[{position}].parts[{number}]");
        let wire = match (message.role, part) {
            (_, Part::Text(text) | Part::Refusal(text)) if text.is_empty() => continue,
            (_, Part::Text(text)) | (Role::Assistant, Part::Refusal(text)) => What::Text(text).into(),
            (Role::User | Role::Assistant, Part::Image(media) | Part::Audio(media) | Part::File(media)) => {
                file(media, &place())?.into()
            }
            (Role::User | Role::Tool, Part::ToolResult(result)) => {
                if result.name.is_empty() {
                    return Err(invalid(format!("{}: {FORMAT} needs the tool's name", place())));
                }
                What::Response(Response { name: &result.name, response: response(result)? }).into()
            }
            (Role::Assistant, Part::ToolCall(call)) => {
                let args = arguments(&call.arguments, &place())?;
                let what = What::Call(Call { name: &call.name, args });
                WirePart::Said(Said { what, thought: false, signature: call.signature.as_deref() })
            }
            (Role::Assistant, Part::Reasoning(thoughts)) => {
                let signature = Family::Google.own(thoughts).filter(|_| !thoughts.redacted);
                if thoughts.text.is_empty() {
                    let Some(signature) = signature else { continue };
                    // The seal of an answer comes after its text, and belongs to the same part.
                    let last = into[first..].last_mut();
                    if let Some(WirePart::Said(said @ Said { what: What::Text(_), signature: None, .. })) =
                        last
                    {
                        said.signature = Some(signature);
                        continue;
                    }
                }
                let thought = !thoughts.text.is_empty();
                WirePart::Said(Said { what: What::Text(&thoughts.text), thought, signature })
            }
            (Role::Assistant, Part::Opaque(opaque)) if opaque.format == OPAQUE => {
                WirePart::Opaque(checked(&opaque.json, place)?)
            }
            (Role::Assistant, Part::Opaque(_)) => continue,
            _ => return Err(unsupported(place(), "such a part in a message of this role", FORMAT)),
        };
        into.push(wire);
    }
    Ok(())
}

fn file<'a>(media: &'a Media, place: &str) -> Result<What<'a>> {
    Ok(match &media.source {
        MediaSource::Bytes(bytes) => {
            What::Inline(Inline { mime_type: media_type(media, place)?, data: base64(bytes) })
        }
        MediaSource::Url(uri) | MediaSource::FileId(uri) => {
            let mime_type = if media.media_type.is_empty() { type_of(uri) } else { &media.media_type };
            What::File(File { mime_type, file_uri: uri })
        }
        _ => return Err(unsupported(place, "a file from there", FORMAT)),
    })
}

/// What a file is by the ending of its address, as Vertex wants to be told; nothing if that does not tell.
fn type_of(uri: &str) -> &'static str {
    let path = uri.split(['?', '#']).next().unwrap_or(uri);
    let ending = path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending);
    match ending.map(str::to_ascii_lowercase).as_deref() {
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("webp") => "image/webp",
        Some("gif") => "image/gif",
        Some("pdf") => "application/pdf",
        Some("txt") => "text/plain",
        Some("mp3") => "audio/mpeg",
        Some("wav") => "audio/wav",
        Some("mp4") => "video/mp4",
        _ => "",
    }
}

/// The format wants an object: a result that is one goes as it is.
fn response(result: &ToolResult) -> Result<Box<RawValue>> {
    let content = result.content.trim();
    if !result.is_error
        && content.starts_with('{')
        && let Ok(object) = serde_json::from_str::<&RawValue>(content)
    {
        return Ok(object.to_owned());
    }
    let member = if result.is_error { "error" } else { "result" };
    serde_json::value::to_raw_value(&json!({member: result.content}))
        .map_err(|error| invalid("a tool's result cannot be written as JSON".to_owned()).with_source(error))
}
