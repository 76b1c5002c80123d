//! Replies as providers send them, made up so that the bench needs no data: members, their order and their lengths after
//! recordings; tokens with one in five Chinese, one in eight with escapes.

use bytes::Bytes;

/// Who speaks like that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    OpenAiChat,
    OpenAiResponses,
    Anthropic,
    Gemini,
    Ollama,
    Cohere,
}

/// One reply, a read for each of its chunks.
pub struct Stream {
    pub case: &'static str,
    pub dialect: Dialect,
    pub reads: Vec<Bytes>,
    /// Bytes of text and of arguments in all deltas, unescaped.
    pub text_bytes: usize,
}

/// Chunks of text in a long reply, and in a short one.
const LONG: usize = 2000;
const SHORT: usize = 20;

pub fn all() -> Vec<Stream> {
    vec![
        reply("openai-chat", Dialect::OpenAiChat, LONG, chat),
        reply("openai-chat-short", Dialect::OpenAiChat, SHORT, chat),
        reply("openai-chat-tools", Dialect::OpenAiChat, LONG, tools),
        reply("openai-responses", Dialect::OpenAiResponses, LONG, responses),
        reply("anthropic", Dialect::Anthropic, LONG, anthropic),
        reply("gemini", Dialect::Gemini, LONG, gemini),
        reply("ollama", Dialect::Ollama, LONG, ollama),
        reply("cohere", Dialect::Cohere, LONG, cohere),
    ]
}

fn reply(
    case: &'static str,
    dialect: Dialect,
    chunks: usize,
    write: fn(&mut Tokens, usize) -> Vec<String>,
) -> Stream {
    let mut tokens = Tokens { state: 7919, bytes: 0 };
    let reads = write(&mut tokens, chunks).into_iter().map(Bytes::from).collect();
    Stream { case, dialect, reads, text_bytes: tokens.bytes }
}

fn chat_chunk(delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-BxyzABCDEFGHIJKLMNOPQRSTU\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\
         \"model\":\"gpt-4.1-2025-04-14\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_1234567890\",\
         \"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}],\"usage\":null}}\n\n"
    )
}

