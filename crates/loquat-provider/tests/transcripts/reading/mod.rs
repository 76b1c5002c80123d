//! An independent reading of recorded answers: serde_json and plain loops, none of the provider's code. Slow, whole,
//! and written from the formats' documentation, so that it can be wrong only in other ways than the decoder.

mod clouds;
mod cohere;
mod completions;
mod gemini;
mod google_steps;
mod responses;
mod wrapped;

use serde_json::Value;

/// How an answer must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Finished,
    Truncated,
    Failed,
}

/// What a body says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Reading {
    pub(crate) text: String,
    pub(crate) reasoning: String,
    /// Id, name, arguments of each call of the first alternative.
    pub(crate) calls: Vec<(String, String, String)>,
    pub(crate) reason: Option<String>,
    /// Input, output, cache read, cache written, reasoning.
    pub(crate) usage: [u64; 5],
    /// Something was said: an id, a model, any content, any event at all that is no error.
    any: bool,
    /// Part of it was an answer, or a part of one.
    answered: bool,
    failed: bool,
    terminal: bool,
    choices: Vec<(u64, bool)>,
    /// Anthropic: kinds of the blocks, and the three parts of a prompt.
    blocks: Vec<(u64, Option<usize>)>,
    prompt: [u64; 3],
    saw_delta: bool,
    /// The input that the latest block began with.
    begun: Option<String>,
}

impl Reading {
    pub(crate) fn end(&self) -> End {
        let all_ended = !self.choices.is_empty() && self.choices.iter().all(|(_, ended)| *ended);
        match self {
            Self { failed: true, .. } => End::Failed,
            _ if all_ended || (self.terminal && self.answered) => End::Finished,
            Self { terminal: true, answered: false, .. } => End::Failed,
            Self { any: true, .. } => End::Truncated,
            _ => End::Failed,
        }
    }

    /// One event of a stream, or (`whole`) a document.
    pub(crate) fn take(&mut self, api: &str, name: &str, data: &str, whole: bool) {
        if self.failed || self.terminal {
            return;
        }
        if data.trim() == "[DONE]" {
            self.terminal = true;
            return;
        }
        let event: Value = match serde_json::from_str(data) {
            Ok(event) => event,
            Err(_) => {
                self.failed = true;
                return;
            }
        };
        if let Value::Array(events) = &event {
            events.iter().for_each(|event| self.take(api, name, &event.to_string(), false));
            return;
        }
        if name == "error" || is_error(api, &event) {
            self.failed = true;
            return;
        }
        match api {
            "openai-chat" => self.chat(&event, whole),
            "anthropic-messages" => self.messages(&event),
            "openai-responses" => self.responses(&event, whole),
            "gemini-generate" => self.gemini(&event),
            "gemini-interactions" => self.interactions(&event, whole),
            "dashscope-native" => self.dashscope(&event),
            "bedrock" => self.converse(name, &event),
            "cohere-chat" => self.cohere(&event, whole),
            "openai-completions" => self.completions(&event),
            "ollama-generate" => self.generate(&event),
            "ollama-chat" => self.ollama(&event),
            // Nobody reads it, and nobody gets here.
            _ => {}
        }
        self.terminal |= whole;
    }

    /// Lines that are no event, such as an error in the place of one.
    pub(crate) fn stray(&mut self, lines: &str) {
        let is_error = |json: Value| truthy(&json["error"]);
        let said = lines.lines().any(|line| line.starts_with("error:"))
            || serde_json::from_str(lines).is_ok_and(is_error);
        self.failed |= said && !self.terminal;
    }

    fn choice(&mut self, index: u64) -> &mut bool {
        let position = self.choices.iter().position(|(known, _)| *known == index).unwrap_or_else(|| {
            self.choices.push((index, false));
            self.choices.len() - 1
        });
        &mut self.choices[position].1
    }

