//! The EndpointSlices of a Kubernetes service (`discovery.k8s.io/v1`): listed, then watched.
//!
//! An address is listed while it is `serving`, and as not well while it is not `ready`: a pod that terminates is drained.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>. **Tested against a scripted
//! API server only.** TLS to the API server is the transport's: give it the cluster's authority as an extra root.

use std::{path::PathBuf, time::Duration};

use loquat_core::{Discovered, Error, ErrorKind, Result, Secret};
use loquat_json::document::{Document, Value};
use loquat_transport::{Request, Transport, Url};

use crate::{
    Policy, Template, Watched,
    fetch::{Fetcher, Token},
    policy::unusable,
    registry::percent,
    watch::{Line, Protocol, Table},
};

/// The endpoints of a service.
#[derive(Debug, Clone)]
pub struct Kubernetes {
    fetcher: Fetcher,
    slices: Slices,
    token: Token,
}

impl Kubernetes {
    /// A service's endpoints by the API server at that address (`https://kubernetes.default.svc`).
    ///
    /// # Errors
    /// The address is none, or a name has characters that no name has.
    pub fn new(
        transport: Transport,
        address: impl Into<String>,
        namespace: impl Into<String>,
        service: impl Into<String>,
        template: Template,
        policy: Policy,
    ) -> Result<Self> {
        let (namespace, service) = (namespace.into(), service.into());
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        };
        if !is_name(&namespace) || !is_name(&service) {
            return Err(Error::new(ErrorKind::NotConfigured, "no namespace or service has such a name"));
        }
        let address = address.into().trim_end_matches('/').to_owned();
        Url::parse(&address)?;
        let slices = Slices {
            address,
            namespace,
            service,
            port: None,
            template,
            policy: policy.clone(),
            watch_seconds: 290,
        };
        Ok(Self { fetcher: Fetcher::new(transport, policy), slices, token: Token::None })
    }

    /// Authenticates with that token.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Token::Bearer(token.into());
        self
    }

    /// Authenticates with what that file holds at the time: inside a pod
    /// `/var/run/secrets/kubernetes.io/serviceaccount/token`, which is exchanged every hour.
    #[must_use]
    pub fn with_token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token = Token::File(path.into());
        self
    }

    /// The port of that name. Default: the only one, or the first.
    #[must_use]
    pub fn with_port(mut self, name: impl Into<String>) -> Self {
        self.slices.port = Some(name.into());
        self
    }

    /// Most time for one answer. Default 5 s; a watch lasts.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.fetcher.timeout = timeout;
        self
    }

    /// Its endpoints, followed.
    pub fn follow(&self) -> Watched {
        // A little longer than the API server has been asked to watch.
        let relist = Duration::from_secs(u64::from(self.slices.watch_seconds) + 10);
        Watched::new(self.slices.clone(), self.fetcher.clone(), self.token.clone(), relist)
    }
}

#[derive(Debug, Clone)]
struct Slices {
    address: String,
    namespace: String,
    service: String,
    port: Option<String>,
    template: Template,
    policy: Policy,
    watch_seconds: u32,
}

impl Slices {
    fn url(&self, query: &str) -> String {
        let selector = percent(&format!("kubernetes.io/service-name={}", self.service));
        let Self { address, namespace, .. } = self;
        format!(
            "{address}/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector={selector}&{query}"
        )
    }

    fn put(&self, slice: &Value<'_>, table: &mut Table) -> Result<()> {
        let name = name(slice)?;
        let endpoints = self.endpoints(slice);
        table.insert(name, endpoints);
        Ok(())
    }

