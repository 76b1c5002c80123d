//! Content that is shown to those who have asked for it: to whom, how much, and by which schema.
#![cfg(all(feature = "capture", feature = "otlp"))]

#[path = "common/collector.rs"]
mod collector;
mod common;

use std::sync::{Arc, Mutex};

use common::{drain, finished, place};
use loquat_core::{
    ChatRequest, Context, Ending, Error, ErrorKind, FinishReason, Message, Model, OwnedDelta, TraceContext,
    Usage, test_util::Scripted,
};
use loquat_observe::{
    CallTrace, Capture, Conventions, Keep, Observer, ObserverBuilder, Sampling, TextFormat,
};
use serde_json::{Value, json};

#[derive(Default)]
struct Kept(Mutex<Vec<Arc<CallTrace>>>);

impl Keep for Kept {
    fn keep(&self, call: &Arc<CallTrace>) {
        self.0.lock().expect("not poisoned").push(call.clone());
    }
}

fn kept(builder: ObserverBuilder) -> (Arc<Kept>, Observer) {
    let kept = Arc::new(Kept::default());
    (kept.clone(), builder.sampling(Sampling::all()).keep(kept).build())
}

fn request() -> Arc<ChatRequest> {
    Arc::new(ChatRequest::new("gpt-5").with_message(Message::system("Be brief.")).with_user("Who are you?"))
}

async fn call(observer: &Observer, script: Vec<OwnedDelta>) {
    let model = observer.operation(Scripted::new().then(Ok(script)), place());
    drain(model.infer(&Context::new(), request()).await.expect("answered")).await;
}

impl Kept {
    /// What the last operation answered.
    fn output(&self) -> Value {
        let calls = self.0.lock().expect("not poisoned");
        let content = calls.last().and_then(|call| call.content.as_ref()).expect("captured");
        serde_json::from_str(content.output_messages()).expect("JSON")
    }

    fn captured(&self) -> usize {
        self.0.lock().expect("not poisoned").iter().filter(|call| call.content.is_some()).count()
    }

    fn is_cut(&self) -> bool {
        let calls = self.0.lock().expect("not poisoned");
        calls.last().and_then(|call| call.content.as_ref()).expect("captured").is_cut()
    }
}

fn text(text: &str) -> OwnedDelta {
    OwnedDelta::Text { choice: 0, text: text.into() }
}

fn ended(reason: FinishReason) -> OwnedDelta {
    OwnedDelta::End(Ending::Finished { reason, usage: Usage::default() })
}

#[tokio::test]
async fn a_collector_gets_the_attributes_of_the_conventions() {
    use loquat_observe::export::{ExportConfig, Exporter};
    for (conventions, has_content) in [(Conventions::V2026, true), (Conventions::V1_36, false)] {
        let collector = collector::Collector::start();
        let exporter =
            Exporter::otlp_http(&collector.endpoint(), ExportConfig::new("t")).expect("an exporter");
        let builder = Observer::builder().conventions(conventions).capture(Capture::new());
        let observer = builder.sampling(Sampling::all()).export(exporter.clone()).build();
        call(&observer, finished(&["A ", "model."], 1, 1)).await;
        assert!(exporter.flush(std::time::Duration::from_secs(60)));
        let sent = collector.bodies("/v1/traces").concat();
        for words in [
            r#"gen_ai.system_instructions"#,
            r#"[{"content":"Be brief.","type":"text"}]"#,
            "gen_ai.input.messages",
            r#"[{"parts":[{"content":"Who are you?","type":"text"}],"role":"user"}]"#,
            "gen_ai.output.messages",
            r#"[{"finish_reason":"stop","parts":[{"content":"A model.","type":"text"}],"role":"assistant"}]"#,
        ] {
            let holds = sent.windows(words.len()).any(|window| window == words.as_bytes());
            assert_eq!(holds, has_content, "{words}");
        }
    }
}

#[tokio::test]
async fn off_until_asked_for_and_then_by_its_part_of_traces() {
    let (kept_off, observer) = kept(Observer::builder());
    call(&observer, finished(&["x"], 1, 1)).await;
    assert_eq!(kept_off.captured(), 0, "nobody asked for it");

    let (kept, observer) = kept(Observer::builder().capture(Capture::new().with_ratio(0.5)));
    // The last eight bytes of a trace's id, as a number, against the ratio: half of them.
    for (id, captured) in [("7000000000000000", true), ("f000000000000000", false)] {
        let before = kept.captured();
        let header = format!("00-0af7651916cd43dd{id}-b7ad6b7169203331-01");
        let trace = TraceContext::parse(&header).expect("valid");
        let model = observer.operation(Scripted::new().then(Ok(finished(&["x"], 1, 1))), place());
        let context = Context::new().with_trace(trace);
        drain(model.infer(&context, request()).await.expect("answered")).await;
        assert_eq!(kept.captured() - before, usize::from(captured), "{id}");
    }
}

