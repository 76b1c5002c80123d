//! Gemini's responses, whole or in pieces (which have the same shape), into deltas.
//!
//! A function call comes whole, except where the model streams its arguments: then it is put together here. Code that the
//! server ran, and parts of kinds that are not known, stay parts of the message ([`Delta::Opaque`]). The format says
//! `STOP` of an answer that asks for tools; here that is `ToolCalls`, as everywhere.
//!
//! [`Delta::Opaque`]: loquat_core::Delta::Opaque

use loquat_core::{Error, ErrorKind, FinishReason, Result, Usage};
use loquat_json::{Extractor, Found, Match, Str, Value};
use serde_json::Value as Owned;

use super::arguments::Arguments;
use crate::{
    DecodeLimits, DecoderMemory,
    calls::CallPiece,
    failure,
    fields::{Pick, bits, fields},
    outbox::{Kind, Of, Outbox, Text},
    pool::Pool,
    seal::Family,
    wire::{EventError, Incoming, Wire},
};

/// The format's name in an opaque part.
pub(super) const OPAQUE: &str = "gemini";

fields! {
    Id = "/responseId",
    Model = "/modelVersion",
    Error = "/error",
    Candidates = "/candidates",
    BlockReason = "/promptFeedback/blockReason",
    BlockMessage = "/promptFeedback/blockReasonMessage",
    Feedback = "/promptFeedback",
    InputTokens = "/usageMetadata/promptTokenCount",
    OutputTokens = "/usageMetadata/candidatesTokenCount",
    ThoughtTokens = "/usageMetadata/thoughtsTokenCount",
    CachedTokens = "/usageMetadata/cachedContentTokenCount",
    ToolTokens = "/usageMetadata/toolUsePromptTokenCount",
    UsageMetadata = "/usageMetadata",
    Index = "/candidates/*/index",
    Finish = "/candidates/*/finishReason",
    Citations = "/candidates/*/citationMetadata",
    Grounding = "/candidates/*/groundingMetadata",
    UrlContext = "/candidates/*/urlContextMetadata",
    Logprobs = "/candidates/*/logprobsResult",
    Safety = "/candidates/*/safetyRatings",
    Part = "/candidates/*/content/parts/*",
    PartText = "/candidates/*/content/parts/*/text",
    PartThought = "/candidates/*/content/parts/*/thought",
    PartSignature = "/candidates/*/content/parts/*/thoughtSignature",
    CallId = "/candidates/*/content/parts/*/functionCall/id",
    CallName = "/candidates/*/content/parts/*/functionCall/name",
    CallArguments = "/candidates/*/content/parts/*/functionCall/args",
    CallPieces = "/candidates/*/content/parts/*/functionCall/partialArgs",
    CallContinues = "/candidates/*/content/parts/*/functionCall/willContinue",
    Call = "/candidates/*/content/parts/*/functionCall",
    InlineType = "/candidates/*/content/parts/*/inlineData/mimeType",
    InlineData = "/candidates/*/content/parts/*/inlineData/data",
}

/// What answers leave for those after them.
pub(super) static POOL: Pool = Pool::new(DecoderMemory::new);

/// The state of one answer.
#[derive(Debug)]
pub(super) struct Generate {
    extractor: Extractor,
    /// The call whose arguments are still coming, and of which alternative.
    open: Option<(u32, Arguments)>,
    limits: DecodeLimits,
    /// Reused for comparing words.
    word: String,
}

/// What is single in a candidate.
#[derive(Debug, Clone, Copy, Default)]
struct Candidate<'e> {
    position: u32,
    matches: usize,
    index: Option<Value<'e>>,
    finish: Option<Value<'e>>,
}

/// One part of a candidate's content.
#[derive(Debug, Clone, Copy, Default)]
struct Part<'e> {
    raw: Option<Value<'e>>,
    text: Option<Str<'e>>,
    thought: bool,
    signature: Option<Str<'e>>,
    is_call: bool,
    id: Option<Str<'e>>,
    name: Option<Str<'e>>,
    arguments: Option<Value<'e>>,
    pieces: Option<Value<'e>>,
    continues: bool,
    media_type: Option<Str<'e>>,
    data: Option<Str<'e>>,
}

impl Generate {
    pub(super) fn boxed(limits: DecodeLimits) -> Result<Box<dyn Wire>> {
        Ok(Box::new(Self { extractor: Field::extractor()?, open: None, limits, word: String::new() }))
    }
}

