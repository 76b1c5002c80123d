//! Addresses: which is no base for calls and what to write in its place, and how one is shown.
//!
//! It opens no connection and knows providers by their paths alone.

use std::borrow::Cow;

use loquat_core::ChatRequest;
use loquat_provider::Format;

/// Why that is no base URL, though it may be an address, and what to write in its place: it has a query or a fragment, or is that of one
/// deployment at Azure OpenAI, as Azure's portal shows it. `None` where nothing speaks against it.
pub fn no_base(address: &str) -> Option<String> {
    let has_more = address.contains(['?', '#']);
    // Each request's address is looked at.
    if !has_more && !address.contains(DEPLOYMENTS) {
        return None;
    }
    if let Some((base, deployment)) = deployment(address)
        && (has_more || base.contains(".azure.") || base_of(address, &loquat_provider::OPENAI_CHAT).is_some())
    {
        return Some(format!(
            "the address is that of one deployment at Azure OpenAI: give {base}/v1 and name the model azure:{deployment}, or, for \
             the API by deployment, {base} and azure-deployment:{deployment}"
        ));
    }
    let what =
        "the address has a query or a fragment, and the path of each call comes behind it: leave that out";
    has_more.then(|| what.to_owned())
}

/// What stands before a deployment's name.
const DEPLOYMENTS: &str = "/openai/deployments/";

/// The base of `…/openai/deployments/NAME…`, to be shown, and the name.
fn deployment(address: &str) -> Option<(String, String)> {
    let address = shown(address, "");
    let (before, behind) = address.split_once(DEPLOYMENTS)?;
    let name = behind.split('/').next().filter(|name| !name.is_empty())?;
    Some((format!("{before}/openai"), name.to_owned()))
}

/// An address to be shown: without a user's name and password, and without its query, which may hold a key.
pub(crate) fn shown(base_url: &str, path: &str) -> String {
    let before_query = |text: &str| text.find(['?', '#']).unwrap_or(text.len());
    let base_url = &base_url[..before_query(base_url)];
    let (scheme, rest) = base_url.split_once("://").unwrap_or(("", base_url));
    let (authority, folder) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{folder}{}", &path[..before_query(path)])
}

/// The calls that are made under the same base: who gives the address of one in place of the base has most likely one of these. Those
/// of one word may be anything else, except behind `/v1`.
const CALLS: [&[&str]; 3] = [
    &["chat/completions", "completions", "responses", "embeddings", "models"],
    &["messages", "models"],
    &["api/chat", "api/generate"],
];

/// The base of an address that ends in the path of a call, as examples of curl have it. An address that ends in the path of another
/// format's call is a base: a gateway's prefix may be called `/api/chat`.
pub(crate) fn base_of<'a>(base_url: &'a str, format: &dyn Format) -> Option<&'a str> {
    let address = base_url.trim_end_matches('/');
    let base = |call: &&str| {
        let base = address.strip_suffix(*call)?.strip_suffix('/')?;
        let is_meant = call.contains('/') || base.ends_with("/v1");
        (is_meant && base.contains("://")).then_some(base)
    };
    if !CALLS.iter().copied().flatten().any(|call| base(call).is_some()) {
        return None;
    }
    let asked = format.encode(&ChatRequest::new("").with_user("?"), "model").ok()?.path;
    let of_format = CALLS.iter().filter(|calls| calls.contains(&asked.as_str()));
    of_format.copied().flatten().find_map(base)
}

