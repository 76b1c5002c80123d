//! Content as JSON by the conventions' schemas: redacted first, then cut.
//! <https://github.com/open-telemetry/semantic-conventions-genai/tree/main/docs/gen-ai> (`gen-ai-input-messages.json`, …)

use loquat_core::{ChatRequest, FinishReason, Media, MediaSource, Message, Part, Response, Role};
use serde_json::{Map, Value, json};

use super::{
    content::Rendered,
    redact::{MARK, Rules},
};

/// What a member of an array costs beside its text.
const FRAME_BYTES: usize = 96;

/// `held_back`: how much of the end of an answer's last words is not shown, since it was cut there.
pub(super) fn render(
    request: &ChatRequest,
    answer: &Response,
    rules: &Rules,
    max_bytes: usize,
    held_back: usize,
) -> Rendered {
    let mut is_cut = false;
    let writer = |held_back| Writer { rules, left: max_bytes, held_back, is_cut: false };

    let mut instructions = writer(0);
    let mut rules_of_house = Vec::new();
    for message in request.messages.iter().filter(|message| message.role == Role::System) {
        rules_of_house.extend(instructions.parts(&message.parts));
    }

    // From the last message on: it says most of what the answer answers.
    let mut input = writer(0);
    let mut messages = Vec::new();
    for message in request.messages.iter().rev().filter(|message| message.role != Role::System) {
        if !input.takes(FRAME_BYTES) {
            break;
        }
        messages.push(json!({"role": role(message), "parts": input.parts(&message.parts)}));
    }
    messages.reverse();

    let mut output = writer(held_back);
    let mut choices = Vec::new();
    for choice in &answer.choices {
        if !output.takes(FRAME_BYTES) {
            break;
        }
        let parts = output.parts(&choice.message.parts);
        let reason = match &choice.finish_reason {
            None => "error",
            Some(FinishReason::ToolCalls) => "tool_call",
            Some(reason) => reason.as_str(),
        };
        let reason = rules.text(reason);
        choices.push(json!({"role": "assistant", "parts": parts, "finish_reason": reason}));
    }

    for writer in [&instructions, &input, &output] {
        is_cut |= writer.is_cut;
    }
    let array =
        |values: Vec<Value>| if values.is_empty() { String::new() } else { Value::Array(values).to_string() };
    Rendered {
        instructions: array(rules_of_house),
        input: array(messages),
        output: array(choices),
        is_cut: is_cut || held_back > 0,
    }
}

fn role(message: &Message) -> &'static str {
    match message.role {
        Role::System => "system",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
        _ => "user",
    }
}

/// Writes parts within what is left of an attribute.
struct Writer<'a> {
    rules: &'a Rules,
    left: usize,
    held_back: usize,
    is_cut: bool,
}

