//! Any text: its tokens decode to it, counts and cuts agree with them, and its parts at a safe cut are encoded as the whole is.
//!
//! The first two bytes say where to cut and how many tokens to keep.
#![no_main]

use loquat_prompt::tokenizer::{Keep, Tokenizer, cl100k_base, o200k_base};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some(([at, limit], text)) = input.split_first_chunk::<2>() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    for tokenizer in [o200k_base(), cl100k_base()] {
        let tokenizer = tokenizer.unwrap();
        let encode = |text: &str| {
            let mut tokens = Vec::new();
            tokenizer.encode(text, &mut tokens).unwrap();
            tokens
        };
        let tokens = encode(text);
        assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
        assert_eq!(tokenizer.count(text).unwrap(), tokens.len());
        let limit = usize::from(*limit);
        assert_eq!(tokenizer.fits(text, limit).unwrap(), (tokens.len() <= limit).then_some(tokens.len()));
        for keep in [Keep::Head, Keep::Tail] {
            let part = tokenizer.truncate(text, limit, keep).unwrap();
            assert!(encode(part).len() <= limit);
            assert!(tokens.len() > limit || part == text);
        }
        let cut = tokenizer.safe_cut(text, usize::from(*at) * text.len() / 255);
        let (head, tail) = text.split_at(cut);
        assert_eq!([encode(head), encode(tail)].concat(), tokens);
    }
});
