//! What operations leave in the metrics, by scripted models on a clock moved by hand.

mod common;

use std::{sync::Arc, time::Duration};

use common::{ask, drain, finished, place, sample, slow};
use loquat_core::{
    Availability, Clock, Context, Error, ErrorKind, Event, Model, OwnedDelta,
    test_util::{ManualClock, Scripted},
};
use loquat_observe::{CacheState, Observer, Price, TextFormat};

fn text(observer: &Observer) -> String {
    observer.metrics(TextFormat::Prometheus)
}

const SERIES: &str =
    "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"openai\",gen_ai_request_model=\"gpt-5\"";

#[tokio::test]
async fn an_operation_is_counted_once_however_it_ends() {
    let clock = Arc::new(ManualClock::new());
    let observer =
        Observer::builder().clock(clock.clone()).prices("EUR", [("gpt-5", Price::per_million(1.0, 8.0))]);
    let observer = observer.build();
    let refused = || Err(Error::new(ErrorKind::RateLimited, "later").with_status(429));
    let cut = Ok(vec![OwnedDelta::Text { choice: 0, text: "a part".into() }]);
    let server = Scripted::new()
        .then(Ok(finished(&["one", "two"], 1_000_000, 500_000)))
        .then(refused())
        .then(cut)
        .then(Ok(finished(&["never read"], 1, 1)));
    let model = observer.operation(server, place());

    drain(ask(&model, "gpt-5").await.expect("answered")).await;
    assert!(ask(&model, "gpt-5").await.is_err());
    drain(ask(&model, "gpt-5").await.expect("answered")).await;
    let given_up = ask(&model, "gpt-5").await.expect("answered");
    let shown = text(&observer);
    assert_eq!(sample(&shown, &format!("loquat_operations_in_flight{{{SERIES}}}")), 1.0);
    drop(given_up);

    let shown = text(&observer);
    let duration = "gen_ai_client_operation_duration_seconds_count";
    let failed = |kind| format!("{duration}{{{SERIES},error_type=\"{kind}\"}}");
    assert_eq!(sample(&shown, &format!("{duration}{{{SERIES}}}")), 1.0);
    for kind in ["rate_limited", "truncated", "cancelled"] {
        assert_eq!(sample(&shown, &failed(kind)), 1.0, "{kind} in\n{shown}");
    }
    assert_eq!(sample(&shown, &format!("loquat_operations_in_flight{{{SERIES}}}")), 0.0);
    let tokens = |kind| format!("gen_ai_client_token_usage_sum{{{SERIES},gen_ai_token_type=\"{kind}\"}}");
    assert_eq!((sample(&shown, &tokens("input")), sample(&shown, &tokens("output"))), (1e6, 5e5));
    assert_eq!(sample(&shown, &format!("loquat_cost_total{{{SERIES},currency=\"EUR\"}}")), 5.0);
}

#[tokio::test]
async fn times_are_the_clocks() {
    let clock = Arc::new(ManualClock::new());
    let observer = Observer::builder().clock(clock.clone()).build();
    // Three pieces of content, each 300 ms after the one before, in the second of which two deltas arrive at once.
    let model = observer.operation(slow(clock.clone(), Duration::from_millis(300)), place());
    drain(ask(&model, "gpt-5").await.expect("answered")).await;

    let shown = text(&observer);
    let of = |name: &str, what: &str| {
        sample(&shown, &format!("gen_ai_client_operation_{name}_seconds_{what}{{{SERIES}}}"))
    };
    assert_eq!((of("time_to_first_chunk", "sum"), of("time_to_first_chunk", "count")), (0.3, 1.0));
    assert_eq!((of("time_per_output_chunk", "sum"), of("time_per_output_chunk", "count")), (0.6, 2.0));
    assert_eq!(of("duration", "sum"), 1.2);
    assert_eq!(sample(&shown, &format!("loquat_chunks_total{{{SERIES}}}")), 3.0);
}

