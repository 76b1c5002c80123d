//! [`BytePair`]: a byte-pair vocabulary with its pattern and its control tokens, as a [`Tokenizer`].

mod truncate;

use std::{borrow::Cow, ops::Range};

use loquat_core::Result;

use super::{
    Controls, Keep, Tokenizer,
    bpe::{BATCH, Memo, Stack, Vocabulary},
    nfc,
    split::{self, Class, Pattern, class_at},
    unknown_token,
};

/// A byte-pair vocabulary with its pattern and its control tokens.
///
/// Encodes in one pass, linear in the text's length whatever it holds, and without locks. Counting and cutting allocate nothing once a
/// thread is warm, but for words of more than 4 KiB, cuts behind some 64 Ki tokens, and text that has to be brought into normal form.
#[derive(Debug)]
pub struct BytePair {
    name: String,
    vocabulary: Vocabulary,
    pattern: Splitter,
    controls: Controls,
    /// Where tokens are not numbered by rank.
    numbering: Option<Numbering>,
    /// Whether text is brought into normal form C.
    is_normalizing: bool,
    /// Made when it is first asked for: that takes some milliseconds.
    #[cfg(feature = "cache")]
    fingerprint: std::sync::OnceLock<[u8; 32]>,
}

/// The numbers that a file gives its tokens, where they are not their ranks.
#[derive(Debug)]
pub(crate) struct Numbering {
    by_rank: Vec<u32>,
    /// The rank by the number; `u32::MAX` for none.
    ranks: Vec<u32>,
}

impl Numbering {
    /// `None` where the numbers are the ranks. They are below 2²⁰ and differ.
    pub(crate) fn new(by_rank: Vec<u32>) -> Option<Self> {
        if (0..).zip(&by_rank).all(|(rank, number)| rank == *number) {
            return None;
        }
        let greatest = by_rank.iter().max().copied().unwrap_or(0);
        let mut ranks = vec![u32::MAX; greatest as usize + 1];
        for (rank, number) in (0..).zip(&by_rank) {
            if let Some(place) = ranks.get_mut(*number as usize) {
                *place = rank;
            }
        }
        Some(Self { by_rank, ranks })
    }

    /// Ranks into numbers.
    fn number(&self, tokens: &mut [u32]) {
        for token in tokens {
            *token = self.by_rank.get(*token as usize).copied().unwrap_or(u32::MAX);
        }
    }
}

/// Which pattern cuts text into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Splitter {
    O200k,
    Cl100k,
    Llama3,
    Qwen2,
    Tekken,
    DeepSeek,
}

/// How far [`Tokenizer::safe_cut`] looks back, bytes: beyond the longest paragraph without a space or a comma.
const CUT_WITHIN: usize = 4096;

/// Text that is brought into normal form at once where it may be more than is needed, bytes.
const BLOCK_BYTES: usize = 16 << 10;

impl BytePair {
    pub(crate) fn new(
        name: impl Into<String>,
        vocabulary: Vocabulary,
        pattern: Splitter,
        controls: impl IntoIterator<Item = (String, u32)>,
    ) -> Result<Self> {
        Self::numbered(name, vocabulary, pattern, controls, None, false)
    }

    pub(crate) fn numbered(
        name: impl Into<String>,
        vocabulary: Vocabulary,
        pattern: Splitter,
        controls: impl IntoIterator<Item = (String, u32)>,
        numbering: Option<Numbering>,
        is_normalizing: bool,
    ) -> Result<Self> {
        let controls = Controls::try_new(controls)?;
        Ok(Self {
            name: name.into(),
            vocabulary,
            pattern,
            controls,
            numbering,
            is_normalizing,
            #[cfg(feature = "cache")]
            fingerprint: std::sync::OnceLock::new(),
        })
    }

