//! Data: windows, readers that are slow or do not read, uploads.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::SendStream;
use loquat_transport::{Config, Http2Limits, Http2Mode};
use tokio::{io::AsyncReadExt, sync::mpsc::unbounded_channel};

use crate::{
    http2, ok, say, serve,
    support::{LONG, listen, post, script::SETTINGS, send, spawn_text, text, until_closed, with},
};

const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const WINDOW_UPDATE: u8 = 8;

/// Sends as the client's window allows.
async fn send_all(stream: &mut SendStream<Bytes>, mut data: Bytes, end: bool) {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
        let piece = data.split_to(room.min(data.len()));
        if stream.send_data(piece, end && data.is_empty()).is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn ten_thousand_tiny_frames_survive_a_slow_consumer() {
    let address = serve(
        |_| {},
        |_, _, _, mut respond| async move {
            let mut stream = respond.send_response(ok(), false).expect("open");
            for number in 0..10_000 {
                stream.send_data(Bytes::from_static(b"x"), number == 9_999).expect("open");
            }
        },
    )
    .await;
    let transport = http2();
    let mut response = send(&transport, post(address)).await.expect("head");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut frames = 0;
    while let Some(chunk) = response.body.chunk().await {
        assert_eq!(chunk.expect("alive"), "x");
        frames += 1;
        if frames % 1000 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(frames, 10_000);
    assert_eq!(transport.stats().http2_open, 1);
}

#[tokio::test]
async fn an_exhausted_window_stops_the_sender_and_reading_resumes_it() {
    const LENGTH: usize = 3 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let address = serve(
        |_| {},
        move |_, number, _, mut respond| {
            let count = Arc::clone(&count);
            async move {
                if number > 0 {
                    return say(respond, "neighbour");
                }
                let mut stream = respond.send_response(ok(), false).expect("open");
                for _ in 0..LENGTH / 1024 {
                    send_all(&mut stream, Bytes::from(vec![b'x'; 1024]), false).await;
                    count.fetch_add(1024, SeqCst);
                }
                let _ = stream.send_data(Bytes::new(), true);
            }
        },
    )
    .await;
    let transport = http2();
    let response = send(&transport, post(address)).await.expect("head");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let ahead = sent.load(SeqCst);
    let window = Http2Limits::default().stream_window_bytes as usize;
    assert!(ahead <= window + 1024, "{ahead} bytes sent into a window of {window}");
    assert_eq!(text(send(&transport, post(address)).await.expect("head")).await.expect("body"), "neighbour");
    let body =
        tokio::time::timeout(LONG, response.body.collect(LENGTH)).await.expect("resumed").expect("whole");
    assert_eq!(body.len(), LENGTH);
}

#[tokio::test]
async fn a_body_of_known_length_is_collected_into_as_much_memory() {
    const LENGTH: usize = 100_001;
    let address = serve(
        |_| {},
        |_, _, _, mut respond| async move {
            let mut head = ok();
            head.headers_mut().insert("content-length", LENGTH.into());
            let mut stream = respond.send_response(head, false).expect("open");
            send_all(&mut stream, Bytes::from(vec![b'x'; LENGTH]), true).await;
        },
    )
    .await;
    let body = send(&http2(), post(address)).await.expect("head").body.collect(LENGTH).await.expect("whole");
    let memory = body.try_into_mut().expect("nobody else has it");
    assert_eq!((memory.len(), memory.capacity()), (LENGTH, LENGTH));
}

#[tokio::test]
async fn unread_streams_do_not_stop_their_neighbours() {
    let address = serve(
        |_| {},
        |_, number, _, mut respond| async move {
            if number == 99 {
                return say(respond, "neighbour");
            }
            let mut stream = respond.send_response(ok(), false).expect("open");
            send_all(&mut stream, Bytes::from(vec![b'x'; 1 << 20]), true).await;
        },
    )
    .await;
    let transport = http2();
    let mut unread = Vec::new();
    for _ in 0..99 {
        unread.push(send(&transport, post(address)).await.expect("head"));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begin = Instant::now();
    assert_eq!(text(send(&transport, post(address)).await.expect("head")).await.expect("body"), "neighbour");
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert_eq!(transport.stats().http2_opened, 1);
}

#[tokio::test]
async fn a_large_upload_arrives_whole_and_an_early_answer_is_heard() {
    const LENGTH: usize = 10 << 20;
    let address = serve(
        |_| {},
        |_, _, request, respond| async move {
            if request.method() == "PUT" {
                return say(respond, "too much");
            }
            let mut body = request.into_body();
            let mut length = 0;
            while let Some(Ok(data)) = body.data().await {
                length += data.len();
                let _ = body.flow_control().release_capacity(data.len());
            }
            say(respond, &length.to_string());
        },
    )
    .await;
    let transport = http2();
    let request = post(address).with_body(vec![b'x'; LENGTH]);
    assert_eq!(text(send(&transport, request).await.expect("head")).await.expect("body"), LENGTH.to_string());
    let mut early = post(address).with_body(vec![b'x'; LENGTH]);
    early.method = http::Method::PUT;
    assert_eq!(text(send(&transport, early).await.expect("head")).await.expect("body"), "too much");
    assert_eq!(text(send(&transport, post(address)).await.expect("head")).await.expect("body"), "5");
    assert_eq!(transport.stats().http2_opened, 1);
}

/// A peer's frame is as long as it was allowed; `h2`'s own sender makes use of it.
#[tokio::test]
async fn a_long_body_comes_in_few_pieces() {
    let address = serve(
        |_| {},
        |_, _, _, mut respond| async move {
            let mut stream = respond.send_response(ok(), false).expect("open");
            send_all(&mut stream, vec![b'x'; 256 * 1024].into(), true).await;
        },
    )
    .await;
    let transport = http2();
    // The peer has read our settings by the second.
    for _ in 0..2 {
        let mut response = send(&transport, post(address)).await.expect("head");
        let (mut pieces, mut bytes) = (0, 0);
        while let Some(chunk) = response.body.chunk().await {
            bytes += chunk.expect("alive").len();
            pieces += 1;
        }
        assert_eq!(bytes, 256 * 1024);
        assert!(pieces <= 8, "{pieces} pieces");
    }
}

/// What a new connection tells its peer: the values of its SETTINGS by their numbers (RFC 9113 §6.5.2), and by how much it widens the
/// connection's window.
async fn told(limits: Http2Limits) -> (BTreeMap<u16, u32>, u32) {
    let (tell, mut told) = unbounded_channel();
    let address = listen(move |_, mut socket| {
        let tell = tell.clone();
        async move {
            socket.read_exact(&mut [0; PREFACE.len()]).await.expect("a preface");
            let mut settings = BTreeMap::new();
            loop {
                let mut head = [0; 9];
                socket.read_exact(&mut head).await.expect("a frame");
                let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
                socket.read_exact(&mut payload).await.expect("a frame");
                match (head[3], &head[4..]) {
                    (SETTINGS, [0, ..]) => settings.extend(payload.chunks_exact(6).map(|pair| {
                        let value = u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]);
                        (u16::from_be_bytes([pair[0], pair[1]]), value)
                    })),
                    (WINDOW_UPDATE, [_, 0, 0, 0, 0]) => {
                        let wider = u32::from_be_bytes(payload.try_into().expect("four bytes"));
                        tell.send((settings, wider)).expect("listening");
                        return until_closed(&mut socket).await;
                    }
                    _ => {}
                }
            }
        }
    })
    .await;
    let config = Config::default().with_http2(Http2Mode::PriorKnowledge).with_http2_limits(limits);
    let asking = spawn_text(&with(config), post(address));
    let told = tokio::time::timeout(LONG, told.recv()).await.expect("in time").expect("told");
    asking.abort();
    told
}

#[tokio::test]
async fn the_peer_is_told_what_the_limits_say() {
    const PUSH: u16 = 2;
    const STREAM_WINDOW: u16 = 4;
    const FRAME: u16 = 5;
    const HEAD: u16 = 6;
    let limits = Http2Limits::default;
    for (limits, stream, connection, frame) in [
        (limits(), 256 << 10, 25 << 20, 64 << 10),
        (limits().with_windows(1 << 20, 5 << 20).with_max_frame_bytes(1 << 17), 1 << 20, 5 << 20, 1 << 17),
        // What HTTP/2 cannot say is the nearest that it can.
        (limits().with_windows(0, u32::MAX).with_max_frame_bytes(0), 65_535, (1 << 31) - 1, 1 << 14),
        (limits().with_max_frame_bytes(u32::MAX), 256 << 10, 25 << 20, (1 << 24) - 1),
    ] {
        let (settings, wider) = told(limits).await;
        let said = [PUSH, STREAM_WINDOW, FRAME, HEAD].map(|number| settings.get(&number).copied());
        assert_eq!(said, [0, stream, frame, 64 << 10].map(Some));
        assert_eq!(wider, connection - 65_535);
    }
}

/// What has been read is given back in steps, and a window that is small for its streams must not be used up by what is owed of them.
#[tokio::test]
async fn a_small_window_is_enough_for_streams_that_are_read() {
    const BYTES: usize = 60_000;
    let address = serve(
        |_| {},
        |_, _, _, mut respond| async move {
            let mut stream = respond.send_response(ok(), false).expect("open");
            for _ in 0..BYTES / 1000 {
                stream.send_data(Bytes::from_static(&[b'x'; 1000]), false).expect("open");
            }
            std::future::pending::<()>().await;
        },
    )
    .await;
    let limits = Http2Limits::default().with_windows(65_535, 65_535);
    let config = Config::default().with_http2(Http2Mode::PriorKnowledge).with_http2_limits(limits);
    let transport = with(config);
    let readers = (0..8).map(|_| {
        let transport = transport.clone();
        tokio::spawn(async move {
            let mut body = send(&transport, post(address)).await.expect("a head").body;
            let mut read = 0;
            while read < BYTES {
                read += body.chunk().await.expect("more").expect("sent").len();
            }
            body // none is given back before all have theirs
        })
    });
    let mut bodies = Vec::new();
    for reader in readers.collect::<Vec<_>>() {
        bodies.push(tokio::time::timeout(LONG, reader).await.expect("not stuck").expect("no panic"));
    }
}

/// The settings of RFC 9113 §6.5.2 by their numbers, and the window of the connection, which is widened from 65,535.
#[tokio::test]
async fn a_peer_is_told_the_defaults() {
    let (sender, told) = std::sync::mpsc::channel();
    let address = listen(move |_, mut socket| {
        let sender = sender.clone();
        async move {
            let mut preface = [0; 24];
            socket.read_exact(&mut preface).await.expect("a preface");
            let (mut settings, mut window) = (Vec::new(), None);
            while window.is_none() {
                let mut head = [0; 9];
                socket.read_exact(&mut head).await.expect("a frame");
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let mut payload = vec![0; length];
                socket.read_exact(&mut payload).await.expect("all of it");
                let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                match head[3] {
                    4 => settings.extend(payload.chunks(6).map(|one| (number(&one[..2]), number(&one[2..])))),
                    8 => window = Some(number(&payload)),
                    _ => {}
                }
            }
            settings.sort_unstable();
            sender.send((settings, window)).expect("wanted");
            until_closed(&mut socket).await;
        }
    })
    .await;
    let transport = http2();
    let asking = tokio::spawn(async move { send(&transport, post(address)).await });
    let (settings, window) =
        tokio::task::spawn_blocking(move || told.recv_timeout(LONG).expect("told")).await.expect("no panic");
    asking.abort();
    // No push, 256 KiB for a stream, frames of 64 KiB, heads of 64 KiB.
    assert_eq!(settings, [(2, 0), (4, 256 << 10), (5, 64 << 10), (6, 64 << 10)]);
    assert_eq!(window, Some((25 << 20) - 65_535));
}
