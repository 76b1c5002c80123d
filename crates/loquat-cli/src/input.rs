//! What commands read: files and stdin, whole, within a bound. A pipe is no file of a known length: what is read is counted.
//!
//! A named file that cannot be read is a word of the command line that cannot be used, and ends every command with the same code
//! ([`Exit::Usage`](crate::exit::Exit::Usage)), whoever reads it: what the facade reads is looked at here before.

use std::{
    fs::{self, File},
    io::{ErrorKind as IoErrorKind, Read},
    path::Path,
};

use loquat::{Error, ErrorKind, Result};

use crate::neutral;

/// A text from a file, or from stdin where there is none or it is `-`.
///
/// # Errors
/// It cannot be read, has more than `most` bytes, or is no UTF-8.
pub(crate) fn text(path: Option<&Path>, most: u64) -> Result<String> {
    let (bytes, name) = match path.filter(|path| *path != Path::new("-")) {
        Some(path) => (file(path, most)?, neutral::line(&path.display().to_string())),
        None => (bounded(std::io::stdin().lock(), "stdin", most)?, "stdin".to_owned()),
    };
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        Error::new(ErrorKind::InvalidRequest, format!("{name} is not UTF-8 from byte {place} on"))
    })
}

/// A file's bytes.
///
/// # Errors
/// It cannot be read, or has more than `most` bytes.
pub(crate) fn file(path: &Path, most: u64) -> Result<Vec<u8>> {
    let name = neutral::line(&path.display().to_string());
    let opened = File::open(path).map_err(|cause| unreadable(&name, cause))?;
    bounded(opened, &name, most)
}

/// Looks whether a named file can be read, for one that is read elsewhere: it is there, is no folder, may be read, and has at most
/// `most` bytes. What is in it is not looked at. A pipe is not opened: whoever writes to it has one reader.
///
/// # Errors
/// It cannot.
pub(crate) fn readable(path: &Path, most: u64) -> Result<()> {
    let name = neutral::line(&path.display().to_string());
    let length = || -> std::io::Result<u64> {
        let about = fs::metadata(path)?;
        if about.is_dir() {
            return Err(IoErrorKind::IsADirectory.into());
        }
        if about.is_file() {
            File::open(path)?;
        }
        Ok(about.len())
    };
    match length() {
        Ok(bytes) if bytes > most => Err(too_large(&name, most)),
        Ok(_) => Ok(()),
        Err(cause) => Err(unreadable(&name, cause)),
    }
}

fn bounded(from: impl Read, name: &str, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most + 1).read_to_end(&mut bytes).map_err(|cause| unreadable(name, cause))?;
    if bytes.len() as u64 > most {
        return Err(too_large(name, most));
    }
    Ok(bytes)
}

fn too_large(what: &str, most: u64) -> Error {
    let mebibytes = most >> 20;
    Error::new(ErrorKind::InvalidRequest, format!("{what} is larger than {mebibytes} MiB"))
}

/// A named file or folder that cannot be read.
pub(crate) fn unreadable(what: &str, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::InvalidRequest, format!("cannot read {what}")).with_source(cause)
}

/// What a flag, a variable or a file says, and cannot be used: a mistake of the caller's, whatever the crate that refused it calls that.
pub(crate) fn unusable(what: &str, error: &Error) -> Error {
    Error::new(ErrorKind::InvalidRequest, format!("{what}: {}", error.message()))
}
