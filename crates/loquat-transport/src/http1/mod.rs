//! One HTTP/1.1 connection, driven by whoever waits for it.
//!
//! hyper's `conn::http1` splits a connection into a handle and a future that does the work. Here both stay together:
//! the caller's own poll drives the future, so there is no task behind a request and no wake-up between tasks per
//! chunk. While the connection is idle nobody drives it; [`Http1::is_usable`] looks before it is used again.
//!
//! The two halves wake each other: who takes a chunk out of the body wakes whoever drove the connection when it came, which here is
//! the same task, in the middle of its turn, and it would be polled once more for every chunk, in vain. So a task that comes back
//! because something has come first drives the connection on nobody's behalf, and is noted down only where it has to wait again.
//!
//! The chunks of a chunked body never get as far as hyper: see [`tap`].

mod message;
mod room;
mod tap;

pub(crate) use message::{encode, has_no_body_by_nature, is_within};

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, header};
use hyper::{
    body::{Body as _, Frame, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;

use self::{message::Content, tap::Tap};
use crate::{
    ConnectionInfo, HeadLimits,
    connect::{Forward, Link},
    io::Meter,
    pool::Permit,
    timer::Timer,
};

/// Where nothing is said, hyper allows as many, and parses them into memory that it need not fill first.
const HYPERS_MAX_FIELDS: usize = 100;

/// See the [module](self).
pub(crate) struct Http1 {
    sender: http1::SendRequest<Content>,
    connection: http1::Connection<TokioIo<Tap>, Content>,
    tap: Tap,
    /// Whether the next data of the body is taken there.
    taps: bool,
    /// Whether `connection` has completed; it must not be polled after that.
    finished: bool,
    /// Whether something is likely to have come since the connection was driven last.
    expects: bool,
    info: ConnectionInfo,
    /// Whether it has carried a request; one that was made beforehand has not.
    used: bool,
    meter: Arc<Meter>,
    /// What the peer promised in `Keep-Alive: timeout`, less a margin for the way.
    keep_alive: Option<Duration>,
    idle_since: Instant,
    forward: Option<Forward>,
    /// Kept for the next wait.
    pub(crate) timer: Option<Timer>,
    /// When it is too old for another request.
    retire_at: Option<Instant>,
    /// Read before the head is in, at most.
    max_head_bytes: u64,
    /// The place this connection takes in its origin's pool.
    permit: Permit,
}

impl Http1 {
    /// Hyper's handshake sends nothing; it only puts the two halves together.
    pub(crate) async fn new(link: Link, head: &HeadLimits, permit: Permit) -> Result<Self, hyper::Error> {
        let meter = Arc::clone(link.stream.meter());
        // Hyper panics below 8 KiB; the other end keeps the buffer within reason. Its one bound is for a head and for a read;
        // the smaller one of a head is looked after while it comes, and when it is in.
        let read_bytes = head.read_bytes.max(head.max_bytes).clamp(8 * 1024, 16 * 1024 * 1024);
        let mut builder = http1::Builder::new();
        builder.max_buf_size(read_bytes);
        if head.max_fields != HYPERS_MAX_FIELDS {
            // More do not fit into a `HeaderMap`, which panics.
            builder.max_headers(head.max_fields.min(16 * 1024));
        }
        let tap = Tap::new(link.stream);
        let (sender, connection) = builder.handshake(TokioIo::new(tap.clone())).await?;
        let info = link.info;
        Ok(Self {
            sender,
            connection,
            tap,
            taps: false,
            finished: false,
            expects: false,
            info,
            used: false,
            meter,
            keep_alive: None,
            idle_since: Instant::now(),
            forward: link.forward,
            timer: None,
            retire_at: permit.site().retire_at(),
            max_head_bytes: head.max_bytes as u64,
            permit,
        })
    }

    pub(crate) fn info(&self) -> ConnectionInfo {
        self.info
    }

    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Where it ends at a proxy that is handed requests whole.
    pub(crate) fn forward(&self) -> Option<&Forward> {
        self.forward.as_ref()
    }

    pub(crate) fn permit(&self) -> &Permit {
        &self.permit
    }

    pub(crate) fn idle_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.idle_since)
    }

    /// How long the peer said it would keep the connection, less a margin.
    pub(crate) fn keep_alive(&self) -> Option<Duration> {
        self.keep_alive
    }

    /// Marks the start of its idleness.
    pub(crate) fn rest(&mut self, now: Instant) {
        self.idle_since = now;
        self.info.reused = self.used;
    }

    pub(crate) fn is_too_old(&self, now: Instant) -> bool {
        self.retire_at.is_some_and(|end| now >= end)
    }

    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        if self.finished {
            return Poll::Ready(Ok(()));
        }
        let done = ready!(Pin::new(&mut self.connection).poll(cx));
        self.finished = true;
        Poll::Ready(done)
    }

    /// Whether its last exchange is over and it is not closed, as far as is known without a look.
    pub(crate) fn is_settled(&self) -> bool {
        !self.finished && self.sender.is_ready()
    }

    /// Whether the next request can go out: looks, without waiting, whether the peer closed the connection or sent
    /// what nobody asked for.
    pub(crate) fn is_usable(&mut self) -> bool {
        let looked = self.drive(&mut Context::from_waker(Waker::noop()));
        looked.is_pending() && !self.finished && self.sender.is_ready()
    }

    /// Sends the request and waits for the head. The body is read with [`Http1::poll_body`].
    pub(crate) async fn exchange(
        &mut self,
        request: http::Request<Content>,
    ) -> Result<http::Response<Incoming>, hyper::Error> {
        self.meter.hold_after(self.max_head_bytes);
        let written = self.meter.written();
        // One that is still pulled from somewhere is hyper's to write while the body comes.
        let request_bytes = match request.body() {
            Content::Whole(bytes) => Some(bytes.len() as u64),
            Content::Upload(_) => None,
        };
        self.tap.begin();
        let mut response = pin!(self.sender.send_request(request));
        let mut connection_error = None;
        let mut refuses = false;
        let mut look = |cx: &mut Context<'_>| {
            loop {
                if !self.finished
                    && let Poll::Ready(done) = Pin::new(&mut self.connection).poll(cx)
                {
                    self.finished = true;
                    connection_error = done.err();
                }
                // Only the line above can bring it, so it need not wake anybody.
                let response = response.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                if response.is_pending() && !self.finished && self.tap.go_on() {
                    continue;
                }
                let is_too_large = response.is_pending() && self.meter.is_held();
                if self.finished || !is_too_large || std::mem::replace(&mut refuses, true) {
                    return response;
                }
                // All of it was the head, and that is not over: the next turn ends the connection.
                self.meter.refuse();
            }
        };
        let mut expects = false; // nothing, before the request is out
        let response = poll_fn(|cx| {
            if std::mem::replace(&mut expects, true)
                && let Poll::Ready(response) = look(&mut Context::from_waker(Waker::noop()))
            {
                return Poll::Ready(response);
            }
            look(cx)
        })
        .await;
        self.meter.hold_after(u64::MAX);
        // Often the body came with the head.
        self.expects = true;
        self.used = true;
        // More than the body is written, and all that there was: that is all of the request.
        let is_sent = request_bytes.is_some_and(|bytes| self.meter.written() - written > bytes);
        let is_chunked = response.as_ref().is_ok_and(is_chunked);
        self.taps = self.tap.end_head(is_chunked && is_sent && !self.finished);
        match (response, connection_error) {
            (Ok(response), _) => {
                self.keep_alive = keep_alive(response.headers());
                Ok(response)
            }
            // The connection knows better why it ended than the request that was waiting for it.
            (Err(_), Some(error)) => Err(error),
            (Err(error), None) => Err(error),
        }
    }

    /// The next data of that body, which must be the one of the last exchange, or the fields after it.
    pub(crate) fn poll_body(
        &mut self,
        incoming: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.taps {
            if let Some(data) = ready!(self.tap.poll_data(cx)) {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            self.taps = false;
            self.expects = true;
        }
        loop {
            // Data comes from driving the connection alone: a waker left in the body would wake this very task.
            let unwoken = &mut Context::from_waker(Waker::noop());
            let mut frame = Pin::new(&mut *incoming).poll_frame(unwoken);
            // An error of the connection also comes out of the body, which is asked once more.
            if frame.is_pending() && self.expects {
                let _ = self.drive(unwoken);
                frame = Pin::new(&mut *incoming).poll_frame(unwoken);
            }
            if frame.is_pending() {
                let _ = self.drive(cx);
                frame = Pin::new(&mut *incoming).poll_frame(unwoken);
            }
            self.expects = frame.is_pending();
            match ready!(frame) {
                Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                frame => return Poll::Ready(frame),
            }
        }
    }
}

