//! The words that name a source of endpoints, and what authenticates at it. What authenticates is named by a variable or a
//! file and is never among the words themselves, which the system shows to everybody.

use std::{
    env,
    path::{Path, PathBuf},
};

use clap::Args;
use loquat::{
    Error, ErrorKind, Result, Secret,
    core::Discover,
    discovery::{Dns, Etcd, Kubernetes, Probe, Registry, Srv, Template, WatchedFile},
    transport::{ExtraRoot, Transport, Url},
};

use super::DiscoverArgs;
use crate::{
    connect::{key, key_in_file},
    input,
};

/// What authenticates at a source.
#[derive(Debug, Args)]
#[command(next_help_heading = "Authentication")]
pub(super) struct KeyArgs {
    /// Read the token from this environment variable (the variable's name, never the token itself)
    ///
    /// For a registry, etcd, Kubernetes, and the servers of probe:. With --user it is that user's password.
    #[arg(long, value_name = "VARIABLE")]
    pub(super) key_env: Option<String>,

    /// Read the token from this file
    ///
    /// For kubernetes: it is read anew with every list, since a cluster exchanges it while a program runs. Inside a pod the
    /// service account's is taken where none is named. With --user it is that user's password.
    #[arg(long, value_name = "FILE", conflicts_with = "key_env")]
    key_file: Option<PathBuf>,

