//! Where things are and what the workspace consists of, as `cargo metadata` tells it. Only the few fields that the tasks
//! read are declared; a metadata crate would triple the time until `cargo xtask` runs for the first time.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::shell;

/// What `cargo metadata --no-deps` says about one workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
}

/// One member of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) description: Option<String>,
    pub(crate) features: BTreeMap<String, Vec<String>>,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
    /// The registries it may go to; `None` for any, an empty list for none.
    publish: Option<Vec<String>>,
}

/// One line of a member's dependencies.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` is a normal dependency; else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

/// One thing that a member builds.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
}

impl Package {
    /// The folder of the package's `Cargo.toml`.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new(""))
    }

    /// Whether it is for others to depend on.
    pub(crate) fn is_published(&self) -> bool {
        self.publish.as_ref().is_none_or(|registries| !registries.is_empty())
    }
}

/// The repository's root: the parent of this package.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let here = PathBuf::from(here);
    here.parent().map_or(here.clone(), Path::to_path_buf)
}

/// `cargo` in the repository's root, with the environment a shell would give it. What `cargo run` adds about *this* package
/// is taken out again: build scripts that watch those variables (ring's does) would otherwise run anew at every change
/// between `cargo xtask test` and a plain `cargo test`.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// The metadata of the workspace in `folder` (relative to the root; `""` is the product's own).
pub(crate) fn metadata(folder: &str) -> Result<Metadata> {
    let manifest = root().join(folder).join("Cargo.toml");
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--no-deps", "--manifest-path"]).arg(&manifest);
    let text = shell::read(&mut command)?;
    serde_json::from_str(&text)
        .with_context(|| format!("cargo metadata of {} is not as expected", manifest.display()))
}

/// Every file git would commit (tracked, or new and not ignored) whose name ends with `.extension`, relative to the root.
pub(crate) fn files(extension: &str) -> Result<Vec<PathBuf>> {
    let mut command = Command::new("git");
    command.current_dir(root()).args(["ls-files", "--cached", "--others", "--exclude-standard", "-z", "--"]);
    command.arg(format!("*.{extension}"));
    let listed = shell::read(&mut command)?;
    let mut files: Vec<PathBuf> =
        listed.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect();
    // A file removed but not yet committed is still listed.
    files.retain(|file| root().join(file).is_file());
    files.sort();
    files.dedup();
    Ok(files)
}

/// A file of the repository as text.
pub(crate) fn text(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    std::fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {}", path.display()))
}
