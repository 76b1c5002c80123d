//! What all encoders share: a body whose members keep their order, checked JSON, media, headers, model listings.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use loquat_core::{
    ChatRequest, Error, ErrorKind, JsonText, Media, MediaSource, ModelInfo, Result, Secret, Tool, ToolChoice,
};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::{Encoded, StrictMode, merge::merged};

/// A JSON object in the making. Members keep the order they are set in, so that the same request gives the same bytes
/// and a provider's prompt cache is hit.
#[derive(Default)]
pub(crate) struct Body {
    members: Vec<(String, Box<RawValue>)>,
}

impl Body {
    pub(crate) fn set(&mut self, name: &str, value: impl Serialize) -> Result<()> {
        let value = serde_json::value::to_raw_value(&value)
            .map_err(|error| invalid(format!("{name} cannot be written as JSON")).with_source(error))?;
        self.set_raw(name, value);
        Ok(())
    }

    pub(crate) fn set_some(&mut self, name: &str, value: Option<impl Serialize>) -> Result<()> {
        value.map_or(Ok(()), |value| self.set(name, value))
    }

    fn set_raw(&mut self, name: &str, value: Box<RawValue>) {
        match self.members.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.members.push((name.to_owned(), value)),
        }
    }

    /// Lays the request's extra members over ours ([`merged`]), and adds its extra headers.
    pub(crate) fn finish(mut self, path: &str, request: &ChatRequest) -> Result<Encoded> {
        for (name, value) in &request.extra_body {
            let place = || format!("extra_body {name:?}");
            let value = checked(value, place)?;
            match self.members.iter_mut().find(|(known, _)| known == name) {
                Some((_, ours)) => {
                    *ours = merged(name, ours, value).map_err(|error| {
                        invalid(format!("{} cannot be merged", place())).with_source(error)
                    })?;
                }
                None => self.members.push((name.clone(), value.to_owned())),
            }
        }
        let body = self.text()?.into_bytes();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &request.extra_headers.0 {
            let parsed = HeaderName::try_from(name)
                .map_err(|_| invalid(format!("extra_headers {name:?}: not a header name")))?;
            let mut value = HeaderValue::try_from(value).map_err(|_| {
                invalid(format!("extra_headers {name:?}: its value has forbidden characters"))
            })?;
            value.set_sensitive(true);
            headers.insert(parsed, value);
        }
        Ok(Encoded { path: path.to_owned(), headers, body })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The object as a value, to be set in another.
    pub(crate) fn into_raw(self) -> Result<Box<RawValue>> {
        RawValue::from_string(self.text()?)
            .map_err(|error| invalid("an object cannot be written as JSON".to_owned()).with_source(error))
    }

    fn text(&self) -> Result<String> {
        let mut text = String::with_capacity(
            self.members.iter().map(|(name, value)| name.len() + value.get().len() + 8).sum(),
        );
        let mut lead = '{';
        for (name, value) in &self.members {
            text.push(lead);
            lead = ',';
            text.push_str(&serde_json::to_string(name).map_err(|error| {
                invalid("a member's name cannot be written".to_owned()).with_source(error)
            })?);
            text.push(':');
            text.push_str(value.get());
        }
        if lead == '{' {
            text.push(lead);
        }
        text.push('}');
        Ok(text)
    }
}

/// A name as part of a path (RFC 3986 §3.3): what may not stand there is escaped, slashes between its own parts stay.
pub(crate) fn path_segment(name: &str) -> String {
    escaped_but(name, b"-._~/:@")
}

/// A name as one segment of a path, slashes and all.
pub(crate) fn escaped(name: &str) -> String {
    escaped_but(name, b"-._~")
}

