//! What is blotted out of errors: a peer may repeat what it was sent, and who logs an error would log a key.

use std::{cmp::Reverse, sync::Arc};

use http::HeaderValue;
use loquat_core::{Ending, Error, Secret};
use loquat_provider::secrets_in;

/// An endpoint's secrets, each blotted out by itself, by the rule of [`Secret::redact`]. Cheap to clone: each answer has them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blot {
    credential: Option<Secret>,
    /// Values of headers; what of them is secret is asked where there is an error.
    values: Option<Arc<[HeaderValue]>>,
}

impl Blot {
    pub(crate) fn new(credential: Option<&Secret>) -> Self {
        Self { credential: credential.cloned(), values: None }
    }

    /// With the values that are marked as sensitive, in the place of those before; each also without the word before it (`Bearer`).
    pub(crate) fn set_values<'a>(&mut self, headers: impl Iterator<Item = &'a HeaderValue>) {
        let values: Vec<_> = headers.filter(|value| value.is_sensitive()).cloned().collect();
        self.values = (!values.is_empty()).then(|| values.into());
    }

    /// The error without them.
    pub(crate) fn error(&self, error: Error) -> Error {
        let mut secrets: Vec<_> = self.credential.iter().flat_map(secrets_in).collect();
        let values =
            self.values.iter().flat_map(|values| values.iter()).filter_map(|value| value.to_str().ok());
        let parts = values.flat_map(|value| [Some(value), value.split_once(' ').map(|(_, part)| part)]);
        secrets.extend(parts.flatten().map(Secret::new));
        // One may be a part of another, which would no longer be found without it.
        secrets.sort_by_key(|secret| Reverse(secret.expose().len()));
        secrets.iter().fold(error, Error::redact)
    }

    /// The ending without them.
    pub(crate) fn ending(&self, ending: Ending) -> Ending {
        match ending {
            Ending::Failed(error) => Ending::Failed(self.error(error)),
            Ending::Truncated { cause: Some(cause) } => Ending::Truncated { cause: Some(self.error(cause)) },
            ending => ending,
        }
    }
}

#[cfg(test)]
mod tests {
    use loquat_core::ErrorKind;

    use super::*;

    #[test]
    fn each_secret_is_blotted_out_by_itself() {
        let value = |text: &'static str, is_secret: bool| {
            let mut value = HeaderValue::from_static(text);
            value.set_sensitive(is_secret);
            value
        };
        let mut blot = Blot::new(Some(&Secret::new("sk-planted")));
        let headers = [
            value("Bearer tok-1", true),
            value("sk-planted-too", true),
            value("v2", true),
            value("public-value", false),
        ];
        blot.set_values(headers.iter());
        for (said, shown) in [
            ("tok-1 of sk-planted", "[redacted] of [redacted]"),
            ("sk-planted-too, Bearer tok-1", "[redacted], [redacted]"),
            ("v2 with public-value", "v2 with public-value"),
            ("to take-1 tok-12", "to take-1 tok-12"),
        ] {
            let error = Error::new(ErrorKind::Server, said);
            assert_eq!(blot.error(error.clone()).message(), shown);
            let truncated = Ending::Truncated { cause: Some(error.clone()) };
            for ending in [Ending::Failed(error), truncated] {
                let (Ending::Failed(error) | Ending::Truncated { cause: Some(error) }) = blot.ending(ending)
                else {
                    panic!("still one");
                };
                assert_eq!(error.message(), shown);
            }
        }
        blot.set_values([].iter());
        let error = Error::new(ErrorKind::Server, "tok-1 of sk-planted");
        assert_eq!(blot.error(error).message(), "tok-1 of [redacted]");
    }
}
