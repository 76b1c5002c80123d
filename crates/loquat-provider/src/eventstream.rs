//! Amazon's binary event stream: frames with headers, a payload and two checksums.
//!
//! Follows <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html> (message format) and
//! <https://smithy.io/2.0/aws/amazon-eventstream.html>. A frame's length is believed only once the checksum over it has been
//! seen to fit, and never beyond the bound on events; nothing is reserved for what has not come. Knows no provider.

use loquat_core::{Error, ErrorKind, Result};

/// Total length, length of the headers, checksum of the two.
const PRELUDE_BYTES: usize = 12;
/// The checksum at a frame's end.
const TRAILER_BYTES: usize = 4;

/// Frames out of bytes.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    /// What has come of the frame.
    frame: Vec<u8>,
    /// Its length, once it is known.
    length: usize,
    complete: bool,
}

/// A frame, checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// `event`, `exception` or `error`.
    pub(crate) message_type: &'a str,
    /// What kind of event.
    pub(crate) event_type: &'a str,
    /// What kind of exception, or the error's code.
    pub(crate) exception: &'a str,
    /// The error's message.
    pub(crate) error_message: &'a str,
    pub(crate) payload: &'a [u8],
}

impl FrameReader {
    /// The next whole frame, consuming from the front of `input`; `None` when that is used up.
    pub(crate) fn next(&mut self, input: &mut &[u8], max_bytes: usize) -> Result<Option<Frame<'_>>> {
        if std::mem::take(&mut self.complete) {
            self.frame.clear();
            self.length = 0;
        }
        if self.frame.len() < PRELUDE_BYTES {
            self.take(input, PRELUDE_BYTES);
            if self.frame.len() < PRELUDE_BYTES {
                return Ok(None);
            }
            self.length = length(&self.frame, max_bytes)?;
        }
        self.take(input, self.length);
        if self.frame.len() < self.length {
            return Ok(None);
        }
        self.complete = true;
        parse(&self.frame).map(Some)
    }

    /// Whether a frame has begun that is not whole.
    fn take(&mut self, input: &mut &[u8], until: usize) {
        let wanted = until.saturating_sub(self.frame.len()).min(input.len());
        let (part, rest) = input.split_at(wanted);
        self.frame.extend_from_slice(part);
        *input = rest;
    }
}

/// The length a prelude says, if its checksum fits and it is within bounds.
fn length(prelude: &[u8], max_bytes: usize) -> Result<usize> {
    if crc32(prelude.get(..8).unwrap_or_default()) != number(prelude, 8) {
        return Err(malformed("the checksum of a frame's lengths does not fit"));
    }
    let total = usize::try_from(number(prelude, 0)).unwrap_or(usize::MAX);
    let headers = usize::try_from(number(prelude, 4)).unwrap_or(usize::MAX);
    if total > max_bytes {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!("the answer exceeds max_event_bytes ({max_bytes})"),
        ));
    }
    if headers.saturating_add(PRELUDE_BYTES + TRAILER_BYTES) > total {
        return Err(malformed("a frame's headers are longer than the frame"));
    }
    Ok(total)
}

fn parse(frame: &[u8]) -> Result<Frame<'_>> {
    let end = frame.len() - TRAILER_BYTES;
    let (body, _) = frame.split_at(end);
    if crc32(body) != number(frame, end) {
        return Err(malformed("the checksum of a frame does not fit"));
    }
    let headers = PRELUDE_BYTES + usize::try_from(number(frame, 4)).unwrap_or(0);
    let (Some(mut rest), Some(payload)) = (body.get(PRELUDE_BYTES..headers), body.get(headers..)) else {
        return Err(malformed("a frame's headers are longer than the frame"));
    };
    let mut parsed = Frame { payload, ..Frame::default() };
    while !rest.is_empty() {
        let (name, value) = header(&mut rest).ok_or_else(|| malformed("a frame's header is cut"))?;
        let slot = match name {
            b":message-type" => &mut parsed.message_type,
            b":event-type" => &mut parsed.event_type,
            b":exception-type" | b":error-code" => &mut parsed.exception,
            b":error-message" => &mut parsed.error_message,
            _ => continue,
        };
        *slot = std::str::from_utf8(value).map_err(|_| malformed("a frame's header is not UTF-8"))?;
    }
    Ok(parsed)
}

