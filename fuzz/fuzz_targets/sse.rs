//! SSE framing against the standard's own algorithm, over random splits and limits.
#![no_main]

#[path = "../../crates/loquat-json/tests/oracle/mod.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (lengths, stream) = oracle::plan(input);
    let limit = lengths.last().copied().unwrap_or(16);
    oracle::sse::check(stream, lengths, limit.into());
});
