//! `cargo xtask fuzz`: the fuzz targets of `fuzz/`, started from the committed seeds.
//!
//! What a run finds goes to `fuzz/corpus/` (kept, not committed); the seeds in `fuzz/seeds/` are only read. libFuzzer's own
//! counts are shown at the end, because a target that executed nothing, or covers nothing more than its entry, has not fuzzed.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::{
    shell::{self, Steps, Watched},
    term,
    tools::{self, Toolchain},
    workspace,
};

/// Fuzz one target, or all of them for a few seconds each
///
/// Uses a nightly toolchain if one is installed, else the pinned one with its unstable options unlocked (with the address
/// sanitizer in both cases, unless told otherwise). A finding is written to fuzz/artifacts and fails the command.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The target; `--list` names them
    #[arg(required_unless_present_any = ["smoke", "list"], conflicts_with_all = ["smoke", "list"])]
    target: Option<String>,
    /// How long to fuzz, per target [default: 60, or 10 with --smoke]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: Option<u32>,
    /// Every target for a short while
    #[arg(long)]
    smoke: bool,
    /// Without the address sanitizer, which makes ten times as many executions: for long runs after one with it
    #[arg(long)]
    no_sanitizer: bool,
    /// Name the targets
    #[arg(long, conflicts_with = "smoke")]
    list: bool,
}

const DEFAULT_SECONDS: u32 = 60;
const SMOKE_SECONDS: u32 = 10;

/// Longest input, in bytes: twice what buffers are kept for from one event to the next, the largest border that the code has for such
/// input. libFuzzer's own choice, 4,096, is below most; it grows inputs slowly, so that short ones are still what most are.
const MAX_INPUT_BYTES: usize = 128 * 1024;

pub(crate) fn run(args: &Args) -> Result<()> {
    let targets = targets()?;
    if args.list {
        targets.iter().for_each(term::say);
        return Ok(());
    }
    let chosen = match &args.target {
        Some(name) if !targets.contains(name) => {
            bail!("no fuzz target `{name}`; there are {}", targets.join(", "))
        }
        Some(name) => vec![name.clone()],
        None => targets,
    };
    let seconds = args.seconds.unwrap_or(if args.smoke { SMOKE_SECONDS } else { DEFAULT_SECONDS });
    let mut steps = Steps::new();
    if !steps.run("cargo-fuzz", || tools::CARGO_FUZZ.ensure()) {
        return steps.finish();
    }
    let toolchain = Toolchain::choose();
    term::detail(&format!("toolchain: {}", toolchain.describe()));
    // Kept apart, since switching would compile everything again.
    let sanitizer: &[&str] = if args.no_sanitizer {
        &["--sanitizer", "none", "--target-dir", "fuzz/target/no-sanitizer"]
    } else {
        &[]
    };
    // First, and all at once, so that the seconds below are spent on fuzzing alone.
    let mut build = toolchain.cargo();
    build.args(["fuzz", "build", "--fuzz-dir", "fuzz"]).args(sanitizer).args(&args.target);
    if !steps.run("build", || shell::run(&mut build)) {
        return steps.finish();
    }
    let mut rows = Vec::new();
    for target in &chosen {
        let mut stats = Stats::default();
        steps.run(&format!("fuzz {target}"), || {
            fuzz_one(&toolchain, sanitizer, target, seconds, &mut stats)?;
            if stats.executions == 0 {
                bail!("libFuzzer reports no execution");
            }
            Ok(())
        });
        rows.push(stats.row(target));
    }
    term::table(&["target", "executions", "per second", "coverage", "features", "corpus"], &rows, true);
    steps.finish()
}

fn fuzz_one(
    toolchain: &Toolchain,
    sanitizer: &[&str],
    target: &str,
    seconds: u32,
    stats: &mut Stats,
) -> Result<()> {
    let root = workspace::root();
    let (corpus, seeds) = (format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}"));
    fs::create_dir_all(root.join(&corpus)).with_context(|| format!("cannot create {corpus}"))?;
    let mut command = toolchain.cargo();
    command.args(["fuzz", "run", "--fuzz-dir", "fuzz"]).args(sanitizer).args([target, &corpus]);
    if root.join(&seeds).is_dir() {
        command.arg(&seeds);
    } else {
        term::detail(&format!("no seeds in {seeds}"));
    }
    // Bounded in memory and per input: the code under test promises both, so passing either limit is a finding.
    command.args(["--", "-print_final_stats=1", "-rss_limit_mb=2048", "-timeout=10", "-verbosity=1"]);
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-max_len={MAX_INPUT_BYTES}"));
    shell::watch(&mut command, Watched::Err, |line| stats.read(line))
}

/// The fuzz workspace's programs.
fn targets() -> Result<Vec<String>> {
    if !workspace::root().join("fuzz/Cargo.toml").exists() {
        bail!("there is no fuzz/Cargo.toml");
    }
    let metadata = workspace::metadata("fuzz")?;
    let programs = metadata.packages.iter().flat_map(|package| &package.targets);
    let names: Vec<String> = programs
        .filter(|target| target.kind.iter().any(|kind| kind == "bin"))
        .map(|target| target.name.clone())
        .collect();
    if names.is_empty() {
        bail!("fuzz/Cargo.toml names no [[bin]]");
    }
    Ok(names)
}

/// What libFuzzer says about a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stats {
    executions: u64,
    per_second: u64,
    coverage: u64,
    features: u64,
    corpus: u64,
}

impl Stats {
    /// Reads `#123 DONE cov: 45 ft: 67 corp: 8/9b …` and `stat::number_of_executed_units: 123`.
    fn read(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("stat::") {
            let mut words = rest.split_whitespace();
            let (name, value) = (words.next(), words.next().and_then(|value| value.parse().ok()));
            match (name, value) {
                (Some("number_of_executed_units:"), Some(value)) => self.executions = value,
                (Some("average_exec_per_sec:"), Some(value)) => self.per_second = value,
                _ => {}
            }
        } else if line.starts_with('#') {
            let words: Vec<&str> = line.split_whitespace().collect();
            let after = |key: &str| {
                let at = words.iter().position(|word| *word == key)?;
                words.get(at + 1)?.split('/').next()?.parse().ok()
            };
            self.coverage = after("cov:").unwrap_or(self.coverage);
            self.features = after("ft:").unwrap_or(self.features);
            self.corpus = after("corp:").unwrap_or(self.corpus);
        }
    }

    fn row(&self, target: &str) -> Vec<String> {
        let numbers = [self.executions, self.per_second, self.coverage, self.features, self.corpus];
        std::iter::once(target.to_owned()).chain(numbers.iter().map(u64::to_string)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libfuzzers_counts_are_read() {
        let mut stats = Stats::default();
        for line in [
            "INFO: Seed: 1234",
            "#2\tINITED cov: 10 ft: 11 corp: 1/1b exec/s: 0 rss: 40Mb",
            "#1048576\tpulse  cov: 345 ft: 1200 corp: 80/4096b lim: 48 exec/s: 52428 rss: 90Mb",
            "#1234567\tDONE   cov: 346 ft: 1201 corp: 81/4097b lim: 48 exec/s: 52428 rss: 90Mb",
            "stat::number_of_executed_units: 1234567",
            "stat::average_exec_per_sec:     123456",
        ] {
            stats.read(line);
        }
        let expected =
            Stats { executions: 1_234_567, per_second: 123_456, coverage: 346, features: 1201, corpus: 81 };
        assert_eq!(stats, expected);
    }
}
