//! SRV records, asked of a name server on the loopback that speaks DNS over UDP (RFC 1035) as far as this needs.
#![cfg(feature = "srv")]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use loquat_discovery::{Srv, Template};
use support::{names, next, policy};
use tokio::net::UdpSocket;

/// Priority, weight, port, target.
type Record = (u16, u16, u16, &'static str);

fn encode_name(name: &str, into: &mut Vec<u8>) {
    for label in name.split('.').filter(|label| !label.is_empty()) {
        into.push(u8::try_from(label.len()).expect("a short label"));
        into.extend(label.as_bytes());
    }
    into.push(0);
}

/// The answer to that question: these records, or that there is no such name.
fn answer(query: &[u8], records: &[Record]) -> Vec<u8> {
    let mut end = 12;
    while query[end] != 0 {
        end += usize::from(query[end]) + 1;
    }
    let question = &query[12..end + 5];
    let code = if records.is_empty() { 3 } else { 0 };
    let count = u8::try_from(records.len()).expect("few");
    let mut reply = vec![query[0], query[1], 0x85, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0];
    reply.extend(question);
    for (priority, weight, port, target) in records {
        // The name of the question, by pointer; type SRV, class IN, a time to live of none.
        reply.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 0]);
        let mut data = [priority.to_be_bytes(), weight.to_be_bytes(), port.to_be_bytes()].concat();
        encode_name(target, &mut data);
        reply.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
        reply.extend(data);
    }
    reply
}

#[tokio::test]
async fn services_are_followed() {
    let records: Arc<Mutex<Vec<Record>>> = Arc::new(Mutex::new(vec![
        (10, 3, 8000, "one.test."),
        (10, 0, 8001, "two.test."),
        (20, 9, 8002, "spare.test."),
    ]));
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let server = socket.local_addr().expect("an address");
    let shown = records.clone();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            let reply = answer(&query[..length], &shown.lock().expect("no panic").clone());
            drop(socket.send_to(&reply, from).await);
        }
    });
    let name = "_llm._tcp.models.test.";
    let template = Template::new("m").with_scheme("https");
    let srv = Srv::at(name, server, template, policy())
        .expect("a resolver")
        .with_interval(Duration::from_millis(20));
    let mut source = srv.follow();
    let listing = next(&mut source).await.expect("good");
    assert_eq!(names(&listing), ["m at one.test:8000", "m at two.test:8001"], "the lowest priority alone");
    assert_eq!(listing.endpoints[0].endpoint.base_url, "https://one.test:8000/v1");
    assert_eq!(listing.endpoints.iter().filter_map(|found| found.weight).collect::<Vec<_>>(), [3, 1]);
    let all = next(&mut srv.clone().with_all_priorities(true).follow()).await.expect("good");
    assert!(all.endpoints.iter().any(|found| found.tags.contains(&"priority=20".to_owned())));

    *records.lock().expect("no panic") = vec![(20, 9, 8002, "spare.test.")];
    assert_eq!(names(&next(&mut source).await.expect("good")), ["m at spare.test:8002"]);
    records.lock().expect("no panic").clear();
    assert!(next(&mut source).await.is_err(), "no such name is a failure, not an empty listing");
}
