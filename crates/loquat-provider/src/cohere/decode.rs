//! Cohere's events, and whole answers, into deltas.
//!
//! What a model plans before it calls tools (`tool_plan`) is reasoning, as its thoughts are.

use loquat_core::{Error, ErrorKind, FinishReason, Result, Usage};
use loquat_json::{Extractor, Found, Value};

use crate::{
    DecodeLimits, DecoderMemory,
    calls::CallPiece,
    failure,
    fields::{Pick, bits, fields},
    outbox::{Kind, Of, Outbox, Text},
    pool::Pool,
    wire::{EventError, Incoming, Wire},
};

fields! {
    Type = "/type",
    EventType = "/event_type",
    Id = "/id",
    GenerationId = "/generation_id",
    Index = "/index",
    Error = "/error",
    Text = "/text",
    FinishReason = "/finish_reason",
    Delta = "/delta",
    DeltaText = "/delta/message/content/text",
    DeltaThinking = "/delta/message/content/thinking",
    DeltaPlan = "/delta/message/tool_plan",
    DeltaCitations = "/delta/message/citations",
    DeltaCallId = "/delta/message/tool_calls/id",
    DeltaCallName = "/delta/message/tool_calls/function/name",
    DeltaCallArguments = "/delta/message/tool_calls/function/arguments",
    DeltaLogprobs = "/logprobs",
    DeltaFinishReason = "/delta/finish_reason",
    DeltaError = "/delta/error",
    DeltaInput = "/delta/usage/tokens/input_tokens",
    DeltaOutput = "/delta/usage/tokens/output_tokens",
    DeltaCached = "/delta/usage/cached_tokens",
    DeltaReasoning = "/delta/usage/tokens/reasoning_tokens",
    Message = "/message",
    Plan = "/message/tool_plan",
    PartText = "/message/content/*/text",
    PartThinking = "/message/content/*/thinking",
    CallId = "/message/tool_calls/*/id",
    CallName = "/message/tool_calls/*/function/name",
    CallArguments = "/message/tool_calls/*/function/arguments",
    Citations = "/message/citations",
    Logprobs = "/logprobs/*",
    Input = "/usage/tokens/input_tokens",
    Output = "/usage/tokens/output_tokens",
    Cached = "/usage/cached_tokens",
    Reasoning = "/usage/tokens/reasoning_tokens",
    MetaInput = "/meta/tokens/input_tokens",
    MetaOutput = "/meta/tokens/output_tokens",
    MetaCached = "/meta/cached_tokens",
    MetaReasoning = "/meta/tokens/reasoning_tokens",
    EndInput = "/response/meta/tokens/input_tokens",
    EndOutput = "/response/meta/tokens/output_tokens",
    EndCached = "/response/meta/cached_tokens",
    EndReasoning = "/response/meta/tokens/reasoning_tokens",
}

/// What answers leave for those after them.
pub(super) static POOL: Pool = Pool::new(DecoderMemory::new);

/// The state of one answer.
#[derive(Debug)]
pub(super) struct Chat {
    extractor: Extractor,
    /// Reused for comparing words.
    word: String,
}

impl Chat {
    pub(super) fn boxed() -> Result<Box<dyn Wire>> {
        Ok(Box::new(Self { extractor: Field::extractor()?, word: String::new() }))
    }
}

impl Wire for Chat {
    fn renew(&mut self, _: DecodeLimits) {
        let Self { extractor: _, word: _ } = self;
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
        let Self { extractor, word } = self;
        let found = event.extract(extractor)?;
        // The short way for what most events of a stream consist of. It comes to what the long way does.
        if found.is_only(bits!(Type | Index | Delta | DeltaText))
            && event.name != "error"
            && Field::Type.is(found, "\"content-delta\"")
            && let Some(text) = Field::DeltaText.plain(found)
        {
            out.say_on(Kind::Text, 0, text)?;
            out.expect_more(Of::TEXT, Field::DeltaText.number(), bits!(Index | Delta), found);
            return Ok(true);
        }
        if event.name == "error" || Field::Error.get(found).is_some_and(|error| !error.is_null()) {
            out.fail(failure::of_event(data));
            return Ok(true);
        }
        let kind = Field::Type.text(found).or(Field::EventType.text(found));
        let Some(kind) = kind.map(|kind| kind.decode_lossy(word)) else {
            whole(found, event, out)?;
            return Ok(true);
        };
        match kind {
            "content-delta" | "content-start" => {
                if Field::DeltaThinking.get(found).is_some_and(|thought| !thought.is_null()) {
                    out.think();
                }
                say(Kind::Reasoning, Field::DeltaThinking, found, out)?;
                say(Kind::Text, Field::DeltaText, found, out)?;
                if let Some(logprobs) = Field::DeltaLogprobs.get(found) {
                    out.detail(0, "logprobs", logprobs)?;
                }
            }
            "tool-plan-delta" => say(Kind::Reasoning, Field::DeltaPlan, found, out)?,
            "tool-call-start" => out.begin_call(0, &piece(found))?,
            "tool-call-delta" => {
                if let Some(call) = out.more_of_call(0, &piece(found))? {
                    let of = Of::Arguments { choice: 0, call };
                    out.expect_more(of, Field::DeltaCallArguments.number(), 0, found);
                }
            }
            "citation-start" => {
                if let Some(citations) = Field::DeltaCitations.get(found) {
                    out.detail(0, "citations", citations)?;
                }
            }
            "message-start" => out.start(Field::Id.text(found), None)?,
            "message-end" => {
                usage(found, &IN_DELTA, out);
                match Field::DeltaFinishReason.text(found).is_some() {
                    true => finish(found, Field::DeltaFinishReason, data, out)?,
                    false if Field::DeltaError.get(found).is_some() => out.fail(failure::of_event(data)),
                    false => {}
                }
                out.finish();
            }
            "stream-start" => out.start(Field::GenerationId.text(found), None)?,
            "text-generation" => say(Kind::Text, Field::Text, found, out)?,
            "stream-end" => {
                usage(found, &AT_END, out);
                finish(found, Field::FinishReason, data, out)?;
                out.finish();
            }
            "content-end" | "tool-call-end" | "citation-end" => {}
            _ => out.raw(kind, data)?,
        }
        Ok(true)
    }
}