impl Writer<'_> {
    /// Whether so much is left; then it is taken.
    fn takes(&mut self, bytes: usize) -> bool {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => self.is_cut = true,
        }
        !self.is_cut
    }

    fn parts(&mut self, parts: &[Part]) -> Vec<Value> {
        let mut out = Vec::new();
        let mut rest = parts.iter().peekable();
        while let Some(part) = rest.next() {
            if !self.takes(FRAME_BYTES) {
                break;
            }
            let value = if let Part::Text(first) = part {
                // Neighbours are one text to a model, and may hold one secret.
                let mut whole = first.clone();
                while let Some(Part::Text(more)) = rest.peek() {
                    whole += more;
                    rest.next();
                }
                self.part(&Part::Text(whole), rest.peek().is_none())
            } else {
                self.part(part, rest.peek().is_none())
            };
            out.push(value);
        }
        out
    }

    fn part(&mut self, part: &Part, is_last: bool) -> Value {
        match part {
            Part::Text(text) => json!({"type": "text", "content": self.text(text, is_last)}),
            Part::Reasoning(thoughts) => {
                json!({"type": "reasoning", "content": self.text(&thoughts.text, is_last)})
            }
            Part::Refusal(text) => json!({"type": "refusal", "content": self.text(text, is_last)}),
            Part::ToolCall(call) => {
                let arguments = self.rules.json(&call.arguments);
                json!({
                    "type": "tool_call",
                    "id": self.text(&call.id, false),
                    "name": self.text(&call.name, false),
                    "arguments": self.value(arguments),
                })
            }
            Part::ToolResult(result) => json!({
                "type": "tool_call_response",
                "id": self.text(&result.call_id, false),
                "response": self.text(&result.content, false),
            }),
            Part::Image(media) => self.media("image", media),
            Part::Audio(media) => self.media("audio", media),
            Part::File(media) => self.media("file", media),
            Part::Opaque(opaque) => {
                json!({"type": "omitted", "bytes": opaque.json.as_str().len()})
            }
            _ => json!({"type": "omitted"}),
        }
    }

    /// Of bytes, how many; of an address, neither user nor query.
    fn media(&mut self, modality: &str, media: &Media) -> Value {
        let mime_type = self.text(&media.media_type, false);
        match &media.source {
            MediaSource::Url(url) if !url.starts_with("data:") => {
                let bare = bare(url);
                json!({"type": "uri", "modality": modality, "mime_type": mime_type, "uri": self.text(&bare, false)})
            }
            MediaSource::FileId(id) => {
                json!({"type": "file", "modality": modality, "mime_type": mime_type, "file_id": self.text(id, false)})
            }
            source => {
                let bytes = match source {
                    MediaSource::Bytes(bytes) => bytes.len(),
                    MediaSource::Url(data) => data.len(),
                    _ => 0,
                };
                json!({"type": "omitted", "modality": modality, "mime_type": mime_type, "bytes": bytes})
            }
        }
    }

    fn text(&mut self, text: &str, is_last: bool) -> String {
        let is_open = is_last && self.held_back > 0;
        if is_open && text.trim_start().starts_with(['{', '[']) {
            // Half a document: no rule can tell which member its end belongs to.
            return MARK.into();
        }
        let text = self.rules.text(text);
        let keep = if is_open { text.len().saturating_sub(self.held_back) } else { text.len() };
        self.cut(text.get(..text.floor_char_boundary(keep)).unwrap_or_default())
    }

    /// As much as fits when it is written as JSON.
    fn cut(&mut self, text: &str) -> String {
        let mut written = 0;
        for (at, letter) in text.char_indices() {
            written += match letter {
                '"' | '\\' | '\n' | '\r' | '\t' => 2,
                letter if letter < ' ' => 6,
                letter => letter.len_utf8(),
            };
            if written > self.left {
                (self.left, self.is_cut) = (0, true);
                return text.get(..at).unwrap_or_default().into();
            }
        }
        self.left -= written;
        text.into()
    }

    fn value(&mut self, value: Value) -> Value {
        if self.takes(value.to_string().len()) { value } else { Value::Object(Map::new()) }
    }
}

/// Scheme, host and path of an address (RFC 3986): signatures and tokens stand in its query and before its `@`.
fn bare(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or_default();
    match bare.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => bare.into(),
    }
}

#[cfg(test)]
mod tests {
    use loquat_core::{Choice, Opaque, Reasoning, ToolCall, ToolResult};

    use super::*;

    fn said(parts: Vec<Part>, reason: Option<FinishReason>) -> Response {
        let mut choice = Choice::default();
        (choice.message.parts, choice.finish_reason) = (parts, reason);
        let mut answer = Response::default();
        answer.choices.push(choice);
        answer
    }

    fn parsed(json: &str) -> Value {
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
    }

