//! `cargo xtask soak`: hundreds of faulty token streams for many minutes, to see that nothing grows and nothing is lost. The
//! program is `benches/examples/soak`; this only builds and starts it.

use anyhow::Result;

use crate::{
    shell::{self, Steps},
    workspace,
};

/// Stream for many minutes with everything going wrong, and fail if anything grows or is left over
///
/// Prints memory, open files, tasks, pools and permits every ten seconds. Needs `/proc`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long
    #[arg(long, default_value_t = 20)]
    minutes: u64,
    /// Streams at once, half of them on HTTP/1.1 and half on HTTP/2
    #[arg(long, default_value_t = 500)]
    streams: u64,
    /// What the faults are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut steps = Steps::new();
    steps.run("soak", || soak(args));
    steps.finish()
}

fn soak(args: &Args) -> Result<()> {
    let mut command = workspace::cargo();
    command
        .args([
            "run",
            "--release",
            "--manifest-path",
            "benches/Cargo.toml",
            "--example",
            "soak",
            "--target-dir",
        ])
        .arg(workspace::metadata("")?.target_directory)
        .args(["--", "--minutes", &args.minutes.to_string(), "--streams", &args.streams.to_string()])
        .args(["--seed", &args.seed.to_string()]);
    shell::run(&mut command)
}
