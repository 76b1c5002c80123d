//! [`Vocabulary`]: a byte-pair vocabulary, read from the form in which this crate carries the built-in ones.
//!
//! That form is 256 bytes, the tokens 0 to 255 in their order, and then for each further token the two it is made of, three
//! bytes each with the lowest first. It is smaller than the tokens' text, checks itself (a token is made of earlier ones),
//! and is all that encoding needs.

use std::collections::HashMap;

use loquat_core::{Error, ErrorKind, Result};

use super::{
    joins::Joins,
    memo::{MEMO_BYTES, Memo, Owner, Packed, Slots, memoized},
    merges::{Merges, TOKEN_BITS, Token},
    word::{self, FEW, Scratch, Stack},
    words::{SHORT, Window, Words, window},
};

/// Longest token, bytes. The longest of the vocabularies in use has 256.
const MAX_TOKEN_BYTES: usize = 1024;

/// A byte-pair vocabulary.
pub(crate) struct Vocabulary {
    pub(super) words: Words,
    pub(super) merges: Merges,
    /// Words that are a token although no merging leads to it. Mostly none.
    pub(super) whole: HashMap<Box<[u8]>, Token>,
    pub(super) owner: Owner,
    /// Where longer words are cut.
    joins: Joins,
    /// All tokens' bytes, one after the other.
    bytes: Vec<u8>,
    /// Where in `bytes` each token begins; one more, for the end.
    starts: Vec<u32>,
}

impl Vocabulary {
    /// Reads `data`; see the module's words for its form.
    pub(crate) fn read(data: &[u8]) -> Result<Self> {
        let Some((first, rest)) = data.split_first_chunk::<256>() else {
            return Err(corrupt("it has no 256 bytes to begin with"));
        };
        let (merges, left) = rest.as_chunks::<6>();
        if !left.is_empty() {
            return Err(corrupt("it stops within a merge"));
        }
        let halves = merges.iter().map(|[a, b, c, d, e, f]| {
            [Token::from_le_bytes([*a, *b, *c, 0]), Token::from_le_bytes([*d, *e, *f, 0])]
        });
        Self::new(first, halves)
    }

    /// The vocabulary with these single bytes and these merges, by rank.
    pub(crate) fn new(first: &[u8; 256], merges: impl ExactSizeIterator<Item = [Token; 2]>) -> Result<Self> {
        let mut texts = Texts::of_bytes(first);
        texts.bytes.reserve(merges.len() * 8);
        texts.starts.reserve(merges.len());
        let mut halves: Vec<[Token; 2]> = (0..256).map(|token| [token; 2]).collect();
        halves.reserve(merges.len());
        for pair in merges {
            for half in pair {
                let Some(&[start, end]) =
                    texts.starts.get(half as usize..).and_then(|rest| rest.first_chunk())
                else {
                    return Err(corrupt("a token is made of one that comes after it"));
                };
                texts.bytes.extend_from_within(start as usize..end as usize);
            }
            halves.push(pair);
            texts.end_token()?;
        }
        Self::of(first, (halves, Vec::new()), texts, HashMap::new())
    }

