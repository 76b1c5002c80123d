//! Servers that speak under TLS alone, and with one user alone.

use std::path::Path;

use loquat_prompt::cache::remote::{Remote, Topology};

use super::{
    Node, bytes, config,
    support::redis_server::{RedisServer, free_port, until},
    texts,
};

/// The name of the user whom alone servers let in, with his password.
pub(crate) const USER: &str = "app:right";

/// A certificate that vouches for itself, in a folder.
pub(crate) struct Certificate {
    folder: tempfile::TempDir,
    pub(crate) pem: Vec<u8>,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let issued =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("cert.pem"), issued.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), issued.signing_key.serialize_pem()).unwrap();
        Self { folder, pem: issued.cert.pem().into_bytes() }
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// What a server is started with, to be spoken to at that port.
    pub(crate) fn settings(&self, port: u16) -> Vec<[String; 2]> {
        [
            ("tls-port", port.to_string()),
            ("tls-cert-file", self.file("cert.pem")),
            ("tls-key-file", self.file("key.pem")),
            ("tls-ca-cert-file", self.file("cert.pem")),
            ("tls-auth-clients", "no".to_owned()),
        ]
        .map(|(name, value)| [name.to_owned(), value])
        .to_vec()
    }

    /// A server that speaks with the one user alone, and with him under TLS alone; and its port for that.
    pub(crate) fn server(&self, more: impl Fn(&Path) -> Vec<String>) -> (RedisServer, u16) {
        let port = free_port();
        let settings = self.settings(port).into_iter().map(|[name, value]| [format!("--{name}"), value]);
        let users = ["--user", "default", "off", "--user", "app", "on", ">right", "~*", "&*", "+@all"];
        let server = RedisServer::start_with(
            |folder, _| settings.clone().flatten().chain(more(folder)).collect(),
            &users,
        );
        // It was waited for at its other port, which is closed now.
        until("it is spoken to under TLS", || {
            self.cli(&server, port, &["CONFIG", "SET", "port", "0"]) == "OK"
        });
        until("and only so", || std::net::TcpStream::connect(("127.0.0.1", server.port)).is_err());
        (server, port)
    }

    pub(crate) fn cli(&self, server: &RedisServer, port: u16, arguments: &[&str]) -> String {
        self.cli_as(("app", "right"), server, port, arguments)
    }

    pub(crate) fn cli_as(
        &self,
        (user, password): (&str, &str),
        server: &RedisServer,
        port: u16,
        arguments: &[&str],
    ) -> String {
        let (port, certificate) = (port.to_string(), self.file("cert.pem"));
        let how = ["-p", &port, "--tls", "--cacert", &certificate, "--user", user, "--pass", password];
        server.cli(&[&how[..], &["--no-auth-warning"], arguments].concat())
    }
}

pub(crate) fn secure(user: &str, port: u16) -> String {
    format!("rediss://{user}@127.0.0.1:{port}")
}

/// What holds of a topology of servers with TLS and users.
pub(crate) async fn check_secured(certificate: &Certificate, topology: impl Fn(&str) -> Topology) {
    let trusting = |user: &str| {
        let mut config = config(topology(user));
        config.trusted_pem = Some(certificate.pem.clone());
        config
    };
    let all = texts(0, 30);
    let one = Node::new(trusting(USER), "a").await;
    assert_eq!(one.check(&all).await, bytes(&all));
    one.written(30).await;
    let two = Node::new(trusting(USER), "a").await;
    assert_eq!(two.check(&all).await, 0, "{:?}", two.remote.stats());
    assert_eq!(two.remote.stats().hits, 30);

    let unknown = Remote::try_new(config(topology(USER))).unwrap();
    assert!(unknown.connect().await.is_err(), "nobody vouches for it");
    let wrong = Remote::try_new(trusting("app:wrong")).unwrap();
    let error = wrong.connect().await.unwrap_err();
    assert!(!format!("{error:?} {wrong:?}").contains("wrong"), "no password: {error:?}");
    assert_eq!(Node::of(wrong, "a").check(&all).await, bytes(&all));
}
