//! Endpoints asked whether they are well, in the background: `/health`, or the list of models. Never a generation, which
//! would be billed, and would say more of the queue than of the server.
//!
//! A server that needs no key is one of ours, and has `/health` (vLLM, llama.cpp, SGLang) or at least a list of models; a
//! provider's is asked for its list alone. Three bad checks put an endpoint out and two good ones bring it back, see
//! [`loquat_router::health`].

use std::{
    fmt,
    time::{Duration, Instant},
};

use loquat_core::{Context, Endpoint, ErrorKind, Result};
use loquat_router::{EndpointSpec, Node, Router};
use loquat_transport::{Method, Request, StatusCode, Url};
use tokio::task::{AbortHandle, JoinSet};

use crate::Client;

/// How endpoints are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthChecks {
    /// How often each is asked. Default 10 s: with three bad checks one is out after half a minute, should no request find it first.
    pub every: Duration,
    /// How long an answer may take. Default 2 s; a server that computes answers this from another thread.
    pub timeout: Duration,
    /// How many are asked at once. Default 16.
    pub at_once: usize,
}

impl Default for HealthChecks {
    fn default() -> Self {
        Self { every: Duration::from_secs(10), timeout: Duration::from_secs(2), at_once: 16 }
    }
}

impl HealthChecks {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks that often.
    #[must_use]
    pub fn with_every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Waits that long for an answer.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Asks so many at once.
    #[must_use]
    pub fn with_at_once(mut self, at_once: usize) -> Self {
        self.at_once = at_once;
        self
    }
}

/// Checks that go on until it is dropped.
#[must_use = "dropping it ends the checks"]
pub struct HealthWatch(AbortHandle);

impl Drop for HealthWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for HealthWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthWatch").finish_non_exhaustive()
    }
}

impl Client {
    /// Checks the router's endpoints from now on, those that come later too.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn watch_health(&self, router: &Router, checks: HealthChecks) -> HealthWatch {
        let (client, router) = (self.clone(), router.clone());
        let task = tokio::spawn(async move {
            loop {
                client.check_all(&router, checks).await;
                tokio::time::sleep(checks.every).await;
            }
        });
        HealthWatch(task.abort_handle())
    }

    async fn check_all(&self, router: &Router, checks: HealthChecks) {
        let table = router.table();
        let mut running = JoinSet::new();
        for node in table.nodes() {
            if running.len() >= checks.at_once.max(1) {
                running.join_next().await;
            }
            let (client, node) = (self.clone(), Node::clone(node));
            running.spawn(async move {
                let is_well = client.is_well(&node.spec, checks.timeout).await;
                node.live.checked(is_well, Instant::now());
            });
        }
        while running.join_next().await.is_some() {}
    }

    /// Whether that endpoint is well, as far as it can be asked without a generation.
    async fn is_well(&self, spec: &EndpointSpec, timeout: Duration) -> bool {
        let context = Context::new().with_timeout(timeout);
        // A key goes to nobody who need not have it, and a provider has no `/health`.
        if spec.endpoint.credential.is_none() && !spec.endpoint.base_url.is_empty() {
            match self.health(&context, &spec.endpoint).await {
                Ok(status) if status.is_success() => return true,
                Ok(status) if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED => {
                    return false;
                }
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        let Ok(model) = self.http_endpoint(spec) else { return false };
        match model.list_models(&context).await {
            Ok(_) => true,
            // It answers; that it has no list, or counts our questions, says nothing against it.
            Err(error) => matches!(
                error.kind(),
                ErrorKind::NotFound
                    | ErrorKind::Unsupported
                    | ErrorKind::RateLimited
                    | ErrorKind::InvalidRequest
            ),
        }
    }

    async fn health(&self, context: &Context, endpoint: &Endpoint) -> Result<StatusCode> {
        let origin = Url::parse(&endpoint.base_url)?.origin().clone();
        let url = Url::parse(&format!("{}://{}/health", origin.scheme(), origin.host_field()))?;
        let transport = self.0.transport_within(endpoint.addresses.as_ref());
        let response = transport.send(context, Request::new(Method::GET, url)).await?;
        let status = response.status;
        response.body.finish();
        Ok(status)
    }
}
