//! What becomes of a canary, told to others: whatever a provider's error says, the message is JSON of the event, bounded, without
//! what stood in quotes or looked like a key, and good with its secret alone. serde_json is the oracle.
//!
//! The input is three lines: the canary's name, the error's text, what somebody sends as signatures.
#![no_main]

use std::time::{Duration, Instant, UNIX_EPOCH};

use loquat_core::{Error, ErrorKind, Secret};
use loquat_router::canary::{
    Canary, CanaryEvent, CanaryPolicy, Change, Sample,
    webhook::{self, Signed},
};
use serde_json::Value;

/// Planted where a provider repeats what was asked; short enough not to be taken for a key.
const SAID: &str = "whatwasasked";

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    if text.contains(SAID) {
        return;
    }
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (name, error, signatures) = (line(), line(), line());
    let event = rolled_back(name, error);
    redacted(&event.error);
    let plain = error.replace(['"', '`', '“', '\''], " ");
    let planted = rolled_back(
        name,
        &format!(
            "{plain} \"{SAID}\" `{SAID}` “{SAID}” '{SAID}' sk-{SAID} (sk-{SAID}) [{SAID}@x] key={SAID} {error}"
        ),
    );
    redacted(&planted.error);
    assert!(!planted.error.contains(SAID), "{:?}", planted.error);
    for event in [&event, &planted] {
        told(event);
        signed(event, signatures);
    }
});

/// A canary of that name whose first request fails with that error, and is enough.
fn rolled_back(name: &str, error: &str) -> CanaryEvent {
    let mut policy = CanaryPolicy::default();
    (policy.min_sample, policy.evidence) = (1, 0.01);
    let now = Instant::now();
    let canary = Canary::new(name, policy, now);
    canary.record(Sample::answered(false, 1, Duration::from_millis(1)), now);
    let error = Error::new(ErrorKind::Server, error.to_owned());
    let sample = Sample::failed(true, 7, &error).with_trace([7; 16]);
    canary.record(sample, now).expect("one failure of one is a breach under this policy")
}

fn redacted(shown: &str) {
    assert!(shown.len() <= 200, "{} bytes", shown.len());
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    let bare = |word: &str| word.trim_start_matches(|c: char| !c.is_alphanumeric()).to_ascii_lowercase();
    assert!(!shown.split(' ').any(|word| bare(word).starts_with("sk-") || word.contains('@')), "{shown:?}");
}

/// The message is the event: no field more, none less.
fn told(event: &CanaryEvent) {
    let body = webhook::payload(event);
    let json: Value = serde_json::from_str(&body).expect("JSON");
    let names: Vec<_> = json.as_object().expect("an object").keys().map(String::as_str).collect();
    let known = [
        "affected_keys",
        "at_ms",
        "breach",
        "canary",
        "error",
        "number",
        "percent",
        "sample",
        "trace_id",
        "type",
        "window_ms",
    ];
    assert_eq!(names, known);
    let Change::RolledBack { breach: Some(breach) } = event.change else { panic!("{:?}", event.change) };
    assert_eq!(json["type"], "canary.rolled_back");
    assert_eq!(json["canary"], event.canary);
    assert_eq!(json["error"], event.error);
    assert_eq!(json["trace_id"], event.trace_id);
    assert_eq!(json["number"], event.number);
    assert_eq!(
        (&json["affected_keys"], &json["sample"]),
        (&event.affected_keys.into(), &event.sample.into())
    );
    let share = json["breach"]["share"].as_f64().expect("a number");
    assert!((share - breach.share).abs() < 1e-6, "{share}");
}

fn signed(event: &CanaryEvent, signatures: &str) {
    let (secret, now) = (Secret::new("a shared secret"), UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let Signed { id, timestamp, signature, body, .. } = webhook::sign(event, &secret, now);
    assert!(id.len() <= 100 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{id:?}");
    let good = |body: &str, signatures: &str, secret: &Secret| {
        webhook::verify(&id, timestamp, body, signatures, secret, now)
    };
    assert!(good(&body, &signature, &secret));
    assert!(good(&body, &format!("{signatures} {signature}"), &secret), "beside whatever else");
    assert!(!good(&body, signatures, &secret), "nobody guesses it");
    assert!(!good(&format!("{body} "), &signature, &secret));
    assert!(!good(&body, &signature, &Secret::new(signatures.to_owned() + "another")));
}
