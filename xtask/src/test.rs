//! `cargo xtask test`: every test of the workspace, after `setup`.

use std::{
    ffi::OsStr,
    fs,
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::{conformance, leaks::Leaks, peers, setup, shell, term, tools, workspace};

/// Run every test: units, integration, doc tests
///
/// Runs `setup` first, then `cargo test` with every feature on, so that no test stays behind a feature. Tests that need the
/// recorded conformance data read its folder from LOQUAT_DATA and say what they skip without it; LOQUAT_PYTHON is set to the
/// Python that has the HTTP/2 test server, LOQUAT_CLIENTS_PYTHON to the one that has the providers' official clients,
/// LOQUAT_CLIENTS_NODE to those for JavaScript where there is node, LOQUAT_OTLP_PYTHON to the one that has an OpenTelemetry
/// collector, LOQUAT_GRAFANA_PYTHON to the one that has Grafana's types of dashboards, LOQUAT_GO to the command whose `pprof` reads profiles, LOQUAT_GGUF (unless it is set) to the model that the engine's
/// tests run. What tests skipped for want of any of these is listed at the end, unless arguments are passed on.
/// What conformance suites say of themselves is shown as by `cargo xtask conformance`, and one that passed nothing fails.
/// What the tests print and leave in files is looked through for the words that they planted as keys and prompts, unless
/// arguments are passed on; before that, tests that leak on purpose have to be caught.
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

impl Args {
    /// Whether that package is among what is tested.
    fn covers(&self, package: &str) -> bool {
        self.package.is_empty() || self.package.iter().any(|named| named == package)
    }
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
    let mut result =
        if args.rest.is_empty() { with_leaks(args) } else { shell::run(command(args)?.args(&args.rest)) };
    if result.is_ok() && args.rest.is_empty() && args.covers(SCALAR_PACKAGE) {
        term::step("test the scalar twin");
        result = test_scalar_twin();
    }
    let word = if result.is_ok() { term::ok() } else { term::failed() };
    term::say(format!("\ntest: {word}, wall time {}", term::seconds(started.elapsed())));
    result
}

/// `cargo test` of what is asked for, with all features and all counterparts that there are.
fn command(args: &Args) -> Result<Command> {
    let mut command = workspace::cargo();
    command.args(["test", "--all-features"]).env("LOQUAT_PYTHON", peers::h2_venv()?.python());
    command.env("LOQUAT_CLIENTS_PYTHON", peers::clients_venv()?.python());
    command.env("LOQUAT_OTLP_PYTHON", peers::otlp_venv()?.python());
    command.env("LOQUAT_GRAFANA_PYTHON", peers::grafana_venv()?.python());
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
    Ok(command)
}

/// The same with what passed tests print, too, and a look for planted words in all of it and in what the tests left in files.
fn with_leaks(args: &Args) -> Result<()> {
    let target = workspace::metadata("")?.target_directory;
    let (left, output) = (target.join("tmp"), target.join("test-output"));
    if args.covers(LEAKING_PACKAGE) {
        leaks_are_caught(args, &left, &output)?;
    }
    empty(&left)?;
    let mut leaks = Leaks::default();
    let result = leaks.watch(command(args)?.args(["--", "--show-output"]), &output);
    term::step("planted words");
    leaks.search(&left);
    let planted = leaks.finish();
    let counts = result?;
    planted?;
    // Without the data they have said that they skip all.
    let is_whole = args.package.is_empty() && std::env::var_os("LOQUAT_DATA").is_some();
    if is_whole { conformance::finish(&counts) } else { Ok(()) }
}

/// Where the tests leave files: without those of earlier runs.
fn empty(left: &Path) -> Result<()> {
    if left.is_dir() {
        fs::remove_dir_all(left).with_context(|| format!("cannot empty {}", left.display()))?;
    }
    fs::create_dir_all(left).with_context(|| format!("cannot make {}", left.display()))
}

/// The package with tests that leak on purpose, in which target, and which they are: in print, into a file, in a panic, disguised.
const LEAKING_PACKAGE: &str = "loquat-observe";
const LEAKING_TARGET: &str = "leaking";
/// Without it they say a word that nobody looks for.
const LEAKING_VARIABLE: &str = "LOQUAT_LEAKS";
const LEAKING_TESTS: [&str; 4] = [
    "a_keeper_prints_what_was_answered",
    "lines_of_json_hold_what_was_asked",
    "a_panic_says_a_key",
    "a_header_is_printed_in_base64",
];

/// A look that finds nothing is worth something where it would have found what was there. So it looks at what leaks first.
fn leaks_are_caught(args: &Args, left: &Path, output: &Path) -> Result<()> {
    term::step("leaks are caught");
    for test in LEAKING_TESTS {
        empty(left)?;
        let mut leaks = Leaks::default();
        let one = ["--test", LEAKING_TARGET, "--", "--exact", test, "--show-output"];
        leaks.watch(command(args)?.args(one).env(LEAKING_VARIABLE, "1"), output)?;
        leaks.search(left);
        if leaks.count() == 0 {
            bail!("`{test}` leaks a planted word, and it was not found");
        }
    }
    Ok(())
}

/// The package that has vector code, and what leaves it out.
const SCALAR_PACKAGE: &str = "loquat-json";
const SCALAR_CFG: &str = "loquat_scalar";

/// Asks this program to be rustc with one more `--cfg`.
const EXTRA_CFG: &str = "LOQUAT_XTASK_EXTRA_CFG";

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
