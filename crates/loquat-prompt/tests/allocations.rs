//! Counting allocates nothing, nor does cutting to a number of tokens: what a thread needs for it, it keeps from the first time.
//!
//! A test binary of its own, because it counts what the global allocator is asked for.
#![cfg(feature = "tokens")]
#![allow(unsafe_code, reason = "a global allocator is an unsafe trait; this one only counts and forwards")]
#![allow(clippy::unwrap_used, reason = "tests, helpers included")]

#[path = "support/byte_level.rs"]
mod byte_level;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    hint::black_box,
};

use loquat_prompt::{
    Tokenizer,
    tokenizer::{BytePair, Keep, cl100k_base, o200k_base},
};
use serde_json::json;

struct Counting;

thread_local! {
    /// Of this thread, so that tests beside each other do not count each other's.
    static COUNT: Cell<u64> = const { Cell::new(0) };
    /// The most bytes asked for at once.
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    COUNT.with(|count| count.set(count.get() + 1));
    LARGEST.with(|largest| largest.set(largest.get().max(bytes)));
}

// SAFETY: every call is forwarded unchanged to `System`, which upholds the contract; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are passed on as they are.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Texts of some tens of kilobytes, the last with words that the fast ways do not take.
fn texts() -> [String; 4] {
    [
        include_str!("../../../LICENSE-APACHE").to_owned(),
        include_str!("../src/tokenizer/byte_pair.rs").to_owned(),
        "汉字和假名かな、emoji 👍🏽 и кириллица. ".repeat(300),
        format!("{} {} {}", "a".repeat(2000), "QmFzZTY0IGlzIG5vdCBwcm9zZQ".repeat(100), " ".repeat(3000)),
    ]
}

/// All ways to count, once; how many tokens, so that something depends on them.
fn count_all(tokenizer: &dyn Tokenizer, texts: &[String]) -> usize {
    let mut sum = 0;
    for text in texts {
        let tokens = tokenizer.count(text).unwrap();
        for limit in [0, 1, 100, tokens - 1, tokens, tokens + 1] {
            sum += tokenizer.fits(text, limit).unwrap().unwrap_or(0);
            sum += tokenizer.truncate(text, limit, Keep::Head).unwrap().len();
            sum += tokenizer.truncate(text, limit, Keep::Tail).unwrap().len();
        }
    }
    sum
}

#[test]
fn counting_allocates_nothing() {
    let texts = texts();
    for tokenizer in [o200k_base().unwrap(), cl100k_base().unwrap()] {
        let warm = count_all(&*tokenizer, &texts);
        let before = COUNT.get();
        let again = black_box(count_all(&*tokenizer, &texts));
        assert_eq!(COUNT.get() - before, 0, "{}", tokenizer.name());
        assert_eq!(again, warm);

        // And what would be counted is: encoding the same takes memory.
        let before = COUNT.get();
        tokenizer.encode(&texts[0], &mut Vec::new()).unwrap();
        assert!(COUNT.get() > before, "the allocator is not asked");
    }
}

/// With a vocabulary that wants text in normal form, as Qwen's does.
#[test]
fn of_a_text_that_does_not_fit_little_is_normalized() {
    let mut file = byte_level::file(&["th"], &json!(["t h"]));
    file["normalizer"] = json!({"type": "NFC"});
    let tokenizer = BytePair::from_tokenizer_json("small", file.to_string().as_bytes()).unwrap();
    let normal = ["thé cafés ".repeat(2_000)];
    let warm = count_all(&tokenizer, &normal);
    let before = COUNT.get();
    assert_eq!(black_box(count_all(&tokenizer, &normal)), warm);
    assert_eq!(COUNT.get() - before, 0, "what is in that form is taken as it is");

    let other = "the cafe\u{301}s ".repeat(100_000);
    let tokens = tokenizer.count(&other).unwrap();
    LARGEST.set(0);
    assert_eq!(tokenizer.fits(&other, 10).unwrap(), None);
    assert!(LARGEST.get() < 100_000, "{} bytes of {}", LARGEST.get(), other.len());
    for limit in [tokens - 1, tokens, tokens + 1] {
        assert_eq!(
            tokenizer.fits(&other, limit).unwrap(),
            Some(tokens).filter(|_| limit >= tokens),
            "{limit}"
        );
    }
}
