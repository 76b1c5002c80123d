//! An item of a response's output that is complete: what of it has not been told yet, and what it is to be kept as.
//!
//! Thoughts are sealed with their whole item: the format wants id, summary and encrypted content back together. Items of
//! kinds that only the server can run are kept as they are.

use loquat_core::Result;
use loquat_json::{Extractor, Found, Match, Value};

use super::{
    decode::OPAQUE,
    kept,
    told::{Aside, At, Extent, MAX_KEPT, Names, Part, Section, Sort, Told, Whole, Words, hash_of},
};
use crate::{
    calls::CallPiece,
    fields::{Pick, fields},
    outbox::{Kind, Outbox, Text},
    seal::Family,
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
    parts: Vec<Part>,
    output: Vec<Whole>,
}

/// What is told of an item: what of it has been told is not told again.
struct Rest<'a> {
    told: Option<(&'a mut Told, usize)>,
    parts: &'a [Part],
    /// Words of it have been told.
    has_words: bool,
}

impl Items {
    pub(super) fn new() -> Result<Self> {
        let (parts, output) = (Vec::new(), Vec::new());
        Ok(Self { extractor: Field::extractor()?, word: String::new(), parts, output })
    }

    pub(super) fn extractor(&mut self) -> &mut Extractor {
        &mut self.extractor
    }

    /// Tells all of an item of an answer that is no stream.
    pub(super) fn take(&mut self, raw: &str, out: &mut Outbox) -> Result<(), EventError> {
        let found = self.extractor.extract_str(raw)?;
        tell(found, raw, None, Rest { told: None, parts: &[], has_words: false }, &mut self.word, out)
    }

    /// Tells what an item that is complete holds besides what has been told. `index`: its place in the output, where that is known.
    pub(super) fn complete(
        &mut self,
        raw: &str,
        index: Option<Value<'_>>,
        told: &mut Told,
        out: &mut Outbox,
    ) -> Result<(), EventError> {
        let Self { extractor, word, parts, .. } = self;
        let found = extractor.extract_str(raw)?;
        parts.clear();
        let whole = read(found, index.and_then(|index| index.as_u64()), parts, word);
        let Some(item) = told.complete(&whole)? else { return Ok(()) };
        told.make_room(parts.len());
        told.match_parts(item, parts)?;
        let has_words = told.has_words(item);
        for part in parts.iter_mut().filter(|part| part.run.is_none()) {
            part.run = Some(told.begin(item, At::in_whole(part), part.words, false)?);
            part.is_news = true;
        }
        tell(found, raw, index, Rest { told: Some((&mut *told, item)), parts, has_words }, word, out)?;
        told.close(item, whole.extent);
        parts.clear();
        parts.shrink_to(MAX_KEPT);
        Ok(())
    }

    /// Tells what the items of a whole response hold besides what has been told.
    pub(super) fn complete_all<'i, I: Iterator<Item = &'i str>>(
        &mut self,
        items: impl Fn() -> I,
        told: &mut Told,
        out: &mut Outbox,
    ) -> Result<(), EventError> {
        if told.is_empty() {
            return items().try_for_each(|raw| self.take(raw, out));
        }
        let Self { extractor, word, parts, output } = self;
        output.clear();
        parts.clear();
        for (place, raw) in (0..).zip(items()) {
            output.push(read(extractor.extract_str(raw)?, Some(place), parts, word));
        }
        told.match_output(output, parts)?;
        for (whole, raw) in output.iter().zip(items()) {
            if whole.item.is_some_and(|item| told.is_closed(item)) {
                continue;
            }
            let found = extractor.extract_str(raw)?;
            parts.clear();
            read(found, whole.place, parts, word);
            let mut has_words = false;
            if let Some(item) = whole.item {
                told.match_parts(item, parts)?;
                has_words = told.has_words(item);
            }
            parts.iter_mut().for_each(|part| part.is_news = part.run.is_none());
            let told = whole.item.map(|item| (&mut *told, item));
            tell(found, raw, None, Rest { told, parts, has_words }, word, out)?;
        }
        parts.clear();
        parts.shrink_to(MAX_KEPT);
        output.clear();
        output.shrink_to(MAX_KEPT);
        Ok(())
    }
}

/// What an item is, and which runs of words are in it.
fn read(found: Found<'_>, place: Option<u64>, parts: &mut Vec<Part>, word: &mut String) -> Whole {
    let kind = Field::Type.text(found);
    let sort = match kind.map(|kind| kind.decode_lossy(word)).unwrap_or_default() {
        "message" => Sort::Message,
        "reasoning" => Sort::Thoughts,
        "function_call" | "custom_tool_call" => Sort::Call,
        _ => Sort::Other(kind.map_or(0, hash_of)),
    };
    let names = Names::of(Field::Id.text(found), Field::CallId.text(found));
    let mut extent = Extent::default();
    let first_part = parts.len();
    for found in found.iter() {
        let section = match (Field::of(&found), sort) {
            (Some(Field::Text), Sort::Message) => Section::Text,
            (Some(Field::Refusal), Sort::Message) => Section::Refusal,
            (Some(Field::Text), Sort::Thoughts) => Section::Thoughts,
            (Some(Field::Summary), Sort::Thoughts) => Section::Summary,
            (Some(Field::Arguments | Field::Input), Sort::Call) => Section::Arguments,
            _ => continue,
        };
        if let Some(text) = found.value.as_str().filter(|text| !text.is_empty()) {
            let words = Words::of(text, word);
            extent.add(section, &words);
            parts.push(Part {
                section,
                number: part_number(&found),
                words,
                run: None,
                is_news: false,
                has: [false; 2],
            });
        }
    }
    let parts = parts.len() - first_part;
    Whole { place, sort, names, extent, first_part, parts, item: None }
}

