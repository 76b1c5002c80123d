//! One question over HTTP, bounded in time and size, with the policy's word on redirects.

use std::{sync::Arc, time::Duration};

use loquat_core::{Context, Error, ErrorKind, Result, Secret};
use loquat_transport::{
    Bytes, HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Transport, Url,
};

use crate::{Policy, policy::unusable};

/// Whom a source asks, and how.
#[derive(Debug, Clone)]
pub(crate) struct Fetcher {
    transport: Transport,
    pub(crate) policy: Arc<Policy>,
    /// Most time for one answer, body included.
    pub(crate) timeout: Duration,
}

/// An answer whose body is in.
pub(crate) struct Fetched {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What authenticates at a source.
#[derive(Debug, Clone, Default)]
pub(crate) enum Token {
    /// Nothing.
    #[default]
    None,
    /// This.
    Bearer(Secret),
    /// This, without a word before it, as etcd wants it.
    Bare(Secret),
    /// What that file holds at the time; it is exchanged while the program runs.
    File(std::path::PathBuf),
}

/// The longest token in a file. Bytes.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;

impl Fetcher {
    pub(crate) fn new(transport: Transport, policy: Policy) -> Self {
        Self { transport, policy: Arc::new(policy), timeout: Duration::from_secs(5) }
    }

    /// Asks, and reads the whole answer.
    pub(crate) async fn fetch(&self, context: &Context, request: Request) -> Result<Fetched> {
        let context = self.limited(context);
        let remaining = context.remaining().unwrap_or(self.timeout);
        let whole = async {
            let Response { status, headers, body, .. } = self.send(&context, request).await?;
            Ok(Fetched { status, headers, body: body.collect(self.policy.max_body_bytes).await? })
        };
        tokio::time::timeout(remaining, whole).await.unwrap_or_else(|_| Err(too_late()))
    }

    /// Asks, and leaves the body to be read as it comes.
    pub(crate) async fn open(&self, context: &Context, request: Request) -> Result<Response> {
        self.send(&self.limited(context), request).await
    }

    fn limited(&self, context: &Context) -> Context {
        context.child().with_timeout(self.timeout)
    }

    async fn send(&self, context: &Context, mut request: Request) -> Result<Response> {
        let mut left = self.policy.max_redirects;
        loop {
            let response = self.transport.send(context, request.clone()).await?;
            if !response.status.is_redirection() || response.status == StatusCode::NOT_MODIFIED {
                return Ok(response);
            }
            if left == 0 {
                return Err(unusable("it redirects, and the policy follows no further"));
            }
            left -= 1;
            request.url = target(&request.url, &response.headers)?;
        }
    }
}

/// Where a redirect leads, if that is the same origin.
fn target(from: &Url, headers: &HeaderMap) -> Result<Url> {
    let location = headers.get("location").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let origin = from.origin();
    let absolute = match location.strip_prefix('/') {
        Some(rest) if !rest.starts_with('/') => {
            format!("{}://{}/{rest}", origin.scheme(), origin.host_field())
        }
        _ => location.to_owned(),
    };
    let url = Url::parse(&absolute).map_err(|_| unusable("it redirects to no address"))?;
    if url.origin() != origin {
        return Err(unusable("it redirects to another origin, which is not followed"));
    }
    Ok(url)
}

/// A header field with what authenticates, where there is something; never over plain HTTP off the loopback.
pub(crate) async fn authorize(request: &mut Request, token: &Token) -> Result<()> {
    let (scheme, secret) = match token {
        Token::None => return Ok(()),
        Token::Bearer(secret) => ("Bearer ", secret.clone()),
        Token::Bare(secret) => ("", secret.clone()),
        Token::File(path) => {
            let text = read_file(path.clone(), MAX_TOKEN_BYTES).await?;
            ("Bearer ", Secret::new(String::from_utf8_lossy(&text).trim()))
        }
    };
    only_in_private(&request.url)?;
    let mut value = HeaderValue::from_str(&format!("{scheme}{}", secret.expose())).map_err(|_| {
        Error::new(ErrorKind::NotConfigured, "the token has characters that no header may hold")
    })?;
    value.set_sensitive(true);
    request.headers.insert(HeaderName::from_static("authorization"), value);
    Ok(())
}

/// What authenticates goes over `https` or stays on this machine.
pub(crate) fn only_in_private(url: &Url) -> Result<()> {
    let origin = url.origin();
    if !origin.is_secure() && !origin.is_loopback() {
        return Err(Error::new(ErrorKind::NotConfigured, "what authenticates does not go over plain http"));
    }
    Ok(())
}

/// A file of at most that size, read off the runtime's threads.
pub(crate) async fn read_file(path: std::path::PathBuf, max_bytes: u64) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let failed = |path: &std::path::Path| format!("cannot read {}", path.display());
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        let read =
            std::fs::File::open(&path).and_then(|file| file.take(max_bytes + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) if bytes.len() as u64 > max_bytes => {
                Err(unusable(format!("{} has more than {max_bytes} bytes", path.display())))
            }
            Ok(_) => Ok(bytes),
            Err(cause) => Err(Error::new(ErrorKind::Local, failed(&path)).with_source(cause)),
        }
    });
    read.await.unwrap_or_else(|cause| {
        Err(Error::new(ErrorKind::Internal, "a read was given up").with_source(cause))
    })
}

/// An answer other than the expected one.
pub(crate) fn unexpected(status: StatusCode) -> Error {
    unusable(format!("it answers with status {}", status.as_u16())).with_status(status.as_u16())
}

fn too_late() -> Error {
    Error::new(ErrorKind::Timeout, "the source of endpoints did not answer in time")
}
