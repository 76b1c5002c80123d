//! `cargo xtask lint`: formatting, clippy and documentation, warnings denied.

use anyhow::Result;

use crate::{
    shell::{self, Steps},
    workspace,
};

/// Check formatting, clippy and the documentation, with warnings denied
///
/// The benches and fuzz workspaces are formatted too, and the benches linted, since no test compiles them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Format instead of checking the format
    #[arg(long)]
    fix: bool,
}

/// Workspaces of their own beside the product's.
const APART: [&str; 2] = ["benches", "fuzz"];

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut steps = Steps::new();
    let format = |folder: &str| {
        let mut command = workspace::cargo();
        command.args(["fmt", "--all"]).current_dir(workspace::root().join(folder));
        if !args.fix {
            command.arg("--check");
        }
        shell::run(&mut command)
    };
    steps.run("format", || format(""));
    for folder in APART {
        if workspace::root().join(folder).join("Cargo.toml").exists() {
            steps.run(&format!("format {folder}"), || format(folder));
        }
    }
    steps.run("clippy", || {
        shell::run(workspace::cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ]))
    });
    if workspace::root().join("benches/Cargo.toml").exists() {
        steps.run("clippy benches", || {
            let target = workspace::metadata("")?.target_directory;
            let mut command = workspace::cargo();
            // The product's target folder: what both workspaces build alike is built once.
            command.args([
                "clippy",
                "--manifest-path",
                "benches/Cargo.toml",
                "--all-targets",
                "--target-dir",
            ]);
            shell::run(command.arg(target).args(["--", "-D", "warnings"]))
        });
    }
    // Apart, and the libraries last: the program `loquat` and the library `loquat` are documented at the same path.
    for (what, which) in [("documentation of programs", "--bins"), ("documentation of libraries", "--lib")] {
        steps.run(what, || {
            let mut command = workspace::cargo();
            command.args(["doc", "--workspace", "--no-deps", "--all-features", which]);
            shell::run(command.env("RUSTDOCFLAGS", "-D warnings"))
        });
    }
    steps.finish()
}
