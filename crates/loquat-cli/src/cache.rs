//! `loquat cache`: the cache that a fleet shares, looked at, filled, emptied.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args, Subcommand};
use loquat::{
    Error, ErrorKind, Result, Secret,
    prompt::{
        cache::{
            CacheLimits, TokenCache,
            remote::{Ask, Remote, RemoteConfig, RemoteTokens, Topology},
        },
        count::Counter,
    },
};

use crate::{
    console::{Console, write_out},
    exit::{EXIT_CODES, Exit},
    input, runtime,
};

/// Longest that Redis may take for one answer: a person waits, not a request.
const BUDGET: Duration = Duration::from_secs(5);
/// Longest file that is read for `warm`, bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

const EXAMPLES: &str = "\
Examples:
  loquat cache stats                                  what the server at $LOQUAT_REDIS_URL holds
  loquat cache warm --model gpt-4o prompts/*.txt      their tokens, computed once for the fleet
  loquat cache clear --redis redis://127.0.0.1:6379   everything below the prefix

Values are sealed with $LOQUAT_CACHE_SEAL, which all nodes share; addresses with
passwords belong into $LOQUAT_REDIS_URL.";

/// Look into, fill or empty the cache of tokens and answers that a fleet shares in Redis
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,

    /// Redis, as redis:// or rediss://
    #[arg(
        long,
        global = true,
        env = "LOQUAT_REDIS_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value = "redis://127.0.0.1:6379"
    )]
    redis: String,

    /// What keys begin with
    #[arg(long, global = true, value_name = "TEXT", default_value = "loquat")]
    prefix: String,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// Count what there is, by kind
    Stats,
    /// Put the tokens of files there
    Warm {
        /// Texts (- for stdin)
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The model whose tokens they are
        #[arg(long, short, default_value = "gpt-4o")]
        model: String,
        /// On whose behalf
        #[arg(long, default_value = "")]
        tenant: String,
    },
    /// Remove all of it
    Clear,
}

/// Runs the command.
///
/// # Errors
/// Redis cannot be reached, the seal is missing, a file cannot be read.
pub(crate) fn run(args: &CacheArgs, console: &Console) -> Result<Exit> {
    if let CacheCommand::Warm { files, .. } = &args.command {
        let mut named = files.iter().filter(|file| *file != Path::new("-"));
        named.try_for_each(|file| input::readable(file, MAX_FILE_BYTES))?;
    }
    let seal = std::env::var("LOQUAT_CACHE_SEAL").ok();
    let wants_seal = matches!(args.command, CacheCommand::Warm { .. });
    if wants_seal && seal.is_none() {
        return Err(Error::new(
            ErrorKind::NotConfigured,
            "LOQUAT_CACHE_SEAL is not set: nodes would not believe the values",
        ));
    }
    // To count and to remove, no value is read.
    let seal = Secret::from(seal.unwrap_or_else(|| "no value is read here".to_owned()));
    let mut config = RemoteConfig::new(Topology::Standalone(args.redis.as_str().into()), seal);
    config.prefix.clone_from(&args.prefix);
    config.budget = BUDGET;
    config.near_values = 0;
    config.ask = Ask::Always;
    // Nothing is missing by now: an address that is none, or a seal that is too short.
    let remote = Remote::try_new(config).map_err(|error| input::unusable("the cache", &error))?;
    runtime()?.block_on(async {
        remote.connect().await?;
        match &args.command {
            CacheCommand::Stats => {
                let kinds = remote.inventory().await?;
                for (kind, values) in &kinds {
                    write_out(&format!("{kind}  {values}\n"))?;
                }
                console.note(&format!("{} values", kinds.values().sum::<u64>()));
            }
            CacheCommand::Clear => console.note(&format!("{} values removed", remote.clear().await?)),
            CacheCommand::Warm { files, model, tenant } => {
                warm(&remote, files, model, tenant, console).await?;
            }
        }
        Ok(Exit::Finished)
    })
}

async fn warm(
    remote: &Remote,
    files: &[PathBuf],
    model: &str,
    tenant: &str,
    console: &Console,
) -> Result<()> {
    let tokenizer = Arc::clone(Counter::for_model(model)?.tokenizer());
    let local = TokenCache::new(CacheLimits::default()).tokenizer(tenant, &tokenizer);
    let tokens = RemoteTokens::try_new(local, remote.clone())?;
    for file in files {
        let text = input::text(Some(file), MAX_FILE_BYTES)?;
        tokens.prepare(&[&text]).await?;
    }
    remote.flush().await;
    let stats = remote.stats();
    console.note(&format!(
        "{} texts written, {} were there, {} left out",
        stats.written, stats.hits, stats.unwritten
    ));
    Ok(())
}
