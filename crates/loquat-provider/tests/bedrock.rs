//! Bedrock: Converse, and Claude's own format inside its event stream.

#![allow(clippy::cast_possible_truncation, reason = "the frames made here are short")]

mod support;

use loquat_core::{ChatRequest, Media, Message, Part, Reasoning, Role, Secret, Tool, ToolCall, ToolResult};
use loquat_provider::{ANTHROPIC_BEDROCK, ANTHROPIC_VERTEX, BEDROCK_CONVERSE, Format};
use support::{JSON, check, decode, ending};

const FRAMES: &str = "application/vnd.amazon.eventstream";

/// A frame with headers of text.
fn frame(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(name.len() as u8);
        block.extend_from_slice(name.as_bytes());
        block.push(7);
        block.extend_from_slice(&(value.len() as u16).to_be_bytes());
        block.extend_from_slice(value.as_bytes());
    }
    let mut frame = ((16 + block.len() + payload.len()) as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&(block.len() as u32).to_be_bytes());
    frame.extend_from_slice(&crc(&frame).to_be_bytes());
    frame.extend_from_slice(&block);
    frame.extend_from_slice(payload.as_bytes());
    frame.extend_from_slice(&crc(&frame).to_be_bytes());
    frame
}

/// CRC-32, a bit at a time.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 },
        )
    })
}

fn event(name: &str, payload: &str) -> Vec<u8> {
    frame(
        &[(":event-type", name), (":content-type", "application/json"), (":message-type", "event")],
        payload,
    )
}

/// A body and what is to come of it, whole and at every two-way split.
fn check_frames(format: &dyn Format, body: &[u8], expected: &[&str]) {
    let whole = decode(format, FRAMES, [body], None);
    let mut lines = whole.lines.clone();
    lines.push(ending(&whole.ending));
    assert_eq!(lines, expected);
    for split in 0..=body.len() {
        let (front, back) = body.split_at(split);
        assert_eq!(decode(format, FRAMES, [front, back], None), whole, "split at {split}");
    }
}

