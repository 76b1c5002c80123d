//! What can be wrong with the bytes: one small error for framing and extraction.
//!
//! It says what and where, never which bytes: an event is somebody's conversation. Who is at fault is left to the
//! caller, who knows whether the bytes came from a provider, a file or a test.

use std::fmt;

/// Why bytes were refused, and where. Small and `Copy`; never holds content.
///
/// ```
/// use loquat_json::{ErrorKind, Extractor, Fields};
///
/// let mut extractor = Extractor::new(Fields::compile(&["/text"])?);
/// let error = extractor.extract(br#"{"text":"hel"#).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::UnexpectedEnd);
/// assert_eq!(error.to_string(), "the text ends inside a value at byte 12");
/// # Ok::<(), loquat_json::PointerError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    offset: u64,
}

/// The kinds of [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An event is longer than [`Limits::max_event_bytes`](crate::Limits::max_event_bytes). Reported while the bytes
    /// arrive; the offset is that of the first byte that did not fit. Or a [`Partial`](crate::Partial) text that is longer than it may be,
    /// or a whole document of 4 GiB or more.
    TooLong,
    /// Arrays and objects are nested deeper than the extractor allows.
    Depth,
    /// More values were found than the extractor allows, which takes wildcards or member names repeated in bad faith.
    TooMany,
    /// The text ends before its value does: cut off rather than malformed.
    UnexpectedEnd,
    /// Not JSON as of RFC 8259.
    Syntax,
    /// A whole value, and then more bytes than white space.
    TrailingBytes,
    /// Not UTF-8, where only UTF-8 is allowed (RFC 8259 §8.1).
    Utf8,
    /// An escape names one half of a surrogate pair without the other: valid JSON, but no text.
    LoneSurrogate,
    /// A number is beyond the range of a double, where one has to hold it.
    NumberRange,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, offset: usize) -> Self {
        Self::in_stream(kind, offset as u64)
    }

    pub(crate) fn in_stream(kind: ErrorKind, offset: u64) -> Self {
        Self { kind, offset }
    }

    /// What is wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Where, in bytes from 0: counted from the start of the JSON text for extraction, from the start of the stream
    /// for framing.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            ErrorKind::TooLong => "the text is longer than the limit",
            ErrorKind::Depth => "the value is nested deeper than the limit",
            ErrorKind::TooMany => "more values match than the limit",
            ErrorKind::UnexpectedEnd => "the text ends inside a value",
            ErrorKind::Syntax => "this is not JSON",
            ErrorKind::TrailingBytes => "bytes follow the JSON value",
            ErrorKind::Utf8 => "this is not UTF-8",
            ErrorKind::LoneSurrogate => "an escape names half of a surrogate pair",
            ErrorKind::NumberRange => "a number is beyond the range of a double",
        };
        write!(f, "{what} at byte {}", self.offset)
    }
}

impl std::error::Error for Error {}
