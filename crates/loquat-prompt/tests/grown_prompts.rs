//! A prompt that begins with one that was asked for before has the tokens of the whole, whatever was appended where.
#![cfg(all(feature = "tokens", feature = "cache"))]
#![allow(clippy::unwrap_used, reason = "tests, helpers included")]

mod support;

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use loquat_core::Result;
use loquat_prompt::{
    Piece, Tokenizer,
    cache::{CacheLimits, CachedTokenizer, TokenCache},
    tokenizer::{Controls, o200k_base},
};
use proptest::{prelude::*, test_runner::TestRunner};
use support::Words;

/// Words, and control tokens of which one begins with another, one holds a beginning of a third, and one a whole one in its middle.
#[derive(Debug)]
struct Tagged {
    words: Words,
    controls: Controls,
    knows_longest: bool,
}

impl Tagged {
    fn new(knows_longest: bool) -> Self {
        let written = ["<|end|>", "<|end|><|x|>", "x<|", "<|", "|>a b", "xyz<|q"];
        let controls = written.iter().zip(1..).map(|(written, token)| ((*written).to_owned(), token));
        Self { words: Words::default(), controls: Controls::try_new(controls).unwrap(), knows_longest }
    }
}

impl Tokenizer for Tagged {
    fn name(&self) -> &str {
        "tagged"
    }

    fn vocabulary_size(&self) -> u32 {
        u32::MAX
    }

    fn encode(&self, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        self.words.encode(text, tokens)
    }

    fn control_token(&self, text: &str) -> Option<u32> {
        self.controls.token(text)
    }

    fn find_control(&self, text: &str) -> Option<(Range<usize>, u32)> {
        self.controls.find(text)
    }

    fn longest_control(&self) -> Option<usize> {
        self.knows_longest.then(|| self.controls.longest())
    }

    fn token_bytes(&self, token: u32, bytes: &mut Vec<u8>) -> Result<()> {
        self.words.token_bytes(token, bytes)
    }

    fn safe_cut(&self, text: &str, at: usize) -> usize {
        self.words.safe_cut(text, at)
    }
}

/// A part of a prompt: whether it is markup, and its text.
type Part = (bool, String);

/// What becomes of a prompt from one turn to the next.
#[derive(Debug, Clone)]
enum Change {
    Append(Vec<Part>),
    /// The last part grows.
    Extend(String),
    /// Only so many parts stay.
    Cut(usize),
    /// A part is another.
    Replace(usize, Part),
    /// As long as before, from the other end on.
    Again,
}

fn text() -> impl Strategy<Value = String> {
    let scraps = vec![
        "<|end|>",
        "<|end|>",
        "<|",
        "|>",
        "end",
        "x",
        "<|x|>",
        "a b",
        " ",
        "word",
        " the",
        "é漢",
        "\n",
        "<|endoftext|>",
        "<|endofprompt|>",
        "<|endof",
        "text|>",
        "'",
        "s",
        "12",
        "a longer text of a message that is worth a look-up, since it has more bytes than few",
    ];
    prop::collection::vec(prop::sample::select(scraps), 0..12).prop_map(|scraps| scraps.concat())
}

fn part() -> impl Strategy<Value = Part> {
    let usual = Just((true, "<|end|>user\n".to_owned()));
    prop_oneof![usual, (any::<bool>(), text())]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => prop::collection::vec(part(), 1..4).prop_map(Change::Append),
        3 => text().prop_map(Change::Extend),
        1 => (0..12_usize).prop_map(Change::Cut),
        1 => (0..12_usize, part()).prop_map(|(at, part)| Change::Replace(at, part)),
        2 => Just(Change::Again),
    ]
}

fn pieces(parts: &[Part]) -> Vec<Piece<'_>> {
    parts
        .iter()
        .map(|(is_markup, text)| if *is_markup { Piece::Markup(text) } else { Piece::Text(text) })
        .collect()
}

