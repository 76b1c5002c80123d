//! The `loquat` program: chat with any model from a shell.
//!
//! Words and flags in, the facade's calls, words out: no algorithm lives here. One file per command; `exit` has the
//! codes a script can rely on, `neutral` what keeps a terminal safe from a model, `console` what keeps keys out of
//! every message.
#![forbid(unsafe_code)]

#[cfg(feature = "redis")]
mod cache;
mod chat;
mod completions;
mod discover;
mod doctor;
mod embed;
mod man;
mod models;
mod prompt;
mod pull;
mod route;
mod tokens;
mod top;

mod connect;
mod console;
mod exit;
mod input;
mod interrupt;
mod json;
mod listing;
mod local;
#[cfg(all(feature = "jemalloc", not(target_env = "msvc")))]
mod memory;
mod neutral;
#[cfg(feature = "engine")]
mod progress;
mod size;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use loquat::{Error, ErrorKind, Result};

use console::{Console, is_reader_gone};
use exit::{EXIT_CODES, Exit};

const EXAMPLES: &str = "\
Examples:
  loquat chat \"Write one sentence about loquats.\"    no key; the first run fetches 92 MB
  loquat chat                                        a conversation
  loquat chat -m openai:gpt-4o \"…\"                   any provider whose key is in the environment
  loquat doctor                                      what is configured, reachable, missing";

/// Chat with language models: OpenAI-compatible, Anthropic and Ollama servers, or the embedded engine
#[derive(Debug, Parser)]
#[command(name = "loquat", version, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
struct Cli {
    /// Say more on stderr
    #[arg(short, long, global = true)]
    verbose: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Chat(Box<chat::ChatArgs>),
    Models(models::ModelsArgs),
    Embed(Box<embed::EmbedArgs>),
    Pull(pull::PullArgs),
    Tokens(tokens::TokensArgs),
    Doctor(doctor::DoctorArgs),
    Prompt(prompt::PromptArgs),
    #[cfg(feature = "redis")]
    Cache(cache::CacheArgs),
    Top(top::TopArgs),
    Route(route::RouteArgs),
    Discover(Box<discover::DiscoverArgs>),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let flags = flags(&Cli::command(), &matches);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let key_variable = match &cli.command {
        Command::Chat(args) => args.key_variable(),
        Command::Models(args) => args.key_variable(),
        Command::Top(args) => args.key_variable(),
        Command::Discover(args) => args.key_variable(),
        Command::Embed(args) => args.key_variable(),
        _ => None,
    };
    let console = Console::new(cli.verbose, key_variable, flags);
    let exit = match &cli.command {
        Command::Chat(args) => chat::run(args, &console),
        Command::Models(args) => models::run(args, &console),
        Command::Embed(args) => embed::run(args, &console),
        Command::Pull(args) => pull::run(args, &console),
        Command::Tokens(args) => tokens::run(args, &console),
        Command::Doctor(args) => doctor::run(args, &console),
        Command::Prompt(args) => prompt::run(args, &console),
        #[cfg(feature = "redis")]
        Command::Cache(args) => cache::run(args, &console),
        Command::Top(args) => top::run(args, &console),
        Command::Route(args) => route::run(args, &console),
        Command::Discover(args) => discover::run(args, &console),
        Command::Completions(args) => completions::run(args, Cli::command()),
        Command::Man(args) => man::run(args, Cli::command()),
    };
    exit.unwrap_or_else(|error| {
        if is_reader_gone(&error) {
            return Exit::Finished;
        }
        console.error(&error);
        Exit::of(&error)
    })
    .into()
}

/// The long flags of the command that was named, and of those above it.
fn flags(command: &clap::Command, matches: &ArgMatches) -> Vec<String> {
    let mut flags: Vec<String> =
        command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned).collect();
    if let Some((name, matches)) = matches.subcommand()
        && let Some(command) = command.find_subcommand(name)
    {
        flags.extend(self::flags(command, matches));
    }
    flags
}

/// A runtime of one thread: every command waits for one thing at a time, or for sockets alone.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Error::new(ErrorKind::Local, "cannot start the runtime").with_source(cause))
}

/// What a build without the engine says of it.
#[cfg(not(feature = "engine"))]
fn no_engine() -> Error {
    Error::new(
        ErrorKind::NotConfigured,
        "this build has no embedded engine: build it with the feature `engine`, which is there by default",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_flags_are_those_of_the_command() {
        for (line, has_timeout, has_certificate) in [
            (&["loquat", "chat", "hi"][..], true, true),
            (&["loquat", "embed", "-m", "m", "hi"], true, true),
            (&["loquat", "top"], false, false),
            (&["loquat", "prompt", "lint", "x"], false, false),
        ] {
            let flags = flags(&Cli::command(), &Cli::command().get_matches_from(line));
            let has = |name: &str| flags.iter().any(|flag| flag == name);
            assert_eq!((has("timeout"), has("ca-cert")), (has_timeout, has_certificate), "{line:?}");
        }
    }

    #[test]
    fn no_line_of_the_examples_is_broken() {
        // clap breaks lines after a hundred characters, also where the terminal has more.
        fn check(command: &clap::Command) {
            for text in [command.get_after_help(), command.get_after_long_help()].into_iter().flatten() {
                for line in text.to_string().lines() {
                    assert!(line.chars().count() <= 100, "{}: {line}", command.get_name());
                }
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
