//! The transport as its users see it: send, upload, warm, statistics. How an attempt goes is the business of `attempt`.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use loquat_core::{Context, ErrorKind, LockProbe, Result};

#[cfg(feature = "decompress")]
use crate::decode::Decoder;
use crate::{
    AddressPolicy, Body, Config, Request, Response, Stats, Url,
    attempt::{Inner, Ready, Source},
    body::Rest,
    buffers::Buffers,
    cancel::Cancelled,
    connect::Connector,
    pool::Pool,
    trail::Trail,
    upload::{Outgoing, Upload},
};

/// Bytes over pooled connections. Cheap to clone; clones share the pool. Dropping the last closes what is idle.
#[derive(Clone)]
pub struct Transport(Arc<Inner>);

impl Transport {
    /// A transport by that configuration. Needs no runtime; opens nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NotConfigured`] for a certificate that cannot be read, a proxy that is none.
    pub fn new(config: Config) -> Result<Self> {
        let connector = Connector::new(&config)?;
        let buffers = Buffers::new(config.pool.max_idle_buffers);
        let pool = Pool::new(config.pool, &config.http2_limits);
        Ok(Self(Arc::new(Inner {
            limits: config.limits,
            http2: config.http2_limits,
            head: config.head,
            #[cfg(feature = "decompress")]
            decompress: config.decompress,
            connector,
            pool,
            buffers,
        })))
    }

    /// This one, but that it dials only addresses which that policy allows, too, and none of [`Config::unix_sockets`]. Where that is less
    /// than it dials itself, it has connections of its own, since one made by who may dial anything is not good for who may not;
    /// [`stats`](Self::stats) of both count them together.
    #[must_use]
    pub fn within(&self, addresses: &AddressPolicy) -> Self {
        let own = self.addresses();
        let (wanted, addresses) = (addresses, own.and(addresses));
        let has_more = *wanted != AddressPolicy::Any && self.0.connector.has_sockets();
        if addresses == own.and(own) && !has_more {
            return self.clone();
        }
        let inner = &*self.0;
        Self(Arc::new(Inner {
            limits: inner.limits.clone(),
            http2: inner.http2.clone(),
            head: inner.head.clone(),
            #[cfg(feature = "decompress")]
            decompress: inner.decompress.clone(),
            connector: inner.connector.within(addresses),
            pool: inner.pool.beside(),
            buffers: inner.buffers.clone(),
        }))
    }

    /// Which addresses it dials.
    pub fn addresses(&self) -> &AddressPolicy {
        &self.0.connector.addresses
    }

