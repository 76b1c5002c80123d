//! The provider's own cache, planned: an input token that it has kept costs a tenth, and nothing else here saves as much.
//!
//! A provider keeps the beginning of a prompt and finds it again only where the next one begins with the very same bytes. So a
//! [`Planner`] cuts a request into the segments that go out one after the other (tools, system, messages), counts them, and says:
//!
//! - what to ask for ([`Plan::hint`], a [`CacheHint`] that provider formats write out): to keep the prompt only where it is long
//!   enough to be kept at all, tools and system by themselves only where they are, and a key under which its beginning is found;
//! - where its beginning is ([`Plan::affinity`]), for a router that sends it to whoever has it;
//! - how much to expect, and, once the answer's [`Usage`] is there, whether it came true; and if not, which segment was the first
//!   to differ from the last prompt of the same conversation ([`Outcome`]). A clock in the system prompt or tools in
//!   another order are found in a minute instead of on a bill.
//!
//! Sources: the providers' pages on prompt caching (OpenAI: exact prefix from 1,024 tokens; Anthropic: tools, system, messages, in
//! this order, from 1,024 to 4,096 tokens by model; DeepSeek: blocks of 64 from the first; Gemini 2.5: 1,024 or 2,048).

mod memory;
mod rules;
mod segments;

use loquat_core::{CacheHint, ChatRequest, Result, Usage};

use crate::Tokenizer;
use memory::{Memory, Thread};

pub use rules::CacheRules;
pub use segments::PlannedSegment;

/// Rewritten tokens that are worth telling, however long the prompt is; of short ones a tenth. The shortest that most providers keep.
const LOST_TOKENS: u64 = 1024;

/// What is to be expected of the provider's cache for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// For [`ChatRequest::cache`].
    pub hint: CacheHint,
    /// The request's segments in the order they go out, with the tokens up to each one's end.
    pub segments: Vec<PlannedSegment>,
    /// Tokens of the whole prompt, as counted here.
    pub prompt_tokens: u64,
    /// The leading tokens that the last prompt of this conversation had as well and that are long enough to be kept: what a cache
    /// can have.
    pub expected_cached_tokens: u64,
    /// The first segment that differs from the last prompt's, and was in it: a beginning that has changed.
    pub first_changed: Option<String>,
    /// The same for all prompts with this form of the answer, these tools and this system message, for this tenant: for a router that
    /// sends like to like. BLAKE3, the same on every machine.
    pub affinity: u64,
    model: String,
    /// Shortest beginning that is kept.
    min_tokens: u64,
}

/// What became of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The provider read about as much as was expected, or more.
    AsPlanned {
        /// What it read.
        cached_tokens: u64,
    },
    /// Nothing was expected: the first prompt of its kind, or one that is too short to be kept.
    NothingExpected,
    /// The beginning has changed since the last prompt.
    Changed {
        /// What was the first to differ: `tools` where one has gone, `tool 2 (search)`, `system`, `settings`, `message 3 (user)`.
        segment: String,
        /// Tokens that had to be paid for again.
        lost_tokens: u64,
    },
    /// The beginning was the same and was not found: kept too short a time, or elsewhere.
    Missed {
        /// What was expected.
        expected_tokens: u64,
        /// What it read.
        cached_tokens: u64,
    },
}

/// Plans requests, and remembers the last one of each conversation. Share it.
#[derive(Debug)]
pub struct Planner {
    memory: Memory,
}

impl Default for Planner {
    fn default() -> Self {
        Self::new(4096)
    }
}

impl Planner {
    /// A planner that remembers so many conversations, the least recently planned going first.
    pub fn new(max_conversations: usize) -> Self {
        Self { memory: Memory::new(max_conversations) }
    }

