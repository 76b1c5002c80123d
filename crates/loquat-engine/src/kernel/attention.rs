//! Attention over one block of cached positions, for all the heads that share its keys and values.
//!
//! Written with explicit vectors: left to the compiler, 32 running sums become 32 scalars. Up to three heads go together, so
//! that each key and value is loaded once for all of them and there are enough independent sums to keep the adders busy.

use pulp::{Simd, WithSimd};

use super::float::{Fma, Kernel, dispatch, exp};
use super::matrix::ROWS;

/// Positions of one cached block.
pub(crate) const BLOCK: usize = 32;
/// Numbers of a head's record before its mixed values: see [`Partial`].
pub(crate) const RECORD_HEAD: usize = 2;
/// Most heads that go together.
const GROUP: usize = 3;
/// Vectors of running sums per head.
const TILE: usize = 4;

/// A softmax over some of the positions: what is needed to merge it with the others (Milakov and Gimelshein 2018).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Partial {
    /// Largest score; −∞ before the first.
    pub(crate) peak: f32,
    /// Sum of e^(score − peak).
    pub(crate) sum: f32,
}

/// Makes each record (peak, sum, `dim` mixed values) that of no positions.
pub(crate) fn clear_records(records: &mut [f32], dim: usize) {
    records.fill(0.0);
    for record in records.chunks_exact_mut(RECORD_HEAD + dim) {
        record[0] = f32::NEG_INFINITY;
    }
}

/// Adds the first `valid` positions of a cached block to the attention of the heads whose `queries` (scaled already) and
/// `records` these are. `keys` is `dim × 32`, `values` is `32 × dim`.
pub(crate) fn attend_block(
    queries: &[f32],
    dim: usize,
    keys: &[f32],
    values: &[f32],
    valid: usize,
    records: &mut [f32],
) {
    let record = RECORD_HEAD + dim;
    for (queries, records) in queries.chunks(GROUP * dim).zip(records.chunks_mut(GROUP * record)) {
        let mut scores = [[0.0; BLOCK]; GROUP];
        let heads = queries.len() / dim;
        let scores = &mut scores[..heads];
        explicit(Scores { queries, dim, keys, scores });
        dispatch(Softmax { scores, valid, records, record });
        explicit(Mix { scores, values, dim, records });
    }
}

/// Runs the kernel with vectors of eight at most. `Arch` would take sixteen where another crate has turned that on in `pulp`: a
/// tile would be longer than a block then, and a head's last columns shorter than a vector.
#[inline]
fn explicit<K: WithSimd<Output = ()>>(kernel: K) {
    #[cfg(target_arch = "x86_64")]
    match pulp::x86::V3::try_new() {
        Some(simd) => Simd::vectorize(simd, kernel),
        None => Simd::vectorize(pulp::Scalar, kernel),
    }
    #[cfg(not(target_arch = "x86_64"))]
    pulp::Arch::new().dispatch(kernel);
}

/// `scores[head][position] = query · key`.
struct Scores<'a> {
    queries: &'a [f32],
    dim: usize,
    keys: &'a [f32],
    scores: &'a mut [[f32; BLOCK]],
}

impl WithSimd for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.scores.len() {
            3 => self.tiles::<S, 3>(simd),
            2 => self.tiles::<S, 2>(simd),
            _ => self.tiles::<S, 1>(simd),
        }
    }
}

impl Scores<'_> {
    #[inline(always)]
    fn tiles<S: Simd, const H: usize>(self, simd: S) {
        let Self { queries, dim, keys, scores } = self;
        const { assert!(BLOCK.is_multiple_of(TILE * S::F32_LANES), "a block is whole tiles") };
        let width = TILE * S::F32_LANES;
        for at in (0..BLOCK).step_by(width) {
            let mut sums = [[simd.splat_f32s(0.0); TILE]; H];
            for (d, keys) in keys.chunks_exact(BLOCK).enumerate() {
                let (keys, _) = S::as_simd_f32s(&keys[at..at + width]);
                for h in 0..H {
                    let query = simd.splat_f32s(queries[h * dim + d]);
                    for v in 0..TILE {
                        sums[h][v] = simd.mul_add_e_f32s(query, keys[v], sums[h][v]);
                    }
                }
            }
            for h in 0..H {
                S::as_mut_simd_f32s(&mut scores[h][at..at + width]).0.copy_from_slice(&sums[h]);
            }
        }
    }
}

/// Turns scores into weights and makes the records fit the new peaks.
struct Softmax<'a> {
    scores: &'a mut [[f32; BLOCK]],
    valid: usize,
    records: &'a mut [f32],
    record: usize,
}

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        for (scores, record) in self.scores.iter_mut().zip(self.records.chunks_exact_mut(self.record)) {
            for score in &mut scores[self.valid..] {
                *score = f32::NEG_INFINITY;
            }
            let old = record[0];
            let peak = scores[..self.valid].iter().copied().fold(old, f32::max);
            if peak > old {
                let shrink = exp::<F>(old - peak);
                record[0] = peak;
                record[1..].iter_mut().for_each(|value| *value *= shrink);
            }
            // A slice, not the array: the array would be taken apart into scalars.
            let scores = &mut scores[..];
            for score in scores.iter_mut() {
                *score = exp::<F>(*score - peak);
            }
            let mut sums = [0.0; 8];
            for part in scores.as_chunks::<8>().0 {
                for (sum, score) in sums.iter_mut().zip(part) {
                    *sum += score;
                }
            }
            record[1] += sums.iter().sum::<f32>();
        }
    }
}

