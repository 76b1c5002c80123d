//! `loquat doctor`: what is configured, reachable, missing.

use std::{env, path::PathBuf, time::Duration};

use clap::Args;
use loquat::{Client, Error, ErrorKind, Result, transport::Url};
use serde::Serialize;

use crate::{
    connect::{Connection, NetworkArgs, ServerArgs, has_variable, listing_limits, seconds, shown_url},
    console::{BAD, BOLD, Console, DIM, GOOD, write_out},
    exit::Exit,
    json::to_json,
    listing::{Listing, list_all},
    local::folder_bytes,
    neutral,
    size::megabytes,
};

/// The variables that other programs take a proxy from. We only look.
const PROXY_VARIABLES: &[&str] = &[
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// Show what is configured, reachable, missing
///
/// ✓ works, ✗ is configured and does not work, – is not configured (which is no fault). Keys are never shown, only
/// whether they are there. The exit code is 1 where something is wrong or nothing could answer, else 0.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  loquat doctor\n  loquat doctor --offline\n  loquat doctor --json | jq 'select(.state == \"bad\")'"
)]
pub(crate) struct DoctorArgs {
    /// Print one JSON object per line: group, name, state (good, bad, absent), says
    #[arg(long)]
    json: bool,

    /// Ask nobody: look at this machine only
    #[arg(long)]
    offline: bool,

    /// Seconds that each server has to answer [default: 0.8]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,

    #[command(flatten)]
    network: NetworkArgs,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Good,
    Bad,
    Absent,
}

/// A line.
#[derive(Debug, Serialize)]
struct Check {
    group: &'static str,
    name: String,
    state: State,
    says: String,
    /// Whether it can answer a question as it stands.
    #[serde(skip)]
    answers: bool,
}

impl Check {
    fn new(group: &'static str, name: impl Into<String>, state: State, says: impl Into<String>) -> Self {
        Self { group, name: name.into(), state, says: says.into(), answers: false }
    }

    fn that_answers(self) -> Self {
        Self { answers: true, ..self }
    }

    /// Without keys in what others say; a row's name is our own word, but that of a server is its address.
    fn redacted(mut self, console: &Console) -> Self {
        if self.group == SERVER {
            self.name = console.redact(&self.name).into_owned();
        }
        self.says = console.redact(&self.says).into_owned();
        self
    }
}

/// The group of the server in LOQUAT_BASE_URL.
const SERVER: &str = "server";

/// Runs the command.
///
/// # Errors
/// Where the flags cannot be used or stdout cannot be written.
pub(crate) fn run(args: &DoctorArgs, console: &Console) -> Result<Exit> {
    // A flag that cannot be used is no finding.
    args.network.config()?;
    let server = ServerArgs::default();
    let connection = Connection {
        network: &args.network,
        server: &server,
        limits: listing_limits(args.timeout),
        provider: None,
    };
    let mut checks = engine_checks();
    match connection.client(
        #[cfg(feature = "engine")]
        None,
    ) {
        Ok(client) => checks.append(&mut server_checks(&client, args.offline)?),
        // A configuration that cannot be used is what a doctor is asked about.
        Err(error) => checks.push(Check::new("environment", "configuration", State::Bad, error.to_string())),
    }
    checks.append(&mut environment_checks(args.network.proxy.is_some()));
    let healthy =
        checks.iter().all(|check| check.state != State::Bad) && checks.iter().any(|check| check.answers);
    let checks: Vec<_> = checks.into_iter().map(|check| check.redacted(console)).collect();
    let text = if args.json { json(&checks)? } else { table(&checks, healthy, console) };
    write_out(&text)?;
    Ok(if healthy { Exit::Finished } else { Exit::Other })
}

#[cfg(feature = "engine")]
fn engine_checks() -> Vec<Check> {
    const GROUP: &str = "engine";
    let mut checks = vec![Check::new(GROUP, "built in", State::Good, "yes")];
    let installer = crate::local::find_program(&["uv", "pip3", "pip", "python3"]);
    match crate::local::pulled_models() {
        Ok(models) => {
            let has_default = models.iter().any(|model| model.name == "engine");
            for model in &models {
                let says = format!("{}, {}", megabytes(model.bytes), model.path.display());
                checks.push(Check::new(GROUP, &model.name, State::Good, says).that_answers());
            }
            match (has_default, &installer) {
                (true, _) => {}
                (false, Some(_)) => checks.push(
                    Check::new(GROUP, "engine", State::Absent, "not pulled yet: the first use does, or `loquat pull`")
                        .that_answers(),
                ),
                (false, None) => checks.push(Check::new(
                    GROUP,
                    "engine",
                    State::Absent,
                    "not pulled, and neither uv nor pip is there to fetch it: install one, or `loquat pull URL`",
                )),
            }
        }
        Err(error) => checks.push(Check::new(GROUP, "models", State::Bad, error.to_string())),
    }
    checks.push(match installer {
        Some(path) => Check::new(GROUP, "uv or pip", State::Good, path.display().to_string()),
        None => {
            Check::new(GROUP, "uv or pip", State::Absent, "not in PATH; only `loquat pull smollm2` needs one")
        }
    });
    checks
}

#[cfg(not(feature = "engine"))]
fn engine_checks() -> Vec<Check> {
    vec![Check::new("engine", "built in", State::Absent, "no: this build is without the feature `engine`")]
}

