//! NDJSON framing against a plain split at LF, over random splits and limits; and framed for an extractor, as framed for none.
#![no_main]

#[path = "../../crates/loquat-json/tests/oracle/mod.rs"]
mod oracle;

use std::sync::Mutex;

use loquat_json::{Extractor, Limits, by_words, ndjson};

/// Reused from input to input, so that templates pile up.
static EXTRACTORS: Mutex<Option<[Extractor; 2]>> = Mutex::new(None);

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (lengths, stream) = oracle::plan(input);
    let stream = oracle::stretched(input, stream);
    let limit = lengths.last().copied().unwrap_or(16);
    oracle::ndjson::check(&stream, lengths, limit.into());
    let Ok(mut extractors) = EXTRACTORS.lock() else { return };
    let [predicting, plain] = extractors.get_or_insert_with(oracle::template::extractors);
    // Under one limit, by vectors or by words: with all of them for each input executions would be few.
    let how = input.first().map_or(0, |first| first / 8);
    let limits = Limits::default();
    let limits = if how & 1 == 0 { limits } else { limits.with_max_event_bytes(limit.into()) };
    let framer = || ndjson::Decoder::new(limits).into();
    let mut check = || oracle::template::check_stream(&stream, lengths, [predicting, plain], framer);
    if how & 2 == 0 { check() } else { by_words(check) }
});
