//! Whether a text is worth a place. Where nothing is ever asked twice, keeping it costs for nothing; so while almost nothing
//! hits, a text is looked for and gets a place when it is seen the second time (the doorkeeper of TinyLFU, Einziger et al. 2017),
//! and costs the hash of a sample and a word until then. Where nothing hits at all, seven texts or prompts in eight are not even looked
//! at, until one of the others hits. A cache in which nothing ever has learns that by bytes, which is what it costs to keep them: a dozen
//! texts of a kilobyte are enough.
//!
//! What is not looked at today is looked at soon: which texts are changes all the time, so that one text that is asked for again and again
//! is found before 250 others are computed, whatever was before, and one that comes now and then is in no worse a place than others. A
//! prompt of many segments counts as that many, and each thread counts for itself: it takes some such turns more.
//!
//! What chats append is seen by itself ([`looks_at_appended`](Admission::looks_at_appended)): it is new in most of them, however
//! much of what stands before it hits.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// Texts remembered by their hash.
const SEEN: usize = 4096;
/// The share of hits is kept in parts of this, as an average over some hundred look-ups. It is of what is looked at: each prompt that is
/// found whole counts as a hit, and of the short texts that such prompts append, while hardly any is there, only one miss in eight. So
/// where there are chats it is higher than of all texts, and the doorkeeper later to stand.
const ONE: u32 = 1 << 16;
const WEIGHT: u32 = 256;
/// Below one hit in sixteen the doorkeeper stands.
const SELDOM: u32 = ONE / 16;
/// Below one hit in sixty-four, one text in eight is looked at; one that hits makes it twice as many, which is all for some two
/// hundred look-ups.
const NEVER: u32 = ONE / 64;
/// Until the first hit a miss counts once more for each so many bytes, and as often as that at most: of a new cache the first fifty short
/// texts are kept whatever they are, and three hundred more are looked at; of texts of 2 KiB it is the first seven and forty.
const NEW_BYTES: usize = 256;
const NEW_MOST: u32 = 9;
/// Which one in eight it is changes: texts may be alike where it is seen. Half of them change after so many that are computed, for texts
/// that come in a row (three times: to be seen, to be kept, to hit); the other half after so many, for those that seldom come.
const TURNS: [u64; 2] = [16, 1024];
/// 2⁶⁴ ÷ the golden ratio, whose product has the highest bits of all (Knuth, volume 3, §6.4).
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// How many of the last look-ups hit.
#[derive(Debug)]
struct Share {
    /// In parts of [`ONE`].
    parts: AtomicU32,
    /// Whether one ever did.
    has_hit: AtomicBool,
}

impl Share {
    fn of(parts: u32, has_hit: bool) -> Self {
        Self { parts: AtomicU32::new(parts), has_hit: AtomicBool::new(has_hit) }
    }

    #[inline]
    fn parts(&self) -> u32 {
        self.parts.load(Relaxed)
    }

