//! A stream of the Responses format, made up of bytes: any of its events in any order, numbered and named as it comes. Reaches what
//! a mutated stream seldom does, since each event that is made is one that the decoder knows.

use loquat_core::{Error, ErrorKind};
use loquat_provider::{DecodeLimits, OPENAI_RESPONSES};

use crate::support::{SSE, decoder, run};

/// How much one stream may say, in bytes, below what is allowed by default so that short streams reach it.
const MAX_ANSWER_BYTES: usize = 4096;
const MAX_OPEN: usize = 8;

/// Texts that look alike in length or beginning, one that is empty, and the halves of one character.
const TEXTS: [&str; 8] =
    ["", "a", "b", "ab", "ab ", "a long one, longer than what is remembered", "\\ud83d", "\\ude00"];
const NUMBERS: [&str; 8] = ["", "0", "1", "2", "3", "-1", "18446744073709551616", "null"];
const NAMES: [&str; 4] = ["", "x", "y", "z"];

/// The events that hold one text: their kinds, and the member it is in.
const TEXT_EVENTS: [(&str, &str); 14] = [
    ("output_text.delta", "delta"),
    ("output_text.done", "text"),
    ("refusal.delta", "delta"),
    ("refusal.done", "refusal"),
    ("reasoning_text.delta", "delta"),
    ("reasoning_text.done", "text"),
    ("reasoning_summary_text.delta", "delta"),
    ("reasoning_summary_text.done", "text"),
    ("function_call_arguments.delta", "delta"),
    ("function_call_arguments.done", "arguments"),
    ("custom_tool_call_input.delta", "delta"),
    ("custom_tool_call_input.done", "input"),
    ("mcp_call_arguments.delta", "delta"),
    ("nobody.knows", "delta"),
];
/// Those that hold a part.
const PART_EVENTS: [&str; 4] = [
    "content_part.added",
    "content_part.done",
    "reasoning_summary_part.added",
    "reasoning_summary_part.done",
];
const ITEM_EVENTS: [&str; 2] = ["output_item.added", "output_item.done"];
/// Those that hold a response.
const WHOLE_EVENTS: [&str; 5] = ["created", "completed", "incomplete", "failed", "in_progress"];

