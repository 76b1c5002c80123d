//! Compressed bodies (`Content-Encoding`, RFC 9110 §8.4): gzip, brotli and zstd, decoded as they come.
//!
//! Each network read yields what can be decoded of it at once, so that a compressed event stream is as prompt as its server
//! flushes it. The output comes in bounded pieces, pulled: a small body that claims to be a large one costs no memory, and
//! ends at a limit. A body is whole only when its last compressed stream is.

use std::io;

use bytes::Bytes;
use compression_codecs::{
    BrotliDecoder, DecodeV2, GzipDecoder, ZstdDecoder,
    core::util::{PartialBuffer, WriteBuffer},
    zstd::params::DParameter,
};
use http::{HeaderMap, HeaderValue, header};
use loquat_core::{Error, ErrorKind};

use crate::{
    DecompressLimits,
    buffers::{Buffer, Buffers, Size},
    trail::Trail,
};

/// What is asked for.
pub(crate) const ACCEPT: HeaderValue = HeaderValue::from_static("gzip, br, zstd");
/// A zstd window of 8 MiB, the most that a body may ask for (RFC 9659 §3).
const ZSTD_WINDOW_LOG: u32 = 23;

/// Whether those fields leave the coding to the transport: their owner neither chose one nor asked for a part of something.
pub(crate) fn may_ask(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::ACCEPT_ENCODING) && !headers.contains_key(header::RANGE)
}

/// Decodes one body.
pub(crate) struct Decoder {
    coding: &'static str,
    codec: Box<dyn DecodeV2 + Send + Sync>,
    /// Whether another compressed stream may follow the one before (RFC 1952 §2.2, RFC 8878 §3).
    may_follow: bool,
    input: Bytes,
    /// Whether the codec may hold output back although it has taken all input.
    has_more: bool,
    /// Whether it is inside a compressed stream, or past the last.
    state: State,
    buffers: Buffers,
    buffer: Option<Buffer>,
    limits: DecompressLimits,
    bytes_in: u64,
    bytes_out: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Between,
    Inside,
    Broken,
}

impl Decoder {
    /// The one for a response with these fields, which then describe what comes out of it; none where there is nothing to
    /// decode, or nobody knows how.
    pub(crate) fn of(headers: &mut HeaderMap, limits: &DecompressLimits, buffers: &Buffers) -> Option<Self> {
        let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
        let (Some(coding), None) = (codings.next(), codings.next()) else { return None };
        let coding = coding.to_str().ok()?.trim().to_ascii_lowercase();
        let (coding, codec): (_, Box<dyn DecodeV2 + Send + Sync>) = match coding.as_str() {
            "gzip" | "x-gzip" => ("gzip", Box::new(GzipDecoder::new())),
            "br" => ("br", Box::new(BrotliDecoder::new())),
            "zstd" => {
                let window = DParameter::window_log_max(ZSTD_WINDOW_LOG);
                ("zstd", Box::new(ZstdDecoder::new_with_params(&[window])))
            }
            _ => return None,
        };
        headers.remove(header::CONTENT_ENCODING);
        headers.remove(header::CONTENT_LENGTH);
        Some(Self {
            coding,
            codec,
            may_follow: coding != "br",
            input: Bytes::new(),
            has_more: false,
            state: State::Between,
            buffers: buffers.clone(),
            buffer: None,
            limits: limits.clone(),
            bytes_in: 0,
            bytes_out: 0,
        })
    }

    /// Takes the next bytes of the body. What came before has been decoded.
    pub(crate) fn feed(&mut self, data: Bytes) {
        self.bytes_in += data.len() as u64;
        self.input = data;
    }

    /// The next piece of the output; none: more input is needed.
    pub(crate) fn next(&mut self, trail: &Trail) -> Option<Result<Bytes, Error>> {
        let decoded = self.decode(trail).transpose()?;
        if decoded.is_err() {
            (self.state, self.input, self.has_more) = (State::Broken, Bytes::new(), false);
        }
        Some(decoded)
    }

    /// Whether everything that has come is decoded and handed out.
    pub(crate) fn is_drained(&self) -> bool {
        self.input.is_empty() && !self.has_more
    }

    /// Nothing more comes. Everything before has been decoded.
    pub(crate) fn finish(&self, trail: &Trail) -> Result<(), Error> {
        if self.state != State::Inside {
            return Ok(());
        }
        let what = format_args!("the body ended before its {} stream did", self.coding);
        Err(trail.error(ErrorKind::Truncated, what))
    }

    fn decode(&mut self, trail: &Trail) -> Result<Option<Bytes>, Error> {
        let invalid = |coding, error: io::Error| {
            trail
                .error(ErrorKind::Protocol, format_args!("the body is not valid {coding}"))
                .with_source(error)
        };
        while !self.is_drained() {
            if self.state == State::Between && self.bytes_before() > 0 {
                if !self.may_follow {
                    let what = format_args!("bytes follow the body's {} stream", self.coding);
                    return Err(trail.error(ErrorKind::Protocol, what));
                }
                self.codec.reinit().map_err(|error| invalid(self.coding, error))?;
            }
            self.state = State::Inside;
            let mut buffer = self.buffer.take().unwrap_or_else(|| self.buffers.take(Size::Small));
            let mut output = WriteBuffer::new_initialized(buffer.as_mut());
            let mut input = PartialBuffer::new(&self.input[..]);
            let decoded = if self.input.is_empty() {
                self.codec.flush(&mut output).map(|_| false)
            } else {
                self.codec.decode(&mut input, &mut output)
            };
            let (taken, given) = (input.written_len(), output.written_len());
            let is_full = output.has_no_spare_space();
            let is_over = decoded.map_err(|error| invalid(self.coding, error))?;
            if taken == 0 && given == 0 && !self.input.is_empty() && !is_over {
                return Err(invalid(self.coding, io::Error::other("no progress")));
            }
            let _ = self.input.split_to(taken);
            self.has_more = is_full && !is_over;
            if is_over {
                self.state = State::Between;
            }
            self.bytes_out += given as u64;
            if given > 0 {
                self.check(trail)?;
                let (bytes, rest) = buffer.freeze(given);
                self.buffer = rest;
                return Ok(Some(bytes));
            }
            self.buffer = Some(buffer);
        }
        Ok(None)
    }

    /// Bytes of the body that streams before have taken.
    fn bytes_before(&self) -> u64 {
        self.bytes_in - self.input.len() as u64
    }

    fn check(&self, trail: &Trail) -> Result<(), Error> {
        let DecompressLimits { max_bytes, max_ratio, ratio_from_bytes, .. } = self.limits;
        if self.bytes_out > max_bytes {
            let what = format_args!(
                "the decompressed body is longer than the {max_bytes} bytes allowed (max_bytes)"
            );
            return Err(trail.error(ErrorKind::TooLarge, what));
        }
        let expected = self.bytes_before().saturating_mul(u64::from(max_ratio));
        if self.bytes_out > ratio_from_bytes && self.bytes_out > expected {
            let what = format_args!(
                "the body grew to more than {max_ratio} times its size when decompressed (max_ratio)"
            );
            return Err(trail.error(ErrorKind::TooLarge, what));
        }
        Ok(())
    }
}