fn check(plain: &dyn Tokenizer, cached: &CachedTokenizer, parts: &[Part]) -> Result<(), TestCaseError> {
    let (mut expected, mut tokens) = (vec![1, 2, 3], vec![1, 2, 3]);
    plain.encode_prompt(&pieces(parts), &mut expected).unwrap();
    cached.encode_prompt(&pieces(parts), &mut tokens).unwrap();
    prop_assert_eq!(tokens, expected, "{:?}", parts);
    Ok(())
}

#[test]
fn grown_prompts_encode_as_the_whole_does() {
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    let plain: [Arc<dyn Tokenizer>; 3] =
        [Arc::new(Tagged::new(true)), Arc::new(Tagged::new(false)), o200k_base().unwrap()];
    let turns = prop::collection::vec(change(), 1..40);
    TestRunner::new(config)
        .run(&(turns, 0..plain.len(), 0..2_usize), |(turns, which, is_small)| {
            let mut limits = CacheLimits::default();
            if is_small == 1 {
                limits.max_bytes = 40_000;
            }
            let (most, cache) = (limits.max_bytes as u64, TokenCache::new(limits));
            let cached = cache.tokenizer("a", &plain[which]);
            let mut parts = vec![(true, format!("<|end|>system\n{}", "Follow these rules. ".repeat(20)))];
            for change in turns {
                match change {
                    Change::Append(more) => parts.extend(more),
                    Change::Extend(more) => {
                        if let Some((_, text)) = parts.last_mut() {
                            text.push_str(&more);
                        }
                    }
                    Change::Cut(keep) => parts.truncate(keep),
                    Change::Replace(at, part) => {
                        if let Some(place) = parts.get_mut(at) {
                            *place = part;
                        }
                    }
                    Change::Again => check(&*plain[which], &cached, &parts)?,
                }
                check(&*plain[which], &cached, &parts)?;
                prop_assert!(cache.stats(None).bytes <= most);
            }
            cache.clear(None);
            prop_assert_eq!(cache.stats(None).bytes, 0);
            Ok(())
        })
        .unwrap();
}

/// Control tokens that are there only with what was appended, or are others with it.
#[test]
fn control_tokens_across_what_was_and_what_is_new() {
    let plain: Arc<dyn Tokenizer> = Arc::new(Tagged::new(true));
    let head = format!("<|end|>system\n{}", "Follow these rules. ".repeat(20));
    for (last, more) in [
        ("and x", "<| b"),
        // What is found only from before the seam, where another one begins at it.
        ("and xyz", "<|q b"),
        ("and some more words than the longest of them has, xyz", "<|q b"),
        ("and <|en", "d|> b"),
        ("and <|end|>", "<|x|> b"),
        ("and <|end|>", "<|end|> b"),
        ("and <|end|><|x", "|> b"),
        ("and ", "<|end|>"),
        ("", "<|end|>"),
        ("an", "d more"),
    ] {
        for (is_markup, is_apart) in [(true, true), (true, false), (false, true), (false, false)] {
            let cached = TokenCache::new(CacheLimits::default()).tokenizer("a", &plain);
            let mut parts = vec![(true, head.clone()), (is_markup, last.to_owned())];
            for _ in 0..3 {
                check(&*plain, &cached, &parts).unwrap();
            }
            match is_apart {
                true => parts.push((is_markup, more.to_owned())),
                false => parts[1].1.push_str(more),
            }
            check(&*plain, &cached, &parts).unwrap();
            // As the other kind the same bytes are another prompt.
            check(&*plain, &cached, &parts).unwrap();
            parts[1].0 = !is_markup;
            check(&*plain, &cached, &parts).unwrap();
        }
    }
}

