//! A router whose endpoints come from a source, and go on coming: each listing becomes a plan, each plan a table.
//!
//! The table is replaced as a whole while requests run: those under way go on by the old one, and by the new one where all whom the
//! old one could ask have left; what is known of endpoints that stay is kept, and one that leaves finishes what it has. A source that
//! fails or says nonsense changes nothing.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use loquat_core::{Context, Discover, Discovered, Error, Listing, Result};
use loquat_router::{Abilities, EndpointSpec, Plan, Router, RouterBuilder};
use tokio::task::AbortHandle;

use crate::Client;

impl Client {
    /// A router over what the source lists, beside the endpoints of `plan`, by `plan`'s routes; without routes every model
    /// is one. Waits for the first listing, as long as the context allows. Groups choose discovered endpoints by tag or model.
    ///
    /// The source's policy judges addresses, and of a *name* what it leads to, each time it is dialled: so it says where whatever it
    /// lists may be, however this client dials the endpoints that you named yourself.
    ///
    /// A tag that names an ability (`vision`) adds it. Where a name is in the plan and in the listing, the plan's stands.
    ///
    /// # Errors
    /// The source fails before its first listing, or the router cannot be built of it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn follow(
        &self,
        context: &Context,
        plan: Plan,
        source: impl Discover + 'static,
    ) -> Result<Followed> {
        self.follow_with(context, self.router_builder(), plan, source).await
    }

    /// As [`follow`](Self::follow), with a builder of this client's for what a router leaves at its default.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub async fn follow_with(
        &self,
        context: &Context,
        builder: RouterBuilder,
        plan: Plan,
        mut source: impl Discover + 'static,
    ) -> Result<Followed> {
        let mut first = first_listing(context, source.next(context)).await?;
        let router = builder.build(&self.plan_with(&plan, &mut first))?;
        put_out(&router, &first);
        let status = Arc::new(Mutex::new(Status::default()));
        status_of(&status).took(first);
        let (client, told, followed) = (self.clone(), status.clone(), router.clone());
        let task = tokio::spawn(async move {
            // A source waits by itself, also after failures.
            loop {
                let listing = source.next(&Context::new()).await;
                let taken = listing.and_then(|mut listing| {
                    followed.replace(&client.plan_with(&plan, &mut listing))?;
                    put_out(&followed, &listing);
                    Ok(listing)
                });
                match taken {
                    Ok(listing) => status_of(&told).took(listing),
                    Err(error) => status_of(&told).failed(error),
                }
                // A source that fails at once, for ever, does not keep the thread to itself.
                tokio::task::yield_now().await;
            }
        });
        Ok(Followed { router, status, task: task.abort_handle() })
    }
}

/// A router that follows a source. Dropping it ends the following; the router goes on with what it has.
#[must_use = "dropping it ends the following"]
pub struct Followed {
    router: Router,
    status: Arc<Mutex<Status>>,
    task: AbortHandle,
}

impl Followed {
    /// The router. Clones go on when the following has ended.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// How the source does.
    pub fn status(&self) -> Status {
        status_of(&self.status).clone()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Followed").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// How a source does.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Status {
    /// Listings taken over.
    pub listings: u64,
    /// Failures since the last of these.
    pub failures: u64,
    /// What the last failure was.
    pub error: Option<Error>,
    /// When the last listing was taken over.
    pub taken: Option<Instant>,
    /// What the last listing had that may not be used.
    pub refused: Vec<String>,
}

impl Status {
    fn took(&mut self, listing: Listing) {
        (self.listings, self.failures) = (self.listings + 1, 0);
        (self.taken, self.refused) = (Some(Instant::now()), listing.refused);
    }

    fn failed(&mut self, error: Error) {
        self.failures += 1;
        self.error = Some(error);
    }
}

fn status_of(status: &Mutex<Status>) -> MutexGuard<'_, Status> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first listing, or what ends the waiting for it.
async fn first_listing(context: &Context, first: impl Future<Output = Result<Listing>>) -> Result<Listing> {
    let waiting = async {
        match context.remaining() {
            Some(left) => tokio::time::timeout(left, first).await.unwrap_or_else(|_| {
                Err(Error::new(loquat_core::ErrorKind::Timeout, "no endpoint was listed before the deadline"))
            }),
            None => first.await,
        }
    };
    tokio::select! {
        listing = waiting => listing,
        () = context.cancellation().cancelled() => {
            Err(Error::new(loquat_core::ErrorKind::Cancelled, "the caller cancelled the wait for endpoints"))
        }
    }
}

impl Client {
    /// The plan with what was listed. What cannot be asked (a provider that nobody knows) joins what was refused: one such entry
    /// does not hold the others up.
    fn plan_with(&self, plan: &Plan, listing: &mut Listing) -> Plan {
        let mut plan = plan.clone();
        let refused = &mut listing.refused;
        listing.endpoints.retain(|found| {
            if plan.endpoints.iter().any(|spec| spec.name == found.name) {
                return true;
            }
            let mut spec = spec(found);
            // Who lists an endpoint does not decide whether a key may be read on the way to it.
            spec.endpoint.plain_credential = false;
            match self.http_endpoint(&spec) {
                Ok(_) => plan.endpoints.push(spec),
                Err(error) if refused.len() < MAX_REFUSED => {
                    refused.push(format!("endpoint `{}`: {}", spec.name, error.message()));
                    return false;
                }
                Err(_) => return false,
            }
            true
        });
        plan
    }
}

/// Reasons kept of one listing.
const MAX_REFUSED: usize = 20;

fn spec(found: &Discovered) -> EndpointSpec {
    let mut spec = EndpointSpec::new(&found.name, found.endpoint.clone());
    let abilities = found.tags.iter().filter_map(|tag| Abilities::named(tag));
    spec.abilities = abilities.fold(spec.abilities, Abilities::and);
    spec.tags.clone_from(&found.tags);
    spec.weight = found.weight.unwrap_or(spec.weight);
    spec.context_window = found.context_window;
    spec
}

/// What the source says is not well takes no requests.
fn put_out(router: &Router, listing: &Listing) {
    let now = Instant::now();
    let table = router.table();
    for node in table.nodes() {
        let found = listing.endpoints.iter().find(|found| found.name == node.spec.name);
        if let Some(found) = found {
            node.live.set_out(found.is_up == Some(false), now);
        }
    }
}