    /// The vocabulary with these single bytes, with what each token is made of, by rank, and those of them within which a merge
    /// comes before one that it needs, in order; and with the bytes of all of these and, behind them, of the tokens to which no merging leads: with `as_words` they are the words that are just theirs,
    /// else they occur in no text.
    pub(crate) fn with_texts<'t>(
        first: &[u8; 256],
        (halves, early): (Vec<[Token; 2]>, Vec<Token>),
        all: impl Iterator<Item = &'t [u8]>,
        as_words: bool,
    ) -> Result<Self> {
        let mut texts = Texts::of_bytes(first);
        let mut whole = HashMap::new();
        for (token, text) in (0..).zip(all).skip(256) {
            texts.bytes.extend_from_slice(text);
            texts.end_token()?;
            if as_words && token as usize >= halves.len() {
                whole.insert(text.into(), token);
            }
        }
        Self::of(first, (halves, early), texts, whole)
    }

    fn of(
        first: &[u8; 256],
        (halves, early): (Vec<[Token; 2]>, Vec<Token>),
        texts: Texts,
        whole: HashMap<Box<[u8]>, Token>,
    ) -> Result<Self> {
        let Texts { bytes, starts } = texts;
        let mut seen = [false; 256];
        for byte in first {
            seen[usize::from(*byte)] = true;
        }
        if seen.contains(&false) {
            return Err(corrupt("a byte has no token"));
        }
        let reached = starts.get(..=halves.len()).unwrap_or_default();
        let tokens = reached.array_windows().map(|[start, end]| bytes.get(*start as usize..*end as usize));
        let words = Words::new(tokens.clone().map(Option::unwrap_or_default));
        // A part of a word that is a token by itself alone would become that one.
        let joins = if whole.is_empty() { Joins::new(tokens.flatten()) } else { Joins::NONE };
        Ok(Self {
            words,
            merges: Merges::new(first, halves, early),
            whole,
            owner: Owner::new(),
            joins,
            bytes,
            starts,
        })
    }

    /// How many tokens there are.
    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// A token's bytes.
    pub(crate) fn token_bytes(&self, token: Token) -> Option<&[u8]> {
        let [start, end] = *self.starts.get(token as usize..)?.first_chunk()?;
        self.bytes.get(start as usize..end as usize)
    }

    /// Tells all that decides on a word's tokens: their bytes, what they are made of, and which are whole words alone.
    #[cfg(feature = "cache")]
    pub(crate) fn tell(&self, tell: &mut dyn FnMut(&[u8])) {
        tell(&(self.starts.len() as u64).to_le_bytes());
        self.starts.iter().for_each(|start| tell(&start.to_le_bytes()));
        tell(&self.bytes);
        tell(&[u8::from(self.whole.is_empty())]);
        self.merges.tell(tell);
    }

    /// Encodes up to [`BATCH`](super::BATCH) words one after the other from `at` on, where `ends` says that they end. `go_on` is
    /// asked behind the last of them at least, and behind a long one; whether to go on is the answer.
    #[inline]
    pub(crate) fn encode_all<S: Stack>(
        &self,
        memo: &mut Memo,
        text: &[u8],
        at: usize,
        ends: &[usize],
        out: &mut S,
        go_on: impl FnMut(&S) -> bool,
    ) -> bool {
        let (new, goes_on) = if memo.is_new() {
            self.encode_together(memo, text, at, ends, out, go_on)
        } else {
            self.encode_in_turn(memo, text, at, ends, out, go_on)
        };
        memo.remember(new, ends.len());
        goes_on
    }

    /// [`Self::encode_all`] word by word. How many words were new, and whether to go on.
    #[inline(never)]
    pub(super) fn encode_in_turn<S: Stack>(
        &self,
        memo: &mut Memo,
        text: &[u8],
        mut start: usize,
        ends: &[usize],
        out: &mut S,
        mut go_on: impl FnMut(&S) -> bool,
    ) -> (usize, bool) {
        let (mut slots, scratch) = memo.parts();
        let mut new = 0;
        for &end in ends {
            let length = end - start;
            let window = window(text, start);
            let [first, second, ..] = window[0].to_le_bytes();
            if length > MEMO_BYTES {
                self.encode_long(&mut slots, scratch, text, (start, end), out);
            } else if length <= 2 && self.whole.is_empty() {
                let pair = self.merges.merged_bytes([first, second]);
                if length == 1 || pair == Token::MAX {
                    out.push(self.words.byte(first));
                    if length == 2 {
                        out.push(self.words.byte(second));
                    }
                } else {
                    out.push(pair);
                }
            } else {
                let key = memoized(window, length, self.owner);
                let (tokens, is_it) = slots.find(key);
                if is_it {
                    let [first, second, third] = tokens.tokens();
                    out.push(first);
                    if tokens.count() > 1 {
                        out.push(second);
                        if tokens.count() > 2 {
                            out.push(third);
                        }
                    }
                } else {
                    new += 1;
                    self.encode_and_keep(&mut slots, text, (start, end), key, out);
                }
            }
            start = end;
            if !go_on(out) {
                return (new, false);
            }
        }
        (new, true)
    }

    #[inline(never)]
    fn encode_and_keep(
        &self,
        slots: &mut Slots<'_>,
        text: &[u8],
        place: (usize, usize),
        key: Window,
        out: &mut impl Stack,
    ) {
        let mut many = [0; FEW];
        let tokens = match self.token(text, place, key) {
            Some(token) => Packed::one(token),
            None => self.encode_parted(text, place, &mut many),
        };
        let count = tokens.count();
        let few = tokens.tokens();
        out.extend(if count > 3 { many.get(..count) } else { few.get(..count) }.unwrap_or_default());
        slots.keep(key, tokens);
    }

    /// The token that a word of at most [`MEMO_BYTES`] is, if that can be known at a look.
    #[inline]
    pub(super) fn token(&self, text: &[u8], (start, end): (usize, usize), key: Window) -> Option<Token> {
        match self.whole_word(text, start, end) {
            None if end - start <= SHORT => self.words.short(key, end - start),
            token => token,
        }
    }

    /// A word of at most [`MEMO_BYTES`] for which [`Self::token`] gives none. More than three tokens go to `many`.
    #[inline]
    pub(super) fn encode_parted(
        &self,
        text: &[u8],
        (start, end): (usize, usize),
        many: &mut [Token; FEW],
    ) -> Packed {
        let word = text.get(start..end).unwrap_or_default();
        let count = match word.len() {
            ..=8 => word::merge_eight(&self.words, &self.merges, word, many),
            length => {
                let least = if length <= SHORT { 2 } else { 1 };
                word::merge(&self.words, &self.merges, word, least, many)
            }
        };
        let [first, second, third, ..] = *many;
        match count {
            1 => Packed::one(first),
            2 => Packed::two([first, second]),
            3 => Packed::three([first, second, third]),
            _ => Packed::many(count),
        }
    }

    /// A longer word.
    #[inline]
    pub(super) fn encode_long(
        &self,
        slots: &mut Slots<'_>,
        scratch: &mut Scratch,
        text: &[u8],
        (start, end): (usize, usize),
        out: &mut impl Stack,
    ) {
        if let Some(token) = self.whole_word(text, start, end) {
            return out.push(token);
        }
        if self.joins.may_cut(text.get(start..end).unwrap_or_default()) {
            let first = self.joins.cut(text, start, end);
            if first < end {
                return self.encode_cut(slots, scratch, text, (start, first, end), out);
            }
        }
        word::encode(&self.words, &self.merges, scratch, text, (start, end), out);
    }

    /// A word that can be cut, the first time at the second place.
    #[inline(never)]
    fn encode_cut(
        &self,
        slots: &mut Slots<'_>,
        scratch: &mut Scratch,
        text: &[u8],
        (mut start, mut cut, end): (usize, usize, usize),
        out: &mut impl Stack,
    ) {
        while start < end {
            if cut - start > MEMO_BYTES {
                word::encode(&self.words, &self.merges, scratch, text, (start, cut), out);
            } else {
                let key = memoized(window(text, start), cut - start, self.owner);
                let (tokens, is_it) = slots.find(key);
                if is_it {
                    out.extend(tokens.tokens().get(..tokens.count()).unwrap_or_default());
                } else {
                    self.encode_and_keep(slots, text, (start, cut), key, out);
                }
            }
            start = cut;
            cut = self.joins.cut(text, start, end);
        }
    }

    #[inline]
    pub(super) fn whole_word(&self, text: &[u8], start: usize, end: usize) -> Option<Token> {
        if self.whole.is_empty() {
            return None;
        }
        self.whole.get(text.get(start..end)?).copied()
    }

    #[cfg(test)]
    pub(super) fn merges(&self) -> &Merges {
        &self.merges
    }
}

/// The tokens' bytes, and where each begins; one more, for the end.
struct Texts {
    bytes: Vec<u8>,
    starts: Vec<u32>,
}

impl Texts {
    fn of_bytes(first: &[u8; 256]) -> Self {
        Self { bytes: first.to_vec(), starts: (0..=256).collect() }
    }

    /// The next token's bytes end where they do now.
    fn end_token(&mut self) -> Result<()> {
        if self.starts.len() > 1 << TOKEN_BITS {
            return Err(corrupt("it has more than a million tokens"));
        }
        let start = self.starts.last().copied().unwrap_or(0);
        match u32::try_from(self.bytes.len()) {
            Ok(end) if (end - start) as usize <= MAX_TOKEN_BYTES => self.starts.push(end),
            _ => return Err(corrupt("a token is longer than 1,024 bytes")),
        }
        Ok(())
    }
}

impl std::fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vocabulary({} tokens)", self.len())
    }
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Local, format!("this is no vocabulary: {what}"))
}
