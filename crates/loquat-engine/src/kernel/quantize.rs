//! Activations as 8-bit blocks: 32 values share one scale, as ggml's Q8_1 does.

#![expect(clippy::cast_possible_truncation, reason = "values are scaled into the target's range first")]

use super::matrix::COLUMNS;

/// What f16 bits, shifted into an f32's place, must be multiplied with: 2^(127 − 15). Folded into the activations' scales, so
/// that the kernels convert a weight's f16 scale by shifting alone.
pub(super) const HALF_TO_SINGLE: f32 = 5_192_296_858_534_827_628_530_496_329_220_096.0;

/// Some tokens' activations, `tokens × columns`, quantized.
#[derive(Debug, Default)]
pub(crate) struct Activations {
    /// Columns of one token; a multiple of 32.
    pub(super) columns: usize,
    /// Four consecutive columns to a word, lowest byte first; `tokens × columns / 4`.
    pub(super) words: Vec<u32>,
    /// One per block of 32 columns; `tokens × columns / 32`.
    pub(super) scales: Vec<Scale>,
}

/// Of one block.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scale {
    /// Value of one step, times [`HALF_TO_SINGLE`].
    pub(super) step: f32,
    /// Sum of the block's values, times [`HALF_TO_SINGLE`]: what a weight block's minimum is multiplied with.
    pub(super) sum: f32,
}

impl Activations {
    /// Quantizes `values`, rows of `columns` numbers each.
    pub(crate) fn quantize(&mut self, values: &[f32], columns: usize) {
        super::float::dispatch(Quantize { to: self, values, columns });
    }

    pub(super) fn tokens(&self) -> usize {
        self.words.len() * 4 / self.columns.max(1)
    }
}

struct Quantize<'a> {
    to: &'a mut Activations,
    values: &'a [f32],
    columns: usize,
}

impl super::float::Kernel for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: super::float::Fma>(self) {
        let Self { to, values, columns } = self;
        to.columns = columns;
        to.words.clear();
        to.scales.clear();
        for block in values.as_chunks::<COLUMNS>().0 {
            let peaks = block.as_chunks::<8>().0.iter().fold([0f32; 8], |mut peak, part| {
                for (peak, value) in peak.iter_mut().zip(part) {
                    *peak = if value.abs() > *peak { value.abs() } else { *peak };
                }
                peak
            });
            let peak = peaks.iter().copied().fold(0f32, f32::max);
            let step = peak / 127.0;
            let inverse = if step > 0.0 { 127.0 / peak } else { 0.0 };
            let mut steps = [0i32; COLUMNS];
            for (step, value) in steps.iter_mut().zip(block) {
                // Adding and taking away 1.5 · 2^23 rounds to nearest even in the float itself; the low bits are the integer.
                *step = ((value * inverse + 12_582_912.0).to_bits() as i32).wrapping_sub(0x4B40_0000);
            }
            // Wrapping: what is not a number, in a broken file, makes steps of any size.
            let sum = steps.iter().copied().fold(0, i32::wrapping_add);
            for four in steps.as_chunks::<4>().0 {
                to.words.push(u32::from_le_bytes(four.map(|step| step as i8 as u8)));
            }
            to.scales.push(Scale { step: step * HALF_TO_SINGLE, sum: step * sum as f32 * HALF_TO_SINGLE });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_within_half_a_step() {
        let values: Vec<f32> = (0..128).map(|i| ((i * 37 % 61) as f32 - 30.0) * 0.13).collect();
        let mut activations = Activations::default();
        activations.quantize(&values, 64);
        assert_eq!(activations.tokens(), 2);
        for (index, value) in values.iter().enumerate() {
            let byte = activations.words[index / 4].to_le_bytes()[index % 4] as i8;
            let step = activations.scales[index / 32].step / HALF_TO_SINGLE;
            assert!((f32::from(byte) * step - value).abs() <= step * 0.5001, "{index}");
        }
        activations.quantize(&[0.0; 32], 32);
        assert_eq!(activations.words, [0; 8]);
    }
}
