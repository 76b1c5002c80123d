//! [`Words`]: which bytes are a token, and which is the longest that a text begins with.
//!
//! Nineteen of twenty words of prose are one token, so the question "is this word one" is most of the work. A token of up to
//! twelve bytes lies whole in its slot of sixteen, with its length and number: one hash, mostly one cache line, no
//! look elsewhere. Longer ones are found by their first twelve bytes.

use super::merges::Token;

/// The longest token that lies in its slot.
pub(super) const SHORT: usize = 12;
/// In the place of a length: the first twelve bytes of longer tokens.
const PREFIX: u64 = 15;

/// Which bytes are a token.
pub(super) struct Words {
    /// Open addressing: eight bytes, then four more, the length (4 bits) and from bit 40 on the token plus one. 0 is free.
    slots: Vec<[u64; 2]>,
    /// Which hashes there are at all, a bit each: small enough to stay near where the slots do not.
    filter: Vec<u64>,
    /// By a hash of their first four bytes, of which lengths there are tokens, 4 and 5. More bits than true cost a search, no
    /// more.
    shorter: Vec<u8>,
    /// By a hash of their first six bytes, two ideographs say, of which lengths, 6 to 12, and with bit 15 whether longer.
    longer: Vec<u16>,
    /// The tokens longer than twelve bytes, those with one beginning together and the longest first.
    long: Vec<(Token, Box<[u8]>)>,
    /// Where in `long` each beginning's tokens are.
    groups: Vec<std::ops::Range<usize>>,
    /// The byte's own token.
    bytes: [Token; 256],
    /// The two bytes' own, the first in the lower half of the place; `Token::MAX` for none.
    pairs: Vec<Token>,
    /// Those of the characters from U+4000 to U+9FFF.
    ideographs: Vec<Token>,
}

/// Sixteen bytes of a text from some place on; zeros behind its end.
pub(super) type Window = [u64; 2];

#[inline]
pub(super) fn window(text: &[u8], at: usize) -> Window {
    match text.get(at..).and_then(|bytes| bytes.first_chunk::<16>()) {
        Some(bytes) => halves(u128::from_le_bytes(*bytes)),
        None => short_window(text, at),
    }
}

/// [`window`] of the last places of a text: what it ends with, moved to where it begins.
#[cold]
fn short_window(text: &[u8], at: usize) -> Window {
    let behind = (at + 16).saturating_sub(text.len());
    if let (Some(last), ..16) = (text.last_chunk::<16>(), behind) {
        return halves(u128::from_le_bytes(*last) >> (8 * behind));
    }
    let mut bytes = [0u8; 16];
    for (byte, from) in bytes.iter_mut().zip(text.get(at..).unwrap_or_default()) {
        *byte = *from;
    }
    halves(u128::from_le_bytes(bytes))
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lower half, and the upper")]
fn halves(bytes: u128) -> Window {
    [bytes as u64, (bytes >> 64) as u64]
}

/// The place among the characters from U+4000 to U+9FFF of that which the window begins with: three bytes, E4 to E9 the first.
#[inline]
fn ideograph(window: Window) -> Option<usize> {
    let [first, second, third, ..] = window[0].to_le_bytes();
    let is_one =
        matches!(first, 0xE4..=0xE9) && second & third & 0xC0 == 0x80 && (second | third) & 0x40 == 0;
    is_one.then(|| {
        usize::from(first - 0xE4) << 12 | usize::from(second & 0x3F) << 6 | usize::from(third & 0x3F)
    })
}

/// The first `length` bytes, up to twelve, and the length itself.
#[inline]
fn key(window: Window, length: usize) -> Window {
    const LOW: [u64; 16] = masks(0);
    const HIGH: [u64; 16] = masks(8);
    let length = length & 15;
    [window[0] & LOW[length], window[1] & HIGH[length] | (length as u64) << 32]
}

/// By length: which bits of the eight bytes from `from` on are within it.
pub(super) const fn masks(from: usize) -> [u64; 16] {
    let mut masks = [0; 16];
    let mut length = from + 1;
    while length < 16 {
        masks[length] = if length - from >= 8 { u64::MAX } else { (1 << ((length - from) * 8)) - 1 };
        length += 1;
    }
    masks
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "halves of a product; an index is masked")]
pub(super) fn hash(key: Window) -> usize {
    let product = u128::from(key[0] ^ 0x9E37_79B9_7F4A_7C15) * u128::from(key[1] ^ 0xD1B5_4A32_D192_ED03);
    (product as u64 ^ (product >> 64) as u64) as usize
}

