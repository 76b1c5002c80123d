//! A client with an observer: what a real server does to it is seen as operations, attempts and connections.
#![cfg(all(feature = "client", feature = "observe"))]

use std::sync::{Arc, Mutex};

use loquat::{
    Client,
    observe::{CallTrace, Keep, Note, Observer, Outcome, Sampling, TextFormat},
};
use loquat_testing::{Reply, Server};

#[derive(Default)]
struct Kept(Mutex<Vec<Arc<CallTrace>>>);

impl Keep for Kept {
    fn keep(&self, call: &Arc<CallTrace>) {
        self.0.lock().expect("not poisoned").push(call.clone());
    }
}

#[tokio::test]
async fn a_retried_call_is_one_operation_of_two_attempts() {
    let server = Server::start([
        Reply::refusal(503, "{}").with_header("retry-after", "0"),
        Reply::events([
            "{\"id\":\"r1\",\"model\":\"m-7\",\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}",
            "{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}",
            "[DONE]",
        ]),
    ])
    .await
    .expect("a server");
    let kept = Arc::new(Kept::default());
    let observer = Observer::builder().sampling(Sampling::all()).keep(kept.clone()).build();
    let client =
        Client::builder().base_url(server.base_url()).observer(observer.clone()).build().expect("built");
    let said = client.chat("m").user("planted words").send().await.expect("answered");
    assert_eq!(said.text(), "hi");

    let calls = kept.0.lock().expect("not poisoned").clone();
    let [call] = calls.as_slice() else { panic!("{calls:?}") };
    assert_eq!(call.outcome, Outcome::Finished);
    assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (7, 2));
    assert_eq!((&*call.response.0, &*call.response.1), ("r1", "m-7"));
    let statuses: Vec<_> = call.attempts.iter().map(|attempt| attempt.head.map(|head| head.status)).collect();
    assert_eq!(statuses, [Some(503), Some(200)]);
    assert!(call.attempts[0].ended <= call.attempts[1].started);
    assert!(call.notes.iter().any(|(_, note)| matches!(note, Note::Retry(1, ..))), "{:?}", call.notes);

    // Both attempts told the server where they stand in the trace.
    let spans: Vec<String> = server
        .requests()
        .iter()
        .filter_map(|request| {
            let (_, value) = request.headers.iter().find(|(name, _)| name == "traceparent")?;
            value.split('-').nth(2).map(str::to_owned)
        })
        .collect();
    let hex = |id: [u8; 8]| format!("{:016x}", u64::from_be_bytes(id));
    assert_eq!(spans, call.attempts.iter().map(|attempt| hex(attempt.span_id)).collect::<Vec<_>>());

    let shown = observer.metrics(TextFormat::Prometheus);
    for line in [
        "loquat_pool_opened_total 1",
        "loquat_pool_reused_total 1",
        "loquat_pool_connections{protocol=\"HTTP/1.1\"} 1",
    ] {
        assert!(shown.lines().any(|l| l == line), "{line} in\n{shown}");
    }
    let [pool] = observer.locks().list().try_into().expect("one");
    assert!(&*pool.name == "pool" && pool.taken > 0 && pool.waits == 0, "{pool:?}");
    assert!(shown.contains("loquat_breaker_state{endpoint=\"127.0.0.1:"), "{shown}");
    assert!(!shown.contains("planted") && !format!("{calls:?}").contains("planted"));
}

#[cfg(feature = "router")]
#[tokio::test]
async fn a_routed_call_is_known_by_its_models_name_and_has_a_price() {
    use loquat::{
        ModelExt,
        core::Endpoint,
        observe::Price,
        router::{EndpointSpec, Plan},
    };

    let server = Server::start([Reply::events([
        "{\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}",
        "{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1000000,\"completion_tokens\":0}}",
        "[DONE]",
    ])])
    .await
    .expect("a server");
    let observer = Observer::builder().prices("USD", [("m", Price::per_million(3.0, 1.0))]).build();
    let endpoint = Endpoint::new("openai", format!("{}/v1", server.base_url()), "m");
    let plan = Plan::new().with_endpoint(EndpointSpec::new("near", endpoint)).with_chain("chat", ["near"]);
    let client = Client::builder().observer(observer.clone()).build().expect("built");
    let router = client.router(&plan).expect("a plan");
    let said = router.chat("chat").user("hi").send().await.expect("answered");
    assert_eq!(said.text(), "hi");

    let shown = observer.metrics(TextFormat::Prometheus);
    assert!(shown.contains("gen_ai_request_model=\"m\""), "{shown}");
    assert!(!shown.contains("gen_ai_request_model=\"near as m\""), "{shown}");
    let cost = shown.lines().find(|line| line.starts_with("loquat_cost_total{"));
    assert!(cost.is_some_and(|line| line.ends_with(" 3")), "{shown}");
}
