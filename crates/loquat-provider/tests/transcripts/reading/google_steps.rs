//! Gemini interactions, read from their documentation.

use serde_json::Value;

use super::Reading;

impl Reading {
    pub(super) fn interactions(&mut self, event: &Value, whole: bool) {
        let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        if whole {
            self.any = true;
            self.answered = true;
            for step in event["steps"].as_array().into_iter().flatten() {
                self.step(step);
                for part in step["content"].as_array().into_iter().flatten() {
                    self.text.push_str(part["text"].as_str().unwrap_or_default());
                }
                for part in step["summary"].as_array().into_iter().flatten() {
                    self.reasoning.push_str(part["text"].as_str().unwrap_or_default());
                }
            }
            for output in event["outputs"].as_array().into_iter().flatten() {
                self.step(output);
                self.text.push_str(output["text"].as_str().unwrap_or_default());
                for part in output["summary"].as_array().into_iter().flatten() {
                    self.reasoning.push_str(part["text"].as_str().unwrap_or_default());
                }
            }
            self.completed(event);
            return;
        }
        // The first revision told of contents and not of steps.
        let kind = match &*text("/event_type") {
            "interaction.start" => "interaction.created".to_owned(),
            "interaction.complete" => "interaction.completed".to_owned(),
            kind => kind.replace("content.", "step."),
        };
        self.any |= kind == "interaction.created" || kind == "step.delta" || kind == "interaction.completed";
        self.answered |= self.any;
        match &*kind {
            "step.start" => {
                let step = if event["step"].is_object() { &event["step"] } else { &event["content"] };
                if step["name"].is_string() {
                    self.step(step);
                }
                self.text.push_str(step["text"].as_str().unwrap_or_default());
                self.blocks.push((0, Some(usize::from(step["type"] == "thought"))));
            }
            "step.delta" => {
                let in_thought = self.blocks.last().is_some_and(|(_, thought)| *thought == Some(1));
                if in_thought {
                    self.reasoning.push_str(&text("/delta/content/text"));
                } else {
                    self.text.push_str(&text("/delta/text"));
                }
                if event["delta"]["name"].is_string() {
                    self.step(&event["delta"]);
                }
                if text("/delta/type") == "arguments_delta" {
                    let Some(call) = self.calls.last_mut() else { return };
                    if call.2 == "{}" {
                        call.2.clear();
                    }
                    call.2.push_str(&text("/delta/arguments"));
                }
            }
            "interaction.completed" => self.completed(&event["interaction"]),
            _ => {}
        }
    }

    fn step(&mut self, step: &Value) {
        if step["type"] == "function_call" {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            self.calls.push((text(&step["id"]), text(&step["name"]), step["arguments"].to_string()));
        }
    }

    fn completed(&mut self, interaction: &Value) {
        let count = |key: &str| interaction["usage"][key].as_u64().unwrap_or(0);
        let thought = count("total_thought_tokens");
        self.usage = [
            count("total_input_tokens") + count("total_tool_use_tokens"),
            count("total_output_tokens") + thought,
            count("total_cached_tokens"),
            0,
            thought,
        ];
        *self.choice(0) = true;
        self.terminal = true;
        self.reason = Some(
            match interaction["status"].as_str() {
                Some("completed") => "stop",
                Some("requires_action") => "tool_calls",
                other => other.unwrap_or_default(),
            }
            .to_owned(),
        );
    }
}
