//! Streams as providers send them, made up so that the bench needs no data: key order, ids and frames after recordings, and
//! tokens with one in five Chinese, one in eight with escapes.

/// A stream, or several that are decoded one after the other.
pub struct Stream {
    pub name: &'static str,
    /// Replies, each with a decoder of its own.
    pub replies: Vec<Vec<Vec<u8>>>,
    pub events: usize,
    /// Bytes of text in all deltas, unescaped.
    pub text_bytes: usize,
    /// Where the text is, for us and for peers.
    pub fields: &'static [&'static str],
    pub path: &'static [Step],
    pub format: Format,
    /// Not only in reads of one event.
    pub in_all_reads: bool,
    pub predicts: bool,
    /// Where replies are fresh: others, for each time anew all that is seen before them. None otherwise.
    pub seen_before: Vec<Vec<Vec<u8>>>,
}

#[derive(Clone, Copy)]
pub enum Step {
    Name(&'static str),
    First,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    OpenAi,
    Anthropic,
    Ollama,
}

/// How a stream can be cut into reads. No read spans two replies.
type Cut = fn(&Stream) -> Vec<&[u8]>;

/// An empty read separates replies.
pub const READS: &[(&str, Cut)] = &[
    ("event", |stream| {
        let reads =
            |reply: &Vec<Vec<u8>>| -> Vec<&'static [u8]> { reply.iter().cloned().map(leak).collect() };
        stream.replies.iter().flat_map(|reply| reads(reply).into_iter().chain([&[][..]])).collect()
    }),
    ("16k", |stream| cut(stream, || 16 * 1024)),
    ("tiny", |stream| {
        let mut random = Random(7);
        cut(stream, move || 1 + random.below(64))
    }),
];

/// Reads live as long as the program, which saves every contender a lifetime.
fn leak(bytes: Vec<u8>) -> &'static [u8] {
    bytes.leak()
}

fn cut(stream: &Stream, mut length: impl FnMut() -> usize) -> Vec<&'static [u8]> {
    let mut reads: Vec<&[u8]> = Vec::new();
    for reply in &stream.replies {
        let mut rest: &[u8] = leak(reply.concat());
        while !rest.is_empty() {
            let (read, after) = rest.split_at(length().min(rest.len()));
            reads.push(read);
            rest = after;
        }
        reads.push(&[]);
    }
    reads
}

const OPENAI: &[&str] = &["/choices/0/delta/content", "/choices/0/finish_reason", "/usage/total_tokens"];
const OPENAI_PATH: &[Step] =
    &[Step::Name("choices"), Step::First, Step::Name("delta"), Step::Name("content")];

/// All synthetic streams.
pub fn all() -> Vec<Stream> {
    let steady = |name, event: fn(&mut Reply) -> String| {
        let mut stream = Stream { name, ..base() };
        stream.add(2000, 1, event);
        stream
    };
    let mut tools = steady("openai-tools", openai_tools);
    tools.fields = &[
        "/choices/0/delta/tool_calls/0/function/arguments",
        "/choices/0/finish_reason",
        "/usage/total_tokens",
    ];
    tools.path = &[
        Step::Name("choices"),
        Step::First,
        Step::Name("delta"),
        Step::Name("tool_calls"),
        Step::First,
        Step::Name("function"),
        Step::Name("arguments"),
    ];
    let mut anthropic = steady("anthropic", anthropic);
    anthropic.format = Format::Anthropic;
    anthropic.fields = &["/delta/text", "/delta/stop_reason", "/usage/output_tokens"];
    anthropic.path = &[Step::Name("delta"), Step::Name("text")];
    let mut ollama = steady("ollama", ollama);
    ollama.format = Format::Ollama;
    ollama.fields = &["/message/content", "/done_reason", "/eval_count"];
    ollama.path = &[Step::Name("message"), Step::Name("content")];
    let mut short = Stream { name: "short-20", in_all_reads: false, ..base() };
    for reply in 0..8 {
        short.add(20, 900 + reply, openai);
    }
    let seen_before = std::mem::take(&mut short.replies);
    short = Stream { seen_before, replies: Vec::new(), events: 0, text_bytes: 0, ..short };
    for reply in 0..60 {
        short.add(20, 100 + reply, openai);
    }
    let miss = Stream { name: "miss", in_all_reads: false, predicts: false, ..steady("miss", openai) };
    let obfuscated = steady("openai-obfuscated", openai_obfuscated);
    vec![steady("openai", openai), obfuscated, tools, anthropic, ollama, short, miss]
}

