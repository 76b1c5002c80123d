//! Whole documents: from bytes that are owned to two values found by name, for an answer that was not streamed and for a list
//! of embeddings. Figures are for the document. All contenders get a copy of the bytes and check all of them, all but ours
//! without a limit on depth that is the caller's.

use std::{fmt::Write as _, hint::black_box};

use loquat_benches::{cpu, side};
use loquat_json::document::Document;
use simd_json::prelude::{ValueAsArray, ValueAsScalar, ValueObjectAccess};
use sonic_rs::{JsonContainerTrait, JsonValueTrait};

use crate::{median, rounds, streams::Random};

/// What is read of a document: how many bytes of text or numbers, and the total of tokens.
type Read = (usize, u64);

type Contender = (&'static str, fn(Vec<u8>) -> Read);

const CONTENDERS: [Contender; 5] = [
    ("ours", |bytes| {
        let document = Document::parse(bytes).expect("the bench's JSON is sound");
        let text = document.pointer("/choices/0/message/content").and_then(|text| text.as_str());
        let numbers = document.pointer("/data/7/embedding").and_then(|list| list.as_array());
        let tokens = document.pointer("/usage/total_tokens").and_then(|tokens| tokens.as_u64());
        (text.map_or(0, str::len) + numbers.map_or(0, Iterator::count), tokens.unwrap_or(0))
    }),
    ("serde_json", |bytes| {
        let tree: serde_json::Value = serde_json::from_slice(&bytes).expect("the bench's JSON is sound");
        let text = tree.pointer("/choices/0/message/content").and_then(|text| text.as_str());
        let numbers = tree.pointer("/data/7/embedding").and_then(|list| list.as_array());
        let tokens = tree.pointer("/usage/total_tokens").and_then(|tokens| tokens.as_u64());
        (text.map_or(0, str::len) + numbers.map_or(0, Vec::len), tokens.unwrap_or(0))
    }),
    ("sonic-rs", |bytes| {
        let tree: sonic_rs::Value = sonic_rs::from_slice(&bytes).expect("the bench's JSON is sound");
        let text = tree.pointer(sonic_rs::pointer!["choices", 0, "message", "content"]);
        let numbers = tree.pointer(sonic_rs::pointer!["data", 7, "embedding"]);
        let tokens = tree.pointer(sonic_rs::pointer!["usage", "total_tokens"]);
        let numbers = numbers.and_then(|list| list.as_array().map(|list| list.len()));
        let text = text.and_then(|text| text.as_str());
        (
            text.map_or(0, str::len) + numbers.unwrap_or(0),
            tokens.and_then(|tokens| tokens.as_u64()).unwrap_or(0),
        )
    }),
    ("simd-json, owned", |mut bytes| {
        let tree = simd_json::to_owned_value(&mut bytes).expect("the bench's JSON is sound");
        let text =
            tree.get("choices").and_then(|list| list.as_array()?.first()?.get("message")?.get("content"));
        let numbers = tree.get("data").and_then(|list| list.as_array()?.get(7)?.get("embedding"));
        let tokens = tree.get("usage").and_then(|usage| usage.get("total_tokens"));
        let numbers = numbers.and_then(|list| list.as_array()).map_or(0, |list| list.len());
        let text = text.and_then(|text| text.as_str()).map_or(0, str::len);
        (text + numbers, tokens.and_then(|tokens| tokens.as_u64()).unwrap_or(0))
    }),
    // It cannot be kept beside the bytes that it borrows; what ours is built upon.
    ("simd-json, tape", |mut bytes| {
        let tape = simd_json::to_tape(&mut bytes).expect("the bench's JSON is sound");
        let tree = tape.as_value();
        let element = |name, index: usize| tree.as_object()?.get(name)?.as_array()?.get(index)?.as_object();
        let text =
            element("choices", 0).and_then(|choice| choice.get("message")?.as_object()?.get("content"));
        let numbers = element("data", 7).and_then(|data| data.get("embedding")?.as_array());
        let tokens = tree.as_object().and_then(|root| root.get("usage")?.as_object()?.get("total_tokens"));
        let text = text.map_or(0, |text| text.as_str().map_or(0, str::len));
        (text + numbers.map_or(0, |list| list.len()), tokens.and_then(|tokens| tokens.as_u64()).unwrap_or(0))
    }),
];

pub fn measure(case: &str, json: &str) {
    let mut times = vec![Vec::new(); CONTENDERS.len()];
    let expected = CONTENDERS[0].1(json.as_bytes().to_vec());
    assert!(expected.0 > 0 && expected.1 > 0);
    // A turn of a tenth of a millisecond and more.
    let repeats = 100_000 / json.len() + 1;
    for _ in 0..rounds() {
        for ((name, read), times) in CONTENDERS.iter().zip(&mut times) {
            assert_eq!(read(json.as_bytes().to_vec()), expected, "{case}: {name}");
            let start = cpu::thread_nanos();
            for _ in 0..repeats {
                black_box(read(black_box(json.as_bytes()).to_vec()));
            }
            times.push((cpu::thread_nanos() - start) / repeats as f64);
        }
    }
    for ((name, read), times) in CONTENDERS.iter().zip(&mut times) {
        side::figure(case, name, median(times), "ns");
        side::allocations(case, name, 1, || {
            black_box(read(json.as_bytes().to_vec()));
        });
    }
}

/// A chat completion of some 1,500 bytes.
pub fn answer() -> String {
    let text =
        r#"Loquats (枇杷) ripen in late spring.\n\nThey are \"sweet\", a little tart, and bruise easily. "#
            .repeat(12);
    format!(
        r#"{{"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion","created":1741569952,"model":"gpt-4.1-2025-04-14","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}","refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":19,"completion_tokens":310,"total_tokens":329,"prompt_tokens_details":{{"cached_tokens":0,"audio_tokens":0}}}},"service_tier":"default","system_fingerprint":"fp_44709d6fcb"}}"#
    )
}

/// Sixteen embeddings of 1,536 numbers: some 330 KB.
pub fn embeddings() -> String {
    let mut random = Random(11);
    let mut json = String::from(r#"{"object":"list","data":["#);
    for index in 0..16 {
        let numbers: Vec<String> =
            (0..1536).map(|_| format!("{:.8}", random.below(200_000_000) as f64 / 1e9 - 0.1)).collect();
        let comma = if index == 0 { "" } else { "," };
        let list = numbers.join(",");
        write!(json, r#"{comma}{{"object":"embedding","index":{index},"embedding":[{list}]}}"#)
            .expect("a string");
    }
    json.push_str(r#"],"model":"text-embedding-3-small","usage":{"prompt_tokens":128,"total_tokens":128}}"#);
    json
}
