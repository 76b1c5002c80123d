//! Prompts that grow turn by turn, read from a plan of bytes: what the tests and the fuzz target `segments` have in common.
//!
//! A plan is made of scraps that break word splitting when they meet: spaces, contractions, ends of lines, digits, ideographs,
//! emoji, marks, look-alikes of control tokens. At the end of each turn the prompt is encoded through a small cache, which
//! takes it apart into segments, and whole; the tokens have to be the same, in whatever order the cache was filled before.

use std::sync::Arc;

use loquat_prompt::{
    Piece, Tokenizer,
    cache::{CacheLimits, CachedTokenizer, Segment, TokenCache},
};

/// Longest prompt, bytes.
const MAX_BYTES: usize = 4096;
/// Most turns of a plan.
const MAX_TURNS: usize = 24;

/// What a byte below [`TURN`] stands for, by its rest.
const SCRAPS: [&str; 96] = [
    " ",
    "  ",
    "   ",
    "\n",
    "\r\n",
    "\n\n",
    "\t",
    " \n",
    "\r",
    "\u{a0}",
    "\u{2003}",
    "\u{85}",
    "a",
    "b ",
    "the",
    " the",
    " The",
    "THE",
    " I",
    "camelCase",
    "ABCdef",
    "iPhone",
    "x",
    "'s",
    "'S",
    "'t",
    "'re",
    "'VE",
    "'ll",
    "'LL",
    "'m",
    "'d",
    "'",
    "''",
    "'ſ",
    "don't",
    "ſ",
    "1",
    "12",
    "123",
    " 4567",
    "１２",
    "Ⅳ",
    "²",
    "3.14",
    ".",
    ",",
    ", ",
    ". ",
    "!",
    "?!",
    "-",
    "--",
    "=====",
    "_",
    "/",
    "//",
    "\\",
    "\"",
    "(",
    ")",
    "{}",
    "[];",
    "<",
    "|",
    ">",
    "<|endoftext|>",
    "<|endofprompt|>",
    "<|im_start|>",
    "<|end",
    "oftext|>",
    "漢",
    "漢字",
    "かな",
    "。",
    "的是不",
    "한글",
    "ᄀ",
    "é",
    "e\u{301}",
    "\u{301}",
    "\u{300}\u{316}",
    "ß",
    "ǅ",
    "ʰ",
    "Ж",
    "привет",
    "हिन्दी",
    "العربية",
    "😀",
    "👍🏽",
    "🇩🇪",
    "\u{200d}",
    "\0",
    "\u{10ffff}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];
/// This byte and the next ones end a turn.
const TURN: u8 = 192;
/// Takes the prompt back, by a part that the next byte says.
const BACK: u8 = 208;
/// Repeats the last scrap, as often as the next byte says.
const AGAIN: u8 = 224;
/// Any character, by the next three bytes.
const ANY: u8 = 240;

/// A tokenizer with caches of several sizes before it.
pub(crate) struct Subject {
    plain: Arc<dyn Tokenizer>,
    cached: Vec<CachedTokenizer>,
}

impl Subject {
    pub(crate) fn new(plain: Arc<dyn Tokenizer>) -> Self {
        // Segments from the shortest there are; room for little, so that entries come and go.
        let sizes = [(64, 4 << 10), (64, 1 << 20), (150, 64 << 10), (700, 1 << 20)];
        let cached = sizes
            .iter()
            .map(|&(segment_bytes, max_bytes)| {
                let mut limits = CacheLimits::default();
                (limits.segment_bytes, limits.max_bytes) = (segment_bytes, max_bytes);
                TokenCache::new(limits).tokenizer("tenant", &plain)
            })
            .collect();
        Self { plain, cached }
    }

    /// Runs a plan; how many prompts were compared. The first byte chooses the cache.
    pub(crate) fn check(&self, plan: &[u8]) -> usize {
        let Some((first, plan)) = plan.split_first() else { return 0 };
        let cached = &self.cached[usize::from(*first) % self.cached.len()];
        let (mut messages, mut text, mut last, mut turns) = (Vec::new(), String::new(), " ", 0);
        let mut bytes = plan.iter().copied();
        let mut next = || bytes.next();
        while let Some(byte) = next() {
            match byte {
                ..TURN => {
                    last = SCRAPS[usize::from(byte) % SCRAPS.len()];
                    text.push_str(last);
                }
                TURN..BACK => {
                    self.compare(cached, &text, usize::from(byte - TURN));
                    // An even one begins a new message, an odd one lets this one grow.
                    if byte % 2 == 0 {
                        messages.push(std::mem::take(&mut text));
                        self.compare_messages(cached, &messages);
                    }
                    turns += 1;
                }
                BACK..AGAIN => {
                    let keep = usize::from(next().unwrap_or_default()) * text.len() / 255;
                    text.truncate(text.floor_char_boundary(keep));
                }
                AGAIN..ANY => {
                    let times = usize::from(next().unwrap_or_default());
                    text.extend((0..times).map(|_| last));
                }
                ANY.. => {
                    let code = (0..3).fold(0, |code, _| code << 8 | u32::from(next().unwrap_or_default()));
                    text.extend(char::from_u32(code % 0x11_0000));
                }
            }
            text.truncate(text.floor_char_boundary(MAX_BYTES));
            if turns == MAX_TURNS {
                return turns;
            }
        }
        self.compare(cached, &text, 0);
        turns + 1
    }

    fn full(&self, text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        self.plain.encode(text, &mut tokens).expect("any text is encoded");
        tokens
    }

    /// One text through the cache, and cut where the tokenizer says that it can be.
    fn compare(&self, cached: &CachedTokenizer, text: &str, part: usize) {
        let (expected, mut tokens) = (self.full(text), Vec::new());
        cached.encode(text, &mut tokens).expect("any text is encoded");
        assert!(tokens == expected, "{}: {text:?}\n{tokens:?}\n{expected:?}", self.plain.name());
        assert_eq!(cached.count(text).expect("any text is counted"), expected.len(), "{text:?}");
        let cut = self.plain.safe_cut(text, text.len() * part / 16);
        let (head, tail) = text.split_at(cut);
        tokens = self.full(head);
        tokens.extend(self.full(tail));
        assert!(tokens == expected, "{}: {head:?} + {tail:?}", self.plain.name());
    }

    /// All messages as a prompt: control tokens between them are the template's, those within them are text.
    fn compare_messages(&self, cached: &CachedTokenizer, messages: &[String]) {
        const END: &str = "<|endoftext|>";
        let mut pieces = Vec::new();
        for message in messages {
            pieces.extend([Piece::Markup(END), Piece::Markup("user\n"), Piece::Text(message)]);
        }
        let (mut tokens, mut expected, mut apart) = (Vec::new(), Vec::new(), Vec::new());
        self.plain.encode_prompt(&pieces, &mut expected).expect("any prompt is encoded");
        cached.encode_prompt(&pieces, &mut tokens).expect("any prompt is encoded");
        assert!(tokens == expected, "{}: {messages:?}", self.plain.name());
        let end = self.plain.control_token(END).expect("it has that control token");
        for message in messages {
            let segment = Segment::new(format!("user\n{message}"));
            apart.push(end);
            apart.extend_from_slice(&segment.tokens(cached).expect("any text is encoded"));
        }
        assert!(apart == expected, "{}: {messages:?}", self.plain.name());
    }
}
