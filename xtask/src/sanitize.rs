//! `cargo xtask sanitize`: the tests of the vector code, looked at by what sees an invalid read that happens to give the right answer.
//!
//! Three watchers, because each sees what the others do not. The address sanitizer runs all of the package's tests at the level this machine has.
//! Miri is a hundred times slower and checks every rule of the language, at each level in turn, also at those that this machine
//! has not, except for AVX-512, for which nobody has tried it: that level is watched by the address sanitizer alone, on a machine
//! that has it, and named where it is not. The emulator runs what was compiled for aarch64, instructions and all, with all tests. What is missing fails the
//! step and is named, with the line that installs it: a watcher that was not there has seen nothing.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    shell::{self, Steps},
    term,
    tools::{self, Toolchain},
    workspace,
};

/// Run the tests of the vector code under the address sanitizer, Miri and an emulator of aarch64
///
/// All of them, unless some are named. Miri needs a nightly toolchain; the sanitizer does with the pinned one, its unstable
/// options unlocked, where there is no nightly. Each has a target folder of its own: the first run compiles everything.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to run [default: all]
    #[arg(value_enum, value_name = "WATCHER")]
    watchers: Vec<Watcher>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Watcher {
    /// The address sanitizer
    Address,
    /// Miri, at each level
    Miri,
    /// An emulator of aarch64, for NEON
    Aarch64,
}

/// The package that has vector code.
const PACKAGE: &str = "loquat-json";

/// The modules whose unit tests Miri runs: the vector code, and what is a thin wrapper around it. All else is free of unsafe code,
/// and takes Miri hours.
const MODULES: [&str; 5] = ["vector::", "outline::", "pattern::", "text::", "pass::by_ends::"];

/// Levels as Miri is told of them, without AVX-512: a name, a target unless it is this machine's, compiler flags. It detects what the flags enable.
const LEVELS: [(&str, Option<&str>, &str); 4] = [
    ("words", None, "--cfg loquat_scalar"),
    ("SSE2", Some("x86_64-unknown-linux-gnu"), ""),
    ("AVX2", Some("x86_64-unknown-linux-gnu"), "-Ctarget-feature=+avx2,+bmi1,+pclmulqdq,+popcnt"),
    ("NEON", Some(AARCH64), ""),
];

const AARCH64: &str = "aarch64-unknown-linux-gnu";
const AARCH64_LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";
/// Where the other machine's libraries are among this one's own (Debian's multiarch): then the emulator finds them by itself.
const AARCH64_LOADER: &str = "/lib/ld-linux-aarch64.so.1";
/// Where Debian's packages for cross compilation put them.
const AARCH64_LIBRARIES: &str = "/usr/aarch64-linux-gnu";
/// A compiler that a system's packages have installed, with libraries for other machines where those are installed too.
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";

pub(crate) fn run(args: &Args) -> Result<()> {
    let is_wanted = |watcher| args.watchers.is_empty() || args.watchers.contains(&watcher);
    let mut steps = Steps::new();
    if is_wanted(Watcher::Address) {
        steps.run("address sanitizer", address);
    }
    if is_wanted(Watcher::Miri) && steps.run("Miri", has_miri) {
        for (name, target, flags) in LEVELS {
            steps.run(&format!("Miri, {name}"), || miri(target, flags));
        }
    }
    if is_wanted(Watcher::Aarch64) {
        steps.run("emulated aarch64", emulated);
    }
    steps.finish()
}

fn address() -> Result<()> {
    let toolchain = Toolchain::choose();
    term::detail(&format!("toolchain: {}", toolchain.describe()));
    if !has_avx512() {
        term::detail(
            "not watched: the code for AVX-512, which this machine has not, and Miri is not asked for",
        );
    }
    // With a target named, build scripts and macros, which run on their own, are left alone by the flags.
    let mut command = toolchain.cargo();
    command.args(["test", "--package", PACKAGE, "--all-features", "--lib", "--tests"]);
    command.args(["--target", &host()?, "--target-dir", "target/asan"]);
    shell::run(command.env("RUSTFLAGS", "-Zsanitizer=address"))
}

/// What the vector code asks for at that level.
fn has_avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi2");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

fn has_miri() -> Result<()> {
    let version = shell::read(Toolchain::Nightly.cargo().args(["miri", "--version"]));
    let version = version.context(
        "Miri belongs to a nightly toolchain, and there is none with it: \
         rustup toolchain install nightly --component miri,rust-src",
    )?;
    term::detail(version.trim());
    Ok(())
}

fn miri(target: Option<&str>, flags: &str) -> Result<()> {
    let mut command = Toolchain::Nightly.cargo();
    command.args(["miri", "test", "--package", PACKAGE, "--lib", "--target-dir", "target/miri"]);
    if let Some(target) = target {
        command.args(["--target", target]);
    }
    command.arg("--").args(MODULES);
    shell::run(command.env("RUSTFLAGS", flags).env("MIRIFLAGS", "-Zmiri-strict-provenance"))
}

fn emulated() -> Result<()> {
    let mut command = workspace::cargo();
    command.args(["test", "--package", PACKAGE, "--all-features", "--lib", "--tests"]);
    if host()? == AARCH64 {
        term::detail("this machine is one, and needs no emulator");
        return shell::run(&mut command);
    }
    for (program, package) in [(EMULATOR, "qemu-user"), (AARCH64_LINKER, "gcc-aarch64-linux-gnu")] {
        if !tools::on_path(program) {
            bail!("`{program}` is missing: apt-get install {package} (or what your system calls it)");
        }
    }
    if !knows_aarch64(Command::new("rustc").current_dir(workspace::root())) {
        if !knows_aarch64(Command::new(SYSTEM_RUSTC).current_dir(workspace::root())) {
            bail!(
                "Rust's library for it is missing: rustup target add {AARCH64}; or, for the compiler of the system's packages: \
                 dpkg --add-architecture arm64, apt-get install rustc-web libstd-rust-web-dev:arm64"
            );
        }
        term::detail(&format!("compiled by {SYSTEM_RUSTC}: the pinned toolchain has no library for it"));
        command.env("RUSTC", SYSTEM_RUSTC);
    }
    command.args(["--target", AARCH64, "--target-dir", "target/aarch64"]);
    command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", AARCH64_LINKER);
    // A loader from one place and a C library from the other are of two builds, and threads hang.
    let runner = if Path::new(AARCH64_LOADER).exists() {
        EMULATOR.to_owned()
    } else {
        format!("{EMULATOR} -L {AARCH64_LIBRARIES}")
    };
    shell::run(command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", runner))
}

/// Whether that compiler has the standard library for it.
fn knows_aarch64(rustc: &mut Command) -> bool {
    let folder = shell::read(rustc.args(["--target", AARCH64, "--print", "target-libdir"]));
    folder.is_ok_and(|folder| Path::new(folder.trim()).is_dir())
}

/// The target that rustc itself runs on.
fn host() -> Result<String> {
    let version = shell::read(Command::new("rustc").current_dir(workspace::root()).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say what it runs on")?.to_owned())
}
