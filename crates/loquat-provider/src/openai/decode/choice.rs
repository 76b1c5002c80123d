//! The alternatives in an event: which is which, and in what order what each says is told.

use loquat_core::{Error, ErrorKind, FinishReason, Result};
use loquat_json::{Found, Match, Str, Value};

use super::{Field, content, elsewhere, member, text};
use crate::{
    calls::CallPiece,
    fields::Pick,
    media::audio_type,
    outbox::{Kind, Outbox, Text},
};

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
    has_message: bool,
    delta: Said<'e>,
    message: Said<'e>,
}

/// What is single in a `delta` or `message`.
#[derive(Debug, Clone, Copy, Default)]
struct Said<'e> {
    content: Option<Str<'e>>,
    reasoning_content: Option<Str<'e>>,
    reasoning: Option<Str<'e>>,
    /// By other names.
    thinking: Option<Str<'e>>,
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

/// Tells what all alternatives in an event say.
pub(super) fn choices(
    event: Found<'_>,
    whole: bool,
    has_deltas: &mut bool,
    word: &mut String,
    out: &mut Outbox,
) -> Result<()> {
    // Three walks over the same matches: what is single in a choice, then its reasoning and text, then its calls.
    let mut ahead = event.iter();
    let mut next = ahead.find_map(in_choice);
    let mut parts = Walk::new(event.iter().filter_map(in_choice));
    let mut calls = Walk::new(event.iter().filter_map(in_choice));
    // The first tells where all have their texts, which are told before any of them ends.
    let mut looks_elsewhere = !*has_deltas;
    if next.is_none() && looks_elsewhere {
        elsewhere::texts(event, out)?;
    }
    while let Some((position, ..)) = next {
        let mut choice = Choice { position, ..Choice::default() };
        while let Some((other, field, found)) = &next
            && *other == position
        {
            choice.matches += 1;
            choice.note(*field, found);
            next = ahead.find_map(in_choice);
        }
        if std::mem::take(&mut looks_elsewhere) && !choice.has_delta && !choice.has_message {
            elsewhere::texts(event, out)?;
        }
        let from_delta = if whole { false } else { choice.has_delta || *has_deltas };
        *has_deltas |= choice.has_delta && !whole;
        let said = if from_delta { choice.delta } else { choice.message };
        let index = number(choice.index, choice.position)?;
        // Whoever is named has begun, if only with a role: a stream that ends here ends before it.
        out.begin(index)?;

        let reasoning = said.reasoning_content.or(said.reasoning).or(said.thinking);
        if let Some(text) = reasoning {
            out.say(Kind::Reasoning, index, text)?;
        }
        if said.has_details || said.has_parts {
            let reading = content::Reading {
                from_delta,
                has_reasoning: reasoning.is_some(),
                has_seals: said.has_seals,
            };
            content::elements(parts.group(choice.matches), reading, index, out)?;
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
            content::tool_calls(calls.group(choice.matches), from_delta, index, out)?;
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
                self.has_message |= !of_delta;
                let said = if of_delta { &mut self.delta } else { &mut self.message };
                said.note(member, value);
            }
        }
    }
}

/// An alternative's number; its place in the list where there is none, as with servers that only ever give one.
pub(super) fn number(index: Option<Value<'_>>, position: u32) -> Result<u32> {
    let Some(index) = index.filter(|index| !index.is_null()) else {
        return Ok(position);
    };
    index.as_u64().and_then(|index| u32::try_from(index).ok()).ok_or_else(|| {
        Error::new(ErrorKind::Protocol, "the index of an alternative is not a number in range")
    })
}

impl<'e> Said<'e> {
    fn note(&mut self, member: Field, value: Value<'e>) {
        match member {
            Field::Content => {
                self.content = text(value);
                self.has_parts |= matches!(value, Value::Object(_));
            }
            Field::ReasoningContent => self.reasoning_content = text(value),
            Field::Reasoning => self.reasoning = text(value),
            Field::Thinking | Field::ReasoningText => self.thinking = text(value).or(self.thinking),
            Field::Refusal => self.refusal = text(value),
            Field::LegacyName => self.legacy_name = text(value),
            Field::LegacyArguments => self.legacy_arguments = text(value),
            Field::Annotations => self.annotations = Some(value),
            Field::AudioData => self.audio = text(value),
            Field::AudioTranscript => self.transcript = text(value),
            Field::Part
            | Field::PartKind
            | Field::PartText
            | Field::PartThought
            | Field::PartThinking
            | Field::PartReferences
            | Field::Image => {
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