impl fmt::Debug for Http1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http1")
            .field("info", &self.info)
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}

/// Whether its body comes in chunks, as hyper reads the head (RFC 9112 §6.3).
fn is_chunked(response: &http::Response<Incoming>) -> bool {
    let body = response.body();
    if response.version() != http::Version::HTTP_11
        || body.is_end_stream()
        || body.size_hint().exact().is_some()
    {
        return false;
    }
    let codings = response.headers().get_all(header::TRANSFER_ENCODING).iter().next_back();
    let last = codings.and_then(|codings| codings.to_str().ok()?.rsplit(',').next());
    last.is_some_and(|last| last.trim().eq_ignore_ascii_case("chunked"))
}

/// `Keep-Alive: timeout=5, max=100` as 4 s: a fifth is left for the way, so that a request does not meet the close.
fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("keep-alive")?.to_str().ok()?;
    value.split(',').find_map(|parameter| {
        let (name, seconds) = parameter.split_once('=')?;
        let seconds: u32 =
            name.trim().eq_ignore_ascii_case("timeout").then(|| seconds.trim().parse().ok())??;
        Some(Duration::from_millis(u64::from(seconds) * 800))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn keep_alive_leaves_a_margin() {
        for (text, millis) in [
            ("timeout=5", Some(4000)),
            ("max=100, Timeout = 1", Some(800)),
            ("timeout=0", Some(0)),
            ("timeout=-1", None),
            ("timeout=99999999999", None),
            ("max=3", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("keep-alive", HeaderValue::from_static(text));
            assert_eq!(keep_alive(&headers), millis.map(Duration::from_millis), "{text}");
        }
    }
}
