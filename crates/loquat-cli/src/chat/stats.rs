//! What `--stats` says: measured here, or counted by the provider, never estimated.

use std::time::{Duration, Instant};

use loquat::{Delta, Ending, Usage};

use super::ask::{Asked, Outcome};

/// The instants of one answer.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    started: Instant,
    streamed: bool,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
    ended: Option<Instant>,
    /// Deltas with content.
    deltas: u64,
}

impl Stopwatch {
    /// Starts with the request. A whole answer (not `streamed`) has no first token.
    pub(crate) fn start(streamed: bool) -> Self {
        Self {
            started: Instant::now(),
            streamed,
            first_token: None,
            last_token: None,
            ended: None,
            deltas: 0,
        }
    }

    /// A delta came.
    pub(crate) fn delta(&mut self, delta: &Delta<'_>) {
        let has_content = matches!(
            delta,
            Delta::Text { .. }
                | Delta::Reasoning { .. }
                | Delta::Refusal { .. }
                | Delta::ToolArguments { .. }
        );
        if has_content {
            let now = Instant::now();
            self.first_token.get_or_insert(now);
            self.last_token = Some(now);
            self.deltas += 1;
        }
    }

    /// The answer ended.
    pub(crate) fn end(&mut self) {
        self.ended = Some(Instant::now());
    }

    /// One line for a person.
    pub(crate) fn report(&self, asked: &Asked, who: &str) -> String {
        let usage = match &asked.outcome {
            Outcome::Ended(Ending::Finished { usage, .. }) => *usage,
            _ => Usage::default(),
        };
        let total = self.ended.unwrap_or_else(Instant::now).saturating_duration_since(self.started);
        let mut fields = Vec::new();
        match self.first_token.filter(|_| self.streamed) {
            Some(first) => fields.push(format!("first token {}", seconds(first - self.started))),
            None if self.streamed => fields.push("no token".to_owned()),
            None => {}
        }
        if let Some(rate) = self.rate(&usage, total) {
            fields.push(rate);
        }
        fields.push(if usage.is_unknown() {
            format!("usage not told, {} deltas", self.deltas)
        } else {
            tokens(&usage)
        });
        fields.push(format!("{} in all", seconds(total)));
        fields.push(who.to_owned());
        if let Some(id) = &asked.response.request_id {
            fields.push(format!("request {id}"));
        }
        format!("stats: {}", fields.join(" | "))
    }

    /// Tokens after the first one over the time after the first one; of a whole answer, all over all.
    fn rate(&self, usage: &Usage, total: Duration) -> Option<String> {
        let (tokens, time) = if self.streamed {
            let time = self.last_token?.saturating_duration_since(self.first_token?);
            (usage.output_tokens.checked_sub(1)?, time)
        } else {
            (usage.output_tokens, total)
        };
        // Below a millisecond the clock and the socket are measured, not the model.
        if tokens == 0 || time < Duration::from_millis(1) {
            return None;
        }
        #[allow(clippy::cast_precision_loss, reason = "a rate is shown with one digit")]
        let rate = tokens as f64 / time.as_secs_f64();
        Some(format!("{rate:.1} tokens/s"))
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

fn tokens(usage: &Usage) -> String {
    let mut text = format!("{} in + {} out tokens", usage.input_tokens, usage.output_tokens);
    let notes: Vec<_> = [
        (usage.cache_read_tokens, "from the cache"),
        (usage.cache_write_tokens, "to the cache"),
        (usage.reasoning_tokens, "for reasoning"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    if !notes.is_empty() {
        text += &format!(" ({})", notes.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_counts_what_came_after_the_first_token() {
        let started = Instant::now();
        let stopwatch = Stopwatch {
            started,
            streamed: true,
            first_token: Some(started + Duration::from_millis(500)),
            last_token: Some(started + Duration::from_millis(1500)),
            ended: Some(started + Duration::from_secs(2)),
            deltas: 11,
        };
        let mut usage = Usage::default();
        usage.input_tokens = 5;
        usage.output_tokens = 11;
        usage.reasoning_tokens = 3;
        let ending = Ending::Finished { reason: loquat::FinishReason::Stop, usage };
        let asked = Asked { outcome: Outcome::Ended(ending), response: Default::default() };
        assert_eq!(
            stopwatch.report(&asked, "m at here"),
            "stats: first token 0.500 s | 10.0 tokens/s | 5 in + 11 out tokens (3 for reasoning) | 2.000 s in all | m at here"
        );
        let whole = Stopwatch { streamed: false, ..stopwatch };
        assert!(whole.report(&asked, "m").starts_with("stats: 5.5 tokens/s | 5 in"));
        let silent = Asked::interrupted();
        assert!(whole.report(&silent, "m").contains("usage not told, 11 deltas"));
    }
}
