//! The formats in which Claude is spoken to: what of a conversation they leave out, word differently or refuse.

use loquat_core::{
    ChatRequest, ErrorKind, JsonText, Media, Message, Part, Reasoning, ResponseFormat, Role, Tool, ToolCall,
    ToolChoice, ToolResult,
};
use loquat_provider::{ANTHROPIC_MESSAGES, BEDROCK_CONVERSE, Format};
use serde_json::{Value, json};

fn request() -> ChatRequest {
    ChatRequest::new("").with_user("hi")
}

/// The body for that model.
fn sent(format: &dyn Format, request: &ChatRequest, model: &str) -> Value {
    let encoded = format.encode(request, model).expect("can be said");
    serde_json::from_slice(&encoded.body).expect("JSON")
}

/// Both refuse a conversation with such a text in it, for ever after; models say them between thoughts and a call.
#[test]
fn texts_of_white_space_are_left_out() {
    let call = ToolCall::new("c", "f", "{}");
    let request = request()
        .with_system(" ")
        .with_message(Message::new(
            Role::Assistant,
            vec![Part::Text("\n\n".into()), Part::Refusal("\t".into()), Part::ToolCall(call.clone())],
        ))
        .with_message(Message::tool(ToolResult::new(&call, "5")))
        .with_tool(Tool::new("f", "", "{}"))
        .with_message(Message::assistant("\n"))
        .with_user(" so? ");
    let body = sent(&ANTHROPIC_MESSAGES, &request, "m");
    assert_eq!(body["system"], Value::Null);
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c", "content": "5"},
                {"type": "text", "text": " so? "},
            ]},
        ])
    );
    let body = sent(&BEDROCK_CONVERSE, &request, "m");
    assert_eq!(body["system"], Value::Null);
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": [{"text": "hi"}]},
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c", "name": "f", "input": {}}}]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "c", "content": [{"text": "5"}]}},
                {"text": " so? "},
            ]},
        ])
    );
}