#[tokio::test]
async fn callers_do_not_make_labels_without_end() {
    let observer = Observer::builder().max_models(4).build();
    let mut server = Scripted::new();
    for _ in 0..100 {
        server = server.then(Ok(finished(&["x"], 1, 1)));
    }
    let model = observer.operation(server, place());
    for index in 0..100 {
        drain(ask(&model, &format!("made-up-{index}")).await.expect("answered")).await;
    }
    let shown = text(&observer);
    let models: std::collections::BTreeSet<&str> = shown
        .lines()
        .filter_map(|line| line.split("gen_ai_request_model=\"").nth(1)?.split('"').next())
        .collect();
    assert_eq!(
        models.into_iter().collect::<Vec<_>>(),
        ["_other", "gpt-5", "made-up-0", "made-up-1", "made-up-2"]
    );
    let other =
        "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"openai\",gen_ai_request_model=\"_other\"";
    assert_eq!(sample(&shown, &format!("gen_ai_client_operation_duration_seconds_count{{{other}}}")), 97.0);

    // What a model costs is told, however many came before it.
    let observer = Observer::builder().max_models(1).models(["first"]);
    let observer = observer.prices("EUR", [("dear", Price::per_million(1.0, 1.0))]).build();
    let server =
        Scripted::new().then(Ok(finished(&["x"], 1, 1))).then(Ok(finished(&["x"], 1_000_000, 1_000_000)));
    let model = observer.operation(server, place());
    for name in ["first", "dear"] {
        drain(ask(&model, name).await.expect("answered")).await;
    }
    let shown = text(&observer);
    let cost = shown.lines().find(|line| line.starts_with("loquat_cost_total{"));
    assert!(cost.is_some_and(|line| line.contains("\"dear\"") && line.ends_with(" 2")), "{shown}");

    let observer = Observer::new();
    let model = observer.operation(Scripted::new(), place());
    for index in 0..3 {
        assert!(ask(&model, &format!("{index}{}", "m".repeat(1 << 20))).await.is_err());
    }
    assert!(text(&observer).len() < 1 << 20, "{}", text(&observer).len());

    let only = Observer::builder().models(["gpt-5"]).build();
    let model = only.operation(Scripted::new(), place());
    assert!(ask(&model, "made-up").await.is_err());
    assert!(!text(&only).contains("made-up"));
}

#[tokio::test]
async fn what_layers_report_is_counted_where_it_belongs() {
    let observer = Observer::new();
    let reporting = common::Reporting(|context: &Context| {
        let error = Error::new(ErrorKind::Connect, "refused");
        context.report(&Event::Admitted { waited: Duration::from_millis(2) });
        context.report(&Event::Retry { retry: 1, wait: Duration::ZERO, error: &error });
        context.report(&Event::Hedge);
        context.report(&Event::CircuitOpen { wait: Duration::ZERO });
        context.report(&Event::Route { endpoint: "a", reason: "cheapest" });
        let elapsed = Duration::from_millis(850);
        context.report(&Event::Head { status: 503, protocol: "HTTP/2", reused: true, elapsed });
    });
    let model = observer.operation(observer.attempt(reporting, place()), place());
    assert!(ask(&model, "gpt-5").await.is_err());
    let shown = text(&observer);
    for (name, value) in [
        (format!("loquat_queue_duration_seconds_count{{{SERIES}}}"), 1.0),
        (format!("loquat_retries_total{{{SERIES}}}"), 1.0),
        (format!("loquat_hedges_total{{{SERIES}}}"), 1.0),
        (format!("loquat_breaker_rejections_total{{{SERIES}}}"), 1.0),
        ("loquat_route_decisions_total{endpoint=\"a\",reason=\"cheapest\"}".into(), 1.0),
        (format!("loquat_attempts_total{{{SERIES},outcome=\"overloaded\"}}"), 1.0),
    ] {
        assert_eq!(sample(&shown, &name), value, "{name} in\n{shown}");
    }
    let head = format!(
        "http_transport_response_duration_seconds_bucket{{{SERIES},http_response_status_code=\"503\""
    );
    assert_eq!(sample(&shown, &format!("{head},le=\"0.85\"}}")), 1.0);
    assert_eq!(sample(&shown, &format!("{head},le=\"0.7\"}}")), 0.0);
}

#[test]
fn a_breaker_is_read_when_somebody_looks() {
    let clock = Arc::new(ManualClock::new());
    let observer = Observer::builder().clock(clock.clone()).build();
    let word = Arc::new(Availability::new(clock.now()));
    observer.watch_endpoint("here", &word);
    let state = || sample(&text(&observer), "loquat_breaker_state{endpoint=\"here\"}");
    assert_eq!(state(), 0.0);
    assert!(word.eject(0, clock.now() + Duration::from_secs(5)));
    assert_eq!(state(), 1.0);
    clock.advance(Duration::from_secs(6));
    assert_eq!(state(), 2.0);
    drop(word);
    assert!(!text(&observer).contains("loquat_breaker_state{"), "nobody has it any more");
}