    #[test]
    fn each_part_by_its_schema() {
        let call = ToolCall::new("c1", "lookup", r#"{"city":"Bern","token":"x"}"#);
        let request = ChatRequest::new("m").with_message(Message::system("Be kind.")).with_message(
            Message::user("one ")
                .with_part(Part::Text("two".into()))
                .with_part(Part::Image(Media::url("https://u:p@h/a.png?sig=1#x")))
                .with_part(Part::Image(Media::bytes("image/png", vec![0; 7])))
                .with_part(Part::File(Media::url("data:text/plain,private"))),
        );
        let request = request
            .with_message(Message::new(Role::Assistant, vec![Part::ToolCall(call.clone())]))
            .with_message(Message::tool(ToolResult::new(&call, "rain")));
        let thoughts = Part::Reasoning(Reasoning::new("hm").with_signature("seal"));
        let opaque = Part::Opaque(Opaque::new("anthropic", "{\"seal\":1}"));
        let answer = said(vec![thoughts, opaque, Part::Text("Rain.".into())], Some(FinishReason::Stop));
        let shown = render(&request, &answer, &Rules::default(), 4096, 0);
        assert_eq!(parsed(&shown.instructions), json!([{"type": "text", "content": "Be kind."}]));
        assert_eq!(
            parsed(&shown.input),
            json!([
                {"role": "user", "parts": [
                    {"type": "text", "content": "one two"},
                    {"type": "uri", "modality": "image", "mime_type": "", "uri": "https://h/a.png"},
                    {"type": "omitted", "modality": "image", "mime_type": "image/png", "bytes": 7},
                    {"type": "omitted", "modality": "file", "mime_type": "", "bytes": 23},
                ]},
                {"role": "assistant", "parts": [
                    {"type": "tool_call", "id": "c1", "name": "lookup", "arguments": {"city": "Bern", "token": MARK}},
                ]},
                {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "rain"}]},
            ])
        );
        assert_eq!(
            parsed(&shown.output),
            json!([{"role": "assistant", "finish_reason": "stop", "parts": [
                {"type": "reasoning", "content": "hm"},
                {"type": "omitted", "bytes": 10},
                {"type": "text", "content": "Rain."},
            ]}])
        );
        assert!(!shown.is_cut);
    }

    #[test]
    fn redacted_before_it_is_cut_whatever_the_limit() {
        let mut rules = Rules::default();
        rules.pattern("planted[a-z]+").expect("a pattern");
        let text = "\u{1}\"é ".repeat(20) + "plantedsecret" + &"x".repeat(200);
        let call = ToolCall::new("c", "f", format!("{{\"a\":\"{}\"}}", "plantedsecret,".repeat(9)));
        let request = ChatRequest::new("m").with_user(&text).with_message(Message::user(text.clone()));
        let answer = said(vec![Part::Text(text), Part::ToolCall(call)], Some(FinishReason::Stop));
        for max in 0..1200 {
            let shown = render(&request, &answer, &rules, max, 0);
            for json in [&shown.input, &shown.output] {
                assert!(!json.contains("plant"), "{max}: {json}");
                assert!(json.is_empty() || parsed(json).is_array());
                assert!(json.len() <= max + 2, "{max}: {}", json.len());
            }
            assert!(shown.is_cut || max > 700, "{max}");
        }
    }

    #[test]
    fn the_end_of_what_was_cut_is_held_back() {
        let mut rules = Rules::default();
        rules.pattern("planted-[0-9]{8}").expect("a pattern");
        let check = |text: &str, held_back, shown: &str| {
            let answer = said(vec![Part::Text(text.into())], None);
            let output = parsed(&render(&ChatRequest::new("m"), &answer, &rules, 4096, held_back).output);
            assert_eq!(output[0]["parts"][0]["content"], shown, "{text}");
            assert_eq!(output[0]["finish_reason"], "error");
        };
        check("he said planted-1234", 0, "he said planted-1234");
        check("he said planted-1234", 16, "he s");
        check("he said planted-12345678 and then nothing at all", 16, "he said [redacted] and the");
        check("short", 16, "");
        check(r#"{"password":"hun"#, 16, MARK);
        // Arguments that were cut cannot be read.
        let answer = said(vec![Part::ToolCall(ToolCall::new("c", "f", r#"{"a":"plan"#))], None);
        let output = parsed(&render(&ChatRequest::new("m"), &answer, &rules, 4096, 16).output);
        assert_eq!(output[0]["parts"][0]["arguments"], MARK);
    }
}
