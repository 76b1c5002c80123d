//! Pulling text deltas from a hyper response: each frame of the body is decoded where it lies, and nothing is copied unless an
//! event is split between two.
//!
//! `cargo run -p loquat-json --example hyper` asks a server that it starts itself; `-- HOST:PORT` a real one that speaks OpenAI
//! chat completions over plain HTTP, such as `llama-server`.

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes};
use hyper::{Method, Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use loquat_json::{Extractor, Fields, Limits, sse};
use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use tokio::net::TcpStream;

/// Hands on the text of a streamed answer as it arrives. A stream that stops before its end is an error.
async fn pull<B>(mut body: B, mut text: impl FnMut(&str) -> io::Result<()>) -> Result<(), Box<dyn Error>>
where
    B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
{
    let mut events = sse::Decoder::new(Limits::default());
    let mut json = Extractor::new(Fields::compile(&["/choices/0/delta/content"])?);
    let mut scratch = String::new();
    while let Some(frame) = body.frame().await.transpose()? {
        let mut read = frame.data_ref().map_or(&[][..], |bytes| bytes);
        while let Some(event) = events.next_for(&mut read, &mut json)? {
            if event.data == "[DONE]" {
                return Ok(());
            }
            let Some(delta) = json.extract_event(&event)?.str(0) else {
                continue;
            };
            text(delta.decode(&mut scratch)?)?;
        }
    }
    Err("the stream ended before [DONE]".into())
}

async fn ask(host: &str, text: impl FnMut(&str) -> io::Result<()>) -> Result<(), Box<dyn Error>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(host).await?)).await?;
    let question = r#"{"stream":true,"messages":[{"role":"user","content":"When do loquats ripen?"}]}"#;
    let request = Request::builder()
        .method(Method::POST)
        .uri("/v1/chat/completions")
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from_static(question.as_bytes())))?;
    // The connection does the reading, in this task: it is over when the answer is.
    let answer = async {
        let response = sender.send_request(request).await?;
        if !response.status().is_success() {
            return Err(format!("the server answers {}", response.status()).into());
        }
        pull(response.into_body(), text).await
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        result = &mut answer => result,
        closed = connection => match closed {
            // Closed after the last byte: what has arrived is still to be decoded.
            Ok(()) => answer.await,
            Err(error) => Err(error.into()),
        },
    }
}

/// Answers one request, in chunks that cut an event in two. Returns its address.
fn serve_once() -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || -> io::Result<()> {
        let (mut socket, _) = listener.accept()?;
        let mut lines = BufReader::new(socket.try_clone()?).lines();
        while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        write!(
            socket,
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )?;
        for chunk in [
            "data: {\"choices\":[{\"delta\":{\"content\":\"Loquats ri",
            "pen \"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"in spring.\\n\"}}]}\n\n",
            "data: [DONE]\n\n",
        ] {
            write!(socket, "{:x}\r\n{chunk}\r\n", chunk.len())?;
        }
        write!(socket, "0\r\n\r\n")
    });
    Ok(address)
}

fn main() -> Result<(), Box<dyn Error>> {
    let host = std::env::args().nth(1).map_or_else(serve_once, Ok)?;
    let mut out = io::stdout();
    let print = |text: &str| out.write_all(text.as_bytes()).and_then(|()| out.flush());
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(ask(&host, print))
}

#[test]
fn text_comes_through_a_real_connection() -> Result<(), Box<dyn Error>> {
    let mut text = String::new();
    let append = |delta: &str| {
        text.push_str(delta);
        Ok(())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(ask(&serve_once()?, append))?;
    assert_eq!(text, "Loquats ripen in spring.\n");
    Ok(())
}
