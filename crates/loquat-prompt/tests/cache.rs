//! Tokens from the cache are those of the whole text, whoever asked before, in whatever order, with however little room.
#![cfg(feature = "cache")]

mod support;

use std::{
    sync::{Arc, Barrier, atomic::Ordering::Relaxed},
    thread,
};

use loquat_prompt::{
    Piece, Tokenizer,
    cache::{CacheLimits, CachedTokenizer, Segment, TokenCache},
};
use proptest::{prelude::*, test_runner::TestRunner};
use support::Words;

fn limits(change: impl FnOnce(&mut CacheLimits)) -> CacheLimits {
    let mut limits = CacheLimits::default();
    change(&mut limits);
    limits
}

fn full(tokenizer: &dyn Tokenizer, text: &str) -> Vec<u32> {
    let mut tokens = Vec::new();
    tokenizer.encode(text, &mut tokens).expect("it encodes");
    tokens
}

/// Texts that share beginnings, as turns of a chat do.
fn text() -> impl Strategy<Value = String> {
    let scrap = prop::sample::select(vec![
        "a", "word", " ", "  ", "\n", " the", " é漢", "😀", "1 2", "<|end|>", "\t", " x y z",
    ]);
    prop::collection::vec(scrap, 0..200).prop_map(|scraps| scraps.concat())
}

/// A megabyte that can be cut nowhere.
#[test]
fn what_does_not_fit_is_not_kept() {
    let words: Arc<dyn Tokenizer> = Arc::new(Words::default());
    let cache = TokenCache::new(CacheLimits::default());
    let cached = cache.tokenizer("a", &words);
    let text = "a".repeat(1 << 20);
    assert_eq!(cached.fits(&text, 0).unwrap(), None);
    assert!(cache.stats(None).bytes < 1 << 20, "{:?}", cache.stats(None));
    assert_eq!(cached.fits(&text, 1).unwrap(), Some(1));
    assert!(cache.stats(None).bytes >= 1 << 20, "what fits is: {:?}", cache.stats(None));
}

/// As large as it can be said.
#[test]
fn a_segment_may_be_all_of_a_text() {
    let words: Arc<dyn Tokenizer> = Arc::new(Words::default());
    let cached = TokenCache::new(limits(|l| l.segment_bytes = usize::MAX)).tokenizer("a", &words);
    let text = "some words ".repeat(1000);
    assert_eq!(full(&cached, &text), full(&*words, &text));
}