#[tokio::test]
async fn every_ending_has_what_came() {
    let capture = || Capture::new().with_max_secret_bytes(4);
    let (kept, observer) = kept(Observer::builder().capture(capture()));
    let call_one = OwnedDelta::ToolCall { choice: 0, call: 0, id: "c1".into(), name: "look".into() };
    let arguments =
        |fragment: &str| OwnedDelta::ToolArguments { choice: 0, call: 0, fragment: fragment.into() };
    let script =
        vec![text("one"), call_one, arguments("{\"a\""), arguments(":1}"), ended(FinishReason::ToolCalls)];
    call(&observer, script).await;
    let parts = json!([
        {"type": "text", "content": "one"},
        {"type": "tool_call", "id": "c1", "name": "look", "arguments": {"a": 1}},
    ]);
    assert_eq!(kept.output(), json!([{"role": "assistant", "finish_reason": "tool_call", "parts": parts}]));
    assert!(!kept.is_cut());

    let shown = |kept: &Kept| kept.output()[0]["parts"][0]["content"].clone();
    call(&observer, vec![text("0123456789"), ended(FinishReason::Length)]).await;
    assert_eq!((shown(&kept), kept.is_cut()), ("012345".into(), true), "at its limit of tokens");
    call(&observer, vec![text("0123456789"), OwnedDelta::End(Ending::Truncated { cause: None })]).await;
    assert_eq!((shown(&kept), kept.is_cut()), ("012345".into(), true), "cut");
    let failed = Error::new(ErrorKind::Server, "no");
    call(&observer, vec![text("0123456789"), OwnedDelta::End(Ending::Failed(failed))]).await;
    assert_eq!(shown(&kept), "012345", "failed");

    let model = observer.operation(Scripted::new().then(Ok(finished(&["0123456789", "x"], 1, 1))), place());
    let mut answer = model.infer(&Context::new(), request()).await.expect("answered");
    while answer.next().await.and_then(|delta| delta.text().map(str::to_owned)).is_none() {}
    drop(answer);
    assert_eq!(shown(&kept), "012345", "given up");

    let refused = Scripted::new().then(Err(Error::new(ErrorKind::Server, "no")));
    assert!(observer.operation(refused, place()).infer(&Context::new(), request()).await.is_err());
    let calls = kept.0.lock().expect("not poisoned").clone();
    let content = calls.last().and_then(|call| call.content.as_ref()).expect("captured");
    assert!(content.input_messages().contains("Who are you?") && content.output_messages().is_empty());
    let debug = format!("{:?}", calls.last());
    assert!(debug.contains("Content") && !debug.contains("Who are"), "{debug}");
}

#[tokio::test]
async fn what_is_kept_is_bounded_and_given_back() {
    let small = || Capture::new().with_max_bytes(300).with_max_secret_bytes(0);
    let (kept_small, observer) = kept(Observer::builder().capture(small()));
    for script in [
        vec![text(&"é".repeat(1000)), ended(FinishReason::Stop)],
        (0..1000).map(|_| text("é")).chain([ended(FinishReason::Stop)]).collect(),
        (0..1000)
            .map(|call| OwnedDelta::ToolCall { choice: 0, call, id: "c".repeat(50), name: "n".into() })
            .chain([ended(FinishReason::Stop)])
            .collect(),
    ] {
        call(&observer, script).await;
        let output = kept_small.output().to_string();
        assert!(
            output.len() <= 302 && output.len() > 30 && kept_small.is_cut(),
            "{}: {output}",
            output.len()
        );
    }

    // Room for one; the next has its content when that one is gone.
    let (kept, observer) = kept(Observer::builder().capture(small().with_max_held_bytes(1200)));
    call(&observer, finished(&["x"], 1, 1)).await;
    call(&observer, finished(&["x"], 1, 1)).await;
    assert_eq!(kept.captured(), 1);
    let metrics = observer.metrics(TextFormat::Prometheus);
    assert_eq!(common::sample(&metrics, "loquat_observe_uncaptured_total"), 1.0);
    kept.0.lock().expect("not poisoned").clear();
    call(&observer, finished(&["x"], 1, 1)).await;
    assert_eq!(kept.captured(), 1);
}
