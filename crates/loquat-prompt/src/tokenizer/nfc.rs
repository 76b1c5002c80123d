//! Unicode's normal form C, which some vocabularies want text in (Unicode Standard Annex #15).
//!
//! Of Unicode 9, whose tables Hugging Face's library has: models were trained on what it makes of text. Marks that came later combine with
//! nothing and stay where they are, though Unicode has an order for them now.
//!
//! Nearly all text is in that form already, so what costs is to find that out: [`normal`] looks at characters one by one only where
//! they are beyond the ranges in which nothing combines.

use std::borrow::Cow;

use unicode_normalization_alignments::{IsNormalized, UnicodeNormalization as _, is_nfc_quick};

/// `text` in normal form C; borrowed where it is.
pub(super) fn normal(text: &str) -> Cow<'_, str> {
    if is_normal(text) { Cow::Borrowed(text) } else { Cow::Owned(text.nfc().map(|(c, _)| c).collect()) }
}

/// Whether `text` is certainly in normal form C.
pub(super) fn is_normal(text: &str) -> bool {
    if text.is_ascii() {
        return true;
    }
    let mut rest = text;
    // Up to the next character that may combine, and from there to the next that does not: nothing beyond changes the answer.
    while let Some(start) = rest.find(|c| !is_simple(c)) {
        rest = rest.get(start..).unwrap_or_default();
        let end = rest.find(is_simple).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        if is_nfc_quick(part.chars()) != IsNormalized::Yes {
            return false;
        }
        rest = after;
    }
    true
}

/// Whether `c` combines with nothing before it and is its own normal form, whatever is around: all below the first combining
/// mark, the letters of Cyrillic, ideographs, kana but for their marks, and Hangul syllables.
fn is_simple(c: char) -> bool {
    matches!(c, ..'\u{300}' | '\u{400}'..='\u{482}' | '\u{3041}'..='\u{3096}' | '\u{30A0}'..='\u{30FF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{AC00}'..='\u{D7A3}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_simple_ones_are() {
        for c in (0..=0x10_FFFF).filter_map(char::from_u32).filter(|c| is_simple(*c)) {
            assert_eq!(is_nfc_quick([c].into_iter()), IsNormalized::Yes, "{c:?}");
            assert_eq!(unicode_normalization_alignments::char::canonical_combining_class(c), 0, "{c:?}");
        }
    }

    #[test]
    fn text_is_brought_into_the_form() {
        let check = |text: &str, expected: &str| {
            assert_eq!(normal(text), expected, "{text:?}");
            assert_eq!(is_normal(text), text == expected, "{text:?}");
        };
        check("plain", "plain");
        check("é漢字かな한글ЖЁ", "é漢字かな한글ЖЁ");
        check("e\u{301}", "é");
        check("漢e\u{301}字", "漢é字");
        check("か\u{3099}", "が");
        check("ᄒ\u{1161}\u{11ab}", "한");
        check("\u{212b}\u{2126}", "ÅΩ");
        check("a\u{328}\u{301}", "ą\u{301}");
        check("a\u{301}\u{328}", "ą\u{301}");
        check("\u{958}", "\u{915}\u{93c}");
        // A mark of Unicode 11, of a class below the other's; and one of Unicode 9, which is put in its place.
        check("x\u{822}\u{10f47}", "x\u{822}\u{10f47}");
        check("x\u{822}\u{59a}", "x\u{59a}\u{822}");
    }
}
