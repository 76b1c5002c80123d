//! The forward pass against a plain one in floats, written from the papers without regard to speed.

use candle_core::Device;

use super::tiny::{HEAD_DIM, HEADS, HIDDEN, KV_HEADS, LAYERS, Recipe, VOCABULARY, WIDTH};
use crate::cache::Shard;
use crate::forward::{STEP_TOKENS, Want, with_team};
use crate::gguf::Gguf;
use crate::weights::Weights;

/// All positions' logits, reading `tokens` in steps of these lengths.
pub(super) fn logits(weights: &Weights, threads: usize, tokens: &[u32], steps: &[usize]) -> Rows {
    logits_from(weights, threads, tokens, 0, steps)
}

/// The logits of the positions from `from` on.
pub(super) fn logits_from(
    weights: &Weights,
    threads: usize,
    tokens: &[u32],
    from: usize,
    steps: &[usize],
) -> Rows {
    let mut shards: Vec<Shard> = (0..threads).map(|_| Shard::new(&weights.shape)).collect();
    with_team(weights, &mut shards, |leader| {
        let (mut at, mut all) = (0, Vec::new());
        for part in tokens[..from].chunks(STEP_TOKENS) {
            leader.step(part, at, Want::Nothing)?;
            at += part.len();
        }
        for step in steps.iter().copied().chain(std::iter::repeat(STEP_TOKENS)) {
            let end = (at + step).min(tokens.len());
            if at == end {
                break;
            }
            leader.step(&tokens[at..end], at, Want::All)?;
            for row in 0..end - at {
                let mut logits = Vec::new();
                leader.logits(row, &mut logits);
                all.push(logits);
            }
            at = end;
        }
        Ok(all)
    })
    .unwrap()
}

/// All logits of a file, on one thread.
pub(crate) fn logits_of(file: &Gguf, tokens: &[u32]) -> Rows {
    logits(&Weights::read(file, VOCABULARY, 1).unwrap(), 1, tokens, &[])
}

fn tokens(count: u32) -> Vec<u32> {
    (0..count).map(|i| i * 37 % 256).collect()
}

#[test]
fn agrees_with_plain_floats() {
    let recipe = Recipe::new();
    let file = recipe.write();
    let weights = Weights::read(&Gguf::open(&file.path).unwrap(), VOCABULARY, 2).unwrap();
    let tokens = tokens(100);
    let ours = logits(&weights, 2, &tokens, &[]);
    let exact = plain(&recipe, &tokens);
    let cosine = |(ours, exact): (&Vec<f32>, &Vec<f32>)| {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        dot(ours, exact) / (dot(ours, ours) * dot(exact, exact)).sqrt()
    };
    let cosines: Vec<f32> = ours.iter().zip(&exact).map(cosine).collect();
    // Activations in 8 bits cost about one part in a thousand on random weights; a mistake costs everything.
    let (least, mean) = (cosines.iter().copied().fold(1.0, f32::min), cosines.iter().sum::<f32>() / 100.0);
    assert!(least > 0.99 && mean > 0.998, "least {least}, mean {mean}: {cosines:?}");
}

#[test]
fn cutting_a_prompt_changes_no_bit() {
    let file = Recipe::new().write();
    let weights = Weights::read(&Gguf::open(&file.path).unwrap(), VOCABULARY, 1).unwrap();
    let tokens = tokens(150);
    for threads in [1, 2, 3] {
        let whole = logits(&weights, threads, &tokens, &[]);
        for steps in [vec![1; 150], vec![33, 1, 31, 64, 5], vec![2, 3, 4, 5, 6, 7]] {
            assert_eq!(
                logits(&weights, threads, &tokens, &steps),
                whole,
                "{threads} threads, steps {steps:?}"
            );
        }
    }
}

type Rows = Vec<Vec<f32>>;

fn plain(recipe: &Recipe, tokens: &[u32]) -> Rows {
    let values = |name: &str| -> Vec<f32> {
        let (_, tensor) = recipe.tensors.iter().find(|(known, _)| known == name).unwrap();
        tensor.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    let multiply = |name: &str, from: &[f32]| -> Vec<f32> {
        values(name).chunks(from.len()).map(|row| row.iter().zip(from).map(|(a, b)| a * b).sum()).collect()
    };
    let normalize = |name: &str, from: &[f32]| -> Vec<f32> {
        let mean = from.iter().map(|v| v * v).sum::<f32>() / from.len() as f32;
        from.iter().zip(values(name)).map(|(v, weight)| v / (mean + 1e-5).sqrt() * weight).collect()
    };
    let rotate = |from: &mut [f32], position: usize| {
        for head in from.chunks_mut(HEAD_DIM) {
            for pair in 0..HEAD_DIM / 2 {
                let angle = position as f32 * 10_000f32.powf(-2.0 * pair as f32 / HEAD_DIM as f32);
                let (x, y) = (head[2 * pair], head[2 * pair + 1]);
                head[2 * pair] = x * angle.cos() - y * angle.sin();
                head[2 * pair + 1] = x * angle.sin() + y * angle.cos();
            }
        }
    };
    let embedding = values("token_embd.weight");
    let mut stream: Rows =
        tokens.iter().map(|t| embedding[*t as usize * WIDTH..][..WIDTH].to_vec()).collect();
    for layer in 0..LAYERS {
        let name = |what: &str| format!("blk.{layer}.{what}.weight");
        let normal: Rows = stream.iter().map(|x| normalize(&name("attn_norm"), x)).collect();
        let project = |what: &str| -> Rows { normal.iter().map(|x| multiply(&name(what), x)).collect() };
        let (mut queries, mut keys, values) = (project("attn_q"), project("attn_k"), project("attn_v"));
        queries.iter_mut().chain(&mut []).enumerate().for_each(|(p, q)| rotate(q, p));
        keys.iter_mut().enumerate().for_each(|(p, k)| rotate(k, p));
        for (position, x) in stream.iter_mut().enumerate() {
            let mut mixed = Vec::new();
            for head in 0..HEADS {
                let kv = head / (HEADS / KV_HEADS) * HEAD_DIM;
                let query = &queries[position][head * HEAD_DIM..][..HEAD_DIM];
                let score = |p: usize| -> f32 {
                    let dot: f32 = query.iter().zip(&keys[p][kv..]).map(|(a, b)| a * b).sum();
                    (dot / (HEAD_DIM as f32).sqrt()).exp()
                };
                let scores: Vec<f32> = (0..=position).map(score).collect();
                let total: f32 = scores.iter().sum();
                let mix = |d: usize| {
                    scores.iter().enumerate().map(|(p, s)| s * values[p][kv + d]).sum::<f32>() / total
                };
                mixed.extend((0..HEAD_DIM).map(mix));
            }
            x.iter_mut().zip(multiply(&name("attn_output"), &mixed)).for_each(|(x, y)| *x += y);
            let normal = normalize(&name("ffn_norm"), x);
            let (gate, up) = (multiply(&name("ffn_gate"), &normal), multiply(&name("ffn_up"), &normal));
            let hidden: Vec<f32> = gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
            assert_eq!(hidden.len(), HIDDEN);
            x.iter_mut().zip(multiply(&name("ffn_down"), &hidden)).for_each(|(x, y)| *x += y);
        }
    }
    stream.iter().map(|x| multiply("token_embd.weight", &normalize("output_norm.weight", x))).collect()
}
