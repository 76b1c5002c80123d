//! Chat completion chunks, and whole completions, into deltas.
//!
//! A chunk and a whole completion differ only in `delta` against `message`, so both are read by the same code. Members
//! come in any order (`index` after `delta`, `finish_reason` before it), so the matches of a choice are walked twice:
//! once for what is single, then for the lists. Some servers send both `delta` and a growing `message`; in a stream
//! the deltas count.

use loquat_core::{Error, ErrorKind, FinishReason, Result, Usage};
use loquat_json::{Extractor, Found, Match, Str, Value};
use serde_json::{Map, Value as Owned};

use crate::{
    calls::CallPiece,
    decoder::{EventError, Incoming, Wire},
    failure,
    fields::fields,
    outbox::{Kind, Outbox, Text},
};

/// The same member of `delta` and of `message`, which are declared in two blocks of one order.
macro_rules! chat_fields {
    ($($name:ident = $pointer:expr),* ; $($delta:ident, $message:ident = $leaf:literal),* $(,)?) => {
        fields! {
            $($name = $pointer,)*
            $($delta = concat!("/choices/*/delta", $leaf),)*
            $($message = concat!("/choices/*/message", $leaf),)*
        }

        /// Which member, and whether of `delta`.
        fn member(field: Field) -> Option<(Field, bool)> {
            match field {
                $(Field::$delta => Some((Field::$delta, true)),)*
                $(Field::$message => Some((Field::$delta, false)),)*
                _ => None,
            }
        }
    };
}

chat_fields! {
    Id = "/id",
    Model = "/model",
    Object = "/object",
    Error = "/error",
    Code = "/code",
    Message = "/message",
    Detail = "/detail",
    InputTokens = "/usage/prompt_tokens",
    OutputTokens = "/usage/completion_tokens",
    TotalTokens = "/usage/total_tokens",
    CachedTokens = "/usage/prompt_tokens_details/cached_tokens",
    CacheWriteTokens = "/usage/prompt_tokens_details/cache_write_tokens",
    ReasoningTokens = "/usage/completion_tokens_details/reasoning_tokens",
    TopCachedTokens = "/usage/cached_tokens",
    CacheHitTokens = "/usage/prompt_cache_hit_tokens",
    CacheReadInput = "/usage/cache_read_input_tokens",
    CacheCreationInput = "/usage/cache_creation_input_tokens",
    TopReasoningTokens = "/usage/reasoning_tokens",
    GroqInputTokens = "/x_groq/usage/prompt_tokens",
    GroqOutputTokens = "/x_groq/usage/completion_tokens",
    GroqTotalTokens = "/x_groq/usage/total_tokens",
    GroqCachedTokens = "/x_groq/usage/prompt_tokens_details/cached_tokens",
    GroqReasoningTokens = "/x_groq/usage/completion_tokens_details/reasoning_tokens",
    GroqError = "/x_groq/error",
    ChoiceInputTokens = "/choices/*/usage/prompt_tokens",
    ChoiceOutputTokens = "/choices/*/usage/completion_tokens",
    ChoiceTotalTokens = "/choices/*/usage/total_tokens",
    ChoiceCachedTokens = "/choices/*/usage/cached_tokens",
    Fingerprint = "/system_fingerprint",
    Tier = "/service_tier",
    Citations = "/citations",
    SearchResults = "/search_results",
    PromptFilter = "/prompt_filter_results",
    Choices = "/choices",
    Logprobs = "/choices/*/logprobs",
    Filter = "/choices/*/content_filter_results",
    Index = "/choices/*/index",
    Finish = "/choices/*/finish_reason";
    Role, MessageRole = "/role",
    Content, MessageContent = "/content",
    PartText, MessagePartText = "/content/*/text",
    PartThinking, MessagePartThinking = "/content/*/thinking/*/text",
    PartReferences, MessagePartReferences = "/content/*/reference_ids",
    ReasoningContent, MessageReasoningContent = "/reasoning_content",
    Reasoning, MessageReasoning = "/reasoning",
    Sealed, MessageSealed = "/reasoning_details/*",
    DetailText, MessageDetailText = "/reasoning_details/*/text",
    DetailSummary, MessageDetailSummary = "/reasoning_details/*/summary",
    DetailSignature, MessageDetailSignature = "/reasoning_details/*/signature",
    DetailData, MessageDetailData = "/reasoning_details/*/data",
    Refusal, MessageRefusal = "/refusal",
    Annotations, MessageAnnotations = "/annotations",
    AudioData, MessageAudioData = "/audio/data",
    AudioTranscript, MessageAudioTranscript = "/audio/transcript",
    Image, MessageImage = "/images/*/image_url/url",
    CallSignature, MessageCallSignature = "/tool_calls/*/extra_content/google/thought_signature",
    CallIndex, MessageCallIndex = "/tool_calls/*/index",
    CallId, MessageCallId = "/tool_calls/*/id",
    CallName, MessageCallName = "/tool_calls/*/function/name",
    CallArguments, MessageCallArguments = "/tool_calls/*/function/arguments",
    CustomName, MessageCustomName = "/tool_calls/*/custom/name",
    CustomInput, MessageCustomInput = "/tool_calls/*/custom/input",
    LegacyName, MessageLegacyName = "/function_call/name",
    LegacyArguments, MessageLegacyArguments = "/function_call/arguments",
}

