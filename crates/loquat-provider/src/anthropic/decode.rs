//! Messages events, and whole messages, into deltas.
//!
//! Blocks are numbered by the server; the number is only compared, and only to find the tool call that a piece of
//! arguments belongs to. Tools that the server runs itself (web search and the like) are not ours to run: their blocks, and
//! blocks of new kinds, are put together and stay parts of the message.

use loquat_core::{Error, ErrorKind, FinishReason, Result, Usage};
use loquat_json::{Extractor, Found, Match, Str, Value};
use serde_json::{Map, Value as Owned};

use crate::{
    DecodeLimits, DecoderMemory,
    calls::CallPiece,
    failure,
    fields::{Pick, bits, fields},
    outbox::{Kind, Of, Outbox, Text},
    pool::Pool,
    seal::Family,
    wire::{EventError, Incoming, Wire},
};

fields! {
    Type = "/type",
    Error = "/error",
    Index = "/index",
    MessageId = "/message/id",
    MessageModel = "/message/model",
    MessageStopReason = "/message/stop_reason",
    StartInputTokens = "/message/usage/input_tokens",
    StartOutputTokens = "/message/usage/output_tokens",
    StartCacheRead = "/message/usage/cache_read_input_tokens",
    StartCacheWrite = "/message/usage/cache_creation_input_tokens",
    InputTokens = "/usage/input_tokens",
    OutputTokens = "/usage/output_tokens",
    CacheRead = "/usage/cache_read_input_tokens",
    CacheWrite = "/usage/cache_creation_input_tokens",
    ThinkingTokens = "/usage/output_tokens_details/thinking_tokens",
    Block = "/content_block",
    BlockType = "/content_block/type",
    BlockText = "/content_block/text",
    BlockThinking = "/content_block/thinking",
    BlockSignature = "/content_block/signature",
    BlockData = "/content_block/data",
    BlockId = "/content_block/id",
    BlockName = "/content_block/name",
    BlockInput = "/content_block/input",
    DeltaType = "/delta/type",
    DeltaText = "/delta/text",
    DeltaThinking = "/delta/thinking",
    DeltaSignature = "/delta/signature",
    DeltaJson = "/delta/partial_json",
    DeltaCitation = "/delta/citation",
    DeltaStopReason = "/delta/stop_reason",
    Id = "/id",
    Model = "/model",
    StopReason = "/stop_reason",
    Content = "/content",
    Part = "/content/*",
    PartType = "/content/*/type",
    PartText = "/content/*/text",
    PartThinking = "/content/*/thinking",
    PartSignature = "/content/*/signature",
    PartData = "/content/*/data",
    PartId = "/content/*/id",
    PartName = "/content/*/name",
    PartInput = "/content/*/input",
    PartCitations = "/content/*/citations",
}

/// The format's name in an opaque part.
pub(super) const OPAQUE: &str = "anthropic-messages";

/// What answers leave for those after them.
pub(super) static POOL: Pool = Pool::new(DecoderMemory::new);

/// The state of one answer.
#[derive(Debug)]
pub(super) struct Messages {
    extractor: Extractor,
    /// The blocks that are open and have to be put together. Anthropic has one at a time; servers that translate from other formats
    /// tell the calls of an answer side by side.
    open: Vec<Open>,
    counted: Counted,
    /// Reused for comparing words.
    word: String,
}

/// A block whose pieces are still coming.
#[derive(Debug, Default)]
struct Open {
    /// The server's number of it, as written; empty where it says none.
    index: String,
    /// Of a call our own number, once it has been announced.
    call: Option<u32>,
    /// What it began with: of a call the whole arguments, from servers that send no pieces; of another the block.
    start: String,
    /// A call has been given arguments.
    has_arguments: bool,
    /// Of a block that is no call of ours.
    opaque: Option<Pieces>,
}

/// What a block that is kept as it is has been given since it began.
#[derive(Debug, Default)]
struct Pieces {
    /// Its input so far, JSON in the making.
    input: String,
    /// Members of pieces of kinds that are newer than this.
    members: Map<String, Owned>,
}