/// A turn of a chat: what is new of it is looked up, and nothing else.
#[test]
fn a_turn_looks_up_its_tail() {
    let words = Arc::new(Words::default());
    let tokenizer: Arc<dyn Tokenizer> = words.clone();
    let cache = TokenCache::new(CacheLimits::default());
    let (cached, other) = (cache.tokenizer("a", &tokenizer), cache.tokenizer("b", &tokenizer));
    let asked = |tenant| {
        let stats = cache.stats(Some(tenant));
        stats.hits + stats.misses
    };
    let (mut parts, mut last) = (Vec::new(), 0);
    for turn in 0..40 {
        let before = asked("a");
        parts.push((true, "<|end|>user\n".to_owned()));
        parts.push((false, format!("what is said in turn {turn}, {}", "and so on, ".repeat(20))));
        let mut tokens = Vec::new();
        cached.encode_prompt(&pieces(&parts), &mut tokens).unwrap();
        last = asked("a") - before;
        assert!(turn < 3 || last <= 2, "turn {turn}: {last} look-ups");
    }
    assert_eq!(last, 2, "the prompt before, and what is new");
    // What one tenant has asked is nothing to another.
    let before = words.encoded.load(Relaxed);
    other.encode_prompt(&pieces(&parts), &mut Vec::new()).unwrap();
    assert!(words.encoded.load(Relaxed) - before > 40 * 200, "all of it is new to him");
    assert_eq!(cache.stats(Some("b")).hits, 0);
    cache.clear(Some("a"));
    assert_eq!(cache.stats(Some("a")).bytes, 0);
    let before = words.encoded.load(Relaxed);
    cached.encode_prompt(&pieces(&parts), &mut Vec::new()).unwrap();
    assert!(words.encoded.load(Relaxed) - before > 40 * 200, "what was cleared is gone");
}

/// What turns appended is kept by the prompt alone, and found all the same by a prompt that begins as it does and goes on otherwise:
/// a turn that is said in other words.
#[test]
fn what_was_appended_is_found_by_who_goes_on_otherwise() {
    let turn = |number: usize| format!("what is said in turn {number}, {}", "and so on, ".repeat(20));
    for is_rendered in [false, true] {
        let tokenizer: Arc<dyn Tokenizer> = o200k_base().unwrap();
        let cache = TokenCache::new(CacheLimits::default());
        let cached = cache.tokenizer("a", &tokenizer);
        let ask = |turns: &[String]| {
            let (mut tokens, mut expected, mut rendered) = (Vec::new(), Vec::new(), String::new());
            let mut pieces = Vec::new();
            for turn in turns {
                pieces.extend([Piece::Markup("<|endofprompt|>user\n"), Piece::Text(turn)]);
                rendered.extend(["<|endofprompt|>user\n", turn]);
            }
            if is_rendered {
                pieces = vec![Piece::Markup(&rendered)];
            }
            let before = cache.stats(None).missed_bytes;
            cached.encode_prompt(&pieces, &mut tokens).unwrap();
            tokenizer.encode_prompt(&pieces, &mut expected).unwrap();
            assert_eq!(tokens, expected);
            cache.stats(None).missed_bytes - before
        };
        let mut turns = Vec::new();
        for number in 0..30 {
            turns.push(turn(number));
            ask(&turns);
        }
        let inserted = cache.stats(None).inserted;
        assert!(inserted < 10, "the prompt keeps the others: {inserted}, {is_rendered}");
        for number in [20, 15, 10] {
            turns.truncate(number);
            turns.push(turn(100 + number));
            let encoded = ask(&turns);
            assert!((1..300).contains(&encoded), "{encoded} bytes for the turn that is another");
        }
    }
}

/// Chats whose prompts all end with the same words, at the same places and behind texts of the same length: each goes on from its own,
/// of however many turns.
#[test]
fn chats_that_end_alike_go_on_from_their_own() {
    let words: Arc<dyn Tokenizer> = Arc::new(Words::default());
    let cache = TokenCache::new(CacheLimits::default());
    let cached = cache.tokenizer("a", &words);
    let text = |chat: usize, turn: usize| {
        let length = if turn == 0 { 50 + chat } else { 30 };
        format!("chat {chat:2}, turn {turn:2}: {}and no more", "word ".repeat(length))
    };
    // So many answered turns, and one to be answered.
    let ask = |chat: usize, turns: usize| {
        let texts: Vec<_> = (0..=2 * turns).map(|turn| text(chat, turn)).collect();
        let mut pieces = Vec::new();
        for (text, role) in texts.iter().zip(["<|end|>user\n", "<|end|>assistant\n"].iter().cycle()) {
            pieces.extend([Piece::Markup(role), Piece::Text(text)]);
        }
        pieces.push(Piece::Markup("<|end|>assistant\n"));
        let (mut tokens, mut expected) = (Vec::new(), Vec::new());
        let before = cache.stats(None);
        cached.encode_prompt(&pieces, &mut tokens).unwrap();
        words.encode_prompt(&pieces, &mut expected).unwrap();
        assert_eq!(tokens, expected, "chat {chat}, {turns} turns");
        let after = cache.stats(None);
        after.hits + after.misses - before.hits - before.misses
    };
    for chat in 0..40 {
        for turns in 1..=3 + chat % 20 {
            ask(chat, turns);
        }
    }
    for more in 1..6 {
        for chat in 0..40 {
            let asked = ask(chat, 3 + chat % 20 + more);
            assert_eq!(asked, 3, "chat {chat}: the prompt before, and what is new");
        }
    }
}