impl Wire for Generate {
    fn renew(&mut self, new: DecodeLimits) {
        let Self { extractor: _, open, limits, word: _ } = self;
        (*open, *limits) = (None, new);
    }

    fn extractor(&mut self) -> &mut Extractor {
        &mut self.extractor
    }

    fn event(&mut self, event: Incoming<'_>, out: &mut Outbox) -> Result<bool, EventError> {
        let Self { extractor, open, limits, word } = self;
        if event.is_done() {
            // Not Google's, but that of servers which translate from a format that has it.
            close(open, out)?;
            out.finish();
            return Ok(true);
        }
        let found = event.extract(extractor)?;
        if event.name != "error" && text_alone(found, out)? {
            return Ok(true);
        }
        if event.name == "error" || Field::Error.get(found).is_some_and(|error| !error.is_null()) {
            out.fail(failure::of_event(event.data));
            return Ok(true);
        }
        let candidates = Field::Candidates.get(found).is_some();
        let feedback = Field::Feedback.get(found).is_some();
        if !candidates && !feedback && Field::UsageMetadata.get(found).is_none() {
            out.raw(event.name, event.data)?;
            return Ok(true);
        }
        if let Some(usage) = usage(found) {
            *out.usage_mut() = usage;
        }
        out.start(Field::Id.text(found), Field::Model.text(found))?;
        if let Some(feedback) = Field::Feedback.get(found) {
            out.detail(0, "safety", feedback)?;
        }
        // Beside a refusal a list of candidates may stand that has none in it.
        let none = Field::Candidates.get(found).is_none_or(|list| !list.raw().contains(&b'{'));
        if let Some(reason) = Field::BlockReason.text(found).filter(|_| none) {
            out.fail(blocked(reason.decode_lossy(word), Field::BlockMessage.text(found), event.data));
            return Ok(true);
        }
        let mut ahead = found.iter().filter_map(in_candidate).peekable();
        let mut behind = found.iter().filter_map(in_candidate);
        while let Some(&(position, ..)) = ahead.peek() {
            let mut candidate = Candidate { position, ..Candidate::default() };
            while let Some((_, field, found)) = ahead.next_if(|(other, ..)| *other == position) {
                candidate.matches += 1;
                match field {
                    Field::Index => candidate.index = Some(found.value),
                    Field::Finish => candidate.finish = Some(found.value),
                    _ => {}
                }
            }
            let choice = candidate.number()?;
            content(behind.by_ref().take(candidate.matches), choice, open, limits, out)?;
            if let Some(reason) = candidate.finish.and_then(|reason| finish_reason(reason, word)) {
                close(open, out)?;
                let asks = reason == FinishReason::Stop && out.has_calls(choice);
                out.end_choice(choice, if asks { FinishReason::ToolCalls } else { reason })?;
            }
        }
        Ok(true)
    }
}

/// What most events of a stream consist of: more text of one candidate, and what it has cost so far.
const TEXT_ALONE: u128 = COUNTS | IGNORED | bits!(Index | PartText | PartThought);

/// What [`usage`] looks at.
const COUNTS: u128 = bits!(InputTokens | OutputTokens | ThoughtTokens | CachedTokens | ToolTokens);

/// What nobody looks at in an event that is text alone, once the answer has begun.
const IGNORED: u128 = bits!(Id | Model | Candidates | UsageMetadata | Part);

/// The short way for an event that is that and nothing else; `false`, and nothing done, for any other. It comes to what the
/// long way does, which the tests hold it to.
fn text_alone(found: Found<'_>, out: &mut Outbox) -> Result<bool> {
    if !found.is_only(TEXT_ALONE) || !out.has_started() {
        return Ok(false);
    }
    let Some(position) = found.indices(Field::PartText as usize).and_then(|indices| indices.get(0)) else {
        return Ok(false);
    };
    let (plain, content) = match Field::PartText.plain(found) {
        Some(plain) => (Some(plain), None),
        None => (None, Field::PartText.get(found).and_then(|text| text.as_str())),
    };
    if plain.is_none() && content.is_none() {
        return Ok(false);
    }
    let choice = match found.indices(Field::Index as usize) {
        None => position,
        Some(place) if place.get(0) != Some(position) => return Ok(false),
        Some(_) => match found.raw(Field::Index as usize).and_then(|index| index.parse().ok()) {
            Some(index) => index,
            None => return Ok(false),
        },
    };
    if let Some(usage) = usage(found) {
        *out.usage_mut() = usage;
    }
    let kind = if Field::PartThought.is(found, "true") { Kind::Reasoning } else { Kind::Text };
    match (plain, content) {
        (Some(text), _) => out.say_on(kind, choice, text)?,
        (None, Some(text)) => out.say(kind, choice, text)?,
        (None, None) => {}
    }
    let of = Of::Running { kind, choice };
    out.expect_more_at_cost(of, Field::PartText.number(), IGNORED, (COUNTS, usage), found);
    Ok(true)
}

