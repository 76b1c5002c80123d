//! The programs the tasks call: found, or installed after saying so. Versions are pinned here and nowhere else.
//!
//! What is installed goes to the user's space (`cargo install`, a Python environment in the user's cache), so that a second
//! clone finds it; nothing is installed behind the user's back, every line that changes the machine is printed first.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{shell, term, workspace};

/// A cargo subcommand that the tasks need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CargoTool {
    /// The package: `cargo-deny`; its command is `cargo deny`.
    pub(crate) package: &'static str,
    version: &'static str,
}

pub(crate) const CARGO_DENY: CargoTool = CargoTool { package: "cargo-deny", version: "0.20.2" };
pub(crate) const CARGO_FUZZ: CargoTool = CargoTool { package: "cargo-fuzz", version: "0.13.2" };

impl CargoTool {
    /// Installs the pinned version unless some version is there already, which is used as it is and named.
    pub(crate) fn ensure(self) -> Result<()> {
        let command = self.package.trim_start_matches("cargo-");
        if let Ok(version) = shell::read(workspace::cargo().args([command, "--version"])) {
            term::detail(&format!("using {}", version.trim()));
            return Ok(());
        }
        term::detail(&format!(
            "{} is missing; it is built from its published source, which takes minutes:",
            self.package
        ));
        // Unoptimised: these tools wait for cargo and rustc, and building them so takes a third of the time.
        let mut install = workspace::cargo();
        install.args(["install", self.package, "--version", self.version, "--locked", "--debug"]);
        shell::run(&mut install)
    }
}

/// Which compiler sanitizes; that is an unstable option of rustc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toolchain {
    Nightly,
    PinnedUnlocked,
}

impl Toolchain {
    pub(crate) fn choose() -> Self {
        let listed = shell::read(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
        if listed.lines().any(|line| line.starts_with("nightly")) {
            Self::Nightly
        } else {
            Self::PinnedUnlocked
        }
    }

    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Nightly => "nightly",
            Self::PinnedUnlocked => "the pinned one with RUSTC_BOOTSTRAP=1, as no nightly is installed",
        }
    }

    /// `cargo` with that compiler.
    pub(crate) fn cargo(self) -> Command {
        let mut command = workspace::cargo();
        match self {
            // The variable outranks rust-toolchain.toml, as `cargo +nightly` would.
            Self::Nightly => command.env("RUSTUP_TOOLCHAIN", "nightly"),
            Self::PinnedUnlocked => command.env("RUSTC_BOOTSTRAP", "1"),
        };
        command
    }
}

/// Whether `program` is on the search path.
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Go's own command: on the search path, or where Debian puts a version of it.
pub(crate) fn go() -> Option<PathBuf> {
    if on_path("go") {
        return Some("go".into());
    }
    let folders = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let of_go = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("go-"))
    };
    folders.filter(of_go).map(|folder| folder.join("bin/go")).find(|program| program.is_file())
}

/// Where installed things live: the user's cache, or the target folder for a user without a home.
pub(crate) fn cache() -> Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    match absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache"))) {
        Some(cache) => Ok(cache.join("loquat-xtask")),
        None => Ok(workspace::metadata("")?.target_directory.join("tools")),
    }
}

/// A Python environment of our own with pinned packages.
#[derive(Debug)]
pub(crate) struct Venv {
    folder: PathBuf,
    requirements: &'static str,
}

impl Venv {
    /// The environment `name` with the packages of a requirements file, which is not created yet.
    pub(crate) fn new(name: &str, requirements: &'static str) -> Result<Self> {
        Ok(Self { folder: cache()?.join("venv").join(name), requirements })
    }

    pub(crate) fn python(&self) -> PathBuf {
        self.folder.join("bin/python")
    }

    /// Where a package of an environment that is ready lies.
    pub(crate) fn package(&self, name: &str) -> Result<PathBuf> {
        let versions =
            fs::read_dir(self.folder.join("lib")).context("the Python environment has no packages")?;
        let mut places = versions.flatten().map(|version| version.path().join("site-packages").join(name));
        places.find(|place| place.is_dir()).with_context(|| format!("the Python environment has no {name}"))
    }

