//! OpenAI Responses, read from its documentation: what the complete items say, except that a stream which breaks off has only
//! its pieces.

use serde_json::Value;

use super::Reading;

impl Reading {
    pub(super) fn responses(&mut self, event: &Value, whole: bool) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if whole {
            self.any = true;
            self.answered = true;
            event["output"].as_array().into_iter().flatten().for_each(|item| self.item(item));
            self.failed |=
                ["failed", "cancelled", "queued", "in_progress"].iter().any(|word| event["status"] == *word);
            self.response(event);
            return;
        }
        let kind = text(&event["type"]);
        let place = event["output_index"].as_u64().unwrap_or(u64::MAX);
        self.any |= !kind.ends_with(".done") && !kind.starts_with("response.content_part");
        match kind.as_str() {
            "response.created" => self.answered = true,
            "response.output_text.delta" => {
                self.text.push_str(&text(&event["delta"]));
                self.blocks.push((place, None));
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.reasoning.push_str(&text(&event["delta"]));
                self.blocks.push((place, None));
            }
            "response.reasoning_summary_part.added" if event["summary_index"].as_u64() > Some(0) => {
                self.reasoning.push_str("\n\n");
            }
            "response.refusal.delta" => self.blocks.push((place, None)),
            "response.output_item.added" => {
                let item = &event["item"];
                if ["function_call", "custom_tool_call"].contains(&text(&item["type"]).as_str()) {
                    self.calls.push((text(&item["call_id"]), text(&item["name"]), String::new()));
                    self.blocks.push((place, Some(self.calls.len() - 1)));
                }
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                let delta = text(&event["delta"]);
                let call =
                    self.blocks.iter().rev().find(|(known, _)| *known == place).and_then(|(_, call)| *call);
                if let Some(call) = call {
                    self.calls[call].2.push_str(&delta);
                }
            }
            "response.output_item.done" => {
                let known =
                    self.blocks.iter().rev().find(|(known, _)| *known == place).map(|(_, call)| *call);
                match known {
                    None => self.item(&event["item"]),
                    Some(Some(call)) if self.calls[call].2.is_empty() => {
                        self.calls[call].2 = arguments(&event["item"]);
                    }
                    Some(_) => {}
                }
            }
            "response.completed" | "response.incomplete" => {
                self.answered = true;
                self.response(&event["response"]);
                self.terminal = true;
            }
            "response.failed" | "response.cancelled" => self.failed = true,
            _ => {}
        }
    }

    /// An item that is complete.
    fn item(&mut self, item: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match item["type"].as_str() {
            Some("message") => {
                for part in item["content"].as_array().into_iter().flatten() {
                    self.text.push_str(&text(&part["text"]));
                }
            }
            Some("reasoning") => {
                let summary = item["summary"].as_array().filter(|parts| !parts.is_empty());
                let parts = summary.or(item["content"].as_array());
                let texts: Vec<_> = parts.into_iter().flatten().map(|part| text(&part["text"])).collect();
                self.reasoning.push_str(&texts.join("\n\n"));
            }
            Some("function_call" | "custom_tool_call") => {
                self.calls.push((text(&item["call_id"]), text(&item["name"]), arguments(item)));
            }
            _ => {}
        }
    }

    fn response(&mut self, response: &Value) {
        let usage = &response["usage"];
        if usage.is_object() {
            let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
            self.usage = [
                count("/input_tokens"),
                count("/output_tokens"),
                count("/input_tokens_details/cached_tokens"),
                count("/input_tokens_details/cache_write_tokens"),
                count("/output_tokens_details/reasoning_tokens"),
            ];
        }
        *self.choice(0) = true;
        let cut = response["status"] == "incomplete";
        self.reason = Some(
            match response["incomplete_details"]["reason"].as_str() {
                Some("max_output_tokens" | "max_tokens") if cut => "length",
                Some(other) if cut => other,
                _ if self.calls.is_empty() => "stop",
                _ => "tool_calls",
            }
            .to_owned(),
        );
    }
}

fn arguments(item: &Value) -> String {
    let member = if item["type"] == "custom_tool_call" { &item["input"] } else { &item["arguments"] };
    member.as_str().unwrap_or_default().to_owned()
}
