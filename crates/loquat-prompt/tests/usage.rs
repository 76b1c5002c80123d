//! Counts of recorded requests against the `usage` of their answers.
//!
//! Prints `conformance: usage …`: passed are requests whose usage is what was counted, or in the range. An exact count has to be the
//! usage, every time; of ranges so many have to be around it, in each family by itself.
#![cfg(feature = "tokens")]

use std::{collections::BTreeMap, fs, path::Path};

use loquat_core::{
    ChatRequest, JsonText, Media, Message, Part, ResponseFormat, Role, Tool, ToolCall, ToolResult,
};
use loquat_prompt::count::Counter;
use serde_json::Value;

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The parts of a content: a string, or a list in the shape of any of the three providers.
fn parts(content: &Value) -> Vec<Part> {
    match content {
        Value::String(text) => vec![Part::Text(text.clone())],
        Value::Array(parts) => parts.iter().filter_map(part).collect(),
        _ => Vec::new(),
    }
}

fn part(part: &Value) -> Option<Part> {
    if let Some(call) = part.get("functionCall") {
        return Some(Part::ToolCall(ToolCall::new("", text(&call["name"]), call["args"].to_string())));
    }
    if let Some(result) = part.get("functionResponse") {
        let call = ToolCall::new("", text(&result["name"]), "");
        return Some(Part::ToolResult(ToolResult::new(&call, result["response"].to_string())));
    }
    match part.get("type").and_then(Value::as_str).unwrap_or("text") {
        "text" | "input_text" | "output_text" if part.get("text").is_some() => {
            Some(Part::Text(text(&part["text"])))
        }
        "refusal" => Some(Part::Refusal(text(&part["refusal"]))),
        "tool_use" => Some(Part::ToolCall(ToolCall::new("", text(&part["name"]), part["input"].to_string()))),
        "tool_result" => {
            let content = part["content"].as_str().map_or_else(|| part["content"].to_string(), str::to_owned);
            Some(Part::ToolResult(ToolResult::new(&ToolCall::new("", "", ""), content)))
        }
        "thinking" => None,
        _ => Some(Part::Image(Media::url("elsewhere"))),
    }
}

fn message(message: &Value) -> Message {
    let role = match message["role"].as_str() {
        Some("system" | "developer") => Role::System,
        Some("assistant" | "model") => Role::Assistant,
        Some("tool") => Role::Tool,
        _ => Role::User,
    };
    let mut all = parts(message.get("content").or(message.get("parts")).unwrap_or(&Value::Null));
    if role == Role::Tool {
        let content: String = all
            .iter()
            .filter_map(|part| if let Part::Text(text) = part { Some(text.as_str()) } else { None })
            .collect();
        all = vec![Part::ToolResult(ToolResult::new(&ToolCall::new("", "", ""), content))];
    }
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let call = &call["function"];
        all.push(Part::ToolCall(ToolCall::new("", text(&call["name"]), text(&call["arguments"]))));
    }
    Message::new(role, all)
}

/// A recorded chat request, or `None` where it asks for what only its provider knows: tools that run there, old answers by id.
fn request(body: &Value) -> Option<ChatRequest> {
    let mut request = ChatRequest::new("");
    for system in ["system", "instructions", "systemInstruction", "system_instruction"] {
        match body.get(system) {
            Some(Value::Object(whole)) => {
                request.messages.push(Message::new(Role::System, parts(whole.get("parts")?)));
            }
            Some(value @ (Value::String(_) | Value::Array(_))) => {
                request.messages.push(Message::new(Role::System, parts(value)));
            }
            _ => {}
        }
    }
    let said = body.get("messages").or(body.get("contents")).or(body.get("input"))?;
    match said {
        Value::String(said) => request.messages.push(Message::user(said.clone())),
        Value::Array(said) if said.iter().all(|one| one.get("role").is_some()) => {
            request.messages.extend(said.iter().map(message));
        }
        _ => return None,
    }
    for tool in body["tools"].as_array().into_iter().flatten() {
        let declared = tool
            .get("functionDeclarations")
            .or(tool.get("function_declarations"))
            .and_then(Value::as_array)
            .cloned();
        for tool in declared.unwrap_or_else(|| vec![tool.get("function").unwrap_or(tool).clone()]) {
            let schema = ["parameters", "input_schema", "parametersJsonSchema"]
                .iter()
                .find_map(|name| tool.get(*name));
            let name = tool.get("name")?.as_str()?;
            let schema = schema.map_or_else(|| "{}".to_owned(), Value::to_string);
            if tool
                .get("type")
                .and_then(Value::as_str)
                .is_some_and(|kind| !matches!(kind, "function" | "custom"))
            {
                return None;
            }
            request.tools.push(Tool::new(name, tool["description"].as_str().unwrap_or_default(), schema));
        }
    }
    let format = body.pointer("/response_format/json_schema/schema").or(body.pointer("/text/format/schema"));
    let format = format.or(body.pointer("/generationConfig/responseSchema"));
    if let Some(schema) = format {
        request.response_format =
            ResponseFormat::JsonSchema { name: String::new(), schema: JsonText::new(schema.to_string()) };
    }
    let elsewhere =
        ["previous_response_id", "conversation", "cachedContent", "prompt", "context_management", "thinking"];
    (!elsewhere.iter().any(|name| body.get(*name).is_some_and(|value| !value.is_null()))).then_some(request)
}

