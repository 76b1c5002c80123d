//! Where models are kept: the user's cache folder.
//!
//! Knows names and files, not where they come from: `pull` and others put them here, complete and under their final name
//! only.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

use crate::error::{Result, local};
use crate::gguf;

/// The default model's name.
pub const SMOLLM2: &str = "smollm2";
/// The default model's file.
pub(crate) const SMOLLM2_FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// A model that is at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// What it is called: `smollm2`, or the file's name without `.gguf`.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// The file's size in bytes.
    pub bytes: u64,
}

/// Loquat's folder in the user's cache: `LOQUAT_CACHE` where that is set, else `loquat` in the platform's cache folder
/// (`$XDG_CACHE_HOME` or `~/.cache`; `~/Library/Caches`; `%LOCALAPPDATA%`). Not created here.
///
/// # Errors
/// There is no home folder.
pub fn cache_dir() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("LOQUAT_CACHE").filter(|folder| !folder.is_empty()) {
        return Ok(PathBuf::from(folder));
    }
    let strategy = etcetera::base_strategy::choose_native_strategy()
        .map_err(|e| local("there is no home folder to keep models in; set LOQUAT_CACHE to a folder", e))?;
    Ok(strategy.cache_dir().join("loquat"))
}

/// The folder that holds the models: `models` in [`cache_dir`].
///
/// # Errors
/// As [`cache_dir`].
pub fn models_dir() -> Result<PathBuf> {
    Ok(cache_dir()?.join("models"))
}

/// The file of that name, if it is at hand. Case does not matter; names with path separators never match.
///
/// # Errors
/// As [`list`].
pub fn find(name: &str) -> Result<Option<PathBuf>> {
    let found = list()?.into_iter().find(|stored| stored.name.eq_ignore_ascii_case(name));
    Ok(found.map(|stored| stored.path))
}

/// All models at hand, by name. Files that are no whole GGUF are left out.
///
/// # Errors
/// As [`cache_dir`]; or the folder is there and cannot be read.
pub fn list() -> Result<Vec<Stored>> {
    list_in(&models_dir()?)
}

fn list_in(folder: &Path) -> Result<Vec<Stored>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(local(format!("cannot read {}", folder.display()), e)),
    };
    let mut models: Vec<Stored> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            if path.extension()? != "gguf" {
                return None;
            }
            let summary = gguf::verify(&path).ok()?;
            let name = match path.file_name()?.to_str()? {
                SMOLLM2_FILE => SMOLLM2.to_owned(),
                _ => path.file_stem()?.to_str()?.to_owned(),
            };
            Some(Stored { name, bytes: summary.bytes, path })
        })
        .collect();
    models.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(models)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_models_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(list_in(&folder.path().join("absent")).unwrap(), []);
        let empty: &[u8] = b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        for name in [SMOLLM2_FILE, "other.gguf", "note.txt"] {
            std::fs::write(folder.path().join(name), empty).unwrap();
        }
        std::fs::write(folder.path().join("cut.gguf"), &empty[..20]).unwrap();
        let names: Vec<String> =
            list_in(folder.path()).unwrap().into_iter().map(|stored| stored.name).collect();
        assert_eq!(names, ["other", SMOLLM2]);
    }
}