/// Which part of its section.
fn part_number(found: &Match<'_>) -> u64 {
    found.indices.get(0).map_or(0, u64::from)
}

fn tell(
    found: Found<'_>,
    raw: &str,
    index: Option<Value<'_>>,
    mut rest: Rest<'_>,
    word: &mut String,
    out: &mut Outbox,
) -> Result<(), EventError> {
    match Field::Type.text(found).map(|kind| kind.decode_lossy(word)).unwrap_or_default() {
        "message" => {
            texts(found, &mut rest, out)?;
            keep(raw, out)?;
        }
        "reasoning" => reasoning(found, raw, &rest, out)?,
        "function_call" => {
            call(found, Field::Arguments, index, &rest, out)?;
            keep(raw, out)?;
        }
        "custom_tool_call" => {
            call(found, Field::Input, index, &rest, out)?;
            keep(raw, out)?;
        }
        "image_generation_call" => image(found, raw, word, out)?,
        _ => out.opaque(0, OPAQUE, raw)?,
    }
    Ok(())
}

impl Rest<'_> {
    /// Whether that about a part of a message is still to be told; from now on it is not.
    fn has_aside(&mut self, aside: Aside, number: u64) -> bool {
        let Some((told, item)) = &mut self.told else { return true };
        let from = self.parts.partition_point(|part| part.number < number);
        let part = self.parts.get(from).filter(|part| part.number == number);
        let is_told =
            part.is_some_and(|part| part.has[aside as usize]) || told.has_aside(*item, number, aside);
        if let Some(run) = part.and_then(|part| part.run) {
            told.note(run, aside);
        }
        !is_told
    }
}

/// Whether the words of each part are still to be told, in the order of the item.
fn are_news(parts: &[Part]) -> impl FnMut() -> bool {
    let mut parts = parts.iter();
    move || parts.next().is_none_or(|part| part.is_news)
}

/// Whether that is more than nothing, as servers write it: also an empty list.
pub(super) fn is_something(value: &Value<'_>) -> bool {
    !matches!(value.raw(), b"null" | b"[]" | b"{}" | b"\"\"")
}

fn keep(raw: &str, out: &mut Outbox) -> Result<()> {
    kept::rest(raw).map_or(Ok(()), |rest| out.opaque(0, OPAQUE, &rest))
}

fn texts(found: Found<'_>, rest: &mut Rest<'_>, out: &mut Outbox) -> Result<()> {
    let mut is_news = are_news(rest.parts);
    for found in found.iter() {
        let part = part_number(&found);
        let text = found.value.as_str().filter(|text| !text.is_empty());
        match (Field::of(&found), text) {
            (Some(Field::Text), Some(text)) if is_news() => out.say(Kind::Text, 0, text)?,
            (Some(Field::Refusal), Some(text)) if is_news() => out.say(Kind::Refusal, 0, text)?,
            (Some(Field::Annotations), _)
                if is_something(&found.value) && rest.has_aside(Aside::Citations, part) =>
            {
                out.detail(0, "citations", found.value)?;
            }
            (Some(Field::Logprobs), _)
                if is_something(&found.value) && rest.has_aside(Aside::Logprobs, part) =>
            {
                out.detail(0, "logprobs", found.value)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The thoughts: of text and summary that of which something has been told, or else the summary where there are both.
fn reasoning(found: Found<'_>, raw: &str, rest: &Rest<'_>, out: &mut Outbox) -> Result<()> {
    let has_told = [Section::Thoughts, Section::Summary]
        .map(|section| rest.parts.iter().any(|part| part.section == section && !part.is_news));
    let wanted = match has_told {
        [false, false] if Field::Summary.get(found).is_some() => [false, true],
        [false, false] => [true, false],
        told => told,
    };
    let mut any = rest.has_words;
    let mut is_news = are_news(rest.parts);
    for found in found.iter() {
        let is_wanted = match Field::of(&found) {
            Some(Field::Text) => wanted[0],
            Some(Field::Summary) => wanted[1],
            _ => continue,
        };
        let text = found.value.as_str().filter(|text| !text.is_empty());
        if let Some(text) = text.filter(|_| is_news() && is_wanted) {
            if any {
                out.say(Kind::Reasoning, 0, PARAGRAPH)?;
            }
            any = true;
            out.say(Kind::Reasoning, 0, text)?;
        }
    }
    out.seal(0, raw, !any, Family::Responses)
}

/// What stands between two parts of a summary.
pub(super) const PARAGRAPH: &str = "\n\n";

fn call(
    found: Found<'_>,
    arguments: Field,
    index: Option<Value<'_>>,
    rest: &Rest<'_>,
    out: &mut Outbox,
) -> Result<()> {
    let arguments = arguments.text(found).map(Text::Json);
    let (id, name) = (Field::CallId.text(found).or(Field::Id.text(found)), Field::Name.text(found));
    let known = rest.told.as_ref().and_then(|(told, item)| told.announced(*item));
    let Some(number) = known else {
        let arguments = arguments.or(Some(Text::Plain("{}")));
        return out.whole_call(0, &CallPiece { id, index, name, arguments });
    };
    let arguments = arguments.filter(|_| are_news(rest.parts)());
    match (number, arguments) {
        (Some(call), Some(arguments)) => out.arguments(0, call, arguments),
        (Some(_), None) => Ok(()),
        // It has been waiting for its name.
        (None, arguments) => out.call(0, &CallPiece { id, index, name, arguments }),
    }
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
