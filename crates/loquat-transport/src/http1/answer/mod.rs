//! What a server answers, read from bytes as they come: no socket, no clock, no waiting.
//!
//! Whoever has the socket hands in what was read and is told what it means: first [`Answer::feed_head`] until there is a head, then
//! [`Answer::next`] for the body, [`Answer::feed`] where that wants more. So a test feeds bytes, in any pieces, and so does the
//! fuzzer. What is legal is judged as hyper judges it with its settings left alone; where it is judged otherwise,
//! `tests/http1/oracle.rs` says so and why.
//!
//! A connection carries another request only where nothing about an answer was in doubt: [`Answer::is_clean`].

mod chunked;
mod error;
mod framing;
mod head;

use std::time::Duration;

use bytes::{Buf as _, Bytes};
pub(crate) use error::Error;
pub(crate) use framing::{Asked, AskedMethod};
pub(crate) use head::Head;
use http::HeaderMap;

use self::{
    chunked::{Chunked, Piece},
    framing::Framing,
    head::{Parsed, parse},
};

/// Bytes in which an answer comes that is copied out of what it was read into, head and beginning of the body in one. Where more
/// came, the head is: its fields live long, and would keep all of that.
const SMALL_BYTES: usize = 4 * 1024;

/// Most bytes of empty lines before a head: each is a reason to look for one again (RFC 9112 §2.2 has us ignore one or so).
const BLANK_BYTES: usize = 64;

/// How much of an answer is read before it is given up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Most bytes up to the end of the head, interim heads before it included.
    pub(crate) head_bytes: usize,
    /// Most fields in one head, and after a chunked body.
    pub(crate) fields: usize,
}

/// The answers of one connection, one after the other. See the [module](self).
#[derive(Debug)]
// What a chunk needs comes first, in one line of memory.
#[repr(C, align(64))]
pub(crate) struct Answer {
    /// Read, and not used yet.
    held: Bytes,
    state: State,
    keeps: bool,
    asked: Asked,
    bounds: Bounds,
    keep_alive: Option<Duration>,
    /// The beginning of a head whose rest has not come.
    part: Vec<u8>,
    /// How much of `part` has been looked through for the end of the head.
    looked: usize,
    /// Bytes of the interim heads before this one.
    before: usize,
    trailers: Option<Box<HeaderMap>>,
}

#[derive(Debug)]
enum State {
    Head,
    Length(u64),
    Chunked(Chunked),
    /// Until the connection ends.
    Close,
    Over,
}

/// What comes next of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Data, not empty.
    Data(Bytes),
    /// More must be read: [`Answer::feed`], [`Answer::end`].
    More,
    /// That was all.
    End,
}

