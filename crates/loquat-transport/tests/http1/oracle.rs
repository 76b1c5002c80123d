//! One answer, read by ours and by hyper's bare connection from the same bytes in the same pieces, in memory; and the table of what
//! they may say differently. Shared by `whole.rs` and the fuzz target `http1`.

use std::{
    cell::Cell,
    collections::VecDeque,
    fmt,
    future::Future,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, Request};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1,
    rt::{Read, ReadBufCursor, Write},
};

use super::answer::{Answer, Asked, AskedMethod, Bounds, Error, Next};

/// What is asked, and how the answer comes.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) asked: Asked,
    pub(crate) pieces: Vec<Bytes>,
    /// Whether the connection ends after them.
    pub(crate) closes: bool,
}

/// What somebody makes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) status: Option<u16>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) end: End,
    /// Whether the connection may carry another request.
    pub(crate) reusable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Whole,
    /// More would have to come.
    Waits,
    Cut,
    TooLarge,
    Wrong,
}

impl Verdict {
    fn new() -> Self {
        Self {
            status: None,
            headers: HeaderMap::new(),
            body: Vec::new(),
            trailers: None,
            end: End::Waits,
            reusable: false,
        }
    }
}

/// Ours, and the error it names.
pub(crate) fn ours(case: &Case) -> (Verdict, Option<Error>) {
    let mut verdict = Verdict::new();
    let mut error = None;
    let end = read(case, &mut verdict).unwrap_or_else(|said| {
        error = Some(said);
        match said {
            Error::Cut => End::Cut,
            Error::HeadTooLarge => End::TooLarge,
            _ => End::Wrong,
        }
    });
    verdict.end = end;
    (verdict, error)
}

fn read(case: &Case, verdict: &mut Verdict) -> Result<End, Error> {
    let mut pieces = case.pieces.iter().cloned();
    let mut answer = Answer::new(Bounds { head_bytes: 64 * 1024, fields: 100 });
    answer.begin(case.asked);
    let head = loop {
        match pieces.next() {
            Some(piece) => {
                if let Some(head) = answer.feed_head(piece)? {
                    break head;
                }
            }
            None if case.closes => answer.end()?,
            None => return Ok(End::Waits),
        }
    };
    (verdict.status, verdict.headers) = (Some(head.status.as_u16()), head.headers);
    loop {
        match answer.next()? {
            Next::Data(data) => {
                assert!(!data.is_empty(), "data without a byte");
                verdict.body.extend_from_slice(&data);
            }
            Next::End => break,
            Next::More => match pieces.next() {
                Some(piece) => answer.feed(piece),
                None if case.closes => {
                    answer.end()?;
                    break;
                }
                None => return Ok(End::Waits),
            },
        }
    }
    assert!(answer.is_over());
    verdict.trailers = answer.take_trailers().map(|fields| *fields);
    verdict.reusable = answer.is_clean() && pieces.next().is_none() && !case.closes;
    Ok(End::Whole)
}

/// Hyper's, with its settings left alone.
pub(crate) fn hypers(case: &Case) -> Verdict {
    let mut verdict = Verdict::new();
    let asked = Rc::new(Cell::new(false));
    let wire = Wire { pieces: case.pieces.iter().cloned().collect(), closes: case.closes, asked };
    let cx = &mut Context::from_waker(Waker::noop());
    let Poll::Ready(Ok((mut sender, connection))) =
        pin!(http1::handshake::<_, Nothing>(wire)).as_mut().poll(cx)
    else {
        unreachable!("it sends nothing")
    };
    let mut connection = Driven { connection, ended: None };
    // Each turn takes a piece at least; hyper pauses now and then.
    let turns = case.pieces.len() + 64;
    let mut response = pin!(sender.send_request(request(case.asked)));
    let mut answered = Poll::Pending;
    for _ in 0..turns {
        connection.turn(cx);
        answered = response.as_mut().poll(cx);
        if answered.is_ready() {
            break;
        }
    }
    match answered {
        Poll::Pending => return verdict,
        Poll::Ready(Err(error)) => {
            // The connection knows better.
            verdict.end = end_of(connection.ended.and_then(Result::err).as_ref().unwrap_or(&error));
            return verdict;
        }
        Poll::Ready(Ok(response)) => {
            let (head, mut incoming) = response.into_parts();
            (verdict.status, verdict.headers) = (Some(head.status.as_u16()), head.headers);
            let Some(end) = drain(&mut incoming, &mut connection, turns, &mut verdict, cx) else {
                return verdict;
            };
            verdict.end = end;
        }
    }
    for _ in 0..turns {
        connection.turn(cx);
    }
    verdict.reusable = verdict.end == End::Whole && connection.ended.is_none() && sender.is_ready();
    verdict
}

/// The body; none where more would have to come.
fn drain(
    incoming: &mut Incoming,
    connection: &mut Driven,
    turns: usize,
    verdict: &mut Verdict,
    cx: &mut Context<'_>,
) -> Option<End> {
    let mut idle = 0;
    while idle < turns {
        connection.turn(cx);
        match Pin::new(&mut *incoming).poll_frame(cx) {
            Poll::Pending => idle += 1,
            Poll::Ready(None) => return Some(End::Whole),
            Poll::Ready(Some(Err(error))) => return Some(end_of(&error)),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => verdict.body.extend_from_slice(&data),
                Err(frame) => verdict.trailers = frame.into_trailers().ok(),
            },
        }
    }
    None
}

