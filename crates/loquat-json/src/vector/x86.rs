//! SSE2, which every x86-64 has, and AVX2 and AVX-512, which have to be asked for.
#![allow(unsafe_code, reason = "vector instructions")]

use std::arch::x86_64::{
    __m128i, __m256i, _mm_clmulepi64_si128, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_cvtsi128_si64,
    _mm_loadu_si128, _mm_max_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    _mm_setzero_si128, _mm_xor_si128, _mm256_cmpeq_epi8, _mm256_cmpgt_epi8, _mm256_loadu_si256,
    _mm256_max_epu8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_shuffle_epi8,
    _mm256_testz_si256, _mm256_xor_si256, _mm512_add_epi32, _mm512_broadcast_i64x4, _mm512_cmpeq_epi8_mask,
    _mm512_cmplt_epi8_mask, _mm512_cmplt_epu8_mask, _mm512_cvtepu8_epi32, _mm512_extracti32x4_epi32,
    _mm512_loadu_si512, _mm512_mask_loadu_epi8, _mm512_maskz_compress_epi8, _mm512_movepi8_mask,
    _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_shuffle_epi8, _mm512_storeu_si512,
};

use std::sync::atomic::{AtomicU8, Ordering};

use super::{Part, Vector};
use crate::outline::Classes;
use crate::pattern::{Pattern, Shift};
use crate::string_ends::Quotes;

/// Sixteen bytes at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sse2;

/// Thirty-two bytes at a time, and what else every machine with AVX2 has. To have one is to know that this machine can: only
/// [`Avx2::new`] makes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2(());

/// Sixty-four bytes at a time, for what is worth it; [`Avx2`] for the rest. To have one is to know that this machine can: only
/// [`Avx512::new`] makes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(Avx2);

/// What this machine was found to have.
static LEVEL: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const WITHOUT_AVX2: u8 = 1;
const WITH_AVX2: u8 = 2;
/// With AVX2, and with those parts of AVX-512 that came with Ice Lake and Zen 4, the compression of bytes among them: no processor
/// that has it runs slower because it is used.
const WITH_AVX512: u8 = 3;

#[cold]
fn detect() -> u8 {
    let has_avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("popcnt");
    let has_avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi2");
    let level = match (has_avx2, has_avx512) {
        (false, _) => WITHOUT_AVX2,
        (true, false) => WITH_AVX2,
        (true, true) => WITH_AVX512,
    };
    LEVEL.store(level, Ordering::Relaxed);
    level
}

#[inline(always)]
fn level() -> u8 {
    match LEVEL.load(Ordering::Relaxed) {
        UNKNOWN => detect(),
        level => level,
    }
}

impl Avx2 {
    /// `None` where the machine has no AVX2. A relaxed load and a comparison, after the first time.
    #[inline(always)]
    pub(crate) fn new() -> Option<Self> {
        (level() >= WITH_AVX2).then_some(Self(()))
    }

    /// Runs the task compiled for AVX2.
    #[inline]
    pub(super) fn run<T: super::Task>(self, task: T) -> T::Output {
        #[target_feature(enable = "avx2,bmi1,pclmulqdq,popcnt")]
        fn run<T: super::Task>(vector: Avx2, task: T) -> T::Output {
            task.run(vector)
        }
        // SAFETY: an `Avx2` exists only where all of these were detected.
        unsafe { run(self, task) }
    }

    /// [`super::match_end`] compiled for AVX2. Not a [`super::Task`], because a struct of so many fields travels in memory.
    #[inline]
    pub(super) fn match_end(
        self,
        pattern: &Pattern,
        part: Part,
        input: &[u8],
        shifts: &mut Vec<Shift>,
    ) -> Option<usize> {
        #[target_feature(enable = "avx2,bmi1,pclmulqdq,popcnt")]
        fn run(pattern: &Pattern, part: Part, input: &[u8], shifts: &mut Vec<Shift>) -> Option<usize> {
            super::match_end_by(Avx2(()), pattern, part, input, shifts)
        }
        // SAFETY: an `Avx2` exists only where all of these were detected.
        unsafe { run(pattern, part, input, shifts) }
    }
}

impl Avx512 {
    /// `None` where the machine has not all of it.
    #[inline(always)]
    pub(crate) fn new() -> Option<Self> {
        (level() == WITH_AVX512).then_some(Self(Avx2(())))
    }

