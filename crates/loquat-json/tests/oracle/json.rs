//! Extraction against serde_json: the same texts accepted, the same values found.

use loquat_json::{ErrorKind, Extractor, Fields, Value};
use serde_json::Value as Tree;
use std::sync::LazyLock;

/// serde_json refuses the 128th level; the extractor is set to the same.
pub const MAX_DEPTH: usize = 127;

/// Pointers that random documents over [`NAMES`] have a chance to match.
pub const POINTERS: &[&str] = &[
    "",
    "/a",
    "/b/0",
    "/a/b",
    "/a/*",
    "/a/*/b",
    "/*/a",
    "/*",
    "/0",
    "/a/0/b/*/a",
    "/é",
    "/x~0y~1z",
    "/b/*/*",
    "/*/*/*/*",
    "/a/b/a/b",
    "/choices/0/delta/content",
    "/choices/*/delta/content",
    "/b",
    "/0\",\"a",
    "/b\":0,\"a",
];

/// Member names for random documents.
pub const NAMES: &[&str] = &["a", "b", "0", "*", "é", "x~y/z", "choices", "delta", "content", ""];

/// Whether a text is JSON, without the limits of serde_json's values: lone surrogates and numbers beyond `f64` are JSON.
/// Depth is the only thing refused besides.
pub fn accepts(json: &[u8], max_depth: usize) -> bool {
    std::str::from_utf8(json).is_ok()
        && serde_json::from_slice::<serde::de::IgnoredAny>(json).is_ok()
        && depth(json) <= max_depth
}

/// How deep a valid text is nested.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in json {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// What a pointer with wildcards leads to, with what the wildcards stood for.
pub fn resolve<'t>(tree: &'t Tree, pointer: &str) -> Vec<(Vec<u32>, &'t Tree)> {
    let Some(tokens) = pointer.strip_prefix('/') else { return vec![(Vec::new(), tree)] };
    let mut values = vec![(Vec::new(), tree)];
    for token in tokens.split('/') {
        values = values
            .into_iter()
            .flat_map(|(indices, value)| -> Vec<(Vec<u32>, &'t Tree)> {
                match value.as_array() {
                    Some(elements) if token == "*" => (0..)
                        .zip(elements)
                        .map(|(index, element)| ([&indices[..], &[index]].concat(), element))
                        .collect(),
                    _ => {
                        let mut indices = indices;
                        if token == "*" {
                            indices.push(0);
                        }
                        let member = value.pointer(&format!("/{token}"));
                        member.map(|member| (indices, member)).into_iter().collect()
                    }
                }
            })
            .collect();
    }
    values
}

/// The extractor accepts what is JSON and finds what serde_json finds.
pub fn check(json: &[u8], extractor: &mut Extractor) {
    let found = match extractor.extract(json) {
        Ok(found) => found,
        Err(error) => {
            assert!(!accepts(json, MAX_DEPTH), "refused: {error}");
            assert!(error.offset() <= json.len() as u64);
            return;
        }
    };
    assert!(accepts(json, MAX_DEPTH), "accepted what is not JSON");
    // Documented differences: serde_json has no value for a lone surrogate or a number beyond f64.
    let Ok(tree) = serde_json::from_slice::<Tree>(json) else { return };
    for (field, pointer) in POINTERS.iter().enumerate() {
        let expected = resolve(&tree, pointer);
        let got: Vec<_> = found.iter().filter(|found| found.field == field).collect();
        assert_eq!(got.len(), expected.len(), "{pointer}");
        for (got, (indices, value)) in got.iter().zip(&expected) {
            assert_eq!(got.indices.as_slice(), indices, "{pointer}");
            check_value(&got.value, value);
        }
        assert_eq!(found.get(field).map(|value| value.raw()), got.last().map(|got| got.value.raw()));
    }
    assert_eq!(found.is_empty(), found.iter().count() == 0);
}

fn check_value(got: &Value<'_>, expected: &Tree) {
    assert_eq!(&serde_json::from_slice::<Tree>(got.raw()).expect("a raw value is JSON"), expected);
    match (got, expected) {
        (Value::Null, Tree::Null) => {}
        (Value::Bool(got), Tree::Bool(expected)) => assert_eq!(got, expected),
        (Value::Number(got), Tree::Number(expected)) => {
            assert_eq!(got.as_u64(), expected.as_u64());
            // serde_json holds -0 as a float, because its integers have no such value.
            if got.raw() != "-0" {
                assert_eq!(got.as_i64(), expected.as_i64());
            }
            assert_eq!(got.as_f64().map(|_| ()), expected.as_f64().map(|_| ()));
        }
        (Value::Str(got), Tree::String(expected)) => {
            let mut scratch = String::from("left over");
            assert_eq!(got.decode(&mut scratch).expect("no lone surrogates here"), expected);
            assert_eq!(got.decode_lossy(&mut scratch), expected);
            assert_eq!(got.borrowed().is_some(), !got.raw().contains('\\'));
            assert_eq!(got.is_empty(), expected.is_empty());
        }
        (Value::Array(_), Tree::Array(_)) | (Value::Object(_), Tree::Object(_)) => {}
        (got, _) => panic!("{got:?} is of another kind"),
    }
}

/// An extractor set to the oracle's limits.
pub fn extractor() -> Extractor {
    Extractor::new(Fields::compile(POINTERS).expect("the pointers are valid"))
        .with_max_depth(MAX_DEPTH)
        .with_max_matches(usize::MAX)
}

/// [`extractor`] without prediction.
pub fn unpredicted() -> Extractor {
    extractor().with_prediction(false)
}

/// [`check`] by the way that texts of one line go, however many broken ones came before: after one in vain the next is not tried.
pub fn check_unpredicted(json: &[u8], unpredicted: &mut Extractor) {
    for _ in 0..2 {
        assert!(unpredicted.extract(b"[0]").is_ok());
    }
    check(json, unpredicted);
}

/// A default extractor refuses at worst for its own limits, and never differently.
pub fn check_limits(json: &[u8]) {
    static FIELDS: LazyLock<Fields> =
        LazyLock::new(|| Fields::compile(&["/*/*", "/a"]).expect("the pointers are valid"));
    let mut strict = Extractor::new(FIELDS.clone()).with_max_depth(4).with_max_matches(3);
    let accepted = accepts(json, usize::MAX);
    match strict.extract(json).map(|found| found.iter().count()) {
        Ok(count) => assert!(accepted && count <= 3),
        Err(error) if matches!(error.kind(), ErrorKind::Depth | ErrorKind::TooMany) => {}
        Err(error) => assert!(!accepted, "refused: {error}"),
    }
}
