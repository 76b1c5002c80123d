//! Asking providers for their models, all at once.

use std::time::{Duration, Instant};

use loquat::{Client, Context, Error, ErrorKind, ModelInfo, Result};
use tokio::task::JoinSet;

/// What a provider lists.
#[derive(Debug)]
pub(crate) struct Listing {
    /// The provider's name; empty for the server at `--base-url`.
    pub(crate) provider: String,
    pub(crate) models: Result<Vec<ModelInfo>>,
    pub(crate) took: Duration,
}

/// Asks them at once, each within the client's limit, and gives the answers in the order of the names.
pub(crate) async fn list_all(client: &Client, providers: Vec<String>) -> Vec<Listing> {
    let mut asking = JoinSet::new();
    let count = providers.len();
    for (place, provider) in providers.into_iter().enumerate() {
        let client = client.clone();
        asking.spawn(async move {
            let started = Instant::now();
            let models = client.list_models(&Context::new(), &provider).await;
            (place, Listing { provider, models, took: started.elapsed() })
        });
    }
    let mut listings = Vec::with_capacity(count);
    while let Some(joined) = asking.join_next().await {
        match joined {
            Ok(listing) => listings.push(listing),
            Err(cause) => {
                let lost = Error::new(ErrorKind::Internal, "a listing was lost").with_source(cause);
                let lost = Listing { provider: String::new(), models: Err(lost), took: Duration::ZERO };
                listings.push((count, lost));
            }
        }
    }
    listings.sort_by_key(|(place, _)| *place);
    listings.into_iter().map(|(_, listing)| listing).collect()
}