/// A match inside a candidate, with the candidate's position.
fn in_candidate<'e>(found: Match<'e>) -> Option<(u32, Field, Match<'e>)> {
    Some((found.indices.get(0)?, Field::of(&found)?, found))
}

/// A prompt that was refused: there is no answer.
fn blocked(reason: &str, message: Option<Str<'_>>, data: &str) -> Error {
    let mut said = String::new();
    let said = message.map(|message| message.decode_lossy(&mut said)).unwrap_or_default();
    let lead = "the provider refused the prompt";
    let message = if said.is_empty() { lead.to_owned() } else { format!("{lead}: {said}") };
    Error::new(ErrorKind::ContentFiltered, message).with_code(reason).with_raw_body(data.as_bytes())
}

fn content<'e>(
    matches: impl Iterator<Item = (u32, Field, Match<'e>)>,
    choice: u32,
    open: &mut Option<(u32, Arguments)>,
    limits: &DecodeLimits,
    out: &mut Outbox,
) -> Result<()> {
    let mut position = None;
    let mut part = Part::default();
    for (_, field, found) in matches {
        let here = found.indices.get(1);
        if position.is_some() && position != here {
            std::mem::take(&mut part).take_in(choice, open, limits, out)?;
        }
        position = here;
        if here.is_some() {
            part.note(field, found.value);
        } else if let Some(name) = detail(field) {
            out.detail(choice, name, found.value)?;
        }
    }
    if position.is_some() { part.take_in(choice, open, limits, out) } else { Ok(()) }
}

/// The common name of what is said about an answer.
fn detail(field: Field) -> Option<&'static str> {
    Some(match field {
        Field::Citations | Field::Grounding | Field::UrlContext => "citations",
        Field::Logprobs => "logprobs",
        Field::Safety => "safety",
        _ => return None,
    })
}

impl Candidate<'_> {
    fn number(&self) -> Result<u32> {
        let Some(index) = self.index.filter(|index| !index.is_null()) else { return Ok(self.position) };
        index.as_u64().and_then(|index| u32::try_from(index).ok()).ok_or_else(|| {
            Error::new(ErrorKind::Protocol, "the index of an alternative is not a number in range")
        })
    }
}

impl<'e> Part<'e> {
    fn note(&mut self, field: Field, value: Value<'e>) {
        let text = value.as_str().filter(|text| !text.is_empty());
        match field {
            Field::Part => self.raw = Some(value),
            Field::PartText => self.text = value.as_str(),
            Field::PartThought => self.thought = value.as_bool().unwrap_or(false),
            Field::PartSignature => self.signature = text,
            Field::Call => self.is_call = !value.is_null(),
            Field::CallId => self.id = text,
            Field::CallName => self.name = text,
            Field::CallArguments => self.arguments = Some(value),
            Field::CallPieces => self.pieces = Some(value),
            Field::CallContinues => self.continues = value.as_bool().unwrap_or(false),
            Field::InlineType => self.media_type = text,
            Field::InlineData => self.data = text,
            _ => {}
        }
    }

    fn take_in(
        self,
        choice: u32,
        open: &mut Option<(u32, Arguments)>,
        limits: &DecodeLimits,
        out: &mut Outbox,
    ) -> Result<()> {
        if self.is_call {
            return self.call(choice, open, limits, out);
        }
        let raw = || std::str::from_utf8(self.raw.map_or(&b""[..], |raw| raw.raw())).unwrap_or_default();
        if self.thought {
            out.think();
        }
        if let Some(text) = self.text {
            out.say(if self.thought { Kind::Reasoning } else { Kind::Text }, choice, text)?;
        } else if let Some(data) = self.data {
            let media_type = self.media_type.map_or(Text::Plain("application/octet-stream"), Text::Json);
            let told = match data.borrowed() {
                Some(data) => out.media(choice, media_type, data)?,
                None => false,
            };
            if !told {
                return out.opaque(choice, OPAQUE, raw());
            }
        } else if !is_empty(raw()) {
            // Its signature is in it.
            return out.opaque(choice, OPAQUE, raw());
        }
        match self.signature {
            Some(signature) => out.seal(choice, signature, false, Family::Google),
            None => Ok(()),
        }
    }

