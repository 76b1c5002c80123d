//! The built-in vocabularies: known tokens, and that all ways to count and cut agree with encoding.

use proptest::prelude::*;

use crate::tokenizer::{BytePair, Detokenizer, Keep, Piece, Tokenizer, cl100k_base, o200k_base};

fn both() -> [std::sync::Arc<BytePair>; 2] {
    [o200k_base().unwrap(), cl100k_base().unwrap()]
}

fn encode(tokenizer: &BytePair, text: &str) -> Vec<u32> {
    let mut tokens = Vec::new();
    tokenizer.encode(text, &mut tokens).unwrap();
    tokens
}

#[test]
fn known_tokens() {
    // As Python's tiktoken 0.14 gives them.
    let check = |text: &str, o200k: &[u32], cl100k: &[u32]| {
        assert_eq!(encode(&both()[0], text), o200k, "{text:?}");
        assert_eq!(encode(&both()[1], text), cl100k, "{text:?}");
    };
    check("", &[], &[]);
    check("Hello, world!", &[13225, 11, 2375, 0], &[9906, 11, 1917, 0]);
    check(
        "I'LL say: don't!  \n\n  x",
        &[40, 6, 7454, 2891, 25, 4128, 0, 11691, 220, 1215],
        &[40, 6, 4178, 2019, 25, 1541, 956, 0, 19124, 220, 865],
    );
    check("<|endoftext|>", &[27, 91, 419, 1440, 919, 91, 29], &[27, 91, 8862, 728, 428, 91, 29]);
    check(
        "漢字かな交じり文です。",
        &[183591, 8134, 165732, 10130, 29884, 7297, 4883, 15121, 788],
        &[78256, 95, 19113, 32149, 26854, 39209, 100204, 31431, 17161, 38641, 1811],
    );
    check(
        "😀👍🏽 naïve Ångström",
        &[84083, 82514, 52622, 121, 153475, 737, 49805, 892, 162823],
        &[76460, 222, 9468, 239, 235, 9468, 237, 121, 95980, 588, 80352, 983, 496, 86684],
    );
    check(
        "12345 ABCdef camelCase",
        &[7633, 2548, 33047, 1314, 83330, 6187],
        &[4513, 1774, 19921, 755, 50252, 4301],
    );
    check(" \n ", &[793, 220], &[720, 220]);
}

#[test]
fn user_text_is_never_a_control_token() {
    for tokenizer in both() {
        for (written, token) in tokenizer.controls.iter() {
            assert!(!encode(&tokenizer, written).contains(&token), "{written}");
            let mut tokens = Vec::new();
            tokenizer.encode_prompt(&[Piece::Markup(written), Piece::Text(written)], &mut tokens).unwrap();
            assert_eq!(tokens[0], token);
            assert_eq!(tokens[1..], encode(&tokenizer, written));
            assert_eq!(tokenizer.control_token(written), Some(token));
        }
    }
}

#[test]
fn long_words_take_linear_time_and_agree_on_counts() {
    let letters =
        |n: usize| (0..n).map(|i| char::from(b'a' + u8::try_from(i * i % 26).unwrap())).collect::<String>();
    for text in [
        "a".repeat(200_000),
        " ".repeat(200_000),
        "漢字".repeat(50_000),
        "=-".repeat(100_000),
        letters(200_000),
    ] {
        for tokenizer in both() {
            let tokens = encode(&tokenizer, &text);
            assert_eq!(tokenizer.count(&text).unwrap(), tokens.len());
            assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
        }
    }
}

/// Megabytes that other encoders choke on.
fn megabytes() -> [(&'static str, String); 5] {
    const MEGABYTE: usize = 1_000_000;
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // splitmix64
    let mut state = 20_261_130_u64;
    let mut random = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31).to_le_bytes()[0]
    };
    let bytes: Vec<u8> = (0..MEGABYTE).map(|_| random()).collect();
    let base64 = bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 64)])).collect();
    let mut noise = String::from_utf8_lossy(&bytes).into_owned();
    noise.truncate(noise.floor_char_boundary(MEGABYTE));
    [
        ("one letter", "a".repeat(MEGABYTE)),
        ("spaces", " ".repeat(MEGABYTE)),
        ("base64", base64),
        ("random bytes", noise),
        ("escaped halves of characters", r"\ud800".repeat(MEGABYTE / 6)),
    ]
}

