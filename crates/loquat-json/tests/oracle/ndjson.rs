//! NDJSON the plain way: the whole text, split at LF.

use super::{Owned, Transcript, splits, transcribe};
use loquat_json::{Error, ErrorKind, Framer, Limits, ndjson};

/// The lines; the first that is not UTF-8, by the offset of its first wrong byte.
pub fn lines(stream: &[u8]) -> (Transcript, Option<u64>) {
    let mut transcript = Transcript::default();
    let mark = if stream.starts_with("\u{feff}".as_bytes()) { 3 } else { 0 };
    let mut start = mark;
    let mut lines = stream[mark..].split(|&byte| byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        if !text.iter().all(|byte| b" \t\r".contains(byte)) {
            let data = match std::str::from_utf8(text) {
                Ok(data) => data.to_owned(),
                Err(error) => return (transcript, Some((start + error.valid_up_to()) as u64)),
            };
            let event = Owned { name: "message".into(), data, ..Owned::default() };
            match lines.peek() {
                Some(_) => transcript.events.push(event),
                None => transcript.unended = Some(event),
            }
        }
        start += line.len() + 1;
    }
    (transcript, None)
}

/// What is wrong first under a limit: a line too long, by its first byte that does not fit, or one that is not UTF-8.
fn first_error(stream: &[u8], limit: usize) -> Option<(ErrorKind, u64)> {
    let mut start = if stream.starts_with("\u{feff}".as_bytes()) { 3 } else { 0 };
    for line in stream[start..].split(|&byte| byte == b'\n') {
        if line.len() > limit {
            return Some((ErrorKind::TooLong, (start + limit) as u64));
        }
        let is_blank = line.iter().all(|byte| b" \t\r".contains(byte));
        if let (false, Err(error)) = (is_blank, std::str::from_utf8(line)) {
            return Some((ErrorKind::Utf8, (start + error.valid_up_to()) as u64));
        }
        start += line.len() + 1;
    }
    None
}

/// As [`super::sse::check`].
pub fn check(stream: &[u8], lengths: &[u8], max_event_bytes: usize) {
    let (expected, wrong) = lines(stream);
    for reads in splits(stream, lengths) {
        let got = transcribe(Framer::Ndjson(ndjson::Decoder::new(Limits::default())), reads);
        assert_eq!(got.events, expected.events);
        assert_eq!(got.unended, expected.unended);
        assert_eq!(
            got.error.map(|error: Error| (error.kind(), error.offset())),
            wrong.map(|at| (ErrorKind::Utf8, at))
        );
    }
    let limits = Limits::default().with_max_event_bytes(max_event_bytes);
    let [whole, bytewise, cut] =
        splits(stream, lengths).map(|reads| transcribe(Framer::Ndjson(ndjson::Decoder::new(limits)), reads));
    assert_eq!(whole, bytewise);
    assert_eq!(whole, cut);
    assert_eq!(whole.events, expected.events[..whole.events.len()]);
    let error = whole.error.map(|error| (error.kind(), error.offset()));
    // Half of a byte order mark is held back before it is known to be content.
    if max_event_bytes > 1 {
        assert_eq!(error, first_error(stream, max_event_bytes));
    }
}
