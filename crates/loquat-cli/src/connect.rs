//! The flags that say where to ask and how to get there, and the [`Client`] they make.

use std::{
    env,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use loquat::{
    Client, Error, ErrorKind, Result, Secret,
    client::GenerationLimits,
    provider::Profile,
    transport::{Config, ExtraRoot, Http2Mode, Proxy, Transport},
};

use crate::input;

/// How to get there.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkArgs {
    /// Speak HTTP/2 without TLS, too, without asking the server first
    #[arg(long)]
    pub(crate) http2_prior_knowledge: bool,

    /// Trust the certificate authorities in this PEM file beside the system's own
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_cert: Vec<PathBuf>,

    /// Go through a proxy: its address, or `env` for what HTTPS_PROXY and NO_PROXY say [default: no proxy]
    #[arg(long, value_name = "URL|env")]
    pub(crate) proxy: Option<String>,
}

impl NetworkArgs {
    /// The transport's configuration.
    ///
    /// # Errors
    /// A named file that cannot be read.
    pub(crate) fn config(&self) -> Result<Config> {
        self.ca_cert.iter().try_for_each(|file| input::readable(file, MAX_CERTIFICATE_BYTES))?;
        let mut config = Config::new();
        if self.http2_prior_knowledge {
            config = config.with_http2(Http2Mode::PriorKnowledge);
        }
        match self.proxy.as_deref() {
            None => {}
            Some("env") => config = config.with_proxy(Proxy::from_variables(|name| env::var(name).ok())),
            Some(url) => config = config.with_proxy(Proxy::Url(url.to_owned())),
        }
        let root = |config: Config, file: &PathBuf| config.with_extra_root(ExtraRoot::File(file.clone()));
        let rooted = self.ca_cert.iter().fold(config.clone(), root);
        // What cannot be used is a mistake in the command, and nothing that is not configured.
        for (flag, is_given, config) in
            [("--proxy", self.proxy.is_some(), &config), ("--ca-cert", !self.ca_cert.is_empty(), &rooted)]
        {
            if is_given {
                Transport::new(config.clone()).map_err(|error| input::unusable(flag, &error))?;
            }
        }
        Ok(rooted)
    }
}

/// Where to ask.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServerArgs {
    /// Ask the server at this address, such as http://127.0.0.1:8080/v1, in place of the providers' own
    ///
    /// It is taken to speak like OpenAI, unless the model's name begins with another provider's: `anthropic:NAME`,
    /// `ollama:NAME`. No provider's key is sent to it: see --key-env. Where it is not given, LOQUAT_BASE_URL is read.
    #[arg(long, value_name = "URL", value_parser = not_blank)]
    pub(crate) base_url: Option<String>,

    /// Read the key from this environment variable (the variable's name, never the key itself)
    ///
    /// With --base-url, the key for that server, which gets none otherwise. Without it, the key for the provider that
    /// the model's name begins with, in place of its usual variable.
    #[arg(long, value_name = "VARIABLE", value_parser = not_blank)]
    pub(crate) key_env: Option<String>,

    /// Let the key for --base-url go over plain HTTP to another machine, where whoever is on the way can read it
    ///
    /// For a gateway in a network of one's own: http://litellm:4000/v1. Without it such an address is refused. Without --base-url, the
    /// key for the provider that the model's name begins with, at the address in OPENAI_BASE_URL and its like; for a name without a
    /// provider, all whose address says http.
    #[arg(long)]
    pub(crate) plain_key: bool,
}

/// The flags of a client in one hand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connection<'a> {
    pub(crate) network: &'a NetworkArgs,
    pub(crate) server: &'a ServerArgs,
    pub(crate) limits: GenerationLimits,
    /// The provider whose key `--key-env` names where there is no server.
    pub(crate) provider: Option<&'a str>,
}

impl Connection<'_> {
    /// The client, with the environment's configuration below the flags'.
    ///
    /// # Errors
    /// What cannot be used, naming it.
    pub(crate) fn client(
        &self,
        #[cfg(feature = "engine")] progress: Option<loquat::pull::Progress>,
    ) -> Result<Client> {
        self.watched_client(
            None,
            #[cfg(feature = "engine")]
            progress,
        )
    }

    /// The same, watched.
    ///
    /// # Errors
    /// As [`client`](Self::client).
    pub(crate) fn watched_client(
        &self,
        observer: Option<loquat::observe::Observer>,
        #[cfg(feature = "engine")] progress: Option<loquat::pull::Progress>,
    ) -> Result<Client> {
        let mut builder = Client::builder().env().transport(self.network.config()?).limits(self.limits);
        #[cfg(feature = "engine")]
        if let Some(progress) = progress {
            builder = builder.on_pull(progress);
        }
        if let Some(observer) = observer {
            builder = builder.observer(observer);
        }
        if let Some(url) = &self.server.base_url {
            builder = builder.base_url(url);
        }
        builder = builder.base_url_plain_key(self.server.plain_key);
        if self.server.plain_key {
            // A name without a provider is looked for at all of them.
            let named = self.provider.and_then(loquat::provider::profile);
            let meant = |profile: &&Profile| named.is_none_or(|named| named.name == profile.name);
            for profile in loquat::provider::profiles().iter().filter(meant) {
                builder = builder.provider_plain_key(profile.name);
            }
        }
        if let Some(variable) = &self.server.key_env {
            let has_server = self.server.base_url.is_some() || has_variable("LOQUAT_BASE_URL");
            builder = match self.provider {
                _ if has_server => builder.base_url_key(key(variable)?),
                Some(provider) => builder.key(provider, key(variable)?),
                None => {
                    return Err(Error::new(
                        ErrorKind::InvalidRequest,
                        "--key-env needs to know whose key it is: give --base-url, or a model as provider:name",
                    ));
                }
            };
        }
        builder.build()
    }
}

