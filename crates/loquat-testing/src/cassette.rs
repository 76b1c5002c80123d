//! Recorded exchanges as a file: JSON, versioned, readable in a review.

use std::{fs, io, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Reply;

/// The one version there is.
const VERSION: u64 = 1;

/// Exchanges, in the order they were made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cassette {
    /// The exchanges.
    pub exchanges: Vec<Exchange>,
}

/// A request and its reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// What was asked.
    pub request: RecordedRequest,
    /// What came.
    pub reply: RecordedReply,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedRequest {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body: JSON where it is some, else text.
    pub body: Value,
}

/// What came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedReply {
    /// The status.
    pub status: u16,
    /// The headers that say something of the content.
    pub headers: Vec<(String, String)>,
    /// The body in the pieces it came in: text, or `base64:` and bytes that are none.
    pub pieces: Vec<String>,
    /// Whether the body came to its end.
    pub is_whole: bool,
}

impl Cassette {
    /// Reads one.
    ///
    /// # Errors
    /// No such file, no JSON, or a version that this build does not know.
    pub fn load(path: impl AsRef<Path>) -> io::Result<Self> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let text = fs::read_to_string(path)?;
        let mut value: Value =
            serde_json::from_str(&text).map_err(|error| invalid(format!("no JSON: {error}")))?;
        match value.get("loquat_cassette").and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(other) => {
                return Err(invalid(format!("a cassette of version {other}; this build reads {VERSION}")));
            }
            None => return Err(invalid("no cassette: the member `loquat_cassette` is missing".to_owned())),
        }
        let exchanges = value.get_mut("exchanges").map(Value::take).unwrap_or_default();
        let exchanges = serde_json::from_value(exchanges).map_err(|error| invalid(error.to_string()))?;
        Ok(Self { exchanges })
    }

    /// Writes it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let document = serde_json::json!({"loquat_cassette": VERSION, "exchanges": self.exchanges});
        fs::write(path, serde_json::to_string_pretty(&document)? + "\n")
    }
}

impl RecordedReply {
    /// The piece as it is kept.
    pub(crate) fn piece(bytes: &[u8]) -> String {
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.starts_with("base64:") => text.to_owned(),
            _ => format!("base64:{}", STANDARD.encode(bytes)),
        }
    }

    /// The same as a reply to send.
    pub(crate) fn to_reply(&self) -> Reply {
        let pieces = self.pieces.iter().map(|piece| {
            let bytes = piece.strip_prefix("base64:").and_then(|text| STANDARD.decode(text).ok());
            bytes.map_or_else(|| Bytes::copy_from_slice(piece.as_bytes()), Bytes::from)
        });
        let pieces: Vec<Bytes> = pieces.collect();
        let whole = pieces.iter().map(Bytes::len).sum();
        let faults = if self.is_whole { Vec::new() } else { vec![crate::Fault::Cut { after: whole }] };
        Reply { status: self.status, headers: self.headers.clone(), pieces, faults }
    }
}

/// A body as a recorded value.
pub(crate) fn body(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(RecordedReply::piece(bytes)))
}