impl Pieces {
    /// Adds a piece's members: texts and lists go on where they were, anything else is replaced.
    fn add(&mut self, piece: Map<String, Owned>) {
        for (name, value) in piece.into_iter().filter(|(name, _)| name != "type") {
            append(&mut self.members, name, value);
        }
    }
}

fn append(members: &mut Map<String, Owned>, name: String, value: Owned) {
    match (members.get_mut(&name), value) {
        (Some(Owned::String(text)), Owned::String(more)) => text.push_str(&more),
        (Some(Owned::Array(list)), Owned::Array(more)) => list.extend(more),
        (_, value) => drop(members.insert(name, value)),
    }
}

/// Tokens as the server counts them: a prompt in three parts.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    input: u64,
    cache_read: u64,
    cache_write: u64,
    output: u64,
    thinking: u64,
}

/// A block at its beginning, or a whole one.
#[derive(Debug, Clone, Copy, Default)]
struct Block<'e> {
    raw: Option<Value<'e>>,
    kind: Option<Str<'e>>,
    text: Option<Str<'e>>,
    thinking: Option<Str<'e>>,
    signature: Option<Str<'e>>,
    data: Option<Str<'e>>,
    id: Option<Str<'e>>,
    name: Option<Str<'e>>,
    input: Option<Value<'e>>,
    citations: Option<Value<'e>>,
}

impl Messages {
    pub(super) fn boxed() -> Result<Box<dyn Wire>> {
        Ok(Box::new(Self {
            extractor: Field::extractor()?,
            open: Vec::new(),
            counted: Counted::default(),
            word: String::new(),
        }))
    }
}

impl Wire for Messages {
    fn renew(&mut self, _: DecodeLimits) {
        let Self { extractor: _, open, counted, word: _ } = self;
        open.clear();
        *counted = Counted::default();
    }

    fn extractor(&mut self) -> &mut Extractor {
        &mut self.extractor
    }

    fn event(&mut self, event: Incoming<'_>, out: &mut Outbox) -> Result<bool, EventError> {
        let Self { extractor, open, counted, word } = self;
        let data = event.data;
        if event.name == "error" {
            out.fail(failure::of_event(data));
            return Ok(true);
        }
        if event.is_done() {
            // Not Anthropic's, but that of servers which translate from a format that has it.
            close_all(open, out)?;
            out.finish();
            return Ok(true);
        }
        let found = event.extract(extractor)?;
        // The short way for what most events of a stream consist of. It comes to what the long way does.
        if found.is_only(bits!(Type | Index | DeltaType | DeltaText))
            && Field::Type.is(found, "\"content_block_delta\"")
            && let Some(text) = Field::DeltaText.plain(found)
        {
            out.say_on(Kind::Text, 0, text)?;
            out.expect_more(Of::TEXT, Field::DeltaText.number(), bits!(Index), found);
            return Ok(true);
        }
        let kind = Field::Type.text(found).map_or(event.name, |kind| kind.decode_lossy(word));
        if kind == "error" || Field::Error.get(found).is_some_and(|error| !error.is_null()) {
            out.fail(failure::of_event(data));
            return Ok(true);
        }
        match kind {
            "ping" => return Ok(false),
            "content_block_delta" => delta(found, data, event.name, open, out)?,
            "content_block_start" => {
                let block = Block::started(found);
                let index = Field::Index.get(found);
                let written = index.map(raw_text).unwrap_or_default();
                if block.is("tool_use") {
                    let start = block.input.map(raw_text).unwrap_or_default();
                    begin(open, Open { index: written, start, ..Open::default() }, out)?;
                    let piece = block.call(index);
                    if piece.id.is_some() {
                        out.call(0, &piece)?;
                    } else {
                        out.begin_call(0, &piece)?;
                    }
                    if let Some(call) = open.last_mut() {
                        call.call = out.latest_call(0);
                    }
                } else if !block.say(out)? {
                    let start = Field::Block.get(found).map(raw_text).unwrap_or_default();
                    let opaque = Some(Pieces::default());
                    begin(open, Open { index: written, start, opaque, ..Open::default() }, out)?;
                }
            }
            "content_block_stop" => {
                if let Some(at) = open_at(open, Field::Index.get(found)) {
                    close(open.remove(at), out)?;
                }
            }
            "message_start" => {
                counted.note(found, &START);
                counted.tell(out);
                let (id, model) = (Field::MessageId.text(found), Field::MessageModel.text(found));
                out.start(id, model)?;
                // A start that names nothing is none: what ends right after it would be an answer out of nothing.
                if id.is_some() || model.is_some() {
                    out.begin(0)?;
                }
                if let Some(reason) = Field::MessageStopReason.text(found) {
                    out.end_choice(0, finish_reason(reason))?;
                }
            }
            "message_delta" => {
                counted.note(found, &LATER);
                counted.tell(out);
                if let Some(reason) = Field::DeltaStopReason.text(found) {
                    close_all(open, out)?;
                    out.end_choice(0, finish_reason(reason))?;
                }
            }
            "message_stop" => {
                close_all(open, out)?;
                out.finish();
            }
            "message" => whole(found, event, counted, out)?,
            _ => out.raw(event.name, data)?,
        }
        Ok(true)
    }
}

