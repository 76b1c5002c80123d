//! What an event costs, counted: instructions of whole streams under callgrind, which depend neither on the machine's mood nor on who else
//! is using it. A bound has a tenth of headroom over what was counted when it was set; who makes events cheaper lowers it.
//!
//! Counted is this build, with its checks on (a release takes about a third less), by AVX2, since valgrind hides AVX-512; or without
//! vector code, where that is left out.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::env;
use std::hint::black_box;
use std::process::Command;

use loquat_json::{Extractor, Fields, Framer, Limits, sse};

/// How streams are read, and the most instructions of an event: by AVX2, and without vector code.
const BOUNDS: [(&str, [f64; 2]); 4] = [
    // One event per read, each like the one before it.
    ("predicted", [945.0, 950.0]),
    // The same in reads of 1 to 64 bytes.
    ("in pieces", [6_870.0, 6_990.0]),
    // One event per read, passed in full.
    ("unpredicted", [3_325.0, 5_525.0]),
    // Replies of twenty events, each by a decoder of its own, whose shapes the first ones taught.
    ("short replies", [1_150.0, 1_030.0]),
];

/// Events in the shorter run and in the longer: what they have more is what counts.
const EVENTS: [usize; 2] = [400, 1_200];
const OF_A_REPLY: usize = 20;

/// Which case and how many events a process is to read whose instructions are counted.
const CASE: &str = "LOQUAT_COUNTED_CASE";
const COUNT: &str = "LOQUAT_COUNTED_EVENTS";

#[test]
fn an_event_takes_no_more_instructions_than_it_did() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("skipped: valgrind is not installed, which counts instructions");
        return;
    }
    if !cfg!(loquat_scalar) && !is_x86_feature_detected!("avx2") {
        println!("skipped: the bounds are of AVX2, which this machine has not");
        return;
    }
    let mut dear = Vec::new();
    for (case, bounds) in BOUNDS {
        let [few, many] = EVENTS.map(|events| counted(case, events));
        let each = (many - few) / (EVENTS[1] - EVENTS[0]) as f64;
        let bound = bounds[usize::from(cfg!(loquat_scalar))];
        println!("{case}: {each:.0} instructions an event, of {bound:.0}");
        if each > bound {
            dear.push(format!("{case}: {each:.0} > {bound:.0}"));
        }
    }
    assert!(dear.is_empty(), "instructions of an event: {dear:?}");
}

/// Instructions of a process that reads so many events.
fn counted(case: &str, events: usize) -> f64 {
    let this = env::current_exe().unwrap();
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*read_streams*"]);
    valgrind.arg(this).args(["--exact", "what_is_counted", "--test-threads=1"]);
    let output = valgrind.env(CASE, case).env(COUNT, events.to_string()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let collected = said.lines().find_map(|line| line.split("Collected :").nth(1));
    let collected = collected.unwrap_or_else(|| panic!("no count from callgrind: {said}"));
    collected.trim().parse().unwrap()
}

/// What is counted is read rightly: all of it, or under callgrind what the test above says.
#[test]
fn what_is_counted() {
    match (env::var(CASE), env::var(COUNT)) {
        (Ok(case), Ok(count)) => read(&case, count.parse().unwrap()),
        _ => BOUNDS.iter().for_each(|(case, _)| read(case, 3 * OF_A_REPLY)),
    }
}

fn read(case: &str, events: usize) {
    let events = (0..events).map(event).collect::<Vec<_>>();
    let fields = Fields::compile(&[
        "/choices/0/delta/content",
        "/choices/0/finish_reason",
        "/usage",
        "/error",
        "/choices/*/delta/tool_calls/*/function/arguments",
    ]);
    let fields = fields.unwrap();
    let whole = events.concat();
    let read = match case {
        "in pieces" => read_streams(&fields, true, &[pieces(&whole)]),
        "short replies" => {
            let replies = events.chunks(OF_A_REPLY).map(|reply| reply.iter().map(Vec::as_slice).collect());
            read_streams(&fields, true, &replies.collect::<Vec<_>>())
        }
        _ => read_streams(&fields, case == "predicted", &[events.iter().map(Vec::as_slice).collect()]),
    };
    assert_eq!(read, (0..events.len()).map(|number| text(number).len()).sum());
}

/// Every reply, given in these reads: how many bytes of text there are.
#[inline(never)]
fn read_streams(fields: &Fields, predicts: bool, replies: &[Vec<&[u8]>]) -> usize {
    let (mut scratch, mut bytes) = (String::new(), 0);
    for reply in replies {
        let mut framer = Framer::from(sse::Decoder::new(Limits::default()));
        let mut json = Extractor::new(fields.clone()).with_prediction(predicts);
        for mut read in reply.iter().copied() {
            while let Some(event) = framer.next_for(&mut read, &mut json).unwrap() {
                let found = json.extract_event(&event).unwrap();
                bytes += found.str(0).unwrap().decode(&mut scratch).unwrap().len();
                black_box((found.get(1), found.get(2)));
            }
        }
    }
    bytes
}

/// As OpenAI's servers write them.
fn event(number: usize) -> Vec<u8> {
    let text = text(number).replace('\n', "\\n");
    format!(
        r#"data: {{"id":"chatcmpl-{:08x}","object":"chat.completion.chunk","created":1764000000,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{{"index":0,"delta":{{"content":"{text}"}},"logprobs":null,"finish_reason":null}}],"usage":null}}"#,
        number / OF_A_REPLY
    )
    .into_bytes()
    .into_iter()
    .chain(*b"\n\n")
    .collect()
}

/// Of an event's delta: one to ten characters, not all of them ASCII, one in thirteen with an escape.
fn text(number: usize) -> &'static str {
    const TEXTS: [&str; 13] = [
        " the",
        " quick",
        " brown",
        "好",
        " fox",
        ",",
        " jumps",
        "\n",
        " over",
        " an",
        " uneasily",
        "。",
        " dog",
    ];
    TEXTS[number * 7 % TEXTS.len()]
}

/// In reads of 1 to 64 bytes.
fn pieces(mut stream: &[u8]) -> Vec<&[u8]> {
    let (mut pieces, mut random) = (Vec::new(), 1_usize);
    while !stream.is_empty() {
        random = random.wrapping_mul(0x915f_77f5).wrapping_add(0x3039).rotate_left(7);
        let (piece, rest) = stream.split_at((1 + (random >> 8) % 64).min(stream.len()));
        pieces.push(piece);
        stream = rest;
    }
    pieces
}