/// The state of one answer.
#[derive(Debug)]
pub(super) struct Chat {
    extractor: Extractor,
    /// Deltas were seen: whatever stands in `message` repeats them.
    has_deltas: bool,
    /// What has been said of the answer, and is repeated with every chunk.
    said: [String; ONCE.len()],
    /// Reused for comparing words.
    word: String,
}

/// What chunks repeat: it is told when it changes.
const ONCE: [(Field, &str); 5] = [
    (Field::Fingerprint, "fingerprint"),
    (Field::Tier, "service_tier"),
    (Field::Citations, "citations"),
    (Field::SearchResults, "search_results"),
    (Field::PromptFilter, "safety"),
];

/// What is single in a choice.
#[derive(Debug, Clone, Copy, Default)]
struct Choice<'e> {
    /// Its position in the list, by which its matches are told apart.
    position: u32,
    matches: usize,
    index: Option<Value<'e>>,
    finish: Option<Str<'e>>,
    logprobs: Option<Value<'e>>,
    filter: Option<Value<'e>>,
    has_delta: bool,
    delta: Said<'e>,
    message: Said<'e>,
}

/// What is single in a `delta` or `message`.
#[derive(Debug, Clone, Copy, Default)]
struct Said<'e> {
    content: Option<Str<'e>>,
    reasoning_content: Option<Str<'e>>,
    reasoning: Option<Str<'e>>,
    refusal: Option<Str<'e>>,
    legacy_name: Option<Str<'e>>,
    legacy_arguments: Option<Str<'e>>,
    annotations: Option<Value<'e>>,
    audio: Option<Str<'e>>,
    transcript: Option<Str<'e>>,
    has_parts: bool,
    has_details: bool,
    has_seals: bool,
    has_calls: bool,
}

impl Chat {
    pub(super) fn boxed() -> Result<Box<dyn Wire>> {
        Ok(Box::new(Self {
            extractor: Field::extractor()?,
            has_deltas: false,
            said: Default::default(),
            word: String::new(),
        }))
    }
}

impl Wire for Chat {
    fn extractor(&mut self) -> &mut Extractor {
        &mut self.extractor
    }

    fn event(&mut self, event: Incoming<'_>, out: &mut Outbox) -> Result<bool, EventError> {
        let data = event.data;
        if event.is_done() {
            out.finish();
            return Ok(true);
        }
        if event.name == "error" {
            out.fail(failure::of_event(data));
            return Ok(true);
        }
        let Self { extractor, has_deltas, said, word } = self;
        let found = event.extract(extractor)?;
        if !event.whole && piece_alone(found, said, out)? {
            *has_deltas = true;
            return Ok(true);
        }
        if is_error(found) {
            out.fail(failure::of_event(data));
            return Ok(true);
        }
        if let Some(usage) = usage(found) {
            *out.usage_mut() = usage;
        }
        if Field::Choices.get(found).is_none() && Field::Object.text(found).is_none() {
            // Neither an answer nor a part of one.
            let known =
                Field::InputTokens.get(found).is_some() || Field::GroqInputTokens.get(found).is_some();
            if !known {
                out.raw(event.name, data)?;
            }
            return Ok(true);
        }
        out.start(Field::Id.text(found), Field::Model.text(found))?;
        for ((field, name), before) in ONCE.into_iter().zip(said) {
            if let Some(raw) =
                found.raw(field as usize).filter(|raw| *raw != before.as_str() && *raw != "null")
            {
                before.clear();
                before.push_str(raw);
                out.detail_text(0, name, raw)?;
            }
        }
        choices(found, event.whole, has_deltas, word, out)?;
        Ok(true)
    }
}

