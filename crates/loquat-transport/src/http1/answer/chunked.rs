//! The chunked coding (RFC 9112 §7.1), taken off a piece at a time: each piece of data is handed out as it came, without a copy.

use bytes::{Buf as _, Bytes};
use http::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};

use super::Error;

/// Most bytes of extensions in a whole body, and of the fields after it: hyper's bounds.
const EXTENSION_BYTES: u16 = 16 * 1024;
const TRAILER_BYTES: usize = 16 * 1024;
/// Most bytes of a size with what pads it. A number has 16 digits; some servers fill a field of fixed width with spaces or zeros.
const SIZE_BYTES: u16 = 1024;

/// See the [module](self). Small, because each stream has one, and finds it cold at every chunk.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    /// The size as far as it is read; of the chunk, what is still to come.
    left: u64,
    place: Place,
    /// Bytes of this size and its padding.
    size_bytes: u16,
    /// Bytes of extensions so far.
    extension_bytes: u16,
    /// Where something follows the last chunk.
    after: Option<Box<After>>,
}

#[derive(Debug, Default)]
struct After {
    /// As they came.
    fields: Vec<u8>,
    lines: usize,
}

/// What comes next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// The first digit of a size.
    #[default]
    Start,
    Size,
    /// Spaces after it: no digit any more.
    Padding,
    Extension,
    /// The line feed of a size line.
    SizeLf,
    Data,
    /// The end of the line after the data.
    DataCr,
    DataLf,
    /// The first byte of a field after the last chunk, or of the end.
    Line,
    Field,
    FieldLf,
    EndLf,
}

/// What is next of a body.
#[derive(Debug)]
pub(super) enum Piece {
    Data(Bytes),
    /// All that was given is used, and more must come.
    More,
    /// The end, with the fields after it, where there were any.
    End(Option<Box<HeaderMap>>),
}

impl Chunked {
    /// The next of the body in these bytes, of which it takes what it uses; never data without a byte.
    pub(super) fn next(&mut self, bytes: &mut Bytes, max_fields: usize) -> Result<Piece, Error> {
        let mut at = 0;
        if self.place == Place::Start
            && let Some((size, line)) = plain_size(bytes)
        {
            (self.left, self.place, at) = (size, Place::Data, line);
        }
        while let Some(&byte) = bytes.get(at) {
            if self.place == Place::Data {
                bytes.advance(at);
                return Ok(Piece::Data(self.take(bytes)));
            }
            at += 1;
            if self.step(byte, max_fields)? {
                bytes.advance(at);
                return Ok(Piece::End(self.end()?));
            }
        }
        bytes.clear();
        Ok(Piece::More)
    }

    /// What is there of the chunk.
    fn take(&mut self, bytes: &mut Bytes) -> Bytes {
        let Some(left) = usize::try_from(self.left).ok().filter(|left| *left <= bytes.len()) else {
            self.left -= bytes.len() as u64;
            return std::mem::take(bytes);
        };
        self.left = 0;
        if &bytes[left..] == b"\r\n" {
            // Nearly always: one chunk, all of it.
            self.place = Place::Start;
            bytes.truncate(left);
            return std::mem::take(bytes);
        }
        self.place = Place::DataCr;
        bytes.split_to(left)
    }

