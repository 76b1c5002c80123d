//! Formats of one's own, made of those that are known.

use loquat_core::{ChatRequest, Secret, ToolChoice};
use loquat_provider::{
    ANTHROPIC_MESSAGES, AnthropicMessages, AnthropicPlace, BudgetField, DASHSCOPE, DashScope, Format, GEMINI,
    Gemini, HeaderMap, OPENAI_CHAT, OPENAI_COMPATIBLE, OpenAiChat, OpenAiPlace,
};
use serde_json::{Value, json};

fn sent(format: &dyn Format, request: &ChatRequest) -> Value {
    serde_json::from_slice(&format.encode(request, "o3").expect("can be said").body).expect("JSON")
}

#[test]
fn a_servers_habits_are_said_of_another_format() {
    static OURS: OpenAiChat = OPENAI_COMPATIBLE
        .with_max_tokens_field("max_new_tokens")
        .with_stream_options(false)
        .with_budget(BudgetField::ThinkingBudget)
        .with_seed_field("random_seed")
        .with_required_choice("any")
        .with_dimensions_field("output_dimension")
        .with_place(OpenAiPlace::Azure);
    let mut request = ChatRequest::new("").with_user("hi").with_max_output_tokens(9);
    request.seed = Some(7);
    request.reasoning_budget_tokens = Some(100);
    request.tools = vec![loquat_core::Tool::new("f", "", "{}")];
    request.tool_choice = ToolChoice::Required;
    let body = sent(&OURS, &request);
    for (member, value) in [
        ("max_new_tokens", json!(9)),
        ("random_seed", json!(7)),
        ("thinking_budget", json!(100)),
        ("tool_choice", json!("any")),
        ("stream_options", Value::Null),
    ] {
        assert_eq!(body[member], value, "{member}");
    }
    assert_eq!((OURS.name(), OURS.dimensions_field()), ("openai-compatible", "output_dimension"));
    let mut headers = HeaderMap::new();
    OURS.authenticate(&Secret::new("planted"), &mut headers).expect("a key");
    assert!(headers.contains_key("api-key"));
}

#[test]
fn so_are_those_of_the_other_formats() {
    static MESSAGES: AnthropicMessages =
        ANTHROPIC_MESSAGES.with_default_max_tokens(2048).with_place(AnthropicPlace::Vertex);
    static VERTEX: Gemini = GEMINI.with_bearer(true);
    static SLOW: DashScope = DASHSCOPE.with_incremental(false);
    let request = ChatRequest::new("").with_user("hi");
    let body = sent(&MESSAGES, &request);
    let seen = (&body["max_tokens"], &body["anthropic_version"]);
    assert_eq!(seen, (&json!(2048), &json!("vertex-2023-10-16")));
    let mut headers = HeaderMap::new();
    VERTEX.authenticate(&Secret::new("planted"), &mut headers).expect("a token");
    assert!(headers.contains_key("authorization"));
    assert_eq!(sent(&SLOW, &request)["parameters"]["incremental_output"], json!(false));
    // A gateway may leave out itself what a model refuses.
    let cold = request.with_temperature(0.0);
    assert!(OPENAI_CHAT.encode(&cold, "o3").is_err());
    let gateway = OPENAI_CHAT.with_refuses_sampling(false);
    assert_eq!(sent(&gateway, &cold)["temperature"], json!(0.0));
}
