//! A text in pieces against the extractor on the whole, over random splits.
#![no_main]

#[path = "../../crates/loquat-json/tests/oracle/mod.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (lengths, text) = oracle::plan(input);
    let text = oracle::stretched(input, text);
    if let Ok(text) = std::str::from_utf8(&text) {
        oracle::partial::check(text, lengths);
    }
});
