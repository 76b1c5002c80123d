//! A head: `httparse` finds its parts, which are put into `http`'s types without a copy of their own.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{
    HeaderMap, StatusCode,
    header::{HeaderName, HeaderValue},
};
use httparse::{ParserConfig, Response, Status};

use super::{Error, framing::Said};

/// So many fields are parsed on the stack, in memory that need not be filled first.
const STACK_FIELDS: usize = 100;

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

pub(super) struct Parsed {
    pub(super) status: StatusCode,
    /// Of the version HTTP/1.
    pub(super) minor: u8,
    pub(super) headers: HeaderMap,
    pub(super) said: Said,
}

/// Where the first empty line of these bytes ends, which begin in the middle of a line.
pub(super) fn empty_line(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find_map(|at| match bytes[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// Where a head ends in these bytes, as far as empty lines tell: after the first that does not come before it.
pub(super) fn end(bytes: &[u8]) -> Option<usize> {
    let start = blank(bytes);
    Some(start + empty_line(&bytes[start..])?)
}

/// How many bytes of empty lines these begin with.
pub(super) fn blank(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

/// The head at the beginning of these bytes and its length; none where it is not all there.
pub(super) fn parse(bytes: &Bytes, max_fields: usize) -> Result<Option<(Parsed, usize)>, Error> {
    if max_fields <= STACK_FIELDS {
        let mut fields = [const { MaybeUninit::uninit() }; STACK_FIELDS];
        return parse_with(bytes, &mut fields[..max_fields]);
    }
    parse_with(bytes, &mut vec![MaybeUninit::uninit(); max_fields])
}

fn parse_with<'a>(
    bytes: &'a Bytes,
    fields: &mut [MaybeUninit<httparse::Header<'a>>],
) -> Result<Option<(Parsed, usize)>, Error> {
    let mut response = Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, fields);
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Error::HeadTooLarge),
        Err(error) => return Err(Error::Head(error)),
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Error::Status)?;
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    let mut said = Said::default();
    for field in &*response.headers {
        // `httparse` has let through nothing that these refuse, except a name that is too long.
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Error::HeadTooLarge)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value))
            .map_err(|_| Error::Head(httparse::Error::HeaderValue))?;
        said.note(&name, &value);
        headers.try_append(name, value).map_err(|_| Error::HeadTooLarge)?;
    }
    let minor = response.version.unwrap_or(0);
    Ok(Some((Parsed { status, minor, headers, said }, length)))
}
