//! What is asked of a provider's cache, and what a bill that is too high is due to.
#![cfg(feature = "cache")]

mod support;

use std::sync::Arc;

use loquat_core::{
    ChatRequest, JsonText, Media, MediaSource, Message, Opaque, Part, Reasoning, ResponseFormat, Role, Tool,
    ToolCall, ToolChoice, ToolResult, Usage,
};
use loquat_prompt::plan::{CacheRules, Outcome, Planner};
use support::Words;

fn usage(cached: u64) -> Usage {
    let mut usage = Usage::default();
    usage.cache_read_tokens = cached;
    usage
}

fn request(system: &str, turns: usize) -> ChatRequest {
    let mut request = ChatRequest::new("gpt-4o")
        .with_system(system)
        .with_tool(Tool::new("search", "looks", "{}"))
        .with_tool(Tool::new("open", "opens", "{}"));
    for turn in 0..turns {
        request = request
            .with_user(format!("question {turn} {}", "word ".repeat(100)))
            .with_message(Message::assistant("yes"));
    }
    request
}

#[test]
fn marks_only_where_the_prompt_is_long_enough() {
    let (planner, words) = (Planner::default(), Words::default());
    let claude = CacheRules::of("claude-sonnet-4-5").unwrap();
    let openai = CacheRules::of("gpt-4o").unwrap();
    let short = planner.plan("t", "c", &request("be kind", 1), &claude, &words).unwrap();
    assert!(
        !short.hint.keep && short.hint.key.is_none(),
        "skipped in silence, and a write is dearer: {short:?}"
    );
    let long = request(&"be kind ".repeat(600), 1);
    let plan = planner.plan("t", "c", &long, &claude, &words).unwrap();
    assert!(plan.hint.keep && plan.hint.key.is_none());
    let plan = planner.plan("t", "c", &long, &openai, &words).unwrap();
    assert!(!plan.hint.keep && plan.hint.key.is_some());

    // The key and the affinity are those of the beginning: of other conversations too, of other tenants not.
    let other = planner.plan("t", "d", &request(&"be kind ".repeat(600), 5), &openai, &words).unwrap();
    assert_eq!((&other.hint.key, other.affinity), (&plan.hint.key, plan.affinity));
    let stranger = planner.plan("u", "c", &long, &openai, &words).unwrap();
    assert_ne!(stranger.hint.key, plan.hint.key);
    // A short beginning is not worth finding; the conversation is.
    let one = planner.plan("t", "c", &request("be kind", 20), &openai, &words).unwrap();
    let two = planner.plan("t", "d", &request("be kind", 20), &openai, &words).unwrap();
    assert_ne!(one.hint.key, two.hint.key);
    assert_eq!(one.affinity, two.affinity);
}

/// Each model has a minimum of its own, and a beginning that is shorter is not kept, mark or none.
#[test]
fn the_system_is_marked_only_where_it_is_long_enough_by_itself() {
    let words = Words::default();
    for (model, min_tokens) in
        [("claude-sonnet-4-5", 1024), ("claude-3-5-haiku-20241022", 2048), ("claude-haiku-4-5", 4096)]
    {
        let rules = CacheRules::of(model).unwrap();
        assert_eq!(rules.min_tokens, min_tokens, "{model}");
        // The counted beginning, by what the plan itself says; and whether it is marked.
        let planned = |system_words: usize, turns: usize| {
            let request = request(&"kind ".repeat(system_words), turns);
            let plan = Planner::default().plan("t", "c", &request, &rules, &words).unwrap();
            let system = plan.segments.iter().find(|segment| segment.name == "system").unwrap();
            assert!(plan.hint.keep || !plan.hint.is_system_short, "said of what is kept alone");
            (system.tokens_to_here, plan.hint.keep, plan.hint.marks_system())
        };
        assert!(!planned(300, 0).1, "{model}: nothing is long enough");
        let (short, keeps, marks) = planned(300, 60);
        assert!(short < 1024 && keeps && !marks, "{model}: {short} tokens and a long conversation");
        // To the token.
        let frame = planned(1000, 0).0 - 1000;
        let words_for = |tokens: u64| usize::try_from(tokens - frame).unwrap();
        assert_eq!(planned(words_for(min_tokens - 1), 60), (min_tokens - 1, true, false), "{model}");
        assert_eq!(planned(words_for(min_tokens), 60), (min_tokens, true, true), "{model}");
        assert_eq!(planned(words_for(min_tokens - 1), 0), (min_tokens - 1, false, false), "{model}");
    }
}

