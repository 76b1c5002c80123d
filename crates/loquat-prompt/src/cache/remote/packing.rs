//! Tokens as bytes: numbers of one to four bytes each, and how long each is apart from them, before all.
//!
//! ```text
//! mode | count (LEB128) | lengths, two bits each, the lowest first | the numbers, the lowest byte first
//! ```
//!
//! With its lengths apart a number begins where the sum of them says, and not where the one before was found to end, which is what
//! reading a LEB128 waits for (Lemire, Kurz and Rupp, "Stream VByte", 2018). The numbers are the tokens, or the zigzag differences of
//! each to the one before, whichever is shorter. On English prose some 2.2 bytes a token.

use std::sync::Arc;

use super::codec::{Reader, write_number};

const PLAIN: u8 = 0;
const DIFFERENCES: u8 = 1;

/// Bytes of a number by its two bits, as a mask.
const MASKS: [u32; 4] = [0xFF, 0xFFFF, 0x00FF_FFFF, 0xFFFF_FFFF];

/// Tokens as bytes.
pub(super) fn pack(tokens: &[u32]) -> Vec<u8> {
    let mut last = 0;
    let differences = tokens.iter().map(|token| {
        let difference = token.wrapping_sub(last).cast_signed();
        last = *token;
        ((difference << 1) ^ (difference >> 31)).cast_unsigned()
    });
    let differences: Vec<u32> = differences.collect();
    let bytes = |numbers: &[u32]| numbers.iter().map(|number| code(*number) + 1).sum::<usize>();
    let (mode, numbers, length) = match (bytes(tokens), bytes(&differences)) {
        (plain, other) if other < plain => (DIFFERENCES, differences.as_slice(), other),
        (plain, _) => (PLAIN, tokens, plain),
    };
    let mut packed = Vec::with_capacity(length + tokens.len() / 4 + 12);
    packed.push(mode);
    write_number(tokens.len() as u64, &mut packed);
    packed.extend(numbers.chunks(4).map(|four| {
        four.iter().rev().fold(0, |codes, number| codes << 2 | u8::try_from(code(*number)).unwrap_or(3))
    }));
    for number in numbers {
        packed.extend_from_slice(number.to_le_bytes().get(..=code(*number)).unwrap_or_default());
    }
    packed
}

/// One less than how many bytes a number takes.
fn code(number: u32) -> usize {
    3_usize.saturating_sub(number.leading_zeros() as usize / 8)
}

/// Tokens from bytes; each below `vocabulary`, no more than `most`, and no byte over.
pub(super) fn unpack(bytes: &[u8], vocabulary: u32, most: usize) -> Option<Arc<[u32]>> {
    let (mode, rest) = bytes.split_first()?;
    let mut reader = Reader(rest);
    let count = usize::try_from(reader.number()?).ok()?;
    // Each has a byte at least: a count that the value cannot hold asks for no memory.
    if count > most || count > reader.0.len() {
        return None;
    }
    let (codes, numbers) = reader.0.split_at_checked(count.div_ceil(4))?;
    let mut tokens: Arc<[u32]> = std::iter::repeat_n(0, count).collect();
    let places = Arc::get_mut(&mut tokens)?;
    spread(codes, numbers, places)?;
    if *mode == DIFFERENCES {
        let mut last = 0_u32;
        for place in &mut *places {
            last = last.wrapping_add((*place >> 1) ^ (*place & 1).wrapping_neg());
            *place = last;
        }
    } else if *mode != PLAIN {
        return None;
    }
    let is_known = places.iter().fold(true, |all, token| all & (*token < vocabulary));
    is_known.then_some(tokens)
}

/// The numbers, each in its place. `None` where there are bytes too few, or over, or lengths of no number.
fn spread(codes: &[u8], numbers: &[u8], places: &mut [u32]) -> Option<()> {
    let mut at = 0;
    let (fours, rest) = places.as_chunks_mut::<4>();
    for (four, code) in fours.iter_mut().zip(codes) {
        let mut code = *code;
        if let Some(window) = numbers.get(at..).and_then(<[u8]>::first_chunk::<16>) {
            let mut within = 0;
            for place in four {
                // At most 12 here: three numbers of four bytes.
                let word = window.get(within..within + 4).and_then(<[u8]>::first_chunk)?;
                *place = u32::from_le_bytes(*word) & MASKS[usize::from(code & 3)];
                within += usize::from(code & 3) + 1;
                code >>= 2;
            }
            at += within;
        } else {
            for place in four {
                *place = number(numbers, &mut at, code)?;
                code >>= 2;
            }
        }
    }
    let mut code = if rest.is_empty() { 0 } else { *codes.last()? };
    for place in rest {
        *place = number(numbers, &mut at, code)?;
        code >>= 2;
    }
    (code == 0 && at == numbers.len()).then_some(())
}

fn number(numbers: &[u8], at: &mut usize, code: u8) -> Option<u32> {
    let end = *at + usize::from(code & 3) + 1;
    let mut word = [0; 4];
    word.iter_mut().zip(numbers.get(*at..end)?).for_each(|(to, from)| *to = *from);
    *at = end;
    Some(u32::from_le_bytes(word))
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
            let _ = unpacked(&[&[count & 1, count], &bytes[..]].concat());
        }
    }

    #[test]
    fn small_tokens_take_little() {
        assert_eq!(pack(&[300; 1000]).len(), 1 + 2 + 250 + 2 + 999, "the same again is a zero");
        let mixed: Vec<u32> = (0..1000).map(|n| (n * 7919) % 65_000).collect();
        assert!(pack(&mixed).len() <= 2253);
    }

    #[test]
    fn greatest_numbers_come_back() {
        for tokens in [vec![0, u32::MAX - 1, 0, u32::MAX - 1, 1], vec![u32::MAX - 1; 9]] {
            let unpacked = unpack(&pack(&tokens), u32::MAX, 9).map(|tokens| tokens.to_vec());
            assert_eq!(unpacked, Some(tokens));
        }
    }
}