/// The prompt's tokens that an answer reports last, wherever in it.
fn usage(value: &Value, found: &mut Option<u64>) {
    match value {
        Value::Object(members) => {
            for usage in ["usage", "usageMetadata"].iter().filter_map(|name| members.get(*name)) {
                let number = |name: &str| usage.get(name).and_then(Value::as_u64);
                let cached = number("cache_read_input_tokens").unwrap_or(0)
                    + number("cache_creation_input_tokens").unwrap_or(0);
                let input = number("input_tokens").map(|input| input + cached);
                *found = number("prompt_tokens")
                    .or(number("promptTokenCount"))
                    .or(input)
                    .filter(|tokens| *tokens > 0)
                    .or(*found);
            }
            members.values().for_each(|value| usage(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| usage(value, found)),
        _ => {}
    }
}

fn answer(text: &str) -> Option<u64> {
    let mut found = None;
    if let Ok(whole) = serde_json::from_str::<Value>(text) {
        usage(&whole, &mut found);
        return found;
    }
    for line in text.lines() {
        let line = line.trim();
        if let Ok(event) = serde_json::from_str::<Value>(line.strip_prefix("data:").unwrap_or(line)) {
            usage(&event, &mut found);
        }
    }
    found
}

#[test]
fn counts_are_the_usage_or_around_it() {
    let Some(data) = std::env::var_os("LOQUAT_DATA") else {
        eprintln!("skipped: LOQUAT_DATA is unset");
        return;
    };
    let folder = Path::new(&data).join("transcripts");
    let manifest = fs::read_to_string(folder.join("MANIFEST.tsv")).expect("the manifest of the recordings");
    let mut rows = manifest.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let head = rows.next().unwrap();
    let column = |name: &str| head.iter().position(|one| *one == name).unwrap();
    let (file, model, kind, asked) = (column("file"), column("model"), column("kind"), column("request"));
    let mut families: BTreeMap<String, [u64; 4]> = BTreeMap::new();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for row in rows {
        if row[kind] == "error" || row[asked] == "-" {
            continue;
        }
        let read = |name: &str| fs::read_to_string(folder.join(name));
        let body =
            read(row[asked]).or_else(|_| read(&format!("requests/{}", row[asked]))).unwrap_or_default();
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        let counted = request(&body).zip(fs::read(folder.join(row[file])).ok());
        let Some((request, actual)) =
            counted.and_then(|(request, bytes)| Some((request, answer(&String::from_utf8_lossy(&bytes))?)))
        else {
            skipped += 1;
            continue;
        };
        let name = if row[model] == "-" || row[model].is_empty() {
            text(&body["model"])
        } else {
            row[model].to_owned()
        };
        let counter = Counter::for_model(&name).unwrap();
        let count = counter.request(&request).unwrap().total;
        let is_within = count.low() <= actual && actual <= count.high();
        let tally = families.entry(format!("{:?}", counter.family())).or_default();
        tally[usize::from(!is_within)] += 1;
        tally[2] += u64::from(count.is_exact());
        tally[3] += u64::from(count.is_exact() && is_within);
        if is_within {
            passed += 1;
        } else {
            failed += 1;
            println!("{name}: counted {count}, usage {actual}, {} tools, {}", request.tools.len(), row[file]);
        }
    }
    let mut exact_counts = 0;
    for (family, [within, outside, exact, right]) in &families {
        println!("{family}: {within} within, {outside} not; {right} of {exact} exact");
        assert_eq!(right, exact, "{family}: an exact count is wrong");
        // One of the providers puts a page of its own before what Mistral's models are told.
        let least = if family == "Mistral" { 70 } else { 85 };
        assert!(
            within * 100 >= (within + outside) * least,
            "{family}: {outside} are outside, {within} within"
        );
        exact_counts += exact;
    }
    assert!(exact_counts >= 30, "{exact_counts} are exact: of those that are left nothing is said");
    println!("conformance: usage passed={passed} failed={failed} skipped={skipped}");
    assert!(passed * 100 >= (passed + failed) * 85, "more than 15 of 100 recordings are outside the range");
}
