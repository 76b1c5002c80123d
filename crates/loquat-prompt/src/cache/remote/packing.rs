//! Tokens as bytes: numbers of one width, which is the narrowest that holds them all, packed without gaps.
//!
//! ```text
//! width in bits | count (LEB128) | the numbers, the lowest bit first
//! ```
//!
//! Of one width a number's place is known without reading those before it: eight are read from one window of 32 bytes in some forty
//! instructions. Variable lengths (LEB128, or Stream VByte's lengths apart) take a fortieth less room on English prose, 2.2 bytes
//! a token for 2.25, and three times the instructions; differences to the token before are no smaller than tokens.

use std::sync::Arc;

use super::codec::{Reader, write_number};

/// Numbers read at once. So many take as many bytes as they have bits each.
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
    let (mut waiting, mut bits) = (0_u64, 0);
    for token in tokens {
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

fn padded(numbers: &[u8]) -> [u8; WINDOW] {
    let mut window = [0; WINDOW];
    window.iter_mut().zip(numbers).for_each(|(to, from)| *to = *from);
    window
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
            for count in 0..40_u32 {
                let tokens: Vec<u32> = (0..count).map(|n| greatest.wrapping_sub(n * 7) & greatest).collect();
                let packed = pack(&tokens);
                assert_eq!(packed.len(), 2 + (tokens.len() * usize::from(width)).div_ceil(8), "{width}");
                let unpacked = unpack(&packed, u32::MAX, 40).map(|tokens| tokens.to_vec());
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
