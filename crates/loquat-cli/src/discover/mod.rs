//! `loquat discover`: what a source of endpoints lists, as a router would take it over, and what becomes of it.
//!
//! It asks the source alone, never an endpoint; what the policy refuses is named on stderr with the reason.

mod source;

use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use loquat::{
    Context, Error, ErrorKind, Result,
    core::{CancellationToken, Discover, Discovered, Listing},
    discovery::Policy,
    transport::{AddressPolicy, Network},
};
use serde::Serialize;
use source::KeyArgs;

use crate::{
    connect::{NetworkArgs, seconds, shown_url},
    console::{BAD, Console, DIM, GOOD, write_out},
    exit::{EXIT_CODES, Exit},
    interrupt::Interrupts,
    json::to_json,
    neutral,
};

const EXAMPLES: &str = "\
Examples:
  loquat discover https://registry.example.com/endpoints       an HTTP registry
  loquat discover endpoints.json                               a file, as a registry would answer
  loquat discover --network 10.0.0.0/8 probe:http://10.0.0.1:8000,http://10.0.0.2:8000
  loquat discover dns:llama.default.svc:8000 --model llama     an endpoint at each address of a name
  loquat discover srv:_llm._tcp.example.com --model llama
  loquat discover etcd:http://127.0.0.1:2379/loquat/endpoints/ --watch
  loquat discover etcd:https://etcd:2379/loquat/ --user reader --key-env ETCD_PASSWORD
  loquat discover kubernetes:ai/llama --model llama --network 10.0.0.0/8 --watch     inside a pod
  loquat discover kubernetes:http://127.0.0.1:8001/ai/llama:http --model llama --network 10.0.0.0/8
                                                             by `kubectl proxy`, port http
  loquat discover endpoints.json --json | jq -r .name";

/// List the endpoints that a source knows: name, model, address, health, tags
///
/// The source is judged as a router judges it: by default only addresses of the public internet may be listed, see
/// --network. What may not be used is named on stderr. No endpoint is asked anything, except by `probe:`, which asks
/// servers for their list of models.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct DiscoverArgs {
    /// A file, an http(s) address of a registry, probe:URL[,URL…], dns:NAME:PORT, srv:NAME, etcd:URL/PREFIX or
    /// `kubernetes:[URL/]NAMESPACE/SERVICE[:PORT]`
    ///
    /// kubernetes: follows the EndpointSlices of a service. Without the API server's URL it is the one that a pod's variables
    /// name, with the cluster's certificate and the service account's token; the account must be allowed to list and
    /// watch endpointslices (discovery.k8s.io). PORT is a port's name in the service; without it the first is taken.
    source: String,

    /// The model at the addresses of dns:, srv: and kubernetes:, which say nothing of it
    #[arg(long)]
    model: Option<String>,

    /// Let endpoints be in this network, too, such as 10.0.0.0/8; may be given several times
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    network: Vec<Network>,

    /// Let endpoints be anywhere, on this machine too
    #[arg(long, conflicts_with = "network")]
    any_address: bool,

    /// Go on, and print what changes, until Ctrl-C
    #[arg(long)]
    watch: bool,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,

    /// Seconds that the source has for its first answer
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "5")]
    timeout: Duration,

    #[command(flatten)]
    keys: KeyArgs,

    #[command(flatten)]
    connection: NetworkArgs,
}

impl DiscoverArgs {
    /// The environment variable that holds a token.
    pub(crate) fn key_variable(&self) -> Option<&str> {
        self.keys.key_env.as_deref()
    }

    fn policy(&self) -> Policy {
        match self.any_address {
            true => Policy::new().with_addresses(AddressPolicy::Any),
            false => Policy::new().with_networks(self.network.iter().copied()),
        }
    }
}

fn network(text: &str) -> std::result::Result<Network, String> {
    text.parse().map_err(|error: Error| error.message().to_owned())
}

/// Runs the command.
///
/// # Errors
/// The source cannot be asked, lists nothing, or nothing that may be used.
pub(crate) fn run(args: &DiscoverArgs, console: &Console) -> Result<Exit> {
    let ended = CancellationToken::new();
    Interrupts::listen()?.cancel(&ended);
    let runtime = crate::runtime()?;
    let followed = runtime.block_on(async {
        // A source may make its sockets at once.
        let mut source = args.source()?;
        tokio::select! {
            followed = follow(args, source.as_mut(), console) => followed,
            () = ended.cancelled() => Ok(if args.watch { Exit::Finished } else { Exit::Interrupted }),
        }
    });
    runtime.shutdown_background();
    followed
}