#[test]
fn an_answer_in_frames() {
    let body = [
        event("messageStart", r#"{"role":"assistant"}"#),
        event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}}}"#),
        event(
            "contentBlockDelta",
            r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"S"}}}"#,
        ),
        event("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        event("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"text":"hi"},"p":"abc"}"#),
        event(
            "contentBlockStart",
            r#"{"contentBlockIndex":2,"start":{"toolUse":{"toolUseId":"a","name":"f"}}}"#,
        ),
        event("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"toolUse":{"input":"{\"x\":1}"}}}"#),
        event("contentBlockStop", r#"{"contentBlockIndex":2}"#),
        event(
            "contentBlockStart",
            r#"{"contentBlockIndex":3,"start":{"toolUse":{"toolUseId":"b","name":"g"}}}"#,
        ),
        event("contentBlockStop", r#"{"contentBlockIndex":3}"#),
        event("messageStop", r#"{"stopReason":"tool_use"}"#),
        event("metadata", r#"{"usage":{"inputTokens":3,"outputTokens":4,"cacheReadInputTokens":5}}"#),
    ]
    .concat();
    check_frames(
        &BEDROCK_CONVERSE,
        &body,
        &[
            "reasoning: hm",
            "signature: S",
            "text: hi",
            "call: 0 a f",
            "arguments 0: {\"x\":1}",
            "call: 1 b g",
            "arguments 1: {}",
            "choice end: tool_calls",
            "finished: tool_calls in=8 out=4 read=5",
        ],
    );
}

#[test]
fn endings() {
    let text = event("contentBlockDelta", r#"{"delta":{"text":"hi"}}"#);
    check_frames(&BEDROCK_CONVERSE, &text, &["text: hi", "truncated"]);
    let exception = frame(
        &[(":exception-type", "throttlingException"), (":message-type", "exception")],
        r#"{"message":"slow down"}"#,
    );
    check_frames(
        &BEDROCK_CONVERSE,
        &[text.clone(), exception].concat(),
        &["text: hi", "failed: RateLimited slow down"],
    );
    let error = frame(
        &[(":error-code", "InternalFailure"), (":error-message", "oh"), (":message-type", "error")],
        "",
    );
    check_frames(&BEDROCK_CONVERSE, &[text.clone(), error].concat(), &["text: hi", "failed: Server oh"]);
    let mut broken = [text.clone(), text].concat();
    let last = broken.len() - 1;
    broken[last] ^= 1;
    check_frames(
        &BEDROCK_CONVERSE,
        &broken,
        &["text: hi", "failed: Protocol the checksum of a frame does not fit"],
    );
}

#[test]
fn a_whole_answer() {
    check(
        &BEDROCK_CONVERSE,
        JSON,
        r#"{"output":{"message":{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"hm","signature":"S"}}},{"text":"hi"},{"toolUse":{"toolUseId":"a","name":"f","input":{"x":1}}},{"new":1}]}},"stopReason":"max_tokens","usage":{"inputTokens":1,"outputTokens":2}}"#,
        &[
            "reasoning: hm",
            "signature: S",
            "text: hi",
            "call: 0 a f",
            "arguments 0: {\"x\":1}",
            "opaque: bedrock-converse {\"new\":1}",
            "choice end: length",
            "finished: length in=1 out=2",
        ],
    );
}

#[test]
fn pictures() {
    check(
        &BEDROCK_CONVERSE,
        JSON,
        r#"{"output":{"message":{"role":"assistant","content":[{"image":{"format":"jpeg","source":{"bytes":"AQI="}}},{"image":{"format":"png","source":{"s3Location":{"uri":"s3://a"}}}},{"image":{"format":"png","source":{"bytes":"?"}}}]}},"stopReason":"end_turn"}"#,
        &[
            "media: image/jpeg [1, 2]",
            r#"opaque: bedrock-converse {"image":{"format":"png","source":{"s3Location":{"uri":"s3://a"}}}}"#,
            r#"opaque: bedrock-converse {"image":{"format":"png","source":{"bytes":"?"}}}"#,
            "choice end: stop",
            "finished: stop",
        ],
    );
    let picture = Part::Image(Media::bytes("image/jpeg", [1, 2]));
    let request = ChatRequest::new("m").with_message(Message::new(Role::Assistant, vec![picture]));
    let encoded = BEDROCK_CONVERSE.encode(&request, "m").expect("it goes back as it came");
    let body = String::from_utf8_lossy(&encoded.body);
    assert!(body.contains(r#"[{"image":{"format":"jpeg","source":{"bytes":"AQI="}}}]"#), "{body}");
    // In pieces, each of which is base64 by itself.
    let begin = event("contentBlockStart", r#"{"contentBlockIndex":0,"start":{"image":{"format":"webp"}}}"#);
    let piece = |bytes: &str| {
        event(
            "contentBlockDelta",
            &format!(r#"{{"contentBlockIndex":0,"delta":{{"image":{{"source":{{"bytes":"{bytes}"}}}}}}}}"#),
        )
    };
    let stop = event("contentBlockStop", r#"{"contentBlockIndex":0}"#);
    let end = event("messageStop", r#"{"stopReason":"end_turn"}"#);
    let bare = piece("iVBO");
    let pieces = [begin.clone(), piece("AQI="), piece("Aw=="), stop, bare, end].concat();
    check_frames(
        &BEDROCK_CONVERSE,
        &pieces,
        &[
            "media: image/webp [1, 2, 3]",
            "media: image/png [137, 80, 78]",
            "choice end: stop",
            "finished: stop",
        ],
    );
    check_frames(
        &BEDROCK_CONVERSE,
        &[event("contentBlockDelta", r#"{"delta":{"text":"hi"}}"#), begin, piece("AQI=")].concat(),
        &["text: hi", "truncated"],
    );
}

#[test]
fn claudes_own_events_are_unwrapped() {
    // {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}
    let delta = "eyJ0eXBlIjoiY29udGVudF9ibG9ja19kZWx0YSIsImluZGV4IjowLCJkZWx0YSI6eyJ0eXBlIjoidGV4dF9kZWx0YSIsInRleHQiOiJoaSJ9fQ==";
    // {"type":"message_delta","delta":{"stop_reason":"end_turn"}}
    let stop = "eyJ0eXBlIjoibWVzc2FnZV9kZWx0YSIsImRlbHRhIjp7InN0b3BfcmVhc29uIjoiZW5kX3R1cm4ifX0=";
    let chunk = |bytes: &str| event("chunk", &format!("{{\"bytes\":\"{bytes}\",\"p\":\"abc\"}}"));
    check_frames(
        &ANTHROPIC_BEDROCK,
        &[chunk(delta), chunk(stop)].concat(),
        &["text: hi", "choice end: stop", "finished: stop"],
    );
    check_frames(
        &ANTHROPIC_BEDROCK,
        &[chunk(delta), chunk("?")].concat(),
        &["text: hi", "failed: Protocol what a frame carries is not base64"],
    );
}

#[test]
fn requests() {
    let written = |format: &dyn Format, request: &ChatRequest, model: &str| {
        let encoded = format.encode(request, model).expect("valid");
        format!("{} {}", encoded.path, String::from_utf8_lossy(&encoded.body))
    };
    let call = ToolCall::new("a", "f", "");
    let mut request = ChatRequest::new("m").with_system("s").with_user("hi").with_max_output_tokens(9);
    assert_eq!(
        written(&ANTHROPIC_BEDROCK, &request, "anthropic.claude-v1:0"),
        r#"model/anthropic.claude-v1%3A0/invoke-with-response-stream {"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}"#
    );
    assert_eq!(
        written(&ANTHROPIC_VERTEX, &request.clone().with_stream(false), "claude@1"),
        r#"models/claude@1:rawPredict {"anthropic_version":"vertex-2023-10-16","max_tokens":9,"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"stream":false}"#
    );
    request.messages.push(Message::new(
        Role::Assistant,
        vec![Part::Reasoning(Reasoning::new("hm").with_signature("S")), Part::ToolCall(call.clone())],
    ));
    request.messages.push(Message::tool(ToolResult::new(&call, "no").with_error()));
    request.tools.push(Tool::new("f", "does f", "{\"type\":\"object\"}"));
    assert_eq!(
        written(&BEDROCK_CONVERSE, &request, "arn:x/y"),
        concat!(
            r#"model/arn%3Ax%2Fy/converse-stream {"messages":[{"role":"user","content":[{"text":"hi"}]},"#,
            r#"{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"hm","signature":"S"}}},"#,
            r#"{"toolUse":{"toolUseId":"a","name":"f","input":{}}}]},"#,
            r#"{"role":"user","content":[{"toolResult":{"toolUseId":"a","content":[{"text":"no"}],"status":"error"}}]}],"#,
            r#""system":[{"text":"s"}],"inferenceConfig":{"maxTokens":9},"#,
            r#""toolConfig":{"tools":[{"toolSpec":{"name":"f","description":"does f","inputSchema":{"json":{"type":"object"}}}}]}}"#,
        )
    );
    let mut headers = http::HeaderMap::new();
    ANTHROPIC_BEDROCK.authenticate(&Secret::new("k"), &mut headers).expect("a key");
    assert_eq!(headers[http::header::AUTHORIZATION], "Bearer k");
}

#[cfg(feature = "sigv4")]
#[test]
fn a_key_pair_signs_where_it_stands_for_a_key() {
    use std::time::{Duration, SystemTime};

    use http::{HeaderMap, Method};
    use loquat_provider::{AwsCredentials, Outgoing};

    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
    let host = "bedrock-runtime.eu-central-1.amazonaws.com";
    let outgoing = Outgoing::new(&Method::POST, host, "/model/anthropic.claude-v2%3A1/converse", b"{}");
    for format in [&BEDROCK_CONVERSE as &dyn Format, &ANTHROPIC_BEDROCK] {
        let signed = |secret: Secret| {
            let mut headers = HeaderMap::new();
            format.sign(&outgoing, &secret, now, &mut headers).expect("it can be signed");
            headers
        };
        let headers = signed(AwsCredentials::new("AKIDEXAMPLE", "secret").with_session_token("token").into());
        assert_eq!(headers["x-amz-date"], "20150830T123600Z");
        assert_eq!(headers["x-amz-security-token"], "token");
        assert_eq!(
            headers["authorization"],
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-central-1/bedrock/aws4_request, \
             SignedHeaders=host;x-amz-date;x-amz-security-token, \
             Signature=c10104a9bfe4a9773c52013ee8cef43aa23e289352192614492da678adc84bd4"
        );
        assert!(headers.values().filter(|value| value.is_sensitive()).count() == 2);
        assert_eq!(signed(Secret::new("a-bearers-key"))["authorization"], "Bearer a-bearers-key");
    }
    let elsewhere = Outgoing::new(&Method::POST, "127.0.0.1:80", "/", b"");
    let secret = AwsCredentials::new("id", "secret").into();
    let error =
        BEDROCK_CONVERSE.sign(&elsewhere, &secret, now, &mut HeaderMap::new()).expect_err("no region");
    assert_eq!(error.kind(), loquat_core::ErrorKind::NotConfigured);
}
