//! [`Collecting`]: where spans and metrics go, as OpenTelemetry's standard variables say it.
//!
//! It reads no environment itself: variables come in by a function, as they do for a proxy. What is not read is said in the
//! table, since an operator who sets a variable expects it to work; a value that is not understood is an error, never a default.
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>, "Endpoint URLs for OTLP/HTTP", "Specifying headers"

use std::time::Duration;

use loquat_core::{Error, ErrorKind, Result, Secret};
use loquat_observe::export::{ExportConfig, Exporter};
use loquat_transport::Config;
use percent_encoding::percent_decode_str;

use crate::Collector;

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CollectorProtocol {
    /// OTLP over HTTP, in protobuf: `http/protobuf`.
    #[default]
    Http,
    /// OTLP over gRPC: `grpc`.
    Grpc,
}

/// A collector and the way to it.
///
/// | variable | what it says |
/// |---|---|
/// | `OTEL_EXPORTER_OTLP_ENDPOINT` | the collector's address; without it, and without one given, nothing is exported |
/// | `OTEL_EXPORTER_OTLP_PROTOCOL` | `http/protobuf` (default) or `grpc`; `http/json` is refused |
/// | `OTEL_EXPORTER_OTLP_HEADERS` | fields of each request: `name=value,name=value`, percent-encoded |
/// | `OTEL_EXPORTER_OTLP_TIMEOUT` | of one delivery, in milliseconds; default 10,000 |
/// | `OTEL_SERVICE_NAME` | the service's name |
/// | `OTEL_RESOURCE_ATTRIBUTES` | what else is known of this process, written as headers are |
/// | `OTEL_SDK_DISABLED` | `true`: nothing is exported, whatever else is said |
///
/// Not read: the same variables per signal (`…_TRACES_…`, `…_METRICS_…`), certificates, compression, and samplers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Collecting {
    /// The collector's address.
    pub endpoint: String,
    /// How it is spoken to.
    pub protocol: CollectorProtocol,
    /// How it is exported.
    pub export: ExportConfig,
}

