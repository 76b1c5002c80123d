//! Operations as spans: one of kind client for the whole, one below it for each attempt, events for what happened between.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::proto::{self, Any, AnyValue, ArrayValue, KeyValue, Span};
use crate::{
    AttemptTrace, CallTrace, Note, Outcome,
    metric::nanos,
    names::{self, Names, span as name},
};

/// The operation's span, and its attempts'.
pub(super) fn spans<'a>(call: &'a CallTrace, names: &'static Names) -> impl Iterator<Item = Span> + 'a {
    let attempts = call.attempts.iter().enumerate();
    std::iter::once(operation(call, names))
        .chain(attempts.map(move |(index, one)| attempt(call, index, one, names)))
}

fn operation(call: &CallTrace, names: &Names) -> Span {
    let mut attributes = vec![KeyValue::text(names::OPERATION, names::CHAT)];
    place(&mut attributes, &call.place, names);
    let asked = &call.asked;
    attributes.extend(asked.max_output_tokens.map(|tokens| KeyValue::int(name::REQUEST_MAX_TOKENS, tokens)));
    let double = |key, value: Option<f32>| value.map(|value| KeyValue::new(key, Any::Double(value.into())));
    attributes.extend(double(name::REQUEST_TEMPERATURE, asked.temperature));
    attributes.extend(double(name::REQUEST_TOP_P, asked.top_p));
    attributes.extend(asked.seed.map(|seed| KeyValue::int(name::REQUEST_SEED, seed)));
    let several = asked.choices.filter(|choices| *choices != 1);
    attributes.extend(several.map(|choices| KeyValue::int(name::REQUEST_CHOICES, choices)));
    attributes.extend(names.stream.map(|key| KeyValue::new(key, Any::Bool(asked.stream))));
    let (id, model) = &call.response;
    for (key, value) in [(name::RESPONSE_ID, id), (name::RESPONSE_MODEL, model)] {
        attributes.extend((!value.is_empty()).then(|| KeyValue::text(key, &**value)));
    }
    if let Some(reason) = &call.finish_reason {
        let values = vec![AnyValue { value: Some(Any::Text((**reason).into())) }];
        attributes.push(KeyValue::new(name::FINISH_REASONS, Any::Array(ArrayValue { values })));
    }
    let usage = &call.usage;
    if !usage.is_unknown() {
        for (key, tokens) in [
            (Some(name::INPUT_TOKENS), usage.input_tokens),
            (Some(name::OUTPUT_TOKENS), usage.output_tokens),
            (names.cache_read.filter(|_| usage.cache_read_tokens > 0), usage.cache_read_tokens),
            (names.cache_write.filter(|_| usage.cache_write_tokens > 0), usage.cache_write_tokens),
            (names.reasoning.filter(|_| usage.reasoning_tokens > 0), usage.reasoning_tokens),
        ] {
            attributes.extend(key.map(|key| KeyValue::int(key, tokens)));
        }
    }
    if let (Some(key), Some(first)) = (names.first_chunk, call.first_chunk) {
        attributes.push(KeyValue::new(key, Any::Double(first.as_secs_f64())));
    }
    attributes.push(KeyValue::int(name::CHUNKS, call.chunks));
    #[cfg(feature = "capture")]
    if let (Some([instructions, input, output]), Some(content)) = (names.content, &call.content) {
        for (key, json) in [
            (instructions, content.system_instructions()),
            (input, content.input_messages()),
            (output, content.output_messages()),
        ] {
            attributes.extend((!json.is_empty()).then(|| KeyValue::text(key, json)));
        }
        if content.is_cut() {
            attributes.push(KeyValue::new(name::CONTENT_CUT, Any::Bool(true)));
        }
    }
    outcome(&mut attributes, call.outcome);
    Span {
        trace_id: call.trace.trace_id().into(),
        span_id: call.trace.span_id().into(),
        parent_span_id: call.parent.map(Into::into).unwrap_or_default(),
        name: format!("{} {}", names::CHAT, call.place.model),
        kind: proto::CLIENT,
        start_time_unix_nano: unix(call.started),
        end_time_unix_nano: at(call, call.took),
        attributes,
        events: call.notes.iter().map(|(after, note)| event(at(call, *after), note)).collect(),
        status: status(call.outcome),
        flags: SAMPLED,
    }
}

