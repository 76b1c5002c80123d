//! Several questions at once to one server, over as few connections as its protocol allows.
//!
//! ```sh
//! cargo run -p loquat --example concurrent -- https://localhost:8443/v1 model 2 [ca.pem]
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a program")]

use loquat::{Client, Result, transport};

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(url), Some(model)) = (args.next(), args.next()) else {
        eprintln!("usage: concurrent BASE_URL MODEL [HOW_MANY] [CA.pem]");
        std::process::exit(2);
    };
    let how_many: usize = args.next().and_then(|n| n.parse().ok()).unwrap_or(2);
    let mut config = transport::Config::default();
    if let Some(path) = args.next() {
        config = config.with_extra_root(transport::ExtraRoot::File(path.into()));
    }
    let client = Client::builder().base_url(url).transport(config).build()?;

    let asked = (0..how_many).map(|n| {
        let chat = client.chat(&model).user(format!("Count to {n}.")).max_tokens(20);
        tokio::spawn(async move { chat.send().await })
    });
    for (n, answer) in asked.collect::<Vec<_>>().into_iter().enumerate() {
        let response = answer.await.expect("the task ran")?;
        println!("{n}: {} ({} output tokens)", response.text(), response.usage.output_tokens);
    }
    println!("{:?}", client.transport().stats());
    Ok(())
}
