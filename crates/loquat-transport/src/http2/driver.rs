//! The one task of an HTTP/2 connection: moves frames, and looks after what no caller can.
//!
//! Three things are its own: it takes frames over from callers who have fallen behind, after every so many bytes read; it
//! gives up a stream whose caller does not read at all, before that harms the others; and, where that is asked for, it asks
//! a silent peer whether it still lives. All three need a clock only while streams are open.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{Ping, PingPong, client::Connection};
use tokio::{
    sync::oneshot,
    task::unconstrained,
    time::{Instant, Sleep, sleep_until},
};

use super::{failure::Failure, lanes::Lanes, settling::Settling};
use crate::{
    Http2Limits, io,
    io::Meter,
    pool::{self, Permit},
};

/// Stands for the peer's stream limit until its first SETTINGS are in. No peer can send it.
pub(super) const UNSETTLED: usize = usize::MAX - 1;
/// How long a connection that is no longer wanted may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// The ticks in [`Http2Limits::laggard_after`]: a caller is given up after that time, or up to a quarter later.
const LAGGARD_TICKS: u32 = 4;
/// What a one-byte frame costs of `h2`'s budget for each byte read: 255 for its ten.
const CHARGE_PER_BYTE: usize = 26;
/// Most bytes read in one turn: the short answers of a hundred streams, and few enough that other tasks get theirs.
const MAX_TURN: usize = 128 * 1024;

/// Streams from which on a connection may be read on a clock: of fewer, one read seldom serves two.
const MANY: usize = 16;

/// What the driver and the callers both see.
#[derive(Debug)]
pub(super) struct Shared {
    /// The peer's limit on streams, or [`UNSETTLED`]. Written by the driver alone, and under the lock of the connection's site.
    pub(super) peer_limit: AtomicUsize,
    /// Whether the peer has ever said one that is not zero.
    pub(super) has_allowed: AtomicBool,
    pub(super) closing: AtomicBool,
    pub(super) lanes: Lanes,
    /// Set once the connection is given up for its peer's silence.
    silence: OnceLock<Silence>,
}

impl Shared {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            peer_limit: AtomicUsize::new(UNSETTLED),
            has_allowed: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            lanes: Lanes::new(),
            silence: OnceLock::new(),
        })
    }

    /// Why the stream ended: `h2` only knows that the connection is gone.
    pub(super) fn blame(&self, error: h2::Error) -> Failure {
        match self.silence.get() {
            Some(Silence::Ping(time)) if error.is_io() => Failure::Silent(*time),
            Some(Silence::Settings(time)) if error.is_io() => Failure::Unsettled(*time),
            _ => Failure::H2(error),
        }
    }
}

/// What the peer did not say for so long.
#[derive(Debug, Clone, Copy)]
enum Silence {
    /// An answer to a PING.
    Ping(Duration),
    /// Its first SETTINGS.
    Settings(Duration),
}

/// See the [module](self).
pub(super) struct Driver {
    /// Also where the runtime goes away, or is gone before this has begun: then nothing below is reached, but this is dropped.
    leaving: Leaving,
    meter: Arc<Meter>,
    limits: Http2Limits,
    settling: Settling,
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        meter: Arc<Meter>,
        limits: Http2Limits,
        permit: Permit,
        settling: Settling,
    ) -> Self {
        Self { leaving: Leaving { shared, permit, failure: None }, meter, limits, settling }
    }

    /// Until the connection ends, or nobody wants it any more.
    pub(super) async fn run(
        self,
        connection: Connection<io::Stream, Bytes>,
        mut unwanted: oneshot::Receiver<()>,
    ) {
        let Self { mut leaving, meter, limits, mut settling } = self;
        let shared = Arc::clone(&leaving.shared);
        let own_limit = limits.max_streams.max(1);
        let mut connection = connection; // declared after it, and so closed before it
        let mut watch = Watch::new(&limits, &mut connection);
        let turn = (limits.frame_budget() / CHARGE_PER_BYTE / 8).clamp(4096, MAX_TURN) as u64;
        meter.pause_after(turn);
        let finished = poll_fn(|cx| {
            let done = Pin::new(&mut connection).poll(cx);
            if limits.read_every.is_some() {
                meter.set_for_many(shared.lanes.len() >= MANY);
            }
            let limit = connection.max_concurrent_send_streams();
            if shared.peer_limit.load(Relaxed) != limit {
                leaving.permit.site().learnt(|| {
                    shared.peer_limit.store(limit, Relaxed);
                    if limit > 0 {
                        shared.has_allowed.store(true, Relaxed);
                    }
                    limit.min(own_limit)
                });
            }
            if done.is_ready() {
                return Poll::Ready(End::Closed);
            }
            if limit == UNSETTLED && settling.poll(cx).is_ready() {
                return Poll::Ready(End::Unsettled);
            }
            if meter.is_paused() {
                // It has woken itself, and reads on in the next turn.
                shared.relieve(false);
                meter.pause_after(turn);
            }
            if watch.poll(&shared, &meter, cx).is_ready() {
                return Poll::Ready(End::Silent);
            }
            Pin::new(&mut unwanted).poll(cx).map(|_| End::Unwanted)
        })
        .await;
        meter.pause_after(u64::MAX);
        match finished {
            End::Closed => {}
            // Nothing that is said would be heard. The streams learn of it when the connection is dropped.
            End::Silent => drop(shared.silence.set(Silence::Ping(limits.ping_timeout))),
            End::Unsettled => {
                let _ = shared.silence.set(Silence::Settings(settling.limit));
                leaving.failure = Some(settling.failure());
            }
            // No handle is left: `h2` says GOAWAY and closes when polled. A peer that does not take it is not waited for.
            End::Unwanted => drop(tokio::time::timeout(GOODBYE, pin!(connection)).await),
        }
    }
}

