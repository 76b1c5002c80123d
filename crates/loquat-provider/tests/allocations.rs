//! A steady stream of text allocates nothing: at most 0.1 allocations per text delta, in every format; and a long text leaves no
//! more behind it than is promised.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use bytes::Bytes;
use http::HeaderMap;
use loquat_core::Delta;
use loquat_provider::{
    ANTHROPIC_MESSAGES, Advance, COHERE_CHAT, DecodeLimits, Format, GEMINI, Head, OLLAMA_CHAT, OPENAI_CHAT,
    OPENAI_COMPLETIONS, OPENAI_RESPONSES,
};

struct Counting;

thread_local! {
    // Per thread, so that the test harness's own threads do not count.
    static COUNT: Cell<u64> = const { Cell::new(0) };
    /// Bytes that are in use; meaningful as a difference.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

fn hold(more: usize, less: usize) {
    HELD.set(HELD.get().wrapping_add(more).wrapping_sub(less));
}

#[allow(unsafe_code, reason = "counting allocations takes an allocator")]
// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        hold(layout.size(), 0);
        // SAFETY: the caller keeps `alloc`'s contract, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        hold(0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        hold(new_size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const EVENTS: usize = 2000;

fn check(format: &dyn Format, event: &str) {
    let headers = HeaderMap::new();
    let mut decoder = format.decoder(&Head { status: 200, headers: &headers }, DecodeLimits::default());
    // Reads end wherever they like, as from a socket.
    let body = Bytes::from(event.repeat(EVENTS));
    let reads: Vec<Bytes> =
        (0..body.len()).step_by(1000).map(|at| body.slice(at..(at + 1000).min(body.len()))).collect();
    let mut texts = 0_u64;
    let mut bytes = 0;
    let before = COUNT.get();
    for read in reads {
        decoder.push(read);
        while decoder.advance() == Advance::Delta {
            if let Delta::Text { text, .. } = decoder.current() {
                texts += 1;
                bytes += text.len();
            }
        }
    }
    let allocations = COUNT.get() - before;
    assert_eq!((texts, bytes), (2000, 2000 * 8), "{}", format.name());
    assert!(
        allocations * 10 <= texts,
        "{}: {allocations} allocations for {texts} text deltas",
        format.name()
    );
}

#[test]
fn text_deltas_allocate_nothing_in_steady_state() {
    check(
        &OPENAI_CHAT,
        "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" loqu\\n\\u00e9\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n",
    );
    check(
        &ANTHROPIC_MESSAGES,
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" loquats\"}}\n\n",
    );
    check(
        &OPENAI_RESPONSES,
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":4,\"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0,\"delta\":\" loquats\",\"logprobs\":[],\"obfuscation\":\"x\"}\n\n",
    );
    check(
        &COHERE_CHAT,
        "event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\" loquats\"}}}}\n\n",
    );
    check(
        &OPENAI_COMPLETIONS,
        "data: {\"id\":\"c\",\"object\":\"text_completion\",\"choices\":[{\"text\":\" loquats\",\"index\":0,\"logprobs\":null,\"finish_reason\":null}],\"model\":\"m\"}\n\n",
    );
    check(
        &GEMINI,
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\" loquats\"}],\"role\":\"model\"},\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":4,\"totalTokenCount\":4},\"modelVersion\":\"g\"}\r\n\r\n",
    );
    check(
        &OLLAMA_CHAT,
        "{\"model\":\"m\",\"created_at\":\"t\",\"message\":{\"role\":\"assistant\",\"content\":\" loquats\"},\"done\":false}\n",
    );
}

/// Replies of twenty text deltas, as most are, one after the other; `start` and `end` are their other events.
fn check_short(format: &dyn Format, start: &str, text: &str, end: &str) {
    let headers = HeaderMap::new();
    let reads: Vec<Bytes> = [start.to_owned()]
        .into_iter()
        .chain((0..20).map(|n| text.replace("TEXT", ["a", " loquat", " tr\\n", "\u{67b7}"][n % 4])))
        .chain([end.to_owned()])
        .map(Bytes::from)
        .collect();
    let reply = || {
        let mut decoder = format.decoder(&Head { status: 200, headers: &headers }, DecodeLimits::default());
        let (mut reads, mut texts) = (reads.iter(), 0_u64);
        loop {
            match decoder.advance() {
                Advance::Delta => texts += u64::from(matches!(decoder.current(), Delta::Text { .. })),
                Advance::NeedBytes => match reads.next() {
                    Some(read) => decoder.push(read.clone()),
                    None => decoder.end(None),
                },
                Advance::End(ending) => {
                    assert!(ending.is_finished(), "{}: {ending:?}", format.name());
                    return texts;
                }
            }
        }
    };
    for _ in 0..4 {
        reply();
    }
    let before = COUNT.get();
    let texts: u64 = (0..50).map(|_| reply()).sum();
    let allocations = COUNT.get() - before;
    assert_eq!(texts, 50 * 20, "{}", format.name());
    assert!(
        allocations * 10 <= texts,
        "{}: {allocations} allocations for {texts} text deltas",
        format.name()
    );
}

#[test]
fn short_replies_allocate_nothing_for_their_deltas() {
    check_short(
        &OPENAI_CHAT,
        "data: {\"id\":\"c\",\"model\":\"m\",\"system_fingerprint\":\"fp\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
        "data: {\"id\":\"c\",\"model\":\"m\",\"system_fingerprint\":\"fp\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"TEXT\"},\"finish_reason\":null}]}\n\n",
        "data: {\"id\":\"c\",\"model\":\"m\",\"system_fingerprint\":\"fp\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
    );
    check_short(
        &ANTHROPIC_MESSAGES,
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"1\",\"model\":\"m\",\"usage\":{\"input_tokens\":3}}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"TEXT\"}}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    );
    check_short(
        &OLLAMA_CHAT,
        "{\"model\":\"m\",\"created_at\":\"t\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":false}\n",
        "{\"model\":\"m\",\"created_at\":\"t\",\"message\":{\"role\":\"assistant\",\"content\":\"TEXT\"},\"done\":false}\n",
        "{\"model\":\"m\",\"created_at\":\"t\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done_reason\":\"stop\",\"done\":true}\n",
    );
}

/// What a long text may leave behind it: 64 KiB of room for texts, and what a template keeps of an event, at most 16 KiB and as much again.
const LEFT_BYTES: isize = (64 + 32) * 1024;

/// A stream of which one event has a text of a MiB, by the short way and by the long one. `another` is of another kind, so that what comes next goes the long way.
fn check_long(format: &dyn Format, start: &str, text: &str, another: &str) {
    let headers = HeaderMap::new();
    let short = text.replace("TEXT", "a");
    for (before, plain) in [(&*short, "x"), (another, "x"), (&*short, "\\n"), (another, "\\n")] {
        let mut decoder = format.decoder(&Head { status: 200, headers: &headers }, DecodeLimits::default());
        let mut take = |read: &str| {
            let (mut longest, mut deltas) = (0, 0);
            decoder.push(Bytes::copy_from_slice(read.as_bytes()));
            while decoder.advance() == Advance::Delta {
                deltas += 1;
                if let Delta::Text { text, .. } | Delta::ToolArguments { fragment: text, .. } =
                    decoder.current()
                {
                    longest = longest.max(text.len());
                }
            }
            (longest, deltas)
        };
        take(start);
        for _ in 0..20 {
            take(&short);
        }
        take(before);
        let held = HELD.get();
        let (longest, _) = take(&text.replace("TEXT", &plain.repeat(1024 * 1024)));
        assert_eq!(longest, 1024 * 1024, "{}", format.name());
        let (length, deltas) = take(&short);
        assert_eq!((length, deltas), (1, 1), "{}", format.name());
        let more = HELD.get().wrapping_sub(held) as isize;
        assert!(more <= LEFT_BYTES, "{}: {more} bytes more are held, after {plain:?}", format.name());
    }
}

#[test]
fn a_long_text_leaves_little_behind() {
    let chat =
        |delta: &str| format!("data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n");
    check_long(
        &OPENAI_CHAT,
        &chat(r#"{"role":"assistant","content":""}"#),
        &chat(r#"{"content":"TEXT"}"#),
        &chat(r#"{"reasoning_content":"hm"}"#),
    );
    check_long(
        &OPENAI_CHAT,
        &chat(r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}"#),
        &chat(r#"{"tool_calls":[{"index":0,"function":{"arguments":"TEXT"}}]}"#),
        &chat(r#"{"reasoning_content":"hm"}"#),
    );
    let response = |event: &str| format!("data: {{\"type\":\"response.{event}}}\n\n");
    check_long(
        &OPENAI_RESPONSES,
        &response(r#"created","response":{"id":"r","model":"m"}"#),
        &response(r#"output_text.delta","output_index":0,"content_index":0,"delta":"TEXT""#),
        &response(r#"reasoning_text.delta","output_index":1,"content_index":0,"delta":"hm""#),
    );
    let anthropic =
        |event: &str| format!("data: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{event}}}\n\n");
    check_long(
        &ANTHROPIC_MESSAGES,
        "data: {\"type\":\"message_start\",\"message\":{\"id\":\"1\",\"model\":\"m\"}}\n\n",
        &anthropic(r#"{"type":"text_delta","text":"TEXT"}"#),
        &anthropic(r#"{"type":"thinking_delta","thinking":"hm"}"#),
    );
    check_long(
        &OLLAMA_CHAT,
        "",
        "{\"model\":\"m\",\"message\":{\"content\":\"TEXT\"},\"done\":false}\n",
        "{\"model\":\"m\",\"message\":{\"thinking\":\"hm\"},\"done\":false}\n",
    );
}