    fn chat(&mut self, event: &Value, whole: bool) {
        self.answered |=
            ["id", "model"].iter().any(|key| event[*key].as_str().is_some_and(|text| !text.is_empty()));
        self.any |= self.answered;
        self.any |= event["choices"].is_null() && event["usage"].is_null() && event["object"].is_null();
        let usages = [&event["usage"], &event["x_groq"]["usage"], &event["choices"][0]["usage"]];
        if let Some(usage) = usages.into_iter().find(|usage| usage.is_object()) {
            let count =
                |paths: &[&str]| paths.iter().find_map(|path| usage.pointer(path)?.as_u64()).unwrap_or(0);
            let reasoning = count(&["/completion_tokens_details/reasoning_tokens", "/reasoning_tokens"]);
            let (input, mut output) = (
                count(&["/prompt_tokens", "/input_tokens"]),
                count(&["/completion_tokens", "/output_tokens"]),
            );
            if reasoning > 0 && count(&["/total_tokens"]) == input + output + reasoning {
                output += reasoning;
            }
            let read = count(&[
                "/prompt_tokens_details/cached_tokens",
                "/cached_tokens",
                "/prompt_cache_hit_tokens",
                "/cache_read_input_tokens",
            ]);
            let written =
                count(&["/prompt_tokens_details/cache_write_tokens", "/cache_creation_input_tokens"]);
            self.usage = [input, output, read, written, reasoning];
        }
        for (position, choice) in event["choices"].as_array().into_iter().flatten().enumerate() {
            let index = choice["index"].as_u64().unwrap_or(position as u64);
            self.saw_delta |= choice["delta"].is_object() && !whole;
            let said = if self.saw_delta && !whole { &choice["delta"] } else { &choice["message"] };
            let mut text = String::new();
            let mut reasoning = String::new();
            match &said["content"] {
                Value::String(content) => text.push_str(content),
                Value::Array(parts) => {
                    for part in parts {
                        text.push_str(part["text"].as_str().unwrap_or_default());
                        for thought in part["thinking"].as_array().into_iter().flatten() {
                            reasoning.push_str(thought["text"].as_str().unwrap_or_default());
                        }
                    }
                }
                _ => {}
            }
            let named = ["reasoning_content", "reasoning", "thinking", "reasoning_text"];
            match named.iter().find_map(|key| said[*key].as_str().filter(|text| !text.is_empty())) {
                Some(thought) => reasoning.push_str(thought),
                None => {
                    for detail in said["reasoning_details"].as_array().into_iter().flatten() {
                        for key in ["text", "summary"] {
                            reasoning.push_str(detail[key].as_str().unwrap_or_default());
                        }
                    }
                }
            }
            let mut calls = said["tool_calls"].as_array().cloned().unwrap_or_default();
            let old = &said["function_call"];
            if calls.is_empty() && (truthy(&old["name"]) || truthy(&old["arguments"])) {
                calls.push(serde_json::json!({"function": old}));
            }
            if text.is_empty() {
                text.push_str(said["audio"]["transcript"].as_str().unwrap_or_default());
            }
            let signed = said["reasoning_details"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|detail| detail["data"].is_string() || detail["signature"].is_string());
            let refusal = said["refusal"].as_str().is_some_and(|text| !text.is_empty());
            let reason = choice["finish_reason"].as_str().filter(|word| !word.is_empty() && *word != "null");
            if !text.is_empty()
                || !reasoning.is_empty()
                || !calls.is_empty()
                || signed
                || refusal
                || reason.is_some()
            {
                self.any = true;
                self.answered = true;
            }
            // One that has begun has to end, though it may have said no more than whose words these will be.
            *self.choice(index) |= reason.is_some();
            if reason == Some("error") {
                self.failed = true;
            }
            if index != 0 {
                continue;
            }
            self.text.push_str(&text);
            self.reasoning.push_str(&reasoning);
            calls.iter().for_each(|call| self.call(call));
            if let Some(reason) = reason {
                self.reason = Some(
                    match reason {
                        "end_turn" | "stop_sequence" | "eos" => "stop",
                        "max_tokens" | "model_length" => "length",
                        "function_call" | "tool_use" => "tool_calls",
                        reason => reason,
                    }
                    .to_owned(),
                );
            }
        }
    }

    /// A call, or a piece of one: recorded servers repeat its id, or number it, or do neither and send it in order.
    fn call(&mut self, call: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let custom = !text(&call["custom"]["name"]).is_empty() || !text(&call["custom"]["input"]).is_empty();
        let function = if custom { &call["custom"] } else { &call["function"] };
        let arguments = match if custom { &function["input"] } else { &function["arguments"] } {
            Value::Object(object) => Value::Object(object.clone()).to_string(),
            arguments => text(arguments),
        };
        let (id, name) = (text(&call["id"]), text(&function["name"]));
        let number = call["index"].as_u64().unwrap_or(u64::MAX);
        let by_id = self.calls.iter().position(|(known, ..)| !id.is_empty() && *known == id);
        let by_number = self.blocks.iter().rposition(|(known, _)| *known == number);
        let known = match (id.is_empty(), name.is_empty()) {
            (true, true) => by_number.or(self.calls.len().checked_sub(1)),
            // A name again is no new call, unless the one before is complete and another's.
            (true, false) => by_number
                .filter(|_| number != u64::MAX)
                .filter(|at| self.calls[*at].1 == name || self.calls[*at].2.is_empty()),
            (false, true) => by_id.or(by_number.filter(|_| number != u64::MAX)),
            (false, false) => by_id,
        };
        match known {
            Some(known) => {
                let (_, kept, whole) = &mut self.calls[known];
                if kept.is_empty() {
                    kept.push_str(&name);
                }
                whole.push_str(&arguments);
            }
            None => {
                self.calls.push((id, name, arguments));
                self.blocks.push((number, None));
            }
        }
    }

