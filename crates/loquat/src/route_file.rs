//! Routes from a file: where keys are found, and how a running router takes a new one over.

use std::{fs::File, io::Read, path::Path};

use loquat_core::{Error, ErrorKind, Result, Secret};
use loquat_router::{
    Plan, Router,
    config::{Config, KeyReference, MAX_CONFIG_BYTES, Syntax},
};

/// The longest file that holds a key. Bytes.
const MAX_KEY_BYTES: usize = 64 * 1024;

/// The plan in that file: TOML, or YAML where its name ends in `.yaml`, `.yml` or `.json`. Keys are read from the
/// variables and files that it names.
///
/// # Errors
/// [`ErrorKind::NotConfigured`] with all that is wrong, [`ErrorKind::Local`] where it cannot be read.
pub fn plan_from_file(path: impl AsRef<Path>) -> Result<Plan> {
    read_config(path.as_ref())?.plan(find_key)
}

/// The plan in that file without its keys: for looking at it where they are not at hand.
///
/// # Errors
/// As [`plan_from_file`].
pub fn plan_without_keys(path: impl AsRef<Path>) -> Result<Plan> {
    read_config(path.as_ref())?.plan(|_| Ok(Secret::new("")))
}

/// The key that a file of routes refers to, in the variable or the file that it names: for
/// [`Config::plan`](loquat_router::config::Config::plan) of one that was read in another way than by [`plan_from_file`].
///
/// # Errors
/// [`ErrorKind::NotConfigured`] where it is not there or empty, [`ErrorKind::Local`] for a file that cannot be read.
pub fn find_key(reference: &KeyReference) -> Result<Secret> {
    let missing = |message: String| Error::new(ErrorKind::NotConfigured, message);
    let key = match reference {
        KeyReference::Env(name) => std::env::var(name).map_err(|_| {
            missing(format!("the environment variable {name}, named as its key's, is not set"))
        })?,
        KeyReference::File(path) => read(Path::new(path), MAX_KEY_BYTES)?,
        _ => return Err(missing("its key is in a place that is not known here".to_owned())),
    };
    match key.trim() {
        "" => Err(missing("its key is empty".to_owned())),
        key => Ok(Secret::new(key)),
    }
}

/// Reads the file again. The old routes stay where the new ones are refused; what is known of endpoints that stay is kept.
///
/// # Errors
/// As [`plan_from_file`] and [`Router::replace`].
pub fn reload(router: &Router, path: impl AsRef<Path>) -> Result<()> {
    router.replace(&plan_from_file(path)?)
}

fn read_config(path: &Path) -> Result<Config> {
    let text = read(path, MAX_CONFIG_BYTES)?;
    let config = Config::parse(&text, Syntax::of(&path.to_string_lossy()));
    config.map_err(|error| error.map_message(|message| format!("{}: {message}", path.display())))
}

/// A text file of at most that size, also where it grows while it is read.
pub(crate) fn read(path: &Path, max_bytes: usize) -> Result<String> {
    let shown = path.display();
    let failed = |cause| Error::new(ErrorKind::Local, format!("cannot read {shown}")).with_source(cause);
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(max_bytes as u64 + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() > max_bytes {
        return Err(Error::new(ErrorKind::NotConfigured, format!("{shown} has more than {max_bytes} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_where_the_file_says() {
        let key = std::env::temp_dir().join(format!("loquat-key-{}", std::process::id()));
        std::fs::write(&key, "sk-planted\n").expect("a temporary file");
        let found = find_key(&KeyReference::File(key.display().to_string()));
        std::fs::write(&key, " \n").expect("a temporary file");
        let empty = find_key(&KeyReference::File(key.display().to_string()));
        drop(std::fs::remove_file(&key));
        assert_eq!(found, Ok(Secret::new("sk-planted")));
        assert_eq!(empty.map_err(|error| error.kind()), Err(ErrorKind::NotConfigured));
        let gone = find_key(&KeyReference::Env("LOQUAT_NO_SUCH_VARIABLE".into())).expect_err("not set");
        assert!(gone.message().contains("LOQUAT_NO_SUCH_VARIABLE"));
    }
}
