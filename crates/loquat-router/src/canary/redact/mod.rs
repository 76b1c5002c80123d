//! A provider's error for somebody else's eyes: its beginning, without what it may have repeated of a request.
//!
//! Left out are what stands in quotes, people's addresses, and words that are keys: by how they begin (`sk-`, wherever in a word
//! that is), by how long and mixed they are, or because the word before says so (`Bearer X`, `key: X`, `token=X`). A word goes as a
//! whole, brackets and all. It does not know which words are English: a key of a few letters that nothing announces stays. Nor
//! is it for content, which has no business in an error; that is `loquat-observe`'s capture.

mod quotes;

use quotes::unquoted;

/// How much of a text is shown. Bytes.
const SHOWN: usize = 200;

/// How keys begin: OpenAI and those who took after it, Groq, xAI, Hugging Face, Replicate, Perplexity, NVIDIA, Stripe, GitHub, GitLab,
/// Slack, webhooks. What others have (`AIza…`, `eyJ…`) is long and mixed.
const PREFIXES: &[&str] = &[
    "sk-",
    "sk_",
    "pk-",
    "pk_",
    "rk-",
    "rk_",
    "gsk_",
    "csk-",
    "xai-",
    "hf_",
    "r8_",
    "pplx-",
    "nvapi-",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "whsec_",
];
/// Words that say that a key follows.
const LABELS: &[&str] = &[
    "key",
    "api_key",
    "api-key",
    "x-api-key",
    "apikey",
    "token",
    "access_token",
    "secret",
    "password",
    "passwd",
    "authorization",
    "credential",
    "bearer",
    "basic",
    "signature",
];
/// Of these, those that say so without a colon.
const SCHEMES: &[&str] = &["bearer", "basic"];
/// How many words may stand between a label and its colon: "API key provided: X".
const BETWEEN: u32 = 2;

/// The beginning of an error's text, in one line of at most 200 bytes.
pub(super) fn redacted(text: &str) -> String {
    let plain = unquoted(text);
    let mut short = String::new();
    let (mut announced, mut since_label) = (false, u32::MAX);
    for word in plain.split_whitespace() {
        let hidden =
            word.contains('@') || is_key(word) || holds_value(word) || (announced && !is_ordinary(word));
        if !short.is_empty() {
            short.push(' ');
        }
        short.push_str(if hidden { "…" } else { word });
        let label = bare(word).to_ascii_lowercase();
        let label = label.rsplit(['=', ':', ',', '(', '[', '{']).next().unwrap_or_default();
        since_label = if LABELS.contains(&label) { 0 } else { since_label.saturating_add(1) };
        announced = SCHEMES.contains(&label) || (since_label <= BETWEEN && word.ends_with([':', '=', '>']));
    }
    short.truncate(short.floor_char_boundary(SHOWN));
    short
}

/// A word without the brackets and stops around it.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| "()[]{}<>,.;:!?'…".contains(c))
}

fn is_key(word: &str) -> bool {
    let bare = bare(word);
    let digits = bare.bytes().filter(u8::is_ascii_digit).count();
    (bare.len() >= 12 && digits >= 2)
        || bare.len() >= 24
        || is_mixed(bare)
        || starts(word).any(|rest| PREFIXES.iter().any(|prefix| begins(rest, prefix)))
}

/// Letters and digits in turns, as no word and no version has them.
fn is_mixed(word: &str) -> bool {
    word.split(|c: char| !c.is_ascii_alphanumeric()).any(|run| {
        let turns = run
            .as_bytes()
            .windows(2)
            .filter(|two| two[0].is_ascii_digit() != two[1].is_ascii_digit())
            .count();
        run.len() >= 8 && turns >= 3
    })
}

/// Wherever in a word another could begin: at its own beginning, after what is no letter and no digit, and after such a thing as
/// JSON and addresses write it.
fn starts(word: &str) -> impl Iterator<Item = &str> {
    word.char_indices().filter_map(|(at, _)| {
        let before = &word[..at];
        let is_start = !before.ends_with(char::is_alphanumeric)
            || ["\\n", "\\r", "\\t", "\\b", "\\f"].iter().any(|escape| before.ends_with(escape))
            || is_code(before, "%", 2)
            || is_code(before, "\\u", 4);
        is_start.then(|| &word[at..])
    })
}

/// Whether that ends in `mark` and so many hexadecimal digits.
fn is_code(text: &str, mark: &str, digits: usize) -> bool {
    let Some(at) = text.len().checked_sub(digits) else { return false };
    text.is_char_boundary(at)
        && text[at..].bytes().all(|byte| byte.is_ascii_hexdigit())
        && text[..at].ends_with(mark)
}

