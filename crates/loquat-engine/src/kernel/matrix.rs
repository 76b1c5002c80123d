//! Weight matrices in the order the kernels read them.
//!
//! Eight rows lie interleaved, four columns at a time, so that one 32-byte vector holds four columns of eight rows and every
//! 32-bit lane of an accumulator belongs to one row: no horizontal sums, and eight scales load as one vector. Two forms:
//! four bits with scale and minimum (GGUF's Q4_1 and Q4_0, bit for bit) and eight bits with scale (Q8_0, and all other types
//! after dequantizing). Scales stay f16: generating is bound by how many bytes of weights are read per token.

use std::ops::Range;

use super::quantize::{Activations, HALF_TO_SINGLE};

/// Rows of a group.
pub(crate) const ROWS: usize = 8;
/// Columns of a block.
pub(super) const COLUMNS: usize = 32;

/// Four-bit block: 8 rows × 32 columns.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct Four {
    /// Vector `v`, byte `4r + c`: row `r`, column `4v + c` in the low four bits, column `16 + 4v + c` in the high ones.
    pub(super) steps: [[u8; 32]; 4],
    /// f16 bits, one per row.
    pub(super) scales: [u16; ROWS],
    /// f16 bits, one per row.
    pub(super) minima: [u16; ROWS],
}

/// Eight-bit block: 8 rows × 32 columns.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub(super) struct Eight {
    /// Vector `v`, byte `4r + c`: row `r`, column `4v + c`, signed.
    pub(super) steps: [[u8; 32]; 8],
    /// f16 bits, one per row.
    pub(super) scales: [u16; ROWS],
}

#[derive(Debug)]
enum Blocks {
    Four(Vec<Four>),
    Eight(Vec<Eight>),
}

/// A weight matrix, `rows × columns`.
#[derive(Debug)]
pub(crate) struct Matrix {
    rows: usize,
    columns: usize,
    blocks: Blocks,
}

impl Matrix {
    /// From GGUF's Q4_1 (`with_minimum`) or Q4_0 blocks. `None` unless rows are a multiple of 8, columns of 32, and the bytes
    /// are as many as that takes.
    pub(crate) fn from_four_bits(
        raw: &[u8],
        rows: usize,
        columns: usize,
        with_minimum: bool,
    ) -> Option<Self> {
        let head = if with_minimum { 4 } else { 2 };
        let per_row = check_shape(raw.len(), rows, columns, head + 16)?;
        let mut blocks = Vec::with_capacity(rows / ROWS * per_row);
        for group in raw.chunks_exact(ROWS * per_row * (head + 16)) {
            for at in 0..per_row {
                let mut to = Four { steps: [[0; 32]; 4], scales: [0; ROWS], minima: [0; ROWS] };
                for row in 0..ROWS {
                    let from = group.get((row * per_row + at) * (head + 16)..)?;
                    to.scales[row] = u16::from_le_bytes([*from.first()?, *from.get(1)?]);
                    to.minima[row] = if with_minimum {
                        u16::from_le_bytes([*from.get(2)?, *from.get(3)?])
                    } else {
                        minus_eight_times(to.scales[row])
                    };
                    let nibbles: &[u8; 16] = from.get(head..)?.first_chunk()?;
                    for (vector, four) in to.steps.iter_mut().zip(nibbles.as_chunks::<4>().0) {
                        vector[4 * row..4 * row + 4].copy_from_slice(four);
                    }
                }
                blocks.push(to);
            }
        }
        Some(Self { rows, columns, blocks: Blocks::Four(blocks) })
    }

