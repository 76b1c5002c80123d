//! One HTTP/2 connection on the raw `h2` crate: many streams, one driver task.
//!
//! Raw `h2` and not hyper, for the knobs that decide whether token streams live (windows, the budget for small DATA
//! frames) and for the peer's stream limit, which the pool reserves against. The [driver] moves frames between the
//! socket and bounded per-stream buffers; callers read their [stream] from their own task, over a [lane] that both ends share.

mod driver;
mod failure;
mod lane;
mod lanes;
mod pump;
mod settling;
mod stream;
mod unread;

/// What the lanes are made of here; their model has others.
mod parts {
    pub(super) use std::sync::{Arc, Mutex, MutexGuard, atomic::Ordering::Relaxed};

    pub(super) use super::lane::Lane;
    pub(super) use crate::timer::Timer;
}

use std::{
    fmt,
    future::Future,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, SendStream, client};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, uri::Authority};
use loquat_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use crate::{
    ConnectionInfo, HeadLimits, Http2Limits, Origin, Request,
    connect::Link,
    http1::has_no_body_by_nature,
    io::{self, Meter},
    pool::{Attempt, MOST_RESETS, Permit},
    trail::{Stage, Trail},
    upload::Outgoing,
};
use driver::{Driver, Shared, UNSETTLED};
pub(crate) use failure::Failure;
pub use failure::Laggard;
use pump::Pump;
use settling::Settling;
pub(crate) use stream::Stream;

/// Streams that were reset here are remembered so that what the peer still sends on them is ignored, not answered
/// with an error: `h2`'s defaults (50 for 1 s) are spent by one cancelled batch.
const REMEMBERED_RESETS: usize = 1024;
const REMEMBER_RESETS_FOR: Duration = Duration::from_secs(10);
/// What has been read of a stream widens its window again in steps of this, where it is a quarter of the least window; all streams
/// together never hold back more than a quarter of the connection's. A token has a hundredth of it, and asks `h2` nothing.
const MOST_OWED: usize = 16 * 1024;

/// What [`Http2Limits::read_every`] may be: less is less than a timer's step, and more would be seen by who reads along.
const LEAST_CLOCK: Duration = Duration::from_millis(1);
const MOST_CLOCK: Duration = Duration::from_millis(100);

/// Longest piece of a body that `h2` is given at once, in bytes: it counts them in 32 bits, and takes 2³¹ − 1 at most.
const MOST_PIECE: usize = 1 << 30;

/// A connection on which this side has said what it has to say, and which nobody drives yet.
pub(crate) struct Greeted {
    sender: client::SendRequest<Bytes>,
    connection: client::Connection<io::Stream, Bytes>,
    info: ConnectionInfo,
    meter: Arc<Meter>,
    connection_window: u32,
}

/// See the [module](self). Dropping the last handle lets the driver close the connection.
pub(crate) struct Http2 {
    sender: client::SendRequest<Bytes>,
    shared: Arc<Shared>,
    pub(crate) info: ConnectionInfo,
    meter: Arc<Meter>,
    own_limit: usize,
    /// Bytes that a stream's caller may have taken before the peer is told.
    most_owed: usize,
    /// Declared after `sender`: when this is dropped the driver finds no handle left.
    _unwanted: oneshot::Sender<()>,
}

