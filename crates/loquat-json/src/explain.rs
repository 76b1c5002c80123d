//! What is wrong with a text that is no JSON, and where: a plain walk from front to back.
//!
//! [`Pass`](crate::pass::Pass) says only that something is wrong, because it looks at many bytes at a time. Errors are rare, so
//! finding the first one costs a second walk, which shares nothing with the first but the grammar of the tokens.

use crate::error::{Error, ErrorKind};
use crate::scan;

/// The first error. The text is known to have one; if it had none after all, its end would be called one.
#[cold]
#[inline(never)]
pub(crate) fn explain(json: &[u8], max_depth: usize) -> Error {
    walk(json, max_depth).err().unwrap_or(Error::new(ErrorKind::Syntax, json.len()))
}

/// Walks the whole text, which is one value nested at most `max_depth` deep.
pub(crate) fn walk(json: &[u8], max_depth: usize) -> Result<(), Error> {
    // The closing brackets of what is open.
    let mut open = Vec::new();
    let mut at = scan::skip_space(json, 0);
    loop {
        at = match json.get(at) {
            Some(b'"') => scan::string(json, at + 1)?.0,
            Some(b'-' | b'0'..=b'9') => scan::number(json, at)?,
            Some(b't') => scan::literal(json, at, b"true")?,
            Some(b'f') => scan::literal(json, at, b"false")?,
            Some(b'n') => scan::literal(json, at, b"null")?,
            Some(&bracket @ (b'{' | b'[')) => {
                if open.len() >= max_depth {
                    return Err(Error::new(ErrorKind::Depth, at));
                }
                // The brackets' codes differ by two.
                open.push(bracket + 2);
                at = scan::skip_space(json, at + 1);
                if json.get(at) != open.last() {
                    at = if bracket == b'{' { member(json, at)? } else { at };
                    continue;
                }
                // Empty: it ends below, as any other.
                at
            }
            _ => return Err(scan::unexpected(json, at)),
        };
        // A value has ended, and with it every array or object whose bracket follows.
        loop {
            at = scan::skip_space(json, at);
            match (json.get(at), open.last()) {
                (None, None) => return Ok(()),
                (Some(_), None) => return Err(Error::new(ErrorKind::TrailingBytes, at)),
                (Some(b','), Some(closing)) => {
                    at = scan::skip_space(json, at + 1);
                    at = if *closing == b'}' { member(json, at)? } else { at };
                    break;
                }
                (byte, closing) if byte == closing => {
                    open.pop();
                    at += 1;
                }
                _ => return Err(scan::unexpected(json, at)),
            }
        }
    }
}

/// A member's name and colon. Where its value starts.
fn member(json: &[u8], at: usize) -> Result<usize, Error> {
    if json.get(at) != Some(&b'"') {
        return Err(scan::unexpected(json, at));
    }
    let (end, _) = scan::string(json, at + 1)?;
    let colon = scan::skip_space(json, end);
    if json.get(colon) != Some(&b':') {
        return Err(scan::unexpected(json, colon));
    }
    Ok(scan::skip_space(json, colon + 1))
}