#[test]
fn segments_encode_as_the_whole_does() {
    let config = ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() };
    let texts = prop::collection::vec((text(), 0..4_usize), 1..12);
    TestRunner::new(config)
        .run(&(texts, 1..3_usize, 16..400_usize), |(texts, room, segment_bytes)| {
            let words: Arc<dyn Tokenizer> = Arc::new(Words::default());
            let cache =
                TokenCache::new(limits(|l| (l.max_bytes, l.segment_bytes) = (room * 8000, segment_bytes)));
            let cached = cache.tokenizer("a", &words);
            let mut grown = String::new();
            for (text, keep) in texts {
                grown.truncate(grown.floor_char_boundary(grown.len() * keep / 3));
                grown.push_str(&text);
                let expected = full(&*words, &grown);
                prop_assert_eq!(&full(&cached, &grown), &expected);
                prop_assert_eq!(cached.count(&grown).unwrap(), expected.len());
                prop_assert_eq!(cached.fits(&grown, expected.len()).unwrap(), Some(expected.len()));
                prop_assert_eq!(
                    cached.fits(&grown, expected.len().saturating_sub(1)).unwrap().is_none(),
                    !expected.is_empty()
                );
                prop_assert_eq!(&*cached.tokens(&grown).unwrap(), &*expected);
                let pieces = [Piece::Markup("<|end|>user "), Piece::Text(&grown), Piece::Markup("<|end|>")];
                let (mut one, mut other) = (Vec::new(), Vec::new());
                cached.encode_prompt(&pieces, &mut one).unwrap();
                words.encode_prompt(&pieces, &mut other).unwrap();
                prop_assert_eq!(one, other);
                prop_assert!(cache.stats(None).bytes <= room as u64 * 8000);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_grown_text_costs_its_tail() {
    let words = Arc::new(Words::default());
    let tokenizer: Arc<dyn Tokenizer> = words.clone();
    let cached = TokenCache::new(CacheLimits::default()).tokenizer("a", &tokenizer);
    let mut text = String::new();
    let (mut last, mut costs) = (0, Vec::new());
    for turn in 0..200 {
        text.push_str(&format!("turn {turn} says this and that and so on. "));
        cached.count(&text).unwrap();
        costs.push(words.encoded.load(Relaxed) - last);
        last = words.encoded.load(Relaxed);
    }
    let late = costs[100..].iter().max().unwrap();
    assert!(*late <= 4 << 10, "turn-N cost is flat: at most {late} bytes encoded again of {}", text.len());
    assert_eq!(cached.count(&text).unwrap(), words.count(&text).unwrap());
}

#[test]
fn a_segment_asks_once() {
    let words = Arc::new(Words::default());
    let tokenizer: Arc<dyn Tokenizer> = words.clone();
    let cache = TokenCache::new(CacheLimits::default());
    let (a, b) = (cache.tokenizer("a", &tokenizer), cache.tokenizer("b", &tokenizer));
    let segment = Segment::new("some words of a message");
    for cached in [&a, &a, &b, &a, &b] {
        assert_eq!(segment.count(cached).unwrap(), 5);
        assert_eq!(*segment.tokens(cached).unwrap(), *full(&*words, segment.text()));
    }
    assert_eq!(cache.stats(Some("a")).misses, 1);
    assert_eq!(cache.stats(Some("a")).hits, 0, "the segment remembers");
    assert!(!format!("{segment:?}").contains("words"));
}

#[test]
fn one_thread_computes_and_the_others_wait() {
    /// Slow enough for all threads to meet.
    #[derive(Debug, Default)]
    struct Slow(Words);
    impl Tokenizer for Slow {
        fn name(&self) -> &str {
            "slow"
        }
        fn vocabulary_size(&self) -> u32 {
            self.0.vocabulary_size()
        }
        fn encode(&self, text: &str, tokens: &mut Vec<u32>) -> loquat_core::Result<()> {
            thread::sleep(std::time::Duration::from_millis(300));
            if text.starts_with("fail") {
                return Err(loquat_core::Error::new(loquat_core::ErrorKind::Local, "no"));
            }
            self.0.encode(text, tokens)
        }
        fn control_token(&self, _: &str) -> Option<u32> {
            None
        }
        fn find_control(&self, _: &str) -> Option<(std::ops::Range<usize>, u32)> {
            None
        }
        fn token_bytes(&self, _: u32, _: &mut Vec<u8>) -> loquat_core::Result<()> {
            Ok(())
        }
    }
    let slow = Arc::new(Slow::default());
    let tokenizer: Arc<dyn Tokenizer> = slow.clone();
    let cache = TokenCache::new(CacheLimits::default());
    let cached = cache.tokenizer("a", &tokenizer);
    let (text, failing) = ("word ".repeat(300), format!("fail{}", " x".repeat(600)));
    let barrier = Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                barrier.wait();
                assert_eq!(cached.tokens(&text).unwrap().len(), full(&slow.0, &text).len());
                barrier.wait();
                assert!(cached.tokens(&failing).is_err(), "each for itself");
            });
        }
    });
    let stats = cache.stats(None);
    assert_eq!((stats.misses - 4, stats.hits + stats.joined), (1, 3), "{stats:?}");
    assert_eq!(stats.entries, 1, "a failure is not kept");
}

