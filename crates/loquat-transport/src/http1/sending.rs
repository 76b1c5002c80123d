//! A request on its way out: its head and its body, as the connection takes them.

use std::{
    fmt,
    io::{self, IoSlice, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite;

use super::{
    Failure,
    answer::Asked,
    request::{Length, write_head},
};
use crate::{Request, connect::Forward, io::Stream, upload::Outgoing};

/// A body that is together with its head no longer than this is copied behind it, and both are one write of one piece: the kernel
/// takes longer over a list than the copy takes.
const JOINED_BYTES: usize = 4 * 1024;
/// The most memory that is kept for the next head.
const KEPT_BYTES: usize = 16 * 1024;

/// See the [module](self). Written in this order: `front`, `body`, `tail`.
#[derive(Default)]
// What a chunk asks of it comes first.
#[repr(C)]
pub(super) struct Sending {
    state: State,
    is_chunked: bool,
    /// The head, the line before a chunk; from `at` on it is still to be written.
    front: Vec<u8>,
    at: usize,
    body: Bytes,
    /// The end of a chunk's line.
    tail: &'static [u8],
    /// Where more of the body comes from.
    source: Option<Outgoing>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Some of it has not been taken by the connection.
    Open,
    Stopped,
    #[default]
    Done,
}

/// How far one write has brought it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is more.
    More,
    /// All of it is written.
    Done,
}

impl Sending {
    /// Nothing is written yet.
    pub(super) fn begin(
        &mut self,
        request: &Request,
        upload: Option<&Outgoing>,
        forward: Option<&Forward>,
    ) -> Asked {
        let length = Length::of(request, upload);
        self.front.clear();
        (self.at, self.state, self.is_chunked) = (0, State::Open, length == Length::Chunked);
        let asked = write_head(&mut self.front, request, length, forward);
        match upload {
            Some(upload) if !upload.has_ended() => self.source = Some(upload.clone()),
            _ if self.front.len() + request.body.len() <= JOINED_BYTES => {
                self.front.extend_from_slice(&request.body);
            }
            _ => self.body = request.body.clone(),
        }
        asked
    }

    /// Whether some of it is still to be written.
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether all of it is written.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Lets go of what is not written, for good.
    pub(super) fn stop(&mut self) {
        *self = Self { state: State::Stopped, ..Self::default() };
    }

    fn is_written(&self) -> bool {
        self.at == self.front.len() && self.body.is_empty() && self.tail.is_empty()
    }

    /// Writes once, as much as the connection takes.
    pub(super) fn poll_step(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Step, Failure>> {
        if !self.is_open() {
            return Poll::Ready(Ok(Step::Done));
        }
        if self.body.is_empty() && self.tail.is_empty() {
            // Before the head is out, so that the first piece goes with it.
            let is_waiting = self.pull(cx)?;
            if self.is_written() && is_waiting {
                let _ = Pin::new(stream).poll_flush(cx).map_err(Failure::Io)?;
                return Poll::Pending;
            }
        }
        if !self.is_written() {
            let bytes = ready!(self.poll_write(stream, cx)).map_err(Failure::Io)?;
            self.advance(bytes);
        }
        if !self.is_written() || self.source.is_some() {
            return Poll::Ready(Ok(Step::More));
        }
        ready!(Pin::new(stream).poll_flush(cx)).map_err(Failure::Io)?;
        self.state = State::Done;
        if self.front.capacity() > KEPT_BYTES {
            self.front = Vec::new();
        }
        Poll::Ready(Ok(Step::Done))
    }

    /// Takes the next piece from where the body comes from; whether there is one, but not yet.
    fn pull(&mut self, cx: &mut Context<'_>) -> Result<bool, Failure> {
        let Some(source) = &self.source else { return Ok(false) };
        match source.poll_next(cx) {
            Poll::Pending => return Ok(true),
            Poll::Ready(Some(Ok(piece))) => {
                if source.has_ended() {
                    self.source = None;
                }
                if self.is_chunked {
                    // Into memory nothing fails to be written.
                    let _ = write!(self.front, "{:x}\r\n", piece.len());
                    self.tail = b"\r\n";
                }
                self.body = piece;
            }
            Poll::Ready(Some(Err(failed))) => return Err(Failure::Source(failed)),
            Poll::Ready(None) => {
                self.source = None;
                if self.is_chunked {
                    self.front.extend_from_slice(b"0\r\n\r\n");
                }
            }
        }
        Ok(false)
    }

    fn poll_write(&self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let front = &self.front[self.at..];
        let stream = Pin::new(stream);
        let bytes = if self.body.is_empty() && self.tail.is_empty() {
            ready!(stream.poll_write(cx, front))?
        } else {
            let slices = [front, &self.body, self.tail].map(IoSlice::new);
            ready!(stream.poll_write_vectored(cx, &slices))?
        };
        Poll::Ready(if bytes == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(bytes) })
    }

    fn advance(&mut self, bytes: usize) {
        let front = bytes.min(self.front.len() - self.at);
        let body = (bytes - front).min(self.body.len());
        self.at += front;
        self.body.advance(body);
        self.tail = &self.tail[bytes - front - body..];
        if self.at == self.front.len() {
            self.front.clear();
            self.at = 0;
        }
    }
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("state", &self.state).finish_non_exhaustive()
    }
}