fn escaped_but(name: &str, kept: &[u8]) -> String {
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

/// Adds `prefix` and the credential under that name.
pub(crate) fn authenticate(
    headers: &mut HeaderMap,
    name: HeaderName,
    prefix: &str,
    secret: &Secret,
) -> Result<()> {
    let unusable =
        |why| Error::new(ErrorKind::Authentication, format!("the credential cannot be sent: it {why}"));
    if secret.is_empty() {
        return Err(unusable("is empty"));
    }
    // Printable ASCII only: a header may carry more, no credential does, and a pasted quotation mark shows here.
    if !secret.expose().bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
        return Err(unusable("has a space, a line break or another character that no credential has"));
    }
    let mut value = HeaderValue::try_from(format!("{prefix}{}", secret.expose()))
        .map_err(|_| unusable("has characters that no header may carry"))?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}

/// How many tokens the thoughts may take, none where the effort beside that number says not to think.
pub(crate) fn thought_tokens(request: &ChatRequest) -> Option<u32> {
    let is_off = matches!(request.reasoning_effort.as_deref(), Some("none" | "off"));
    request.reasoning_budget_tokens.map(|tokens| if is_off { 0 } else { tokens })
}

/// Refuses what no format can send.
pub(crate) fn check(request: &ChatRequest, model: &str) -> Result<()> {
    if model.is_empty() {
        return Err(invalid("no model is named".to_owned()));
    }
    if request.messages.is_empty() {
        return Err(invalid("messages: there are none".to_owned()));
    }
    if request.choices == Some(0) {
        return Err(invalid("choices: none are asked for".to_owned()));
    }
    for (name, number) in [("temperature", request.temperature), ("top_p", request.top_p)] {
        if number.is_some_and(|number| !number.is_finite()) {
            return Err(invalid(format!("{name} is not a finite number")));
        }
    }
    Ok(())
}

/// How words are chosen, as far as that is said.
#[derive(Debug, Default)]
pub(crate) struct Sampling {
    pub(crate) temperature: Option<f32>,
    pub(crate) top_p: Option<f32>,
}

impl Sampling {
    /// As the request has it.
    pub(crate) fn of(request: &ChatRequest) -> Self {
        Self { temperature: request.temperature, top_p: request.top_p }
    }

    /// Nothing, to a model that chooses in its own way; refuses what would be another one.
    pub(crate) fn none(request: &ChatRequest, least_top_p: f32, format: &str) -> Result<Self> {
        if request.temperature.is_some_and(|temperature| temperature != 1.0) {
            return Err(unsupported("temperature", "any but 1 to this model", format));
        }
        if request.top_p.is_some_and(|top_p| top_p < least_top_p) {
            return Err(unsupported("top_p", "a part of the tokens to this model", format));
        }
        Ok(Self::default())
    }
}

/// Refuses several alternatives, where a format gives one.
pub(crate) fn one_choice(request: &ChatRequest, format: &str) -> Result<()> {
    match request.choices {
        None | Some(1) => Ok(()),
        Some(_) => Err(unsupported("choices", "several alternatives", format)),
    }
}

/// Refuses log probabilities, where a format has none.
pub(crate) fn no_logprobs(request: &ChatRequest, format: &str) -> Result<()> {
    match request.top_logprobs {
        None => Ok(()),
        Some(_) => Err(unsupported("top_logprobs", "log probabilities", format)),
    }
}

/// The JSON text, once it is known to be some.
pub(crate) fn checked(text: &JsonText, place: impl FnOnce() -> String) -> Result<&RawValue> {
    serde_json::from_str(text.as_str())
        .map_err(|error| invalid(format!("{} is not valid JSON", place())).with_source(error))
}

/// A tool call's arguments, which must be an object; none at all is an empty one.
pub(crate) fn arguments<'a>(text: &'a str, place: &str) -> Result<&'a RawValue> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    let raw: &RawValue = serde_json::from_str(text)
        .map_err(|error| invalid(format!("{place}: the arguments are not valid JSON")).with_source(error))?;
    if raw.get().starts_with('{') {
        Ok(raw)
    } else {
        Err(invalid(format!("{place}: the arguments are not a JSON object")))
    }
}

/// A tool's result where a format takes none that says nothing.
pub(crate) fn said(content: &str) -> &str {
    if content.trim().is_empty() { "(no output)" } else { content }
}

