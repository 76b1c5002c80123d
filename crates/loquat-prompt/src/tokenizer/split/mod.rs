//! Text into the words that are encoded one by one, as the vocabularies' regular expressions say, without their engine.
//!
//! Each vocabulary fixes a pattern that cuts text before any merge. The patterns in use are of one family: words with a letter
//! case or without, one to three digits, marks with what follows them, white space with its last character left to the next
//! word. [`Pattern`] holds what differs between them as constants, so that each is compiled by itself; the reading is by
//! hand, one pass, no backtracking further than a counter, so it is linear on any text. Equality with the regular expressions
//! is tested against an engine that runs them (`tests/split.rs`).

pub(crate) mod ascii;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod block;
mod class;
pub(crate) mod deepseek;
mod portable;
mod table;

use ascii::Ascii;
use block::{Block, Level};
use class::is_mark_or_letter;
pub(crate) use class::{Class, class_at};

/// What differs between the patterns.
pub(crate) trait Pattern {
    /// The regular expression, for those who compare: tests, and whoever reads a file.
    const REGEX: &'static str;
    /// Whether a word ends where a small letter is followed by a capital, and marks (`\p{M}`) count as letters.
    const CASED: bool;
    /// Where `'s`, `'ll` and the like stand.
    const CONTRACTION: Contraction;
    /// Most digits in a row that are one word.
    const DIGITS: usize;
    /// Whether punctuation takes a following `/` along, as it does the ends of lines.
    const SLASH: bool;
    /// Whether white space at the very end of the text is one word, even across ends of lines.
    const WHOLE_END: bool;
}

/// Where `'s`, `'ll` and the like stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contraction {
    /// They are not known.
    Never,
    /// A word by themselves.
    Alone,
    /// The end of the word before them.
    Joined,
}

/// `o200k_base`.
#[derive(Debug)]
pub(crate) struct O200k;

impl Pattern for O200k {
    const REGEX: &'static str = concat!(
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    );
    const CASED: bool = true;
    const CONTRACTION: Contraction = Contraction::Joined;
    const DIGITS: usize = 3;
    const SLASH: bool = true;
    const WHOLE_END: bool = false;
}

/// `cl100k_base`, as `tiktoken` 0.14 has it: white space at the end of the text is one word there.
#[derive(Debug)]
pub(crate) struct Cl100k;

impl Pattern for Cl100k {
    const REGEX: &'static str = concat!(
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+",
        r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    );
    const CASED: bool = false;
    const CONTRACTION: Contraction = Contraction::Alone;
    const DIGITS: usize = 3;
    const SLASH: bool = false;
    const WHOLE_END: bool = true;
}

/// Llama 3: `cl100k_base` as it was first published.
#[derive(Debug)]
pub(crate) struct Llama3;

impl Pattern for Llama3 {
    const REGEX: &'static str = concat!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    );
    const CASED: bool = false;
    const CONTRACTION: Contraction = Contraction::Alone;
    const DIGITS: usize = 3;
    const SLASH: bool = false;
    const WHOLE_END: bool = false;
}

/// Qwen 2, 2.5 and 3: each digit by itself.
#[derive(Debug)]
pub(crate) struct Qwen2;

impl Pattern for Qwen2 {
    const REGEX: &'static str = concat!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    );
    const CASED: bool = false;
    const CONTRACTION: Contraction = Contraction::Alone;
    const DIGITS: usize = 1;
    const SLASH: bool = false;
    const WHOLE_END: bool = false;
}

/// Mistral's Tekken: `o200k_base` without contractions and with each digit by itself.
#[derive(Debug)]
pub(crate) struct Tekken;

impl Pattern for Tekken {
    const REGEX: &'static str = concat!(
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
        r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    );
    const CASED: bool = true;
    const CONTRACTION: Contraction = Contraction::Never;
    const DIGITS: usize = 1;
    const SLASH: bool = true;
    const WHOLE_END: bool = false;
}

/// The end of the word that begins at `at`; `text` is the bytes of a `str` and `at` the beginning of a character in it.
#[inline]
pub(crate) fn next<P: Pattern>(text: &[u8], at: usize) -> usize {
    match ascii::next::<P>(text, at) {
        Ascii::End(end) => end,
        Ascii::Unsure => any::<P>(text, at),
    }
}

/// The ends of the words from `at` on, as many as there is room for: how many, and the last of them.
#[inline]
pub(crate) fn cut_by(
    text: &[u8],
    mut at: usize,
    ends: &mut [usize],
    next: impl Fn(&[u8], usize) -> usize,
) -> (usize, usize) {
    let mut count = 0;
    for end in ends {
        if at == text.len() {
            break;
        }
        at = next(text, at);
        *end = at;
        count += 1;
    }
    (count, at)
}

/// The same as [`cut_by`] with [`next`], block by block: where each word ends the processor would guess wrongly too often.
pub(crate) fn cut_blocks<P: Pattern>(text: &[u8], at: usize, ends: &mut [usize]) -> (usize, usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return avx2::cut_blocks::<P>(simd, text, at, ends);
    }
    cut_blocks_by::<P>(portable::Portable, text, at, ends)
}