/// Each generation in its own way, and a name that says nothing in the plainest: a budget is refused by all since Opus 4.7, an effort by those before Opus 4.5 and by others of its time, an end of
/// thinking by Opus 5.5. The words that are no efforts of Claude's are never sent.
#[test]
fn each_model_is_told_to_think_in_its_own_way() {
    let adaptive = json!({"type": "adaptive", "display": "summarized"});
    let enabled = |budget: u32| json!({"type": "enabled", "budget_tokens": budget});
    let none = Value::Null;
    let low = json!("low");
    for (model, effort, budget, thinking, said, max_tokens) in [
        ("claude-opus-4-8", Some("medium"), None, &adaptive, json!("medium"), 8192 + 4096),
        ("claude-opus-4-7", Some("xhigh"), None, &adaptive, json!("xhigh"), 8192 + 16_384),
        ("claude-sonnet-4-6", Some("xhigh"), None, &adaptive, json!("high"), 8192 + 16_384),
        ("claude-opus-4-8", None, Some(1000), &adaptive, json!("low"), 9192),
        ("claude-opus-4-8", None, Some(8000), &adaptive, json!("medium"), 16_192),
        ("claude-opus-4-8", None, Some(9000), &adaptive, json!("high"), 17_192),
        ("claude-opus-4-8", Some("max"), Some(9000), &adaptive, json!("max"), 17_192),
        ("claude-opus-4-8", None, None, &none, none.clone(), 8192),
        ("claude-opus-4-8", Some("none"), None, &none, none.clone(), 8192),
        ("claude-opus-5", Some("minimal"), None, &json!({"type": "disabled"}), none.clone(), 8192),
        ("claude-sonnet-5-5", None, Some(0), &json!({"type": "between_tools"}), none.clone(), 8192),
        ("claude-opus-5-5", Some("off"), None, &none, low.clone(), 8192),
        ("claude-fable-5", Some("low"), None, &adaptive, low.clone(), 9216),
        ("a-deployment", Some("low"), None, &none, low.clone(), 8192),
        ("a-deployment", Some("none"), None, &json!({"type": "disabled"}), none.clone(), 8192),
        ("a-deployment", None, Some(0), &json!({"type": "disabled"}), none.clone(), 8192),
        ("a-deployment", None, Some(4000), &enabled(4000), none.clone(), 12_192),
        ("claude-haiku-4-5-20251001", Some("low"), None, &enabled(1024), none.clone(), 9216),
        ("claude-sonnet-4-5", Some("high"), None, &enabled(16_384), none.clone(), 8192 + 16_384),
        ("claude-sonnet-4-5", None, Some(5000), &enabled(5000), none.clone(), 13_192),
        ("claude-sonnet-4-5", Some("none"), None, &none, none.clone(), 8192),
        ("claude-opus-4-5", Some("low"), None, &none, low.clone(), 8192),
        ("claude-opus-4-5", Some("max"), None, &none, json!("high"), 8192),
        ("claude-opus-4-5", Some("low"), Some(5000), &enabled(5000), low.clone(), 13_192),
        ("claude-opus-4-5", None, Some(5000), &enabled(5000), none.clone(), 13_192),
        ("claude-opus-4-5", Some("off"), None, &none, none.clone(), 8192),
        ("claude-opus-4-1", Some("low"), None, &enabled(1024), none.clone(), 9216),
        ("claude-3-5-haiku-20241022", Some("high"), None, &none, none.clone(), 8192),
        ("deepseek-chat", Some("high"), None, &none, json!("high"), 8192),
        ("deepseek-chat", None, Some(0), &json!({"type": "disabled"}), none.clone(), 8192),
    ] {
        let mut request = request();
        request.reasoning_effort = effort.map(str::to_owned);
        request.reasoning_budget_tokens = budget;
        let body = sent(&ANTHROPIC_MESSAGES, &request, model);
        let seen = (&body["thinking"], &body["output_config"]["effort"], &body["max_tokens"]);
        assert_eq!(seen, (thinking, &said, &json!(max_tokens)), "{model} {effort:?} {budget:?}");
        if !model.starts_with("claude") {
            continue;
        }
        let body = sent(&BEDROCK_CONVERSE, &request, &format!("eu.anthropic.{model}"));
        let fields = &body["additionalModelRequestFields"];
        let seen = (&fields["thinking"], &fields["output_config"]["effort"]);
        assert_eq!(seen, (thinking, &said), "{model} {effort:?} {budget:?}");
        assert_eq!(fields.is_null(), thinking.is_null() && said.is_null(), "{fields}");
    }
}

/// A budget that stands for an effort stays below the caller's limit, which Anthropic demands; one the caller named is theirs.
#[test]
fn a_budget_nobody_named_leaves_room_for_words() {
    let budget = |effort: Option<&str>, budget, most| {
        let mut request = request().with_max_output_tokens(most);
        request.reasoning_effort = effort.map(str::to_owned);
        request.reasoning_budget_tokens = budget;
        sent(&ANTHROPIC_MESSAGES, &request, "claude-haiku-4-5")["thinking"]["budget_tokens"].clone()
    };
    assert_eq!(budget(Some("high"), None, 8000), 4000);
    assert_eq!(budget(Some("high"), None, 2047), Value::Null);
    assert_eq!(budget(None, Some(8000), 4000), 8000);
}

