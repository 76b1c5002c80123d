//! A byte stream, plain or TLS, that counts what passes.
//!
//! The count is what makes [`Delivery`](loquat_core::Delivery) exact: an attempt whose connection failed before it
//! took a byte was surely not sent.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_rustls::client::TlsStream;

use crate::socket::Socket;

/// What passed through a connection. Counted in plain bytes, above TLS.
#[derive(Debug)]
pub(crate) struct Meter {
    start: Instant,
    written: AtomicU64,
    /// On HTTP/2 alone.
    read: AtomicU64,
    last_write_micros: AtomicU64,
    /// The count of bytes read past which nothing more is read in this turn.
    pause_at: AtomicU64,
    /// Whether what comes is for so many that it may be read on a clock.
    for_many: AtomicBool,
}

impl Meter {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
            last_write_micros: AtomicU64::new(0),
            pause_at: AtomicU64::new(u64::MAX),
            for_many: AtomicBool::new(false),
        }
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    pub(crate) fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// Lets so many more bytes be read, or few more, and then a pause come.
    pub(crate) fn pause_after(&self, bytes: u64) {
        self.pause_at.store(self.read().saturating_add(bytes), Relaxed);
    }

    /// Whether reading waits for the next [`Meter::pause_after`].
    pub(crate) fn is_paused(&self) -> bool {
        self.read() >= self.pause_at.load(Relaxed)
    }

    /// Says whether what comes is for many.
    pub(crate) fn set_for_many(&self, many: bool) {
        self.for_many.store(many, Relaxed);
    }

    /// When the connection last took a byte.
    pub(crate) fn last_write(&self) -> Instant {
        self.start + Duration::from_micros(self.last_write_micros.load(Relaxed))
    }

    fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Relaxed);
        let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last_write_micros.store(micros, Relaxed);
    }
}

/// Writes of several slices that are together no longer than this are put into one: the kernel takes longer over a list than a
/// copy of a small request takes.
const JOIN_BYTES: usize = 4 * 1024;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Stream {
    inner: Inner,
    quick_ack: bool,
    meter: Arc<Meter>,
    /// Small writes, joined; never longer than [`JOIN_BYTES`]. Apart, as few write lists.
    #[expect(clippy::box_collection, reason = "one pointer in what each read looks at")]
    joined: Option<Box<Vec<u8>>>,
}

#[derive(Debug)]
enum Inner {
    Plain(Socket),
    #[cfg(unix)]
    Unix(UnixStream),
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    fn new(inner: Inner) -> Self {
        Self { inner, quick_ack: false, meter: Arc::new(Meter::new()), joined: None }
    }

    pub(crate) fn plain(tcp: Socket) -> Self {
        Self::new(Inner::Plain(tcp))
    }

    #[cfg(unix)]
    pub(crate) fn unix(socket: UnixStream) -> Self {
        Self::new(Inner::Unix(socket))
    }

    pub(crate) fn tls(tls: TlsStream<Socket>) -> Self {
        Self::new(Inner::Tls(Box::new(tls)))
    }

    /// Acknowledges each read at once, if that is wanted.
    pub(crate) fn with_quick_ack(mut self, quick_ack: bool) -> Self {
        self.quick_ack = quick_ack;
        self
    }

    /// Reads on a clock where that saves something and the meter says that it is for many.
    pub(crate) fn use_clock(mut self, every: Duration) -> Self {
        if let Some(tcp) = self.tcp() {
            tcp.use_clock(every);
        }
        self
    }

    fn tcp(&mut self) -> Option<&mut Socket> {
        match &mut self.inner {
            Inner::Plain(tcp) => Some(tcp),
            #[cfg(unix)]
            Inner::Unix(_) => None,
            Inner::Tls(tls) => Some(tls.get_mut().0),
        }
    }

    /// The kernel falls back into its own way after a while, so this is said again after each read.
    #[cfg(target_os = "linux")]
    fn acknowledge(&self) {
        let tcp = match &self.inner {
            Inner::Plain(tcp) => tcp,
            Inner::Unix(_) => return,
            Inner::Tls(tls) => tls.get_ref().0,
        };
        if let Some(options) = tcp.options() {
            // A connection that refuses works without.
            let _ = options.set_tcp_quickack(true);
        }
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unused_self, reason = "as on Linux")]
    fn acknowledge(&self) {}

    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.meter.is_paused() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let many = self.meter.for_many.load(Relaxed);
        if let Some(tcp) = self.tcp() {
            tcp.set_for_many(many);
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut Uncounted(&mut self)).poll_read(cx, buf);
        let bytes = buf.filled().len() - before;
        if bytes > 0 {
            self.meter.read.fetch_add(bytes as u64, Relaxed);
        }
        polled
    }
}

/// A stream whose reads are not counted, and not paused: on HTTP/1.1 nobody asks how many bytes came.
pub(crate) struct Uncounted<'a>(pub(crate) &'a mut Stream);

impl AsyncRead for Uncounted<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = match &mut self.0.inner {
            Inner::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            #[cfg(unix)]
            Inner::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
            Inner::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        };
        if self.0.quick_ack && buf.filled().len() > before {
            self.0.acknowledge();
        }
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = match &mut self.inner {
            Inner::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            #[cfg(unix)]
            Inner::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
            Inner::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        };
        if let Poll::Ready(Ok(bytes)) = polled {
            self.meter.wrote(bytes);
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if slices.len() > 1 && slices.iter().map(|slice| slice.len()).sum::<usize>() <= JOIN_BYTES {
            let mut joined = self.joined.take().unwrap_or_default();
            joined.clear();
            slices.iter().for_each(|slice| joined.extend_from_slice(slice));
            let polled = self.as_mut().poll_write(cx, &joined);
            self.joined = Some(joined);
            return polled;
        }
        let polled = match &mut self.inner {
            Inner::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            #[cfg(unix)]
            Inner::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Inner::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        };
        if let Poll::Ready(Ok(bytes)) = polled {
            self.meter.wrote(bytes);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        match &self.inner {
            Inner::Plain(tcp) => tcp.is_write_vectored(),
            #[cfg(unix)]
            Inner::Unix(socket) => socket.is_write_vectored(),
            Inner::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            #[cfg(unix)]
            Inner::Unix(socket) => Pin::new(socket).poll_flush(cx),
            Inner::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            #[cfg(unix)]
            Inner::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Inner::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// The kernel says of the option how it acknowledges now: after it was put off, only a read that says it again puts it on.
    #[tokio::test]
    async fn a_read_is_acknowledged_at_once_only_where_that_is_wanted() {
        for wanted in [true, false] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
            let tcp = TcpStream::connect(listener.local_addr().expect("address")).await.expect("connect");
            let (mut peer, _) = listener.accept().await.expect("accept");
            let mut stream = Stream::plain(Socket::new(tcp)).with_quick_ack(wanted);
            let Inner::Plain(tcp) = &stream.inner else { unreachable!() };
            tcp.options().expect("a socket").set_tcp_quickack(false).expect("a socket");
            peer.write_all(b"data").await.expect("open");
            stream.read_exact(&mut [0; 4]).await.expect("open");
            let Inner::Plain(tcp) = &stream.inner else { unreachable!() };
            assert_eq!(tcp.options().expect("a socket").tcp_quickack().expect("a socket"), wanted);
        }
    }
}
