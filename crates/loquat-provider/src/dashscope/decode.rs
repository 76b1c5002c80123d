//! DashScope's events, and whole answers, into deltas.
//!
//! Where an event repeats all so far, what has been told of a running text is kept, and only what goes beyond it is told;
//! a text that is not a continuation is an error, as nothing told can be taken back. Calls are told at the end then.

use loquat_core::{Error, ErrorKind, FinishReason, Result, Usage};
use loquat_json::{Extractor, Found, Match, Str, Value};

use crate::{
    calls::CallPiece,
    failure,
    fields::{Pick, fields},
    outbox::{Kind, Outbox, Text},
    wire::{EventError, Incoming, Wire},
};

fields! {
    RequestId = "/request_id",
    Code = "/code",
    Message = "/message",
    Output = "/output",
    OutputText = "/output/text",
    OutputFinish = "/output/finish_reason",
    Finish = "/output/choices/*/finish_reason",
    Index = "/output/choices/*/index",
    Content = "/output/choices/*/message/content",
    PartText = "/output/choices/*/message/content/*/text",
    Thinking = "/output/choices/*/message/reasoning_content",
    CallIndex = "/output/choices/*/message/tool_calls/*/index",
    CallId = "/output/choices/*/message/tool_calls/*/id",
    CallName = "/output/choices/*/message/tool_calls/*/function/name",
    CallArguments = "/output/choices/*/message/tool_calls/*/function/arguments",
    Logprobs = "/output/choices/*/logprobs",
    InputTokens = "/usage/input_tokens",
    OutputTokens = "/usage/output_tokens",
    CachedTokens = "/usage/prompt_tokens_details/cached_tokens",
    ReasoningTokens = "/usage/output_tokens_details/reasoning_tokens",
}

/// The state of one answer.
#[derive(Debug)]
pub(super) struct Generation {
    extractor: Extractor,
    /// What has been told of each alternative's thoughts and text, where events repeat it.
    told: Option<Vec<(u32, Kind, String)>>,
    /// Reused for what an event says.
    text: String,
}

/// What is single in a choice.
#[derive(Debug, Clone, Copy, Default)]
struct Choice<'e> {
    matches: usize,
    index: Option<Value<'e>>,
    finish: Option<Str<'e>>,
    content: Option<Str<'e>>,
    thinking: Option<Str<'e>>,
    logprobs: Option<Value<'e>>,
    has_parts: bool,
}

impl Generation {
    pub(super) fn boxed(incremental: bool) -> Result<Box<dyn Wire>> {
        let told = (!incremental).then(Vec::new);
        Ok(Box::new(Self { extractor: Field::extractor()?, told, text: String::new() }))
    }
}

impl Wire for Generation {
    fn extractor(&mut self) -> &mut Extractor {
        &mut self.extractor
    }

    fn event(&mut self, event: Incoming<'_>, out: &mut Outbox) -> Result<bool, EventError> {
        let Self { extractor, told, text } = self;
        let found = event.extract(extractor)?;
        let refused = Field::Code.text(found).is_some() && Field::Message.text(found).is_some();
        if event.name == "error" || refused {
            out.fail(failure::of_event(event.data));
            return Ok(true);
        }
        if let Some(usage) = usage(found) {
            *out.usage_mut() = usage;
        }
        if Field::Output.get(found).is_none() {
            out.raw(event.name, event.data)?;
            return Ok(true);
        }
        out.start(Field::RequestId.text(found), None)?;
        let mut teller = Teller { told, scratch: text };
        if let Some(text) = Field::OutputText.text(found) {
            teller.say(Kind::Text, 0, &[text], out)?;
        }
        if let Some(reason) = Field::OutputFinish.text(found).and_then(finish_reason) {
            out.end_choice(0, reason)?;
        }
        let mut ahead = found.iter().filter_map(in_choice).peekable();
        let mut behind = found.iter().filter_map(in_choice);
        while let Some(&(position, ..)) = ahead.peek() {
            let mut choice = Choice::default();
            while let Some((_, field, found)) = ahead.next_if(|(other, ..)| *other == position) {
                choice.note(field, &found);
            }
            let number = match choice.index.filter(|index| !index.is_null()) {
                None => position,
                Some(index) => {
                    index.as_u64().and_then(|index| u32::try_from(index).ok()).ok_or_else(|| {
                        Error::new(
                            ErrorKind::Protocol,
                            "the index of an alternative is not a number in range",
                        )
                    })?
                }
            };
            choice.take_in(number, behind.by_ref().take(choice.matches), &mut teller, out)?;
        }
        Ok(true)
    }
}