/// The server in LOQUAT_BASE_URL, or every provider.
fn server_checks(client: &Client, offline: bool) -> Result<Vec<Check>> {
    if let Some(url) = client.base_url() {
        let url = shown_url(url);
        if offline {
            return Ok(vec![
                Check::new(SERVER, &url, State::Good, "LOQUAT_BASE_URL, not asked").that_answers(),
            ]);
        }
        let listings = list(client, vec![String::new()])?;
        return Ok(listings.iter().map(|listing| reached(SERVER, &url, &url, listing, State::Bad)).collect());
    }
    let providers = client.providers();
    let asked: Vec<_> = providers
        .iter()
        .filter(|provider| provider.is_configured() && !offline)
        .map(|provider| provider.name.to_owned())
        .collect();
    let listings = list(client, asked)?;
    let check = |provider: &loquat::ProviderStatus| {
        const GROUP: &str = "providers";
        let url = shown_url(&provider.base_url);
        // A local server that nobody said is there may be absent.
        let told_of = provider.has_key || (provider.name == "ollama" && has_variable("OLLAMA_HOST"));
        if let Some(listing) = listings.iter().find(|listing| listing.provider == provider.name) {
            let unreachable = if told_of { State::Bad } else { State::Absent };
            return reached(GROUP, provider.name, &url, listing, unreachable);
        }
        match provider.key_variable {
            Some(variable) if !provider.has_key => {
                Check::new(GROUP, provider.name, State::Absent, format!("no key: set {variable}"))
            }
            Some(_) if provider.base_url.is_empty() => {
                let variable = provider.address_variable.unwrap_or_default();
                Check::new(GROUP, provider.name, State::Absent, format!("no address: set {variable}"))
            }
            Some(variable) => {
                Check::new(GROUP, provider.name, State::Good, format!("{variable} is set; {url} not asked"))
                    .that_answers()
            }
            None => Check::new(GROUP, provider.name, State::Absent, format!("{url} not asked")),
        }
    };
    Ok(providers.iter().map(check).collect())
}

fn list(client: &Client, names: Vec<String>) -> Result<Vec<Listing>> {
    let runtime = crate::runtime()?;
    let listings = runtime.block_on(list_all(client, names));
    runtime.shutdown_background();
    Ok(listings)
}

/// What became of a listing.
fn reached(group: &'static str, name: &str, url: &str, listing: &Listing, unreachable: State) -> Check {
    match &listing.models {
        Ok(models) => {
            let says = format!("{} models at {url} in {} ms", models.len(), listing.took.as_millis());
            Check::new(group, name, State::Good, says).that_answers()
        }
        // It is there and answers, only not to this question.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) => {
            Check::new(group, name, State::Good, format!("{url} answers, and lists no models")).that_answers()
        }
        Err(error) => Check::new(group, name, unreachable, error.to_string()),
    }
}

fn environment_checks(proxy_used: bool) -> Vec<Check> {
    const GROUP: &str = "environment";
    let mut checks = Vec::new();
    for name in ["LOQUAT_MODEL", "LOQUAT_BASE_URL", "LOQUAT_KEY_ENV"] {
        checks.push(match env::var(name).ok().filter(|value| !value.trim().is_empty()) {
            // What is wrong with it, "configuration" says.
            Some(value) if name == "LOQUAT_BASE_URL" && Url::parse(&value).is_err() => {
                Check::new(GROUP, name, State::Bad, shown_url(&value))
            }
            Some(value) => Check::new(GROUP, name, State::Good, shown_url(&value)),
            None => Check::new(GROUP, name, State::Absent, "not set"),
        });
    }
    for name in PROXY_VARIABLES {
        if let Some(value) = env::var(name).ok().filter(|value| !value.trim().is_empty()) {
            let use_ = if proxy_used { "" } else { ", seen and not used: say `--proxy env`" };
            checks.push(Check::new(GROUP, *name, State::Absent, format!("{}{use_}", shown_url(&value))));
        }
    }
    match cache_folder() {
        Some(folder) => {
            let says = match folder_bytes(&folder) {
                Some(bytes) => format!("{}, {}", folder.display(), megabytes(bytes)),
                None => format!("{}, not there yet", folder.display()),
            };
            checks.push(Check::new(GROUP, "cache folder", State::Good, says));
        }
        None => checks.push(Check::new(GROUP, "cache folder", State::Bad, "no home folder: set HOME")),
    }
    checks
}

/// Where models are kept.
#[cfg(feature = "engine")]
fn cache_folder() -> Option<PathBuf> {
    loquat::engine::store::cache_dir().ok()
}

/// Where a build with the engine keeps models.
#[cfg(not(feature = "engine"))]
fn cache_folder() -> Option<PathBuf> {
    use etcetera::BaseStrategy as _;

    let set = env::var_os("LOQUAT_CACHE").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    set.or_else(|| Some(etcetera::base_strategy::choose_native_strategy().ok()?.cache_dir().join("loquat")))
}

fn json(checks: &[Check]) -> Result<String> {
    let mut text = String::new();
    for check in checks {
        let line = to_json(check)
            .map_err(|cause| Error::new(ErrorKind::Internal, "a check is no JSON").with_source(cause))?;
        text += &(line + "\n");
    }
    Ok(text)
}

fn table(checks: &[Check], healthy: bool, console: &Console) -> String {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    let mut group = "";
    for check in checks {
        if check.group != group {
            group = check.group;
            text += &format!("{}\n", console.out_paint(BOLD, group));
        }
        let sign = match check.state {
            State::Good => console.out_paint(GOOD, "✓"),
            State::Bad => console.out_paint(BAD, "✗"),
            State::Absent => console.out_paint(DIM, "–"),
        };
        let name = neutral::line(&check.name);
        let says = neutral::line(&check.says);
        text += &format!("  {sign} {name:width$}  {says}\n");
    }
    text += match (healthy, checks.iter().any(|check| check.answers)) {
        (true, _) => "all that is configured works\n",
        (false, true) => "something that is configured does not work: see ✗\n",
        (false, false) => {
            "nothing here could answer a question: pull a model, set a key, or start a server\n"
        }
    };
    text
}