    /// Plans a request. `conversation` is the program's own name for what goes on from prompt to prompt, such as a user's thread;
    /// prompts of one name to one model are compared.
    ///
    /// A few microseconds over counting, which with a [`CachedTokenizer`](crate::cache) is a look for each message.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn plan(
        &self,
        tenant: &str,
        conversation: &str,
        request: &ChatRequest,
        rules: &CacheRules,
        tokenizer: &dyn Tokenizer,
    ) -> Result<Plan> {
        let segments = segments::of(request, tokenizer)?;
        let prompt_tokens = segments.last().map_or(0, |segment| segment.tokens_to_here);
        // Tools and system: what all conversations of a program begin with.
        let stable = segments.iter().take_while(|segment| segment.is_stable).last();
        let stable_tokens = stable.map_or(0, |segment| segment.tokens_to_here);
        let prefix = stable.map_or([0; 32], |segment| segment.prefix_hash);
        let keyed = blake3::Hasher::new_derive_key("loquat plan affinity 1")
            .update(&(tenant.len() as u64).to_le_bytes())
            .update(tenant.as_bytes())
            .update(request.model.as_bytes())
            .update(&prefix)
            .finalize();
        let mut first = [0; 8];
        first.iter_mut().zip(keyed.as_bytes()).for_each(|(to, from)| *to = *from);
        let affinity = u64::from_le_bytes(first);

        let is_kept = rules.keeps(prompt_tokens);
        let mut hint = CacheHint::default();
        if is_kept {
            hint.keep = rules.wants_marks;
            // A mark behind a beginning that is not kept is one of the few there may be, for nothing.
            hint.is_system_short = rules.wants_marks && !rules.keeps(stable_tokens);
            // By the stable beginning where that is worth finding; else by the conversation, whose own turns are.
            let key = if rules.keeps(stable_tokens) {
                affinity
            } else {
                let hash = blake3::keyed_hash(keyed.as_bytes(), conversation.as_bytes());
                let mut first = [0; 8];
                first.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
                u64::from_le_bytes(first)
            };
            hint.key = rules.wants_key.then(|| format!("loquat-{key:016x}"));
        }
        let compared = self.memory.compare(Thread { tenant, model: &request.model, conversation }, &segments);
        // Where the last prompt ended, or what it has in common with this one: found however much has been added since. What stands
        // before the messages and between them is no message.
        let before_messages = segments.len() - request.messages.len();
        if hint.keep
            && rules.keeps(compared.common_tokens)
            && let Some(last) = compared.common_segments.checked_sub(before_messages + 1)
        {
            hint.also_after = vec![last];
        }
        let expected_cached_tokens = rules.readable(compared.common_tokens);
        Ok(Plan {
            hint,
            prompt_tokens,
            expected_cached_tokens,
            first_changed: compared.first_changed,
            affinity,
            segments,
            model: request.model.clone(),
            min_tokens: rules.min_tokens,
        })
    }

    /// Remembers that the prompt was sent, and compares what the provider says it read with what was expected.
    pub fn conclude(&self, tenant: &str, conversation: &str, plan: &Plan, usage: &Usage) -> Outcome {
        let thread = Thread { tenant, model: &plan.model, conversation };
        let previous = self.memory.remember(thread, &plan.segments);
        let cached_tokens = usage.cache_read_tokens;
        // Of what was there before, what had to be paid for again because it was rewritten: by our own counts of both, of which the
        // provider's may differ by more than a change is large.
        let lost = |previous: u64| previous.saturating_sub(cached_tokens.max(plan.expected_cached_tokens));
        // Providers round down to blocks, and our counts of the frame around messages are estimates.
        let is_near = cached_tokens.saturating_mul(10) >= plan.expected_cached_tokens.saturating_mul(8);
        match (&plan.first_changed, previous) {
            // Nothing is lost of a prompt that was too short to be kept.
            (Some(segment), Some(previous_tokens))
                if previous_tokens >= plan.min_tokens
                    && lost(previous_tokens) > (previous_tokens / 10).min(LOST_TOKENS) =>
            {
                Outcome::Changed {
                    segment: segment.clone(),
                    lost_tokens: previous_tokens.saturating_sub(cached_tokens),
                }
            }
            _ if plan.expected_cached_tokens == 0 => match cached_tokens {
                0 => Outcome::NothingExpected,
                cached_tokens => Outcome::AsPlanned { cached_tokens },
            },
            _ if is_near => Outcome::AsPlanned { cached_tokens },
            _ => Outcome::Missed { expected_tokens: plan.expected_cached_tokens, cached_tokens },
        }
    }
}