fn in_choice<'e>(found: Match<'e>) -> Option<(u32, Field, Match<'e>)> {
    Some((found.indices.get(0)?, Field::of(&found)?, found))
}

impl<'e> Choice<'e> {
    fn note(&mut self, field: Field, found: &Match<'e>) {
        self.matches += 1;
        let text = found.value.as_str().filter(|text| !text.is_empty());
        match field {
            Field::Index => self.index = Some(found.value),
            Field::Finish => self.finish = text,
            Field::Content => self.content = text,
            Field::Thinking => self.thinking = text,
            Field::Logprobs => self.logprobs = Some(found.value),
            Field::PartText => self.has_parts = true,
            _ => {}
        }
    }

    fn take_in(
        self,
        number: u32,
        matches: impl Iterator<Item = (u32, Field, Match<'e>)>,
        teller: &mut Teller<'_>,
        out: &mut Outbox,
    ) -> Result<()> {
        if let Some(text) = self.thinking {
            teller.say(Kind::Reasoning, number, &[text], out)?;
        }
        if let Some(text) = self.content {
            teller.say(Kind::Text, number, &[text], out)?;
        }
        if let Some(logprobs) = self.logprobs {
            out.detail(number, "logprobs", logprobs)?;
        }
        let reason = self.finish.and_then(finish_reason);
        // Repeated with each event, calls are told once they are complete.
        let tells_calls = teller.told.is_none() || reason.is_some();
        let mut parts = Vec::new();
        let mut position = None;
        let mut piece = CallPiece::default();
        for (_, field, found) in matches {
            let text = found.value.as_str().filter(|text| !text.is_empty());
            if field == Field::PartText {
                parts.extend(text);
            }
            if !tells_calls
                || !matches!(field, Field::CallIndex | Field::CallId | Field::CallName | Field::CallArguments)
            {
                continue;
            }
            let here = found.indices.get(1);
            if position.is_some() && position != here {
                out.call(number, &std::mem::take(&mut piece))?;
            }
            position = here;
            match field {
                Field::CallIndex => piece.index = Some(found.value),
                Field::CallId => piece.id = text,
                Field::CallName => piece.name = text,
                _ => piece.arguments = text.map(Text::Json),
            }
        }
        if self.has_parts {
            teller.say(Kind::Text, number, &parts, out)?;
        }
        if position.is_some() {
            out.call(number, &piece)?;
        }
        match reason {
            Some(reason) => out.end_choice(number, reason),
            None => Ok(()),
        }
    }
}

/// Tells running text, of which an event may repeat what has been told.
struct Teller<'t> {
    told: &'t mut Option<Vec<(u32, Kind, String)>>,
    scratch: &'t mut String,
}

impl Teller<'_> {
    /// The text of a choice, in one or more pieces.
    fn say(&mut self, kind: Kind, choice: u32, texts: &[Str<'_>], out: &mut Outbox) -> Result<()> {
        let Some(told) = self.told else {
            return texts.iter().try_for_each(|text| out.say(kind, choice, *text));
        };
        self.scratch.clear();
        texts.iter().for_each(|text| text.append_lossy_to(self.scratch));
        // The outbox bounds how many alternatives there can be.
        let known = told.iter().position(|(number, known, _)| (*number, *known) == (choice, kind));
        let known = match known {
            Some(known) => &mut told[known].2,
            None => {
                told.push((choice, kind, String::new()));
                &mut told.last_mut().ok_or_else(not_continued)?.2
            }
        };
        let new = self.scratch.strip_prefix(known.as_str()).ok_or_else(not_continued)?;
        out.say(kind, choice, new)?;
        known.push_str(new);
        Ok(())
    }
}

fn not_continued() -> Error {
    Error::new(ErrorKind::Protocol, "an event does not continue the text before it, which has been told")
}

fn usage(found: Found<'_>) -> Option<Usage> {
    let (input, output) = (Field::InputTokens.count(found), Field::OutputTokens.count(found));
    if input.is_none() && output.is_none() {
        return None;
    }
    let mut usage = Usage::default();
    usage.input_tokens = input.unwrap_or(0);
    usage.output_tokens = output.unwrap_or(0);
    usage.cache_read_tokens = Field::CachedTokens.count(found).unwrap_or(0);
    usage.reasoning_tokens = Field::ReasoningTokens.count(found).unwrap_or(0);
    Some(usage)
}

/// The reason in our words; the word `null` while an answer goes on.
fn finish_reason(word: Str<'_>) -> Option<FinishReason> {
    let mut scratch = String::new();
    Some(match word.decode_lossy(&mut scratch) {
        "null" | "" => return None,
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "tool_calls" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    })
}
