//! Conversations kept between requests: the tokens read so far with their keys and values.
//!
//! A request takes over the longest beginning it shares with a kept conversation and reads only the rest. Kept conversations
//! are bounded in number and bytes; the one unused for longest goes first. Tenants never share.

use std::sync::Arc;

use crate::cache::{self, Shard};
use crate::kernel::BLOCK;
use crate::weights::Shape;

/// One conversation's state.
#[derive(Debug)]
pub(crate) struct Session {
    tenant: Option<Arc<str>>,
    /// What has been read; the cache holds at least these.
    pub(crate) tokens: Vec<u32>,
    pub(crate) shards: Vec<Shard>,
}

/// The kept conversations, least recently used first.
#[derive(Debug)]
pub(crate) struct Sessions {
    kept: Vec<Session>,
    threads: usize,
    max_sessions: usize,
    max_bytes: usize,
}

impl Sessions {
    pub(crate) fn new(threads: usize, max_sessions: usize, max_bytes: usize) -> Self {
        Self { kept: Vec::new(), threads, max_sessions, max_bytes }
    }

    /// A session that has read as much of `prompt` as any kept one, but not its last token: that one is always read, for its
    /// logits.
    pub(crate) fn take(&mut self, tenant: Option<&str>, prompt: &[u32], shape: &Shape) -> Session {
        let usable = prompt.len().saturating_sub(1);
        let shared = |session: &Session| {
            if session.tenant.as_deref() != tenant {
                return 0;
            }
            session.tokens.iter().zip(&prompt[..usable]).take_while(|(a, b)| a == b).count()
        };
        let best = self.kept.iter().enumerate().map(|(at, session)| (shared(session), at)).max();
        match best {
            // Most of it is of use: a conversation goes on, or its last turn is tried anew.
            Some((count, at)) if count > 0 && count * 2 >= self.kept[at].tokens.len() => {
                let mut session = self.kept.remove(at);
                session.truncate(count, self.threads);
                session
            }
            // A long conversation of which only the beginning fits, such as a common system prompt: it stays, for its own next turn.
            Some((count, at)) if count > 0 => self.kept[at].copy_beginning(count, self.threads),
            _ => Session {
                tenant: tenant.map(Arc::from),
                tokens: Vec::new(),
                shards: (0..self.threads).map(|_| Shard::new(shape)).collect(),
            },
        }
    }

    /// Keeps a session for later, at the expense of those unused for longest.
    pub(crate) fn keep(&mut self, session: Session, shape: &Shape) {
        if session.tokens.is_empty() {
            return;
        }
        self.kept.push(session);
        let per_block = cache::block_bytes(shape);
        while !self.kept.is_empty()
            && (self.kept.len() > self.max_sessions
                || self.kept.iter().map(|s| s.blocks() * per_block).sum::<usize>() > self.max_bytes)
        {
            self.kept.remove(0);
        }
    }
}

impl Session {
    fn blocks(&self) -> usize {
        self.shards.iter().map(Shard::len).sum()
    }

    /// Forgets all but the first `count` tokens.
    fn truncate(&mut self, count: usize, threads: usize) {
        self.tokens.truncate(count);
        for (shard, keep) in self.shards.iter_mut().zip(blocks_of(count, threads)) {
            shard.truncate(keep);
        }
    }

    fn copy_beginning(&self, count: usize, threads: usize) -> Self {
        Self {
            tenant: self.tenant.clone(),
            tokens: self.tokens[..count].to_vec(),
            shards: self
                .shards
                .iter()
                .zip(blocks_of(count, threads))
                .map(|(s, keep)| s.copy_beginning(keep))
                .collect(),
        }
    }
}

/// How many blocks each thread has when `count` tokens are cached.
fn blocks_of(count: usize, threads: usize) -> impl Iterator<Item = usize> {
    let blocks = count.div_ceil(BLOCK);
    (0..threads).map(move |thread| (blocks + threads - 1 - thread) / threads)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        Shape {
            layers: 1,
            width: 32,
            hidden: 32,
            heads: 1,
            kv_heads: 1,
            head_dim: 8,
            vocabulary: 8,
            context: 4096,
            epsilon: 1e-5,
            rotated_pairs: 4,
        }
    }

    fn read(sessions: &mut Sessions, tenant: Option<&str>, tokens: &[u32]) -> usize {
        let shape = shape();
        let mut session = sessions.take(tenant, tokens, &shape);
        let reused = session.tokens.len();
        for (position, token) in tokens.iter().enumerate().skip(reused) {
            let (owner, local) = cache::owner(position, session.shards.len());
            session.shards[owner].store(&shape, 0, local, position, &[0.5; 8], &[0.5; 8]);
            session.tokens.push(*token);
        }
        sessions.keep(session, &shape);
        reused
    }

    #[test]
    fn the_longest_beginning_is_reused_and_tenants_are_apart() {
        let mut sessions = Sessions::new(2, 3, 1 << 20);
        let long: Vec<u32> = (0..200).collect();
        assert_eq!(read(&mut sessions, None, &long[..100]), 0);
        assert_eq!(read(&mut sessions, None, &long), 100);
        assert_eq!(read(&mut sessions, None, &long), 199, "the last token is read for its logits");
        assert_eq!(read(&mut sessions, Some("other"), &long), 0);
        let mut branch = long[..20].to_vec();
        branch.extend([999; 50]);
        assert_eq!(read(&mut sessions, None, &branch), 20);
        assert_eq!(read(&mut sessions, None, &long), 199, "branching off left it whole");
    }

    #[test]
    fn bounds_evict_the_least_recently_used() {
        let one = cache::block_bytes(&shape());
        let mut sessions = Sessions::new(1, 8, 3 * one);
        read(&mut sessions, None, &[1; 32]);
        read(&mut sessions, None, &[2; 32]);
        read(&mut sessions, None, &[3; 64]);
        assert_eq!(sessions.kept.len(), 2);
        assert_eq!(read(&mut sessions, None, &[1; 32]), 0);
        read(&mut sessions, None, &[4; 4096]);
        assert!(sessions.kept.is_empty(), "larger than the bound: not kept");
    }

    #[test]
    fn blocks_are_counted_per_thread() {
        for count in [0, 1, 32, 33, 64, 65, 96, 97, 1000] {
            let expected = |thread| {
                (0..count).map(|p| cache::owner(p, 3)).filter(|o| o.0 == thread).map(|o| o.1 + 1).max()
            };
            let blocks: Vec<usize> = blocks_of(count, 3).collect();
            assert_eq!(blocks, [0, 1, 2].map(|thread| expected(thread).unwrap_or(0)), "{count}");
        }
    }
}