    /// Whether that byte was the last.
    #[inline]
    fn step(&mut self, byte: u8, max_fields: usize) -> Result<bool, Error> {
        self.place = match (self.place, byte) {
            (Place::Start, _) => {
                self.size_bytes = 0;
                let Some(digit) = digit(byte) else { return Err(Error::Chunks("a chunk has no size")) };
                self.left = digit;
                Place::Size
            }
            (Place::Size | Place::Padding, b';') => Place::Extension,
            (Place::Size | Place::Padding | Place::Extension, b'\r') => Place::SizeLf,
            (Place::Size | Place::Padding, b'\t' | b' ') => {
                self.count_size()?;
                Place::Padding
            }
            (Place::Size, _) => {
                let Some(digit) = digit(byte) else { return Err(Error::Chunks("a chunk's size is none")) };
                self.count_size()?;
                let larger = self.left.checked_mul(16).ok_or(Error::Chunks("a chunk's size is too large"))?;
                self.left = larger + digit;
                Place::Size
            }
            // Who does not look for the carriage return would see the end of the line here (RFC 9112 §2.2).
            (Place::Extension, b'\n') => return Err(Error::Chunks("a chunk's extension has a line feed")),
            (Place::Extension, _) => {
                self.extension_bytes += 1;
                if self.extension_bytes >= EXTENSION_BYTES {
                    return Err(Error::Chunks("the chunks' extensions are too long"));
                }
                Place::Extension
            }
            (Place::SizeLf, b'\n') if self.left == 0 => Place::Line,
            (Place::SizeLf, b'\n') => Place::Data,
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::Start,
            (Place::Line, b'\r') if self.after.is_none() => Place::EndLf,
            (Place::EndLf, b'\n') if self.after.is_none() => return Ok(true),
            (Place::Line | Place::Field | Place::FieldLf | Place::EndLf, _) => {
                return self.step_after(byte, max_fields);
            }
            (Place::Padding, _) => return Err(Error::Chunks("a chunk's size is followed by something")),
            (Place::SizeLf | Place::DataCr | Place::DataLf | Place::Data, _) => {
                return Err(Error::Chunks("a chunk's line does not end as it must"));
            }
        };
        Ok(false)
    }

    fn count_size(&mut self) -> Result<(), Error> {
        self.size_bytes += 1;
        if self.size_bytes < SIZE_BYTES { Ok(()) } else { Err(Error::Chunks("a chunk's size is too long")) }
    }

    fn step_after(&mut self, byte: u8, max_fields: usize) -> Result<bool, Error> {
        let after = self.after.get_or_insert_default();
        let place = match (self.place, byte) {
            (Place::Line, b'\r') => Place::EndLf,
            (Place::Line, _) => Place::Field,
            (Place::Field, b'\r') => Place::FieldLf,
            (Place::Field, _) => Place::Field,
            (Place::FieldLf, b'\n') if after.lines >= max_fields => {
                return Err(Error::Chunks("more fields than allowed follow the chunks"));
            }
            (Place::FieldLf, b'\n') => {
                after.lines += 1;
                Place::Line
            }
            (Place::EndLf, b'\n') => Place::EndLf,
            _ => return Err(Error::Chunks("a line after the chunks does not end as it must")),
        };
        let is_last = self.place == Place::EndLf;
        self.place = place;
        after.fields.push(byte);
        if after.fields.len() >= TRAILER_BYTES {
            return Err(Error::Chunks("the fields after the chunks are too long"));
        }
        Ok(is_last)
    }

    fn end(&mut self) -> Result<Option<Box<HeaderMap>>, Error> {
        let Some(after) = self.after.take() else { return Ok(None) };
        const WRONG: Error = Error::Chunks("what follows the chunks are no fields");
        let mut fields = vec![httparse::EMPTY_HEADER; after.lines];
        let parsed = httparse::parse_headers(&after.fields, &mut fields).map_err(|_| WRONG)?;
        let httparse::Status::Complete((_, fields)) = parsed else { return Err(WRONG) };
        let mut trailers = HeaderMap::with_capacity(fields.len());
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| WRONG)?;
            let value = HeaderValue::from_bytes(field.value).map_err(|_| WRONG)?;
            trailers.try_append(name, value).map_err(|_| WRONG)?;
        }
        Ok(Some(Box::new(trailers)))
    }
}

/// The size of a chunk as nearly all write it, at the beginning of its line, and how long that is: up to seven digits and nothing
/// else, not zero.
#[inline]
fn plain_size(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut size = 0;
    for (at, byte) in bytes.iter().take(8).enumerate() {
        match digit(*byte) {
            Some(digit) => size = size << 4 | digit,
            _ if *byte == b'\r' && size > 0 && bytes.get(at + 1) == Some(&b'\n') => {
                return Some((size, at + 2));
            }
            _ => return None,
        }
    }
    None
}

fn digit(byte: u8) -> Option<u64> {
    Some(u64::from(match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ => return None,
    }))
}
