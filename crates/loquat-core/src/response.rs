//! A whole answer, or the part of one that arrived.

use crate::{FinishReason, JsonText, Message, RateLimits, Role, ToolCall};

/// Tokens counted by the provider. Zero where it said nothing; numbers are never estimated here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the prompt, those read from a cache included.
    pub input_tokens: u64,
    /// Tokens generated, reasoning included.
    pub output_tokens: u64,
    /// Of the input: read from the provider's cache, at a lower price.
    pub cache_read_tokens: u64,
    /// Of the input: written to the provider's cache, at a higher price where it charges for that.
    pub cache_write_tokens: u64,
    /// Of the output: spent on reasoning.
    pub reasoning_tokens: u64,
}

impl Usage {
    /// Input and output together.
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// Whether the provider said nothing at all.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// The usage of several answers together.
impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        let Self { input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens } =
            other;
        for (sum, more) in [
            (&mut self.input_tokens, input_tokens),
            (&mut self.output_tokens, output_tokens),
            (&mut self.cache_read_tokens, cache_read_tokens),
            (&mut self.cache_write_tokens, cache_write_tokens),
            (&mut self.reasoning_tokens, reasoning_tokens),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// What a provider says about an answer beside its content, as JSON that nobody has read yet: the log probabilities of a
/// long answer cost what their text costs until somebody asks for them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Detail {
    /// What it is about: `logprobs`, `citations`, `safety`, `fingerprint`, `service_tier`, the provider's own word, or `raw`
    /// ([`ChatRequest::raw`](crate::ChatRequest::raw)).
    pub name: String,
    /// The JSON as it came. What comes in pieces (log probabilities, citations) is one detail a piece, in order.
    pub json: JsonText,
}

/// One alternative of an answer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Choice {
    /// What the model said, ready to be appended to the conversation.
    pub message: Message,
    /// What was said about it, in order.
    pub details: Vec<Detail>,
    /// Why it stopped; `None` while it has not.
    pub finish_reason: Option<FinishReason>,
}

impl Default for Choice {
    fn default() -> Self {
        Self { message: Message::new(Role::Assistant, Vec::new()), details: Vec::new(), finish_reason: None }
    }
}

/// A whole answer; inside [`crate::Error::partial`] and [`crate::Answer::so_far`], the part that arrived.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
// The alternatives first: they alone are needed for each delta of an answer that is being put together.
#[repr(C)]
pub struct Response {
    /// The alternatives; one, unless more were asked for, and none where nothing arrived.
    pub choices: Vec<Choice>,
    /// The provider's name for the answer, or empty.
    pub id: String,
    /// The model that answered, as it calls itself, or empty.
    pub model: String,
    /// What was counted.
    pub usage: Usage,
    /// The provider's name for the request, which its support asks for.
    pub request_id: Option<String>,
    /// What the provider says of its limits; empty where it says nothing.
    pub rate_limits: RateLimits,
}

impl Response {
    /// The first alternative's text.
    pub fn text(&self) -> String {
        self.choices.first().map(|choice| choice.message.text()).unwrap_or_default()
    }

    /// The first alternative's message, ready to be appended to the conversation.
    pub fn message(&self) -> Option<&Message> {
        self.choices.first().map(|choice| &choice.message)
    }

    /// Why the first alternative stopped.
    pub fn finish_reason(&self) -> Option<&FinishReason> {
        self.choices.first()?.finish_reason.as_ref()
    }

    /// Whether each alternative came to its end, and none was [cut](FinishReason::is_cut): by a limit of tokens, by a filter, or by a
    /// classifier that declined to go on. `false` of an answer that is still coming, or was lost. A model's own words of refusal
    /// ([`Part::Refusal`](crate::Part::Refusal)) are complete.
    pub fn is_complete(&self) -> bool {
        let is_whole = |choice: &Choice| choice.finish_reason.as_ref().is_some_and(|reason| !reason.is_cut());
        !self.choices.is_empty() && self.choices.iter().all(is_whole)
    }

    /// What was said about the first alternative under that name, in order.
    pub fn details<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a JsonText> {
        let all = self.choices.first().into_iter().flat_map(|choice| &choice.details);
        all.filter(move |detail| detail.name == name).map(|detail| &detail.json)
    }

    /// The first alternative's tool calls.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.choices.first().into_iter().flat_map(|choice| choice.message.tool_calls())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Part;

    #[test]
    fn an_answer_cut_for_a_reason_is_not_complete() {
        let with = |reasons: &[Option<FinishReason>]| {
            let choice =
                |reason: &Option<FinishReason>| Choice { finish_reason: reason.clone(), ..Choice::default() };
            Response { choices: reasons.iter().map(choice).collect(), ..Response::default() }.is_complete()
        };
        let stop = || Some(FinishReason::Stop);
        assert!(with(&[stop()]) && with(&[Some(FinishReason::ToolCalls)]));
        assert!(!with(&[]) && !with(&[None]) && !with(&[Some(FinishReason::Length)]));
        assert!(!with(&[stop(), Some(FinishReason::ContentFilter)]), "each of them");
        assert!(!with(&[Some(FinishReason::Refusal)]), "a classifier broke it off");
        let words = Message::new(Role::Assistant, vec![Part::Refusal("I would rather not.".into())]);
        let choice = Choice { message: words, finish_reason: stop(), ..Choice::default() };
        assert!(Response { choices: vec![choice], ..Response::default() }.is_complete(), "its own words");
    }
}