/// Anthropic refuses thoughts beside a forced call and beside most ways to sample; an effort is a wish and goes without them.
#[test]
fn an_effort_turns_no_thoughts_on_where_they_are_refused() {
    let adaptive = json!({"type": "adaptive", "display": "summarized"});
    let disabled = json!({"type": "disabled"});
    let enabled = json!({"type": "enabled", "budget_tokens": 2000});
    let none = Value::Null;
    let changed = |mut request: ChatRequest, change: &dyn Fn(&mut ChatRequest)| {
        change(&mut request);
        request
    };
    let asked = |effort: &str| {
        changed(request().with_tool(Tool::new("f", "", "{}")), &|it| {
            it.reasoning_effort = Some(effort.to_owned());
        })
    };
    let forced = |effort, choice: ToolChoice| changed(asked(effort), &|it| it.tool_choice = choice.clone());
    let named = |request| changed(request, &|it| it.reasoning_budget_tokens = Some(2000));
    let top_p = |p| changed(asked("low"), &|it| it.top_p = Some(p));
    let required = ToolChoice::Required;
    let tool = ToolChoice::Tool("f".to_owned());
    for (number, (model, request, thinking, effort)) in [
        ("claude-sonnet-4-6", forced("low", required.clone()), &none, json!("low")),
        ("claude-opus-4-8", forced("max", tool.clone()), &none, json!("max")),
        ("claude-opus-4-8", forced("low", ToolChoice::Auto), &adaptive, json!("low")),
        ("claude-opus-4-8", named(forced("low", required.clone())), &adaptive, json!("low")),
        ("claude-opus-5", forced("low", required.clone()), &disabled, json!("low")),
        ("claude-opus-5", forced("max", tool), &disabled, json!("high")),
        ("claude-opus-5", asked("max"), &adaptive, json!("max")),
        ("claude-haiku-4-5", forced("high", required.clone()), &none, none.clone()),
        ("claude-haiku-4-5", named(forced("high", ToolChoice::Auto)), &enabled, none.clone()),
        ("claude-sonnet-4-6", asked("low").with_temperature(0.5), &none, json!("low")),
        ("claude-sonnet-4-6", asked("low").with_temperature(1.0), &adaptive, json!("low")),
        ("claude-haiku-4-5", asked("low").with_temperature(0.5), &none, none.clone()),
        ("claude-opus-4-5", forced("low", ToolChoice::Required), &none, json!("low")),
        ("claude-sonnet-4-6", top_p(0.9), &none, json!("low")),
        ("claude-sonnet-4-6", top_p(0.95), &adaptive, json!("low")),
    ]
    .into_iter()
    .enumerate()
    {
        let body = sent(&ANTHROPIC_MESSAGES, &request, model);
        let seen = (&body["thinking"], &body["output_config"]["effort"]);
        assert_eq!(seen, (thinking, &effort), "{number}: {model}");
        let body = sent(&BEDROCK_CONVERSE, &request, &format!("eu.anthropic.{model}"));
        let fields = &body["additionalModelRequestFields"];
        let seen = (&fields["thinking"], &fields["output_config"]["effort"]);
        assert_eq!(seen, (thinking, &effort), "{number}: {model}");
    }
}

