//! Response events, and whole responses, into deltas.
//!
//! An answer is a list of items, each announced, told in pieces, and then given once more whole. What the pieces told is
//! remembered by the item's place, so that an item of which a server sends no pieces is told when it is complete, and a
//! response of which it sends no items when that is. The place is a number from the peer, only ever compared. The format
//! has no finish reason: an answer that asks for tools ends in `ToolCalls`, as everywhere.

use loquat_core::{Error, ErrorKind, FinishReason, Result, Usage};
use loquat_json::{Extractor, Found, Value};

use super::item::{Items, PARAGRAPH, Told};
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
    SummaryIndex = "/summary_index",
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
    open: Open,
    /// Reused for comparing words.
    word: String,
}

/// Items that are not complete, by their place.
#[derive(Debug)]
struct Open {
    items: Vec<(u64, Told)>,
    max: usize,
    /// Something of the answer has been told.
    any: bool,
    /// An item has been complete.
    any_closed: bool,
}

impl Open {
    /// What has been told of that item.
    fn at(&mut self, place: u64) -> Result<&mut Told> {
        let position = match self.items.iter().rposition(|(known, _)| *known == place) {
            Some(position) => position,
            None if self.items.len() >= self.max => {
                let max = self.max;
                return Err(Error::new(
                    ErrorKind::TooLarge,
                    format!("the answer has more items open than max_tool_calls ({max})"),
                ));
            }
            None => {
                self.items.push((place, Told::default()));
                self.items.len() - 1
            }
        };
        Ok(&mut self.items[position].1)
    }

    /// Content of that item is about to be told. What has been told of it before.
    fn tell(&mut self, place: u64) -> Result<Told> {
        self.any = true;
        let told = self.at(place)?;
        let before = *told;
        told.content = true;
        Ok(before)
    }

    /// A part of that item is complete. Whether its text is still to be told, as of a server that sends no pieces.
    fn is_news(&mut self, place: u64, text: Field, found: Found<'_>) -> Result<bool> {
        let was_closed = self.any_closed && !self.items.iter().any(|(known, _)| *known == place);
        if was_closed || text.text(found).is_none_or(|text| text.is_empty()) {
            return Ok(false);
        }
        let before = self.tell(place)?;
        let is_news = !before.content || before.at_once;
        self.at(place)?.at_once = is_news;
        Ok(is_news)
    }

    /// Whether that item is a call that has been announced.
    fn has_call(&self, place: u64) -> bool {
        self.items.iter().any(|(known, told)| *known == place && told.call)
    }

    fn close(&mut self, place: u64) {
        (self.any, self.any_closed) = (true, true);
        self.items.retain(|(known, _)| *known != place);
    }
}

impl Responses {
    pub(super) fn boxed(limits: DecodeLimits) -> Result<Box<dyn Wire>> {
        Ok(Box::new(Self {
            extractor: Field::extractor()?,
            items: Items::new()?,
            open: Open { items: Vec::new(), max: limits.max_tool_calls, any: false, any_closed: false },
            word: String::new(),
        }))
    }
}