/// Where the lengths of tokens with these first four bytes are.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "four bytes; then 17 bits")]
fn by_four(window: Window) -> usize {
    ((window[0] as u32).wrapping_mul(0x9E37_79B1) >> (32 - LENGTH_BITS)) as usize
}

/// Where the lengths of tokens with these first six bytes are.
#[inline]
fn by_six(window: Window) -> usize {
    ((window[0] << 16).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - LENGTH_BITS)) as usize
}

const LENGTH_BITS: u32 = 17;
/// Ten for each token of the larger vocabularies, 256 KiB: one question in ten goes on to the slots in vain.
const FILTER_BITS: usize = 1 << 21;

impl Words {
    /// The tokens with their bytes, by number.
    pub(super) fn new<'t>(tokens: impl ExactSizeIterator<Item = &'t [u8]>) -> Self {
        let mut words = Self {
            slots: vec![[0; 2]; (tokens.len() * 2).next_power_of_two().max(64)],
            filter: vec![0; FILTER_BITS / 64],
            shorter: vec![0; 1 << LENGTH_BITS],
            longer: vec![0; 1 << LENGTH_BITS],
            long: Vec::new(),
            groups: Vec::new(),
            bytes: [0; 256],
            pairs: vec![Token::MAX; 1 << 16],
            ideographs: vec![Token::MAX; 6 << 12],
        };
        for (token, bytes) in (0..).zip(tokens) {
            if let [byte] = bytes {
                words.bytes[usize::from(*byte)] = token;
            }
            if let [first, second] = bytes {
                words.pairs[usize::from(*first) | usize::from(*second) << 8] = token;
            }
            if let (3, Some(place)) = (bytes.len(), ideograph(window(bytes, 0)))
                && let Some(slot) = words.ideographs.get_mut(place)
            {
                *slot = token;
            }
            if bytes.len() > SHORT {
                words.long.push((token, bytes.into()));
            } else {
                words.insert(key(window(bytes, 0), bytes.len()), token);
            }
            match bytes.len() {
                0..4 => {}
                length @ 4..6 => words.shorter[by_four(window(bytes, 0))] |= 1 << length,
                length @ ..=SHORT => words.longer[by_six(window(bytes, 0))] |= 1 << length,
                _ => words.longer[by_six(window(bytes, 0))] |= 1 << PREFIX,
            }
        }
        words.group();
        words
    }

    fn group(&mut self) {
        self.long.sort_unstable_by(|(_, a), (_, b)| {
            a.get(..SHORT).cmp(&b.get(..SHORT)).then_with(|| b.len().cmp(&a.len()))
        });
        let long = std::mem::take(&mut self.long);
        let mut start = 0;
        for group in long.chunk_by(|(_, a), (_, b)| a.get(..SHORT) == b.get(..SHORT)) {
            if let (Some((_, bytes)), Ok(number)) = (group.first(), Token::try_from(self.groups.len())) {
                self.insert(prefix(window(bytes, 0)), number);
                self.groups.push(start..start + group.len());
            }
            start += group.len();
        }
        self.long = long;
    }

    fn insert(&mut self, key: Window, token: Token) {
        let mask = self.slots.len() - 1;
        let hash = hash(key);
        if let Some(bits) = self.filter.get_mut(hash % FILTER_BITS / 64) {
            *bits |= 1 << (hash % 64);
        }
        let mut at = hash & mask;
        // Not more than half full: there is a free one.
        while let Some(slot) = self.slots.get_mut(at) {
            if slot[1] == 0 {
                *slot = [key[0], key[1] | (u64::from(token) + 1) << 40];
                return;
            }
            at = (at + 1) & mask;
        }
    }

    #[inline]
    fn find(&self, key: Window) -> Option<Token> {
        let hash = hash(key);
        let bits = self.filter.get(hash % FILTER_BITS / 64)?;
        if bits >> (hash % 64) & 1 == 0 {
            return None;
        }
        self.find_at(key, hash)
    }

    /// Where the answer is likely yes, and the filter one look more.
    #[inline]
    fn find_at(&self, key: Window, hash: usize) -> Option<Token> {
        let mask = self.slots.len() - 1;
        let mut at = hash & mask;
        loop {
            let slot = self.slots.get(at)?;
            if slot[0] == key[0] && slot[1] & 0xFF_FFFF_FFFF == key[1] {
                return Some((slot[1] >> 40) as Token - 1);
            }
            if slot[1] == 0 {
                return None;
            }
            at = (at + 1) & mask;
        }
    }

    /// The byte's own token.
    #[inline]
    pub(super) fn byte(&self, byte: u8) -> Token {
        self.bytes[usize::from(byte)]
    }

    /// The token that the first two bytes of the window are, or `Token::MAX`.
    #[inline]
    pub(super) fn pair(&self, window: Window) -> Token {
        self.pairs.get((window[0] & 0xFFFF) as usize).copied().unwrap_or(Token::MAX)
    }

    /// The token that is the first `length` bytes, if there is one; 1 to 12 of them.
    #[inline]
    pub(super) fn short(&self, window: Window, length: usize) -> Option<Token> {
        self.find(key(window, length))
    }

    /// The longest token that `text[at..end]` begins with, of at most `limit` bytes, and its length. `limit` is 1 or more.
    #[inline]
    pub(super) fn longest(&self, text: &[u8], at: usize, end: usize, limit: usize) -> (Token, usize) {
        let left = limit.min(end - at);
        let window = window(text, at);
        if left >= 4 {
            let mut lengths = self.shorter.get(by_four(window)).copied().map_or(0, u32::from);
            if left >= 6 {
                lengths |= self.longer.get(by_six(window)).copied().map_or(0, u32::from);
                if lengths >> PREFIX != 0
                    && left > SHORT
                    && let Some(found) = self.long(text, at, left, window)
                {
                    return found;
                }
            }
            lengths &= (2 << left.min(SHORT)) - 1;
            while lengths != 0 {
                let length = lengths.ilog2();
                let key = key(window, length as usize);
                if let Some(token) = self.find_at(key, hash(key)) {
                    return (token, length as usize);
                }
                lengths ^= 1 << length;
            }
        }
        if left >= 3 {
            if let Some(place) = ideograph(window) {
                match self.ideographs.get(place) {
                    Some(&token) if token != Token::MAX => return (token, 3),
                    _ => {}
                }
            } else if let Some(token) = self.short(window, 3) {
                return (token, 3);
            }
        }
        if left >= 2 {
            let token = self.pair(window);
            if token != Token::MAX {
                return (token, 2);
            }
        }
        (self.bytes[(window[0] & 0xFF) as usize], 1)
    }

    #[cold]
    fn long(&self, text: &[u8], at: usize, left: usize, window: Window) -> Option<(Token, usize)> {
        let group = self.find(prefix(window))?;
        let text = text.get(at..at + left)?;
        let group = self.long.get(self.groups.get(group as usize)?.clone())?;
        group.iter().find(|(_, bytes)| text.starts_with(bytes)).map(|(token, bytes)| (*token, bytes.len()))
    }
}

/// The key of the tokens that begin with these twelve bytes.
fn prefix(window: Window) -> Window {
    let key = key(window, SHORT);
    [key[0], key[1] & 0xFFFF_FFFF | PREFIX << 32]
}