/// "`temperature` is deprecated for this model", "`temperature` may only be set to 1 when thinking is enabled", "tool_choice: type
/// "tool" and "any" are not supported for this model": said before anything is sent. What means the same unsaid is left out.
#[test]
fn what_a_model_refuses_is_an_error_that_names_it() {
    let temperature = |value| request().with_temperature(value);
    let top_p = |value| {
        let mut request = request();
        request.top_p = Some(value);
        request
    };
    let forced = || {
        let mut request = request().with_tool(Tool::new("f", "", "{}"));
        request.tool_choice = ToolChoice::Required;
        request
    };
    let thoughtful = |mut request: ChatRequest| {
        request.reasoning_budget_tokens = Some(2000);
        request
    };
    for (model, request, refused) in [
        ("claude-opus-4-7", temperature(0.0), Some("temperature")),
        ("claude-opus-4-8", temperature(1.0), None),
        ("claude-sonnet-5", temperature(0.5), Some("temperature")),
        ("claude-haiku-5-5", top_p(0.95), Some("top_p")),
        ("claude-fable-5", top_p(0.99), None),
        ("claude-opus-latest", temperature(0.5), Some("temperature")),
        ("claude-opus-4-6", temperature(0.5), None),
        ("claude-3-5-haiku", temperature(0.5), None),
        // Names that say nothing, and other vendors'.
        ("m", temperature(0.5), None),
        ("deepseek-v3", top_p(0.5), None),
        ("claude-haiku-4-5", thoughtful(temperature(0.5)), Some("temperature")),
        ("claude-haiku-4-5", thoughtful(temperature(1.0)), None),
        ("claude-sonnet-4-6", thoughtful(top_p(0.9)), Some("top_p")),
        ("claude-sonnet-4-6", thoughtful(top_p(0.95)), None),
        ("claude-haiku-4-5", thoughtful(forced()), Some("tool_choice")),
        ("claude-haiku-4-5", forced(), None),
        ("claude-opus-4-6", thoughtful(forced()), None),
        ("claude-opus-5", forced(), None),
        ("claude-opus-5-5", forced(), Some("tool_choice")),
        ("claude-sonnet-5-5", forced(), Some("tool_choice")),
        ("claude-fable-5-1", forced(), Some("tool_choice")),
        ("claude-haiku-5-5", forced(), None),
        ("claude-fable-5", forced(), None),
        ("m", thoughtful(forced()), None),
    ] {
        for format in [&ANTHROPIC_MESSAGES as &dyn Format, &BEDROCK_CONVERSE] {
            let encoded = format.encode(&request, model);
            match (refused, encoded) {
                (Some(place), Err(error)) => {
                    assert_eq!(error.kind(), ErrorKind::Unsupported, "{model}: {error}");
                    assert!(error.message().starts_with(&format!("{place}: ")), "{model}: {error}");
                }
                (None, Ok(_)) => {}
                (_, encoded) => panic!("{model} at {format:?}: {encoded:?}"),
            }
        }
    }
    for (model, request) in [("claude-opus-4-8", temperature(1.0)), ("claude-opus-5", top_p(0.99))] {
        let body = sent(&ANTHROPIC_MESSAGES, &request, model);
        assert_eq!((&body["temperature"], &body["top_p"]), (&Value::Null, &Value::Null), "{model}");
        assert_eq!(sent(&BEDROCK_CONVERSE, &request, model)["inferenceConfig"], Value::Null, "{model}");
    }
}

/// "Expected `thinking` or `redacted_thinking`, but found `tool_use`": the call was forced, or another provider made it.
#[test]
fn a_loop_of_calls_that_began_without_thoughts_goes_on_without() {
    let call = ToolCall::new("c", "f", "{}");
    let called = |before: Vec<Part>| {
        Message::new(Role::Assistant, before.into_iter().chain([Part::ToolCall(call.clone())]).collect())
    };
    let seal =
        |format: &str| Part::Reasoning(Reasoning::new("hm").with_signature("c2VhbA==").with_format(format));
    let bare = || called(Vec::new());
    let thought = || called(vec![Part::Text("\n".to_owned()), seal("anthropic")]);
    let foreign = || called(vec![seal("google")]);
    let result = || Message::tool(ToolResult::new(&call, "5"));
    let said = || Message::user("so?");
    let thinks = |model: &str, messages: Vec<Message>, budget| {
        let mut request = request().with_tool(Tool::new("f", "", "{}"));
        request.reasoning_effort = Some("high".to_owned());
        request.reasoning_budget_tokens = budget;
        request.messages.extend(messages);
        !sent(&ANTHROPIC_MESSAGES, &request, model)["thinking"].is_null()
    };
    for (number, (messages, expected)) in [
        (vec![], true),
        (vec![bare(), result()], false),
        (vec![foreign(), result()], false),
        (vec![called(vec![Part::Text("let me see".to_owned())]), result()], false),
        (vec![thought(), result()], true),
        // Between calls of one loop nothing has to be thought.
        (vec![thought(), result(), bare(), result()], true),
        (vec![bare(), result(), thought(), result()], false),
        (vec![bare(), result(), said()], false),
        (vec![bare(), result(), Message::assistant("5"), said()], true),
        (vec![Message::assistant("5"), said()], true),
        (vec![Message::assistant("The answer is")], false),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(thinks("claude-haiku-4-5", messages.clone(), None), expected, "{number}");
        assert_eq!(thinks("claude-haiku-4-5", messages.clone(), Some(2000)), expected, "{number}");
        assert!(thinks("claude-sonnet-4-6", messages, None), "{number}: not asked for in that mode");
    }
}

