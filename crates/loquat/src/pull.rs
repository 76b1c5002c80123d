//! Fetching models for the embedded engine: the one it names itself, or any GGUF by its address.
//!
//! A download is written beside its place and moved there when it is whole and readable, so that an interrupted one
//! never passes for a model; the next run goes on where it stopped, if the server still has the same file
//! (RFC 9110 §13.1.5 `If-Range`, §14 range requests). One process fetches a file at a time.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{StatusCode, header};
use loquat_core::{Context, Error, ErrorKind, Result};
use loquat_transport::{Request, Response};

use crate::Client;

/// Told how far a download is.
pub type Progress = Arc<dyn Fn(PullProgress) + Send + Sync>;

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PullProgress {
    /// Bytes at hand, those of an earlier, interrupted run included.
    pub bytes: u64,
    /// Bytes in all, where known.
    pub total_bytes: Option<u64>,
}

impl PullProgress {
    /// That far.
    pub fn new(bytes: u64, total_bytes: Option<u64>) -> Self {
        Self { bytes, total_bytes }
    }
}

/// Redirects followed, as many as browsers' ancestors agreed on (RFC 2068 §10.3); model hubs use one or two.
const MAX_REDIRECTS: usize = 5;
/// Longest silence of the server before the download is given up (and can be resumed).
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// Largest file accepted: beyond the largest GGUF published, and small enough to stop a stream without end.
const MAX_FILE_BYTES: u64 = 1 << 40;

/// Fetches a model: `smollm2`, or the address of a GGUF file. Gives the place of the file; one that is there already
/// is not fetched again.
///
/// # Errors
/// [`ErrorKind::InvalidRequest`] for a name or address that is none, the transport's errors (the message says how to
/// go on), [`ErrorKind::Local`] for a disk that is full or read-only, [`ErrorKind::Protocol`] for a file that is no
/// readable GGUF.
///
/// # Cancel safety
/// Dropping the future keeps what has been fetched for the next run.
pub async fn pull(client: &Client, context: &Context, name: &str, progress: Progress) -> Result<PathBuf> {
    match name {
        "" | "engine" | "smollm2" => shipped(progress).await,
        url if url.starts_with("https://") || url.starts_with("http://") => {
            download(client, context, url, &loquat_engine::store::models_dir()?, progress).await
        }
        other => Err(Error::new(
            ErrorKind::InvalidRequest,
            format!("cannot pull {other:?}: say smollm2, or the address (https://…) of a .gguf file"),
        )),
    }
}

/// The model the engine has by default.
pub(crate) async fn shipped(progress: Progress) -> Result<PathBuf> {
    use loquat_engine::pull::Progress as Stage;
    blocking(move || {
        loquat_engine::pull::smollm2(&mut |stage| match stage {
            Stage::Begin { download_bytes, .. } => progress(PullProgress::new(0, Some(download_bytes))),
            Stage::Downloading { bytes, total_bytes } => {
                progress(PullProgress::new(bytes, Some(total_bytes)));
            }
            _ => {}
        })
    })
    .await
}

/// Runs on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|cause| {
        Err(Error::new(ErrorKind::Internal, "a blocking task was lost").with_source(cause))
    })
}

async fn download(
    client: &Client,
    context: &Context,
    url: &str,
    folder: &Path,
    progress: Progress,
) -> Result<PathBuf> {
    let place = folder.join(file_name(url)?);
    if place.is_file() {
        return Ok(place);
    }
    std::fs::create_dir_all(folder).map_err(|e| local("create", folder, e))?;
    let mut part = Part::open(&place)?;

    let response = ask(client, context, url, &part).await.inspect_err(|_| part.discard_if_empty())?;
    let total = part.accept(&response)?;
    let mut body = response.body;
    progress(PullProgress::new(part.bytes, total));
    loop {
        let chunk = tokio::time::timeout(IDLE_LIMIT, body.chunk()).await.unwrap_or_else(|_| {
            let limit = IDLE_LIMIT.as_secs();
            Some(Err(Error::new(ErrorKind::Timeout, format!("the server sent nothing for {limit} s"))))
        });
        match chunk {
            Some(Ok(chunk)) => {
                part.write(&chunk, total)?;
                progress(PullProgress::new(part.bytes, total));
            }
            Some(Err(cause)) => return Err(part.interrupted(total, Some(cause))),
            None if total.is_some_and(|total| part.bytes < total) => {
                return Err(part.interrupted(total, None));
            }
            None => break,
        }
    }
    blocking(move || part.finish()).await
}

