//! Limits around a model that has none: a server that sends a head and then nothing.
//!
//! ```sh
//! cargo run -p loquat-schedule --example limits
//! ```
#![allow(clippy::print_stdout, reason = "this is a program")]

use std::{
    sync::Arc,
    task::{self, Poll},
    time::{Duration, Instant},
};

use loquat_core::{Answer, BoxFuture, ChatRequest, Context, Delta, Model, Result, Source, Step};
use loquat_schedule::limits::{Limited, Limits};

/// Accepts every request and never says a word.
struct Mute;

impl Model for Mute {
    fn infer<'a>(&'a self, _: &'a Context, _: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(async { Ok(Answer::new(Mute)) })
    }
}

impl Source for Mute {
    fn poll_advance(&mut self, _: &mut task::Context<'_>) -> Poll<Step> {
        Poll::Pending
    }

    fn current(&self) -> Delta<'_> {
        Delta::Start { id: "", model: "" }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let model = Limited::new(Mute, Limits::default().with_first_token(Duration::from_millis(300)));
    let started = Instant::now();
    let answer = model.infer(&Context::new(), Arc::new(ChatRequest::new("m").with_user("hi"))).await?;
    match answer.collect().await {
        Ok(whole) => println!("{}", whole.text()),
        Err(error) => println!("after {:?}: {error}", started.elapsed()),
    }
    Ok(())
}
