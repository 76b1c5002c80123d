//! A prompt encoded by segments has the tokens of the whole, for the vocabularies that are in use.
//!
//! ```console
//! $ LOQUAT_SEGMENT_CASES=10000000 cargo test --release -p loquat-prompt --features tokens,cache --test segments -- --nocapture
//! ```
//!
//! A case is a growing prompt compared once, for one vocabulary. The seed of a failing round is printed;
//! `LOQUAT_SEGMENT_SEED` runs that round alone.
#![cfg(all(feature = "tokens", feature = "cache"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the figure is read there")]

#[path = "support/byte_level.rs"]
mod byte_level;
mod grown;

use std::{
    panic,
    sync::{Arc, LazyLock},
};

use grown::Subject;
use loquat_prompt::tokenizer::{BytePair, Tokenizer, cl100k_base, o200k_base};
use serde_json::{Value, json};

/// Without the variable: some seconds.
const CASES: usize = 40_000;
/// Plans of one round, which share their caches.
const PLANS: usize = 256;

/// A generator with a seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// A plan: mostly scraps, of all kinds or of a few, with turns among them.
    fn plan(&mut self) -> Vec<u8> {
        let length = 8 + self.next() % 120;
        let kinds = 1 + self.next() % 12;
        let narrow = self.next().is_multiple_of(2).then(|| self.next());
        let byte = |number: u64| number.to_le_bytes()[0];
        let scrap = |number: u64| match narrow {
            Some(seed) => byte(Random(seed ^ (number % kinds)).next() % 192),
            None => byte(number % 192),
        };
        let mut plan = vec![byte(self.next())];
        for _ in 0..length {
            let (choice, number) = (self.next() % 64, self.next());
            plan.push(match choice {
                0..6 => 192 + byte(number % 16),
                6 => 208,
                7 => 224,
                8 => 240,
                _ => scrap(number),
            });
            match choice {
                6 => plan.push(byte(number >> 8)),
                // Short runs mostly; a long one now and then.
                7 => plan.push(byte(number >> 8) >> (number >> 16 & 7)),
                8 => plan.extend([byte(number >> 8) % 4, byte(number >> 16), byte(number >> 24)]),
                _ => {}
            }
        }
        plan
    }
}

/// The patterns of the vocabularies that come as files, as those have them, and whether they want normal form C.
const PATTERNS: [(&str, &[&str], bool); 5] = [
    ("llama 3", &[byte_level::LLAMA], false),
    ("qwen 2", &[QWEN], true),
    ("qwen 2 as it comes", &[QWEN], false),
    ("tekken", &[TEKKEN], false),
    (
        "deepseek",
        &[
            r"\p{N}{1,3}",
            "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+",
            "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
        ],
        false,
    ),
];
const QWEN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A vocabulary in which nearly any two bytes of a word are one: where one is cut wrongly, its tokens are others.
fn of_pattern(name: &str, regexes: &[&str], is_normalizing: bool) -> Arc<dyn Tokenizer> {
    let letters: Vec<char> = ('!'..='~').chain('\u{a1}'..='\u{ac}').chain('\u{ae}'..='\u{143}').collect();
    let merges: Vec<[String; 2]> = letters
        .iter()
        .flat_map(|one| letters.iter().map(|other| [one.to_string(), other.to_string()]))
        .collect();
    let tokens: Vec<String> = merges.iter().map(|pair| pair.concat()).collect();
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let mut file = byte_level::file(&tokens, &json!(merges));
    file["added_tokens"][0] = json!({"id": 200_000, "content": "<|endoftext|>", "special": true});
    if is_normalizing {
        file["normalizer"] = json!({"type": "NFC"});
    }
    let split = |regex: &&str| -> Value {
        json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
    };
    let last = file["pre_tokenizer"]["pretokenizers"][1].take();
    file["pre_tokenizer"]["pretokenizers"] = regexes.iter().map(split).chain([last]).collect();
    Arc::new(BytePair::from_tokenizer_json(name, file.to_string().as_bytes()).unwrap())
}

fn subjects() -> Vec<Subject> {
    static FILES: LazyLock<[Arc<dyn Tokenizer>; PATTERNS.len()]> = LazyLock::new(|| {
        PATTERNS.map(|(name, regexes, is_normalizing)| of_pattern(name, regexes, is_normalizing))
    });
    let both: [Arc<dyn Tokenizer>; 2] = [o200k_base().unwrap(), cl100k_base().unwrap()];
    both.into_iter().chain(FILES.iter().cloned()).map(Subject::new).collect()
}

fn round(seed: u64) -> usize {
    let (subjects, mut random) = (subjects(), Random(seed));
    (0..PLANS)
        .map(|_| {
            let plan = random.plan();
            subjects.iter().map(|subject| subject.check(&plan)).sum::<usize>()
        })
        .sum()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn segments_encode_as_the_whole() {
    if let Some(seed) = number("LOQUAT_SEGMENT_SEED") {
        println!("{} cases", round(seed));
        return;
    }
    let wanted = number("LOQUAT_SEGMENT_CASES").map_or(CASES, |cases| usize::try_from(cases).unwrap());
    let (mut cases, mut seed) = (0, 20_261_128);
    while cases < wanted {
        match panic::catch_unwind(|| round(seed)) {
            Ok(more) => cases += more,
            Err(cause) => {
                println!("failing: LOQUAT_SEGMENT_SEED={seed}");
                panic::resume_unwind(cause);
            }
        }
        seed += 1;
    }
    println!("{cases} cases, seeds 20261128..{seed}");
}

/// Shapes that were thought of by hand, each as a plan of its own.
#[test]
fn shapes_that_break_splitters() {
    let shapes: [&[u8]; 6] = [
        // Spaces that grow, then a word.
        &[0, 0, 192, 0, 193, 0, 0, 193, 12, 193, 13, 192],
        // A contraction that comes after the turn.
        &[0, 14, 193, 23, 193, 24, 192, 34, 193],
        // Digits in runs.
        &[1, 37, 224, 200, 193, 38, 193, 39, 224, 90, 192],
        // White space at the end, which one vocabulary takes whole.
        &[2, 12, 0, 0, 0, 193, 3, 193, 0, 0, 193, 12, 192],
        // Look-alikes of control tokens in two halves.
        &[0, 69, 193, 70, 193, 66, 192, 67, 192],
        // A long run of one letter with an accent after it.
        &[3, 95, 224, 120, 193, 80, 193, 79, 192],
    ];
    for subject in subjects() {
        for shape in shapes {
            assert!(subject.check(shape) >= 3);
        }
    }
}
