//! Bodies that are longer than 31 and 32 bits count. They are zeros that nobody writes to, so that they are addresses and hardly any memory.

use std::{io, net::SocketAddr, task::Poll};

use bytes::Bytes;
use http::Method;
use loquat_core::Context;
use loquat_transport::{Request, Upload, Url};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    http2,
    support::{
        LONG, listen, post,
        script::{DATA, END, SETTINGS, answer, frame},
        send, text, until_closed,
    },
};

const WINDOW_UPDATE: u8 = 8;
/// What HTTP/2 counts a window with (RFC 9113 §6.9.1).
const MOST: u32 = (1 << 31) - 1;

fn zeros(bytes: usize) -> Bytes {
    vec![0; bytes].into()
}

/// A server with windows as wide as there are, which answers with the length of the one body that comes, once it is through or as soon as it
/// has so much of it.
async fn counting(enough: u64) -> SocketAddr {
    listen(move |_, mut socket| async move {
        let _ = count(&mut socket, enough).await;
        until_closed(&mut socket).await;
    })
    .await
}

async fn count(socket: &mut TcpStream, enough: u64) -> io::Result<()> {
    socket.read_exact(&mut [0; 24]).await?;
    // SETTINGS_INITIAL_WINDOW_SIZE and SETTINGS_MAX_FRAME_SIZE.
    let settings = [&[0, 4][..], &MOST.to_be_bytes(), &[0, 5], &((1_u32 << 24) - 1).to_be_bytes()].concat();
    socket.write_all(&frame(SETTINGS, 0, 0, &settings)).await?;
    let widened = |stream, bytes: u32| frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    socket.write_all(&widened(0, MOST - 65_535)).await?;
    let (mut total, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut left = length as usize;
        while left > 0 {
            let most = buffer.len().min(left);
            let read = socket.read(&mut buffer[..most]).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= read;
        }
        if head[3] != DATA {
            continue;
        }
        total += u64::from(length);
        if head[4] & END == END || total >= enough {
            return socket.write_all(&answer(1, &total.to_string())).await;
        }
        if length > 0 {
            socket.write_all(&[widened(0, length), widened(1, length)].concat()).await?;
        }
    }
}

#[tokio::test]
async fn a_body_of_more_than_two_gibibytes_arrives_whole() {
    const LENGTH: usize = (1 << 31) + 5;
    let address = counting(u64::MAX).await;
    let request = post(address).with_body(zeros(LENGTH));
    let said = text(send(&http2(), request).await.expect("head")).await.expect("body");
    assert_eq!(said, LENGTH.to_string());
}

/// Of a piece as long as that `h2` would hear that nothing is to be sent.
#[tokio::test]
async fn a_piece_of_an_upload_of_four_gibibytes_is_sent() {
    const LENGTH: usize = 1 << 32;
    let address = counting(1 << 16).await;
    let mut piece = Some(zeros(LENGTH));
    let upload = Upload::from_poll(move |_| Poll::Ready(piece.take().map(Ok::<_, io::Error>)));
    let url = Url::parse(&format!("http://{address}/")).expect("valid");
    let request = Request::new(Method::PUT, url);
    let (transport, context) = (http2(), Context::new());
    let sent = transport.send_upload(&context, request, upload.with_length(LENGTH as u64));
    let answered = tokio::time::timeout(LONG, sent).await.expect("something is sent");
    let said = text(answered.expect("head")).await.expect("body");
    assert!(said.parse::<u64>().expect("a number") >= 1 << 16, "{said}");
}
