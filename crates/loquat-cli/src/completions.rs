//! `loquat completions`: a script that completes the program's commands and flags.

use std::io::Write as _;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::exit::Exit;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  loquat completions bash > ~/.local/share/bash-completion/completions/loquat"
)]
pub(crate) struct CompletionsArgs {
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(args: &CompletionsArgs, mut command: Command) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "loquat", &mut script);
    // Nobody is told where the reader of a script has gone.
    drop(std::io::stdout().write_all(&script));
    Exit::Finished
}
