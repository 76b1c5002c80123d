//! One recording: decoded whole, in pieces and cut, against the independent reading.

use std::collections::BTreeMap;

use bytes::Bytes;
use loquat_core::{Ending, Part};
use loquat_provider::{Format, Head};
use serde_json::Value;

use crate::{
    Tally, known,
    reading::{End, Reading},
    recordings::Recording,
    support::{self, Outcome},
};

fn end_of(ending: &Ending) -> End {
    match ending {
        Ending::Finished { .. } => End::Finished,
        Ending::Truncated { .. } => End::Truncated,
        Ending::Failed(_) => End::Failed,
    }
}

/// A stream or a whole answer.
pub(crate) fn answer(
    recording: &Recording,
    format: &dyn Format,
    tally: &mut Tally,
    unknown: &mut BTreeMap<String, usize>,
) -> Result<(), String> {
    let pieces = recording.pieces();
    let mut reading = Reading::default();
    pieces.iter().for_each(|(piece, is_whole)| reading.piece(recording, piece, *is_whole));
    let decoded = |chunks: &[&[u8]]| support::run(recording.decoder(format), chunks.iter().copied(), None);
    let whole = decoded(&[&recording.body[..]]);
    match end_of(&whole.ending) {
        End::Finished => tally.finished += 1,
        End::Truncated => tally.truncated += 1,
        End::Failed => tally.failed += 1,
    }
    let is_known = known::is_known(&recording.file);
    let mut strange = None;
    for event in &whole.raw {
        tally.unknown += 1;
        let why = known::why_raw(&recording.api, event);
        let shown = why.unwrap_or("NOT LISTED");
        *unknown.entry(format!("{} {event}: {shown}", recording.api)).or_default() += 1;
        if why.is_none() && is_known {
            strange = Some(event);
        }
    }
    agree(&reading, &whole)?;

    let ended = end_of(&whole.ending);
    match known::NOT_FINISHED.iter().find(|(file, ..)| *file == recording.file) {
        Some((_, expected, _)) if ended != *expected => {
            return Err(format!("ended {}, listed as {expected:?}", support::ending(&whole.ending)));
        }
        // The independent reading agrees; a recording that is new here is listed once somebody has looked at it.
        None if ended != End::Finished => {
            println!("not finished, not listed: {} {}", recording.file, support::ending(&whole.ending));
            if is_known {
                return Err("ends otherwise than it is known to".to_owned());
            }
        }
        _ => {}
    }

    let mut random = Random(0x1090_0a75 ^ recording.body.len() as u64);
    for round in 0..3 {
        let mut chunks = Vec::new();
        let mut rest = &recording.body[..];
        while !rest.is_empty() {
            let (chunk, tail) = rest.split_at(random.below(300).min(rest.len() - 1) + 1);
            chunks.push(chunk);
            rest = tail;
        }
        if decoded(&chunks) != whole {
            return Err(format!("round {round} of random splits differs"));
        }
    }
    cuts(recording, format, &pieces, tally)?;
    match strange {
        Some(event) => Err(format!("the event {event:?} came out raw, which is not known of it")),
        None => Ok(()),
    }
}

/// Cut after each event it ends as the reading of as much says, and so never `Finished` before it is.
fn cuts(
    recording: &Recording,
    format: &dyn Format,
    pieces: &[(&[u8], bool)],
    tally: &mut Tally,
) -> Result<(), String> {
    let mut reading = Reading::default();
    let mut end = 0;
    let body = Bytes::copy_from_slice(&recording.body);
    for (number, (piece, is_whole)) in pieces.iter().enumerate() {
        reading.piece(recording, piece, *is_whole);
        end += piece.len();
        if !is_cut_after(number, pieces.len()) {
            continue;
        }
        let cut = support::end_of_body(recording.decoder(format), body.slice(..end));
        tally.cuts += 1;
        if end_of(&cut) != reading.end() {
            return Err(format!(
                "cut after event {number} of {}: {}, expected {:?}",
                pieces.len(),
                support::ending(&cut),
                reading.end()
            ));
        }
    }
    Ok(())
}

/// Whether to cut there. All cuts of a stream cost time by the square of its length, which a debug build has for short
/// streams only: of a long one it takes the beginning, the end and some between.
fn is_cut_after(event: usize, events: usize) -> bool {
    !cfg!(debug_assertions) || event < 32 || events - event <= 32 || event.is_multiple_of(events.div_ceil(64))
}

