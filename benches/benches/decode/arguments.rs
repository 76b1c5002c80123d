//! The arguments of a tool call, 64 KiB in pieces of 4 bytes: followed as they come, beside one parse of the whole at the end.
//! Parsing all of it again at each piece, as many clients do, takes seconds and is not waited for.

use std::hint::black_box;

use loquat_benches::{cpu, side};
use loquat_json::{Fields, Partial};

use crate::{median, rounds};

const BYTES: usize = 64 * 1024;
const PIECE_BYTES: usize = 4;

pub fn measure(case: &str) {
    let text = text();
    let fields = Fields::compile(&["/path", "/content"]).expect("pointers");
    let whole: serde_json::Value = serde_json::from_str(&text).expect("the bench's JSON is sound");
    assert_eq!(Some(follow(&fields, &text)), whole["content"].as_str().map(str::len));
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..rounds() {
        let start = cpu::thread_nanos();
        black_box(follow(&fields, black_box(&text)));
        ours.push(cpu::thread_nanos() - start);
        let start = cpu::thread_nanos();
        black_box(serde_json::from_str::<serde_json::Value>(black_box(&text)).is_ok());
        peer.push(cpu::thread_nanos() - start);
    }
    side::figure(case, "ours", median(&mut ours), "ns");
    side::figure(case, "serde_json, once at the end", median(&mut peer), "ns");
}

/// How many bytes of the one long string were seen.
fn follow(fields: &Fields, text: &str) -> usize {
    let mut partial = Partial::new(fields.clone());
    let mut out = String::new();
    for start in (0..text.len()).step_by(PIECE_BYTES) {
        let piece = text.get(start..text.len().min(start + PIECE_BYTES)).expect("the text is ASCII");
        let seen = partial.push_with(piece, |part| {
            if let (1, Some(text)) = (part.field, part.text) {
                text.append_lossy_to(&mut out);
            }
        });
        seen.expect("the bench's JSON is sound");
    }
    partial.finish().expect("the bench's JSON is whole");
    out.len()
}

/// A file being written, with some lists around it.
fn text() -> String {
    let mut text = String::from(r#"{"path":"src/main.rs","content":""#);
    while text.len() < BYTES / 2 {
        text.push_str(r#"fn main() {\n    println!(\"loquat\");\n}\n"#);
    }
    text.push_str(r#"","edits":["#);
    while text.len() < BYTES {
        text.push_str(r#"{"line":17,"old":"let a = 1;","new":"let a = 2;","keep":true},"#);
    }
    text.push_str("{}]}");
    text
}