/// What chooses.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn next(&mut self) -> usize {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                usize::from(*first)
            }
            None => 0,
        }
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.next() % all.len()]
    }

    fn number(&mut self, name: &str) -> String {
        match self.of(&NUMBERS) {
            "" => String::new(),
            number => format!(r#","{name}":{number}"#),
        }
    }

    fn name(&mut self, name: &str) -> String {
        match self.of(&NAMES) {
            "" => String::new(),
            value => format!(r#","{name}":"{value}""#),
        }
    }

    fn part(&mut self) -> String {
        let text = self.of(&TEXTS);
        match self.next() % 5 {
            0 => format!(r#"{{"type":"refusal","refusal":"{text}"}}"#),
            1 => format!(r#"{{"type":"reasoning_text","text":"{text}"}}"#),
            2 => format!(
                r#"{{"type":"output_text","text":"{text}","annotations":[{{"url":"u"}}],"logprobs":[1]}}"#
            ),
            3 => format!(r#"{{"type":"output_text","text":"{text}","annotations":[],"logprobs":[]}}"#),
            _ => format!(r#"{{"type":"summary_text","text":"{text}"}}"#),
        }
    }

    fn parts(&mut self) -> String {
        let count = self.next() % 4;
        (0..count).map(|_| self.part()).collect::<Vec<_>>().join(",")
    }

    fn item(&mut self) -> String {
        let id = self.name("id");
        match self.next() % 5 {
            0 | 1 => format!(r#"{{"type":"message"{id},"content":[{}]}}"#, self.parts()),
            2 => format!(
                r#"{{"type":"reasoning"{id},"summary":[{}],"content":[{}]}}"#,
                self.parts(),
                self.parts()
            ),
            3 => {
                let (call_id, name, arguments) = (self.name("call_id"), self.name("name"), self.of(&TEXTS));
                let kind = self.of(&["function_call", "custom_tool_call"]);
                format!(
                    r#"{{"type":"{kind}"{id}{call_id}{name},"arguments":"{arguments}","input":"{arguments}"}}"#
                )
            }
            _ => format!(r#"{{"type":"web_search_call"{id}}}"#),
        }
    }

    /// The event, and the text of a message that it is a piece of.
    fn event(&mut self) -> (String, &'static str) {
        let kind = self.next() % 32;
        let place = self.number("output_index");
        let mut piece = "";
        let event = match kind {
            kind if kind < 25 => {
                // The first of them, which most streams are made of, twice as often.
                let (kind, member) = TEXT_EVENTS[(kind % 16).saturating_sub(2)];
                let number = self.number(if kind.starts_with("reasoning_summary") {
                    "summary_index"
                } else {
                    "content_index"
                });
                let text = self.of(&TEXTS);
                if kind == "output_text.delta" {
                    piece = text;
                }
                format!(r#"{{"type":"response.{kind}"{place}{number},"{member}":"{text}"}}"#)
            }
            25 => format!(
                r#"{{"type":"response.output_text.annotation.added"{place},"annotation":{{"url":"u"}}}}"#
            ),
            26 | 27 => {
                let kind = self.of(&PART_EVENTS);
                let number = self.number(if kind.starts_with("reasoning_summary") {
                    "summary_index"
                } else {
                    "content_index"
                });
                format!(r#"{{"type":"response.{kind}"{place}{number},"part":{}}}"#, self.part())
            }
            28..31 => {
                let kind = self.of(&ITEM_EVENTS);
                format!(r#"{{"type":"response.{kind}"{place},"item":{}}}"#, self.item())
            }
            _ => {
                let kind = self.of(&WHOLE_EVENTS);
                let count = self.next() % 4;
                let output = (0..count).map(|_| self.item()).collect::<Vec<_>>().join(",");
                format!(r#"{{"type":"response.{kind}","response":{{"id":"r","output":[{output}]}}}}"#)
            }
        };
        (format!("data: {event}\n\n"), piece)
    }
}

/// One ending, the same for every split; bounded output; no piece of a text is lost, nor a text made up.
pub(crate) fn check(input: &[u8]) {
    let Some((head, choices)) = input.split_at_checked(4) else { return };
    let mut choices = Choices(choices);
    let (mut body, mut pieces) = (String::new(), 0);
    let mut is_over = false;
    while !choices.0.is_empty() && body.len() < 64 * 1024 {
        let (event, piece) = choices.event();
        is_over |= ["completed", "incomplete", "failed"]
            .iter()
            .any(|end| event.contains(&format!(r#""response.{end}""#)));
        if !is_over && !piece.starts_with('\\') {
            pieces += piece.len();
        }
        body += &event;
    }
    let cause = (head[0] & 4 != 0).then(|| Error::new(ErrorKind::Connection, "lost"));
    let limits =
        DecodeLimits::default().with_max_tool_calls(MAX_OPEN).with_max_answer_bytes(MAX_ANSWER_BYTES);
    let fresh = || decoder(&OPENAI_RESPONSES, SSE, limits);
    let whole = run(fresh(), [body.as_bytes()], cause.as_ref());

    let mut rest = body.as_bytes();
    let mut chunks = Vec::new();
    for size in head[1..].iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, tail) = rest.split_at(usize::from(*size % 128 + 1).min(rest.len()));
        chunks.push(chunk);
        rest = tail;
    }
    assert_eq!(run(fresh(), chunks, cause.as_ref()), whole, "a split changes the answer to {body}");

    let texts = whole.lines.iter().filter_map(|line| line.strip_prefix("text: "));
    let text: String = texts.collect();
    assert_eq!(text, whole.response.text(), "the collected text is not the streamed one of {body}");
    let said: usize = whole.lines.iter().map(String::len).sum();
    // Of each delta a lead and a made-up name; what is kept of an item is no longer than the item.
    assert!(said <= MAX_ANSWER_BYTES + whole.deltas * 64, "{said} bytes in {} deltas", whole.deltas);
    if whole.ending.is_finished() {
        assert!(is_over, "finished, and nobody said so: {body}");
        let halves = text.matches(['\u{1f600}', '\u{fffd}']).map(str::len).sum::<usize>();
        assert!(text.len() - halves >= pieces, "{pieces} bytes came in pieces, {text:?} is told of {body}");
    }
}