impl Answer {
    /// Of a connection that has carried none yet.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            asked: Asked::default(),
            held: Bytes::new(),
            part: Vec::new(),
            looked: 0,
            before: 0,
            state: State::Over,
            keeps: true,
            keep_alive: None,
            trailers: None,
        }
    }

    /// A request goes out; the next head is its answer's.
    pub(crate) fn begin(&mut self, asked: Asked) {
        self.asked = asked;
        self.keeps &= asked.keeps;
        (self.looked, self.before) = (0, 0);
        self.state = State::Head;
        self.trailers = None;
    }

    /// What was read while there was no head, never empty; the head, once it is in.
    ///
    /// # Errors
    /// What was read is no head, or too much of one.
    pub(crate) fn feed_head(&mut self, mut read: Bytes) -> Result<Option<Head>, Error> {
        let mut is_own = true;
        if !self.part.is_empty() {
            self.part.extend_from_slice(&read);
            // A head that comes byte by byte is not parsed from its beginning for each.
            if head::empty_line(&self.part[self.looked.saturating_sub(3)..]).is_none() {
                return self.wait();
            }
            read = std::mem::take(&mut self.part).into();
        } else if read.len() <= SMALL_BYTES {
            read = Bytes::copy_from_slice(&read);
        } else {
            is_own = false;
        }
        loop {
            if head::blank(&read) > BLANK_BYTES {
                return Err(Error::HeadTooLarge);
            }
            let end = if is_own { None } else { head::end(&read) };
            let own = end.map(|end| Bytes::copy_from_slice(&read[..end]));
            let Some((parsed, bytes)) = parse(own.as_ref().unwrap_or(&read), self.bounds.fields)? else {
                self.part.extend_from_slice(&read);
                return self.wait();
            };
            self.before += bytes;
            if self.before > self.bounds.head_bytes {
                return Err(Error::HeadTooLarge);
            }
            read.advance(bytes);
            let Parsed { status, minor, headers, said } = parsed;
            match said.framing(status, minor, self.asked)? {
                Framing::Interim if read.is_empty() => {
                    self.looked = 0;
                    return Ok(None);
                }
                Framing::Interim => {}
                Framing::Body { body, keeps } => {
                    self.state = match body {
                        framing::Body::None | framing::Body::Length(0) => State::Over,
                        framing::Body::Length(bytes) => State::Length(bytes),
                        framing::Body::Chunked => State::Chunked(Chunked::default()),
                        framing::Body::Close => State::Close,
                    };
                    // Until the end of the connection means that there is none after it.
                    self.keeps &= keeps && !matches!(self.state, State::Close);
                    self.keep_alive = said.keep_alive;
                    self.held = read;
                    return Ok(Some(Head { status, headers }));
                }
            }
        }
    }

    fn wait(&mut self) -> Result<Option<Head>, Error> {
        self.looked = self.part.len();
        if self.before + self.part.len() >= self.bounds.head_bytes {
            return Err(Error::HeadTooLarge);
        }
        Ok(None)
    }

    /// The next of the body.
    ///
    /// # Errors
    /// It is not framed as it must be.
    pub(crate) fn next(&mut self) -> Result<Next, Error> {
        match &mut self.state {
            State::Over => Ok(Next::End),
            State::Head => Ok(Next::More),
            _ if self.held.is_empty() => Ok(Next::More),
            State::Close => Ok(Next::Data(std::mem::take(&mut self.held))),
            State::Length(left) => {
                let held = self.held.len() as u64;
                if held <= *left {
                    *left -= held;
                    if *left == 0 {
                        self.state = State::Over;
                    }
                    return Ok(Next::Data(std::mem::take(&mut self.held)));
                }
                let data = self.held.split_to(usize::try_from(*left).unwrap_or(usize::MAX));
                self.state = State::Over;
                Ok(Next::Data(data))
            }
            State::Chunked(chunked) => match chunked.next(&mut self.held, self.bounds.fields)? {
                Piece::Data(data) => Ok(Next::Data(data)),
                Piece::More => Ok(Next::More),
                Piece::End(trailers) => {
                    (self.state, self.trailers) = (State::Over, trailers);
                    Ok(Next::End)
                }
            },
        }
    }

    /// What was read because [`Answer::next`] wanted more.
    pub(crate) fn feed(&mut self, read: Bytes) {
        debug_assert!(self.held.is_empty(), "nothing is read while there is something to use");
        self.held = read;
    }

    /// The connection has ended, where more was wanted.
    ///
    /// # Errors
    /// That was too early.
    pub(crate) fn end(&mut self) -> Result<(), Error> {
        self.keeps = false;
        match self.state {
            State::Close | State::Over => {
                self.state = State::Over;
                Ok(())
            }
            State::Head | State::Length(_) | State::Chunked(_) => Err(Error::Cut),
        }
    }

    /// Whether all of the body has been handed out.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Whether the connection may carry another request, as far as this answer goes: it is over, nothing came after it, and it said
    /// nothing that would be in the way.
    pub(crate) fn is_clean(&self) -> bool {
        self.keeps && self.is_over() && self.held.is_empty()
    }

    /// Bytes that are still to come, where they are known.
    pub(crate) fn length_hint(&self) -> u64 {
        if let State::Length(left) = self.state { left } else { 0 }
    }

    /// How long the server said it would keep the connection.
    pub(crate) fn keep_alive(&self) -> Option<Duration> {
        self.keep_alive
    }

    /// The fields after a chunked body, once that is over.
    pub(crate) fn take_trailers(&mut self) -> Option<Box<HeaderMap>> {
        self.trailers.take()
    }
}
