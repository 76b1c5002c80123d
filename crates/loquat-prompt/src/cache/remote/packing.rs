//! Tokens as bytes: numbers of one width, which is the narrowest that holds them all, packed without gaps.
//!
//! ```text
//! width in bits | count (LEB128) | the numbers, the lowest bit first
//! ```
//!
//! Of one width a number's place is known without reading those before it. Whole groups of 128 lie in four lanes: number n is in
//! lane n mod 4, and the lanes' words of 32 bits take turns, so that one step reads four numbers with the oldest vectors
//! (SIMD-BP128: D. Lemire, L. Boytsov, "Decoding billions of integers per second through vectorization"). The rest follows in one
//! run of bits, read eight at a time. Variable lengths (LEB128, or Stream VByte's lengths apart) take a fortieth less room on English
//! prose, 2.2 bytes a token for 2.25, and many times the instructions; differences to the token before are no smaller than tokens.

use std::sync::Arc;

use super::codec::{Reader, write_number};

const LANES: usize = 4;
const WORD_BITS: usize = 32;
/// Numbers in four lanes. So many take as many words of a lane as they have bits each.
const BLOCK: usize = LANES * WORD_BITS;
/// Bytes that hold a block of any width, and a word of each lane more.
const BLOCK_WINDOW: usize = 4 * LANES * (WORD_BITS + 1);
/// Numbers of the rest that are read at once. So many take as many bytes as they have bits each.
const GROUP: usize = 8;
/// Bytes that hold a group of any width.
const WINDOW: usize = 32;

/// The widths there are, in bits: vocabularies of a hundred to three hundred thousand tokens need 17 to 19.
const WIDTHS: [u8; 9] = [8, 12, 16, 17, 18, 19, 20, 24, 32];

/// Tokens as bytes.
pub(super) fn pack(tokens: &[u32]) -> Vec<u8> {
    let greatest = tokens.iter().fold(0, |all, token| all | token);
    let needed = 32 - greatest.leading_zeros();
    let width = WIDTHS.into_iter().find(|width| u32::from(*width) >= needed).unwrap_or(32);
    let mut packed = Vec::with_capacity(tokens.len() * usize::from(width) / 8 + 12);
    packed.push(width);
    write_number(tokens.len() as u64, &mut packed);
    let (blocks, rest) = tokens.as_chunks();
    blocks.iter().for_each(|block| pack_block(block, usize::from(width), &mut packed));
    let (mut waiting, mut bits) = (0_u64, 0);
    for token in rest {
        // Fewer than eight wait from before: 39 at most are in.
        waiting |= u64::from(*token) << bits;
        bits += u32::from(width);
        while bits >= 8 {
            packed.push((waiting & 0xFF) as u8);
            waiting >>= 8;
            bits -= 8;
        }
    }
    if bits > 0 {
        packed.push((waiting & 0xFF) as u8);
    }
    packed
}

fn pack_block(block: &[u32; BLOCK], width: usize, packed: &mut Vec<u8>) {
    let mut lanes = [(0_u64, 0); LANES];
    for numbers in block.as_chunks::<LANES>().0 {
        // All lanes have a word at the same time.
        for ((waiting, bits), number) in lanes.iter_mut().zip(numbers) {
            *waiting |= u64::from(*number) << *bits;
            *bits += width;
            if *bits >= WORD_BITS {
                let [a, b, c, d, ..] = waiting.to_le_bytes();
                packed.extend([a, b, c, d]);
                *waiting >>= WORD_BITS;
                *bits -= WORD_BITS;
            }
        }
    }
}

