//! Prediction: what is found never depends on it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod oracle;

use loquat_json::{Extractor, Fields, Framer, Limits, ndjson, sse};
use oracle::template::{FRAMINGS, check, check_stream, extractors};
use proptest::prelude::*;

/// Documents in a row, to extractors that have seen nothing else.
fn check_row(documents: &[&str]) {
    let documents: Vec<&[u8]> = documents.iter().map(|document| document.as_bytes()).collect();
    check(&documents, &[50, 7], FRAMINGS, &mut extractors());
}

#[test]
fn values_that_change_are_found_where_they_are() {
    check_row(&[
        r#"{"a":{"b":"x"},"b":[1,2]}"#,
        r#"{"a":{"b":"yy"},"b":[1,2]}"#,
        r#"{"a":{"b":""},"b":[1,2]}"#,
        r#"{"a":{"b":"\n\"é"},"b":[1,-2.5e3]}"#,
        r#"{"a":{"b":"z"},"b":[0,2]}"#,
        r#"{"a":{"b":"z"},"b":[00,2]}"#,
        r#"{"a":{"b":"z"},"b":[0,2]} "#,
        r#"{"a":{"b":"z"},"b":[0,2],"b":[3]}"#,
        r#"{"a":{"b":"z"},"b":[7,8],"b":[9]}"#,
        r#"{"a":{"b":"z"},"b":[7,8],"b":[9]}}"#,
    ]);
}

