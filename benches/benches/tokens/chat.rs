//! A chat that grows turn by turn, counted after each.

use std::{hint::black_box, sync::Arc};

use loquat_benches::{is_quick, machine, side};
use loquat_prompt::{
    Piece, Tokenizer,
    cache::{CacheLimits, Segment, TokenCache},
};

use crate::{
    contenders::Vocabulary,
    texts::{Kind, Random},
};

const TURNS: usize = 40;
/// Bytes of a message: 40 of them are 33 KB.
const MESSAGE_BYTES: usize = 825;
const END: &str = "<|endoftext|>";

type Count<'a> = Box<dyn Fn(&[String]) -> usize + 'a>;

pub fn measure(case: &str, vocabulary: Vocabulary) {
    let plain: Arc<dyn Tokenizer> = vocabulary.ours();
    let cached = TokenCache::new(CacheLimits::default()).tokenizer("tenant", &plain);
    let mut fastokens = vocabulary.fastokens();
    fastokens.enable_segment_cache(64 << 20);
    let ours: Count<'_> = if case.ends_with("rendered") {
        Box::new(|messages| {
            let (mut prompt, mut total) = (String::new(), 0);
            for message in messages {
                prompt.push_str(END);
                prompt.push_str(message);
                let mut tokens = Vec::new();
                cached.encode_prompt(&[Piece::Markup(&prompt)], &mut tokens).expect("any prompt is encoded");
                total += tokens.len();
            }
            total
        })
    } else {
        Box::new(|messages| {
            let (mut segments, mut total) = (Vec::new(), 0);
            for message in messages {
                segments.push(Segment::new(message.as_str()));
                // A control token before each.
                let counts =
                    segments.iter().map(|segment| 1 + segment.count(&cached).expect("any text is counted"));
                total += counts.sum::<usize>();
            }
            total
        })
    };
    let peer: Count<'_> = Box::new(|messages| {
        let (mut prompt, mut total) = (String::new(), 0);
        for message in messages {
            prompt.push_str(END);
            prompt.push_str(message);
            total += fastokens.encode(&prompt).expect("any prompt is encoded").len();
        }
        total
    });
    let whole: Count<'_> = Box::new(|messages| {
        let (mut prompt, mut total) = (String::new(), 0);
        for message in messages {
            prompt.push_str(END);
            prompt.push_str(message);
            total += bpe_count(vocabulary, &prompt);
        }
        total
    });
    let contenders = [("ours", ours), ("fastokens segment cache", peer), ("bpe-openai, whole", whole)];
    let mut times = vec![Vec::new(); contenders.len()];
    let rounds = if is_quick() { 12 } else { 60 };
    for (round, messages) in chats(rounds).iter().enumerate() {
        // Whoever begins finds the caches full of the last one's tables, and the text in none: ours and its nearest peer in turns.
        let order = if round.is_multiple_of(2) { [0, 1, 2] } else { [1, 0, 2] };
        let mut totals = [0; 3];
        for index in order {
            let before = machine::process_cpu();
            totals[index] = black_box(contenders[index].1(black_box(messages)));
            // The first chats warm.
            if round >= 4 {
                times[index].push((machine::process_cpu() - before).as_secs_f64() * 1e6 / TURNS as f64);
            }
        }
        assert_eq!(totals[0], totals[1], "{case}: the same tokens");
    }
    for ((who, _), times) in contenders.iter().zip(&mut times) {
        side::figure(case, who, machine::median(times), "us");
    }
}

/// The control token is one; bpe-openai knows none.
fn bpe_count(vocabulary: Vocabulary, prompt: &str) -> usize {
    let tokenizer = match vocabulary {
        Vocabulary::O200k => bpe_openai::o200k_base(),
        Vocabulary::Cl100k => bpe_openai::cl100k_base(),
    };
    prompt.split(END).skip(1).map(|message| 1 + tokenizer.count(message)).sum()
}

/// Chats of new text.
fn chats(count: usize) -> Vec<Vec<String>> {
    let mut random = Random(7);
    let texts = Kind::Prose.slices(count.div_ceil(6)).concat();
    (0..count)
        .map(|_| {
            (0..TURNS)
                .map(|_| {
                    let at =
                        texts.floor_char_boundary(random.next() as usize % (texts.len() - MESSAGE_BYTES));
                    let end = texts.floor_char_boundary(at + MESSAGE_BYTES);
                    format!("user\n{}", &texts[at..end])
                })
                .collect()
        })
        .collect()
}
