//! Cohere's chat, versions 1 and 2, read from its documentation.

use serde_json::Value;

use super::Reading;

impl Reading {
    pub(super) fn cohere(&mut self, event: &Value, whole: bool) {
        let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        self.any = true;
        let kind = text("/type") + &text("/event_type");
        self.answered |= !matches!(&*kind, "message-end" | "stream-end" | "citation-start");
        if whole {
            self.reasoning.push_str(&text("/message/tool_plan"));
            self.text.push_str(&text("/text"));
            for part in event["message"]["content"].as_array().into_iter().flatten() {
                self.text.push_str(part["text"].as_str().unwrap_or_default());
                self.reasoning.push_str(part["thinking"].as_str().unwrap_or_default());
            }
            for call in event["message"]["tool_calls"].as_array().into_iter().flatten() {
                let text =
                    |path: &str| call.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
                self.calls.push((text("/id"), text("/function/name"), text("/function/arguments")));
            }
        }
        self.reasoning.push_str(&text("/delta/message/content/thinking"));
        self.reasoning.push_str(&text("/delta/message/tool_plan"));
        self.text.push_str(&text("/delta/message/content/text"));
        let arguments = text("/delta/message/tool_calls/function/arguments");
        match &*kind {
            "tool-call-start" => {
                let (id, name) =
                    (text("/delta/message/tool_calls/id"), text("/delta/message/tool_calls/function/name"));
                self.calls.push((id, name, arguments));
            }
            "tool-call-delta" => {
                self.calls.last_mut().into_iter().for_each(|call| call.2.push_str(&arguments));
            }
            "text-generation" => self.text.push_str(&text("/text")),
            _ => {}
        }
        for usage in ["/usage", "/delta/usage", "/meta", "/response/meta"] {
            let count =
                |path: &str| event.pointer(&format!("{usage}{path}")).and_then(Value::as_u64).unwrap_or(0);
            if event.pointer(&format!("{usage}/tokens")).is_some() {
                let (input, output) = (count("/tokens/input_tokens"), count("/tokens/output_tokens"));
                self.usage = [input, output, count("/cached_tokens"), 0, count("/tokens/reasoning_tokens")];
            }
        }
        let reason = text("/delta/finish_reason") + &text("/finish_reason");
        self.failed |= matches!(&*reason, "ERROR" | "ERROR_LIMIT" | "TIMEOUT");
        if !reason.is_empty() {
            *self.choice(0) = true;
            self.answered = true;
            self.reason = Some(
                match &*reason {
                    "COMPLETE" | "STOP_SEQUENCE" => "stop",
                    "MAX_TOKENS" => "length",
                    "TOOL_CALL" => "tool_calls",
                    "ERROR_TOXIC" => "content_filter",
                    other => other,
                }
                .to_owned(),
            );
        }
        self.terminal |= matches!(&*kind, "message-end" | "stream-end");
    }
}
