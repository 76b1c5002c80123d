//! The search against the definition, done literally.

use proptest::prelude::*;

use super::{BATCH, Memo, Vocabulary, merges::Token};

/// Byte-pair encoding as it is defined: the lowest rank first, the leftmost of those.
fn definition(vocabulary: &Vocabulary, first: &[u8], text: &[u8]) -> Vec<Token> {
    let byte = |byte: &u8| first.iter().position(|b| b == byte).unwrap().try_into().unwrap();
    let mut tokens: Vec<Token> = text.iter().map(byte).collect();
    loop {
        let merged = |pair: &[Token]| vocabulary.merges().merged(pair[0], pair[1]);
        let best = tokens.windows(2).enumerate().filter_map(|(at, pair)| Some((merged(pair)?, at))).min();
        let Some((token, at)) = best else { return tokens };
        tokens.splice(at..at + 2, [token]);
    }
}

fn encode(vocabulary: &Vocabulary, text: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::new();
    if !text.is_empty() {
        Memo::lend(|memo| vocabulary.encode_all(memo, text, 0, &[text.len()], &mut tokens, |_| true));
    }
    tokens
}

/// Vocabularies of few letters and random merges: more ways to go wrong than real ones. A merge is taken only if its two
/// halves stay apart without it and become it with it, as in any vocabulary that was trained.
/// They begin with some merges and are of some tokens at random.
fn vocabularies(
    begin: &'static [[Token; 2]],
    letters: &'static [Token],
) -> impl Strategy<Value = Vec<[Token; 2]>> {
    proptest::collection::vec((any::<u32>(), any::<u32>()), 0..40).prop_map(move |wishes| {
        let first: [u8; 256] = std::array::from_fn(|byte| u8::try_from(byte).unwrap());
        let mut merges: Vec<[Token; 2]> = begin.to_vec();
        for (left, right) in wishes {
            let pick = |wish: u32| {
                let all = letters.len() + merges.len() - begin.len();
                let number = wish as usize % all;
                letters
                    .get(number)
                    .copied()
                    .unwrap_or_else(|| 256 + u32::try_from(number - letters.len() + begin.len()).unwrap())
            };
            let pair = [pick(left), pick(right)];
            let before = Vocabulary::new(&first, merges.clone().into_iter()).unwrap();
            let bytes: Vec<u8> =
                pair.iter().flat_map(|half| before.token_bytes(*half).unwrap().to_vec()).collect();
            if bytes.len() < 200 && definition(&before, &first, &bytes) == pair {
                merges.push(pair);
            }
        }
        merges
    })
}

const ABC: [Token; 3] = [97, 98, 99];
/// Three characters and parts of some: 256 is E4 B8, 257 一, 258 丸, 259 E3 80, 260 an ideographic space, 261 B8 80.
const CHARACTERS: [[Token; 2]; 6] =
    [[0xE4, 0xB8], [256, 0x80], [256, 0xB8], [0xE3, 0x80], [259, 0x80], [0xB8, 0x80]];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Words of a script without spaces, in vocabularies whose tokens begin and end anywhere in its characters.
    #[test]
    fn words_that_are_cut_are_the_definition(
        merges in vocabularies(&CHARACTERS, &[97, 0x80, 256, 257, 258, 259, 260, 261]),
        text in "[a\u{3000}\u{3038}\u{3E00}\u{4000}\u{4E00}\u{4E38}\u{FE00}]{0,40}",
    ) {
        let first: [u8; 256] = std::array::from_fn(|byte| u8::try_from(byte).unwrap());
        let vocabulary = Vocabulary::new(&first, merges.into_iter()).unwrap();
        let expected = definition(&vocabulary, &first, text.as_bytes());
        // Twice, for the second time the memo knows the parts.
        prop_assert_eq!(encode(&vocabulary, text.as_bytes()), expected.clone());
        prop_assert_eq!(encode(&vocabulary, text.as_bytes()), expected);
    }

    #[test]
    fn the_search_is_the_definition(merges in vocabularies(&[], &ABC), text in "[abcd]{0,90}") {
        let first: [u8; 256] = std::array::from_fn(|byte| u8::try_from(byte).unwrap());
        let vocabulary = Vocabulary::new(&first, merges.into_iter()).unwrap();
        prop_assert_eq!(encode(&vocabulary, text.as_bytes()), definition(&vocabulary, &first, text.as_bytes()));
    }

    #[test]
    fn words_together_and_in_turn_are_the_definition(
        merges in vocabularies(&[], &ABC),
        text in "[abcd]{0,400}",
        lengths in proptest::collection::vec(prop_oneof![4 => 1usize..6, 2 => 6usize..17, 1 => 17usize..40], 1..=BATCH),
    ) {
        let first: [u8; 256] = std::array::from_fn(|byte| u8::try_from(byte).unwrap());
        let vocabulary = Vocabulary::new(&first, merges.into_iter()).unwrap();
        let text = text.as_bytes();
        let ends = lengths.iter().scan(0, |end, length| {
            *end += length;
            (*end <= text.len()).then_some(*end)
        });
        let ends: Vec<usize> = ends.collect();
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let words = starts.zip(&ends).map(|(start, end)| &text[start..*end]);
        let expected: Vec<Token> = words.flat_map(|word| definition(&vocabulary, &first, word)).collect();
        // Twice, for the second time the memo knows the words.
        for _ in 0..2 {
            Memo::lend(|memo| {
                let (mut turn, mut together) = (Vec::new(), Vec::new());
                let (_, goes_on) = vocabulary.encode_together(memo, text, 0, &ends, &mut together, |_| true);
                prop_assert!(goes_on);
                let (_, goes_on) = vocabulary.encode_in_turn(memo, text, 0, &ends, &mut turn, |_| true);
                prop_assert!(goes_on);
                prop_assert_eq!(&together, &expected);
                prop_assert_eq!(&turn, &expected);
                Ok(())
            })?;
        }
    }
}

