//! Files kept by a provider: sent once, named in requests and batches afterwards, listed, fetched, deleted.
//!
//! <https://platform.openai.com/docs/api-reference/files>, <https://docs.anthropic.com/en/api/files-create>. A file is sent as
//! `multipart/form-data` (RFC 7578); its boundary is made from what is sent, so that the same file gives the same bytes.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use loquat_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use super::{Call, Dialect, dialect, read, unsupported};
use crate::{Format, encode::escaped};

/// A file to be sent. `Debug` shows its name and size.
#[derive(Clone)]
#[non_exhaustive]
pub struct FileUpload {
    /// What it is called at the provider.
    pub name: String,
    /// Its media type, such as `application/pdf`.
    pub media_type: String,
    /// What for, in OpenAI's words (`batch`, `user_data`, `fine-tune`); Anthropic has no purposes.
    pub purpose: String,
    /// The file.
    pub content: Bytes,
}

impl FileUpload {
    /// That file, as data of the user's for requests.
    pub fn new(name: impl Into<String>, media_type: impl Into<String>, content: impl Into<Bytes>) -> Self {
        let (name, media_type) = (name.into(), media_type.into());
        Self { name, media_type, purpose: "user_data".to_owned(), content: content.into() }
    }

    /// For that purpose.
    #[must_use]
    pub fn with_purpose(mut self, purpose: impl Into<String>) -> Self {
        self.purpose = purpose.into();
        self
    }
}

impl std::fmt::Debug for FileUpload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileUpload")
            .field("name", &self.name)
            .field("media_type", &self.media_type)
            .field("purpose", &self.purpose)
            .field("bytes", &self.content.len())
            .finish()
    }
}

/// What a provider says of a file it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoredFile {
    /// By which requests name it.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Its length in bytes; 0 where the provider does not say.
    pub size_bytes: u64,
    /// What for, where the provider has purposes.
    pub purpose: String,
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FilePage {
    /// In the provider's order, the latest first.
    pub files: Vec<StoredFile>,
    /// What [`encode_file_list`] takes for the next page; `None` after the last one.
    pub after: Option<String>,
}

/// Sends a file.
///
/// # Errors
/// `Unsupported` where the format keeps no files; `InvalidRequest` for a media type that no header may carry.
pub fn encode_file_upload(format: &dyn Format, file: &FileUpload) -> Result<Call> {
    let mut call = files(format, Method::POST, "")?;
    if HeaderValue::try_from(&file.media_type).is_err() || file.media_type.contains(['"', '\r', '\n']) {
        return Err(Error::new(ErrorKind::InvalidRequest, "the file's media type has forbidden characters"));
    }
    let purpose = (dialect(format) != Dialect::Anthropic).then_some(file.purpose.as_str());
    let (boundary, body) = form(file, purpose);
    let content_type = HeaderValue::try_from(format!("multipart/form-data; boundary={boundary}"))
        .map_err(|error| Error::new(ErrorKind::Internal, "a boundary is no header").with_source(error))?;
    call.headers.insert(header::CONTENT_TYPE, content_type);
    call.body = body.into();
    Ok(call)
}

/// Asks for the files there are, from after the one of that id on.
///
/// # Errors
/// `Unsupported` where the format keeps no files.
pub fn encode_file_list(format: &dyn Format, after: Option<&str>) -> Result<Call> {
    let parameter = if dialect(format) == Dialect::Anthropic { "after_id" } else { "after" };
    let after = after.map(|after| format!("?{parameter}={}", escaped(after)));
    files(format, Method::GET, &after.unwrap_or_default())
}

/// Asks what a file is.
///
/// # Errors
/// `Unsupported` where the format keeps no files.
pub fn encode_file_info(format: &dyn Format, id: &str) -> Result<Call> {
    files(format, Method::GET, &format!("/{}", escaped(id)))
}

