//! Model servers asked themselves what they serve: `/v1/models`, as vLLM, llama.cpp, Ollama and most others have it.
//!
//! One endpoint for each model of each server. vLLM says how long a context may be (`max_model_len`), llama.cpp likewise
//! (`meta.n_ctx`, `meta.n_ctx_train`). An Ollama too old for `/v1` has `/api/tags`. A server that does not answer keeps the
//! models it had, is asked again sooner, and is listed as not well after three times; nothing is ever generated to find out.

use std::time::Duration;

use loquat_core::{BoxFuture, Context, Discovered, Endpoint, Listing, Result};
use loquat_json::document::{Document, Value};
use loquat_transport::{Request, StatusCode, Transport, Url};
use tokio::task::JoinSet;

use crate::{
    Policy, Polled,
    fetch::{Fetcher, Token, authorize, unexpected},
    policy::{called, short, unusable},
    poll::Ask,
};

/// Failures in a row after which a server is not well: one late answer of a busy one says nothing, and its load would make the
/// others late, too. As many as a router's own checks.
const FAILURES: u32 = 3;
/// Servers asked at once.
const AT_ONCE: usize = 8;

/// Servers that are asked for their models.
#[derive(Debug, Clone)]
pub struct Probe {
    fetcher: Fetcher,
    servers: Vec<String>,
    key: Option<String>,
    every: Duration,
}

impl Probe {
    /// The servers at these addresses, without `/v1` (`http://10.0.0.1:8000`).
    pub fn new<S: Into<String>>(
        transport: Transport,
        servers: impl IntoIterator<Item = S>,
        policy: Policy,
    ) -> Self {
        let servers = servers.into_iter().map(|server| server.into().trim_end_matches('/').to_owned());
        let mut fetcher = Fetcher::new(transport, policy);
        // A server that lives lists its models at once, also while it generates.
        fetcher.timeout = Duration::from_secs(2);
        Self { fetcher, servers: servers.collect(), key: None, every: Duration::from_secs(30) }
    }

    /// Asks with the key of that name, which the policy knows, and lists what is found with it. A server that the key is not for is
    /// not asked.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Most time for one server's answer. Default 2 s.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.fetcher.timeout = timeout;
        self
    }

    /// Asks that often. Default 30 s.
    #[must_use]
    pub fn with_interval(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// What they serve, followed.
    pub fn follow(&self) -> Polled {
        let known = vec![Known::default(); self.servers.len()];
        Polled::new(Probing { of: self.clone(), known }, self.every, self.fetcher.policy.accept_empty)
    }
}

impl Probe {
    /// What that server is asked with, where the policy lets it have that.
    fn token(&self, server: &str) -> Result<Token> {
        let Some(key) = self.key.as_deref() else { return Ok(Token::None) };
        // Named by its host in messages: what else an address holds may be a password.
        let url = Url::parse(server)?;
        let found = Discovered::new(url.origin().host_field(), Endpoint::new("openai", server, ""));
        let admitted = self.fetcher.policy.admit(found, Some(key)).map_err(unusable)?;
        Ok(admitted.endpoint.credential.map_or(Token::None, Token::Bearer))
    }
}

struct Probing {
    of: Probe,
    known: Vec<Known>,
}

/// What is known of a server.
#[derive(Debug, Clone, Default)]
struct Known {
    /// What it served when it last answered.
    models: Vec<Discovered>,
    /// How often it has not since.
    failures: u32,
}

impl Ask for Probing {
    fn ask<'a>(&'a mut self, context: &'a Context) -> BoxFuture<'a, Result<Option<Listing>>> {
        Box::pin(async move {
            let mut running = JoinSet::new();
            let mut last = None;
            let mut waiting = self.of.servers.iter().cloned().enumerate();
            loop {
                while running.len() < AT_ONCE
                    && let Some((at, server)) = waiting.next()
                {
                    let (fetcher, context) = (self.of.fetcher.clone(), context.clone());
                    let token = self.of.token(&server);
                    running.spawn(async move {
                        let found = match token {
                            Ok(token) => models(&fetcher, &context, &server, &token).await,
                            Err(error) => Err(error),
                        };
                        (at, found)
                    });
                }
                let Some(done) = running.join_next().await else { break };
                let Ok((at, answer)) = done else { continue };
                let Some(known) = self.known.get_mut(at) else { continue };
                match answer {
                    Ok(models) => *known = Known { models, failures: 0 },
                    Err(error) => {
                        known.failures = known.failures.saturating_add(1);
                        if known.failures >= FAILURES {
                            known.models.iter_mut().for_each(|found| found.is_up = Some(false));
                        }
                        last = Some(error);
                    }
                }
            }
            let all: Vec<_> = self.known.iter().flat_map(|known| &known.models).cloned().collect();
            match last {
                Some(error) if all.is_empty() => Err(error),
                _ => {
                    let key = self.of.key.as_deref();
                    let admitted = all.into_iter().map(|found| self.of.fetcher.policy.admit(found, key));
                    self.of.fetcher.policy.listing(admitted.collect()).map(Some)
                }
            }
        })
    }

