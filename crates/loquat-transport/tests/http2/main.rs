//! HTTP/2 against a server by the `h2` crate, and against frames written by hand.

#[path = "../support/mod.rs"]
mod support;

mod clock;
mod ending;
mod flow;
mod lanes;
#[cfg(target_pointer_width = "64")]
mod long;
mod settling;
mod slots;

use std::{future::Future, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use h2::{RecvStream, server};
use loquat_transport::{Config, Http2Mode, Transport};
use support::{listen, with};

type Respond = server::SendResponse<Bytes>;

/// Serves HTTP/2 in clear; `answer` runs for every stream with its connection's number and its own on that.
async fn serve<F, R>(configure: fn(&mut server::Builder), answer: F) -> SocketAddr
where
    F: Fn(usize, usize, http::Request<RecvStream>, Respond) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let answer = Arc::new(answer);
    listen(move |number, socket| {
        let answer = Arc::clone(&answer);
        async move {
            let mut builder = server::Builder::new();
            configure(&mut builder);
            let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else { return };
            let mut stream = 0;
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(answer(number, stream, request, respond));
                stream += 1;
            }
        }
    })
    .await
}

fn ok() -> http::Response<()> {
    http::Response::new(())
}

/// Answers with that text.
fn say(mut respond: Respond, text: &str) {
    if let Ok(mut stream) = respond.send_response(ok(), false) {
        let _ = stream.send_data(Bytes::copy_from_slice(text.as_bytes()), true);
    }
}

fn http2() -> Transport {
    with(Config::default().with_http2(Http2Mode::PriorKnowledge))
}
