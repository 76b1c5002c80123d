//! Each level beside plain words, and beside what the standard library says.

use std::io::{self, Write};
use std::sync::Once;

use super::*;
use crate::pattern::Hole;

/// Every level that this machine has; what it has not is said once, past libtest, which would swallow it.
fn on_all_levels<T: Task>(task: impl Fn() -> T, check: impl Fn(T::Output)) {
    check(task().run(words::Words));
    check(task().run(Always));
    #[cfg(all(target_arch = "x86_64", not(loquat_scalar)))]
    if let Some(vector) = x86::Avx2::new() {
        check(vector.run(task()));
    }
    #[cfg(all(target_arch = "x86_64", not(loquat_scalar)))]
    if let Some(vector) = x86::Avx512::new() {
        check(vector.run(task()));
    }
    SAID.call_once(|| {
        for level in missing_levels() {
            let _ =
                writeln!(io::stderr(), "skipped: the vector code for {level}, which this machine has not");
        }
    });
}

static SAID: Once = Once::new();

fn missing_levels() -> Vec<&'static str> {
    #[cfg(all(target_arch = "x86_64", not(loquat_scalar)))]
    let levels = [("AVX2", x86::Avx2::new().is_some()), ("AVX-512", x86::Avx512::new().is_some())];
    #[cfg(not(all(target_arch = "x86_64", not(loquat_scalar))))]
    let levels = [("AVX2", false), ("AVX-512", false)];
    levels.into_iter().filter(|(_, is_here)| !is_here).map(|(level, _)| level).collect()
}

/// What a block looks like to each of the trait's functions.
struct Look<'b>(&'b [u8; BLOCK]);

impl Task for Look<'_> {
    type Output = (Classes, Vec<Classes>, Vec<Quotes>, u64, (u32, u32), bool, bool, Vec<u32>);

    fn run<V: Vector>(self, vector: V) -> Self::Output {
        let (chunks, _) = self.0.as_chunks();
        let is_equal = vector.is_equal(&chunks[0], &chunks[1], &chunks[0], &chunks[1]);
        let classes = vector.classify(self.0);
        // A text's last block: behind another one, and alone.
        let whole = [self.0.as_slice(), self.0.as_slice()].concat();
        let ends = [1, 37].into_iter();
        let last = ends.flat_map(|end| [(&whole[..BLOCK + end], BLOCK), (&self.0[..end], 0)]);
        let (last, quotes): (Vec<_>, Vec<_>) = last
            .chain([(&whole[..], 0)])
            .map(|(text, at)| (vector.classify_at(text, at), vector.quotes_at(text, at)))
            .unzip();
        let parities = vector.parities(classes.quotes ^ classes.spaces);
        let bits = classes.quotes | classes.marks | classes.controls;
        let mut places = [0; BLOCK];
        vector.note(bits, u32::MAX - 70, &mut places);
        let noted = places.into_iter().take(bits.count_ones() as usize).collect();
        (
            classes,
            last,
            quotes,
            parities,
            vector.stops_and_highs(&chunks[0]),
            vector.is_ascii(self.0),
            is_equal,
            noted,
        )
    }
}

#[test]
fn all_levels_see_the_same() {
    // Miri takes minutes for what takes milliseconds otherwise.
    let (places, bytes) = if cfg!(miri) { (13, 37) } else { (1, 1) };
    for place in (0..BLOCK).step_by(places) {
        for byte in (0..=255u8).step_by(bytes) {
            for fill in [b'x', byte] {
                let mut block = [fill; BLOCK];
                block[place] = byte;
                block[(place + 7) % BLOCK] = byte.wrapping_add(0x80);
                let twin = Look(&block).run(words::Words);
                on_all_levels(|| Look(&block), |seen| assert_eq!(seen, twin, "{block:?}"));
            }
        }
    }
}

