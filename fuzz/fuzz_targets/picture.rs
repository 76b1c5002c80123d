//! Any bytes as a picture in a request: counted as some number of tokens by everybody's rules, whatever their head says of their size.
#![no_main]

use std::sync::LazyLock;

use loquat_core::{Media, Message, Part};
use loquat_prompt::count::Counter;

const MODELS: [&str; 8] = [
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-5",
    "o4-mini",
    "claude-sonnet-4-5",
    "gemini-2.5-pro",
    "qwen2.5-vl-72b-instruct",
    "llama-3.2-vision",
];

static COUNTERS: LazyLock<[Counter; 8]> =
    LazyLock::new(|| MODELS.map(|model| Counter::for_model(model).unwrap()));

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let media = Media::bytes("image/png", input.to_vec());
    let mut message = Message::user("");
    message.parts.push(Part::Image(media));
    for (model, counter) in MODELS.iter().zip(COUNTERS.iter()) {
        let count = counter.message(&message).unwrap();
        assert!(count.low() <= count.high() && count.high() < 1 << 20, "{model}: {count:?}");
    }
});
