//! Pulling text deltas from a byte stream: no runtime, no async, any `Read`.
//!
//! `cargo run -p loquat-json --example pull < recorded.sse` prints the text of a recorded stream of OpenAI chat completions;
//! `--demo` one of its own.

use loquat_json::{Extractor, Fields, Limits, sse};
use std::error::Error;
use std::io::{self, Read, Write};

/// Hands on the text of a streamed answer as it arrives. A stream that stops before its end is an error.
fn pull(mut body: impl Read, mut text: impl FnMut(&str) -> io::Result<()>) -> Result<(), Box<dyn Error>> {
    let mut events = sse::Decoder::new(Limits::default());
    let mut json = Extractor::new(Fields::compile(&["/choices/0/delta/content"])?);
    let (mut bytes, mut scratch) = ([0; 16 * 1024], String::new());
    while let length @ 1.. = body.read(&mut bytes)? {
        let mut read = &bytes[..length];
        while let Some(event) = events.next_for(&mut read, &mut json)? {
            if event.data == "[DONE]" {
                return Ok(());
            }
            let Some(delta) = json.extract_event(&event)?.str(0) else {
                continue;
            };
            text(delta.decode(&mut scratch)?)?;
        }
    }
    Err("the stream ended before [DONE]".into())
}

const DEMO: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Loquats ripen \"}}]}\n\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"in spring.\\n\"}}]}\n\ndata: [DONE]\n\n";

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout();
    let print = |text: &str| out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match std::env::args().nth(1).as_deref() {
        Some("--demo") => pull(DEMO.as_bytes(), print),
        _ => pull(io::stdin(), print),
    }
}

#[test]
fn text_comes_out_and_a_cut_stream_is_an_error() {
    let mut text = String::new();
    let append = |delta: &str| {
        text.push_str(delta);
        Ok(())
    };
    assert!(pull(DEMO.as_bytes(), append).is_ok());
    assert_eq!(text, "Loquats ripen in spring.\n");
    assert!(pull(&DEMO.as_bytes()[..DEMO.len() - 10], |_| Ok(())).is_err());
}
