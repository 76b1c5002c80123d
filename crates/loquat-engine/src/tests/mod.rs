//! Tests of the whole engine: on a tiny model made up here, and on the real one where it has been pulled.

mod agreement;
mod answers;
mod hostile;
pub(crate) mod oracle;
pub(crate) mod tiny;

use std::path::PathBuf;

use crate::engine::EngineConfig;

/// The limits that tests start from: nothing is written outside of their own folders.
fn config() -> EngineConfig {
    EngineConfig::default().with_converted_dir(None)
}

/// The default model's file: `LOQUAT_GGUF`, or where `pull` puts it. `None`, said plainly, where it is not there.
fn real_model() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("LOQUAT_GGUF") {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "LOQUAT_GGUF names {}, which is no file", path.display());
        return Some(path);
    }
    let found = crate::store::find("smollm2").ok().flatten();
    if found.is_none() {
        println!(
            "skipped: needs the model smollm2, which is not pulled (set LOQUAT_GGUF or run `loquat pull smollm2`)"
        );
    }
    found
}
