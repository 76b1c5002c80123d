//! `loquat models`: what can be asked.

use std::time::Duration;

use clap::Args;
use loquat::{Client, Error, ErrorKind, ModelInfo, Result};
use serde::Serialize;

use crate::{
    connect::{Connection, NetworkArgs, ServerArgs, listing_limits, seconds, shown_url},
    console::{Console, DIM, write_out},
    exit::{EXIT_CODES, Exit},
    json::{ErrorLine, to_json},
    listing::list_all,
    neutral,
};

const EXAMPLES: &str = "\
Examples:
  loquat models                                        all that is configured, and the engine
  loquat models openai                                 one provider
  loquat models --base-url http://127.0.0.1:8080/v1    a server of your own
  loquat models --json | jq -r 'select(.name).name'    the names alone";

/// List the models that can be asked, by the names that `loquat chat --model` takes
///
/// All providers that are configured are asked at once, and have 800 ms to answer. Those that do not, or lack a key,
/// are named on stderr.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct ModelsArgs {
    /// One provider (or `engine`) alone; with --base-url, the provider whose wire format the server speaks
    provider: Option<String>,

    #[command(flatten)]
    server: ServerArgs,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,

    /// Seconds that each server has to answer [default: 0.8]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,

    #[command(flatten)]
    network: NetworkArgs,
}

impl ModelsArgs {
    /// The environment variable that holds a key under an unusual name.
    pub(crate) fn key_variable(&self) -> Option<&str> {
        self.server.key_env.as_deref()
    }
}

/// A line.
#[derive(Debug, Serialize)]
struct Row {
    /// What `--model` takes.
    name: String,
    provider: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_window: Option<u64>,
    /// Only of the engine's: whether its file is here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pulled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

/// A provider that could not be listed.
#[derive(Debug, Serialize)]
struct Missing<'a> {
    provider: &'a str,
    error: ErrorLine,
}

impl Row {
    fn of(prefix: &str, provider: &str, model: ModelInfo) -> Self {
        let ModelInfo { id, owner, context_window, .. } = model;
        let name = if prefix.is_empty() { id.clone() } else { format!("{prefix}:{id}") };
        Self { name, provider: provider.to_owned(), id, owner, context_window, pulled: None, bytes: None }
    }

