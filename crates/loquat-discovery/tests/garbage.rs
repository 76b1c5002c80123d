//! Property: whatever bytes a source answers with, a good table stays until there is another good one.

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use loquat_core::Listing;
use loquat_discovery::{CacheLimits, Registry, parse_entries};
use proptest::prelude::*;
use support::{Reply, Server, names, next, policy, transport};

const GOOD: &str = r#"{"endpoints":[{"name":"a","base_url":"http://127.0.0.1:9/v1","model":"m","tags":["x"],"healthy":true,"weight":2}]}"#;

/// Bytes of all kinds: none, text, and good answers bent here and there.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let bent = (0..GOOD.len(), any::<u8>(), 0..GOOD.len()).prop_map(|(at, byte, cut)| {
        let mut text = GOOD.as_bytes().to_vec();
        text[at] = byte;
        text.truncate(cut.max(at / 2));
        text
    });
    let replaced = (0..GOOD.len(), any::<u8>()).prop_map(|(at, byte)| {
        let mut text = GOOD.as_bytes().to_vec();
        text[at] = byte;
        text
    });
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        "[\\[\\]{}\":,a-z0-9 ]{0,80}".prop_map(String::into_bytes),
        bent,
        replaced
    ]
}

/// What comes of it is a failure, or something that keeps every promise.
fn holds(listing: &Listing) -> bool {
    listing.endpoints.iter().all(|found| {
        !found.name.is_empty()
            && found.endpoint.credential.is_none()
            && (found.endpoint.base_url.starts_with("http") || found.endpoint.base_url.starts_with("HTTP"))
    }) && listing.refused.len() <= 20
}

proptest! {
    #[test]
    fn any_bytes_are_a_listing_that_holds_or_a_failure(text in answers()) {
        if let Ok(listing) = parse_entries(&text, &policy()) {
            prop_assert!(holds(&listing), "{listing:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_takes_a_good_table_away(script in proptest::collection::vec((200u16..600, answers()), 1..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let script = Arc::new(Mutex::new(script));
            let rest = script.clone();
            let began = Arc::new(Mutex::new(false));
            let server = Server::start(move |_| {
                let mut began = began.lock().expect("no panic");
                let next = if *began { rest.lock().expect("no panic").pop() } else { None };
                *began = true;
                let (status, body) = next.unwrap_or((200, GOOD.as_bytes().to_vec()));
                // 1xx and 204 have no body by the protocol.
                let status = if status == 204 { 205 } else { status };
                Reply::Whole(status, vec![], body)
            })
            .await;
            let limits = CacheLimits::default().with_time_to_live(Duration::from_millis(1));
            let registry = Registry::new(transport(), server.url("/"), policy()).expect("an address").with_cache(limits);
            let mut source = registry.with_timeout(Duration::from_millis(500)).follow();
            let first = next(&mut source).await.expect("good");
            assert_eq!(names(&first), ["a"]);
            let mut table = first;
            while !script.lock().expect("no panic").is_empty() {
                let waited = tokio::time::timeout(Duration::from_millis(400), next(&mut source)).await;
                if let Ok(Ok(listing)) = waited {
                    assert!(holds(&listing) && !listing.endpoints.is_empty(), "{listing:?}");
                    table = listing;
                }
            }
            assert!(!table.endpoints.is_empty());
        });
    }
}
