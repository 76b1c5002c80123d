//! JSON for programs, in which nothing acts on a terminal.

use loquat::Error;
use serde::Serialize;

use crate::{
    console::{Console, causes},
    neutral,
};

/// JSON text in which also those characters are escaped that JSON allows and a terminal acts on (DEL, C1,
/// bidirectional controls): all of them stand inside strings, so the meaning stays the same.
pub(crate) fn to_json(value: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string(value)?;
    if !text.chars().any(neutral::is_active) {
        return Ok(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if neutral::is_active(c) {
            // All of them are below U+10000: one escape is one character (RFC 8259 §7).
            out += &format!("\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Ok(out)
}

/// An error for a program.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorLine {
    kind: String,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<f64>,
    retryable: bool,
}

impl ErrorLine {
    pub(crate) fn new(error: &Error, console: &Console) -> Self {
        let owned = |text: &str| console.redact(text).into_owned();
        Self {
            kind: snake_case(&format!("{:?}", error.kind())),
            message: owned(error.message()),
            causes: causes(error).iter().map(|cause| owned(cause)).collect(),
            status: error.status(),
            code: error.code().map(owned),
            request_id: error.request_id().map(owned),
            retry_after_seconds: error.retry_hint().after.map(|wait| wait.as_secs_f64()),
            retryable: error.is_retryable(),
        }
    }
}

/// `RateLimited` as `rate_limited`: kinds are added, so their own names are taken.
fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_terminal_obeys_it_and_the_meaning_stays() {
        let hostile = "a\u{9b}\u{1b}\u{202e}\u{7f}\"\n";
        let text = to_json(&hostile).expect("a string");
        assert_eq!(text, r#""a\u009b\u001b\u202e\u007f\"\n""#);
        assert_eq!(serde_json::from_str::<String>(&text).expect("JSON"), hostile);
        assert_eq!(snake_case("RateLimited"), "rate_limited");
    }
}
