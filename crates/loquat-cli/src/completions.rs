//! `loquat completions`: a script that completes the program's commands and flags.

use clap::{Args, Command};
use clap_complete::Shell;
use loquat::Result;

use crate::{console::write_out, exit::Exit};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  loquat completions bash > ~/.local/share/bash-completion/completions/loquat"
)]
pub(crate) struct CompletionsArgs {
    shell: Shell,
}

/// Runs the command.
///
/// # Errors
/// Where stdout cannot be written.
pub(crate) fn run(args: &CompletionsArgs, mut command: Command) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "loquat", &mut script);
    write_out(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Finished)
}
