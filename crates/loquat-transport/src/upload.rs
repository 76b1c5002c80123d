//! Request bodies that are not in memory: pulled from their source as the peer takes them, and handed on without a copy.
//!
//! Nothing is read ahead: the source is polled when there is room for more, by whoever waits for the answer. What has been
//! read from it is gone, so such a request is sent once.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use loquat_core::{Error, ErrorKind};
use tokio::io::{AsyncRead, ReadBuf};

use crate::{
    buffers::{Buffer, Buffers, Size},
    trail::Trail,
};

/// Most empty pieces that are taken from a source in one turn.
const MOST_EMPTY: usize = 16;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A request's body that comes from somewhere, for [`Transport::send_upload`](crate::Transport::send_upload).
///
/// With a length it is announced (`Content-Length`), and a source that then yields more or less fails the request. Without
/// one, HTTP/1.1 sends it in chunks. Dropped once it has been sent, or when the request is given up.
///
/// ```no_run
/// use loquat_core::{Context, Error};
/// use loquat_transport::{Method, Request, StatusCode, Transport, Upload, Url};
/// use tokio::io::AsyncRead;
///
/// async fn put(
///     transport: &Transport,
///     url: Url,
///     file: impl AsyncRead + Send + 'static,
/// ) -> Result<StatusCode, Error> {
///     let upload = Upload::from_reader(file).with_length(1_000_000);
///     let response = transport.send_upload(&Context::new(), Request::new(Method::PUT, url), upload).await?;
///     Ok(response.status)
/// }
/// ```
pub struct Upload {
    source: Source,
    length: Option<u64>,
}

enum Source {
    Stream(Pin<Box<dyn Stream<Item = Result<Bytes, Cause>> + Send>>),
    Reader(Pin<Box<dyn AsyncRead + Send>>, Option<Buffer>),
}

impl Upload {
    /// The bytes of that stream, each sent as it is.
    pub fn from_stream<S, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let mut stream = Box::pin(stream);
        Self::from_poll(move |cx| stream.as_mut().poll_next(cx))
    }

    /// What that function yields, until `None`. Where it returns [`Poll::Pending`] it has seen to it that the context is
    /// woken.
    pub fn from_poll<F, E>(poll: F) -> Self
    where
        F: FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, E>>> + Send + Unpin + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        Self { source: Source::Stream(Box::pin(Polled(poll))), length: None }
    }

    /// What that reader reads, in pieces of up to 64 KiB, whose buffers are used again.
    pub fn from_reader(reader: impl AsyncRead + Send + 'static) -> Self {
        Self { source: Source::Reader(Box::pin(reader), None), length: None }
    }

    /// Says how long it is, in bytes.
    #[must_use]
    pub fn with_length(mut self, bytes: u64) -> Self {
        self.length = Some(bytes);
        self
    }

    pub(crate) fn share(self, buffers: &Buffers) -> Outgoing {
        let Self { source, length } = self;
        let state = State { source: Some(source), sent: 0, buffers: buffers.clone(), failed: None };
        let ended = AtomicBool::new(length == Some(0));
        Outgoing(Arc::new(Inner { state: Mutex::new(state), length, begun: AtomicBool::new(false), ended }))
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("length", &self.length).finish_non_exhaustive()
    }
}

struct Polled<F>(F);

impl<F, E> Stream for Polled<F>
where
    F: FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, E>>> + Unpin,
    E: Into<Cause>,
{
    type Item = Result<Bytes, Cause>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        (self.0)(cx).map(|next| next.map(|next| next.map_err(Into::into)))
    }
}