/// Tokens from bytes; each below `vocabulary`, no more than `most`, and no byte over.
pub(super) fn unpack(bytes: &[u8], vocabulary: u32, most: usize) -> Option<Arc<[u32]>> {
    let (width, rest) = bytes.split_first()?;
    let mut reader = Reader(rest);
    let count = usize::try_from(reader.number()?).ok()?;
    let numbers = reader.0;
    // A count that the value does not hold asks for no memory.
    let bits = count.checked_mul(usize::from(*width))?;
    if count > most || bits.div_ceil(8) != numbers.len() {
        return None;
    }
    let mut tokens: Arc<[u32]> = std::iter::repeat_n(0, count).collect();
    let places = Arc::get_mut(&mut tokens)?;
    match width {
        8 => spread::<8>(numbers, places),
        12 => spread::<12>(numbers, places),
        16 => spread::<16>(numbers, places),
        17 => spread::<17>(numbers, places),
        18 => spread::<18>(numbers, places),
        19 => spread::<19>(numbers, places),
        20 => spread::<20>(numbers, places),
        24 => spread::<24>(numbers, places),
        32 => spread::<32>(numbers, places),
        _ => return None,
    }
    is_below(places, vocabulary).then_some(tokens)
}

/// Whether all numbers are below that. Where it is below 2^31, one that is not shows in the highest bit of it or of the difference:
/// with that the oldest vectors do four at once, which cannot compare unsigned numbers.
fn is_below(numbers: &[u32], end: u32) -> bool {
    match end.checked_sub(1).filter(|last| last >> 31 == 0) {
        Some(last) => {
            numbers.iter().fold(0, |all, number| all | number | last.wrapping_sub(*number)) >> 31 == 0
        }
        None => numbers.iter().all(|number| *number < end),
    }
}

/// The numbers, each in its place.
fn spread<const WIDTH: usize>(mut numbers: &[u8], places: &mut [u32]) {
    let (blocks, places) = places.as_chunks_mut::<BLOCK>();
    for block in blocks {
        match numbers.first_chunk() {
            Some(window) => read_block::<WIDTH>(window, block),
            None => read_block::<WIDTH>(&padded(numbers), block),
        }
        numbers = numbers.get(BLOCK / 8 * WIDTH..).unwrap_or_default();
    }
    let (groups, rest) = places.as_chunks_mut::<GROUP>();
    for group in groups {
        match numbers.first_chunk() {
            Some(window) => *group = read::<WIDTH>(window),
            None => *group = read::<WIDTH>(&padded(numbers)),
        }
        numbers = numbers.get(WIDTH..).unwrap_or_default();
    }
    let last = read::<WIDTH>(&padded(numbers));
    rest.iter_mut().zip(last).for_each(|(place, number)| *place = number);
}

fn padded<const LENGTH: usize>(numbers: &[u8]) -> [u8; LENGTH] {
    let mut window = [0; LENGTH];
    window.iter_mut().zip(numbers).for_each(|(to, from)| *to = *from);
    window
}

/// The steps one by one: what each shifts by is known when this is compiled, which halves the time of a loop over them.
#[inline(always)]
fn read_block<const WIDTH: usize>(window: &[u8; BLOCK_WINDOW], block: &mut [u32; BLOCK]) {
    let Some(fours) = block.as_chunks_mut().0.first_chunk_mut::<WORD_BITS>() else { return };
    macro_rules! read {
        ($($step:literal)*) => { $(fours[$step] = read_four::<WIDTH>(window, $step);)* };
    }
    read!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
}

/// The rest of each lane's word, and the beginning of its next one.
#[inline(always)]
fn read_four<const WIDTH: usize>(window: &[u8; BLOCK_WINDOW], step: usize) -> [u32; LANES] {
    let (row, shift) = (step * WIDTH / WORD_BITS, step * WIDTH % WORD_BITS);
    let mut four = [0; LANES];
    for ((number, low), high) in four.iter_mut().zip(words(window, row)).zip(words(window, row + 1)) {
        // In two steps, since a shift by all of 32 is none.
        *number = (low >> shift | high << 1 << (WORD_BITS - 1 - shift)) & (u32::MAX >> (WORD_BITS - WIDTH));
    }
    four
}

