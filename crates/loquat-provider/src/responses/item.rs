//! An item of a response's output that is complete: what of it has not been told yet, and what it is to be kept as.
//!
//! Thoughts are sealed with their whole item: the format wants id, summary and encrypted content back together. Items of
//! kinds that only the server can run are kept as they are.

use loquat_core::Result;
use loquat_json::{Extractor, Found, Match, Str, Value};

use super::{
    decode::OPAQUE,
    kept,
    told::{Aside, Section, View},
};
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

    /// Tells what an item holds besides what has been told, which `told` says by its name; `None`: it is not to be told. `index`: its
    /// place in the output, where that is known.
    pub(super) fn take<'t>(
        &mut self,
        raw: &str,
        index: Option<Value<'_>>,
        told: impl FnOnce(Option<Str<'_>>) -> Result<Option<View<'t>>>,
        out: &mut Outbox,
    ) -> Result<(), EventError> {
        let Self { extractor, word } = self;
        let found = extractor.extract_str(raw)?;
        let Some(told) = told(Field::Id.text(found))? else { return Ok(()) };
        match Field::Type.text(found).map(|kind| kind.decode_lossy(word)).unwrap_or_default() {
            "message" => {
                texts(found, told, out)?;
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

fn texts(found: Found<'_>, told: View<'_>, out: &mut Outbox) -> Result<()> {
    for found in found.iter() {
        let part = part_number(&found);
        let text = found.value.as_str().filter(|text| !text.is_empty());
        let is_told = || told.has_words(Section::Content, part);
        match (Field::of(&found), text) {
            (Some(Field::Text), Some(text)) if !is_told() => out.say(Kind::Text, 0, text)?,
            (Some(Field::Refusal), Some(text)) if !is_told() => out.say(Kind::Refusal, 0, text)?,
            (Some(Field::Annotations), _) if !told.has_aside(Aside::Citations, part) => {
                out.detail(0, "citations", found.value)?;
            }
            (Some(Field::Logprobs), _) if !told.has_aside(Aside::Logprobs, part) => {
                out.detail(0, "logprobs", found.value)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Which part of its section.
fn part_number(found: &Match<'_>) -> u64 {
    found.indices.get(0).map_or(u64::MAX, u64::from)
}

/// The thoughts: of text and summary that of which something has been told, or else the summary where there are both.
fn reasoning(found: Found<'_>, raw: &str, told: View<'_>, out: &mut Outbox) -> Result<()> {
    let has_told = [Section::Content, Section::Summary].map(|section| told.has_any(section));
    let wanted = match has_told {
        [false, false] if Field::Summary.get(found).is_some() => [false, true],
        [false, false] => [true, false],
        told => told,
    };
    let mut any = has_told.contains(&true);
    for found in found.iter() {
        let section = match Field::of(&found) {
            Some(Field::Text) if wanted[0] => Section::Content,
            Some(Field::Summary) if wanted[1] => Section::Summary,
            _ => continue,
        };
        let text = found.value.as_str().filter(|text| !text.is_empty());
        if let Some(text) = text.filter(|_| !told.has_words(section, part_number(&found))) {
            if any {
                out.say(Kind::Reasoning, 0, PARAGRAPH)?;
            }
            any = true;
            out.say(Kind::Reasoning, 0, text)?;
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
    told: View<'_>,
    out: &mut Outbox,
) -> Result<()> {
    let arguments = arguments.text(found).map(Text::Json);
    if told.is_call() {
        return match arguments {
            Some(_) if !told.has_any(Section::Content) => {
                out.call(0, &CallPiece { index, arguments, ..CallPiece::default() })
            }
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
