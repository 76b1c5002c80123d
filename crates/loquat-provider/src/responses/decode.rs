//! Response events, and whole responses, into deltas.
//!
//! An answer is a list of items, each announced, told in pieces, and then given once more whole: its texts, its parts, itself, and with
//! all others in the response. What has been told is remembered ([`Told`]), so that what a server leaves out of one of those is told by
//! the next. The format has no finish reason: an answer that asks for tools ends in `ToolCalls`, as everywhere.

mod end;

use loquat_core::Result;
use loquat_json::{Extractor, Found, Str, Value};

use self::end::{IN_EVENT, details, each, failed, finish_reason, note_usage, whole};
use super::{
    item::{Items, PARAGRAPH, is_something},
    told::{Again, Aside, At, Heard, Names, Section, Sort, Told, Words, hash_of},
};
use crate::{
    DecodeLimits, DecoderMemory,
    calls::CallPiece,
    failure,
    fields::{Pick, bits, fields},
    outbox::{Kind, Of, Outbox},
    pool::Pool,
    wire::{EventError, Incoming, Wire},
};

/// The format's name in an opaque part.
pub(super) const OPAQUE: &str = "openai-responses";

fields! {
    Type = "/type",
    Delta = "/delta",
    Text = "/text",
    Refusal = "/refusal",
    Arguments = "/arguments",
    Input = "/input",
    OutputIndex = "/output_index",
    ContentIndex = "/content_index",
    SummaryIndex = "/summary_index",
    PartType = "/part/type",
    PartText = "/part/text",
    PartRefusal = "/part/refusal",
    PartAnnotations = "/part/annotations",
    PartLogprobs = "/part/logprobs",
    Logprobs = "/logprobs",
    Annotation = "/annotation",
    Item = "/item",
    ItemType = "/item/type",
    ItemId = "/item/id",
    ItemCallId = "/item/call_id",
    ItemName = "/item/name",
    Error = "/error",
    Response = "/response",
    ResponseId = "/response/id",
    ResponseModel = "/response/model",
    ResponseError = "/response/error",
    ResponseStatus = "/response/status",
    ResponseOutput = "/response/output/*",
    ResponseReason = "/response/incomplete_details/reason",
    ResponseTier = "/response/service_tier",
    ResponseSafety = "/response/content_filters",
    ResponseInputTokens = "/response/usage/input_tokens",
    ResponseOutputTokens = "/response/usage/output_tokens",
    ResponseCachedTokens = "/response/usage/input_tokens_details/cached_tokens",
    ResponseCacheWriteTokens = "/response/usage/input_tokens_details/cache_write_tokens",
    ResponseReasoningTokens = "/response/usage/output_tokens_details/reasoning_tokens",
    Object = "/object",
    Id = "/id",
    Model = "/model",
    Status = "/status",
    Output = "/output/*",
    Reason = "/incomplete_details/reason",
    Tier = "/service_tier",
    Safety = "/content_filters",
    InputTokens = "/usage/input_tokens",
    OutputTokens = "/usage/output_tokens",
    CachedTokens = "/usage/input_tokens_details/cached_tokens",
    CacheWriteTokens = "/usage/input_tokens_details/cache_write_tokens",
    ReasoningTokens = "/usage/output_tokens_details/reasoning_tokens",
}

/// What answers leave for those after them.
pub(super) static POOL: Pool = Pool::new(DecoderMemory::new);

/// The state of one answer.
#[derive(Debug)]
pub(super) struct Responses {
    extractor: Extractor,
    items: Items,
    told: Told,
    /// Reused for comparing words.
    word: String,
    /// Reused for the words of a text.
    text: String,
}

impl At {
    /// What an event is about.
    #[inline]
    fn of(section: Section, found: Found<'_>) -> Self {
        let number = match section {
            Section::Arguments => None,
            Section::Summary => Field::SummaryIndex.count(found),
            _ => Field::ContentIndex.count(found),
        };
        Self { place: Field::OutputIndex.count(found), section, number }
    }
}

impl Responses {
    pub(super) fn boxed(limits: DecodeLimits) -> Result<Box<dyn Wire>> {
        Ok(Box::new(Self {
            extractor: Field::extractor()?,
            items: Items::new()?,
            told: Told::new(limits.max_tool_calls),
            word: String::new(),
            text: String::new(),
        }))
    }
}

