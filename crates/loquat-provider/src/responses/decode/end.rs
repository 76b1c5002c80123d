//! How a response ends: whole at once, failed, or with its last event; and what it has cost.

use loquat_core::{Error, ErrorKind, FinishReason, Result, Usage};
use loquat_json::{Found, Value};

use super::{super::item::Items, Field};
use crate::{
    failure,
    fields::Pick,
    outbox::Outbox,
    wire::{EventError, Incoming},
};

/// A whole response.
pub(super) fn whole(
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
        items.take(item, out)?;
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
pub(super) fn each<'f>(found: Found<'f>, output: Field) -> impl Iterator<Item = &'f str> {
    found.iter().filter(move |found| Field::of(found) == Some(output)).filter_map(|found| match found.value {
        Value::Object(item) => Some(item.as_str()),
        _ => None,
    })
}

pub(super) fn details(found: Found<'_>, tier: Field, safety: Field, out: &mut Outbox) -> Result<()> {
    for (field, name) in [(tier, "service_tier"), (safety, "safety")] {
        if let Some(value) = field.get(found) {
            out.detail(0, name, value)?;
        }
    }
    Ok(())
}

/// The error that a response reports of itself.
pub(super) fn failed(error: Option<Value<'_>>, data: &str) -> Error {
    let error =
        error.and_then(|error| std::str::from_utf8(error.raw()).ok()).filter(|error| *error != "null");
    match error {
        Some(error) => failure::of_event(&format!("{{\"error\":{error}}}")).with_raw_body(data.as_bytes()),
        None => Error::new(ErrorKind::Server, "the provider gave the response up without saying why")
            .with_raw_body(data.as_bytes()),
    }
}

/// Where an event keeps its counts: input, output, cache read, cache written, reasoning.
pub(super) const IN_EVENT: [Field; 5] = [
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

pub(super) fn note_usage(found: Found<'_>, counts: &[Field; 5], out: &mut Outbox) {
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

pub(super) fn finish_reason(found: Found<'_>, completed: bool, reason: Field, out: &Outbox) -> FinishReason {
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
