//! The formats before chat, read from their documentation.

use serde_json::Value;

use super::Reading;

impl Reading {
    pub(super) fn completions(&mut self, event: &Value) {
        let named =
            ["id", "model"].iter().any(|key| event[*key].as_str().is_some_and(|text| !text.is_empty()));
        self.answered |= named;
        self.any |= named;
        if let Some(piece) = event["value"].as_str() {
            self.text.push_str(piece);
            if !piece.is_empty() {
                self.choice(0);
                self.any = true;
                self.answered = true;
            }
        }
        for (position, choice) in event["choices"].as_array().into_iter().flatten().enumerate() {
            let index = choice["index"].as_u64().unwrap_or(position as u64);
            let text = choice["text"].as_str().unwrap_or_default();
            let reason = choice["finish_reason"].as_str().filter(|reason| !reason.is_empty());
            if !text.is_empty() || reason.is_some() {
                self.any = true;
                self.answered = true;
            }
            *self.choice(index) |= reason.is_some();
            if index == 0 {
                self.text.push_str(text);
                let reason = reason.map(|reason| if reason == "eos" { "stop" } else { reason });
                self.reason = reason.map(str::to_owned).or(self.reason.take());
            }
        }
        let usage = &event["usage"];
        if usage.is_object() {
            let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
            self.usage = [
                count("/prompt_tokens"),
                count("/completion_tokens"),
                count("/prompt_tokens_details/cached_tokens"),
                0,
                count("/completion_tokens_details/reasoning_tokens"),
            ];
        }
    }

    pub(super) fn generate(&mut self, event: &Value) {
        self.any = true;
        self.answered = true;
        self.text.push_str(event["response"].as_str().unwrap_or_default());
        self.reasoning.push_str(event["thinking"].as_str().unwrap_or_default());
        if event["done"] == true {
            self.terminal = true;
            self.reason = event["done_reason"].as_str().map(str::to_owned);
            let count = |key: &str| event[key].as_u64().unwrap_or(0);
            self.usage = [count("prompt_eval_count"), count("eval_count"), 0, 0, 0];
        }
    }
}