impl Wire for Responses {
    fn learn_in(&mut self, memory: &DecoderMemory) {
        memory.adopt(0, &mut self.extractor);
        memory.adopt(1, self.items.extractor());
    }

    fn renew(&mut self, limits: DecodeLimits) {
        let Self { extractor: _, items: _, told, word: _, text: _ } = self;
        told.renew(limits.max_tool_calls);
    }

    fn extractor(&mut self) -> &mut Extractor {
        &mut self.extractor
    }

    fn event(&mut self, event: Incoming<'_>, out: &mut Outbox) -> Result<bool, EventError> {
        let data = event.data;
        if event.is_done() {
            out.finish();
            return Ok(true);
        }
        let Self { extractor, items, told, word, text: decoded } = self;
        let found = event.extract(extractor)?;
        // The short way for what most events of a stream consist of. It comes to what the long way does.
        if found.is_only(bits!(Type | Delta | OutputIndex | ContentIndex | Logprobs))
            && Field::Type.is(found, "\"response.output_text.delta\"")
            && found.raw(Field::Logprobs as usize).is_none_or(|logprobs| logprobs == "[]")
            && let Some(text) = Field::Delta.plain(found)
        {
            let at = At::of(Section::Text, found);
            if !told.goes_on(at) {
                told.settle(out.answer_bytes());
                told.piece(at, Words::of_plain(text), out.answer_bytes())?;
            }
            out.say_on(Kind::Text, 0, text)?;
            out.expect_more(Of::TEXT, Field::Delta.number(), 0, found);
            return Ok(true);
        }
        if event.whole && Field::Type.get(found).is_none() {
            whole(found, event, items, word, out)?;
            return Ok(true);
        }
        let kind = Field::Type.text(found).map_or(event.name, |kind| kind.decode_lossy(word));
        if !kind.ends_with(".delta") {
            told.settle(out.answer_bytes());
        }
        let mut answer = Answer { found, told, out, text: decoded };
        let index = Field::OutputIndex.get(found);
        match kind {
            "response.output_text.delta" => answer.piece(Kind::Text, Section::Text)?,
            "response.refusal.delta" => answer.piece(Kind::Refusal, Section::Refusal)?,
            "response.reasoning_text.delta" => answer.piece(Kind::Reasoning, Section::Thoughts)?,
            "response.reasoning_summary_text.delta" => answer.piece(Kind::Reasoning, Section::Summary)?,
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                answer.arguments(index)?;
            }
            "response.output_text.done" => {
                let run = answer.whole(Kind::Text, Section::Text, Field::Text, Again::Text)?;
                answer.beside(run, Aside::Logprobs, Field::Logprobs)?;
            }
            "response.refusal.done" => {
                answer.whole(Kind::Refusal, Section::Refusal, Field::Refusal, Again::Text)?;
            }
            "response.reasoning_text.done" => {
                answer.whole(Kind::Reasoning, Section::Thoughts, Field::Text, Again::Text)?;
            }
            "response.reasoning_summary_text.done" => {
                answer.whole(Kind::Reasoning, Section::Summary, Field::Text, Again::Text)?;
            }
            "response.function_call_arguments.done" => answer.all_arguments(Field::Arguments, index)?,
            "response.custom_tool_call_input.done" => answer.all_arguments(Field::Input, index)?,
            "response.content_part.done" | "response.reasoning_part.done" => answer.part()?,
            "response.reasoning_summary_part.done" => {
                answer.whole(Kind::Reasoning, Section::Summary, Field::PartText, Again::Part)?;
            }
            "response.reasoning_summary_part.added" => told.end_runs(At::of(Section::Summary, found)),
            "response.content_part.added" | "response.reasoning_part.added" => {
                let is_thought = Field::PartType.is(found, "\"reasoning_text\"");
                let section = if is_thought { Section::Thoughts } else { Section::Text };
                told.end_runs(At::of(section, found));
            }
            "response.output_item.added" => answer.announce(index)?,
            "response.output_item.done" => {
                if let Some(Value::Object(item)) = Field::Item.get(found) {
                    items.complete(item.as_str(), index, told, out)?;
                }
            }
            "response.output_text.annotation.added" => answer.citation()?,
            "response.created" | "response.in_progress" | "response.queued" => {
                out.start(Field::ResponseId.text(found), Field::ResponseModel.text(found))?;
            }
            "response.completed" | "response.incomplete" | "response.done"
                if Field::ResponseStatus.is(found, "\"failed\"")
                    || Field::ResponseStatus.is(found, "\"cancelled\"") =>
            {
                note_usage(found, &IN_EVENT, out);
                out.fail(failed(Field::ResponseError.get(found), data));
            }
            // The last is what some gateways call it.
            "response.completed" | "response.incomplete" | "response.done" => {
                out.start(Field::ResponseId.text(found), Field::ResponseModel.text(found))?;
                items.complete_all(|| each(found, Field::ResponseOutput), told, out)?;
                details(found, Field::ResponseTier, Field::ResponseSafety, out)?;
                note_usage(found, &IN_EVENT, out);
                let completed =
                    kind != "response.incomplete" && !Field::ResponseStatus.is(found, "\"incomplete\"");
                let reason = finish_reason(found, completed, Field::ResponseReason, out);
                out.end_choice(0, reason)?;
                out.finish();
            }
            "response.failed" | "response.cancelled" => {
                note_usage(found, &IN_EVENT, out);
                out.fail(failed(Field::ResponseError.get(found), data));
            }
            "error" => out.fail(failure::of_event(data)),
            "keepalive" | "ping" => return Ok(false),
            _ if Field::Error.get(found).is_some_and(|error| !error.is_null()) => {
                out.fail(failure::of_event(data));
            }
            // They say what the item will.
            "response.mcp_call_arguments.delta"
            | "response.mcp_call_arguments.done"
            | "response.code_interpreter_call_code.delta"
            | "response.code_interpreter_call_code.done" => {}
            _ => {
                told.settle(out.answer_bytes());
                out.raw(kind, data)?;
            }
        }
        Ok(true)
    }
}

