//! A request as it is written: its line, its fields, and how long what follows is (RFC 9112 §3, §6).

use std::io::Write as _;

use http::{
    Method,
    header::{self, HeaderValue},
};

use super::answer::{Asked, AskedMethod};
use crate::{Request, connect::Forward, upload::Outgoing};

/// How a request's body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    None,
    Is(u64),
    Chunked,
}

impl Length {
    pub(super) fn of(request: &Request, upload: Option<&Outgoing>) -> Self {
        let bytes = match upload {
            None => request.body.len() as u64,
            Some(upload) => match upload.length() {
                Some(bytes) => bytes,
                None => return Self::Chunked,
            },
        };
        if bytes == 0 && has_no_body_by_nature(&request.method) { Self::None } else { Self::Is(bytes) }
    }
}

/// Whether a request of that method is expected to come without a body (RFC 9110 §8.6).
pub(crate) fn has_no_body_by_nature(method: &Method) -> bool {
    matches!(method.as_str(), "GET" | "HEAD" | "DELETE" | "OPTIONS" | "TRACE" | "CONNECT")
}

/// Writes the head, with `Host`: in origin form, or absolute for a proxy that is to forward it. What there is to know of it for its
/// answer.
pub(super) fn write_head(
    into: &mut Vec<u8>,
    request: &Request,
    length: Length,
    forward: Option<&Forward>,
) -> Asked {
    let url = &request.url;
    let method = request.method.as_str();
    into.extend_from_slice(method.as_bytes());
    into.push(b' ');
    match forward {
        None => into.extend_from_slice(url.path_and_query().as_str().as_bytes()),
        // Into memory nothing fails to be written.
        Some(_) => _ = write!(into, "{}", url.to_uri()),
    }
    into.extend_from_slice(b" HTTP/1.1\r\n");
    let mut asked = Asked { method: AskedMethod::from(&request.method), ..Asked::default() };
    let mut has_host = false;
    for (name, value) in &request.headers {
        // The transport frames the message; a caller's own length or coding could only contradict it. And a proxy's credentials are
        // the connection's, not the origin's to see.
        if *name == header::CONTENT_LENGTH
            || *name == header::TRANSFER_ENCODING
            || *name == header::PROXY_AUTHORIZATION
        {
            continue;
        }
        has_host |= *name == header::HOST;
        asked.note(name, value);
        field(into, name.as_str(), value);
    }
    if let Some(authorization) = forward.and_then(|forward| forward.authorization.as_ref()) {
        field(into, "proxy-authorization", authorization);
    }
    if !has_host {
        field(into, "host", url.origin().host_header());
    }
    match length {
        Length::None => {}
        Length::Is(bytes) => {
            into.extend_from_slice(b"content-length: ");
            into.extend_from_slice(itoa::Buffer::new().format(bytes).as_bytes());
            into.extend_from_slice(b"\r\n");
        }
        Length::Chunked => into.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    into.extend_from_slice(b"\r\n");
    asked
}

fn field(into: &mut Vec<u8>, name: &str, value: &HeaderValue) {
    into.extend_from_slice(name.as_bytes());
    into.extend_from_slice(b": ");
    into.extend_from_slice(value.as_bytes());
    into.extend_from_slice(b"\r\n");
}
