//! `cargo xtask bench`: runs the groups of `benches/` and sets our figures beside the peers' of the same run.
//!
//! The protocol is small, so that a bench is an ordinary criterion program:
//!
//! - a criterion id is `group/case/who`, where `who` is `ours`, `floor` (what the machine allows: a scan, a copy) or a peer;
//! - a case whose iteration does n operations says so with `Throughput::Elements(n)`; figures are per operation;
//! - what criterion does not measure (allocations, tokens per second) the bench appends, one JSON object a line, to the file
//!   named by `LOQUAT_BENCH_SIDE`: `{"case","who","value","unit"}` or `{"case","who","allocs_per_op"}`.
//!
//! The group `engine` gets a llama.cpp server to be measured beside: its address is in `LOQUAT_LLAMA_URL`, the model file it
//! serves in `LOQUAT_GGUF`.
//!
//! The result is a table, and `target/bench/GROUP.json` for whoever keeps figures over time.

mod read;

use std::fs;

use anyhow::{Context, Result, bail};

use crate::{
    peers, setup,
    shell::{self, Steps},
    term, workspace,
};

use peers::BenchLlama;
use read::Row;

/// The group whose peer is llama.cpp.
const LLAMA_GROUP: &str = "engine";

/// Run the benchmarks beside their peers and print the ratios
///
/// Groups are the bench programs of benches/. The table shows the median of ours, of each peer and the ratio (above 1 we
/// are better), and the floor where one is known; target/bench/GROUP.json has the same. Figures hold for the machine's
/// default target, so RUSTFLAGS that choose a CPU are refused.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group; all of them if none is named
    group: Option<String>,
    /// Short measurements: good for a look, not for a claim
    #[arg(long)]
    quick: bool,
    /// Name the groups
    #[arg(long)]
    list: bool,
    /// Passed to the benchmark program: a criterion filter such as `decode/frames`
    #[arg(last = true, value_name = "ARGS")]
    rest: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let groups = groups()?;
    if args.list {
        groups.iter().for_each(term::say);
        return Ok(());
    }
    refuse_cpu_flags()?;
    let chosen = match &args.group {
        Some(name) if !groups.contains(name) => {
            bail!("no bench group `{name}`; there are {}", groups.join(", "))
        }
        Some(name) => vec![name.clone()],
        None => groups,
    };
    let mut steps = Steps::new();
    for group in &chosen {
        steps.run(&format!("bench {group}"), || bench(group, args));
    }
    steps.finish()
}

/// Programs of the system that a group measures beside, or counts by.
fn programs(group: &str) -> &'static [&'static str] {
    match group {
        "cache" => &[setup::REDIS, setup::VALGRIND],
        "observe" | "route" | "stream" | "tokens" | "transport" => &[setup::VALGRIND],
        _ => &[],
    }
}

fn bench(group: &str, args: &Args) -> Result<()> {
    setup::programs(programs(group))?;
    let target = workspace::metadata("")?.target_directory;
    let out = target.join("bench");
    let criterion = out.join("criterion").join(group);
    let side = out.join(format!("{group}.side.jsonl"));
    // Figures of an earlier run must not pass for this one's.
    if criterion.exists() {
        fs::remove_dir_all(&criterion).with_context(|| format!("cannot clear {}", criterion.display()))?;
    }
    fs::create_dir_all(&criterion)?;
    fs::write(&side, "")?;

    let mut command = workspace::cargo();
    command
        .args(["bench", "--manifest-path", "benches/Cargo.toml", "--bench", group, "--target-dir"])
        .arg(&target);
    command.env("CRITERION_HOME", &criterion).env("LOQUAT_BENCH_SIDE", &side);
    if args.quick {
        command.env("LOQUAT_BENCH_QUICK", "1");
    }
    if !args.rest.is_empty() {
        command.arg("--").args(&args.rest);
    }
    let llama = if group == LLAMA_GROUP { Some(BenchLlama::start()?) } else { None };
    if let Some(llama) = &llama {
        command.env("LOQUAT_LLAMA_URL", &llama.address).env("LOQUAT_GGUF", &llama.model);
    }
    let measured = shell::run(&mut command);
    llama.map_or(Ok(()), BenchLlama::stop)?;
    measured?;

    let mut figures = read::criterion(&criterion)?;
    figures.extend(read::side(&fs::read_to_string(&side)?)?);
    let (rows, without_ours) = read::rows(figures);
    if rows.is_empty() {
        bail!("the bench `{group}` measured nothing");
    }
    let file = out.join(format!("{group}.json"));
    fs::write(&file, serde_json::to_string_pretty(&rows)? + "\n")?;
    show(&rows);
    term::detail(&format!(
        "written to {}{}",
        file.display(),
        if args.quick { " (quick: not for a claim)" } else { "" }
    ));
    // Arguments may have asked for a peer alone.
    if args.rest.is_empty() && !without_ours.is_empty() {
        bail!("no figure of ours in {}", without_ours.join(", "));
    }
    match rows.iter().find(|row| row.peers.is_empty()) {
        Some(row) => bail!("`{}` has no peer beside it", row.case),
        None => Ok(()),
    }
}

fn show(rows: &[Row]) {
    let mut lines = Vec::new();
    for row in rows {
        let start = [row.case.clone(), row.unit.clone(), number(row.ours)];
        let floor = row.floor.map_or(String::new(), number);
        let allocs = row.allocs_per_op.map_or(String::new(), number);
        for (index, (peer, value)) in row.peers.iter().enumerate() {
            let first = index == 0;
            let mut line: Vec<String> = if first { start.to_vec() } else { vec![String::new(); start.len()] };
            line.extend([peer.clone(), number(*value), format!("{:.2}x", row.ratio(*value))]);
            line.extend(if first { [floor.clone(), allocs.clone()] } else { [String::new(), String::new()] });
            lines.push(line);
        }
    }
    let header = ["case", "unit", "ours", "peer", "peer's", "ratio", "floor", "our allocs/op"];
    term::table(&header, &lines, true);
}

/// Three significant digits, as far as that makes sense.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size > 0.0 => format!("{value:.2}"),
        _ => "0".to_owned(),
    }
}

fn groups() -> Result<Vec<String>> {
    let metadata = workspace::metadata("benches")?;
    let targets = metadata.packages.iter().flat_map(|package| &package.targets);
    Ok(targets
        .filter(|target| target.kind.iter().any(|kind| kind == "bench"))
        .map(|target| target.name.clone())
        .collect())
}

fn refuse_cpu_flags() -> Result<()> {
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"] {
        let value = std::env::var(name).unwrap_or_default();
        if value.contains("target-cpu") || value.contains("target-feature") {
            bail!(
                "{name} chooses a CPU; users build for the default one, so figures are taken with that: unset it"
            );
        }
    }
    Ok(())
}
