//! A provider's error for somebody else's eyes: its beginning, without what it may have repeated of a request.
//!
//! Left out are what stands in quotes, people's addresses, and words that are keys: by how they begin (`sk-`, wherever in a word
//! that is), by how long and mixed they are, or because the words before say so: whatever follows `password:`, `secret:` or
//! `signature:`, whatever follows `=` after any label (`accessToken=X`), and what no sentence would have after `key:`, `token:`
//! and `Bearer`. A word goes as a whole, brackets and all.
//!
//! It does not know which words are English, so that some things stay: a lower-case word after `key:`, `token:` or `Bearer` ("API
//! key: missing"), any ordinary word or small number after "key provided:", all ordinary words in prose ("context token limit
//! exceeded", "the password is hunter"), all but the first word of a password of several, and a key of a few letters that nothing
//! announces. Nor is it for content, which has no business in an error; that is `loquat-observe`'s capture.

mod labels;
mod quotes;

use labels::{Labels, bare};
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

/// The beginning of an error's text, in one line of at most 200 bytes.
pub(super) fn redacted(text: &str) -> String {
    let plain = unquoted(text);
    let mut short = String::new();
    let mut labels = Labels::new();
    for word in plain.split_whitespace() {
        let is_value = labels.hides(word);
        if !short.is_empty() {
            short.push(' ');
        }
        short.push_str(if is_value || word.contains('@') || is_key(word) { "…" } else { word });
    }
    short.truncate(short.floor_char_boundary(SHOWN));
    short
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
            ("password: topsecret", "password: …"),
            ("the password: correct-horse, (passwd): hunter", "the password: … (passwd): …"),
            ("pwd: hunter secret: ABCDE Signature: abc", "pwd: … secret: … Signature: …"),
            ("password for bob: hunter", "password for bob: …"),
            ("password : hunter passphrase => hunter", "password : … passphrase => …"),
            ("password:hunter <secret>hunter</secret> clientSecret:x", "… … …"),
            ("clientSecret: x userPassword: x DB_PASSWD: x", "clientSecret: … userPassword: … DB_PASSWD: …"),
            ("accessToken=x secretAccessKey=x pwd=x params[authToken]=x", "… … … …"),
            ("token = hunter key= hunter token =hunter", "token = … key= … token …"),
            ("API key provided = hunter", "API key provided = …"),
            ("token: 1234 key: ABCDE apiKey: Hunter key :1234", "token: … key: … apiKey: … key …"),
            ("token:1234 key:ABCDE", "… …"),
            ("Bearer Hunter, Basic 1234", "Bearer … Basic …"),
            ("Authorization: Bearer hunter", "Authorization: Bearer …"),
            ("Authorization:Bearer hunter authorization=Basic hunter", "… … … …"),
            ("Proxy-Authorization: Token hunter", "Proxy-Authorization: Token …"),
            ("password: - hunter", "password: … …"),
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
            "context token limit exceeded; API key is missing or invalid",
            "invalid secret, no password given, signature mismatch",
            "max_tokens: 4096, tokens: 9000",
            "token limit reached: 8192 of 8192",
            "a Bearer Token or Basic Authentication is needed, or a basic plan",
            "keyboard: Hunter, tokenizer=bpe, secretary: Ann",
            // What nobody can tell from a sentence.
            "key: hunter token: well-formed Bearer hunter",
            "API key provided: Hunter",
            "the password is hunter",
            "x-request-id [v1/chat] p50=20ms, it's 30% (of 4)",
            "rate limit reached: try again in 20s (limit: 60 / min)",
        ] {
            assert_eq!(redacted(text), text);
        }
    }

    /// A word of 2,048 joints or labels is looked at once.
    #[test]
    fn nothing_is_too_odd() {
        for part in ["key:", "=", ":", "key=(", "key:(", "(", "é=", ">", "password", "a:", "…", "\\", "key:…"]
        {
            for text in
                [part.repeat(2_000), format!("{part} ").repeat(1_000), format!("key:{}x", part.repeat(500))]
            {
                assert!(redacted(&text).len() <= 200, "{part}");
            }
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