/// A whole message, or an unknown event that has no type of its own.
fn whole(found: Found<'_>, event: Incoming<'_>, counted: &mut Counted, out: &mut Outbox) -> Result<()> {
    if Field::Content.get(found).is_none() {
        return out.raw(event.name, event.data);
    }
    counted.note(found, &LATER);
    counted.tell(out);
    out.start(Field::Id.text(found), Field::Model.text(found))?;
    let mut position = None;
    let mut block = Block::default();
    for found in found.iter() {
        let (Some(field), Some(here)) = (Field::of(&found), found.indices.get(0)) else { continue };
        if position.is_some_and(|position| position != here) {
            std::mem::take(&mut block).take_in(out)?;
        }
        position = Some(here);
        block.note(field, &found);
    }
    if position.is_some() {
        block.take_in(out)?;
    }
    match Field::StopReason.text(found) {
        Some(reason) => out.end_choice(0, finish_reason(reason)),
        None => Ok(()),
    }
}

fn delta(found: Found<'_>, data: &str, name: &str, open: &mut [Open], out: &mut Outbox) -> Result<()> {
    // By what is there and not by its declared type: servers that translate from other formats get the types wrong.
    if let Some(text) = Field::DeltaText.text(found) {
        return out.say(Kind::Text, 0, text);
    }
    if let Some(text) = Field::DeltaThinking.text(found) {
        out.say(Kind::Reasoning, 0, text)?;
        out.expect_more(Of::REASONING, Field::DeltaThinking.number(), bits!(Index), found);
        return Ok(());
    }
    if let Some(signature) = Field::DeltaSignature.text(found) {
        return out.seal(0, signature, false, Family::Anthropic);
    }
    if let Some(piece) = Field::DeltaJson.get(found).and_then(|piece| piece.as_str()) {
        let index = Field::Index.get(found);
        return match open_at(open, index).and_then(|at| open.get_mut(at)) {
            Some(_) if piece.is_empty() => Ok(()),
            Some(Open { opaque: Some(Pieces { input, .. }), .. }) => {
                let before = input.len();
                piece.append_lossy_to(input);
                out.count(input.len() - before)
            }
            Some(open) => {
                open.has_arguments = true;
                let piece = CallPiece { index, arguments: Some(piece.into()), ..CallPiece::default() };
                if let Some(call) = out.more_of_call(0, &piece)? {
                    out.expect_more(Of::Arguments { choice: 0, call }, Field::DeltaJson.number(), 0, found);
                }
                Ok(())
            }
            None => out.raw(name, data),
        };
    }
    if let Some(citation) = Field::DeltaCitation.get(found) {
        return out.detail(0, "citations", citation);
    }
    let here = Field::Index.get(found);
    if let Some(at) = open_at(open, here)
        && let Some(Open { opaque: Some(pieces), .. }) = open.get_mut(at)
        && let Ok(Owned::Object(mut event)) = serde_json::from_str(data)
        && let Some(Owned::Object(piece)) = event.remove("delta")
    {
        out.count(data.len())?;
        pieces.add(piece);
        return Ok(());
    }
    let known = ["text_delta", "thinking_delta", "signature_delta", "input_json_delta"];
    let kind = Field::DeltaType.text(found).and_then(|kind| kind.borrowed());
    if kind.is_some_and(|kind| known.contains(&kind)) { Ok(()) } else { out.raw(name, data) }
}

