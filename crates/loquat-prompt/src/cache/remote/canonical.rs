//! A request as bytes that are equal exactly where the requests ask for the same: what an answer is kept under.
//!
//! Every field that can change the answer is in it, each preceded by its length, so that no two requests run together. What only
//! says how the answer travels (`stream`) or what the provider keeps (`cache`) is not.

use loquat_core::{ChatRequest, Media, MediaSource, Message, Part, ResponseFormat, ToolChoice};

use super::codec::{write_number, write_text};

/// The canonical form; `None` for a request that holds what this code does not know.
pub(super) fn bytes(request: &ChatRequest) -> Option<Vec<u8>> {
    let mut to = Vec::with_capacity(1024);
    write_text(&request.model, &mut to);
    write_number(request.messages.len() as u64, &mut to);
    for message in &request.messages {
        self::message(message, &mut to)?;
    }
    write_number(request.tools.len() as u64, &mut to);
    for tool in &request.tools {
        [tool.name.as_str(), &tool.description, tool.parameters.as_str()]
            .iter()
            .for_each(|t| write_text(t, &mut to));
        to.push(tool.strict.map_or(2, u8::from));
    }
    match &request.tool_choice {
        ToolChoice::Auto => to.push(0),
        ToolChoice::None => to.push(1),
        ToolChoice::Required => to.push(2),
        ToolChoice::Tool(name) => {
            to.push(3);
            write_text(name, &mut to);
        }
        _ => return None,
    }
    to.push(request.parallel_tool_calls.map_or(2, u8::from));
    match &request.response_format {
        ResponseFormat::Text => to.push(0),
        ResponseFormat::JsonObject => to.push(1),
        ResponseFormat::JsonSchema { name, schema } => {
            to.push(2);
            write_text(name, &mut to);
            write_text(schema.as_str(), &mut to);
        }
        _ => return None,
    }
    let numbers = [
        request.max_output_tokens.map(u64::from),
        request.temperature.map(|number| u64::from(number.to_bits())),
        request.top_p.map(|number| u64::from(number.to_bits())),
        request.seed,
        request.reasoning_budget_tokens.map(u64::from),
        request.choices.map(u64::from),
        request.top_logprobs.map(u64::from),
    ];
    for number in numbers {
        optional(number, &mut to);
    }
    write_number(request.stop.len() as u64, &mut to);
    request.stop.iter().for_each(|stop| write_text(stop, &mut to));
    to.push(u8::from(request.reasoning_effort.is_some()));
    write_text(request.reasoning_effort.as_deref().unwrap_or_default(), &mut to);
    write_number(request.extra_body.len() as u64, &mut to);
    for (name, json) in &request.extra_body {
        write_text(name, &mut to);
        write_text(json.as_str(), &mut to);
    }
    to.push(u8::from(request.raw));
    write_number(request.extra_headers.0.len() as u64, &mut to);
    for (name, value) in &request.extra_headers.0 {
        write_text(name, &mut to);
        write_text(value, &mut to);
    }
    Some(to)
}

fn optional(number: Option<u64>, to: &mut Vec<u8>) {
    to.push(u8::from(number.is_some()));
    write_number(number.unwrap_or_default(), to);
}

fn message(message: &Message, to: &mut Vec<u8>) -> Option<()> {
    write_text(&format!("{:?}", message.role), to);
    write_number(message.parts.len() as u64, to);
    for part in &message.parts {
        match part {
            Part::Text(text) => tagged(0, &[text], to),
            Part::Refusal(text) => tagged(1, &[text], to),
            Part::Image(media) => self::media(2, media, to)?,
            Part::Audio(media) => self::media(3, media, to)?,
            Part::File(media) => self::media(4, media, to)?,
            Part::ToolCall(call) => {
                tagged(5, &[&call.id, &call.name, &call.arguments], to);
                maybe(call.signature.as_deref(), to);
            }
            Part::ToolResult(result) => {
                tagged(6, &[&result.call_id, &result.name, &result.content], to);
                to.push(u8::from(result.is_error));
            }
            Part::Reasoning(reasoning) => {
                tagged(7, &[&reasoning.text], to);
                maybe(reasoning.signature.as_deref(), to);
                to.push(u8::from(reasoning.redacted));
                maybe(reasoning.format.as_deref(), to);
            }
            Part::Opaque(opaque) => tagged(8, &[&opaque.format, opaque.json.as_str()], to),
            _ => return None,
        }
    }
    Some(())
}

fn tagged(tag: u8, texts: &[&str], to: &mut Vec<u8>) {
    to.push(tag);
    texts.iter().for_each(|text| write_text(text, to));
}

fn maybe(text: Option<&str>, to: &mut Vec<u8>) {
    to.push(u8::from(text.is_some()));
    text.iter().for_each(|text| write_text(text, to));
}