fn chat(tokens: &mut Tokens, chunks: usize) -> Vec<String> {
    let mut reads = vec![chat_chunk(r#"{"role":"assistant","content":"","refusal":null}"#, "null")];
    reads.extend((0..chunks).map(|_| chat_chunk(&format!(r#"{{"content":"{}"}}"#, tokens.next()), "null")));
    reads.extend([chat_chunk("{}", "\"stop\""), "data: [DONE]\n\n".to_owned()]);
    reads
}

/// Calls of a hundred chunks, whose arguments are an object with one text in it.
fn tools(tokens: &mut Tokens, chunks: usize) -> Vec<String> {
    let mut reads = Vec::new();
    for n in 0..chunks {
        let call = n / 100;
        let piece = match n % 100 {
            0 => format!(
                r#"{{"index":{call},"id":"call_{n}","type":"function","function":{{"name":"search","arguments":""}}}}"#
            ),
            at => {
                let piece = match at {
                    1 => r#"{\"q\":\""#,
                    99 => r#"\"}"#,
                    _ => PLAIN[tokens.below(16)],
                };
                tokens.bytes += piece.replace('\\', "").len();
                format!(r#"{{"index":{call},"function":{{"arguments":"{piece}"}}}}"#)
            }
        };
        reads.push(chat_chunk(&format!(r#"{{"tool_calls":[{piece}]}}"#), "null"));
    }
    reads.extend([chat_chunk("{}", "\"tool_calls\""), "data: [DONE]\n\n".to_owned()]);
    reads
}

fn responses(tokens: &mut Tokens, chunks: usize) -> Vec<String> {
    let mut number = 0;
    let mut event = |kind: &str, more: &str| {
        number += 1;
        format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{},{more}}}\n\n", number - 1)
    };
    let response = |status: &str, usage: &str| {
        format!(
            r#""response":{{"id":"resp_087a1bffb8180cc4006912065042e0","object":"response","created_at":1762788944,"status":"{status}","background":false,"error":null,"incomplete_details":null,"instructions":null,"max_output_tokens":null,"model":"gpt-4.1-nano-2025-04-14","output":[],"parallel_tool_calls":true,"previous_response_id":null,"service_tier":"default","store":true,"temperature":1.0,"text":{{"format":{{"type":"text"}}}},"tool_choice":"auto","tools":[],"top_p":1.0,"truncation":"disabled","usage":{usage},"user":null,"metadata":{{}}}}"#
        )
    };
    let item = |status: &str| {
        format!(
            r#""output_index":0,"item":{{"id":"msg_087a1bff","type":"message","status":"{status}","content":[],"role":"assistant"}}"#
        )
    };
    let within = r#""item_id":"msg_087a1bff","output_index":0,"content_index":0"#;
    let mut reads = vec![
        event("response.created", &response("in_progress", "null")),
        event("response.output_item.added", &item("in_progress")),
    ];
    for _ in 0..chunks {
        let token = tokens.next();
        let padding = "NBbiCoB2yJyshvQ".get(tokens.below(8)..).unwrap_or_default();
        let more = format!(r#"{within},"delta":"{token}","logprobs":[],"obfuscation":"{padding}""#);
        reads.push(event("response.output_text.delta", &more));
    }
    let usage = r#"{"input_tokens":14,"input_tokens_details":{"cached_tokens":0},"output_tokens":9,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":23}"#;
    reads.push(event("response.output_item.done", &item("completed")));
    reads.push(event("response.completed", &response("completed", usage)));
    reads
}

fn anthropic(tokens: &mut Tokens, chunks: usize) -> Vec<String> {
    let event = |kind: &str, more: &str| format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{more}}}\n\n");
    let mut reads = vec![
        event(
            "message_start",
            r#","message":{"model":"claude-haiku-4-5-20251001","id":"msg_011CeCGmGRc8bSVtYuB5b7yR","type":"message","role":"assistant","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":15,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1,"service_tier":"standard"}}"#,
        ),
        event("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#),
        "event: ping\ndata: {\"type\": \"ping\"}\n\n".to_owned(),
    ];
    reads.extend((0..chunks).map(|_| {
        let delta = format!(r#","index":0,"delta":{{"type":"text_delta","text":"{}"}}"#, tokens.next());
        event("content_block_delta", &delta)
    }));
    reads.extend([
        event("content_block_stop", r#","index":0"#),
        event(
            "message_delta",
            r#","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":9}"#,
        ),
        event("message_stop", ""),
    ]);
    reads
}

fn gemini(tokens: &mut Tokens, chunks: usize) -> Vec<String> {
    (0..chunks)
        .map(|n| {
            let (token, finish) = (tokens.next(), if n + 1 == chunks { r#","finishReason":"STOP""# } else { "" });
            format!(
                "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{token}\"}}],\"role\":\"model\"}}{finish},\"index\":0}}],\
                 \"usageMetadata\":{{\"promptTokenCount\":10,\"candidatesTokenCount\":{n},\"totalTokenCount\":{}}},\
                 \"modelVersion\":\"gemini-2.5-flash\",\"responseId\":\"xA5paeyPE8ihvdIP\"}}\r\n\r\n",
                n + 10
            )
        })
        .collect()
}

fn ollama(tokens: &mut Tokens, chunks: usize) -> Vec<String> {
    let line = |n: usize, token: &str, more: &str| {
        let nanos = n * 41_000_017 % 1_000_000_000;
        format!(
            "{{\"model\":\"llama3.2\",\"created_at\":\"2025-03-10T01:{:02}:{:02}.{nanos:09}Z\",\
             \"message\":{{\"role\":\"assistant\",\"content\":\"{token}\"}},{more}}}\n",
            n / 1440 % 60,
            n / 24 % 60,
        )
    };
    let mut reads: Vec<String> = (0..chunks).map(|n| line(n, tokens.next(), "\"done\":false")).collect();
    let end = r#""done_reason":"stop","done":true,"total_duration":356504000,"load_duration":40734959,"prompt_eval_count":20,"prompt_eval_duration":39312458,"eval_count":55,"eval_duration":276151333"#;
    reads.push(line(chunks, "", end));
    reads
}

fn cohere(tokens: &mut Tokens, chunks: usize) -> Vec<String> {
    let event = |kind: &str, more: &str| format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{more}}}\n\n");
    let mut reads = vec![
        event(
            "message-start",
            r#","id":"86e92dd8-481e-438f-b3f7-f34f8acc32a5","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}"#,
        ),
        event("content-start", r#","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}"#),
    ];
    reads.extend((0..chunks).map(|_| {
        let delta =
            format!(r#","index":0,"delta":{{"message":{{"content":{{"text":"{}"}}}}}}"#, tokens.next());
        event("content-delta", &delta)
    }));
    reads.extend([
        event("content-end", r#","index":0"#),
        event(
            "message-end",
            r#","delta":{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":11,"output_tokens":2},"tokens":{"input_tokens":506,"output_tokens":5}}}"#,
        ),
    ]);
    reads
}

const PLAIN: [&str; 16] = [
    " the",
    " of",
    ",",
    " and",
    " loquat",
    " tree",
    "ing",
    ".",
    " is",
    " a",
    " which",
    " fruit",
    "s",
    " yellow",
    " approximately",
    " in",
];

/// Seeded, so that every run decodes the same (Marsaglia's xorshift).
struct Tokens {
    state: u64,
    /// Unescaped, so far.
    bytes: usize,
}

impl Tokens {
    fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state % limit as u64) as usize
    }

    /// A token as it is written in JSON.
    fn next(&mut self) -> &'static str {
        const CHINESE: [&str; 4] = ["枇杷", "的", "。", "果实"];
        const ESCAPED: [(&str, usize); 4] = [(r"\n\n", 2), (r#" \"ripe\""#, 7), (r"\n", 1), (r"\u00e9", 2)];
        let (token, bytes) = match self.below(40) {
            0..8 => {
                let token = CHINESE[self.below(4)];
                (token, token.len())
            }
            8..13 => ESCAPED[self.below(4)],
            _ => {
                let token = PLAIN[self.below(16)];
                (token, token.len())
            }
        };
        self.bytes += bytes;
        token
    }
}