/// Most blocks that are open at once: above the calls of any answer that was seen.
const MAX_OPEN: usize = 256;

/// Which of the open blocks has that number; where either says none, the latest.
fn open_at(open: &[Open], index: Option<Value<'_>>) -> Option<usize> {
    let Some(index) = index else { return open.len().checked_sub(1) };
    let with = |number: &[u8]| open.iter().rposition(|open| open.index.as_bytes() == number);
    with(index.raw()).or_else(|| with(b""))
}

/// A block begins. One of the same number that was open has had its end.
fn begin(open: &mut Vec<Open>, block: Open, out: &mut Outbox) -> Result<()> {
    if let Some(at) = open.iter().rposition(|open| open.index == block.index) {
        close(open.remove(at), out)?;
    }
    if open.len() >= MAX_OPEN {
        let what = format!("the answer has more than {MAX_OPEN} blocks open at once");
        return Err(Error::new(ErrorKind::TooLarge, what));
    }
    // What a block begins with is kept until it ends.
    out.count(block.start.len())?;
    open.push(block);
    Ok(())
}

fn close_all(open: &mut Vec<Open>, out: &mut Outbox) -> Result<()> {
    open.drain(..).try_for_each(|open| close(open, out))
}

/// A block is complete: a call that had no pieces has what its block began with, or no arguments at all.
fn close(open: Open, out: &mut Outbox) -> Result<()> {
    let Open { index: _, call, start, has_arguments, opaque } = open;
    match opaque {
        Some(Pieces { input, members }) => {
            let input = serde_json::from_str::<Owned>(&input).ok();
            match serde_json::from_str::<Map<String, Owned>>(&start) {
                Ok(mut block) if input.is_some() || !members.is_empty() => {
                    input.into_iter().for_each(|input| drop(block.insert("input".to_owned(), input)));
                    members.into_iter().for_each(|(name, value)| append(&mut block, name, value));
                    out.opaque(0, OPAQUE, &Owned::Object(block).to_string())
                }
                _ => out.opaque(0, OPAQUE, start.trim_ascii()),
            }
        }
        None if has_arguments => Ok(()),
        None => {
            let input = Text::Plain(if start.is_empty() { "{}" } else { &start });
            match call {
                Some(call) => out.arguments(0, call, input),
                None => out.call(0, &CallPiece { arguments: Some(input), ..CallPiece::default() }),
            }
        }
    }
}

impl<'e> Block<'e> {
    fn started(found: Found<'e>) -> Self {
        Self {
            raw: None,
            kind: Field::BlockType.text(found),
            text: Field::BlockText.text(found),
            thinking: Field::BlockThinking.text(found),
            signature: Field::BlockSignature.text(found),
            data: Field::BlockData.text(found),
            id: Field::BlockId.text(found),
            name: Field::BlockName.text(found),
            input: Field::BlockInput.get(found),
            citations: None,
        }
    }