    /// Log in to etcd as this user, with the password that --key-env or --key-file names
    ///
    /// A new token of etcd's is asked for with every list, so that --watch lasts. A token that was had otherwise goes
    /// without --user.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

impl KeyArgs {
    fn secret(&self) -> Result<Option<Secret>> {
        match (&self.key_env, &self.key_file) {
            (Some(variable), _) => key(variable).map(Some),
            (None, Some(file)) => key_in_file(file).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// Refuses what nobody would be told.
    fn none_for(&self, what: &str) -> Result<()> {
        if self.key_env.is_some() || self.key_file.is_some() {
            return Err(unusable(format!("{what} needs no key: --key-env and --key-file are for others")));
        }
        Ok(())
    }
}

/// Where a pod finds what authenticates it, and by whom the API server is known.
/// <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The name by which probed servers' key is known to the policy.
const PROBED: &str = "probed";

impl DiscoverArgs {
    /// The source that the words name.
    ///
    /// # Errors
    /// Words that name none, and what is missing beside them.
    pub(super) fn source(&self) -> Result<Box<dyn Discover>> {
        let source = &*self.source;
        if source.starts_with("http://") || source.starts_with("https://") {
            self.only_etcd_has_users(false)?;
            let registry =
                Registry::new(self.transport()?, source, self.policy())?.with_timeout(self.timeout);
            let secret = self.keys.secret()?;
            return Ok(Box::new(with(registry, secret, Registry::with_token).follow()));
        }
        let (kind, rest) = source.split_once(':').unwrap_or_default();
        self.only_etcd_has_users(kind == "etcd")?;
        match kind {
            "probe" => self.probe(rest),
            "dns" => {
                self.keys.none_for("dns:")?;
                let wrong = || unusable("write it as dns:NAME:PORT");
                let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
                let port = port.parse().map_err(|_| wrong())?;
                Ok(Box::new(Dns::new(host, port, self.template()?, self.policy()).follow()))
            }
            "srv" => {
                self.keys.none_for("srv:")?;
                Ok(Box::new(Srv::new(rest, self.template()?, self.policy())?.follow()))
            }
            "etcd" => self.etcd(rest),
            "kubernetes" => self.kubernetes(rest),
            _ => {
                self.keys.none_for("a file")?;
                input::readable(Path::new(source), self.policy().max_body_bytes as u64)?;
                Ok(Box::new(WatchedFile::new(source, self.policy()).follow()))
            }
        }
    }

    fn only_etcd_has_users(&self, is_etcd: bool) -> Result<()> {
        match self.keys.user {
            Some(_) if !is_etcd => Err(unusable("--user is for etcd: alone")),
            _ => Ok(()),
        }
    }

    fn transport(&self) -> Result<Transport> {
        Transport::new(self.connection.config()?)
    }

    fn template(&self) -> Result<Template> {
        let missing = || unusable("dns:, srv: and kubernetes: need --model NAME");
        self.model.as_deref().map(Template::new).ok_or_else(missing)
    }

    fn probe(&self, servers: &str) -> Result<Box<dyn Discover>> {
        let (mut policy, secret) = (self.policy(), self.keys.secret()?);
        let has_key = secret.is_some();
        if let Some(secret) = secret {
            // Good for those who are asked, and for nobody else.
            let hosts = servers
                .split(',')
                .filter_map(|server| Some(Url::parse(server).ok()?.origin().host().to_owned()));
            policy = policy.with_key(PROBED, secret, hosts.collect::<Vec<_>>());
        }
        let probe = Probe::new(self.transport()?, servers.split(','), policy).with_timeout(self.timeout);
        let probe = if has_key { probe.with_key(PROBED) } else { probe };
        Ok(Box::new(probe.follow()))
    }

    fn etcd(&self, source: &str) -> Result<Box<dyn Discover>> {
        let after_scheme = source.find("://").map_or(0, |at| at + 3);
        let slash = source[after_scheme..].find('/').map(|at| after_scheme + at);
        let slash = slash.ok_or_else(|| unusable("write it as etcd:URL/PREFIX"))?;
        let (address, prefix) = source.split_at(slash);
        let etcd = Etcd::new(self.transport()?, address, prefix, self.policy())?.with_timeout(self.timeout);
        Ok(Box::new(match (&self.keys.user, self.keys.secret()?) {
            (Some(user), Some(password)) => etcd.with_login(user, password).follow(),
            (Some(_), None) => {
                return Err(unusable("--user needs a password: --key-env or --key-file names it"));
            }
            (None, token) => with(etcd, token, Etcd::with_token).follow(),
        }))
    }

    fn kubernetes(&self, source: &str) -> Result<Box<dyn Discover>> {
        let Service { api, namespace, service, port } = Service::named(source)?;
        let variable = |name: &str| env::var(name).ok();
        let (mut config, is_pod) = (self.connection.config()?, api.is_none());
        let address = match api {
            Some(address) => address.to_owned(),
            None => api_server(variable).ok_or_else(|| {
                unusable("this is no pod, which would know its API server: write it as kubernetes:URL/NAMESPACE/SERVICE")
            })?,
        };
        if is_pod {
            config = config.with_extra_root(ExtraRoot::File(format!("{SERVICE_ACCOUNT}/ca.crt").into()));
        }
        let transport = Transport::new(config)?;
        let found = Kubernetes::new(transport, address, namespace, service, self.template()?, self.policy())?;
        let found = found.with_timeout(self.timeout);
        let found = match port {
            Some(port) => found.with_port(port),
            None => found,
        };
        Ok(Box::new(match (&self.keys.key_env, &self.keys.key_file) {
            (Some(variable), _) => found.with_token(key(variable)?).follow(),
            // Looked at once before, so that it is said at the beginning what is wrong with it.
            (None, Some(file)) => key_in_file(file).map(|_| found.with_token_file(file).follow())?,
            (None, None) if is_pod => found.with_token_file(format!("{SERVICE_ACCOUNT}/token")).follow(),
            (None, None) => found.follow(),
        }))
    }
}

/// A service of a cluster's, as it is written: `[URL/]NAMESPACE/SERVICE[:PORT]`.
#[derive(Debug, PartialEq)]
struct Service<'a> {
    api: Option<&'a str>,
    namespace: &'a str,
    service: &'a str,
    port: Option<&'a str>,
}

impl<'a> Service<'a> {
    fn named(text: &'a str) -> Result<Self> {
        let wrong = || {
            unusable(
                "write it as kubernetes:NAMESPACE/SERVICE or kubernetes:URL/NAMESPACE/SERVICE, then :PORT for a port by its name",
            )
        };
        let (rest, service) = text.rsplit_once('/').ok_or_else(wrong)?;
        let (api, namespace) = match rest.rsplit_once('/') {
            Some((api, namespace)) => (Some(api), namespace),
            None => (None, rest),
        };
        let (service, port) = match service.split_once(':') {
            Some((service, port)) => (service, Some(port)),
            None => (service, None),
        };
        // A URL without a service ends in its host, or in its scheme.
        let is_url = api.is_none_or(|api| api.split_once("://").is_some_and(|(_, host)| !host.is_empty()));
        if !is_url || namespace.is_empty() || service.is_empty() || port == Some("") {
            return Err(wrong());
        }
        Ok(Self { api, namespace, service, port })
    }
}

/// The API server as a pod's variables have it.
fn api_server(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Some(format!("https://{host}:{port}"))
}

fn with<S>(source: S, token: Option<Secret>, add: impl FnOnce(S, Secret) -> S) -> S {
    match token {
        Some(token) => add(source, token),
        None => source,
    }
}

fn unusable(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidRequest, what.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_read_as_it_is_written() {
        let service = |api, namespace, service, port| Some(Service { api, namespace, service, port });
        for (text, read) in [
            ("ai/llama", service(None, "ai", "llama", None)),
            ("ai/llama:http", service(None, "ai", "llama", Some("http"))),
            ("http://127.0.0.1:8001/ai/llama", service(Some("http://127.0.0.1:8001"), "ai", "llama", None)),
            (
                "https://rancher.example/k8s/clusters/c/ai/llama:http",
                service(Some("https://rancher.example/k8s/clusters/c"), "ai", "llama", Some("http")),
            ),
            ("llama", None),
            ("", None),
            ("ai/", None),
            ("/llama", None),
            ("ai/llama:", None),
            ("https://host/llama", None),
            ("https://host/", None),
            ("https:///ai/llama", None),
            ("host/ai/llama", None),
        ] {
            assert_eq!(Service::named(text).ok(), read, "{text}");
        }
    }

    #[test]
    fn a_pod_knows_its_api_server() {
        let pod = |host: &'static str| {
            move |name: &str| match name {
                "KUBERNETES_SERVICE_HOST" => Some(host.to_owned()),
                "KUBERNETES_SERVICE_PORT" => Some("443".to_owned()),
                _ => None,
            }
        };
        assert_eq!(api_server(pod("10.96.0.1")).as_deref(), Some("https://10.96.0.1:443"));
        assert_eq!(api_server(pod("fd00::1")).as_deref(), Some("https://[fd00::1]:443"));
        assert_eq!(api_server(|_| None), None);
    }
}