enum End {
    Closed,
    Silent,
    Unsettled,
    Unwanted,
}

impl Shared {
    /// Takes over from callers who have fallen behind. How much lies unread altogether.
    fn relieve(&self, all: bool) -> usize {
        self.lanes.sum(|lane| lane.relieve(all))
    }

    /// Gives up those whose callers do not read. How many.
    fn give_up_laggards(&self, limits: &Http2Limits, after: Duration) {
        let unread = self.relieve(true);
        // Before the others have no window left, less patience is had, and with less.
        let is_scarce = unread >= limits.connection_window() as usize / 4 * 3;
        let (least, ticks) = if is_scarce { (1, 1) } else { (limits.laggard_bytes, LAGGARD_TICKS) };
        for lane in self.lanes.those(|lane| lane.tick(least) >= ticks) {
            lane.give_up(after / LAGGARD_TICKS * ticks);
        }
    }
}

/// What is looked after in time, while streams are open.
struct Watch {
    limits: Http2Limits,
    ticks: Option<Pin<Box<Sleep>>>,
    ping: Option<Pulse>,
}

/// Whether the peer lives: any byte from it says so.
struct Pulse {
    every: Duration,
    ping_pong: PingPong,
    timer: Option<Pin<Box<Sleep>>>,
    /// What had been read when it was last looked at, and whether a PING has been out since.
    read: u64,
    asked: bool,
}

impl Watch {
    fn new(limits: &Http2Limits, connection: &mut Connection<io::Stream, Bytes>) -> Self {
        let ping = limits.ping_every.and_then(|every| {
            let ping_pong = connection.ping_pong()?;
            Some(Pulse { every, ping_pong, timer: None, read: 0, asked: false })
        });
        Self { limits: limits.clone(), ticks: None, ping }
    }

    /// Ready once the peer is taken for dead.
    fn poll(&mut self, shared: &Shared, meter: &Meter, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(after) = self.limits.laggard_after {
            let every = after / LAGGARD_TICKS;
            while poll_timer(&mut self.ticks, every, shared, cx).is_ready() {
                shared.give_up_laggards(&self.limits, after);
            }
        }
        match &mut self.ping {
            Some(pulse) => pulse.poll(self.limits.ping_timeout, shared, meter, cx),
            None => Poll::Pending,
        }
    }
}

impl Pulse {
    fn poll(&mut self, timeout: Duration, shared: &Shared, meter: &Meter, cx: &mut Context<'_>) -> Poll<()> {
        // An answer taken makes place for the next question.
        let _ = self.ping_pong.poll_pong(cx);
        loop {
            let wait = if self.asked { timeout } else { self.every };
            if poll_timer(&mut self.timer, wait, shared, cx).is_pending() {
                return Poll::Pending;
            }
            let read = meter.read();
            let is_silent = read == std::mem::replace(&mut self.read, read);
            if is_silent && self.asked {
                return Poll::Ready(());
            }
            self.asked = is_silent && !shared.lanes.is_empty();
            if self.asked {
                // One that is still unanswered asks the same.
                let _ = self.ping_pong.send_ping(Ping::opaque());
            }
        }
    }
}

/// Ready once that time has passed with streams open. Then, and when the first stream comes, it starts over.
fn poll_timer(
    timer: &mut Option<Pin<Box<Sleep>>>,
    wait: Duration,
    shared: &Shared,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if timer.is_none() && shared.lanes.is_empty() {
        return Poll::Pending;
    }
    // Far in the future instead of never: an hour more or less does not matter there.
    let wait = wait.clamp(Duration::from_millis(1), Duration::from_secs(86_400));
    match timer {
        // One task alone polls it, so it need not be told again whom to wake.
        Some(sleep) if !sleep.is_elapsed() => return Poll::Pending,
        Some(_) => {}
        None => {
            let sleep = timer.insert(Box::pin(sleep_until(Instant::now() + wait)));
            // A task that has used up its budget would be sent away before it is noted down whom to wake.
            if pin!(unconstrained(sleep.as_mut())).poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
    *timer = None;
    if shared.lanes.is_empty() { Poll::Pending } else { Poll::Ready(()) }
}

/// What is true once a driver has ended.
struct Leaving {
    shared: Arc<Shared>,
    permit: Permit,
    /// Why it was of no use to those who counted on it.
    failure: Option<pool::Failure>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.permit.site().lost(|| self.shared.closing.store(true, Relaxed), self.failure.as_ref());
    }
}