/// An event, and the answer that it tells more of.
struct Answer<'a> {
    found: Found<'a>,
    told: &'a mut Told,
    out: &'a mut Outbox,
    text: &'a mut String,
}

impl Answer<'_> {
    /// A piece of a text.
    fn piece(&mut self, kind: Kind, section: Section) -> Result<()> {
        let Self { found, told, out, text: decoded } = self;
        let Some(text) = Field::Delta.text(*found) else { return Ok(()) };
        let at = At::of(section, *found);
        if !told.goes_on(at) {
            told.settle(out.answer_bytes());
            let is_further = told.piece(at, Words::of(text, decoded), out.answer_bytes())?;
            if is_further && kind == Kind::Reasoning {
                out.say(kind, 0, PARAGRAPH)?;
                told.skip(PARAGRAPH.len());
            }
        }
        out.say(kind, 0, text)?;
        if kind == Kind::Reasoning {
            out.expect_more(Of::REASONING, Field::Delta.number(), 0, *found);
        }
        if let Some(logprobs) = Field::Logprobs.get(*found).filter(is_something) {
            told.settle(out.answer_bytes());
            let run = told.aside(at)?;
            told.note(run, Aside::Logprobs);
            out.detail(0, "logprobs", logprobs)?;
        }
        Ok(())
    }

    /// A piece of a call's arguments. Of a call that has not been announced they are told with it: nobody could tell whose they are.
    fn arguments(&mut self, index: Option<Value<'_>>) -> Result<()> {
        let Self { found, told, out, text: decoded } = self;
        let Some(text) = Field::Delta.text(*found) else { return Ok(()) };
        let Some((at, call)) = told.call_at(Field::OutputIndex.count(*found)) else { return Ok(()) };
        if !told.goes_on(at) {
            told.settle(out.answer_bytes());
            told.piece(at, Words::of(text, decoded), out.answer_bytes())?;
        }
        tell_arguments(told, out, (at, call), text, decoded, index)?;
        if let Some(call) = call {
            out.expect_more(Of::Arguments { choice: 0, call }, Field::Delta.number(), 0, *found);
        }
        Ok(())
    }

    /// All of a call's arguments.
    fn all_arguments(&mut self, field: Field, index: Option<Value<'_>>) -> Result<()> {
        let Self { found, told, out, text: decoded } = self;
        let Some(text) = field.text(*found) else { return Ok(()) };
        let place = Field::OutputIndex.count(*found);
        let call =
            told.call_at(place).filter(|(at, _)| at.place == place || at.place.is_none() || place.is_none());
        let Some((at, call)) = call else { return Ok(()) };
        match told.whole(at, Words::of(text, decoded), Again::Text)? {
            Heard::Before(_) => Ok(()),
            Heard::Now { .. } => tell_arguments(told, out, (at, call), text, decoded, index),
        }
    }

    /// All of a text. Which run of words it is, if there are any in it.
    fn whole(&mut self, kind: Kind, section: Section, field: Field, again: Again) -> Result<Option<usize>> {
        let Self { found, told, out, text: decoded } = self;
        let Some(text) = field.text(*found) else { return Ok(None) };
        let words = Words::of(text, decoded);
        match told.whole(At::of(section, *found), words, again)? {
            Heard::Before(run) => Ok(Some(run)),
            Heard::Now { run, is_further } => {
                if is_further && kind == Kind::Reasoning {
                    out.say(kind, 0, PARAGRAPH)?;
                }
                out.say(kind, 0, text)?;
                Ok(Some(run))
            }
        }
    }

    /// All of a part of the content.
    fn part(&mut self) -> Result<()> {
        if Field::PartType.is(self.found, "\"reasoning_text\"") {
            return self.whole(Kind::Reasoning, Section::Thoughts, Field::PartText, Again::Part).map(drop);
        }
        let run = self.whole(Kind::Text, Section::Text, Field::PartText, Again::Part)?;
        // Before anything else is told, which may give the run another number.
        self.beside(run, Aside::Citations, Field::PartAnnotations)?;
        self.beside(run, Aside::Logprobs, Field::PartLogprobs)?;
        self.whole(Kind::Refusal, Section::Refusal, Field::PartRefusal, Again::Part).map(drop)
    }

    /// All that is said of a text besides its words.
    fn beside(&mut self, run: Option<usize>, aside: Aside, field: Field) -> Result<()> {
        let Self { found, told, out, .. } = self;
        let Some(value) = field.get(*found).filter(is_something) else { return Ok(()) };
        let run = match run {
            Some(run) => run,
            None => told.aside(At::of(Section::Text, *found))?,
        };
        if !told.note(run, aside) {
            out.detail(0, aside.name(), value)?;
        }
        Ok(())
    }

    /// A piece of it: a citation of several.
    fn citation(&mut self) -> Result<()> {
        let Self { found, told, out, .. } = self;
        let Some(value) = Field::Annotation.get(*found).filter(is_something) else { return Ok(()) };
        let run = told.aside(At::of(Section::Text, *found))?;
        told.note(run, Aside::Citations);
        out.detail(0, Aside::Citations.name(), value)
    }

    /// An item begins.
    fn announce(&mut self, index: Option<Value<'_>>) -> Result<()> {
        let Self { found, told, out, .. } = self;
        let kind = Field::ItemType.text(*found);
        let sort = match kind.and_then(|kind| kind.borrowed()) {
            Some("message") => Sort::Message,
            Some("reasoning") => {
                out.think();
                Sort::Thoughts
            }
            Some("function_call" | "custom_tool_call") => Sort::Call,
            _ => Sort::Other(kind.map_or(0, hash_of)),
        };
        let (id, call_id) = (Field::ItemId.text(*found), Field::ItemCallId.text(*found));
        let item = told.announce(Field::OutputIndex.count(*found), sort, Names::of(id, call_id))?;
        if sort == Sort::Call {
            let name = Field::ItemName.text(*found);
            out.begin_call(0, &CallPiece { id: call_id.or(id), index, name, arguments: None })?;
            told.begin_call(item, out.latest_call(0));
        }
        Ok(())
    }
}

/// Some arguments of that call, or all. They wait for its name, if it has none yet.
fn tell_arguments(
    told: &mut Told,
    out: &mut Outbox,
    (at, call): (At, Option<u32>),
    text: Str<'_>,
    decoded: &mut String,
    index: Option<Value<'_>>,
) -> Result<()> {
    if let Some(call) = call {
        return out.arguments(0, call, text.into());
    }
    let before = out.answer_bytes();
    out.call(0, &CallPiece { index, arguments: Some(text.into()), ..CallPiece::default() })?;
    // The name, if that is made up now, is no words of theirs.
    let length = Words::of(text, decoded).bytes;
    told.skip(out.answer_bytes().saturating_sub(before).saturating_sub(length));
    told.name_call(at, out.latest_call(0));
    Ok(())
}