/// `mixed[head] += weight · value` over the block's positions.
struct Mix<'a> {
    scores: &'a [[f32; BLOCK]],
    values: &'a [f32],
    dim: usize,
    records: &'a mut [f32],
}

impl WithSimd for Mix<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match self.scores.len() {
            3 => self.all::<S, 3>(simd),
            2 => self.all::<S, 2>(simd),
            _ => self.all::<S, 1>(simd),
        }
    }
}

impl Mix<'_> {
    #[inline(always)]
    fn all<S: Simd, const H: usize>(&mut self, simd: S) {
        // Of which a head's width is a multiple.
        const { assert!(ROWS.is_multiple_of(S::F32_LANES), "a head is whole vectors") };
        let (tile, lanes) = (TILE * S::F32_LANES, S::F32_LANES);
        let mut at = 0;
        while at + tile <= self.dim {
            self.tile::<S, H, TILE>(simd, at);
            at += tile;
        }
        while at + lanes <= self.dim {
            self.tile::<S, H, 1>(simd, at);
            at += lanes;
        }
    }

    /// The columns from `at` on, `V` vectors of them.
    #[inline(always)]
    fn tile<S: Simd, const H: usize, const V: usize>(&mut self, simd: S, at: usize) {
        let width = V * S::F32_LANES;
        let record = RECORD_HEAD + self.dim;
        let from = |head: usize| head * record + RECORD_HEAD + at;
        let mut sums = [[simd.splat_f32s(0.0); V]; H];
        for (head, sums) in sums.iter_mut().enumerate() {
            sums.copy_from_slice(S::as_simd_f32s(&self.records[from(head)..from(head) + width]).0);
        }
        for (position, values) in self.values.chunks_exact(self.dim).enumerate().take(BLOCK) {
            let (values, _) = S::as_simd_f32s(&values[at..at + width]);
            for (sums, weights) in sums.iter_mut().zip(self.scores) {
                let weight = simd.splat_f32s(weights[position]);
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = simd.mul_add_e_f32s(weight, *value, *sum);
                }
            }
        }
        for (head, sums) in sums.iter().enumerate() {
            S::as_mut_simd_f32s(&mut self.records[from(head)..from(head) + width]).0.copy_from_slice(sums);
        }
    }
}

/// Merges the parts that several threads made of one head's attention into `to`.
pub(crate) fn merge_partials<'a>(parts: impl Iterator<Item = (Partial, &'a [f32])> + Clone, to: &mut [f32]) {
    let peak = parts.clone().map(|(partial, _)| partial.peak).fold(f32::NEG_INFINITY, f32::max);
    to.fill(0.0);
    let mut sum = 0.0;
    for (partial, mixed) in parts {
        if partial.sum > 0.0 {
            let weight = (partial.peak - peak).exp();
            sum += partial.sum * weight;
            for (to, mixed) in to.iter_mut().zip(mixed) {
                *to += mixed * weight;
            }
        }
    }
    let scale = if sum > 0.0 { 1.0 / sum } else { 0.0 };
    to.iter_mut().for_each(|value| *value *= scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attention of `heads` heads in two parts, merged, against the plain formula.
    fn check(dim: usize, heads: usize) {
        let number = |i: usize| ((i * 7919 % 1000) as f32 / 500.0) - 1.0;
        let queries: Vec<f32> = (0..heads * dim).map(number).collect();
        let key = |position: usize, d: usize| number(position * 131 + d * 17 + 3);
        let value = |position: usize, d: usize| number(position * 57 + d * 29 + 11);
        let count = 75;
        let record = RECORD_HEAD + dim;
        let mut parts = vec![vec![0.0; heads * record]; 2];
        parts.iter_mut().for_each(|part| clear_records(part, dim));
        for block in 0..3 {
            let keys: Vec<f32> =
                (0..dim * BLOCK).map(|i| key(block * BLOCK + i % BLOCK, i / BLOCK)).collect();
            let values: Vec<f32> =
                (0..dim * BLOCK).map(|i| value(block * BLOCK + i / dim, i % dim)).collect();
            let valid = (count - block * BLOCK).min(BLOCK);
            attend_block(&queries, dim, &keys, &values, valid, &mut parts[block % 2]);
        }
        for head in 0..heads {
            let mut merged = vec![0.0; dim];
            let of = |part: &'_ Vec<f32>| {
                let record = &part[head * record..(head + 1) * record];
                (Partial { peak: record[0], sum: record[1] }, record[RECORD_HEAD..].to_vec())
            };
            let ours: Vec<_> = parts.iter().map(of).collect();
            merge_partials(ours.iter().map(|(partial, mixed)| (*partial, mixed.as_slice())), &mut merged);
            let query = &queries[head * dim..(head + 1) * dim];
            let score = |p: usize| query.iter().enumerate().map(|(d, q)| q * key(p, d)).sum::<f32>();
            let peak = (0..count).map(score).fold(f32::MIN, f32::max);
            let weights: Vec<f32> = (0..count).map(|p| (score(p) - peak).exp()).collect();
            let total: f32 = weights.iter().sum();
            for (d, merged) in merged.iter().enumerate() {
                let exact = weights.iter().enumerate().map(|(p, w)| w * value(p, d)).sum::<f32>() / total;
                assert!(
                    (merged - exact).abs() < 1e-4,
                    "dim {dim}, head {head} of {heads}, {d}: {merged} {exact}"
                );
            }
        }
    }

    #[test]
    fn attention_in_parts_is_attention() {
        for (dim, heads) in [(8, 1), (16, 2), (40, 3), (64, 3), (64, 7), (128, 4)] {
            check(dim, heads);
        }
    }
}
