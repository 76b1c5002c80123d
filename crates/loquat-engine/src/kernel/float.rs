//! The float loops: normalization, rotation, activation, attention over one block of cached positions.
//!
//! Written as plain loops over fixed-size arrays that the compiler turns into vectors; [`dispatch`] compiles each twice, for
//! AVX2 with fused multiply-add and for the baseline.

/// Positions of one cached block.
pub(crate) const BLOCK: usize = 32;

/// `a · b + c`, fused where that is one instruction.
pub(super) trait Fma {
    fn fma(a: f32, b: f32, c: f32) -> f32;
}

struct Fused;
struct Plain;

impl Fma for Fused {
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

impl Fma for Plain {
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

/// A loop that can be compiled for several instruction sets; `run` must be `inline(always)`.
pub(super) trait Kernel {
    type Output;
    fn run<F: Fma>(self) -> Self::Output;
}

/// A kernel's call, as a type whose `call` is inlined for certain; a closure's may go through a shim that is not.
#[cfg(target_arch = "x86_64")]
struct InPlace<K>(K);

#[cfg(target_arch = "x86_64")]
impl<K: Kernel> pulp::NullaryFnOnce for InPlace<K> {
    type Output = K::Output;

    #[inline(always)]
    fn call(self) -> K::Output {
        self.0.run::<Fused>()
    }
}

/// Runs the kernel in the best form this processor has.
#[inline]
pub(super) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(InPlace(kernel));
    }
    if cfg!(target_arch = "aarch64") { kernel.run::<Fused>() } else { kernel.run::<Plain>() }
}

/// `to += from`.
pub(crate) fn add_assign(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

/// Root-mean-square normalization of each row of `weight.len()` values (Zhang and Sennrich 2019).
pub(crate) fn rms_norm(from: &[f32], weight: &[f32], epsilon: f32, to: &mut [f32]) {
    dispatch(RmsNorm { from, weight, epsilon, to });
}

struct RmsNorm<'a> {
    from: &'a [f32],
    weight: &'a [f32],
    epsilon: f32,
    to: &'a mut [f32],
}

impl Kernel for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let width = self.weight.len();
        for (from, to) in self.from.chunks_exact(width).zip(self.to.chunks_exact_mut(width)) {
            let mut squares = [0f32; 16];
            let (parts, rest) = from.as_chunks::<16>();
            for part in parts {
                for (square, value) in squares.iter_mut().zip(part) {
                    *square = F::fma(*value, *value, *square);
                }
            }
            let total: f32 =
                squares.iter().sum::<f32>() + rest.iter().map(|value| value * value).sum::<f32>();
            let scale = 1.0 / (total / width as f32 + self.epsilon).sqrt();
            for ((to, from), weight) in to.iter_mut().zip(from).zip(self.weight) {
                *to = from * scale * weight;
            }
        }
    }
}

/// `gate = silu(gate) · up`, the SwiGLU of Shazeer 2020.
pub(crate) fn silu_mul(gate: &mut [f32], up: &[f32]) {
    dispatch(SiluMul { gate, up });
}

struct SiluMul<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl Kernel for SiluMul<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        for (gate, up) in self.gate.iter_mut().zip(self.up) {
            *gate = *gate / (1.0 + exp::<F>(-*gate)) * up;
        }
    }
}

/// e^x to about two units in the last place, without branches. Inputs beyond ±87 are taken as ±87, except that anything
/// below −87 gives 0. Polynomial of Cephes `expf`.
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "constants as published")]
fn exp<F: Fma>(x: f32) -> f32 {
    let clamped = x.clamp(-87.0, 87.0);
    let shifted = F::fma(clamped, std::f32::consts::LOG2_E, 12_582_912.0);
    let whole = shifted - 12_582_912.0;
    let rest = F::fma(whole, -0.693_359_375, clamped);
    let rest = F::fma(whole, 2.121_944_4e-4, rest);
    let mut series = F::fma(1.987_569_1e-4, rest, 1.398_199_9e-3);
    series = F::fma(series, rest, 8.333_452e-3);
    series = F::fma(series, rest, 4.166_579_6e-2);
    series = F::fma(series, rest, 1.666_666_5e-1);
    series = F::fma(series, rest, 0.5);
    series = F::fma(series * rest, rest, rest + 1.0);
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.0 { 0.0 } else { series * power }
}

/// Rotates one head by a position's angles (RoPE, Su et al. 2021): `cosines` and `sines` have one entry per pair. Neighbouring
/// values are a pair, as in GGUF files of architecture `llama`; with `halves`, value `i` pairs with value `i + pairs`.
pub(crate) fn rotate(head: &mut [f32], cosines: &[f32], sines: &[f32], halves: bool) {
    let pairs = cosines.len();
    for (pair, (cos, sin)) in cosines.iter().zip(sines).enumerate() {
        let (a, b) = if halves { (pair, pair + pairs) } else { (2 * pair, 2 * pair + 1) };
        let (x, y) = (head[a], head[b]);
        head[a] = x * cos - y * sin;
        head[b] = x * sin + y * cos;
    }
}