/// Endpoints come and go, and callers name models: neither makes labels without end.
#[test]
fn breakers_that_are_gone_are_not_shown_and_not_kept() {
    let observer = Observer::new();
    let words = || {
        let now = std::time::Instant::now();
        std::iter::repeat_with(move || Arc::new(Availability::new(now)))
    };
    let count = || text(&observer).matches("loquat_breaker_state{").count();
    for round in 0..5 {
        let kept: Vec<_> = words().take(1_000).collect();
        for (index, word) in kept.iter().enumerate() {
            observer.watch_endpoint(format!("{round}/{index}"), word);
        }
        assert!((1_000..=1_024).contains(&count()), "{}", count());
    }
    assert_eq!(count(), 0);
    let kept: Vec<_> = words().take(3_000).collect();
    for (index, word) in kept.iter().enumerate() {
        observer.watch_endpoint(format!("{index}{}", "x".repeat(10_000)), word);
    }
    assert_eq!(count(), 1_024, "no more than that");
    assert!(text(&observer).len() < 1_024 * 400, "nor longer ones");
    drop(kept);
    let new = words().take(1).collect::<Vec<_>>();
    observer.watch_endpoint("new", &new[0]);
    assert_eq!(sample(&text(&observer), "loquat_breaker_state{endpoint=\"new\"}"), 0.0);
}

#[test]
fn a_gauge_may_use_the_observer_and_may_panic() {
    let observer = Observer::new();
    let about = |name| (name, "", "what a program counts");
    let (own, (told, read)) = (observer.clone(), std::sync::mpsc::channel());
    observer.gauge(about("test.panics"), &[], || panic!("the program's own"));
    observer.gauge(about("test.makes"), &[], move || {
        own.gauge(about("test.made"), &[], || 7.0);
        1.0
    });
    let reads = observer.clone();
    std::thread::spawn(move || (0..2).for_each(|_| drop(told.send(text(&reads)))));
    let read = || read.recv_timeout(Duration::from_secs(10)).expect("it is not locked");
    let (first, second) = (read(), read());
    assert!(sample(&first, "test_panics").is_nan(), "{first}");
    assert_eq!((sample(&first, "test_makes"), sample(&second, "test_made")), (1.0, 7.0));
}

/// What the first one held is let go of where another lock may be taken, the observer's own too.
#[test]
fn a_gauge_that_another_replaces_is_dropped_outside_of_our_lock() {
    struct Looks(Observer);

    impl Drop for Looks {
        fn drop(&mut self) {
            drop(text(&self.0));
        }
    }

    let observer = Observer::new();
    let (told, replaced) = std::sync::mpsc::channel();
    let own = observer.clone();
    std::thread::spawn(move || {
        let looks = Looks(own.clone());
        let gauge = |ask: Box<dyn Fn() -> f64 + Send + Sync>| own.gauge(("test.own", "", "one"), &[], ask);
        gauge(Box::new(move || if looks.0.metrics(TextFormat::Prometheus).is_empty() { 0.0 } else { 1.0 }));
        gauge(Box::new(|| 2.0));
        let _ = told.send(());
    });
    replaced.recv_timeout(Duration::from_secs(10)).expect("it is not locked");
    assert_eq!(sample(&text(&observer), "test_own"), 2.0);
}

#[test]
fn models_stay_models() {
    fn takes(_: impl Model + 'static) {}
    let observer = Observer::new();
    takes(observer.operation(Arc::new(Scripted::new()) as Arc<dyn Model>, place()));
}

#[test]
fn a_cache_is_read_when_somebody_looks() {
    let observer = Observer::new();
    let hits = Arc::new(std::sync::atomic::AtomicU64::new(3));
    let asked = hits.clone();
    observer.watch_cache("l2", move || {
        let hits = asked.load(std::sync::atomic::Ordering::Relaxed);
        CacheState::of(hits, 1).with_bytes(4096).with_time(2, Duration::from_millis(5))
    });
    hits.store(5, std::sync::atomic::Ordering::Relaxed);
    let shown = text(&observer);
    assert_eq!(sample(&shown, "loquat_cache_requests_total{tier=\"l2\",result=\"hit\"}"), 5.0);
    assert_eq!(sample(&shown, "loquat_cache_requests_total{tier=\"l2\",result=\"miss\"}"), 1.0);
    assert_eq!(sample(&shown, "loquat_cache_read_bytes_total{tier=\"l2\"}"), 4096.0);
    assert_eq!(sample(&shown, "loquat_cache_timed_total{tier=\"l2\"}"), 2.0);
    assert_eq!(sample(&shown, "loquat_cache_duration_seconds_total{tier=\"l2\"}"), 0.005);
    let look = loquat_observe::top::Look::parse(&shown);
    let screen = look.since(&loquat_observe::top::Look::default(), Duration::from_secs(1), 200);
    assert!(screen.contains("cache l2 hits 83.3 %"), "{screen}");
}
