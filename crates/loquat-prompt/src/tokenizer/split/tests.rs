//! The readers by hand against the regular expressions they stand for.

use std::fmt::Write as _;

use fancy_regex::Regex;
use proptest::prelude::*;

use super::{
    Cl100k, Llama3, O200k, Pattern, Qwen2, Tekken, any as long_way, class, cut_blocks, deepseek, next,
};

/// Every character's class as the regular expressions' engine has it, as the table holds it.
fn runs() -> Vec<u32> {
    let all: String = (0..=u32::from(char::MAX)).filter_map(char::from_u32).collect();
    let mut classes = vec![0u8; 0x11_0000];
    let groups = [
        r"[\p{Lu}\p{Lt}]",
        r"\p{Ll}",
        r"[\p{Lm}\p{Lo}]",
        r"\p{M}",
        r"\p{N}",
        r"[\s--[\r\n]]",
        r"[\r\n]",
        r"[\p{P}\p{S}]",
    ];
    for (group, number) in groups.iter().zip(1u8..) {
        for found in Regex::new(group).unwrap().find_iter(&all) {
            let found = found.unwrap().as_str().chars().next().unwrap();
            classes[found as usize] = number;
        }
    }
    let mut runs = Vec::new();
    for (code, class) in classes.iter().enumerate() {
        let start_and_class = u32::try_from(code).unwrap() << 4 | u32::from(*class);
        if runs.last().is_none_or(|last| last & 15 != u32::from(*class)) {
            runs.push(start_and_class);
        }
    }
    runs
}

#[test]
fn the_table_is_the_engines() {
    let runs = runs();
    for (number, run) in runs.iter().enumerate() {
        let until = runs.get(number + 1).map_or(0x11_0000, |next| next >> 4);
        for code in run >> 4..until {
            assert_eq!(class::class_of(code) as u32, run & 15, "U+{code:04X}");
        }
    }
}

/// `LOQUAT_WRITE_TABLE=1 cargo test -p loquat-prompt --all-features write_the_table`, after the engine's Unicode has changed.
#[test]
fn write_the_table() {
    if std::env::var_os("LOQUAT_WRITE_TABLE").is_none() {
        eprintln!("nothing written: LOQUAT_WRITE_TABLE is unset");
        return;
    }
    let mut file = String::from(
        "//! Characters by class, as runs: where each begins (`code << 4`) and its [`super::Class`] in the four lowest bits.\n\
         //!\n\
         //! Written by the test `write_the_table` from the tables of the regular expressions' engine; do not edit. Derived from the\n\
         //! Unicode Character Database, © Unicode, Inc., licence Unicode-3.0.\n\n\
         /// The version of Unicode: that of the engine which the tests compare with.\n\
         pub(super) const UNICODE_VERSION: (u8, u8, u8) = (16, 0, 0);\n\n\
         #[rustfmt::skip]\n\
         pub(super) static RUNS: &[u32] = &[\n",
    );
    for line in runs().chunks(16) {
        file.push_str("   ");
        for run in line {
            let _ = write!(file, " {run},");
        }
        file.push('\n');
    }
    file.push_str("];\n");
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/tokenizer/split/table.rs"), file).unwrap();
}

/// All words of `text`, by whatever finds the end of one.
fn words(text: &str, next: fn(&[u8], usize) -> usize) -> Vec<&str> {
    let (mut at, mut words) = (0, Vec::new());
    while at < text.len() {
        let end = next(text.as_bytes(), at);
        assert!(end > at, "no progress at {at} of {text:?}");
        words.push(&text[at..end]);
        at = end;
    }
    words
}

fn check<P: Pattern>(regex: &Regex, text: &str) {
    let expected: Vec<&str> = regex.find_iter(text).map(|found| found.unwrap().as_str()).collect();
    assert_eq!(words(text, next::<P>), expected, "{text:?}");
    assert_eq!(words(text, long_way::<P>), expected, "the long way, {text:?}");
    // Blocks are of 64 bytes.
    let long = text.repeat(200 / text.len().max(1) + 1);
    assert_eq!(in_blocks::<P>(&long), words(&long, next::<P>), "in blocks, {long:?}");
}

/// All words of `text`, cut as new text is.
fn in_blocks<P: Pattern>(text: &str) -> Vec<&str> {
    let (mut at, mut words) = (0, Vec::new());
    while at < text.len() {
        let mut ends = [0; 7];
        let (count, last) = cut_blocks::<P>(text.as_bytes(), at, &mut ends);
        for end in &ends[..count] {
            words.push(&text[at..*end]);
            at = *end;
        }
        assert_eq!(at, last, "{text:?}");
    }
    words
}