/// One event with text of so many bytes, base64 as of an image.
pub fn long_line(bytes: usize) -> Stream {
    let mut reply = Reply::new(1, 1);
    let text = reply.random.letters(1 << 10).repeat(bytes >> 10);
    let event = chunk(&reply, &format!(r#"{{"content":"{text}"}}"#), "null", "");
    Stream {
        name: "long-line",
        replies: vec![vec![event.into_bytes()]],
        events: 1,
        text_bytes: text.len(),
        ..base()
    }
}

fn base() -> Stream {
    Stream {
        name: "",
        replies: Vec::new(),
        events: 0,
        text_bytes: 0,
        fields: OPENAI,
        path: OPENAI_PATH,
        format: Format::OpenAi,
        in_all_reads: true,
        predicts: true,
        seen_before: Vec::new(),
    }
}

impl Stream {
    fn add(&mut self, events: usize, seed: u64, event: fn(&mut Reply) -> String) {
        let mut reply = Reply::new(seed, events);
        let mut reads = Vec::new();
        for n in 0..events {
            reply.n = n;
            reads.push(event(&mut reply).into_bytes());
        }
        self.events += events;
        self.text_bytes += reply.text_bytes;
        self.replies.push(reads);
    }
}

/// What varies from reply to reply.
struct Reply {
    random: Random,
    id: String,
    created: usize,
    fingerprint: String,
    n: usize,
    events: usize,
    text_bytes: usize,
}

impl Reply {
    fn new(seed: u64, events: usize) -> Self {
        let mut random = Random(seed * 7919);
        let id = random.letters(29);
        let fingerprint = random.letters(10);
        let created = 1_741_569_952 + random.below(100_000);
        Self { random, id, created, fingerprint, n: 0, events, text_bytes: 0 }
    }

    /// A token as it is written in JSON.
    fn token(&mut self) -> &'static str {
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
        const CHINESE: [&str; 4] = ["枇杷", "的", "。", "果实"];
        const ESCAPED: [(&str, usize); 4] = [(r"\n\n", 2), (r#" \"ripe\""#, 7), (r"\n", 1), (r"\u00e9", 2)];
        match self.random.below(40) {
            0..8 => {
                let token = CHINESE[self.random.below(4)];
                self.count(token, None)
            }
            8..13 => {
                let (token, length) = ESCAPED[self.random.below(4)];
                self.count(token, Some(length))
            }
            13 => self.count("🍊", None),
            _ => {
                let token = PLAIN[self.random.below(16)];
                self.count(token, None)
            }
        }
    }

    fn count(&mut self, token: &'static str, length: Option<usize>) -> &'static str {
        self.text_bytes += length.unwrap_or(token.len());
        token
    }
}

fn chunk(reply: &Reply, delta: &str, finish: &str, more: &str) -> String {
    let Reply { id, created, fingerprint, .. } = reply;
    format!(
        "data: {{\"id\":\"chatcmpl-{id}\",\"object\":\"chat.completion.chunk\",\"created\":{created},\
         \"model\":\"gpt-4.1-2025-04-14\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_{fingerprint}\",\
         \"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}],\"usage\":null{more}}}\n\n"
    )
}

fn openai_with(reply: &mut Reply, more: &str) -> String {
    match (reply.n, reply.events - reply.n) {
        (0, _) => chunk(reply, r#"{"role":"assistant","content":"","refusal":null}"#, "null", more),
        (_, 1) => "data: [DONE]\n\n".to_owned(),
        (_, 2) => {
            let Reply { id, created, fingerprint, .. } = reply;
            format!(
                "data: {{\"id\":\"chatcmpl-{id}\",\"object\":\"chat.completion.chunk\",\"created\":{created},\
                 \"model\":\"gpt-4.1-2025-04-14\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_{fingerprint}\",\
                 \"choices\":[],\"usage\":{{\"prompt_tokens\":19,\"completion_tokens\":{},\"total_tokens\":{},\
                 \"prompt_tokens_details\":{{\"cached_tokens\":0}}}}{more}}}\n\n",
                reply.events,
                reply.events + 19
            )
        }
        (_, 3) => chunk(reply, "{}", r#""stop""#, more),
        _ => {
            let delta = format!(r#"{{"content":"{}"}}"#, reply.token());
            chunk(reply, &delta, "null", more)
        }
    }
}

fn openai(reply: &mut Reply) -> String {
    openai_with(reply, "")
}

fn openai_obfuscated(reply: &mut Reply) -> String {
    let length = 1 + reply.random.below(16);
    let padding = reply.random.letters(length);
    openai_with(reply, &format!(",\"obfuscation\":\"{padding}\""))
}

fn openai_tools(reply: &mut Reply) -> String {
    match reply.n % 100 {
        0 => chunk(
            reply,
            &format!(
                r#"{{"tool_calls":[{{"index":{},"id":"call_{}","type":"function","function":{{"name":"search","arguments":""}}}}]}}"#,
                reply.n / 100,
                reply.n
            ),
            "null",
            "",
        ),
        _ => {
            let delta = format!(
                r#"{{"tool_calls":[{{"index":{},"function":{{"arguments":"{}"}}}}]}}"#,
                reply.n / 100,
                reply.token()
            );
            chunk(reply, &delta, "null", "")
        }
    }
}

fn anthropic(reply: &mut Reply) -> String {
    if reply.n % 200 == 199 {
        return "event: ping\ndata: {\"type\": \"ping\"}\n\n".to_owned();
    }
    format!(
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\
         \"text\":\"{}\"}} }}\n\n",
        reply.token()
    )
}

fn ollama(reply: &mut Reply) -> String {
    let nanos = reply.n * 41_000_017 % 1_000_000_000;
    format!(
        "{{\"model\":\"llama3.2\",\"created_at\":\"2025-03-10T01:{:02}:{:02}.{nanos:09}Z\",\
         \"message\":{{\"role\":\"assistant\",\"content\":\"{}\"}},\"done\":false}}\n",
        reply.n / 1440 % 60,
        reply.n / 24 % 60,
        reply.token()
    )
}

/// Seeded, so that every run decodes the same (Marsaglia's xorshift).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn letters(&mut self, length: usize) -> String {
        (0..length)
            .map(|_| char::from(b"ABCDEFGHJKLMNPQRSTabcdefghjkmnpqrst0123456789"[self.below(45)]))
            .collect()
    }
}