/// A call's path with these members in its query, in place of its own of the same names.
pub(crate) fn with_query<'a>(path: &'a str, said: &[(String, String)]) -> Cow<'a, str> {
    if said.is_empty() {
        return path.into();
    }
    let (place, query) = path.split_once('?').unwrap_or((path, ""));
    let is_said = |member: &str| said.iter().any(|(name, _)| member.split('=').next() == Some(name));
    let own = query.split('&').filter(|member| !member.is_empty() && !is_said(member)).map(str::to_owned);
    let members = own.chain(said.iter().map(|(name, value)| format!("{name}={value}")));
    format!("{place}?{}", members.collect::<Vec<_>>().join("&")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_a_call_is_told_from_a_base() {
        use loquat_provider::{
            ANTHROPIC_MESSAGES, OLLAMA_CHAT, OLLAMA_GENERATE, OPENAI_CHAT, OPENAI_RESPONSES,
        };
        let formats: [(&str, &dyn Format); 5] = [
            ("chat", &OPENAI_CHAT),
            ("responses", &OPENAI_RESPONSES),
            ("messages", &ANTHROPIC_MESSAGES),
            ("ollama", &OLLAMA_CHAT),
            ("generate", &OLLAMA_GENERATE),
        ];
        for (address, base, of) in [
            ("http://host/v1/chat/completions", "http://host/v1", &["chat", "responses"][..]),
            ("http://host/v1/chat/completions/", "http://host/v1", &["chat", "responses"]),
            ("http://host/v1/responses", "http://host/v1", &["chat", "responses"]),
            ("http://host/v1/messages", "http://host/v1", &["messages"]),
            ("http://host/v1/models", "http://host/v1", &["chat", "responses", "messages"]),
            ("http://host/api/chat", "http://host", &["ollama", "generate"]),
            ("http://host/x/api/generate/", "http://host/x", &["ollama", "generate"]),
            ("http://host/v1", "", &[]),
            ("http://host/models", "", &[]),
            ("http://host/my-messages", "", &[]),
            ("http://chat/completions", "", &[]),
            ("http://chat/completions.example", "", &[]),
        ] {
            for (name, format) in formats {
                let expected = of.contains(&name).then_some(base);
                assert_eq!(base_of(address, format), expected, "{address} for {name}");
            }
        }
    }

    #[test]
    fn an_address_is_shown_without_what_may_be_secret() {
        for (base_url, path, address) in [
            ("https://me:planted@host:1/v1/", "chat?key=planted", "https://host:1/v1/chat"),
            ("https://host/v1?key=planted#/", "", "https://host/v1"),
            ("http://host/", "models", "http://host/models"),
            ("http://host", "", "http://host"),
        ] {
            assert_eq!(shown(base_url, path), address);
        }
    }

    #[test]
    fn a_deployments_address_at_azure_is_told_what_to_write() {
        let told = "give https://r.openai.azure.com/openai/v1 and name the model azure:gpt-4o, or, for the API by deployment, \
                    https://r.openai.azure.com/openai and azure-deployment:gpt-4o";
        for (address, is_told) in [
            (
                "https://r.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
                true,
            ),
            ("https://me:planted@r.openai.azure.com/openai/deployments/gpt-4o/?api-key=planted", true),
            ("https://r.openai.azure.com/openai/deployments/gpt-4o", true),
            ("https://r.openai.azure.com/openai/deployments", false),
            ("https://r.openai.azure.com/openai/v1", false),
            ("https://litellm.example/openai/deployments/gpt-4o", false),
        ] {
            let what = no_base(address);
            assert_eq!(what.is_some(), is_told, "{address}");
            assert!(what.is_none_or(|what| what.contains(told) && !what.contains("planted")), "{address}");
        }
        let elsewhere = no_base("https://gw.example/x/openai/deployments/m/chat/completions?api-version=1");
        assert!(elsewhere.is_some_and(|what| what.contains("give https://gw.example/x/openai/v1 and")));
        let other = no_base("https://gw.example/v1?api-version=1");
        assert!(other.is_some_and(|what| what.contains("has a query") && !what.contains("Azure")));
    }

    #[test]
    fn members_of_a_query_are_put_in_place_of_those_of_their_name() {
        let version = [("api-version".to_owned(), "preview".to_owned())];
        for (path, said, expected) in [
            ("models", &version[..], "models?api-version=preview"),
            ("models?pageSize=9", &version, "models?pageSize=9&api-version=preview"),
            ("a/b?api-version=2024-10-21", &version, "a/b?api-version=preview"),
            ("a?api-version=1&b=2&", &version, "a?b=2&api-version=preview"),
            ("a?b=2&", &[], "a?b=2&"),
        ] {
            assert_eq!(with_query(path, said), expected);
        }
    }
}
