//! Credentials out of what is recorded, before anything is kept.
//!
//! What is found is written over with `x`, byte for byte: every length and every border between pieces stays, so a replay
//! meets the decoder as the original did. A credential cut in two by such a border is found all the same, as bodies are
//! scrubbed whole.

use loquat_core::Secret;

/// Headers whose values are credentials, or name an account.
const HEADERS: [&str; 14] = [
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-amz-security-token",
    "ocp-apim-subscription-key",
    "cookie",
    "set-cookie",
    "openai-organization",
    "openai-project",
    "anthropic-organization-id",
    "x-goog-user-project",
    "x-auth-token",
];

/// Parameters of a query whose values are credentials.
const PARAMETERS: [&str; 9] =
    ["key", "api_key", "api-key", "apikey", "access_token", "token", "sig", "signature", "x-amz-signature"];

/// What credentials begin with.
const PREFIXES: [&[u8]; 12] = [
    b"sk-", b"sk_", b"gsk_", b"hf_", b"xai-", b"AIza", b"pplx-", b"nvapi-", b"r8_", b"csk-", b"fw_",
    b"Bearer ",
];

/// Fewest letters after a prefix that make a credential: `sk-` alone is a word.
const MIN_CREDENTIAL_BYTES: usize = 16;

/// Writes over credentials.
#[derive(Debug, Clone, Default)]
pub struct Scrubber {
    known: Vec<Secret>,
}

impl Scrubber {
    /// One that knows what credentials look like and none by heart.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one to be found wherever it stands, whatever it looks like.
    #[must_use]
    pub fn with_secret(mut self, secret: impl Into<Secret>) -> Self {
        self.learn(secret.into());
        self
    }

    fn learn(&mut self, secret: Secret) {
        if secret.expose().len() >= 4 && !self.known.contains(&secret) {
            self.known.push(secret);
        }
    }

    /// A header's value. What stands under a name that is for credentials is one, and is known from now on.
    pub fn header(&mut self, name: &str, value: &str) -> String {
        if !HEADERS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return self.text(value);
        }
        let (scheme, credential) = match value.split_once(' ') {
            Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => (scheme, rest),
            _ => ("", value),
        };
        self.learn(Secret::new(credential));
        let lead = if scheme.is_empty() { String::new() } else { format!("{scheme} ") };
        lead + &"x".repeat(credential.len())
    }

    /// A path with its query.
    pub fn path(&mut self, path: &str) -> String {
        let Some((path, query)) = path.split_once('?') else { return self.text(path) };
        let parameters = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, value)) if PARAMETERS.iter().any(|known| known.eq_ignore_ascii_case(name)) => {
                self.learn(Secret::new(value));
                format!("{name}={}", "x".repeat(value.len()))
            }
            _ => pair.to_owned(),
        });
        let parameters: Vec<_> = parameters.collect();
        self.text(&format!("{path}?{}", parameters.join("&")))
    }

    /// Any text.
    pub fn text(&self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        self.bytes(&mut bytes);
        // What is written over is ASCII or a whole known text, so the rest is as it was.
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Any bytes, in place.
    pub fn bytes(&self, bytes: &mut [u8]) {
        for secret in &self.known {
            let word = secret.expose().as_bytes();
            let mut from = 0;
            while let Some(at) = find(&bytes[from..], word) {
                bytes[from + at..from + at + word.len()].fill(b'x');
                from += at + word.len();
            }
        }
        for prefix in PREFIXES {
            let mut from = 0;
            while let Some(at) = find(&bytes[from..], prefix) {
                let start = from + at + prefix.len();
                let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
                let length = bytes[start..].iter().take_while(|byte| is_part(byte)).count();
                // Within a word it is no beginning: `task-…`, `ask_…`.
                let begins = from + at == 0 || !bytes[from + at - 1].is_ascii_alphanumeric();
                if begins && length >= MIN_CREDENTIAL_BYTES {
                    bytes[start..start + length].fill(b'x');
                }
                from = start;
            }
        }
    }
}

fn find(bytes: &[u8], word: &[u8]) -> Option<usize> {
    if word.is_empty() {
        return None;
    }
    bytes.windows(word.len()).position(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_and_lengths_stay() {
        let mut scrubber = Scrubber::new().with_secret("hunter22");
        assert_eq!(scrubber.header("Authorization", "Bearer abc-def"), "Bearer xxxxxxx");
        assert_eq!(scrubber.header("x-api-key", "my key"), "my xxx");
        assert_eq!(scrubber.header("accept", "abc-def, */*"), "xxxxxxx, */*", "known from the header above");
        assert_eq!(scrubber.path("/v1/m?key=s3cret&alt=sse"), "/v1/m?key=xxxxxx&alt=sse");
        for (text, expected) in [
            ("pass hunter22!", "pass xxxxxxxx!"),
            ("s3cret", "xxxxxx"),
            ("key sk-proj-abcdefghijklmnop.", "key sk-xxxxxxxxxxxxxxxxxxxxxx"),
            ("a task-abcdefghijklmnopqrst", "a task-abcdefghijklmnopqrst"),
            ("sk-short", "sk-short"),
            ("é AIzaSyA1234567890abcdef é", "é AIzaxxxxxxxxxxxxxxxxxxx é"),
        ] {
            assert_eq!(scrubber.text(text), expected);
            assert_eq!(expected.len(), text.len());
        }
    }
}
