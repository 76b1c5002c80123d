//! A text without what stands in quotes: from the first quote to the last of its possible ends, since what is quoted may have
//! quotes of its own, and one that has no partner would turn inside and outside about. A quote that nothing closes hides the
//! rest.
//!
//! It knows the quotes of Europe's and East Asia's languages and Python's `b'…'`; a quote written as a code (`&quot;`, `\u0022`)
//! is none to it. Each kind is looked for from the end, and then comes no more, so that the time is linear in the text.

/// How much of a text is looked at. Characters.
const LOOKED_AT: usize = 2048;
/// Those that stand inside words, too.
const APOSTROPHES: &str = "'’´";
/// Those that open nothing where they end what another opened.
const NOTHING_BUT_ENDS: &str = "”」』";
/// Letters that say of what type the string behind them is: `b'…'`, `rb'…'`, `u'…'`.
const PREFIXES: &str = "bBfFrRuU";

/// The text without what stands in quotes, its letters as plain as they can be made, cut between two words.
pub(super) fn unquoted(text: &str) -> String {
    let letters: Vec<char> = text.chars().take(LOOKED_AT).filter_map(plainly).collect();
    let mut plain = String::new();
    let mut at = 0;
    while let Some(&c) = letters.get(at) {
        match closing(&letters, at) {
            Some(end) => {
                plain.push('…');
                at = end;
            }
            None => plain.push(c),
        }
        at += 1;
    }
    if text.chars().nth(LOOKED_AT).is_some() {
        // Half a key may look like none.
        plain.truncate(plain.trim_end_matches(|c: char| !c.is_whitespace()).len());
    }
    plain
}

/// Where that ends, if it is an opening quote: at the end where nothing closes it, and where the last that could close it looks as
/// if it opened another. An apostrophe inside a word or after it opens nothing.
fn closing(letters: &[char], at: usize) -> Option<usize> {
    let open = *letters.get(at)?;
    let ends = match open {
        '"' => "\"",
        '`' => "`",
        '“' => "”",
        '„' => "“”",
        '”' => "”",
        '‘' => "’",
        '‚' => "‘’",
        '«' | '»' => "«»",
        '‹' => "›",
        '「' => "」",
        '『' => "』",
        '\'' if is_beginning(letters, at) => "'",
        '´' if is_beginning(letters, at) => "´",
        _ => return None,
    };
    let is_letter = |at: usize| letters.get(at).is_some_and(|c| c.is_alphanumeric());
    let is_inside = |at: usize| is_letter(at - 1) && is_letter(at + 1);
    let is_end = |end: &usize| {
        let c = letters[*end];
        ends.contains(c) && !(APOSTROPHES.contains(c) && is_inside(*end))
    };
    let Some(end) = (at + 1..letters.len()).rev().find(is_end) else { return Some(letters.len()) };
    let is_sure = NOTHING_BUT_ENDS.contains(letters[end]) && letters[end] != open;
    Some(if is_sure || !(is_letter(end + 1) && is_beginning(letters, end)) { end } else { letters.len() })
}

/// Whether a word could begin there: no letter stands before it, or those of a string's type, or of an escape such as `\n`.
fn is_beginning(letters: &[char], at: usize) -> bool {
    let (before, _) = letters.split_at(at);
    let run = before.iter().rev().take(4).take_while(|c| c.is_alphanumeric()).count();
    let (before, mut word) = before.split_at(before.len() - run);
    if before.ends_with(&['\\']) {
        word = word.get(1..).unwrap_or_default();
    }
    word.len() <= 2 && word.iter().all(|c| PREFIXES.contains(*c))
}

/// That letter without disguise: wide ones as narrow ones, every dash as `-`, what nobody sees not at all.
fn plainly(c: char) -> Option<char> {
    match c {
        '\u{ad}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}'
        | '\u{feff}' => None,
        '\u{2010}'..='\u{2015}' | '\u{2212}' => Some('-'),
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0),
        c if c.is_control() => Some(' '),
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::unquoted;

    #[test]
    fn what_stands_in_any_quotes_is_left_out() {
        for (text, shown) in [
            ("body: b'my diary' refused", "body: b… refused"),
            ("u'my diary' r'my diary' rb'my' Rb'diary'", "u…"),
            ("x(f'my diary')", "x(f…)"),
            ("body:\\n'my diary' \\nb'my diary'", "body:\\n…"),
            ("prompt „my diary“ refused", "prompt … refused"),
            ("prompt „my diary” refused", "prompt … refused"),
            ("prompt ‚my diary‘ refused", "prompt … refused"),
            ("prompt ”my diary” refused", "prompt … refused"),
            ("prompt »my diary« refused", "prompt … refused"),
            ("prompt »my diary» refused", "prompt … refused"),
            ("prompt «my diary» refused", "prompt … refused"),
            ("prompt ‹my diary› refused", "prompt … refused"),
            ("prompt「my diary」refused", "prompt…refused"),
            ("prompt『my diary』refused", "prompt…refused"),
            ("prompt ´my diary´ refused", "prompt … refused"),
            ("prompt“my diary”refused", "prompt…refused"),
            ("„she said “hi” to me“ refused", "… refused"),
            ("nothing closes „my diary", "nothing closes …"),
            ("nothing closes b'my diary", "nothing closes b…"),
            ("nothing closes ´my diary", "nothing closes …"),
            ("nothing closes ”my diary", "nothing closes …"),
        ] {
            assert_eq!(unquoted(text), shown, "{text}");
        }
    }

    /// As where a text was cut: what the last quote opens is not what it closes.
    #[test]
    fn a_quote_that_opens_closes_nothing() {
        for text in [
            "model \"x\" refused \"my diary goes on",
            "model `x` refused `my diary goes on",
            "model 'x' refused 'my diary goes on",
            "model 'x' refused b'my diary goes on",
            "model \"x\" refused rb\"my diary goes on",
            "model „x” refused “my diary goes on",
            "model »x« refused »my diary goes on",
            "model ”x” refused ”my diary goes on",
        ] {
            let shown = unquoted(text);
            assert!(shown.starts_with("model …") && !shown.contains("diary"), "{text}: {shown}");
        }
    }

    #[test]
    fn apostrophes_stay() {
        for text in [
            "it doesn't, don't and it's not the users' own",
            "it doesn’t, don’t and it’s not the users’ own",
            "it doesn´t, don´t and it´s not the users´ own",
            "we'd say you're O'Brien's, at five o'clock",
        ] {
            assert_eq!(unquoted(text), text);
        }
    }

    #[test]
    fn a_text_of_quotes_alone_is_no_trouble() {
        for quote in "\"'`´“”„‚‘’«»‹›「」『』\\".chars() {
            for text in
                [quote.to_string(), quote.to_string().repeat(5_000), format!("b{quote}").repeat(2_000)]
            {
                assert!(unquoted(&text).len() <= 4 * 2_048, "{quote}");
            }
        }
    }
}