    /// Runs the task compiled for AVX-512.
    #[inline]
    pub(super) fn run<T: super::Task>(self, task: T) -> T::Output {
        #[target_feature(enable = "avx2,bmi1,pclmulqdq,popcnt,avx512f,avx512bw,avx512vl,avx512vbmi2")]
        fn run<T: super::Task>(vector: Avx512, task: T) -> T::Output {
            task.run(vector)
        }
        // SAFETY: an `Avx512` exists only where all of these were detected.
        unsafe { run(self, task) }
    }
}

impl Vector for Sse2 {
    #[inline(always)]
    fn classify(self, block: &[u8; 64]) -> Classes {
        let (chunks, _) = block.as_chunks::<16>();
        let mut classes = Classes::default();
        for (position, chunk) in chunks.iter().enumerate() {
            let place = |bits: __m128i| {
                // SAFETY: SSE2 belongs to every x86-64.
                u64::from(unsafe { _mm_movemask_epi8(bits) } as u32) << (16 * position)
            };
            // SAFETY: as above.
            unsafe {
                let bytes = load16(chunk);
                let is = |byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8));
                let any = |a, b| _mm_or_si128(a, b);
                let brackets = any(any(is(b'{'), is(b'}')), any(is(b'['), is(b']')));
                classes.quotes |= place(is(b'"'));
                classes.backslashes |= place(is(b'\\'));
                classes.marks |= place(any(brackets, any(is(b':'), is(b','))));
                classes.spaces |= place(is(b' '));
                let last_control = _mm_set1_epi8(0x1f);
                classes.controls |= place(_mm_cmpeq_epi8(_mm_max_epu8(bytes, last_control), last_control));
                classes.highs |= place(bytes);
            }
        }
        classes
    }

    #[inline(always)]
    fn quotes(self, block: &[u8; 64]) -> Quotes {
        let (chunks, _) = block.as_chunks::<16>();
        let (mut quotes, mut rare) = (0, 0);
        for (position, chunk) in chunks.iter().enumerate() {
            // SAFETY: SSE2 belongs to every x86-64.
            unsafe {
                let bytes = load16(chunk);
                let is = |byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8));
                // As a signed number, a byte that is not ASCII is less than a control character.
                let others = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20));
                let others = _mm_or_si128(is(b'\\'), others);
                rare |= u64::from(_mm_movemask_epi8(others) as u32) << (16 * position);
                quotes |= u64::from(_mm_movemask_epi8(is(b'"')) as u32) << (16 * position);
            }
        }
        Quotes { quotes, rare }
    }

    #[inline(always)]
    fn stops_and_highs(self, chunk: &[u8; 32]) -> (u32, u32) {
        let (halves, _) = chunk.as_chunks::<16>();
        let (mut stops, mut highs) = (0, 0);
        for (position, half) in halves.iter().enumerate() {
            let bytes = load16(half);
            // SAFETY: SSE2 belongs to every x86-64.
            let (stop, high) = unsafe { (_mm_movemask_epi8(stops16(bytes)), _mm_movemask_epi8(bytes)) };
            stops |= (stop as u32) << (16 * position);
            highs |= (high as u32) << (16 * position);
        }
        (stops, highs)
    }

    #[inline(always)]
    fn is_equal(self, left: &[u8], right: &[u8], left_tail: &[u8; 32], right_tail: &[u8; 32]) -> bool {
        let tails = left_tail.as_chunks().0.iter().zip(right_tail.as_chunks().0);
        let (left, right) = (left.as_chunks::<16>().0, right.as_chunks::<16>().0);
        // SAFETY: SSE2 belongs to every x86-64.
        unsafe {
            let differences =
                left.iter().zip(right).chain(tails).fold(_mm_setzero_si128(), |seen, (left, right)| {
                    _mm_or_si128(seen, _mm_xor_si128(load16(left), load16(right)))
                });
            _mm_movemask_epi8(_mm_cmpeq_epi8(differences, _mm_setzero_si128())) == 0xffff
        }
    }

    #[inline(always)]
    fn is_ascii(self, block: &[u8; 64]) -> bool {
        let (chunks, _) = block.as_chunks::<16>();
        let [a, b, c, d] = chunks else { return block.is_ascii() };
        // SAFETY: SSE2 belongs to every x86-64.
        unsafe {
            let seen = _mm_or_si128(_mm_or_si128(load16(a), load16(b)), _mm_or_si128(load16(c), load16(d)));
            _mm_movemask_epi8(seen) == 0
        }
    }
}