    fn is_in_doubt(&self) -> bool {
        self.known.iter().any(|known| !known.models.is_empty() && (1..FAILURES).contains(&known.failures))
    }
}

/// What that server serves.
async fn models(
    fetcher: &Fetcher,
    context: &Context,
    server: &str,
    token: &Token,
) -> Result<Vec<Discovered>> {
    let ask = async |path: &str| {
        let mut request = Request::get(format!("{server}{path}"))?;
        authorize(&mut request, token).await?;
        fetcher.fetch(context, request).await
    };
    let fetched = ask("/v1/models").await?;
    if fetched.status == StatusCode::OK {
        let base_url = format!("{server}/v1");
        return read(&fetched.body, "data", "openai", &base_url, server, fetcher.policy.max_endpoints);
    }
    let first = unexpected(fetched.status);
    if fetched.status != StatusCode::NOT_FOUND {
        return Err(first);
    }
    let fetched = ask("/api/tags").await?;
    match fetched.status {
        StatusCode::OK => {
            read(&fetched.body, "models", "ollama", server, server, fetcher.policy.max_endpoints)
        }
        _ => Err(first),
    }
}

fn read(
    text: &[u8],
    list: &str,
    provider: &str,
    base_url: &str,
    server: &str,
    most: usize,
) -> Result<Vec<Discovered>> {
    let document = Document::parse(text.to_vec())
        .map_err(|error| unusable("a server's list of models is not JSON").with_source(error))?;
    let listed = document.root().get(list).and_then(|models| models.as_array());
    let listed =
        listed.ok_or_else(|| unusable(format!("a server's list of models has no `{}`", short(list))))?;
    let found = listed.take(most.saturating_add(1)).filter_map(|model| {
        let id = model.get("id").or_else(|| model.get("name"))?.as_str()?;
        let endpoint = Endpoint::new(provider, base_url, id);
        let mut found = Discovered::new(called(id, server), endpoint);
        found.is_up = Some(true);
        found.context_window = window(&model);
        Some(found)
    });
    Ok(found.collect())
}

/// How many tokens it holds, by whichever name the server has for that.
fn window(model: &Value<'_>) -> Option<u32> {
    let places = ["/max_model_len", "/meta/n_ctx", "/meta/n_ctx_train", "/context_length"];
    let found = places.iter().find_map(|place| model.pointer(place)?.as_u64())?;
    u32::try_from(found).ok().filter(|tokens| *tokens > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_models_are_read_as_servers_write_them() {
        for (text, list, models) in [
            // vLLM 0.9, llama.cpp b5000, Ollama 0.9 and its older /api/tags, shortened.
            (
                r#"{"object":"list","data":[{"id":"m","object":"model","max_model_len":4096}]}"#,
                "data",
                vec![("m", Some(4096))],
            ),
            (
                r#"{"models":[],"data":[{"id":"g.gguf","meta":{"n_vocab":9,"n_ctx_train":2048}}]}"#,
                "data",
                vec![("g.gguf", Some(2048))],
            ),
            (
                r#"{"object":"list","data":[{"id":"q:7b","owned_by":"library"},{"no":1}]}"#,
                "data",
                vec![("q:7b", None)],
            ),
            (r#"{"models":[{"name":"q:7b","size":1}]}"#, "models", vec![("q:7b", None)]),
            (r#"{"data":[]}"#, "data", vec![]),
        ] {
            let found = read(text.as_bytes(), list, "openai", "http://h/v1", "http://h", 9).expect(text);
            let found: Vec<_> =
                found.iter().map(|found| (found.endpoint.model.as_str(), found.context_window)).collect();
            assert_eq!(found, models, "{text}");
        }
        for text in ["", "<html>", "[]", "{}", r#"{"data":7}"#] {
            assert!(read(text.as_bytes(), "data", "openai", "http://h/v1", "http://h", 9).is_err(), "{text}");
        }
    }
}
