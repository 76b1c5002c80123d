//! When an event is read like one before it, and when it is not.

use super::account::HELD_BACK;
use crate::event::{Limits, Mark};
use crate::{Extractor, Fields, Framer, ndjson, sse};

/// For each event of a reply, whether it was predicted where it was framed.
#[track_caller]
fn read_at_once(mut framer: Framer, fields: &Fields, reply: &str) -> Vec<bool> {
    let mut json = Extractor::new(fields.clone());
    let (mut input, mut at_once) = (reply.as_bytes(), Vec::new());
    while let Some(event) = framer.next_for(&mut input, &mut json).unwrap() {
        at_once.push(event.found_by != Mark::default() && json.is_predicted());
        json.extract_event(&event).unwrap();
    }
    at_once
}

/// Replies that have the same shapes in the same order, and no string in common: once they are known, no document is looked at twice.
#[test]
fn what_is_likely_to_come_is_read_where_it_is_framed() {
    let fields = [&["/text"][..], &["/text"]].map(|pointers| Fields::compile(pointers).unwrap());
    for reply in 0..5 {
        let documents = [
            format!(r#"{{"id":"{reply}","role":"r{reply}"}}"#),
            format!(r#"{{"id":"{reply}","text":"a{reply}"}}"#),
            format!(r#"{{"id":"{reply}","text":"b{reply}"}}"#),
            format!(r#"{{"id":"{reply}","text":"c{reply}"}}"#),
            format!(r#"{{"id":"{reply}","text":"d{reply}"}}"#),
            format!(r#"{{"id":"{reply}","stop":{{"n":{reply}}}}}"#),
        ];
        let events: String =
            documents.iter().map(|json| format!("event: e\r\ndata:{json}\r\n\r\n")).collect();
        let lines: String = documents.iter().map(|json| format!("{json}\r\n")).collect();
        let framers: [Framer; 2] =
            [sse::Decoder::new(Limits::default()).into(), ndjson::Decoder::new(Limits::default()).into()];
        for ((framer, fields), reply_text) in framers.into_iter().zip(&fields).zip([events, lines]) {
            let at_once = read_at_once(framer, fields, &reply_text);
            assert_eq!(at_once.len(), 6, "{reply_text}");
            assert!(reply < 4 || at_once.iter().all(|is| *is), "{at_once:?} of {reply_text}");
        }
    }
}

/// Shapes that are known and were not to be expected, and shapes that are new: as long as there is no other white space than spaces in them, nobody frames
/// them first and looks at them afterwards.
#[test]
fn what_nobody_expects_is_read_where_it_is_framed_too() {
    let new = |number: usize| format!(r#"{{"text":"t{number}","n{}":{number}}}"#, "x".repeat(number));
    let known =
        |number: usize, kind: usize| format!(r#"{{"text":"{number}","kind{kind}":{{"n":{number}}}}}"#);
    let documents: Vec<(String, String)> = (0..6)
        .flat_map(|number| (0..3).map(move |kind| (known(number, number * kind % 3), number.to_string())))
        .chain((0..6).map(|number| (new(number), format!("t{number}"))))
        .collect();
    for (before, after) in [("", "\n"), ("", "\r\n"), ("data:", "\n\n"), ("event: e\ndata: ", "\r\n\r\n")] {
        let fields = Fields::compile(&["/text"]).unwrap();
        let mut json = Extractor::new(fields.clone());
        let mut framer: Framer = match before {
            "" => ndjson::Decoder::new(Limits::default()).into(),
            _ => sse::Decoder::new(Limits::default()).into(),
        };
        for (document, text) in &documents {
            let event = [before, document, after].concat();
            let mut input = event.as_bytes();
            let event = framer.next_for(&mut input, &mut json).unwrap().unwrap();
            assert_ne!(event.found_by, Mark::default(), "{document} after {before:?}");
            assert_eq!(event.data, document);
            assert_eq!(event.name, if before.starts_with("event") { "e" } else { "message" });
            let found = json.extract_event(&event).unwrap();
            assert_eq!(found.str(0).unwrap().borrowed(), Some(&text[..]), "{document} after {before:?}");
        }
        // With a tab, it is nobody's until it is framed; half an event is not read at all.
        let spaced = format!("{before}{{\"new\":\t1}}{after}");
        let event = framer.next_for(&mut spaced.as_bytes(), &mut json).unwrap().map(|event| event.found_by);
        assert_eq!(event, Some(Mark::default()));
        let half = format!("{before}{}", new(200));
        assert!(framer.next_for(&mut half.as_bytes(), &mut json).unwrap().is_none());
    }
}

fn reply(documents: impl Iterator<Item = String>) -> String {
    documents.map(|json| format!("data: {json}\n\n")).collect()
}

/// Sixteen kinds of event, each twice, and never in the same order: each costs a template that serves nobody.
fn varied(reply_number: usize) -> String {
    let kinds = (0..32).map(|event| (event * (2 * reply_number + 3) + event / 16) % 16);
    reply(kinds.enumerate().map(|(event, kind)| format!(r#"{{"k{kind}":"{event}-{reply_number}"}}"#)))
}

/// As many of one kind.
fn even(events: usize, seed: usize) -> String {
    reply((0..events).map(|event| format!(r#"{{"text":"{event}-{seed}"}}"#)))
}

#[test]
fn where_learning_is_not_repaid_a_stream_begins_without() {
    let fields = Fields::compile(&["/text"]).unwrap();
    let read = |reply: &str| read_at_once(sse::Decoder::new(Limits::default()).into(), &fields, reply);
    assert!(read(&even(20, 0)).iter().any(|at_once| *at_once), "a store begins with good will");
    let mut is_held_back = false;
    for number in 0..20 {
        let at_once = read(&varied(number));
        is_held_back = !fields.shapes().pays();
        if is_held_back {
            assert!(read(&varied(number + 1)).iter().all(|at_once| !at_once), "{at_once:?}");
            break;
        }
    }
    assert!(is_held_back);

    // A long one is of another kind, and so are those that come after it.
    let long = read(&even(300, 1));
    let held_back = HELD_BACK as usize;
    assert!(long[..held_back].iter().all(|at_once| !at_once), "{long:?}");
    assert!(long[held_back + 3..].iter().all(|at_once| *at_once), "{long:?}");
    assert!(read(&even(20, 2))[3..].iter().all(|at_once| *at_once));
}

/// What nobody frames for the extractor, and documents of which each has an extractor of its own.
#[test]
fn texts_that_are_extracted_alone_are_not_in_debt() {
    let text = |number: usize| format!(r#"{{"text":"{number}","n":{number}}}"#);
    let fields = Fields::compile(&["/text"]).unwrap();
    for _ in 0..100 {
        let mut json = Extractor::new(fields.clone());
        for number in 0..20 {
            json.extract_str(&text(number)).unwrap();
        }
        assert!(fields.shapes().pays(), "one template serves nearly all");
    }
    for number in 0..300 {
        let document = format!(r#"{{"only in {number}":{number}}}"#);
        Extractor::new(fields.clone()).extract_str(&document).unwrap();
        assert!(fields.shapes().pays(), "{number}: nothing comes after it");
    }
}

/// Whoever is held back does not know better than the stream that was not: after some dozens one tries.
#[test]
fn after_a_while_a_stream_tries_again() {
    let fields = Fields::compile(&["/text"]).unwrap();
    let read = |reply: &str| read_at_once(sse::Decoder::new(Limits::default()).into(), &fields, reply);
    (0..40).for_each(|number| drop(read(&varied(number))));
    let tried = (0..200).filter(|number| read(&even(20, *number)).iter().any(|at_once| *at_once)).count();
    assert!((150..200).contains(&tried), "{tried}");
    (0..40).for_each(|number| drop(read(&varied(number))));
    assert!(!fields.shapes().pays(), "good times are not believed in for ever");
}
