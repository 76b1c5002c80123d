//! A model's shape and weights, out of a verified GGUF.
//!
//! Architecture `llama` alone: the decoder of Touvron et al. 2023 (RMSNorm, rotary positions, grouped queries, SwiGLU).

use std::fs::File;
use std::sync::Mutex;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use crate::error::{Result, invalid, local, unsupported};
use crate::gguf::{self, Gguf};
use crate::kernel::{Matrix, ROWS};

/// Sizes beyond these are a broken header, not a model that a CPU runs. Each is ten times what today's largest models have.
const MAX_WIDTH: usize = 1 << 18;
const MAX_LAYERS: usize = 1 << 10;
const MAX_CONTEXT: usize = 1 << 27;

/// The sizes a model declares.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    /// Values per token between layers.
    pub(crate) width: usize,
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) vocabulary: usize,
    /// The model's own context window, tokens.
    pub(crate) context: usize,
    pub(crate) epsilon: f32,
    /// Pairs of a head that are rotated.
    pub(crate) rotated_pairs: usize,
}

impl Shape {
    pub(crate) fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    pub(crate) fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    fn read(file: &Gguf, vocabulary: usize) -> Result<Self> {
        let shown = file.path().display();
        let architecture = file.text("general.architecture").unwrap_or_default();
        if architecture != "llama" {
            let found = if architecture.is_empty() { "none" } else { architecture };
            return Err(unsupported(format!("{shown}: architecture {found:.64}; supported is: llama")));
        }
        if file.number("llama.expert_count").is_some_and(|experts| experts > 1) {
            return Err(unsupported(format!(
                "{shown}: a mixture of experts; supported are dense llama models"
            )));
        }
        let size = |key: &str, max| file.size(&format!("llama.{key}"), max);
        let width = size("embedding_length", MAX_WIDTH)?;
        let heads = size("attention.head_count", width)?;
        let kv_heads = match file.number("llama.attention.head_count_kv") {
            Some(_) => size("attention.head_count_kv", heads)?,
            None => heads,
        };
        let head_dim = match file.number("llama.attention.key_length") {
            Some(_) => size("attention.key_length", 1024)?,
            None => width / heads,
        };
        let rotated = match file.number("llama.rope.dimension_count") {
            Some(_) => size("rope.dimension_count", head_dim)?,
            None => head_dim,
        };
        let shape = Self {
            layers: size("block_count", MAX_LAYERS)?,
            width,
            hidden: size("feed_forward_length", MAX_WIDTH * 4)?,
            heads,
            kv_heads,
            head_dim,
            vocabulary,
            context: size("context_length", MAX_CONTEXT)?,
            epsilon: file.float("llama.attention.layer_norm_rms_epsilon").unwrap_or(1e-5),
            rotated_pairs: rotated / 2,
        };
        let sound = heads.is_multiple_of(kv_heads)
            && head_dim.is_multiple_of(ROWS)
            && shape.query_width() <= MAX_WIDTH
            && shape.epsilon.is_finite()
            && shape.epsilon >= 0.0;
        if sound {
            return Ok(shape);
        }
        Err(unsupported(format!(
            "{shown}: {heads} heads of {head_dim} over {kv_heads} key-value heads: heads must divide evenly, a head be a \
             multiple of {ROWS}"
        )))
    }
}

/// One decoder layer.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) attention_norm: Vec<f32>,
    pub(crate) query: Matrix,
    pub(crate) key: Matrix,
    pub(crate) value: Matrix,
    pub(crate) output: Matrix,
    pub(crate) hidden_norm: Vec<f32>,
    pub(crate) gate: Matrix,
    pub(crate) up: Matrix,
    pub(crate) down: Matrix,
}

