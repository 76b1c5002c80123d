//! The JSON of an endpoint, for registries, files and etcd: read tolerantly, judged strictly.
//!
//! ```json
//! {"endpoints": [{"name": "a", "provider": "openai", "base_url": "http://10.0.0.1:8000/v1", "model": "llama",
//!   "tags": ["h100"], "healthy": true, "weight": 2, "context_window": 8192, "key": "cluster"}]}
//! ```
//!
//! `base_url` and `model` are needed; a bare array will do. Unknown fields are passed over. `key` is the name of a key that
//! the [`Policy`] knows; an entry that holds a key itself is refused, since whoever reads the registry would read it, too.

use loquat_core::{Discovered, Endpoint, Listing, Result};
use loquat_json::document::{Document, Value};

use crate::{
    Policy,
    policy::{called, unusable},
};

/// An object's members. What is `null` is not there.
struct Entry<'v, 'd>(&'v Value<'d>);

impl<'d> Entry<'_, 'd> {
    /// The first of these names that is there.
    fn member(&self, names: &[&str]) -> Option<Value<'d>> {
        names.iter().find_map(|name| self.0.get(name).filter(|value| !value.is_null()))
    }

    fn text(&self, names: &[&str]) -> Result<Option<String>, String> {
        let text = |value: Value<'_>| value.as_str().map(str::to_owned);
        self.member(names).map(|value| text(value).ok_or_else(|| wrong(names, "a text"))).transpose()
    }

    fn needed(&self, names: &[&str]) -> Result<String, String> {
        self.text(names)?.ok_or_else(|| format!("an endpoint has no `{}`", names.join("` or `")))
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        let Some(value) = self.member(&[name]) else { return Ok(Vec::new()) };
        let texts = value.as_array().into_iter().flatten().map(|text| text.as_str().map(str::to_owned));
        let all = value.as_array().and_then(|_| texts.collect());
        all.ok_or_else(|| wrong(&[name], "a list of texts"))
    }

    /// A whole number, also one that is written `2.0`, as who keeps numbers as floats does.
    fn number(&self, name: &str) -> Result<Option<u32>, String> {
        #[expect(clippy::cast_possible_truncation, reason = "seen to before")]
        let whole = |value: f64| {
            (value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value)).then_some(value as u32)
        };
        let number = |value: Value<'_>| {
            let exact = value.as_u64().and_then(|value| u32::try_from(value).ok());
            exact.or_else(|| whole(value.as_f64()?))
        };
        let Some(value) = self.member(&[name]) else { return Ok(None) };
        number(value).map(Some).ok_or_else(|| wrong(&[name], "a whole number"))
    }

    /// Whether it is well, as registries say it: by a flag or by a word. What else they say is not known here.
    fn is_up(&self) -> Option<bool> {
        let value = self.member(&["healthy", "health"])?;
        value.as_bool().or_else(|| match value.as_str()?.to_ascii_lowercase().as_str() {
            "up" | "healthy" | "passing" | "ok" | "ready" | "serving" => Some(true),
            "down" | "unhealthy" | "critical" | "failing" | "not_ready" | "draining" => Some(false),
            _ => None,
        })
    }
}

fn wrong(names: &[&str], what: &str) -> String {
    format!("an endpoint cannot be read: its `{}` is not {what}", names.join("` or `"))
}

/// Fields that would hold a key itself.
const LITERAL_KEYS: &[&str] = &["api_key", "apikey", "credential", "password", "secret", "token"];

/// The endpoints in that JSON document, as far as the policy admits them.
///
/// # Errors
/// The bytes are no such document, or none of its endpoints can be used.
pub fn parse_entries(text: &[u8], policy: &Policy) -> Result<Listing> {
    let document = parse(text)?;
    let root = document.root();
    let entries = root.as_array().or_else(|| root.get("endpoints").and_then(|entries| entries.as_array()));
    let entries = entries.ok_or_else(|| unusable("it is neither an array nor an object with `endpoints`"))?;
    // One more than may be, so that too many are seen to be too many.
    let admitted =
        entries.take(policy.max_endpoints.saturating_add(1)).map(|entry| admit(&entry, policy, None));
    policy.listing(admitted.collect())
}

/// One endpoint in that JSON document. `name` is its name unless it has one of its own.
///
/// # Errors
/// Why it cannot be used.
pub fn parse_entry(text: &[u8], name: &str, policy: &Policy) -> Result<Discovered, String> {
    let document = parse(text).map_err(|error| error.to_string())?;
    admit(&document.root(), policy, Some(name))
}

fn parse(text: &[u8]) -> Result<Document> {
    Document::parse(text.to_vec()).map_err(|error| unusable("it is not JSON").with_source(error))
}

