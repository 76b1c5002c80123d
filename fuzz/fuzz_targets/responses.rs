//! OpenAI Responses: any bytes come to one ending, the same for every split.
#![no_main]

#[path = "../../crates/loquat-provider/tests/support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|input: &[u8]| support::check_any(&loquat_provider::OPENAI_RESPONSES, input));
