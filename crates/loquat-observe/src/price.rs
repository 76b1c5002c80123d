//! What tokens cost, in whatever currency the operator counts in.

use loquat_core::Usage;

/// A model's prices per million tokens. What is not priced apart costs what its kind costs.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Price {
    /// Of the prompt.
    pub input: f64,
    /// Of the answer.
    pub output: f64,
    /// Of the prompt, read from the provider's cache; default as `input`.
    pub cache_read: f64,
    /// Of the prompt, written to the provider's cache; default as `input`.
    pub cache_write: f64,
}

impl Price {
    /// Per million tokens of prompt and of answer.
    pub fn per_million(input: f64, output: f64) -> Self {
        Self { input, output, cache_read: input, cache_write: input }
    }

    /// With the cache's prices per million tokens.
    #[must_use]
    pub fn with_cache(mut self, read: f64, write: f64) -> Self {
        (self.cache_read, self.cache_write) = (read, write);
        self
    }

    /// Billionths of the currency.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float as an integer saturates, and a NaN is 0"
    )]
    pub(crate) fn nanos(&self, usage: &Usage) -> u64 {
        let plain = usage
            .input_tokens
            .saturating_sub(usage.cache_read_tokens)
            .saturating_sub(usage.cache_write_tokens);
        let parts = [
            (plain, self.input),
            (usage.cache_read_tokens, self.cache_read),
            (usage.cache_write_tokens, self.cache_write),
            (usage.output_tokens, self.output),
        ];
        let millionths: f64 = parts.iter().map(|(tokens, price)| *tokens as f64 * price).sum();
        (millionths * 1e3) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_tokens_are_not_paid_twice() {
        let mut usage = Usage::default();
        (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) = (1_000_000, 10_000, 900_000);
        let price = Price::per_million(2.0, 10.0).with_cache(0.2, 2.5);
        assert_eq!(price.nanos(&usage), 480_000_000, "0.20 + 0.18 + 0.10");
        assert_eq!(Price::per_million(-1.0, f64::NAN).nanos(&usage), 0);
    }
}
