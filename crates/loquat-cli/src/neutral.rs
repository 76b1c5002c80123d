//! Text from elsewhere, made harmless for a terminal.
//!
//! A model's answer is data, yet a terminal obeys it: ESC and the C1 controls move the cursor, set the title, answer
//! back into the input, and bidirectional overrides make a line read other than it is ("Trojan Source",
//! <https://trojansource.codes/>). Here each such character becomes a visible one. No escape sequence has to be
//! understood for that, so none can be missed, whatever the borders between deltas.

/// Makes a stream of text harmless for a terminal; `\n`, `\t` and the `\r` of `\r\n` stay what they mean.
#[derive(Debug, Default)]
pub(crate) struct Neutralizer {
    /// A `\r` ended the last piece: whether it belongs to a line end is seen with the next.
    pending_return: bool,
}

impl Neutralizer {
    /// Appends the next piece to `out`.
    pub(crate) fn push(&mut self, piece: &str, out: &mut String) {
        for c in piece.chars() {
            if std::mem::take(&mut self.pending_return) && c != '\n' {
                show('\r', out);
            }
            match c {
                '\r' => self.pending_return = true,
                '\n' | '\t' => out.push(c),
                c => show(c, out),
            }
        }
    }

    /// Appends what was held back: no further piece comes.
    pub(crate) fn finish(&mut self, out: &mut String) {
        if std::mem::take(&mut self.pending_return) {
            show('\r', out);
        }
    }
}

/// A whole text of any lines.
pub(crate) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut neutralizer = Neutralizer::default();
    neutralizer.push(text, &mut out);
    neutralizer.finish(&mut out);
    out
}

/// A text of one line: line ends and tabs are shown, too, so that nothing can be forged below it.
pub(crate) fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        show(c, &mut out);
    }
    out
}

/// A text of several lines, the second and later ones set in, so that none can pass for a line of ours.
pub(crate) fn paragraph(said: &str) -> String {
    text(said.trim_end()).replace('\n', "\n    ")
}

/// Whether a terminal acts on that character, or a reader is misled by it. The marks U+061C, U+200E and U+200F stay: they stand in
/// ordinary Arabic and Hebrew, and none turns a whole span of text round.
pub(crate) fn is_active(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// C0 and DEL as their pictures (U+2400 block), C1 and bidirectional controls as `\u{…}`; all else as it is.
fn show(c: char, out: &mut String) {
    match c {
        '\0'..='\u{1f}' => out.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}')),
        '\u{7f}' => out.push('\u{2421}'),
        c if is_active(c) => out.extend(c.escape_unicode()),
        c => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(pieces: &[&str]) -> String {
        let (mut neutralizer, mut out) = (Neutralizer::default(), String::new());
        for piece in pieces {
            neutralizer.push(piece, &mut out);
        }
        neutralizer.finish(&mut out);
        out
    }

    #[test]
    fn known_attacks_become_visible() {
        for (pieces, shown) in [
            (&["\u{1b}]0;title\u{7}"][..], "␛]0;title␇"),
            (&["\u{1b}", "[2J"], "␛[2J"),
            (&["\u{9b}2J"], "\\u{9b}2J"),
            (&["safe\rEVIL"], "safe␍EVIL"),
            (&["a\r", "\nb\r\n"], "a\nb\n"),
            (&["end\r"], "end␍"),
            (&["\r", "\r\n"], "␍\n"),
            (&["a\u{8}\u{7f}b"], "a␈␡b"),
            (&["/*\u{202e} }\u{2066}if\u{2069}"], "/*\\u{202e} }\\u{2066}if\\u{2069}"),
            (&["tab\tand\nline, żółć, עברית, 👩‍👩‍👧"], "tab\tand\nline, żółć, עברית, 👩‍👩‍👧"),
        ] {
            assert_eq!(whole(pieces), shown);
        }
        assert_eq!(line("a\n\u{1b}b\t"), "a␊␛b␉");
        assert_eq!(paragraph("a\nerror: forged\r\n"), "a\n    error: forged");
    }

    /// Mostly what is dangerous, so that few cases find much.
    fn hostile() -> impl Strategy<Value = String> {
        let dangerous =
            proptest::sample::select(vec!['\u{1b}', '\r', '\n', '\u{9b}', '\u{7f}', '\u{202e}', '\0']);
        proptest::collection::vec(prop_oneof![dangerous, any::<char>()], 0..40)
            .prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        #[test]
        fn nothing_active_passes_and_borders_do_not_matter(pieces in proptest::collection::vec(hostile(), 0..6)) {
            let borrowed: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let shown = whole(&borrowed);
            prop_assert!(!shown.chars().any(|c| is_active(c) && c != '\n' && c != '\t'), "{shown:?}");
            prop_assert_eq!(&shown, &whole(&[&pieces.concat()]));
            prop_assert!(!line(&pieces.concat()).chars().any(is_active));
        }

        #[test]
        fn harmless_text_is_not_touched(text in "[^\\p{Cc}\\p{Cf}]*") {
            prop_assert_eq!(whole(&[&text]), text);
        }
    }
}