fn admit(value: &Value<'_>, policy: &Policy, name: Option<&str>) -> Result<Discovered, String> {
    let mut members = value.as_object().ok_or("an endpoint must be an object")?;
    if members.any(|(name, _)| LITERAL_KEYS.iter().any(|literal| name.eq_ignore_ascii_case(literal))) {
        return Err("an endpoint holds a key: it shall name one (`key`) that is known here".to_owned());
    }
    let entry = Entry(value);
    let (base_url, model) = (entry.needed(&["base_url", "url", "address"])?, entry.needed(&["model"])?);
    let own = entry.text(&["name"])?.or_else(|| name.map(str::to_owned));
    let name = own.unwrap_or_else(|| called(&model, &base_url));
    let provider = entry.text(&["provider"])?.unwrap_or_else(|| "openai".to_owned());
    let mut found = Discovered::new(name, Endpoint::new(provider, base_url, model));
    found.tags = entry.texts("tags")?;
    found.is_up = entry.is_up();
    (found.weight, found.context_window) = (entry.number("weight")?, entry.number("context_window")?);
    policy.admit(found, entry.text(&["key"])?.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_read_tolerantly() {
        let policy = Policy::new().with_key("k", "sk-planted", ["example.com"]);
        for (text, good, refused) in [
            (r#"{"endpoints":[]}"#, 0, 0),
            (r#"[{"base_url":"https://a.example.com/v1","model":"m"}]"#, 1, 0),
            (
                r#"{"endpoints":[{"url":"https://a.example.com","model":"m","new":{"x":[1]},"health":"passing"}],"v":2}"#,
                1,
                0,
            ),
            (r#"[{"base_url":"https://a.example.com","model":"m","key":"k"},{"model":"m"},7]"#, 1, 2),
            (
                r#"[{"name":null,"base_url":"https://a.example.com","address":"10.0.0.1","model":"m","tags":null,"weight":2.0,"health":{"status":"up"},"key":null}]"#,
                1,
                0,
            ),
            (
                r#"[{"base_url":null,"url":"https://a.example.com","model":"m","context_window":8.192e3}]"#,
                1,
                0,
            ),
            (
                r#"[{"url":"https://a.example.com","model":"m"},{"url":"https://b.example.com","model":"m","weight":1.5},{"url":"https://c.example.com","model":"m","weight":-1},{"url":7,"model":"m"},{"url":"https://d.example.com","model":"m","tags":[1]},{"url":"https://e.example.com","model":"m","tags":"h100"}]"#,
                1,
                5,
            ),
            (
                r#"[{"base_url":"https://a.example.com","model":"m"},{"base_url":"https://b.example.com","model":"m","API_KEY":"x"}]"#,
                1,
                1,
            ),
            (
                r#"[{"base_url":"https://a.example.com","model":"m"},{"base_url":"https://a.example.com","model":"m"}]"#,
                1,
                0,
            ),
            (
                r#"[{"name":"a","base_url":"https://a.example.com","model":"m"},{"name":"a","base_url":"https://b.example.com","model":"m"}]"#,
                1,
                1,
            ),
        ] {
            let listing = parse_entries(text.as_bytes(), &policy).expect(text);
            assert_eq!((listing.endpoints.len(), listing.refused.len()), (good, refused), "{text}");
        }
        for text in [
            "",
            "{}",
            "null",
            "<html>",
            r#"{"endpoints":{}}"#,
            r#"{"endpoints":[{"model":"m"}]}"#,
            "[1]",
            "[{}]",
        ] {
            assert!(parse_entries(text.as_bytes(), &policy).is_err(), "{text}");
        }
        let secret = r#"{"base_url":"https://user:planted@a.example.com/planted?k=planted","model":"m"}"#;
        let error = parse_entry(secret.as_bytes(), "n", &policy).expect_err("holds a password");
        let nameless = parse_entries(format!("[{secret}]").as_bytes(), &policy).expect_err("the same");
        assert!(!error.contains("planted") && !format!("{nameless} {nameless:?}").contains("planted"));
        let one =
            parse_entry(br#"{"base_url":"https://a.example.com","model":"m","healthy":false}"#, "n", &policy);
        assert_eq!(one.map(|found| (found.name, found.is_up)), Ok(("n".to_owned(), Some(false))));
        let go = br#"{"address":"10.0.0.1","base_url":"https://a.example.com","model":"m","weight":2.0,"tags":["x","y"]}"#;
        let found = parse_entry(go, "n", &policy).expect("good");
        assert_eq!((found.endpoint.base_url.as_str(), found.weight), ("https://a.example.com", Some(2)));
        assert_eq!(found.tags, ["x", "y"]);
    }
}
