//! A response's body, pulled: each poll reads the socket (HTTP/1.1) or the stream's buffer (HTTP/2) in the caller's
//! own task. Nothing is read that is not asked for.

use std::{
    fmt,
    future::{Future, poll_fn},
    hint::black_box,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use loquat_core::{CancellationToken, ErrorKind, Result};

#[cfg(feature = "decompress")]
use crate::decode::Decoder;
use crate::{PoolConfig, cancel::Cancelling, http1::Http1, http2, pool::Slot, trail::Trail};

/// Most memory set aside for a body that has not come.
const MAX_RESERVED_BYTES: usize = 1024 * 1024;

/// The body of a [`Response`](crate::Response).
///
/// Read it to the end, and the connection serves the next request. Dropping it before gives the request up at once:
/// an HTTP/2 stream is reset (`CANCEL`), an HTTP/1.1 connection closed. Cancelling the request's context ends it with
/// [`ErrorKind::Cancelled`], also while somebody waits for the next chunk. The context's deadline and any limit in
/// time while reading are the caller's.
#[must_use = "dropping a body cancels the request"]
pub struct Body {
    inner: Inner,
    #[cfg(feature = "decompress")]
    decoder: Option<Box<Decoder>>,
    cancelling: Cancelling,
    rest: Box<Rest>,
}

/// What no chunk needs: apart, since one among many finds what each chunk needs cold.
pub(crate) struct Rest {
    /// As long as an HTTP/2 body is said to be, in bytes; 0 where that is not said. `h2` ends a stream that does not keep to it.
    promised: usize,
    trailers: Option<Box<HeaderMap>>,
    pub(crate) trail: Trail,
    drain: Drain,
}

enum Inner {
    Http1(Box<Http1>),
    Http2 {
        stream: http2::Stream,
        /// Declared after the stream, and so dropped after it: its reset must be queued before another request takes
        /// the place.
        slot: Slot,
    },
    Done,
}

/// See [`PoolConfig`].
#[derive(Debug, Clone, Copy)]
struct Drain {
    bytes: usize,
    time: Duration,
}

impl Rest {
    pub(crate) fn new(trail: Trail, pool: &PoolConfig) -> Box<Self> {
        let drain = Drain { bytes: pool.drain_bytes, time: pool.drain_time };
        Box::new(Self { promised: 0, trailers: None, trail, drain })
    }
}

impl Body {
    pub(crate) fn http1(connection: Box<Http1>, cancellation: &CancellationToken, rest: Box<Rest>) -> Self {
        let mut body = Self::new(Inner::Http1(connection), cancellation, rest);
        // One without content is over before it is polled.
        body.settle();
        body
    }

    pub(crate) fn http2(
        stream: http2::Stream,
        slot: Slot,
        headers: &HeaderMap,
        cancellation: &CancellationToken,
        mut rest: Box<Rest>,
    ) -> Self {
        let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        rest.promised = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        Self::new(Inner::Http2 { stream, slot }, cancellation, rest)
    }

    fn new(inner: Inner, cancellation: &CancellationToken, rest: Box<Rest>) -> Self {
        Self {
            inner,
            #[cfg(feature = "decompress")]
            decoder: None,
            cancelling: Cancelling::Asked(cancellation.clone()),
            rest,
        }
    }

    /// The next chunk, as large as it came; `None` at the end and after an error. An HTTP/1.1 body without length
    /// ends where the connection does: whether it was whole is for its content to say.
    ///
    /// A chunk is a part of what it was read into, without a copy, and keeps that: on HTTP/1.1 32 KiB, which it shares with what its
    /// thread reads next, of a large body up to [`HeadLimits::read_bytes`](crate::HeadLimits::read_bytes). Whoever keeps all chunks of 1,000
    /// bytes keeps a third more than their bytes; whoever keeps one of 25 keeps 32 KiB for it, and should copy it.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] when the connection was lost in mid-body, [`ErrorKind::Protocol`] for bytes that are
    /// not HTTP, [`ErrorKind::Local`] for a body that was not read ([`crate::Laggard`]), [`ErrorKind::Cancelled`]. Of a
    /// compressed body also [`ErrorKind::Truncated`] where it ends too early, [`ErrorKind::Protocol`] where it is damaged or
    /// something follows, and [`ErrorKind::TooLarge`] ([`crate::DecompressLimits`]).
    #[cfg(feature = "decompress")]
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            let Some(decoder) = &mut self.decoder else {
                return self.poll_raw(cx);
            };
            let decoded = match decoder.next(&self.rest.trail) {
                Some(decoded) => decoded,
                None => {
                    let raw = ready!(self.poll_raw(cx));
                    let (Some(decoder), trail) = (&mut self.decoder, &self.rest.trail) else {
                        return Poll::Ready(raw);
                    };
                    match raw {
                        Some(Ok(data)) => {
                            decoder.feed(data);
                            continue;
                        }
                        Some(Err(error)) => Err(error),
                        None => match decoder.finish(trail) {
                            Ok(()) => {
                                self.decoder = None;
                                return Poll::Ready(None);
                            }
                            Err(error) => Err(error),
                        },
                    }
                }
            };
            if decoded.is_err() {
                self.decoder = None;
                self.inner = Inner::Done;
            }
            return Poll::Ready(Some(decoded));
        }
    }

    /// The next chunk, as large as it came; `None` at the end and after an error. An HTTP/1.1 body without length
    /// ends where the connection does: whether it was whole is for its content to say.
    ///
    /// A chunk is a part of what it was read into, without a copy, and keeps that: on HTTP/1.1 32 KiB, which it shares with what its
    /// thread reads next, of a large body up to [`HeadLimits::read_bytes`](crate::HeadLimits::read_bytes). Whoever keeps all chunks of 1,000
    /// bytes keeps a third more than their bytes; whoever keeps one of 25 keeps 32 KiB for it, and should copy it.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] when the connection was lost in mid-body, [`ErrorKind::Protocol`] for bytes that are
    /// not HTTP, [`ErrorKind::Local`] for a body that was not read ([`crate::Laggard`]), [`ErrorKind::Cancelled`].
    #[cfg(not(feature = "decompress"))]
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        self.poll_raw(cx)
    }

    /// Looks at what the next chunk will be taken from, so that all of it is on its way from memory at once. For who reads many bodies by
    /// turns and is told that there is something of this one; changes nothing.
    #[inline]
    pub fn warm(&self) {
        black_box(self.cancelling.is_flagged());
        match &self.inner {
            Inner::Http1(connection) => connection.warm(),
            Inner::Http2 { stream, .. } => stream.warm(),
            Inner::Done => {}
        }
    }

    /// Hands on what is decoded from here.
    #[cfg(feature = "decompress")]
    pub(crate) fn decoded_by(mut self, decoder: Decoder) -> Self {
        self.decoder = Some(Box::new(decoder));
        self
    }

    fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if matches!(self.inner, Inner::Done) {
            return Poll::Ready(None);
        }
        if self.cancelling.is_cancelled() {
            self.inner = Inner::Done;
            return Poll::Ready(Some(Err(self.rest.trail.cancelled())));
        }
        let Poll::Ready(chunk) = self.poll_wire(cx) else {
            ready!(self.cancelling.poll(cx));
            self.inner = Inner::Done;
            return Poll::Ready(Some(Err(self.rest.trail.cancelled())));
        };
        match &chunk {
            // Of a stream of HTTP/2 the question takes a lock, and nothing but the stream itself waits for the answer: it is asked at
            // the end, or when the body is dropped.
            Some(Ok(_)) if matches!(self.inner, Inner::Http2 { .. }) => {}
            Some(Ok(_)) => self.settle(),
            Some(Err(_)) => self.inner = Inner::Done,
            None => self.complete(),
        }
        Poll::Ready(chunk)
    }

    fn poll_wire(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let Self { inner, rest, .. } = self;
        match inner {
            Inner::Http1(connection) => match ready!(connection.poll_body(cx)) {
                Some(Ok(data)) => Poll::Ready(Some(Ok(data))),
                Some(Err(failure)) => Poll::Ready(Some(Err(failure.into_error(&rest.trail)))),
                None => {
                    rest.trailers = connection.take_trailers();
                    Poll::Ready(None)
                }
            },
            Inner::Http2 { stream, slot } => {
                let failure = match ready!(stream.poll_data(cx)) {
                    Some(Ok(data)) => return Poll::Ready(Some(Ok(data))),
                    Some(Err(failure)) => failure,
                    None => match ready!(stream.poll_trailers(cx)) {
                        Ok(fields) => {
                            rest.trailers = fields.map(Box::new);
                            return Poll::Ready(None);
                        }
                        Err(failure) => failure,
                    },
                };
                if !failure.is_reset_here() {
                    slot.settle();
                }
                Poll::Ready(Some(Err(http2::failure(failure, &rest.trail))))
            }
            Inner::Done => Poll::Ready(None),
        }
    }

    /// The fields that came after the body (RFC 9110 §6.5), once its end has been seen, where there were any. Bounded:
    /// on HTTP/1.1 more than [`HeadLimits::max_fields`](crate::HeadLimits::max_fields) or 16 KiB of them are a protocol error, on HTTP/2 what does not fit into
    /// [`HeadLimits::max_bytes`](crate::HeadLimits::max_bytes) is left out.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.rest.trailers.as_deref()
    }

    /// The next chunk: [`Body::poll_chunk`] for those who wait.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn chunk(&mut self) -> Option<Result<Bytes>> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// The whole body.
    ///
    /// # Errors
    /// Those of [`Body::poll_chunk`], and [`ErrorKind::TooLarge`] once more than `max_bytes` have come. What came
    /// before an error is lost; pull the chunks where it is of use.
    pub async fn collect(mut self, max_bytes: usize) -> Result<Bytes> {
        let Some(first) = self.chunk().await.transpose()? else {
            return Ok(Bytes::new());
        };
        let too_large = |trail: &Trail| {
            trail.error(
                ErrorKind::TooLarge,
                format_args!("the body is longer than the {max_bytes} bytes allowed"),
            )
        };
        if first.len() > max_bytes {
            return Err(too_large(&self.rest.trail));
        }
        // Most bodies are one chunk, which is not copied, and the end is often known with it: one question is less than two polls.
        self.settle();
        let Some(second) = self.chunk().await.transpose()? else {
            return Ok(first);
        };
        // Room for the rest where its length is known; a length that is only promised reserves so much at most.
        let rest = self.left_hint(first.len() + second.len()).saturating_add(second.len());
        let rest = rest.min(MAX_RESERVED_BYTES).min(max_bytes - first.len());
        let mut whole = BytesMut::with_capacity(first.len() + rest);
        whole.extend_from_slice(&first);
        drop(first);
        let mut next = Some(second);
        while let Some(chunk) = next {
            if chunk.len() > max_bytes - whole.len() {
                return Err(too_large(&self.rest.trail));
            }
            whole.extend_from_slice(&chunk);
            next = self.chunk().await.transpose()?;
        }
        Ok(whole.freeze())
    }

    /// Bytes that are still to come after the first `taken`, as far as that is known.
    fn left_hint(&self, taken: usize) -> usize {
        match &self.inner {
            Inner::Http1(connection) => usize::try_from(connection.length_hint()).unwrap_or(0),
            Inner::Http2 { .. } => self.rest.promised.saturating_sub(taken),
            Inner::Done => 0,
        }
    }

    /// Stops reading although the end has not been seen, for those who know that nothing of use follows (`[DONE]`
    /// came). The body is read on for a moment, in the background if need be ([`PoolConfig::drain_bytes`],
    /// [`PoolConfig::drain_time`]): if the end comes, an HTTP/1.1 connection is kept and an HTTP/2 stream needs no
    /// reset; else this is a drop.
    pub fn finish(mut self) {
        let Drain { bytes, time } = self.rest.drain;
        let mut left = bytes;
        let mut rest = poll_fn(move |cx| {
            while let Some(chunk) = ready!(self.poll_raw(cx)) {
                match chunk {
                    Ok(chunk) if chunk.len() <= left => left -= chunk.len(),
                    _ => self.inner = Inner::Done,
                }
            }
            Poll::Ready(())
        });
        // Most often the end has come with what was read last.
        if Pin::new(&mut rest).poll(&mut Context::from_waker(Waker::noop())).is_pending()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // Out of time, it is dropped with the task.
            runtime.spawn(tokio::time::timeout(time, rest));
        }
    }

    /// Whether the end has been reached: the connection is already free for others. On HTTP/1.1 often known with the last chunk, on
    /// HTTP/2 with the `None` after it.
    pub fn is_done(&self) -> bool {
        #[cfg(feature = "decompress")]
        if self.decoder.as_ref().is_some_and(|decoder| !decoder.is_drained()) {
            return false;
        }
        matches!(self.inner, Inner::Done)
    }

    /// Gives the connection back as soon as the end is known, which is often before the caller asks for more.
    fn settle(&mut self) {
        let at_end = match &self.inner {
            Inner::Http1(connection) => connection.is_over(),
            Inner::Http2 { stream, .. } => stream.is_end_stream(),
            Inner::Done => false,
        };
        if at_end {
            self.complete();
        }
    }

    fn complete(&mut self) {
        match std::mem::replace(&mut self.inner, Inner::Done) {
            Inner::Http1(connection) => {
                let site = Arc::clone(connection.permit().site());
                site.rest(connection);
            }
            // An upload that has not ended is broken off, by a reset, unless the peer has done that.
            Inner::Http2 { stream, mut slot } if !stream.is_sending() || stream.was_reset_by_peer() => {
                slot.settle();
            }
            Inner::Http2 { .. } => {}
            Inner::Done => {}
        }
    }
}

/// What has come to its end needs no reset, although nobody asked for the end.
impl Drop for Body {
    fn drop(&mut self) {
        if matches!(self.inner, Inner::Http2 { .. }) {
            self.settle();
        }
        if let Inner::Http2 { stream, slot } = &mut self.inner
            && stream.was_reset_by_peer()
        {
            slot.settle();
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.inner {
            Inner::Http1(_) => "HTTP/1.1",
            Inner::Http2 { .. } => "HTTP/2",
            Inner::Done => "done",
        };
        f.debug_struct("Body").field("state", &state).finish_non_exhaustive()
    }
}