    /// From GGUF's Q8_0 blocks. `None` as above.
    pub(crate) fn from_eight_bits(raw: &[u8], rows: usize, columns: usize) -> Option<Self> {
        let per_row = check_shape(raw.len(), rows, columns, 34)?;
        let mut blocks = Vec::with_capacity(rows / ROWS * per_row);
        for group in raw.chunks_exact(ROWS * per_row * 34) {
            for at in 0..per_row {
                let mut to = Eight { steps: [[0; 32]; 8], scales: [0; ROWS] };
                for row in 0..ROWS {
                    let from = group.get((row * per_row + at) * 34..)?;
                    to.scales[row] = u16::from_le_bytes([*from.first()?, *from.get(1)?]);
                    let steps: &[u8; 32] = from.get(2..)?.first_chunk()?;
                    for (vector, four) in to.steps.iter_mut().zip(steps.as_chunks::<4>().0) {
                        vector[4 * row..4 * row + 4].copy_from_slice(four);
                    }
                }
                blocks.push(to);
            }
        }
        Some(Self { rows, columns, blocks: Blocks::Eight(blocks) })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        match &self.blocks {
            Blocks::Four(blocks) => size_of_val(blocks.as_slice()),
            Blocks::Eight(blocks) => size_of_val(blocks.as_slice()),
        }
    }

    /// One row as numbers: how a token's embedding is looked up.
    pub(crate) fn row(&self, row: usize, to: &mut [f32]) {
        let per_row = self.columns / COLUMNS;
        let (group, row) = (row / ROWS * per_row, row % ROWS);
        for (at, to) in to.chunks_exact_mut(COLUMNS).take(per_row).enumerate() {
            for (column, to) in to.iter_mut().enumerate() {
                *to = match &self.blocks {
                    Blocks::Four(blocks) => blocks[group + at].value(row, column),
                    Blocks::Eight(blocks) => blocks[group + at].value(row, column),
                };
            }
        }
    }

    /// `to[token][row − rows.start] = row · token` for the groups of eight rows in `groups`. The order of additions within a
    /// row depends neither on the number of tokens nor on the range: a prompt read in pieces gives the same bits.
    pub(crate) fn multiply(&self, groups: Range<usize>, by: &Activations, to: &mut [f32]) {
        let per_row = self.columns / COLUMNS;
        debug_assert_eq!(by.columns, self.columns);
        debug_assert_eq!(to.len(), by.tokens() * groups.len() * ROWS);
        let range = groups.start * per_row..groups.end * per_row;
        match &self.blocks {
            Blocks::Four(blocks) => run(&blocks[range], per_row, by, to),
            Blocks::Eight(blocks) => run(&blocks[range], per_row, by, to),
        }
    }
}

fn check_shape(bytes: usize, rows: usize, columns: usize, block_bytes: usize) -> Option<usize> {
    let per_row = columns / COLUMNS;
    let sound = rows > 0 && columns > 0 && rows.is_multiple_of(ROWS) && columns.is_multiple_of(COLUMNS);
    (sound && rows.checked_mul(per_row)?.checked_mul(block_bytes)? == bytes).then_some(per_row)
}

/// A block form: its portable arithmetic, the twin that the vector code is tested against.
pub(super) trait Block: Sized {
    fn value(&self, row: usize, column: usize) -> f32;

    /// Adds this block's products to eight rows' sums.
    fn accumulate(&self, words: &[u32; 8], scale: super::quantize::Scale, sums: &mut [f32; ROWS]);

    #[cfg(target_arch = "x86_64")]
    fn avx2(simd: pulp::x86::V3, blocks: &[Self], per_row: usize, by: &Activations, to: &mut [f32]);
}

fn run<B: Block>(blocks: &[B], per_row: usize, by: &Activations, to: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return B::avx2(simd, blocks, per_row, by, to);
    }
    portable(blocks, per_row, by, to);
}

pub(super) fn portable<B: Block>(blocks: &[B], per_row: usize, by: &Activations, to: &mut [f32]) {
    let width = blocks.len() / per_row * ROWS;
    let tokens = by.words.chunks_exact(by.columns / 4).zip(by.scales.chunks_exact(per_row));
    for ((words, scales), to) in tokens.zip(to.chunks_exact_mut(width.max(1))) {
        for (group, to) in blocks.chunks_exact(per_row).zip(to.as_chunks_mut::<ROWS>().0) {
            let mut sums = [0.0; ROWS];
            for ((block, words), scale) in group.iter().zip(words.as_chunks::<8>().0).zip(scales) {
                block.accumulate(words, *scale, &mut sums);
            }
            *to = sums;
        }
    }
}

