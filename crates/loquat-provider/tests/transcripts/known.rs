//! What is known of the recordings that have been looked at, and why it is as it is.

use crate::reading::End;

/// Recordings that end otherwise than `Finished`, and why. One that finishes after all fails the test; one that is not in this
/// list and ends so by the independent reading too is printed.
pub(crate) const NOT_FINISHED: &[(&str, End, &str)] = &[
    (
        "dashscope.dashscope-native.erda.resp-example.06e21b.sse",
        End::Truncated,
        "an excerpt: the first two events, without a reason",
    ),
    (
        "writer.openai-completions.otelllm.test-writer-async-streaming-completions-legacy.c1c063.sse",
        End::Truncated,
        "pieces of text, and neither a reason nor a terminal event",
    ),
    (
        "openai.openai-responses.vercel.openai-error-1.14cd02.json",
        End::Failed,
        "a response that failed, under status 200",
    ),
    (
        "openai.openai-responses.vercel.parallel-tool-call-wrapper-1-chunks.3937cd.chunks.jsonl",
        End::Failed,
        "its first event lacks a bracket",
    ),
    (
        "openai.openai-responses.vercel.openai-error-1-chunks.9046a4.chunks.jsonl",
        End::Failed,
        "an error event, and a response that failed",
    ),
    (
        "gemini.gemini-generate.firebase.streaming-failure-image-rejected.b01105.sse",
        End::Failed,
        "an error's body in the place of a stream",
    ),
    (
        "vertex.gemini-generate.firebase.streaming-failure-api-key.f818d7.sse",
        End::Failed,
        "an error's body in the place of a stream",
    ),
    (
        "vertex.gemini-generate.firebase.streaming-failure-http-error.f478bb.sse",
        End::Failed,
        "an error's body in the place of a stream",
    ),
    (
        "vertex.gemini-generate.firebase.streaming-failure-unknown-model.7b014e.sse",
        End::Failed,
        "an error's body in the place of a stream",
    ),
    (
        "vertex.gemini-generate.firebase.streaming-failure-error-mid-stream.40958d.sse",
        End::Failed,
        "an error's body after two events",
    ),
    (
        "vertex.gemini-generate.firebase.streaming-failure-empty-content.a53aad.sse",
        End::Failed,
        "a candidate without content or reason",
    ),
    (
        "vertex.gemini-generate.firebase.streaming-failure-malformed-content.32b109.sse",
        End::Failed,
        "a candidate without content or reason",
    ),
    (
        "vertex.gemini-generate.firebase.streaming-failure-prompt-blocked-safety.42f092.sse",
        End::Failed,
        "the prompt was refused",
    ),
    (
        "gpustack.openai-chat.rubyllm.chat-with-extended-thinking-gpustack-qwen3-strea.0cc39f.sse",
        End::Failed,
        "breaks off with an `error:` line in the place of an event",
    ),
    (
        "groq.openai-chat.pyai.test-tool-use-failed-error-streaming-with-text.952e74.sse",
        End::Failed,
        "an error event after the text",
    ),
    (
        "openrouter.openai-chat.pyai.test-openrouter-stream-error.baafd4.sse",
        End::Failed,
        "an error event after a finish reason",
    ),
    (
        "pydantic-gateway.openai-chat.pyai.test-invalid-response.14ef5d.json",
        End::Failed,
        "JSON under status 200 that is no answer at all",
    ),
];

/// Events that come out raw, by interface and name, and why. One that is not in this list fails the recording, if that is
/// one of those that have been looked at; in a recording that is new it is counted and printed.
pub(crate) const RAW: &[(&str, &str, &str)] = &[
    ("openai-chat", "message", "JSON that is no answer at all, under status 200"),
    (
        "openai-responses",
        "response.file_search_call.completed",
        "news of the server's own search in files; what it found is an item",
    ),
    (
        "openai-responses",
        "response.file_search_call.in_progress",
        "news of the server's own search in files; what it found is an item",
    ),
    (
        "openai-responses",
        "response.file_search_call.searching",
        "news of the server's own search in files; what it found is an item",
    ),
    (
        "openai-responses",
        "response.mcp_call.completed",
        "news of a call that the server makes; its item tells the whole",
    ),
    (
        "openai-responses",
        "response.mcp_call.in_progress",
        "news of a call that the server makes; its item tells the whole",
    ),
    (
        "openai-responses",
        "response.mcp_list_tools.completed",
        "news of a list that the server gets; its item tells the whole",
    ),
    (
        "openai-responses",
        "response.mcp_list_tools.in_progress",
        "news of a list that the server gets; its item tells the whole",
    ),
    (
        "openai-responses",
        "response.web_search_call.completed",
        "news of the server's own search; what it found is an item",
    ),
    (
        "openai-responses",
        "response.web_search_call.in_progress",
        "news of the server's own search; what it found is an item",
    ),
    (
        "openai-responses",
        "response.web_search_call.searching",
        "news of the server's own search; what it found is an item",
    ),
];

/// Whether somebody has looked at that recording: its name is in the list beside this file, as a hash, which
/// the test prints for each with `LOQUAT_LIST_FILES` set.
pub(crate) fn is_known(file: &str) -> bool {
    let hash = format!("{:08x}", hash(file));
    include_str!("known_files.txt").lines().any(|line| line == hash)
}

/// FNV-1a of 32 bits: seven hundred names by what tells them apart.
pub(crate) fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Why such an event comes out raw, where that is known.
pub(crate) fn why_raw(api: &str, event: &str) -> Option<&'static str> {
    RAW.iter().find(|(known, name, _)| *known == api && *name == event).map(|(.., why)| *why)
}