/// Everything that is learned.
#[derive(Debug)]
pub(crate) struct Weights {
    pub(crate) shape: Shape,
    pub(crate) embedding: Matrix,
    /// `None`: the embedding serves as output, too.
    output: Option<Matrix>,
    pub(crate) output_norm: Vec<f32>,
    pub(crate) layers: Vec<Layer>,
    /// Radians per position, one per rotated pair.
    pub(crate) frequencies: Vec<f32>,
}

impl Weights {
    /// Reads and rearranges the weights, on `threads` threads.
    pub(crate) fn read(file: &Gguf, vocabulary: usize, threads: usize) -> Result<Self> {
        let shape = Shape::read(file, vocabulary)?;
        let mut reader = Reader::open(file)?;
        let output_norm = reader.vector("output_norm.weight", shape.width)?;
        let frequencies = frequencies(file, &shape, &mut reader)?;
        let next = Mutex::new(0..shape.layers);
        let slots: Vec<Mutex<Option<Layer>>> = (0..shape.layers).map(|_| Mutex::new(None)).collect();
        let work = || -> Result<()> {
            let mut reader = Reader::open(file)?;
            loop {
                let Some(layer) = next.lock().ok().and_then(|mut next| next.next()) else { return Ok(()) };
                let read = reader.layer(layer, &shape)?;
                if let Some(Ok(mut slot)) = slots.get(layer).map(Mutex::lock) {
                    *slot = Some(read);
                }
            }
        };
        let (embedding, output) = std::thread::scope(|scope| {
            let helpers: Vec<_> = (1..threads)
                .map_while(|_| {
                    std::thread::Builder::new().name("loquat-load".into()).spawn_scoped(scope, work).ok()
                })
                .collect();
            let embedding = reader.matrix("token_embd.weight", vocabulary, shape.width);
            let output = match file.place("output.weight") {
                Some(_) => reader.matrix("output.weight", vocabulary, shape.width).map(Some),
                None => Ok(None),
            };
            let mut ours = work();
            for helper in helpers {
                ours = ours.and(helper.join().unwrap_or_else(|_| Err(invalid("a loading thread failed"))));
            }
            ours.and(Ok((embedding?, output?)))
        })?;
        let layers: Option<Vec<Layer>> =
            slots.into_iter().map(|slot| slot.into_inner().ok().flatten()).collect();
        let layers = layers.ok_or_else(|| invalid("a loading thread failed"))?;
        Ok(Self { shape, embedding, output, output_norm, layers, frequencies })
    }

    pub(crate) fn output(&self) -> &Matrix {
        self.output.as_ref().unwrap_or(&self.embedding)
    }

    /// Bytes of memory that the matrices take.
    pub(crate) fn bytes(&self) -> usize {
        let layer = |l: &Layer| {
            [&l.query, &l.key, &l.value, &l.output, &l.gate, &l.up, &l.down]
                .map(Matrix::bytes)
                .iter()
                .sum::<usize>()
        };
        self.embedding.bytes()
            + self.output.as_ref().map_or(0, Matrix::bytes)
            + self.layers.iter().map(layer).sum::<usize>()
    }
}

/// RoPE's angles per position, with the file's own correction factors where it has some (Llama 3.1).
fn frequencies(file: &Gguf, shape: &Shape, reader: &mut Reader<'_>) -> Result<Vec<f32>> {
    let shown = file.path().display();
    let linear = match file.text("llama.rope.scaling.type") {
        None | Some("none") => 1.0,
        Some("linear") => file.float("llama.rope.scaling.factor").unwrap_or(1.0),
        Some(other) => {
            return Err(unsupported(format!(
                "{shown}: rope scaling {other:.32}; supported are none and linear"
            )));
        }
    };
    let base = file.float("llama.rope.freq_base").unwrap_or(10_000.0);
    if !(base.is_finite() && base > 0.0 && linear.is_finite() && linear > 0.0) {
        return Err(invalid(format!(
            "{shown}: rope base {base} or scaling factor {linear} is no positive number"
        )));
    }
    let pairs = shape.rotated_pairs;
    let factors = match file.place("rope_freqs.weight") {
        Some(_) => reader.vector("rope_freqs.weight", pairs)?,
        None => vec![1.0; pairs],
    };
    let exact = |pair: usize| f64::from(base).powf(-(pair as f64) / pairs as f64) / f64::from(linear);
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
    Ok(factors.iter().enumerate().map(|(pair, factor)| (exact(pair) / f64::from(*factor)) as f32).collect())
}

