//! What is struck out of texts and of JSON.
//!
//! All patterns look at the text as it was written: what several of them find is struck out together, so that no rule hides a
//! part of what another would have found. In JSON they look at each string, number and name after its escapes were resolved; and
//! what still matches when it is written down again, across members, goes as a whole.

use std::{borrow::Cow, collections::HashSet, fmt};

use loquat_core::Secret;
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

/// What stands in place of what was struck out.
pub(super) const MARK: &str = "[redacted]";
/// How deep JSON in strings in JSON is looked into.
const MAX_NESTED: u32 = 3;

/// Forms of credentials, in one expression: it holds at any rate.
const CREDENTIALS: &str = concat!(
    // OpenAI, Anthropic, DeepSeek and many others; GitHub, GitLab, Slack, Hugging Face, Groq, xAI, Perplexity, Replicate.
    r"\b(?:sk|rk|pk)[-_][A-Za-z0-9_-]{16,}",
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|hf_|gsk_|xai-|pplx-|r8_)[A-Za-z0-9_-]{16,}",
    // AWS, Google.
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{30,}|\bya29\.[A-Za-z0-9_-]{16,}",
    // JSON web tokens (RFC 7519).
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    // `Authorization` (RFC 9110 §11.6.2), and user information in addresses (RFC 3986 §3.2.1).
    r"|(?i:\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{12,})",
    r"|://[^/\s:@]{0,256}:[^/\s@]{1,256}@",
    // RFC 7468, and with headers before the key (RFC 1421), which have dashes; to the end, where that is cut off.
    r"|(?s:-----BEGIN [A-Z ]{0,32}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]{0,32}PRIVATE KEY(?: BLOCK)?-----|\z))",
    // Written beside its name.
    r#"|(?i:\b(?:password|passwd|passphrase|secret|client[_-]?secret|api[_-]?key|access[_-]?key|auth[_-]?token|access[_-]?token|refresh[_-]?token)["']?\s*[:=]\s*["']?[^\s"',;}\]]{4,})"#,
);

/// Names of members that hold a credential, without `-` and `_`.
const FIELDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "clientsecret",
    "apikey",
    "xapikey",
    "accesskey",
    "secretkey",
    "secretaccesskey",
    "privatekey",
    "authorization",
    "proxyauthorization",
    "authtoken",
    "accesstoken",
    "refreshtoken",
    "idtoken",
    "sessiontoken",
    "bearer",
    "token",
    "cookie",
    "setcookie",
    "credential",
    "credentials",
];

/// What is struck out.
#[derive(Clone)]
pub(super) struct Rules {
    patterns: Vec<Regex>,
    fields: HashSet<String>,
    pointers: Vec<Vec<String>>,
}

impl Default for Rules {
    fn default() -> Self {
        // A constant that the tests compile. Without it there would be patterns fewer, not a panic in an observer.
        let credentials = Regex::new(CREDENTIALS).ok();
        let fields = FIELDS.iter().map(|name| (*name).to_owned()).collect();
        Self { patterns: credentials.into_iter().collect(), fields, pointers: Vec::new() }
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A rule may name a secret.
        write!(
            f,
            "Rules({} patterns, {} names, {} pointers)",
            self.patterns.len(),
            self.fields.len(),
            self.pointers.len()
        )
    }
}

