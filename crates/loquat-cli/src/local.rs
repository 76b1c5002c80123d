//! What is on this machine: pulled models, folders, programs.

use std::path::Path;
#[cfg(feature = "engine")]
use std::path::PathBuf;

/// Most entries looked at when a folder is measured: a cache, not a file system.
const MAX_ENTRIES: usize = 10_000;

/// A model of the engine.
#[cfg(feature = "engine")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pulled {
    /// What to call it: `engine` for the default one, else `engine:NAME`.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

/// The engine's models that have been pulled, its default one first.
///
/// # Errors
/// Where the folder of models cannot be told or read.
#[cfg(feature = "engine")]
pub(crate) fn pulled_models() -> loquat::Result<Vec<Pulled>> {
    use loquat::engine::store;

    let mut pulled: Vec<_> = store::list()?
        .into_iter()
        .map(|stored| Pulled {
            name: if stored.name == store::SMOLLM2 {
                "engine".to_owned()
            } else {
                format!("engine:{}", stored.name)
            },
            path: stored.path,
            bytes: stored.bytes,
        })
        .collect();
    pulled.sort_by_key(|model| model.name != "engine");
    Ok(pulled)
}

/// The first of these programs in PATH.
#[cfg(feature = "engine")]
pub(crate) fn find_program(names: &[&str]) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    names.iter().find_map(|name| {
        std::env::split_paths(&folders)
            .flat_map(|folder| [folder.join(name), folder.join(format!("{name}.exe"))])
            .find(|file| file.is_file())
    })
}

/// Bytes in a folder and below; symbolic links are not followed. `None` where there is no folder.
pub(crate) fn folder_bytes(folder: &Path) -> Option<u64> {
    let mut waiting = vec![folder.to_owned()];
    let (mut bytes, mut seen) = (0_u64, 0);
    folder.is_dir().then_some(())?;
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            seen += 1;
            if seen > MAX_ENTRIES {
                return Some(bytes);
            }
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => waiting.push(entry.path()),
                Ok(metadata) => bytes = bytes.saturating_add(metadata.len()),
                Err(_) => {}
            }
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_measured() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("a")).expect("a folder");
        std::fs::write(folder.path().join("a/b"), [0; 300]).expect("a file");
        std::fs::write(folder.path().join("c"), [0; 20]).expect("a file");
        assert_eq!(folder_bytes(folder.path()), Some(320));
        assert_eq!(folder_bytes(&folder.path().join("none")), None);
    }
}