/// Reads tensors through a file handle of its own.
struct Reader<'a> {
    gguf: &'a Gguf,
    file: File,
}

impl<'a> Reader<'a> {
    fn open(gguf: &'a Gguf) -> Result<Self> {
        let file = File::open(gguf.path())
            .map_err(|e| local(format!("cannot open {}", gguf.path().display()), e))?;
        Ok(Self { gguf, file })
    }

    fn layer(&mut self, index: usize, shape: &Shape) -> Result<Layer> {
        let name = |what: &str| format!("blk.{index}.{what}.weight");
        for biased in ["attn_q", "attn_k", "attn_v", "attn_output"] {
            if self.gguf.place(&format!("blk.{index}.{biased}.bias")).is_some() {
                return Err(unsupported(format!(
                    "{}: tensor blk.{index}.{biased}.bias: models with biases are not supported",
                    self.gguf.path().display()
                )));
            }
        }
        let (width, hidden, queries) = (shape.width, shape.hidden, shape.query_width());
        Ok(Layer {
            attention_norm: self.vector(&name("attn_norm"), width)?,
            query: self.matrix(&name("attn_q"), queries, width)?,
            key: self.matrix(&name("attn_k"), shape.kv_width(), width)?,
            value: self.matrix(&name("attn_v"), shape.kv_width(), width)?,
            output: self.matrix(&name("attn_output"), width, queries)?,
            hidden_norm: self.vector(&name("ffn_norm"), width)?,
            gate: self.matrix(&name("ffn_gate"), hidden, width)?,
            up: self.matrix(&name("ffn_up"), hidden, width)?,
            down: self.matrix(&name("ffn_down"), width, hidden)?,
        })
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>> {
        self.gguf.expect(name, 1, length)?;
        self.gguf.floats(&mut self.file, name)
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Matrix> {
        let place = self.gguf.expect(name, rows, columns)?.clone();
        let raw = |file: &mut File| self.gguf.raw(file, &place);
        let matrix = match place.kind {
            gguf::Q4_0 => Matrix::from_four_bits(&raw(&mut self.file)?, rows, columns, false),
            gguf::Q4_1 => Matrix::from_four_bits(&raw(&mut self.file)?, rows, columns, true),
            gguf::Q8_0 => Matrix::from_eight_bits(&raw(&mut self.file)?, rows, columns),
            _ => {
                let values = self.gguf.floats(&mut self.file, name)?;
                let bytes = to_eight_bits(values, rows, columns)
                    .map_err(|e| local(format!("tensor {name} cannot be converted to 8 bits"), e))?;
                Matrix::from_eight_bits(&bytes, rows, columns)
            }
        };
        matrix.ok_or_else(|| {
            let shown = self.gguf.path().display();
            unsupported(format!(
                "{shown}: tensor {name} is {rows} × {columns}; rows must be a multiple of {ROWS}, columns of 32"
            ))
        })
    }
}

/// GGUF's Q8_0 bytes of a matrix of numbers.
fn to_eight_bits(values: Vec<f32>, rows: usize, columns: usize) -> candle_core::Result<Vec<u8>> {
    if !columns.is_multiple_of(32) {
        return Ok(Vec::new());
    }
    let tensor = Tensor::from_vec(values, (rows, columns), &Device::Cpu)?;
    Ok(QTensor::quantize(&tensor, GgmlDType::Q8_0)?.data()?.into_owned())
}
