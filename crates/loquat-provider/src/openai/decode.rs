//! Chat completion chunks, and whole completions, into deltas.
//!
//! A chunk and a whole completion differ only in `delta` against `message`, so both are read by the same code. Members
//! come in any order (`index` after `delta`, `finish_reason` before it), so the matches of a choice are walked twice:
//! once for what is single, then for the lists. Some servers send both `delta` and a growing `message`; in a stream
//! the deltas count.

mod choice;
mod content;
mod elsewhere;

use loquat_core::{Error, ErrorKind, Result, Usage};
use loquat_json::{Extractor, Found, Str, Value};

use self::choice::choices;
use crate::{
    DecodeLimits, DecoderMemory,
    calls::CallPiece,
    failure,
    fields::{Pick, bits, fields},
    outbox::{Kind, Of, Outbox},
    pool::Pool,
    wire::{EventError, Incoming, Wire},
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
    Type = "/type",
    Error = "/error",
    Code = "/code",
    Message = "/message",
    Detail = "/detail",
    InputTokens = "/usage/prompt_tokens",
    OutputTokens = "/usage/completion_tokens",
    OtherInputTokens = "/usage/input_tokens",
    OtherOutputTokens = "/usage/output_tokens",
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
    ChoiceError = "/choices/*/error",
    StatusCode = "/base_resp/status_code",
    StatusMessage = "/base_resp/status_msg",
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
    Part, MessagePart = "/content/*",
    PartKind, MessagePartKind = "/content/*/type",
    PartText, MessagePartText = "/content/*/text",
    PartThought, MessagePartThought = "/content/*/thinking",
    PartThinking, MessagePartThinking = "/content/*/thinking/*/text",
    PartReferences, MessagePartReferences = "/content/*/reference_ids",
    ReasoningContent, MessageReasoningContent = "/reasoning_content",
    Reasoning, MessageReasoning = "/reasoning",
    Thinking, MessageThinking = "/thinking",
    ReasoningText, MessageReasoningText = "/reasoning_text",
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

/// What answers leave for those after them.
pub(super) static POOL: Pool = Pool::new(DecoderMemory::new);

/// The state of one answer.
#[derive(Debug)]
// The extractor first, and its own beginning with what each event needs: on the border of a line, it takes as few as it can.
#[repr(C, align(64))]
pub(super) struct Chat {
    extractor: Extractor,
    /// Deltas were seen: whatever stands in `message` repeats them.
    has_deltas: bool,
    repeated: Repeated,
}

/// What has been said of the answer.
#[derive(Debug, Default)]
struct Repeated {
    /// What is repeated with every chunk.
    texts: [String; ONCE.len()],
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

impl Chat {
    pub(super) fn boxed() -> Result<Box<dyn Wire>> {
        Ok(Box::new(Self {
            extractor: Field::extractor()?,
            has_deltas: false,
            repeated: Repeated::default(),
        }))
    }
}

impl Wire for Chat {
    fn renew(&mut self, _: DecodeLimits) {
        let Self { extractor: _, has_deltas, repeated: Repeated { texts, word: _ } } = self;
        *has_deltas = false;
        texts.iter_mut().for_each(String::clear);
    }

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
        let Self { extractor, has_deltas, repeated } = self;
        let found = event.extract(extractor)?;
        if !event.whole && piece_alone(found, &repeated.texts, out)? {
            *has_deltas = true;
            return Ok(true);
        }
        repeated.take_in(found, event, has_deltas, out)?;
        Ok(true)
    }
}

impl Repeated {
    /// The long way of an event.
    #[inline(never)]
    fn take_in(
        &mut self,
        found: Found<'_>,
        event: Incoming<'_>,
        has_deltas: &mut bool,
        out: &mut Outbox,
    ) -> Result<()> {
        let data = event.data;
        if let (Some(code @ 1..), Some(message)) =
            (Field::StatusCode.count(found), found.raw(Field::StatusMessage as usize))
        {
            // MiniMax, whose 0 is success.
            let error = format!(r#"{{"error":{{"code":{code},"message":{message}}}}}"#);
            out.fail(failure::of_event(&error).with_raw_body(data.as_bytes()));
            return Ok(());
        }
        if is_error(found) {
            out.fail(failure::of_event(data));
            return Ok(());
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
            return Ok(());
        }
        out.start(Field::Id.text(found), Field::Model.text(found))?;
        for ((field, name), before) in ONCE.into_iter().zip(&mut self.texts) {
            if let Some(raw) =
                found.raw(field as usize).filter(|raw| *raw != before.as_str() && *raw != "null")
            {
                before.clear();
                before.push_str(raw);
                out.detail_text(0, name, raw)?;
            }
        }
        choices(found, event.whole, has_deltas, &mut self.word, out)?;
        let is_reported =
            |error: &Value<'_>| !matches!(error, Value::Null | Value::Bool(false)) && error.raw().len() > 2;
        if let Some(error) = Field::ChoiceError.get(found).filter(is_reported) {
            // OpenRouter reports it of the alternative that it befell.
            let error = std::str::from_utf8(error.raw()).unwrap_or_default();
            out.fail_rather(
                failure::of_event(&format!("{{\"error\":{error}}}")).with_raw_body(data.as_bytes()),
            );
        } else if event.whole && !out.has_begun() {
            out.fail(
                Error::new(ErrorKind::Protocol, "the answer has no alternative in it")
                    .with_raw_body(data.as_bytes()),
            );
        }
        Ok(())
    }
}

/// What says nothing new in an event of a stream.
const AROUND: u128 = bits!(Id | Model | Object | Fingerprint | Tier | Choices | Index | Role);
/// What of that no short way looks at.
const IGNORED: u128 = bits!(Id | Model | Object | Choices | Role);
const CALL_ALONE: u128 = AROUND | bits!(CallIndex | CallArguments);

/// The short way for what most events of a stream consist of: more of one text or of one tool call, and nothing new around
/// it. `false`, and nothing done, for any other event. It comes to what the long way does, which the tests hold it to.
#[inline(always)] // on the way of every event
fn piece_alone(found: Found<'_>, said: &[String; ONCE.len()], out: &mut Outbox) -> Result<bool> {
    let [fingerprint, tier, ..] = said;
    let is_known = |field: Field, before: &str| {
        found.raw(field as usize).is_none_or(|raw| raw == before || raw == "null")
    };
    let is_plain =
        out.has_started() && is_known(Field::Fingerprint, fingerprint) && is_known(Field::Tier, tier);
    if !is_plain {
        return Ok(false);
    }
    if found.is_only(AROUND | bits!(Content)) {
        return text_alone(found, Kind::Text, Field::Content, out);
    }
    other_piece_alone(found, out)
}

#[inline(always)] // asked for one field, it is a few instructions
fn text_alone(found: Found<'_>, kind: Kind, field: Field, out: &mut Outbox) -> Result<bool> {
    let Some((choice, place)) = choice_number(found) else { return Ok(false) };
    if found.indices(field as usize).and_then(|indices| indices.get(0)) != Some(place) {
        return Ok(false);
    }
    match field.plain(found) {
        Some(text) => out.say_on(kind, choice, text)?,
        None => match field.text(found) {
            Some(text) => out.say(kind, choice, text)?,
            None => return Ok(false),
        },
    }
    out.expect_more(Of::Running { kind, choice }, field.number(), IGNORED, found);
    Ok(true)
}

/// The number of the only alternative in an event, and its place in the list. `None` where it has no number.
#[inline(always)]
fn choice_number(found: Found<'_>) -> Option<(u32, u32)> {
    let place = found.indices(Field::Index as usize)?.get(0)?;
    let number = match found.raw(Field::Index as usize)?.as_bytes() {
        [digit @ b'0'..=b'9'] => u32::from(digit - b'0'),
        number => std::str::from_utf8(number).ok()?.parse().ok()?,
    };
    Some((number, place))
}

#[inline(never)]
fn other_piece_alone(found: Found<'_>, out: &mut Outbox) -> Result<bool> {
    if found.is_only(AROUND | bits!(ReasoningContent)) {
        return text_alone(found, Kind::Reasoning, Field::ReasoningContent, out);
    }
    if found.is_only(AROUND | bits!(Reasoning)) {
        return text_alone(found, Kind::Reasoning, Field::Reasoning, out);
    }
    if found.is_only(AROUND | bits!(Content | ReasoningContent | Reasoning)) {
        // Beside what says something, an empty one.
        let says = |field: Field| field.text(found).is_some();
        let kinds = [Field::Content, Field::ReasoningContent, Field::Reasoning];
        let mut saying = kinds.into_iter().filter(|field| says(*field));
        return match (saying.next(), saying.next()) {
            (Some(Field::Content), None) => text_alone(found, Kind::Text, Field::Content, out),
            (Some(field), None) => text_alone(found, Kind::Reasoning, field, out),
            _ => Ok(false),
        };
    }
    if !found.is_only(CALL_ALONE) {
        return Ok(false);
    }
    let Some((choice, place)) = choice_number(found) else { return Ok(false) };
    let Some(fragment) = found.find(Field::CallArguments as usize) else { return Ok(false) };
    let index = found.find(Field::CallIndex as usize);
    let is_here =
        index.is_none_or(|index| index.indices == fragment.indices) && fragment.indices.get(0) == Some(place);
    let (Some(arguments), true) = (text(fragment.value), is_here) else { return Ok(false) };
    let index = index.map(|index| index.value);
    let piece = CallPiece { index, arguments: Some(arguments.into()), ..CallPiece::default() };
    if let Some(call) = out.more_of_call(choice, &piece)? {
        out.expect_more(Of::Arguments { choice, call }, Field::CallArguments.number(), IGNORED, found);
    }
    Ok(true)
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
    let is_named = |field: Field| field.text(found).and_then(|text| text.borrowed()) == Some("error");
    reported(Field::GroqError)
        || (!has_choices
            && (is_named(Field::Object)
                || is_named(Field::Type)
                || reported(Field::Detail)
                || (reported(Field::Code) && reported(Field::Message))))
}

/// The usage in an event; the last one wins. `None` where there is none.
fn usage(found: Found<'_>) -> Option<Usage> {
    let first = |fields: &[Field]| fields.iter().find_map(|field| field.count(found));
    let input = first(&[
        Field::InputTokens,
        Field::GroqInputTokens,
        Field::ChoiceInputTokens,
        Field::OtherInputTokens,
    ]);
    let output = first(&[
        Field::OutputTokens,
        Field::GroqOutputTokens,
        Field::ChoiceOutputTokens,
        Field::OtherOutputTokens,
    ]);
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

/// A string with something in it: empty counts as absent throughout.
fn text(value: Value<'_>) -> Option<Str<'_>> {
    value.as_str().filter(|text| !text.is_empty())
}