#[test]
fn a_tenant_neither_sees_nor_evicts_anothers() {
    let config = ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&(1..40_usize, 100..600_usize, 2..5_usize), |(kept, flood, tenants)| {
            let words: Arc<dyn Tokenizer> = Arc::new(Words::default());
            let cache = TokenCache::new(limits(|l| l.max_bytes = 200_000));
            let quiet = cache.tokenizer("quiet", &words);
            let text = |n: usize| format!("number {n} of the quiet one's own messages, {}", "x ".repeat(20));
            let share = 200_000 / 64 * 63 / tenants;
            let kept = kept.min(share / 600);
            for n in 0..kept {
                quiet.tokens(&text(n)).unwrap();
            }
            let floods: Vec<_> =
                (1..tenants).map(|t| cache.tokenizer(&format!("loud {t}"), &words)).collect();
            for (t, loud) in floods.iter().enumerate() {
                for n in 0..kept {
                    prop_assert!(!loud.contains(&text(n)), "seen by another");
                }
                for n in 0..flood {
                    loud.tokens(&format!("{t} loud {n} {}", "y ".repeat(100))).unwrap();
                }
            }
            for n in 0..kept {
                prop_assert!(quiet.contains(&text(n)), "{n} of {kept} was evicted");
            }
            prop_assert!(cache.stats(None).bytes <= 200_000);
            cache.clear(Some("quiet"));
            prop_assert_eq!(cache.stats(Some("quiet")).bytes, 0);
            Ok(())
        })
        .unwrap();
}

#[test]
fn tenants_without_end_are_bounded() {
    let words: Arc<dyn Tokenizer> = Arc::new(Words::default());
    let cache = TokenCache::new(limits(|l| l.max_partitions = 8));
    let held: Vec<_> = (0..8).map(|n| cache.tokenizer(&format!("held {n}"), &words)).collect();
    let ninth = cache.tokenizer("ninth", &words);
    assert_eq!(ninth.count("a text of some length or so").unwrap(), 7);
    assert!(!ninth.contains("a text of some length or so"), "all places are held: it keeps nothing");
    held[0].tokens("a text of some length or so").unwrap();
    drop(held);
    for n in 0..100 {
        cache.tokenizer(&format!("passing {n}"), &words).tokens("a text of some length or so").unwrap();
    }
    assert!(cache.stats(None).entries <= 8);
}

#[test]
fn what_is_never_asked_twice_is_not_kept() {
    let words: Arc<dyn Tokenizer> = Arc::new(Words::default());
    let cache = TokenCache::new(CacheLimits::default());
    let cached = cache.tokenizer("a", &words);
    for n in 0..10_000 {
        cached.count(&format!("a text that nobody will ask for again, {n}")).unwrap();
    }
    let stats = cache.stats(None);
    assert!(stats.inserted < 1000, "{stats:?}");
    // And it learns again.
    for n in 0..2000 {
        cached.count(&format!("one of the few texts asked for, {}", n % 8)).unwrap();
    }
    let before = cache.stats(None).hits;
    for n in 0..1000 {
        cached.count(&format!("one of the few texts asked for, {}", n % 8)).unwrap();
    }
    assert_eq!(cache.stats(None).hits - before, 1000);
}

#[test]
fn prompts_that_never_come_again_pass_by_until_one_does() {
    let words: Arc<dyn Tokenizer> = Arc::new(Words::default());
    let cache = TokenCache::new(CacheLimits::default());
    let cached = cache.tokenizer("a", &words);
    let ask = |text: &str| {
        let pieces = [Piece::Markup("user: "), Piece::Text(text)];
        let (mut tokens, mut expected) = (Vec::new(), Vec::new());
        cached.encode_prompt(&pieces, &mut tokens).unwrap();
        words.encode_prompt(&pieces, &mut expected).unwrap();
        assert_eq!(tokens, expected);
    };
    for n in 0..10_000 {
        ask(&format!("a text that nobody will ask for again, {n}"));
    }
    let stats = cache.stats(None);
    assert!(stats.inserted < 100, "{stats:?}");
    assert_eq!((stats.hits, stats.misses), (0, 10_000), "one count a prompt, passed by or not");
    // Its turn to be looked at comes within fifteen times 16 prompts, and then it has a place at the second sight.
    let asked = (0..).position(|_| {
        ask("the one text that is asked for again");
        cache.stats(None).hits > 0
    });
    assert!(asked.is_some_and(|asked| asked <= 15 * 16 + 2), "{asked:?}");
    let before = cache.stats(None).hits;
    (0..100).for_each(|_| ask("the one text that is asked for again"));
    assert_eq!(cache.stats(None).hits - before, 100);
}