#[inline(always)]
fn cut_blocks_by<P: Pattern>(
    level: impl Level,
    text: &[u8],
    at: usize,
    ends: &mut [usize],
) -> (usize, usize) {
    /// A block that is half used up gives way to a new one.
    const HALF: usize = 32;
    let (mut at, mut count) = (at, 0);
    let mut block = Block::default();
    // No block is that far back, and none has been looked for in vain.
    let (mut base, mut skipped) = (at.wrapping_sub(64), at);
    while count < ends.len() && at < text.len() {
        let mut from = at.wrapping_sub(base);
        if from > HALF
            && at >= skipped
            && let Some(bytes) = text.get(at..).and_then(|rest| rest.first_chunk())
        {
            match Block::new::<P>(level, text, at, bytes) {
                Some(new) => (block, base, from) = (new, at, 0),
                None => skipped = at + HALF,
            }
        }
        let begin = at;
        let mut starts = if from < 64 { block.starts::<P>(from) } else { 0 };
        while starts != 0
            && let Some(end) = ends.get_mut(count)
        {
            at = begin + starts.trailing_zeros() as usize;
            *end = at;
            count += 1;
            starts &= starts - 1;
        }
        if at == begin
            && let Some(end) = ends.get_mut(count)
        {
            at = next::<P>(text, at);
            *end = at;
            count += 1;
        }
    }
    (count, at)
}

/// The same as [`next`] for any text, by the characters' classes: what [`ascii::next`] is a short cut of.
#[inline(never)]
pub(crate) fn any<P: Pattern>(text: &[u8], at: usize) -> usize {
    let (first, length) = class_at(text, at);
    let after = at + length;
    if P::CONTRACTION == Contraction::Alone && text.get(at) == Some(&b'\'') {
        let end = contraction(text, at);
        if end > at {
            return end;
        }
    }
    let word = match first {
        Class::Upper | Class::Lower | Class::Letter => letters::<P>(text, at),
        Class::Mark if P::CASED => match letters::<P>(text, after) {
            // Capitals alone do not follow a mark: the mark is a small word itself, and is tried before them.
            Word::Capitals(_) | Word::None => Word::Small(after),
            word => word,
        },
        Class::Mark | Class::Other | Class::Symbol | Class::Space => letters::<P>(text, after),
        Class::Number => return digits::<P>(text, at),
        Class::Newline => Word::None,
    };
    match word {
        Word::Small(end) | Word::Capitals(end) => {
            return if P::CONTRACTION == Contraction::Joined { contraction(text, end) } else { end };
        }
        Word::None => {}
    }
    let is_space = text.get(at) == Some(&b' ');
    let punctuated = if is_space { after } else { at };
    if matches!(class_at(text, punctuated).0, Class::Other | Class::Symbol | Class::Mark)
        && punctuated < text.len()
    {
        return punctuation::<P>(text, punctuated);
    }
    space::<P>(text, at)
}

/// A run of letters, by what it matches.
enum Word {
    None,
    /// The pattern's first alternative: it holds a letter that counts as small.
    Small(usize),
    /// Its second: capitals alone.
    Capitals(usize),
}

fn letters<P: Pattern>(text: &[u8], start: usize) -> Word {
    let mut at = start;
    if !P::CASED {
        while let (Class::Upper | Class::Lower | Class::Letter, length) = class_at(text, at) {
            at += length;
        }
        return if at > start { Word::Small(at) } else { Word::None };
    }
    // `[\p{Lu}…]*` takes as much as it can, and gives back up to the last that `[\p{Ll}…]+` takes too.
    let mut either = None;
    loop {
        match class_at(text, at) {
            (Class::Upper, length) => at += length,
            (Class::Letter | Class::Mark, length) => {
                at += length;
                either = Some(at);
            }
            (Class::Lower, _) => break,
            _ => {
                return match either {
                    Some(end) => Word::Small(end),
                    None if at > start => Word::Capitals(at),
                    None => Word::None,
                };
            }
        }
    }
    loop {
        match class_at(text, at) {
            (class, length) if class == Class::Lower || is_mark_or_letter(class) => at += length,
            _ => return Word::Small(at),
        }
    }
}

/// The end of `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll` or `'d` in any case at `at`, or `at`. `ſ` is an `s` in another case.
pub(crate) fn contraction(text: &[u8], at: usize) -> usize {
    let lower = |offset: usize| text.get(at + offset).map_or(0, u8::to_ascii_lowercase);
    if text.get(at) != Some(&b'\'') {
        return at;
    }
    match (lower(1), lower(2)) {
        (b's' | b't' | b'm' | b'd', _) => at + 2,
        (b'r' | b'v', b'e') | (b'l', b'l') | (0xC5, 0xBF) => at + 3,
        _ => at,
    }
}

fn digits<P: Pattern>(text: &[u8], start: usize) -> usize {
    let mut at = start;
    for _ in 0..P::DIGITS {
        match class_at(text, at) {
            (Class::Number, length) => at += length,
            _ => break,
        }
    }
    at
}

fn punctuation<P: Pattern>(text: &[u8], start: usize) -> usize {
    let mut at = start;
    while let (Class::Other | Class::Symbol | Class::Mark, length) = class_at(text, at) {
        if length == 0 {
            break;
        }
        at += length;
    }
    while matches!(text.get(at), Some(b'\r' | b'\n')) || P::SLASH && text.get(at) == Some(&b'/') {
        at += 1;
    }
    at
}

/// White space from `start`, which is some.
fn space<P: Pattern>(text: &[u8], start: usize) -> usize {
    let (mut at, mut last, mut line_end) = (start, start, None);
    while let (class @ (Class::Space | Class::Newline), length) = class_at(text, at) {
        last = at;
        at += length;
        if class == Class::Newline {
            line_end = Some(at);
        }
    }
    match line_end {
        _ if P::WHOLE_END && at == text.len() => at,
        Some(end) => end,
        // The last one belongs to the word that follows, unless there is none, or nothing else.
        None if at == text.len() || last == start => at,
        None => last,
    }
}

#[cfg(test)]
mod tests;