impl Collecting {
    /// To `endpoint`, or where the variables say if it is `None`; `None` where nothing is exported. `service_name` stands for
    /// want of one among the variables.
    ///
    /// # Errors
    /// [`ErrorKind::NotConfigured`] for a variable that is not understood, by its name: values may be secret.
    pub fn from_variables(
        endpoint: Option<&str>,
        service_name: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>> {
        // The standard takes an empty variable for one that is not set.
        let read = |name: &str| {
            variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        if read("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let endpoint = endpoint.map(str::to_owned).or_else(|| read("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let Some(endpoint) = endpoint else { return Ok(None) };
        let protocol = match read(PROTOCOL).as_deref() {
            None | Some("http/protobuf") => CollectorProtocol::Http,
            Some("grpc") => CollectorProtocol::Grpc,
            Some(_) => return Err(wrong(PROTOCOL, "is neither http/protobuf nor grpc")),
        };
        let mut export = ExportConfig::new(service_name);
        for (name, value) in pairs(HEADERS, read(HEADERS))? {
            export = export.with_header(name, Secret::new(value));
        }
        if let Some(millis) = read(TIMEOUT) {
            let millis = millis.parse().ok().filter(|millis| *millis > 0);
            export.timeout =
                Duration::from_millis(millis.ok_or_else(|| wrong(TIMEOUT, "is no number of milliseconds"))?);
        }
        export.resource = pairs(RESOURCE, read(RESOURCE))?;
        // The service's own variable comes before the same among the attributes.
        if let Some(at) = export.resource.iter().position(|(name, _)| name == "service.name") {
            export.service_name = export.resource.remove(at).1;
        }
        export.service_name = read("OTEL_SERVICE_NAME").unwrap_or(export.service_name);
        Ok(Some(Self { endpoint, protocol, export }))
    }

    /// Begins to export, over a transport set like that.
    ///
    /// # Errors
    /// Those of [`Collector::grpc_over`] and of [`Exporter::otlp`].
    pub fn exporter(self, transport: Config) -> Result<Exporter> {
        let collector = match self.protocol {
            CollectorProtocol::Http => Collector::http_over(&self.endpoint, &self.export, transport)?,
            CollectorProtocol::Grpc => Collector::grpc_over(&self.endpoint, &self.export, transport)?,
        };
        Exporter::otlp(collector, self.export)
    }
}

const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const TIMEOUT: &str = "OTEL_EXPORTER_OTLP_TIMEOUT";
const RESOURCE: &str = "OTEL_RESOURCE_ATTRIBUTES";

fn wrong(name: &str, what: &str) -> Error {
    Error::new(ErrorKind::NotConfigured, format!("the environment variable {name} {what}"))
}

/// `name=value,name=value`, percent-encoded: W3C Baggage without properties.
fn pairs(variable: &str, text: Option<String>) -> Result<Vec<(String, String)>> {
    let malformed = || wrong(variable, "is no list of name=value");
    let decoded =
        |text: &str| percent_decode_str(text.trim()).decode_utf8().map(String::from).map_err(|_| malformed());
    let text = text.unwrap_or_default();
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').ok_or_else(malformed)?;
        match decoded(name)? {
            name if name.is_empty() => Err(malformed()),
            name => Ok((name, decoded(value)?)),
        }
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(endpoint: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<Collecting>> {
        let value =
            |name: &str| variables.iter().find(|(one, _)| *one == name).map(|(_, value)| (*value).into());
        Collecting::from_variables(endpoint, "mine", value)
    }

    #[test]
    fn the_standard_variables_are_understood_as_they_are_meant() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        let plain = read(None, &[endpoint]).expect("understood").expect("a collector");
        assert_eq!((&*plain.endpoint, plain.protocol), (endpoint.1, CollectorProtocol::Http));
        assert_eq!((&*plain.export.service_name, plain.export.timeout), ("mine", Duration::from_secs(10)));
        let all = [
            endpoint,
            (PROTOCOL, "grpc"),
            (HEADERS, " api-key = planted%20key ,tenant=a=b,"),
            (TIMEOUT, "1500"),
            (RESOURCE, "service.name=other,deployment.environment.name=pr%2Cod"),
        ];
        let read_all = |more: &[(&str, &str)]| {
            read(Some("https://given"), &[&all[..], more].concat()).expect("understood")
        };
        let set = read_all(&[]).expect("a collector");
        assert_eq!((&*set.endpoint, set.protocol), ("https://given", CollectorProtocol::Grpc));
        let headers: Vec<_> =
            set.export.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(headers, [("api-key", "planted key"), ("tenant", "a=b")]);
        assert_eq!(set.export.timeout, Duration::from_millis(1500));
        assert_eq!(set.export.service_name, "other");
        assert_eq!(set.export.resource, [("deployment.environment.name".into(), "pr,od".into())]);
        assert!(!format!("{set:?}").contains("planted"), "{set:?}");
        let named = read_all(&[("OTEL_SERVICE_NAME", "chosen")]).expect("a collector");
        assert_eq!(named.export.service_name, "chosen");
        assert!(read_all(&[("OTEL_SDK_DISABLED", "True")]).is_none());
        assert!(read(None, &[]).expect("nothing is said").is_none());
        assert!(read(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).expect("as if unset").is_none());
    }

    #[test]
    fn what_is_not_understood_is_named_and_not_repeated() {
        for (name, value) in [
            (PROTOCOL, "http/json"),
            (PROTOCOL, "planted"),
            (HEADERS, "planted"),
            (HEADERS, "=planted"),
            (HEADERS, "a=%ff"),
            (RESOURCE, "planted"),
            (TIMEOUT, "planted"),
            (TIMEOUT, "0"),
            (TIMEOUT, "-1"),
        ] {
            let error = read(Some("http://h"), &[(name, value)]).expect_err(value);
            assert_eq!(error.kind(), ErrorKind::NotConfigured, "{name}");
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(name) && !shown.contains("planted"), "{shown}");
        }
        let set = read(Some("localhost:4318"), &[]).expect("read").expect("a collector");
        assert!(set.exporter(Config::new()).is_err(), "no address");
    }
}
