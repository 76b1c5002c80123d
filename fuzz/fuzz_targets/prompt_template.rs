//! Any text as a template of prompts, and as a model's own, with any JSON: refused, or rendered within what was allowed.
//!
//! A NUL divides the template from the data.
#![no_main]

use std::time::{Duration, Instant};

use loquat_core::Message;
use loquat_prompt::template::chat::{Chat, ChatTemplate};
use loquat_prompt::template::{TemplateLimits, Templates};

const MAX_OUTPUT_BYTES: usize = 64 << 10;
/// What a rendering may take: what it is allowed, and what a machine that is shared may add.
const MAX_TIME: Duration = Duration::from_secs(5);

libfuzzer_sys::fuzz_target!(|input: &str| {
    let (source, data) = input.split_once('\0').unwrap_or((input, "{}"));
    let Ok(data) = serde_json::from_str::<serde_json::Value>(data) else { return };
    let began = Instant::now();
    let mut limits = TemplateLimits::default();
    limits.max_output_bytes = MAX_OUTPUT_BYTES;
    limits.max_held_bytes = 1 << 20;
    limits.max_steps = 10_000;
    limits.max_time = Duration::from_millis(200);
    for strict in [true, false] {
        let set = Templates::builder().template("t", source).limits(limits.clone()).strict(strict).build();
        if let Ok(templates) = set {
            if let Ok(prompt) = templates.render("t", &data) {
                assert!(prompt.len() <= MAX_OUTPUT_BYTES, "{} bytes", prompt.len());
            }
            templates.variables("t");
        }
    }
    if let Ok(template) = ChatTemplate::try_new(source, "<s>", "</s>") {
        let messages = [Message::system("s"), Message::user("u </s>"), Message::assistant("a")];
        let chat = Chat::new(&messages).with_variable("data", data);
        if let (Ok(one), Ok(other)) = (template.render(&chat, None), template.interpret(&chat, None)) {
            assert_eq!(one.text(), other.text());
        }
    }
    assert!(began.elapsed() < MAX_TIME, "{:?}", began.elapsed());
});
