//! Recorded refusals of real providers, read by a table that was written from the recordings by hand, and recorded rate
//! limits, read by nothing but the names of their headers. Reads `$LOQUAT_DATA/transcripts`.

#![allow(clippy::print_stdout, reason = "the summary is what the test is run for")]

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue};
use loquat_core::{ContextLength, ErrorKind as K};
use loquat_provider::{Format, Head, OPENAI_CHAT};
use serde_json::Value;

/// What is in a file's name, the kind, the code, what the message contains.
const REFUSALS: &[(&str, K, Option<&str>, &str)] = &[
    ("anthropic-messages.rig.nonexistent-model", K::NotFound, Some("not_found_error"), "claude-nonexistent"),
    ("anthropic-messages.rig.auth-rejection", K::Authentication, Some("authentication_error"), "invalid"),
    ("anthropic-messages.rig.streaming-connect-4xx", K::NotFound, Some("not_found_error"), "model:"),
    ("anthropic-messages.rig.provider-error-response", K::NotFound, Some("not_found_error"), "model:"),
    ("rig.twenty-five-optional", K::InvalidRequest, Some("invalid_request_error"), "optional parameters"),
    ("rig.twenty-one-strict", K::InvalidRequest, Some("invalid_request_error"), "Too many strict tools"),
    ("rig.boolean-true", K::InvalidRequest, Some("invalid_request_error"), "tools.0.custom"),
    ("rig.cyclic-root", K::InvalidRequest, Some("invalid_request_error"), "Field required"),
    ("anthropic-explicit-effort", K::InvalidRequest, Some("invalid_request_error"), "effort level"),
    ("azure-openai.openai-chat.otelllm", K::NotFound, Some("DeploymentNotFound"), "deployment"),
    ("cohere-chat.otelllm", K::NotFound, None, "was removed"),
    ("cohere-chat.rubyllm", K::Authentication, None, "Incorrect API key"),
    ("deepseek.openai-chat.rig.blocking", K::InvalidRequest, Some("invalid_request_error"), "deserialize"),
    (
        "deepseek.openai-chat.rig.chat",
        K::Authentication,
        Some("invalid_request_error"),
        "Authentication Fails",
    ),
    ("doubleword.openai-chat.rig.invalid-key", K::Permission, Some("forbidden"), "Forbidden"),
    ("doubleword.openai-chat.rig.invalid-temp", K::InvalidRequest, Some("Bad Request"), "Temperature"),
    ("doubleword.openai-chat.rig.unknown-model", K::NotFound, Some("model_not_found"), "does not exist"),
    ("gemini.gemini-generate.rig", K::NotFound, Some("NOT_FOUND"), "is not found"),
    ("gemini.gemini-generate.pyai", K::NotFound, Some("NOT_FOUND"), "is not found"),
    ("groq.openai-chat.rig.auth", K::Authentication, Some("invalid_api_key"), "Invalid API Key"),
    ("groq.openai-chat.rig.provider-error", K::NotFound, Some("model_not_found"), "does not exist"),
    ("llamacpp.openai-chat.rig.context", K::ContextLength, Some("exceed_context_size_error"), "2009 tokens"),
    (
        "llamacpp.openai-chat.rig.missing-api",
        K::Authentication,
        Some("authentication_error"),
        "Invalid API Key",
    ),
    ("llamacpp.openai-chat.rig.tools-without", K::Server, Some("server_error"), "--jinja"),
    ("llamacpp.openai-chat.rig.image-without", K::Server, Some("server_error"), "image input"),
    (
        "llamacpp.openai-chat.rig.malformed",
        K::InvalidRequest,
        Some("invalid_request_error"),
        "Failed to load",
    ),
    ("llamacpp.openai-chat.rig.unfetchable", K::Server, Some("server_error"), "GET request"),
    (
        "llamacpp.openai-chat.rig.video",
        K::InvalidRequest,
        Some("invalid_request_error"),
        "unsupported content",
    ),
    ("mistral.openai-chat.rubyllm", K::Authentication, None, "Invalid API Key"),
    ("mistral.openai-chat.rig.blocking-error", K::NotFound, Some("invalid_model"), "Invalid model"),
    ("mistral.openai-chat.rig.blocking-unauth", K::Authentication, None, "Invalid API Key"),
    ("openai.openai-chat.otelllm.test-agents", K::NotFound, Some("model_not_found"), "deprecated"),
    ("openai.openai-chat.otelllm.test-vision", K::InvalidRequest, Some("invalid_image_url"), "downloading"),
    ("openai-chat.pyai.test-multimodal", K::InvalidRequest, Some("invalid_value"), "messages[3]"),
    ("openai-chat.pyai.test-openai-o1", K::InvalidRequest, Some("unsupported_value"), "does not support"),
    ("openai-chat.pyai.test-openai-web", K::InvalidRequest, Some("invalid_request_error"), "Web search"),
    ("openai-responses.rubyllm.context", K::Authentication, Some("invalid_api_key"), "Incorrect API key"),
    ("openai-responses.pyai.test-inferred", K::NotFound, Some("model_not_found"), "does not exist"),
    ("openai-responses.pyai.test-openai", K::InvalidRequest, Some("decimal_below_min_value"), "temperature"),
    ("openai-chatgpt.openai-responses.rig", K::Authentication, None, "authentication token"),
    ("openrouter.openai-chat.lcgo", K::RateLimited, Some("429"), "Rate limit exceeded"),
    ("openrouter.openai-chat.rubyllm", K::Authentication, Some("401"), "Missing Authentication"),
    ("openrouter.openai-chat.rig", K::NotFound, Some("400"), "not a valid model ID"),
    (
        "perplexity.openai-chat.rubyllm.chat-error",
        K::Authentication,
        Some("invalid_api_key"),
        "Invalid API key",
    ),
    (
        "perplexity.openai-chat.rubyllm.chat-real",
        K::ContextLength,
        Some("too_many_prompt_tokens"),
        "too long",
    ),
    ("venice.openai-chat.rig", K::NotFound, None, "not found"),
    ("vertex.gemini-generate.pyai", K::InvalidRequest, Some("INVALID_ARGUMENT"), "Cannot fetch"),
    ("xai.openai-responses.rig", K::NotFound, Some("invalid-argument"), "Model not found"),
];