#[test]
fn shapes_alternate_and_are_told_apart() {
    let row: Vec<String> = (0..60)
        .map(|n| match n % 6 {
            0 => format!(r#"{{"a":{n}}}"#),
            1 => format!(r#"{{"a":"{n}"}}"#),
            2 => format!(r#"{{"a":[{n},{n}]}}"#),
            3 => format!(r#"{{"a":[{n}]}}"#),
            4 => format!(r#"{{"b":"{n}"}}"#),
            _ => "{\"a\":\n{\"b\":\"x\"}}".to_owned(),
        })
        .collect();
    check_row(&row.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Data that came in two lines looks like data with a line end in it, which no single line has.
#[test]
fn a_template_with_line_ends_frames_nothing() {
    let mut json = Extractor::new(Fields::compile(&["/a"]).unwrap());
    let mut framer = Framer::Sse(sse::Decoder::new(Limits::default()));
    let mut read: &[u8] = b"data: {\ndata: \"a\":1}\n\ndata: {\n\"a\":1}\n\ndata: {\n\ndata: {\n\"a\":1}\n\n";
    let mut seen = Vec::new();
    while let Some(event) = framer.next_for(&mut read, &mut json).unwrap() {
        seen.push((event.data.to_owned(), json.extract_event(&event).is_ok()));
    }
    let lone = ("{".to_owned(), false);
    assert_eq!(seen, [("{\n\"a\":1}".to_owned(), true), lone.clone(), lone.clone(), lone]);
}

/// An event is only taken for extracted by the extractor that it was framed for, and until that one extracts another.
#[test]
fn a_mark_is_good_for_one_event_of_one_extractor() {
    let fields = Fields::compile(&["/a"]).unwrap();
    let (mut one, mut other) = (Extractor::new(fields.clone()), Extractor::new(fields));
    let mut framer = Framer::Sse(sse::Decoder::new(Limits::default()));
    let stream = (0..9).map(|n| format!("data: {{\"a\":{n}}}\n\n")).collect::<String>();
    let mut read = stream.as_bytes();
    let mut n = 0;
    while let Some(event) = framer.next_for(&mut read, &mut one).unwrap() {
        let get = |json: &mut Extractor| json.extract_event(&event).unwrap().get(0).unwrap().as_u64();
        assert_eq!((get(&mut other), get(&mut one)), (Some(n), Some(n)));
        assert_eq!(other.extract_str("{\"a\":100}").unwrap().get(0).unwrap().as_u64(), Some(100));
        assert_eq!(one.extract_str("{\"a\":100}").unwrap().get(0).unwrap().as_u64(), Some(100));
        assert_eq!((get(&mut other), get(&mut one)), (Some(n), Some(n)));
        n += 1;
    }
    assert_eq!(n, 9);
}

/// Limits that are set between an event's framing and its extraction hold for it.
#[test]
fn a_mark_does_not_outlive_the_limits() {
    let change: [fn(Extractor) -> Extractor; 3] =
        [|json| json.with_max_depth(1), |json| json.with_max_matches(0), |json| json.with_prediction(false)];
    for (change, is_ok) in change.into_iter().zip([false, false, true]) {
        let mut json = Extractor::new(Fields::compile(&["/a"]).unwrap());
        let mut framer = Framer::Sse(sse::Decoder::new(Limits::default()));
        for n in 0..9 {
            let event = format!("data: {{\"a\":[{n}]}}\n\n");
            let event = framer.next_for(&mut event.as_bytes(), &mut json).unwrap().unwrap();
            json.extract_event(&event).unwrap();
        }
        let event = framer.next_for(&mut &b"data: {\"a\":[10]}\n\n"[..], &mut json).unwrap().unwrap();
        let mut json = change(json);
        let found = json.extract_event(&event);
        assert_eq!(found.is_ok(), is_ok);
        assert!(found.map_or(true, |found| found.raw(0) == Some("[10]")));
    }
}

/// Whoever holds an event may put other data in its place, or less of the same.
#[test]
fn a_mark_is_good_for_its_data_alone() {
    let mut json = Extractor::new(Fields::compile(&["/a"]).unwrap());
    let mut framer = Framer::Sse(sse::Decoder::new(Limits::default()));
    let others = [("{\"a\":7}", Some("7")), ("{\"a\":\"x\",\"b\":1}", Some("\"x\"")), ("no JSON", None)];
    for (other, expected) in others {
        for n in 0..9 {
            let event = format!("data: {{\"a\":{n}}}\n\n");
            let event = framer.next_for(&mut event.as_bytes(), &mut json).unwrap().unwrap();
            json.extract_event(&event).unwrap();
        }
        let mut event = framer.next_for(&mut &b"data: {\"a\":10}\n\n"[..], &mut json).unwrap().unwrap();
        for (data, expected) in [(event.data, Some("10")), (&event.data[..7], None), (other, expected)] {
            event.data = data;
            let found = json.extract_event(&event).ok();
            assert_eq!(found.as_ref().and_then(|found| found.raw(0)), expected, "{data}");
        }
    }
}

/// An event is like others of its name only: also where its frame is none that a template has, because another field stands in it
/// or it is too long.
#[test]
fn events_of_another_name_are_not_alike() {
    let long = "n".repeat(200);
    let frames = [
        ["event: a b\ndata: ", "\n\n"],
        ["data: ", "\nid: 7\n\n"],
        ["data: ", "\n\n"],
        [&format!("event: {long}\ndata: "), "\n\n"],
    ];
    for (first, second) in (0..16).map(|pair| (frames[pair / 4], frames[pair % 4])) {
        let turns = [first, first, first, first, second, first, second, second, first, first];
        let stream: String = (0..)
            .zip(turns)
            .map(|(n, [before, after])| format!("{before}{{\"a\":\"{n}\"}}{after}"))
            .collect();
        let [predicting, plain] = &mut extractors();
        for lengths in [vec![], vec![5, 250], vec![40, 13]] {
            check_stream(stream.as_bytes(), &lengths, [predicting, plain], || {
                sse::Decoder::new(Limits::default().with_max_event_bytes(400)).into()
            });
        }
    }
}

/// What another extractor has learned is used within one's own limits.
#[test]
fn shared_shapes_do_not_lift_limits() {
    let fields = Fields::compile(&["/*"]).unwrap();
    let mut generous = Extractor::new(fields.clone());
    for n in 0..9 {
        assert!(generous.extract_str(&format!("[[[[{n}]]],{n}]")).is_ok());
    }
    assert!(Extractor::new(fields.clone()).with_max_depth(3).extract_str("[[[[1]]],1]").is_err());
    assert!(Extractor::new(fields.clone()).with_max_matches(1).extract_str("[[[[1]]],1]").is_err());
    assert!(generous.with_max_depth(3).extract_str("[[[[1]]],1]").is_err());

    // The same where a shape is looked for before the event is framed.
    let stream = "data: [[[[1]]],1]\n\n".repeat(9);
    let first = |mut json: Extractor, stream: &str| {
        let mut framer = sse::Decoder::new(Limits::default());
        let event = framer.next_for(&mut stream.as_bytes(), &mut json).unwrap().unwrap();
        json.extract_event(&event).map(|found| found.iter().count())
    };
    let fields = Fields::compile(&["/*"]).unwrap();
    for _ in 0..4 {
        let (mut framer, mut json) = (sse::Decoder::new(Limits::default()), Extractor::new(fields.clone()));
        let mut read = stream.as_bytes();
        while let Some(event) = framer.next_for(&mut read, &mut json).unwrap() {
            assert!(json.extract_event(&event).is_ok());
        }
    }
    let json = || Extractor::new(fields.clone());
    assert_eq!(first(json(), &stream), Ok(2));
    assert!(first(json().with_max_depth(3), &stream).is_err());
    assert!(first(json().with_max_matches(1), &stream).is_err());
}

/// An event is refused at its limit whichever way it is read, however its lines end.
#[test]
fn what_is_read_where_it_is_framed_is_no_longer_than_the_limit() {
    let event =
        |before: &str, end: &str, length: usize| format!("{before}{{\"a\":\"{}\"}}{end}", "x".repeat(length));
    for (before, end, is_sse) in [
        ("data: ", "\n\n", true),
        ("data: ", "\r\n\r\n", true),
        ("event: e\ndata:", "\n\n", true),
        ("", "\n", false),
        ("", "\r\n", false),
    ] {
        // So many short ones come first, because the check refuses every third.
        for (ahead, length) in (3..6).flat_map(|ahead| (20..50).map(move |length| (ahead, length))) {
            let lengths = (0..ahead).chain([length, 6, length]);
            let stream: String = lengths.map(|length| event(before, end, length)).collect();
            for lengths in [vec![], vec![20, 9]] {
                let ([predicting, plain], [_, passing]) = (&mut extractors(), &mut extractors());
                let limits = Limits::default().with_max_event_bytes(40);
                // As an event like the last one, and as one that is passed where it is framed.
                for looking in [predicting, passing] {
                    check_stream(stream.as_bytes(), &lengths, [looking, plain], || match is_sse {
                        true => sse::Decoder::new(limits).into(),
                        false => ndjson::Decoder::new(limits).into(),
                    });
                }
            }
        }
    }
}

/// A CR alone ends a line of SSE and none of NDJSON, where it is white space.
#[test]
fn a_lone_cr_ends_no_line() {
    let stream: String = (0..6).map(|n| format!("{{\"a\":{n}}}\n")).collect();
    let stream = stream + "{\"a\":6}\r{\"a\":7}\n{\"a\":8}\r\n{\"a\":9}\r\r\n{\"a\":10}\r{\"a\":11}\r\n";
    for lengths in [vec![], vec![54, 250], vec![9, 20]] {
        let [predicting, plain] = &mut extractors();
        check_stream(stream.as_bytes(), &lengths, [predicting, plain], || {
            ndjson::Decoder::new(Limits::default()).into()
        });
    }
}

/// Scalars to put in the place of others.
const SCALARS: &[&str] = &[
    "null",
    "true",
    "0",
    "-1",
    "12.5e-3",
    "1e999",
    "01",
    "\"\"",
    "\"x\"",
    "\"long enough for a word\"",
    "\"é\"",
    r#""\n""#,
    r#""\ud83d""#,
    r#""\ud83d\ude00""#,
    r#""\x""#,
    "\"\t\"",
    "\"a",
    "[]",
    "{}",
    "-",
    " 7 ",
    "\n7",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_full_pass(
        bases in prop::collection::vec(prop::sample::select(vec![
            r#"{"a":@,"b":[@,@]}"#,
            r#"{"choices":[{"index":@,"delta":{"content":@}}],"a":{"b":@}}"#,
            r#"{"a":[{"b":@},{"b":@,"b":@}],"b":@}"#,
            r#"[{"a":@},@]"#,
            r#"{"é":@, "x~y/z" : @}"#,
            "@",
        ]), 1..4),
        row in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(prop::sample::select(SCALARS), 3)), 1..24),
        lengths in prop::collection::vec(1..120u8, 1..5),
        broken in prop::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>(), prop::sample::select(b"[]{}:,\"\\0-e.u \x1f\xff\n".as_slice()))),
    ) {
        let mut documents: Vec<Vec<u8>> = row.iter().map(|(base, scalars)| {
            let mut scalars = scalars.iter().cycle();
            let mut text = String::new();
            for piece in base.get(&bases).split_inclusive('@') {
                match piece.strip_suffix('@') {
                    Some(piece) => { text.push_str(piece); text.push_str(scalars.next().unwrap()); }
                    None => text.push_str(piece),
                }
            }
            text.into_bytes()
        }).collect();
        if let Some((which, place, byte)) = broken {
            let document = &mut documents[which.index(row.len())];
            let place = place.index(document.len());
            document[place] = byte;
        }
        let documents: Vec<&[u8]> = documents.iter().map(Vec::as_slice).collect();
        check(&documents, &lengths, FRAMINGS, &mut extractors());
    }
}

/// One extractor may serve both framings: a line that looks like an event of the other's is none (found by fuzzing).
#[test]
fn a_frame_belongs_to_its_framing() {
    let mut json = Extractor::new(Fields::compile(&["/a"]).unwrap());
    let mut lines = ndjson::Decoder::new(Limits::default());
    let mut events = sse::Decoder::new(Limits::default());
    let learn = |mut framer: Framer, mut read: &[u8], json: &mut Extractor| {
        while let Some(event) = framer.next_for(&mut read, json).unwrap() {
            json.extract_event(&event).unwrap();
        }
    };
    learn(ndjson::Decoder::new(Limits::default()).into(), &b"{\"a\":1}\n".repeat(4), &mut json);
    assert!(events.next_for(&mut &b"data: 1\n\n"[..], &mut json).unwrap().is_some());
    assert_eq!(events.next_for(&mut &b"{\"a\":1}\n\n"[..], &mut json), Ok(None));

    let mut json = Extractor::new(Fields::compile(&["/a"]).unwrap());
    learn(sse::Decoder::new(Limits::default()).into(), &b"data: {\"a\":1}\n\n".repeat(3), &mut json);
    assert!(lines.next_for(&mut &b"1\n"[..], &mut json).unwrap().is_some());
    let event = lines.next_for(&mut &b"data: {\"a\":1}\n\n"[..], &mut json).unwrap().unwrap();
    assert_eq!(event.data, "data: {\"a\":1}");
}

/// A document that begins with a space takes the place of one that followed its `data:` without any: in that frame its first
/// byte would be the frame's (found by fuzzing).
#[test]
fn a_space_after_the_colon_is_never_data() {
    let mut json = Extractor::new(Fields::compile(&["/a"]).unwrap());
    let mut framer = Framer::Sse(sse::Decoder::new(Limits::default()));
    let mut data = |mut read: &[u8], json: &mut Extractor| {
        let mut seen = Vec::new();
        while let Some(event) = framer.next_for(&mut read, json).unwrap() {
            json.extract_event(&event).unwrap();
            seen.push(event.data.to_owned());
        }
        seen
    };
    assert_eq!(data(b"data:[1]\n\ndata:[2]\n\ndata:[3]\n\n", &mut json), ["[1]", "[2]", "[3]"]);
    for document in ["{}", "[[]]", "[[],[]]", " [1]"] {
        // Until it is a template; and what has one already, so that it is worth making more.
        for document in [document, document, document, "{}"] {
            json.extract(document.as_bytes()).unwrap();
        }
    }
    json.extract(b" [1]").unwrap();
    assert_eq!(data(b"data: [1]\n\ndata: [1]\n\ndata:  [1]\n\n", &mut json), ["[1]", "[1]", " [1]"]);
}

/// There are as many holes as there are bits; the values behind them are found all the same.
#[test]
fn more_strings_and_numbers_than_a_shape_may_have_are_found() {
    for count in 125..132 {
        let rows: Vec<String> = (0..8)
            .map(|row| {
                let numbers: Vec<_> = (0..count).map(|n| (n * row % 7).to_string()).collect();
                format!("{{\"a\":[{}],\"b\":[{row}]}}", numbers.join(","))
            })
            .collect();
        let documents: Vec<&[u8]> = rows.iter().map(|row| row.as_bytes()).collect();
        check(&documents, &[250, 80], &FRAMINGS[..1], &mut extractors());
    }
}

/// Anthropic pads its events with spaces before the last bracket, each by another number of them, none included.
#[test]
fn padding_before_the_last_bracket_changes_nothing() {
    let padded = |text: &str, spaces: usize| {
        format!(r#"{{"type":"d","delta":{{"text":"{text}"}}{}}}"#, " ".repeat(spaces))
    };
    let documents: Vec<String> = ["Why", "\\u00e9\\n", "", "枇"]
        .iter()
        .cycle()
        .zip([3, 0, 1, 40, 7, 2, 0, 64, 5])
        .map(|(text, spaces)| padded(text, spaces))
        .collect();
    check_row(&documents.iter().map(String::as_str).collect::<Vec<_>>());
    check_row(&[
        "{}",
        "{ }",
        "{   }",
        "[1 ]",
        "[1]",
        "[ 1  ]",
        "{\"a\":\"b\" }",
        "{\"a\":\"b\"\t }",
        "{\"a\":\"b\"\n}",
    ]);
}

/// How many texts of a stream a new extractor of these fields passes before one looks like the last to it.
fn until_alike(fields: &Fields) -> usize {
    let mut json = Extractor::new(fields.clone());
    let text = |number: usize| format!(r#"{{"a":{{"b":"{number}"}},"n":{number}}}"#);
    let is_alike = |number: &usize| json.extract_str(&text(*number)).unwrap().likeness().is_some();
    (0..1000).find(is_alike).unwrap()
}

/// Of a server whose every second event looks like nothing before, and comes once more when all is forgotten.
fn odd_stream(fields: &Fields, seed: usize) {
    let mut json = Extractor::new(fields.clone());
    for number in 0..60 {
        let text = format!(r#"{{"a{seed}_{}":[{}1]}}"#, number / 2, "1,".repeat(number / 2));
        json.extract_str(&text).unwrap();
    }
}

/// Of one server nothing gets to those of another's store: neither what it costs to predict it, nor what it has taught.
#[test]
fn stores_know_nothing_of_each_other() {
    let compiled = Fields::compile(&["/a/b"]).unwrap();
    let (odd, plain, other) =
        (compiled.with_own_store(), compiled.with_own_store(), compiled.with_own_store());
    assert!(
        odd.shares_pointers_with(&plain) && !odd.shares_pointers_with(&Fields::compile(&["/a/b"]).unwrap())
    );
    let first = until_alike(&plain);
    let learned = until_alike(&plain);
    assert!(learned < first, "{learned} of {first}");
    for seed in 0..100 {
        odd_stream(&odd, seed);
    }
    assert!(until_alike(&odd) > 40, "it does not pay there");
    assert_eq!((until_alike(&plain), until_alike(&other)), (learned, first));
}