#[inline(always)]
fn load16(chunk: &[u8; 16]) -> __m128i {
    // SAFETY: the load reads 16 bytes from any address, and the chunk has 16; SSE2 belongs to every x86-64.
    unsafe { _mm_loadu_si128(chunk.as_ptr().cast()) }
}

/// All ones in the bytes that are a quote, a backslash or a control character.
#[inline(always)]
fn stops16(bytes: __m128i) -> __m128i {
    // SAFETY: SSE2 belongs to every x86-64.
    unsafe {
        let quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x22));
        let backslashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x5c));
        let last_control = _mm_set1_epi8(0x1f);
        let controls = _mm_cmpeq_epi8(_mm_max_epu8(bytes, last_control), last_control);
        _mm_or_si128(_mm_or_si128(quotes, backslashes), controls)
    }
}

// No closures here, nor iterator adapters that take one: those are functions of their own, compiled without AVX2.
impl Vector for Avx2 {
    #[inline(always)]
    fn parities(self, bits: u64) -> u64 {
        // A carry-less multiplication by all ones adds up, without carries, all lower bits in each.
        // SAFETY: `self` says that the machine has it.
        unsafe {
            let product = _mm_clmulepi64_si128(_mm_set_epi64x(0, bits.cast_signed()), _mm_set1_epi8(-1), 0);
            _mm_cvtsi128_si64(product).cast_unsigned()
        }
    }

    #[inline(always)]
    fn classify(self, block: &[u8; 64]) -> Classes {
        let Some((low, high)) = halves(block) else { return Classes::default() };
        // SAFETY: `self` says that the machine has AVX2.
        unsafe {
            let (low, high) = (load32(low), load32(high));
            let last_control = _mm256_set1_epi8(0x1f);
            let controls = bits64(
                _mm256_cmpeq_epi8(_mm256_max_epu8(low, last_control), last_control),
                _mm256_cmpeq_epi8(_mm256_max_epu8(high, last_control), last_control),
            );
            Classes {
                quotes: equal64(low, high, b'"'),
                backslashes: equal64(low, high, b'\\'),
                marks: bits64(marks32(low), marks32(high)) & !controls,
                spaces: equal64(low, high, b' '),
                controls,
                highs: bits64(low, high),
            }
        }
    }

    #[inline(always)]
    fn quotes(self, block: &[u8; 64]) -> Quotes {
        let Some((low, high)) = halves(block) else { return Quotes::default() };
        // SAFETY: `self` says that the machine has AVX2.
        unsafe {
            let (low, high) = (load32(low), load32(high));
            Quotes { quotes: equal64(low, high, b'"'), rare: bits64(rare32(low), rare32(high)) }
        }
    }

    #[inline(always)]
    fn stops_and_highs(self, chunk: &[u8; 32]) -> (u32, u32) {
        // SAFETY: `self` says that the machine has AVX2.
        unsafe {
            let bytes = load32(chunk);
            (_mm256_movemask_epi8(stops32(bytes)) as u32, _mm256_movemask_epi8(bytes) as u32)
        }
    }

    #[inline(always)]
    fn is_equal(self, left: &[u8], right: &[u8], left_tail: &[u8; 32], right_tail: &[u8; 32]) -> bool {
        // SAFETY: `self` says that the machine has AVX2.
        unsafe {
            let mut differences = _mm256_xor_si256(load32(left_tail), load32(right_tail));
            // Two at a time.
            let (mut left, mut right) = (left, right);
            while let (Some((two, more)), Some((other_two, other_more))) =
                (left.split_first_chunk::<64>(), right.split_first_chunk::<64>())
            {
                if let (Some((a, b)), Some((c, d))) = (halves(two), halves(other_two)) {
                    let first = _mm256_xor_si256(load32(a), load32(c));
                    let second = _mm256_xor_si256(load32(b), load32(d));
                    differences = _mm256_or_si256(differences, _mm256_or_si256(first, second));
                }
                (left, right) = (more, other_more);
            }
            if let (Some(left), Some(right)) = (left.first_chunk(), right.first_chunk()) {
                differences = _mm256_or_si256(differences, _mm256_xor_si256(load32(left), load32(right)));
            }
            _mm256_testz_si256(differences, differences) == 1
        }
    }

