//! Which members of a pool are still in question: one bit each, on the stack.

/// Most endpoints in one pool. Sixteen words: a decision copies them without an allocation.
pub const MAX_MEMBERS: usize = 1024;

const WORDS: usize = MAX_MEMBERS / 64;

/// A set of members, by their number in the pool.
#[derive(Debug, Clone, Copy)]
pub struct Mask {
    /// All from `used` on are zero.
    words: [u64; WORDS],
    /// The words that may not be zero: most pools need a few, and no step looks at the others.
    used: usize,
}

impl Mask {
    /// None.
    pub const EMPTY: Self = Self { words: [0; WORDS], used: 0 };

    /// The first `count`, at most [`MAX_MEMBERS`].
    pub fn first(count: usize) -> Self {
        let mut mask = Self::EMPTY;
        (0..count.min(MAX_MEMBERS)).for_each(|index| mask.insert(index));
        mask
    }

    /// Puts a member in; a number that no pool has changes nothing.
    pub fn insert(&mut self, index: usize) {
        if let Some(word) = self.words.get_mut(index / 64) {
            *word |= 1 << (index % 64);
            self.used = self.used.max(index / 64 + 1);
        }
    }

    /// Takes a member out.
    pub fn remove(&mut self, index: usize) {
        if let Some(word) = self.words.get_mut(index / 64) {
            *word &= !(1 << (index % 64));
        }
    }

    /// Whether that member is in.
    pub fn contains(&self, index: usize) -> bool {
        self.words.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Keeps those that are in `other`, too.
    pub fn keep(&mut self, other: &Self) {
        let used = self.used();
        self.words[..used].iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
        self.used = used.min(other.used());
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.words().iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether none.
    pub fn is_empty(&self) -> bool {
        self.words().iter().all(|word| *word == 0)
    }

    /// Keeps those that are in all of `others`, too, in one pass and without a copy; how many are in all of `others`, and how many
    /// are left. Members beyond the words of this mask are not counted: it has a word for each of its pool's.
    pub(crate) fn keep_all(&mut self, others: &[&Self]) -> (usize, usize) {
        let used = self.used();
        let (mut able, mut left) = (0, 0);
        for (at, word) in self.words[..used].iter_mut().enumerate() {
            let others = others.iter().fold(!0, |all, other| all & other.words[at]);
            *word &= others;
            able += others.count_ones();
            left += word.count_ones();
        }
        (able as usize, left as usize)
    }

    /// The members in order, into a list; how many they are, unless they are more than it holds. For a few it is cheaper to take each
    /// out once than to look for it among the bits.
    pub(crate) fn list(&self, into: &mut [u16]) -> Option<usize> {
        let mut count = 0;
        for (&word, base) in self.words().iter().zip((0_u16..).step_by(64)) {
            let mut word = word;
            while word != 0 {
                *into.get_mut(count)? = base + u16::try_from(word.trailing_zeros()).unwrap_or(0);
                count += 1;
                word &= word - 1;
            }
        }
        Some(count)
    }

    /// How many are in each word and all before it, and how many there are: taken once for several draws.
    pub(crate) fn sums(&self) -> ([u16; WORDS], usize) {
        let mut sums = [0; WORDS];
        let mut sum = 0_u16;
        for (slot, word) in sums.iter_mut().zip(self.words()) {
            sum += u16::try_from(word.count_ones()).unwrap_or(0);
            *slot = sum;
        }
        (sums, sum.into())
    }

    /// The member with `rank` others before it, by sums that are known.
    pub(crate) fn select_by(&self, sums: &[u16; WORDS], rank: usize) -> Option<usize> {
        let rank = u16::try_from(rank).ok()?;
        // Counted, not searched for: which word it is no processor can guess. The last is it where no other is.
        let (last, before) = sums[..self.used()].split_last()?;
        if *last <= rank {
            return None;
        }
        let mut at = 0;
        for sum in before {
            at += usize::from(*sum <= rank);
        }
        let word = *self.words().get(at)?;
        let before = at.checked_sub(1).map_or(0, |before| sums[before]);
        Some(at * 64 + nth_bit(word, usize::from(rank - before)))
    }

    /// The member with `rank` others before it.
    pub fn select(&self, rank: usize) -> Option<usize> {
        self.select_by(&self.sums().0, rank)
    }

    /// The first member that is not before `from`; after the last comes the first again.
    pub fn next_from(&self, from: usize) -> Option<usize> {
        let from = from % MAX_MEMBERS;
        let words = self.words();
        let (start, low) = match from / 64 {
            start if start < words.len() => (start, !0 << (from % 64)),
            _ => (0, !0),
        };
        let (before, after) = words.split_at(start);
        let first = |words: &[u64], base: usize| {
            let at = words.iter().position(|word| *word != 0)?;
            Some((base + at) * 64 + words[at].trailing_zeros() as usize)
        };
        let (&word, rest) = after.split_first()?;
        first(&[word & low], start)
            .or_else(|| first(rest, start + 1))
            .or_else(|| first(before, 0))
            .or_else(|| first(&[word & !low], start))
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words().iter().enumerate().flat_map(|(at, &word)| {
            let mut word = word;
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(at * 64 + bit)
            })
        })
    }