impl Http2 {
    /// Starts HTTP/2 on that link. Has no permit: where this fails or is given up, the place is to be free only after nobody counts on
    /// the connection any more.
    pub(crate) async fn greet(
        link: Link,
        limits: &Http2Limits,
        head: &HeadLimits,
    ) -> Result<Greeted, h2::Error> {
        let meter = Arc::clone(link.stream.meter());
        let stream = match limits.read_every {
            Some(every) => link.stream.use_clock(every.clamp(LEAST_CLOCK, MOST_CLOCK)),
            None => link.stream,
        };
        let connection_window = limits.connection_window();
        let (sender, connection) = client::Builder::new()
            .initial_window_size(limits.stream_window())
            .initial_connection_window_size(connection_window)
            .max_frame_size(limits.max_frame_bytes.clamp(1 << 14, (1 << 24) - 1))
            .data_frame_budget(limits.frame_budget())
            .max_header_list_size(u32::try_from(head.max_bytes).unwrap_or(u32::MAX))
            .max_concurrent_reset_streams(REMEMBERED_RESETS)
            .reset_stream_duration(REMEMBER_RESETS_FOR)
            // `h2` counts those that it makes itself for as long as the connection lives, and ends it past so many with all that is on
            // it: a bound against a peer that makes it reset one stream after another and reads nothing (RUSTSEC-2024-0003). Those of
            // requests the pool counts, too, and lets the connection drain long before.
            .max_local_error_reset_streams(Some(MOST_RESETS.max(limits.max_streams.saturating_mul(4))))
            .initial_max_send_streams(UNSETTLED)
            .enable_push(false)
            .handshake::<_, Bytes>(stream)
            .await?;
        Ok(Greeted { sender, connection, info: link.info, meter, connection_window })
    }

