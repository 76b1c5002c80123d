//! TLS by rustls: ring's cryptography, the platform's certificate authorities and the extra ones, ALPN.
//!
//! The platform's roots are read at the first handshake and not before: a program that speaks to a local server in
//! clear neither waits for them nor needs any.

use std::sync::{Arc, OnceLock};

use loquat_core::Result;
use rustls::{
    CertificateError, ClientConfig,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::misconfigured;
use crate::{ExtraRoot, Http2Mode, Origin, socket::Socket};

/// Why a handshake failed, in words that say what to do.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) what: String,
    pub(super) source: Option<std::io::Error>,
}

#[derive(Debug)]
pub(super) struct Tls {
    extra_roots: Vec<CertificateDer<'static>>,
    http2: bool,
    config: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Tls {
    pub(super) fn new(extra: &[ExtraRoot], http2: Http2Mode) -> Result<Self> {
        let mut extra_roots = Vec::new();
        for root in extra {
            let (name, pem) = match root {
                ExtraRoot::Pem(pem) => ("the extra root".to_owned(), pem.clone()),
                ExtraRoot::File(path) => {
                    let name = format!("the extra root {}", path.display());
                    let pem = std::fs::read(path).map_err(|error| {
                        misconfigured(format!("{name} cannot be read")).with_source(error)
                    })?;
                    (name, pem)
                }
            };
            let before = extra_roots.len();
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate
                    .map_err(|error| misconfigured(format!("{name} is not valid PEM: {error}")))?;
                extra_roots.push(certificate);
            }
            if extra_roots.len() == before {
                return Err(misconfigured(format!("{name} holds no certificate in PEM form")));
            }
        }
        Ok(Self { extra_roots, http2: http2 != Http2Mode::Never, config: OnceLock::new() })
    }

    fn build(&self) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new_with_extra_roots(
            self.extra_roots.iter().cloned(),
            Arc::clone(&provider),
        )
        .map_err(|error| {
            format!(
                "no certificate authorities to trust: {error}; install the system's (often the package \
                     ca-certificates) or configure an extra root"
            )
        })?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
            .dangerous() // the word for any verifier but rustls's own; this one is the platform's
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        if self.http2 {
            config.alpn_protocols.push(b"h2".to_vec());
        }
        config.alpn_protocols.push(b"http/1.1".to_vec());
        Ok(Arc::new(config))
    }

    pub(super) async fn handshake(
        &self,
        origin: &Origin,
        tcp: TcpStream,
    ) -> Result<TlsStream<Socket>, Failed> {
        let refuse = |what: String| Failed { what, source: None };
        let config =
            self.config.get_or_init(|| self.build()).as_ref().map_err(|what| refuse(what.clone()))?;
        let name = match origin.ip() {
            Some(ip) => ServerName::IpAddress(ip.into()),
            None => ServerName::try_from(origin.host().to_owned())
                .map_err(|error| refuse(format!("{:?} cannot be named in TLS: {error}", origin.host())))?,
        };
        TlsConnector::from(Arc::clone(config))
            .connect(name, Socket::new(tcp))
            .await
            .map_err(|error| Failed { what: explain(&error), source: Some(error) })
    }
}

fn explain(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "the server's certificate was issued by an authority that is not trusted; if it is yours, configure its \
             certificate as an extra root"
                .into()
        }
        Some(rustls::Error::InvalidCertificate(reason)) => format!("the server's certificate is not valid: {reason}"),
        Some(rustls::Error::InvalidMessage(_)) => {
            "the server does not answer in TLS; is it http:// and not https://?".into()
        }
        Some(other) => format!("the TLS handshake failed: {other}"),
        None if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the server closed the connection in the TLS handshake".into()
        }
        None => format!("the connection failed in the TLS handshake: {error}"),
    }
}
