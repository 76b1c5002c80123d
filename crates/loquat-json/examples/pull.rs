//! Pulling text deltas from a byte stream: no runtime, no async, any `Read`.
//!
//! `cargo run -p loquat-json --example pull < recorded.sse` prints the text of a recorded stream of OpenAI chat completions;
//! `--demo` one of its own.

use loquat_json::{Extractor, Fields, Limits, sse};
use std::error::Error;
use std::io::{self, Read, Write};

/// Writes the text of a streamed answer as it arrives.
fn pull(mut body: impl Read, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let mut events = sse::Decoder::new(Limits::default());
    let mut json = Extractor::new(Fields::compile(&["/choices/0/delta/content"])?);
    let (mut bytes, mut scratch) = ([0; 16 * 1024], String::new());
    loop {
        let mut read = match body.read(&mut bytes)? {
            0 => return Err("the stream ended before [DONE]".into()),
            length => &bytes[..length],
        };
        while let Some(event) = events.next_for(&mut read, &mut json)? {
            if event.data == "[DONE]" {
                return Ok(());
            }
            if let Some(text) = json.extract_event(&event)?.get(0).and_then(|value| value.as_str()) {
                out.write_all(text.decode(&mut scratch)?.as_bytes())?;
                out.flush()?;
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let demo = b"data: {\"choices\":[{\"delta\":{\"content\":\"Loquats ripen \"}}]}\n\n\
        data: {\"choices\":[{\"delta\":{\"content\":\"in spring.\\n\"}}]}\n\ndata: [DONE]\n\n";
    match std::env::args().nth(1).as_deref() {
        Some("--demo") => pull(&demo[..], &mut io::stdout()),
        _ => pull(io::stdin(), &mut io::stdout()),
    }
}