/// Prompts that begin alike and never grow are not kept for long, however many there are.
#[test]
fn prompts_are_bounded_by_bytes() {
    let words: Arc<dyn Tokenizer> = Arc::new(Words::default());
    let mut limits = CacheLimits::default();
    limits.max_bytes = 1 << 20;
    let cache = TokenCache::new(limits);
    let cached = cache.tokenizer("a", &words);
    let shared = "The same long instructions for everybody. ".repeat(200);
    for n in 0..500 {
        let own = format!("question {n} that nobody asks twice");
        let pieces = [
            Piece::Markup("<|end|>system\n"),
            Piece::Text(&shared),
            Piece::Markup("<|end|>"),
            Piece::Text(&own),
        ];
        let (mut tokens, mut expected) = (Vec::new(), Vec::new());
        cached.encode_prompt(&pieces, &mut tokens).unwrap();
        words.encode_prompt(&pieces, &mut expected).unwrap();
        assert_eq!(tokens, expected);
        assert!(cache.stats(None).bytes <= 1 << 20);
    }
}

/// A tenant that has more than the others gives its oldest segments for new ones, and not the turns that its chat keeps alone.
#[test]
fn what_a_chat_keeps_alone_outlives_old_segments() {
    let words: Arc<dyn Tokenizer> = Arc::new(Words::default());
    let mut limits = CacheLimits::default();
    limits.max_bytes = 4 << 20;
    let cache = TokenCache::new(limits);
    let fill = |tenant: &str, number: usize| {
        let text = format!("{tenant} once asked for the text of number {number}. ").repeat(20);
        let mut tokens = Vec::new();
        words.encode(&text, &mut tokens).unwrap();
        cache.tokenizer(tenant, &words).insert(&text, tokens.into());
    };
    let mut texts = Vec::new();
    let turn = |texts: &mut Vec<String>, number: usize| {
        texts.push(format!("what is said in turn {number}, {}", "and so on, ".repeat(20)));
        let pieces: Vec<_> =
            texts.iter().flat_map(|text| [Piece::Markup("<|end|>"), Piece::Text(text)]).collect();
        let before = cache.stats(Some("a")).missed_bytes;
        cache.tokenizer("a", &words).encode_prompt(&pieces, &mut Vec::new()).unwrap();
        cache.stats(Some("a")).missed_bytes - before
    };
    for number in 0..300 {
        turn(&mut texts, number);
    }
    let bytes_of = |tenant: &str| cache.stats(Some(tenant)).bytes;
    assert!(bytes_of("a") > 1_385_000 / 8, "more than its grown prompts are granted");
    let mut number = 0;
    for (tenant, bytes) in [("b", 1_380_000), ("c", 1_380_000), ("a", 1_385_000)] {
        while bytes_of(tenant) < bytes {
            fill(tenant, number);
            number += 1;
        }
    }
    for extra in 0..200 {
        fill("a", 10_000 + extra);
    }
    assert!(cache.stats(Some("a")).evicted > 50, "it had to make room");
    let encoded = turn(&mut texts, 300);
    assert!((1..400).contains(&encoded), "{encoded} bytes of a turn of 250");
}
