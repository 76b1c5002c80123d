//! What is exact is exact, and ranges add up.

use loquat_core::{ChatRequest, Message, Part, Tool, ToolCall, ToolResult, Usage};

use super::{Count, Counter};

fn counter(model: &str) -> Counter {
    Counter::for_model(model).unwrap()
}

#[test]
fn text_of_open_vocabularies_is_exact() {
    let request = ChatRequest::new("gpt-4o").with_user("hi");
    // As the provider counts it: three around the message, one for the role, one for the text, three for the answer.
    assert_eq!(counter("gpt-4o").request(&request).unwrap().total, Count::Exact(8));
    assert_eq!(counter("gpt-5").request(&request).unwrap().total, Count::Exact(7));
    assert_eq!(counter("gpt-4").text("hello world").unwrap(), Count::Exact(2));
}

#[test]
fn closed_vocabularies_are_ranges_that_answers_correct() {
    let claude = counter("claude-sonnet-4-5");
    let request =
        ChatRequest::new("claude").with_user("The quick brown fox jumps over the lazy dog. ".repeat(40));
    let before = claude.request(&request).unwrap();
    assert!(!before.total.is_exact());
    let mut usage = Usage::default();
    claude.learn(&before, &usage);
    usage.input_tokens = before.total.low() + 10;
    for _ in 0..4 {
        let counted = claude.request(&request).unwrap();
        claude.learn(&counted, &usage);
    }
    let after = claude.request(&request).unwrap().total;
    assert!(after.low() <= usage.input_tokens && usage.input_tokens <= after.high(), "{after}");
    assert!(
        after.high() - after.low() < (before.total.high() - before.total.low()) / 4,
        "{after} {}",
        before.total
    );
}

#[test]
fn names_that_only_sound_alike_are_ranges() {
    for model in ["EleutherAI/gpt-j-6b", "gpt-neox-20b", "gpt-6", "text-embedding-004", "text-embedding-v3"] {
        assert!(!counter(model).text("hello world").unwrap().is_exact(), "{model}");
    }
}

#[test]
fn what_answers_contradict_is_not_exact() {
    let counter = counter("gpt-4o");
    let request = ChatRequest::new("gpt-4o").with_user("hi");
    let mut usage = Usage::default();
    usage.input_tokens = 11;
    for _ in 0..3 {
        let counted = counter.request(&request).unwrap();
        assert_eq!(counted.total, Count::Exact(8));
        counter.learn(&counted, &usage);
    }
    let total = counter.request(&request).unwrap().total;
    assert!(!total.is_exact() && total.low() <= 11 && total.high() >= 11, "{total}");
}

#[test]
fn the_parts_are_the_whole() {
    let call = ToolCall::new("1", "weather", "{\"city\":\"Rome\"}");
    let mut request = ChatRequest::new("gpt-4o").with_system("Be brief.").with_user("Weather?");
    request.messages.push(Message::assistant("").with_part(Part::ToolCall(call.clone())));
    request.messages.push(Message::tool(ToolResult::new(&call, "sunny")));
    request.tools.push(Tool::new("weather", "Tells it.", r#"{"properties":{"city":{"type":"string"}}}"#));
    for model in [
        "gpt-4o",
        "gpt-4",
        "gpt-5",
        "gpt-oss:20b",
        "claude-x",
        "gemini-x",
        "llama-x",
        "mistral-x",
        "unheard-of",
    ] {
        let count = counter(model).request(&request).unwrap();
        assert_eq!(count.messages.len(), 4);
        let sum = count.messages.iter().copied().sum::<Count>() + count.tools + count.overhead;
        assert_eq!(sum, count.total, "{model}");
        assert!(sum.low() >= 8 && sum.high() >= sum.low(), "{model}: {sum}");
    }
}