#[test]
fn corrupt_vocabularies_are_refused() {
    let first: Vec<u8> = (0..=255).collect();
    let with = |merges: &[u8]| [first.as_slice(), merges].concat();
    let refused = |data: &[u8]| Vocabulary::read(data).unwrap_err().to_string();
    assert!(Vocabulary::read(&with(&[97, 0, 0, 98, 0, 0])).is_ok());
    assert!(refused(&first[..255]).contains("256 bytes"));
    assert!(refused(&[7; 256]).contains("a byte has no token"));
    assert!(refused(&with(&[97, 0, 0, 98, 0])).contains("stops within"));
    assert!(refused(&with(&[0, 1, 0, 98, 0, 0])).contains("after it"));
    // Doubled eleven times, a token would have 2,048 bytes.
    let doubling: Vec<u8> = (255u32..266)
        .flat_map(|half| [half.to_le_bytes(), half.to_le_bytes()])
        .flat_map(|b| [b[0], b[1], b[2]])
        .collect();
    assert!(refused(&with(&doubling)).contains("longer than"));
}

/// The files in `vocabularies/` from the published ones; see the README there.
#[test]
fn write_the_vocabularies() {
    use base64::Engine as _;

    let Ok(folder) = std::env::var("LOQUAT_WRITE_VOCABULARIES") else {
        eprintln!("nothing written: LOQUAT_WRITE_VOCABULARIES names no folder with the published files");
        return;
    };
    for name in ["o200k_base", "cl100k_base"] {
        let published = std::fs::read_to_string(format!("{folder}/{name}.tiktoken")).unwrap();
        let tokens: Vec<Vec<u8>> = published
            .lines()
            .enumerate()
            .map(|(number, line)| {
                let (text, rank) = line.split_once(' ').unwrap();
                assert_eq!(rank, number.to_string());
                base64::engine::general_purpose::STANDARD.decode(text).unwrap()
            })
            .collect();
        let ranks: std::collections::HashMap<&[u8], Token> =
            tokens.iter().map(Vec::as_slice).zip(0..).collect();
        let mut data: Vec<u8> = tokens[..256].concat();
        for text in &tokens[256..] {
            // Where its parts begin and end: at first between all bytes, at last at one place within.
            let mut places: Vec<usize> = (0..=text.len()).collect();
            while places.len() > 3 {
                let rank = |at: usize| ranks.get(&text[places[at]..places[at + 2]]);
                let best = (0..places.len() - 2).filter_map(|at| Some((*rank(at)?, at))).min();
                places.remove(best.unwrap().1 + 1);
            }
            for half in [&text[..places[1]], &text[places[1]..]] {
                data.extend_from_slice(&ranks[half].to_le_bytes()[..3]);
            }
        }
        std::fs::write(format!("{}/vocabularies/{name}.merges", env!("CARGO_MANIFEST_DIR")), data).unwrap();
    }
}
