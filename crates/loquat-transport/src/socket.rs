//! A TCP connection that is read when something has come, or, where many streams trickle over it, on a clock: as network cards
//! moderate their interrupts. A read and the wake-up before it cost several times what a token costs otherwise, and a client that
//! keeps up pays both for nearly each one.
//!
//! While it is read on a clock, the runtime's poll does not know the socket: it would wake its thread at every piece, wanted or not. What
//! is written goes out at once in either case; where the kernel takes no more, the socket goes back to the runtime to wait for that.

use std::{
    future::Future,
    io::{self, IoSlice, Read, Write},
    net::Shutdown,
    pin::{Pin, pin},
    sync::OnceLock,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::unconstrained,
    time::{Instant, Sleep, sleep_until},
};

/// Most that comes in one time of a clock where there is a clock: more, and reads serve many streams by themselves.
const TRICKLE_BYTES: usize = 16 * 1024;
/// Fewer reads in one time, and a clock saves nothing.
const LEAST_READS: u32 = 2;
/// Times in which nothing came, in a row, after which the clock stops.
const EMPTY_TIMES: u32 = 4;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Socket {
    way: Way,
    /// How often it is read at most, where it may be read on a clock at all.
    pace: Option<Box<Pace>>,
}

/// Bytes read ahead: what is in `bytes` from `taken` to `end`.
#[derive(Debug, Default)]
struct Ahead {
    bytes: Box<[u8]>,
    taken: usize,
    end: usize,
}

/// Who says that it is to be read.
#[derive(Debug)]
enum Way {
    /// The runtime, when something has come.
    Woken(TcpStream),
    Clocked(Box<Clocked>),
    /// It could be handed neither to the runtime nor back.
    Lost,
}

impl Ahead {
    fn is_empty(&self) -> bool {
        self.taken >= self.end
    }

    /// Reads once, a trickle and one byte at most, where nothing is left.
    fn fill(&mut self, mut tcp: &std::net::TcpStream) -> io::Result<usize> {
        if self.bytes.is_empty() {
            self.bytes = vec![0; TRICKLE_BYTES + 1].into();
        }
        let bytes = tcp.read(&mut self.bytes)?;
        (self.taken, self.end) = (0, bytes);
        Ok(bytes)
    }

    fn take(&mut self, buf: &mut ReadBuf<'_>) {
        let rest = self.bytes.get(self.taken..self.end).unwrap_or_default();
        let taken = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..taken]);
        self.taken += taken;
    }
}

impl Way {
    /// From now on the runtime says it, if it was the clock.
    fn stop_clock(&mut self) {
        if matches!(self, Self::Clocked(_))
            && let Self::Clocked(clocked) = std::mem::replace(self, Self::Lost)
            && let Ok(tcp) = TcpStream::from_std(clocked.tcp)
        {
            *self = Self::Woken(tcp);
        }
    }
}

impl Socket {
    pub(crate) fn new(tcp: TcpStream) -> Self {
        Self { way: Way::Woken(tcp), pace: None }
    }

    /// From now on it is read on a clock where that saves something: once in so long, or up to a millisecond later.
    pub(crate) fn use_clock(&mut self, every: Duration) {
        if cfg!(unix) {
            self.pace = Some(Box::new(Pace::new(every)));
        }
    }

    /// Whether what comes is for many, so that it may be read on its clock.
    pub(crate) fn set_for_many(&mut self, many: bool) {
        if let Some(pace) = &mut self.pace {
            pace.many = many;
            if !many {
                self.way.stop_clock();
            }
        }
    }