    fn note(&mut self, field: Field, found: &Match<'e>) {
        let text = found.value.as_str().filter(|text| !text.is_empty());
        match field {
            Field::Part => self.raw = Some(found.value),
            Field::PartType => self.kind = text,
            Field::PartText => self.text = text,
            Field::PartThinking => self.thinking = text,
            Field::PartSignature => self.signature = text,
            Field::PartData => self.data = text,
            Field::PartId => self.id = text,
            Field::PartName => self.name = text,
            Field::PartInput => self.input = Some(found.value),
            Field::PartCitations => self.citations = Some(found.value),
            _ => {}
        }
    }

    fn is(&self, kind: &str) -> bool {
        self.kind.and_then(|known| known.borrowed()) == Some(kind)
    }

    /// Says what a block of text or thoughts holds; `false` for any other block.
    fn say(&self, out: &mut Outbox) -> Result<bool> {
        if self.is("text") {
            if let Some(text) = self.text {
                out.say(Kind::Text, 0, text)?;
            }
        } else if self.is("thinking") {
            out.think();
            if let Some(text) = self.thinking {
                out.say(Kind::Reasoning, 0, text)?;
            }
            if let Some(signature) = self.signature {
                out.seal(0, signature, false, Family::Anthropic)?;
            }
        } else if self.is("redacted_thinking") {
            out.think();
            if let Some(data) = self.data {
                out.seal(0, data, true, Family::Anthropic)?;
            }
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn call(&self, index: Option<Value<'e>>) -> CallPiece<'e> {
        CallPiece { id: self.id, index, name: self.name, arguments: None }
    }

    /// A block that came whole.
    fn take_in(self, out: &mut Outbox) -> Result<()> {
        if self.is("tool_use") {
            let arguments = self.input.map(|input| match input {
                Value::Str(text) => Text::Json(text),
                Value::Null => Text::Plain("{}"),
                input => Text::Plain(std::str::from_utf8(input.raw()).unwrap_or_default()),
            });
            return out.call(0, &CallPiece { arguments, ..self.call(None) });
        }
        if self.say(out)? {
            return self.citations.map_or(Ok(()), |citations| out.detail(0, "citations", citations));
        }
        match self.raw {
            Some(raw) => out.opaque(0, OPAQUE, std::str::from_utf8(raw.raw()).unwrap_or_default()),
            None => Ok(()),
        }
    }
}

fn raw_text(value: Value<'_>) -> String {
    String::from_utf8_lossy(value.raw()).into_owned()
}

/// Where an event keeps its counts, in the order of [`Counted`].
const START: [Field; 4] =
    [Field::StartInputTokens, Field::StartCacheRead, Field::StartCacheWrite, Field::StartOutputTokens];
const LATER: [Field; 4] = [Field::InputTokens, Field::CacheRead, Field::CacheWrite, Field::OutputTokens];

impl Counted {
    /// Counts are cumulative: what an event says replaces what was known, what it leaves out stays.
    fn note(&mut self, found: Found<'_>, [input, cache_read, cache_write, output]: &[Field; 4]) {
        let note = |count: &mut u64, field: &Field| *count = field.count(found).unwrap_or(*count);
        note(&mut self.input, input);
        note(&mut self.cache_read, cache_read);
        note(&mut self.cache_write, cache_write);
        note(&mut self.output, output);
        note(&mut self.thinking, &Field::ThinkingTokens);
    }

    /// The server counts apart what it read from and wrote to its cache; our input is all of the prompt.
    fn tell(&self, out: &mut Outbox) {
        let mut usage = Usage::default();
        usage.input_tokens = self.input.saturating_add(self.cache_read).saturating_add(self.cache_write);
        usage.output_tokens = self.output;
        usage.cache_read_tokens = self.cache_read;
        usage.cache_write_tokens = self.cache_write;
        usage.reasoning_tokens = self.thinking;
        *out.usage_mut() = usage;
    }
}

fn finish_reason(word: Str<'_>) -> FinishReason {
    let mut scratch = String::new();
    match word.decode_lossy(&mut scratch) {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::Refusal,
        other => FinishReason::Other(other.to_owned()),
    }
}