/// The media type, which bytes need; guessed for pictures whose first bytes are unmistakable.
pub(crate) fn media_type<'a>(media: &'a Media, place: &str) -> Result<&'a str> {
    if !media.media_type.is_empty() {
        return Ok(&media.media_type);
    }
    let MediaSource::Bytes(bytes) = &media.source else { return Ok("") };
    match &bytes[..] {
        [0x89, b'P', b'N', b'G', ..] => Ok("image/png"),
        [0xff, 0xd8, 0xff, ..] => Ok("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Ok("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok("image/webp"),
        [b'%', b'P', b'D', b'F', ..] => Ok("application/pdf"),
        _ => Err(invalid(format!("{place}: bytes without a media type"))),
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A tool as OpenAI writes it, and those after it.
#[derive(Serialize)]
pub(crate) struct FunctionTool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

/// The tools as functions. One that shall be strict, and has a schema that strict mode refuses, goes without that word.
pub(crate) fn function_tools(tools: &[Tool], mode: StrictMode) -> Result<Vec<FunctionTool<'_>>> {
    let mut written = Vec::with_capacity(tools.len());
    for (position, tool) in tools.iter().enumerate() {
        let Tool { name, description, strict, .. } = tool;
        let parameters = parameters(tool, position)?;
        let strict = strict.filter(|strict| !strict || mode.takes(parameters));
        let function = Function { name, description, parameters, strict };
        written.push(FunctionTool { kind: "function", function });
    }
    Ok(written)
}

/// A tool's schema.
pub(crate) fn parameters(tool: &Tool, position: usize) -> Result<&RawValue> {
    checked(&tool.parameters, || format!("tools[{position}].parameters"))
}

/// Whether there are tools to write; a demand for one where there are none is an error.
pub(crate) fn has_tools(request: &ChatRequest) -> Result<bool> {
    match &request.tool_choice {
        _ if !request.tools.is_empty() => Ok(true),
        // To be told to use none of no tools is no contradiction.
        ToolChoice::Auto | ToolChoice::None => Ok(false),
        _ => Err(invalid("tool_choice demands a tool, and there are none".to_owned())),
    }
}

/// `data:image/png;base64,…` (RFC 2397).
pub(crate) fn data_url(media_type: &str, bytes: &[u8]) -> String {
    let mut url = format!("data:{media_type};base64,");
    STANDARD.encode_string(bytes, &mut url);
    url
}

pub(crate) fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidRequest, message)
}

pub(crate) fn unsupported(place: impl AsRef<str>, what: &str, format: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{}: {format} cannot carry {what}", place.as_ref()))
}

/// The models of a listing: the first of these members that is a list, or the document itself if it is one.
pub(crate) fn models(body: &[u8], lists: &[&str]) -> Result<Vec<ModelInfo>> {
    let no_listing = |why: &str| Error::new(ErrorKind::Protocol, format!("the listing of models {why}"));
    let document: Value =
        serde_json::from_slice(body).map_err(|error| no_listing("is not valid JSON").with_source(error))?;
    let list = match &document {
        Value::Array(list) => list,
        document => lists
            .iter()
            .find_map(|name| document.get(*name)?.as_array())
            .ok_or_else(|| no_listing("has no list in it"))?,
    };
    // What has no name cannot be asked for, and is left out.
    Ok(list.iter().filter_map(model).collect())
}

fn model(entry: &Value) -> Option<ModelInfo> {
    let text = |names: &[&str]| names.iter().find_map(|name| entry.get(*name)?.as_str().map(str::to_owned));
    let mut info = ModelInfo::new(text(&["id", "model", "name", "modelId"])?);
    info.owner = text(&["owned_by", "organization"]);
    info.context_window = [
        "context_length",
        "context_window",
        "max_model_len",
        "max_context_length",
        "max_input_tokens",
        "inputTokenLimit",
    ]
    .iter()
    .find_map(|name| entry.get(*name)?.as_u64())
    .or_else(|| entry.get("meta")?.get("n_ctx_train")?.as_u64());
    Some(info)
}
