//! [`Collector`]: the way to an OpenTelemetry collector for which a plain socket is not enough, TLS, gRPC, a proxy: over this toolkit's
//! own transport.
//!
//! It runs on the exporter's thread, with a runtime of that thread alone, which turns only during a delivery: whatever the
//! collector does, no task of the program's own runtime waits for it. What is encoded, and what an answer means, is
//! `loquat-observe`'s business.

use std::{fmt, time::Duration};

use loquat_core::{Context, Error, ErrorKind, Result};
use loquat_observe::export::{Deliver, ExportConfig, Signal, Undelivered, grpc};
use loquat_transport::{
    Body, Bytes, Config, HeaderMap, HeaderName, HeaderValue, Http2Mode, Request, Transport, Url,
};
use tokio::runtime::{Builder, Runtime};

/// A collector over gRPC or HTTP, with TLS or without. For [`Exporter::otlp`](loquat_observe::export::Exporter::otlp):
///
/// ```
/// use loquat::{
///     Collector, Secret,
///     observe::{Observer, export::{ExportConfig, Exporter}},
/// };
///
/// let config = ExportConfig::new("my-service").with_header("api-key", Secret::new("…"));
/// let collector = Collector::grpc("https://collector.example:4317", &config)?;
/// let exporter = Exporter::otlp(collector, config)?;
/// let observer = Observer::builder().export(exporter).build();
/// # Ok::<_, loquat::Error>(())
/// ```
///
/// A delivery takes at most [`ExportConfig::timeout`], connecting included. The connection is kept for the next one and made anew
/// where it is gone.
pub struct Collector {
    urls: [Url; 2],
    headers: HeaderMap,
    is_grpc: bool,
    timeout: Duration,
    transport: Transport,
    /// Made by the first delivery, on the thread that it is for.
    runtime: Option<Runtime>,
}

impl Collector {
    /// OTLP over gRPC: `http://localhost:4317`, `https://collector.example`. Without a port, `http` means 4317.
    ///
    /// # Errors
    /// [`ErrorKind::NotConfigured`] for an address or a header field that is none.
    pub fn grpc(endpoint: &str, config: &ExportConfig) -> Result<Self> {
        Self::grpc_over(endpoint, config, Config::new())
    }

    /// The same over a transport set like that: with certificate authorities of one's own, a proxy, a Unix socket.
    ///
    /// # Errors
    /// As there, and those of [`Transport::new`].
    pub fn grpc_over(endpoint: &str, config: &ExportConfig, transport: Config) -> Result<Self> {
        let transport = Transport::new(transport.with_http2(Http2Mode::PriorKnowledge))?;
        let mut collector = Self::new(endpoint, 4317, config, transport, Signal::grpc_path)?;
        collector.is_grpc = true;
        collector.headers.insert("content-type", HeaderValue::from_static(grpc::CONTENT_TYPE));
        collector.headers.insert("te", HeaderValue::from_static("trailers"));
        collector.headers.insert("grpc-timeout", value(&grpc::timeout(config.timeout))?);
        Ok(collector)
    }

    /// OTLP over HTTP, in protobuf: `https://collector.example/otlp`, to which `/v1/traces` and `/v1/metrics` are added.
    /// Without a port, `http` means 4318.
    ///
    /// # Errors
    /// As [`grpc`](Self::grpc).
    pub fn http(endpoint: &str, config: &ExportConfig) -> Result<Self> {
        Self::http_over(endpoint, config, Config::new())
    }

    /// The same over a transport set like that.
    ///
    /// # Errors
    /// As [`grpc_over`](Self::grpc_over).
    pub fn http_over(endpoint: &str, config: &ExportConfig, transport: Config) -> Result<Self> {
        let mut collector = Self::new(endpoint, 4318, config, Transport::new(transport)?, Signal::path)?;
        collector.headers.insert("content-type", HeaderValue::from_static("application/x-protobuf"));
        Ok(collector)
    }

