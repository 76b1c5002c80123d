//! Extraction against serde_json: the same texts accepted, the same values found, by vectors and by plain words.
#![no_main]

#[path = "../../crates/loquat-json/tests/oracle/mod.rs"]
mod oracle;

use loquat_json::{Extractor, by_words};
use std::sync::Mutex;

/// Reused from input to input, so that what one leaves behind would show in the next.
static EXTRACTOR: Mutex<Option<Extractor>> = Mutex::new(None);
static UNPREDICTED: Mutex<Option<Extractor>> = Mutex::new(None);

libfuzzer_sys::fuzz_target!(|json: &[u8]| {
    let text = match json {
        // No text begins like that.
        [248..=255, _, text @ ..] => text,
        text => text,
    };
    let json = &*oracle::stretched(json, text);
    // By vectors or by words: with both for each input executions would be few.
    if json.len().is_multiple_of(2) {
        check(json)
    } else {
        by_words(|| check(json))
    }
    oracle::json::check_limits(json);
});

fn check(json: &[u8]) {
    if let Ok(mut extractor) = EXTRACTOR.lock() {
        oracle::json::check(json, extractor.get_or_insert_with(oracle::json::extractor));
    }
    if let Ok(mut extractor) = UNPREDICTED.lock() {
        oracle::json::check_unpredicted(json, extractor.get_or_insert_with(oracle::json::unpredicted));
    }
}