    /// One attempt: waits for the response's head.
    ///
    /// The context's cancellation ends it at every stage, and so does its deadline; the deadline does not reach into
    /// the body.
    ///
    /// # Errors
    /// What failed, where, after how long; [`Error::delivery`](loquat_core::Error::delivery) says what the peer may have of the request.
    /// A response with an error status is a response.
    ///
    /// # Panics
    /// Outside a tokio runtime with IO and time enabled, as tokio's own sockets do.
    ///
    /// # Cancel safety
    /// Dropping the future gives the request up: an HTTP/2 stream is reset, an HTTP/1.1 connection closed, a place in
    /// the pool's queue returned. Whether the peer got the request is then unknown.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async function keeps two places for what it is given by value"
    )]
    pub fn send(
        &self,
        context: &Context,
        mut request: Request,
    ) -> impl Future<Output = Result<Response>> + Send {
        async move { self.run(context, &mut request, None).await }
    }

    /// As [`Transport::send`], with a body that is not in memory. The request's own body must be empty. It is sent once,
    /// whatever [`Request::replayable`] says, except on another connection where the first was gone before anything was asked
    /// of the source.
    ///
    /// The source is polled with the attempt, and with the response's body where the server answers before it has everything:
    /// whoever does not read that does not send on. A server that is done early may leave the rest unread; the connection
    /// is not used again then. [`Request::first_byte`] counts from the last piece sent, so it also ends an upload whose
    /// source or peer stands still for so long.
    ///
    /// # Errors
    /// As there. Where the source fails, [`ErrorKind::Local`] with the source's error as its source; where its
    /// length is not the one announced, [`ErrorKind::InvalidRequest`]. [`Error::delivery`](loquat_core::Error::delivery) holds for both.
    ///
    /// # Panics
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn send_upload(
        &self,
        context: &Context,
        mut request: Request,
        upload: Upload,
    ) -> Result<Response> {
        if !request.body.is_empty() {
            let trail = Trail::new(request.url.origin().clone(), context.deadline(), None);
            let what = "the request has a body of its own beside the upload";
            return Err(trail.error(ErrorKind::InvalidRequest, what));
        }
        request.replayable = false;
        self.run(context, &mut request, Some(upload.share(&self.0.buffers))).await
    }

    async fn run(
        &self,
        context: &Context,
        request: &mut Request,
        upload: Option<Outgoing>,
    ) -> Result<Response> {
        #[cfg(feature = "decompress")]
        let decodes = self.0.accept_compressed(request);
        let trail = Trail::new(request.url.origin().clone(), context.deadline(), upload);
        // In its place from the beginning, since it outlives this.
        let mut rest = Rest::new(trail, &self.0.pool.config);
        let trail = &mut rest.trail;
        if let Err(error) = context.check_at(trail.started) {
            return Err(trail.error(error.kind(), error.message()));
        }
        if request.names_a_user() {
            let what = "the Host header holds a user name or password: it is the server's name and port alone, and credentials go \
                into a header of their own (Authorization)";
            return Err(trail.error(ErrorKind::InvalidRequest, what));
        }
        let answered = {
            let mut attempt = pin!(self.0.attempt(request, trail));
            // A head is waited for in two or three polls: so the token itself is asked, which takes two locks each time and no memory.
            let mut cancelled = pin!(None);
            poll_fn(|cx| {
                if let Poll::Ready(answered) = attempt.as_mut().poll(cx) {
                    return Poll::Ready(Some(answered));
                }
                if cancelled.is_none() {
                    cancelled.set(Some(context.cancellation().cancelled()));
                }
                match cancelled.as_mut().as_pin_mut() {
                    Some(cancelled) => cancelled.poll(cx).map(|()| None),
                    None => Poll::Pending, // it is made above
                }
            })
            .await
        };
        #[cfg_attr(not(feature = "decompress"), expect(unused_mut, reason = "a decoder changes it"))]
        let (mut head, source) = match answered {
            Some(Ok(answered)) => answered,
            Some(Err(error)) => return Err(error),
            None => return Err(rest.trail.cancelled()),
        };
        rest.trail.head(head.status.is_success());
        let connection = source.info();
        let body = match source {
            Source::Http1(connection) => Body::http1(connection, context.cancellation(), rest),
            Source::Http2(stream, slot) => {
                Body::http2(stream, slot, &head.headers, context.cancellation(), rest)
            }
        };
        #[cfg(feature = "decompress")]
        let decoder =
            decodes.then(|| Decoder::of(&mut head.headers, &self.0.decompress, &self.0.buffers)).flatten();
        #[cfg(feature = "decompress")]
        let body = match decoder {
            Some(decoder) => body.decoded_by(decoder),
            None => body,
        };
        Ok(Response { status: head.status, headers: head.headers, body, connection })
    }

    /// Makes connections to that origin ahead of the first requests, all at once, until so many rest there; how many it made.
    /// A fresh connection costs a look-up and two or three round trips, which then no request waits for. One is enough
    /// where HTTP/2 is spoken. [`PoolConfig::max_connections_per_origin`](crate::PoolConfig::max_connections_per_origin) bounds
    /// them, those in use included. Over HTTP/1.1 a request that may not be sent twice, as a POST, uses one within
    /// [`PoolConfig::reuse_within`](crate::PoolConfig::reuse_within) alone; others do as long as it lives.
    ///
    /// # Errors
    /// That of the first connection that could not be made, or the context's cancellation or deadline; those that were made
    /// are kept.
    ///
    /// # Cancel safety
    /// Dropping the future gives up what is not made yet.
    pub async fn warm(&self, context: &Context, url: &Url, connections: usize) -> Result<usize> {
        let origin = url.origin();
        let inner = &self.0;
        let whole = Trail::new(origin.clone(), context.deadline(), None);
        if let Err(error) = context.check_at(whole.started) {
            return Err(whole.error(error.kind(), error.message()));
        }
        let site = inner.pool.site(origin, inner.connector.protocol(origin), whole.started);
        let mut making = Vec::new();
        for ticket in std::iter::from_fn(|| site.spare(connections, whole.started)) {
            let mut trail = Trail::new(origin.clone(), context.deadline(), None);
            let site = &site;
            making.push(Box::pin(async move {
                match inner.open(ticket, &mut trail).await? {
                    Ready::Http1(connection) => site.rest(connection),
                    // Given back by being dropped; no stream was begun that could have been reset.
                    Ready::Http2(mut slot) => slot.settle(),
                }
                Ok(())
            }));
        }
        let all = making.len();
        let mut cancelled = Cancelled::new(context.cancellation());
        poll_fn(|cx| {
            let mut index = 0;
            while let Some(one) = making.get_mut(index) {
                match one.as_mut().poll(cx) {
                    Poll::Ready(Ok(())) => drop(making.swap_remove(index)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => index += 1,
                }
            }
            if making.is_empty() {
                return Poll::Ready(Ok(all));
            }
            cancelled.poll(cx).map(|()| Err(whole.cancelled()))
        })
        .await
    }

    /// What was opened, reused, and is open now.
    pub fn stats(&self) -> Stats {
        let (buffers_taken, buffers_reused) = self.0.buffers.counts();
        Stats { buffers_taken, buffers_reused, ..self.0.pool.stats() }
    }

    /// Has its pool's locks watched, of which every request takes some: how often they are taken, and who waits for them. It costs each
    /// of them a call. Only the first who asks gets to watch; `false` for the others, whose probe is not made.
    pub fn watch_locks(&self, probe: impl FnOnce() -> Arc<dyn LockProbe>) -> bool {
        self.0.pool.counters.locks.watch(probe)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("limits", &self.0.limits)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::time::Instant;

    use tokio::net::UnixStream;

    use super::*;
    use crate::{
        ConnectionInfo, Http2Mode, Protocol,
        connect::Link,
        http2::Http2,
        io::Stream,
        pool::{Checkout, Ticket, Turn, Wants},
    };

    /// Else who comes at that moment is given the place, while others count on the connection still. The site looks at that itself.
    #[tokio::test]
    async fn a_connection_that_was_not_made_has_its_place_until_nobody_counts_on_it() {
        let config = Config::default().with_http2(Http2Mode::PriorKnowledge);
        let transport = Transport::new(config).expect("a valid configuration");
        let url = Url::parse("http://model.example").expect("valid");
        let site = transport.0.pool.site(url.origin(), None, Instant::now());
        let info = ConnectionInfo { peer: None, local: None, protocol: Protocol::Http2, reused: false };
        for _ in 0..2 {
            let (peer, socket) = UnixStream::pair().expect("a pair");
            drop(peer);
            let link = Link { stream: Stream::unix(socket), info, forward: None };
            let ticket = site.spare(1, Instant::now()).expect("a place");
            let mut trail = Trail::new(url.origin().clone(), None, None);
            let ready = transport.0.speak(link, ticket, &mut trail).await;
            let error = ready.map(|_| ()).expect_err("nobody is there");
            assert_eq!(error.kind(), ErrorKind::Connection);
        }
    }

    /// As one does whose runtime is gone: spawning drops it. The panic that this was went no further than tokio.
    #[test]
    fn a_driver_that_never_begins_gives_its_place_back_when_nobody_counts_on_it_any_more() {
        let config = Config::default().with_http2(Http2Mode::PriorKnowledge);
        let transport = Transport::new(config).expect("a valid configuration");
        let url = Url::parse("http://model.example").expect("valid");
        let site = transport.0.pool.site(url.origin(), None, Instant::now());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (greeted, _peer) = runtime.block_on(async {
            let info = ConnectionInfo { peer: None, local: None, protocol: Protocol::Http2, reused: false };
            let (peer, socket) = UnixStream::pair().expect("a pair");
            let link = Link { stream: Stream::unix(socket), info, forward: None };
            let greeted = Http2::greet(link, &transport.0.http2, &transport.0.head).await;
            (greeted.expect("it is only written"), peer)
        });
        let handle = runtime.handle().clone();
        drop(runtime);
        let _entered = handle.enter();
        let Ticket { making, permit } = site.spare(1, Instant::now()).expect("a place");
        let slot = transport.0.share(greeted, making, permit, url.origin().clone());
        assert!(!site.is_poisoned(), "somebody counted on it");
        assert!(slot.connection().is_closing(), "nobody drives it");
        let wants = Wants { replayable: false, fresh: false };
        let next = site.look(wants, &mut Turn::default(), Instant::now());
        assert!(matches!(next, Some(Checkout::Connect(_))), "{next:?}");
    }
}
