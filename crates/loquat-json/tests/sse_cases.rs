//! The published SSE cases: each whole, byte by byte, and at every two-way split.
//!
//! They are not part of this repository; `LOQUAT_DATA` says where they are.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod oracle;

use loquat_json::{Limits, sse};
use oracle::{Transcript, cut, transcribe};
use serde_json::Value;
use std::panic::catch_unwind;
use std::path::Path;
use std::time::Duration;

#[test]
fn sse_cases() {
    let Some(data) = std::env::var_os("LOQUAT_DATA") else {
        println!("skipped: LOQUAT_DATA is not set");
        return;
    };
    let file = Path::new(&data).join("suites/sse-cases.json");
    let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let suite: Value = serde_json::from_slice(&text).unwrap();
    let cases = suite["cases"].as_array().unwrap();
    assert!(cases.len() >= CASES, "{} of {CASES} cases in {}", cases.len(), file.display());
    let failed = cases.iter().filter(|case| catch_unwind(|| check(case)).is_err()).count();
    println!("conformance: sse passed={} failed={failed} skipped=0", cases.len() - failed);
    assert_eq!(failed, 0);
}

/// How many there are: a file that is torn would pass otherwise.
const CASES: usize = 28;

fn check(case: &Value) {
    let name = case["name"].as_str().unwrap();
    // As hex where it is short or no text, as text otherwise.
    let stream = match case["input_hex"].as_str() {
        Some(hex) => bytes(hex),
        None => case["input"].as_str().unwrap().into(),
    };
    let events: Vec<_> = case["events"].as_array().unwrap().iter().map(expected).collect();
    let check = |got: &Transcript, how: &str| {
        let shown: Vec<_> = got.events.iter().map(shown).collect();
        assert_eq!(shown, events, "{name}, {how}");
    };
    let run = |reads: Vec<&[u8]>| transcribe(sse::Decoder::new(Limits::default()).into(), reads);
    // The suite gives the last reconnection time of the stream; one more event shows it.
    let probed = run(vec![&stream, b"\n\ndata: probe\n\n"]);
    let retry = probed.events.last().unwrap().retry;
    assert_eq!(retry, case["retry"].as_u64().map(Duration::from_millis), "{name}, retry");
    check(&run(vec![&stream]), "whole");
    check(&run(cut(&stream, &[1])), "byte by byte");
    for middle in 0..=stream.len() {
        let (first, second) = stream.split_at(middle);
        check(&run(vec![first, second]), &format!("split at {middle}"));
    }
}

type Shown = (String, String, String);

fn shown(event: &oracle::Owned) -> Shown {
    (event.name.clone(), event.data.clone(), event.id.clone().unwrap_or_default())
}

fn expected(event: &Value) -> Shown {
    let field = |name: &str| event[name].as_str().unwrap().to_owned();
    (field("event"), field("data"), field("lastEventId"))
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}
