//! A credential that cannot be printed by accident.

use std::{fmt, sync::Arc};

/// A credential (an API key, a bearer token). `Debug` shows `Secret(…)`, there is no `Display`, and the only way to
/// the text is [`Secret::expose`], which is easy to search for in a review.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a credential; surrounding white space (a shell's trailing newline) is cut off.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(Arc::from(text.as_ref().trim()))
    }

    /// The credential itself, for the one place that writes it to the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `text` with every occurrence of this credential blotted out; for messages that came from a peer, which may
    /// repeat what it was sent.
    pub fn redact(&self, text: &str) -> String {
        if self.0.is_empty() {
            return text.to_owned();
        }
        let whole = match self.cut_in(text) {
            Some(start) => &format!("{}[redacted]…", &text[..start]),
            None => text,
        };
        whole.replace(&*self.0, "[redacted]")
    }

    /// Where its beginning is, if that is the end of a text that was cut, as `…` says: eight bytes of it, or more.
    pub(crate) fn cut_in(&self, text: &str) -> Option<usize> {
        const LEAST_BYTES: usize = 8;
        let rest = text.strip_suffix('…')?;
        let mut beginnings = (LEAST_BYTES..self.0.len()).rev().filter_map(|length| self.0.get(..length));
        beginnings.find(|beginning| rest.ends_with(beginning)).map(|found| rest.len() - found.len())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_never_printed() {
        let secret = Secret::new("sk-very-secret\n");
        assert_eq!(secret.expose(), "sk-very-secret");
        assert!(!format!("{secret:?} {:#?}", Some(&secret)).contains("very"));
        assert_eq!(secret.redact("bad key sk-very-secret!"), "bad key [redacted]!");
        assert_eq!(Secret::new("").redact("text"), "text");
    }
}
