//! A router over a client's endpoints: each a provider's format over the client's connections, inside its schedule.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use loquat_client::HttpModel;
use loquat_core::{BoxFuture, Endpoint, Error, ErrorKind, Result};
use loquat_router::{Allowance, Connected, EndpointSpec, Plan, Router, RouterBuilder, Timer};
use loquat_schedule::retry::Budget;

use crate::Client;

impl Client {
    /// A router over the plan's endpoints. An endpoint's provider says its wire format; where it has no address it is the
    /// provider's own, with the key this client has for it, or this client's one server for everything
    /// ([`ClientBuilder::base_url`](crate::ClientBuilder::base_url)), where it has such. With a key of its own it is the
    /// provider's in any case. Each endpoint has its own budget, queue and breaker; while that is open nobody waits for it, whatever
    /// this client's retries do.
    ///
    /// Another model where the first one fails before it has said anything:
    ///
    /// ```no_run
    /// use std::io::{Write, stdout};
    ///
    /// use loquat::{Client, ModelExt, router::Plan};
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let plan = Plan::new().with_chain("chat", ["openai:gpt-4o", "anthropic:claude-sonnet-4-5"]);
    /// let router = Client::from_env()?.router(&plan)?;
    ///
    /// let mut answer = router.chat("chat").user("Why is the sky blue?").stream().await?;
    /// while let Some(text) = answer.next_text().await? {
    ///     print!("{text}");
    ///     stdout().flush()?; // or only whole lines are seen
    /// }
    /// println!();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// By [`ModelExt`](crate::ModelExt) a router is asked as this client is, with tools and types; the name is a route's.
    ///
    /// # Errors
    /// As [`Router::replace`], and what an endpoint cannot be asked for: an unknown provider, a missing key.
    pub fn router(&self, plan: &Plan) -> Result<Router> {
        self.router_builder().build(plan)
    }

    /// A builder of routers over this client's endpoints, for what [`router`](Self::router) leaves at its default.
    pub fn router_builder(&self) -> RouterBuilder {
        let client = self.clone();
        Router::builder(move |spec: &EndpointSpec| client.connect(spec)).timer(Arc::new(TokioTimer))
    }

    fn connect(&self, spec: &EndpointSpec) -> Result<Connected> {
        let http = self.http_endpoint(spec)?;
        let model = &spec.endpoint.model;
        let name = format!("{} as {model}", spec.name);
        let (model, schedule) = self.0.routed(http, &name);
        let mut connected = Connected::new(model);
        if let Some(schedule) = schedule {
            connected = connected.with_allowance(Arc::new(Fallbacks(schedule.budget().clone())));
            if let Some(word) = schedule.availability() {
                connected = connected.with_availability(word.clone());
            }
        }
        Ok(connected)
    }
}

impl Client {
    /// The model at that endpoint, outside of any schedule.
    pub(crate) fn http_endpoint(&self, spec: &EndpointSpec) -> Result<HttpModel> {
        let Endpoint { provider, base_url, model, credential, addresses, .. } = &spec.endpoint;
        let profile =
            loquat_provider::profile(provider).ok_or_else(|| crate::resolve::unknown_provider(provider))?;
        if model.is_empty() {
            return Err(Error::new(ErrorKind::NotConfigured, "it names no model"));
        }
        let mut endpoint = match (base_url.is_empty(), credential, &self.0.server) {
            (false, ..) => spec.endpoint.clone(),
            // A key of its own is its provider's, and goes nowhere else.
            (true, Some(key), _) => Endpoint::new(profile.name, self.0.place(profile)?, model)
                .with_credential(key.clone())
                .with_plain_credential(self.0.plain_key(profile)),
            (true, None, Some(server)) => server.endpoint(model),
            (true, None, None) => self.provider_endpoint(profile, model)?,
        };
        endpoint.plain_credential |= spec.endpoint.plain_credential;
        endpoint.addresses.clone_from(addresses);
        self.0.model_at(profile.format, endpoint)
    }
}

/// The budget of an endpoint's retries, on which fallbacks to it draw.
struct Fallbacks(Arc<Budget>);

impl Allowance for Fallbacks {
    fn try_take(&self, now: Instant) -> bool {
        self.0.try_withdraw_fallback(now)
    }

    fn has_left(&self, now: Instant) -> bool {
        self.0.has_left(now)
    }
}

/// Hedges wait by tokio's clock.
struct TokioTimer;

impl Timer for TokioTimer {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}
