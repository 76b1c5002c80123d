//! What each format says it cannot carry, and that what is left can be carried.

use loquat_core::{
    CacheHint, ChatRequest, Media, Message, Opaque, Part, Reasoning, Role, Tool, ToolCall, ToolChoice,
    ToolResult,
};
use loquat_provider::{
    ANTHROPIC_MESSAGES, Format, OLLAMA_CHAT, OPENAI_CHAT, OPENAI_RESPONSES, by_name, fitted, format_names,
    losses,
};

/// A conversation with everything in it.
fn everything() -> ChatRequest {
    let png = vec![0x89, b'P', b'N', b'G', 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
    let mut call = ToolCall::new("c1", "f", "{\"x\":1}");
    call.signature = Some("c2ln".into());
    let mut request = ChatRequest::new("m")
        .with_system("be brief")
        .with_message(
            Message::user("look")
                .with_part(Part::Image(Media::bytes("image/png", png.clone())))
                .with_part(Part::Image(Media::url("https://example.com/a.png")))
                .with_part(Part::Audio(Media::bytes("audio/wav", png.clone())))
                .with_part(Part::File(Media::bytes("application/pdf", png))),
        )
        .with_message(Message::new(
            Role::Assistant,
            vec![
                Part::Reasoning(Reasoning::new("hm").with_signature("c2ln")),
                Part::Text("I see.".into()),
                Part::Opaque(Opaque::new("anthropic", "{\"type\":\"server_tool_use\"}")),
                Part::ToolCall(call.clone()),
            ],
        ))
        .with_message(Message::tool(ToolResult::new(&call, "1")))
        .with_temperature(0.5)
        .with_max_output_tokens(10);
    request.seed = Some(1);
    request.choices = Some(2);
    request.top_logprobs = Some(3);
    request.cache = CacheHint::keep();
    request.stop.push("x".into());
    request.reasoning_budget_tokens = Some(5);
    request
}

fn lost(format: &dyn Format) -> Vec<String> {
    losses(format, &everything()).iter().map(ToString::to_string).collect()
}

#[test]
fn the_report_is_the_encoders_own() {
    assert_eq!(
        lost(&OPENAI_CHAT),
        [
            "messages[2].parts[0]: reasoning is left out",
            "messages[2].parts[0]: signature is left out",
            "messages[2].parts[2]: opaque part is left out",
            "messages[2].parts[3]: signature is left out",
            "cache is left out",
            "reasoning_budget_tokens is refused",
        ]
    );
    let anthropic = lost(&ANTHROPIC_MESSAGES);
    assert!(anthropic.iter().any(|loss| loss == "messages[1].parts[3]: audio is refused"), "{anthropic:?}");
    assert!(anthropic.iter().any(|loss| loss == "seed is left out"), "{anthropic:?}");
    assert!(!anthropic.iter().any(|loss| loss.contains("parts[0]: reasoning")), "{anthropic:?}");
    let ollama = lost(&OLLAMA_CHAT);
    assert!(ollama.iter().any(|loss| loss.contains("messages[1].parts[4]: file is refused")), "{ollama:?}");
    assert!(!lost(&OPENAI_RESPONSES).iter().any(|loss| loss.contains("image")));
}

#[test]
fn what_is_left_can_be_carried_by_every_format() {
    let mut names = 0;
    for name in format_names() {
        names += 1;
        let format = by_name(name).expect("listed");
        let (request, losses) = fitted(format, &everything());
        let left: Vec<_> = losses.iter().map(ToString::to_string).collect();
        assert!(format.encode(&request, "m").is_ok(), "{name}: {left:#?}");
        assert!(
            fitted(format, &request).1.iter().all(|loss| loss.refusal.is_none()),
            "{name}: fitted is fitted"
        );
    }
    assert!(names >= 4);
}

/// The same format carries to one model what another of its own refuses.
#[test]
fn what_a_model_refuses_is_lost_to_that_model() {
    let mut request = ChatRequest::new("").with_user("hi").with_temperature(0.0);
    request.tools = vec![Tool::new("f", "", "{}")];
    request.tool_choice = ToolChoice::Required;
    request.top_logprobs = Some(1);
    for (format, model, expected) in [
        (&ANTHROPIC_MESSAGES as &dyn Format, "claude-sonnet-4-6", &["top_logprobs"][..]),
        (&ANTHROPIC_MESSAGES, "claude-opus-4-8", &["temperature", "top_logprobs"]),
        (&ANTHROPIC_MESSAGES, "claude-opus-5-5", &["tool_choice", "temperature", "top_logprobs"]),
        (&OPENAI_CHAT, "gpt-4o", &[]),
        (&OPENAI_CHAT, "o3", &["temperature", "top_logprobs"]),
        (&OPENAI_RESPONSES, "gpt-6-astra", &["temperature", "top_logprobs"]),
    ] {
        model.clone_into(&mut request.model);
        let (fitted, losses) = fitted(format, &request);
        assert_eq!(losses.iter().map(|loss| loss.what).collect::<Vec<_>>(), expected, "{model}");
        assert_eq!(fitted.tools.len(), 1, "{model}");
        assert!(format.encode(&fitted, model).is_ok(), "{model}");
    }
}

#[test]
fn nothing_said_is_nothing_lost() {
    for name in format_names() {
        let format = by_name(name).expect("listed");
        assert_eq!(losses(format, &ChatRequest::new("m").with_user("hi")), [], "{name}");
    }
}