    fn used(&self) -> usize {
        self.used.min(WORDS)
    }

    /// The words that may not be zero.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words[..self.used()]
    }

    /// Of words in order, at most sixteen.
    pub(crate) fn from_words(words: impl Iterator<Item = u64>) -> Self {
        let mut mask = Self::EMPTY;
        for (slot, word) in mask.words.iter_mut().zip(words) {
            *slot = word;
            mask.used += 1;
        }
        mask
    }
}

impl PartialEq for Mask {
    fn eq(&self, other: &Self) -> bool {
        self.words == other.words
    }
}

impl Eq for Mask {}

const EVERY_BYTE: u64 = 0x0101_0101_0101_0101;

/// Where the bit is that has `rank` set ones below it, of a word that has more than `rank`. Vigna's selection (WEA 2008): the
/// byte by sums of all bytes at once, then its bits, one to a byte, likewise; no branch to be guessed wrong, and no table.
fn nth_bit(word: u64, rank: usize) -> usize {
    let rank = rank as u64;
    let pairs = word - ((word >> 1) & (0x55 * EVERY_BYTE));
    let fours = (pairs & (0x33 * EVERY_BYTE)) + ((pairs >> 2) & (0x33 * EVERY_BYTE));
    // In each byte: how many are set in it and all below.
    let sums = ((fours + (fours >> 4)) & (0x0f * EVERY_BYTE)).wrapping_mul(EVERY_BYTE);
    let at = below(sums, rank).min(7) * 8;
    let rank = rank.wrapping_sub((sums << 8) >> at & 0xff);
    // Bit i of that byte alone in byte i; then a one in each byte that is not zero.
    let spread = (word >> at & 0xff).wrapping_mul(EVERY_BYTE) & 0x8040_2010_0804_0201;
    let ones = ((spread | ((spread | HIGH) - EVERY_BYTE)) >> 7) & EVERY_BYTE;
    let bit = at + below(ones.wrapping_mul(EVERY_BYTE), rank);
    (bit & 63) as usize
}

/// The upper bit of every byte.
const HIGH: u64 = 0x80 * EVERY_BYTE;

/// How many of the bytes, none of which is over 127, are not above the rank.
fn below(sums: u64, rank: u64) -> u64 {
    let not_above = (((rank & 0x7f).wrapping_mul(EVERY_BYTE) | HIGH) - sums) & HIGH;
    (not_above >> 7).wrapping_mul(EVERY_BYTE) >> 56
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_plain_set() {
        let members = [0, 1, 63, 64, 200, 640, 1023];
        let mut mask = Mask::EMPTY;
        members.iter().for_each(|&index| mask.insert(index));
        mask.insert(5000);
        assert_eq!(mask.iter().collect::<Vec<_>>(), members);
        assert_eq!(mask.len(), members.len());
        for (rank, &index) in members.iter().enumerate() {
            assert_eq!(mask.select(rank), Some(index));
            assert_eq!(mask.select_by(&mask.sums().0, rank), Some(index));
        }
        assert_eq!(mask.select(members.len()), None);
        let mut list = [0; 8];
        assert_eq!(mask.list(&mut list), Some(7));
        assert!(list.iter().zip(members).all(|(&listed, index)| usize::from(listed) == index), "{list:?}");
        assert_eq!(mask.list(&mut [0; 6]), None, "more than it holds");
        let mut kept = mask;
        assert_eq!(kept.keep_all(&[&Mask::first(500), &Mask::first(65)]), (65, 4));
        assert_eq!(kept.iter().collect::<Vec<_>>(), [0, 1, 63, 64]);
        assert_eq!((kept.keep_all(&[&Mask::EMPTY]), kept.len()), ((0, 0), 0));
        for from in 0..MAX_MEMBERS {
            let next = members.iter().find(|&&index| index >= from).unwrap_or(&members[0]);
            assert_eq!(mask.next_from(from), Some(*next), "from {from}");
        }
        assert_eq!(Mask::EMPTY.next_from(7), None);
        mask.remove(64);
        mask.keep(&Mask::first(65));
        assert_eq!(mask.iter().collect::<Vec<_>>(), [0, 1, 63]);
        assert_eq!(Mask::first(9999).len(), MAX_MEMBERS);
        assert_eq!(
            mask,
            Mask::from_words([3 | 1 << 63, 0, 0].into_iter()),
            "however many words are looked at"
        );
    }

    #[test]
    fn the_nth_bit_of_any_word() {
        let mut draw = crate::Draw::seeded(3);
        let words = [1, !0, 1 << 63, 0xff << 56, 0x8000_0000_8000_0001].into_iter();
        for word in words.chain((0..5_000).map(|at| draw.bits() & (draw.bits() | !0 << (at % 64)))) {
            let set = (0..64).filter(|bit| word >> bit & 1 == 1);
            for (rank, bit) in set.enumerate() {
                assert_eq!(nth_bit(word, rank), bit, "{word:#x}, {rank}");
            }
        }
    }
}
