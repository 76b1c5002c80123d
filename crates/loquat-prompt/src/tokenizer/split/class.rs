//! What the patterns ask of a character: [`Class`], by the Unicode table of `table.rs`.

use super::table::{RUNS, UNICODE_VERSION};

/// What the patterns ask of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Class {
    /// None of the others: controls, unassigned; the end of the text too, with length 0.
    Other,
    /// `\p{Lu}`, `\p{Lt}`.
    Upper,
    /// `\p{Ll}`.
    Lower,
    /// `\p{Lm}`, `\p{Lo}`: letters without case.
    Letter,
    /// `\p{M}`.
    Mark,
    /// `\p{N}`.
    Number,
    /// `\s` other than the two below.
    Space,
    /// `\r`, `\n`.
    Newline,
    /// `\p{P}`, `\p{S}`: punctuation and symbols.
    Symbol,
}

/// How many characters have their class in a table of one byte each: the planes of nearly all text, emoji included. Those
/// beyond are found in [`RUNS`].
const FLAT: usize = 0x2_0000;

static CLASSES: [Class; FLAT] = flat();

const fn class(bits: u32) -> Class {
    match bits & 15 {
        1 => Class::Upper,
        2 => Class::Lower,
        3 => Class::Letter,
        4 => Class::Mark,
        5 => Class::Number,
        6 => Class::Space,
        7 => Class::Newline,
        8 => Class::Symbol,
        _ => Class::Other,
    }
}

const fn flat() -> [Class; FLAT] {
    // A table of another version would need other tests: the version is part of the promise.
    assert!(UNICODE_VERSION.0 == 16);
    let mut classes = [Class::Other; FLAT];
    let (mut run, mut at) = (0, 0);
    while at < FLAT {
        while run + 1 < RUNS.len() && (RUNS[run + 1] >> 4) as usize <= at {
            run += 1;
        }
        classes[at] = class(RUNS[run]);
        at += 1;
    }
    classes
}

pub(crate) fn class_of(code: u32) -> Class {
    if let Some(class) = CLASSES.get(code as usize) {
        return *class;
    }
    let run = RUNS.partition_point(|run| run >> 4 <= code);
    class(RUNS.get(run.wrapping_sub(1)).copied().unwrap_or(0))
}

pub(crate) fn is_mark_or_letter(class: Class) -> bool {
    matches!(class, Class::Mark | Class::Letter)
}

/// The class and length in bytes of the character at `at`, in bytes that are UTF-8. At the end of the text: `Other`, 0.
#[inline(always)]
pub(crate) fn class_at(text: &[u8], at: usize) -> (Class, usize) {
    let byte = |offset: usize| u32::from(text.get(at + offset).copied().unwrap_or(0)) & 0x3F;
    match text.get(at).copied() {
        None => (Class::Other, 0),
        Some(first @ ..0x80) => (class_of(u32::from(first)), 1),
        Some(first @ ..0xE0) => (class_of((u32::from(first) & 0x1F) << 6 | byte(1)), 2),
        // U+5000 to U+8FFF: ideographs, letters all.
        Some(0xE5..0xE9) => (Class::Letter, 3),
        Some(first @ ..0xF0) => (class_of((u32::from(first) & 0x0F) << 12 | byte(1) << 6 | byte(2)), 3),
        Some(first) => {
            (class_of((u32::from(first) & 0x07) << 18 | byte(1) << 12 | byte(2) << 6 | byte(3)), 4)
        }
    }
}
