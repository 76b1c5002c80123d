//! Prediction against the full pass: documents in a row, alone and as the events of streams, over random splits; what vectors have learned
//! is matched by plain words, too, and the other way round.
//!
//! The input is lines: each starts with a byte that says which earlier line it is made from and how often what follows is put
//! into it; a fuzzer seldom writes the same shape twice by itself.
#![no_main]

#[path = "../../crates/loquat-json/tests/oracle/mod.rs"]
mod oracle;

use std::sync::Mutex;

use loquat_json::{Extractor, Fields, Limits, by_words};

/// Reused from input to input, so that templates pile up; renewed now and then, so that findings can be told apart, and more often
/// followed by others of the same fields.
static EXTRACTORS: Mutex<Option<(u32, Fields, [Extractor; 2])>> = Mutex::new(None);

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (lengths, rest) = oracle::plan(input);
    let mut documents: Vec<Vec<u8>> = Vec::new();
    for line in rest.split(|&byte| byte == b'\n').take(8) {
        let Some((&how, text)) = line.split_first() else { continue };
        let base = documents.get(usize::from(how % 4));
        documents.push(match base.filter(|_| how < 128) {
            None => text.to_vec(),
            Some(base) => edit(base, text),
        });
    }
    if let Some(last) = documents.last_mut() {
        *last = oracle::stretched(input, last);
    }
    let documents: Vec<&[u8]> = documents.iter().map(Vec::as_slice).collect();
    let Ok(mut shared) = EXTRACTORS.lock() else { return };
    if shared.as_ref().is_some_and(|(uses, ..)| *uses > 50) {
        *shared = None;
    }
    let (uses, fields, extractors) = shared.get_or_insert_with(|| {
        let fields = oracle::template::fields();
        let extractors = oracle::template::extractors_of(&fields);
        (0, fields, extractors)
    });
    *uses += 1;
    if uses.is_multiple_of(8) {
        *extractors = oracle::template::extractors_of(fields);
    }
    // One framing for each input, or executions would be few.
    let framing = input.first().map_or(0, |&byte| usize::from(byte / 8)) % oracle::template::FRAMINGS.len();
    let framings = &oracle::template::FRAMINGS[framing..=framing];
    // So short that some are too long, and now and then without such a limit.
    let limit = if input.first().is_some_and(|first| *first >= 192) { usize::MAX } else { 300 };
    let limits = Limits::default().with_max_event_bytes(limit);
    let mut check = || oracle::template::check_within(&documents, lengths, framings, extractors, limits);
    if uses.is_multiple_of(2) { by_words(check) } else { check() }
});

/// The document with stretches replaced: a byte for where, one for how many bytes go and how many come, and those.
fn edit(base: &[u8], mut edits: &[u8]) -> Vec<u8> {
    let mut text = base.to_vec();
    while let [place, lengths, rest @ ..] = edits {
        let (gone, come) = (usize::from(lengths % 8), usize::from(lengths / 8 % 16).min(rest.len()));
        let start = usize::from(*place).min(text.len());
        let end = (start + gone).min(text.len());
        text.splice(start..end, rest[..come].iter().copied());
        edits = &rest[come..];
    }
    text
}
