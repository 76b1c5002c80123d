//! `loquat route`: whether a file of routes can be used, which endpoint it would choose and why, and how it would fare.

mod file;
mod plot;
mod simulate;

use std::{path::PathBuf, sync::Arc, time::Instant};

use clap::{Args, Subcommand};
use loquat::{
    Error, ErrorKind, Result,
    core::model_fn,
    router::{Abilities, Asked, Connected, EndpointSpec, Plan, Router, config},
};

use crate::{
    console::{Console, write_out},
    exit::{EXIT_CODES, Exit},
    json::to_json,
    neutral,
};
use file::RouteFile;

const EXAMPLES: &str = "\
Examples:
  loquat route check routes.toml
  loquat route explain routes.toml chat --needs vision,tool_use --prompt-tokens 20000
  loquat route simulate routes.toml --script day.toml --plot day.svg
  loquat route schema > routes.schema.json";

/// Look at files of routes: check one, ask which endpoint it would choose and why, simulate a day
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct RouteArgs {
    #[command(subcommand)]
    command: RouteCommand,
}

#[derive(Debug, Subcommand)]
enum RouteCommand {
    /// Say whether a file can be used, keys included, and all that is wrong with it
    Check {
        /// TOML, or YAML by its name's end; - for stdin, as TOML
        file: PathBuf,
        /// Do not look for the keys that it names
        #[arg(long)]
        without_keys: bool,
    },
    /// Say which endpoint a request would go to, and what speaks for and against each
    Explain {
        /// TOML, or YAML by its name's end; - for stdin, as TOML
        file: PathBuf,
        /// The model's name that the request would ask for
        model: String,
        /// What the request needs: names of abilities
        #[arg(long, value_delimiter = ',', value_parser = ability)]
        needs: Vec<Abilities>,
        /// Tokens of its prompt
        #[arg(long, default_value_t = 500)]
        prompt_tokens: u32,
        /// Tokens of the longest answer that it allows; 0 for no bound
        #[arg(long, default_value_t = 0)]
        output_tokens: u32,
    },
    /// Let a script of traffic and outages run through the routes, on a virtual clock
    Simulate(simulate::SimulateArgs),
    /// Print the JSON Schema of such a file
    Schema {
        /// That of a simulation's script instead
        #[arg(long)]
        script: bool,
    },
}

/// Runs the command.
///
/// # Errors
/// What is wrong with a file.
pub(crate) fn run(args: &RouteArgs, console: &Console) -> Result<Exit> {
    match &args.command {
        RouteCommand::Check { file, without_keys } => {
            let file = RouteFile::read(file)?;
            let plan = if *without_keys { file.plan()? } else { file.plan_with_keys()? };
            file.of(nowhere(&plan))?;
            // What an endpoint speaks, and whether its address is one, is known once it is connected.
            let client = loquat::Client::builder().env().build()?;
            if !*without_keys {
                client.router(&plan)?;
            }
            let count = |count: usize, what| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
            let (endpoints, routes) = (plan.endpoints.len(), plan.routes.len());
            write_out(&format!("{}, {}\n", count(endpoints, "endpoint"), count(routes, "route")))?;
        }
        RouteCommand::Explain { file, model, needs, prompt_tokens, output_tokens } => {
            let file = RouteFile::read(file)?;
            let router = file.of(nowhere(&file.plan()?))?;
            let needs = needs.iter().fold(Abilities::NONE, |all, ability| all.and(*ability));
            let asked = Asked::nothing()
                .with_abilities(needs)
                .with_prompt_tokens(*prompt_tokens)
                .with_output_tokens(*output_tokens);
            let explanation = router.explain_for(model, &asked, Instant::now())?;
            write_out(&(neutral::paragraph(&explanation.to_string()) + "\n"))?;
            return Ok(if explanation.decision.is_ok() { Exit::Finished } else { Exit::NotConfigured });
        }
        RouteCommand::Simulate(args) => simulate::run(args, console)?,
        RouteCommand::Schema { script } => {
            let schema = if *script { config::script_schema() } else { config::schema() };
            let no_json = |cause| Error::new(ErrorKind::Internal, "the schema is no JSON").with_source(cause);
            write_out(&(to_json(&schema).map_err(no_json)? + "\n"))?;
        }
    }
    Ok(Exit::Finished)
}

/// A router that decides and asks nobody.
fn nowhere(plan: &Plan) -> Result<Router> {
    let nobody = model_fn(|_, _| async { Err(Error::new(ErrorKind::Internal, "nobody is asked here")) });
    Router::builder(move |_: &EndpointSpec| Ok(Connected::new(Arc::new(nobody)))).seed(1).build(plan)
}

fn ability(name: &str) -> std::result::Result<Abilities, String> {
    Abilities::named(name).ok_or_else(|| format!("there are: {}", Abilities::names().join(", ")))
}
