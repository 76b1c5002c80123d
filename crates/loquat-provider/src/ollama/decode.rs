//! Ollama's lines, and its whole answers, into deltas.
//!
//! The last line of a stream is a whole answer's shape with `done: true`, so one reading serves both. The format says `stop` of an answer that asks for tools; here that is `ToolCalls`,
//! as everywhere.

use loquat_core::{FinishReason, Result, Usage};
use loquat_json::{Extractor, Found, Str, Value};

use crate::{
    DecodeLimits, DecoderMemory,
    calls::CallPiece,
    failure,
    fields::{Pick, bits, fields},
    media::picture,
    outbox::{Kind, Of, Outbox, Text},
    pool::Pool,
    wire::{EventError, Incoming, Wire},
};

fields! {
    Model = "/model",
    CreatedAt = "/created_at",
    Message = "/message",
    Content = "/message/content",
    Thinking = "/message/thinking",
    CallId = "/message/tool_calls/*/id",
    CallIndex = "/message/tool_calls/*/function/index",
    CallName = "/message/tool_calls/*/function/name",
    CallArguments = "/message/tool_calls/*/function/arguments",
    Image = "/message/images/*",
    Logprobs = "/logprobs",
    Done = "/done",
    DoneReason = "/done_reason",
    InputTokens = "/prompt_eval_count",
    OutputTokens = "/eval_count",
    Error = "/error",
}

/// What answers leave for those after them.
pub(super) static POOL: Pool = Pool::new(DecoderMemory::new);

/// The state of one answer.
#[derive(Debug)]
pub(super) struct Chat {
    extractor: Extractor,
}

impl Chat {
    pub(super) fn boxed() -> Result<Box<dyn Wire>> {
        Ok(Box::new(Self { extractor: Field::extractor()? }))
    }
}

impl Wire for Chat {
    fn renew(&mut self, _: DecodeLimits) {
        let Self { extractor: _ } = self;
    }

    fn extractor(&mut self) -> &mut Extractor {
        &mut self.extractor
    }

    fn event(&mut self, event: Incoming<'_>, out: &mut Outbox) -> Result<bool, EventError> {
        let data = event.data;
        let found = event.extract(&mut self.extractor)?;
        // The short way for what most lines of a stream consist of. It comes to what the long way does.
        if found.is_only(bits!(Model | CreatedAt | Message | Content | Done))
            && event.name != "error"
            && out.has_started()
            && !Field::Done.is(found, "true")
            && let Some(text) = Field::Content.plain(found)
        {
            out.say_on(Kind::Text, 0, text)?;
            out.expect_more(Of::TEXT, Field::Content.number(), bits!(Model | CreatedAt | Message), found);
            return Ok(true);
        }
        let reported = match Field::Error.get(found) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(error) => error.raw().len() > 2,
        };
        if reported || event.name == "error" {
            out.fail(failure::of_event(data));
            return Ok(true);
        }
        let done = Field::Done.get(found).and_then(|done| done.as_bool()).unwrap_or(false);
        if Field::Message.get(found).is_none() && !done {
            out.raw(event.name, data)?;
            return Ok(true);
        }
        if !out.has_started() {
            out.start(None, Field::Model.text(found))?;
            out.name_calls_after(Field::CreatedAt.text(found));
        }
        if let Some(text) = Field::Thinking.text(found) {
            out.say(Kind::Reasoning, 0, text)?;
        }
        if let Some(text) = Field::Content.text(found) {
            out.say(Kind::Text, 0, text)?;
        }
        tool_calls(found, out)?;
        for image in found.iter().filter(|found| Field::of(found) == Some(Field::Image)) {
            picture(image.value, out)?;
        }
        if let Some(logprobs) = Field::Logprobs.get(found) {
            out.detail(0, "logprobs", logprobs)?;
        }
        if let Some(usage) = usage(found) {
            *out.usage_mut() = usage;
        }
        if done {
            if let Some(reason) = Field::DoneReason.text(found) {
                let reason = finish_reason(reason);
                let asks = reason == FinishReason::Stop && out.has_calls(0);
                out.end_choice(0, if asks { FinishReason::ToolCalls } else { reason })?;
            }
            out.finish();
        }
        Ok(true)
    }
}

/// Calls come whole. Their index counts within one line only, in some versions, so every element is a call of its own.
fn tool_calls(found: Found<'_>, out: &mut Outbox) -> Result<()> {
    const CALLS: u128 = bits!(CallId | CallIndex | CallName | CallArguments);
    if found.is_only(!CALLS) {
        return Ok(());
    }
    let mut position = None;
    let mut piece = CallPiece::default();
    for found in found.iter() {
        let (Some(field), Some(here)) = (Field::of(&found), found.indices.get(0)) else { continue };
        if position.is_some_and(|position| position != here) {
            out.whole_call(0, &std::mem::take(&mut piece))?;
        }
        position = Some(here);
        let text = found.value.as_str().filter(|text| !text.is_empty());
        match field {
            Field::CallId => piece.id = text,
            Field::CallName => piece.name = text,
            Field::CallArguments => {
                piece.arguments = match found.value {
                    Value::Object(raw) => Some(Text::Plain(raw.as_str())),
                    _ => text.map(Text::Json),
                };
            }
            _ => {}
        }
    }
    if position.is_some() { out.whole_call(0, &piece) } else { Ok(()) }
}

fn usage(found: Found<'_>) -> Option<Usage> {
    let (input, output) = (Field::InputTokens.count(found), Field::OutputTokens.count(found));
    if input.is_none() && output.is_none() {
        return None;
    }
    let mut usage = Usage::default();
    usage.input_tokens = input.unwrap_or(0);
    usage.output_tokens = output.unwrap_or(0);
    Some(usage)
}

fn finish_reason(word: Str<'_>) -> FinishReason {
    let mut scratch = String::new();
    match word.decode_lossy(&mut scratch) {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "tool_calls" => FinishReason::ToolCalls,
        other => FinishReason::Other(other.to_owned()),
    }
}
