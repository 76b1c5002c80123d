//! What a format cannot carry of a conversation that another format brought in.
//!
//! Found by trial: each part and each option is put, with a mark for content, through the format's own encoder; a refusal is
//! a refusal, and a mark that is not in the body was left out. So the report is true of the code and not of a table beside
//! it, for every format there is and every one to come.
//!
//! What no encoder can tell is not told: a signature of which nobody said whose it is may be carried, and refused by who did not sign it.

use std::fmt;

use loquat_core::{
    CacheHint, ChatRequest, Error, Media, MediaSource, Message, Opaque, Part, Reasoning, ResponseFormat,
    Role, ToolCall, ToolChoice, ToolResult,
};

use crate::{Format, encode::base64};

/// Something of a request that a format cannot carry.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Loss {
    /// Where: a message's and a part's position, or nothing for an option of the request.
    pub place: Option<(usize, usize)>,
    /// What: `image`, `reasoning`, `signature`, `seed`, ….
    pub what: &'static str,
    /// The encoder's refusal; `None` for what it leaves out in silence.
    pub refusal: Option<Error>,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((message, part)) = self.place {
            write!(f, "messages[{message}].parts[{part}]: ")?;
        }
        write!(f, "{} {}", self.what, if self.refusal.is_some() { "is refused" } else { "is left out" })
    }
}

/// What that format cannot carry of the request, in its order: parts first, then options, each by itself. Costs a small
/// encoding per part and per option that is set. The request's model is the one that is asked: some refuse an option
/// that others of theirs take.
pub fn losses(format: &dyn Format, request: &ChatRequest) -> Vec<Loss> {
    // Each format wants a name; this one says nothing.
    let model = if request.model.is_empty() { "m" } else { &request.model };
    let mut losses = Vec::new();
    for (message, said) in request.messages.iter().enumerate() {
        for (part, content) in said.parts.iter().enumerate() {
            let place = Some((message, part));
            for Probe { what, part, mark } in probes(content) {
                match encoded(format, &conversation(model, said.role, part)) {
                    Err(refusal) => {
                        losses.push(Loss { place, what, refusal: Some(refusal) });
                        break;
                    }
                    Ok(body) if !contains(&body, &mark) => losses.push(Loss { place, what, refusal: None }),
                    Ok(_) => {}
                }
            }
        }
    }
    let plain = ChatRequest::new(model).with_user("hi");
    let without = encoded(format, &plain);
    for (what, set) in OPTIONS {
        let mut with = plain.clone();
        if !set(request, &mut with) {
            continue;
        }
        match (encoded(format, &with), &without) {
            (Err(refusal), _) => losses.push(Loss { place: None, what, refusal: Some(refusal) }),
            (Ok(with), Ok(without)) if with == *without => {
                losses.push(Loss { place: None, what, refusal: None });
            }
            _ => {}
        }
    }
    losses
}

/// The request without what the format refuses, and everything that is lost of it. What is left encodes, as far as it was
/// a sound request before.
pub fn fitted(format: &dyn Format, request: &ChatRequest) -> (ChatRequest, Vec<Loss>) {
    let losses = losses(format, request);
    let mut fitted = request.clone();
    let refused = losses.iter().filter(|loss| loss.refusal.is_some());
    let parts: Vec<_> = refused.clone().filter_map(|loss| loss.place).collect();
    for (position, message) in fitted.messages.iter_mut().enumerate() {
        let mut number = 0;
        message.parts.retain(|_| {
            number += 1;
            !parts.contains(&(position, number - 1))
        });
    }
    // A message of which nothing is left says nothing; one that was empty from the start is its author's affair.
    let mut before = request.messages.iter();
    fitted.messages.retain(|message| {
        let was_empty = before.next().is_some_and(|message| message.parts.is_empty());
        was_empty || !message.parts.is_empty()
    });
    // In place of a refused option, what the plainest request has.
    let plain = ChatRequest::new("");
    for loss in refused.filter(|loss| loss.place.is_none()) {
        for (_, copy) in OPTIONS.iter().filter(|(name, _)| *name == loss.what) {
            copy(&plain, &mut fitted);
        }
    }
    (fitted, losses)
}

/// An option: copies it to another request; `false` where it is not set.
type Copy = fn(&ChatRequest, &mut ChatRequest) -> bool;

const OPTIONS: &[(&str, Copy)] = &[
    ("tools", |from, to| {
        to.tools.clone_from(&from.tools);
        !from.tools.is_empty()
    }),
    ("tool_choice", |from, to| {
        // A choice is of some tools; where it is taken back they stay.
        if !from.tools.is_empty() {
            to.tools.clone_from(&from.tools);
        }
        to.tool_choice.clone_from(&from.tool_choice);
        from.tool_choice != ToolChoice::Auto && !from.tools.is_empty()
    }),
    ("response_format", |from, to| {
        to.response_format.clone_from(&from.response_format);
        from.response_format != ResponseFormat::Text
    }),
    ("max_output_tokens", |from, to| {
        to.max_output_tokens = from.max_output_tokens;
        from.max_output_tokens.is_some()
    }),
    ("temperature", |from, to| {
        to.temperature = from.temperature;
        from.temperature.is_some()
    }),
    ("top_p", |from, to| {
        to.top_p = from.top_p;
        from.top_p.is_some()
    }),
    ("stop", |from, to| {
        to.stop.clone_from(&from.stop);
        !from.stop.is_empty()
    }),
    ("seed", |from, to| {
        to.seed = from.seed;
        from.seed.is_some()
    }),
    ("choices", |from, to| {
        to.choices = from.choices;
        from.choices.is_some()
    }),
    ("top_logprobs", |from, to| {
        to.top_logprobs = from.top_logprobs;
        from.top_logprobs.is_some()
    }),
    ("cache", |from, to| {
        to.cache.clone_from(&from.cache);
        from.cache != CacheHint::default()
    }),
    ("reasoning_effort", |from, to| {
        to.reasoning_effort.clone_from(&from.reasoning_effort);
        from.reasoning_effort.is_some()
    }),
    ("reasoning_budget_tokens", |from, to| {
        to.reasoning_budget_tokens = from.reasoning_budget_tokens;
        from.reasoning_budget_tokens.is_some()
    }),
];

