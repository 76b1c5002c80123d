//! Where HTTP/2 is spoken, and what one connection of it may hold (RFC 9113 §5.1.2, §6.9).

use std::time::Duration;

/// Where HTTP/2 is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Http2Mode {
    /// Over TLS where the server chooses it by ALPN (RFC 7301); HTTP/1.1 in clear.
    #[default]
    Auto,
    /// In clear, too, without asking (RFC 9113 §3.3); over TLS as [`Http2Mode::Auto`].
    PriorKnowledge,
    /// Nowhere.
    Never,
}

/// Windows and streams of an HTTP/2 connection.
///
/// The connection window should hold `max_streams` × `stream_window_bytes`: then streams that nobody reads cannot
/// stop their neighbours.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Http2Limits {
    /// Most streams used at once on one connection, below the peer's own limit; more requests open another
    /// connection. Default 100, what servers allow most often.
    pub max_streams: usize,
    /// Bytes a peer may send ahead on one stream, 65,535 to 2³¹ − 1. Default 256 KiB: a token stream needs a few
    /// hundred bytes, a download gets 5 MB/s over a 50 ms round trip, and 100 unread streams cost 25 MiB.
    pub stream_window_bytes: u32,
    /// Bytes a peer may send ahead on all streams together, 65,535 to 2³¹ − 1. Default 25 MiB: 100 × 256 KiB.
    pub connection_window_bytes: u32,
    /// Longest frame a peer may send, 16,384 to 2²⁴ − 1 bytes (RFC 9113 §4.2). Default 64 KiB: `h2` makes a buffer for each frame and hands
    /// it on once it is whole, so a long body is a quarter of the pieces that it is in frames of 16 KiB, the least. Bodies of 100 KB take
    /// a fifth less of a processor than in frames of 32 KiB, and most often half with glibc's allocator, which gives such memory back to
    /// the system and faults it in again (`cargo xtask bench tuning`, `frame`). Frames of 128 KiB save as much once more with jemalloc and
    /// mimalloc; but a token waits behind one frame of a neighbour, 5 ms for 64 KiB at 100 Mbit/s.
    pub max_frame_bytes: u32,
    /// What `h2` allows for small DATA frames not yet read: each costs 256 bytes less its size, and a connection
    /// that spends the budget is closed. Tokens come in small frames, so `h2`'s own default kills a busy connection.
    /// Frames that a caller leaves unread are taken over before they cost an eighth of it; what is charged and never
    /// given back is the frames that were under way to a stream when it was reset. Default 64 MiB, for 260,000 of those in
    /// the life of a connection. It is a number, not memory. Never less than 64 KiB for each of `max_streams`, whatever it is set to.
    pub data_frame_budget_bytes: usize,
    /// How long the caller of a stream may read nothing, while at least `laggard_bytes` lie there for it, before the stream
    /// is given up: reset, with an error whose source is [`crate::Laggard`]. Up to a quarter later. Default 60 s, longer than anything pauses
    /// that still lives. When three quarters of the connection's window lie unread, a quarter of the time is enough, and any
    /// bytes: its neighbours are about to starve. `None`: never.
    pub laggard_after: Option<Duration>,
    /// See `laggard_after`. Default 64 KiB: what ten minutes of tokens take, so a reader that only thinks is left alone.
    pub laggard_bytes: usize,
    /// Asks a peer that has sent nothing for so long, while streams are open, whether it still lives (PING, RFC 9113 §6.7).
    /// Default `None`, because some servers take it for abuse and hang up; 30 s finds a connection that a balancer has
    /// forgotten.
    pub ping_every: Option<Duration>,
    /// How long the peer may then still send nothing before the connection and its streams are given up. Default 20 s.
    pub ping_timeout: Duration,
    /// How long the server of a new connection may take to its first frame, which is its SETTINGS (RFC 9113 §3.4). Until then one request
    /// alone is sent there, and all others at that origin wait for how many it takes; past it the connection is given up, with an error of
    /// kind [`Timeout`](loquat_core::ErrorKind::Timeout). Who waited has a connection made anew, and after a second one that stays
    /// silent fails with the same error, not sent. Default 5 s: servers send it with the end of the TLS handshake, a lost packet is repeated
    /// after 1 s and 3 s, and two such connections end within [`Limits::connect`](crate::Limits::connect).
    pub settings_timeout: Duration,
    /// Where 16 streams and more are open on a connection and what comes on them is a trickle (at most 16 KiB in so long), looks
    /// once in so long what has come, instead of at each piece as it comes: one read and one wake-up then serve many streams. Each
    /// token, and so the first, and the head of an answer, comes up to so much and two milliseconds later, and so does the peer's leave to
    /// send on (WINDOW_UPDATE): an upload gets one window in so long. 1 to 100 ms; over TCP, on Unix.
    /// Default `None`: what comes is handed on at once. For processes that carry hundreds of streams: with 4 ms a token of one of 400
    /// takes a fifth less of a processor (7.0 µs for 8.7; beside other work, a quarter), half of them come within 2.4 ms and 99 of 100
    /// within 5 (`cargo xtask bench stream`, `h2/s400`).
    pub read_every: Option<Duration>,
    /// Streams of one connection that may be reset by this side (a body dropped early, an upload that its answer broke off, a limit
    /// passed, an answer that is no HTTP) within `resets_within`, or 8,192 in its life; past that, new requests go to another connection
    /// and this one drains. Default 150: servers close a connection with all that is on it at 200 resets in 30 s and more.
    pub max_resets: usize,
    /// See `max_resets`. Default 30 s.
    pub resets_within: Duration,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self {
            max_streams: 100,
            stream_window_bytes: 256 * 1024,
            connection_window_bytes: 100 * 256 * 1024,
            max_frame_bytes: 64 * 1024,
            data_frame_budget_bytes: 64 * 1024 * 1024,
            laggard_after: Some(Duration::from_secs(60)),
            laggard_bytes: 64 * 1024,
            ping_every: None,
            ping_timeout: Duration::from_secs(20),
            settings_timeout: Duration::from_secs(5),
            read_every: None,
            max_resets: 150,
            resets_within: Duration::from_secs(30),
        }
    }
}

