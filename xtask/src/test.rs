//! `cargo xtask test`: every test of the workspace, after `setup`.

use std::{
    ffi::OsStr,
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context, Result};

use crate::{leaks::Leaks, peers, setup, shell, term, tools, workspace};

/// Run every test: units, integration, doc tests
///
/// Runs `setup` first, then `cargo test` with every feature on, so that no test stays behind a feature. Tests that need the
/// recorded conformance data read its folder from LOQUAT_DATA and say what they skip without it; LOQUAT_PYTHON is set to the
/// Python that has the HTTP/2 test server, LOQUAT_CLIENTS_PYTHON to the one that has the providers' official clients,
/// LOQUAT_CLIENTS_NODE to those for JavaScript where there is node, LOQUAT_OTLP_PYTHON to the one that has an OpenTelemetry
/// collector, LOQUAT_GO to the command whose `pprof` reads profiles, LOQUAT_GGUF (unless it is set) to the model that the engine's
/// tests run.
/// What the tests print and leave in files is looked through for the words that they planted as keys and prompts, unless
/// arguments are passed on.
/// loquat-json is tested twice, the second time with its vector code left out, as on machines that it has none for.
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
    command.env("LOQUAT_CLIENTS_PYTHON", peers::clients_venv()?.python());
    command.env("LOQUAT_OTLP_PYTHON", peers::otlp_venv()?.python());
    if let Some(modules) = peers::clients_modules()? {
        command.env("LOQUAT_CLIENTS_NODE", modules.folder);
    }
    if let Some(go) = tools::go() {
        command.env("LOQUAT_GO", go);
    }
    if std::env::var_os("LOQUAT_GGUF").is_none() {
        command.env("LOQUAT_GGUF", peers::smollm2_file()?);
    }
    if args.package.is_empty() {
        command.arg("--workspace");
    }
    for package in &args.package {
        command.args(["--package", package]);
    }
    let mut result =
        if args.rest.is_empty() { with_leaks(&mut command) } else { shell::run(command.args(&args.rest)) };
    if result.is_ok() && args.rest.is_empty() && (args.package.is_empty() || is_named(args, SCALAR_PACKAGE)) {
        term::step("test the scalar twin");
        result = test_scalar_twin();
    }
    let word = if result.is_ok() { term::ok() } else { term::failed() };
    term::say(format!("\ntest: {word}, wall time {}", term::seconds(started.elapsed())));
    result
}

/// The same with what passed tests print, too, and a look for planted words in all of it and in what the tests left in files.
fn with_leaks(command: &mut Command) -> Result<()> {
    let target = workspace::metadata("")?.target_directory;
    let left = target.join("tmp");
    if left.is_dir() {
        // Of earlier runs.
        std::fs::remove_dir_all(&left).with_context(|| format!("cannot empty {}", left.display()))?;
    }
    std::fs::create_dir_all(&left)?;
    let mut leaks = Leaks::default();
    let result = leaks.watch(command.args(["--", "--show-output"]), &target.join("test-output"));
    term::step("planted words");
    leaks.search(&left);
    result.and(leaks.finish())
}

/// The package that has vector code, and what leaves it out.
const SCALAR_PACKAGE: &str = "loquat-json";
const SCALAR_CFG: &str = "loquat_scalar";

/// Asks this program to be rustc with one more `--cfg`.
const EXTRA_CFG: &str = "LOQUAT_XTASK_EXTRA_CFG";

fn is_named(args: &Args, package: &str) -> bool {
    args.package.iter().any(|named| named == package)
}

/// The package's tests without its vector code. Flags for everything would compile each dependency again; cargo asks a
/// wrapper for the workspace's own crates only, and keeps what comes of it apart.
fn test_scalar_twin() -> Result<()> {
    let wrapper = std::env::current_exe().context("this program does not know where it is")?;
    let mut command = workspace::cargo();
    command.args(["test", "--package", SCALAR_PACKAGE, "--all-features", "--lib", "--tests"]);
    shell::run(command.env("RUSTC_WORKSPACE_WRAPPER", wrapper).env(EXTRA_CFG, SCALAR_CFG))
}

/// Called by cargo as `xtask RUSTC ARGS`: runs the compiler. `None` for everybody else.
pub(crate) fn as_compiler() -> Option<ExitCode> {
    let cfg = std::env::var_os(EXTRA_CFG)?;
    let mut args = std::env::args_os().skip(1);
    let mut compiler = Command::new(args.next()?);
    let status = compiler.args(args).args([OsStr::new("--cfg"), &cfg]).status();
    Some(if status.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