impl Source {
    fn poll_next(&mut self, cx: &mut Context<'_>, buffers: &Buffers) -> Poll<Option<Result<Bytes, Cause>>> {
        match self {
            Self::Stream(stream) => stream.as_mut().poll_next(cx),
            Self::Reader(reader, kept) => {
                let buffer = kept.get_or_insert_with(|| buffers.take(Size::Large));
                let mut space = ReadBuf::new(buffer.as_mut());
                let read = ready!(reader.as_mut().poll_read(cx, &mut space));
                let filled = space.filled().len();
                Poll::Ready(match (read, kept.take()) {
                    (Err(error), _) => Some(Err(error.into())),
                    (Ok(()), Some(buffer)) if filled > 0 => {
                        let (bytes, rest) = buffer.freeze(filled);
                        *kept = rest;
                        Some(Ok(bytes))
                    }
                    _ => None,
                })
            }
        }
    }
}

/// An upload on its way: the connection pulls it, the attempt sees how far it got.
#[derive(Clone)]
pub(crate) struct Outgoing(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    length: Option<u64>,
    begun: AtomicBool,
    ended: AtomicBool,
}

struct State {
    /// Let go of at its end.
    source: Option<Source>,
    sent: u64,
    buffers: Buffers,
    failed: Option<Failed>,
}

enum Failed {
    Source(Arc<Cause>),
    /// It was to yield so many bytes, and yielded more, or less.
    Length {
        announced: u64,
        longer: bool,
    },
}

/// Tells the connection that there is no more to send; the words are in [`Outgoing::failure`].
#[derive(Debug)]
pub(crate) struct SourceFailed;

impl fmt::Display for SourceFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the source of the request's body failed")
    }
}

impl std::error::Error for SourceFailed {}

impl Outgoing {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn length(&self) -> Option<u64> {
        self.0.length
    }

    /// Whether anything was asked of the source: the request cannot be sent again then.
    pub(crate) fn has_begun(&self) -> bool {
        self.0.begun.load(Relaxed)
    }

    /// Whether everything has been pulled.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.ended.load(Relaxed)
    }

    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, SourceFailed>>> {
        self.0.begun.store(true, Relaxed);
        let mut state = self.lock();
        let state = &mut *state;
        let Some(source) = &mut state.source else {
            return Poll::Ready(state.failed.as_ref().map(|_| Err(SourceFailed)));
        };
        let mut empty = 0;
        let next = loop {
            match ready!(source.poll_next(cx, &state.buffers)) {
                Some(Ok(bytes)) if bytes.is_empty() => empty += 1,
                next => break next,
            }
            // One that yields nothing for ever must not keep the thread, with its deadline, for itself.
            if empty == MOST_EMPTY {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        };
        match next {
            Some(Ok(bytes)) => {
                state.sent += bytes.len() as u64;
                match self.0.length {
                    Some(announced) if state.sent > announced => {
                        state.failed = Some(Failed::Length { announced, longer: true });
                    }
                    // Whoever knows the length does not ask again.
                    Some(announced) if state.sent == announced => {
                        self.0.ended.store(true, Relaxed);
                        state.source = None;
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                    _ => return Poll::Ready(Some(Ok(bytes))),
                }
            }
            Some(Err(cause)) => state.failed = Some(Failed::Source(Arc::new(cause))),
            None => match self.0.length {
                Some(announced) if state.sent < announced => {
                    state.failed = Some(Failed::Length { announced, longer: false });
                }
                _ => self.0.ended.store(true, Relaxed),
            },
        }
        state.source = None;
        Poll::Ready(state.failed.as_ref().map(|_| Err(SourceFailed)))
    }

    /// The error of the attempt, where it is the source's.
    pub(crate) fn failure(&self, trail: &Trail) -> Option<Error> {
        Some(match self.lock().failed.as_ref()? {
            Failed::Source(cause) => trail
                .error(ErrorKind::Local, "the source of the request's body failed")
                .with_source(Shared(Arc::clone(cause))),
            Failed::Length { announced, longer } => {
                let how = if *longer { "more" } else { "less" };
                let what = format_args!("the request's body has {how} than the {announced} bytes announced");
                trail.error(ErrorKind::InvalidRequest, what)
            }
        })
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("length", &self.0.length).finish_non_exhaustive()
    }
}

/// The source's own error, behind a pointer that can be cloned.
#[derive(Debug)]
struct Shared(Arc<Cause>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Shared {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