fn attempt(call: &CallTrace, index: usize, attempt: &AttemptTrace, names: &Names) -> Span {
    let mut attributes = Vec::new();
    place(&mut attributes, &attempt.place, names);
    if index > 0 {
        attributes.push(KeyValue::int(name::RESEND_COUNT, i64::try_from(index).unwrap_or(i64::MAX)));
    }
    let mut events = Vec::new();
    if let Some(head) = &attempt.head {
        attributes.push(KeyValue::int(names::STATUS_CODE, head.status));
        attributes.push(KeyValue::text(name::PROTOCOL, head.protocol.trim_start_matches("HTTP/")));
        attributes.push(KeyValue::new(name::REUSED, Any::Bool(head.reused)));
        let (time_unix_nano, name) = (at(call, head.at), "loquat.response_head".into());
        events.push(proto::Event { time_unix_nano, name, attributes: Vec::new() });
    }
    outcome(&mut attributes, attempt.outcome);
    Span {
        trace_id: call.trace.trace_id().into(),
        span_id: attempt.span_id.into(),
        parent_span_id: call.trace.span_id().into(),
        name: "attempt".into(),
        kind: proto::CLIENT,
        start_time_unix_nano: at(call, attempt.started),
        end_time_unix_nano: at(call, attempt.ended),
        attributes,
        events,
        status: status(attempt.outcome),
        flags: SAMPLED,
    }
}

/// The trace flags of W3C.
const SAMPLED: u32 = 1;

fn place(attributes: &mut Vec<KeyValue>, place: &crate::Place, names: &Names) {
    attributes.push(KeyValue::text(names.provider, (names.provider_name)(&place.provider)));
    attributes.push(KeyValue::text(names::REQUEST_MODEL, &*place.model));
    if let Some((host, port)) = &place.server {
        attributes.push(KeyValue::text(name::SERVER_ADDRESS, &**host));
        attributes.push(KeyValue::int(name::SERVER_PORT, *port));
    }
}

fn outcome(attributes: &mut Vec<KeyValue>, outcome: Outcome) {
    attributes.extend(outcome.error_type().map(|word| KeyValue::text(names::ERROR_TYPE, word)));
}

/// The provider's own message may repeat what it was sent, so it stays out.
fn status(outcome: Outcome) -> Option<proto::Status> {
    let message = outcome.error_type()?.into();
    Some(proto::Status { message, code: proto::ERROR })
}

fn event(time_unix_nano: u64, note: &Note) -> proto::Event {
    let seconds = |key: &str, wait: &Duration| KeyValue::new(key, Any::Double(wait.as_secs_f64()));
    let (name, attributes) = match note {
        Note::FirstChunk => ("loquat.first_token", Vec::new()),
        Note::Admitted(waited) => ("loquat.admitted", vec![seconds("loquat.waited", waited)]),
        Note::CircuitOpen(wait) => ("loquat.circuit_open", vec![seconds("loquat.wait", wait)]),
        Note::Retry(retry, wait, kind) => (
            "loquat.retry",
            vec![
                KeyValue::int("loquat.retry.number", *retry),
                seconds("loquat.wait", wait),
                KeyValue::text(names::ERROR_TYPE, names::error_type(*kind)),
            ],
        ),
        Note::Hedge => ("loquat.hedge", Vec::new()),
        Note::Route(endpoint, reason) => (
            "loquat.route",
            vec![KeyValue::text("loquat.endpoint", &**endpoint), KeyValue::text("loquat.reason", &**reason)],
        ),
    };
    proto::Event { time_unix_nano, name: name.into(), attributes }
}

fn at(call: &CallTrace, after: Duration) -> u64 {
    unix(call.started).saturating_add(nanos(after))
}

pub(super) fn unix(at: SystemTime) -> u64 {
    nanos(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}
