//! What becomes of a canary, for logs and webhooks.

use std::time::{Duration, SystemTime};

/// A move of a canary's share. No prompt, no answer and no key is in it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CanaryEvent {
    /// Counted from 1, without gaps.
    pub number: u64,
    /// When, by the system's calendar.
    pub at: SystemTime,
    /// The canary's name.
    pub canary: String,
    /// What happened.
    pub change: Change,
    /// The share from here on. Percent.
    pub percent: f64,
    /// The trace of the request that tipped the scales, as lower-case hexadecimal; empty where none did.
    pub trace_id: String,
    /// The beginning of that request's error, cut at 200 bytes and without what was quoted or looks like a key, an address or a
    /// number of somebody's; empty where there was none.
    pub error: String,
    /// How many different callers have had a failure of the canary so far, told apart by a hash of their key.
    /// Counted up to 4,096.
    pub affected_keys: u32,
    /// The canary's requests behind this decision.
    pub sample: u64,
    /// How long it took to gather them.
    pub window: Duration,
}

/// What happened to a canary.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// It began.
    Started,
    /// Its share was raised.
    Raised,
    /// Its share was lowered: there is some evidence against it.
    Lowered {
        /// Of what.
        breach: Breach,
    },
    /// It takes no more requests.
    RolledBack {
        /// Of what there was evidence; `None` where a person did it.
        breach: Option<Breach>,
    },
}

/// What a canary did worse than it may, and worse than the baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Breach {
    /// Which limit.
    pub limit: Limit,
    /// The canary's share of bad answers since the evidence began, 0 to 1.
    pub share: f64,
    /// The baseline's, 0 to 1.
    pub baseline: f64,
}

/// A limit that a canary has to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// Failures.
    Errors,
    /// First tokens later than the limit.
    FirstToken,
}

/// The beginning of an error's text, without what a provider may have repeated of a request: what stands in quotes, words that
/// look like keys or identifiers, addresses of people.
pub(super) fn redacted(text: &str) -> String {
    let mut plain = String::new();
    let mut quote = None;
    // An apostrophe inside a word opens nothing.
    let mut before = ' ';
    for c in text.chars().take(2048) {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '`' | '“') || (c == '\'' && !before.is_alphanumeric()) => {
                plain.push('…');
                quote = Some(if c == '“' { '”' } else { c });
            }
            None => plain.push(if c.is_control() { ' ' } else { c }),
        }
        before = c;
    }
    let word = |word: &str| {
        let digits = word.chars().filter(char::is_ascii_digit).count();
        let is_key = word.len() >= 12 && digits >= 2 || word.len() >= 24 || word.starts_with("sk-");
        if is_key || word.contains('@') { "…".to_owned() } else { word.to_owned() }
    };
    let mut short = plain.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    short.truncate(short.floor_char_boundary(200));
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::redacted;

    proptest! {
        /// Whatever a provider says: bounded, in one line, and nothing that stood in quotes or looked like a key.
        #[test]
        fn any_error_is_short_and_says_nothing_of_anybody(
            before in "[^\"`“']{0,80}", said in "[a-z]{10,60}", digits in "[0-9]{2,9}", after in any::<String>(),
            quotes in prop::sample::select(vec![('"', '"'), ('`', '`'), ('“', '”')]),
        ) {
            let text = format!(
                "{before} {}{said}{} {said}{digits} sk-{digits} {said}@{said} {after}", quotes.0, quotes.1
            );
            let shown = redacted(&text);
            prop_assert!(shown.len() <= 200, "{} bytes", shown.len());
            prop_assert!(!shown.chars().any(char::is_control), "{shown:?}");
            if !before.contains(&said) && !after.contains(&said) {
                prop_assert!(!shown.contains(&said), "{said} in {shown:?}");
            }
            prop_assert!(!shown.split(' ').any(|word| word.starts_with("sk-")), "{shown:?}");
        }
    }

    #[test]
    fn what_a_request_said_is_not_repeated() {
        for (text, shown) in [
            ("the server failed (HTTP 500)", "the server failed (HTTP 500)"),
            ("invalid prompt \"my secret diary\" refused", "invalid prompt … refused"),
            ("it doesn't know 'Alice' or `x`", "it doesn't know … or …"),
            ("unterminated \"quote goes on", "unterminated …"),
            ("wrong key sk-abc for bob@example.com", "wrong key … for …"),
            ("request req_011CQ8example9 failed", "request … failed"),
        ] {
            assert_eq!(redacted(text), shown);
        }
        assert!(redacted(&"é ".repeat(400)).len() <= 200);
    }
}
