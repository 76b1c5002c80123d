//! `cargo xtask`: every routine of this repository as a typed command, so that a shell script, a newcomer and CI run the same
//! thing. One file per command; this one only names them. It deliberately depends on none of the product's crates: a broken
//! product must still be able to be checked.

mod bench;
mod conformance;
mod deny;
mod features;
mod fuzz;
mod leaks;
mod lint;
mod peers;
mod sanitize;
mod screen;
mod setup;
mod shell;
mod soak;
mod term;
mod test;
mod tidy;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands. From a fresh clone: `cargo xtask setup`, then `cargo xtask test`.
///
/// Before a commit: `cargo xtask lint` and `cargo xtask tidy`. What CI runs is `.ci/run`: test, then lint, tidy, features and
/// conformance beside deny and a fuzz smoke. A missing tool is installed after saying so, or named with the line that
/// installs it. Every command ends with its wall time and exits with 1 on failure.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version = None, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Setup(setup::Args),
    Test(test::Args),
    Lint(lint::Args),
    Tidy(tidy::Args),
    Deny(deny::Args),
    Features(features::Args),
    Bench(bench::Args),
    Soak(soak::Args),
    Fuzz(fuzz::Args),
    Sanitize(sanitize::Args),
    Conformance(conformance::Args),
    Peers(peers::Args),
    Screen(screen::Args),
}

fn main() -> ExitCode {
    if let Some(code) = test::as_compiler() {
        return code;
    }
    let result = match Cli::parse().command {
        Task::Setup(args) => setup::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Lint(args) => lint::run(&args),
        Task::Tidy(args) => tidy::run(&args),
        Task::Deny(args) => deny::run(&args),
        Task::Features(args) => features::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Soak(args) => soak::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Sanitize(args) => sanitize::run(&args),
        Task::Conformance(args) => conformance::run(&args),
        Task::Peers(args) => peers::run(&args),
        Task::Screen(args) => screen::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            term::error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
