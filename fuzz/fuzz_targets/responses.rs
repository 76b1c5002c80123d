//! OpenAI Responses: any bytes come to one ending, the same for every split. The first byte says what the rest is: a body, or what
//! chooses the events of one.
#![no_main]

#[path = "../../crates/loquat-provider/tests/support/hostile_responses.rs"]
mod hostile_responses;
#[path = "../../crates/loquat-provider/tests/support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|input: &[u8]| match input.first() {
    Some(first) if first & 128 != 0 => hostile_responses::check(input),
    _ => support::check_any(&loquat_provider::OPENAI_RESPONSES, input),
});
