//! Prediction against the full pass: the same texts accepted, the same values found, whatever came before.

use super::{cut, json};
use loquat_json::{Error, Extractor, Fields, Found, Framer, Likeness, Limits, ndjson, sse};

/// A value that outlives its document: field, indices, as written, whether it has escapes.
type Owned = (usize, Vec<u32>, String, Option<bool>);

/// All that is found in a document.
fn owned(found: Result<Found<'_>, Error>) -> Result<Vec<Owned>, Error> {
    let found = found?;
    let all: Vec<Owned> = found
        .iter()
        .map(|found| {
            let raw = String::from_utf8(found.value.raw().to_vec()).expect("a part of a text");
            let is_plain = found.value.as_str().map(|text| text.borrowed().is_some());
            (found.field, found.indices.as_slice().to_vec(), raw, is_plain)
        })
        .collect();
    for field in 0..json::POINTERS.len() {
        let last = all.iter().rev().find(|found| found.0 == field).map(|found| found.2.as_bytes());
        assert_eq!(found.get(field).map(|value| value.raw()), last);
        let both = [found.str(field), found.get(field).and_then(|value| value.as_str())];
        let [text, same] = both.map(|text| text.map(|text| (text.raw(), text.borrowed())));
        assert_eq!(text, same);
    }
    Ok(all)
}

/// Fields that nobody has looked for yet.
pub fn fields() -> Fields {
    Fields::compile(json::POINTERS).expect("the pointers are valid")
}

/// Extractors of fields of their own: one that predicts, one that does not.
pub fn extractors() -> [Extractor; 2] {
    extractors_of(&fields())
}

/// Extractors that have not seen anything yet; they may take over what others of these fields have left.
pub fn extractors_of(fields: &Fields) -> [Extractor; 2] {
    [true, false].map(|predicts| Extractor::new(fields.clone()).with_prediction(predicts).with_max_depth(16))
}

/// Ways to make a stream of documents: line end, before the data (`|` stands for a line end), whether it is SSE.
pub const FRAMINGS: &[(&str, &str, bool)] = &[
    ("\n", "data: ", true),
    ("\r\n", "data: ", true),
    ("\n", "", false),
    ("\n", "event: a b|data:", true),
    ("\r\n", "event:|data: ", true),
    ("\r", "data: ", true),
    ("\n", ": x|data:", true),
    ("\r\n", "", false),
    ("\r", "event: a b|data:", true),
];

/// Documents one after the other, alone and as the events of streams in whole reads and as cut.
pub fn check(
    documents: &[&[u8]],
    lengths: &[u8],
    framings: &[(&str, &str, bool)],
    extractors: &mut [Extractor; 2],
) {
    check_within(documents, lengths, framings, extractors, Limits::default().with_max_event_bytes(300));
}

/// [`check`] under these limits.
pub fn check_within(
    documents: &[&[u8]],
    lengths: &[u8],
    framings: &[(&str, &str, bool)],
    [predicting, plain]: &mut [Extractor; 2],
    limits: Limits,
) {
    for document in documents {
        assert_eq!(owned(predicting.extract(document)), owned(plain.extract(document)));
    }
    for (line_end, before, is_sse) in framings {
        let before = before.replace('|', line_end).into_bytes();
        let after = line_end.repeat(if *is_sse { 2 } else { 1 }).into_bytes();
        let stream: Vec<u8> =
            documents.iter().flat_map(|document| [&before, *document, &after].concat()).collect();
        check_stream(&stream, lengths, [predicting, plain], || match is_sse {
            true => sse::Decoder::new(limits).into(),
            false => ndjson::Decoder::new(limits).into(),
        });
    }
}

/// The LF of a last CRLF may be taken with this event or the next.
fn is_level(left: &[u8], right: &[u8]) -> bool {
    left == right.strip_prefix(b"\n").filter(|_| left != right).unwrap_or(right)
}

/// The last event that was like others.
struct Last {
    likeness: Likeness,
    varies: u128,
    name: String,
    values: Vec<Owned>,
}

impl Last {
    fn new(name: &str, found: Found<'_>) -> Option<Self> {
        let likeness = found.likeness()?;
        let values = owned(Ok(found)).expect("no error");
        Some(Self { likeness, varies: found.varies(), name: name.to_owned(), values })
    }

    /// What events of one likeness have in common.
    fn check(&self, name: &str, values: &[Owned]) {
        assert_eq!(self.name, name);
        assert_eq!(self.values.len(), values.len());
        for (left, right) in self.values.iter().zip(values) {
            assert_eq!((left.0, &left.1, left.3.is_some()), (right.0, &right.1, right.3.is_some()));
            assert!(self.varies & 1 << left.0 != 0 || left == right);
        }
    }
}

/// One stream, framed for the predicting extractor, and framed and extracted apart.
pub fn check_stream(
    stream: &[u8],
    lengths: &[u8],
    [predicting, plain]: [&mut Extractor; 2],
    framer: impl Fn() -> Framer,
) {
    for reads in [vec![stream], cut(stream, lengths)] {
        let (mut fused, mut apart) = (framer(), framer());
        let (mut last, mut turn) = (None::<Last>, 0);
        for read in reads {
            let (mut left, mut right) = (read, read);
            loop {
                let expected = apart.next(&mut right);
                turn += 1;
                let before = left;
                // Whatever field that is for, it changes nothing.
                fused.warm(predicting, [turn % 8, usize::MAX][turn % 2]);
                // Refused now and then: then it must not have been taken.
                let again = last.as_ref().and_then(|last| {
                    let accept = |found| (turn % 3 > 0).then(|| owned(Ok(found)));
                    fused.next_again(&mut left, predicting, last.likeness, accept)
                });
                if let (Some(again), Some(last)) = (again, &last) {
                    let same = expected.expect("no error").expect("an event");
                    assert_eq!(again, owned(plain.extract_str(same.data)));
                    last.check(same.name, &again.expect("no error"));
                    assert!(is_level(left, right));
                    continue;
                }
                assert_eq!(before, left);
                let got = fused.next_for(&mut left, predicting);
                assert_eq!(got, expected);
                assert!(is_level(left, right));
                let (Ok(Some(event)), Ok(Some(same))) = (got, expected) else { break };
                assert_eq!(owned(predicting.extract_event(&event)), owned(plain.extract_str(same.data)));
                assert_eq!(owned(predicting.extract_event(&event)), owned(plain.extract_event(&same)));
                last = predicting.extract_event(&event).ok().and_then(|found| Last::new(event.name, found));
                assert_eq!(fused.stray(), apart.stray());
            }
        }
        assert_eq!(fused.finish(), apart.finish());
        assert_eq!(fused.stray(), apart.stray());
    }
}
