//! What a message is made of besides running text: elements of its lists, pictures, seals, tool calls.

use loquat_core::Result;
use loquat_json::{Match, Str, Value};
use serde_json::{Map, Value as Owned};

use super::{super::OPAQUE, Field, elsewhere, member, text};
use crate::{
    calls::CallPiece,
    outbox::{Kind, Outbox, Text},
    seal::Family,
};

/// How a list is to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// Of `delta`, or of `message`.
    pub(super) from_delta: bool,
    /// The details repeat `reasoning` where that is there as well.
    pub(super) has_reasoning: bool,
    pub(super) has_seals: bool,
}

/// The elements of a content list (Mistral) and of `reasoning_details` (OpenRouter).
pub(super) fn elements<'e>(
    matches: impl Iterator<Item = (u32, Field, Match<'e>)>,
    reading: Reading,
    index: u32,
    out: &mut Outbox,
) -> Result<()> {
    let mut element = Element::default();
    let mut sealed = Vec::new();
    for (_, field, found) in matches {
        let Some((member, of_delta)) = member(field) else { continue };
        if of_delta != reading.from_delta {
            continue;
        }
        let said = text(found.value);
        match (member, said) {
            (Field::Content, _) => {
                if let Value::Object(content) = found.value {
                    elsewhere::object(content, index, out)?;
                }
            }
            (Field::Part, _) => {
                std::mem::take(&mut element).keep(index, out)?;
                // A list of texts without any more ado.
                say(Kind::Text, said, index, out)?;
                element.raw = Some(found.value);
            }
            (Field::PartKind, Some(kind)) => {
                element.is_strange = !matches!(kind.borrowed(), Some("text" | "thinking"));
            }
            (Field::PartReferences, _) => out.detail(index, "citations", found.value)?,
            (Field::PartText, _) => {
                element.raw = None;
                say(Kind::Text, said, index, out)?;
            }
            (Field::PartThought, Some(_)) | (Field::PartThinking, _) => {
                say(Kind::Reasoning, said, index, out)?;
            }
            (Field::DetailText | Field::DetailSummary, _) if !reading.has_reasoning => {
                say(Kind::Reasoning, said, index, out)?;
            }
            (Field::Sealed, _) if reading.has_seals => sealed.push(found.value),
            (Field::Image, Some(url)) => image(url, found.value, index, out)?,
            _ => {}
        }
    }
    element.keep(index, out)?;
    sealed.into_iter().try_for_each(|detail| seal(detail, index, out))
}

fn say(kind: Kind, text: Option<Str<'_>>, index: u32, out: &mut Outbox) -> Result<()> {
    text.map_or(Ok(()), |text| out.say(kind, index, text))
}

/// An element of a content list that nothing has been told of yet.
#[derive(Debug, Default)]
struct Element<'e> {
    raw: Option<Value<'e>>,
    is_strange: bool,
}

impl Element<'_> {
    /// One of a kind that is neither text nor thoughts is kept, for the server that knows it.
    fn keep(self, index: u32, out: &mut Outbox) -> Result<()> {
        match self.raw {
            Some(Value::Object(raw)) if self.is_strange => out.opaque(index, OPAQUE, raw.as_str()),
            _ => Ok(()),
        }
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

/// An element of `reasoning_details` that has to go back: all of it but the text, which is told. Rare, so it is parsed again.
fn seal(detail: Value<'_>, index: u32, out: &mut Outbox) -> Result<()> {
    let Ok(mut members) = serde_json::from_slice::<Map<String, Owned>>(detail.raw()) else { return Ok(()) };
    let holds = |name: &str| members.get(name).and_then(Owned::as_str).is_some_and(|text| !text.is_empty());
    let (signed, encrypted) = (holds("signature"), holds("data"));
    if signed || encrypted {
        members.remove("text");
        members.remove("summary");
        members.retain(|_, value| !value.is_null());
        out.seal(index, &*Owned::Object(members).to_string(), encrypted, Family::ReasoningDetails)?;
    }
    Ok(())
}

/// The calls among a choice's matches, or pieces of them.
pub(super) fn tool_calls<'e>(
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