/// The key in that variable.
pub(crate) fn key(variable: &str) -> Result<Secret> {
    let value = env::var(variable).ok().map(Secret::new).filter(|key| !key.is_empty());
    value.ok_or_else(|| {
        let named = if looks_like_a_name(variable) { format!(" {variable}") } else { String::new() };
        Error::new(
            ErrorKind::NotConfigured,
            format!(
                "the environment variable{named} named by --key-env is not set (it takes a variable's name, not a key)"
            ),
        )
    })
}

/// The longest file of certificates: the system's own bundle has a quarter of a megabyte. Bytes.
const MAX_CERTIFICATE_BYTES: u64 = 16 << 20;
/// The longest file that holds a key. Bytes.
const MAX_KEY_BYTES: u64 = 64 * 1024;

/// The key in that file, without the space around it. What was given is not repeated: it may be the key itself.
pub(crate) fn key_in_file(file: &Path) -> Result<Secret> {
    let wrong = |kind, what: &str| {
        Error::new(kind, format!("the file named by --key-file {what} (it takes a file's name, not a key)"))
    };
    let unreadable = |what| wrong(ErrorKind::InvalidRequest, what);
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(MAX_KEY_BYTES + 1).read_to_string(&mut text));
    match read {
        Err(cause) => Err(unreadable("cannot be read").with_source(cause)),
        Ok(_) if text.len() as u64 > MAX_KEY_BYTES => Err(unreadable("is too long for a key")),
        Ok(_) if text.trim().is_empty() => Err(wrong(ErrorKind::NotConfigured, "is empty")),
        Ok(_) => Ok(Secret::new(text.trim())),
    }
}

/// Whether it can be repeated in a message. Who gives the key itself in place of a name must not see it in a log:
/// keys have dashes, or digits among small letters, or are long.
fn looks_like_a_name(text: &str) -> bool {
    let is = |test: fn(&char) -> bool| text.chars().any(|c| test(&c));
    text.len() <= 40
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !(is(char::is_ascii_digit) && is(char::is_ascii_lowercase))
}

/// Whether that environment variable is set and not blank.
pub(crate) fn has_variable(name: &str) -> bool {
    env::var(name).is_ok_and(|value| !value.trim().is_empty())
}

/// The limits of a command that only lists models.
pub(crate) fn listing_limits(limit: Option<Duration>) -> GenerationLimits {
    let limits = GenerationLimits::default();
    limit.map_or(limits, |limit| limits.with_listing(limit))
}

/// Reads a number of seconds, such as `30` or `0.5`.
///
/// # Errors
/// What is no positive number of seconds.
pub(crate) fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let seconds: f64 =
        text.strip_suffix('s').unwrap_or(text).parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(limit) if !limit.is_zero() => Ok(limit),
        _ => Err("must be more than 0".to_owned()),
    }
}

/// A value with something in it.
fn not_blank(text: &str) -> std::result::Result<String, String> {
    let text = text.trim();
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// An address without its user name, password and query, fit to be shown.
pub(crate) fn shown_url(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_positive() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("30s"), Ok(Duration::from_secs(30)));
        for bad in ["", "0", "-1", "nan", "inf", "1e300", "1m"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_given_in_place_of_a_name_is_not_repeated() {
        assert!(looks_like_a_name("OPENAI_API_KEY_2") && looks_like_a_name("my_key"));
        for key in ["sk-abcdef", "hf_abc123def", "gsk_9x8y", "AKIA".repeat(11).as_str()] {
            assert!(!looks_like_a_name(key), "{key}");
            assert!(!super::key(key).expect_err("not set").to_string().contains(key));
        }
    }

    #[test]
    fn addresses_are_shown_without_what_may_be_secret() {
        for (url, shown) in [
            ("http://user:pass@host:80/v1?key=x", "http://host:80/v1"),
            ("https://a:b@c@host", "https://host"),
            ("proxy:3128", "proxy:3128"),
            ("user:pass@proxy:3128", "proxy:3128"),
            ("http://host/a@b", "http://host/a@b"),
        ] {
            assert_eq!(shown_url(url), shown, "{url}");
        }
    }
}
