//! A model of some 100 kB with pseudo-random weights: written by candle, so that reader and writer are not both ours.

use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use tempfile::TempDir;

pub(crate) const WIDTH: usize = 64;
pub(crate) const HEADS: usize = 4;
pub(crate) const KV_HEADS: usize = 2;
pub(crate) const HEAD_DIM: usize = 16;
pub(crate) const HIDDEN: usize = 96;
pub(crate) const LAYERS: usize = 2;
pub(crate) const CONTEXT: usize = 512;
pub(crate) const VOCABULARY: usize = 264;

/// A model file and the folder that goes with it.
pub(crate) struct Tiny {
    _folder: TempDir,
    pub(crate) path: PathBuf,
}

/// What a test may change about the file.
pub(crate) struct Recipe {
    pub(crate) metadata: Vec<(String, Value)>,
    pub(crate) tensors: Vec<(String, QTensor)>,
}

impl Recipe {
    pub(crate) fn new() -> Self {
        let mut dice = 12345u64;
        let mut noise = |count: usize, scale: f32| -> Vec<f32> {
            std::iter::repeat_with(|| {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((dice >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * scale
            })
            .take(count)
            .collect()
        };
        let mut tensors = Vec::new();
        let mut matrix = |name: String, rows: usize, columns: usize, kind: GgmlDType, scale: f32| {
            let values =
                Tensor::from_vec(noise(rows * columns, scale), (rows, columns), &Device::Cpu).unwrap();
            tensors.push((name, QTensor::quantize(&values, kind).unwrap()));
        };
        matrix("token_embd.weight".into(), VOCABULARY, WIDTH, GgmlDType::Q8_0, 2.0);
        for layer in 0..LAYERS {
            let mut layer_matrix = |what: &str, rows, columns, kind| {
                matrix(format!("blk.{layer}.{what}.weight"), rows, columns, kind, 0.8);
            };
            layer_matrix("attn_q", HEADS * HEAD_DIM, WIDTH, GgmlDType::Q4_1);
            layer_matrix("attn_k", KV_HEADS * HEAD_DIM, WIDTH, GgmlDType::Q4_1);
            layer_matrix("attn_v", KV_HEADS * HEAD_DIM, WIDTH, GgmlDType::Q8_0);
            layer_matrix("attn_output", WIDTH, HEADS * HEAD_DIM, GgmlDType::Q4_0);
            layer_matrix("ffn_gate", HIDDEN, WIDTH, GgmlDType::F16);
            layer_matrix("ffn_up", HIDDEN, WIDTH, GgmlDType::Q5_1);
            layer_matrix("ffn_down", WIDTH, HIDDEN, GgmlDType::Q4_1);
        }
        let norms = (0..LAYERS)
            .flat_map(|l| [format!("blk.{l}.attn_norm.weight"), format!("blk.{l}.ffn_norm.weight")]);
        for name in norms.chain(["output_norm.weight".to_owned()]) {
            let values: Vec<f32> = (0..WIDTH).map(|i| 0.8 + (i % 5) as f32 * 0.1).collect();
            let values = Tensor::from_vec(values, WIDTH, &Device::Cpu).unwrap();
            tensors.push((name, QTensor::quantize(&values, GgmlDType::F32).unwrap()));
        }
        Self { metadata: metadata(), tensors }
    }

    pub(crate) fn set(mut self, key: &str, value: Value) -> Self {
        self.metadata.retain(|(known, _)| known != key);
        self.metadata.push((key.to_owned(), value));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.metadata.retain(|(known, _)| known != name);
        self.tensors.retain(|(known, _)| known != name);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let metadata: Vec<(&str, &Value)> =
            self.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let tensors: Vec<(&str, &QTensor)> =
            self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let mut file = std::io::Cursor::new(Vec::new());
        gguf_file::write(&mut file, &metadata, &tensors).unwrap();
        let mut bytes = file.into_inner();
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes
    }

    pub(crate) fn write(&self) -> Tiny {
        write(&self.bytes())
    }
}

pub(crate) fn write(bytes: &[u8]) -> Tiny {
    let folder = tempfile::tempdir().unwrap();
    let path = Path::new(folder.path()).join("tiny.gguf");
    std::fs::write(&path, bytes).unwrap();
    Tiny { _folder: folder, path }
}

fn metadata() -> Vec<(String, Value)> {
    let number = |value: usize| Value::U32(u32::try_from(value).unwrap());
    // GPT-2's byte alphabet in the order of its bytes: the ids of plain text are its bytes.
    let printable = |byte: u32| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut others = 0x100..;
    let alphabet = (0..256u32).map(|b| if printable(b) { b } else { others.next().unwrap() });
    let mut tokens: Vec<String> = alphabet.map(|code| char::from_u32(code).unwrap().to_string()).collect();
    let specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unused0>", "<unused1>", "<unused2>"];
    let kinds = (0..VOCABULARY).map(|id| Value::I32(if (256..262).contains(&id) { 3 } else { 1 })).collect();
    tokens.extend(specials.map(str::to_owned));
    tokens.extend(["th".to_owned(), "the".to_owned()]);
    assert_eq!(tokens.len(), VOCABULARY);
    let texts =
        |texts: &[&str]| Value::Array(texts.iter().map(|text| Value::String((*text).to_owned())).collect());
    [
        ("general.architecture", Value::String("llama".into())),
        ("general.name", Value::String("Tiny".into())),
        ("llama.block_count", number(LAYERS)),
        ("llama.context_length", number(CONTEXT)),
        ("llama.embedding_length", number(WIDTH)),
        ("llama.feed_forward_length", number(HIDDEN)),
        ("llama.attention.head_count", number(HEADS)),
        ("llama.attention.head_count_kv", number(KV_HEADS)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.freq_base", Value::F32(10_000.0)),
        ("llama.rope.dimension_count", number(HEAD_DIM)),
        ("tokenizer.ggml.model", Value::String("gpt2".into())),
        ("tokenizer.ggml.pre", Value::String("smollm".into())),
        ("tokenizer.ggml.tokens", Value::Array(tokens.into_iter().map(Value::String).collect())),
        ("tokenizer.ggml.token_type", Value::Array(kinds)),
        ("tokenizer.ggml.merges", texts(&["t h", "th e"])),
        ("tokenizer.ggml.bos_token_id", number(257)),
        ("tokenizer.ggml.eos_token_id", number(258)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}
