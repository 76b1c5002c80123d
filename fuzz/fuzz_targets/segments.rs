//! A prompt that grows turn by turn, encoded by segments and whole: the same tokens, for both built-in vocabularies. How bytes
//! become a prompt is in `tests/grown/mod.rs` of the crate.
#![no_main]

#[path = "../../crates/loquat-prompt/tests/grown/mod.rs"]
mod grown;

use grown::Subject;
use loquat_prompt::tokenizer::{cl100k_base, o200k_base};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    // New caches for each input, so that a finding is found again.
    Subject::new(o200k_base().unwrap()).check(input);
    Subject::new(cl100k_base().unwrap()).check(input);
});
