//! DashScope and Bedrock's Converse, read from their documentation.

use serde_json::Value;

use super::Reading;

impl Reading {
    /// Events that repeat all so far, as they were recorded.
    pub(super) fn dashscope(&mut self, event: &Value) {
        let output = &event["output"];
        let named = event["request_id"].is_string();
        self.any |= named;
        self.answered |= named;
        if let Some(text) = output["text"].as_str() {
            self.text = text.to_owned();
            self.choice(0);
        }
        let mut reason = output["finish_reason"].as_str();
        for choice in output["choices"].as_array().into_iter().flatten() {
            self.text = match &choice["message"]["content"] {
                Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
                content => content.as_str().unwrap_or_default().to_owned(),
            };
            self.choice(0);
            reason = choice["finish_reason"].as_str();
        }
        if let Some(reason) = reason.filter(|reason| *reason != "null") {
            *self.choice(0) = true;
            self.reason = Some(reason.to_owned());
        }
        let count = |key: &str| event["usage"][key].as_u64().unwrap_or(0);
        if event["usage"].is_object() {
            self.usage = [count("input_tokens"), count("output_tokens"), 0, 0, 0];
        }
    }

    pub(super) fn converse(&mut self, name: &str, event: &Value) {
        let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let says = matches!(name, "contentBlockDelta" | "messageStop")
            || (name == "contentBlockStart" && event["start"]["toolUse"].is_object());
        self.any |= says;
        self.answered |= says;
        match name {
            "contentBlockStart" if says => {
                self.calls.push((
                    text("/start/toolUse/toolUseId"),
                    text("/start/toolUse/name"),
                    String::new(),
                ));
            }
            "contentBlockDelta" => {
                self.text.push_str(&text("/delta/text"));
                self.reasoning.push_str(&text("/delta/reasoningContent/text"));
                if event["delta"]["toolUse"].is_object() {
                    let input = text("/delta/toolUse/input");
                    self.calls.last_mut().into_iter().for_each(|call| call.2.push_str(&input));
                }
            }
            "messageStop" => {
                *self.choice(0) = true;
                self.reason = Some(
                    match text("/stopReason").as_str() {
                        "end_turn" | "stop_sequence" => "stop",
                        "max_tokens" | "model_context_window_exceeded" => "length",
                        "tool_use" => "tool_calls",
                        "guardrail_intervened" | "content_filtered" => "content_filter",
                        other => other,
                    }
                    .to_owned(),
                );
            }
            "metadata" => {
                let count = |key: &str| event["usage"][key].as_u64().unwrap_or(0);
                let (read, written) = (count("cacheReadInputTokens"), count("cacheWriteInputTokens"));
                let input = count("inputTokens") + read + written;
                self.usage = [input, count("outputTokens"), read, written, 0];
                self.terminal = true;
                // A call without pieces has no arguments.
                self.calls
                    .iter_mut()
                    .filter(|call| call.2.is_empty())
                    .for_each(|call| call.2 = "{}".to_owned());
            }
            _ if event["output"].is_object() => {
                self.any = true;
                self.answered = true;
                for part in event["output"]["message"]["content"].as_array().into_iter().flatten() {
                    self.text.push_str(part["text"].as_str().unwrap_or_default());
                    let thought = part.pointer("/reasoningContent/reasoningText/text");
                    self.reasoning.push_str(thought.and_then(Value::as_str).unwrap_or_default());
                    let call = &part["toolUse"];
                    if call.is_object() {
                        let named = |key: &str| call[key].as_str().unwrap_or_default().to_owned();
                        self.calls.push((named("toolUseId"), named("name"), call["input"].to_string()));
                    }
                }
                if event["stopReason"].is_string() {
                    self.converse("messageStop", event);
                }
                self.converse("metadata", event);
            }
            _ => {}
        }
    }
}
