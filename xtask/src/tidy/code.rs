//! Rust source with its comments and literals blanked out, so that a search finds code and not prose about code.
//!
//! Not a parser: just enough of the lexical grammar (Rust reference, "Comments", "Tokens") to know where code is. Lines keep
//! their numbers.

/// The text with every comment, string and character literal replaced by spaces.
pub(crate) fn only(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    let mut after_word = false;
    while let Some(c) = rest.chars().next() {
        let skipped = skipped(rest, after_word);
        let (taken, keep) = if skipped > 0 { (skipped, false) } else { (c.len_utf8(), true) };
        let (piece, tail) = rest.split_at(taken);
        if keep {
            out.push_str(piece);
        } else {
            out.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        after_word = keep && (c.is_alphanumeric() || c == '_');
        rest = tail;
    }
    out
}

/// The source's own lines of code before its module of unit tests: what a user of the crate runs.
pub(crate) fn without_tests(source: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut code = only(source);
    let starts_module = |at: &usize| code[at + MARK.len()..].trim_start().starts_with("mod ");
    let end = code.match_indices(MARK).map(|(at, _)| at).find(starts_module);
    code.truncate(end.unwrap_or(code.len()));
    code
}

/// Where `word` occurs as a word of its own, as line numbers from 1.
pub(crate) fn lines_with(code: &str, word: &str) -> Vec<usize> {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let (opens, ends) = (word.starts_with(part_of_word), word.ends_with(part_of_word));
    let hit = |line: &str| {
        line.match_indices(word).any(|(at, _)| {
            let before = opens && line[..at].ends_with(part_of_word);
            let after = ends && line[at + word.len()..].starts_with(part_of_word);
            !before && !after
        })
    };
    code.lines().enumerate().filter(|(_, line)| hit(line)).map(|(at, _)| at + 1).collect()
}

/// How many bytes at the start of `rest` are a comment or a literal.
fn skipped(rest: &str, after_word: bool) -> usize {
    let bytes = rest.as_bytes();
    match bytes {
        [b'/', b'/', ..] => rest.find('\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => quoted(bytes, 1),
        [b'b' | b'c', b'"', ..] if !after_word => quoted(bytes, 2),
        [b'r', b'"' | b'#', ..] if !after_word => raw(rest, 1),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !after_word => raw(rest, 2),
        [b'b', b'\'', ..] if !after_word => 1 + character(&rest[1..]),
        [b'\'', ..] => character(rest),
        _ => 0,
    }
}

fn block_comment(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let (mut depth, mut at) = (0_usize, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// A string whose opening quote ends at `at`; a backslash protects the byte after it.
fn quoted(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `r"…"` or `r##"…"##` whose hashes begin at `at`; a raw identifier (`r#type`) is no literal.
fn raw(rest: &str, at: usize) -> usize {
    let hashes = rest[at..].bytes().take_while(|byte| *byte == b'#').count();
    let Some(body) = rest[at + hashes..].strip_prefix('"') else { return 0 };
    let close = format!("\"{}", "#".repeat(hashes));
    body.find(&close).map_or(rest.len(), |end| at + hashes + 1 + end + close.len())
}

/// `'x'`, `'\n'`, `'\u{1F600}'`; a lifetime is no literal.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            // The escaped character itself may be a quote.
            let body = chars.nth(1).map_or(rest.len(), |(at, _)| at);
            rest[body..].find('\'').map_or(rest.len(), |end| body + end + 1)
        }
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of code that remain.
    fn check(source: &str, expected: &str) {
        let code = only(source);
        assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{source}");
        assert_eq!(code.lines().count(), source.lines().count(), "lines keep their numbers: {source}");
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        check("a // unsafe\nb", "a b");
        check("a /* x /* nested */ y */ b", "a b");
        check(r#"a "unsafe \" still" b"#, "a b");
        check(r###"a r#"unsafe "quoted" "# b"###, "a b");
        check(r#"a b"bytes" c"c" br"raw" d"#, "a d");
        check("let s = \"two\nlines\"; x", "let s = ; x");
        check("a '\"' b '\\'' c '\\u{41}' d 'é' e", "a b c d e");
        check("fn f<'a>(x: &'a str) -> &'static str {}", "fn f<'a>(x: &'a str) -> &'static str {}");
        check("r#type crate_r\"x\"", "r#type crate_r");
        check("\"unclosed", "");
        check("/* unclosed", "");
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(lines_with("unsafe {\n}\nunsafe_code\nnot_unsafe\n(unsafe)", "unsafe"), [1, 5]);
        assert_eq!(lines_with("std::net::x\nmystd::net", "std::net"), [1]);
        assert_eq!(lines_with("#[ignore]\n#[ignored]", "#[ignore"), [1]);
    }

    #[test]
    fn tests_are_cut_off() {
        assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {}").trim(), "a");
        assert_eq!(without_tests("// #[cfg(test)]\na").trim(), "a");
        assert_eq!(without_tests("#[cfg(test)]\nuse a;\nb").lines().last(), Some("b"));
    }
}