    #[inline(always)]
    fn is_ascii(self, block: &[u8; 64]) -> bool {
        let (chunks, _) = block.as_chunks::<32>();
        let [left, right] = chunks else { return block.is_ascii() };
        // SAFETY: `self` says that the machine has AVX2.
        unsafe { _mm256_movemask_epi8(_mm256_or_si256(load32(left), load32(right))) == 0 }
    }
}

impl Vector for Avx512 {
    #[inline(always)]
    fn parities(self, bits: u64) -> u64 {
        self.0.parities(bits)
    }

    #[inline(always)]
    fn classify(self, block: &[u8; 64]) -> Classes {
        self.classify_at(block, 0)
    }

    #[inline(always)]
    fn classify_at(self, text: &[u8], at: usize) -> Classes {
        let rest = text.get(at..).unwrap_or_default();
        // SAFETY: the first load is of the block's 64 bytes; of the second the mask says which are there. Both are at any address; `self` says
        // that the machine has AVX-512.
        unsafe {
            let bytes = match rest.first_chunk::<64>() {
                Some(block) => _mm512_loadu_si512(block.as_ptr().cast()),
                None => {
                    let there = !(u64::MAX << rest.len());
                    _mm512_mask_loadu_epi8(_mm512_set1_epi8(0x20), there, rest.as_ptr().cast())
                }
            };
            // As `marks32` does it.
            let table = _mm512_broadcast_i64x4(load32(&MARKS_BY_LOW_HALF));
            let braces = _mm512_or_si512(bytes, _mm512_set1_epi8(0x20));
            let controls = _mm512_cmplt_epu8_mask(bytes, _mm512_set1_epi8(0x20));
            Classes {
                quotes: _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(0x22)),
                backslashes: _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(0x5c)),
                marks: _mm512_cmpeq_epi8_mask(braces, _mm512_shuffle_epi8(table, bytes)) & !controls,
                spaces: _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(0x20)),
                controls,
                highs: _mm512_movepi8_mask(bytes),
            }
        }
    }

    #[inline(always)]
    fn note(self, bits: u64, start: u32, places: &mut [u32; 64]) {
        // SAFETY: the load and the stores are of 64 bytes, which the numbers have and each sixteen of `places`, at any address; `self`
        // says that the machine has AVX-512.
        unsafe {
            let at = _mm512_maskz_compress_epi8(bits, _mm512_loadu_si512(NUMBERS.as_ptr().cast()));
            let start = _mm512_set1_epi32(start.cast_signed());
            let sixteen = [
                _mm512_extracti32x4_epi32::<0>(at),
                _mm512_extracti32x4_epi32::<1>(at),
                _mm512_extracti32x4_epi32::<2>(at),
                _mm512_extracti32x4_epi32::<3>(at),
            ];
            let mut left = bits.count_ones();
            for (places, at) in places.as_chunks_mut::<16>().0.iter_mut().zip(sixteen) {
                _mm512_storeu_si512(
                    places.as_mut_ptr().cast(),
                    _mm512_add_epi32(_mm512_cvtepu8_epi32(at), start),
                );
                if left <= 16 {
                    break;
                }
                left -= 16;
            }
        }
    }

    #[inline(always)]
    fn quotes(self, block: &[u8; 64]) -> Quotes {
        // SAFETY: the load is of the block's 64 bytes, at any address; `self` says that the machine has AVX-512.
        unsafe {
            let bytes = _mm512_loadu_si512(block.as_ptr().cast());
            // As a signed number, a byte that is not ASCII is less than a control character.
            let others = _mm512_cmplt_epi8_mask(bytes, _mm512_set1_epi8(0x20));
            Quotes {
                quotes: _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(0x22)),
                rare: others | _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(0x5c)),
            }
        }
    }

    #[inline(always)]
    fn stops_and_highs(self, chunk: &[u8; 32]) -> (u32, u32) {
        self.0.stops_and_highs(chunk)
    }

    #[inline(always)]
    fn is_equal(self, left: &[u8], right: &[u8], left_tail: &[u8; 32], right_tail: &[u8; 32]) -> bool {
        self.0.is_equal(left, right, left_tail, right_tail)
    }

    #[inline(always)]
    fn is_ascii(self, block: &[u8; 64]) -> bool {
        self.0.is_ascii(block)
    }
}

