//! Where chunks of a chunked body leave the connection before hyper sees them.
//!
//! Hyper takes 2,400 of the 6,500 instructions of a token's way, and twenty cold lines of memory: it looks at the bytes of a size
//! line one at a time, keeps a buffer for each connection, and hands data from one of its halves to the other. So hyper gets the
//! head and no byte more; the plain chunks after it are taken out here, and it reads on at the first size line that is not
//! plain: the last chunk and the fields after it, an extension, a mistake. Having seen none of the others, to hyper that is the first
//! chunk of the body. What is legal, how much is too much, how it ends and whether the connection is good for another request,
//! it alone decides.

use std::{
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use memchr::memmem::Finder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::room::fill;
use crate::io::Stream;

/// As nearly all write it who say so in a head.
static CHUNKED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("chunked"));

/// The digits of a size that is a plain one: 256 MiB less a byte.
const MOST_DIGITS: usize = 7;

/// See the [module](self): one handle for hyper, which reads and writes through it, one for whoever takes chunks. They belong to one
/// connection, which one task at a time drives, so nobody ever waits for the lock.
#[derive(Debug, Clone)]
pub(super) struct Tap(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    stream: Stream,
    /// Read, and neither given to hyper nor taken.
    held: Bytes,
    gives: Gives,
    next: Next,
    /// Whether all that was to be written is.
    flushed: bool,
}

/// What hyper gets to read.
#[derive(Debug)]
enum Gives {
    /// What is read first after a request, and whatever follows where that has nothing of chunks.
    First,
    /// Up to the next empty line; in this line there was nothing so far.
    Head {
        is_empty: bool,
    },
    /// That line was the last it got.
    Nothing,
    All,
}

/// What comes next in a chunked body.
#[derive(Debug)]
enum Next {
    Size,
    /// So many bytes of data.
    Data(usize),
    /// The end of the line that ends the data.
    LineEnd,
}