    /// With its driver, which is to be spawned. That keeps the permit until the socket is closed, and tells those who count on the
    /// connection, as the one of that attempt, where the peer never says how many streams it takes.
    pub(crate) fn new(
        greeted: Greeted,
        limits: &Http2Limits,
        permit: Permit,
        attempt: Attempt,
        origin: Origin,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let Greeted { sender, connection, info, meter, connection_window } = greeted;
        let shared = Shared::new();
        let (unwanted_sender, unwanted) = oneshot::channel();
        let own_limit = limits.max_streams.max(1);
        let settling = Settling::new(limits.settings_timeout, attempt, origin, info);
        let driver = Driver::new(Arc::clone(&shared), Arc::clone(&meter), limits.clone(), permit, settling);
        let this = Self {
            sender,
            shared,
            info,
            meter,
            own_limit,
            most_owed: MOST_OWED.min(connection_window as usize / 4 / own_limit),
            _unwanted: unwanted_sender,
        };
        (this, driver.run(connection, unwanted))
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Streams that may be reserved now, used ones included: one until the peer has said its limit, so that a
    /// limit of one is not exceeded by the first burst.
    pub(crate) fn limit(&self) -> usize {
        match self.shared.peer_limit.load(Relaxed) {
            UNSETTLED => 1,
            limit => limit.min(self.own_limit),
        }
    }

    /// Whether the peer says that it takes no stream for now: where some are under way that it took before, that is about this
    /// connection alone.
    pub(crate) fn takes_none(&self, in_use: usize) -> bool {
        self.limit() == 0 && (in_use == 0 || !self.shared.has_allowed.load(Relaxed))
    }

    /// Whether the peer says that it takes no stream for now.
    pub(crate) fn is_pausing(&self) -> bool {
        self.limit() == 0
    }

    /// Whether the peer has said its limit.
    pub(crate) fn is_settled(&self) -> bool {
        self.shared.peer_limit.load(Relaxed) != UNSETTLED
    }

    /// Whether new streams should go elsewhere.
    pub(crate) fn is_closing(&self) -> bool {
        self.shared.closing.load(Relaxed)
    }

    /// Whether no new stream can begin, for good: it is closing, or its numbers for streams are used up (RFC 9113 §5.1.1).
    pub(crate) fn takes_no_more(&self) -> bool {
        let polled = self.sender.clone().poll_ready(&mut Context::from_waker(Waker::noop()));
        matches!(polled, Poll::Ready(Err(_)))
    }

    /// Sends no new stream here.
    pub(crate) fn retire(&self) {
        self.shared.closing.store(true, Relaxed);
    }

    /// Hands the request over: head and body lie in `h2`'s buffers after this, the body without a copy.
    ///
    /// # Errors
    /// Nothing was sent, then: the connection is closing.
    pub(crate) fn start(&self, request: &Request, upload: Option<&Outgoing>) -> Result<Stream, h2::Error> {
        let has_upload = upload.is_some_and(|upload| upload.length() != Some(0));
        let head = encode(request, upload);
        let no_body = request.body.is_empty() && !has_upload;
        let (response, mut stream) = self.sender.clone().send_request(head, no_body)?;
        let pump = match upload.filter(|_| has_upload) {
            Some(upload) => Some((Pump::new(upload.clone()), stream)),
            None if no_body => None,
            None => {
                // The head is out, so what comes now is told by the answer, or by its error: the peer may have ended the stream already.
                if send_whole(&mut stream, request.body.clone()).is_err() {
                    stream.send_reset(Reason::CANCEL);
                }
                None
            }
        };
        Ok(Stream::new(response, pump, Arc::clone(&self.shared), self.most_owed))
    }
}

/// Puts the whole body into `h2`'s buffer, which takes no piece that is longer than a window can be (RFC 9113 §6.9.1).
fn send_whole(stream: &mut SendStream<Bytes>, mut body: Bytes) -> Result<(), h2::Error> {
    while body.len() > MOST_PIECE {
        stream.send_data(body.split_to(MOST_PIECE), false)?;
    }
    stream.send_data(body, true)
}

impl fmt::Debug for Http2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2")
            .field("info", &self.info)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// The request as `h2` takes it: all parts of the address, and no field that belongs to an HTTP/1.1 connection
/// (RFC 9113 §8.2.2).
fn encode(request: &Request, upload: Option<&Outgoing>) -> http::Request<()> {
    let mut encoded = http::Request::new(());
    *encoded.version_mut() = http::Version::HTTP_2;
    *encoded.method_mut() = request.method.clone();
    *encoded.uri_mut() = address(request);
    // A clone has no room for the length, which would move all of it once more.
    let headers = encoded.headers_mut();
    // More than fit are found below.
    let _ = headers.try_reserve(request.headers.len() + 1);
    for (name, value) in &request.headers {
        // The one value of `TE` that it may have there is what gRPC asks for.
        if !is_of_the_connection(name) || (name == header::TE && value == "trailers") {
            put(headers, name, value.clone());
        }
    }
    let length = upload.map_or(Some(request.body.len() as u64), Outgoing::length);
    if let Some(length) = length
        && (length > 0 || !has_no_body_by_nature(&request.method))
    {
        put(headers, &header::CONTENT_LENGTH, decimal(length));
    }
    encoded
}

/// Where to, with the caller's own `Host` for the authority (RFC 9113 §8.3.1), where it has one that can be one.
fn address(request: &Request) -> Uri {
    let uri = request.url.to_uri();
    let own = request.headers.get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let Some(own) = own else { return uri };
    let mut parts = uri.into_parts();
    parts.authority = Some(own);
    // The other two are the address's, so it has all three.
    Uri::from_parts(parts).unwrap_or_else(|_| request.url.to_uri())
}

/// Apart, since inlined it is two thousand bytes of code at each of its places, and what a request runs through does not fit the first
/// cache of instructions as it is.
#[inline(never)]
fn put(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    headers.append(name, value);
}

/// That number, in one allocation where `HeaderValue::from` makes two.
fn decimal(number: u64) -> HeaderValue {
    let mut digits = itoa::Buffer::new();
    let text = Bytes::copy_from_slice(digits.format(number).as_bytes());
    HeaderValue::from_maybe_shared(text).unwrap_or_else(|_| HeaderValue::from(number))
}

/// Whether that field frames an HTTP/1.1 message, is for a proxy, or is what `h2` writes itself.
fn is_of_the_connection(name: &HeaderName) -> bool {
    match *name {
        header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE | header::HOST | header::TE => true,
        header::CONTENT_LENGTH | header::PROXY_AUTHORIZATION => true,
        _ => matches!(name.as_str(), "keep-alive" | "proxy-connection"),
    }
}

/// Whether the peer says that it did not begin with the request: REFUSED_STREAM (RFC 9113 §8.7), or a GOAWAY that
/// does not cover the stream (§6.8), which is when `h2` gives a stream the peer's GOAWAY as its error.
pub(crate) fn is_refusal(failure: &Failure) -> bool {
    matches!(failure, Failure::H2(error)
        if error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM)))
}

