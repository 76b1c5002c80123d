//! What a response's headers say to every format: content type, request id, when to try again.

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, HeaderName,
    header::{AsHeaderName, CONTENT_TYPE},
};
use loquat_core::{RateLimits, RetryHint};

/// Status and headers of a response.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: &'a HeaderMap,
}

/// Where providers put their name for a request, the most telling first. `cf-ray` comes last: it names the request at
/// the edge in front of a provider and is there only for want of anything better. They are names already: as texts they would be
/// read as such for each answer.
static REQUEST_ID_HEADERS: [HeaderName; 9] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-requestid"),
    HeaderName::from_static("apim-request-id"),
    HeaderName::from_static("x-ms-request-id"),
    HeaderName::from_static("x-dashscope-request-id"),
    HeaderName::from_static("x-amzn-requestid"),
    HeaderName::from_static("x-generation-id"),
    HeaderName::from_static("cf-ray"),
];

/// Longest request id that is passed on, in bytes; a real one is a UUID with a prefix.
const MAX_REQUEST_ID_BYTES: usize = 256;

impl<'a> Head<'a> {
    /// The media type without parameters, in whatever case it came (compare it with `eq_ignore_ascii_case`).
    pub fn content_type(&self) -> Option<&'a str> {
        let value = self.header(CONTENT_TYPE)?;
        value.split(';').next().map(str::trim).filter(|kind| !kind.is_empty())
    }

    /// The provider's name for the request.
    pub fn request_id(&self) -> Option<&'a str> {
        let mut named = REQUEST_ID_HEADERS.iter().filter_map(|name| self.header(name));
        named.next().filter(|id| id.len() <= MAX_REQUEST_ID_BYTES)
    }

    /// What the peer says about trying again: `retry-after-ms`, `Retry-After` in seconds or as a date (RFC 9110
    /// §10.2.3), `x-should-retry`. Not capped: the scheduler does that.
    pub fn retry_hint(&self, now: SystemTime) -> RetryHint {
        self.hint(Some(now))
    }

    /// [`retry_hint`](Self::retry_hint) without a clock: a date counts from the response's own `Date`, by which a
    /// wrong clock on either side cancels out.
    pub(crate) fn own_retry_hint(&self) -> RetryHint {
        self.hint(self.header("date").and_then(|date| httpdate::parse_http_date(date).ok()))
    }

    /// What the peer says of its limits, on success as on refusal. Empty where it says nothing.
    pub fn rate_limits(&self) -> RateLimits {
        crate::rate::limits(self.headers)
    }

    fn hint(&self, now: Option<SystemTime>) -> RetryHint {
        let mut hint = RetryHint::default();
        hint.after = self
            .header("retry-after-ms")
            .and_then(|text| seconds(text, 1000.0))
            .or_else(|| self.header("retry-after").and_then(|text| after(text, now)))
            // Who sends neither may still say when its limit is full again.
            .or_else(|| if self.status == 429 { self.rate_limits().wait(now?) } else { None });
        hint.should_retry = match self.header("x-should-retry") {
            Some(word) if word.eq_ignore_ascii_case("true") => Some(true),
            Some(word) if word.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        };
        hint
    }

    fn header(&self, name: impl AsHeaderName) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok().map(str::trim).filter(|value| !value.is_empty())
    }
}

fn after(text: &str, now: Option<SystemTime>) -> Option<Duration> {
    seconds(text, 1.0).or_else(|| {
        let date = httpdate::parse_http_date(text).ok()?;
        // A date that has passed means at once.
        Some(date.duration_since(now?).unwrap_or(Duration::ZERO))
    })
}

/// A count of seconds, fractions allowed as some providers send them. Nothing for what is no number, or negative.
fn seconds(text: &str, per_second: f64) -> Option<Duration> {
    let number: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(number / per_second).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), http::HeaderValue::from_static(value)))
            .collect()
    }

    fn check(headers: &[(&'static str, &'static str)], after_ms: Option<u64>, should_retry: Option<bool>) {
        let headers = head(headers);
        let head = Head { status: 429, headers: &headers };
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let hint = head.retry_hint(now);
        assert_eq!(hint.after, after_ms.map(Duration::from_millis), "{headers:?}");
        assert_eq!(hint.should_retry, should_retry, "{headers:?}");
    }

    #[test]
    fn retry_hints() {
        check(&[], None, None);
        check(&[("retry-after", "3")], Some(3000), None);
        check(&[("retry-after", "0.25")], Some(250), None);
        check(&[("retry-after-ms", "1500"), ("retry-after", "9")], Some(1500), None);
        check(&[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")], Some(10_000), None);
        check(&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")], Some(0), None);
        check(&[("retry-after", "-3"), ("x-should-retry", "false")], None, Some(false));
        check(&[("retry-after", "soon"), ("x-should-retry", "TRUE")], None, Some(true));
        check(&[("retry-after", "1e400")], None, None);
        check(&[("retry-after", "nan")], None, None);
    }

    #[test]
    fn a_date_needs_no_clock_where_the_response_has_one() {
        let headers = head(&[
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT"),
        ]);
        let hint = Head { status: 503, headers: &headers }.own_retry_hint();
        assert_eq!(hint.after, Some(Duration::from_secs(3)));
        let headers = head(&[("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT")]);
        let head = Head { status: 503, headers: &headers };
        assert_eq!(head.own_retry_hint().after, None, "for who has a clock to say");
        let received = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_750);
        assert_eq!(head.retry_hint(received).after, Some(Duration::from_secs(30)));
    }

    #[test]
    fn content_type_and_request_id() {
        let headers = head(&[("content-type", "text/event-stream; charset=utf-8"), ("request-id", "req_1")]);
        let head = Head { status: 200, headers: &headers };
        assert_eq!((head.content_type(), head.request_id()), (Some("text/event-stream"), Some("req_1")));
    }
}