impl Tap {
    pub(super) fn new(stream: Stream) -> Self {
        let inner = Inner { stream, held: Bytes::new(), gives: Gives::All, next: Next::Size, flushed: true };
        Self(Arc::new(Mutex::new(inner)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request goes out: hyper gets the head of its answer and, where that speaks of chunks, nothing after it.
    pub(super) fn begin(&self) {
        let mut inner = self.lock();
        // What was sent before it was asked for comes first.
        inner.gives = if inner.held.is_empty() { Gives::First } else { Gives::Head { is_empty: true } };
    }

    /// Hyper got what looked like a whole head and wants more: it was an interim one, or an empty line before it. It gets up to the
    /// next empty line; whether there was such a cause.
    pub(super) fn go_on(&self) -> bool {
        let mut inner = self.lock();
        let waits = matches!(inner.gives, Gives::Nothing);
        if waits {
            inner.gives = Gives::Head { is_empty: true };
        }
        waits
    }

    /// The head is in. Whether its body can be taken here, where it comes in chunks; if not, hyper gets all that follows.
    pub(super) fn end_head(&self, is_chunked: bool) -> bool {
        let mut inner = self.lock();
        // What is still to be written hyper must go on writing.
        let takes = is_chunked && inner.flushed && matches!(inner.gives, Gives::Nothing);
        if !takes {
            inner.gives = Gives::All;
        }
        inner.next = Next::Size;
        takes
    }

    /// The next bytes of the body, as they came; `None` where hyper is to read on.
    pub(super) fn poll_data(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut inner = self.lock();
        let data = ready!(inner.poll_data(cx));
        if data.is_none() {
            inner.gives = Gives::All;
        }
        Poll::Ready(data)
    }
}

impl Inner {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if self.held.is_empty() {
                match ready!(fill(&mut self.stream, cx)) {
                    Ok(bytes) if !bytes.is_empty() => self.held = bytes,
                    // Hyper finds the same, and has words for it.
                    _ => return Poll::Ready(None),
                }
            }
            match self.next {
                Next::Data(left) => return Poll::Ready(Some(self.take_data(left))),
                Next::LineEnd => match &self.held[..] {
                    [b'\r', b'\n', ..] => {
                        self.held.advance(2);
                        self.next = Next::Size;
                        continue;
                    }
                    [b'\r'] => {}
                    _ => {
                        // Digits would look like the next size: with a line end before them they are the mistake that they are.
                        self.held = [b"\r\n", &self.held[..]].concat().into();
                        return Poll::Ready(None);
                    }
                },
                Next::Size => match plain_size(&self.held) {
                    Size::Plain { size, line } => {
                        self.held.advance(line);
                        self.next = Next::Data(size);
                        continue;
                    }
                    Size::Part => {}
                    Size::Other => return Poll::Ready(None),
                },
            }
            // Part of a line, whose rest has not come: it is put together and looked at once more.
            match ready!(fill(&mut self.stream, cx)) {
                Ok(bytes) if !bytes.is_empty() => self.held = [&self.held[..], &bytes].concat().into(),
                _ => {
                    // To hyper the data never began, so it does not know what half a line end would be of.
                    if matches!(self.next, Next::LineEnd) {
                        self.held.clear();
                    }
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn take_data(&mut self, left: usize) -> Bytes {
        if left > self.held.len() {
            self.next = Next::Data(left - self.held.len());
            return std::mem::take(&mut self.held);
        }
        self.next = Next::LineEnd;
        if &self.held[left..] == b"\r\n" {
            // Nearly always: one chunk, all of it.
            self.next = Next::Size;
            self.held.truncate(left);
            return std::mem::take(&mut self.held);
        }
        self.held.split_to(left)
    }

    /// For hyper, which waits for a head. Where what comes first does not have the word, all is hyper's: the body has a length, and
    /// comes with its head in one read; or the head is in pieces, which is rare.
    fn poll_first(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(pin!(&mut self.stream).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        if CHUNKED.find(read).is_none() {
            self.gives = Gives::All;
            return Poll::Ready(Ok(()));
        }
        let (given, gives) = head_end(read, true);
        self.held = Bytes::copy_from_slice(&read[given..]);
        self.gives = gives;
        buf.set_filled(before + given);
        Poll::Ready(Ok(()))
    }

    /// For hyper, while it reads a head that has more pieces than one.
    fn poll_head(
        &mut self,
        is_empty: bool,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            self.held = ready!(fill(&mut self.stream, cx))?;
        }
        let room = self.held.len().min(buf.remaining());
        let (given, gives) = head_end(&self.held[..room], is_empty);
        self.gives = gives;
        buf.put_slice(&self.held[..given]);
        self.held.advance(given);
        Poll::Ready(Ok(()))
    }
}

/// How many of these bytes lie before the end of an empty line, that included, and what hyper is given after them. `is_empty`: in the
/// line they go on with was nothing yet. A carriage return is nothing, as many as there are: hyper would rather be asked once too often
/// than get a byte of the body.
fn head_end(bytes: &[u8], mut is_empty: bool) -> (usize, Gives) {
    let is_nothing = |line: &[u8]| line.iter().all(|byte| *byte == b'\r');
    let mut start = 0;
    for at in memchr::memchr_iter(b'\n', bytes) {
        if is_empty && is_nothing(&bytes[start..at]) {
            return (at + 1, Gives::Nothing);
        }
        (start, is_empty) = (at + 1, true);
    }
    (bytes.len(), Gives::Head { is_empty: is_empty && is_nothing(&bytes[start..]) })
}

enum Size {
    /// Of the data after a line of that length.
    Plain {
        size: usize,
        line: usize,
    },
    /// Nothing wrong so far.
    Part,
    Other,
}

/// Digits and nothing else, not zero (RFC 9112 §7.1).
fn plain_size(bytes: &[u8]) -> Size {
    let mut size = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if size > 0 => {
                return match bytes.get(at + 1) {
                    Some(b'\n') => Size::Plain { size, line: at + 2 },
                    Some(_) => Size::Other,
                    None => Size::Part,
                };
            }
            _ => return Size::Other,
        };
        if at == MOST_DIGITS {
            return Size::Other;
        }
        size = size << 4 | usize::from(digit);
    }
    Size::Part
}

impl AsyncRead for Tap {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        match inner.gives {
            Gives::First => inner.poll_first(cx, buf),
            Gives::Nothing => Poll::Pending,
            Gives::Head { is_empty } => inner.poll_head(is_empty, cx, buf),
            Gives::All if inner.held.is_empty() => pin!(&mut inner.stream).poll_read(cx, buf),
            Gives::All => {
                let room = inner.held.len().min(buf.remaining());
                buf.put_slice(&inner.held[..room]);
                inner.held.advance(room);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Tap {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.lock();
        inner.flushed = false;
        pin!(&mut inner.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.lock();
        inner.flushed = false;
        pin!(&mut inner.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().stream.is_write_vectored()
    }

    /// Hyper asks for it when all that it has is written, and only then.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        let flushed = pin!(&mut inner.stream).poll_flush(cx);
        inner.flushed = matches!(flushed, Poll::Ready(Ok(())));
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.lock().stream).poll_shutdown(cx)
    }
}