/// Stretches and holes of every length around a vector's, changed in one byte or cut, matched at each level.
#[test]
fn all_levels_match_the_same() {
    let (step, cuts) = if cfg!(miri) { (31, 29) } else { (1, 3) };
    for length in (0..70).step_by(step) {
        let (literal, text) = ("x".repeat(length), "é".repeat(length / 2));
        let document = format!(r#"{{"{literal}":"{text}","n":12,"{literal}":""}}"#);
        let (start, number) = (length + 5, length + text.len() + 11);
        let hole = |start, end, content| Hole { start, end, content };
        let holes = vec![
            hole(start, start + text.len(), Content::Text),
            hole(number, number + 2, Content::Number),
            hole(document.len() - 2, document.len() - 2, Content::Text),
            hole(document.len() - 1, document.len() - 1, Content::Spaces),
        ];
        let pattern = Pattern::new(document.clone(), holes).unwrap();
        let mut inputs = vec![document.clone().into_bytes(), [&document[..], "\n\n"].concat().into_bytes()];
        for place in (0..document.len()).step_by(cuts) {
            inputs.push(document.as_bytes()[..place].to_vec());
            for byte in [b'"', b'\\', b'\n', b' ', b'0', b'y', 0xc3] {
                let mut input = document.clone().into_bytes();
                input[place] = byte;
                inputs.push(input);
            }
        }
        for input in &inputs {
            let twin = &mut Vec::new();
            let expected = match_end_by(words::Words, &pattern, Part::Document, input, twin);
            let check = |end: Option<usize>, shifts: &[Shift]| {
                assert_eq!(end, expected, "{input:?}");
                assert!(end.is_none() || shifts[..5] == twin[..5], "{input:?}");
            };
            let mut shifts = Vec::new();
            check(match_end_elsewhere(&pattern, Part::Document, input, &mut shifts), &shifts);
            check(match_end(&pattern, Part::Document, input, &mut shifts), &shifts);
        }
        assert!(match_end(&pattern, Part::Whole, &inputs[1], &mut Vec::new()).is_some());
    }
}

#[test]
fn a_run_ends_where_the_scalar_twin_says() {
    let (places, bytes) = if cfg!(miri) { (11, 29) } else { (1, 1) };
    for length in [0, 1, 15, 16, 17, 31, 32, 40, 70] {
        for place in (0..length).step_by(places) {
            for byte in (0..=255u8).step_by(bytes) {
                let mut bytes = vec![0xe9; length];
                bytes[place] = byte;
                bytes[length - 1] ^= byte;
                for start in [0, place / 2, place, place + 1, length] {
                    assert_eq!(plain_run(&bytes, start), scan::plain_run(&bytes, start), "{bytes:?}");
                }
            }
        }
    }
}

/// Every short sequence of bytes that matter to UTF-8, at every place of a text of two vectors and more.
#[test]
fn agrees_with_the_standard_library() {
    const BYTES: [u8; 16] =
        [b'a', 0x00, 0x7f, 0x80, 0x9f, 0xa0, 0xbf, 0xc0, 0xc3, 0xe0, 0xe6, 0xed, 0xef, 0xf0, 0xf4, 0xf5];
    let step = if cfg!(miri) { 97 } else { 1 };
    for place in [0, 1, 13, 15, 16, 29, 32, 36] {
        for sequence in (0..1u32 << 16).step_by(step) {
            let mut bytes = [b'x'; 40];
            for (position, byte) in bytes[place..].iter_mut().take(4).enumerate() {
                *byte = BYTES[(sequence >> (4 * position)) as usize % 16];
            }
            assert_eq!(text(&bytes), std::str::from_utf8(&bytes).ok(), "{bytes:?}");
        }
    }
}

#[test]
fn characters_survive_at_every_place_and_length() {
    for length in (0..70).step_by(if cfg!(miri) { 17 } else { 1 }) {
        for place in 0..=length {
            let whole = format!("{}枇🍊é{}", "a".repeat(place), "b".repeat(length - place));
            assert_eq!(text(whole.as_bytes()), Some(whole.as_str()));
            for cut in place + 1..place + 9 {
                let bytes = &whole.as_bytes()[..cut];
                assert_eq!(text(bytes), std::str::from_utf8(bytes).ok());
            }
        }
    }
}
