//! Retries around a server that is busy at first, and says for how long.
//!
//! ```sh
//! cargo run -p loquat-schedule --example retry
//! ```
#![allow(clippy::print_stdout, reason = "this is a program")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use loquat_core::{
    ChatRequest, Context, Delivery, Error, ErrorKind, Model, OwnedDelta, Result, RetryHint,
    test_util::Scripted,
};
use loquat_schedule::retry::{Budget, BudgetPolicy, RetryPolicy, Retrying};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let busy = Error::new(ErrorKind::Overloaded, "try again")
        .with_delivery(Delivery::MaybeSent)
        .with_status(503)
        .with_retry_hint(RetryHint::after(Duration::from_millis(400)));
    let hello = OwnedDelta::Text { choice: 0, text: "hello".into() };
    let server = Scripted::new().then(Err(busy.clone())).then(Ok(vec![hello])).then(Err(busy));

    let budget = Arc::new(Budget::new(BudgetPolicy::default(), Instant::now()));
    let model = Retrying::new(server, RetryPolicy::default(), budget);
    let request = Arc::new(ChatRequest::new("m").with_user("hi"));

    let started = Instant::now();
    let mut answer = model.infer(&Context::new(), request.clone()).await?;
    println!("after {:?}: {:?}", started.elapsed(), answer.next_text().await?);

    // With half a second in all, a wait of 0.4 s would leave too little: the call fails now, and says so.
    let hurried = Context::new().with_timeout(Duration::from_millis(500));
    if let Err(error) = model.infer(&hurried, request).await {
        println!("{error}");
    }
    Ok(())
}