#[test]
fn no_effort_is_said_to_others_at_converse() {
    let mut request = request();
    request.reasoning_effort = Some("high".to_owned());
    let error = BEDROCK_CONVERSE.encode(&request, "us.amazon.nova-pro-v1:0").expect_err("no place for it");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

/// What Anthropic takes no schema for is refused before anything is sent, which is what makes a caller say it in words.
#[test]
fn schemas_are_closed_or_cannot_be_said() {
    let asked = |schema: &str| {
        let mut request = request();
        let schema = JsonText::new(schema);
        request.response_format = ResponseFormat::JsonSchema { name: "n".into(), schema };
        ANTHROPIC_MESSAGES
            .encode(&request, "m")
            .map(|encoded| String::from_utf8(encoded.body).expect("UTF-8"))
    };
    for (schema, expected) in [
        (
            r#"{"type":"object","properties":{"z":{"type":"object","properties":{}},"a":{"type":["object","null"],"properties":{"x":{"type":"string","format":"uuid"}}}},"required":["z"]}"#,
            r#"{"type":"object","properties":{"z":{"type":"object","properties":{},"additionalProperties":false},"a":{"type":["object","null"],"properties":{"x":{"type":"string","format":"uuid"}},"additionalProperties":false}},"required":["z"],"additionalProperties":false}"#,
        ),
        (
            r##"{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"enum":["minimum"],"description":"d"}},"anyOf":[{"$ref":"#/$defs/a"},{"type":"array","items":{"$ref":"#/$defs/b"},"minItems":1}]}"##,
            r##"{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"enum":["minimum"],"description":"d"}},"anyOf":[{"$ref":"#/$defs/a"},{"type":"array","items":{"$ref":"#/$defs/b"},"minItems":1}]}"##,
        ),
    ] {
        let body = asked(schema).expect("can be said");
        assert!(body.contains(&format!(r#""schema":{expected}}}"#)), "{body}");
    }
    let deep = format!("{}{{\"type\":\"null\"}}{}", "{\"items\":".repeat(500), "}".repeat(500));
    for schema in [
        // A map, any value, a set, a tuple, an array of three, a `char`, a bound, a tree.
        r#"{"type":"object","additionalProperties":{"type":"number"}}"#,
        r#"{"type":"object"}"#,
        r#"{"type":"object","properties":{"any":true}}"#,
        r#"{"type":"object","properties":{"any":{"description":"d"}}}"#,
        r#"{"type":"array","uniqueItems":true,"items":{"type":"string"}}"#,
        r#"{"type":"array","prefixItems":[{"type":"string"}],"minItems":1}"#,
        r#"{"type":"array","items":{"type":"number"},"minItems":3}"#,
        r#"{"type":"string","minLength":1,"maxLength":1}"#,
        r#"{"type":"integer","minimum":1}"#,
        r#"{"type":"string","format":"regex"}"#,
        r##"{"$defs":{"a":{"type":"array","items":{"$ref":"#/$defs/b"}},"b":{"anyOf":[{"$ref":"#/$defs/a"}]}},"$ref":"#/$defs/a"}"##,
        r##"{"type":"object","properties":{"next":{"$ref":"#"}}}"##,
        r#"{"$ref":"https://example.org/schema"}"#,
        &deep,
    ] {
        let error = asked(schema).expect_err("cannot be said");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{schema}: {error}");
    }
}

/// An error of nothing is refused by Anthropic, any result of nothing by Converse, in every turn from then on.
#[test]
fn results_of_nothing_say_so() {
    for (content, is_error, anthropic, bedrock) in [
        ("", true, "(no output)", "(no output)"),
        (" ", true, "(no output)", "(no output)"),
        ("", false, "", "(no output)"),
        ("5", true, "5", "5"),
    ] {
        let call = ToolCall::new("c", "f", "{}");
        let mut result = ToolResult::new(&call, content);
        result.is_error = is_error;
        let request = request()
            .with_tool(Tool::new("f", "", "{}"))
            .with_message(Message::new(Role::Assistant, vec![Part::ToolCall(call)]))
            .with_message(Message::tool(result));
        let body = sent(&ANTHROPIC_MESSAGES, &request, "m");
        assert_eq!(body["messages"][2]["content"][0]["content"], anthropic);
        let body = sent(&BEDROCK_CONVERSE, &request, "m");
        assert_eq!(body["messages"][2]["content"][0]["toolResult"]["content"], json!([{"text": bedrock}]));
    }
}

/// Converse refuses a document with a dot in its name, and two of one name anywhere in the conversation.
#[test]
fn documents_have_names_that_converse_takes() {
    let names = [
        Some("a.pdf"),
        Some("A.txt"),
        None,
        Some("分期.pdf"),
        Some("  my_own  [first]   (draft) - v1.2.pdf"),
        Some(".pdf"),
    ];
    let file = |name: &Option<&str>| {
        let mut media = Media::bytes("application/pdf", *b"%PDF-1.7");
        media.name = name.map(str::to_owned);
        Part::File(media)
    };
    let mut request = request();
    let (first, rest) = names.split_at(2);
    for some in [first, rest] {
        request.messages.push(Message::new(Role::User, some.iter().map(file).collect()));
        request.messages.push(Message::assistant("yes"));
    }
    let long = "x".repeat(500);
    request.messages.push(Message::new(Role::User, vec![file(&Some(&long)), file(&Some(&long))]));
    request.messages.push(Message::new(
        Role::User,
        vec![Part::Image(Media::bytes("image/jpg", [1])), Part::Image(Media::bytes("image/jpeg", [1]))],
    ));
    let body = sent(&BEDROCK_CONVERSE, &request, "m");
    let blocks = || {
        body["messages"]
            .as_array()
            .expect("a list")
            .iter()
            .flat_map(|message| message["content"].as_array().expect("a list"))
    };
    let seen: Vec<&str> = blocks().filter_map(|block| block["document"]["name"].as_str()).collect();
    let cut = "x".repeat(190);
    let expected =
        ["a", "A 2", "file", "file 2", "my own [first] (draft) - v1 2", "file 3", &cut, &format!("{cut} 2")];
    assert_eq!(seen, expected);
    let formats: Vec<&str> = blocks().filter_map(|block| block["image"]["format"].as_str()).collect();
    assert_eq!(formats, ["jpeg", "jpeg"]);
}

/// Converse takes calls and results only beside tools, and has no word for tools that may not be called.
#[test]
fn without_tools_converse_is_told_of_calls_in_words() {
    let call = ToolCall::new("c", "f", r#"{"x":1}"#);
    let asked = request()
        .with_message(Message::new(
            Role::Assistant,
            vec![Part::ToolCall(call.clone()), Part::ToolCall(call.clone())],
        ))
        .with_message(Message::tool(ToolResult::new(&call, "5")))
        .with_message(Message::tool(ToolResult::new(&call, "").with_error()))
        .with_user("sum up");
    let mut forbidden = asked.clone().with_tool(Tool::new("f", "", "{}"));
    forbidden.tool_choice = ToolChoice::None;
    for request in [&asked, &forbidden] {
        let body = sent(&BEDROCK_CONVERSE, request, "m");
        assert_eq!(body["toolConfig"], Value::Null);
        assert_eq!(
            body["messages"],
            json!([
                {"role": "user", "content": [{"text": "hi"}]},
                {"role": "assistant", "content": [
                    {"text": r#"[Called f with {"x":1}]"#},
                    {"text": r#"[Called f with {"x":1}]"#},
                ]},
                {"role": "user", "content": [
                    {"text": "[Result of f: 5]"},
                    {"text": "[Error of f: (no output)]"},
                    {"text": "sum up"},
                ]},
            ])
        );
    }
    let body = sent(&BEDROCK_CONVERSE, &asked.with_tool(Tool::new("f", "", "{}")), "m");
    assert!(body["messages"][1]["content"][0]["toolUse"].is_object(), "{body}");
}