impl Wire for Responses {
    fn renew(&mut self, limits: DecodeLimits) {
        let Self { extractor: _, items: _, open: Open { items, max, any, any_closed }, word: _ } = self;
        items.clear();
        (*max, *any, *any_closed) = (limits.max_tool_calls, false, false);
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
        let Self { extractor, items, open, word } = self;
        let found = event.extract(extractor)?;
        // The short way for what most events of a stream consist of. It comes to what the long way does.
        if found.is_only(bits!(Type | Delta | OutputIndex | Logprobs))
            && Field::Type.is(found, "\"response.output_text.delta\"")
            && found.raw(Field::Logprobs as usize).is_none_or(|logprobs| logprobs == "[]")
            && let Some(text) = Field::Delta.plain(found)
        {
            open.tell(Field::OutputIndex.count(found).unwrap_or(u64::MAX))?;
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
        let place = index.and_then(|index| index.as_u64()).unwrap_or(u64::MAX);
        match kind {
            "response.output_text.delta" => {
                open.tell(place)?;
                say(Kind::Text, Field::Delta, found, out)?;
                if let Some(logprobs) = Field::Logprobs.get(found) {
                    out.detail(0, "logprobs", logprobs)?;
                }
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                open.tell(place)?;
                say(Kind::Reasoning, Field::Delta, found, out)?;
                out.expect_more(Of::REASONING, Field::Delta.number(), 0, found);
            }
            "response.reasoning_summary_part.added" => {
                let further = Field::SummaryIndex.count(found).is_some_and(|number| number > 0);
                if further && open.at(place)?.content {
                    out.say(Kind::Reasoning, 0, PARAGRAPH)?;
                }
            }
            "response.refusal.delta" => {
                open.tell(place)?;
                say(Kind::Refusal, Field::Delta, found, out)?;
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                open.tell(place)?;
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
                open.at(place)?.call = is_call;
                if is_call {
                    open.any = true;
                    let id = Field::ItemCallId.text(found).or(Field::ItemId.text(found));
                    let name = Field::ItemName.text(found);
                    out.begin_call(0, &CallPiece { id, index, name, arguments: None })?;
                }
            }
            "response.output_item.done" => {
                let told = *open.at(place)?;
                open.close(place);
                if let Some(Value::Object(item)) = Field::Item.get(found) {
                    items.take(item.as_str(), index, told, out)?;
                }
            }
            "response.output_text.annotation.added" => {
                if let Some(annotation) = Field::Annotation.get(found) {
                    out.detail(0, "citations", annotation)?;
                }
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
                if !open.any {
                    each(found, Field::ResponseOutput, items, out)?;
                }
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
            "response.output_text.done" if open.is_news(place, Field::Text, found)? => {
                say(Kind::Text, Field::Text, found, out)?;
            }
            "response.refusal.done" if open.is_news(place, Field::Refusal, found)? => {
                say(Kind::Refusal, Field::Refusal, found, out)?;
            }
            "response.reasoning_text.done" | "response.reasoning_summary_text.done"
                if open.is_news(place, Field::Text, found)? =>
            {
                say(Kind::Reasoning, Field::Text, found, out)?;
            }
            "response.function_call_arguments.done"
                if open.has_call(place) && open.is_news(place, Field::Arguments, found)? =>
            {
                let arguments = Field::Arguments.text(found).map(Into::into);
                out.call(0, &CallPiece { index, arguments, ..CallPiece::default() })?;
            }
            "response.custom_tool_call_input.done"
                if open.has_call(place) && open.is_news(place, Field::Input, found)? =>
            {
                let arguments = Field::Input.text(found).map(Into::into);
                out.call(0, &CallPiece { index, arguments, ..CallPiece::default() })?;
            }
            // They repeat what was told, or what the item will.
            "response.output_text.done"
            | "response.refusal.done"
            | "response.function_call_arguments.done"
            | "response.custom_tool_call_input.done"
            | "response.mcp_call_arguments.delta"
            | "response.mcp_call_arguments.done"
            | "response.code_interpreter_call_code.delta"
            | "response.code_interpreter_call_code.done"
            | "response.reasoning_text.done"
            | "response.reasoning_summary_text.done"
            | "response.reasoning_summary_part.done"
            | "response.content_part.added"
            | "response.content_part.done" => {}
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
    each(found, Field::Output, items, out)?;
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

/// All items of an output.
fn each(found: Found<'_>, output: Field, items: &mut Items, out: &mut Outbox) -> Result<(), EventError> {
    for found in found.iter().filter(|found| Field::of(found) == Some(output)) {
        if let Value::Object(item) = found.value {
            items.take(item.as_str(), None, Told::default(), out)?;
        }
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
