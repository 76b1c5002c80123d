//! A busy program that is watched: run it, and in another terminal `loquat top`, or `curl 127.0.0.1:9464/metrics`.
//!
//! ```console
//! $ cargo run -p loquat --features observe --example observe -- 30                      # for thirty seconds
//! $ cargo run -p loquat --features observe --example observe -- 30 127.0.0.1:0         # shown at a port that is free
//! ```
//!
//! What it asks is a server in the same process: forty tokens an answer, and now and then a refusal.

#![allow(clippy::print_stdout, reason = "this is a program")]

use std::{error::Error, time::Duration};

use loquat::{
    Client,
    observe::{
        Observer, Price, Sampling,
        export::{ExportConfig, Exporter},
        serve::{Server, ServerConfig},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let seconds = words.next().map_or(Ok(60), |seconds| seconds.parse())?;
    let address = words.next().unwrap_or_else(|| "127.0.0.1:9464".to_owned()).parse()?;

    // What fails, what is slow and a hundredth of the rest goes to a file, as lines of JSON.
    let lines = std::env::temp_dir().join("loquat-observe-example.jsonl");
    let exporter = Exporter::json_lines(&lines, ExportConfig::new("example"))?;
    let observer = Observer::builder()
        .sampling(Sampling::default().with_slower_than(Duration::from_secs(5)))
        .prices("USD", [("large", Price::per_million(2.0, 8.0)), ("small", Price::per_million(0.1, 0.4))])
        .export(exporter)
        .build();
    let diagnostics = Server::bind(&observer, address, ServerConfig::default().with_debug())?;
    if let Some(address) = diagnostics.address() {
        println!("http://{address}/metrics");
    }

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base_url = format!("http://{}/v1", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });

    loquat::watch_runtime(&observer, "main", &tokio::runtime::Handle::current());
    let client = Client::builder().base_url(base_url).observer(observer.clone()).build()?;
    for caller in 0..60_u32 {
        let client = client.clone();
        let asking = async move {
            let model = if caller.is_multiple_of(3) { "large" } else { "small" };
            loop {
                // Failures are what the observer shows.
                let _ = client.chat(model).user("Write about loquats.").send().await;
            }
        };
        tokio::spawn(observer.tasks().watch(format!("caller {caller}"), asking));
    }
    let _ = timeout(Duration::from_secs(seconds), std::future::pending::<()>()).await;
    Ok(())
}

/// Answers one request after the other: a stream of forty tokens, or every fiftieth time a refusal.
async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = vec![0; 16 * 1024];
    for turn in 1_u32.. {
        let count = stream.read(&mut request).await?;
        if count == 0 {
            break;
        }
        if turn.is_multiple_of(50) {
            let refusal = "HTTP/1.1 503 Busy\r\nretry-after: 1\r\ncontent-length: 2\r\n\r\n{}";
            stream.write_all(refusal.as_bytes()).await?;
            continue;
        }
        let is_large = String::from_utf8_lossy(&request[..count]).contains("\"large\"");
        sleep(Duration::from_millis(if is_large { 220 } else { 60 })).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await?;
        for _ in 0..40 {
            let event = "data: {\"choices\":[{\"delta\":{\"content\":\" loquat\"}}]}\n\n";
            stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
            sleep(Duration::from_millis(if is_large { 20 } else { 8 })).await;
        }
        let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":40}}\n\ndata: [DONE]\n\n";
        stream.write_all(format!("{:x}\r\n{end}\r\n0\r\n\r\n", end.len()).as_bytes()).await?;
    }
    Ok(())
}