#[test]
fn a_miss_names_the_first_segment_that_differs() {
    let (planner, words) = (Planner::default(), Words::default());
    let rules = CacheRules::of("gpt-4o").unwrap();
    let plan = |request: &ChatRequest| planner.plan("t", "c", request, &rules, &words).unwrap();
    let system = "be kind ".repeat(600);

    let first = plan(&request(&system, 3));
    assert_eq!(first.expected_cached_tokens, 0);
    assert_eq!(planner.conclude("t", "c", &first, &usage(0)), Outcome::NothingExpected);

    // One turn more: all of the last prompt can be read.
    let second = plan(&request(&system, 4));
    assert!(second.first_changed.is_none());
    assert_eq!(second.expected_cached_tokens, first.prompt_tokens / 128 * 128);
    let read = second.expected_cached_tokens;
    assert_eq!(planner.conclude("t", "c", &second, &usage(read)), Outcome::AsPlanned { cached_tokens: read });

    // The same beginning, not found.
    let third = plan(&request(&system, 5));
    assert!(matches!(
        planner.conclude("t", "c", &third, &usage(0)),
        Outcome::Missed { cached_tokens: 0, .. }
    ));

    let named = |request: &ChatRequest, expected: &str| {
        let plan = plan(request);
        match planner.conclude("t", "c", &plan, &usage(0)) {
            Outcome::Changed { segment, lost_tokens } => {
                assert_eq!(segment, expected);
                assert!(lost_tokens > 1000);
            }
            other => panic!("{expected}: {other:?}"),
        }
    };
    // A clock in the system prompt; then tools in another order; then history that was rewritten.
    let clock = request(&format!("It is 12:01. {system}"), 6);
    named(&clock, "system");
    let mut swapped = clock.clone();
    swapped.tools.swap(0, 1);
    named(&swapped, "tool 1 (open)");
    let mut rewritten = swapped.clone();
    rewritten.messages[1] = Message::user("another question");
    named(&rewritten, "message 2 (user)");
}

/// The classic: a history that is written out anew, with other names for its calls. A provider compares bytes.
#[test]
fn every_field_that_is_sent_is_compared() {
    let call = |change: fn(&mut ToolCall)| {
        let mut call = ToolCall::new("call_a", "open", "{}");
        change(&mut call);
        Part::ToolCall(call)
    };
    let result = |change: fn(&mut ToolResult)| {
        let mut result = ToolResult::new(&ToolCall::new("call_a", "open", "{}"), "done");
        change(&mut result);
        Part::ToolResult(result)
    };
    let thought = |change: fn(&mut Reasoning)| {
        let mut thought = Reasoning::new("hm").with_signature("s");
        change(&mut thought);
        Part::Reasoning(thought)
    };
    let picture = |change: fn(&mut Media)| {
        let mut media = Media::url("place");
        media.media_type = "image/png".to_owned();
        change(&mut media);
        media
    };
    let same = |_: &mut Media| {};
    let parts = [
        Part::Text("hm".to_owned()),
        Part::Refusal("hm".to_owned()),
        call(|_| {}),
        call(|call| call.id = "call_b".to_owned()),
        call(|call| call.name = "shut".to_owned()),
        call(|call| call.arguments = "{ }".to_owned()),
        call(|call| call.signature = Some(String::new())),
        result(|_| {}),
        result(|result| result.call_id = "call_b".to_owned()),
        result(|result| result.name = "shut".to_owned()),
        result(|result| result.content = "undone".to_owned()),
        result(|result| result.is_error = true),
        thought(|_| {}),
        thought(|thought| thought.text.clear()),
        thought(|thought| thought.signature = None),
        thought(|thought| thought.redacted = true),
        thought(|thought| thought.format = Some("f".to_owned())),
        Part::Image(picture(same)),
        Part::Audio(picture(same)),
        Part::File(picture(same)),
        Part::Image(picture(|media| media.media_type.clear())),
        Part::Image(picture(|media| media.name = Some(String::new()))),
        Part::Image(picture(|media| media.source = MediaSource::FileId("place".to_owned()))),
        Part::Image(picture(|media| media.source = MediaSource::Bytes(Arc::from(&b"place"[..])))),
        Part::Opaque(Opaque::new("anthropic", "{}")),
        Part::Opaque(Opaque::new("openai", "{}")),
        Part::Opaque(Opaque::new("anthropic", "[]")),
    ];
    let (planner, words) = (Planner::default(), Words::default());
    let rules = CacheRules::of("gpt-4o").unwrap();
    let changed = |from: &ChatRequest, to: &ChatRequest| {
        let plan = planner.plan("t", "c", from, &rules, &words).unwrap();
        planner.conclude("t", "c", &plan, &usage(0));
        let plan = planner.plan("t", "c", to, &rules, &words).unwrap();
        match planner.conclude("t", "c", &plan, &usage(0)) {
            Outcome::Changed { segment, .. } => segment,
            other => format!("{other:?}"),
        }
    };
    let base = request(&"be kind ".repeat(600), 5);
    let with = |part: &Part| {
        let mut request = base.clone();
        request.messages[2].parts.push(part.clone());
        request
    };
    for (index, one) in parts.iter().enumerate() {
        for other in &parts[..index] {
            assert_eq!(changed(&with(one), &with(other)), "message 3 (assistant)", "{one:?} {other:?}");
        }
        assert_eq!(changed(&with(one), &base), "message 3 (assistant)", "{one:?}");
    }
    let differs = |change: &dyn Fn(&mut ChatRequest), expected: &str| {
        let mut request = base.clone();
        change(&mut request);
        assert_eq!(changed(&base, &request), expected);
        assert_eq!(changed(&request, &base), expected);
    };
    differs(&|request| request.tools[1].strict = Some(false), "tool 2 (open)");
    differs(&|request| request.tools[1].description.push('!'), "tool 2 (open)");
    differs(&|request| request.tools[1].parameters = JsonText::new("{ }"), "tool 2 (open)");
    for change in [
        (|request| request.tool_choice = ToolChoice::Required) as fn(&mut ChatRequest),
        |request| request.tool_choice = ToolChoice::Tool("open".to_owned()),
        |request| request.parallel_tool_calls = Some(false),
        |request| request.reasoning_effort = Some("low".to_owned()),
        |request| request.reasoning_budget_tokens = Some(0),
        |request| request.response_format = ResponseFormat::JsonObject,
    ] {
        differs(&change, "settings");
    }
    let mut spoken = base.clone();
    spoken.messages[2].role = Role::User;
    assert_eq!(changed(&base, &spoken), "message 3 (user)");
    // How an answer is drawn is no part of the prompt.
    let mut drawn = base.clone();
    (drawn.temperature, drawn.seed, drawn.max_output_tokens) = (Some(1.0), Some(7), Some(10));
    assert!(changed(&base, &drawn).starts_with("Missed"), "{}", changed(&base, &drawn));
    // What is gone has no name any more.
    let mut fewer = base.clone();
    fewer.tools.pop();
    assert_eq!(changed(&base, &fewer), "tools");
    assert_eq!(changed(&fewer, &base), "tool 2 (open)");
    fewer.tools = base.tools.clone();
    fewer.messages.remove(0);
    assert_eq!(changed(&base, &fewer), "system");
}

