//! What a request may ask for besides words, in every format: said where the format has a place for it, refused where leaving
//! it out would change the meaning, left out where it is only a hint.

use loquat_core::{CacheHint, ChatRequest, ErrorKind, JsonText, Media, Message, Part, Tool};
use loquat_provider::{
    ANTHROPIC_MESSAGES, AZURE_OPENAI_DEPLOYMENT, BEDROCK_CONVERSE, COHERE_CHAT, DASHSCOPE, Format, GEMINI,
    GEMINI_INTERACTIONS, OLLAMA_CHAT, OLLAMA_GENERATE, OPENAI_CHAT, OPENAI_COMPATIBLE, OPENAI_COMPLETIONS,
    OPENAI_RESPONSES,
};

fn request() -> ChatRequest {
    ChatRequest::new("m").with_user("hi")
}

/// The body, or that it was refused as unsupported.
fn written(format: &dyn Format, request: &ChatRequest) -> Option<String> {
    match format.encode(request, "m") {
        Ok(encoded) => Some(String::from_utf8(encoded.body).expect("JSON is UTF-8")),
        Err(error) if error.kind() == ErrorKind::Unsupported => None,
        Err(error) => panic!("{}: {error}", format.name()),
    }
}

/// What a body must hold; `None`: the request is refused.
fn check(request: &ChatRequest, table: &[(&dyn Format, Option<&str>)]) {
    for (format, expected) in table {
        let body = written(*format, request);
        match (&body, expected) {
            (Some(body), Some(expected)) => assert!(body.contains(expected), "{}: {body}", format.name()),
            (body, expected) => assert_eq!(body.is_some(), expected.is_some(), "{}: {body:?}", format.name()),
        }
    }
}