/// Whether nothing more can go over the connection.
pub(crate) fn ends_connection(failure: &Failure) -> bool {
    match failure {
        Failure::H2(error) => error.is_go_away() || error.is_io(),
        Failure::Silent(_) | Failure::Unsettled(_) => true,
        Failure::Laggard(_) | Failure::Upload(_) => false,
    }
}

/// The error of a connection whose peer has sent no SETTINGS for so long.
fn unsettled(time: Duration, trail: &Trail) -> Error {
    let seconds = time.as_secs_f64();
    let what = format_args!(
        "the server sent no SETTINGS within {seconds:.2} s (settings_timeout): does it speak HTTP/2 here?"
    );
    trail.error(ErrorKind::Timeout, what)
}

/// The error of an attempt that failed with that.
pub(crate) fn failure(failure: impl Into<Failure>, trail: &Trail) -> Error {
    let error = match failure.into() {
        Failure::H2(error) => error,
        Failure::Upload(upload) => {
            let lost = || trail.error(ErrorKind::Local, "the source of the request's body failed");
            return upload.failure(trail).unwrap_or_else(lost);
        }
        Failure::Laggard(laggard) => {
            let what =
                format_args!("the answer was given up because it was not read (laggard_after): {laggard}");
            return trail.error(ErrorKind::Local, what).with_source(laggard);
        }
        Failure::Silent(time) => {
            let seconds = time.as_secs_f64();
            let what = format_args!("the server did not answer a PING within {seconds:.2} s (ping_timeout)");
            return trail.error(ErrorKind::Connection, what);
        }
        Failure::Unsettled(time) => return unsettled(time, trail),
    };
    let reason = error.reason();
    let whose = if error.is_remote() { "the server" } else { "this side" };
    let (kind, what) = match reason {
        _ if error.is_io() => (ErrorKind::Connection, "the connection was lost".to_owned()),
        Some(Reason::REFUSED_STREAM) => (ErrorKind::Connection, format!("{whose} refused the stream")),
        Some(reason) if error.is_go_away() && error.is_remote() => {
            (ErrorKind::Connection, format!("the server closed the connection (GOAWAY {reason:?})"))
        }
        Some(reason) if error.is_reset() && error.is_remote() => {
            (ErrorKind::Connection, format!("the server reset the stream ({reason:?})"))
        }
        // Found by this side: what came has the length of no frame. So has `HTTP/1.1 400`, read as one.
        Some(Reason::FRAME_SIZE_ERROR) if !error.is_remote() => {
            let what = "the server sent too long an HTTP/2 frame, or none (FRAME_SIZE_ERROR): does it speak HTTP/2 here?";
            (ErrorKind::Protocol, what.to_owned())
        }
        // `h2` does not say which.
        Some(Reason::PROTOCOL_ERROR)
            if error.is_library() && error.is_reset() && trail.stage == Stage::Head =>
        {
            let what =
                "the response's head is larger than HeadLimits::max_bytes, or malformed (PROTOCOL_ERROR)";
            (ErrorKind::Protocol, what.to_owned())
        }
        Some(reason) => (ErrorKind::Protocol, format!("{whose} ended the HTTP/2 exchange with {reason:?}")),
        None => (ErrorKind::Connection, "the HTTP/2 exchange failed".to_owned()),
    };
    trail.error(kind, what).with_source(error)
}
