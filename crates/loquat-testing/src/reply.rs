//! One reply of a [`Server`](crate::Server): status, headers, and a body in pieces.

use bytes::Bytes;

use crate::Fault;

/// One reply: status, headers, a body in the pieces it is sent in.
#[derive(Debug, Clone)]
#[must_use]
pub struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) faults: Vec<Fault>,
}

impl Reply {
    /// A reply with that body, whole.
    pub fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            pieces: vec![body.into()],
            faults: Vec::new(),
        }
    }

    /// JSON under status 200.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self::new(200, "application/json", body)
    }

    /// JSON under that status.
    pub fn refusal(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, "application/json", body)
    }

    /// An event stream, one piece for each event's data (WHATWG HTML §9.2).
    pub fn events<D: AsRef<str>>(data: impl IntoIterator<Item = D>) -> Self {
        let framed = data.into_iter().map(|data| {
            let lines = data.as_ref().split('\n').map(|line| format!("data: {line}\n"));
            Bytes::from(lines.collect::<String>() + "\n")
        });
        Self { pieces: framed.collect(), ..Self::new(200, "text/event-stream", "") }
    }

    /// Lines of JSON, one piece each.
    pub fn lines<D: AsRef<str>>(data: impl IntoIterator<Item = D>) -> Self {
        let pieces = data.into_iter().map(|line| Bytes::from(format!("{}\n", line.as_ref()))).collect();
        Self { pieces, ..Self::new(200, "application/x-ndjson", "") }
    }

    /// With that header.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With that fault. Several may be said; they come in the order of their places.
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }
}
