//! The matrix kernels for AVX2, through `pulp`'s wrappers: safe, and chosen at run time.
//!
//! Four tokens at a time share each loaded weight vector. Products of bytes are summed pairwise into 16 bits
//! (`maddubs`: unsigned times signed), which cannot overflow: 15 · 127 · 2 · 8 = 30,480 for four-bit weights, 128 · 127 · 2 =
//! 32,512 for eight-bit ones, whose sign moves over to the activation.

use std::arch::x86_64::{__m128i, __m256, __m256i};

use pulp::{NullaryFnOnce, cast, x86::V3};

use super::matrix::{Block, Eight, Four, ROWS};
use super::quantize::{Activations, Scale};

/// The vector form of [`Block::accumulate`], for `T` tokens.
pub(super) trait Vectors: Block {
    fn accumulate_all<const T: usize>(
        &self,
        simd: V3,
        words: &[&[u32; 8]; T],
        scales: &[Scale; T],
        sums: &mut [__m256; T],
    );
}

pub(super) fn run<B: Vectors>(simd: V3, blocks: &[B], per_row: usize, by: &Activations, to: &mut [f32]) {
    simd.vectorize(Run { simd, blocks, per_row, by, to });
}

/// A type of its own and no closure: a closure that could be called twice gets a shim that is not inlined, and with it every
/// instruction below becomes a function call.
struct Run<'a, B> {
    simd: V3,
    blocks: &'a [B],
    per_row: usize,
    by: &'a Activations,
    to: &'a mut [f32],
}

impl<B: Vectors> NullaryFnOnce for Run<'_, B> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        run_inlined(self.simd, self.blocks, self.per_row, self.by, self.to);
    }
}

#[inline(always)]
fn run_inlined<B: Vectors>(simd: V3, blocks: &[B], per_row: usize, by: &Activations, to: &mut [f32]) {
    let width = blocks.len() / per_row * ROWS;
    let words = by.words.as_chunks::<8>().0;
    let tokens = by.tokens();
    for (at, group) in blocks.chunks_exact(per_row).enumerate() {
        let mut token = 0;
        while token < tokens {
            let words = &words[token * per_row..];
            let scales = &by.scales[token * per_row..];
            let to = &mut to[token * width + at * ROWS..];
            token += match tokens - token {
                1 => tile::<B, 1>(simd, group, words, scales, width, to),
                2 => tile::<B, 2>(simd, group, words, scales, width, to),
                3 => tile::<B, 3>(simd, group, words, scales, width, to),
                _ => tile::<B, 4>(simd, group, words, scales, width, to),
            };
        }
    }
}

/// Eight rows times `T` tokens.
#[inline(always)]
fn tile<B: Vectors, const T: usize>(
    simd: V3,
    group: &[B],
    words: &[[u32; 8]],
    scales: &[Scale],
    width: usize,
    to: &mut [f32],
) -> usize {
    let count = group.len();
    let words: [&[[u32; 8]]; T] = std::array::from_fn(|t| &words[t * count..(t + 1) * count]);
    let scales: [&[Scale]; T] = std::array::from_fn(|t| &scales[t * count..(t + 1) * count]);
    let mut sums = [simd.avx._mm256_setzero_ps(); T];
    for (at, block) in group.iter().enumerate() {
        let words: [&[u32; 8]; T] = std::array::from_fn(|t| &words[t][at]);
        let scales: [Scale; T] = std::array::from_fn(|t| scales[t][at]);
        block.accumulate_all(simd, &words, &scales, &mut sums);
    }
    for (t, sum) in sums.into_iter().enumerate() {
        to[t * width..t * width + ROWS].copy_from_slice(&cast::<__m256, [f32; ROWS]>(sum));
    }
    T
}

impl Vectors for Four {
    #[inline(always)]
    fn accumulate_all<const T: usize>(
        &self,
        simd: V3,
        words: &[&[u32; 8]; T],
        scales: &[Scale; T],
        sums: &mut [__m256; T],
    ) {
        let mask = simd.avx._mm256_set1_epi8(15);
        let ones = simd.avx._mm256_set1_epi16(1);
        let mut products = [simd.avx._mm256_setzero_si256(); T];
        for (vector, steps) in self.steps.iter().enumerate() {
            let both: __m256i = cast(*steps);
            let low = simd.avx2._mm256_and_si256(both, mask);
            let high = simd.avx2._mm256_and_si256(simd.avx2._mm256_srli_epi16::<4>(both), mask);
            for t in 0..T {
                let word = simd.avx._mm256_set1_epi32(words[t][vector].cast_signed());
                let product = simd.avx2._mm256_maddubs_epi16(low, word);
                products[t] = simd.avx2._mm256_add_epi16(products[t], product);
                let word = simd.avx._mm256_set1_epi32(words[t][vector + 4].cast_signed());
                let product = simd.avx2._mm256_maddubs_epi16(high, word);
                products[t] = simd.avx2._mm256_add_epi16(products[t], product);
            }
        }
        let (scale, minimum) = (widen(simd, self.scales), widen(simd, self.minima));
        for t in 0..T {
            let product = simd.avx._mm256_cvtepi32_ps(simd.avx2._mm256_madd_epi16(products[t], ones));
            let step = simd.avx._mm256_mul_ps(scale, simd.avx._mm256_set1_ps(scales[t].step));
            sums[t] = simd.fma._mm256_fmadd_ps(step, product, sums[t]);
            sums[t] = simd.fma._mm256_fmadd_ps(minimum, simd.avx._mm256_set1_ps(scales[t].sum), sums[t]);
        }
    }
}