/// Asks for the file, from where the part at hand ends, through redirects. No credential goes along.
async fn ask(client: &Client, context: &Context, url: &str, part: &Part) -> Result<Response> {
    let mut url = url.to_owned();
    for _ in 0..=MAX_REDIRECTS {
        let mut request = Request::get(&url)?;
        // The file as it is: its length is what progress is shown against, and a part of it is a part of the file.
        request.headers.insert(header::ACCEPT_ENCODING, http::HeaderValue::from_static("identity"));
        let secure = request.url.origin().is_secure();
        if !secure && !request.url.origin().is_loopback() {
            return Err(Error::new(
                ErrorKind::InvalidRequest,
                format!(
                    "refusing to fetch a model over plain HTTP from {}: use https://",
                    request.url.origin()
                ),
            ));
        }
        if let (Some(validator), 1..) = (&part.validator, part.bytes) {
            let range = format!("bytes={}-", part.bytes);
            request.headers.insert(header::RANGE, header_value(&range)?);
            request.headers.insert(header::IF_RANGE, header_value(validator)?);
        }
        let response = client.transport().send(context, request).await?;
        match response.status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => return Ok(response),
            status if status.is_redirection() => {
                let target = response.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
                let target = target.ok_or_else(|| refused(&url, status, "a redirect without a target"))?;
                url = joined(&url, target)?;
                if secure && !url.starts_with("https://") {
                    return Err(refused(&url, status, "a redirect from https to plain HTTP"));
                }
            }
            status => return Err(refused(&url, status, "the server does not give the file")),
        }
    }
    Err(Error::new(ErrorKind::Protocol, format!("more than {MAX_REDIRECTS} redirects for {url}")))
}

/// A file on its way: `name.part` beside its place, `name.part.etag` with the server's name for this version.
struct Part {
    place: PathBuf,
    path: PathBuf,
    file: File,
    bytes: u64,
    validator: Option<String>,
}

impl Part {
    fn open(place: &Path) -> Result<Self> {
        let path = beside(place, ".part");
        let file = File::options()
            .append(true)
            .create(true)
            .open(&path)
            .map_err(|cause| local("open", &path, cause))?;
        if file.try_lock().is_err() {
            return Err(Error::new(
                ErrorKind::Local,
                format!("another process is fetching {}: wait for it", place.display()),
            ));
        }
        let bytes = file.metadata().map_err(|cause| local("read", &path, cause))?.len();
        let validator = std::fs::read_to_string(beside(place, ".part.etag")).ok();
        Ok(Self { place: place.to_owned(), path, file, bytes, validator })
    }

    /// Reads what the server is about to send: the rest, or everything anew. Gives the file's size, where known.
    fn accept(&mut self, response: &Response) -> Result<Option<u64>> {
        let text =
            |name| response.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
        let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        let total = if response.status == StatusCode::PARTIAL_CONTENT {
            let (start, total) = text(header::CONTENT_RANGE).and_then(content_range).ok_or_else(|| {
                Error::new(ErrorKind::Protocol, "the server sent a part without saying which (Content-Range)")
            })?;
            if start != self.bytes {
                return Err(Error::new(
                    ErrorKind::Protocol,
                    format!(
                        "the server sent bytes from {start} on, asked for were those from {}",
                        self.bytes
                    ),
                ));
            }
            total
        } else {
            self.file.set_len(0).map_err(|cause| local("empty", &self.path, cause))?;
            self.bytes = 0;
            // A weak validator does not promise the same bytes (RFC 9110 §13.1.5).
            self.validator = text(header::ETAG).filter(|tag| !tag.starts_with("W/")).map(str::to_owned);
            let note = beside(&self.place, ".part.etag");
            match &self.validator {
                Some(tag) => std::fs::write(&note, tag).map_err(|cause| local("write", &note, cause))?,
                None => drop(std::fs::remove_file(&note)),
            }
            length
        };
        match total {
            Some(total) if total > MAX_FILE_BYTES => Err(too_large()),
            total => Ok(total),
        }
    }

