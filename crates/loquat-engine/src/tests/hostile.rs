//! Files that lie: a clear error, no panic, no allocation beyond the file's own size.

use candle_core::quantized::gguf_file::Value;

use super::tiny::{self, Recipe};
use crate::engine::Loaded;

fn load(bytes: &[u8]) -> Result<Loaded, String> {
    let file = tiny::write(bytes);
    let load = Loaded::read(&file.path, &super::config().with_threads(1));
    load.map_err(|error| error.message().replace(&file.path.display().to_string(), "FILE"))
}

#[track_caller]
fn check(bytes: &[u8], expected: &str) {
    let message = load(bytes).unwrap_err();
    assert!(message.contains(expected), "expected `{expected}` in `{message}`");
}

#[test]
fn every_prefix_is_refused_as_cut_short() {
    let bytes = Recipe::new().bytes();
    load(&bytes).unwrap();
    for length in (0..bytes.len() - 64).step_by(997).chain(0..64) {
        let message = load(&bytes[..length]).unwrap_err();
        assert!(message.contains("cut short"), "{length}: {message}");
    }
}

#[test]
fn no_flipped_bit_of_the_header_panics() {
    let bytes = Recipe::new().bytes();
    // All of the fixed fields and counts, and a sample of the rest of the header.
    let header = bytes.len() - 100_000.min(bytes.len() / 2);
    for at in (0..96).chain((96..header).step_by(61)) {
        for bit in [0, 4, 7] {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            // Some flips are harmless; none may panic or hang.
            drop(load(&bytes));
        }
    }
}

#[test]
fn lies_are_named() {
    let number = |value: u32| Value::U32(value);
    let set = |key: &str, value: Value| Recipe::new().set(key, value).bytes();
    check(b"PK\x03\x04 something else entirely", "no GGUF file");
    check(b"GGUF\x09\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "GGUF version 9");
    let mut huge = b"GGUF\x03\0\0\0".to_vec();
    huge.extend([0xFF; 16]);
    check(&huge, "declares 18446744073709551615 tensors");
    check(
        &set("general.architecture", Value::String("mamba".into())),
        "architecture mamba; supported is: llama",
    );
    check(&set("general.alignment", number(0)), "general.alignment is 0");
    for value in [Value::U8(0), Value::U16(0), Value::I32(0), Value::U8(64), Value::I64(32)] {
        check(&set("general.alignment", value), "general.alignment has the type");
    }
    for again in ["general.alignment", "general.alignment\0"] {
        let mut twice = Recipe::new().set("general.alignment", number(32));
        twice.metadata.push((again.into(), Value::U8(0)));
        check(&twice.bytes(), "key general.alignment occurs twice");
    }
    let mut twice = Recipe::new();
    let (name, _) = &mut twice.tensors[1];
    *name = "token_embd.weight\0".into();
    check(&twice.bytes(), "tensor token_embd.weight occurs twice");
    check(&set("llama.embedding_length", number(0)), "llama.embedding_length is 0");
    check(
        &set("llama.embedding_length", number(128)),
        "tensor output_norm.weight is 1 × 64, expected 1 × 128",
    );
    check(&set("llama.block_count", number(u32::MAX)), "llama.block_count is 4294967295");
    check(&set("llama.block_count", number(3)), "tensor blk.2.attn_norm.weight is missing");
    check(&set("llama.attention.head_count_kv", number(3)), "heads must divide evenly");
    check(&set("llama.rope.scaling.type", Value::String("yarn".into())), "rope scaling yarn");
    check(&set("llama.rope.freq_base", Value::F32(f32::NAN)), "is no positive number");
    check(&set("tokenizer.ggml.model", Value::String("llama".into())), "tokenizer llama; supported is gpt2");
    check(&set("tokenizer.ggml.pre", Value::String("unheard-of".into())), "tokenizer.ggml.pre unheard-of");
    check(
        &set("tokenizer.ggml.merges", Value::Array(vec![Value::String("x".into())])),
        "a merge without a space",
    );
    check(
        &set("tokenizer.ggml.merges", Value::Array(vec![Value::String("zz yy".into())])),
        "do not fit together",
    );
    check(
        &set("tokenizer.chat_template", Value::String("{% for %}".into())),
        "chat template does not compile",
    );
    check(
        &set("tokenizer.chat_template", Value::String("x".repeat(300_000))),
        "a chat template of 300000 bytes",
    );
    check(&Recipe::new().without("tokenizer.ggml.tokens").bytes(), "tokenizer.ggml.tokens is missing");
    check(&Recipe::new().without("blk.1.ffn_up.weight").bytes(), "tensor blk.1.ffn_up.weight is missing");
    let mut nested = Value::U8(1);
    for _ in 0..6 {
        nested = Value::Array(vec![nested]);
    }
    check(&set("deep", nested), "arrays nested deeper than 4");
}

/// Where each tensor is read into memory of its own, a few bytes of a file would be as many gigabytes as it likes.
#[test]
fn tensors_that_share_their_bytes_are_refused() {
    let tensors = |offsets: [u64; 3]| {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend([3u64, 0].map(u64::to_le_bytes).as_flattened());
        for (at, offset) in (b'a'..).zip(offsets) {
            bytes.extend(1u64.to_le_bytes());
            bytes.push(at);
            bytes.extend(1u32.to_le_bytes());
            bytes.extend(8u64.to_le_bytes());
            bytes.extend(0u32.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(32) + 96, 0);
        bytes
    };
    check(&tensors([64, 0, 0]), "overlap");
    check(&tensors([0, 64, 60]), "tensors c and b overlap");
    check(&tensors([64, 0, 32]), "tokenizer none");
}

#[test]
fn an_array_longer_than_the_file_allocates_nothing() {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(b"k");
    bytes.extend(9u32.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    for (count, expected) in [(1u64 << 40, "arrays of more than 4194304 elements"), (1 << 20, "cut short")] {
        let mut bytes = bytes.clone();
        bytes.extend(count.to_le_bytes());
        check(&bytes, expected);
    }
}

#[test]
fn garbage_in_the_weights_is_survived() {
    let mut bytes = Recipe::new().bytes();
    let length = bytes.len();
    bytes[length - 60_000..].fill(0xFF);
    let model = load(&bytes).unwrap();
    let logits = super::oracle::logits(&model.weights, 2, &[1, 2, 3], &[]);
    assert!((crate::sample::most_likely(&logits[2]) as usize) < tiny::VOCABULARY);
}