fn media(tag: u8, media: &Media, to: &mut Vec<u8>) -> Option<()> {
    tagged(tag, &[&media.media_type], to);
    maybe(media.name.as_deref(), to);
    match &media.source {
        MediaSource::Bytes(bytes) => {
            to.push(0);
            to.extend_from_slice(blake3::hash(bytes).as_bytes());
        }
        MediaSource::Url(url) => tagged(1, &[url], to),
        MediaSource::FileId(id) => tagged(2, &[id], to),
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use loquat_core::{CacheHint, JsonText, Reasoning, Role, Tool, ToolCall, ToolResult};

    /// A field that is new in `ChatRequest` must be thought of here: does it change the answer?
    #[test]
    fn every_field_is_known() {
        let shown = format!("{:#?}", ChatRequest::new("m"));
        let fields: Vec<&str> = shown
            .lines()
            .filter(|line| line.starts_with("    ") && !line.starts_with("     "))
            .filter_map(|line| line.trim().split_once(':').map(|(name, _)| name))
            .collect();
        assert_eq!(
            fields,
            [
                "model",
                "messages",
                "tools",
                "tool_choice",
                "parallel_tool_calls",
                "response_format",
                "max_output_tokens",
                "temperature",
                "top_p",
                "stop",
                "seed",
                "reasoning_effort",
                "reasoning_budget_tokens",
                "choices",
                "top_logprobs",
                "cache",
                "stream",
                "extra_body",
                "raw",
                "extra_headers",
            ]
        );
    }

    #[test]
    fn what_changes_the_answer_changes_the_bytes() {
        let base = || ChatRequest::new("m").with_user("hi");
        let call = ToolCall::new("1", "t", "{}");
        let signed = |signature: Option<&str>| {
            let mut signed = ToolCall::new("2", "t", "{}");
            signed.signature = signature.map(str::to_owned);
            Part::ToolCall(signed)
        };
        let mut all: Vec<ChatRequest> = vec![
            base(),
            ChatRequest::new("n").with_user("hi"),
            ChatRequest::new("m").with_system("hi"),
            ChatRequest::new("m").with_user("h").with_user("i"),
            base().with_message(Message::new(Role::User, vec![])),
            base().with_message(Message::new(Role::Assistant, vec![Part::ToolCall(call.clone())])),
            base().with_message(Message::tool(ToolResult::new(&call, "x"))),
            base().with_message(Message::tool(ToolResult::new(&call, "x").with_error())),
            base().with_message(Message::new(Role::User, vec![Part::Image(Media::url("u"))])),
            base().with_message(Message::new(Role::User, vec![Part::Image(Media::bytes("image/png", [1]))])),
            base().with_message(Message::new(Role::User, vec![Part::Image(Media::bytes("image/png", [2]))])),
            base().with_message(Message::new(Role::Assistant, vec![signed(None)])),
            base().with_message(Message::new(Role::Assistant, vec![signed(Some(""))])),
            base().with_message(Message::new(Role::Assistant, vec![signed(Some("\0none"))])),
            base().with_message(Message::new(Role::Assistant, vec![Part::Reasoning(Reasoning::new("hm"))])),
            base().with_message(Message::new(
                Role::Assistant,
                vec![Part::Reasoning(Reasoning::new("hm").with_format("f"))],
            )),
            base().with_tool(Tool::new("t", "", "{}")),
            base().with_tool(Tool::new("", "t", "{}")),
            base().with_temperature(0.0),
            base().with_temperature(1.0),
            base().with_max_output_tokens(0),
        ];
        let mut change = |change: fn(&mut ChatRequest)| {
            let mut request = base();
            change(&mut request);
            all.push(request);
        };
        change(|r| r.seed = Some(0));
        change(|r| r.top_p = Some(0.0));
        change(|r| r.stop.push(String::new()));
        change(|r| r.choices = Some(0));
        change(|r| r.top_logprobs = Some(0));
        change(|r| r.reasoning_effort = Some(String::new()));
        change(|r| r.reasoning_budget_tokens = Some(0));
        change(|r| r.parallel_tool_calls = Some(false));
        change(|r| r.tool_choice = ToolChoice::None);
        change(|r| r.tool_choice = ToolChoice::Tool("t".into()));
        change(|r| r.response_format = ResponseFormat::JsonObject);
        change(|r| r.extra_body.push(("a".into(), JsonText::new("1"))));
        change(|r| r.raw = true);
        change(|r| r.extra_headers.0.push(("a".into(), "1".into())));
        let all_bytes: Vec<_> = all.iter().map(|request| bytes(request).unwrap()).collect();
        for (index, one) in all_bytes.iter().enumerate() {
            assert!(!all_bytes[..index].contains(one), "{:?}", all[index]);
        }
        let mut same = base().with_stream(false).with_cache(CacheHint::keep());
        assert_eq!(bytes(&same).as_ref(), all_bytes.first());
        same.model.push('x');
        assert_ne!(bytes(&same).as_ref(), all_bytes.first());
    }
}