/// A header's name and value; the value is empty unless it is text or bytes.
fn header<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let name_bytes = usize::from(split(rest, 1)?[0]);
    let name = split(rest, name_bytes)?;
    let fixed = match split(rest, 1)?[0] {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        9 => 16,
        6 | 7 => {
            let length = split(rest, 2)?;
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            return Some((name, split(rest, length)?));
        }
        _ => return None,
    };
    split(rest, fixed)?;
    Some((name, &[]))
}

fn split<'a>(rest: &mut &'a [u8], at: usize) -> Option<&'a [u8]> {
    let (part, tail) = rest.split_at_checked(at)?;
    *rest = tail;
    Some(part)
}

/// Four bytes as a number; 0 beyond the end.
fn number(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    four.map_or(0, u32::from_be_bytes)
}

fn malformed(why: &'static str) -> Error {
    Error::new(ErrorKind::Protocol, why)
}

/// CRC-32 as in Ethernet and gzip (RFC 1952 §8), a byte at a time: some 300 MB/s, a thousand times what a model says.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let step = |crc: u32, byte: &u8| TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8);
    !bytes.iter().fold(u32::MAX, step)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    let mut seed = 0_u32;
    while index < 256 {
        let mut crc = seed;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
        seed += 1;
    }
    table
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A frame with text headers.
    pub(crate) fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in headers {
            block.push(u8::try_from(name.len()).expect("short"));
            block.extend_from_slice(name.as_bytes());
            block.push(7);
            block.extend_from_slice(&u16::try_from(value.len()).expect("short").to_be_bytes());
            block.extend_from_slice(value.as_bytes());
        }
        let total = PRELUDE_BYTES + block.len() + payload.len() + TRAILER_BYTES;
        let mut frame = Vec::new();
        for length in [total, block.len()] {
            frame.extend_from_slice(&u32::try_from(length).expect("short").to_be_bytes());
        }
        frame.extend_from_slice(&crc32(&frame).to_be_bytes());
        frame.extend_from_slice(&block);
        frame.extend_from_slice(payload);
        frame.extend_from_slice(&crc32(&frame).to_be_bytes());
        frame
    }

    fn frames(pieces: &[&[u8]]) -> Result<Vec<(String, String)>> {
        let mut reader = FrameReader::default();
        let mut all = Vec::new();
        for mut piece in pieces.iter().copied() {
            while let Some(frame) = reader.next(&mut piece, 1000)? {
                all.push((frame.event_type.to_owned(), String::from_utf8_lossy(frame.payload).into_owned()));
            }
        }
        Ok(all)
    }

    #[test]
    fn the_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn any_split_gives_the_same_frames() {
        let mut bytes = frame(&[(":event-type", "a"), (":content-type", "application/json")], b"{}");
        bytes.extend(frame(&[(":event-type", "b")], b""));
        let expected = [("a".to_owned(), "{}".to_owned()), ("b".to_owned(), String::new())];
        for split in 0..=bytes.len() {
            let (front, back) = bytes.split_at(split);
            assert_eq!(frames(&[front, back]).expect("frames"), expected, "split at {split}");
        }
        assert_eq!(frames(&bytes.chunks(1).collect::<Vec<_>>()).expect("frames"), expected);
    }

    #[test]
    fn a_changed_byte_is_an_error_and_never_a_frame() {
        let bytes = frame(&[(":event-type", "a")], b"{\"x\":1}");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            let kind = frames(&[&changed]).expect_err("a checksum over it").kind();
            assert_eq!(kind, ErrorKind::Protocol, "byte {at}");
        }
    }

    #[test]
    fn a_frame_beyond_the_bound_is_refused_by_its_prelude() {
        let bytes = frame(&[], &[b'x'; 2000]);
        assert_eq!(frames(&[&bytes[..12]]).map_err(|error| error.kind()), Err(ErrorKind::TooLarge));
    }
}
