//! Which members of a pool are still in question: one bit each, on the stack.

/// Most endpoints in one pool. Sixteen words: a decision copies them without an allocation.
pub const MAX_MEMBERS: usize = 1024;

const WORDS: usize = MAX_MEMBERS / 64;

/// A set of members, by their number in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask([u64; WORDS]);

impl Mask {
    /// None.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// The first `count`, at most [`MAX_MEMBERS`].
    pub fn first(count: usize) -> Self {
        let mut mask = Self::EMPTY;
        (0..count.min(MAX_MEMBERS)).for_each(|index| mask.insert(index));
        mask
    }

    /// Puts a member in; a number that no pool has changes nothing.
    pub fn insert(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
    }

    /// Takes a member out.
    pub fn remove(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / 64) {
            *word &= !(1 << (index % 64));
        }
    }

    /// Whether that member is in.
    pub fn contains(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Keeps those that are in `other`, too.
    pub fn keep(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// How many are in each word: taken once for several draws.
    pub(crate) fn counts(&self) -> ([u16; WORDS], usize) {
        let mut counts = [0; WORDS];
        let mut sum = 0;
        for (count, word) in counts.iter_mut().zip(&self.0) {
            // An empty word costs a comparison, and most pools are small.
            *count = if *word == 0 { 0 } else { u16::try_from(word.count_ones()).unwrap_or(0) };
            sum += usize::from(*count);
        }
        (counts, sum)
    }

    /// As [`select`](Self::select), by counts that are known.
    pub(crate) fn select_by(&self, counts: &[u16; WORDS], mut rank: usize) -> Option<usize> {
        for (at, &here) in counts.iter().enumerate() {
            let here = usize::from(here);
            if rank < here {
                return Some(at * 64 + nth_bit(self.0[at], rank));
            }
            rank -= here;
        }
        None
    }

    /// The member with `rank` others before it.
    pub fn select(&self, mut rank: usize) -> Option<usize> {
        for (at, &word) in self.0.iter().enumerate() {
            let here = word.count_ones() as usize;
            if rank < here {
                return Some(at * 64 + nth_bit(word, rank));
            }
            rank -= here;
        }
        None
    }

    /// The first member that is not before `from`; after the last comes the first again.
    pub fn next_from(&self, from: usize) -> Option<usize> {
        let from = from % MAX_MEMBERS;
        let (start, low) = (from / 64, !0 << (from % 64));
        for step in 0..=WORDS {
            let at = (start + step) % WORDS;
            let word = match step {
                0 => self.0[at] & low,
                WORDS => self.0[at] & !low,
                _ => self.0[at],
            };
            if word != 0 {
                return Some(at * 64 + word.trailing_zeros() as usize);
            }
        }
        None
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(at, &word)| {
            let mut word = word;
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(at * 64 + bit)
            })
        })
    }

    pub(crate) fn words(&self) -> &[u64; WORDS] {
        &self.0
    }

    pub(crate) fn from_words(words: [u64; WORDS]) -> Self {
        Self(words)
    }
}

/// Where the bit is that has `rank` set ones below it.
fn nth_bit(mut word: u64, mut rank: usize) -> usize {
    if word == !0 {
        return rank;
    }
    // Byte by byte first, so that no draw takes 64 steps.
    let mut base = 0;
    loop {
        let here = (word & 0xff).count_ones() as usize;
        if rank < here || base >= 56 {
            break;
        }
        rank -= here;
        word >>= 8;
        base += 8;
    }
    (0..rank).for_each(|_| word &= word.wrapping_sub(1));
    base + word.trailing_zeros() as usize
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
            assert_eq!(mask.select_by(&mask.counts().0, rank), Some(index));
        }
        assert_eq!(mask.select(members.len()), None);
        for from in 0..MAX_MEMBERS {
            let next = members.iter().find(|&&index| index >= from).unwrap_or(&members[0]);
            assert_eq!(mask.next_from(from), Some(*next), "from {from}");
        }
        assert_eq!(Mask::EMPTY.next_from(7), None);
        mask.remove(64);
        mask.keep(&Mask::first(65));
        assert_eq!(mask.iter().collect::<Vec<_>>(), [0, 1, 63]);
        assert_eq!(Mask::first(9999).len(), MAX_MEMBERS);
    }
}