/// A part like the caller's with a mark for content.
struct Probe {
    what: &'static str,
    part: Part,
    mark: String,
}

const MARK: &str = "loquatmark";
/// A signature that is base64 as well, since some formats decode it.
const SIGNATURE: &str = "bG9xdWF0bWFyaw==";

/// What to try for that part: the part itself, then what it carries beside.
fn probes(part: &Part) -> Vec<Probe> {
    let probe = |what, part, mark: &str| Probe { what, part, mark: mark.to_owned() };
    let media = |what, media: &Media, wrap: fn(Media) -> Part| {
        let (media, mark) = marked(media);
        vec![Probe { what, part: wrap(media), mark }]
    };
    match part {
        Part::Text(_) => vec![probe("text", Part::Text(MARK.into()), MARK)],
        Part::Refusal(_) => vec![probe("refusal", Part::Refusal(MARK.into()), MARK)],
        Part::Image(image) => media("image", image, Part::Image),
        Part::Audio(audio) => media("audio", audio, Part::Audio),
        Part::File(file) => media("file", file, Part::File),
        Part::ToolCall(call) => {
            let mut marked = ToolCall::new("call_0", MARK, "{}");
            marked.signature = call.signature.as_ref().map(|_| SIGNATURE.to_owned());
            let mut probes = vec![probe("tool call", Part::ToolCall(marked.clone()), MARK)];
            if call.signature.is_some() {
                probes.push(probe("signature", Part::ToolCall(marked), SIGNATURE));
            }
            probes
        }
        Part::ToolResult(result) => {
            let mut marked = ToolResult::new(&ToolCall::new("call_0", "f", "{}"), MARK);
            marked.is_error = result.is_error;
            vec![probe("tool result", Part::ToolResult(marked), MARK)]
        }
        Part::Reasoning(reasoning) => {
            let mut marked = Reasoning::new(if reasoning.text.is_empty() { "" } else { MARK });
            marked.signature = reasoning.signature.as_ref().map(|_| SIGNATURE.to_owned());
            marked.redacted = reasoning.redacted;
            marked.format.clone_from(&reasoning.format);
            let mut probes = Vec::new();
            if !reasoning.text.is_empty() {
                probes.push(probe("reasoning", Part::Reasoning(marked.clone()), MARK));
            }
            if reasoning.signature.is_some() {
                probes.push(probe("signature", Part::Reasoning(marked), SIGNATURE));
            }
            probes
        }
        // Carried byte for byte or not at all.
        Part::Opaque(opaque) => {
            let marked = Opaque::new(opaque.format.clone(), format!("{{\"{MARK}\":1}}"));
            vec![probe("opaque part", Part::Opaque(marked), MARK)]
        }
        _ => vec![probe("unknown part", part.clone(), MARK)],
    }
}

/// The same kind of media with marked content, and how the mark looks on the wire.
fn marked(media: &Media) -> (Media, String) {
    let mut marked = media.clone();
    let mark = match &media.source {
        MediaSource::Bytes(bytes) => {
            // The first twelve bytes may tell the type; twelve are sixteen letters of base64, so the mark's stay apart.
            let mut content = bytes.iter().copied().take(12).collect::<Vec<_>>();
            content.resize(12, b' ');
            content.extend_from_slice(MARK.as_bytes());
            marked.source = MediaSource::Bytes(content.into());
            base64(MARK.as_bytes())
        }
        MediaSource::Url(url) => {
            // Some formats take only certain schemes.
            let scheme = url.split_once("://").map_or("https", |(scheme, _)| scheme);
            marked.source = MediaSource::Url(format!("{scheme}://{MARK}/file"));
            MARK.to_owned()
        }
        _ => {
            marked.source = MediaSource::FileId(MARK.to_owned());
            MARK.to_owned()
        }
    };
    (marked, mark)
}

/// The shortest sound conversation with that part in it.
fn conversation(model: &str, role: Role, part: Part) -> ChatRequest {
    let messages = match (role, part) {
        (role, Part::ToolResult(result)) => {
            let call = ToolCall::new(result.call_id.clone(), result.name.clone(), "{}");
            let asked = Message::new(Role::Assistant, vec![Part::ToolCall(call)]);
            vec![Message::user("hi"), asked, Message::new(role, vec![Part::ToolResult(result)])]
        }
        (role, Part::ToolCall(call)) => {
            let result = Message::tool(ToolResult::new(&call, "done"));
            vec![Message::user("hi"), Message::new(role, vec![Part::ToolCall(call)]), result]
        }
        (Role::Assistant, part) => {
            let said = Message::new(Role::Assistant, vec![part]);
            vec![Message::user("hi"), said, Message::user("go on")]
        }
        (Role::System, part) => vec![Message::new(Role::System, vec![part]), Message::user("hi")],
        (role, part) => vec![Message::new(role, vec![part])],
    };
    let mut request = ChatRequest::new(model);
    request.messages = messages;
    request
}

fn encoded(format: &dyn Format, request: &ChatRequest) -> Result<Vec<u8>, Error> {
    format.encode(request, &request.model).map(|encoded| encoded.body)
}

fn contains(body: &[u8], mark: &str) -> bool {
    body.windows(mark.len()).any(|window| window == mark.as_bytes())
}
