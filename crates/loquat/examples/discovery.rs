//! A router that follows model servers: whoever of them serves the model may answer, and who is gone is not asked.
//!
//! ```console
//! $ cargo run -p loquat --features discovery --example discovery -- llama3 http://127.0.0.1:11434 http://127.0.0.1:8080
//! ```
#![allow(clippy::print_stdout, reason = "it is a program")]

use std::time::Duration;

use loquat::{
    Client, Context, ModelExt,
    discovery::{HealthChecks, Policy, Probe},
    router::Plan,
    transport::{AddressPolicy, Config, Transport},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let model = words.next().ok_or("a model, and the addresses of servers")?;
    let client = Client::builder().build()?;
    // At a terminal, the addresses are the person's own; a service would name its networks.
    let policy = Policy::new().with_addresses(AddressPolicy::Any);
    let source = Probe::new(Transport::new(Config::default())?, words, policy).follow();
    let waiting = Context::new().with_timeout(Duration::from_secs(5));
    let followed = client.follow(&waiting, Plan::new(), source).await?;
    let _checks = client.watch_health(followed.router(), HealthChecks::default());
    for name in followed.router().table().route_names() {
        println!("serves {name}");
    }
    let answer = followed.router().chat(model).user("Write one sentence about loquats.").send().await?;
    println!("{}", answer.text());
    Ok(())
}
