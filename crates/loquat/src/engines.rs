//! The embedded engines of a client: loaded at first use, then kept.

use std::{collections::HashMap, path::PathBuf};

use loquat_core::{Error, ErrorKind, Result};
use loquat_engine::{Engine, store};
use tokio::sync::Mutex;

use crate::pull::{Progress, blocking, shipped};

/// Engines by the name they were asked for.
pub(crate) struct Engines {
    /// Held while one loads, so that two callers do not load the same file twice.
    loaded: Mutex<HashMap<String, Engine>>,
    progress: Option<Progress>,
}

impl Engines {
    pub(crate) fn new(progress: Option<Progress>) -> Self {
        Self { loaded: Mutex::default(), progress }
    }

    /// The engine of that name: empty or `smollm2` for the default model (fetched if it is not there), the name of a
    /// model pulled before, or a path.
    pub(crate) async fn load(&self, which: &str) -> Result<Engine> {
        let mut loaded = self.loaded.lock().await;
        if let Some(engine) = loaded.get(which) {
            return Ok(engine.clone());
        }
        let path = self.find(which).await?;
        let engine = blocking(move || Engine::load(path)).await?;
        loaded.insert(which.to_owned(), engine.clone());
        Ok(engine)
    }

    async fn find(&self, which: &str) -> Result<PathBuf> {
        let path = PathBuf::from(which);
        if path.is_file() {
            return Ok(path);
        }
        let name = if which.is_empty() { store::SMOLLM2 } else { which };
        if let Some(path) = store::find(name)? {
            return Ok(path);
        }
        if name == store::SMOLLM2 {
            let silent: Progress = std::sync::Arc::new(|_| {});
            return shipped(self.progress.clone().unwrap_or(silent)).await;
        }
        Err(Error::new(
            ErrorKind::NotConfigured,
            format!(
                "no model file {which:?}: give a path to a .gguf file, or pull one (`loquat pull smollm2`, `loquat pull https://…`)"
            ),
        ))
    }
}
