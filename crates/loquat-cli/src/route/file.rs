//! A named file of routes, read once: it may be a pipe.
//!
//! What it says wrongly is a mistake of whoever named it and ends with the code of one ([`Exit::Usage`](crate::exit::Exit::Usage)); a key
//! that is not there, or a provider that nobody knows, is not configured.

use std::path::Path;

use loquat::{
    Error, Result, Secret,
    router::{
        Plan,
        config::{Config, MAX_CONFIG_BYTES, Syntax},
        find_key,
    },
};

use crate::{input, neutral};

pub(super) struct RouteFile {
    config: Config,
    name: String,
}

impl RouteFile {
    /// # Errors
    /// It cannot be read, or is no such file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let (text, syntax) = contents(path)?;
        let name = neutral::line(&path.display().to_string());
        let config = Config::parse(&text, syntax).map_err(|error| input::unusable(&name, &error))?;
        Ok(Self { config, name })
    }

    /// The plan, without looking for its keys.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(super) fn plan(&self) -> Result<Plan> {
        self.of(self.config.plan(|_| Ok(Secret::new(""))))
    }

    /// The plan with its keys.
    ///
    /// # Errors
    /// All that is wrong with it, with the keys that lack; of those alone that they do.
    pub(super) fn plan_with_keys(&self) -> Result<Plan> {
        let plan = self.config.plan(find_key);
        match self.plan() {
            Ok(_) => plan.map_err(|error| error.map_message(|what| format!("{}: {what}", self.name))),
            Err(_) => self.of(plan),
        }
    }

    /// What came of what it says, with its name where that is an error.
    pub(super) fn of<T>(&self, made: Result<T>) -> Result<T> {
        made.map_err(|error| self.unusable(&error))
    }

    pub(super) fn unusable(&self, error: &Error) -> Error {
        input::unusable(&self.name, error)
    }
}

/// A named file's text, and how it is written by its name.
pub(super) fn contents(path: &Path) -> Result<(String, Syntax)> {
    Ok((input::text(Some(path), MAX_CONFIG_BYTES as u64)?, Syntax::of(&path.to_string_lossy())))
}
