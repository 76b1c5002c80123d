//! A request in hyper's types, and what its framing and its method say of bodies.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderMap,
    header::{self, HeaderName, HeaderValue},
};
use hyper::body::{Frame, SizeHint};

use crate::{
    Request,
    connect::Forward,
    upload::{Outgoing, SourceFailed},
};

/// The request as hyper takes it, with `Host`: in origin form, or absolute for a proxy that is to forward it.
pub(crate) fn encode(
    request: &Request,
    upload: Option<&Outgoing>,
    forward: Option<&Forward>,
) -> http::Request<Content> {
    let content = match upload {
        Some(upload) => Content::Upload(upload.clone()),
        None => Content::Whole(request.body.clone()),
    };
    let has_content = match upload {
        Some(upload) => upload.length() != Some(0),
        None => !request.body.is_empty(),
    };
    let mut encoded = http::Request::new(content);
    *encoded.method_mut() = request.method.clone();
    *encoded.uri_mut() =
        if forward.is_some() { request.url.to_uri() } else { request.url.path_and_query().clone().into() };
    // A copy hashes no name again, as putting one together would.
    let mut headers = request.headers.clone();
    // Hyper frames the message; a caller's own length or coding could only contradict it.
    // And a proxy's credentials are the connection's, not the origin's to see.
    const OURS: [HeaderName; 3] =
        [header::TRANSFER_ENCODING, header::CONTENT_LENGTH, header::PROXY_AUTHORIZATION];
    if headers.keys().any(|name| OURS.contains(name)) {
        OURS.iter().for_each(|name| drop(headers.remove(name)));
    }
    if !has_content && !has_no_body_by_nature(&request.method) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if let Some(authorization) = forward.and_then(|forward| forward.authorization.clone()) {
        headers.insert(header::PROXY_AUTHORIZATION, authorization);
    }
    headers.entry(header::HOST).or_insert_with(|| request.url.origin().host_header().clone());
    *encoded.headers_mut() = headers;
    encoded
}

/// Whether the head's fields are within that bound, as they were written: name, colon, space, value, line end.
pub(crate) fn is_within(headers: &HeaderMap, max_bytes: usize) -> bool {
    let bytes = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    bytes.sum::<usize>() <= max_bytes
}

/// Whether a request of that method is expected to come without a body (RFC 9110 §8.6).
pub(crate) fn has_no_body_by_nature(method: &http::Method) -> bool {
    matches!(method.as_str(), "GET" | "HEAD" | "DELETE" | "OPTIONS" | "TRACE" | "CONNECT")
}

/// A request's body: one piece of memory, or pulled from somewhere.
#[derive(Debug)]
pub(crate) enum Content {
    Whole(Bytes),
    Upload(Outgoing),
}

impl hyper::body::Body for Content {
    type Data = Bytes;
    type Error = SourceFailed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Upload(upload) => upload.poll_next(cx).map(|next| next.map(|next| next.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Upload(upload) => upload.has_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Upload(upload) => upload.length().map_or_else(SizeHint::new, SizeHint::with_exact),
        }
    }
}
