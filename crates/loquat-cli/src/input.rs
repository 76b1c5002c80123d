//! What commands read: files and stdin, whole, within a bound. A pipe is no file of a known length: what is read is counted.

use std::{fs::File, io::Read, path::Path};

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

fn bounded(from: impl Read, name: &str, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most + 1).read_to_end(&mut bytes).map_err(|cause| unreadable(name, cause))?;
    if bytes.len() as u64 > most {
        let mebibytes = most >> 20;
        return Err(Error::new(ErrorKind::TooLarge, format!("{name} is larger than {mebibytes} MiB")));
    }
    Ok(bytes)
}

fn unreadable(what: &str, cause: std::io::Error) -> Error {
    Error::new(ErrorKind::InvalidRequest, format!("cannot read {what}")).with_source(cause)
}
