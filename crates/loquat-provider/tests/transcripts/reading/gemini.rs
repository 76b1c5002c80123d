//! Gemini's responses, read from its documentation.

use serde_json::{Map, Value};

use super::Reading;

impl Reading {
    pub(super) fn gemini(&mut self, event: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let none = event["candidates"].as_array().is_none_or(Vec::is_empty);
        if !text(&event["promptFeedback"]["blockReason"]).is_empty() && none {
            self.failed = true;
            return;
        }
        let named = !text(&event["responseId"]).is_empty() || !text(&event["modelVersion"]).is_empty();
        self.any |= named;
        self.answered |= named;
        let counts = &event["usageMetadata"];
        let count = |key: &str| counts[key].as_u64().unwrap_or(0);
        if counts["promptTokenCount"].is_u64() || counts["candidatesTokenCount"].is_u64() {
            let thought = count("thoughtsTokenCount");
            self.usage = [
                count("promptTokenCount") + count("toolUsePromptTokenCount"),
                count("candidatesTokenCount") + thought,
                count("cachedContentTokenCount"),
                0,
                thought,
            ];
        }
        for (position, candidate) in event["candidates"].as_array().into_iter().flatten().enumerate() {
            let index = candidate["index"].as_u64().unwrap_or(position as u64);
            for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
                if part["text"] != "" || part["thoughtSignature"].is_string() {
                    self.any = true;
                    self.answered = true;
                    self.choice(index);
                }
                if index != 0 {
                    continue;
                }
                let said = text(&part["text"]);
                if part["thought"] == true {
                    self.reasoning.push_str(&said);
                } else {
                    self.text.push_str(&said);
                }
                let call = &part["functionCall"];
                if call["name"].is_string() {
                    let whole = if call["args"].is_object() {
                        call["args"].clone()
                    } else {
                        Value::Object(Map::new())
                    };
                    self.calls.push((text(&call["id"]), text(&call["name"]), whole.to_string()));
                }
                for piece in call["partialArgs"].as_array().into_iter().flatten() {
                    let Some((_, _, arguments)) = self.calls.last_mut() else { continue };
                    let mut whole: Value = serde_json::from_str(arguments).unwrap_or_default();
                    // The path as a JSON pointer: enough for what was recorded.
                    let path = text(&piece["jsonPath"]).replace('[', ".").replace(']', "");
                    let mut place = &mut whole;
                    for step in path.split('.').skip(1) {
                        place = match step.parse::<usize>() {
                            Ok(index) => {
                                if place.is_null() {
                                    *place = Value::Array(Vec::new());
                                }
                                let list = place.as_array_mut().expect("a list");
                                if list.len() == index {
                                    list.push(Value::Null);
                                }
                                &mut list[index]
                            }
                            Err(_) => &mut place[step],
                        };
                    }
                    *place = match (place.as_str(), piece["stringValue"].as_str()) {
                        (before, Some(more)) => Value::from(before.unwrap_or_default().to_owned() + more),
                        _ => ["numberValue", "boolValue"]
                            .iter()
                            .find_map(|name| piece.get(*name).cloned())
                            .unwrap_or_default(),
                    };
                    *arguments = whole.to_string();
                }
            }
            let reason = match &candidate["finishReason"] {
                Value::Number(number) => match number.as_u64() {
                    Some(1) => "STOP",
                    Some(2) => "MAX_TOKENS",
                    Some(3) => "SAFETY",
                    Some(4) => "RECITATION",
                    _ => "",
                },
                reason => reason.as_str().unwrap_or_default(),
            };
            if !reason.is_empty() && reason != "FINISH_REASON_UNSPECIFIED" {
                self.any = true;
                self.answered = true;
                *self.choice(index) = true;
                if index != 0 {
                    continue;
                }
                self.reason = Some(
                    match reason {
                        "STOP" if !self.calls.is_empty() => "tool_calls",
                        "STOP" => "stop",
                        "MAX_TOKENS" => "length",
                        "SAFETY"
                        | "RECITATION"
                        | "BLOCKLIST"
                        | "PROHIBITED_CONTENT"
                        | "SPII"
                        | "LANGUAGE"
                        | "IMAGE_SAFETY"
                        | "IMAGE_PROHIBITED_CONTENT"
                        | "IMAGE_RECITATION"
                        | "MODEL_ARMOR" => "content_filter",
                        other => other,
                    }
                    .to_owned(),
                );
            }
        }
    }
}
