//! Legacy completions: a whole answer and a chunk of a stream have the same shape.

use loquat_core::{ChatRequest, Error, ErrorKind, FinishReason, ResponseFormat, Result, Usage};
use loquat_json::{Extractor, Found, Str, Value};
use serde_json::json;

use super::{prompt, text};
use crate::{
    Encoded,
    encode::{Body, check, unsupported},
    failure,
    fields::{Pick, fields},
    outbox::{Kind, Outbox},
    wire::{EventError, Incoming, Wire},
};

const FORMAT: &str = "the legacy completions format";

pub(super) fn encode(request: &ChatRequest, model: &str) -> Result<Encoded> {
    check(request, model)?;
    let message = prompt(request, false, FORMAT)?;
    if request.response_format != ResponseFormat::Text {
        return Err(unsupported("response_format", "a form of the answer", FORMAT));
    }
    if request.reasoning_budget_tokens.is_some() || request.reasoning_effort.is_some() {
        return Err(unsupported("reasoning_effort", "reasoning", FORMAT));
    }
    let mut body = Body::default();
    body.set("model", model)?;
    body.set("prompt", text(message, FORMAT)?)?;
    body.set_some("max_tokens", request.max_output_tokens)?;
    body.set_some("temperature", request.temperature)?;
    body.set_some("top_p", request.top_p)?;
    if !request.stop.is_empty() {
        body.set("stop", &request.stop)?;
    }
    body.set_some("seed", request.seed)?;
    body.set_some("n", request.choices)?;
    body.set_some("logprobs", request.top_logprobs)?;
    body.set("stream", request.stream)?;
    if request.stream {
        body.set("stream_options", json!({"include_usage": true}))?;
    }
    body.finish("completions", request)
}

fields! {
    Id = "/id",
    Model = "/model",
    Object = "/object",
    Error = "/error",
    Fingerprint = "/system_fingerprint",
    Choices = "/choices",
    Index = "/choices/*/index",
    Text = "/choices/*/text",
    Logprobs = "/choices/*/logprobs",
    Finish = "/choices/*/finish_reason",
    Piece = "/value",
    InputTokens = "/usage/prompt_tokens",
    OutputTokens = "/usage/completion_tokens",
    CachedTokens = "/usage/prompt_tokens_details/cached_tokens",
    ReasoningTokens = "/usage/completion_tokens_details/reasoning_tokens",
}

/// The state of one answer.
#[derive(Debug)]
pub(super) struct Completions {
    extractor: Extractor,
    /// The fingerprint, which every chunk repeats, has been told.
    has_fingerprint: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Choice<'e> {
    index: Option<Value<'e>>,
    text: Option<Str<'e>>,
    logprobs: Option<Value<'e>>,
    finish: Option<Str<'e>>,
}

impl Completions {
    pub(super) fn boxed() -> Result<Box<dyn Wire>> {
        Ok(Box::new(Self { extractor: Field::extractor()?, has_fingerprint: false }))
    }
}

impl Wire for Completions {
    fn extractor(&mut self) -> &mut Extractor {
        &mut self.extractor
    }

    fn event(&mut self, event: Incoming<'_>, out: &mut Outbox) -> Result<bool, EventError> {
        let data = event.data;
        if event.is_done() {
            out.finish();
            return Ok(true);
        }
        let found = event.extract(&mut self.extractor)?;
        let reported = match Field::Error.get(found) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(error) => error.raw().len() > 2,
        };
        let object_is_error = Field::Object.text(found).and_then(|text| text.borrowed()) == Some("error");
        if reported || object_is_error || event.name == "error" {
            out.fail(failure::of_event(data));
            return Ok(true);
        }
        let counted = usage(found, out);
        if let Some(piece) = Field::Piece.get(found).and_then(|piece| piece.as_str()) {
            // Writer streams its text alone.
            out.say(Kind::Text, 0, piece)?;
            return Ok(true);
        }
        if Field::Choices.get(found).is_none() && Field::Object.get(found).is_none() {
            if !counted {
                out.raw(event.name, data)?;
            }
            return Ok(true);
        }
        out.start(Field::Id.text(found), Field::Model.text(found))?;
        if let (Some(fingerprint), false) = (Field::Fingerprint.get(found), self.has_fingerprint) {
            self.has_fingerprint = true;
            out.detail(0, "fingerprint", fingerprint)?;
        }
        let mut position = None;
        let mut choice = Choice::default();
        for found in found.iter() {
            let (Some(field), Some(here)) = (Field::of(&found), found.indices.get(0)) else { continue };
            if let Some(before) = position.filter(|before| *before != here) {
                std::mem::take(&mut choice).take_in(before, out)?;
            }
            position = Some(here);
            let text = found.value.as_str().filter(|text| !text.is_empty());
            match field {
                Field::Index => choice.index = Some(found.value),
                Field::Text => choice.text = text,
                Field::Logprobs => choice.logprobs = Some(found.value),
                Field::Finish => choice.finish = text,
                _ => {}
            }
        }
        if let Some(position) = position {
            choice.take_in(position, out)?;
        }
        Ok(true)
    }
}

impl Choice<'_> {
    fn take_in(self, position: u32, out: &mut Outbox) -> Result<()> {
        let number = match self.index.filter(|index| !index.is_null()) {
            None => position,
            Some(index) => index.as_u64().and_then(|index| u32::try_from(index).ok()).ok_or_else(|| {
                Error::new(ErrorKind::Protocol, "the index of an alternative is not a number in range")
            })?,
        };
        out.begin(number)?;
        if let Some(text) = self.text {
            out.say(Kind::Text, number, text)?;
        }
        if let Some(logprobs) = self.logprobs {
            out.detail(number, "logprobs", logprobs)?;
        }
        let mut scratch = String::new();
        let reason = match self.finish.map(|reason| reason.decode_lossy(&mut scratch)) {
            None => return Ok(()),
            Some("stop" | "eos") => FinishReason::Stop,
            Some("length") => FinishReason::Length,
            Some("content_filter") => FinishReason::ContentFilter,
            Some(other) => FinishReason::Other(other.to_owned()),
        };
        out.end_choice(number, reason)
    }
}

fn usage(found: Found<'_>, out: &mut Outbox) -> bool {
    let (input, output) = (Field::InputTokens.count(found), Field::OutputTokens.count(found));
    if input.is_none() && output.is_none() {
        return false;
    }
    let mut usage = Usage::default();
    usage.input_tokens = input.unwrap_or(0);
    usage.output_tokens = output.unwrap_or(0);
    usage.cache_read_tokens = Field::CachedTokens.count(found).unwrap_or(0);
    usage.reasoning_tokens = Field::ReasoningTokens.count(found).unwrap_or(0);
    *out.usage_mut() = usage;
    true
}
