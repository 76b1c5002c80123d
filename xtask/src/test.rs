//! `cargo xtask test`: every test of the workspace, after `setup`.

use std::time::Instant;

use anyhow::Result;

use crate::{peers, setup, shell, term, workspace};

/// Run every test: units, integration, doc tests
///
/// Runs `setup` first, then `cargo test` with every feature on, so that no test stays behind a feature. Tests that need the
/// recorded conformance data read its folder from LOQUAT_DATA and say what they skip without it; LOQUAT_PYTHON is set to the
/// Python that has the HTTP/2 test server, LOQUAT_GGUF (unless it is set) to the model that the engine's tests run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this package (may be repeated); the whole workspace otherwise
    #[arg(long, short, value_name = "NAME")]
    package: Vec<String>,
    /// Passed to `cargo test` as they are, for instance `--test sse_cases` or `-- --nocapture`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    rest: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let started = Instant::now();
    setup::run(&setup::Args { check: false })?;
    term::step("test");
    match std::env::var_os("LOQUAT_DATA") {
        Some(folder) => term::detail(&format!("conformance data: {}", folder.to_string_lossy())),
        None => term::detail(
            "conformance data: none (LOQUAT_DATA is unset; tests that need it say what they skip)",
        ),
    }
    let mut command = workspace::cargo();
    command.args(["test", "--all-features"]).env("LOQUAT_PYTHON", peers::h2_venv()?.python());
    if std::env::var_os("LOQUAT_GGUF").is_none() {
        command.env("LOQUAT_GGUF", peers::smollm2_file()?);
    }
    if args.package.is_empty() {
        command.arg("--workspace");
    }
    for package in &args.package {
        command.args(["--package", package]);
    }
    let result = shell::run(command.args(&args.rest));
    let word = if result.is_ok() { term::ok() } else { term::failed() };
    term::say(format!("\ntest: {word}, wall time {}", term::seconds(started.elapsed())));
    result
}
