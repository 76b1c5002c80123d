//! `cargo xtask deny`: licences, sources and banned crates of the product's dependency graph, by the rules of `deny.toml`.

use anyhow::Result;

use crate::{
    shell::{self, Steps},
    tools, workspace,
};

/// Check the dependencies' licences, sources and bans (deny.toml)
///
/// Looks at the product's workspace with every feature; benches and fuzz are apart, so that peers may bring what the product
/// may not. Advisories are left out unless asked for: their database is fetched from the network.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also check the RustSec advisories, which fetches their database
    #[arg(long)]
    advisories: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut steps = Steps::new();
    if !steps.run("cargo-deny", || tools::CARGO_DENY.ensure()) {
        return steps.finish();
    }
    let mut checks = vec!["bans", "licenses", "sources"];
    if args.advisories {
        checks.push("advisories");
    }
    for check in checks {
        steps.run(check, || {
            let mut command = workspace::cargo();
            command.args(["deny", "--workspace", "--all-features", "check", "--hide-inclusion-graph", check]);
            shell::run(&mut command)
        });
    }
    steps.finish()
}
