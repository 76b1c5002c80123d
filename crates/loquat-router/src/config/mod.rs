//! A plan from a file: TOML or YAML by one shape, whose JSON Schema is [`schema`].
//!
//! Secrets are named, never written: `key = { env = "NAME" }` or `key = { file = "PATH" }`. A key that stands in the file
//! itself is refused, and no message repeats it. Unknown fields are refused, since a misspelt limit is no limit. This
//! module reads no file and no variable: text comes in, and whoever calls resolves the names.

mod data;
mod script;

use loquat_core::{Error, ErrorKind, Result, Secret};
use serde::de::DeserializeOwned;

pub use data::{Config, KeyReference};
pub use script::ScriptConfig;

use crate::Plan;

/// The longest file that is read. Bytes.
pub const MAX_CONFIG_BYTES: usize = 4 * 1024 * 1024;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Syntax {
    /// TOML 1.1.
    Toml,
    /// YAML 1.2, and so JSON.
    Yaml,
}

impl Syntax {
    /// By the end of a file's name: `.yaml`, `.yml` and `.json` are YAML, all else is TOML.
    pub fn of(path: &str) -> Self {
        match path.rsplit_once('.') {
            Some((_, "yaml" | "yml" | "json")) => Self::Yaml,
            _ => Self::Toml,
        }
    }
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`ErrorKind::NotConfigured`] with the place and what is wrong there.
    pub fn parse(text: &str, syntax: Syntax) -> Result<Self> {
        parse(text, syntax)
    }

    /// The plan, whole or not at all. `key` finds what a reference names.
    ///
    /// # Errors
    /// [`ErrorKind::NotConfigured`] with everything that is wrong.
    pub fn plan(&self, key: impl Fn(&KeyReference) -> Result<Secret>) -> Result<Plan> {
        let (plan, mut problems) = self.build(key);
        problems.extend(plan.problems());
        match problems.is_empty() {
            true => Ok(plan),
            false => Err(Error::new(ErrorKind::NotConfigured, problems.join("; "))),
        }
    }
}

impl ScriptConfig {
    /// Reads a script for a simulation.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn parse(text: &str, syntax: Syntax) -> Result<Self> {
        parse(text, syntax)
    }
}

/// The JSON Schema of a configuration (draft 2020-12).
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Config)
}

/// The JSON Schema of a script for a simulation.
pub fn script_schema() -> schemars::Schema {
    schemars::schema_for!(ScriptConfig)
}

fn parse<T: DeserializeOwned>(text: &str, syntax: Syntax) -> Result<T> {
    if text.len() > MAX_CONFIG_BYTES {
        let message = format!("{} bytes, where {MAX_CONFIG_BYTES} may be", text.len());
        return Err(Error::new(ErrorKind::NotConfigured, message));
    }
    // Neither message shows the lines around the place, as both libraries would: a key may stand there.
    let failed = |message: String| Error::new(ErrorKind::NotConfigured, message);
    match syntax {
        Syntax::Toml => toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .and_then(|span| text.get(..span.start))
                .map(|before| before.matches('\n').count() + 1);
            failed(line.map_or_else(String::new, |line| format!("line {line}: ")) + error.message())
        }),
        Syntax::Yaml => {
            let options = serde_saphyr::options! { with_snippet: false };
            serde_saphyr::from_str_with_options(text, options).map_err(|error| failed(error.to_string()))
        }
    }
}
