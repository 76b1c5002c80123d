//! Converse events, named by their frames, and whole answers, into deltas.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use loquat_core::{FinishReason, Result, Usage};
use loquat_json::{Extractor, Found, Match, Str, Value};

use crate::{
    calls::CallPiece,
    failure,
    fields::{Pick, fields},
    media,
    outbox::{Kind, Outbox, Text},
    seal::Family,
    wire::{EventError, Incoming, Wire},
};

/// The format's name in an opaque part.
pub(super) const OPAQUE: &str = "bedrock-converse";

fields! {
    Index = "/contentBlockIndex",
    StartCall = "/start/toolUse",
    StartId = "/start/toolUse/toolUseId",
    StartName = "/start/toolUse/name",
    StartPicture = "/start/image",
    StartPictureFormat = "/start/image/format",
    Text = "/delta/text",
    Input = "/delta/toolUse/input",
    Thought = "/delta/reasoningContent/text",
    Signature = "/delta/reasoningContent/signature",
    Redacted = "/delta/reasoningContent/redactedContent",
    Citation = "/delta/citation",
    Picture = "/delta/image/source/bytes",
    StopReason = "/stopReason",
    Output = "/output",
    Part = "/output/message/content/*",
    PartText = "/output/message/content/*/text",
    PartThought = "/output/message/content/*/reasoningContent/reasoningText/text",
    PartSignature = "/output/message/content/*/reasoningContent/reasoningText/signature",
    PartRedacted = "/output/message/content/*/reasoningContent/redactedContent",
    PartId = "/output/message/content/*/toolUse/toolUseId",
    PartName = "/output/message/content/*/toolUse/name",
    PartInput = "/output/message/content/*/toolUse/input",
    PartPicture = "/output/message/content/*/image/source/bytes",
    PartPictureFormat = "/output/message/content/*/image/format",
    InputTokens = "/usage/inputTokens",
    OutputTokens = "/usage/outputTokens",
    CacheRead = "/usage/cacheReadInputTokens",
    CacheWrite = "/usage/cacheWriteInputTokens",
    Trace = "/trace",
}

/// The state of one answer.
#[derive(Debug)]
pub(super) struct Converse {
    extractor: Extractor,
    open: Open,
}

/// What is open of a block, and told when that ends.
#[derive(Debug, Default)]
struct Open {
    /// A call is open that has been given no arguments.
    bare_call: bool,
    picture: Option<Picture>,
}

/// A picture that comes in pieces.
#[derive(Debug)]
struct Picture {
    /// `None` until something tells it.
    media_type: Option<&'static str>,
    data: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Part<'e> {
    raw: Option<Value<'e>>,
    text: Option<Str<'e>>,
    thought: Option<Str<'e>>,
    signature: Option<Str<'e>>,
    redacted: Option<Str<'e>>,
    id: Option<Str<'e>>,
    name: Option<Str<'e>>,
    input: Option<Value<'e>>,
    picture: Option<Str<'e>>,
    picture_format: Option<Str<'e>>,
}

impl Converse {
    pub(super) fn boxed() -> Result<Box<dyn Wire>> {
        Ok(Box::new(Self { extractor: Field::extractor()?, open: Open::default() }))
    }
}

impl Wire for Converse {
    fn extractor(&mut self) -> &mut Extractor {
        &mut self.extractor
    }

    fn event(&mut self, event: Incoming<'_>, out: &mut Outbox) -> Result<bool, EventError> {
        let Self { extractor, open } = self;
        let found = event.extract(extractor)?;
        match event.name {
            "contentBlockDelta" => delta(found, event, open, out)?,
            "messageStart" => {}
            "contentBlockStart" => {
                open.close(out)?;
                if Field::StartPicture.get(found).is_some() {
                    let media_type = picture_type(Field::StartPictureFormat.text(found));
                    open.picture = Some(Picture { media_type, data: Vec::new() });
                }
                if Field::StartCall.get(found).is_some() {
                    open.bare_call = true;
                    let (id, name) = (Field::StartId.text(found), Field::StartName.text(found));
                    out.begin_call(0, &CallPiece { id, name, ..CallPiece::default() })?;
                }
            }
            "contentBlockStop" => open.close(out)?,
            "messageStop" => {
                open.close(out)?;
                if let Some(reason) = Field::StopReason.text(found) {
                    out.end_choice(0, finish_reason(reason))?;
                }
            }
            "metadata" => {
                usage(found, out);
                if let Some(trace) = Field::Trace.get(found) {
                    out.detail(0, "safety", trace)?;
                }
                out.finish();
            }
            "error" => out.fail(failure::of_event(event.data)),
            _ if event.whole && Field::Output.get(found).is_some() => whole(found, out)?,
            _ if event.whole => out.fail(failure::of_event(event.data)),
            _ => out.raw(event.name, event.data)?,
        }
        Ok(true)
    }
}

fn delta(found: Found<'_>, event: Incoming<'_>, open: &mut Open, out: &mut Outbox) -> Result<()> {
    if let Some(text) = Field::Text.get(found).and_then(|text| text.as_str()) {
        out.say(Kind::Text, 0, text)
    } else if let Some(input) = Field::Input.get(found).and_then(|input| input.as_str()) {
        open.bare_call &= input.is_empty();
        out.call(0, &CallPiece { arguments: Some(Text::Json(input)), ..CallPiece::default() })
    } else if let Some(text) = Field::Thought.get(found).and_then(|text| text.as_str()) {
        out.think();
        out.say(Kind::Reasoning, 0, text)
    } else if let Some(signature) = Field::Signature.get(found).and_then(|text| text.as_str()) {
        out.seal(0, signature, false, Family::Anthropic)
    } else if let Some(redacted) = Field::Redacted.get(found).and_then(|text| text.as_str()) {
        out.think();
        out.seal(0, redacted, true, Family::Anthropic)
    } else if let Some(citation) = Field::Citation.get(found) {
        out.detail(0, "citations", citation)
    } else if let Some(base64) = Field::Picture.text(found).and_then(|base64| base64.borrowed())
        && open.take_in(base64, out)?
    {
        Ok(())
    } else {
        out.raw(event.name, event.data)
    }
}

