//! What becomes of canaries, sent to an address of the operator's: signed, off the path of requests, tried several times.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use loquat_core::{Context, Error, ErrorKind, Result, Secret};
use loquat_router::{
    Listener,
    canary::{CanaryEvent, webhook},
};
use loquat_transport::{HeaderName, HeaderValue, Method, Request, Transport, Url};
use tokio::sync::mpsc;

use crate::Client;

/// Events that wait to be sent; more than a canary has in an hour. What does not fit is left out: `Canary::events` has it.
const QUEUE: usize = 64;
/// Waits between the tries of one message.
const AGAIN: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(25)];
/// Longest time of one try.
const TRY: Duration = Duration::from_secs(5);

impl Client {
    /// A listener for [`RouterBuilder::on_canary`](loquat_router::RouterBuilder::on_canary) that posts each event to that address,
    /// as `loquat_router::canary::webhook` signs it with that secret. An event is tried four times within half a minute, until
    /// the receiver answers with a 2xx; several are sent in order. It ends with the last clone of the listener.
    ///
    /// # Errors
    /// [`ErrorKind::NotConfigured`]: the address is none, or is neither `https` nor on the loopback.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn canary_webhook(&self, address: &str, secret: impl Into<Secret>) -> Result<Listener> {
        let url = Url::parse(address)?;
        if !url.origin().is_secure() && !url.origin().is_loopback() {
            return Err(Error::new(ErrorKind::NotConfigured, "a webhook's address must be https"));
        }
        let (sender, mut events) = mpsc::channel::<CanaryEvent>(QUEUE);
        let (transport, secret) = (self.0.transport.clone(), secret.into());
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                for wait in AGAIN {
                    tokio::time::sleep(wait).await;
                    if send(&transport, &url, &event, &secret).await.unwrap_or(false) {
                        break;
                    }
                }
            }
        });
        // Never waits: it is called from inside a request.
        Ok(Arc::new(move |event: &CanaryEvent| drop(sender.try_send(event.clone()))))
    }
}

/// Whether the receiver took it.
async fn send(transport: &Transport, url: &Url, event: &CanaryEvent, secret: &Secret) -> Result<bool> {
    let signed = webhook::sign(event, secret, SystemTime::now());
    let mut request = Request::new(Method::POST, url.clone()).with_body(signed.body);
    for (name, value) in [
        ("content-type", "application/json".to_owned()),
        ("webhook-id", signed.id),
        ("webhook-timestamp", signed.timestamp.to_string()),
        ("webhook-signature", signed.signature),
    ] {
        let value = HeaderValue::from_str(&value)
            .map_err(|cause| Error::new(ErrorKind::Internal, "a header of a webhook").with_source(cause))?;
        request.headers.insert(HeaderName::from_static(name), value);
    }
    let response = transport.send(&Context::new().with_timeout(TRY), request).await?;
    let taken = response.status.is_success();
    response.body.finish();
    Ok(taken)
}