/// A softmax over some of the positions: what is needed to merge it with the others (Milakov and Gimelshein 2018).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Partial {
    /// Largest score; −∞ before the first.
    pub(crate) peak: f32,
    /// Sum of e^(score − peak).
    pub(crate) sum: f32,
}

impl Partial {
    pub(crate) const EMPTY: Self = Self { peak: f32::NEG_INFINITY, sum: 0.0 };
}

/// Adds the first `valid` positions of a cached block to one head's attention. `query` is scaled already; `keys` is
/// `head_dim × 32`, `values` is `32 × head_dim`, `mixed` the weighted sum of values so far.
#[inline]
pub(crate) fn attend_block(
    query: &[f32],
    keys: &[f32],
    values: &[f32],
    valid: usize,
    partial: &mut Partial,
    mixed: &mut [f32],
) {
    dispatch(Attend { query, keys, values, valid, partial, mixed });
}

struct Attend<'a> {
    query: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    valid: usize,
    partial: &'a mut Partial,
    mixed: &'a mut [f32],
}

impl Kernel for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let mut scores = [0f32; BLOCK];
        for (query, keys) in self.query.iter().zip(self.keys.as_chunks::<BLOCK>().0) {
            for (score, key) in scores.iter_mut().zip(keys) {
                *score = F::fma(*query, *key, *score);
            }
        }
        for score in scores.iter_mut().skip(self.valid) {
            *score = f32::NEG_INFINITY;
        }
        let mut peaks = [f32::NEG_INFINITY; 8];
        for part in scores.as_chunks::<8>().0 {
            for (peak, score) in peaks.iter_mut().zip(part) {
                *peak = if *score > *peak { *score } else { *peak };
            }
        }
        let peak = peaks.iter().copied().fold(self.partial.peak, f32::max);
        if peak > self.partial.peak {
            let shrink = exp::<F>(self.partial.peak - peak);
            self.partial.sum *= shrink;
            self.mixed.iter_mut().for_each(|value| *value *= shrink);
            self.partial.peak = peak;
        }
        for score in &mut scores {
            *score = exp::<F>(*score - peak);
        }
        self.partial.sum += scores.iter().sum::<f32>();
        let width = self.mixed.len();
        let (parts, rest) = self.mixed.as_chunks_mut::<32>();
        let done = parts.len() * 32;
        for (at, part) in parts.iter_mut().enumerate() {
            let mut sums = *part;
            for (score, values) in scores.iter().zip(self.values.chunks_exact(width)) {
                let Some(values) = values.get(at * 32..).and_then(|values| values.first_chunk::<32>()) else {
                    break;
                };
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = F::fma(*score, *value, *sum);
                }
            }
            *part = sums;
        }
        if !rest.is_empty() {
            for (score, values) in scores.iter().zip(self.values.chunks_exact(width)) {
                for (sum, value) in rest.iter_mut().zip(&values[done..]) {
                    *sum = F::fma(*score, *value, *sum);
                }
            }
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

    #[test]
    fn exp_is_close() {
        for step in -8700..=8700 {
            let x = step as f32 / 100.0;
            for ours in [exp::<Fused>(x), exp::<Plain>(x)] {
                let exact = f64::from(x).exp();
                assert!((f64::from(ours) / exact - 1.0).abs() < 3e-7, "{x}: {ours} {exact}");
            }
        }
        assert_eq!(exp::<Plain>(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn attention_in_parts_is_attention() {
        const DIM: usize = 40;
        let number = |i: usize| ((i * 7919 % 1000) as f32 / 500.0) - 1.0;
        let query: Vec<f32> = (0..DIM).map(number).collect();
        let key = |position: usize, d: usize| number(position * 131 + d * 17 + 3);
        let value = |position: usize, d: usize| number(position * 57 + d * 29 + 11);
        let count = 75;
        let mut parts = vec![(Partial::EMPTY, vec![0.0; DIM]); 2];
        for block in 0..3 {
            let keys: Vec<f32> =
                (0..DIM * BLOCK).map(|i| key(block * BLOCK + i % BLOCK, i / BLOCK)).collect();
            let values: Vec<f32> =
                (0..DIM * BLOCK).map(|i| value(block * BLOCK + i / DIM, i % DIM)).collect();
            let (partial, mixed) = &mut parts[block % 2];
            attend_block(&query, &keys, &values, (count - block * BLOCK).min(BLOCK), partial, mixed);
        }
        let mut merged = vec![0.0; DIM];
        merge_partials(parts.iter().map(|(partial, mixed)| (*partial, mixed.as_slice())), &mut merged);

        let weights: Vec<f32> = (0..count)
            .map(|p| query.iter().enumerate().map(|(d, q)| q * key(p, d)).sum::<f32>().exp())
            .collect();
        let total: f32 = weights.iter().sum();
        for (d, merged) in merged.iter().enumerate() {
            let exact = weights.iter().enumerate().map(|(p, w)| w * value(p, d)).sum::<f32>() / total;
            assert!((merged - exact).abs() < 1e-5, "{d}: {merged} {exact}");
        }
    }
}