impl Open {
    /// A piece of a picture, each of which is base64 by itself; `false` if it is none.
    fn take_in(&mut self, base64: &str, out: &mut Outbox) -> Result<bool> {
        let Ok(piece) = STANDARD.decode(base64) else { return Ok(false) };
        out.count(piece.len())?;
        let Picture { media_type, data } =
            self.picture.get_or_insert_with(|| Picture { media_type: None, data: Vec::new() });
        media_type.get_or_insert_with(|| media::picture_type(base64));
        data.extend_from_slice(&piece);
        Ok(true)
    }

    /// The block is complete.
    fn close(&mut self, out: &mut Outbox) -> Result<()> {
        let Self { bare_call, picture } = std::mem::take(self);
        if bare_call {
            // A call that is complete without a piece of arguments has none.
            out.call(0, &CallPiece { arguments: Some(Text::Plain("{}")), ..CallPiece::default() })?;
        }
        match picture {
            Some(Picture { media_type: Some(media_type), data }) if !data.is_empty() => {
                out.media_data(0, Text::Plain(media_type), data)
            }
            _ => Ok(()),
        }
    }
}

/// The media type of a picture in that format. `None` for one that is not known.
fn picture_type(format: Option<Str<'_>>) -> Option<&'static str> {
    Some(match format?.borrowed()? {
        "png" => "image/png",
        "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        _ => return None,
    })
}

fn whole(found: Found<'_>, out: &mut Outbox) -> Result<()> {
    usage(found, out);
    let mut position = None;
    let mut part = Part::default();
    for found in found.iter() {
        let (Some(field), Some(here)) = (Field::of(&found), found.indices.get(0)) else { continue };
        if position.is_some_and(|position| position != here) {
            std::mem::take(&mut part).take_in(out)?;
        }
        position = Some(here);
        part.note(field, &found);
    }
    if position.is_some() {
        part.take_in(out)?;
    }
    match Field::StopReason.text(found) {
        Some(reason) => out.end_choice(0, finish_reason(reason)),
        None => Ok(()),
    }
}

impl<'e> Part<'e> {
    fn note(&mut self, field: Field, found: &Match<'e>) {
        let text = found.value.as_str().filter(|text| !text.is_empty());
        match field {
            Field::Part => self.raw = Some(found.value),
            Field::PartText => self.text = found.value.as_str(),
            Field::PartThought => self.thought = text,
            Field::PartSignature => self.signature = text,
            Field::PartRedacted => self.redacted = text,
            Field::PartId => self.id = text,
            Field::PartName => self.name = text,
            Field::PartInput => self.input = Some(found.value),
            Field::PartPicture => self.picture = text,
            Field::PartPictureFormat => self.picture_format = text,
            _ => {}
        }
    }

    fn take_in(self, out: &mut Outbox) -> Result<()> {
        let text = |value: Value<'e>| std::str::from_utf8(value.raw()).unwrap_or_default();
        if self.name.is_some() {
            let arguments = self.input.filter(|input| !input.is_null()).map(|input| Text::Plain(text(input)));
            return out.whole_call(0, &CallPiece { id: self.id, name: self.name, index: None, arguments });
        }
        if let Some(text) = self.text {
            return out.say(Kind::Text, 0, text);
        }
        if let Some(redacted) = self.redacted {
            return out.seal(0, redacted, true, Family::Anthropic);
        }
        if let Some(base64) = self.picture.and_then(|picture| picture.borrowed()) {
            let media_type = picture_type(self.picture_format).unwrap_or_else(|| media::picture_type(base64));
            if out.media(0, Text::Plain(media_type), base64)? {
                return Ok(());
            }
        }
        if self.thought.is_none() && self.signature.is_none() {
            return out.opaque(0, OPAQUE, self.raw.map(text).unwrap_or_default());
        }
        if let Some(thought) = self.thought {
            out.say(Kind::Reasoning, 0, thought)?;
        }
        match self.signature {
            Some(signature) => out.seal(0, signature, false, Family::Anthropic),
            None => Ok(()),
        }
    }
}

/// The server counts apart what it read from and wrote to its cache; our input is all of the prompt.
fn usage(found: Found<'_>, out: &mut Outbox) {
    let count = |field: Field| field.count(found).unwrap_or(0);
    let mut usage = Usage::default();
    usage.cache_read_tokens = count(Field::CacheRead);
    usage.cache_write_tokens = count(Field::CacheWrite);
    usage.input_tokens = count(Field::InputTokens)
        .saturating_add(usage.cache_read_tokens)
        .saturating_add(usage.cache_write_tokens);
    usage.output_tokens = count(Field::OutputTokens);
    *out.usage_mut() = usage;
}

fn finish_reason(word: Str<'_>) -> FinishReason {
    let mut scratch = String::new();
    match word.decode_lossy(&mut scratch) {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "guardrail_intervened" | "content_filtered" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    }
}