/// How many were recorded.
const RECORDED: usize = 51;

struct Recording {
    file: String,
    kind: String,
    status: u16,
    headers: HeaderMap,
}

fn recordings() -> Option<(PathBuf, Vec<Recording>)> {
    let Some(data) = env::var_os("LOQUAT_DATA") else {
        println!("skipped: LOQUAT_DATA is not set");
        return None;
    };
    let folder = PathBuf::from(data).join("transcripts");
    let read =
        |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_else(|why| panic!("{name}: {why}"));
    let mut headers: BTreeMap<String, HeaderMap> = BTreeMap::new();
    for line in read("HEADERS.jsonl").lines() {
        let entry: Value = serde_json::from_str(line).expect("HEADERS.jsonl holds JSON");
        let map = entry["headers"].as_object().into_iter().flatten().filter_map(|(name, value)| {
            let value = HeaderValue::try_from(value.as_str()?).ok()?;
            Some((HeaderName::try_from(name.as_str()).ok()?, value))
        });
        headers.insert(entry["file"].as_str().unwrap_or_default().to_owned(), map.collect());
    }
    let manifest = read("MANIFEST.tsv");
    let mut lines = manifest.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let names = lines.next().expect("a head");
    let column = |name: &str| names.iter().position(|known| *known == name).expect("a known column");
    let [file, kind, status] = ["file", "kind", "status"].map(column);
    let recordings = lines.map(|cells| Recording {
        file: cells[file].to_owned(),
        kind: cells[kind].to_owned(),
        status: cells[status].parse().unwrap_or(200),
        headers: headers.get(cells[file]).cloned().unwrap_or_default(),
    });
    let recordings: Vec<_> = recordings.collect();
    assert!(!recordings.is_empty(), "no recordings in {}", folder.display());
    Some((folder, recordings))
}

#[test]
fn recorded_refusals_say_what_they_mean() {
    let Some((folder, recordings)) = recordings() else { return };
    let mut failures = Vec::new();
    let mut count = 0;
    for recording in recordings.iter().filter(|recording| recording.kind == "error") {
        count += 1;
        let body = fs::read(folder.join(&recording.file)).expect("a listed file exists");
        let error = OPENAI_CHAT.error(&Head { status: recording.status, headers: &recording.headers }, &body);
        let mut expected = REFUSALS.iter().filter(|(part, ..)| recording.file.contains(part));
        let Some((_, kind, code, words)) = expected.next() else {
            failures.push(format!("{}: not in the table: {error:?}", recording.file));
            continue;
        };
        let as_expected = (error.kind(), error.code(), error.status())
            == (*kind, *code, Some(recording.status))
            && error.message().contains(words)
            && error.raw_body() == Some(&body[..]);
        if !as_expected {
            failures.push(format!("{}: {kind:?} {code:?} {words:?}: {error:?}", recording.file));
        }
        let parsed: Value = serde_json::from_slice(&body).expect("these are JSON");
        let parameter = parsed["error"]["param"].as_str();
        if error.parameter() != parameter {
            failures.push(format!("{}: parameter {parameter:?}", recording.file));
        }
        let id =
            parsed["request_id"].as_str().or_else(|| recording.headers.get("x-request-id")?.to_str().ok());
        if id.is_some() && error.request_id() != id {
            failures.push(format!("{}: request id {id:?}, not {:?}", recording.file, error.request_id()));
        }
        if recording.file.contains("context-overflow") {
            assert_eq!(error.context_length(), Some(ContextLength::new(Some(512), Some(2009))));
        }
    }
    println!("conformance: refusals passed={} failed={} skipped=0", count - failures.len(), failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(count >= RECORDED, "{count} of {RECORDED} recordings");
}

/// Every number under a header whose name says `limit` or `remaining` is found again, and no other; every reset is.
#[test]
fn recorded_rate_limits_are_read_whole() {
    let Some((_, recordings)) = recordings() else { return };
    let mut seen = 0;
    for recording in &recordings {
        let (mut numbers, mut resets) = (Vec::new(), 0);
        for (name, value) in &recording.headers {
            let (name, value) = (name.as_str(), value.to_str().expect("recorded as text"));
            if !name.contains("ratelimit-") {
                continue;
            }
            let words: Vec<_> = name.split('-').filter(|word| *word != "ratelimit").collect();
            if words.contains(&"limit") || words.contains(&"remaining") {
                numbers.push(value.parse::<u64>().expect("a count"));
            } else if words.contains(&"reset") {
                resets += 1;
            }
        }
        let limits = Head { status: recording.status, headers: &recording.headers }.rate_limits();
        let mut found: Vec<_> =
            limits.iter().flat_map(|limit| [limit.limit, limit.remaining]).flatten().collect();
        seen += usize::from(!numbers.is_empty());
        numbers.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, numbers, "{}", recording.file);
        assert_eq!(limits.iter().filter(|limit| limit.reset.is_some()).count(), resets, "{}", recording.file);
    }
    println!("{seen} recordings with rate limits");
    assert!(seen > 50);
}