/// The decoder's outcome against the independent reading.
fn agree(reading: &Reading, outcome: &Outcome) -> Result<(), String> {
    let differs = |what: &str, ours: &dyn std::fmt::Debug, theirs: &dyn std::fmt::Debug| {
        Err(format!("{what}: decoded {ours:?}, read {theirs:?}"))
    };
    let ended = end_of(&outcome.ending);
    if ended != reading.end() {
        return differs("ending", &support::ending(&outcome.ending), &reading.end());
    }
    let response = &outcome.response;
    if response.text() != reading.text {
        return differs("text", &response.text(), &reading.text);
    }
    let parts = response.choices.first().map(|choice| choice.message.parts.as_slice()).unwrap_or_default();
    let reasoning: String = parts
        .iter()
        .filter_map(|part| match part {
            Part::Reasoning(thoughts) => Some(thoughts.text.as_str()),
            _ => None,
        })
        .collect();
    if reasoning != reading.reasoning {
        return differs("reasoning", &reasoning, &reading.reasoning);
    }
    let calls: Vec<_> = response
        .tool_calls()
        .map(|call| (call.id.clone(), call.name.clone(), normal(&call.arguments)))
        .collect();
    let read: Vec<_> =
        reading.calls.iter().map(|(id, name, json)| (id.clone(), name.clone(), normal(json))).collect();
    let same = |(ours, theirs): (&(String, String, String), &(String, String, String))| {
        (theirs.0.is_empty() || ours.0 == theirs.0) && ours.1 == theirs.1 && ours.2 == theirs.2
    };
    if calls.len() != read.len() || !calls.iter().zip(&read).all(same) {
        return differs("tool calls", &calls, &read);
    }
    if let Ending::Finished { reason, usage } = &outcome.ending {
        if reason.as_str() != reading.reason.as_deref().unwrap_or_default() {
            return differs("finish reason", reason, &reading.reason);
        }
        let ours = [
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
            usage.reasoning_tokens,
        ];
        if ours != reading.usage {
            return differs("usage", &ours, &reading.usage);
        }
    }
    Ok(())
}

/// JSON without its spaces, where it is JSON.
fn normal(json: &str) -> String {
    serde_json::from_str::<Value>(json).map_or_else(|_| json.to_owned(), |value| value.to_string())
}

/// A response that is not 2xx: the status, the provider's own words and its code come through.
pub(crate) fn refusal(recording: &Recording, format: &dyn Format) -> Result<(), String> {
    let head = Head { status: recording.status, headers: &recording.headers };
    let error = format.error(&head, &recording.body);
    let body: Value = serde_json::from_slice(&recording.body).unwrap_or(Value::Null);
    let body = if body.is_array() { &body[0] } else { &body };
    let said = [
        &body["error"]["message"],
        &body["error"],
        &body["message"],
        &body["detail"],
        &body["detail"][0]["msg"],
    ];
    // Of several sentences any will do.
    let said: Vec<&str> = said.iter().filter_map(|said| said.as_str()).map(str::trim).collect();
    if !said.is_empty() && !said.iter().any(|said| error.message().starts_with(said)) {
        return Err(format!("message {:?}, said {said:?}", error.message()));
    }
    let kept = error.raw_body().unwrap_or_default();
    let is_kept =
        recording.body.starts_with(kept) && (kept.len() == recording.body.len() || kept.len() >= 1024);
    if error.status() != Some(recording.status) || !is_kept {
        return Err("the status or the body was lost".to_owned());
    }
    use loquat_core::ErrorKind as K;
    let kind = error.kind();
    let fits = match recording.status {
        400 | 422 => matches!(
            kind,
            K::InvalidRequest
                | K::ContextLength
                | K::ContentFiltered
                | K::NotFound
                | K::Authentication
                | K::Permission
                | K::QuotaExceeded
                | K::RateLimited
                | K::Unsupported
        ),
        401 => matches!(kind, K::Authentication | K::Permission | K::QuotaExceeded),
        402 => kind == K::QuotaExceeded,
        403 => matches!(kind, K::Permission | K::Authentication | K::QuotaExceeded | K::ContentFiltered),
        404 => matches!(kind, K::NotFound | K::Permission),
        413 => kind == K::ContextLength,
        429 => matches!(kind, K::RateLimited | K::QuotaExceeded | K::Overloaded),
        500.. => !matches!(kind, K::Protocol | K::Truncated),
        _ => true,
    };
    if fits { Ok(()) } else { Err(format!("kind {kind:?} for status {}", recording.status)) }
}

/// xorshift64*: seeded, so that a failure comes again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap_or(0) % bound
    }
}
