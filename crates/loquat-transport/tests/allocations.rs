//! What a request asks of the allocator once its connection is warm: no more than twenty times, whatever the protocol.
//!
//! A test binary of its own, because it counts what the global allocator is asked for: by the thread of the client, while the server
//! has one of its own.

#![allow(unsafe_code, reason = "an allocator can only be written with it")]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    net::SocketAddr,
    sync::mpsc,
    thread,
};

use bytes::Bytes;
use loquat_transport::{Config, Http2Mode, Request, Transport};
use support::{listen, post, read_request, send, with, write};

/// Of one request, from handing it over to the end of its answer.
const MOST: usize = 20;
const REQUESTS: usize = 200;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's obligations are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// A server in a thread of its own, for as long as the test runs.
fn serve(http2: bool) -> SocketAddr {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let address = listen(move |_, mut socket| async move {
                if !http2 {
                    while read_request(&mut socket).await.is_some() {
                        write(&mut socket, "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\none ").await;
                        write(&mut socket, "two ").await;
                        write(&mut socket, "and ten").await;
                    }
                    return;
                }
                let mut connection = h2::server::handshake(socket).await.expect("HTTP/2");
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let mut stream = respond.send_response(http::Response::new(()), false).expect("open");
                    for (piece, is_end) in [("one ", false), ("two ", false), ("and ten", true)] {
                        stream.send_data(Bytes::from_static(piece.as_bytes()), is_end).expect("open");
                    }
                }
            })
            .await;
            sender.send(address).expect("it is waited for");
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().expect("an address")
}

async fn ask(transport: &Transport, request: Request) {
    let mut response = send(transport, request).await.expect("served");
    let mut bytes = 0;
    while let Some(chunk) = response.body.chunk().await {
        bytes += chunk.expect("whole").len();
    }
    assert_eq!(bytes, 15);
}

#[tokio::test]
async fn a_warm_request_allocates_twenty_times_at_most() {
    for (name, http2) in [("HTTP/1.1", false), ("HTTP/2", true)] {
        let request = post(serve(http2));
        let mode = if http2 { Http2Mode::PriorKnowledge } else { Http2Mode::Auto };
        let transport = with(Config::default().with_http2(mode));
        for _ in 0..20 {
            ask(&transport, request.clone()).await;
        }
        let before = ALLOCATIONS.get();
        for _ in 0..REQUESTS {
            ask(&transport, request.clone()).await;
        }
        let each = (ALLOCATIONS.get() - before).div_ceil(REQUESTS);
        println!("{name}: {each} allocations for each request");
        assert!(each <= MOST, "{name}: {each}");
    }
}