    /// One more, of a text of so many bytes. Races lose a look-up now and then, which an average bears.
    fn note(&self, hit: bool, bytes: usize) {
        let (now, has_hit) = (self.parts(), self.has_hit.load(Relaxed));
        let next = match (hit, has_hit) {
            (true, _) => (now - now / WEIGHT + ONE / WEIGHT).max(2 * NEVER),
            (false, true) => now - now / WEIGHT,
            (false, false) => {
                let times =
                    u32::try_from(1 + bytes / NEW_BYTES).map_or(NEW_MOST, |times| times.min(NEW_MOST));
                now - now / WEIGHT * times
            }
        };
        if next != now {
            self.parts.store(next, Relaxed);
        }
        if hit && !has_hit {
            self.has_hit.store(true, Relaxed);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Admission {
    hits: Share,
    /// Of what prompts that are known append.
    appended: Share,
    /// Whether something is here that nobody asked for before, and that is to be found whatever hits.
    is_given: AtomicBool,
    seen: Box<[AtomicU64]>,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            // A little above what makes the doorkeeper stand: a new cache gives the first ones a chance, whatever they are.
            hits: Share::of(SELDOM + SELDOM / 4, false),
            // As behind one that has hit.
            appended: Share::of(2 * NEVER, true),
            is_given: AtomicBool::new(false),
            seen: (0..SEEN).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Admission {
    /// A text of so many bytes was looked at.
    pub(crate) fn note(&self, hit: bool, bytes: usize) {
        self.hits.note(hit, bytes);
    }

    /// [`note`](Self::note) of a text that was appended to a prompt.
    pub(crate) fn note_appended(&self, hit: bool, bytes: usize) {
        self.appended.note(hit, bytes);
    }

    /// Whether a text is looked at, by one who has computed so many, which is asked for only where it matters.
    #[inline]
    pub(crate) fn looks(&self, text: &str, computed: impl FnOnce() -> u64) -> bool {
        self.looks_at_all() || is_its_turn(mark(text), computed())
    }

    /// The same of a short text that a prompt appends which is known.
    #[inline]
    pub(crate) fn looks_at_appended(&self, text: &str, computed: impl FnOnce() -> u64) -> bool {
        self.appended.parts() >= NEVER || self.is_given.load(Relaxed) || is_its_turn(mark(text), computed())
    }

    /// Whether a prompt is looked at that begins with a text of so many bytes. Not by what they are: memory that is far would be waited
    /// for.
    #[inline]
    pub(crate) fn looks_at_prompt(&self, bytes: usize, computed: impl FnOnce() -> u64) -> bool {
        self.looks_at_all() || is_its_turn(bytes as u64, computed())
    }

    #[inline]
    fn looks_at_all(&self) -> bool {
        self.hits.parts() >= NEVER || self.is_given.load(Relaxed)
    }

    /// Something is kept that nobody asked for: from now on all is looked at.
    pub(crate) fn give(&self) {
        self.is_given.store(true, Relaxed);
    }

    /// That text is about to be asked for, and admitted then.
    #[cfg(feature = "redis")]
    pub(crate) fn expect(&self, hash: u64) {
        self.give();
        let index = usize::try_from(hash % SEEN as u64).unwrap_or_default();
        if let Some(seen) = self.seen.get(index) {
            seen.store(hash, Relaxed);
        }
    }

    /// Whether a text is worth a look, and a place if it has none. Of texts with the same hash, one that is not in their place at
    /// a glance is computed once more before it is looked for.
    pub(crate) fn admits(&self, hash: u64) -> bool {
        if self.hits.parts() >= SELDOM {
            return true;
        }
        let index = usize::try_from(hash % SEEN as u64).unwrap_or_default();
        self.seen.get(index).is_none_or(|seen| {
            // Not at once: of two threads that see a text the first time together none need know.
            let is_known = seen.load(Relaxed) == hash;
            if !is_known {
                seen.store(hash, Relaxed);
            }
            is_known
        })
    }
}

/// What tells a text from others, mostly.
#[inline]
fn mark(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let middle = bytes.get(bytes.len() / 2..).and_then(<[u8]>::first_chunk);
    middle.map_or(0, |bytes| u64::from_le_bytes(*bytes)) ^ bytes.len() as u64
}

/// One in eight, whose turn it is, by whatever tells it from others: one in sixteen by each measure of a turn.
#[inline]
fn is_its_turn(it: u64, computed: u64) -> bool {
    let part = it.wrapping_mul(SPREAD) >> 60;
    TURNS.iter().any(|turn| part == computed / turn % 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many texts are looked at, none of which hits.
    fn looked_at(admission: &Admission, texts: std::ops::Range<u64>) -> usize {
        texts
            .filter(|number| {
                let looks =
                    admission.looks(&format!("a text of that number, {number}, and some more"), || *number);
                if looks {
                    admission.note(false, 20);
                }
                looks
            })
            .count()
    }

    #[test]
    fn where_nothing_hits_few_are_looked_at_until_one_hits() {
        let admission = Admission::default();
        assert_eq!(looked_at(&admission, 0..300), 300, "a new one");
        looked_at(&admission, 300..10_000);
        let few = looked_at(&admission, 10_000..26_000);
        assert!((1_000..3_000).contains(&few), "about an eighth of 16,000: {few}");
        admission.note(true, 20);
        let again = looked_at(&admission, 26_000..26_150);
        assert_eq!(again, 150, "one has hit");
    }

    #[test]
    fn of_what_is_appended_few_are_looked_at_until_one_hits_whatever_else_does() {
        let admission = Admission::default();
        let append = |texts: std::ops::Range<u64>| {
            let looked_at = texts.filter(|number| {
                admission.note(true, 20);
                let looks = admission.looks_at_appended(&format!("what somebody says, {number}"), || *number);
                if looks {
                    admission.note_appended(false, 20);
                }
                looks
            });
            looked_at.count()
        };
        assert_eq!(append(0..150), 150, "a new one");
        append(150..1_000);
        let few = append(1_000..17_000);
        assert!((1_000..3_000).contains(&few), "about an eighth of 16,000: {few}");
        assert!(admission.looks("any text that is no appended one", || 0));
        admission.note_appended(true, 20);
        assert_eq!(append(17_000..17_150), 150, "one has hit");
        append(17_150..18_000);
        admission.give();
        assert_eq!(append(18_000..19_000), 1_000, "what was given is looked for");
    }

    #[test]
    fn texts_that_are_alike_are_looked_at_in_their_turn() {
        let admission = Admission::default();
        (0..10_000).for_each(|_| admission.note(false, 20));
        let [short, long] = TURNS;
        for length in 40..80 {
            let text = "x".repeat(length);
            let turns: Vec<u64> =
                (0..16 * long).filter(|computed| admission.looks(&text, || *computed)).collect();
            let both = long / 16;
            assert_eq!(turns.len() as u64, 2 * long - both, "{length}: one in eight, but for both at once");
            // Never so long without one, and then so many in a row.
            assert!(turns.windows(2).all(|two| two[1] - two[0] <= 15 * short + 1), "{length}");
            let row = turns.chunk_by(|one, next| one + 1 == *next).map(<[u64]>::len).min();
            assert_eq!(row, Some(16), "{length}");
        }
    }

    #[test]
    fn a_new_one_gives_long_texts_fewer_chances() {
        let check = |bytes: usize, kept: usize, looked_at: usize| {
            let admission = Admission::default();
            let count = |is_so: &dyn Fn() -> bool| {
                let count = (0..1000).take_while(|_| is_so()).count();
                assert!(count < 1000, "{bytes} bytes");
                count
            };
            let miss = |is_so: bool| {
                admission.note(false, bytes);
                is_so
            };
            assert_eq!(count(&|| miss(admission.hits.parts() >= SELDOM)), kept, "{bytes} bytes: kept");
            assert_eq!(count(&|| miss(admission.looks_at_all())), looked_at, "{bytes} bytes: looked at");
            // Whatever was before, one that hits lets all of the next be looked at, and all of those that are long as well.
            admission.note(true, bytes);
            assert!(count(&|| miss(admission.looks_at_all())) > 170, "{bytes} bytes");
        };
        check(100, 59, 378);
        check(1_200, 12, 74);
        check(2_048, 7, 40);
        check(1 << 20, 7, 40);
    }

    #[test]
    fn what_was_given_is_looked_for() {
        let admission = Admission::default();
        (0..10_000).for_each(|_| admission.note(false, 20));
        admission.give();
        assert_eq!(looked_at(&admission, 0..1_000), 1_000);
    }
}
