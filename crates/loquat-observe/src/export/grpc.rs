//! gRPC as far as OTLP needs it: one message there, one back. It does no IO: whoever has HTTP/2 carries it.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>, and for what may be tried again
//! <https://opentelemetry.io/docs/specs/otlp/#failures>.

use std::time::Duration;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use prost::Message;

use super::Undelivered;

/// Most bytes of an answer that are looked at: it says what was refused, and why.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// `content-type` of the request.
pub const CONTENT_TYPE: &str = "application/grpc+proto";

/// The body of a request: five bytes, and the message as it is.
///
/// # Errors
/// [`Undelivered::Refused`] for a message of 4 GiB and more, which has no length there.
pub fn request(message: &[u8]) -> Result<Vec<u8>, Undelivered> {
    let length = u32::try_from(message.len()).map_err(|_| Undelivered::Refused)?;
    Ok([[0].as_slice(), &length.to_be_bytes(), message].concat())
}

/// The limit of a call, as `grpc-timeout` has it: at most eight digits.
pub fn timeout(limit: Duration) -> String {
    let millis = limit.as_millis();
    if millis < 100_000_000 { format!("{millis}m") } else { format!("{}S", limit.as_secs().min(99_999_999)) }
}

/// What came back of a call.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Answer<'a> {
    /// The HTTP status.
    pub http_status: u16,
    /// `grpc-status`, from the trailers; from the head where there are no trailers.
    pub grpc_status: Option<&'a str>,
    /// `grpc-status-details-bin`, from the same place.
    pub details: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// With that status and body.
    pub fn new(http_status: u16, body: &'a [u8]) -> Self {
        Self { http_status, grpc_status: None, details: None, body }
    }

    /// With what the trailers say.
    #[must_use]
    pub fn with_status(mut self, grpc_status: Option<&'a str>, details: Option<&'a str>) -> Self {
        (self.grpc_status, self.details) = (grpc_status, details);
        self
    }

    /// The message in it.
    ///
    /// # Errors
    /// Whether to try again, and when: by the status where there is one, else by that of HTTP as gRPC maps it.
    pub fn message(self) -> Result<&'a [u8], Undelivered> {
        match self.grpc_status.map(|status| status.trim().parse::<u16>()) {
            // An answer that cannot be read was one all the same: sending it again would make it two.
            Some(Ok(0)) => Ok(self.unframed().unwrap_or_default()),
            // Cancelled, deadline exceeded, aborted, out of range, unavailable, data loss.
            Some(Ok(1 | 4 | 10 | 11 | 14 | 15)) => Err(Undelivered::Later(self.retry_delay())),
            // Resource exhausted: only where it says when there will be some again.
            Some(Ok(8)) if self.retry_delay().is_some() => Err(Undelivered::Later(self.retry_delay())),
            Some(_) => Err(Undelivered::Refused),
            // Broken off before its end, or something that speaks no gRPC stands before it.
            None if matches!(self.http_status, 200 | 429 | 502 | 503 | 504) => Err(Undelivered::Later(None)),
            None => Err(Undelivered::Refused),
        }
    }

    fn unframed(self) -> Option<&'a [u8]> {
        let (head, rest) = self.body.split_first_chunk::<5>()?;
        let [0, length @ ..] = *head else { return None };
        rest.get(..usize::try_from(u32::from_be_bytes(length)).ok()?)
    }

    /// `google.rpc.RetryInfo` among the status's details.
    fn retry_delay(self) -> Option<Duration> {
        let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let bytes = GeneralPurpose::new(&STANDARD, config).decode(self.details?.trim()).ok()?;
        let details = Status::decode(bytes.as_slice()).ok()?.details;
        let info = details.into_iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
        let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay?;
        let (seconds, nanos) = (u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?);
        Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanos.into()))
    }
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_what_is_to_be_done() {
        use Undelivered::{Later, Refused};
        let framed = request(b"abc").expect("short");
        assert_eq!(framed, b"\0\0\0\0\x03abc");
        // As a server sends it: code 8, and among the details RetryInfo with 1.5 s.
        let soon = "CAgaNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIKCggIARCAyrXuAQ";
        let soon = Some(soon);
        let later = Err(Later(Some(Duration::from_millis(1500))));
        for (http, grpc, details, expected) in [
            (200, Some("0"), None, Ok(b"abc".as_slice())),
            (200, Some("14"), None, Err(Later(None))),
            (200, Some("14"), soon, later),
            (200, Some("8"), soon, later),
            (200, Some("8"), None, Err(Refused)),
            (200, Some("8"), Some("no base64!"), Err(Refused)),
            (200, Some("3"), soon, Err(Refused)),
            (200, Some("zero"), None, Err(Refused)),
            (200, None, None, Err(Later(None))),
            (503, None, None, Err(Later(None))),
            (404, None, None, Err(Refused)),
        ] {
            let answer = Answer::new(http, &framed).with_status(grpc, details);
            assert_eq!(answer.message(), expected, "{http} {grpc:?} {details:?}");
        }
        for odd in [b"".as_slice(), b"\0\0\0\0\x04abc", b"\x01\0\0\0\x03abc", b"\0\0\0"] {
            assert_eq!(Answer::new(200, odd).with_status(Some("0"), None).message(), Ok(b"".as_slice()));
        }
    }

    #[test]
    fn limits_have_eight_digits() {
        assert_eq!(timeout(Duration::from_secs(10)), "10000m");
        assert_eq!(timeout(Duration::from_secs(99_999)), "99999000m");
        assert_eq!(timeout(Duration::from_secs(100_000)), "100000S");
        assert_eq!(timeout(Duration::MAX), "99999999S");
    }
}