    /// Whether it is there, complete and of these very versions. Reads one small file.
    pub(crate) fn is_ready(&self) -> bool {
        fs::read_to_string(self.stamp()).is_ok_and(|found| found == self.requirements)
            && self.python().exists()
    }

    /// Creates and fills it unless it is ready. Two tasks at once wait for each other.
    pub(crate) fn ensure(&self) -> Result<()> {
        if self.is_ready() {
            return Ok(());
        }
        python_works()?;
        let parent = self.folder.parent().context("the cache has no parent folder")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        let lock = File::create(self.folder.with_extension("lock"))?;
        lock.lock().context("cannot lock the Python environment")?;
        if self.is_ready() {
            return Ok(());
        }
        term::detail(&format!("creating a Python environment in {}", self.folder.display()));
        let mut create = Command::new("python3");
        shell::run(create.args(["-m", "venv", "--clear"]).arg(&self.folder))?;
        let wanted = self.folder.join("requirements.txt");
        fs::write(&wanted, self.requirements)?;
        let mut install = self.pip("install");
        shell::run(install.arg("--requirement").arg(&wanted))?;
        fs::write(self.stamp(), self.requirements)?;
        Ok(())
    }

    /// `pip VERB` inside the environment: published wheels only, so that nothing of a package runs at installation.
    pub(crate) fn pip(&self, verb: &str) -> Command {
        let mut command = Command::new(self.python());
        command.args(["-m", "pip", verb, "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
        command
    }

    fn stamp(&self) -> PathBuf {
        self.folder.join("complete")
    }
}

/// A folder of node's modules of our own, with pinned packages; for machines that have node.
#[derive(Debug)]
pub(crate) struct Modules {
    pub(crate) folder: PathBuf,
    package: &'static str,
}

impl Modules {
    /// The folder `name` with what a `package.json` names, which is not created yet; `None` without node and npm.
    pub(crate) fn new(name: &str, package: &'static str) -> Result<Option<Self>> {
        let has_node = on_path("node") && on_path("npm");
        has_node.then(|| Ok(Self { folder: cache()?.join("node").join(name), package })).transpose()
    }

    /// Whether it is there, complete and of these very versions.
    pub(crate) fn is_ready(&self) -> bool {
        fs::read_to_string(self.folder.join("complete")).is_ok_and(|found| found == self.package)
    }

    /// Fills it unless it is ready. No script of a package runs.
    pub(crate) fn ensure(&self) -> Result<()> {
        if self.is_ready() {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        fs::write(self.folder.join("package.json"), self.package)?;
        let mut install = Command::new("npm");
        install.args([
            "install",
            "--ignore-scripts",
            "--no-package-lock",
            "--no-audit",
            "--no-fund",
            "--silent",
        ]);
        shell::run(install.current_dir(&self.folder))?;
        Ok(fs::write(self.folder.join("complete"), self.package)?)
    }
}

/// Whether `python3 -m venv` can work; the error names the remedy.
pub(crate) fn python_works() -> Result<()> {
    let works = Command::new("python3")
        .args(["-c", "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match works {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => bail!("python3 is too old (3.9 is needed) or lacks venv; `cargo xtask setup` installs it"),
        Err(_) => bail!("python3 is missing; `cargo xtask setup` installs it"),
    }
}

/// Whether this process may install system packages.
pub(crate) fn is_root() -> bool {
    shell::read(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// Extracts the one member of a zip archive whose name ends with `suffix` into `to`, by way of a temporary name.
pub(crate) fn unzip_one(python: &Path, archive: &Path, suffix: &str, to: &Path) -> Result<()> {
    const SCRIPT: &str = "import os,shutil,sys,zipfile
a,s,t=sys.argv[1:]
z=zipfile.ZipFile(a)
n,=[n for n in z.namelist() if n.endswith(s)]
with z.open(n) as i, open(t+'.part','wb') as o: shutil.copyfileobj(i,o,1<<20)
os.replace(t+'.part',t)";
    shell::read(Command::new(python).args(["-c", SCRIPT]).arg(archive).arg(suffix).arg(to)).map(drop)
}