#[test]
fn what_is_rewritten_late_is_told_too() {
    let (planner, words) = (Planner::default(), Words::default());
    let rules = CacheRules::of("gpt-4o").unwrap();
    let base = request("be kind", 100);
    let outcome = |place: usize| {
        let first = planner.plan("t", "c", &base, &rules, &words).unwrap();
        planner.conclude("t", "c", &first, &usage(0));
        let mut rewritten = base.clone();
        rewritten.messages[place] = Message::user("another question");
        let plan = planner.plan("t", "c", &rewritten, &rules, &words).unwrap();
        planner.conclude("t", "c", &plan, &usage(plan.expected_cached_tokens))
    };
    let is_told = |place| {
        matches!(outcome(place), Outcome::Changed { segment, lost_tokens }
        if segment == format!("message {} (user)", place + 1) && lost_tokens > 1024)
    };
    assert!(is_told(121), "{:?}", outcome(121));
    assert!(is_told(171), "{:?}", outcome(171));
    assert!(matches!(outcome(199), Outcome::AsPlanned { .. }), "{:?}", outcome(199));
}

/// A provider looks back over twenty blocks from a mark; an agent's turn may be longer.
#[test]
fn where_the_last_prompt_ended_is_marked_whatever_has_been_added() {
    let (planner, words) = (Planner::default(), Words::default());
    let claude = CacheRules::of("claude-sonnet-4-5").unwrap();
    let send = |request: &ChatRequest| {
        let plan = planner.plan("t", "c", request, &claude, &words).unwrap();
        planner.conclude("t", "c", &plan, &usage(plan.expected_cached_tokens));
        plan.hint.also_after
    };
    let first = request("be kind", 10);
    assert_eq!(send(&first), [] as [usize; 0]);
    let mut second = first.clone();
    for call in 0..15 {
        second = second.with_message(Message::assistant(format!("call {call}"))).with_user("result");
    }
    assert_eq!(send(&second), [first.messages.len() - 1]);
    let mut rewritten = second.clone();
    rewritten.messages.truncate(30);
    rewritten.messages[25] = Message::user("another question");
    assert_eq!(send(&rewritten), [24], "what is left of it");
    let mut other = rewritten.clone();
    other.messages[3] = Message::user("from the beginning");
    assert_eq!(send(&other), [] as [usize; 0], "too short to have been kept");
}

#[test]
fn what_was_never_kept_is_not_lost() {
    let (planner, words) = (Planner::default(), Words::default());
    let rules = CacheRules::of("gpt-4o").unwrap();
    let conclude = |request: &ChatRequest, cached: u64| {
        let plan = planner.plan("t", "c", request, &rules, &words).unwrap();
        planner.conclude("t", "c", &plan, &usage(cached))
    };
    // A short prompt that is rewritten.
    conclude(&request("be kind", 2), 0);
    assert_eq!(conclude(&request("be brief", 2), 0), Outcome::NothingExpected);

    // Another model has a cache of its own; what the answer has to look like stands before everything else.
    let long = request(&"be kind ".repeat(600), 3);
    conclude(&long, 0);
    let mut other = long.clone();
    other.model = "gpt-5".to_owned();
    assert_eq!(conclude(&other, 0), Outcome::NothingExpected);
    let mut formed = long.clone();
    let schema = JsonText::new(r#"{"type":"object"}"#);
    formed.response_format = ResponseFormat::JsonSchema { name: "answer".to_owned(), schema };
    assert!(matches!(conclude(&formed, 0), Outcome::Changed { segment, .. } if segment == "response format"));
}