impl Block for Four {
    fn value(&self, row: usize, column: usize) -> f32 {
        let byte = self.steps[column % 16 / 4][4 * row + column % 4];
        let step = if column < 16 { byte & 15 } else { byte >> 4 };
        (widen(self.scales[row]) * f32::from(step) + widen(self.minima[row])) * HALF_TO_SINGLE
    }

    fn accumulate(&self, words: &[u32; 8], scale: super::quantize::Scale, sums: &mut [f32; ROWS]) {
        for (row, sum) in sums.iter_mut().enumerate() {
            let mut products = 0i32;
            for (vector, steps) in self.steps.iter().enumerate() {
                let (low, high) = (words[vector].to_le_bytes(), words[vector + 4].to_le_bytes());
                for column in 0..4 {
                    let step = steps[4 * row + column];
                    products += i32::from(step & 15) * i32::from(low[column].cast_signed());
                    products += i32::from(step >> 4) * i32::from(high[column].cast_signed());
                }
            }
            *sum += widen(self.scales[row]) * scale.step * products as f32;
            *sum += widen(self.minima[row]) * scale.sum;
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn avx2(simd: pulp::x86::V3, blocks: &[Self], per_row: usize, by: &Activations, to: &mut [f32]) {
        super::avx2::run(simd, blocks, per_row, by, to);
    }
}

impl Block for Eight {
    fn value(&self, row: usize, column: usize) -> f32 {
        let step = self.steps[column / 4][4 * row + column % 4].cast_signed();
        widen(self.scales[row]) * f32::from(step) * HALF_TO_SINGLE
    }

    fn accumulate(&self, words: &[u32; 8], scale: super::quantize::Scale, sums: &mut [f32; ROWS]) {
        for (row, sum) in sums.iter_mut().enumerate() {
            let mut products = 0i32;
            for (word, steps) in words.iter().zip(&self.steps) {
                let word = word.to_le_bytes();
                for column in 0..4 {
                    products += i32::from(steps[4 * row + column].cast_signed())
                        * i32::from(word[column].cast_signed());
                }
            }
            *sum += widen(self.scales[row]) * scale.step * products as f32;
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn avx2(simd: pulp::x86::V3, blocks: &[Self], per_row: usize, by: &Activations, to: &mut [f32]) {
        super::avx2::run(simd, blocks, per_row, by, to);
    }
}

/// f16 bits as a number 2^112 times too small. Infinities become 65536 and more: harmless, and no sound file has them.
fn widen(half: u16) -> f32 {
    f32::from_bits((u32::from(half) & 0x8000) << 16 | (u32::from(half) & 0x7FFF) << 13)
}

/// Q4_0's implied minimum. Exact but for scales so small that eight times them is still no normal number.
fn minus_eight_times(half: u16) -> u16 {
    let exponent = half >> 10 & 31;
    let flipped = half ^ 0x8000;
    match exponent {
        0 => {
            // Subnormal: eight times the fraction, which renormalizes by itself while it stays below the exponent field's top.
            flipped & 0x8000 | subnormal_times_eight(half & 0x3FF)
        }
        1..=27 => flipped + (3 << 10),
        _ => flipped & 0x8000 | 0x7BFF,
    }
}

fn subnormal_times_eight(fraction: u16) -> u16 {
    let mut value = u32::from(fraction) * 8;
    let mut exponent = 0u32;
    while value >= 0x800 {
        value >>= 1;
        exponent += 1;
    }
    // A value in 0x400..0x800 with exponent field e+1 is (e+1) << 10 | fraction, that is value + (e << 10).
    u16::try_from(value + (exponent << 10)).unwrap_or(0x7BFF)
}
