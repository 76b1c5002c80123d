//! The last prompt of each conversation, as hashes: what the provider can still have.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};

use lru::LruCache;

use super::{PlannedSegment, segments::SegmentKind};

/// Segments remembered of one prompt; a change behind them is not named.
const MAX_SEGMENTS: usize = 512;

/// Of each segment its prefix hash, the tokens up to its end, and what it is.
type Last = Vec<([u8; 32], u64, SegmentKind)>;

#[derive(Debug)]
pub(super) struct Memory(Mutex<LruCache<[u8; 32], Last>>);

/// How a prompt begins, beside the last one.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) common_tokens: u64,
    /// How many segments that is.
    pub(super) common_segments: usize,
    /// A segment that stands where another stood.
    pub(super) first_changed: Option<String>,
}

/// What is remembered apart. A provider keeps a prompt for one model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thread<'a> {
    pub(super) tenant: &'a str,
    pub(super) model: &'a str,
    pub(super) conversation: &'a str,
}

impl Thread<'_> {
    fn key(self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for part in [self.tenant, self.model, self.conversation] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

impl Memory {
    pub(super) fn new(max_conversations: usize) -> Self {
        let room = NonZeroUsize::new(max_conversations).unwrap_or(NonZeroUsize::MIN);
        Self(Mutex::new(LruCache::new(room)))
    }

    pub(super) fn compare(&self, thread: Thread<'_>, segments: &[PlannedSegment]) -> Compared {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = memory.get(&thread.key()) else { return Compared::default() };
        let mut compared = Compared::default();
        for (segment, (hash, _, kind)) in segments.iter().zip(last) {
            if segment.prefix_hash != *hash {
                // One that came before this kind stood here: it is gone, and has no name any more.
                let is_gone = *kind < segment.kind;
                let name = if is_gone { kind.name() } else { segment.name.as_str() };
                compared.first_changed = Some(name.to_owned());
                break;
            }
            compared.common_tokens = segment.tokens_to_here;
            compared.common_segments += 1;
        }
        compared
    }

    /// Remembers this prompt in the last one's place; how many tokens that one had.
    pub(super) fn remember(&self, thread: Thread<'_>, segments: &[PlannedSegment]) -> Option<u64> {
        let entry: Last = segments
            .iter()
            .take(MAX_SEGMENTS)
            .map(|segment| (segment.prefix_hash, segment.tokens_to_here, segment.kind))
            .collect();
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = memory.put(thread.key(), entry)?;
        last.last().map(|(_, tokens, _)| *tokens)
    }
}
