//! Recorded streams: short, from many servers. Each is decoded once, with a store that has seen others and never itself; the
//! rounds repeat the whole row, forgetting in between. Time is taken stream by stream; what taking it costs, some hundred
//! nanoseconds, is taken off for all contenders alike.

use std::hint::black_box;

use loquat_benches::{cpu, side};
use loquat_json::Fields;

use crate::{
    contenders, median, rounds,
    streams::{self, Format, Stream},
};

/// Streams seen before the one that is timed.
const WARMED_BY: usize = 8;

/// Cases, and what the names of their files contain.
pub const CASES: [(&str, &str); 3] = [
    ("recorded/event", ".openai-chat."),
    ("recorded-anthropic/event", ".anthropic-messages."),
    ("recorded-ollama/event", ".ollama-chat."),
];

pub fn measure(case: &'static str, api: &str) {
    let Some(data) = std::env::var_os("LOQUAT_DATA") else {
        eprintln!("{case} is left out: LOQUAT_DATA does not say where the recorded streams are");
        return;
    };
    let folder = std::path::Path::new(&data).join("transcripts");
    let like = match api {
        ".anthropic-messages." => "anthropic",
        ".ollama-chat." => "ollama",
        _ => "openai",
    };
    let like = streams::all().into_iter().find(|stream| stream.name == like).expect("a stream of that name");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()))
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let ends = |end| path.extension().is_some_and(|extension| extension == end);
            path.to_str().is_some_and(|path| path.contains(api)) && (ends("sse") || ends("ndjson"))
        })
        .collect();
    files.sort();
    let read: Vec<Vec<u8>> = files.iter().filter_map(|path| std::fs::read(path).ok()).collect();
    let readable: Vec<Vec<Vec<u8>>> = read.iter().filter_map(|stream| events(like.format, stream)).collect();
    let mut replies = Vec::new();
    for reply in &readable {
        // One that was recorded twice would be seen before itself.
        if !replies.contains(&reply) {
            replies.push(reply);
        }
    }
    assert!(replies.len() > WARMED_BY, "there are hardly any recorded streams in {}", folder.display());
    let stream = Stream { name: case, replies: Vec::new(), in_all_reads: false, ..like };
    let stream = Stream { events: replies.iter().map(|reply| reply.len()).sum(), ..stream };
    let mut lengths: Vec<f64> = replies.iter().map(|reply| reply.len() as f64).collect();
    eprintln!(
        "{case}: {} streams, the median has {} events; of {}, {} are refused by a peer that builds structs, {} come twice",
        replies.len(),
        median(&mut lengths),
        read.len(),
        read.len() - readable.len(),
        readable.len() - replies.len(),
    );
    let reads: Vec<Vec<&[u8]>> =
        replies.iter().map(|reply| reply.iter().map(Vec::as_slice).chain([&[][..]]).collect()).collect();
    let contenders = contenders::of(&stream);
    for reply in &reads {
        // Those that look for the same one value must have found it; structs have all choices and tool calls.
        let by_path = contenders.iter().filter(|one| one.name == "ours" || one.name.contains("sonic"));
        let texts: Vec<_> = by_path.map(|contender| (contender.run)(&stream, reply)).collect();
        assert!(texts.windows(2).all(|pair| pair[0] == pair[1]), "{case}: {texts:?}");
    }
    let tick = |_| {
        let start = cpu::thread_nanos();
        cpu::thread_nanos() - start
    };
    let clock = median(&mut (0..1000).map(tick).collect::<Vec<f64>>());
    let mut times = vec![Vec::new(); contenders.len()];
    let counts = std::env::var("LOQUAT_BENCH_COUNT").is_ok();
    for _ in 0..if counts { 1 } else { rounds().min(31) } {
        for (contender, times) in contenders.iter().zip(&mut times) {
            let mut nanos = 0.0;
            for (position, reply) in reads.iter().enumerate() {
                let fields = Fields::compile(stream.fields).expect("pointers");
                if contender.name == "ours" {
                    for before in 1..=WARMED_BY {
                        let other = &reads[(position + reads.len() - before) % reads.len()];
                        contenders::ours_reply(&stream, &fields, other);
                    }
                }
                let start = cpu::thread_nanos();
                match contender.name {
                    "ours" => counted(&stream, &fields, reply),
                    _ => drop(black_box((contender.run)(&stream, black_box(reply)))),
                }
                nanos += cpu::thread_nanos() - start - clock;
            }
            times.push(nanos / stream.events as f64);
        }
    }
    for (contender, times) in contenders.iter().zip(&mut times) {
        side::figure(case, contender.name, median(times), "ns/event");
    }
}

/// What callgrind is told to collect.
#[inline(never)]
fn counted(stream: &Stream, fields: &Fields, reply: &[&[u8]]) {
    black_box(contenders::ours_reply(stream, fields, black_box(reply)));
}

/// One read per event. `None` for a stream that a peer cannot read: what no contender decodes cannot be compared.
fn events(format: Format, stream: &[u8]) -> Option<Vec<Vec<u8>>> {
    let text = std::str::from_utf8(stream).ok()?.replace("\r\n", "\n");
    let (end, prefix) = if format == Format::Ollama { ("\n", "") } else { ("\n\n", "data: ") };
    let events: Vec<&str> = text.split_inclusive(end).filter(|event| event.ends_with(end)).collect();
    let is_readable = |line: &str| match line.strip_prefix(prefix) {
        Some("" | "[DONE]") => true,
        Some(data) => contenders::is_readable_by_all(format, data),
        None => line.is_empty() || (format == Format::Anthropic && line.starts_with("event: ")),
    };
    let is_readable = !events.is_empty() && events.iter().all(|event| event.lines().all(is_readable));
    is_readable.then(|| events.iter().map(|event| event.as_bytes().to_vec()).collect())
}
