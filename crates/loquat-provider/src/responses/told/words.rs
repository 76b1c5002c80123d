//! What words, items and their names are known again by, without keeping any of them.

use std::hash::{DefaultHasher, Hash, Hasher};

use loquat_json::Str;

use super::{Section, Sort};

/// A scratch that is larger is not kept, in bytes.
const MAX_SCRATCH_BYTES: usize = 4 * 1024;

/// How words begin and how many bytes they are: enough to know them by, among those of one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) bytes: usize,
    /// Without white space in front, which servers trim; zeros after it.
    pub(crate) head: [u8; 8],
}

impl Words {
    /// Of a text, by way of a scratch, which keeps no long one.
    pub(crate) fn of(text: Str<'_>, scratch: &mut String) -> Self {
        let words = Self::of_plain(text.decode_lossy(scratch));
        if scratch.capacity() > MAX_SCRATCH_BYTES {
            *scratch = String::new();
        }
        words
    }

    pub(crate) fn of_plain(text: &str) -> Self {
        let mut head = [0; 8];
        // Half a character may be a whole one by the next piece.
        let known = text.split('\u{fffd}').next().unwrap_or_default().trim_ascii_start().as_bytes();
        head.iter_mut().zip(known).for_each(|(to, byte)| *to = *byte);
        Self { bytes: text.len(), head }
    }

    /// Whether they may begin alike: the one may be shorter.
    pub(crate) fn begin_like(&self, other: &Self) -> bool {
        self.head.iter().zip(&other.head).all(|(a, b)| a == b || *a == 0 || *b == 0)
    }

    pub(crate) fn are(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.begin_like(other)
    }
}

/// How much there is of an item, and how that begins.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extent {
    /// All but a summary.
    main: Words,
    summary: Words,
}

impl Extent {
    pub(crate) fn add(&mut self, section: Section, words: &Words) {
        let sum = if section == Section::Summary { &mut self.summary } else { &mut self.main };
        let bytes = sum.bytes.saturating_add(words.bytes);
        let first = if sum.bytes == 0 { *words } else { *sum };
        *sum = Words { bytes, ..first };
    }

    pub(super) fn is_empty(&self) -> bool {
        self.main.bytes == 0 && self.summary.bytes == 0
    }

    pub(crate) fn grow(&mut self, section: Section, bytes: usize) {
        let sum = if section == Section::Summary { &mut self.summary } else { &mut self.main };
        sum.bytes = sum.bytes.saturating_add(bytes);
    }

    /// Whether its words in that section, all together, are these.
    pub(super) fn are(&self, section: Section, words: &Words) -> bool {
        let sum = if section == Section::Summary { &self.summary } else { &self.main };
        sum.bytes > 0 && sum.are(words)
    }

    /// Whether all of that and nothing else has been told.
    pub(super) fn is_told_by(&self, told: &Self, sort: Sort) -> bool {
        let is_there = |words: &Words| words.bytes > 0;
        let same = |told: &Words, whole: &Words| !is_there(told) || told.are(whole);
        match sort {
            // Of thoughts and their summary one will do.
            Sort::Thoughts => {
                (is_there(&told.main) || is_there(&told.summary))
                    && same(&told.main, &self.main)
                    && same(&told.summary, &self.summary)
            }
            _ => is_there(&told.main) && told.main.are(&self.main),
        }
    }
}

/// Hashes of what an item is called.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Names {
    id: Option<u64>,
    call_id: Option<u64>,
}

impl Names {
    pub(crate) fn of(id: Option<Str<'_>>, call_id: Option<Str<'_>>) -> Self {
        Self { id: id.map(hash_of), call_id: call_id.map(hash_of) }
    }

    pub(crate) fn are(&self, other: &Self) -> bool {
        let same = |a: Option<u64>, b: Option<u64>| a.is_some() && a == b;
        same(self.id, other.id) || same(self.call_id, other.call_id)
    }

    /// Whether the two are certainly of different calls: those keep their names from event to event, as their results go by them.
    pub(crate) fn belie(&self, other: &Self) -> bool {
        matches!((self.call_id, other.call_id), (Some(a), Some(b)) if a != b)
    }

    pub(crate) fn is_none(&self) -> bool {
        self.id.is_none() && self.call_id.is_none()
    }
}

/// A hash of a text, to compare it by.
pub(crate) fn hash_of(text: Str<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.raw().hash(&mut hasher);
    hasher.finish()
}