/// A member's name, as it is compared.
fn folded(name: &str) -> String {
    name.chars().filter(|letter| !matches!(letter, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

impl Rules {
    pub(super) fn pattern(&mut self, pattern: &str) -> Result<(), regex::Error> {
        self.patterns.push(Regex::new(pattern)?);
        Ok(())
    }

    pub(super) fn field(&mut self, name: &str) {
        self.fields.insert(folded(name));
    }

    /// RFC 6901; `None` for what is none.
    pub(super) fn pointer(&mut self, pointer: &str) -> Option<()> {
        let mut steps = pointer.split('/');
        if steps.next() != Some("") {
            return None;
        }
        self.pointers.push(steps.map(unescaped).collect::<Option<_>>()?);
        Some(())
    }

    pub(super) fn secret(&mut self, secret: &Secret) {
        if secret.is_empty() {
            return;
        }
        // Escaped it is a valid pattern; one too long for a program of 256 MiB is no secret.
        let exact = RegexBuilder::new(&regex::escape(secret.expose())).size_limit(256 << 20).build();
        self.patterns.extend(exact);
    }

    /// A text without what the patterns find in it; one that is JSON as a whole, without what the names and pointers say.
    pub(super) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.nested(text, 0)
    }

    fn nested<'a>(&self, text: &'a str, depth: u32) -> Cow<'a, str> {
        if depth < MAX_NESTED
            && text.trim_start().starts_with(['{', '['])
            && let Ok(mut value) = serde_json::from_str::<Value>(text)
        {
            self.walk(&mut value, &self.open(), depth);
            return match self.checked(value) {
                Value::String(mark) => Cow::Owned(mark),
                value => Cow::Owned(value.to_string()),
            };
        }
        self.struck(text)
    }

    /// JSON text as a value without what the rules say; the mark, where it cannot be read.
    pub(super) fn json(&self, text: &str) -> Value {
        match serde_json::from_str::<Value>(text) {
            Ok(mut value) => {
                self.walk(&mut value, &self.open(), 0);
                self.checked(value)
            }
            Err(_) if text.trim().is_empty() => Value::Object(Map::new()),
            Err(_) => MARK.into(),
        }
    }

    /// What matches only across members and names is struck out as a whole.
    fn checked(&self, value: Value) -> Value {
        let written = value.to_string();
        if self.patterns.iter().any(|pattern| {
            // The mark itself is not what was looked for: `"password":"[redacted]"`.
            pattern.find_iter(&written).any(|found| !found.as_str().contains("[redacted"))
        }) {
            return MARK.into();
        }
        value
    }

    /// All pointers, at their beginning.
    fn open(&self) -> Vec<&[String]> {
        self.pointers.iter().map(Vec::as_slice).collect()
    }

    /// serde_json reads 128 levels at most, so this recursion is bounded.
    fn walk(&self, value: &mut Value, pointers: &[&[String]], depth: u32) {
        if pointers.iter().any(|rest| rest.is_empty()) {
            *value = MARK.into();
            return;
        }
        let below = |name: &str| -> Vec<&[String]> {
            let steps = pointers.iter().filter_map(|rest| rest.split_first());
            steps.filter(|(step, _)| *step == name || *step == "*").map(|(_, rest)| rest).collect()
        };
        match value {
            Value::String(text) => {
                if let Cow::Owned(struck) = self.nested(text, depth + 1) {
                    *text = struck;
                }
            }
            Value::Number(number) => {
                if let Cow::Owned(struck) = self.struck(&number.to_string()) {
                    *value = struck.into();
                }
            }
            Value::Array(elements) => {
                for (index, element) in elements.iter_mut().enumerate() {
                    self.walk(element, &below(&index.to_string()), depth);
                }
            }
            Value::Object(members) => {
                let taken = std::mem::take(members);
                for (name, mut member) in taken {
                    if self.fields.contains(&folded(&name)) {
                        member = MARK.into();
                    } else {
                        self.walk(&mut member, &below(&name), depth);
                    }
                    members.insert(self.struck(&name).into_owned(), member);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn struck<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut found: Vec<_> = self
            .patterns
            .iter()
            .flat_map(|pattern| pattern.find_iter(text))
            .map(|found| found.range())
            .filter(|range| !range.is_empty())
            .collect();
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        found.sort_by_key(|range| range.start);
        let mut out = String::with_capacity(text.len());
        let mut end = 0;
        for range in found {
            if range.start >= end {
                out += text.get(end..range.start).unwrap_or_default();
                out += MARK;
            }
            end = end.max(range.end);
        }
        out += text.get(end..).unwrap_or_default();
        Cow::Owned(out)
    }
}

/// A step of a pointer; `None` for a `~` that stands for nothing.
fn unescaped(step: &str) -> Option<String> {
    let mut pieces = step.split('~');
    let mut out = pieces.next()?.to_owned();
    for piece in pieces {
        let (letter, rest) = match piece.as_bytes().first()? {
            b'0' => ('~', piece.get(1..)?),
            b'1' => ('/', piece.get(1..)?),
            _ => return None,
        };
        out.push(letter);
        out += rest;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(patterns: &[&str], fields: &[&str], pointers: &[&str]) -> Rules {
        let mut rules = Rules::default();
        patterns.iter().for_each(|pattern| rules.pattern(pattern).expect("a pattern"));
        fields.iter().for_each(|name| rules.field(name));
        pointers.iter().for_each(|pointer| rules.pointer(pointer).expect("a pointer"));
        rules
    }

    #[test]
    fn credentials_are_struck_out_without_being_asked() {
        assert_eq!(Rules::default().patterns.len(), 1, "the constant compiles");
        for text in [
            "sk-proj-abcdefghijklmnop1234",
            "AKIAIOSFODNN7EXAMPLE",
            "AIzaSyA1234567890abcdefghijklmnopqrstuv",
            "ghp_abcdefghijklmnopqrst",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
            "Authorization: Bearer abcdefghijklmnop",
            "postgres://user:hunter2222@db/x",
            "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\nMIIdef\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\nMIIcut off",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0\n\nMIIabc\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nMIIabc\n-----END PGP PRIVATE KEY BLOCK-----",
            "redis://:hunter2222@db/0",
            "password = hunter2222",
            "export API_KEY='hunter2222'",
        ] {
            let shown = Rules::default().text(text).into_owned();
            assert!(shown.contains(MARK), "{shown}");
            assert!(!["hunter", "MII", "abcdef", "IOSF"].iter().any(|word| shown.contains(word)), "{shown}");
        }
        for harmless in ["ask-me", "a secret of the trade", "basic research", "tokens: 5", "http://h:80/@x"] {
            assert_eq!(Rules::default().text(harmless), harmless);
        }
    }

    #[test]
    fn rules_that_meet_hide_none_of_each_other() {
        let rules = rules(&["bc", "abcd", r"x*"], &[], &[]);
        assert_eq!(rules.text("1abcd2 bc bcd"), "1[redacted]2 [redacted] [redacted]d");
        assert_eq!(rules.text("xx-x"), "[redacted]-[redacted]", "and nothing is struck out of nothing");
    }

    #[test]
    fn json_by_names_pointers_and_patterns() {
        let rules = rules(&[r"\d{4}-\d{4}", "planted"], &["E-Mail"], &["/list/*/who", "/a~1b/0", "/deep"]);
        let check = |json: &str, shown: &str| assert_eq!(rules.json(json).to_string(), shown, "{json}");
        check(
            r#"{"email":"a@b","EMAIL":{"x":1},"to":"c"}"#,
            r#"{"EMAIL":"[redacted]","email":"[redacted]","to":"c"}"#,
        );
        check(
            r#"{"list":[{"who":1},{"who":[2]}],"who":3}"#,
            r#"{"list":[{"who":"[redacted]"},{"who":"[redacted]"}],"who":3}"#,
        );
        check(r#"{"a/b":["x","y"]}"#, r#"{"a/b":["[redacted]","y"]}"#);
        check(r#"{"t":"pl\u0061nted","planted":1}"#, r#"{"[redacted]":1,"t":"[redacted]"}"#);
        check(r#"{"t":"{\"e_mail\":\"x\"}"}"#, r#"{"t":"{\"e_mail\":\"[redacted]\"}"}"#);
        check(r#"{"api-key":"x","n":[1,null,true]}"#, r#"{"api-key":"[redacted]","n":[1,null,true]}"#);
        check(r#"["1234","-5678"]"#, r#"["1234","-5678"]"#);
        check("", "{}");
        check(r#"{"e_mail":"half"#, r#""[redacted]""#);
        assert_eq!(rules.text("{\"deep\": 1} "), r#"{"deep":"[redacted]"}"#, "a text that is JSON");
        assert_eq!(rules.text("[no](json) planted"), "[no](json) [redacted]");
    }

    #[test]
    fn what_matches_across_members_goes_as_a_whole() {
        let across = rules(&[r#""first":"\w+","last":"\w+""#, r"41{3}"], &[], &["/x/y/z"]);
        assert_eq!(across.json(r#"{"first": "A", "last": "B"}"#), MARK);
        assert_eq!(across.json(r#"{"n":4111}"#).to_string(), r#"{"n":"[redacted]"}"#);
        // Deeper than the reader goes: not shown at all.
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        assert_eq!(across.json(&deep), MARK);
    }

    #[test]
    fn exact_secrets_and_pointers_that_are_none() {
        let mut rules = Rules::default();
        rules.secret(&Secret::new("a.b*c"));
        rules.secret(&Secret::new(""));
        assert_eq!(rules.text("a.b*c axbbc"), "[redacted] axbbc");
        assert!(!format!("{rules:?}").contains("a.b"));
        for bad in ["a", "/~", "/~2", "x/y"] {
            assert_eq!(rules.pointer(bad), None, "{bad}");
        }
        // RFC 6901: the empty pointer is the whole document.
        rules.pointer("").expect("a pointer");
        assert_eq!(rules.json("[1]"), MARK);
    }
}