/// Asks for a file's content. Anthropic gives out only what its own tools made.
///
/// # Errors
/// `Unsupported` where the format keeps no files.
pub fn encode_file_content(format: &dyn Format, id: &str) -> Result<Call> {
    files(format, Method::GET, &format!("/{}/content", escaped(id)))
}

/// Deletes a file.
///
/// # Errors
/// `Unsupported` where the format keeps no files.
pub fn encode_file_delete(format: &dyn Format, id: &str) -> Result<Call> {
    files(format, Method::DELETE, &format!("/{}", escaped(id)))
}

/// What is said of one file, on sending it and on asking.
///
/// # Errors
/// `Protocol` if the response is none.
pub fn decode_file(body: &[u8]) -> Result<StoredFile> {
    read::<Found>(body).map(StoredFile::from)
}

/// A page of a listing.
///
/// # Errors
/// `Protocol` if the response is none.
pub fn decode_file_list(body: &[u8]) -> Result<FilePage> {
    let Listed { data, has_more, last_id } = read(body)?;
    let files: Vec<StoredFile> = data.into_iter().map(StoredFile::from).collect();
    let last = last_id.or_else(|| files.last().map(|file| file.id.clone()));
    // A page without a file cannot be what another follows.
    let after = last.filter(|_| has_more.unwrap_or(false) && !files.is_empty());
    Ok(FilePage { files, after })
}

fn files(format: &dyn Format, method: Method, rest: &str) -> Result<Call> {
    const BETA: HeaderName = HeaderName::from_static("anthropic-beta");
    let mut headers = HeaderMap::new();
    match dialect(format) {
        Dialect::OpenAi | Dialect::Responses => {}
        Dialect::Anthropic => {
            headers.insert(BETA, HeaderValue::from_static("files-api-2025-04-14"));
        }
        _ => return Err(unsupported(format, "files")),
    }
    Ok(Call { method, path: format!("files{rest}"), headers, body: Bytes::new() })
}

/// The boundary and the form.
fn form(file: &FileUpload, purpose: Option<&str>) -> (String, Vec<u8>) {
    // WHATWG HTML §4.10.21.8: what would end the quoted name is escaped.
    let quoted = |text: &str| text.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
    let head = format!(
        "Content-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\nContent-Type: {}\r\n\r\n",
        quoted(&file.name),
        file.media_type,
    );
    let purpose = purpose.map(|purpose| {
        format!(
            "Content-Disposition: form-data; name=\"purpose\"\r\n\r\n{}",
            purpose.replace(['\r', '\n'], " ")
        )
    });
    let occurs = |boundary: &str| {
        let around = head.contains(boundary) || purpose.as_ref().is_some_and(|part| part.contains(boundary));
        around || file.content.windows(boundary.len()).any(|window| window == boundary.as_bytes())
    };
    let mut boundary = "loquat-form".to_owned();
    let mut number = 0_u64;
    while occurs(&boundary) {
        boundary = format!("loquat-form-{number}");
        number += 1;
    }
    let mut body = Vec::with_capacity(file.content.len() + 512);
    for part in purpose.iter().map(|part| part.as_bytes()) {
        body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        body.extend_from_slice(part);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}\r\n{head}").as_bytes());
    body.extend_from_slice(&file.content);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (boundary, body)
}

#[derive(Deserialize)]
struct Listed {
    data: Vec<Found>,
    has_more: Option<bool>,
    last_id: Option<String>,
}

#[derive(Deserialize)]
struct Found {
    id: String,
    filename: Option<String>,
    bytes: Option<u64>,
    size_bytes: Option<u64>,
    purpose: Option<String>,
}

impl From<Found> for StoredFile {
    fn from(found: Found) -> Self {
        Self {
            id: found.id,
            name: found.filename.unwrap_or_default(),
            size_bytes: found.bytes.or(found.size_bytes).unwrap_or(0),
            purpose: found.purpose.unwrap_or_default(),
        }
    }
}
