//! A text in pieces against the extractor on the whole.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::cut;
use loquat_json::{Error, ErrorKind, Extractor, Fields, Part, Partial, Value};

pub const POINTERS: &[&str] = &[
    "",
    "/a",
    "/b/0",
    "/a/b",
    "/0",
    "/é",
    "/choices/0/delta/content",
    "/b",
    "/b/1/a",
    "/*",
    "/*/a",
    "/b/*",
    "/*/*",
    "/a/*/b/*",
    "/*/b",
];

/// Compiled once: a fuzzer would do little else.
static FIELDS: LazyLock<Fields> =
    LazyLock::new(|| Fields::compile(POINTERS).expect("the pointers are valid"));

const MAX_DEPTH: usize = 16;

/// A value as its parts have shown it, all of them together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shown {
    pub field: usize,
    pub indices: Vec<u32>,
    pub string: Option<String>,
    /// As written, once it has ended.
    pub raw: Option<Vec<u8>>,
}

/// Adds what a part shows.
pub fn note(shown: &mut Vec<Shown>, part: &Part<'_>) {
    let (field, indices) = (part.field, part.indices.as_slice().to_vec());
    let raw = part.value.map(|value| value.raw().to_vec());
    let mut text = String::new();
    if let Some(part) = part.text {
        assert!(part.borrowed().is_none_or(|text| !text.contains('\\')), "{part:?}");
        part.append_lossy_to(&mut text);
        assert!(raw.is_some() || !text.is_empty(), "a part brings something");
    } else {
        assert!(raw.is_some() && part.is_first);
    }
    // While a string goes on, nothing is shown but what the other fields have of it.
    let mut before = shown.iter_mut().rev().take(POINTERS.len());
    let before =
        before.find(|shown| (shown.field, &shown.indices) == (field, &indices) && shown.raw.is_none());
    assert_eq!(before.is_none(), part.is_first, "{part:?}");
    match before {
        Some(Shown { string: Some(string), raw: end, .. }) => {
            string.push_str(&text);
            *end = raw;
        }
        _ => shown.push(Shown { field, indices, string: part.text.map(|_| text), raw }),
    }
}

/// Whole, by characters and as cut, every text ends as the extractor says, has its values, and shows the same of each.
pub fn check(text: &str, lengths: &[u8]) {
    let fields = &*FIELDS;
    let mut extractor = Extractor::new(fields.clone())
        .with_prediction(false)
        .with_max_depth(MAX_DEPTH)
        .with_max_matches(usize::MAX);
    let string = |value: Value<'_>| Some(value.as_str()?.decode_lossy(&mut String::new()).to_owned());
    let expected = extractor.extract_str(text).map(|found| {
        let value = |found: loquat_json::Match<'_>| Shown {
            field: found.field,
            indices: found.indices.as_slice().to_vec(),
            string: string(found.value),
            raw: Some(found.value.raw().to_vec()),
        };
        found.iter().map(value).collect::<Vec<_>>()
    });
    let is_lone_number = text.trim_start().starts_with(|first: char| first == '-' || first.is_ascii_digit());
    let mut first_shown = None;
    for lengths in [&[255][..], &[1], lengths] {
        let mut partial = Partial::new(fields.clone()).with_max_depth(MAX_DEPTH);
        let (mut shown, mut result) = (Vec::new(), Ok(()));
        for piece in pieces(text, lengths) {
            result = partial.push_with(piece, |part| note(&mut shown, &part));
            if result.is_err() {
                assert_eq!(partial.push(""), result, "an error is final");
                break;
            }
            assert_eq!(partial.finish(), partial.finish(), "asking changes nothing");
        }
        let ended = result.and_then(|()| partial.finish().map(|whole| assert_eq!(whole, text)));
        match (&expected, ended) {
            (Ok(values), Ok(())) if is_lone_number => assert!(values.len() == 1 && shown.len() < 2),
            (Ok(values), Ok(())) => {
                for (field, pointer) in POINTERS.iter().enumerate() {
                    let last = values.iter().rfind(|value| value.field == field);
                    let last = last.and_then(|value| value.raw.as_deref());
                    let got = partial.get(field).map(|value| value.raw());
                    // Of several elements the last may have been replaced: then there is none.
                    let may_be_gone = pointer.contains('*') && shown.len() > values.len();
                    assert!(got == last || got.is_none() && may_be_gone, "{pointer}: {got:?}, not {last:?}");
                }
                // What a name that came again has replaced was shown, too.
                let shown: HashSet<_> = shown.iter().collect();
                for value in values {
                    assert!(shown.contains(value), "{value:?} is not among {shown:?}");
                }
            }
            (Err(expected), Err(got)) => check_error(*expected, got),
            (expected, got) => panic!("{expected:?} whole, {got:?} in pieces"),
        }
        // Wherever it was cut, also that which ends in an error.
        let first_shown = &*first_shown.get_or_insert_with(|| shown.clone());
        assert_eq!(shown, *first_shown, "as {lengths:?}");
    }
}

/// Cut as given, but not inside a character.
fn pieces<'t>(text: &'t str, lengths: &[u8]) -> Vec<&'t str> {
    let (mut pieces, mut start, mut end) = (Vec::new(), 0, 0);
    for read in cut(text.as_bytes(), lengths) {
        end += read.len();
        if text.is_char_boundary(end) {
            pieces.push(&text[start..end]);
            start = end;
        }
    }
    pieces
}

fn check_error(whole: Error, pieces: Error) {
    assert_eq!(pieces.kind(), whole.kind());
    if whole.kind() != ErrorKind::UnexpectedEnd {
        assert_eq!(pieces.offset(), whole.offset());
    }
}