/// Each pattern on the pieces of the one before: what it matches, and what lies between.
fn split_in_turn<'t>(regexes: &[Regex], text: &'t str) -> Vec<&'t str> {
    let mut pieces = vec![text];
    for regex in regexes {
        let mut next = Vec::new();
        for piece in pieces {
            let mut at = 0;
            for found in regex.find_iter(piece) {
                let found = found.unwrap();
                next.extend([&piece[at..found.start()], found.as_str()]);
                at = found.end();
            }
            next.push(&piece[at..]);
        }
        pieces = next;
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

fn check_all(text: &str) {
    thread_local! {
        static DEEPSEEK: [Regex; 3] = deepseek::REGEXES.map(|regex| Regex::new(regex).unwrap());
        static REGEXES: [Regex; 5] =
            [O200k::REGEX, Cl100k::REGEX, Llama3::REGEX, Qwen2::REGEX, Tekken::REGEX].map(|regex| Regex::new(regex).unwrap());
    }
    REGEXES.with(|[o200k, cl100k, llama3, qwen2, tekken]| {
        check::<O200k>(o200k, text);
        check::<Cl100k>(cl100k, text);
        check::<Llama3>(llama3, text);
        check::<Qwen2>(qwen2, text);
        check::<Tekken>(tekken, text);
    });
    DEEPSEEK.with(|regexes| {
        assert_eq!(words(text, deepseek::next), split_in_turn(regexes, text), "DeepSeek, {text:?}");
    });
}

#[test]
fn named_cases() {
    for text in [
        "",
        "Hello, world! It's 12345 o'clock; I'LL say 'so' and we'Ve don'ſ.",
        "camelCase HTTPServer ABC漢D xǅy ʰA \u{301}A \u{301}\u{301}a a\u{301}b !\u{301}a  \u{301}",
        "a  b\t\tc\u{a0}\u{a0}d \r\n\r\n  e\n \n  ",
        "!!\n//\n/ x //\r\n 'll 's' 'S ''s",
        "１２３４५६ ⅣⅤ 1漢2 １a",
        "漢字かな交じり文。日本語 한국어 العربية हिन्दी 😀👍🏽 🇩🇪",
        "  \n",
        "\n  ",
        " \u{2003}",
        "\u{2003}\n",
        " a",
        "  a",
        "   1",
        "\u{85}\u{2028}x",
        "<|endoftext|>",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaA",
        "aaaaaaaé",
        "AAAAAAAAAé'",
        "a'",
        "a'l",
        "a'é",
        "a  12  漢 ・ア゛ー゠\u{3040}\u{3099}か x・y",
        "\u{1}\u{1}\u{1}a\u{1}\u{1}1\u{1} \u{301}\u{1}\u{301}",
        "-foo --bar +é ·foo \r\n.\r\n\u{9fa5}\u{9fa6}",
    ] {
        check_all(text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn like_the_regular_expressions(text in "[aAbzZ09' \t\r\n/!._\u{301}éÉǅʰ漢ア・ｱ１²ſ\u{1}\u{a0}\u{2028}😀𝒜𐐀]{0,24}") {
        check_all(&text);
    }

    #[test]
    fn like_them_on_any_characters(text in any::<String>()) {
        check_all(&text);
    }

    #[test]
    fn like_them_on_ascii(text in "[ -~]{40,90}|[a-zA-Z0-9+/]{60,90}|[aB1 +/'\t\n]{40,90}|[a1 ]{60,90}") {
        check_all(&text);
    }

    #[test]
    fn like_them_on_bytes_that_are_no_text(bytes in prop::collection::vec(any::<u8>(), 60..200)) {
        check_all(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn like_them_on_text_with_some_beyond_ascii(
        text in "([aB1. /'\t\n\u{fffd}]{3,12}([\u{fffd}éÉʰא\u{301}٣\u{a0}\u{85}·ſ€漢😀𝒜𐐀ǅ\u{7ff}\u{10ffff}]|'[sTV]|\n/|\u{fffd}\n)){4,16}"
    ) {
        check_all(&text);
    }

    #[test]
    fn like_them_on_english(text in "(( |  |\n|\t|)('?[A-Z]{0,2}[a-z]{0,12}('s|'ll|'RE|'|)|[0-9]{1,5}|[-.,;/]{1,3})){0,12}") {
        check_all(&text);
    }
}
