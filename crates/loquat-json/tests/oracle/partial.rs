//! A text in pieces against the extractor on the whole.

use super::cut;
use loquat_json::{Error, ErrorKind, Extractor, Fields, Partial, Progress, Value};

/// Without wildcards, of which a partial text keeps only the latest.
pub const POINTERS: &[&str] =
    &["", "/a", "/b/0", "/a/b", "/0", "/é", "/choices/0/delta/content", "/b", "/b/1/a"];

const MAX_DEPTH: usize = 16;

/// Whole, by characters and as cut, every text ends as the extractor says and has its values.
pub fn check(text: &str, lengths: &[u8]) {
    let fields = Fields::compile(POINTERS).expect("the pointers are valid");
    let mut extractor = Extractor::new(fields.clone())
        .with_prediction(false)
        .with_max_depth(MAX_DEPTH)
        .with_max_matches(usize::MAX);
    let expected = extractor.extract_str(text).map(|found| {
        let string = |value: Value<'_>| Some(value.as_str()?.decode_lossy(&mut String::new()).to_owned());
        let value = |field| found.get(field).map(|value| (value.raw().to_vec(), string(value)));
        (0..POINTERS.len()).map(value).collect::<Vec<_>>()
    });
    for lengths in [&[255][..], &[1], lengths] {
        let mut partial = Partial::new(fields.clone()).with_max_depth(MAX_DEPTH);
        let mut followed = vec![(Progress::default(), String::new()); POINTERS.len()];
        let mut result = Ok(());
        for piece in pieces(text, lengths) {
            result = partial.push(piece);
            if result.is_err() {
                assert_eq!(partial.push(""), result, "an error is final");
                break;
            }
            for (field, (progress, out)) in followed.iter_mut().enumerate() {
                partial.append_str_to(field, progress, out);
            }
        }
        let ended = result.and_then(|()| partial.finish().map(|whole| assert_eq!(whole, text)));
        match (&expected, ended) {
            (Ok(values), Ok(())) => {
                for (field, expected) in values.iter().enumerate() {
                    let got = partial.get(field).map(|value| value.raw().to_vec());
                    assert_eq!(got.as_ref(), expected.as_ref().map(|(raw, _)| raw), "{}", POINTERS[field]);
                    if let Some((_, Some(string))) = expected {
                        let mut fresh = String::new();
                        assert!(partial.append_str_to(field, &mut Progress::default(), &mut fresh));
                        assert_eq!(&fresh, string);
                        // Before it may stand what a member of the same name had.
                        assert!(followed[field].1.ends_with(string), "{:?} {string:?}", followed[field].1);
                    }
                }
            }
            (Err(expected), Err(got)) => check_error(*expected, got),
            (expected, got) => panic!("{expected:?} whole, {got:?} in pieces"),
        }
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
