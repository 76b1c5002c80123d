//! All layers around a server that refuses connections, hangs and recovers, as a program would stack them.
//!
//! ```sh
//! cargo run -p loquat-schedule --example stack
//! ```
#![allow(clippy::print_stdout, reason = "this is a program")]

use std::{sync::Arc, time::Duration};

use loquat_core::{
    ChatRequest, Context, Delivery, Ending, Error, ErrorKind, FinishReason, Model, OwnedDelta, Result, Usage,
    test_util::Scripted,
};
use loquat_schedule::{
    Schedule,
    admission::{AdmissionPolicy, Concurrency, RateLimits},
    limits::Limits,
    retry::RetryPolicy,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let refused =
        || Err(Error::new(ErrorKind::Connect, "connection refused").with_delivery(Delivery::NotSent));
    let answer = || {
        let text = OwnedDelta::Text { choice: 0, text: "hello".into() };
        let end = Ending::Finished { reason: FinishReason::Stop, usage: Usage::default() };
        Ok(vec![text, OwnedDelta::End(end)])
    };
    let server = Scripted::new().then(answer()).then(refused()).then(refused()).then(answer());

    let admission = AdmissionPolicy::default()
        .with_concurrency(Concurrency::Fixed(8))
        .with_rates(RateLimits::default().with_tokens_per_minute(60_000));
    let endpoint = Schedule::new()
        .with_total(Duration::from_secs(20))
        .with_retry(RetryPolicy::default().with_max_retries(3))
        .with_admission(admission)
        .with_limits(Limits::default())
        .for_endpoint();
    let model = endpoint.around(server);

    for n in 1..=2 {
        let request = Arc::new(ChatRequest::new("m").with_user("hi"));
        let context = Context::new().with_tenant("acme");
        let whole = model.infer(&context, request).await?.collect().await?;
        println!("{n}: {}", whole.text());
    }
    println!("{:?} {:?}", endpoint.availability(), endpoint.admission());
    Ok(())
}
