//! Recorded streams of OpenAI's chat format: short, from many servers. Each is decoded once, by extractors that have seen
//! only others before; a stream is too short to be timed alone more often than that, so the rounds repeat the whole row.

use std::hint::black_box;

use loquat_benches::{cpu, side};
use loquat_json::Fields;

use crate::{
    contenders, median, rounds,
    streams::{self, Stream},
};

/// Streams seen before the one that is timed.
const WARMED_BY: usize = 8;

pub fn measure(case: &str) {
    let Some(data) = std::env::var_os("LOQUAT_DATA") else {
        eprintln!("{case} is left out: LOQUAT_DATA does not say where the recorded streams are");
        return;
    };
    let folder = std::path::Path::new(&data).join("transcripts");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()))
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.to_str().is_some_and(|path| path.contains(".openai-chat.") && path.ends_with(".sse"))
        })
        .collect();
    files.sort();
    let replies: Vec<Vec<Vec<u8>>> =
        files.iter().filter_map(|path| events(&std::fs::read(path).ok()?)).collect();
    assert!(replies.len() > WARMED_BY, "there are hardly any recorded streams in {}", folder.display());
    let [stream, ..] = &streams::all()[..] else { return };
    let stream = Stream { name: "recorded", ..stream_of(stream, &replies) };
    let reads: Vec<Vec<&[u8]>> =
        replies.iter().map(|reply| reply.iter().map(Vec::as_slice).chain([&[][..]]).collect()).collect();
    // Streams with data that some peer refuses are not compared.
    let contenders = contenders::of(&stream);
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds().min(31) {
        for (contender, times) in contenders.iter().zip(&mut times) {
            let mut nanos = 0.0;
            for (position, reply) in reads.iter().enumerate() {
                if contender.name == "ours" {
                    let fields = Fields::compile(stream.fields).expect("pointers");
                    for before in 1..=WARMED_BY {
                        let other = &reads[(position + reads.len() - before) % reads.len()];
                        contenders::ours_reply(&stream, &fields, other);
                    }
                    let start = cpu::thread_nanos();
                    black_box(contenders::ours_reply(&stream, &fields, black_box(reply)));
                    nanos += cpu::thread_nanos() - start;
                } else {
                    let start = cpu::thread_nanos();
                    black_box((contender.run)(&stream, black_box(reply)));
                    nanos += cpu::thread_nanos() - start;
                }
            }
            times.push(nanos / stream.events as f64);
        }
    }
    for (contender, times) in contenders.iter().zip(&mut times) {
        side::figure(case, contender.name, median(times), "ns/event");
    }
}

fn stream_of(like: &Stream, replies: &[Vec<Vec<u8>>]) -> Stream {
    Stream {
        name: like.name,
        replies: Vec::new(),
        events: replies.iter().map(Vec::len).sum(),
        text_bytes: 0,
        fields: like.fields,
        path: like.path,
        format: like.format,
        in_all_reads: false,
        predicts: true,
    }
}

/// One read per event. `None` for a stream that a peer cannot read: what no contender decodes cannot be compared.
fn events(stream: &[u8]) -> Option<Vec<Vec<u8>>> {
    let text = std::str::from_utf8(stream).ok()?.replace("\r\n", "\n");
    let events: Vec<&str> = text.split_inclusive("\n\n").filter(|event| event.ends_with("\n\n")).collect();
    let is_readable = |event: &&str| {
        event
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .all(|data| data == "[DONE]" || contenders::is_readable_by_all(data))
            && event.lines().all(|line| line.is_empty() || line.starts_with("data: "))
    };
    let readable = !events.is_empty() && events.iter().all(is_readable);
    readable.then(|| events.iter().map(|event| event.as_bytes().to_vec()).collect())
}
