//! What is asked of a provider's cache, and what a bill that is too high is due to.
#![cfg(feature = "cache")]

mod support;

use loquat_core::{ChatRequest, JsonText, Message, ResponseFormat, Tool, Usage};
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
