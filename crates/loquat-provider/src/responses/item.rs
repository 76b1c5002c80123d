//! An item of a response's output that is complete: what of it has not been told yet, and what it is to be kept as.
//!
//! Thoughts are sealed with their whole item: the format wants id, summary and encrypted content back together. Items of
//! kinds that only the server can run are kept as they are.

use loquat_core::Result;
use loquat_json::{Extractor, Found, Value};

use super::{decode::OPAQUE, kept};
use crate::{
    calls::CallPiece,
    fields::{Pick, fields},
    outbox::{Kind, Outbox, Text},
    wire::EventError,
};

fields! {
    Type = "/type",
    Id = "/id",
    CallId = "/call_id",
    Name = "/name",
    Arguments = "/arguments",
    Input = "/input",
    Image = "/result",
    ImageFormat = "/output_format",
    Summary = "/summary/*/text",
    Text = "/content/*/text",
    Refusal = "/content/*/refusal",
    Annotations = "/content/*/annotations",
    Logprobs = "/content/*/logprobs",
}

/// What a stream has told of an item before it was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Told {
    /// That there is a call.
    pub(super) call: bool,
    /// Its text, thoughts or arguments, or some of them.
    pub(super) content: bool,
    /// That without pieces: each part when it was complete.
    pub(super) at_once: bool,
}

/// Reads items; kept from one to the next.
#[derive(Debug)]
pub(super) struct Items {
    extractor: Extractor,
    word: String,
}

impl Items {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { extractor: Field::extractor()?, word: String::new() })
    }

    /// Tells what an item holds besides what has been told. `index`: its place in the output, where that is known.
    pub(super) fn take(
        &mut self,
        raw: &str,
        index: Option<Value<'_>>,
        told: Told,
        out: &mut Outbox,
    ) -> Result<(), EventError> {
        let Self { extractor, word } = self;
        let found = extractor.extract_str(raw)?;
        match Field::Type.text(found).map(|kind| kind.decode_lossy(word)).unwrap_or_default() {
            "message" => {
                if !told.content {
                    texts(found, out)?;
                }
                keep(raw, out)?;
            }
            "reasoning" => reasoning(found, raw, told, out)?,
            "function_call" => {
                call(found, Field::Arguments, index, told, out)?;
                keep(raw, out)?;
            }
            "custom_tool_call" => {
                call(found, Field::Input, index, told, out)?;
                keep(raw, out)?;
            }
            "image_generation_call" => image(found, raw, word, out)?,
            _ => out.opaque(0, OPAQUE, raw)?,
        }
        Ok(())
    }
}

fn keep(raw: &str, out: &mut Outbox) -> Result<()> {
    kept::rest(raw).map_or(Ok(()), |rest| out.opaque(0, OPAQUE, &rest))
}

fn texts(found: Found<'_>, out: &mut Outbox) -> Result<()> {
    for found in found.iter() {
        let text = found.value.as_str().filter(|text| !text.is_empty());
        match (Field::of(&found), text) {
            (Some(Field::Text), Some(text)) => out.say(Kind::Text, 0, text)?,
            (Some(Field::Refusal), Some(text)) => out.say(Kind::Refusal, 0, text)?,
            (Some(Field::Annotations), _) => out.detail(0, "citations", found.value)?,
            (Some(Field::Logprobs), _) => out.detail(0, "logprobs", found.value)?,
            _ => {}
        }
    }
    Ok(())
}

/// The thoughts, of which a summary is told rather than the text where there are both.
fn reasoning(found: Found<'_>, raw: &str, told: Told, out: &mut Outbox) -> Result<()> {
    let kind = if Field::Summary.get(found).is_some() { Field::Summary } else { Field::Text };
    let mut any = told.content;
    if !told.content {
        for found in found.iter().filter(|found| Field::of(found) == Some(kind)) {
            if let Some(text) = found.value.as_str().filter(|text| !text.is_empty()) {
                if any {
                    out.say(Kind::Reasoning, 0, PARAGRAPH)?;
                }
                any = true;
                out.say(Kind::Reasoning, 0, text)?;
            }
        }
    }
    out.seal(0, raw, !any)
}

/// What stands between two parts of a summary.
pub(super) const PARAGRAPH: &str = "\n\n";

fn call(
    found: Found<'_>,
    arguments: Field,
    index: Option<Value<'_>>,
    told: Told,
    out: &mut Outbox,
) -> Result<()> {
    let arguments = arguments.text(found).map(Text::Json);
    if told.call {
        return match arguments {
            Some(_) if !told.content => out.call(0, &CallPiece { index, arguments, ..CallPiece::default() }),
            _ => Ok(()),
        };
    }
    let id = Field::CallId.text(found).or(Field::Id.text(found));
    let arguments = arguments.or(Some(Text::Plain("{}")));
    out.whole_call(0, &CallPiece { id, index, name: Field::Name.text(found), arguments })
}

/// A picture comes out as one, and stays as the name under which the server knows it.
fn image(found: Found<'_>, raw: &str, word: &mut String, out: &mut Outbox) -> Result<()> {
    let format = Field::ImageFormat.text(found).map_or("png", |format| format.decode_lossy(word));
    let media_type = format!("image/{format}");
    let picture = Field::Image.text(found).and_then(|picture| picture.borrowed());
    let told = match picture {
        Some(picture) => out.media(0, Text::Plain(&media_type), picture)?,
        None => false,
    };
    match Field::Id.get(found).map(|id| id.raw()).and_then(|id| std::str::from_utf8(id).ok()) {
        Some(id) if told => {
            out.opaque(0, OPAQUE, &format!(r#"{{"type":"image_generation_call","id":{id}}}"#))
        }
        _ => out.opaque(0, OPAQUE, raw),
    }
}