    /// Leaves nothing behind where nothing came.
    fn discard_if_empty(&self) {
        if self.bytes == 0 {
            drop(std::fs::remove_file(&self.path));
        }
    }

    fn write(&mut self, chunk: &[u8], total: Option<u64>) -> Result<()> {
        self.bytes += chunk.len() as u64;
        if self.bytes > total.unwrap_or(MAX_FILE_BYTES) {
            return Err(too_large());
        }
        self.file.write_all(chunk).map_err(|cause| local("write", &self.path, cause))
    }

    fn interrupted(&self, total: Option<u64>, cause: Option<Error>) -> Error {
        let total = total.map(|total| format!(" of {total}")).unwrap_or_default();
        let advice = match self.validator {
            Some(_) => "run it again, and it goes on from there",
            None => "run it again; this server cannot resume",
        };
        let error = Error::new(
            cause.as_ref().map_or(ErrorKind::Truncated, Error::kind),
            format!("the download stopped after {}{total} bytes: {advice}", self.bytes),
        );
        match cause {
            Some(cause) => error.with_source(cause),
            None => error,
        }
    }

    /// The whole file to its place, if it can be read.
    fn finish(self) -> Result<PathBuf> {
        self.file.sync_all().map_err(|cause| local("write", &self.path, cause))?;
        if let Err(error) = loquat_engine::gguf::verify(&self.path) {
            // Going on from such a file would never end well.
            drop(std::fs::remove_file(&self.path));
            return Err(error);
        }
        std::fs::rename(&self.path, &self.place).map_err(|cause| local("move", &self.path, cause))?;
        drop(std::fs::remove_file(beside(&self.place, ".part.etag")));
        Ok(self.place)
    }
}

/// A redirect's target, which may be relative (RFC 9110 §10.2.2).
fn joined(base: &str, target: &str) -> Result<String> {
    url::Url::parse(base).and_then(|base| base.join(target)).map(String::from).map_err(|cause| {
        Error::new(ErrorKind::Protocol, "the server redirects to what is no address").with_source(cause)
    })
}

fn beside(place: &Path, suffix: &str) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// `bytes 100-999/1000` or `bytes 100-999/*` (RFC 9110 §14.4).
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

/// The last segment of an address's path, as a file's name that stays in its folder.
fn file_name(url: &str) -> Result<String> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.ends_with(".gguf") && !name.starts_with('.') && name.len() <= 200 && name.chars().all(plain) {
        Ok(name.to_owned())
    } else {
        Err(Error::new(
            ErrorKind::InvalidRequest,
            format!("the address must end in a plain file name like model.gguf, this one ends in {name:?}"),
        ))
    }
}

fn header_value(text: &str) -> Result<http::HeaderValue> {
    http::HeaderValue::try_from(text).map_err(|cause| {
        Error::new(ErrorKind::Protocol, "the server's ETag is no header value").with_source(cause)
    })
}

fn refused(url: &str, status: StatusCode, what: &str) -> Error {
    let kind = match status {
        StatusCode::NOT_FOUND => ErrorKind::NotFound,
        StatusCode::UNAUTHORIZED => ErrorKind::Authentication,
        StatusCode::FORBIDDEN => ErrorKind::Permission,
        status if status.is_server_error() => ErrorKind::Server,
        _ => ErrorKind::Protocol,
    };
    // What follows the question mark may be a signature.
    let shown = url.split('?').next().unwrap_or_default();
    Error::new(kind, format!("{shown}: {what}")).with_status(status.as_u16())
}

fn too_large() -> Error {
    Error::new(ErrorKind::TooLarge, "the server sends more than it announced, or more than a model can be")
}

fn local(verb: &str, path: &Path, cause: std::io::Error) -> Error {
    Error::new(ErrorKind::Local, format!("cannot {verb} {}", path.display())).with_source(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder() {
        assert_eq!(file_name("https://h/a/b/m-1.Q4_0.gguf?sig=x#y").ok().as_deref(), Some("m-1.Q4_0.gguf"));
        for bad in [
            "https://h/",
            "https://h/m.bin",
            "https://h/..%2fm.gguf",
            "https://h/.gguf",
            "https://h/a b.gguf",
        ] {
            assert!(file_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(content_range("lines 5-9/10"), None);
        assert_eq!(content_range("bytes -9/10"), None);
    }
}
