//! The float loops between the matrices: normalization, rotation, activation.
//!
//! Written as plain loops over fixed-size arrays that the compiler turns into vectors; [`dispatch`] compiles each twice, for
//! AVX2 with fused multiply-add and for the baseline.

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
pub(super) fn exp<F: Fma>(x: f32) -> f32 {
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
/// values are a pair, as GGUF files of architecture `llama` have them.
pub(crate) fn rotate(head: &mut [f32], cosines: &[f32], sines: &[f32]) {
    for (pair, (cos, sin)) in head.as_chunks_mut::<2>().0.iter_mut().zip(cosines.iter().zip(sines)) {
        let [x, y] = *pair;
        *pair = [x * cos - y * sin, x * sin + y * cos];
    }
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
}