async fn follow(args: &DiscoverArgs, source: &mut dyn Discover, console: &Console) -> Result<Exit> {
    let context = Context::new().with_timeout(args.timeout);
    let first = tokio::time::timeout(args.timeout, source.next(&context)).await;
    let too_late =
        || Error::new(ErrorKind::Timeout, format!("no listing within {:?} (--timeout)", args.timeout));
    let mut known = shown(&first.unwrap_or_else(|_| Err(too_late()))?, console);
    if known.is_empty() && !args.watch {
        return Err(Error::new(ErrorKind::NotConfigured, "the source lists no endpoint"));
    }
    write_out(&table(known.values().map(|row| (None, row)), args.json, console)?)?;
    if !args.watch {
        return Ok(Exit::Finished);
    }
    loop {
        match source.next(&Context::new()).await {
            Ok(listing) => {
                let new = shown(&listing, console);
                write_out(&table(changes(&known, &new), args.json, console)?)?;
                known = new;
            }
            // The source waits by itself before it is asked again.
            Err(error) => console.note(&format!("as before: {error}")),
        }
    }
}

/// What is shown of an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    name: String,
    provider: String,
    model: String,
    base_url: String,
    /// `up`, `down`, or nothing where the source says nothing of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<&'static str>,
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_window: Option<u32>,
}

impl Row {
    fn of(found: &Discovered) -> Self {
        Self {
            name: found.name.clone(),
            provider: found.endpoint.provider.clone(),
            model: found.endpoint.model.clone(),
            base_url: shown_url(&found.endpoint.base_url),
            health: found.is_up.map(|is_up| if is_up { "up" } else { "down" }),
            tags: found.tags.clone(),
            weight: found.weight,
            context_window: found.context_window,
        }
    }

    /// What is known besides.
    fn note(&self) -> String {
        let weight = self.weight.map(|weight| format!("weight {weight}"));
        let window = self.context_window.map(|tokens| format!("{tokens} tokens"));
        self.tags.iter().cloned().chain(weight).chain(window).collect::<Vec<_>>().join(", ")
    }
}

/// By name; what was refused goes to stderr.
fn shown(listing: &Listing, console: &Console) -> BTreeMap<String, Row> {
    listing.refused.iter().for_each(|why| console.note(&format!("refused: {}", neutral::line(why))));
    listing.endpoints.iter().map(|found| (found.name.clone(), Row::of(found))).collect()
}

/// Who came, went, or is another than before, by name.
fn changes<'a>(
    old: &'a BTreeMap<String, Row>,
    new: &'a BTreeMap<String, Row>,
) -> impl Iterator<Item = (Option<Change>, &'a Row)> {
    let gone =
        old.iter().filter(|(name, _)| !new.contains_key(*name)).map(|(_, row)| (Some(Change::Left), row));
    let here = new.iter().filter_map(|(name, row)| match old.get(name) {
        None => Some((Some(Change::Joined), row)),
        Some(before) => (before != row).then_some((Some(Change::Changed), row)),
    });
    gone.chain(here)
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    Joined,
    Left,
    Changed,
}

/// An endpoint as a line of JSON, with what became of it where that is told.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<Change>,
    #[serde(flatten)]
    row: &'a Row,
}

fn table<'a>(
    rows: impl Iterator<Item = (Option<Change>, &'a Row)>,
    as_json: bool,
    console: &Console,
) -> Result<String> {
    let rows: Vec<_> = rows.collect();
    let mut text = String::new();
    if as_json {
        for (change, row) in rows {
            let internal = |cause| Error::new(ErrorKind::Internal, "a listing is no JSON").with_source(cause);
            text += &(to_json(&Line { change, row }).map_err(internal)? + "\n");
        }
        return Ok(text);
    }
    let cells: Vec<_> = rows
        .iter()
        .map(|(_, row)| {
            let model = format!("{}:{}", row.provider, row.model);
            [&row.name, &model, &row.base_url].map(|cell| neutral::line(cell))
        })
        .collect();
    let width = |at: usize| cells.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    for ((change, row), [name, model, url]) in rows.iter().zip(&cells) {
        let mark = match change {
            None => "",
            Some(Change::Joined) => "+ ",
            Some(Change::Left) => "- ",
            Some(Change::Changed) => "~ ",
        };
        let health = match row.health {
            Some("up") => console.out_paint(GOOD, "up  "),
            Some(_) => console.out_paint(BAD, "down"),
            None => "–   ".to_owned(),
        };
        let note = console.out_paint(DIM, &neutral::line(&row.note()));
        let [first, second, third] = widths;
        let line = format!("{mark}{name:first$}  {model:second$}  {url:third$}  {health}  {note}");
        text += &(line.trim_end().to_owned() + "\n");
    }
    Ok(text)
}