impl Vectors for Eight {
    #[inline(always)]
    fn accumulate_all<const T: usize>(
        &self,
        simd: V3,
        words: &[&[u32; 8]; T],
        scales: &[Scale; T],
        sums: &mut [__m256; T],
    ) {
        let ones = simd.avx._mm256_set1_epi16(1);
        let mut products = [simd.avx._mm256_setzero_si256(); T];
        for (vector, steps) in self.steps.iter().enumerate() {
            let steps: __m256i = cast(*steps);
            let sizes = simd.avx2._mm256_abs_epi8(steps);
            for t in 0..T {
                let word = simd.avx._mm256_set1_epi32(words[t][vector].cast_signed());
                let product = simd.avx2._mm256_maddubs_epi16(sizes, simd.avx2._mm256_sign_epi8(word, steps));
                products[t] =
                    simd.avx2._mm256_add_epi32(products[t], simd.avx2._mm256_madd_epi16(product, ones));
            }
        }
        let scale = widen(simd, self.scales);
        for t in 0..T {
            let product = simd.avx._mm256_cvtepi32_ps(products[t]);
            let step = simd.avx._mm256_mul_ps(scale, simd.avx._mm256_set1_ps(scales[t].step));
            sums[t] = simd.fma._mm256_fmadd_ps(step, product, sums[t]);
        }
    }
}

/// Eight f16 as numbers 2^112 times too small: sign extension and one shift put every bit in place, the mask removes the
/// copies of the sign.
#[inline(always)]
fn widen(simd: V3, halves: [u16; 8]) -> __m256 {
    let halves = simd.avx2._mm256_cvtepi16_epi32(cast::<[u16; 8], __m128i>(halves));
    let shifted = simd.avx2._mm256_slli_epi32::<13>(halves);
    let mask = simd.avx._mm256_set1_epi32(0x8FFF_E000_u32.cast_signed());
    simd.avx._mm256_castsi256_ps(simd.avx2._mm256_and_si256(shifted, mask))
}

#[cfg(test)]
mod tests {
    use super::super::matrix::portable;
    use super::*;

    /// Pseudo-random bytes with sane f16 scales.
    fn noise(seed: u32, count: usize) -> Vec<u8> {
        let mut state = seed;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(count)
        .collect()
    }

    fn check<B: Vectors>(blocks: &[B], per_row: usize) {
        let Some(simd) = V3::try_new() else {
            println!("skipped: this processor has no AVX2, only the portable kernel runs here");
            return;
        };
        for tokens in 1..=9 {
            let values: Vec<f32> = noise(7, tokens * per_row * 32)
                .iter()
                .map(|byte| (f32::from(*byte) - 127.0) * 0.01)
                .collect();
            let mut by = Activations::default();
            by.quantize(&values, per_row * 32);
            let width = blocks.len() / per_row * ROWS;
            let (mut fast, mut slow) = (vec![0.0; tokens * width], vec![0.0; tokens * width]);
            run(simd, blocks, per_row, &by, &mut fast);
            portable(blocks, per_row, &by, &mut slow);
            for (fast, slow) in fast.iter().zip(&slow) {
                assert!((fast - slow).abs() <= 1e-4 * slow.abs().max(1.0), "{fast} {slow}");
            }
        }
    }

    #[test]
    fn agrees_with_the_portable_twin() {
        let scales = [0x2001, 0xA123, 0x0003, 0x1BFF, 0x2400, 0x9800, 0, 0x2201];
        let steps = |seed| noise(seed, 32).try_into().unwrap();
        let four: Vec<Four> = (0..12)
            .map(|i| Four { steps: [1, 2, 3, 4].map(|v| steps(i * 10 + v)), scales, minima: scales })
            .collect();
        check(&four, 3);
        let eight: Vec<Eight> = (0..12)
            .map(|i| Eight { steps: [1, 2, 3, 4, 5, 6, 7, 8].map(|v| steps(i * 10 + v)), scales })
            .collect();
        check(&eight, 4);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let ends = [0x3C00; ROWS];
        check(&[Four { steps: [[0xFF; 32]; 4], scales: ends, minima: ends }], 1);
        check(&[Eight { steps: [[0x80; 32]; 8], scales: ends }], 1);
        check(&[Eight { steps: [[0x7F; 32]; 8], scales: ends }], 1);
    }
}
