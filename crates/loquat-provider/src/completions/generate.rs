//! Ollama's `/api/generate`: lines, of which the last is a whole answer's shape with `done: true`.

use loquat_core::{ChatRequest, FinishReason, MediaSource, Message, Part, Result, Role, Usage};
use loquat_json::{Extractor, Found, Value};

use super::prompt;
use crate::{
    Encoded,
    encode::{Body, base64, check, one_choice, unsupported},
    failure,
    fields::{Pick, fields},
    media::picture,
    ollama::{set_form, set_options, set_thinking},
    outbox::{Kind, Outbox},
    wire::{EventError, Incoming, Wire},
};

const FORMAT: &str = "the Ollama generate format";

pub(super) fn encode(request: &ChatRequest, model: &str) -> Result<Encoded> {
    check(request, model)?;
    one_choice(request, FORMAT)?;
    let message = prompt(request, true, FORMAT)?;
    let mut body = Body::default();
    body.set("model", model)?;
    let (mut said, mut images) = (String::new(), Vec::new());
    for part in &message.parts {
        match part {
            Part::Text(text) => said.push_str(text),
            Part::Image(media) => match &media.source {
                MediaSource::Bytes(bytes) => images.push(base64(bytes)),
                _ => return Err(unsupported("messages", "a picture by address or file id", FORMAT)),
            },
            _ => return Err(unsupported("messages", "anything but text and pictures", FORMAT)),
        }
    }
    body.set("prompt", said)?;
    let of_system = |message: &&Message| message.role == Role::System;
    let system: Vec<_> = request.messages.iter().filter(of_system).map(Message::text).collect();
    if !system.is_empty() {
        body.set("system", system.join("\n\n"))?;
    }
    if !images.is_empty() {
        body.set("images", images)?;
    }
    if let Some(others) = request.top_logprobs {
        body.set("logprobs", true)?;
        body.set("top_logprobs", others)?;
    }
    set_form(&mut body, request)?;
    set_options(&mut body, request)?;
    set_thinking(&mut body, request)?;
    body.set("stream", request.stream)?;
    body.finish("api/generate", request)
}

fields! {
    Model = "/model",
    Text = "/response",
    Thinking = "/thinking",
    Image = "/image",
    Logprobs = "/logprobs",
    Done = "/done",
    DoneReason = "/done_reason",
    InputTokens = "/prompt_eval_count",
    OutputTokens = "/eval_count",
    Error = "/error",
}

/// The state of one answer.
#[derive(Debug)]
pub(super) struct Generate {
    extractor: Extractor,
}

impl Generate {
    pub(super) fn boxed() -> Result<Box<dyn Wire>> {
        Ok(Box::new(Self { extractor: Field::extractor()? }))
    }
}

impl Wire for Generate {
    fn extractor(&mut self) -> &mut Extractor {
        &mut self.extractor
    }

    fn event(&mut self, event: Incoming<'_>, out: &mut Outbox) -> Result<bool, EventError> {
        let found = event.extract(&mut self.extractor)?;
        let reported = match Field::Error.get(found) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(error) => error.raw().len() > 2,
        };
        if reported || event.name == "error" {
            out.fail(failure::of_event(event.data));
            return Ok(true);
        }
        let done = Field::Done.get(found).and_then(|done| done.as_bool()).unwrap_or(false);
        if Field::Text.get(found).is_none() && !done {
            out.raw(event.name, event.data)?;
            return Ok(true);
        }
        out.start(None, Field::Model.text(found))?;
        for (field, kind) in [(Field::Thinking, Kind::Reasoning), (Field::Text, Kind::Text)] {
            if let Some(text) = field.text(found) {
                out.say(kind, 0, text)?;
            }
        }
        if let Some(image) = Field::Image.get(found) {
            picture(image, out)?;
        }
        if let Some(logprobs) = Field::Logprobs.get(found) {
            out.detail(0, "logprobs", logprobs)?;
        }
        usage(found, out);
        if done {
            let mut scratch = String::new();
            if let Some(reason) = Field::DoneReason.text(found) {
                let reason = match reason.decode_lossy(&mut scratch) {
                    "stop" => FinishReason::Stop,
                    "length" => FinishReason::Length,
                    other => FinishReason::Other(other.to_owned()),
                };
                out.end_choice(0, reason)?;
            }
            out.finish();
        }
        Ok(true)
    }
}

fn usage(found: Found<'_>, out: &mut Outbox) {
    let (input, output) = (Field::InputTokens.count(found), Field::OutputTokens.count(found));
    if input.is_some() || output.is_some() {
        let mut usage = Usage::default();
        usage.input_tokens = input.unwrap_or(0);
        usage.output_tokens = output.unwrap_or(0);
        *out.usage_mut() = usage;
    }
}