#[test]
fn alternatives() {
    let mut request = request();
    request.choices = Some(2);
    check(
        &request,
        &[
            (&OPENAI_CHAT, Some(r#""n":2"#)),
            (&OPENAI_COMPLETIONS, Some(r#""n":2"#)),
            (&GEMINI, Some(r#""candidateCount":2"#)),
            (&DASHSCOPE, Some(r#""n":2"#)),
            (&OPENAI_RESPONSES, None),
            (&ANTHROPIC_MESSAGES, None),
            (&BEDROCK_CONVERSE, None),
            (&COHERE_CHAT, None),
            (&GEMINI_INTERACTIONS, None),
            (&OLLAMA_CHAT, None),
            (&OLLAMA_GENERATE, None),
        ],
    );
    request.choices = Some(0);
    let kind = OPENAI_CHAT.encode(&request, "m").map(drop).map_err(|error| error.kind());
    assert_eq!(kind, Err(ErrorKind::InvalidRequest));
}

#[test]
fn log_probabilities() {
    let mut request = request();
    request.top_logprobs = Some(3);
    check(
        &request,
        &[
            (&OPENAI_CHAT, Some(r#""logprobs":true,"top_logprobs":3"#)),
            (&OPENAI_COMPLETIONS, Some(r#""logprobs":3"#)),
            (&OPENAI_RESPONSES, Some(r#""include":["message.output_text.logprobs"],"top_logprobs":3"#)),
            (&GEMINI, Some(r#""responseLogprobs":true,"logprobs":3"#)),
            (&COHERE_CHAT, Some(r#""logprobs":true"#)),
            (&DASHSCOPE, Some(r#""top_logprobs":3"#)),
            (&OLLAMA_CHAT, Some(r#""top_logprobs":3"#)),
            (&ANTHROPIC_MESSAGES, None),
            (&BEDROCK_CONVERSE, None),
            (&GEMINI_INTERACTIONS, None),
            (&OLLAMA_GENERATE, Some(r#""top_logprobs":3"#)),
        ],
    );
}

#[test]
fn hints_about_the_prompt_cache() {
    let mut hint = CacheHint::keep();
    hint.key = Some("k".into());
    let mut request = request().with_system("s").with_cache(hint);
    check(
        &request,
        &[
            (
                &ANTHROPIC_MESSAGES,
                Some(
                    r#""system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]}]"#,
                ),
            ),
            (
                &BEDROCK_CONVERSE,
                Some(
                    r#""messages":[{"role":"user","content":[{"text":"hi"},{"cachePoint":{"type":"default"}}]}],"system":[{"text":"s"},{"cachePoint":{"type":"default"}}]"#,
                ),
            ),
            (&OPENAI_CHAT, Some(r#""prompt_cache_key":"k""#)),
            (&OPENAI_RESPONSES, Some(r#""prompt_cache_key":"k""#)),
        ],
    );
    // Where the prompt before this one ended, which may be more blocks ago than a provider looks back.
    let mut longer = request.clone().with_message(Message::assistant("ho")).with_user("he").with_user("hm");
    longer.cache.key = None;
    let marked = |longer: &ChatRequest, places: &[usize]| {
        let mut request = longer.clone();
        request.cache.also_after = places.to_vec();
        let [body, bedrock] = [&ANTHROPIC_MESSAGES as &dyn Format, &BEDROCK_CONVERSE]
            .map(|format| written(format, &request).expect("supported"));
        let texts = ["s", "hi", "ho", "he", "hm"];
        texts.map(|text| {
            let is_marked =
                body.contains(&format!(r#""text":"{text}","cache_control":{{"type":"ephemeral"}}}}"#));
            assert_eq!(
                is_marked,
                bedrock.contains(&format!(r#"{{"text":"{text}"}},{{"cachePoint""#)),
                "{text}"
            );
            is_marked
        })
    };
    assert_eq!(marked(&longer, &[]), [true, false, false, false, true]);
    assert_eq!(marked(&longer, &[0]), [true, true, false, false, true]);
    assert_eq!(
        marked(&longer, &[1]),
        [true, false, false, false, true],
        "the system's own is marked in any case"
    );
    assert_eq!(marked(&longer, &[1, 2, 3]), [true, false, true, true, true], "four are allowed");
    assert_eq!(marked(&longer, &[0, 3]), [true, true, false, true, true]);
    assert_eq!(marked(&longer, &[4, 9]), [true, false, false, false, true], "once");
    longer.cache.is_system_short = true;
    assert_eq!(marked(&longer, &[]), [false, false, false, false, true], "too short to be kept by itself");
    assert_eq!(marked(&longer, &[2]), [false, false, true, false, true]);

    request.cache.long = true;
    check(
        &request,
        &[
            (&ANTHROPIC_MESSAGES, Some(r#""cache_control":{"type":"ephemeral","ttl":"1h"}"#)),
            (&OPENAI_CHAT, Some(r#""prompt_cache_retention":"24h""#)),
        ],
    );
    // Where it means nothing, not a byte is different.
    let plain = request.clone().with_cache(CacheHint::default());
    for format in [&OPENAI_COMPATIBLE as &dyn Format, &GEMINI, &COHERE_CHAT, &DASHSCOPE, &OLLAMA_CHAT] {
        assert_eq!(written(format, &request), written(format, &plain), "{}", format.name());
    }
}

/// Gemini 2.5 takes budgets alone, later ones levels.
#[test]
fn efforts_of_gemini() {
    for (model, effort, expected) in [
        ("gemini-2.5-flash", "high", r#"{"includeThoughts":true,"thinkingBudget":24576}"#),
        ("models/gemini-2.5-pro", "low", r#"{"includeThoughts":true,"thinkingBudget":1024}"#),
        ("gemini-2.5-flash", "none", r#"{"thinkingBudget":0}"#),
        ("gemini-2.5-pro", "none", r#"{"includeThoughts":true,"thinkingBudget":128}"#),
        ("gemini-3-pro-preview", "high", r#"{"includeThoughts":true,"thinkingLevel":"HIGH"}"#),
        ("gemini-3-flash", "none", r#"{"thinkingBudget":0}"#),
    ] {
        let mut request = request();
        request.reasoning_effort = Some(effort.into());
        let body = GEMINI.encode(&request, model).expect("can be said").body;
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["generationConfig"]["thinkingConfig"].to_string(), expected, "{model} {effort}");
    }
}

/// Vertex wants to know what is at an address.
#[test]
fn what_is_at_an_address_is_told_to_gemini() {
    for (url, expected) in [
        (
            "https://a/b.c/photo.JPG?size=1.png",
            r#"{"fileUri":"https://a/b.c/photo.JPG?size=1.png","mimeType":"image/jpeg"}"#,
        ),
        ("gs://a/paper.pdf", r#"{"fileUri":"gs://a/paper.pdf","mimeType":"application/pdf"}"#),
        ("https://a.png/b", r#"{"fileUri":"https://a.png/b"}"#),
    ] {
        let part = Part::Image(Media::url(url));
        let request = ChatRequest::new("m").with_message(Message::user("see").with_part(part));
        let body = GEMINI.encode(&request, "m").expect("can be said").body;
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["contents"][0]["parts"][1]["fileData"].to_string(), expected);
    }
}

/// The version that deployments are asked in is older than its hints, which would be refused.
#[test]
fn a_hint_is_no_reason_for_a_refusal() {
    let mut request = request();
    (request.cache.key, request.cache.long) = (Some("k".into()), true);
    let body = |format: &dyn Format| written(format, &request).expect("supported");
    assert!(body(&OPENAI_CHAT).contains("prompt_cache_key"));
    assert!(!body(&AZURE_OPENAI_DEPLOYMENT).contains("prompt_cache"));
}

/// Vendors' options stand inside objects that are filled from the request: one of theirs leaves ours alone.
#[test]
fn what_a_caller_adds_to_an_object_leaves_the_rest_of_it() {
    let tool = Tool::new("f", "", r#"{"type":"object"}"#);
    let mut request = request().with_tool(tool).with_max_output_tokens(7);
    request.reasoning_effort = Some("high".into());
    request.stop = vec!["halt".into()];
    for (format, name, json, expected) in [
        (
            &GEMINI as &dyn Format,
            "generationConfig",
            r#"{"topK":40,"thinkingConfig":{"x":1}}"#,
            &[
                r#""maxOutputTokens":7,"stopSequences":["halt"]"#,
                r#""includeThoughts":true"#,
                r#""x":1},"topK":40}"#,
            ] as &[&str],
        ),
        (
            &OLLAMA_CHAT,
            "options",
            r#"{"num_predict":8,"num_ctx":9}"#,
            &[r#""options":{"num_predict":8,"stop":["halt"],"num_ctx":9}"#],
        ),
        (
            &OPENAI_RESPONSES,
            "reasoning",
            r#"{"summary":"auto"}"#,
            &[r#""reasoning":{"effort":"high","summary":"auto"}"#],
        ),
        (
            &OPENAI_RESPONSES,
            "tools",
            r#"[{"type":"web_search"}]"#,
            &[r#""name":"f""#, r#",{"type":"web_search"}]"#],
        ),
        (&OPENAI_CHAT, "tools", r#"[{"type":"x"}]"#, &[r#""name":"f""#, r#",{"type":"x"}]"#]),
        (&ANTHROPIC_MESSAGES, "tools", r#"[{"type":"x"}]"#, &[r#""name":"f""#, r#",{"type":"x"}]"#]),
        (
            &BEDROCK_CONVERSE,
            "inferenceConfig",
            r#"{"x":1}"#,
            &[r#""maxTokens":7,"stopSequences":["halt"],"x":1}"#],
        ),
    ] {
        let mut request = request.clone();
        if format.name() == BEDROCK_CONVERSE.name() || format.name() == OPENAI_RESPONSES.name() {
            request.reasoning_effort = request.reasoning_effort.filter(|_| name == "reasoning");
        }
        if format.name() == OPENAI_RESPONSES.name() {
            request.stop.clear();
        }
        request.extra_body = vec![(name.into(), JsonText::new(json))];
        let body = written(format, &request).expect("supported");
        for part in expected {
            assert!(body.contains(part), "{} without {part}: {body}", format.name());
        }
    }
    // Its decoder counts on the increments that the encoder asked for.
    let mut request = self::request();
    request.extra_body = vec![("parameters".into(), JsonText::new(r#"{"enable_search":true}"#))];
    let body = written(&DASHSCOPE, &request).expect("supported");
    assert!(
        body.contains(
            r#""parameters":{"result_format":"message","incremental_output":true,"enable_search":true}"#
        ),
        "{body}"
    );
}

/// A provider's cache goes by bytes: the same request is the same bytes each time, and a longer conversation begins as the
/// shorter one did.
#[test]
fn bodies_are_stable() {
    let formats: [&dyn Format; 9] = [
        &OPENAI_CHAT,
        &OPENAI_RESPONSES,
        &ANTHROPIC_MESSAGES,
        &GEMINI,
        &GEMINI_INTERACTIONS,
        &BEDROCK_CONVERSE,
        &COHERE_CHAT,
        &DASHSCOPE,
        &OLLAMA_CHAT,
    ];
    let short = request().with_system("s");
    let long = short.clone().with_message(Message::assistant("yes")).with_user("more");
    for format in formats {
        let [first, again, longer] =
            [&short, &short, &long].map(|request| written(format, request).expect("plain words"));
        assert_eq!(first, again, "{}", format.name());
        let common = first.bytes().zip(longer.bytes()).take_while(|(a, b)| a == b).count();
        assert!(first[..common].contains("hi"), "{}: {}", format.name(), &first[..common]);
    }
}