/// Where nothing came twice for long, and then something does: one prompt again and again or one in so many, or chats that grow, whatever
/// the lengths of what they begin with. How often it is asked for before it is found is bounded.
#[test]
fn what_comes_again_is_found_soon_after_much_that_did_not() {
    let new = |n: usize| format!("a text that nobody will ask for again, {n}");
    let check = |bytes: usize, every: usize, bound: usize| {
        let words: Arc<dyn Tokenizer> = Arc::new(Words::default());
        let cache = TokenCache::new(CacheLimits::default());
        let cached = cache.tokenizer("a", &words);
        let ask = |text: &str, question: &str| {
            let pieces = [Piece::Text(text), Piece::Markup("<|end|>"), Piece::Text(question)];
            cached.encode_prompt(&pieces, &mut Vec::new()).unwrap();
        };
        (0..5_000).for_each(|n| ask(&new(n), ""));
        let instructions = "x ".repeat(bytes / 2);
        let asked = (0..).position(|asked| {
            (1..every).for_each(|n| ask(&new(5_000 + asked * every + n), ""));
            // What is asked is another thing each time; what the prompt begins with is not.
            ask(&instructions, &format!("a question that is asked only once, {asked}"));
            cache.stats(None).hits > 0
        });
        assert!(asked.is_some_and(|asked| asked < bound), "{bytes} bytes, one in {every}: {asked:?}");
    };
    for bytes in (60..140).step_by(2) {
        // Fifteen of sixteen turns of 16 pass, and in the last it is seen, kept and found.
        check(bytes, 1, 15 * 16 + 3);
        // In each 256 prompts a turn of 16 has three of every fifth, one or two of every tenth.
        check(bytes, 5, 2 * 256 / 5);
        check(bytes, 10, 4 * 256 / 10);
    }
}

/// A tenant for whom there is no place: nothing of its prompts is remembered, not even what their template says.
#[test]
fn who_has_no_place_leaves_nothing_of_a_template() {
    let words = Arc::new(Words::default());
    let tokenizer: Arc<dyn Tokenizer> = words.clone();
    let cache = TokenCache::new(limits(|l| l.max_partitions = 1));
    let (cached, other) = (cache.tokenizer("a", &tokenizer), cache.tokenizer("b", &tokenizer));
    let searched = |cached: &CachedTokenizer| {
        let before = words.searched.load(Relaxed);
        let pieces = [Piece::Markup("<|end|>user\n"), Piece::Text("a text that is long enough to be kept")];
        cached.encode_prompt(&pieces, &mut Vec::new()).unwrap();
        words.searched.load(Relaxed) - before
    };
    assert!(searched(&cached) > 0);
    assert_eq!(searched(&cached), 0, "a place of its own");
    let first = searched(&other);
    assert!(first > 0);
    assert_eq!(searched(&other), first, "no place");
}

/// What stands between messages is the same in each prompt of a template, and control tokens are looked for in it once; in what is longer,
/// each time.
#[test]
fn what_a_template_says_is_looked_through_once() {
    let (words, plain) = (Arc::new(Words::default()), Words::default());
    let tokenizer: Arc<dyn Tokenizer> = words.clone();
    let cache = TokenCache::new(CacheLimits::default());
    let cached = cache.tokenizer("a", &tokenizer);
    let ask = |roles: [&str; 3], text: &str| {
        let pieces = [
            Piece::Markup(roles[0]),
            Piece::Text(text),
            Piece::Markup(roles[1]),
            Piece::Text("<|end|> as somebody writes it"),
            Piece::Markup(roles[2]),
        ];
        let (mut tokens, mut expected) = (Vec::new(), Vec::new());
        let before = words.searched.load(Relaxed);
        cached.encode_prompt(&pieces, &mut tokens).unwrap();
        plain.encode_prompt(&pieces, &mut expected).unwrap();
        assert_eq!(tokens, expected, "{roles:?}");
        words.searched.load(Relaxed) - before
    };
    let roles = ["<|end|>user\n", "<|end|>tool<|end|>\n", "that is all<|end|>"];
    for _ in 0..2 {
        assert!(ask(roles, "the first prompt") > 0);
        // Whether they are looked at or pass by.
        for n in 0..3000 {
            assert_eq!(ask(roles, &format!("a prompt that nobody asks for again, {n}")), 0, "{n}");
        }
        cache.clear(None);
    }
    let long = "x".repeat(100) + "<|end|>";
    assert!(ask([roles[0], "<|end|>model\n", &long], "another template") > long.len());
}
