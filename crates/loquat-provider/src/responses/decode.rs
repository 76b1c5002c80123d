//! Response events, and whole responses, into deltas.
//!
//! An answer is a list of items, each announced, told in pieces, and then given once more whole, part by part and at once. What has
//! been told is remembered ([`Told`]), so that a part of which a server sends no pieces is told when it is complete, or its item,
//! or the response. The format has no finish reason: an answer that asks for tools ends in `ToolCalls`, as everywhere.

use loquat_core::{Error, ErrorKind, FinishReason, Result, Usage};
use loquat_json::{Extractor, Found, Value};

use super::{
    item::{Items, PARAGRAPH},
    told::{Aside, At, Section, Told, View},
};
use crate::{
    DecodeLimits,
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
pub(super) static POOL: Pool = Pool::new();

/// The state of one answer.
#[derive(Debug)]
pub(super) struct Responses {
    extractor: Extractor,
    items: Items,
    told: Told,
    /// Reused for comparing words.
    word: String,
}

impl At {
    /// The part of the content that an event is about.
    fn content(found: Found<'_>) -> Self {
        let (place, number) = (Field::OutputIndex.count(found), Field::ContentIndex.count(found));
        Self { place, section: Section::Content, number }
    }

    /// The part of a summary.
    fn summary(found: Found<'_>) -> Self {
        let (place, number) = (Field::OutputIndex.count(found), Field::SummaryIndex.count(found));
        Self { place, section: Section::Summary, number }
    }

    /// A call's arguments.
    fn arguments(found: Found<'_>) -> Self {
        Self { place: Field::OutputIndex.count(found), section: Section::Content, number: None }
    }
}

impl Responses {
    pub(super) fn boxed(limits: DecodeLimits) -> Result<Box<dyn Wire>> {
        Ok(Box::new(Self {
            extractor: Field::extractor()?,
            items: Items::new()?,
            told: Told::new(limits.max_tool_calls),
            word: String::new(),
        }))
    }
}

impl Wire for Responses {
    fn renew(&mut self, limits: DecodeLimits) {
        let Self { extractor: _, items: _, told, word: _ } = self;
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
        let Self { extractor, items, told, word } = self;
        let found = event.extract(extractor)?;
        // The short way for what most events of a stream consist of. It comes to what the long way does.
        if found.is_only(bits!(Type | Delta | OutputIndex | ContentIndex | Logprobs))
            && Field::Type.is(found, "\"response.output_text.delta\"")
            && found.raw(Field::Logprobs as usize).is_none_or(|logprobs| logprobs == "[]")
            && let Some(text) = Field::Delta.plain(found)
        {
            told.piece(At::content(found))?;
            out.say_on(Kind::Text, 0, text)?;
            out.expect_more(Of::TEXT, Field::Delta.number(), 0, found);
            return Ok(true);
        }
        if event.whole && Field::Type.get(found).is_none() {
            whole(found, event, items, word, out)?;
            return Ok(true);
        }
        let kind = Field::Type.text(found).map_or(event.name, |kind| kind.decode_lossy(word));
        let index = Field::OutputIndex.get(found);
        match kind {
            "response.output_text.delta" => {
                told.piece(At::content(found))?;
                say(Kind::Text, Field::Delta, found, out)?;
                beside(Aside::Logprobs, Field::Logprobs, found, told, out)?;
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                let is_summary = kind == "response.reasoning_summary_text.delta";
                let at = if is_summary { At::summary(found) } else { At::content(found) };
                if Field::Delta.text(found).is_some() && told.piece(at)? {
                    out.say(Kind::Reasoning, 0, PARAGRAPH)?;
                }
                say(Kind::Reasoning, Field::Delta, found, out)?;
                out.expect_more(Of::REASONING, Field::Delta.number(), 0, found);
            }
            "response.refusal.delta" => {
                told.piece(At::content(found))?;
                say(Kind::Refusal, Field::Delta, found, out)?;
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                told.piece(At::arguments(found))?;
                let arguments = Field::Delta.text(found).map(Into::into);
                if let Some(call) =
                    out.more_of_call(0, &CallPiece { index, arguments, ..CallPiece::default() })?
                {
                    out.expect_more(Of::Arguments { choice: 0, call }, Field::Delta.number(), 0, found);
                }
            }
            "response.output_item.added" => {
                let kind = Field::ItemType.text(found).and_then(|kind| kind.borrowed());
                let is_call = matches!(kind, Some("function_call" | "custom_tool_call"));
                told.announce(Field::OutputIndex.count(found), Field::ItemId.text(found), is_call)?;
                if is_call {
                    let id = Field::ItemCallId.text(found).or(Field::ItemId.text(found));
                    let name = Field::ItemName.text(found);
                    out.begin_call(0, &CallPiece { id, index, name, arguments: None })?;
                }
            }
            "response.output_item.done" => {
                if let Some(Value::Object(item)) = Field::Item.get(found) {
                    let place = Field::OutputIndex.count(found);
                    items.take(item.as_str(), index, |id| told.close(place, id), out)?;
                    told.forget_closed();
                }
            }
            "response.output_text.annotation.added" => {
                beside(Aside::Citations, Field::Annotation, found, told, out)?;
            }
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
                missing(found, items, told, out)?;
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
            // They repeat what the pieces told, if there were any.
            "response.output_text.done" => {
                if is_news(At::content(found), Field::Text, found, told)?.is_some() {
                    say(Kind::Text, Field::Text, found, out)?;
                    beside(Aside::Logprobs, Field::Logprobs, found, told, out)?;
                }
            }
            "response.refusal.done" => {
                if is_news(At::content(found), Field::Refusal, found, told)?.is_some() {
                    say(Kind::Refusal, Field::Refusal, found, out)?;
                }
            }
            "response.reasoning_text.done" => {
                let further = is_news(At::content(found), Field::Text, found, told)?;
                think(further, Field::Text, found, out)?;
            }
            "response.reasoning_summary_text.done" => {
                let further = is_news(At::summary(found), Field::Text, found, told)?;
                think(further, Field::Text, found, out)?;
            }
            "response.function_call_arguments.done" | "response.custom_tool_call_input.done" => {
                let field = if kind.ends_with("input.done") { Field::Input } else { Field::Arguments };
                let at = At::arguments(found);
                if told.is_call(at.place) && is_news(at, field, found, told)?.is_some() {
                    let arguments = field.text(found).map(Into::into);
                    out.call(0, &CallPiece { index, arguments, ..CallPiece::default() })?;
                }
            }
            // They repeat those.
            "response.content_part.done" | "response.reasoning_part.done" => part(found, told, out)?,
            "response.reasoning_summary_part.done" => {
                let further = is_news_again(At::summary(found), Field::PartText, found, told)?;
                think(further, Field::PartText, found, out)?;
            }
            // They say what the item will.
            "response.mcp_call_arguments.delta"
            | "response.mcp_call_arguments.done"
            | "response.code_interpreter_call_code.delta"
            | "response.code_interpreter_call_code.done"
            | "response.reasoning_summary_part.added"
            | "response.reasoning_part.added"
            | "response.content_part.added" => {}
            _ => out.raw(kind, data)?,
        }
        Ok(true)
    }
}

fn say(kind: Kind, field: Field, found: Found<'_>, out: &mut Outbox) -> Result<()> {
    match field.text(found) {
        Some(text) => out.say(kind, 0, text),
        None => Ok(()),
    }
}

/// Whether the words of a part that is complete are still to be told, as of a server that sends no pieces, and whether of a further
/// part.
fn is_news(at: At, text: Field, found: Found<'_>, told: &mut Told) -> Result<Option<bool>> {
    if text.text(found).is_some() { told.whole(at, false) } else { Ok(None) }
}

/// [`is_news`] of an event that says what another has said before, or would have.
fn is_news_again(at: At, text: Field, found: Found<'_>, told: &mut Told) -> Result<Option<bool>> {
    if text.text(found).is_some() { told.whole(at, true) } else { Ok(None) }
}

fn think(further: Option<bool>, text: Field, found: Found<'_>, out: &mut Outbox) -> Result<()> {
    match further {
        None => return Ok(()),
        Some(true) => out.say(Kind::Reasoning, 0, PARAGRAPH)?,
        Some(false) => {}
    }
    say(Kind::Reasoning, text, found, out)
}

/// What is said of a part of the content besides its words.
fn beside(aside: Aside, field: Field, found: Found<'_>, told: &mut Told, out: &mut Outbox) -> Result<()> {
    let name = match aside {
        Aside::Citations => "citations",
        Aside::Logprobs => "logprobs",
    };
    match field.get(found).filter(|value| !value.is_null() && value.raw() != b"[]") {
        Some(value) => {
            told.aside(At::content(found), aside)?;
            out.detail(0, name, value)
        }
        None => Ok(()),
    }
}

/// A part of the content that is complete.
fn part(found: Found<'_>, told: &mut Told, out: &mut Outbox) -> Result<()> {
    let at = At::content(found);
    if Field::PartType.is(found, "\"reasoning_text\"") {
        return think(is_news_again(at, Field::PartText, found, told)?, Field::PartText, found, out);
    }
    for (kind, field) in [(Kind::Text, Field::PartText), (Kind::Refusal, Field::PartRefusal)] {
        if is_news_again(at, field, found, told)?.is_some() {
            say(kind, field, found, out)?;
            beside(Aside::Citations, Field::PartAnnotations, found, told, out)?;
            beside(Aside::Logprobs, Field::PartLogprobs, found, told, out)?;
        }
    }
    Ok(())
}

/// A whole response.
fn whole(
    found: Found<'_>,
    event: Incoming<'_>,
    items: &mut Items,
    word: &mut String,
    out: &mut Outbox,
) -> Result<(), EventError> {
    let failing = Field::Error.get(found).filter(|error| !error.is_null());
    let status = Field::Status.text(found).map(|status| status.decode_lossy(word)).unwrap_or_default();
    if let Some(error) = failing {
        out.fail(failed(Some(error), event.data));
        return Ok(());
    }
    let is_response = Field::Object.text(found).and_then(|object| object.borrowed()) == Some("response");
    if !is_response && Field::Output.get(found).is_none() {
        out.raw(event.name, event.data)?;
        return Ok(());
    }
    out.start(Field::Id.text(found), Field::Model.text(found))?;
    note_usage(found, &AT_TOP, out);
    for item in each(found, Field::Output) {
        items.take(item, None, |_| Ok(Some(View::NOTHING)), out)?;
    }
    details(found, Field::Tier, Field::Safety, out)?;
    match status {
        "failed" | "cancelled" => out.fail(failed(None, event.data)),
        // Asked for in the background: it has not happened yet.
        "queued" | "in_progress" => out.fail(Error::new(
            ErrorKind::Unsupported,
            "the response is still being made: it was asked for in the background",
        )),
        "incomplete" => out.end_choice(0, finish_reason(found, false, Field::Reason, out))?,
        _ => out.end_choice(0, finish_reason(found, true, Field::Reason, out))?,
    }
    Ok(())
}

/// The items of an output.
fn each(found: Found<'_>, output: Field) -> impl Iterator<Item = &str> {
    found.iter().filter(move |found| Field::of(found) == Some(output)).filter_map(|found| match found.value {
        Value::Object(item) => Some(item.as_str()),
        _ => None,
    })
}

/// What the whole response has in it that has not been told.
fn missing(found: Found<'_>, items: &mut Items, told: &Told, out: &mut Outbox) -> Result<(), EventError> {
    let total = each(found, Field::ResponseOutput).count();
    told.check_total(total)?;
    for (place, item) in (0..).zip(each(found, Field::ResponseOutput)) {
        items.take(item, None, |id| Ok(told.in_whole(place, total, id)), out)?;
    }
    Ok(())
}

fn details(found: Found<'_>, tier: Field, safety: Field, out: &mut Outbox) -> Result<()> {
    for (field, name) in [(tier, "service_tier"), (safety, "safety")] {
        if let Some(value) = field.get(found) {
            out.detail(0, name, value)?;
        }
    }
    Ok(())
}

/// The error that a response reports of itself.
fn failed(error: Option<Value<'_>>, data: &str) -> Error {
    let error =
        error.and_then(|error| std::str::from_utf8(error.raw()).ok()).filter(|error| *error != "null");
    match error {
        Some(error) => failure::of_event(&format!("{{\"error\":{error}}}")).with_raw_body(data.as_bytes()),
        None => Error::new(ErrorKind::Server, "the provider gave the response up without saying why")
            .with_raw_body(data.as_bytes()),
    }
}

/// Where an event keeps its counts: input, output, cache read, cache written, reasoning.
const IN_EVENT: [Field; 5] = [
    Field::ResponseInputTokens,
    Field::ResponseOutputTokens,
    Field::ResponseCachedTokens,
    Field::ResponseCacheWriteTokens,
    Field::ResponseReasoningTokens,
];
const AT_TOP: [Field; 5] = [
    Field::InputTokens,
    Field::OutputTokens,
    Field::CachedTokens,
    Field::CacheWriteTokens,
    Field::ReasoningTokens,
];

fn note_usage(found: Found<'_>, counts: &[Field; 5], out: &mut Outbox) {
    let [input, output, read, written, reasoning] = counts.map(|field| field.count(found));
    if input.is_none() && output.is_none() {
        return;
    }
    let mut usage = Usage::default();
    usage.input_tokens = input.unwrap_or(0);
    usage.output_tokens = output.unwrap_or(0);
    usage.cache_read_tokens = read.unwrap_or(0);
    usage.cache_write_tokens = written.unwrap_or(0);
    usage.reasoning_tokens = reasoning.unwrap_or(0);
    *out.usage_mut() = usage;
}

fn finish_reason(found: Found<'_>, completed: bool, reason: Field, out: &Outbox) -> FinishReason {
    if completed {
        return if out.has_calls(0) { FinishReason::ToolCalls } else { FinishReason::Stop };
    }
    let mut scratch = String::new();
    match reason.text(found).map(|reason| reason.decode_lossy(&mut scratch)).unwrap_or_default() {
        "max_output_tokens" | "max_tokens" => FinishReason::Length,
        "content_filter" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    }
}