impl Http2Limits {
    /// With that many streams on a connection. The connection's window stays as it is ([`Http2Limits::with_windows`]): it is memory.
    #[must_use]
    pub fn with_max_streams(mut self, streams: usize) -> Self {
        self.max_streams = streams;
        self
    }

    /// What small DATA frames not yet read may be charged: what is set, and never less than every stream needs.
    pub(crate) fn frame_budget(&self) -> usize {
        self.data_frame_budget_bytes.max(self.max_streams.saturating_mul(64 * 1024))
    }

    /// What a peer may send ahead on one stream, as HTTP/2 allows it.
    pub(crate) fn stream_window(&self) -> u32 {
        window(self.stream_window_bytes)
    }

    /// What a peer may send ahead on all streams together, as HTTP/2 allows it.
    pub(crate) fn connection_window(&self) -> u32 {
        window(self.connection_window_bytes)
    }

    /// With these windows, in bytes.
    #[must_use]
    pub fn with_windows(mut self, stream_bytes: u32, connection_bytes: u32) -> Self {
        self.stream_window_bytes = stream_bytes;
        self.connection_window_bytes = connection_bytes;
        self
    }

    /// With frames of at most that many bytes.
    #[must_use]
    pub fn with_max_frame_bytes(mut self, bytes: u32) -> Self {
        self.max_frame_bytes = bytes;
        self
    }

    /// Gives streams up that nobody reads for so long.
    #[must_use]
    pub fn with_laggard_after(mut self, time: Option<Duration>) -> Self {
        self.laggard_after = time;
        self
    }

    /// Reads trickles that are for many on a clock.
    #[must_use]
    pub fn with_read_every(mut self, time: Option<Duration>) -> Self {
        self.read_every = time;
        self
    }

    /// With that limit for a new connection's first SETTINGS.
    #[must_use]
    pub fn with_settings_timeout(mut self, limit: Duration) -> Self {
        self.settings_timeout = limit;
        self
    }

    /// Asks silent peers whether they live.
    #[must_use]
    pub fn with_ping(mut self, every: Duration, timeout: Duration) -> Self {
        (self.ping_every, self.ping_timeout) = (Some(every), timeout);
        self
    }
}

/// Windows begin with so many bytes, and are no larger (RFC 9113 §6.9).
fn window(bytes: u32) -> u32 {
    bytes.clamp(65_535, (1 << 31) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each has its reason beside it. A new one must be put here to compile.
    #[test]
    fn the_defaults_are_those_that_are_documented() {
        let Http2Limits {
            max_streams,
            stream_window_bytes,
            connection_window_bytes,
            max_frame_bytes,
            data_frame_budget_bytes,
            laggard_after,
            laggard_bytes,
            ping_every,
            ping_timeout,
            settings_timeout,
            read_every,
            max_resets,
            resets_within,
        } = Http2Limits::default();
        assert_eq!((max_streams, max_resets, resets_within), (100, 150, Duration::from_secs(30)));
        assert_eq!((stream_window_bytes, connection_window_bytes), (256 << 10, 25 << 20));
        assert_eq!((max_frame_bytes, data_frame_budget_bytes), (64 << 10, 64 << 20));
        assert_eq!((laggard_after, laggard_bytes), (Some(Duration::from_secs(60)), 64 << 10));
        assert_eq!((ping_every, read_every, ping_timeout), (None, None, Duration::from_secs(20)));
        assert_eq!(settings_timeout, Duration::from_secs(5));
    }
}
