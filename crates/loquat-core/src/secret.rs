//! A credential that cannot be printed by accident.

use std::{fmt, sync::Arc};

/// A credential (an API key, a bearer token). `Debug` shows `Secret(…)`, there is no `Display`, and the only way to
/// the text is [`Secret::expose`], which is easy to search for in a review.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

/// The fewest bytes that are taken for a credential, or the beginning of one, wherever they stand.
const LEAST_ANYWHERE_BYTES: usize = 8;

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
    ///
    /// One of eight bytes or more is found wherever it stands. One of four to seven is, too, but as a word by itself, with neither letter
    /// nor digit beside it: a gateway's `sk-1234` is a secret, a `test` inside of `latest` is none. One of less than four stays: it is
    /// guessed in no time, and messages full of holes would only say what it is.
    pub fn redact(&self, text: &str) -> String {
        const BLOT: &str = "[redacted]";
        let (text, cut) = match self.cut_in(text) {
            Some(start) => (&text[..start], Some("…")),
            None => (text, None),
        };
        let (mut blotted, mut seen) = (String::with_capacity(text.len()), 0);
        for start in self.places_in(text) {
            blotted.extend([&text[seen..start], BLOT]);
            seen = start + self.0.len();
        }
        blotted += &text[seen..];
        blotted.extend(cut.into_iter().flat_map(|cut| [BLOT, cut]));
        blotted
    }

    /// Whether that text shows it: [`redact`](Self::redact) would change it.
    pub fn is_in(&self, text: &str) -> bool {
        self.places_in(text).next().is_some() || self.cut_in(text).is_some()
    }

    fn places_in<'a>(&'a self, text: &'a str) -> impl Iterator<Item = usize> + 'a {
        const LEAST_BYTES: usize = 4;
        let length = self.0.len();
        let first = self.0.chars().next().map_or(1, char::len_utf8);
        let is_word = move |start: usize| {
            let beside = [text[..start].chars().next_back(), text[start + length..].chars().next()];
            !beside.into_iter().flatten().any(char::is_alphanumeric)
        };
        let mut from = 0;
        std::iter::from_fn(move || {
            if length < LEAST_BYTES {
                return None;
            }
            loop {
                let start = from + text[from..].find(&*self.0)?;
                let counts = length >= LEAST_ANYWHERE_BYTES || is_word(start);
                // One that is no word may reach into one that is: `xab-ab-ab` for `ab-ab`.
                from = start + if counts { length } else { first };
                if counts {
                    return Some(start);
                }
            }
        })
    }

    /// Where its beginning is, if that is the end of a text that was cut, as `…` says: eight bytes of it, or more.
    fn cut_in(&self, text: &str) -> Option<usize> {
        let rest = text.strip_suffix('…')?;
        let mut beginnings =
            (LEAST_ANYWHERE_BYTES..self.0.len()).rev().filter_map(|length| self.0.get(..length));
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

    #[test]
    fn a_short_one_is_blotted_out_where_it_is_a_word() {
        for (secret, text, blotted) in [
            ("12345678", "a12345678b", "a[redacted]b"),
            ("sk-1234", "the key sk-1234, not (sk-1234)", "the key [redacted], not ([redacted])"),
            ("sk-1234", "sk-12345 xsk-1234 ésk-1234", "sk-12345 xsk-1234 ésk-1234"),
            ("test", "test: the latest test", "[redacted]: the latest [redacted]"),
            ("ab-ab", "xab-ab-ab ab-ab-ab", "xab-[redacted] [redacted]-ab"),
            ("é-é", "aé-é-é é-éa", "aé-[redacted] é-éa"),
            ("key", "no key", "no key"),
            ("é12", "é12é12", "é12é12"),
            ("é12", "é12 é12", "[redacted] [redacted]"),
            ("planted-key", "planted-key of planted-…", "[redacted] of [redacted]…"),
            ("test", "the te…", "the te…"),
        ] {
            let secret = Secret::new(secret);
            assert_eq!(secret.redact(text), blotted, "{text}");
            assert_eq!(secret.is_in(text), text != blotted, "{text}");
        }
    }
}
