//! One event of eight million bytes, an image inline, in one read and in 1,024: what an unfinished line costs when more of it
//! comes. Figures are for the whole line.

use std::hint::black_box;

use loquat_benches::{cpu, is_quick, side};

use crate::{contenders, median, streams};

const BYTES: usize = 8_000_000;
const READS: usize = 1024;

/// Takes seconds for the line in pieces, because it looks at all of it again with every read: one round, and none if in a hurry.
const SLOW: &str = "eventsource-stream + async-openai";

pub fn measure(case: &str) {
    let stream = streams::long_line(BYTES);
    let event: &[u8] = &stream.replies[0][0];
    let whole = [event];
    let pieces: Vec<&[u8]> = event.chunks(event.len().div_ceil(READS)).collect();
    assert_eq!(pieces.len(), READS);
    let contenders = contenders::of(&stream);
    let mut times = vec![(Vec::new(), Vec::new()); contenders.len()];
    let rounds = if is_quick() { 5 } else { 15 };
    for round in 0..rounds {
        for (contender, (in_one, in_many)) in contenders.iter().zip(&mut times) {
            if contender.name == SLOW && (is_quick() || round > 0) {
                continue;
            }
            for (reads, times) in [(&whole[..], in_one), (&pieces[..], in_many)] {
                let start = cpu::thread_nanos();
                let text = black_box((contender.run)(&stream, black_box(reads)));
                times.push(cpu::thread_nanos() - start);
                assert!(text.is_none_or(|bytes| bytes == stream.text_bytes), "{case}: {}", contender.name);
            }
        }
    }
    for (contender, (in_one, in_many)) in contenders.iter().zip(&mut times) {
        if in_many.is_empty() {
            continue;
        }
        side::figure(case, contender.name, median(in_many), "ns");
        if contender.name == "ours" {
            side::figure(case, "ours, in one read", median(in_one), "ns");
        }
    }
}
