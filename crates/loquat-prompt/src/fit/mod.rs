//! A request made to fit into a context window.
//!
//! What goes first is a policy, tried in its order until the request fits: the middle of long parts, then the oldest turns, then
//! the oldest of the last turn's tool calls with their results. What never goes: instructions, the last question and what was
//! answered last, and one half of a pair, since a tool call without its result (or a result without its call) is refused by every
//! provider.

mod turns;

use std::ops::Range;

use loquat_core::{ChatRequest, Error, ErrorKind, Message, Part, Result};

use crate::{
    count::{Count, Counter, RequestCount},
    tokenizer::Keep,
};

/// How to make a request smaller. The steps are tried in the order of these fields.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FitPolicy {
    /// A text or a tool's result longer than so many tokens loses its middle, the oldest first; `None` leaves all whole. Default
    /// 4,000: some pages of a log, of which the ends say most. Instructions and the last message are never cut, nor what is shorter than
    /// the mark of a gap, some five tokens.
    pub long_part_tokens: Option<usize>,
    /// Whether the oldest turns are left out, whole: a turn is a user's message with all that was answered to it. After them go the
    /// tool calls of the last turn with their results, the oldest first, but not the last. Default `true`.
    pub drop_oldest: bool,
}

impl FitPolicy {
    /// With the middle cut out of what is longer than so many tokens, or of nothing.
    #[must_use]
    pub fn with_long_part_tokens(self, tokens: impl Into<Option<usize>>) -> Self {
        Self { long_part_tokens: tokens.into(), ..self }
    }

    /// With the oldest turns left out, or not.
    #[must_use]
    pub fn with_drop_oldest(self, drops: bool) -> Self {
        Self { drop_oldest: drops, ..self }
    }
}

impl Default for FitPolicy {
    fn default() -> Self {
        Self { long_part_tokens: Some(4000), drop_oldest: true }
    }
}

/// What was done to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fitted {
    /// What it comes to now; [`Count::high`] is within the limit.
    pub count: Count,
    /// How many parts lost their middle.
    pub parts_cut: usize,
    /// How many messages were left out.
    pub messages_dropped: usize,
}

/// What stands in the place of a middle that was cut out.
const GAP: &str = "\n[…]\n";

/// Makes `request` fit into `limit` tokens, counting the high end of what is not known.
///
/// # Errors
///
/// [`ErrorKind::ContextLength`] where it does not fit even then; the request is as it was.
pub fn fit(request: &mut ChatRequest, counter: &Counter, limit: u64, policy: &FitPolicy) -> Result<Fitted> {
    fit_with(request, counter, limit, policy, |_| Ok(None))
}

/// The same, with a say in what stands for the messages that are left out: `summarise` is given them, oldest first, and may
/// return one message that takes their place. It counts too; where it is too long, one more turn is left out and it is asked
/// again, of all that went.
///
/// # Errors
///
/// As [`fit`], and what `summarise` returns; the request is as it was.
pub fn fit_with(
    request: &mut ChatRequest,
    counter: &Counter,
    limit: u64,
    policy: &FitPolicy,
    mut summarise: impl FnMut(&[Message]) -> Result<Option<Message>>,
) -> Result<Fitted> {
    let mut count = counter.request(request)?.total;
    let mut fitted = Fitted { count, parts_cut: 0, messages_dropped: 0 };
    if count.high() <= limit {
        return Ok(fitted);
    }
    let mut smaller = request.clone();
    if let Some(longest) = policy.long_part_tokens {
        let last = smaller.messages.len().saturating_sub(1);
        for place in 0..last {
            let Some(message) = smaller.messages.get_mut(place) else { break };
            if message.role == loquat_core::Role::System {
                continue;
            }
            let cut = cut_parts(message, counter, longest)?;
            if cut > 0 {
                fitted.parts_cut += cut;
                count = counter.request(&smaller)?.total;
                if count.high() <= limit {
                    break;
                }
            }
        }
    }
    if policy.drop_oldest && count.high() > limit {
        let droppable = turns::droppable(&smaller.messages);
        let parts = counter.request(&smaller)?;
        let mut left = Left::new(&parts);
        for (number, turn) in (1..).zip(&droppable) {
            left.take(&parts, turn);
            // What is plainly still too long is not counted again: a long conversation has many turns. When no more can go, it is.
            let is_plain = left.high() > limit.saturating_add(parts.messages.len() as u64);
            if is_plain && number < droppable.len() {
                continue;
            }
            // The summary replaces all that went, so each attempt begins with the whole.
            let (kept, gone) = without(&smaller.messages, &droppable, turn.end);
            fitted.messages_dropped = gone.len();
            let mut attempt = smaller.clone();
            attempt.messages = kept;
            if let Some(summary) = summarise(&gone)? {
                let place = turns::beginning(&attempt.messages);
                attempt.messages.insert(place, summary);
            }
            count = counter.request(&attempt)?.total;
            if count.high() <= limit {
                smaller = attempt;
                break;
            }
        }
    }
    if count.high() > limit {
        let needed = count.high();
        return Err(Error::new(
            ErrorKind::ContextLength,
            format!("the request has up to {needed} tokens at its smallest, and may have {limit}"),
        ));
    }
    fitted.count = count;
    *request = smaller;
    Ok(fitted)
}

/// About what is left of a request when messages go, without counting again.
struct Left {
    /// The corrected count, and the sum of the parts that it was before.
    total: u64,
    sum: u64,
    left: u64,
}

impl Left {
    fn new(parts: &RequestCount) -> Self {
        let messages = parts.messages.iter().map(|count| count.high());
        let sum = messages.sum::<u64>() + parts.tools.high() + parts.overhead.high();
        Self { total: parts.total.high(), sum: sum.max(1), left: sum }
    }

    fn take(&mut self, parts: &RequestCount, messages: &Range<usize>) {
        let gone = parts.messages.get(messages.clone()).unwrap_or_default().iter().map(|count| count.high());
        self.left = self.left.saturating_sub(gone.sum());
    }

    fn high(&self) -> u64 {
        self.total.saturating_mul(self.left) / self.sum
    }
}

/// The messages but those of the turns that end by `end`, and those.
fn without(messages: &[Message], turns: &[Range<usize>], end: usize) -> (Vec<Message>, Vec<Message>) {
    let (mut kept, mut gone) = (Vec::new(), Vec::new());
    for (place, message) in messages.iter().enumerate() {
        let is_gone = turns.iter().any(|turn| turn.end <= end && turn.contains(&place));
        if is_gone { &mut gone } else { &mut kept }.push(message.clone());
    }
    (kept, gone)
}

/// Cuts the middle out of parts longer than `longest` tokens; how many were.
fn cut_parts(message: &mut Message, counter: &Counter, longest: usize) -> Result<usize> {
    let mut cut = 0;
    let tokenizer = counter.tokenizer();
    // What is no longer than the gap would become longer.
    let gap = tokenizer.count(GAP)?;
    let longest = longest.max(gap);
    for part in &mut message.parts {
        let text = match part {
            Part::Text(text) => text,
            Part::ToolResult(result) => &mut result.content,
            _ => continue,
        };
        if tokenizer.fits(text, longest)?.is_none() {
            let sides = (longest - gap) / 2;
            let head = tokenizer.truncate(text, sides, Keep::Head)?;
            let tail = tokenizer.truncate(text, sides, Keep::Tail)?;
            *text = format!("{head}{GAP}{tail}");
            cut += 1;
        }
    }
    Ok(cut)
}

#[cfg(test)]
mod tests;
