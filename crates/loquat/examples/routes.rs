//! One name for two servers: the first is asked, and the second where the first fails before it has said anything.
//!
//! ```sh
//! cargo run -p loquat --features router --example routes -- llama http://127.0.0.1:8080/v1 http://127.0.0.1:8081/v1
//! ```

#![allow(clippy::print_stdout, reason = "this is a program")]

use std::io::{Write, stdout};

use loquat::{
    Client, Error, ModelExt,
    core::Endpoint,
    router::{EndpointSpec, Plan, Router},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(model), Some(first), Some(second)) = (words.next(), words.next(), words.next()) else {
        println!("usage: routes MODEL FIRST_URL SECOND_URL");
        std::process::exit(2);
    };
    let router = either(&model, &first, &second)?;
    // A router is asked as a client is: `.tools(…)` and `.structured()` are there, too.
    let mut answer = router.chat("chat").user("Why is the sky blue?").stream().await?;
    while let Some(text) = answer.next_text().await? {
        print!("{text}");
        stdout().flush()?; // or only whole lines are seen
    }
    println!();
    Ok(())
}

/// A route to the first server, and to the second where that fails.
fn either(model: &str, first: &str, second: &str) -> Result<Router, Error> {
    let plan = Plan::new()
        .with_endpoint(EndpointSpec::new("first", Endpoint::new("openai", first, model)))
        .with_endpoint(EndpointSpec::new("second", Endpoint::new("openai", second, model)))
        .with_chain("chat", ["first", "second"]);
    Client::builder().build()?.router(&plan)
}