/// Brackets, braces, a colon and a comma by the low halves of their codes; see [`marks32`].
const MARKS_BY_LOW_HALF: [u8; 32] = *b"\0\0\0\0\0\0\0\0\0\0:{,}\0\0\0\0\0\0\0\0\0\0\0\0:{,}\0\0";

/// 0 to 63.
const NUMBERS: [u8; 64] = {
    let mut numbers = [0; 64];
    let mut number = 0u8;
    while (number as usize) < numbers.len() {
        numbers[number as usize] = number;
        number += 1;
    }
    numbers
};

/// Always there.
#[inline(always)]
fn halves(block: &[u8; 64]) -> Option<(&[u8; 32], &[u8; 32])> {
    block.first_chunk().zip(block.last_chunk())
}

/// The highest bits of 64 bytes.
///
/// # Safety
///
/// The machine has AVX2.
#[inline(always)]
unsafe fn bits64(low: __m256i, high: __m256i) -> u64 {
    // SAFETY: the caller vouches for AVX2.
    unsafe {
        u64::from(_mm256_movemask_epi8(high) as u32) << 32 | u64::from(_mm256_movemask_epi8(low) as u32)
    }
}

/// Which of 64 bytes are this one.
///
/// # Safety
///
/// The machine has AVX2.
#[inline(always)]
unsafe fn equal64(low: __m256i, high: __m256i, byte: u8) -> u64 {
    // SAFETY: the caller vouches for AVX2.
    unsafe {
        let byte = _mm256_set1_epi8(byte as i8);
        bits64(_mm256_cmpeq_epi8(low, byte), _mm256_cmpeq_epi8(high, byte))
    }
}

/// All ones in the bytes that are a bracket, a brace, a colon or a comma, or one of two control characters. Their codes have low halves of their own, by which a
/// table says which of them each byte must be; the bit 0x20 makes brackets braces.
///
/// # Safety
///
/// The machine has AVX2.
#[inline(always)]
unsafe fn marks32(bytes: __m256i) -> __m256i {
    // SAFETY: the caller vouches for AVX2.
    unsafe {
        let braces = _mm256_or_si256(bytes, _mm256_set1_epi8(0x20));
        _mm256_cmpeq_epi8(braces, _mm256_shuffle_epi8(load32(&MARKS_BY_LOW_HALF), bytes))
    }
}

/// All ones in the bytes that are a backslash, a control character or not ASCII.
///
/// # Safety
///
/// The machine has AVX2.
#[inline(always)]
unsafe fn rare32(bytes: __m256i) -> __m256i {
    // SAFETY: the caller vouches for AVX2.
    unsafe {
        // As a signed number, a byte that is not ASCII is less than a control character.
        let others = _mm256_cmpgt_epi8(_mm256_set1_epi8(0x20), bytes);
        _mm256_or_si256(others, _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(0x5c)))
    }
}

/// # Safety
///
/// The machine has AVX2.
#[inline(always)]
unsafe fn load32(chunk: &[u8; 32]) -> __m256i {
    // SAFETY: the load reads 32 bytes from any address, and the chunk has 32; the caller vouches for AVX2.
    unsafe { _mm256_loadu_si256(chunk.as_ptr().cast()) }
}

/// All ones in the bytes that are a quote, a backslash or a control character.
///
/// # Safety
///
/// The machine has AVX2.
#[inline(always)]
unsafe fn stops32(bytes: __m256i) -> __m256i {
    // SAFETY: the caller vouches for AVX2.
    unsafe {
        let quotes = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(0x22));
        let backslashes = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(0x5c));
        let last_control = _mm256_set1_epi8(0x1f);
        let controls = _mm256_cmpeq_epi8(_mm256_max_epu8(bytes, last_control), last_control);
        _mm256_or_si256(_mm256_or_si256(quotes, backslashes), controls)
    }
}