/// What says nothing new in an event of a stream.
const AROUND: u128 = Field::bits(&[
    Field::Id,
    Field::Model,
    Field::Object,
    Field::Fingerprint,
    Field::Tier,
    Field::Choices,
    Field::Index,
    Field::Role,
]);
const TEXT_ALONE: u128 = AROUND | Field::bits(&[Field::Content, Field::ReasoningContent, Field::Reasoning]);
const CALL_ALONE: u128 = AROUND | Field::bits(&[Field::CallIndex, Field::CallArguments]);

/// The short way for what most events of a stream consist of: more of one text or of one tool call, and nothing new around
/// it. `false`, and nothing done, for any other event. It comes to what the long way does, which the tests hold it to.
fn piece_alone(found: Found<'_>, said: &[String; ONCE.len()], out: &mut Outbox) -> Result<bool> {
    let is_text = found.is_only(TEXT_ALONE);
    if !(is_text || found.is_only(CALL_ALONE)) || !out.has_started() {
        return Ok(false);
    }
    let is_new = |field: Field, before: &str| {
        found.raw(field as usize).is_some_and(|raw| raw != before && raw != "null")
    };
    let [fingerprint, tier, ..] = said;
    if is_new(Field::Fingerprint, fingerprint) || is_new(Field::Tier, tier) {
        return Ok(false);
    }
    let Some(place) = found.indices(Field::Index as usize) else { return Ok(false) };
    let number = found.raw(Field::Index as usize).and_then(|index| index.parse().ok());
    let Some(choice) = number else { return Ok(false) };
    if !is_text {
        let Some(fragment) = found.find(Field::CallArguments as usize) else { return Ok(false) };
        let index = found.find(Field::CallIndex as usize);
        let is_here = index.is_none_or(|index| index.indices == fragment.indices)
            && fragment.indices.get(0) == place.get(0);
        let (Some(arguments), true) = (text(fragment.value), is_here) else { return Ok(false) };
        let index = index.map(|index| index.value);
        out.call(choice, &CallPiece { index, arguments: Some(arguments.into()), ..CallPiece::default() })?;
        return Ok(true);
    }
    let one = |kind, field: Field| {
        let found = found.find(field as usize)?;
        Some((kind, text(found.value)?, found.indices))
    };
    let text = one(Kind::Text, Field::Content);
    let thought = one(Kind::Reasoning, Field::ReasoningContent).xor(one(Kind::Reasoning, Field::Reasoning));
    match text.xor(thought) {
        Some((kind, text, indices)) if indices == place => {
            out.say(kind, choice, text)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn is_error(found: Found<'_>) -> bool {
    let reported = |field: Field| match field.get(found) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Str(text)) => !text.is_empty(),
        Some(_) => true,
    };
    let has_choices = Field::Choices.get(found).is_some();
    if reported(Field::Error) {
        // `"error": {}` beside an answer says nothing.
        let empty = Field::Error.get(found).is_some_and(|error| error.raw().len() <= 2);
        return !(empty && has_choices);
    }
    let object_is_error = Field::Object.text(found).and_then(|text| text.borrowed()) == Some("error");
    reported(Field::GroqError)
        || (!has_choices
            && (object_is_error
                || reported(Field::Detail)
                || (reported(Field::Code) && reported(Field::Message))))
}

/// The usage in an event; the last one wins. `None` where there is none.
fn usage(found: Found<'_>) -> Option<Usage> {
    let first = |fields: &[Field]| fields.iter().find_map(|field| field.count(found));
    let input = first(&[Field::InputTokens, Field::GroqInputTokens, Field::ChoiceInputTokens]);
    let output = first(&[Field::OutputTokens, Field::GroqOutputTokens, Field::ChoiceOutputTokens]);
    if input.is_none() && output.is_none() {
        return None;
    }
    let total = first(&[Field::TotalTokens, Field::GroqTotalTokens, Field::ChoiceTotalTokens]);
    let mut usage = Usage::default();
    usage.input_tokens = input.unwrap_or(0);
    usage.output_tokens = output.unwrap_or(0);
    usage.cache_read_tokens = first(&[
        Field::CachedTokens,
        Field::GroqCachedTokens,
        Field::TopCachedTokens,
        Field::CacheHitTokens,
        Field::CacheReadInput,
        Field::ChoiceCachedTokens,
    ])
    .unwrap_or(0);
    usage.cache_write_tokens = first(&[Field::CacheWriteTokens, Field::CacheCreationInput]).unwrap_or(0);
    usage.reasoning_tokens =
        first(&[Field::ReasoningTokens, Field::GroqReasoningTokens, Field::TopReasoningTokens]).unwrap_or(0);
    // xAI counts reasoning beside the completion instead of within it; its total tells.
    let apart = usage.total_tokens().checked_add(usage.reasoning_tokens);
    if usage.reasoning_tokens > 0 && total.is_some() && total == apart {
        usage.output_tokens += usage.reasoning_tokens;
    }
    Some(usage)
}

fn choices(
    found: Found<'_>,
    whole: bool,
    has_deltas: &mut bool,
    word: &mut String,
    out: &mut Outbox,
) -> Result<()> {
    // Three walks over the same matches: what is single in a choice, then its reasoning and text, then its calls.
    let mut ahead = found.iter();
    let mut next = ahead.find_map(in_choice);
    let mut parts = Walk::new(found.iter().filter_map(in_choice));
    let mut calls = Walk::new(found.iter().filter_map(in_choice));
    while let Some((position, ..)) = next {
        let mut choice = Choice { position, ..Choice::default() };
        while let Some((other, field, found)) = &next
            && *other == position
        {
            choice.matches += 1;
            choice.note(*field, found);
            next = ahead.find_map(in_choice);
        }
        let from_delta = if whole { false } else { choice.has_delta || *has_deltas };
        *has_deltas |= choice.has_delta && !whole;
        let said = if from_delta { choice.delta } else { choice.message };
        let index = choice.number()?;

        let reasoning = said.reasoning_content.or(said.reasoning);
        if let Some(text) = reasoning {
            out.say(Kind::Reasoning, index, text)?;
        }
        if said.has_details || said.has_parts {
            let mut sealed = Vec::new();
            for (_, field, found) in parts.group(choice.matches) {
                part(field, &found, from_delta, reasoning.is_some(), index, out)?;
                let is_detail = member(field) == Some((Field::Sealed, from_delta));
                if said.has_seals && is_detail {
                    sealed.push(found.value);
                }
            }
            sealed.into_iter().try_for_each(|detail| seal(detail, index, out))?;
        } else {
            parts.leave(choice.matches);
        }
        if let Some(text) = said.content.or(said.transcript) {
            out.say(Kind::Text, index, text)?;
        }
        if let Some(data) = said.audio.and_then(|data| data.borrowed()) {
            out.media(index, Text::Plain(audio_type(data)), data)?;
        }
        if let Some(text) = said.refusal {
            out.say(Kind::Refusal, index, text)?;
        }
        if said.has_calls {
            tool_calls(calls.group(choice.matches), from_delta, index, out)?;
        } else {
            calls.leave(choice.matches);
            if said.legacy_name.is_some() || said.legacy_arguments.is_some() {
                let arguments = said.legacy_arguments.map(Text::Json);
                let piece = CallPiece { name: said.legacy_name, arguments, ..CallPiece::default() };
                out.call(index, &piece)?;
            }
        }
        let details =
            [(choice.logprobs, "logprobs"), (said.annotations, "citations"), (choice.filter, "safety")];
        for (value, name) in details {
            if let Some(value) = value {
                out.detail(index, name, value)?;
            }
        }
        if let Some(reason) = choice.finish {
            match finish_reason(reason.decode_lossy(word)) {
                Some(reason) => out.end_choice(index, reason)?,
                None => {
                    out.fail(Error::new(ErrorKind::Server, "the provider ended the answer with an error"));
                }
            }
        }
    }
    Ok(())
}

impl<'e> Choice<'e> {
    fn note(&mut self, field: Field, found: &Match<'e>) {
        let value = found.value;
        match field {
            Field::Index => self.index = Some(value),
            Field::Logprobs => self.logprobs = Some(value),
            Field::Filter => self.filter = Some(value),
            // DashScope writes the word `null` while an answer goes on.
            Field::Finish => self.finish = text(value).filter(|reason| reason.raw() != "null"),
            _ => {
                let Some((member, of_delta)) = member(field) else { return };
                self.has_delta |= of_delta;
                let said = if of_delta { &mut self.delta } else { &mut self.message };
                said.note(member, value);
            }
        }
    }

    /// The alternative's number; 0 where there is none, as with servers that only ever give one.
    fn number(&self) -> Result<u32> {
        let Some(index) = self.index.filter(|index| !index.is_null()) else {
            return Ok(self.position);
        };
        index.as_u64().and_then(|index| u32::try_from(index).ok()).ok_or_else(|| {
            Error::new(ErrorKind::Protocol, "the index of an alternative is not a number in range")
        })
    }
}

impl<'e> Said<'e> {
    fn note(&mut self, member: Field, value: Value<'e>) {
        match member {
            Field::Content => self.content = text(value),
            Field::ReasoningContent => self.reasoning_content = text(value),
            Field::Reasoning => self.reasoning = text(value),
            Field::Refusal => self.refusal = text(value),
            Field::LegacyName => self.legacy_name = text(value),
            Field::LegacyArguments => self.legacy_arguments = text(value),
            Field::Annotations => self.annotations = Some(value),
            Field::AudioData => self.audio = text(value),
            Field::AudioTranscript => self.transcript = text(value),
            Field::PartText | Field::PartThinking | Field::PartReferences | Field::Image => {
                self.has_parts = true;
            }
            Field::DetailText | Field::DetailSummary => self.has_details = true,
            Field::DetailSignature | Field::DetailData => {
                self.has_details = true;
                self.has_seals |= text(value).is_some();
            }
            Field::CallIndex
            | Field::CallId
            | Field::CallName
            | Field::CallArguments
            | Field::CallSignature
            | Field::CustomName
            | Field::CustomInput => self.has_calls = true,
            _ => {}
        }
    }
}

/// A string with something in it: empty counts as absent throughout.
fn text(value: Value<'_>) -> Option<Str<'_>> {
    value.as_str().filter(|text| !text.is_empty())
}

/// A match inside a choice, with the choice's position.
fn in_choice<'e>(found: Match<'e>) -> Option<(u32, Field, Match<'e>)> {
    Some((found.indices.get(0)?, Field::of(&found)?, found))
}

/// A further walk over the matches, a choice at a time; choices that need none cost nothing until one does.
struct Walk<I> {
    matches: I,
    behind: usize,
}

impl<I: Iterator> Walk<I> {
    fn new(matches: I) -> Self {
        Self { matches, behind: 0 }
    }

    /// Leaves a choice out.
    fn leave(&mut self, matches: usize) {
        self.behind += matches;
    }

    /// The matches of the next choice.
    fn group(&mut self, matches: usize) -> impl Iterator<Item = I::Item> {
        let behind = std::mem::take(&mut self.behind);
        self.matches.by_ref().skip(behind).take(matches)
    }
}

/// An element of a content list (Mistral) or of `reasoning_details` (OpenRouter).
fn part(
    field: Field,
    found: &Match<'_>,
    from_delta: bool,
    has_reasoning: bool,
    index: u32,
    out: &mut Outbox,
) -> Result<()> {
    let Some((member, of_delta)) = member(field) else { return Ok(()) };
    if of_delta != from_delta {
        return Ok(());
    }
    if member == Field::PartReferences {
        return out.detail(index, "citations", found.value);
    }
    let Some(text) = text(found.value) else { return Ok(()) };
    match member {
        Field::PartText => out.say(Kind::Text, index, text),
        Field::PartThinking => out.say(Kind::Reasoning, index, text),
        // The details repeat `reasoning` where that is there as well.
        Field::DetailText | Field::DetailSummary if !has_reasoning => out.say(Kind::Reasoning, index, text),
        Field::Image => image(text, found.value, index, out),
        _ => Ok(()),
    }
}

/// A picture the model made: its bytes where they are here, its address as a detail where they are not.
fn image(url: Str<'_>, value: Value<'_>, index: u32, out: &mut Outbox) -> Result<()> {
    // `data:image/png;base64,…` (RFC 2397)
    let data = url.borrowed().and_then(|url| url.strip_prefix("data:")?.split_once(";base64,"));
    let told = match data {
        Some((media_type, data)) => out.media(index, Text::Plain(media_type), data)?,
        None => false,
    };
    if told { Ok(()) } else { out.detail(index, "images", value) }
}

/// The media type of sound by how its base64 begins; what is no file is bare samples.
fn audio_type(base64: &str) -> &'static str {
    match base64.get(..4) {
        Some("UklG") => "audio/wav",
        Some("SUQz" | "//tQ" | "//uQ") => "audio/mpeg",
        Some("T2dn") => "audio/ogg",
        Some("Zkxh") => "audio/flac",
        _ => "audio/pcm",
    }
}