fn end_of(error: &hyper::Error) -> End {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    let is_wrong = source.is_some_and(|source| {
        matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
    });
    // Hyper has no question for that on the client's side.
    if error.is_parse() && error.to_string().contains("too large") {
        End::TooLarge
    } else if error.is_parse() || is_wrong {
        End::Wrong
    } else {
        End::Cut
    }
}

fn request(asked: Asked) -> Request<Nothing> {
    let method = match asked.method {
        AskedMethod::Head => "HEAD",
        AskedMethod::Connect => "CONNECT",
        AskedMethod::Other => "GET",
    };
    let mut request = Request::builder().method(method).uri("/").header("host", "h");
    if asked.upgrades {
        request = request.header("upgrade", "other");
    }
    if !asked.keeps {
        request = request.header("connection", "close");
    }
    request.body(Nothing).expect("valid")
}

struct Driven {
    connection: http1::Connection<Wire, Nothing>,
    ended: Option<Result<(), hyper::Error>>,
}

impl Driven {
    fn turn(&mut self, cx: &mut Context<'_>) {
        if self.ended.is_none()
            && let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(cx)
        {
            self.ended = Some(ended);
        }
    }
}

/// No body.
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}

/// What the server writes once it was asked, a piece for each read.
struct Wire {
    pieces: VecDeque<Bytes>,
    closes: bool,
    asked: Rc<Cell<bool>>,
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.asked.get() {
            return Poll::Pending;
        }
        let Some(mut piece) = self.pieces.pop_front() else {
            return if self.closes { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        buf.put_slice(&piece.split_to(piece.len().min(buf.remaining())));
        if !piece.is_empty() {
            self.pieces.push_front(piece);
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.asked.set(true);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A judgement of ours that is not hyper's.
pub(crate) struct Difference {
    pub(crate) reason: &'static str,
    /// Whether it is what makes these two differ.
    explains: fn(&Case, &Verdict, Option<Error>, &Verdict) -> bool,
}

/// All of them.
pub(crate) const DIFFERENCES: &[Difference] = &[
    Difference {
        reason: "a protocol that nobody asked for must not be switched to (RFC 9110 §7.8): not an answer, but an error",
        explains: |_, _, error, theirs| error == Some(Error::Switch) && theirs.status == Some(101),
    },
    Difference {
        reason: "chunked beside a length, or chunked twice, may be read otherwise by others on the way (RFC 9112 §6.1, §6.3): read \
                 the same, but the connection is not used again",
        explains: |_, ours, _, theirs| {
            let codings =
                ours.headers.get_all("transfer-encoding").iter().filter_map(|value| value.to_str().ok());
            let chunked = codings.flat_map(|codings| codings.split(','));
            let count = chunked.filter(|coding| coding.trim().eq_ignore_ascii_case("chunked")).count();
            let is_doubtful = count > 1 || count == 1 && ours.headers.contains_key("content-length");
            is_doubtful && !ours.reusable && *theirs == Verdict { reusable: true, ..ours.clone() }
        },
    },
    Difference {
        reason: "with any 2xx answer to CONNECT a tunnel begins (RFC 9110 §9.3.6), also with 204: no other request fits into it",
        explains: |case, ours, _, theirs| {
            let is_tunnel = case.asked.method == AskedMethod::Connect && ours.status == Some(204);
            is_tunnel && !ours.reusable && *theirs == Verdict { reusable: true, ..ours.clone() }
        },
    },
    Difference {
        reason: "a length of 2^64 - 1 or one less is no length to hyper either, but it calls the head too large",
        explains: |_, _, error, theirs| error == Some(Error::Length) && theirs.end == End::TooLarge,
    },
    Difference {
        reason: "hyper reads empty lines before a head without an end",
        explains: |case, _, error, _| {
            let bytes = case.pieces.concat();
            let is_blank = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
            error == Some(Error::HeadTooLarge) && bytes.windows(65).any(is_blank)
        },
    },
    Difference {
        reason: "hyper reads zeros before a chunk's size and spaces after it without an end",
        explains: |_, _, error, theirs| {
            error == Some(Error::Chunks("a chunk's size is too long")) && theirs.end != End::TooLarge
        },
    },
];

/// Both, which must say the same or differ by one of [`DIFFERENCES`]: that one.
pub(crate) fn compare(case: &Case) -> Option<&'static Difference> {
    let ((ours, error), theirs) = (ours(case), hypers(case));
    if ours == theirs {
        return None;
    }
    let known = DIFFERENCES.iter().find(|difference| (difference.explains)(case, &ours, error, &theirs));
    assert!(known.is_some(), "{case}\nours:   {ours:?}, {error:?}\nhyper's: {theirs:?}");
    known
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, closes: {}, {:?}", self.asked, self.closes, self.pieces)
    }
}
