//! One HTTP/1.1 connection, driven by whoever waits for it.
//!
//! It is our own. A client's usual connection is two halves, a handle and a task that does the work, with a channel and wake-ups
//! between them, and buffers of its own on both ways. Here the caller's own poll writes and reads the socket, there is nothing in
//! between, and what was read is what is handed out. While the connection is idle nobody drives it; [`Http1::is_usable`] looks before
//! it is used again.
//!
//! What an answer means is the business of [`answer`], which knows no socket; how a request is written that of [`request`] and
//! [`sending`]; what is read into that of [`room`]. Here they are put together, with what a pool must know.

mod answer;
mod failure;
mod request;
mod room;
mod sending;
#[cfg(all(test, unix))]
mod tests;

use std::{
    future::poll_fn,
    hint::black_box,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderMap;

pub(crate) use self::{answer::Head, failure::Failure, request::has_no_body_by_nature};
use self::{
    answer::{Answer, Bounds, Next},
    room::Room,
    sending::{Sending, Step},
};
use crate::{
    ConnectionInfo, HeadLimits, Request,
    connect::{Forward, Link},
    io::{Meter, Stream},
    pool::Permit,
    timer::Timer,
    upload::Outgoing,
};

/// Pieces of an upload that are written in one turn: others want theirs.
const STEPS: usize = 16;
/// Largest size of a read.
const READ_BYTES: std::ops::RangeInclusive<usize> = 8 * 1024..=16 * 1024 * 1024;
/// More fields do not fit into a `HeaderMap`.
const MAX_FIELDS: usize = 16 * 1024;

/// See the [module](self).
#[derive(Debug)]
// One among many finds all of this cold at each chunk of its body: what a chunk needs lies in three lines of memory.
#[repr(C, align(64))]
pub(crate) struct Http1 {
    stream: Stream,
    room: Room,
    sending: Sending,
    answer: Answer,
    info: ConnectionInfo,
    /// Whether it has carried a request; one that was made beforehand has not.
    used: bool,
    meter: Arc<Meter>,
    idle_since: Instant,
    forward: Option<Forward>,
    /// Kept for the next wait.
    pub(crate) timer: Option<Timer>,
    /// When it is too old for another request.
    retire_at: Option<Instant>,
    /// The place this connection takes in its origin's pool.
    permit: Permit,
}

impl Http1 {
    /// See [`Body::warm`](crate::Body::warm).
    #[inline]
    pub(crate) fn warm(&self) {
        black_box(self.answer.is_over());
        black_box(self.used);
    }

    /// Sends nothing.
    pub(crate) fn new(link: Link, head: &HeadLimits, permit: Permit) -> Self {
        let read_bytes = head.read_bytes.max(head.max_bytes).clamp(*READ_BYTES.start(), *READ_BYTES.end());
        let bounds = Bounds { head_bytes: head.max_bytes, fields: head.max_fields.min(MAX_FIELDS) };
        Self {
            meter: Arc::clone(link.stream.meter()),
            stream: link.stream,
            sending: Sending::default(),
            answer: Answer::new(bounds),
            room: Room::new(read_bytes),
            info: link.info,
            used: false,
            idle_since: Instant::now(),
            forward: link.forward,
            timer: None,
            retire_at: permit.site().retire_at(),
            permit,
        }
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

    /// Closes it. Its place is taken as long as the permit is kept.
    pub(crate) fn close(mut self: Box<Self>) -> Permit {
        self.permit.take()
    }

    pub(crate) fn idle_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.idle_since)
    }

    /// How long the peer said it would keep the connection, less a margin.
    pub(crate) fn keep_alive(&self) -> Option<Duration> {
        self.answer.keep_alive()
    }

    /// Marks the start of its idleness.
    pub(crate) fn rest(&mut self, now: Instant) {
        self.count_reads();
        self.idle_since = now;
        self.info.reused = self.used;
    }

    /// Says how much it read: once for an answer, so that a chunk costs no more than the count.
    fn count_reads(&mut self) {
        let (reads, made) = self.room.take_counts();
        self.permit.site().counters.read(reads, made);
    }

    pub(crate) fn is_too_old(&self, now: Instant) -> bool {
        self.retire_at.is_some_and(|end| now >= end)
    }

    /// Whether its last exchange is over and nothing speaks against another, as far as is known without a look.
    pub(crate) fn is_settled(&self) -> bool {
        self.sending.is_done() && self.answer.is_clean()
    }

    /// Whether the next request can go out: looks, without waiting, whether the peer closed the connection or sent what nobody asked
    /// for.
    pub(crate) fn is_usable(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        // The answer may have been quicker than the end of an upload.
        self.answer.is_clean()
            && self.send(&mut cx).is_ok()
            && self.is_settled()
            && self.room.fill(&mut self.stream, &mut cx).is_pending()
    }

    /// Sends the request and waits for the head. The body is read with [`Http1::poll_body`].
    pub(crate) async fn exchange(
        &mut self,
        request: &Request,
        upload: Option<&Outgoing>,
    ) -> Result<Head, Failure> {
        let mut is_begun = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut is_begun, true) {
                return self.poll_exchange(cx);
            }
            // A close that is found before the request is written has cost nothing of it. Where nothing is there, whoever waits is
            // woken for the answer from here.
            match self.room.fill(&mut self.stream, cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(bytes)) if bytes.is_empty() => return Poll::Ready(Err(Failure::Closed)),
                Poll::Ready(Ok(_)) => return Poll::Ready(Err(Failure::Unasked)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Io(error))),
            }
            let asked = self.sending.begin(request, upload, self.forward.as_ref());
            self.answer.begin(asked);
            self.used = true;
            match ready!(self.sending.poll_step(&mut self.stream, cx)) {
                Ok(Step::Done) => Poll::Pending,
                Ok(Step::More) => self.poll_exchange(cx),
                Err(failure) => self.poll_last_words(failure, cx),
            }
        })
        .await
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        for _ in 0..STEPS {
            if let Poll::Ready(head) = self.poll_head(cx) {
                return Poll::Ready(head);
            }
            if !self.sending.is_open() {
                return Poll::Pending;
            }
            match ready!(self.sending.poll_step(&mut self.stream, cx)) {
                Ok(Step::More | Step::Done) => {}
                Err(failure) => return self.poll_last_words(failure, cx),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// A server that closes early has often said why.
    fn poll_last_words(&mut self, failure: Failure, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        self.sending.stop();
        match failure {
            Failure::Io(error) => match self.poll_head(cx) {
                Poll::Ready(Ok(head)) => Poll::Ready(Ok(head)),
                _ => Poll::Ready(Err(Failure::Io(error))),
            },
            failure => Poll::Ready(Err(failure)),
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        loop {
            let read = ready!(self.room.fill(&mut self.stream, cx)).map_err(Failure::Io)?;
            if read.is_empty() {
                self.answer.end()?;
            }
            if let Some(head) = self.answer.feed_head(read)? {
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// Writes on, where the answer came before the request was out.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        for _ in 0..STEPS {
            if !self.sending.is_open() {
                return Ok(());
            }
            match self.sending.poll_step(&mut self.stream, cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(Failure::Source(failed))) => return Err(Failure::Source(failed)),
                // It takes no more; whether it has said all is for the answer to tell.
                Poll::Ready(Err(_)) => self.sending.stop(),
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// The next data of the body of the last exchange; `None` at its end.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        loop {
            match self.answer.next() {
                Ok(Next::Data(data)) => return Poll::Ready(Some(Ok(data))),
                Ok(Next::End) => return Poll::Ready(None),
                Ok(Next::More) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
            if let Err(failure) = self.send(cx) {
                return Poll::Ready(Some(Err(failure)));
            }
            match ready!(self.room.fill(&mut self.stream, cx)) {
                Ok(read) if !read.is_empty() => self.answer.feed(read),
                Ok(_) => match self.answer.end() {
                    Ok(()) => return Poll::Ready(None),
                    Err(error) => return Poll::Ready(Some(Err(error.into()))),
                },
                Err(error) => return Poll::Ready(Some(Err(Failure::Io(error)))),
            }
        }
    }

    /// Whether all of the body has been handed out.
    pub(crate) fn is_over(&self) -> bool {
        self.answer.is_over()
    }

    /// Bytes of the body that are still to come, where they are known.
    pub(crate) fn length_hint(&self) -> u64 {
        self.answer.length_hint()
    }

    /// The fields after the body, once that is over.
    pub(crate) fn take_trailers(&mut self) -> Option<Box<HeaderMap>> {
        self.answer.take_trailers()
    }
}

impl Drop for Http1 {
    fn drop(&mut self) {
        self.count_reads();
    }
}