/// How many tokens bpe-openai 0.3.2 gives of each, with the one vocabulary and the other, and FNV-1a of their bytes, little-endian.
#[test]
fn a_megabyte_of_anything_has_the_tokens_of_the_reference() {
    let expected: [(&str, [(usize, u64); 2]); 5] = [
        ("one letter", [(125_000, 0x8A52_1CA3_62FA_F865), (125_000, 0xF80B_1292_32EF_2AA5)]),
        ("spaces", [(7_813, 0x3F79_110E_0310_2821), (7_813, 0xC521_6530_EE3D_74C6)]),
        ("base64", [(682_631, 0x0EC5_03BF_AB12_AA1D), (717_079, 0x268E_D302_70FA_EF88)]),
        ("random bytes", [(422_695, 0x28E3_3095_2B29_14FA), (431_573, 0xC93A_229A_D69D_7EDF)]),
        (
            "escaped halves of characters",
            [(499_998, 0x9823_F205_B8CB_EB1D), (499_998, 0x6F05_8782_5C10_9925)],
        ),
    ];
    for ((name, text), (expected_name, expected)) in megabytes().into_iter().zip(expected) {
        assert_eq!(name, expected_name);
        for (tokenizer, expected) in both().iter().zip(expected) {
            let tokens = encode(tokenizer, &text);
            let hash = tokens
                .iter()
                .flat_map(|token| token.to_le_bytes())
                .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
                    (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
                });
            assert_eq!((tokens.len(), hash), expected, "{name}, {}", tokenizer.name());
        }
    }
}

/// Text of all sorts: words, scripts, spaces, marks.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z]{1,14}",
        " [A-Z]?[a-z]{1,9}",
        "[ \t\r\n]{1,4}",
        "[0-9]{1,5}",
        "[-=_/.,;(){}'\"]{1,6}",
        "[漢字的是不了人我在有]{1,9}",
        "[а-яё]{1,8}",
        "('s|'ll|'RE)",
        "[😀👍🏽é\u{301}ſ]{1,3}",
        any::<String>(),
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn counts_cuts_and_streams_agree_with_encoding(text in texts(), limit in 0usize..40, at in 0usize..200) {
        for tokenizer in both() {
            let tokens = encode(&tokenizer, &text);
            prop_assert_eq!(tokenizer.decode(&tokens).unwrap(), text.as_str());
            prop_assert_eq!(tokenizer.count(&text).unwrap(), tokens.len());
            prop_assert_eq!(tokenizer.fits(&text, limit).unwrap(), (tokens.len() <= limit).then_some(tokens.len()));
            for keep in [Keep::Head, Keep::Tail] {
                let part = tokenizer.truncate(&text, limit, keep).unwrap();
                prop_assert!(tokenizer.count(part).unwrap() <= limit);
                let is_part = if keep == Keep::Head { text.starts_with(part) } else { text.ends_with(part) };
                prop_assert!(is_part);
                prop_assert!(tokens.len() > limit || part == text);
                // The engine's own way is the trait's.
                prop_assert_eq!(part, Plain(&tokenizer).truncate(&text, limit, keep).unwrap());
            }
            let cut = tokenizer.safe_cut(&text, at);
            prop_assert!(cut <= at);
            let (head, tail) = text.split_at(cut);
            prop_assert_eq!([encode(&tokenizer, head), encode(&tokenizer, tail)].concat(), tokens.as_slice());
            let mut stream = Detokenizer::new(&*tokenizer);
            let mut streamed = String::new();
            for token in &tokens {
                streamed.push_str(stream.push(*token).unwrap());
            }
            prop_assert_eq!(streamed, text.as_str());
        }
    }
}

/// Only what an engine must bring: all else as the trait does it.
#[derive(Debug)]
struct Plain<'t>(&'t BytePair);

impl Tokenizer for Plain<'_> {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn vocabulary_size(&self) -> u32 {
        self.0.vocabulary_size()
    }
    fn encode(&self, text: &str, tokens: &mut Vec<u32>) -> loquat_core::Result<()> {
        self.0.encode(text, tokens)
    }
    fn control_token(&self, text: &str) -> Option<u32> {
        self.0.control_token(text)
    }
    fn find_control(&self, text: &str) -> Option<(std::ops::Range<usize>, u32)> {
        self.0.find_control(text)
    }
    fn token_bytes(&self, token: u32, bytes: &mut Vec<u8>) -> loquat_core::Result<()> {
        self.0.token_bytes(token, bytes)
    }
}