    fn endpoints(&self, slice: &Value<'_>) -> Vec<Result<Discovered, String>> {
        let ports = || slice.get("ports").and_then(|ports| ports.as_array()).into_iter().flatten();
        let is_named = |port: &Value<'_>| match &self.port {
            Some(wanted) => port.get("name").and_then(|name| name.as_str()) == Some(wanted),
            None => true,
        };
        let port = ports().find(is_named).and_then(|port| port.get("port")?.as_u64());
        // A slice without that port is no part of this service, as far as it is asked for.
        let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else { return Vec::new() };
        let endpoints =
            slice.get("endpoints").and_then(|endpoints| endpoints.as_array()).into_iter().flatten();
        let mut found = Vec::new();
        for endpoint in endpoints.take(self.policy.max_endpoints.saturating_add(1)) {
            let condition = |name: &str| endpoint.pointer(&format!("/conditions/{name}"))?.as_bool();
            // By the API's words: an unknown `ready` is to be taken for true, an unknown `serving` for what `ready` is.
            let ready = condition("ready").unwrap_or(true);
            if !condition("serving").unwrap_or(ready) && condition("terminating") == Some(true) {
                continue;
            }
            // All addresses of one endpoint are the same server: the first will do.
            let address = endpoint.get("addresses").and_then(|addresses| addresses.element(0)?.as_str());
            let Some(address) = address else { continue };
            let admitted = match address.parse() {
                Ok(ip) => self.template.at(ip, port, &self.policy),
                Err(_) => self.template.at_host(&format!("{address}:{port}"), &self.policy),
            };
            found.push(admitted.map(|mut found| {
                found.is_up = Some(ready);
                found
            }));
        }
        found
    }
}

impl Protocol for Slices {
    fn list(&self) -> Result<Request> {
        Request::get(self.url("limit=1000"))
    }

    fn listed(&self, body: &[u8]) -> Result<(Table, String)> {
        let document = parse(body)?;
        let root = document.root();
        let revision = root.pointer("/metadata/resourceVersion").and_then(|revision| revision.as_str());
        let revision = revision.ok_or_else(|| unusable("it says no resourceVersion"))?.to_owned();
        let next = root.pointer("/metadata/continue").and_then(|next| next.as_str()).unwrap_or_default();
        if !next.is_empty() {
            return Err(unusable("it has more than a thousand slices of one service"));
        }
        let items = root.get("items").filter(|items| items.as_array().is_some() || items.is_null());
        let items = items.ok_or_else(|| unusable("it has no `items`"))?;
        let mut table = Table::new();
        for slice in items.as_array().into_iter().flatten() {
            self.put(&slice, &mut table)?;
        }
        Ok((table, revision))
    }

    fn watch(&self, revision: &str) -> Result<Request> {
        let seconds = self.watch_seconds;
        let revision = percent(revision);
        Request::get(self.url(&format!(
            "watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={revision}"
        )))
    }

    fn line(&self, line: &str, table: &mut Table, revision: &mut String) -> Result<Line> {
        let document = parse(line.as_bytes())?;
        let root = document.root();
        let object = root.get("object").ok_or_else(|| unusable("a change has no object"))?;
        let version = object.pointer("/metadata/resourceVersion").and_then(|version| version.as_str());
        match root.get("type").and_then(|kind| kind.as_str()) {
            Some("ADDED" | "MODIFIED") => self.put(&object, table)?,
            Some("DELETED") => drop(table.remove(&name(&object)?)),
            // 410 Gone: the revision is too old to watch from; whatever else it is, the list comes next.
            Some("ERROR") => return Ok(Line::Forgotten),
            _ => {
                version.into_iter().for_each(|version| version.clone_into(revision));
                return Ok(Line::Nothing);
            }
        }
        version.into_iter().for_each(|version| version.clone_into(revision));
        Ok(Line::Changed)
    }
}

fn name(slice: &Value<'_>) -> Result<String> {
    let name = slice.pointer("/metadata/name").and_then(|name| name.as_str());
    name.filter(|name| name.len() <= 253).map(str::to_owned).ok_or_else(|| unusable("a slice has no name"))
}

fn parse(text: &[u8]) -> Result<Document> {
    Document::parse(text.to_vec()).map_err(|cause| unusable("it is not JSON").with_source(cause))
}