    /// Of everything that decides on a text's tokens.
    #[cfg(feature = "cache")]
    fn fingerprint_now(&self) -> [u8; 32] {
        /// To be raised with every change of this crate's code by which some text has other tokens.
        const ENCODER_REVISION: u8 = 1;
        /// For a change that somebody forgot it for.
        const PROBE: &str = "It's 12,345.67\u{a0}km\tat  9am:\r\n\n  naïve cafe\u{301}s, 東京へ行く; ПРИВЕТ мир! नमस्ते 👩‍👩‍👧 fooBar_baz2000 != \0\u{fffd}   ";
        let mut hasher = blake3::Hasher::new_derive_key("loquat byte-pair vocabulary 1");
        hasher.update(&[ENCODER_REVISION, self.pattern as u8, u8::from(self.is_normalizing)]);
        let mut tokens = Vec::new();
        // A vocabulary without all bytes leaves some of it out, each time the same.
        let _ = self.encode(PROBE, &mut tokens);
        for token in tokens {
            hasher.update(&token.to_le_bytes());
        }
        self.vocabulary.tell(&mut |bytes| {
            hasher.update(bytes);
        });
        let numbers = self.numbering.as_ref().map_or(&[][..], |numbering| &numbering.by_rank);
        for number in numbers {
            hasher.update(&number.to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// Encodes word by word until `go_on` says no, which is asked with the place after each. Tokens are ranks.
    fn run<S: Stack>(&self, text: &str, out: &mut S, go_on: impl FnMut(&S) -> bool) {
        let vocabulary = &self.vocabulary;
        match self.pattern {
            Splitter::O200k => run_by::<split::O200k, S>(vocabulary, text, out, go_on),
            Splitter::Cl100k => run_by::<split::Cl100k, S>(vocabulary, text, out, go_on),
            Splitter::Llama3 => run_by::<split::Llama3, S>(vocabulary, text, out, go_on),
            Splitter::Qwen2 => run_by::<split::Qwen2, S>(vocabulary, text, out, go_on),
            Splitter::Tekken => run_by::<split::Tekken, S>(vocabulary, text, out, go_on),
            Splitter::DeepSeek => {
                let cut = |text: &[u8], at, ends: &mut [usize]| {
                    split::cut_by(text, at, ends, split::deepseek::next)
                };
                run(vocabulary, text, out, go_on, cut);
            }
        }
    }

    /// The rank of a number, if it has one.
    #[inline]
    fn rank(&self, token: u32) -> u32 {
        match &self.numbering {
            Some(numbering) => numbering.ranks.get(token as usize).copied().unwrap_or(u32::MAX),
            None => token,
        }
    }

    /// The text as it is encoded.
    fn normal<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.is_normalizing { nfc::normal(text) } else { Cow::Borrowed(text) }
    }

    /// [`Tokenizer::safe_cut`] with another bound on how far it looks.
    fn cut_within(&self, text: &str, at: usize, bound: usize) -> usize {
        let bytes = text.as_bytes();
        let first = at.min(text.len());
        let mut place = text.floor_char_boundary(first);
        while place > 0 && first - place <= bound {
            let before = text.floor_char_boundary(place - 1);
            if place < bytes.len() && is_safe(bytes, before, place) && self.is_apart(text, before, place) {
                return place;
            }
            place = before;
        }
        0
    }

    /// Up to where a text is brought into normal form at once, if perhaps not all of it is looked at.
    fn block(&self, text: &str) -> usize {
        let mut at = BLOCK_BYTES;
        while at < text.len() {
            match self.cut_within(text, at, at / 2) {
                0 => at = at.saturating_mul(2),
                cut => return cut,
            }
        }
        text.len()
    }

    /// Whether normalizing leaves the characters at these places as they are, and apart.
    fn is_apart(&self, text: &str, before: usize, place: usize) -> bool {
        let end = text.ceil_char_boundary(place + 1);
        !self.is_normalizing || text.get(before..end).is_some_and(nfc::is_normal)
    }
}

#[inline]
fn run_by<P: Pattern, S: Stack>(
    vocabulary: &Vocabulary,
    text: &str,
    out: &mut S,
    go_on: impl FnMut(&S) -> bool,
) {
    run(vocabulary, text, out, go_on, split::cut_blocks::<P>);
}

/// `cut` gives the ends of as many words as there is room for: where a word ends is guessed wrongly by the processor now and then,
/// and what waits for memory should not have to be guessed again with it.
#[inline]
fn run<S: Stack>(
    vocabulary: &Vocabulary,
    text: &str,
    out: &mut S,
    mut go_on: impl FnMut(&S) -> bool,
    cut: impl Fn(&[u8], usize, &mut [usize]) -> (usize, usize),
) {
    let bytes = text.as_bytes();
    Memo::lend(|memo| {
        let (mut ends, mut at) = ([0; BATCH], 0);
        while at < bytes.len() {
            let (count, end) = cut(bytes, at, &mut ends);
            let ends = ends.get(..count).unwrap_or_default();
            if !vocabulary.encode_all(memo, bytes, at, ends, out, &mut go_on) {
                return;
            }
            at = end;
        }
    });
}

/// Whether a word ends between these two characters in every pattern, whatever else is around: behind a letter or digit, before
/// what is neither and begins no contraction.
fn is_safe(text: &[u8], before: usize, at: usize) -> bool {
    matches!(class_at(text, before).0, Class::Upper | Class::Lower | Class::Letter | Class::Number)
        && matches!(class_at(text, at).0, Class::Other | Class::Symbol | Class::Space | Class::Newline)
        && text.get(at) != Some(&b'\'')
}

/// Counts what it is given.
struct Counter(usize);

impl Stack for Counter {
    #[inline]
    fn push(&mut self, _: u32) {
        self.0 += 1;
    }

    #[inline]
    fn pop(&mut self) {
        self.0 -= 1;
    }

    #[inline]
    fn extend(&mut self, tokens: &[u32]) {
        self.0 += tokens.len();
    }
}

impl Tokenizer for BytePair {
    fn name(&self) -> &str {
        &self.name
    }

    fn vocabulary_size(&self) -> u32 {
        let words = self.numbering.as_ref().map_or(self.vocabulary.len(), |numbering| numbering.ranks.len());
        let words = u32::try_from(words).unwrap_or(u32::MAX);
        self.controls.iter().map(|(_, token)| token + 1).fold(words, u32::max)
    }

    #[cfg(feature = "cache")]
    fn fingerprint(&self) -> Option<[u8; 32]> {
        Some(*self.fingerprint.get_or_init(|| self.fingerprint_now()))
    }

    fn encode(&self, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        // Four bytes a token is prose; a guess that is short costs one growth.
        tokens.reserve(text.len() / 4 + 1);
        let start = tokens.len();
        self.run(&self.normal(text), tokens, |_| true);
        if let Some(numbering) = &self.numbering {
            numbering.number(tokens.get_mut(start..).unwrap_or_default());
        }
        Ok(())
    }

    fn control_token(&self, text: &str) -> Option<u32> {
        self.controls.token(text)
    }

    fn find_control(&self, text: &str) -> Option<(Range<usize>, u32)> {
        self.controls.find(text)
    }

    fn longest_control(&self) -> Option<usize> {
        Some(self.controls.longest())
    }

    fn is_control(&self, token: u32) -> bool {
        self.vocabulary.token_bytes(self.rank(token)).is_none() && self.controls.written(token).is_some()
    }

    fn token_bytes(&self, token: u32, bytes: &mut Vec<u8>) -> Result<()> {
        if let Some(found) = self.vocabulary.token_bytes(self.rank(token)) {
            bytes.extend_from_slice(found);
        } else if let Some(written) = self.controls.written(token) {
            bytes.extend_from_slice(written.as_bytes());
        } else {
            return Err(unknown_token(&self.name, token));
        }
        Ok(())
    }

    fn safe_cut(&self, text: &str, at: usize) -> usize {
        self.cut_within(text, at, CUT_WITHIN)
    }

    fn count(&self, text: &str) -> Result<usize> {
        let mut counter = Counter(0);
        self.run(&self.normal(text), &mut counter, |_| true);
        Ok(counter.0)
    }

    fn fits(&self, text: &str, limit: usize) -> Result<Option<usize>> {
        let mut counter = Counter(0);
        let mut rest = text;
        while !rest.is_empty() && counter.0 <= limit {
            let (block, behind) =
                rest.split_at(if self.is_normalizing { self.block(rest) } else { rest.len() });
            self.run(&self.normal(block), &mut counter, |counter| counter.0 <= limit);
            rest = behind;
        }
        Ok((counter.0 <= limit).then_some(counter.0))
    }

    fn truncate<'t>(&self, text: &'t str, limit: usize, keep: Keep) -> Result<&'t str> {
        if self.is_normalizing && !nfc::is_normal(text) {
            return self.truncate_any(text, limit, keep);
        }
        // No token is longer than a kilobyte, and none shorter than a byte.
        if text.len() <= limit {
            return Ok(text);
        }
        match keep {
            Keep::Head => self.head(text, limit),
            Keep::Tail => self.tail(text, limit),
        }
    }
}

#[cfg(test)]
mod tests;
