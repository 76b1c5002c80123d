//! `loquat man`: the manual page of the program, or of one of its commands, in roff as `man` reads it.

use clap::{Args, Command};
use clap_mangen::Man;
use loquat::{Error, ErrorKind, Result};

use crate::{console::write_out, exit::Exit};

/// Print a manual page
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  loquat man | man -l -\n  loquat man route check > ~/.local/share/man/man1/loquat-route-check.1"
)]
pub(crate) struct ManArgs {
    /// The page of that command instead of the program's: `chat`, `route check`
    command: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// [`ErrorKind::InvalidRequest`] for a command that there is not; where stdout cannot be written.
pub(crate) fn run(args: &ManArgs, mut program: Command) -> Result<Exit> {
    // Puts the whole name into each command, and the flags of all.
    program.build();
    let mut command = &program;
    for name in &args.command {
        command = command.find_subcommand(name).ok_or_else(|| {
            let names: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let whose = command.get_display_name().unwrap_or("loquat");
            let what = format!("{whose} has no command {name:?}; there are: {known}");
            Error::new(ErrorKind::InvalidRequest, what)
        })?;
    }
    let mut page = Vec::new();
    let written = Man::new(command.clone()).render(&mut page);
    written.map_err(|cause| Error::new(ErrorKind::Local, "cannot write the page").with_source(cause))?;
    write_out(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Finished)
}
