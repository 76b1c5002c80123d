//! NDJSON framing against a plain split at LF, over random splits and limits.
#![no_main]

#[path = "../../crates/loquat-json/tests/oracle/mod.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (lengths, stream) = oracle::plan(input);
    let limit = lengths.last().copied().unwrap_or(16);
    oracle::ndjson::check(stream, lengths, limit.into());
});