    fn new(
        endpoint: &str,
        port: u16,
        config: &ExportConfig,
        transport: Transport,
        path: fn(Signal) -> &'static str,
    ) -> Result<Self> {
        let endpoint = with_port(endpoint, port);
        let url = |signal| {
            let url = Url::parse(&format!("{}{}", endpoint.trim_end_matches('/'), path(signal)))?;
            match url.query() {
                Some(_) => Err(wrong("a collector's address has no query")),
                None => Ok(url),
            }
        };
        let mut headers = HeaderMap::new();
        for (name, secret) in &config.headers {
            let name =
                HeaderName::try_from(name.as_str()).map_err(|_| wrong("a header field that is none"))?;
            let mut value = value(secret.expose())?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        Ok(Self {
            urls: [url(Signal::Traces)?, url(Signal::Metrics)?],
            headers,
            is_grpc: false,
            timeout: config.timeout,
            transport,
            runtime: None,
        })
    }

    fn request(&self, signal: Signal, body: Bytes) -> Request {
        let [traces, metrics] = &self.urls;
        let url = if signal == Signal::Metrics { metrics } else { traces };
        // Spans bear ids of their own: a collector may get them twice, and a connection that was closed while it rested is
        // replaced without a word.
        Request::new(loquat_transport::Method::POST, url.clone())
            .with_headers(self.headers.clone())
            .with_body(body)
            .with_first_byte(self.timeout)
            .with_replayable(true)
    }
}

impl Deliver for Collector {
    fn deliver(&mut self, signal: Signal, message: &[u8]) -> Result<Vec<u8>, Undelivered> {
        let body = if self.is_grpc { grpc::request(message)? } else { message.to_vec() };
        let request = self.request(signal, body.into());
        let runtime = match &mut self.runtime {
            Some(runtime) => runtime,
            none => {
                let made = Builder::new_current_thread().enable_all().build();
                none.insert(made.map_err(|_| Undelivered::Later(None))?)
            }
        };
        let exchange = exchange(&self.transport, request, self.timeout, self.is_grpc);
        let result = runtime.block_on(async { tokio::time::timeout(self.timeout, exchange).await });
        result.unwrap_or(Err(Undelivered::Later(None)))
    }
}

async fn exchange(
    transport: &Transport,
    request: Request,
    timeout: Duration,
    is_grpc: bool,
) -> Result<Vec<u8>, Undelivered> {
    let later = |_| Undelivered::Later(None);
    let context = Context::new().with_timeout(timeout);
    let mut response = transport.send(&context, request).await.map_err(later)?;
    let body = whole(&mut response.body).await?;
    let status = response.status.as_u16();
    let text = |fields: &HeaderMap, name: &str| {
        fields.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    if is_grpc {
        // An answer without a message has its status in the head.
        let trailers = response.body.trailers().filter(|trailers| trailers.contains_key("grpc-status"));
        let fields = trailers.unwrap_or(&response.headers);
        let (grpc_status, details) = (text(fields, "grpc-status"), text(fields, "grpc-status-details-bin"));
        let answer = grpc::Answer::new(status, &body);
        return answer.with_status(grpc_status.as_deref(), details.as_deref()).message().map(<[u8]>::to_vec);
    }
    match status {
        200..=299 => Ok(body),
        429 | 502 | 503 | 504 => {
            let after = text(&response.headers, "retry-after").and_then(|seconds| seconds.parse().ok());
            Err(Undelivered::Later(after.map(Duration::from_secs)))
        }
        _ => Err(Undelivered::Refused),
    }
}

/// The body to its end, so that its trailers are there. One that is too long comes from no collector.
async fn whole(body: &mut Body) -> Result<Vec<u8>, Undelivered> {
    let mut whole = Vec::new();
    while let Some(chunk) = body.chunk().await {
        let chunk = chunk.map_err(|_| Undelivered::Later(None))?;
        if whole.len() + chunk.len() > grpc::MAX_ANSWER_BYTES {
            return Err(Undelivered::Refused);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole)
}

fn wrong(what: &'static str) -> Error {
    Error::new(ErrorKind::NotConfigured, what)
}

fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|_| wrong("a header field's value that is none"))
}

/// The address with that port, where it is `http` and names none.
fn with_port(endpoint: &str, port: u16) -> String {
    let Some(rest) = endpoint.strip_prefix("http://") else { return endpoint.into() };
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    if has_port { endpoint.into() } else { format!("http://{authority}:{port}{path}") }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [traces, _] = &self.urls;
        f.debug_struct("Collector")
            .field("origin", &traces.origin().host_field())
            .field("is_grpc", &self.is_grpc)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_fields() {
        let url = |endpoint: &str, is_grpc: bool| {
            let config = ExportConfig::new("t");
            let make = if is_grpc { Collector::grpc } else { Collector::http };
            make(endpoint, &config).ok().map(|collector| {
                let [_, metrics] = collector.urls;
                format!("{} {}", metrics.origin().port(), metrics.path())
            })
        };
        let metrics = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
        assert_eq!(url("http://localhost", true), Some(format!("4317 {metrics}")));
        assert_eq!(url("https://collector.example/", true), Some(format!("443 {metrics}")));
        assert_eq!(url("http://[::1]/otlp/", false).as_deref(), Some("4318 /otlp/v1/metrics"));
        assert_eq!(url("http://[::1]:80", false).as_deref(), Some("80 /v1/metrics"));
        for bad in ["localhost:4317", "http://h/?key=1", "ftp://h", ""] {
            assert_eq!((url(bad, true), url(bad, false)), (None, None), "{bad}");
        }
        for (name, text) in [("a b", "x"), ("a", "x\r\ny")] {
            let config = ExportConfig::new("t").with_header(name, text);
            assert!(Collector::grpc("http://h", &config).is_err());
        }
        let config = ExportConfig::new("t").with_header("api-key", "planted");
        let shown = format!("{:?}", Collector::grpc("http://h", &config).expect("an address"));
        assert!(!shown.contains("planted"), "{shown}");
    }
}
