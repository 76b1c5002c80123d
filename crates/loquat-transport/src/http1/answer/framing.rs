//! Where an answer ends, and whether its connection goes on after it, by what the head says (RFC 9112 §6.3, §9.3).

use std::time::Duration;

use http::{
    Method, StatusCode,
    header::{self, HeaderName, HeaderValue},
};

use super::Error;

/// What there is to know of a request to understand its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: AskedMethod,
    /// Whether it asked for another protocol (`Upgrade`).
    pub(crate) upgrades: bool,
    /// Whether it left the connection open (no `Connection: close`).
    pub(crate) keeps: bool,
}

/// The methods whose answers are framed in their own way, and all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AskedMethod {
    Head,
    Connect,
    Other,
}

impl Default for Asked {
    fn default() -> Self {
        Self { method: AskedMethod::Other, upgrades: false, keeps: true }
    }
}

impl Asked {
    /// What a field of the request says of its answer.
    pub(crate) fn note(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.upgrades |= *name == header::UPGRADE;
        self.keeps &= *name != header::CONNECTION || !has(value, "close");
    }
}

impl From<&Method> for AskedMethod {
    fn from(method: &Method) -> Self {
        match *method {
            Method::HEAD => Self::Head,
            Method::CONNECT => Self::Connect,
            _ => Self::Other,
        }
    }
}

/// What the fields of a head say that matters here, collected one by one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Said {
    closes: bool,
    keeps: bool,
    coding: Option<Coding>,
    length: Length,
    pub(super) keep_alive: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Coding {
    /// Whether the last is `chunked`.
    is_last: bool,
    /// How many are.
    count: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Length {
    #[default]
    None,
    Is(u64),
    Wrong,
}

/// How it goes on after a head.
#[derive(Debug)]
pub(super) enum Framing {
    /// With another.
    Interim,
    Body {
        body: Body,
        keeps: bool,
    },
}

#[derive(Debug)]
pub(super) enum Body {
    None,
    Length(u64),
    Chunked,
    Close,
}

impl Said {
    pub(super) fn note(&mut self, name: &HeaderName, value: &HeaderValue) {
        if *name == header::CONTENT_LENGTH {
            self.note_length(value);
        } else if *name == header::TRANSFER_ENCODING {
            self.note_coding(value);
        } else if *name == header::CONNECTION {
            self.closes |= has(value, "close");
            self.keeps |= has(value, "keep-alive");
        } else if name.as_str() == "keep-alive" && self.keep_alive.is_none() {
            self.keep_alive = value.to_str().ok().and_then(keep_alive);
        }
    }

    /// Several are one if they are the same (RFC 9110 §8.6).
    fn note_length(&mut self, value: &HeaderValue) {
        for part in value.as_bytes().split(|byte| *byte == b',') {
            self.length = match (digits(part.trim_ascii()), self.length) {
                (Some(bytes), Length::None) => Length::Is(bytes),
                (Some(bytes), Length::Is(before)) if bytes == before => Length::Is(bytes),
                _ => Length::Wrong,
            };
        }
    }

    fn note_coding(&mut self, value: &HeaderValue) {
        let mut coding = self.coding.unwrap_or(Coding { is_last: false, count: 0 });
        coding.is_last = false;
        if let Ok(text) = value.to_str() {
            for token in text.split(',') {
                coding.is_last = token.trim().eq_ignore_ascii_case("chunked");
                coding.count += usize::from(coding.is_last);
            }
        }
        self.coding = Some(coding);
    }

    pub(super) fn framing(self, status: StatusCode, minor: u8, asked: Asked) -> Result<Framing, Error> {
        // The same word twice does not take back what it said once.
        let keeps = !self.closes && (minor == 1 || self.keeps);
        let body = |body, keeps| Ok(Framing::Body { body, keeps });
        match (status.as_u16(), asked.method) {
            (101, _) if !asked.upgrades => return Err(Error::Switch),
            // What follows is not HTTP.
            (101, _) | (200..=299, AskedMethod::Connect) => return body(Body::None, false),
            (100..=199, _) => return Ok(Framing::Interim),
            (204 | 304, _) | (_, AskedMethod::Head) => return body(Body::None, keeps),
            _ => {}
        }
        match (self.coding, self.length) {
            (Some(_), _) if minor == 0 => Err(Error::Coding),
            // With a length beside it, or twice, whoever is on the way may have read another end of it: it is read once more as it
            // must be, and what follows is not trusted.
            (Some(Coding { is_last: true, count }), length) => {
                body(Body::Chunked, keeps && count == 1 && length == Length::None)
            }
            (Some(_), _) => body(Body::Close, false),
            (None, Length::Is(bytes)) => body(Body::Length(bytes), keeps),
            (None, Length::Wrong) => Err(Error::Length),
            (None, Length::None) => body(Body::Close, false),
        }
    }
}

fn has(value: &HeaderValue, wanted: &str) -> bool {
    let text = value.to_str().unwrap_or_default();
    text.split(',').any(|token| token.trim().eq_ignore_ascii_case(wanted))
}

/// Digits and nothing else, not even a sign; the two largest numbers count as none, as with hyper.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let number = text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })?;
    (number < u64::MAX - 1).then_some(number)
}

/// `timeout=5, max=100` as 4 s: a fifth is left for the way, so that a request does not meet the close.
fn keep_alive(text: &str) -> Option<Duration> {
    text.split(',').find_map(|parameter| {
        let (name, seconds) = parameter.split_once('=')?;
        let seconds: u32 =
            name.trim().eq_ignore_ascii_case("timeout").then(|| seconds.trim().parse().ok())??;
        Some(Duration::from_millis(u64::from(seconds) * 800))
    })
}

#[cfg(test)]
mod tests {
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
            assert_eq!(keep_alive(text), millis.map(Duration::from_millis), "{text}");
        }
    }
}