    /// What is known besides the name.
    fn note(&self) -> String {
        let context = self.context_window.map(|tokens| format!("{tokens} tokens"));
        let pulled = match (self.pulled, self.bytes) {
            (Some(true), Some(bytes)) => Some(format!("pulled, {}", crate::size::megabytes(bytes))),
            (Some(false), _) => Some("not pulled yet: the first use does, or `loquat pull`".to_owned()),
            _ => None,
        };
        [context, self.owner.clone(), pulled].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// Runs the command.
///
/// # Errors
/// Where nothing at all could be listed, or not the one provider that was asked for.
pub(crate) fn run(args: &ModelsArgs, console: &Console) -> Result<Exit> {
    let asked_for = args.provider.as_deref().map(|name| name.trim_end_matches(':'));
    let connection = Connection {
        network: &args.network,
        server: &args.server,
        limits: listing_limits(args.timeout),
        provider: asked_for,
    };
    let client = connection.client(
        #[cfg(feature = "engine")]
        None,
    )?;

    // Some list what could be set up, or nothing.
    let lists_what_can_be_asked =
        |name: &str| loquat::provider::profile(name).is_none_or(|profile| profile.lists_models);
    let mut rows = Vec::new();
    let mut missing = Vec::new();
    let server = client.base_url().map(shown_url);
    if server.is_none() && asked_for.is_none_or(|name| name == "engine") {
        rows.append(&mut engine_rows(asked_for.is_some())?);
    }
    let providers = match (asked_for, &server) {
        (Some("engine"), None) => Vec::new(),
        (Some(provider), _) => vec![provider.to_owned()],
        (None, Some(_)) => vec![String::new()],
        (None, None) => client
            .providers()
            .iter()
            .filter(|provider| provider.is_configured() && lists_what_can_be_asked(provider.name))
            .map(|provider| provider.name.to_owned())
            .collect(),
    };
    let runtime = crate::runtime()?;
    let listings = runtime.block_on(list_all(&client, providers));
    runtime.shutdown_background();
    for listing in listings {
        let shown = server.as_deref().unwrap_or(&listing.provider).to_owned();
        // At a server of one's own the prefix says the wire format.
        let prefix = listing.provider.as_str();
        match listing.models {
            Ok(models) => rows.extend(models.into_iter().map(|model| Row::of(prefix, &shown, model))),
            // A local server that nobody spoke of may be absent.
            Err(error)
                if asked_for.is_none() && error.kind() == ErrorKind::Connect && is_local(&client, &shown) =>
            {
                console.detail(|| format!("{shown}: {error}"));
            }
            Err(error) => missing.push((shown, error)),
        }
    }
    print(&rows, &missing, args.json, console)?;
    conclude(rows.is_empty(), missing, asked_for.is_some() || server.is_some(), console)
}

/// Whether that provider runs on this machine and needs no key.
fn is_local(client: &Client, name: &str) -> bool {
    client.providers().iter().any(|provider| provider.name == name && provider.key_variable.is_none())
}

/// The engine's models.
#[cfg(feature = "engine")]
fn engine_rows(_wanted: bool) -> Result<Vec<Row>> {
    let row = |name: &str, pulled, bytes| Row {
        name: name.to_owned(),
        provider: "engine".to_owned(),
        id: name.strip_prefix("engine:").unwrap_or("smollm2").to_owned(),
        owner: None,
        context_window: None,
        pulled: Some(pulled),
        bytes,
    };
    let pulled = crate::local::pulled_models()?;
    let mut rows: Vec<_> = pulled.iter().map(|model| row(&model.name, true, Some(model.bytes))).collect();
    if rows.iter().all(|row| row.name != "engine") {
        rows.insert(0, row("engine", false, None));
    }
    Ok(rows)
}

/// There is no engine to have any.
#[cfg(not(feature = "engine"))]
fn engine_rows(wanted: bool) -> Result<Vec<Row>> {
    if wanted { Err(crate::no_engine()) } else { Ok(Vec::new()) }
}

fn print(rows: &[Row], missing: &[(String, Error)], as_json: bool, console: &Console) -> Result<()> {
    let mut text = String::new();
    if as_json {
        let internal = |cause| Error::new(ErrorKind::Internal, "a listing is no JSON").with_source(cause);
        for row in rows {
            text += &to_json(row).map_err(internal)?;
            text.push('\n');
        }
        for (provider, error) in missing {
            let missing = Missing { provider, error: ErrorLine::new(error, console) };
            text += &to_json(&missing).map_err(internal)?;
            text.push('\n');
        }
    } else {
        let names: Vec<_> = rows.iter().map(|row| neutral::line(&row.name)).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        for (name, row) in names.iter().zip(rows) {
            let note = neutral::line(&row.note());
            let line = format!("{name:width$}  {}", console.out_paint(DIM, &note));
            text += line.trim_end();
            text.push('\n');
        }
    }
    write_out(&text)
}

/// Names those who did not answer; an error where nobody did, or the one who was asked for.
fn conclude(
    nothing: bool,
    missing: Vec<(String, Error)>,
    one_wanted: bool,
    console: &Console,
) -> Result<Exit> {
    if one_wanted && let Some((_, error)) = missing.first() {
        return Err(error.clone());
    }
    for (provider, error) in &missing {
        console.note(&format!("{provider}: {error}"));
    }
    match missing.into_iter().next() {
        Some((_, error)) if nothing => Err(error),
        _ if nothing => {
            Err(Error::new(ErrorKind::NotConfigured, "nothing is configured that could list models"))
        }
        _ => Ok(Exit::Finished),
    }
}
