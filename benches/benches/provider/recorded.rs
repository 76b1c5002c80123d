//! Recorded streams: short, from many servers. Each is decoded once a round by a decoder of its own, as in life: what the format
//! has learnt of shapes stays with the program.

use std::{collections::BTreeSet, hint::black_box, path::Path};

use bytes::Bytes;
use loquat_benches::{cpu, machine::median, side};

use crate::{UNIT, contenders, rounds, streams::Dialect};

/// Streams of one format, by what the names of their files contain.
pub struct Case {
    pub name: &'static str,
    api: &'static str,
    dialect: Dialect,
}

pub const CASES: [Case; 6] = [
    Case { name: "recorded-openai-chat", api: ".openai-chat.", dialect: Dialect::OpenAiChat },
    Case { name: "recorded-openai-responses", api: ".openai-responses.", dialect: Dialect::OpenAiResponses },
    Case { name: "recorded-anthropic", api: ".anthropic-messages.", dialect: Dialect::Anthropic },
    Case { name: "recorded-gemini", api: ".gemini-generate.", dialect: Dialect::Gemini },
    Case { name: "recorded-ollama", api: ".ollama-chat.", dialect: Dialect::Ollama },
    Case { name: "recorded-cohere", api: ".cohere-chat.", dialect: Dialect::Cohere },
];

pub fn measure(case: &Case) {
    let Some(data) = std::env::var_os("LOQUAT_DATA") else {
        eprintln!("{} is left out: LOQUAT_DATA does not say where the recorded streams are", case.name);
        return;
    };
    let streams = streams(&Path::new(&data).join("transcripts"), case);
    let contenders = contenders::of(case.dialect);
    let taken_by = |name: &str, stream: &[Bytes]| {
        let contender = contenders.iter().find(|contender| contender.name == name);
        contender.is_some_and(|contender| (contender.run)(case.dialect, stream.to_vec()).is_ok())
    };
    let all = streams.len();
    let streams: Vec<Vec<Bytes>> = streams
        .into_iter()
        .filter(|stream| contenders.iter().all(|contender| taken_by(contender.name, stream)))
        .collect();
    let chunks: usize = streams.iter().map(Vec::len).sum();
    if chunks == 0 {
        eprintln!("{} is left out: of {all} streams none is taken by every contender", case.name);
        return;
    }
    eprintln!(
        "{}: {} of {all} streams, which every contender takes, {chunks} chunks",
        case.name,
        streams.len()
    );
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds().min(31) {
        for (contender, times) in contenders.iter().zip(&mut times) {
            let turn = streams.clone();
            let start = cpu::thread_nanos();
            for stream in turn {
                drop(black_box((contender.run)(case.dialect, black_box(stream))));
            }
            times.push((cpu::thread_nanos() - start) / chunks as f64);
        }
    }
    for (contender, times) in contenders.iter().zip(&mut times) {
        side::figure(case.name, contender.name, median(times), UNIT);
    }
}

/// One read for each event or line.
fn streams(folder: &Path, case: &Case) -> BTreeSet<Vec<Bytes>> {
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
    let end = if case.dialect == Dialect::Ollama { "\n" } else { "\n\n" };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let ends = |end| path.extension().is_some_and(|extension| extension == end);
            path.to_str().is_some_and(|path| path.contains(case.api)) && (ends("sse") || ends("ndjson"))
        })
        .filter_map(|path| {
            let text = std::fs::read_to_string(path).ok()?.replace("\r\n", "\n");
            Some(text.split_inclusive(end).map(|event| Bytes::from(event.to_owned())).collect())
        })
        .collect()
}