/// An element of `reasoning_details` that has to go back: all of it but the text, which is told. Rare, so it is parsed again.
fn seal(detail: Value<'_>, index: u32, out: &mut Outbox) -> Result<()> {
    let Ok(mut members) = serde_json::from_slice::<Map<String, Owned>>(detail.raw()) else { return Ok(()) };
    let holds = |name: &str| members.get(name).and_then(Owned::as_str).is_some_and(|text| !text.is_empty());
    let (signed, encrypted) = (holds("signature"), holds("data"));
    if signed || encrypted {
        members.remove("text");
        members.remove("summary");
        members.retain(|_, value| !value.is_null());
        out.seal(index, &*Owned::Object(members).to_string(), encrypted)?;
    }
    Ok(())
}

fn tool_calls<'e>(
    matches: impl Iterator<Item = (u32, Field, Match<'e>)>,
    from_delta: bool,
    index: u32,
    out: &mut Outbox,
) -> Result<()> {
    let mut position = None;
    let mut signature = None;
    let mut piece = CallPiece::default();
    for (_, field, found) in matches {
        let Some((member, of_delta)) = member(field) else { continue };
        let is_call = matches!(
            member,
            Field::CallIndex
                | Field::CallId
                | Field::CallName
                | Field::CallArguments
                | Field::CallSignature
                | Field::CustomName
                | Field::CustomInput
        );
        if of_delta != from_delta || !is_call {
            continue;
        }
        let here = found.indices.get(1);
        if position.is_some() && position != here {
            call(index, &std::mem::take(&mut piece), signature.take(), out)?;
        }
        position = here;
        let value = found.value;
        match member {
            Field::CallSignature => signature = text(value),
            Field::CallIndex => piece.index = Some(value),
            Field::CallId => piece.id = text(value),
            Field::CallName | Field::CustomName => piece.name = text(value).or(piece.name),
            // An object instead of a string with an object in it: its text, as it came.
            _ => {
                let fragment = match value {
                    Value::Object(raw) | Value::Array(raw) => Some(Text::Plain(raw.as_str())),
                    value => text(value).map(Text::Json),
                };
                piece.arguments = fragment.or(piece.arguments);
            }
        }
    }
    if position.is_some() { call(index, &piece, signature, out) } else { Ok(()) }
}

fn call(index: u32, piece: &CallPiece<'_>, signature: Option<Str<'_>>, out: &mut Outbox) -> Result<()> {
    out.call(index, piece)?;
    signature.map_or(Ok(()), |signature| out.seal_call(index, signature))
}

/// The reason in our words. `None` for the one that says the provider failed.
fn finish_reason(word: &str) -> Option<FinishReason> {
    Some(match word {
        "stop" | "end_turn" | "stop_sequence" | "eos" => FinishReason::Stop,
        "length" | "max_tokens" | "model_length" => FinishReason::Length,
        "tool_calls" | "function_call" | "tool_use" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        "refusal" => FinishReason::Refusal,
        "error" => return None,
        other => FinishReason::Other(other.to_owned()),
    })
}
