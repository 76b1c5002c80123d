//! Texts in places where only a few servers have them: looked for where nothing else was found, in an extraction of its own, so that
//! no other event pays for them.

use loquat_core::{Error, ErrorKind, Result};
use loquat_json::{Found, Raw, Value};

use super::{super::OPAQUE, Field as Chat, choice::number, text};
use crate::{
    fields::{Pick, fields},
    outbox::{Kind, Outbox},
};

fields! {
    Index = "/*/index",
    ChoiceText = "/*/text",
    Type = "/type",
    Text = "/text",
    Thinking = "/thinking",
}

/// What alternatives without a message say in a `text` of their own, as in legacy completions.
#[inline(never)]
pub(super) fn texts(event: Found<'_>, out: &mut Outbox) -> Result<()> {
    let Some(Value::Array(list)) = Chat::Choices.get(event) else { return Ok(()) };
    let mut extractor = Field::extractor()?.with_prediction(false);
    let found = extractor.extract_str(list.as_str()).map_err(unreadable)?;
    let mut matches = found.iter().peekable();
    while let Some(position) = matches.peek().and_then(|found| found.indices.get(0)) {
        let (mut index, mut said) = (None, None);
        while let Some(found) = matches.next_if(|found| found.indices.get(0) == Some(position)) {
            match Field::of(&found) {
                Some(Field::Index) => index = Some(found.value),
                _ => said = text(found.value),
            }
        }
        if let Some(said) = said {
            let number = number(index, position)?;
            out.begin(number)?;
            out.say(Kind::Text, number, said)?;
        }
    }
    Ok(())
}

/// Content that is one object instead of a list with one in it.
#[inline(never)]
pub(super) fn object(object: Raw<'_>, index: u32, out: &mut Outbox) -> Result<()> {
    let mut extractor = Field::extractor()?.with_prediction(false);
    let found = extractor.extract_str(object.as_str()).map_err(unreadable)?;
    if let Some(thought) = Field::Thinking.text(found) {
        out.say(Kind::Reasoning, index, thought)?;
    }
    match Field::Text.text(found) {
        Some(said) => out.say(Kind::Text, index, said),
        None if matches!(Field::Type.plain(found), None | Some("text" | "thinking")) => Ok(()),
        None => out.opaque(index, OPAQUE, object.as_str()),
    }
}

fn unreadable(_: loquat_json::Error) -> Error {
    Error::new(ErrorKind::Protocol, "an event has too much in it")
}
