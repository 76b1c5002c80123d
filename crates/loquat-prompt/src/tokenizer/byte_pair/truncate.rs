//! As much of a text as fits. The tokens that are looked at for that lie in a place that the thread keeps, so that nothing is allocated
//! once it is warm.

use std::cell::RefCell;

use loquat_core::Result;

use super::{super::Keep, BytePair};
use crate::Tokenizer as _;

impl BytePair {
    /// The beginning, of a text in normal form.
    pub(super) fn head<'t>(&self, text: &'t str, limit: usize) -> Result<&'t str> {
        lend(|tokens| {
            self.run(text, tokens, |tokens| tokens.len() <= limit);
            if tokens.len() <= limit { Ok(text) } else { self.shorten(text, tokens, limit, Keep::Head) }
        })
    }

    /// The end, of a text in normal form.
    pub(super) fn tail<'t>(&self, text: &'t str, limit: usize) -> Result<&'t str> {
        // From a safe cut on, the tokens are those of the whole: twice as much each time, until it is enough.
        let mut length = limit.saturating_mul(4).max(64);
        lend(|tokens| {
            loop {
                let wanted = text.len().saturating_sub(length);
                let start = self.cut_within(text, wanted, usize::MAX);
                let end = text.get(start..).unwrap_or_default();
                tokens.clear();
                self.run(end, tokens, |_| true);
                if start == 0 || tokens.len() >= limit {
                    return self.shorten(end, tokens, limit, Keep::Tail);
                }
                length = length.saturating_mul(2);
            }
        })
    }

    /// As much of a text that is not in normal form as fits. What its tokens are of is not the text itself, so places are tried.
    pub(super) fn truncate_any<'t>(&self, text: &'t str, limit: usize, keep: Keep) -> Result<&'t str> {
        let part = |length: usize| match keep {
            Keep::Head => text.get(..text.floor_char_boundary(length)),
            Keep::Tail => text.get(text.ceil_char_boundary(text.len() - length)..),
        };
        // As many tokens as bytes is the most: that much fits always, but for what normalizing adds, and then nothing does.
        let (mut fitting, mut too_long) = (0, text.len() + 1);
        while too_long - fitting > 1 {
            let length = fitting.midpoint(too_long);
            if self.fits(part(length).unwrap_or_default(), limit)?.is_some() {
                fitting = length;
            } else {
                too_long = length;
            }
        }
        Ok(part(fitting).unwrap_or_default())
    }

    /// As many of the tokens, which are the text's ranks, as are no more than `limit` by themselves.
    fn shorten<'t>(&self, text: &'t str, ranks: &[u32], limit: usize, keep: Keep) -> Result<&'t str> {
        let mut kept = limit.min(ranks.len());
        // A part may have more tokens than it had in its place: then one token fewer is kept, until it fits.
        loop {
            let kept_ranks = match keep {
                Keep::Head => ranks.get(..kept),
                Keep::Tail => ranks.get(ranks.len() - kept..),
            };
            let lengths = kept_ranks.unwrap_or_default().iter();
            let length: usize =
                lengths.map(|rank| self.vocabulary.token_bytes(*rank).map_or(0, <[u8]>::len)).sum();
            let part = match keep {
                Keep::Head => text.get(..text.floor_char_boundary(length)),
                Keep::Tail => text.get(text.ceil_char_boundary(text.len().saturating_sub(length))..),
            };
            let part = part.unwrap_or_default();
            if kept == 0 || self.fits(part, limit)?.is_some() {
                return Ok(part);
            }
            kept -= 1;
        }
    }
}

/// Lends the thread's place for tokens that are only looked at, empty.
fn lend<R>(run: impl FnOnce(&mut Vec<u32>) -> R) -> R {
    /// Tokens for which it is kept: 256 KiB a thread, the context of most models.
    const KEPT: usize = 1 << 16;

    thread_local! {
        static TOKENS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    }
    // Taken out and put back: there is no lock, and a use within another one finds an empty place.
    let mut tokens = TOKENS.try_with(RefCell::take).unwrap_or_default();
    tokens.clear();
    let result = run(&mut tokens);
    if tokens.capacity() <= KEPT {
        // Where the thread ends just now, it is gone.
        let _ = TOKENS.try_with(|place| place.replace(tokens));
    }
    result
}
