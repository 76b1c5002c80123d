//! The arithmetic: block-quantized matrices times quantized activations, and the float loops between them.
//!
//! Knows nothing of models or threads: each function works on the rows it is given. Every kernel exists twice: portable, and
//! for AVX2 (found at run time, through `pulp`'s safe wrappers). candle's own fast kernels exist only where the whole program
//! is compiled for a newer processor, and a library cannot ask its users for that.

mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod float;
mod matrix;
mod quantize;

pub(crate) use attention::{BLOCK, Partial, RECORD_HEAD, attend_block, clear_records, merge_partials};
pub(crate) use float::{add_assign, rms_norm, rotate, silu_mul};
pub(crate) use matrix::{Matrix, ROWS};
pub(crate) use quantize::Activations;