    /// The socket's options.
    pub(crate) fn options(&self) -> Option<socket2::SockRef<'_>> {
        match &self.way {
            Way::Woken(tcp) => Some(tcp.into()),
            Way::Clocked(clocked) => Some((&clocked.tcp).into()),
            Way::Lost => None,
        }
    }

    fn start_clock(&mut self, every: Duration, cx: &mut Context<'_>) {
        if let Way::Woken(tcp) = std::mem::replace(&mut self.way, Way::Lost)
            && let Ok(tcp) = tcp.into_std()
        {
            let timer = Box::pin(sleep_until(next_time(every)));
            let mut clocked = Clocked { tcp, every, timer, waits: false, empty: 0 };
            clocked.wait(cx);
            self.way = Way::Clocked(Box::new(clocked));
        }
    }

    /// Writes by the way that there is.
    fn poll_write_by(
        &mut self,
        cx: &mut Context<'_>,
        woken: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
        clocked: impl FnOnce(&std::net::TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if let Way::Clocked(on) = &self.way {
            match clocked(&on.tcp) {
                Err(error) if is_for_later(&error) => {
                    self.way.stop_clock();
                    // The clock would have woken whoever waits to read; the runtime does not know of them yet.
                    cx.waker().wake_by_ref();
                }
                done => return Poll::Ready(done),
            }
        }
        match &mut self.way {
            Way::Woken(tcp) => woken(Pin::new(tcp), cx),
            Way::Clocked(_) | Way::Lost => Poll::Ready(Err(lost())),
        }
    }
}

fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket was lost between two ways to wait for it")
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// The next time at which all sockets of a process with that clock are read: one wake-up serves those of a thread.
fn next_time(every: Duration) -> Instant {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let now = Instant::now();
    let nanos = now.saturating_duration_since(*BEGAN.get_or_init(|| now)).as_nanos();
    let left = every.as_nanos() - nanos % every.as_nanos().max(1);
    now + Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX))
}

/// Whether a socket that is read as it comes should be read on a clock: that is asked once in each time of the clock.
#[derive(Debug)]
struct Pace {
    every: Duration,
    many: bool,
    began: Option<Instant>,
    reads: u32,
    bytes: usize,
    /// What the clock has read and nobody has taken: one read is all that each time of it costs, however little is taken at once.
    ahead: Ahead,
}

impl Pace {
    fn new(every: Duration) -> Self {
        Self { every, many: false, began: None, reads: 0, bytes: 0, ahead: Ahead::default() }
    }

    /// So much was read now.
    fn is_trickle(&mut self, bytes: usize, now: Instant) -> bool {
        (self.reads, self.bytes) = (self.reads.saturating_add(1), self.bytes.saturating_add(bytes));
        let passed = self.began.map_or(Duration::MAX, |began| now.saturating_duration_since(began));
        if passed < self.every {
            return false;
        }
        let is_trickle = passed < 2 * self.every && self.reads >= LEAST_READS && self.bytes <= TRICKLE_BYTES;
        (self.began, self.reads, self.bytes) = (Some(now), 0, 0);
        is_trickle
    }
}

/// A socket that the runtime does not know.
#[derive(Debug)]
struct Clocked {
    tcp: std::net::TcpStream,
    every: Duration,
    timer: Pin<Box<Sleep>>,
    /// Whether nothing is read before the timer has fired.
    waits: bool,
    /// How many times in a row nothing was.
    empty: u32,
}

/// What reading on a clock comes to.
enum Seen {
    Pending,
    /// All that there is for now, which may be the end, or an error.
    Trickle(io::Result<()>),
    /// More than a trickle, or nothing any more for a while.
    Other,
}

impl Clocked {
    fn read(&mut self, cx: &mut Context<'_>, ahead: &mut Ahead) -> Seen {
        // One task alone polls it, so it need not be told again whom to wake.
        if self.waits && !self.timer.is_elapsed() {
            return Seen::Pending;
        }
        match ahead.fill(&self.tcp) {
            Ok(bytes) if bytes > TRICKLE_BYTES => Seen::Other,
            Ok(_) => {
                self.empty = 0;
                self.wait(cx);
                Seen::Trickle(Ok(()))
            }
            Err(error) if is_for_later(&error) => {
                self.empty += 1;
                if self.empty >= EMPTY_TIMES {
                    return Seen::Other;
                }
                self.wait(cx);
                Seen::Pending
            }
            Err(error) => Seen::Trickle(Err(error)),
        }
    }

