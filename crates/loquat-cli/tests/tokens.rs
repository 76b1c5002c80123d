//! `loquat tokens`: numbers, pieces, rows and what bad input gets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::Program;

fn tokens(arguments: &[&str]) -> Program {
    Program::new([&["tokens"], arguments].concat())
}

#[test]
fn a_text_is_counted() {
    tokens(&[]).stdin("Hello, world!").run().check(0, "4\n", &[]);
    tokens(&["-m", "gpt-4", "-"]).stdin("Hello, world!").run().check(0, "4\n", &[]);
    tokens(&["--ids"]).stdin("Hello, world!").run().check(0, "13225 11 2375 0\n", &[]);
    tokens(&["--pieces"]).stdin("Hello, world!\né").run().check(0, "Hello|,| world|!⏎\n|é|\n5\n", &[]);
    tokens(&["--price", "2.5"]).stdin("Hello, world!").run().check(0, "4  0.000010\n", &[]);
    tokens(&["-m", "claude-sonnet-4-5"]).stdin("Hello, world!").run().check(0, "4–6\n", &[]);
    tokens(&[]).stdin("").run().check(0, "0\n", &[]);
}

/// Bytes, and one merge: `h i`.
fn tokenizer_json() -> tempfile::NamedTempFile {
    let letters = (0x21..=0x7E).chain(0xA1..=0xAC).chain(0xAE..=0xFF).chain(0x100..0x144);
    let letters = letters.map(|code| char::from_u32(code).unwrap().to_string());
    let vocab: serde_json::Map<_, _> =
        letters.chain(["hi".to_owned()]).zip(0..).map(|(text, id)| (text, id.into())).collect();
    let regex = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let json = serde_json::json!({
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
        ]},
        "model": {"type": "BPE", "vocab": vocab, "merges": [["h", "i"]]},
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json.to_string()).unwrap();
    file
}

#[test]
fn a_models_own_tokenizer_counts() {
    let file = tokenizer_json();
    let path = file.path().to_str().unwrap();
    tokens(&["--tokenizer", path]).stdin("hihi!").run().check(0, "3\n", &[]);
    tokens(&["--tokenizer", path, "--ids", "-m", "qwen3:8b"]).stdin("hi!").run().check(0, "256 0\n", &[]);
    // Whatever model is named beside it: the file says what a text's tokens are.
    for model in ["gpt-4o", "gpt-4", "gpt-oss:20b", "claude-sonnet-4-5", "something-new"] {
        tokens(&["--tokenizer", path, "-m", model]).stdin("hihi!").run().check(0, "3\n", &[]);
    }
    std::fs::write(path, r#"{"normalizer":{"type":"Lowercase"},"model":{"type":"BPE"}}"#).unwrap();
    let named = format!("{path}: this tokenizer file cannot be used");
    tokens(&["--tokenizer", path]).stdin("hi").run().check(2, "", &[&named]);
    tokens(&["--tokenizer", "/no/such/file"]).stdin("hi").run().check(2, "", &["cannot read /no/such/file"]);
}

#[test]
fn user_text_stays_text() {
    tokens(&["--ids"]).stdin("<|endoftext|>").run().check(0, "27 91 419 1440 919 91 29\n", &[]);
}

#[test]
fn a_request_is_counted_by_message() {
    let request = r#"{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"hi"}]}"#;
    let ran = tokens(&["--messages"]).stdin(request).run();
    let expected = "system                 7  Be brief.\nuser                   5  hi\n\
        around                 3  what the provider adds once\n15\n";
    ran.check(0, expected, &[]);

    // Where Anthropic has the instructions, as a text and as parts.
    for system in [r#""Be brief.""#, r#"[{"type":"text","text":"Be brief."}]"#] {
        let request = format!(r#"{{"system":{system},"messages":[{{"role":"user","content":"hi"}}]}}"#);
        tokens(&["--messages"]).stdin(request).run().check(0, expected, &[]);
    }
    tokens(&["--messages"]).stdin(r#"{"system":7,"messages":[]}"#).run().check(
        2,
        "",
        &["system: its content"],
    );
    // A schema is written out for the model.
    let form = r#"{"messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object"}}}}"#;
    let ran = tokens(&["--messages"]).stdin(form).run();
    ran.check(
        0,
        "user                   5  hi\naround              3–53  what the provider adds once\n8–58\n",
        &[],
    );
}

/// A picture is no empty text: it is counted by its size where that can be seen, else between what it can be.
#[test]
fn what_is_no_text_is_counted_or_named() {
    let with =
        |part: &str| format!(r#"[{{"role":"user","content":[{{"type":"text","text":"hi"}},{part}]}}]"#);
    let total = |part: &str, model: &str| {
        let ran = tokens(&["--messages", "-m", model]).stdin(with(part)).run();
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        ran.stdout.lines().last().unwrap().to_owned()
    };
    assert_eq!(total(r#"{"type":"text","text":""}"#, "gpt-4o"), "8");
    // A GIF of 4 x 3 pixels, as far as its head says: one tile at most. No picture has fewer than 70 tokens.
    let small = r#"{"type":"image_url","image_url":{"url":"data:image/gif;base64,R0lGODlhBAADAA=="}}"#;
    let far = r#"{"type":"image_url","image_url":{"url":"https://example.com/cat.png"}}"#;
    for part in [small, far] {
        let total = total(part, "gpt-4o");
        let least: u64 =
            total.split(|c: char| !c.is_ascii_digit()).find(|n| !n.is_empty()).unwrap().parse().unwrap();
        assert!(least > 70, "{total}");
    }
    assert_ne!(total(small, "gpt-4o"), total(far, "gpt-4o"));
    for (part, why) in [
        (r#"{"type":"hologram"}"#, "message 1: what `hologram` costs is not known here"),
        (r#"{"type":"image_url","image_url":{"url":"data:image/gif;base64,%%%"}}"#, "no base64"),
        (r#"{"type":"input_audio","input_audio":{"data":"%"}}"#, "no base64"),
        (r#"{"type":"text","text":5}"#, "has no text"),
        (r#""long""#, "no object"),
    ] {
        tokens(&["--messages"]).stdin(with(part)).run().check(2, "", &[why]);
    }
}

#[test]
fn no_message_is_taken_for_an_empty_one() {
    let image = r#"[{"type":"image_url","image_url":{"url":"https://example.com/cat.png"}}]"#;
    for (message, why) in [
        (
            r#"{"role":"user","content":{"type":"text","text":"long"}}"#.to_owned(),
            "neither a text nor a list",
        ),
        (format!(r#"{{"role":"tool","tool_call_id":"c","content":{image}}}"#), "as text alone"),
        ("null".to_owned(), "message 1: it is no object"),
        ("\"hi\"".to_owned(), "message 1: it is no object"),
    ] {
        tokens(&["--messages"]).stdin(format!("[{message}]")).run().check(2, "", &[why]);
    }
}

#[test]
fn bad_input_is_named() {
    tokens(&[]).stdin(b"a\xff").run().check(2, "", &["not UTF-8 from byte 1"]);
    tokens(&["/no/such/file"]).run().check(2, "", &["cannot read /no/such/file"]);
    tokens(&["--messages"]).stdin("[").run().check(2, "", &["no JSON"]);
    tokens(&["--messages"]).stdin("{}").run().check(2, "", &["no list `messages`"]);
    tokens(&["--ids", "-m", "gemini-2.5-pro"]).stdin("x").run().check(
        2,
        "",
        &["leave --ids and --pieces out"],
    );
    tokens(&["--price", "much"]).run().check(2, "", &["a price is a number"]);
}