    fn messages(&mut self, event: &Value) {
        let kind = event["type"].as_str().unwrap_or_default();
        self.any |= kind != "ping";
        self.answered |= kind.starts_with("message") || kind.starts_with("content_block");
        match kind {
            "message_start" => {
                self.counts(&event["message"]["usage"]);
                self.stop(&event["message"]["stop_reason"]);
            }
            "content_block_start" => {
                let call = self.block(&event["content_block"], false);
                self.begun = call.map(|_| event["content_block"]["input"].to_string());
                self.blocks.push((event["index"].as_u64().unwrap_or(0), call));
            }
            "content_block_delta" => {
                let delta = &event["delta"];
                self.text.push_str(delta["text"].as_str().unwrap_or_default());
                self.reasoning.push_str(delta["thinking"].as_str().unwrap_or_default());
                let index = event["index"].as_u64().unwrap_or(0);
                let call =
                    self.blocks.iter().rev().find(|(known, _)| *known == index).and_then(|(_, call)| *call);
                if let (Some(call), Some(json)) = (call, delta["partial_json"].as_str()) {
                    self.calls[call].2.push_str(json);
                }
            }
            "content_block_stop" => {
                // A call without pieces has what its block began with.
                if let (Some(begun), Some(call)) = (self.begun.take(), self.calls.last_mut())
                    && call.2.is_empty()
                {
                    call.2 = begun;
                }
            }
            "message_delta" => {
                self.counts(&event["usage"]);
                self.stop(&event["delta"]["stop_reason"]);
            }
            "message_stop" => {
                self.terminal = true;
                for call in &mut self.calls {
                    if call.2.is_empty() {
                        call.2.push_str("{}");
                    }
                }
            }
            "message" => {
                for block in event["content"].as_array().into_iter().flatten() {
                    self.block(block, true);
                }
                self.counts(&event["usage"]);
                self.stop(&event["stop_reason"]);
            }
            _ => {}
        }
    }

    fn block(&mut self, block: &Value, whole: bool) -> Option<usize> {
        let text = |key: &str| block[key].as_str().unwrap_or_default().to_owned();
        match block["type"].as_str() {
            Some("text") => self.text.push_str(&text("text")),
            Some("thinking") => self.reasoning.push_str(&text("thinking")),
            Some("tool_use") => {
                let input = if whole { block["input"].to_string() } else { String::new() };
                self.calls.push((text("id"), text("name"), input));
                return Some(self.calls.len() - 1);
            }
            _ => {}
        }
        None
    }

    fn counts(&mut self, usage: &Value) {
        for (position, key) in
            ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"].into_iter().enumerate()
        {
            self.prompt[position] = usage[key].as_u64().unwrap_or(self.prompt[position]);
        }
        let [input, read, written] = self.prompt;
        let output = usage["output_tokens"].as_u64().unwrap_or(self.usage[1]);
        let thought = usage["output_tokens_details"]["thinking_tokens"].as_u64().unwrap_or(self.usage[4]);
        self.usage = [input + read + written, output, read, written, thought];
    }

    fn stop(&mut self, reason: &Value) {
        if let Some(reason) = reason.as_str().filter(|reason| !reason.is_empty()) {
            *self.choice(0) = true;
            self.reason = Some(
                match reason {
                    "end_turn" | "stop_sequence" => "stop",
                    "max_tokens" | "model_context_window_exceeded" => "length",
                    "tool_use" => "tool_calls",
                    other => other,
                }
                .to_owned(),
            );
        }
    }

    fn ollama(&mut self, event: &Value) {
        self.any = true;
        self.answered |= event["message"].is_object() || event["done"] == true;
        let message = &event["message"];
        self.text.push_str(message["content"].as_str().unwrap_or_default());
        self.reasoning.push_str(message["thinking"].as_str().unwrap_or_default());
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let function = &call["function"];
            let arguments = match &function["arguments"] {
                Value::String(text) if !text.is_empty() => text.clone(),
                Value::Object(object) => Value::Object(object.clone()).to_string(),
                _ => "{}".to_owned(),
            };
            self.calls.push((text(&call["id"]), text(&function["name"]), arguments));
        }
        if event["done"] == true {
            self.terminal = true;
            self.reason = event["done_reason"].as_str().map(|reason| match reason {
                "stop" if !self.calls.is_empty() => "tool_calls".to_owned(),
                reason => reason.to_owned(),
            });
            let count = |key: &str| event[key].as_u64().unwrap_or(0);
            self.usage = [count("prompt_eval_count"), count("eval_count"), 0, 0, 0];
        }
    }
}

/// A report of failure in one of the shapes that were seen.
fn is_error(api: &str, event: &Value) -> bool {
    let has_answer = event["choices"].is_array();
    truthy(&event["error"])
        || event["object"] == "error"
        || event["type"] == "error"
        || (api == "openai-chat" && truthy(&event["x_groq"]["error"]))
        || (api == "openai-chat"
            && !has_answer
            && (truthy(&event["detail"]) || (truthy(&event["code"]) && truthy(&event["message"]))))
}

fn truthy(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(object) => !object.is_empty(),
        _ => true,
    }
}