    fn wait(&mut self, cx: &mut Context<'_>) {
        self.waits = true;
        self.timer.as_mut().reset(next_time(self.every));
        // A task that has used up its budget would be sent away before it is noted down whom to wake.
        if pin!(unconstrained(self.timer.as_mut())).poll(cx).is_ready() {
            // The time is over already.
            self.waits = false;
            cx.waker().wake_by_ref();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { way, pace } = &mut *self;
        if let Some(Pace { ahead, .. }) = pace.as_deref_mut() {
            if let Way::Clocked(clocked) = way
                && ahead.is_empty()
            {
                match clocked.read(cx, ahead) {
                    Seen::Pending => return Poll::Pending,
                    Seen::Trickle(read) => {
                        ahead.take(buf);
                        return Poll::Ready(read);
                    }
                    Seen::Other => way.stop_clock(),
                }
            }
            if !ahead.is_empty() {
                ahead.take(buf);
                return Poll::Ready(Ok(()));
            }
        }
        let Way::Woken(tcp) = &mut self.way else {
            return Poll::Ready(Err(lost()));
        };
        let (before, most) = (buf.filled().len(), buf.remaining());
        ready!(Pin::new(tcp).poll_read(cx, buf))?;
        let bytes = buf.filled().len() - before;
        if let Some(pace) = &mut self.pace
            && pace.many
            && pace.is_trickle(bytes, Instant::now())
            && bytes > 0
            && bytes < most
        {
            let every = pace.every;
            self.start_clock(every, cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_by(cx, |tcp, cx| tcp.poll_write(cx, bytes), |mut tcp| tcp.write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_by(
            cx,
            |tcp, cx| tcp.poll_write_vectored(cx, slices),
            |mut tcp| tcp.write_vectored(slices),
        )
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// TCP keeps nothing back here.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Woken(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Way::Clocked(clocked) => Poll::Ready(match clocked.tcp.shutdown(Shutdown::Write) {
                // The peer was quicker: as the runtime has it.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
                done => done,
            }),
            Way::Lost => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::future::poll_fn;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::{sleep, timeout},
    };

    use super::*;

    const EVERY: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(20);
    const TICK: Duration = Duration::from_millis(1);

    /// From here time passes a millisecond after the other, and only while nobody on this thread has anything to do: a machine that
    /// stands still for as long as the clock does is not noticed. What has been written has the millisecond to cross.
    fn tick() {
        tokio::spawn(async {
            loop {
                sleep(TICK).await;
                std::thread::sleep(TICK);
            }
        });
    }

    /// A socket that may be read on a clock, and its peer.
    async fn pair() -> (Socket, TcpStream) {
        tick();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let tcp = TcpStream::connect(listener.local_addr().expect("address")).await.expect("connect");
        let (peer, _) = listener.accept().await.expect("accept");
        peer.set_nodelay(true).expect("an option");
        let mut socket = Socket::new(tcp);
        socket.use_clock(EVERY);
        socket.set_for_many(true);
        (socket, peer)
    }

    fn is_clocked(socket: &Socket) -> bool {
        matches!(socket.way, Way::Clocked(_))
    }

    /// The same, with the clock started by a trickle.
    async fn clocked() -> (Socket, TcpStream) {
        let (mut socket, mut peer) = pair().await;
        let start = async {
            while !is_clocked(&socket) {
                peer.write_all(b".").await.expect("open");
                assert!(socket.read(&mut [0; 64]).await.expect("open") > 0);
                sleep(EVERY / 10).await;
            }
        };
        timeout(LONG, start).await.expect("a trickle starts the clock");
        (socket, peer)
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_read_in_few_pieces_and_whole() {
        const BYTES: u8 = 200;
        let (mut socket, mut peer) = pair().await;
        let writing = tokio::spawn(async move {
            for byte in 0..BYTES {
                peer.write_all(&[byte]).await.expect("open");
                sleep(EVERY / 10).await;
            }
            peer
        });
        let (mut read, mut reads) = (Vec::new(), 0);
        while read.len() < usize::from(BYTES) {
            let mut piece = [0; 512];
            let bytes = timeout(LONG, socket.read(&mut piece)).await.expect("in time").expect("open");
            read.extend_from_slice(&piece[..bytes]);
            reads += 1;
        }
        assert_eq!(read, (0..BYTES).collect::<Vec<_>>());
        assert!(reads < 60, "{reads} reads, where 10 come before the clock and 20 on it");

        // Nothing more comes: the clock stops, and the next byte wakes again.
        let mut peer = writing.await.expect("no panic");
        assert!(timeout(EVERY * 2 * EMPTY_TIMES, socket.read(&mut [0; 8])).await.is_err());
        assert!(!is_clocked(&socket));
        peer.write_all(b"!").await.expect("open");
        assert_eq!(timeout(LONG, socket.read_u8()).await.expect("woken").expect("open"), b'!');
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_trickle_stops_the_clock() {
        const BYTES: usize = 8 << 20;
        let (mut socket, mut peer) = clocked().await;
        let writing = tokio::spawn(async move {
            peer.write_all(&vec![b'x'; BYTES]).await.expect("open");
            peer
        });
        let (mut read, mut piece) = (0, vec![0; 8 * 1024]);
        while read < BYTES {
            read += timeout(LONG, socket.read(&mut piece)).await.expect("in time").expect("open");
            assert!(!is_clocked(&socket) || read < 2 * TRICKLE_BYTES, "on the clock after {read} bytes");
        }
        drop(writing.await.expect("no panic"));
    }

    /// By one task, as a connection's driver is: it reads first, then writes, and waits for either.
    #[tokio::test(start_paused = true)]
    async fn a_write_that_has_to_wait_lets_no_read_sleep() {
        let (mut socket, mut peer) = clocked().await;
        let driver = poll_fn(|cx| {
            let mut piece = [0; 64];
            let mut read = ReadBuf::new(&mut piece);
            while Pin::new(&mut socket).poll_read(cx, &mut read).is_ready() {
                if read.filled().contains(&b'!') {
                    return Poll::Ready(());
                }
                read.clear();
            }
            while let Poll::Ready(written) = Pin::new(&mut socket).poll_write(cx, &[b'x'; 1 << 16]) {
                assert!(written.expect("open") > 0);
            }
            Poll::Pending
        });
        let speaks = async {
            sleep(EVERY * 4).await;
            peer.write_all(b"!").await.expect("open");
        };
        let both = async { tokio::join!(driver, speaks) };
        timeout(LONG, both).await.expect("woken, though the peer reads nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn where_it_is_for_many_no_more_the_clock_stops() {
        let (mut socket, mut peer) = clocked().await;
        peer.write_all(b"!").await.expect("open");
        socket.set_for_many(false);
        assert!(!is_clocked(&socket));
        assert_eq!(timeout(LONG, socket.read_u8()).await.expect("woken").expect("open"), b'!');
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_is_seen_on_the_clock() {
        let (mut socket, peer) = clocked().await;
        drop(peer);
        assert_eq!(timeout(LONG, socket.read(&mut [0; 8])).await.expect("in time").expect("no error"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_has_to_wait_goes_back_to_the_runtime() {
        let (mut socket, mut peer) = clocked().await;
        let piece = vec![b'x'; 64 * 1024];
        socket.write_all(b"first").await.expect("open");
        assert!(is_clocked(&socket), "what is taken at once changes nothing");
        let mut written = 5;
        while let Ok(bytes) = timeout(EVERY, socket.write(&piece)).await {
            written += bytes.expect("open");
        }
        assert!(!is_clocked(&socket));
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).await.expect("open");
            all.len()
        });
        timeout(LONG, socket.write_all(&piece)).await.expect("it goes on").expect("open");
        drop(socket);
        assert_eq!(reading.await.expect("no panic"), written + piece.len());
    }
}