fn begins(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// `token=X`, `key:X`: the label and its value in one word.
fn holds_value(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    lower.match_indices(['=', ':']).any(|(at, joint)| {
        let is_label =
            starts(&lower[..at]).any(|label| LABELS.contains(&label.trim_end_matches(['"', '\'', '…'])));
        let value = bare(&word[at + 1..]);
        is_label && !value.is_empty() && (joint == "=" || !is_ordinary(value))
    })
}

/// A word as sentences have them, or a small number.
fn is_ordinary(word: &str) -> bool {
    let word = bare(word);
    let is_number = word.len() <= 5 && word.bytes().all(|byte| byte.is_ascii_digit());
    let mut letters = word.chars().filter(|c| *c != '-' && *c != '\'');
    let is_word = word.chars().all(|c| c.is_alphabetic() || c == '-' || c == '\'');
    let first = letters.next().is_some_and(char::is_uppercase);
    is_number
        || (is_word && (letters.clone().all(char::is_lowercase)))
        || (is_word && first && word.len() <= 5 && letters.all(char::is_uppercase))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::redacted;

    proptest! {
        /// Whatever a provider says: bounded, in one line, and nothing that stood in quotes or looked like a key.
        #[test]
        fn any_error_is_short_and_says_nothing_of_anybody(
            before in "[^\"`“']{0,80}", said in "[a-z]{10,60}", digits in "[0-9]{2,9}", after in any::<String>(),
            quotes in prop::sample::select(vec![
                ("\"", "\""), ("`", "`"), ("“", "”"), ("„", "“"), ("”", "”"), ("«", "»"), ("»", "«"), ("‹", "›"),
                ("‚", "‘"), ("「", "」"), ("『", "』"), ("´", "´"), ("'", "'"), ("b'", "'"), ("u'", "'"),
            ]),
        ) {
            let text = format!(
                "{before} {}{said}{} {said}{digits} sk-{digits} {said}@{said} {after}", quotes.0, quotes.1
            );
            let shown = redacted(&text);
            prop_assert!(shown.len() <= 200, "{} bytes", shown.len());
            prop_assert!(!shown.chars().any(char::is_control), "{shown:?}");
            if !before.contains(&said) && !after.contains(&said) {
                prop_assert!(!shown.contains(&said), "{said} in {shown:?}");
            }
            prop_assert!(!shown.split(' ').any(|word| word.starts_with("sk-")), "{shown:?}");
        }

        /// However short a key is and whatever stands around it, in one word or beside it: it does not come out.
        #[test]
        fn no_bracket_hides_a_key(
            prefix in prop::sample::select(vec!["sk-", "SK-", "sk_", "gsk_", "xai-", "hf_", "ｓｋ－", "s\u{200b}k-"]),
            opening in "[\\(\\[\\{<=:,;|/&*#!?~^$%.…-]{0,4}", closing in "[\\)\\]}>=:,;|/&*#!?~^$%.…-]{0,4}",
            lead in prop::sample::select(vec!["", "word ", "wörd", "\\n", "\\u0022", "%22", "&quot;", "x'"]),
        ) {
            let is_joined = lead == "wörd" && opening.is_empty();
            let text = format!("refused: {lead}{opening}{prefix}qzj{closing} given");
            let shown = redacted(&text);
            prop_assert!(is_joined || !shown.contains("qzj"), "{text:?}: {shown:?}");
        }
    }

    #[test]
    fn what_a_request_said_is_not_repeated() {
        for (text, shown) in [
            ("invalid prompt \"my secret diary\" refused", "invalid prompt … refused"),
            ("it doesn't know 'Alice' or `x`", "it doesn't know … or …"),
            ("unterminated \"quote goes on", "unterminated …"),
            ("expected \" but got \"my diary\"", "expected …"),
            ("invalid \"he said \"hi\" to me\" there", "invalid … there"),
            ("prompt ‘it’s mine’ and «z», ＂wide＂ too", "prompt … and …, … too"),
            ("'it's mine' isn't the users' own", "… own"),
            ("wrong key sk-abc for bob@example.com", "wrong key … for …"),
            ("wrong key sk-abc for (bob@example.com),", "wrong key … for …"),
            ("request req_011CQ8example9 failed", "request … failed"),
            ("key (sk-abc) is wrong", "key … is wrong"),
            ("[sk-abc] {sk-abc} <sk-abc> ((sk-abc)),", "… … … …"),
            ("key=sk-abc. key:sk-abc; -sk-abc *sk-abc* sk-abc,", "… … … … …"),
            ("SK-ABC Sk-Abc sk_abc (sk–abc) (ｓｋ－abc) (s\u{ad}k-abc)", "… … … … … …"),
            ("at https://h/?k=sk-abc", "at …"),
            ("body: {\\nsk-abc} %22sk-abc%22 \\u0022sk-abc", "body: … … …"),
            ("token=hunter password=x api_key=abc x-api-key:a1", "… … … …"),
            ("Authorization: Bearer a1b2 (Bearer x9)", "Authorization: Bearer … (Bearer …"),
            ("Incorrect API key provided: hunter2.", "Incorrect API key provided: …"),
            ("the token: xK9 of (key): 1a", "the token: … of (key): …"),
            ("id a1b2c3d4 of abcdef123456", "id … of …"),
            ("(abcdefghijklmnopqrstuvwx)", "…"),
        ] {
            assert_eq!(redacted(text), shown, "{text}");
        }
        assert!(redacted(&"é ".repeat(400)).len() <= 200);
    }

    #[test]
    fn ordinary_words_stay() {
        for text in [
            "the server failed (HTTP 500)",
            "risk-free task-force (ask-me) disk-full [desk-bound] mask-",
            "no such model (gpt-4o) or llama3, HTTP/2: utf-8",
            "error: (context_length_exceeded): 8192 tokens, 9000 given",
            "unexpected token: expected a comma at position: 42",
            "a bearer token is needed; Basic auth is off",
            "the API key: missing. The password is wrong",
            "x-request-id [v1/chat] p50=20ms, it's 30% (of 4)",
            "rate limit reached: try again in 20s (limit: 60 / min)",
        ] {
            assert_eq!(redacted(text), text);
        }
    }

    #[test]
    fn a_key_that_the_end_cuts_does_not_come_out() {
        for cut in 0..14 {
            // All before it is one redacted word, so that the cut place would be seen.
            let long = format!("{} abc123def456", "x".repeat(2048 - 1 - cut));
            assert!(!redacted(&long).contains("abc1"), "{cut}: {}", redacted(&long));
        }
    }
}