#[inline(always)]
fn words(window: &[u8; BLOCK_WINDOW], row: usize) -> [u32; LANES] {
    let bytes =
        window.get(4 * LANES * row..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; 4 * LANES]);
    let mut words = [0; LANES];
    words.iter_mut().zip(bytes.as_chunks().0).for_each(|(word, bytes)| *word = u32::from_le_bytes(*bytes));
    words
}

#[inline(always)]
fn read<const WIDTH: usize>(window: &[u8; WINDOW]) -> [u32; GROUP] {
    std::array::from_fn(|number| {
        // A number of at most 24 bits lies within four bytes wherever it begins, one of 32 begins with a byte.
        let bit = number * WIDTH;
        let word = window.get(bit / 8..bit / 8 + 4).and_then(<[u8]>::first_chunk);
        word.map_or(0, |word| u32::from_le_bytes(*word) >> (bit % 8) & (u32::MAX >> (32 - WIDTH)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unpacked(bytes: &[u8]) -> Option<Vec<u32>> {
        unpack(bytes, 200_000, 300).map(|tokens| tokens.to_vec())
    }

    proptest! {
        #[test]
        fn tokens_come_back(
            tokens in prop::collection::vec(any::<u32>().prop_map(|t| (t >> (t % 32)) % 200_000), 0..300)
        ) {
            let packed = pack(&tokens);
            prop_assert_eq!(unpacked(&packed), Some(tokens.clone()));
            for cut in 0..packed.len() {
                prop_assert_eq!(unpacked(&packed[..cut]), None);
            }
            prop_assert_eq!(unpacked(&[&packed[..], &[0]].concat()), None);
            if let Some(most) = tokens.len().checked_sub(1) {
                prop_assert_eq!(unpack(&packed, 200_000, most), None);
            }
            if let Some(greatest) = tokens.iter().max() {
                prop_assert_eq!(unpack(&packed, *greatest, 300), None);
            }
        }

        #[test]
        fn rubbish_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = unpacked(&bytes);
            // With a head that is well formed, too.
            let count = u8::try_from(bytes.len() / 3).unwrap_or(0);
            for width in WIDTHS {
                let _ = unpacked(&[&[width, count], &bytes[..]].concat());
            }
        }
    }

    #[test]
    fn numbers_below_are_told_from_others() {
        let edges =
            [0, 1, 2, 199_999, 200_000, (1 << 31) - 1, 1 << 31, (1 << 31) + 1, u32::MAX - 1, u32::MAX];
        for end in edges {
            for number in edges {
                for at in [0, 3, 8] {
                    let mut numbers = [end.saturating_sub(1); 9];
                    numbers[at] = number;
                    assert_eq!(is_below(&numbers, end), number < end && end > 0, "{number} and {end}");
                }
            }
        }
    }

    #[test]
    fn each_width_takes_what_it_says() {
        for width in WIDTHS {
            let greatest = u32::MAX >> (32 - width);
            for count in (0..40_u32).chain(120..140).chain(250..262).chain([896]) {
                let tokens: Vec<u32> = (0..count).map(|n| greatest.wrapping_sub(n * 7) & greatest).collect();
                let packed = pack(&tokens);
                let head = if count < 128 { 2 } else { 3 };
                assert_eq!(packed.len(), head + (tokens.len() * usize::from(width)).div_ceil(8), "{width}");
                let unpacked = unpack(&packed, u32::MAX, 900).map(|tokens| tokens.to_vec());
                let holds_greatest = tokens.contains(&u32::MAX);
                assert_eq!(unpacked, (!holds_greatest).then_some(tokens), "{width} bits, {count}");
            }
        }
    }

    #[test]
    fn greatest_numbers_come_back() {
        for tokens in [vec![0, u32::MAX - 1, 0, u32::MAX - 1, 1], vec![u32::MAX - 1; 9]] {
            let unpacked = unpack(&pack(&tokens), u32::MAX, 9).map(|tokens| tokens.to_vec());
            assert_eq!(unpacked, Some(tokens));
        }
    }
}