fn say(kind: Kind, field: Field, found: Found<'_>, out: &mut Outbox) -> Result<()> {
    match field.text(found) {
        Some(text) => out.say(kind, 0, text),
        None => Ok(()),
    }
}

fn piece<'e>(found: Found<'e>) -> CallPiece<'e> {
    CallPiece {
        id: Field::DeltaCallId.text(found),
        index: Field::Index.get(found),
        name: Field::DeltaCallName.text(found),
        arguments: Field::DeltaCallArguments.text(found).map(Text::Json),
    }
}

/// A whole answer: of version 2 if there is a message, of version 1 if there is a text.
fn whole(found: Found<'_>, event: Incoming<'_>, out: &mut Outbox) -> Result<()> {
    let is_answer = Field::Message.get(found).is_some_and(|message| matches!(message, Value::Object(_)));
    if !is_answer && Field::Text.get(found).is_none() {
        return out.raw(event.name, event.data);
    }
    out.start(Field::Id.text(found).or(Field::GenerationId.text(found)), None)?;
    say(Kind::Reasoning, Field::Plan, found, out)?;
    say(Kind::Text, Field::Text, found, out)?;
    let mut position = None;
    let mut call = CallPiece::default();
    for found in found.iter() {
        let text = found.value.as_str().filter(|text| !text.is_empty());
        let Some(field) = Field::of(&found) else { continue };
        let is_call = matches!(field, Field::CallId | Field::CallName | Field::CallArguments);
        if is_call {
            let here = found.indices.get(0);
            if position.is_some() && position != here {
                out.whole_call(0, &std::mem::take(&mut call))?;
            }
            position = here;
        }
        match (field, text) {
            (Field::PartText, Some(text)) => out.say(Kind::Text, 0, text)?,
            (Field::PartThinking, Some(text)) => out.say(Kind::Reasoning, 0, text)?,
            (Field::CallId, text) => call.id = text,
            (Field::CallName, text) => call.name = text,
            (Field::CallArguments, text) => call.arguments = text.map(Text::Json),
            (Field::Citations, _) => out.detail(0, "citations", found.value)?,
            (Field::Logprobs, _) => out.detail(0, "logprobs", found.value)?,
            _ => {}
        }
    }
    if position.is_some() {
        out.whole_call(0, &call)?;
    }
    usage(found, &AT_TOP, out);
    usage(found, &IN_META, out);
    finish(found, Field::FinishReason, event.data, out)
}

/// Where an event keeps its counts: input, output, cache read, reasoning. What is billed is counted apart, and is less.
const IN_DELTA: [Field; 4] =
    [Field::DeltaInput, Field::DeltaOutput, Field::DeltaCached, Field::DeltaReasoning];
const AT_TOP: [Field; 4] = [Field::Input, Field::Output, Field::Cached, Field::Reasoning];
const IN_META: [Field; 4] = [Field::MetaInput, Field::MetaOutput, Field::MetaCached, Field::MetaReasoning];
const AT_END: [Field; 4] = [Field::EndInput, Field::EndOutput, Field::EndCached, Field::EndReasoning];

fn usage(found: Found<'_>, counts: &[Field; 4], out: &mut Outbox) {
    let [input, output, cached, reasoning] = counts.map(|field| field.count(found));
    if input.is_none() && output.is_none() {
        return;
    }
    let mut usage = Usage::default();
    usage.input_tokens = input.unwrap_or(0);
    usage.output_tokens = output.unwrap_or(0);
    usage.cache_read_tokens = cached.unwrap_or(0);
    usage.reasoning_tokens = reasoning.unwrap_or(0);
    *out.usage_mut() = usage;
}

fn finish(found: Found<'_>, field: Field, data: &str, out: &mut Outbox) -> Result<()> {
    let mut scratch = String::new();
    let Some(word) = field.text(found).map(|word| word.decode_lossy(&mut scratch)) else { return Ok(()) };
    let reason = match word {
        "COMPLETE" | "STOP_SEQUENCE" => FinishReason::Stop,
        "MAX_TOKENS" => FinishReason::Length,
        "TOOL_CALL" => FinishReason::ToolCalls,
        "ERROR_TOXIC" => FinishReason::ContentFilter,
        "ERROR" | "ERROR_LIMIT" | "TIMEOUT" => {
            let error = Error::new(ErrorKind::Server, "the provider ended the answer with an error");
            out.fail(error.with_code(word).with_raw_body(data.as_bytes()));
            return Ok(());
        }
        other => FinishReason::Other(other.to_owned()),
    };
    out.end_choice(0, reason)
}
