//! What becomes of canaries as messages for others: JSON, and a signature by which a receiver knows who sent it and when.
//!
//! By the Standard Webhooks specification (<https://www.standardwebhooks.com>): `webhook-id`, `webhook-timestamp` and
//! `webhook-signature: v1,BASE64(HMAC-SHA256(secret, id.timestamp.body))`. What is signed is data here; sending it is for others.

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use loquat_core::Secret;
use ring::hmac;

use super::{Breach, CanaryEvent, Change, Limit};

/// A message, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signed {
    /// `webhook-id`: the same however often it is sent, for receivers that count once.
    pub id: String,
    /// `webhook-timestamp`: when it was signed. Seconds since 1970.
    pub timestamp: u64,
    /// `webhook-signature`.
    pub signature: String,
    /// The body, JSON.
    pub body: String,
}

/// That event as JSON: one object, in the order of [`CanaryEvent`]'s fields. No prompt, no answer and no key is in it.
pub fn payload(event: &CanaryEvent) -> String {
    let mut json = String::with_capacity(512);
    let at = event.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let (change, breach) = match event.change {
        Change::Started => ("started", None),
        Change::Raised => ("raised", None),
        Change::Lowered { breach } => ("lowered", Some(breach)),
        Change::RolledBack { breach } => ("rolled_back", breach),
    };
    // Writing to a string does not fail.
    let _ = write!(json, r#"{{"type":"canary.{change}","number":{},"at_ms":{at},"canary":"#, event.number);
    string(&mut json, &event.canary);
    let _ = write!(json, r#","percent":{:.4}"#, event.percent);
    if let Some(Breach { limit, share, baseline }) = breach {
        let limit = match limit {
            Limit::Errors => "errors",
            Limit::FirstToken => "first_token",
        };
        let _ =
            write!(json, r#","breach":{{"limit":"{limit}","share":{share:.6},"baseline":{baseline:.6}}}"#);
    }
    json.push_str(r#","trace_id":"#);
    string(&mut json, &event.trace_id);
    json.push_str(r#","error":"#);
    string(&mut json, &event.error);
    let CanaryEvent { affected_keys, sample, window, .. } = event;
    let window = window.as_millis();
    let _ = write!(json, r#","affected_keys":{affected_keys},"sample":{sample},"window_ms":{window}}}"#);
    json
}

/// That event, signed now. A secret that begins with `whsec_` is base64 after that, padded or not, any other is taken as it is.
pub fn sign(event: &CanaryEvent, secret: &Secret, now: SystemTime) -> Signed {
    let began = event.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let name: String = event.canary.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
    let id = format!("canary_{name}_{}_{began}", event.number);
    let timestamp = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let body = payload(event);
    let signature = signature(&id, timestamp, &body, secret);
    Signed { id, timestamp, signature, body }
}

/// Whether that message was signed with the secret, no more than five minutes from `now`: for those who receive it.
/// `signatures` may hold several, with spaces between, as while secrets are exchanged. Takes the same time whether right or wrong.
pub fn verify(
    id: &str,
    timestamp: u64,
    body: &str,
    signatures: &str,
    secret: &Secret,
    now: SystemTime,
) -> bool {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let key = key(secret);
    now.abs_diff(timestamp) <= 300
        && signatures
            .split(' ')
            .filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok())
            .any(|signature| hmac::verify(&key, signed(id, timestamp, body).as_bytes(), &signature).is_ok())
}

fn signature(id: &str, timestamp: u64, body: &str, secret: &Secret) -> String {
    let tag = hmac::sign(&key(secret), signed(id, timestamp, body).as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

fn signed(id: &str, timestamp: u64, body: &str) -> String {
    format!("{id}.{timestamp}.{body}")
}

fn key(secret: &Secret) -> hmac::Key {
    let text = secret.expose();
    let decode = |encoded: &str| STANDARD_NO_PAD.decode(encoded.trim_end_matches('=')).ok();
    let bytes = text.strip_prefix("whsec_").and_then(decode);
    hmac::Key::new(hmac::HMAC_SHA256, &bytes.unwrap_or_else(|| text.as_bytes().to_vec()))
}

/// A JSON string (RFC 8259 §7). The crate has no serializer, and needs none for nine fields.
fn string(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c < ' ' => drop(write!(json, "\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use loquat_core::{Error, ErrorKind};
    use proptest::prelude::*;

    use super::*;
    use crate::canary::{Canary, CanaryPolicy, Sample};

    fn change() -> impl Strategy<Value = Change> {
        let breach = (any::<bool>(), 0.0..=1.0_f64, 0.0..=1.0_f64).prop_map(|(late, share, baseline)| {
            Breach { limit: if late { Limit::FirstToken } else { Limit::Errors }, share, baseline }
        });
        prop_oneof![
            Just(Change::Started),
            Just(Change::Raised),
            breach.clone().prop_map(|breach| Change::Lowered { breach }),
            prop::option::of(breach).prop_map(|breach| Change::RolledBack { breach }),
        ]
    }

    proptest! {
        /// Whatever an event holds, its message is JSON of the same, good with its secret for five minutes, and not after one
        /// byte of anything was changed.
        #[test]
        fn any_message_is_json_and_good_as_it_was_signed(
            (canary, error, trace_id, secret) in (".{0,40}", ".{0,200}", "[0-9a-f]{0,32}", ".{1,40}"),
            (change, number, percent) in (change(), any::<u64>(), 0.0..=100.0_f64),
            (later, at, bit) in (0_u64..=300, any::<prop::sample::Index>(), 0_u8..7),
        ) {
            let began = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            let event = CanaryEvent {
                number, at: began, canary, change, percent, trace_id, error,
                affected_keys: 3, sample: 200, window: Duration::from_secs(9),
            };
            let secret = Secret::new(secret);
            let signed = sign(&event, &secret, began);
            let json: serde_json::Value = serde_json::from_str(&signed.body).expect("JSON");
            prop_assert_eq!(json["canary"].as_str(), Some(event.canary.as_str()));
            prop_assert_eq!(json["error"].as_str(), Some(event.error.as_str()));
            prop_assert_eq!(json["number"].as_u64(), Some(number));
            prop_assert!(signed.id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "a header's value");
            let good = |id: &str, timestamp: u64, body: &str, signatures: &str, secret: &Secret, late: u64| {
                verify(id, timestamp, body, signatures, secret, began + Duration::from_secs(late))
            };
            let Signed { id, timestamp, signature, body } = &signed;
            prop_assert!(good(id, *timestamp, body, signature, &secret, later));
            let several = format!("v2,x v1,AAAA {signature}");
            prop_assert!(good(id, *timestamp, body, &several, &secret, later));
            prop_assert!(!good(id, *timestamp, body, signature, &secret, 301 + later));
            prop_assert!(!good(id, *timestamp + 1, body, signature, &secret, later));
            prop_assert!(!good(id, *timestamp, body, "", &secret, later));
            prop_assert!(!good(id, *timestamp, body, signature, &Secret::new("another secret, not drawn above, too long"), later));
            let mut bytes = body.clone().into_bytes();
            let index = at.index(bytes.len());
            bytes[index] ^= 1 << bit;
            if let Ok(changed) = String::from_utf8(bytes) {
                prop_assert!(!good(id, *timestamp, &changed, signature, &secret, later), "{changed}");
            }
        }
    }

    /// The reference implementations' own example.
    #[test]
    fn signatures_are_those_of_the_specification() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let made =
            signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#, &secret);
        assert_eq!(made, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let [padded, bare] = ["whsec_c2VjcmV0cw==", "whsec_c2VjcmV0cw"]
            .map(|secret| signature("msg", 7, "{}", &Secret::new(secret)));
        assert_eq!(padded, bare);
        assert_ne!(bare, signature("msg", 7, "{}", &Secret::new("c2VjcmV0cw")));
    }

    #[test]
    fn a_rollback_is_told_whole_and_nothing_in_it_is_anybodys() {
        let start = Instant::now();
        let mut policy = CanaryPolicy::default().with_shares(50.0, 10.0, 50.0);
        policy.min_sample = 20;
        let canary = Canary::new("next\"\n", policy, start);
        let error = Error::new(ErrorKind::Server, "failed for \"my diary\" sk-planted");
        let mut last = None;
        for step in 0..2_000_u64 {
            let is_canary = step > 500;
            let sample = if is_canary && step % 2 == 0 {
                Sample::failed(true, step % 7, &error)
            } else {
                Sample::answered(is_canary, step, Duration::from_millis(100))
            };
            last = canary.record(sample.with_trace([7; 16]), start + Duration::from_millis(step)).or(last);
        }
        let event = last.expect("rolled back");
        let json: serde_json::Value = serde_json::from_str(&payload(&event)).expect("JSON");
        assert_eq!(json["type"], "canary.rolled_back");
        assert_eq!(json["canary"], "next\"\n");
        assert_eq!(json["breach"]["limit"], "errors");
        assert_eq!(json["trace_id"], "07".repeat(16));
        assert_eq!(json["error"], "failed for … …");
        assert!(json["affected_keys"].as_u64().is_some_and(|keys| (1..=7).contains(&keys)), "{json}");
        let secret = Secret::new("a shared secret");
        let signed = sign(&event, &secret, SystemTime::now());
        let good = |body: &str, secret: &Secret, late: u64| {
            let now = SystemTime::now() + Duration::from_secs(late);
            verify(&signed.id, signed.timestamp, body, &format!("v1,AAAA {}", signed.signature), secret, now)
        };
        assert!(good(&signed.body, &secret, 0));
        assert!(!good(&signed.body.replace("rolled_back", "raised"), &secret, 0), "changed on the way");
        assert!(!good(&signed.body, &Secret::new("another"), 0));
        assert!(!good(&signed.body, &secret, 400), "replayed later");
        assert!(!signed.body.contains("planted") && !signed.body.contains("diary"));
    }
}
