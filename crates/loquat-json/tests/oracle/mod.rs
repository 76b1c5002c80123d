//! What the decoders are measured against, shared by the tests and the fuzz targets.
//!
//! Each oracle is the plainest thing that can be right: the standard's algorithm word for word, or serde_json on the whole
//! text. Each `check` feeds the decoder the same bytes whole and in the reads it is given, and panics where they differ.

#![allow(dead_code, unreachable_pub, reason = "each test and fuzz target uses its own part")]

pub mod json;
pub mod ndjson;
pub mod partial;
pub mod sse;
pub mod template;

use loquat_json::{Error, Event, Framer};
use std::time::Duration;

/// An event that outlives its decoder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owned {
    pub name: String,
    pub data: String,
    pub id: Option<String>,
    pub retry: Option<Duration>,
}

impl From<Event<'_>> for Owned {
    fn from(event: Event<'_>) -> Self {
        Self {
            name: event.name.into(),
            data: event.data.into(),
            id: event.id.map(Into::into),
            retry: event.retry,
        }
    }
}

/// All that a framing decoder says about a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transcript {
    pub events: Vec<Owned>,
    pub unended: Option<Owned>,
    pub stray: Vec<u8>,
    pub error: Option<Error>,
}

/// Feeds a stream, read by read.
pub fn transcribe<'i>(mut framer: Framer, reads: impl IntoIterator<Item = &'i [u8]>) -> Transcript {
    let mut transcript = Transcript::default();
    for mut read in reads {
        loop {
            match framer.next(&mut read) {
                Ok(Some(event)) => transcript.events.push(event.into()),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(framer.next(&mut &b"data:1\n\n"[..]), Err(error), "an error is final");
                    transcript.error = Some(error);
                    return transcript;
                }
            }
        }
        assert!(read.is_empty(), "None means that the read is used up");
    }
    match framer.finish() {
        Ok(event) => transcript.unended = event.map(Owned::from),
        Err(error) => transcript.error = Some(error),
    }
    transcript.stray = framer.stray().to_vec();
    transcript
}

/// Cuts bytes into reads of the given lengths, over and over. A length of 0 is an empty read.
pub fn cut<'i>(mut bytes: &'i [u8], lengths: &[u8]) -> Vec<&'i [u8]> {
    let mut reads = Vec::new();
    if lengths.iter().any(|&length| length > 0) {
        for &length in lengths.iter().cycle() {
            if bytes.is_empty() {
                break;
            }
            let (read, rest) = bytes.split_at(bytes.len().min(length.into()));
            reads.push(read);
            bytes = rest;
        }
    }
    reads.push(bytes);
    reads
}

/// The bytes whole, one by one, and as cut.
pub fn splits<'i>(bytes: &'i [u8], lengths: &[u8]) -> [Vec<&'i [u8]>; 3] {
    [vec![bytes], cut(bytes, &[1]), cut(bytes, lengths)]
}

/// With a run of one byte put in, if the first of the fuzz input says so: as long as the borders are that no fuzzer's input reaches
/// often, one more or one less. Where, the second says.
pub fn stretched(input: &[u8], bytes: &[u8]) -> Vec<u8> {
    const LENGTHS: [usize; 8] = [4095, 4097, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537];
    let mut stretched = bytes.to_vec();
    if let [first @ 248..=255, place, ..] = input {
        let place = usize::from(*place).min(bytes.len());
        let length = LENGTHS[usize::from(first % 8)];
        stretched.splice(place..place, std::iter::repeat_n(b'x', length));
    }
    stretched
}

/// Splits fuzz input: how many cut lengths, the lengths, the bytes.
pub fn plan(input: &[u8]) -> (&[u8], &[u8]) {
    match input.split_first() {
        None => (&[], &[]),
        Some((&count, rest)) => rest.split_at(rest.len().min(usize::from(count % 8))),
    }
}