    fn call(
        self,
        choice: u32,
        open: &mut Option<(u32, Arguments)>,
        limits: &DecodeLimits,
        out: &mut Outbox,
    ) -> Result<()> {
        let begins = self.name.is_some();
        if begins {
            close(open, out)?;
        }
        let piece = CallPiece { id: self.id, name: self.name, ..CallPiece::default() };
        let arguments = self.arguments.and_then(|arguments| match arguments {
            Value::Object(raw) => Some(raw.as_str()),
            _ => None,
        });
        if begins && !self.continues && self.pieces.is_none() {
            out.whole_call(choice, &CallPiece { arguments: arguments.map(Text::Plain), ..piece })?;
        } else {
            if begins {
                out.begin_call(choice, &piece)?;
                *open = Some((choice, Arguments::new(limits.max_answer_bytes)));
            }
            // More of a call that never began is nobody's.
            let Some((_, building)) = open else { return Ok(()) };
            if let Some(arguments) = arguments {
                building.begin(arguments)?;
            }
            if let Some(pieces) = self.pieces {
                take_pieces(building, pieces)?;
            }
        }
        if let Some(signature) = self.signature {
            out.seal_call(choice, signature)?;
        }
        if self.continues { Ok(()) } else { close(open, out) }
    }
}

/// A part without content: no object, an empty one, or a signature alone.
fn is_empty(raw: &str) -> bool {
    match serde_json::from_str::<Owned>(raw) {
        Ok(Owned::Object(members)) => {
            members.keys().all(|name| matches!(&**name, "thought" | "thoughtSignature"))
        }
        _ => true,
    }
}

/// The pieces of one event; rare and short, so they are parsed a second time.
fn take_pieces(arguments: &mut Arguments, pieces: Value<'_>) -> Result<()> {
    let Ok(Owned::Array(pieces)) = serde_json::from_slice(pieces.raw()) else { return Ok(()) };
    for mut piece in pieces {
        let Some(path) = piece["jsonPath"].as_str().map(str::to_owned) else { continue };
        let named = ["stringValue", "numberValue", "boolValue"];
        let value =
            named.iter().find_map(|name| piece.get_mut(*name).map(Owned::take)).unwrap_or(Owned::Null);
        arguments.piece(&path, value)?;
    }
    Ok(())
}

/// The open call has all of its arguments.
fn close(open: &mut Option<(u32, Arguments)>, out: &mut Outbox) -> Result<()> {
    let Some((choice, arguments)) = open.take() else { return Ok(()) };
    let text = arguments.text();
    out.call(choice, &CallPiece { arguments: Some(Text::Plain(&text)), ..CallPiece::default() })
}

/// The usage in an event; the last one wins.
fn usage(found: Found<'_>) -> Option<Usage> {
    let (input, output) = (Field::InputTokens.count(found), Field::OutputTokens.count(found));
    if input.is_none() && output.is_none() {
        return None;
    }
    let count = |field: Field| field.count(found).unwrap_or(0);
    let mut usage = Usage::default();
    usage.reasoning_tokens = count(Field::ThoughtTokens);
    usage.cache_read_tokens = count(Field::CachedTokens);
    // What the server's own tools put before the model is counted apart, and so is what it thought.
    usage.input_tokens = input.unwrap_or(0).saturating_add(count(Field::ToolTokens));
    usage.output_tokens = output.unwrap_or(0).saturating_add(usage.reasoning_tokens);
    Some(usage)
}

/// The reason in our words; a number is its place in the protocol's own list.
fn finish_reason(value: Value<'_>, scratch: &mut String) -> Option<FinishReason> {
    let word = match value {
        Value::Str(word) if word.is_empty() => return None,
        Value::Str(word) => word.decode_lossy(scratch),
        Value::Number(number) => match number.as_u64() {
            Some(0) => return None,
            Some(1) => "STOP",
            Some(2) => "MAX_TOKENS",
            Some(3) => "SAFETY",
            Some(4) => "RECITATION",
            _ => number.raw(),
        },
        _ => return None,
    };
    Some(match word {
        "FINISH_REASON_UNSPECIFIED" => return None,
        "STOP" => FinishReason::Stop,
        "MAX_TOKENS" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "LANGUAGE"
        | "MODEL_ARMOR" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    })
}
